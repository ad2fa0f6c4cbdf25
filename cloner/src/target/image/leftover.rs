//! What an attempt leaves beside an image: its name, and how it goes.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;

use crate::error::{Error, Kind, Result};

/// Opens the folder that an image is in.
pub(super) fn open_folder(folder: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(folder, flags, Mode::empty())
        .map_err(|e| Error::target("open the folder", folder, e.into()))
}

/// The name under which a file grows. A long name is cut, so that it still fits.
pub fn temporary_name(name: &OsStr) -> OsString {
    const KEPT_BYTES: usize = 200;
    let kept = &name.as_bytes()[..name.len().min(KEPT_BYTES)];
    OsString::from_vec([b".", kept, b".decant-partial"].concat())
}

/// Removes what an attempt left that is not running any more.
pub(super) fn remove_leftover(folder: &OwnedFd, temporary: &OsStr, path: &Path) -> Result<()> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    if let Ok(leftover) = rustix::fs::openat(folder, temporary, flags, Mode::empty())
        && flock(&leftover, FlockOperation::NonBlockingLockExclusive) == Err(Errno::WOULDBLOCK)
    {
        let path = path.display();
        return Err(Error::new(Kind::Target, format!("somebody else is writing {path} right now")));
    }
    match rustix::fs::unlinkat(folder, temporary, AtFlags::empty()) {
        Ok(()) => log::info!("removed what an earlier attempt left of {}", path.display()),
        Err(Errno::NOENT) => {}
        Err(e) => return Err(Error::target("remove the remains of", path, e.into())),
    }
    Ok(())
}
