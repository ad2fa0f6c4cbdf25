//! The temporary file of an image: its name and lock, and how the leftover of a previous attempt is reused or removed.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use decant_shared::process::stop::Stop;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, fstat, openat, statat};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::volume::layout::names_for;
pub use crate::volume::layout::temporary_name;
use crate::volume::remove::{NotRemoved, remove_all};
use crate::volume::writer_lock::{Lock, busy, is_at, locker, own_description, shown_description, try_lock};
use crate::volume::xattrs::{self, XattrAccess, room};

/// The extended attribute of an unfinished image that contains the description of its writer, for messages of other
/// processes. It is missing if the filesystem has no extended attributes.
const WRITER_XATTR: &[u8] = b"user.decant.writer";

/// Opens the directory of an image.
pub fn open_directory(directory: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = match rustix::fs::open(directory, flags, Mode::empty()) {
        // A directory that is writable but not readable, such as a drop box, is supported, too.
        Err(Errno::ACCESS) => {
            let named = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            rustix::fs::open(directory, named, Mode::empty())
        }
        opened => opened,
    };
    opened.map_err(|e| Error::target("open the directory", directory, e.into()))
}

/// The leftover of the image `image_name` in `directory`, open for reading; `None` if there is none that is usable.
pub fn readable(directory: &Path, image_name: &OsStr) -> Result<Option<File>> {
    Ok(open(&open_directory(directory)?, &temporary_name(image_name), OFlags::RDONLY).ok())
}

/// Opens a leftover. It must be a regular file with one name: writing to a file with further names would change it
/// under those names. Opening any other kind of entry may block or have side effects.
pub(super) fn open(directory: &OwnedFd, temporary: &OsStr, flags: OFlags) -> Result<File, Errno> {
    let is_ours =
        |stat: &Stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_nlink == 1;
    if !is_ours(&statat(directory, temporary, AtFlags::SYMLINK_NOFOLLOW)?) {
        return Err(Errno::INVAL);
    }
    let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = openat(directory, temporary, flags, Mode::empty())?;
    // Another entry may have got the name since the check.
    if is_ours(&fstat(&file)?) { Ok(file.into()) } else { Err(Errno::INVAL) }
}

/// Locks an unfinished image. Returns `false` if it has lost its name, because another process removed it as a
/// leftover. `path` is the path of the image.
///
/// Errors: `Kind::Target` if a process is writing the image.
pub(super) fn claim(directory: &OwnedFd, temporary: &OsStr, file: &File, path: &Path) -> Result<bool> {
    match try_lock(file, true).map_err(|cause| Error::target("lock", path, cause.into()))? {
        Lock::Busy => return Err(busy(path, &holder(file))),
        Lock::Unsupported => {
            log::info!(
                "cannot lock {}: its filesystem has no locks, so another writer would not be noticed",
                path.display()
            );
        }
        Lock::Held => {}
    }
    let is_ours = is_at(directory, temporary.as_bytes(), file);
    if is_ours {
        // Only for messages of other processes.
        let _ = XattrAccess::Open(file.as_fd()).set(WRITER_XATTR, own_description().as_bytes());
    }
    Ok(is_ours)
}

/// Removes the description of this process from a finished image.
pub(super) fn forget_writer(file: &File) {
    if let Err(cause) = xattrs::remove(file.as_fd(), WRITER_XATTR) {
        log::debug!("cannot remove an attribute of the unfinished image: {cause}");
    }
}

/// The process that writes an unfinished image.
fn holder(file: impl AsFd) -> String {
    let mut room = room();
    let stored =
        XattrAccess::Open(file.as_fd()).get(WRITER_XATTR, &mut room).ok().and_then(shown_description);
    locker(file, stored)
}

/// The first free name for `temporary`. Leftovers of attempts that have ended are removed, whatever they are. If a
/// leftover cannot be removed, it stays, and another name is used. `path` is the path of the image.
pub(super) fn free_name(
    directory: &OwnedFd,
    temporary: &OsStr,
    path: &Path,
    stop: &Stop,
) -> Result<OsString> {
    let mut free = None;
    let mut first = None;
    for name in names_for(temporary) {
        match remove(directory, &name, path, stop)? {
            Ok(()) => free = free.or(Some(name)),
            Err(why) => {
                Error::check(stop)?;
                log::warn!(
                    "cannot remove {}, which a previous attempt left next to {}: {why}; it stays in the volume",
                    name.display(),
                    path.display()
                );
                first = first.or(Some(why));
            }
        }
    }
    let cause = |why: Option<NotRemoved>| why.map_or(Errno::EXIST, |why| why.cause);
    free.ok_or_else(|| Error::target("remove what a previous attempt left of", path, cause(first).into()))
}

/// Removes the leftover of an attempt that has ended. It stays locked until it is removed: if two processes find it at
/// the same time, neither removes the new file of the other.
fn remove(directory: &OwnedFd, name: &OsStr, path: &Path, stop: &Stop) -> Result<Result<(), NotRemoved>> {
    let Ok(found) = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) else { return Ok(Ok(())) };
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut _locked = None;
    if FileType::from_raw_mode(found.st_mode) == FileType::RegularFile
        && let Ok(leftover) = openat(directory, name, flags, Mode::empty())
    {
        if try_lock(&leftover, true) == Ok(Lock::Busy) {
            return Err(busy(path, &holder(&leftover)));
        }
        if !is_at(directory, name.as_bytes(), &leftover) {
            return Ok(Ok(()));
        }
        _locked = Some(leftover);
    }
    let removed = remove_all(directory, name.as_bytes(), stop);
    if removed.is_ok() {
        log::info!("removed what a previous attempt left of {}", path.display());
    }
    Ok(removed)
}
