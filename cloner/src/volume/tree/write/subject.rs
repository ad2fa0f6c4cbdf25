//! An entry that gets attributes: an open file or directory, or the name of an entry that is not opened.

use rustix::fd::BorrowedFd;
use rustix::fs::{
    AtFlags, Gid, Mode, Stat, Timespec, Timestamps, UTIME_NOW, Uid, chmodat, chownat, fchmod, fchown, fstat,
    fstatvfs, futimens, statat, utimensat,
};
use rustix::io::{Errno, Result};

use crate::attributes::Moment;
use crate::volume::xattrs::XattrAccess;

/// An entry that gets attributes.
pub(super) enum Subject<'a> {
    /// An open file or directory.
    Open(BorrowedFd<'a>),
    /// A pipe, device or symlink in an open directory.
    Name { parent: BorrowedFd<'a>, name: &'a [u8], is_symlink: bool },
}

impl<'a> Subject<'a> {
    pub(super) fn chown(&self, uid: Option<Uid>, gid: Option<Gid>) -> Result<()> {
        match self {
            Self::Open(fd) => fchown(fd, uid, gid),
            Self::Name { parent, name, .. } => chownat(parent, *name, uid, gid, AtFlags::SYMLINK_NOFOLLOW),
        }
    }

    /// Does nothing for a symlink.
    pub(super) fn chmod(&self, mode: u32) -> Result<()> {
        let mode = Mode::from_raw_mode(mode);
        match self {
            Self::Open(fd) => fchmod(fd, mode),
            Self::Name { is_symlink: true, .. } => Ok(()),
            Self::Name { parent, name, .. } => chmodat(parent, *name, mode, AtFlags::empty()),
        }
    }

    pub(super) fn has_mode(&self) -> bool {
        !matches!(self, Self::Name { is_symlink: true, .. })
    }

    /// Sets the modification time. The access time becomes the current time, as in GNU tar. Both are set because
    /// filesystems based on libfuse 2 ignore a call that sets only one of them.
    pub(super) fn set_time(&self, modified: Moment) -> Result<()> {
        let times = Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_NOW },
            last_modification: Timespec { tv_sec: modified.seconds, tv_nsec: modified.nanoseconds.into() },
        };
        match self {
            Self::Open(fd) => futimens(fd, &times),
            Self::Name { parent, name, .. } => utimensat(parent, *name, &times, AtFlags::SYMLINK_NOFOLLOW),
        }
    }

    pub(super) fn stat(&self) -> Result<Stat> {
        match self {
            Self::Open(fd) => fstat(fd),
            Self::Name { parent, name, .. } => statat(parent, *name, AtFlags::SYMLINK_NOFOLLOW),
        }
    }

    /// Interprets an error of setting an extended attribute: ext4 also returns ENOSPC if an entry has no space for the
    /// attribute. If the filesystem has free space, the error becomes E2BIG.
    pub(super) fn too_large(&self, errno: Errno) -> Errno {
        let fd = match self {
            Self::Open(fd) | Self::Name { parent: fd, .. } => fd,
        };
        let has_room = || fstatvfs(fd).is_ok_and(|fs| fs.f_bavail > 0);
        if errno == Errno::NOSPC && has_room() { Errno::TOOBIG } else { errno }
    }

    /// Access to its extended attributes.
    pub(super) fn place(&self) -> XattrAccess<'a> {
        match self {
            Self::Open(fd) => XattrAccess::Open(*fd),
            Self::Name { parent, name, .. } => XattrAccess::named(*parent, name),
        }
    }
}
