//! Removes a folder with everything in it. Symlinks are removed, never followed.
//!
//! Instead of descending, which needs an open folder or a remembered name per level, folders with content are
//! emptied into the topmost one until none is left. Depth and width cost neither memory nor descriptors.

use std::ffi::CStr;
use std::time::{Duration, Instant};

use decant_shared::stop::Stop;
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{AtFlags, Dir, RenameFlags, renameat, renameat_with, unlinkat};
use rustix::io::{Errno, Result};

use crate::unpack::beneath::open_folder;

/// How long a removal still takes when a stop is asked for. Enough for what most attempts leave, so that it does not stay;
/// short enough that a process that is to end does.
const AFTER_STOP: Duration = Duration::from_secs(1);

/// Removes `name` in `parent`, whatever it is. What is not there counts as removed.
///
/// Errors: `INTR` when `stop` is set and a second more was not enough; then a part of it is left, for the next removal.
pub(crate) fn remove_all(parent: impl AsFd, name: &[u8], stop: &Stop) -> Result<()> {
    remove_within(parent.as_fd(), name, &mut Patience { stop, grace: AFTER_STOP, stopped_at: None })
}

/// What a removal has left of its time.
struct Patience<'a> {
    stop: &'a Stop,
    /// How long it takes after a stop.
    grace: Duration,
    /// When it first saw the stop.
    stopped_at: Option<Instant>,
}

impl Patience<'_> {
    /// Asked before each name.
    fn check(&mut self) -> Result<()> {
        if !self.stop.is_set() {
            return Ok(());
        }
        let stopped_at = *self.stopped_at.get_or_insert_with(Instant::now);
        if stopped_at.elapsed() < self.grace { Ok(()) } else { Err(Errno::INTR) }
    }
}

fn remove_within(parent: BorrowedFd<'_>, name: &[u8], patience: &mut Patience<'_>) -> Result<()> {
    match remove_one(parent, name) {
        Err(Errno::NOTEMPTY) => {}
        result => return result,
    }
    let (top, _) = open_folder(parent, name)?;
    let mut moved = 0_u64;
    // Names that come up while a folder is read may be missed: again, until there is nothing.
    while for_each_name(top.as_fd(), |name| remove_or_flatten(top.as_fd(), name, &mut moved, patience))? {}
    remove_one(parent, name)
}

/// Removes a file or an empty folder. ENOTEMPTY: a folder with content.
pub(crate) fn remove_one(parent: impl AsFd, name: &[u8]) -> Result<()> {
    match unlinkat(&parent, name, AtFlags::empty()) {
        Err(Errno::NOENT) => Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => match unlinkat(&parent, name, AtFlags::REMOVEDIR) {
            Err(Errno::EXIST) => Err(Errno::NOTEMPTY),
            Err(Errno::NOTDIR) => Err(Errno::PERM),
            result => result,
        },
        result => result,
    }
}

fn remove_or_flatten(
    top: BorrowedFd<'_>,
    name: &CStr,
    moved: &mut u64,
    patience: &mut Patience<'_>,
) -> Result<()> {
    patience.check()?;
    match remove_one(top, name.to_bytes()) {
        Err(Errno::NOTEMPTY) => {}
        result => return result,
    }
    let (folder, _) = open_folder(top, name.to_bytes())?;
    for_each_name(folder.as_fd(), |child| {
        patience.check()?;
        match remove_one(&folder, child.to_bytes()) {
            Err(Errno::NOTEMPTY) => move_up(folder.as_fd(), child, top, moved),
            result => result,
        }
    })?;
    match remove_one(top, name.to_bytes()) {
        // The next round takes the rest.
        Err(Errno::NOTEMPTY) => Ok(()),
        result => result,
    }
}

fn move_up(folder: BorrowedFd<'_>, child: &CStr, top: BorrowedFd<'_>, moved: &mut u64) -> Result<()> {
    // A folder can only change its parent if it is writable itself.
    open_folder(folder, child.to_bytes())?;
    loop {
        *moved += 1;
        let name = moved.to_string();
        match renameat_with(folder, child, top, &name, RenameFlags::NOREPLACE) {
            Err(Errno::EXIST) => {}
            // Only an empty folder can be replaced this way, and that is to be removed anyway.
            Err(Errno::INVAL | Errno::NOSYS) => match renameat(folder, child, top, &name) {
                Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR) => {}
                result => return result,
            },
            result => return result,
        }
    }
}

/// Calls `action` for each name in `folder`. Returns whether there was one.
fn for_each_name(folder: BorrowedFd<'_>, mut action: impl FnMut(&CStr) -> Result<()>) -> Result<bool> {
    let mut has_names = false;
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            has_names = true;
            action(entry.file_name())?;
        }
    }
    Ok(has_names)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_deep_closed_tree_goes_and_what_symlinks_lead_to_stays() {
        let scratch = tempfile::tempdir().unwrap();
        let outside = scratch.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("kept"), "kept").unwrap();
        let tree = scratch.path().join("tree");
        let mut deep = tree.clone();
        for depth in 0..100 {
            fs::create_dir(&deep).unwrap();
            symlink(&outside, deep.join("link")).unwrap();
            fs::create_dir(deep.join(depth.to_string())).unwrap();
            fs::write(deep.join("file"), "x").unwrap();
            deep.push("d");
        }
        fs::set_permissions(deep.parent().unwrap(), fs::Permissions::from_mode(0o500)).unwrap();
        let root = fs::File::open(scratch.path()).unwrap();
        remove_all(&root, b"tree", &Stop::new()).unwrap();
        assert!(!tree.exists());
        assert!(outside.join("kept").exists());
        remove_all(&root, b"tree", &Stop::new()).unwrap();
    }

    #[test]
    fn a_stop_ends_a_removal_and_the_next_one_takes_the_rest() {
        let scratch = tempfile::tempdir().unwrap();
        let deep = scratch.path().join("tree/folder/below");
        fs::create_dir_all(&deep).unwrap();
        fs::write(deep.join("file"), "x").unwrap();
        let root = fs::File::open(scratch.path()).unwrap();
        let stop = Stop::new();
        stop.by_signal(15);
        let mut patience = Patience { stop: &stop, grace: Duration::ZERO, stopped_at: None };
        assert_eq!(remove_within(root.as_fd(), b"tree", &mut patience), Err(Errno::INTR));
        assert!(deep.join("file").exists());
        // Not much is left: within the time that there is after a stop.
        remove_all(&root, b"tree", &stop).unwrap();
        assert!(!scratch.path().join("tree").exists());
    }
}
