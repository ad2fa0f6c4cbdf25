//! Optional system calls. For each error of each call, this module defines whether the clone continues, counts
//! something as not kept, or fails. Reading and writing use the same table, which docs/specification.md shows.

use rustix::io::Errno;

use crate::attributes::Attribute;

/// A system call that some filesystems, sandboxes or kernels do not support.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// `fchmod`, `fchmodat`.
    Chmod,
    /// `fchown`, `fchownat`.
    Chown,
    /// `utimensat`.
    SetTimes,
    /// `fsetxattr`, `lsetxattr`, except for an access control list.
    SetXattr,
    /// The same calls for an access control list.
    SetAcl,
    /// `fremovexattr` of an access control list that a new entry has inherited.
    RemoveAcl,
    /// `flistxattr`, `llistxattr`.
    ListXattrs,
    /// `fgetxattr`, `lgetxattr` of a listed name.
    GetXattr,
    /// `fsync` of a directory.
    SyncDirectory,
    /// `fsync`, `fdatasync` of a file.
    SyncFile,
    /// `syncfs`.
    SyncFilesystem,
    /// `fallocate` without a mode: preallocation.
    Allocate,
    /// `fallocate` with `FALLOC_FL_PUNCH_HOLE` or `FALLOC_FL_ZERO_RANGE`.
    Zero,
    /// `fstatfs`, `fstatvfs`.
    Statfs,
    /// `ftruncate` before the content is written.
    Truncate,
    /// `flock`.
    Lock,
    /// `posix_fadvise`.
    Advise,
    /// `renameat2` with `RENAME_EXCHANGE`.
    Exchange,
    /// `openat2`.
    OpenBeneath,
    /// `linkat`.
    Link,
    /// `mknodat` of a pipe or a device.
    MakeNode,
    /// `lseek` with `SEEK_DATA` or `SEEK_HOLE`.
    SeekHole,
    /// `ioctl` with `FICLONE`.
    Reflink,
}

/// What an error of an optional call means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The clone continues and loses nothing: there is another way, or the call was only advice.
    Continue,
    /// The clone continues, and this attribute of the entry counts as lost.
    NotKept(Attribute),
    /// The clone fails.
    Fail,
}

/// A class of errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The kernel, the sandbox or the filesystem does not support the call, at all or for this object.
    Unsupported,
    /// The call is supported but not permitted.
    NotPermitted,
    /// The object of the call no longer exists.
    Vanished,
    /// The disk or the network failed, or there is no space. This is never treated as "not supported".
    Failing,
    /// Anything else.
    Other,
}

impl Class {
    /// The class of `errno`.
    pub fn of(errno: Errno) -> Self {
        match errno {
            Errno::NOSYS | Errno::OPNOTSUPP | Errno::INVAL | Errno::NOTTY => Self::Unsupported,
            Errno::PERM | Errno::ACCESS | Errno::ROFS => Self::NotPermitted,
            Errno::NOENT | Errno::STALE => Self::Vanished,
            Errno::IO | Errno::NOSPC | Errno::DQUOT => Self::Failing,
            _ => Self::Other,
        }
    }

    /// The classes that are columns of the table, with their errors.
    pub const COLUMNS: [(Self, &'static [Errno]); 4] = [
        (Self::Unsupported, &[Errno::NOSYS, Errno::OPNOTSUPP, Errno::INVAL, Errno::NOTTY]),
        (Self::NotPermitted, &[Errno::PERM, Errno::ACCESS, Errno::ROFS]),
        (Self::Vanished, &[Errno::NOENT, Errno::STALE]),
        (Self::Failing, &[Errno::IO, Errno::NOSPC, Errno::DQUOT]),
    ];
}

/// A row of the table. Errors that are in no column end the clone, unless they are in `named`.
struct Row {
    unsupported: Verdict,
    not_permitted: Verdict,
    vanished: Verdict,
    failing: Verdict,
    /// Errors that have another verdict than their class for this call, or that have no class.
    named: &'static [(Errno, Verdict)],
}

impl Row {
    /// A call with the same `verdict` for `unsupported` and `not_permitted`. Other errors end the clone.
    const fn refusable(verdict: Verdict, named: &'static [(Errno, Verdict)]) -> Self {
        let vanished = Verdict::Fail;
        let failing = Verdict::Fail;
        Self { unsupported: verdict, not_permitted: verdict, vanished, failing, named }
    }
}

impl Call {
    /// All calls, in the order of the table.
    pub const ALL: [Self; 23] = [
        Self::Chmod,
        Self::Chown,
        Self::SetTimes,
        Self::SetXattr,
        Self::SetAcl,
        Self::RemoveAcl,
        Self::ListXattrs,
        Self::GetXattr,
        Self::SyncDirectory,
        Self::SyncFile,
        Self::SyncFilesystem,
        Self::Allocate,
        Self::Zero,
        Self::Statfs,
        Self::Truncate,
        Self::Lock,
        Self::Advise,
        Self::Exchange,
        Self::OpenBeneath,
        Self::Link,
        Self::MakeNode,
        Self::SeekHole,
        Self::Reflink,
    ];

    fn row(self) -> Row {
        use Verdict::{Continue, Fail, NotKept};
        match self {
            // A seccomp profile or the daemon of a filesystem may return any of these. EINVAL: an id outside of the
            // user namespace.
            Self::Chmod => Row::refusable(NotKept(Attribute::Mode), &[]),
            Self::Chown => Row::refusable(
                NotKept(Attribute::Owner),
                &[(Errno::OVERFLOW, NotKept(Attribute::Owner)), (Errno::RANGE, NotKept(Attribute::Owner))],
            ),
            Self::SetTimes => Row::refusable(
                NotKept(Attribute::Time),
                &[(Errno::OVERFLOW, NotKept(Attribute::Time)), (Errno::RANGE, NotKept(Attribute::Time))],
            ),
            // ENOENT: without /proc the attributes of an entry that is not open cannot be accessed. E2BIG or ERANGE:
            // the entry has no space for more attributes. ext4 returns ENOSPC for that, which the caller distinguishes
            // from a full disk.
            Self::SetXattr => Row::refusable(
                NotKept(Attribute::Xattr),
                &[
                    (Errno::TOOBIG, NotKept(Attribute::Xattr)),
                    (Errno::RANGE, NotKept(Attribute::Xattr)),
                    (Errno::OVERFLOW, NotKept(Attribute::Xattr)),
                    (Errno::NOENT, NotKept(Attribute::Xattr)),
                ],
            ),
            Self::SetAcl => Row::refusable(
                NotKept(Attribute::Acl),
                &[
                    (Errno::TOOBIG, NotKept(Attribute::Acl)),
                    (Errno::RANGE, NotKept(Attribute::Acl)),
                    (Errno::OVERFLOW, NotKept(Attribute::Acl)),
                    (Errno::NOENT, NotKept(Attribute::Acl)),
                ],
            ),
            Self::RemoveAcl => Row {
                unsupported: Continue,
                not_permitted: Fail,
                vanished: Fail,
                failing: Fail,
                named: &[(Errno::NODATA, Continue)],
            },
            // Attributes that cannot be listed do not exist for a reader. tar and rsync do the same.
            Self::ListXattrs => Row {
                unsupported: Continue,
                not_permitted: NotKept(Attribute::Xattr),
                vanished: Fail,
                failing: Fail,
                named: &[(Errno::NODATA, Continue), (Errno::TOOBIG, NotKept(Attribute::Xattr))],
            },
            Self::GetXattr => Row {
                unsupported: NotKept(Attribute::Xattr),
                not_permitted: NotKept(Attribute::Xattr),
                vanished: Fail,
                failing: Fail,
                named: &[(Errno::NODATA, Continue), (Errno::TOOBIG, NotKept(Attribute::Xattr))],
            },
            // CIFS, DrvFs and many FUSE filesystems do not support this call, or support it only for files that are
            // open for writing.
            Self::SyncDirectory => {
                Row::refusable(Continue, &[(Errno::BADF, Continue), (Errno::ISDIR, Continue)])
            }
            Self::SyncFile => {
                Row { unsupported: Continue, not_permitted: Fail, vanished: Fail, failing: Fail, named: &[] }
            }
            Self::SyncFilesystem => Row::refusable(Continue, &[]),
            // EFBIG: larger than the maximum size of a file. ENODEV: not supported for this kind of file.
            Self::Allocate => Row::refusable(Continue, &[(Errno::NODEV, Continue), (Errno::TXTBSY, Fail)]),
            // EREMOTEIO: the disk does not support the command. EBUSY: another process reads the device. Zeros are
            // written instead.
            Self::Zero => Row::refusable(
                Continue,
                &[(Errno::NODEV, Continue), (Errno::REMOTEIO, Continue), (Errno::BUSY, Continue)],
            ),
            Self::Truncate => Row::refusable(Continue, &[]),
            Self::Lock => Row::refusable(Continue, &[(Errno::NOLCK, Continue), (Errno::BADF, Continue)]),
            // These calls only give or take advice.
            Self::Statfs | Self::Advise => Row {
                unsupported: Continue,
                not_permitted: Continue,
                vanished: Continue,
                failing: Continue,
                named: &[],
            },
            Self::Exchange => Row {
                unsupported: Continue,
                not_permitted: Continue,
                vanished: Continue,
                failing: Fail,
                named: &[(Errno::XDEV, Continue), (Errno::BUSY, Continue), (Errno::ISDIR, Continue)],
            },
            Self::OpenBeneath => Row {
                unsupported: Continue,
                not_permitted: Fail,
                vanished: Fail,
                failing: Fail,
                named: &[
                    (Errno::PERM, Continue),
                    (Errno::TOOBIG, Continue),
                    (Errno::NAMETOOLONG, Continue),
                    (Errno::AGAIN, Continue),
                ],
            },
            // A volume without its links or devices would be another volume.
            Self::Link | Self::MakeNode => Row::refusable(Fail, &[]),
            Self::SeekHole => Row {
                unsupported: Continue,
                not_permitted: Continue,
                vanished: Fail,
                failing: Fail,
                named: &[(Errno::SPIPE, Continue)],
            },
            // After any error the content is copied; copying reports a failed or full disk. EXDEV: another filesystem, or
            // another mount of it before Linux 5.18. ETXTBSY: a swap file. EISDIR, EBADF: not a regular file.
            Self::Reflink => Row {
                unsupported: Continue,
                not_permitted: Continue,
                vanished: Continue,
                failing: Continue,
                named: &[
                    (Errno::XDEV, Continue),
                    (Errno::TXTBSY, Continue),
                    (Errno::ISDIR, Continue),
                    (Errno::BADF, Continue),
                ],
            },
        }
    }

    /// The verdict for `errno` of this call. The caller handles errors that are part of normal use (EINTR, EWOULDBLOCK
    /// of a lock, ENXIO of a seek).
    pub fn verdict(self, errno: Errno) -> Verdict {
        let row = self.row();
        if let Some((_, verdict)) = row.named.iter().find(|(named, _)| *named == errno) {
            return *verdict;
        }
        match Class::of(errno) {
            Class::Unsupported => row.unsupported,
            Class::NotPermitted => row.not_permitted,
            Class::Vanished => row.vanished,
            Class::Failing => row.failing,
            Class::Other if self.never_matters() => Verdict::Continue,
            Class::Other => Verdict::Fail,
        }
    }

    /// Whether every error of this call is ignored: the call is only advice, or what is done instead reports the failure.
    pub fn never_matters(self) -> bool {
        matches!(self, Self::Statfs | Self::Advise | Self::Reflink)
    }

    /// Whether the clone continues after this error.
    pub fn is_dispensable(self, errno: Errno) -> bool {
        self.verdict(errno) != Verdict::Fail
    }

    /// The name of the call in docs/specification.md.
    pub fn title(self) -> &'static str {
        match self {
            Self::Chmod => "`chmod`",
            Self::Chown => "`chown`",
            Self::SetTimes => "`utimensat`",
            Self::SetXattr => "`setxattr`",
            Self::SetAcl => "`setxattr` of an ACL",
            Self::RemoveAcl => "`removexattr` of an inherited ACL",
            Self::ListXattrs => "`listxattr`",
            Self::GetXattr => "`getxattr`",
            Self::SyncDirectory => "`fsync` of a directory",
            Self::SyncFile => "`fsync` of a file",
            Self::SyncFilesystem => "`syncfs`",
            Self::Allocate => "`fallocate`",
            Self::Zero => "`fallocate`, punch or zero a range",
            Self::Statfs => "`statfs`",
            Self::Truncate => "`ftruncate`",
            Self::Lock => "`flock`",
            Self::Advise => "`fadvise`",
            Self::Exchange => "`renameat2`, exchange",
            Self::OpenBeneath => "`openat2`",
            Self::Link => "`link`",
            Self::MakeNode => "`mknod`",
            Self::SeekHole => "`lseek`, `SEEK_DATA` and `SEEK_HOLE`",
            Self::Reflink => "`ioctl`, `FICLONE`",
        }
    }

    /// The errors that have another verdict than their class for this call, or that have no class.
    pub fn named(self) -> &'static [(Errno, Verdict)] {
        self.row().named
    }
}

/// The call that sets an extended attribute of this kind.
pub fn setting(kind: Attribute) -> Call {
    if kind == Attribute::Acl { Call::SetAcl } else { Call::SetXattr }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_or_full_disk_is_told_from_an_unsupported_call() {
        for call in Call::ALL.into_iter().filter(|call| !call.never_matters()) {
            for errno in [Errno::IO, Errno::NOSPC, Errno::DQUOT, Errno::FBIG, Errno::NXIO] {
                assert_eq!(call.verdict(errno), Verdict::Fail, "{call:?} {errno:?}");
            }
        }
    }

    #[test]
    fn an_unsupported_or_forbidden_call_has_a_substitute() {
        let needed = [Call::RemoveAcl, Call::Link, Call::MakeNode, Call::SyncFile, Call::OpenBeneath];
        for call in Call::ALL.into_iter().filter(|call| !needed.contains(call)) {
            for errno in
                [Errno::NOSYS, Errno::OPNOTSUPP, Errno::INVAL, Errno::NOTTY, Errno::PERM, Errno::ACCESS]
            {
                assert!(call.is_dispensable(errno), "{call:?} {errno:?}");
            }
        }
    }
}
