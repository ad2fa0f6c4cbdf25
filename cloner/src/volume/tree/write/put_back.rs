//! Restores entries that an attempt moved aside before it was killed.
//!
//! The old entry is first moved aside, and then the new one is moved to its place. If both are in the staging
//! directory, the old entry was not replaced and may be the only copy. If the old entry was replaced, the new one is no
//! longer in the staging directory.

use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{AtFlags, Dir, statat};
use rustix::io::{Errno, Result};

use crate::attributes::name::shown;
use crate::volume::layout::{FRESH, REPLACED};
use crate::volume::tree::write::beneath::open_directory;
use crate::volume::tree::write::parts::{move_directory, move_unless_there};

/// Moves entries that were not replaced from the open staging directory `staging` back into `target`.
///
/// Errors: `EXIST` if another entry has that name now. The old entry then stays in the staging directory.
pub(super) fn put_back(staging: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<()> {
    let directory = |name: &str| match open_directory(staging, name.as_bytes()) {
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        result => result.map(|(directory, _)| Some(directory)),
    };
    let (Some(fresh), Some(replaced)) = (directory(FRESH)?, directory(REPLACED)?) else { return Ok(()) };
    // Names that are added while a directory is read may be missed.
    loop {
        let mut is_changed = false;
        for entry in Dir::read_from(&replaced)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            let is_new_here = statat(&fresh, name, AtFlags::SYMLINK_NOFOLLOW).is_ok();
            if matches!(name, b"." | b"..") || !is_new_here {
                continue;
            }
            match move_unless_there(replaced.as_fd(), target, name) {
                // The entry was being moved in parts, and the move was not complete.
                Err(Errno::EXIST) => move_directory(replaced.as_fd(), target, name)?,
                result => result?,
            }
            is_changed = true;
            log::warn!("moved {} back, which a killed copy had moved aside", shown(name));
        }
        if !is_changed {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn entries_that_were_moved_aside_return_unless_they_were_replaced() {
        let scratch = tempfile::tempdir().unwrap();
        let at = |name: &str| scratch.path().join(name);
        for directory in ["staging/new/parts", "staging/old/parts/moved", "parts/still"] {
            fs::create_dir_all(at(directory)).unwrap();
        }
        for (name, content) in [
            ("staging/new/aside", "new"),
            ("staging/old/aside", "old"),
            ("staging/old/replaced", "old"),
            ("replaced", "new"),
            ("staging/old/gone", "old"),
        ] {
            fs::write(at(name), content).unwrap();
        }
        let open = |name: &str| fs::File::open(at(name)).unwrap();
        put_back(open("staging").as_fd(), open("").as_fd()).unwrap();
        assert_eq!(fs::read_to_string(at("aside")).unwrap(), "old");
        assert_eq!(fs::read_to_string(at("replaced")).unwrap(), "new");
        assert!(!at("gone").exists());
        assert!(at("parts/still").exists() && at("parts/moved").exists());
        assert!(!at("staging/old/parts").exists());
    }

    #[test]
    fn an_entry_whose_name_is_taken_stays_aside() {
        let scratch = tempfile::tempdir().unwrap();
        let at = |name: &str| scratch.path().join(name);
        for directory in ["staging/new", "staging/old"] {
            fs::create_dir_all(at(directory)).unwrap();
        }
        for name in ["staging/new/a", "staging/old/a", "a"] {
            fs::write(at(name), name).unwrap();
        }
        let open = |name: &str| fs::File::open(at(name)).unwrap();
        assert!(put_back(open("staging").as_fd(), open("").as_fd()).is_err());
        assert_eq!(fs::read_to_string(at("a")).unwrap(), "a");
        assert_eq!(fs::read_to_string(at("staging/old/a")).unwrap(), "staging/old/a");
    }
}
