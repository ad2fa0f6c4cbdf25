//! Walks a tree in the order of an archive: entries sorted by name, a directory before its content.
//!
//! Memory and open files are bounded for any tree: names are read in batches, and only the deepest directories of a
//! path stay open. Paths are never resolved, so their length does not matter.

use std::ffi::{CStr, OsStr};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use decant_shared::process::stop::Stop;
use rustix::fs::{Mode, openat};
use rustix::io::Errno;

use crate::attributes::meta::Meta;
use crate::error::{Error, Kind, Result};
use crate::volume::layout::is_reserved;
use crate::volume::tree::read::lstat::{DIRECTORY, Found, OpenedEntry, meta_of};
use crate::volume::tree::read::names::NameBatch;
use crate::volume::tree::read::read_ahead::ReadAhead;
use crate::volume::tree::read::unsteady::{Names, Unsteady};

/// The maximum memory for the names of the root directory. Each level below gets half as much as its parent, but not
/// less than [`NAMES_FLOOR_BYTES`].
pub(super) const NAMES_BUDGET_BYTES: usize = 4 << 20;
/// The minimum for a level. Each additional batch reads the whole directory again.
const NAMES_FLOOR_BYTES: usize = 512 << 10;
/// The number of directories that stay open, counted from the deepest. Directories further up are closed and read again
/// later, which is cheap compared with a subtree of this depth.
const OPEN_DIRECTORIES: usize = 32;
/// Working space for reading directories.
const READ_BUFFER_BYTES: usize = 32 << 10;

/// An open directory, with its metadata when it was opened.
pub(super) struct WalkDirectory {
    pub(super) fd: OwnedFd,
    pub(super) meta: Meta,
}

/// The memory and the files that a walk may use.
#[derive(Debug, Clone, Copy)]
pub(super) struct WalkBudget {
    /// Memory for names, in bytes.
    pub(super) names_bytes: usize,
    /// Whether files are opened before their turn, because their contents will be read.
    pub(super) opens_ahead: bool,
}

/// Called with each entry, and with the file if it was opened before its turn. Returns the directory to walk next, if
/// any.
pub(super) type Visit<'a> = dyn FnMut(&Found<'_>, Option<OpenedEntry>) -> Result<Option<WalkDirectory>> + 'a;

/// Calls `visit` for every entry below `root`. If `visit` returns a directory, its entries follow.
///
/// `root_path` is for messages. `budget` limits memory and open files, and does not affect the order. Some entries of
/// the root are left out and never accessed, see `is_left_out`.
pub(super) fn walk(
    root: &OwnedFd,
    root_path: &Path,
    budget: WalkBudget,
    stop: &Stop,
    visit: &mut Visit<'_>,
) -> Result<()> {
    let mut walk = Walk::start(root, root_path, budget)?;
    while !walk.levels.is_empty() {
        Error::check(stop)?;
        walk.step(visit, stop)?;
    }
    Ok(())
}

/// Whether an entry of the root does not belong to the content of a volume: `lost+found` belongs to the filesystem
/// (docs/protocol.md section 1.10), and entries with reserved names are leftovers of a clone into this volume.
fn is_left_out(name: &CStr) -> bool {
    name == c"lost+found" || is_reserved(name.to_bytes())
}

struct Walk {
    levels: Vec<WalkLevel>,
    /// The path of the current entry, for messages. The first `root_len` bytes are the path of the root.
    path: Vec<u8>,
    root_len: usize,
    budget: WalkBudget,
    buffer: Vec<u8>,
    unsteady: Unsteady,
}

/// A directory on the path of the walk.
struct WalkLevel {
    /// The metadata before the names were read.
    meta: Meta,
    /// The length of the path.
    path_len: usize,
    /// The descriptor; `None` if the level is too far up.
    fd: Option<OwnedFd>,
    /// The names; `None` if the level is too far up.
    batch: Option<NameBatch>,
    /// The files that are open before their turn.
    ahead: ReadAhead,
    /// The last name that precedes the next batch.
    last: Option<Vec<u8>>,
    /// Whether there are names after the batch, or after `last`.
    more: bool,
    /// The names that were visited.
    met: Names,
}

impl Walk {
    fn start(root: &OwnedFd, root_path: &Path, budget: WalkBudget) -> Result<Self> {
        // A new open file description: reading it does not change the position of the caller's.
        let fd = openat(root, c".", DIRECTORY, Mode::empty())
            .map_err(|errno| Error::source("open", root_path, errno.into()))?;
        let meta = meta_of(&fd, root_path)?;
        let path = root_path.as_os_str().as_bytes();
        let path = path.strip_suffix(b"/").filter(|path| !path.is_empty()).unwrap_or(path).to_vec();
        let buffer = Vec::with_capacity(READ_BUFFER_BYTES);
        let mut walk = Self {
            levels: Vec::new(),
            root_len: path.len(),
            path,
            budget,
            buffer,
            unsteady: Unsteady::default(),
        };
        walk.enter(WalkDirectory { fd, meta });
        Ok(walk)
    }

    /// Visits the next name of the deepest directory, or leaves that directory.
    fn step(&mut self, visit: &mut Visit<'_>, stop: &Stop) -> Result<()> {
        let depth = self.levels.len() - 1;
        self.read_names(depth)?;
        let opened = if self.budget.opens_ahead { self.open_ahead(depth) } else { None };
        let level = &mut self.levels[depth];
        self.path.truncate(level.path_len);
        let next = level.batch.as_mut().and_then(NameBatch::next);
        let (Some((name, file_type)), Some(fd)) = (next, &level.fd) else {
            return self.leave();
        };
        level.met.add(name.to_bytes());
        if depth == 0 && is_left_out(name) {
            return Ok(());
        }
        self.path.push(b'/');
        self.path.extend_from_slice(name.to_bytes());
        let member = &self.path[self.root_len + 1..];
        let found = Found { dir: fd.as_fd(), name, file_type, member, full: &self.path, stop };
        if let Some(directory) = visit(&found, opened)? {
            self.enter(directory);
        }
        Ok(())
    }

    /// The next entry, if it is a file that was opened before its turn. Opens more files.
    fn open_ahead(&mut self, depth: usize) -> Option<OpenedEntry> {
        let others = self.levels[..depth].iter().map(|level| level.ahead.len()).sum();
        let WalkLevel { ahead, batch: Some(batch), fd: Some(fd), .. } = &mut self.levels[depth] else {
            return None;
        };
        ahead.reach(batch, batch.turn(), fd.as_fd(), others);
        ahead.take(batch.turn())
    }

    /// Reads the next batch of names if the current one is used up.
    fn read_names(&mut self, depth: usize) -> Result<()> {
        let level = &mut self.levels[depth];
        if let Some(batch) = level.batch.as_ref().filter(|batch| batch.is_spent()) {
            level.more = batch.has_more();
            level.last = batch.last().map(<[u8]>::to_vec).or(level.last.take());
            level.batch = None;
            level.ahead = ReadAhead::default();
        }
        let (None, Some(fd), true) = (&level.batch, &level.fd, level.more) else { return Ok(()) };
        let names_bytes = self.budget.names_bytes;
        let budget_bytes = (names_bytes >> depth.min(20)).max(NAMES_FLOOR_BYTES.min(names_bytes));
        let batch = NameBatch::read(fd.as_fd(), level.last.as_deref(), budget_bytes, &mut self.buffer);
        level.batch = Some(batch.map_err(|cause| {
            let directory = Path::new(OsStr::from_bytes(&self.path[..level.path_len]));
            Error::source("read the directory", directory, cause)
        })?);
        Ok(())
    }

    fn enter(&mut self, directory: WalkDirectory) {
        let WalkDirectory { fd, meta } = directory;
        let path_len = self.path.len();
        let ahead = ReadAhead::default();
        let fd = Some(fd);
        let met = Names::default();
        self.levels.push(WalkLevel { meta, path_len, fd, batch: None, ahead, last: None, more: true, met });
        if let Some(far) = self.levels.len().checked_sub(OPEN_DIRECTORIES + 1) {
            self.levels[far].close();
        }
    }

    /// Returns to the parent directory, and opens it again if it was closed.
    ///
    /// Errors: `Kind::SourceChanged` if names in the directory changed after they were read.
    fn leave(&mut self) -> Result<()> {
        let Some(WalkLevel { meta, path_len, fd: Some(left), met, .. }) = self.levels.pop() else {
            return Ok(());
        };
        let path = Path::new(OsStr::from_bytes(&self.path[..path_len]));
        if meta.content_differs(&meta_of(&left, path)?) {
            self.unsteady.check(left.as_fd(), path, &met, &mut self.buffer)?;
        }
        let Some(above) = self.levels.last_mut() else { return Ok(()) };
        if above.fd.is_some() {
            return Ok(());
        }
        let path = Path::new(OsStr::from_bytes(&self.path[..above.path_len]));
        let fd = openat(&left, c"..", DIRECTORY, Mode::empty()).map_err(|errno| match errno {
            Errno::NOENT => moved(path),
            other => Error::source("open", path, other.into()),
        })?;
        if !above.meta.is_same_file(&meta_of(&fd, path)?) {
            return Err(moved(path));
        }
        above.fd = Some(fd);
        Ok(())
    }
}

impl WalkLevel {
    fn close(&mut self) {
        self.fd = None;
        self.ahead = ReadAhead::default();
        if let Some(batch) = self.batch.take() {
            self.more = batch.has_more() || !batch.is_spent();
            self.last = batch.last().map(<[u8]>::to_vec).or(self.last.take());
        }
    }
}

fn moved(path: &Path) -> Error {
    Error::new(Kind::SourceChanged, format!("{} was moved while it was read", path.display()))
}

#[cfg(test)]
mod tests;
