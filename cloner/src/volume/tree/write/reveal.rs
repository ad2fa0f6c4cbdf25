//! Gives a complete tree its final names.

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

/// Memory for the names of one directory that are remembered at a time. Renaming changes the directory that they are read from.
const BATCH_LIMIT_BYTES: usize = 4 << 20;
/// What a name costs besides its bytes: its place in the list, and an allocation.
const NAME_OVERHEAD_BYTES: usize = size_of::<Box<[u8]>>() + 16;

/// A complete tree that is to get its names.
pub(super) struct Reveal<'a> {
    /// Where it grew.
    pub(super) staging: &'a Staging,
    /// Where it goes.
    pub(super) target: BorrowedFd<'a>,
    /// That directory's name in messages.
    pub(super) path: &'a Path,
    /// How many names it has at its top, where that was counted.
    pub(super) names: Option<u64>,
    /// The filesystem takes different names for one: what is replaced may be spelled in another way.
    pub(super) folds: bool,
}

impl Reveal<'_> {
    /// Moves every name at the top of the staging directory into the target directory. What has that name there changes places with
    /// it, so that a name that stands there is never missing; on an error all names of the present batch are moved
    /// back. A directory with less than [`BATCH_LIMIT_BYTES`] of names at its top is then as before.
    ///
    /// Before the first name it is made sure that everything can be replaced, and after the last one that all were there.
    pub(super) fn run(&self, stop: &Stop) -> Result<()> {
        self.nothing_is_in_the_way(stop)?;
        let mut placed = 0;
        loop {
            let names = self.top_names().map_err(|cause| self.failed("read a folder in", cause))?;
            if names.is_empty() {
                break;
            }
            placed += names.len() as u64;
            self.place(&names)?;
        }
        if self.names.is_some_and(|names| names != placed) || !self.staging.is_in_place(self.target) {
            let path = self.path.display();
            let text = format!(
                "another process has changed what was unpacked for {path} before it got its names: {placed} of {} are there",
                self.names.map_or_else(|| "an unknown number".to_owned(), |names| names.to_string())
            );
            return Err(Error::new(Kind::Target, text));
        }
        Ok(())
    }

    /// Looks below everything that is to be replaced.
    fn nothing_is_in_the_way(&self, stop: &Stop) -> Result<()> {
        let failed = |cause| self.failed("read a folder in", cause);
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

    /// A batch of the names at the top; none when all are placed.
    fn top_names(&self) -> Result<Vec<Box<[u8]>>, Errno> {
        let (mut names, mut bytes) = (Vec::new(), 0);
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

    /// Places a batch, or nothing of it.
    fn place(&self, names: &[Box<[u8]>]) -> Result<()> {
        // What cannot be moved in one step comes last: then the fewest failures come after it.
        let (mut placed, mut in_parts) = (Vec::new(), Vec::new());
        for name in names.iter().map(AsRef::<[u8]>::as_ref) {
            match self.swap_in(name) {
                Ok(Swap::Done) => placed.push(name),
                Ok(Swap::NotInOneStep) => in_parts.push(name),
                Err(cause) => return Err(self.taken_back(&placed, name, cause)),
            }
        }
        // Files after directories: what had the name of one of those cannot be put back.
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
        self.failed(&format!("give {} its place in", shown(name)), cause)
    }

    /// Whether names that were replaced could not be put back: they are only in the staging directory then.
    pub(super) fn has_lost_names(&self) -> bool {
        let replaced = Dir::read_from(self.staging.replaced_directory());
        replaced.is_ok_and(|mut entries| {
            entries
                .any(|entry| entry.is_ok_and(|entry| !matches!(entry.file_name().to_bytes(), b"." | b"..")))
        })
    }

    /// What a message says about that.
    pub(super) fn lost_names(&self) -> String {
        let place = self.staging.path(self.path).join(REPLACED);
        format!("what could not be put back is in {}; the next copy puts it back", place.display())
    }

    fn failed(&self, doing: &str, cause: Errno) -> Error {
        Error::target(doing, self.path, cause.into())
    }

    fn swap_in(&self, name: &[u8]) -> Result<Swap, Errno> {
        let (staging, target) = (self.staging, self.target);
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

    /// The same where the old content cannot be renamed: a directory of a lower layer of overlayfs is emptied first; a file of
    /// another project (a quota) is replaced without being moved aside, and cannot be put back.
    fn swap_in_parts(&self, name: &[u8]) -> Result<(), Errno> {
        let (staging, target) = (self.staging, self.target);
        if !is_directory(target, name) {
            return move_to(staging.fresh_directory(), target, name);
        }
        move_directory(target, staging.replaced_directory(), name)?;
        move_to(staging.fresh_directory(), target, name).inspect_err(|_| {
            let _ = move_to(staging.replaced_directory(), target, name);
        })
    }

    fn swap_out(&self, name: &[u8]) {
        // Nothing more can be done than to try: the error that led here is the one to tell.
        let _ = move_to(self.target, self.staging.fresh_directory(), name);
        let _ = move_to(self.staging.replaced_directory(), self.target, name);
    }
}

/// What became of a name.
enum Swap {
    /// It has its place.
    Done,
    /// The filesystem cannot rename what stands there (EXDEV). Nothing has changed.
    NotInOneStep,
}

/// Lets the new and the old content of `name` change places in one step and puts the old one aside. `false`:
/// there is no old one, or this filesystem (or the mode of a directory) does not allow it, and nothing has changed.
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

/// Renames `name` from one directory into another. A directory must be writable for that, because its `..` changes.
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
