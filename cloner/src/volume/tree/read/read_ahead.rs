//! Reads ahead: opens files before their turn and lets the kernel read their content. A disk that takes a millisecond
//! per request can then read many small files at the same time.

use std::collections::VecDeque;
use std::os::fd::BorrowedFd;

use rustix::fs::{Advice, FileType, fadvise};

use crate::volume::page_cache::SMALL_BYTES;
use crate::volume::tree::read::lstat::{OpenedEntry, open_quietly};
use crate::volume::tree::read::names::NameBatch;

/// The maximum number of files that are open before their turn. Disks handle 32 to 256 requests at the same time.
const FILES: usize = 64;
/// The maximum number of such files in all directories on the path of the walk. Each directory gets a few in any case,
/// even in a deep tree.
const SHARED_FILES: usize = 128;
const FEW_FILES: usize = 8;
/// The maximum number of bytes in the page cache that wait to be read.
const WAITING_BYTES: u64 = 8 << 20;

/// The files of a directory that are open before their turn.
#[derive(Default)]
pub(super) struct ReadAhead {
    opened: VecDeque<(usize, OpenedEntry)>,
    waiting_bytes: u64,
    /// The index of the next name in the batch.
    next: usize,
}

impl ReadAhead {
    /// The number of open files.
    pub(super) fn len(&self) -> usize {
        self.opened.len()
    }

    /// Opens files of `dir`, whose names are in `batch` at `turn` and after it. Other directories have `others` files
    /// open.
    pub(super) fn reach(&mut self, batch: &NameBatch, turn: usize, dir: BorrowedFd<'_>, others: usize) {
        let most = SHARED_FILES.saturating_sub(others).clamp(FEW_FILES, FILES);
        self.next = self.next.max(turn);
        while self.opened.len() < most && self.waiting_bytes < WAITING_BYTES {
            let Some((name, file_type)) = batch.get(self.next) else { return };
            if file_type == FileType::RegularFile
                // A file that cannot be opened is tried again when its turn comes. That attempt reports the error.
                && let Some(looked) = open_quietly(dir, name)
            {
                self.waiting_bytes += read_small(&looked);
                self.opened.push_back((self.next, looked));
            }
            self.next += 1;
        }
    }

    /// The file at index `turn` of the batch, if it is open. Closes all files that precede it.
    pub(super) fn take(&mut self, turn: usize) -> Option<OpenedEntry> {
        while self.opened.front().is_some_and(|(index, _)| *index <= turn) {
            let (index, looked) = self.opened.pop_front()?;
            self.waiting_bytes -= small_bytes(&looked);
            if index == turn {
                return Some(looked);
            }
        }
        None
    }
}

/// Lets the kernel read a small file, and returns its size. For larger files the kernel reads ahead itself, and their
/// pages must not be in the page cache before [`DropAfterRead`](crate::volume::page_cache::DropAfterRead) checks that.
fn read_small(looked: &OpenedEntry) -> u64 {
    let len = small_bytes(looked);
    if let (Some(len), Some(fd)) = (std::num::NonZeroU64::new(len), &looked.fd) {
        // Advice only: if the filesystem ignores it, the file is read when its turn comes.
        let _ = fadvise(fd, 0, Some(len), Advice::WillNeed);
    }
    len
}

fn small_bytes(looked: &OpenedEntry) -> u64 {
    if looked.meta.size_bytes < SMALL_BYTES { looked.meta.size_bytes } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::os::fd::AsFd;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    fn names(directory: &Path) -> (File, NameBatch) {
        let dir = File::open(directory).unwrap();
        let batch = NameBatch::read(dir.as_fd(), None, 1 << 20, &mut Vec::with_capacity(32 << 10)).unwrap();
        (dir, batch)
    }

    #[test]
    fn files_are_open_before_their_turn_and_nothing_else_is() {
        let directory = tempfile::tempdir().unwrap();
        for (index, name) in ["a", "d", "e"].into_iter().enumerate() {
            fs::write(directory.path().join(name), vec![1; index + 1]).unwrap();
        }
        fs::create_dir(directory.path().join("b")).unwrap();
        symlink("a", directory.path().join("c")).unwrap();
        let (dir, batch) = names(directory.path());
        let mut ahead = ReadAhead::default();
        ahead.reach(&batch, 0, dir.as_fd(), 0);
        assert_eq!(ahead.len(), 3);
        let sizes = [0, 1, 2, 3, 4, 5].map(|turn| ahead.take(turn).map(|looked| looked.meta.size_bytes));
        assert_eq!(sizes, [Some(1), None, None, Some(2), Some(3), None]);
        assert_eq!((ahead.len(), ahead.waiting_bytes), (0, 0));
    }

    #[test]
    fn open_files_and_bytes_are_limited() {
        let directory = tempfile::tempdir().unwrap();
        for index in 100..200 {
            fs::write(directory.path().join(index.to_string()), "x").unwrap();
        }
        let (dir, batch) = names(directory.path());
        for (others, wanted) in
            [(0, FILES), (SHARED_FILES - 20, 20), (SHARED_FILES, FEW_FILES), (1000, FEW_FILES)]
        {
            let mut ahead = ReadAhead::default();
            ahead.reach(&batch, 0, dir.as_fd(), others);
            assert_eq!(ahead.len(), wanted, "{others}");
            ahead.take(0);
            ahead.reach(&batch, 1, dir.as_fd(), others);
            assert_eq!(ahead.len(), wanted, "{others}");
        }
        let directory = tempfile::tempdir().unwrap();
        for index in 0..30 {
            let file = File::create(directory.path().join(index.to_string())).unwrap();
            file.set_len(SMALL_BYTES - 1).unwrap();
        }
        let (dir, batch) = names(directory.path());
        let mut ahead = ReadAhead::default();
        ahead.reach(&batch, 0, dir.as_fd(), 0);
        assert!(ahead.len() < 20 && ahead.waiting_bytes < WAITING_BYTES + SMALL_BYTES, "{}", ahead.len());
    }

    #[test]
    fn a_file_that_vanished_is_left_to_its_turn() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("a"), "x").unwrap();
        let (dir, batch) = names(directory.path());
        fs::remove_file(directory.path().join("a")).unwrap();
        let mut ahead = ReadAhead::default();
        ahead.reach(&batch, 0, dir.as_fd(), 0);
        assert!(ahead.take(0).is_none());
    }
}
