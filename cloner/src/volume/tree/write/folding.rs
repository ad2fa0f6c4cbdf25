//! Filesystems that take different names for one: they fold case (SMB, NTFS, exFAT, HFS+, ext4 with casefold) or normalize
//! (HFS+, ZFS with `normalization`). There an entry whose name another one has already would replace it, and a directory would be
//! merged with the other one, without a word.

use std::cell::OnceCell;
use std::collections::BTreeSet;

use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Dir, Mode, Stat, mkdirat, statat, unlinkat};
use rustix::io::{Errno, Result};

use crate::volume::layout::FRESH;

/// Memory for the names of all directories that are open, on such a filesystem.
pub(super) const SEEN_BYTES: usize = 2 << 20;
/// What a name costs besides its bytes: its place in a set, and an allocation.
const NAME_OVERHEAD_BYTES: usize = 48;

/// A name in the composed form of Unicode, and the same in the decomposed one.
const COMPOSED: &str = "\u{e9}";
const DECOMPOSED: &str = "e\u{301}";

/// What is known about the names of a filesystem: found out when it first matters.
pub(super) struct Folding {
    /// The staging directory, with [`FRESH`] in it.
    staging: Option<OwnedFd>,
    folds: OnceCell<bool>,
}

impl Folding {
    /// Of the filesystem that `staging` is on; without it, names are always looked at.
    pub(super) fn of(staging: Option<OwnedFd>) -> Self {
        Self { staging, folds: OnceCell::new() }
    }

    /// Whether it takes different names for one. Two questions decide: filesystems that fold at all fold letters of ASCII, and
    /// those that normalize make no difference between a composed letter and its parts.
    pub(super) fn folds(&self) -> bool {
        *self.folds.get_or_init(|| match &self.staging {
            Some(staging) => folds_case(staging) || normalizes(staging),
            None => true,
        })
    }

    /// The name in `directory` that the filesystem takes for `name`, which is there, where that is another one. `seen` are names
    /// of this directory.
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
        // Only now, because this may ask for every entry, and the clone ends with it.
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

    /// Notes that `name` was made in the directory of `seen`. `room_bytes` is what all directories may take: beyond that names are not
    /// noted, and then a second entry of the same name is taken for another name.
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

/// Names that were made in one directory, as the archive has them: what a folding filesystem lists may be spelled in another way.
#[derive(Debug)]
pub(super) struct Seen {
    /// `None`: it was left and entered again, so that its names are not known. Then it is asked for them.
    names: Option<BTreeSet<Box<[u8]>>>,
    /// Memory that they take.
    bytes: usize,
}

impl Seen {
    /// Of a directory that was just made.
    pub(super) fn of_new() -> Self {
        Self { names: Some(BTreeSet::new()), bytes: 0 }
    }

    /// Of a directory that had been there.
    pub(super) fn unknown() -> Self {
        Self { names: None, bytes: 0 }
    }

    /// Memory that it takes.
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
        // It does not take such names at all, or has no room: then the entry itself fails.
        Err(_) => return false,
    }
    let found = statat(staging, DECOMPOSED, AtFlags::SYMLINK_NOFOLLOW).is_ok();
    let _ = unlinkat(staging, COMPOSED, AtFlags::REMOVEDIR);
    found
}
