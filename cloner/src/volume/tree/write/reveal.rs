//! Moves the entries of a complete tree to their final names.

use std::path::Path;

use decant_shared::process::stop::Stop;
use rustix::fd::BorrowedFd;
use rustix::fs::{AtFlags, Dir, FileType, Mode, RenameFlags, chmodat, renameat, renameat_with, statat};
use rustix::io::Errno;

use crate::attributes::name::shown;
use crate::error::{Error, Kind, Result};
use crate::volume::layout::REPLACED;
use crate::volume::tree::write::beneath::WORKING_MODE;
use crate::volume::tree::write::obstacle;
use crate::volume::tree::write::parts::{is_directory, move_directory};
use crate::volume::tree::write::staging::Staging;

/// The maximum memory for a batch of names. Names are collected first, because renaming changes the directory that is
/// being read.
const BATCH_LIMIT_BYTES: usize = 4 << 20;
/// The memory of a name in addition to its bytes: its list item, and an allocation.
const NAME_OVERHEAD_BYTES: usize = size_of::<Box<[u8]>>() + 16;

/// A complete tree whose entries get their final names.
pub(super) struct Reveal<'a> {
    /// The staging directory that contains it.
    pub(super) staging: &'a Staging,
    /// The target directory.
    pub(super) target: BorrowedFd<'a>,
    /// The path of the target directory, for messages.
    pub(super) path: &'a Path,
    /// The number of names at the top of the tree, if they were counted.
    pub(super) names: Option<u64>,
    /// Whether the filesystem treats different names as the same: a replaced entry may have another spelling.
    pub(super) folds: bool,
}

impl Reveal<'_> {
    /// Moves every entry at the top of the staging directory into the target directory. An existing entry with the same
    /// name is exchanged with the new one, so that an existing name is never missing. After an error all names of the
    /// current batch are moved back. If all names are in one batch (less than [`BATCH_LIMIT_BYTES`] of names), the
    /// target directory is then unchanged.
    ///
    /// Before the first move this checks that everything can be replaced, and after the last one that no name was
    /// missing.
    pub(super) fn run(&self, stop: &Stop) -> Result<()> {
        self.nothing_is_in_the_way(stop)?;
        let mut placed = 0;
        loop {
            let names = self.top_names().map_err(|cause| self.failed("read a directory in", cause))?;
            if names.is_empty() {
                break;
            }
            placed += names.len() as u64;
            self.place(&names)?;
        }
        if self.names.is_some_and(|names| names != placed) || !self.staging.is_in_place(self.target) {
            let path = self.path.display();
            let text = format!(
                "cannot finish {path}: another process has changed its staging directory: {placed} of {} names are there",
                self.names.map_or_else(|| "an unknown number".to_owned(), |names| names.to_string())
            );
            return Err(Error::new(Kind::Target, text));
        }
        Ok(())
    }

    /// Checks that every existing entry that a new one replaces can be replaced.
    fn nothing_is_in_the_way(&self, stop: &Stop) -> Result<()> {
        let failed = |cause| self.failed("read a directory in", cause);
        for entry in Dir::read_from(self.staging.fresh_directory()).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            let found = obstacle::find(self.target, name, stop);
            if found == Err(Errno::INTR) {
                Error::check(stop)?;
            }
            if let Some(obstacle) = found.map_err(failed)? {
                let path = self.path.display();
                let text = format!("cannot replace {} in {path}: {obstacle}", shown(name));
                return Err(Error::new(Kind::Target, text));
            }
        }
        Ok(())
    }

    /// A batch of the names at the top; empty if all names were moved.
    fn top_names(&self) -> Result<Vec<Box<[u8]>>, Errno> {
        let mut names = Vec::new();
        let mut bytes = 0;
        for entry in Dir::read_from(self.staging.fresh_directory())? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            bytes += NAME_OVERHEAD_BYTES + name.len();
            names.push(name.into());
            if bytes >= BATCH_LIMIT_BYTES {
                break;
            }
        }
        Ok(names)
    }

    /// Moves all names of a batch, or none.
    fn place(&self, names: &[Box<[u8]>]) -> Result<()> {
        // Names that cannot be moved in one step come last, so that few errors can occur after they are moved.
        let mut placed = Vec::new();
        let mut in_parts = Vec::new();
        for name in names.iter().map(AsRef::<[u8]>::as_ref) {
            match self.swap_in(name) {
                Ok(Swap::Done) => placed.push(name),
                Ok(Swap::NotInOneStep) => in_parts.push(name),
                Err(cause) => return Err(self.taken_back(&placed, name, cause)),
            }
        }
        // Files come after directories: the previous entry of a file cannot be restored.
        in_parts.sort_by_key(|name| !is_directory(self.target, name));
        for name in in_parts {
            match self.swap_in_parts(name) {
                Ok(()) => placed.push(name),
                Err(cause) => return Err(self.taken_back(&placed, name, cause)),
            }
        }
        Ok(())
    }

    fn taken_back(&self, placed: &[&[u8]], name: &[u8], cause: Errno) -> Error {
        for name in placed.iter().rev() {
            self.swap_out(name);
        }
        self.failed(&format!("move {} to its final name in", shown(name)), cause)
    }

    /// Whether replaced entries could not be moved back, and are only in the staging directory.
    pub(super) fn has_lost_names(&self) -> bool {
        let replaced = Dir::read_from(self.staging.replaced_directory());
        replaced.is_ok_and(|mut entries| {
            entries
                .any(|entry| entry.is_ok_and(|entry| !matches!(entry.file_name().to_bytes(), b"." | b"..")))
        })
    }

    /// The hint about such entries, for a message.
    pub(super) fn lost_names(&self) -> String {
        let place = self.staging.path(self.path).join(REPLACED);
        format!("what could not be moved back is in {}; the next copy moves it back", place.display())
    }

    fn failed(&self, doing: &str, cause: Errno) -> Error {
        Error::target(doing, self.path, cause.into())
    }

    fn swap_in(&self, name: &[u8]) -> Result<Swap, Errno> {
        let staging = self.staging;
        let target = self.target;
        if !self.folds && exchange(staging, target, name)? {
            return Ok(Swap::Done);
        }
        match move_to(target, staging.replaced_directory(), name) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::XDEV) => return Ok(Swap::NotInOneStep),
            Err(cause) => return Err(cause),
        }
        move_to(staging.fresh_directory(), target, name).map(|()| Swap::Done).inspect_err(|_| {
            let _ = move_to(staging.replaced_directory(), target, name);
        })
    }

    /// Replaces an old entry that cannot be renamed. The entries of a directory of a lower overlayfs layer are moved
    /// one by one. A file of another project (a quota) is replaced without being moved aside, and cannot be restored.
    fn swap_in_parts(&self, name: &[u8]) -> Result<(), Errno> {
        let staging = self.staging;
        let target = self.target;
        if !is_directory(target, name) {
            return move_to(staging.fresh_directory(), target, name);
        }
        move_directory(target, staging.replaced_directory(), name)?;
        move_to(staging.fresh_directory(), target, name).inspect_err(|_| {
            let _ = move_to(staging.replaced_directory(), target, name);
        })
    }

    fn swap_out(&self, name: &[u8]) {
        // Errors are ignored, because the original error is reported.
        let _ = move_to(self.target, self.staging.fresh_directory(), name);
        let _ = move_to(self.staging.replaced_directory(), self.target, name);
    }
}

/// The result of the move of a name.
enum Swap {
    /// The entry has its final name.
    Done,
    /// The filesystem cannot rename the existing entry (EXDEV). Nothing has changed.
    NotInOneStep,
}

/// Exchanges the new and the old entry `name` in one step and moves the old one aside. Returns `false`, without a
/// change, if there is no old entry, or if the filesystem or the mode of a directory does not permit it.
fn exchange(staging: &Staging, target: BorrowedFd<'_>, name: &[u8]) -> Result<bool, Errno> {
    let fresh = staging.fresh_directory();
    let swap = || renameat_with(fresh, name, target, name, RenameFlags::EXCHANGE);
    if swap().is_err() {
        return Ok(false);
    }
    match move_to(fresh, staging.replaced_directory(), name) {
        Ok(()) => Ok(true),
        Err(cause) => {
            let _ = swap();
            if cause == Errno::XDEV { Ok(false) } else { Err(cause) }
        }
    }
}

/// Moves `name` from one directory to another. If it is a directory, it must be writable, because its `..` changes.
fn move_to(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
    match renameat(from, name, to, name) {
        Err(Errno::ACCESS) => {}
        result => return result,
    }
    let found = statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(found.st_mode) != FileType::Directory {
        return Err(Errno::ACCESS);
    }
    let mode = Mode::from_raw_mode(found.st_mode);
    chmodat(from, name, mode | WORKING_MODE, AtFlags::empty())?;
    let moved = renameat(from, name, to, name);
    let place = if moved.is_ok() { to } else { from };
    chmodat(place, name, mode, AtFlags::empty())?;
    moved
}
