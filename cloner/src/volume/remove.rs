//! Removes a directory with its content. Symlinks are removed and never followed.
//!
//! Descending would need an open directory or a name in memory for each level. Instead, the content of subdirectories
//! is moved up into the topmost directory until no subdirectory is left. So memory and descriptors do not depend on
//! depth and width.
//!
//! Entries that cannot be removed stay, with their parent directories. All others are removed. The first entry that
//! stays is reported.

use std::ffi::CStr;
use std::fmt;
use std::time::{Duration, Instant};

use decant_shared::process::stop::Stop;
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{AtFlags, Dir, RenameFlags, renameat, renameat_with, unlinkat};
use rustix::io::Errno;

use crate::attributes::name::shown;
use crate::volume::tree::write::beneath::open_directory;

/// How long a removal may continue after a stop: long enough for most leftovers, and short enough for a process that
/// must exit.
const AFTER_STOP: Duration = Duration::from_secs(1);
/// The prefix of the name that a filesystem based on libfuse gives to a removed file that a process holds open.
/// Removing that name only gives the file another such name.
const HELD_OPEN: &[u8] = b".fuse_hidden";
/// The maximum number of such names in one pass over a directory. Without it the pass might never end.
const HELD_OPEN_LIMIT: u32 = 64;
/// A directory is read again while the number of its names decreases. Names that change during a pass may be missed or
/// returned twice, so this many further passes may remove nothing.
const STALLED_LIMIT: u32 = 8;

/// Why an entry was not removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NotRemoved {
    /// The error of the filesystem. `INTR` means a stop.
    pub(crate) cause: Errno,
    /// The name of the first entry that stays, without its path.
    entry: Vec<u8>,
}

impl NotRemoved {
    pub(crate) fn new(cause: Errno, entry: &[u8]) -> Self {
        Self { cause, entry: entry.to_vec() }
    }
}

impl fmt::Display for NotRemoved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", shown(&self.entry))?;
        match self.cause {
            Errno::BUSY if self.entry.starts_with(HELD_OPEN) => f.write_str("a process holds it open"),
            cause => write!(f, "{cause}"),
        }
    }
}

/// Removes `name` in `parent`, whatever type it has. A name that does not exist counts as removed.
///
/// Errors: the first entry that stays, and the reason. `INTR` if `stop` is set and the removal took more than a second
/// after that. The next removal then removes the rest.
pub(crate) fn remove_all(parent: impl AsFd, name: &[u8], stop: &Stop) -> Result<(), NotRemoved> {
    remove_within(parent.as_fd(), name, RemovalDeadline { stop, grace: AFTER_STOP, stopped_at: None })
}

/// Removes everything in the open directory `top` except names for which `is_kept` returns true. Errors: as for
/// [`remove_all`].
pub(crate) fn empty(top: impl AsFd, is_kept: &dyn Fn(&[u8]) -> bool, stop: &Stop) -> Result<(), NotRemoved> {
    empty_within(top.as_fd(), is_kept, RemovalDeadline { stop, grace: AFTER_STOP, stopped_at: None })
}

/// The time limit of a removal after a stop.
struct RemovalDeadline<'a> {
    stop: &'a Stop,
    /// How long the removal may continue after a stop.
    grace: Duration,
    /// The time when the stop was noticed.
    stopped_at: Option<Instant>,
}

impl RemovalDeadline<'_> {
    /// Called before each name.
    fn check(&mut self) -> Result<(), Errno> {
        if !self.stop.is_set() {
            return Ok(());
        }
        let stopped_at = *self.stopped_at.get_or_insert_with(Instant::now);
        if stopped_at.elapsed() < self.grace { Ok(()) } else { Err(Errno::INTR) }
    }
}

/// A removal in progress.
struct Removal<'a> {
    deadline: RemovalDeadline<'a>,
    /// The number of directories that were moved up. It is the name of the last one.
    moved: u64,
    /// The first entry that could not be removed.
    first: Option<NotRemoved>,
}

fn remove_within(
    parent: BorrowedFd<'_>,
    name: &[u8],
    deadline: RemovalDeadline<'_>,
) -> Result<(), NotRemoved> {
    let not_removed = |cause| NotRemoved::new(cause, name);
    match remove_one(parent, name) {
        Err(Errno::NOTEMPTY) => {}
        result => return result.map_err(not_removed),
    }
    let (top, _) = open_directory(parent, name).map_err(not_removed)?;
    empty_within(top.as_fd(), &|_| false, deadline)?;
    remove_one(parent, name).map_err(not_removed)
}

fn empty_within(
    top: BorrowedFd<'_>,
    is_kept: &dyn Fn(&[u8]) -> bool,
    deadline: RemovalDeadline<'_>,
) -> Result<(), NotRemoved> {
    let mut removal = Removal { deadline, moved: 0, first: None };
    removal.drain(top, &mut |removal, name| {
        if is_kept(name.to_bytes()) { Ok(Done::Kept) } else { removal.remove_or_flatten(top, name) }
    })
}

/// The result of the removal of a name.
enum Done {
    /// It was removed from its directory.
    Gone,
    /// It stays on purpose.
    Kept,
}

impl Removal<'_> {
    /// Calls `act`, which removes a name from `directory`, until no name is left or a pass changes nothing.
    fn drain(
        &mut self,
        directory: BorrowedFd<'_>,
        act: &mut dyn FnMut(&mut Self, &CStr) -> Result<Done, NotRemoved>,
    ) -> Result<(), NotRemoved> {
        let mut least = u64::MAX;
        let mut stalled = 0;
        loop {
            let moved = self.moved;
            let mut found = 0_u64;
            let mut gone = 0_u64;
            let mut held_open = 0;
            let mut last = Vec::new();
            for_each_name(directory, |name| {
                let bytes = name.to_bytes();
                self.deadline.check().map_err(|cause| NotRemoved::new(cause, bytes))?;
                match act(self, name) {
                    Ok(Done::Kept) => return Ok(true),
                    Ok(Done::Gone) => gone += 1,
                    Err(stopped) if stopped.cause == Errno::INTR => return Err(stopped),
                    Err(why) => _ = self.first.get_or_insert(why),
                }
                found += 1;
                held_open += u32::from(bytes.starts_with(HELD_OPEN));
                if last.is_empty() || bytes.starts_with(HELD_OPEN) {
                    last = bytes.to_vec();
                }
                Ok(held_open < HELD_OPEN_LIMIT)
            })?;
            if found == 0 {
                return Ok(());
            }
            stalled += u32::from(found >= least && self.moved == moved);
            least = least.min(found);
            if (gone == 0 && self.moved == moved) || stalled > STALLED_LIMIT {
                return Err(self.first.clone().unwrap_or_else(|| NotRemoved::new(Errno::BUSY, &last)));
            }
        }
    }

    fn remove_or_flatten(&mut self, top: BorrowedFd<'_>, name: &CStr) -> Result<Done, NotRemoved> {
        let not_removed = |cause| NotRemoved::new(cause, name.to_bytes());
        match remove_one(top, name.to_bytes()) {
            Err(Errno::NOTEMPTY) => {}
            result => return result.map(|()| Done::Gone).map_err(not_removed),
        }
        let (directory, _) = open_directory(top, name.to_bytes()).map_err(not_removed)?;
        self.drain(directory.as_fd(), &mut |removal, child| {
            let removed = match remove_one(&directory, child.to_bytes()) {
                Err(Errno::NOTEMPTY) => move_up(directory.as_fd(), child, top, &mut removal.moved),
                result => result,
            };
            removed.map(|()| Done::Gone).map_err(|cause| NotRemoved::new(cause, child.to_bytes()))
        })?;
        remove_one(top, name.to_bytes()).map(|()| Done::Gone).map_err(not_removed)
    }
}

/// Removes a file or an empty directory. Errors: ENOTEMPTY for a directory with content.
pub(crate) fn remove_one(parent: impl AsFd, name: &[u8]) -> Result<(), Errno> {
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

fn move_up(
    directory: BorrowedFd<'_>,
    child: &CStr,
    top: BorrowedFd<'_>,
    moved: &mut u64,
) -> Result<(), Errno> {
    // Moving a directory changes its `..`, so the directory must be writable.
    open_directory(directory, child.to_bytes())?;
    loop {
        *moved += 1;
        let name = moved.to_string();
        match renameat_with(directory, child, top, &name, RenameFlags::NOREPLACE) {
            Err(Errno::EXIST) => {}
            // This can replace only an empty directory, which is to be removed anyway.
            Err(Errno::INVAL | Errno::NOSYS) => match renameat(directory, child, top, &name) {
                Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR) => {}
                result => return result,
            },
            result => return result,
        }
    }
}

/// Calls `action` for each name in `directory` until it returns `false`.
fn for_each_name(
    directory: BorrowedFd<'_>,
    mut action: impl FnMut(&CStr) -> Result<bool, NotRemoved>,
) -> Result<(), NotRemoved> {
    let not_removed = |cause| NotRemoved::new(cause, b".");
    for entry in Dir::read_from(directory).map_err(not_removed)? {
        let entry = entry.map_err(not_removed)?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") && !action(entry.file_name())? {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_deep_tree_is_removed_and_symlinks_are_not_followed() {
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
    fn a_stop_ends_a_removal_and_the_next_one_removes_the_rest() {
        let scratch = tempfile::tempdir().unwrap();
        let deep = scratch.path().join("tree/folder/below");
        fs::create_dir_all(&deep).unwrap();
        fs::write(deep.join("file"), "x").unwrap();
        let root = fs::File::open(scratch.path()).unwrap();
        let stop = Stop::new();
        stop.by_signal(15);
        let deadline = RemovalDeadline { stop: &stop, grace: Duration::ZERO, stopped_at: None };
        assert_eq!(remove_within(root.as_fd(), b"tree", deadline).unwrap_err().cause, Errno::INTR);
        assert!(deep.join("file").exists());
        // Not much is left: one second after the stop is enough.
        remove_all(&root, b"tree", &stop).unwrap();
        assert!(!scratch.path().join("tree").exists());
    }

    #[test]
    fn one_entry_that_stays_is_named_and_all_others_are_removed() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let scratch = tempfile::tempdir().unwrap();
        fs::create_dir_all(scratch.path().join("tree/a/b")).unwrap();
        for name in ["tree/a/b/held", "tree/a/other", "tree/other"] {
            fs::write(scratch.path().join(name), "x").unwrap();
        }
        let mounted = scratch.path().join("tree/a/b/held");
        let mount =
            |words: &[&str]| std::process::Command::new(words[0]).args(&words[1..]).arg(&mounted).status();
        assert!(mount(&["mount", "--bind", "/dev/null"]).unwrap().success());
        let root = fs::File::open(scratch.path()).unwrap();
        let why = remove_all(&root, b"tree", &Stop::new()).unwrap_err();
        let left = std::process::Command::new("find")
            .arg(scratch.path())
            .args(["-not", "-type", "d"])
            .output()
            .unwrap();
        let find =
            std::process::Command::new("find").arg(scratch.path()).args(["-name", "held"]).output().unwrap();
        let held = String::from_utf8(find.stdout).unwrap();
        assert!(std::process::Command::new("umount").arg(held.trim()).status().unwrap().success());
        assert_eq!((why.cause, why.to_string().starts_with("\"held\": ")), (Errno::BUSY, true), "{why}");
        assert_eq!(String::from_utf8_lossy(&left.stdout).trim(), held.trim());
    }
}
