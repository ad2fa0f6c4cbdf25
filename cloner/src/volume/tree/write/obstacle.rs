//! Finds what prevents an entry from being replaced, before anything is moved.
//!
//! An entry that is replaced is moved aside as a whole and then removed. A mount below it would be moved, too, and
//! entries that cannot be removed would stay in the volume forever.

use std::fmt;

use decant_shared::process::stop::Stop;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{
    Access, AtFlags, Dir, FileType, Mode, OFlags, Statx, StatxAttributes, StatxFlags, accessat, openat, statx,
};
use rustix::io::Errno;

use crate::attributes::name::shown;

/// The maximum depth to which directories are searched. Each level needs a descriptor and a buffer. An obstacle at a
/// greater depth is only found when the directory is removed.
const MAX_DEPTH: usize = 128;

/// Why an entry cannot be replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Obstacle {
    /// The path of the entry below the target directory.
    path: Vec<u8>,
    why: Why,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    Mounted,
    Subvolume,
    Immutable,
    AppendOnly,
    Foreign,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = match self.why {
            Why::Mounted => "is a mount point: unmount it",
            Why::Subvolume => "is on another filesystem or is a subvolume: move it away, or delete it",
            Why::Immutable => "is immutable: allow changes with chattr -i",
            Why::AppendOnly => "is append-only: allow changes with chattr -a",
            Why::Foreign => "is a directory of another user: this process may not remove its entries",
        };
        write!(f, "{} {why}", shown(&self.path))
    }
}

/// The first obstacle to moving `name` in `directory` aside and removing it with its content; `None` if there is no
/// obstacle, or no entry of that name. Entries that cannot be read are not obstacles: moving or removing them reports
/// the error. `Errno::INTR` if `stop` was set.
pub(super) fn find(directory: BorrowedFd<'_>, name: &[u8], stop: &Stop) -> Result<Option<Obstacle>, Errno> {
    let Some(entry) = look(directory, name) else { return Ok(None) };
    let Some(above) = look(directory, b".") else { return Ok(None) };
    let mut path = name.to_vec();
    if let Some(why) = entry.obstacle(&above) {
        return Ok(Some(Obstacle { path, why }));
    }
    if !entry.is_directory() {
        return Ok(None);
    }
    let Some(opened) = open(directory, name) else { return Ok(None) };
    let why = below(&opened, &entry, &mut path, 1, stop)?;
    Ok(why.map(|why| Obstacle { path, why }))
}

/// Why no entry of the open directory `directory` can be replaced or removed, for example because the directory is
/// append-only.
pub(super) fn of_target(directory: BorrowedFd<'_>) -> Option<Obstacle> {
    let why = look(directory, b".")?.flagged()?;
    Some(Obstacle { path: b".".to_vec(), why })
}

/// Searches `directory`, which `above` describes. `path` is its path. If an obstacle is found, `path` becomes the path
/// of the obstacle.
fn below(
    directory: &OwnedFd,
    above: &EntryStatx,
    path: &mut Vec<u8>,
    depth: usize,
    stop: &Stop,
) -> Result<Option<Why>, Errno> {
    let Ok(entries) = Dir::read_from(directory) else { return Ok(None) };
    let mut has_entries = false;
    for entry in entries {
        if stop.is_set() {
            return Err(Errno::INTR);
        }
        let Ok(entry) = entry else { return Ok(None) };
        let name = entry.file_name().to_bytes();
        if matches!(name, b"." | b"..") {
            continue;
        }
        if !has_entries && !above.can_be_emptied(directory) {
            return Ok(Some(Why::Foreign));
        }
        has_entries = true;
        let Some(found) = look(directory.as_fd(), name) else { continue };
        let path_len = path.len();
        path.push(b'/');
        path.extend_from_slice(name);
        if let Some(why) = found.obstacle(above) {
            return Ok(Some(why));
        }
        if found.is_directory()
            && depth < MAX_DEPTH
            && let Some(opened) = open(directory.as_fd(), name)
            && let Some(why) = below(&opened, &found, path, depth + 1, stop)?
        {
            return Ok(Some(why));
        }
        path.truncate(path_len);
    }
    Ok(None)
}

fn open(directory: BorrowedFd<'_>, name: &[u8]) -> Option<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(directory, name, flags, Mode::empty()).ok()
}

/// The metadata of an entry.
struct EntryStatx(Statx);

fn look(directory: BorrowedFd<'_>, name: &[u8]) -> Option<EntryStatx> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    statx(directory, name, flags, StatxFlags::BASIC_STATS).ok().map(EntryStatx)
}

impl EntryStatx {
    fn is_directory(&self) -> bool {
        FileType::from_raw_mode(self.0.stx_mode.into()) == FileType::Directory
    }

    fn device(&self) -> (u32, u32) {
        (self.0.stx_dev_major, self.0.stx_dev_minor)
    }

    fn flagged(&self) -> Option<Why> {
        let has = |attribute| self.0.stx_attributes.contains(attribute);
        if has(StatxAttributes::IMMUTABLE) {
            Some(Why::Immutable)
        } else if has(StatxAttributes::APPEND) {
            Some(Why::AppendOnly)
        } else {
            None
        }
    }

    /// Why the entry cannot be moved out of a directory that `above` describes.
    fn obstacle(&self, above: &Self) -> Option<Why> {
        if self.0.stx_attributes.contains(StatxAttributes::MOUNT_ROOT) {
            Some(Why::Mounted)
        } else if self.is_directory() && self.device() != above.device() {
            // This applies only to directories: files of an overlay have the device numbers of their layers.
            Some(Why::Subvolume)
        } else {
            self.flagged()
        }
    }

    /// Whether this process can remove entries of this directory, which is open as `directory`.
    fn can_be_emptied(&self, directory: &OwnedFd) -> bool {
        let user = rustix::process::geteuid();
        user.is_root()
            || user.as_raw() == self.0.stx_uid
            || accessat(directory, ".", Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS)
                != Err(Errno::ACCESS)
    }
}
