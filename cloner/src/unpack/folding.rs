//! Filesystems that take different names for one: they fold case (SMB, NTFS, exFAT, HFS+, ext4 with casefold) or normalize
//! (HFS+, ZFS with `normalization`). There an entry whose name another one has already would replace it, and a folder would be
//! merged with the other one, without a word.

use std::cell::OnceCell;

use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Dir, Mode, Stat, mkdirat, statat, unlinkat};
use rustix::io::{Errno, Result};

use crate::unpack::staging::FRESH;

/// A name in the composed form of Unicode, and the same in the decomposed one.
const COMPOSED: &str = "\u{e9}";
const DECOMPOSED: &str = "e\u{301}";

/// What is known about the names of a filesystem: found out when it first matters.
pub(super) struct Folding {
    /// The staging folder, with [`FRESH`] in it.
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

    /// The name in `folder` that the filesystem takes for `name`, which is there, where that is another one.
    pub(super) fn other_name(&self, folder: BorrowedFd<'_>, name: &[u8]) -> Result<Option<Vec<u8>>> {
        if !self.folds() {
            return Ok(None);
        }
        let wanted = identity(&statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?);
        let is_entry = |found: &[u8]| !matches!(found, b"." | b"..");
        for entry in Dir::read_from(folder)? {
            if entry?.file_name().to_bytes() == name {
                return Ok(None);
            }
        }
        // Only now, because this asks for every entry, and the clone ends with it.
        for entry in Dir::read_from(folder)? {
            let entry = entry?;
            let found = entry.file_name().to_bytes();
            let is_same = statat(folder, found, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|found| identity(&found) == wanted);
            if is_same && is_entry(found) {
                return Ok(Some(found.to_vec()));
            }
        }
        Ok(Some(b"another spelling of it".to_vec()))
    }
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
