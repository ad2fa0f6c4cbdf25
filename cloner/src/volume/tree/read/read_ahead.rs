//! Files are opened before their turn, and the kernel is asked for their content: a disk that takes a millisecond for each
//! request then reads many small files at once, and not one after the other.

use std::collections::VecDeque;
use std::os::fd::BorrowedFd;

use rustix::fs::{Advice, FileType, fadvise};

use crate::volume::page_cache::SMALL_BYTES;
use crate::volume::tree::read::lstat::{OpenedEntry, open_quietly};
use crate::volume::tree::read::names::NameBatch;

/// Files that are open before their turn. Disks work on 32 to 256 requests at once.
const FILES: usize = 64;
/// All directories on the way to where a walk is share these; each gets a few in any case, so that a deep tree has some, too.
const SHARED_FILES: usize = 128;
const FEW_FILES: usize = 8;
/// What may wait in the page cache to be read.
const WAITING_BYTES: u64 = 8 << 20;

/// The files of one directory that are open before their turn.
#[derive(Default)]
pub(super) struct ReadAhead {
    opened: VecDeque<(usize, OpenedEntry)>,
    waiting_bytes: u64,
    /// Where to go on in the batch of names.
    next: usize,
}

impl ReadAhead {
    /// How many files are open.
    pub(super) fn len(&self) -> usize {
        self.opened.len()
    }

    /// Opens files of `dir` whose names come from `turn` on in `batch`. Other directories hold `others` open.
    pub(super) fn reach(&mut self, batch: &NameBatch, turn: usize, dir: BorrowedFd<'_>, others: usize) {
        let most = SHARED_FILES.saturating_sub(others).clamp(FEW_FILES, FILES);
        self.next = self.next.max(turn);
        while self.opened.len() < most && self.waiting_bytes < WAITING_BYTES {
            let Some((name, file_type)) = batch.get(self.next) else { return };
            if file_type == FileType::RegularFile
                // What cannot be opened is looked at again when its turn comes, and then says why.
                && let Some(looked) = open_quietly(dir, name)
            {
                self.waiting_bytes += asked_for(&looked);
                self.opened.push_back((self.next, looked));
            }
            self.next += 1;
        }
    }

    /// The file whose name is `turn` in the batch, if it is open. Those before it are closed.
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

/// Has the kernel read it, and says how much that is. Larger files are read ahead of the reader by the kernel itself, and
/// must not be in the page cache before they are looked at there.
fn asked_for(looked: &OpenedEntry) -> u64 {
    let len = small_bytes(looked);
    if let (Some(len), Some(fd)) = (std::num::NonZeroU64::new(len), &looked.fd) {
        // Advice only: a filesystem that does not take it is read when it is read.
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
    fn neither_files_nor_bytes_are_without_bound() {
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
    fn a_file_that_went_before_it_was_opened_is_left_to_its_turn() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("a"), "x").unwrap();
        let (dir, batch) = names(directory.path());
        fs::remove_file(directory.path().join("a")).unwrap();
        let mut ahead = ReadAhead::default();
        ahead.reach(&batch, 0, dir.as_fd(), 0);
        assert!(ahead.take(0).is_none());
    }
}
