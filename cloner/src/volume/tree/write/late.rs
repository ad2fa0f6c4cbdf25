//! Modes that are set at the end. A file that its owner may not read, for example with mode 0000, could not be read
//! back, and an interrupted attempt could not be resumed. So the owner can read it until the tree is complete.

use std::collections::BTreeMap;

use rustix::fd::AsFd;
use rustix::fs::{AtFlags, FileType, Mode, chmodat, statat};

use crate::attributes::name::shown;
use crate::attributes::not_kept::NotKept;
use crate::attributes::{Attribute, Kinds};
use crate::error::{Error, Kind, Result};
use crate::volume::optional_calls::Call;
use crate::volume::tree::write::attributes::Attributes;
use crate::volume::tree::write::beneath::open_below;
use crate::volume::tree::write::member_name::MemberName;

/// The permissions with which the owner can read a file.
pub(super) const FILE_BITS: Mode = Mode::RUSR;
/// The permissions with which the owner can read a directory.
pub(super) const DIRECTORY_BITS: Mode = Mode::RUSR.union(Mode::XUSR);
/// The maximum memory for the paths of such entries. Entries beyond it get their mode immediately, and only root can
/// read them back.
const PATHS_BYTES: usize = 8 << 20;
/// The memory of an entry in addition to its path.
const ENTRY_BYTES: usize = 64;

/// The entries whose modes are set at the end, by path.
#[derive(Debug, Default)]
pub(super) struct Late {
    modes: BTreeMap<Vec<u8>, u32>,
    bytes: usize,
}

impl Late {
    /// Gives the permissions `needed` to the owner until the tree is complete.
    pub(super) fn hold(&mut self, attributes: &mut Attributes, needed: Mode, path: impl FnOnce() -> Vec<u8>) {
        let Some(unheld) = attributes.unreadable(needed) else { return };
        let path = path();
        let bytes = path.len() + ENTRY_BYTES;
        if self.bytes + bytes <= PATHS_BYTES {
            self.bytes += bytes;
            attributes.let_owner(needed);
            self.modes.insert(path, unheld);
        }
    }

    /// Removes an entry that was replaced, or that could not keep its mode. Returns the mode.
    pub(super) fn forget(&mut self, path: &[u8]) -> Option<u32> {
        if self.modes.is_empty() {
            return None;
        }
        let mode = self.modes.remove(path)?;
        self.bytes -= path.len() + ENTRY_BYTES;
        Some(mode)
    }

    /// Sets all modes. The entries of a directory get theirs before the directory.
    pub(super) fn settle(self, root: impl AsFd, not_kept: &mut NotKept) -> Result<()> {
        for (path, mode) in self.modes.into_iter().rev() {
            let name = MemberName::new(&path)?;
            let Some((parent, own_name)) = name.split() else { continue };
            let set =
                open_below(&root, parent).and_then(|directory| chmod_unfollowed(directory, own_name, mode));
            match set {
                Err(errno) if Call::Chmod.is_dispensable(errno) => {
                    let mut lost = Kinds::default();
                    lost.insert(Attribute::Mode);
                    not_kept.add(lost, || path);
                }
                set => set.map_err(|cause| {
                    let text = format!("cannot set the mode of {}", shown(&path));
                    Error::io(Kind::Target, text, cause.into())
                })?,
            }
        }
        Ok(())
    }
}

/// Sets the mode of the file or directory `name`. Does nothing for a link.
pub(super) fn chmod_unfollowed(directory: impl AsFd, name: &[u8], mode: u32) -> rustix::io::Result<()> {
    let found = statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
    match FileType::from_raw_mode(found.st_mode) {
        FileType::RegularFile | FileType::Directory => {
            chmodat(&directory, name, Mode::from_raw_mode(mode), AtFlags::empty())
        }
        _ => Ok(()),
    }
}
