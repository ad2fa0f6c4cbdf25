//! What an attempt leaves beside an image: its name, whether it can be used again, and how it goes.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use decant_shared::stop::Stop;
use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags, Stat, flock, fstat, openat, statat};
use rustix::io::Errno;

use crate::error::{Error, Kind, Result};
use crate::unpack::remove::remove_all;
use crate::unpack::reserved::names_for;
pub use crate::unpack::reserved::temporary_name;

/// Opens the folder that an image is in.
pub fn open_folder(folder: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = match rustix::fs::open(folder, flags, Mode::empty()) {
        // One that may be written to and not be listed, such as a drop box, can still be worked in.
        Err(Errno::ACCESS) => {
            let named = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            rustix::fs::open(folder, named, Mode::empty())
        }
        opened => opened,
    };
    opened.map_err(|e| Error::target("open the folder", folder, e.into()))
}

/// What an attempt left of the image `image_name` in `folder`, open for reading; `None` where there is nothing of ours.
pub fn readable(folder: &Path, image_name: &OsStr) -> Result<Option<File>> {
    Ok(open(&open_folder(folder)?, &temporary_name(image_name), OFlags::RDONLY).ok())
}

/// Opens what an attempt left. Only a regular file without further names is ours: writing into another one would change
/// what has the other name, and opening what is no file may wait or do something.
pub(super) fn open(folder: &OwnedFd, temporary: &OsStr, flags: OFlags) -> Result<File, Errno> {
    let is_ours =
        |stat: &Stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_nlink == 1;
    if !is_ours(&statat(folder, temporary, AtFlags::SYMLINK_NOFOLLOW)?) {
        return Err(Errno::INVAL);
    }
    let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = openat(folder, temporary, flags, Mode::empty())?;
    // It may have been replaced meanwhile.
    if is_ours(&fstat(&file)?) { Ok(file.into()) } else { Err(Errno::INVAL) }
}

/// The first of the names for `temporary` under which nothing is left. What attempts left that are not running any more is
/// removed, whatever it is. What cannot be removed stays, and another name is taken. `path` is that of the image.
pub(super) fn free_name(folder: &OwnedFd, temporary: &OsStr, path: &Path, stop: &Stop) -> Result<OsString> {
    let (mut free, mut why) = (None, None);
    for name in names_for(temporary) {
        match remove(folder, &name, path, stop)? {
            Ok(()) => free = free.or(Some(name)),
            Err(cause) => {
                Error::check(stop)?;
                log::warn!(
                    "cannot remove {}, which an attempt before left beside {}: {cause}; it stays in the volume",
                    name.display(),
                    path.display()
                );
                why = why.or(Some(cause));
            }
        }
    }
    free.ok_or_else(|| Error::target("remove the remains of", path, why.unwrap_or(Errno::EXIST).into()))
}

/// Removes what an attempt left that is not running any more.
fn remove(folder: &OwnedFd, name: &OsStr, path: &Path, stop: &Stop) -> Result<Result<(), Errno>> {
    let Ok(found) = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) else { return Ok(Ok(())) };
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    if FileType::from_raw_mode(found.st_mode) == FileType::RegularFile
        && let Ok(leftover) = openat(folder, name, flags, Mode::empty())
        && flock(&leftover, FlockOperation::NonBlockingLockExclusive) == Err(Errno::WOULDBLOCK)
    {
        let path = path.display();
        return Err(Error::new(Kind::Target, format!("somebody else is writing {path} right now")));
    }
    let removed = remove_all(folder, name.as_bytes(), stop);
    if removed.is_ok() {
        log::info!("removed what an earlier attempt left of {}", path.display());
    }
    Ok(removed)
}
