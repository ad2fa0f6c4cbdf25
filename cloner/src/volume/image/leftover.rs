//! What an attempt leaves beside an image: its name, whether it can be used again, and how it goes.

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
use crate::volume::writer_lock::{Lock, busy, is_at, locker, own_words, shown_words, try_lock};
use crate::volume::xattrs::{self, XattrAccess, room};

/// The extended attribute of an unfinished image that holds its writer's words about itself, for messages of others. Where a
/// filesystem has none, they do without.
const WRITER_XATTR: &[u8] = b"user.decant.writer";

/// Opens the directory that an image is in.
pub fn open_directory(directory: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = match rustix::fs::open(directory, flags, Mode::empty()) {
        // One that may be written to and not be listed, such as a drop box, can still be worked in.
        Err(Errno::ACCESS) => {
            let named = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            rustix::fs::open(directory, named, Mode::empty())
        }
        opened => opened,
    };
    opened.map_err(|e| Error::target("open the folder", directory, e.into()))
}

/// What an attempt left of the image `image_name` in `directory`, open for reading; `None` where there is nothing of ours.
pub fn readable(directory: &Path, image_name: &OsStr) -> Result<Option<File>> {
    Ok(open(&open_directory(directory)?, &temporary_name(image_name), OFlags::RDONLY).ok())
}

/// Opens what an attempt left. Only a regular file without further names is ours: writing into another one would change
/// what has the other name, and opening what is no file may wait or do something.
pub(super) fn open(directory: &OwnedFd, temporary: &OsStr, flags: OFlags) -> Result<File, Errno> {
    let is_ours =
        |stat: &Stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_nlink == 1;
    if !is_ours(&statat(directory, temporary, AtFlags::SYMLINK_NOFOLLOW)?) {
        return Err(Errno::INVAL);
    }
    let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = openat(directory, temporary, flags, Mode::empty())?;
    // It may have been replaced meanwhile.
    if is_ours(&fstat(&file)?) { Ok(file.into()) } else { Err(Errno::INVAL) }
}

/// Takes the lock of an unfinished image. `false`: it has lost its name, which means that another process took it for a leftover
/// first. `Kind::Target`: a process is writing it. `path` is that of the image.
pub(super) fn claim(directory: &OwnedFd, temporary: &OsStr, file: &File, path: &Path) -> Result<bool> {
    match try_lock(file, true).map_err(|cause| Error::target("lock", path, cause.into()))? {
        Lock::Busy => return Err(busy(path, &holder(file))),
        Lock::Unsupported => {
            log::info!("{} cannot be locked: another writer would not be noticed", path.display());
        }
        Lock::Held => {}
    }
    let is_ours = is_at(directory, temporary.as_bytes(), file);
    if is_ours {
        // Only words for others.
        let _ = XattrAccess::Open(file.as_fd()).set(WRITER_XATTR, own_words().as_bytes());
    }
    Ok(is_ours)
}

/// Takes this process's words out of a finished image.
pub(super) fn forget_writer(file: &File) {
    if let Err(cause) = xattrs::remove(file.as_fd(), WRITER_XATTR) {
        log::debug!("an attribute of an unfinished image stays: {cause}");
    }
}

/// Who writes to an unfinished image.
fn holder(file: impl AsFd) -> String {
    let mut room = room();
    let stored = XattrAccess::Open(file.as_fd()).get(WRITER_XATTR, &mut room).ok().and_then(shown_words);
    locker(file, stored)
}

/// The first of the names for `temporary` under which nothing is left. What attempts left that are not running any more is
/// removed, whatever it is. What cannot be removed stays, and another name is taken. `path` is that of the image.
pub(super) fn free_name(
    directory: &OwnedFd,
    temporary: &OsStr,
    path: &Path,
    stop: &Stop,
) -> Result<OsString> {
    let (mut free, mut first) = (None, None);
    for name in names_for(temporary) {
        match remove(directory, &name, path, stop)? {
            Ok(()) => free = free.or(Some(name)),
            Err(why) => {
                Error::check(stop)?;
                log::warn!(
                    "cannot remove {}, which an attempt before left beside {}: {why}; it stays in the volume",
                    name.display(),
                    path.display()
                );
                first = first.or(Some(why));
            }
        }
    }
    let cause = |why: Option<NotRemoved>| why.map_or(Errno::EXIST, |why| why.cause);
    free.ok_or_else(|| Error::target("remove the remains of", path, cause(first).into()))
}

/// Removes what an attempt left that is not running any more. The lock is held until it is gone: two processes that find it at
/// the same time do not remove what the other one has begun.
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
        log::info!("removed what an earlier attempt left of {}", path.display());
    }
    Ok(removed)
}
