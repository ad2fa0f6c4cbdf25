//! Modes that come last. A file that its own owner may not read, such as one of mode 0000, could not be read back, and an
//! attempt that was interrupted could not be gone on with; so its owner may read it until the tree is complete.

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

/// What a file needs to be read by its owner.
pub(super) const FILE_BITS: Mode = Mode::RUSR;
/// The same of a directory.
pub(super) const DIRECTORY_BITS: Mode = Mode::RUSR.union(Mode::XUSR);
/// Memory for the paths of such entries. What comes beyond it gets its mode at once; only root can read it back then.
const PATHS_BYTES: usize = 8 << 20;
/// What an entry costs besides its path.
const ENTRY_BYTES: usize = 64;

/// The entries whose mode comes last, by path.
#[derive(Debug, Default)]
pub(super) struct Late {
    modes: BTreeMap<Vec<u8>, u32>,
    bytes: usize,
}

impl Late {
    /// Lets the owner have `needed` until the tree is complete.
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

    /// The entry is not there any more, or lost its mode already.
    pub(super) fn forget(&mut self, path: &[u8]) -> Option<u32> {
        if self.modes.is_empty() {
            return None;
        }
        let mode = self.modes.remove(path)?;
        self.bytes -= path.len() + ENTRY_BYTES;
        Some(mode)
    }

    /// Gives all of them their modes, what is in a directory before the directory.
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

/// Sets the mode of the file or directory `name`. A link has none: nothing happens.
pub(super) fn chmod_unfollowed(directory: impl AsFd, name: &[u8], mode: u32) -> rustix::io::Result<()> {
    let found = statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
    match FileType::from_raw_mode(found.st_mode) {
        FileType::RegularFile | FileType::Directory => {
            chmodat(&directory, name, Mode::from_raw_mode(mode), AtFlags::empty())
        }
        _ => Ok(()),
    }
}
