//! Moves a directory that the filesystem cannot rename: overlayfs and fuse-overlayfs return EXDEV for a directory of a
//! lower layer.
//!
//! A directory with the same attributes is created in the new place, and the entries are moved one by one. Until the
//! last entry is moved, the content is in two places. Nothing is copied, and only empty directories are removed. So the
//! entries can be moved back, even after a kill ([`crate::volume::tree::write::put_back`]).

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, RenameFlags, Stat, Timespec, Timestamps, Uid, fchmod, fchown,
    futimens, mkdirat, renameat, renameat_with, statat, unlinkat,
};
use rustix::io::{Errno, Result};

use crate::volume::tree::write::beneath::{WORKING_MODE, open_directory};
use crate::volume::xattrs::{XattrAccess, names, room};

/// The maximum number of directory levels that are moved in parts. Each level needs two descriptors.
const MAX_DEPTH: u32 = 128;
/// How many times a directory is read until it is empty. Names that are added during a pass may be missed.
const PASSES: u32 = 16;

/// Moves the directory `name` from `from` to `to` in parts. If `to` has a directory of that name, the entries are moved
/// into it. After an error everything is moved back to `from`, if that is possible.
///
/// Errors: `EXIST` if an entry has the same name, `NAMETOOLONG` if the directory is too deep.
pub(super) fn move_directory(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
    move_within(from, to, name, MAX_DEPTH)
}

/// Moves `name`. Errors: `EXIST` if `to` has an entry of that name.
pub(super) fn move_unless_there(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
    match renameat_with(from, name, to, name, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS) => match statat(to, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => renameat(from, name, to, name),
            found => found.and(Err(Errno::EXIST)),
        },
        result => result,
    }
}

/// Whether `name` in `directory` is a directory.
pub(super) fn is_directory(directory: BorrowedFd<'_>, name: &[u8]) -> bool {
    statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|found| FileType::from_raw_mode(found.st_mode) == FileType::Directory)
}

fn move_within(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &[u8], depth: u32) -> Result<()> {
    let depth = depth.checked_sub(1).ok_or(Errno::NAMETOOLONG)?;
    if !is_directory(from, name) {
        return Err(Errno::EXIST);
    }
    let (source, found) = open_directory(from, name)?;
    let is_made = match mkdirat(to, name, WORKING_MODE) {
        Ok(()) => true,
        Err(Errno::EXIST) if is_directory(to, name) => false,
        Err(cause) => return Err(cause),
    };
    let (place, found_there) = open_directory(to, name)?;
    if is_made {
        make_alike(&source, &found, &place);
    }
    let moved = move_children(&source, &place, depth);
    // Errors are ignored, because this only restores attributes of directories.
    let _ = finish(&place, if is_made { &found } else { &found_there });
    if let Err(cause) = moved {
        let _ = move_children(&place, &source, depth);
        let _ = finish(&source, &found);
        if is_made {
            let _ = unlinkat(to, name, AtFlags::REMOVEDIR);
        }
        return Err(cause);
    }
    unlinkat(from, name, AtFlags::REMOVEDIR)
}

fn move_children(from: &OwnedFd, to: &OwnedFd, depth: u32) -> Result<()> {
    for _ in 0..PASSES {
        let mut is_empty = true;
        for entry in Dir::read_from(from)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            is_empty = false;
            match move_unless_there(from.as_fd(), to.as_fd(), name) {
                Err(Errno::XDEV | Errno::EXIST) => move_within(from.as_fd(), to.as_fd(), name, depth)?,
                result => result?,
            }
        }
        if is_empty {
            return Ok(());
        }
    }
    Err(Errno::NOTEMPTY)
}

/// Gives a new directory the owner and the extended attributes of another directory, as far as this is permitted.
fn make_alike(like: &OwnedFd, found: &Stat, directory: &OwnedFd) {
    let _ = fchown(directory, Some(Uid::from_raw(found.st_uid)), Some(Gid::from_raw(found.st_gid)));
    let mut list = room();
    let mut value = room();
    let Ok(list) = XattrAccess::Open(like.as_fd()).list(&mut list) else { return };
    for name in names(list) {
        if let Ok(value) = XattrAccess::Open(like.as_fd()).get(name, &mut value) {
            let _ = XattrAccess::Open(directory.as_fd()).set(name, value);
        }
    }
}

/// Sets the mode and the times of a directory to those of `like`.
fn finish(directory: &OwnedFd, like: &Stat) -> Result<()> {
    fchmod(directory, Mode::from_raw_mode(like.st_mode))?;
    let time = |tv_sec, nanoseconds| Timespec { tv_sec, tv_nsec: i64::try_from(nanoseconds).unwrap_or(0) };
    let times = Timestamps {
        last_access: time(like.st_atime, like.st_atime_nsec),
        last_modification: time(like.st_mtime, like.st_mtime_nsec),
    };
    futimens(directory, &times)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;

    #[test]
    fn a_directory_that_is_moved_in_parts_keeps_its_mode_and_time() {
        let scratch = tempfile::tempdir().unwrap();
        let at = |name: &str| scratch.path().join(name);
        fs::create_dir_all(at("from/a/sub/deep")).unwrap();
        fs::create_dir(at("to")).unwrap();
        fs::write(at("from/a/sub/file"), "x").unwrap();
        fs::set_permissions(at("from/a"), fs::Permissions::from_mode(0o550)).unwrap();
        let before = at("from/a").metadata().unwrap();
        let open = |name: &str| fs::File::open(at(name)).unwrap();
        move_directory(open("from").as_fd(), open("to").as_fd(), b"a").unwrap();
        let after = at("to/a").metadata().unwrap();
        assert!(!at("from/a").exists() && at("to/a/sub/deep").exists() && at("to/a/sub/file").exists());
        assert_eq!((after.mode(), after.mtime_nsec()), (before.mode(), before.mtime_nsec()));
    }

    #[test]
    fn an_entry_in_the_way_leaves_everything_in_place() {
        let scratch = tempfile::tempdir().unwrap();
        let at = |name: &str| scratch.path().join(name);
        for name in ["from/a/1", "from/a/2", "from/a/sub"] {
            fs::create_dir_all(at(name)).unwrap();
        }
        fs::create_dir_all(at("to/a")).unwrap();
        fs::write(at("to/a/sub"), "in the way").unwrap();
        let open = |name: &str| fs::File::open(at(name)).unwrap();
        assert!(move_directory(open("from").as_fd(), open("to").as_fd(), b"a").is_err());
        assert!(at("from/a/1").exists() && at("from/a/2").exists() && at("from/a/sub").is_dir());
        assert_eq!(fs::read(at("to/a/sub")).unwrap(), b"in the way");
    }
}
