//! Filesystems that treat different names as the same: they fold case (SMB, NTFS, exFAT, HFS+, ext4 with casefold) or
//! normalize names (HFS+, ZFS with `normalization`). On them an entry could silently replace another one, and two
//! directories could silently be merged.

use std::cell::OnceCell;
use std::collections::BTreeSet;

use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Dir, Mode, Stat, mkdirat, statat, unlinkat};
use rustix::io::{Errno, Result};

use crate::volume::layout::FRESH;

/// The maximum memory for the names of all open directories on such a filesystem.
pub(super) const SEEN_BYTES: usize = 2 << 20;
/// The memory of a name in addition to its bytes: its place in a set, and an allocation.
const NAME_OVERHEAD_BYTES: usize = 48;

/// A name in composed Unicode, and the same name in decomposed Unicode.
const COMPOSED: &str = "\u{e9}";
const DECOMPOSED: &str = "e\u{301}";

/// Whether a filesystem treats different names as the same. This is tested when it is first needed.
pub(super) struct Folding {
    /// The staging directory, with [`FRESH`] in it.
    staging: Option<OwnedFd>,
    folds: OnceCell<bool>,
}

impl Folding {
    /// Tests the filesystem of `staging`. Without `staging`, the filesystem counts as folding.
    pub(super) fn of(staging: Option<OwnedFd>) -> Self {
        Self { staging, folds: OnceCell::new() }
    }

    /// Whether the filesystem treats different names as the same. There are two tests: a filesystem that folds case
    /// folds ASCII letters, and a filesystem that normalizes treats a composed letter and its parts as the same.
    pub(super) fn folds(&self) -> bool {
        *self.folds.get_or_init(|| match &self.staging {
            Some(staging) => folds_case(staging) || normalizes(staging),
            None => true,
        })
    }

    /// The other name in `directory` that the filesystem treats as the same as the existing name `name`, if there is
    /// such a name. `seen` contains names that were created in this directory.
    pub(super) fn other_name(
        &self,
        directory: BorrowedFd<'_>,
        seen: &Seen,
        name: &[u8],
    ) -> Result<Option<Vec<u8>>> {
        if !self.folds() {
            return Ok(None);
        }
        match &seen.names {
            Some(names) if names.contains(name) => return Ok(None),
            Some(_) => {}
            None if is_listed(directory, name)? => return Ok(None),
            None => {}
        }
        // This may read the metadata of every entry, so it is done only here, where the clone is about to fail.
        let wanted = identity(&statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?);
        let is_same = |other: &[u8]| {
            statat(directory, other, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|found| identity(&found) == wanted)
        };
        if let Some(other) = seen.names.iter().flatten().find(|other| is_same(other)) {
            return Ok(Some(other.to_vec()));
        }
        for entry in Dir::read_from(directory)? {
            let entry = entry?;
            let found = entry.file_name().to_bytes();
            if !matches!(found, b"." | b"..") && is_same(found) {
                return Ok(Some(found.to_vec()));
            }
        }
        Ok(Some(name.to_vec()))
    }

    /// Records that `name` was created in the directory of `seen`. `room_bytes` is the memory that is left for all
    /// directories. When it is used up, names are not recorded, and a second entry with such a name is mistaken for
    /// another name.
    pub(super) fn note(&self, seen: &mut Seen, name: &[u8], room_bytes: &mut usize) {
        let bytes = name.len() + NAME_OVERHEAD_BYTES;
        if let (true, Some(names), Some(left)) =
            (self.folds(), &mut seen.names, room_bytes.checked_sub(bytes))
            && names.insert(name.into())
        {
            *room_bytes = left;
            seen.bytes += bytes;
        }
    }
}

/// Names that were created in a directory, spelled as in the archive. A folding filesystem may list them in another
/// spelling.
#[derive(Debug)]
pub(super) struct Seen {
    /// `None` if the directory was left and entered again. Its names are then read from the filesystem.
    names: Option<BTreeSet<Box<[u8]>>>,
    /// The memory of the names.
    bytes: usize,
}

impl Seen {
    /// For a new directory.
    pub(super) fn of_new() -> Self {
        Self { names: Some(BTreeSet::new()), bytes: 0 }
    }

    /// For a directory that existed before.
    pub(super) fn unknown() -> Self {
        Self { names: None, bytes: 0 }
    }

    /// The memory of the names.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

fn is_listed(directory: BorrowedFd<'_>, name: &[u8]) -> Result<bool> {
    for entry in Dir::read_from(directory)? {
        if entry?.file_name().to_bytes() == name {
            return Ok(true);
        }
    }
    Ok(false)
}

fn identity(found: &Stat) -> (u64, u64) {
    (found.st_dev, found.st_ino)
}

fn folds_case(staging: &OwnedFd) -> bool {
    statat(staging, FRESH.to_uppercase(), AtFlags::SYMLINK_NOFOLLOW).is_ok()
}

fn normalizes(staging: &OwnedFd) -> bool {
    match mkdirat(staging, COMPOSED, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        // Such names are not supported, or there is no space. Then writing the entry itself fails.
        Err(_) => return false,
    }
    let found = statat(staging, DECOMPOSED, AtFlags::SYMLINK_NOFOLLOW).is_ok();
    let _ = unlinkat(staging, COMPOSED, AtFlags::REMOVEDIR);
    found
}
