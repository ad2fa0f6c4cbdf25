//! Directories whose modification time follows the clock: some filesystems always show the current time (btrfs for a
//! nested subvolume in a snapshot). Such a time does not show whether the directory changed.

use std::os::fd::BorrowedFd;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use crate::error::{Error, Kind, Result};
use crate::volume::tree::read::census::hash_of;
use crate::volume::tree::read::lstat::meta_of;
use crate::volume::tree::read::names::NameBatch;

/// The pause between two readings of a time: longer than a tick of any kernel's coarse clock (10 ms).
const LOOK_PAUSE: Duration = Duration::from_millis(20);
/// The number of consecutive readings that must differ before a time counts as following the clock.
const LOOKS: usize = 3;
/// The maximum memory for names that are read again, in bytes.
const NAMES_BYTES: usize = 512 << 10;

/// A hash of the names in a directory, independent of their order.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Names {
    count: u64,
    sum: u64,
}

impl Names {
    pub(super) fn add(&mut self, name: &[u8]) {
        self.count += 1;
        self.sum = self.sum.wrapping_add(hash_of(name));
    }
}

/// What is known about the times of directories.
#[derive(Debug, Default)]
pub(super) struct Unsteady {
    /// The last filesystem whose directories were found to have times that follow the clock.
    device: Option<u64>,
}

impl Unsteady {
    /// Checks the directory `dir`, whose time or size changed while its names (`met`) were read.
    ///
    /// Errors: `Kind::SourceChanged`, unless the directory still has the same names and its time follows the clock.
    pub(super) fn check(
        &mut self,
        dir: BorrowedFd<'_>,
        path: &Path,
        met: &Names,
        buffer: &mut Vec<u8>,
    ) -> Result<()> {
        self.check_after(|| sleep(LOOK_PAUSE), dir, path, met, buffer)
    }

    /// The same, with `pause` between two readings of the time.
    fn check_after(
        &mut self,
        mut pause: impl FnMut(),
        dir: BorrowedFd<'_>,
        path: &Path,
        met: &Names,
        buffer: &mut Vec<u8>,
    ) -> Result<()> {
        if names_of(dir, path, buffer)? != *met {
            let path = path.display();
            let text = format!("names were added to or removed from {path} while it was read");
            return Err(Error::new(Kind::SourceChanged, text));
        }
        // In an empty directory no entry can have been replaced.
        if met.count == 0 {
            return Ok(());
        }
        let mut before = meta_of(dir, path)?;
        if self.device == Some(before.device) {
            return Ok(());
        }
        for _ in 0..LOOKS {
            pause();
            let now = meta_of(dir, path)?;
            if !before.content_differs(&now) {
                let path = path.display();
                let text = format!(
                    "{path} changed while it was read: an entry was replaced, or was added and removed"
                );
                return Err(Error::new(Kind::SourceChanged, text));
            }
            before = now;
        }
        self.device = Some(before.device);
        Ok(())
    }
}

fn names_of(dir: BorrowedFd<'_>, path: &Path, buffer: &mut Vec<u8>) -> Result<Names> {
    let mut names = Names::default();
    let mut last: Option<Vec<u8>> = None;
    loop {
        let batch = NameBatch::read(dir, last.as_deref(), NAMES_BYTES, buffer);
        let mut batch = batch.map_err(|cause| Error::source("read the directory", path, cause))?;
        while let Some((name, _)) = batch.next() {
            names.add(name.to_bytes());
        }
        last = batch.last().map(<[u8]>::to_vec).or(last);
        if !batch.has_more() {
            return Ok(names);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::os::fd::AsFd;
    use std::time::SystemTime;

    fn met(names: &[&str]) -> Names {
        let mut met = Names::default();
        names.iter().for_each(|name| met.add(name.as_bytes()));
        met
    }

    fn check(unsteady: &mut Unsteady, directory: &Path, names: &[&str]) -> Result<()> {
        let dir = File::open(directory).unwrap();
        unsteady.check(dir.as_fd(), directory, &met(names), &mut Vec::with_capacity(4096))
    }

    #[test]
    fn other_names_are_a_change_with_any_time() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("a"), "").unwrap();
        let mut unsteady = Unsteady {
            device: Some(meta_of(File::open(directory.path()).unwrap(), directory.path()).unwrap().device),
        };
        assert!(check(&mut unsteady, directory.path(), &["a"]).is_ok());
        for names in [&["a", "b"][..], &["b"], &[]] {
            let error = check(&mut unsteady, directory.path(), names).unwrap_err();
            assert_eq!(error.kind(), Kind::SourceChanged);
            assert!(error.to_string().contains("names were added to or removed from"), "{error}");
        }
    }

    #[test]
    fn the_same_names_with_a_constant_time_are_a_change() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("a"), "").unwrap();
        let error = check(&mut Unsteady::default(), directory.path(), &["a"]).unwrap_err();
        assert!(error.to_string().ends_with("an entry was replaced, or was added and removed"), "{error}");
    }

    #[test]
    fn a_time_that_follows_the_clock_is_ignored() {
        let directory = tempfile::tempdir().unwrap();
        assert!(check(&mut Unsteady::default(), directory.path(), &[]).is_ok());
        fs::write(directory.path().join("a"), "").unwrap();
        let mut unsteady = Unsteady::default();
        let dir = File::open(directory.path()).unwrap();
        let mut time = SystemTime::UNIX_EPOCH;
        let tick = || {
            time += LOOK_PAUSE;
            dir.set_modified(time).unwrap();
        };
        let mut buffer = Vec::with_capacity(4096);
        let checked = unsteady.check_after(tick, dir.as_fd(), directory.path(), &met(&["a"]), &mut buffer);
        assert!(checked.is_ok());
        assert!(unsteady.device.is_some());
    }
}
