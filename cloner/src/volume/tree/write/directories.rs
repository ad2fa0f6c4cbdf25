//! The directories from the root to the current member. They are kept open.
//!
//! This avoids a walk from the root for each member. A directory gets its mode and time when the writer leaves it,
//! because writing into it changes its time and may need more permissions than its final mode gives. Archives are depth
//! first, so this happens once per directory. If a later member returns to a directory, its attributes are restored
//! afterwards. So nothing has to be stored about completed directories.

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags, Stat, fstat, mkdirat, openat};
use rustix::io::{Errno, Result};

use crate::attributes::not_kept::NotKept;
use crate::volume::tree::write::attributes::{Attributes, Birth};
use crate::volume::tree::write::beneath::open_directory;
use crate::volume::tree::write::folding::{Folding, SEEN_BYTES, Seen};
use crate::volume::tree::write::late::{DIRECTORY_BITS, Late, chmod_unfollowed};
use crate::volume::tree::write::member_name::MemberName;

/// The maximum number of levels that are open at the same time.
const MAX_OPEN: usize = 48;
/// The number of levels that are opened again together when a closed level is reached from below.
const REOPENED: usize = 24;
/// The maximum memory for the extended attributes that directories get when the writer leaves them. The kernel's limit
/// for one directory is much smaller, but a deep tree has many open directories.
const PENDING_XATTRS_BYTES: usize = 4 << 20;

/// The path to the current directory. The root is the target directory.
pub(super) struct Directories {
    root: OwnedFd,
    levels: Vec<DirectoryLevel>,
    /// The memory for the extended attributes of all levels.
    xattrs_bytes: usize,
    /// The entries whose modes are set at the end.
    pub(super) late: Late,
    /// Whether the filesystem treats different names as the same.
    folding: Folding,
    /// The number of names that were created in the root.
    top_names: u64,
    /// Those names.
    seen: Seen,
    /// The memory that is left for the names of all levels.
    seen_room_bytes: usize,
    /// The last name that could not be used.
    taken: Option<Taken>,
}

/// A name that cannot be used because the filesystem treats it as the same as another one.
pub(super) struct Taken {
    /// The wanted name.
    pub(super) name: Vec<u8>,
    /// The name that exists.
    pub(super) by: Vec<u8>,
}

struct DirectoryLevel {
    name: Vec<u8>,
    /// `None` if too many levels are below this one.
    fd: Option<OwnedFd>,
    /// Device and inode.
    identity: (u64, u64),
    /// The attributes that the directory gets when the writer leaves it.
    pending: Attributes,
    /// The attributes of new entries. They are known if the directory was created here.
    birth: Option<Birth>,
    /// The names that were created in it.
    seen: Seen,
}

impl Directories {
    /// Starts in `root`. `folding` describes its filesystem.
    pub(super) fn new(root: OwnedFd, folding: Folding) -> Self {
        let levels = Vec::new();
        let seen = Seen::of_new();
        let seen_room_bytes = SEEN_BYTES;
        Self {
            root,
            levels,
            xattrs_bytes: 0,
            folding,
            top_names: 0,
            seen,
            seen_room_bytes,
            taken: None,
            late: Late::default(),
        }
    }

    /// The number of names that were created in the root.
    pub(super) fn top_names(&self) -> u64 {
        self.top_names
    }

    /// Records that `name` was created in the current directory.
    pub(super) fn made(&mut self, name: &[u8]) {
        let seen = match self.levels.last_mut() {
            Some(level) => &mut level.seen,
            None => {
                self.top_names += 1;
                &mut self.seen
            }
        };
        self.folding.note(seen, name, &mut self.seen_room_bytes);
    }

    /// Records that an entry was removed from the current directory.
    pub(super) fn removed(&mut self) {
        if self.levels.is_empty() {
            self.top_names = self.top_names.saturating_sub(1);
        }
    }

    /// The other name in the current directory that the filesystem treats as the same as `name`, if it exists.
    pub(super) fn other_name(&self, name: &[u8]) -> Result<Option<Vec<u8>>> {
        let seen = self.levels.last().map_or(&self.seen, |level| &level.seen);
        self.folding.other_name(self.current(), seen, name)
    }

    /// The name that prevented the creation when [`Directories::enter`] returned EEXIST.
    pub(super) fn taken(&mut self) -> Option<Taken> {
        self.taken.take()
    }

    /// The target directory.
    pub(super) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// The current directory.
    pub(super) fn current(&self) -> BorrowedFd<'_> {
        match self.levels.last().and_then(|level| level.fd.as_ref()) {
            Some(fd) => fd.as_fd(),
            // Only the root has no level: `leave` always opens the last level.
            None => self.root(),
        }
    }

    /// The attributes of new entries in the current directory, if known.
    pub(super) fn birth(&self) -> Option<Birth> {
        self.levels.last().and_then(|level| level.birth)
    }

    /// Whether `name` is the current directory.
    pub(super) fn is_current(&self, name: MemberName<'_>) -> bool {
        name.components().eq(self.levels.iter().map(|level| level.name.as_slice()))
    }

    /// Enters the directory `name`. Creates missing directories.
    ///
    /// Errors: ENOTDIR if a component is not a directory. EEXIST if the filesystem treats another name as the same, see
    /// [`Directories::taken`].
    pub(super) fn enter(&mut self, name: MemberName<'_>, not_kept: &mut NotKept) -> Result<()> {
        let mut depth = 0;
        for component in name.components() {
            if self.levels.get(depth).is_none_or(|level| level.name != component) {
                self.leave(depth, not_kept)?;
                self.step_into(component)?;
            }
            depth += 1;
        }
        self.leave(depth, not_kept)
    }

    /// Sets the attributes that the current directory gets when the writer leaves it.
    pub(super) fn set_pending(&mut self, mut attributes: Attributes) {
        let Some(level) = self.levels.last_mut() else { return };
        let others_bytes = self.xattrs_bytes - level.pending.xattrs_bytes();
        if others_bytes + attributes.xattrs_bytes() > PENDING_XATTRS_BYTES {
            attributes.drop_xattrs();
        }
        self.xattrs_bytes = others_bytes + attributes.xattrs_bytes();
        level.pending = attributes;
    }

    /// Leaves all directories below `depth`, the deepest first.
    pub(super) fn leave(&mut self, depth: usize, not_kept: &mut NotKept) -> Result<()> {
        while self.levels.len() > depth {
            self.open_last()?;
            if let Some(DirectoryLevel { name, fd: Some(fd), mut pending, seen, .. }) = self.levels.pop() {
                self.seen_room_bytes += seen.bytes();
                // This comes before the final mode, which may not permit it.
                self.open_above(&fd);
                self.xattrs_bytes -= pending.xattrs_bytes();
                if pending.unreadable(DIRECTORY_BITS).is_some() {
                    let path = self.path_of(&name);
                    self.late.hold(&mut pending, DIRECTORY_BITS, || path);
                }
                not_kept.add(pending.apply_to(&fd)?, || self.path_of(&name));
            }
        }
        self.open_last()
    }

    /// Records that the mode of `name` in the current directory was lost.
    pub(super) fn forget_late(&mut self, name: &[u8]) {
        let path = self.path_of(name);
        self.late.forget(&path);
    }

    /// Sets the mode of `name` in the current directory now, if it was to be set at the end. This is needed if another
    /// entry replaces the name, because the file may have other names.
    pub(super) fn settle_late(&mut self, name: &[u8]) {
        let path = self.path_of(name);
        if let Some(mode) = self.late.forget(&path) {
            // If this fails, a file with another name stays readable for its owner.
            let _ = chmod_unfollowed(self.current(), name, mode);
        }
    }

    /// The path of `name` in the current directory, from the root.
    pub(super) fn path_of(&self, name: &[u8]) -> Vec<u8> {
        let mut path =
            self.levels.iter().flat_map(|level| [level.name.as_slice(), b"/"].concat()).collect::<Vec<_>>();
        path.extend_from_slice(name);
        path
    }

    fn step_into(&mut self, name: &[u8]) -> Result<()> {
        let parent = self.current();
        let (fd, found, pending, birth, seen) = match open_directory(parent, name) {
            Err(Errno::NOENT) => {
                // The directory is created with all bits, to see which of them are permitted here. No other user can
                // access the staging directory.
                mkdirat(parent, name, Mode::RWXU | Mode::RWXG | Mode::RWXO)?;
                let (fd, found) = open_directory(parent, name)?;
                let birth = Birth::in_new_directory(&found);
                self.made(name);
                (fd, found, Attributes::of_unlisted_directory(found.st_mode), Some(birth), Seen::of_new())
            }
            result => {
                let (fd, found) = result?;
                if let Some(by) = self.other_name(name)? {
                    self.taken = Some(Taken { name: name.to_vec(), by });
                    return Err(Errno::EXIST);
                }
                (fd, found, Attributes::as_found(&found), None, Seen::unknown())
            }
        };
        let identity = identity(&found);
        self.levels.push(DirectoryLevel {
            name: name.to_vec(),
            fd: Some(fd),
            identity,
            pending,
            birth,
            seen,
        });
        if let Some(far) = self.levels.len().checked_sub(MAX_OPEN + 1) {
            self.levels[far].fd = None;
        }
        Ok(())
    }

    /// Opens the last level, if it was closed, as the parent of `below`, which the writer just left. If that fails,
    /// [`Directories::open_last`] opens it from the root.
    fn open_above(&mut self, below: &OwnedFd) {
        let Some(level) = self.levels.last_mut().filter(|level| level.fd.is_none()) else { return };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        level.fd = openat(below, "..", flags, Mode::empty())
            .ok()
            .filter(|fd| fstat(fd).is_ok_and(|found| identity(&found) == level.identity));
    }

    /// Opens the last level, if it was closed, together with some levels above it.
    fn open_last(&mut self) -> Result<()> {
        let Some(last) = self.levels.len().checked_sub(1) else { return Ok(()) };
        if self.levels[last].fd.is_some() {
            return Ok(());
        }
        let start = self.levels.iter().rposition(|level| level.fd.is_some());
        let mut above: Option<OwnedFd> = None;
        for at in start.map_or(0, |start| start + 1)..=last {
            let parent = match (&above, at.checked_sub(1)) {
                (Some(fd), _) => fd.as_fd(),
                (None, Some(parent)) => {
                    self.levels[parent].fd.as_ref().map_or(self.root.as_fd(), AsFd::as_fd)
                }
                (None, None) => self.root.as_fd(),
            };
            let (fd, _) = open_directory(parent, &self.levels[at].name)?;
            if at + REOPENED > last {
                self.levels[at].fd = Some(fd.try_clone().map_err(|_| Errno::MFILE)?);
            }
            above = Some(fd);
        }
        Ok(())
    }
}

fn identity(directory: &Stat) -> (u64, u64) {
    (directory.st_dev, directory.st_ino)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attributes::{Attribute, Xattr};
    use crate::tar::entry::Entry;

    #[test]
    fn attributes_of_a_deep_tree_beyond_the_limit_are_counted_as_lost() {
        let scratch = tempfile::tempdir().unwrap();
        let root = std::fs::File::open(scratch.path()).unwrap();
        let mut directories = Directories::new(root.into(), Folding::of(None));
        let mut not_kept = NotKept::default();
        let xattr = Xattr { name: b"nowhere.a".to_vec(), value: vec![0; 1 << 20] };
        for depth in 1..=9 {
            let name = "d/".repeat(depth);
            directories.enter(MemberName::new(name.as_bytes()).unwrap(), &mut not_kept).unwrap();
            let mut entry = Entry::directory(name.as_bytes());
            entry.xattrs = vec![xattr.clone()];
            directories.set_pending(Attributes::of(&entry, false));
            directories.set_pending(Attributes::of(&entry, false));
            assert!(directories.xattrs_bytes <= PENDING_XATTRS_BYTES);
        }
        directories.leave(0, &mut not_kept).unwrap();
        assert_eq!((directories.xattrs_bytes, not_kept.count(Attribute::Xattr)), (0, 9));
        let (_, lost) = not_kept.iter().last().unwrap();
        assert_eq!(lost.first, format!("{:?}", ["d"; 9].join("/")), "the deepest is left first");
    }

    #[test]
    fn going_up_opens_one_level_at_a_time() {
        let scratch = tempfile::tempdir().unwrap();
        let root = std::fs::File::open(scratch.path()).unwrap();
        let mut directories = Directories::new(root.into(), Folding::of(None));
        let mut not_kept = NotKept::default();
        let deep = "d/".repeat(3000);
        directories.enter(MemberName::new(deep.as_bytes()).unwrap(), &mut not_kept).unwrap();
        while let Some(last) = directories.levels.len().checked_sub(1) {
            directories.leave(last, &mut not_kept).unwrap();
            let open = directories.levels.iter().filter(|level| level.fd.is_some()).count();
            // Opening levels from the root would open several at a time. Opening them from below opens only the level
            // that is needed.
            assert!(open <= last.min(MAX_OPEN) && (last == 0 || directories.levels[last - 1].fd.is_some()));
            assert!(!(MAX_OPEN..=3000 - MAX_OPEN).contains(&last) || open == 1, "{open} at {last}");
        }
    }

    #[test]
    fn few_levels_of_a_deep_tree_are_open() {
        let scratch = tempfile::tempdir().unwrap();
        let root = std::fs::File::open(scratch.path()).unwrap();
        let mut directories = Directories::new(root.into(), Folding::of(None));
        let mut not_kept = NotKept::default();
        for depth in [500, 3, 200, 0, 500] {
            let name = "d/".repeat(depth);
            directories.enter(MemberName::new(name.as_bytes()).unwrap(), &mut not_kept).unwrap();
            let open = directories.levels.iter().filter(|level| level.fd.is_some()).count();
            assert!(open <= MAX_OPEN, "{open}");
            assert_eq!(directories.levels.len(), depth);
        }
    }
}
