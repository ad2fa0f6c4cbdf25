//! Owner, mode and time of what was unpacked.

use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{
    AtFlags, Gid, Mode, Stat, Timespec, Timestamps, UTIME_OMIT, Uid, chmodat, chownat, fchmod, fchown,
    futimens, utimensat,
};
use rustix::io::{Errno, Result};

use crate::archive::entry::{Entry, Moment};
use crate::unpack::NotKept;

/// What a finished file or folder gets.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attributes {
    owner: Option<(Option<u32>, Option<u32>)>,
    mode: u32,
    modified: Option<Moment>,
}

impl Attributes {
    /// What the archive says; the owner only when asked for.
    pub(super) fn of(entry: &Entry, own: bool) -> Self {
        let owner = own.then_some((entry.uid, entry.gid));
        Self { owner, mode: entry.mode, modified: Some(entry.modified) }
    }

    /// For a folder that the archive uses but does not hold.
    pub(super) fn of_unnamed_folder(inherited_mode: u32) -> Self {
        /// What mkdir(1) makes under the usual umask.
        const USUAL: u32 = 0o755;
        let setgid = inherited_mode & Mode::SGID.as_raw_mode();
        Self { owner: None, mode: USUAL | setgid, modified: None }
    }

    /// What a folder already has, to give it back after one more change in it.
    pub(super) fn as_found(stat: &Stat) -> Self {
        let nanoseconds = u32::try_from(stat.st_mtime_nsec).unwrap_or(0);
        let modified = Moment { seconds: stat.st_mtime, nanoseconds };
        Self { owner: None, mode: stat.st_mode & 0o7777, modified: Some(modified) }
    }

    /// Sets them on an open file or folder. What is not permitted is counted.
    pub(super) fn apply_to(&self, fd: impl AsFd, not_kept: &mut NotKept) -> Result<()> {
        let fd = fd.as_fd();
        // The owner first: a change of owner takes setuid and setgid away.
        self.own(not_kept, |uid, gid| fchown(fd, uid, gid))?;
        count(&mut not_kept.modes, fchmod(fd, Mode::from_raw_mode(self.mode)))?;
        let Some(modified) = self.modified else { return Ok(()) };
        count(&mut not_kept.times, futimens(fd, &times(modified)))
    }

    /// The same for the name of a pipe, device or symlink in `parent`. A symlink has no mode of its own.
    pub(super) fn apply_to_name(
        &self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        is_symlink: bool,
        not_kept: &mut NotKept,
    ) -> Result<()> {
        self.own(not_kept, |uid, gid| chownat(parent, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW))?;
        if !is_symlink {
            let mode = Mode::from_raw_mode(self.mode);
            count(&mut not_kept.modes, chmodat(parent, name, mode, AtFlags::empty()))?;
        }
        let Some(modified) = self.modified else { return Ok(()) };
        count(&mut not_kept.times, utimensat(parent, name, &times(modified), AtFlags::SYMLINK_NOFOLLOW))
    }

    fn own(
        &self,
        not_kept: &mut NotKept,
        chown: impl FnOnce(Option<Uid>, Option<Gid>) -> Result<()>,
    ) -> Result<()> {
        match self.owner {
            None => Ok(()),
            Some((Some(uid), Some(gid))) => {
                count(&mut not_kept.owners, chown(Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))))
            }
            Some((uid, gid)) => {
                not_kept.owners += 1;
                let mut ignored = 0;
                count(&mut ignored, chown(uid.map(Uid::from_raw), gid.map(Gid::from_raw)))
            }
        }
    }
}

/// The access time stays that of the unpacking, as with GNU tar.
fn times(modified: Moment) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: modified.seconds, tv_nsec: modified.nanoseconds.into() },
    }
}

/// Not permitted, or (an owner outside of the user namespace, a filesystem without modes) not possible.
fn count(counter: &mut u64, result: Result<()>) -> Result<()> {
    match result {
        Err(Errno::PERM | Errno::INVAL | Errno::NOTSUP | Errno::OVERFLOW) => {
            *counter += 1;
            Ok(())
        }
        result => result,
    }
}
