//! Keeps a clone out of the page cache: drops the pages of large files that the clone has read or written, so that it
//! does not evict the pages of other programs.
//!
//! [`DropAfterRead`] keeps pages that were already in the cache: a volume that is cloned often may stay there.
//! `DropAfterWrite` waits until pages are on disk, because the kernel drops only such pages. The pages of small files
//! stay: a call for each of these files would cost more than it saves.

use std::fs::File;
use std::io::IoSliceMut;
use std::num::NonZeroU64;
use std::ops::Range;

use nix::sys::resource::{UsageWho, getrusage};
use rustix::fs::{Advice, fadvise};
use rustix::io::{ReadWriteFlags, preadv2};

/// The size of a window, whose pages are dropped together.
const READ_WINDOW_BYTES: u64 = 32 << 20;
/// The distance that the kernel reads ahead of a reader: cloud disks ask for 8 MiB, and the kernel keeps two of those in
/// flight. Pages within this distance may be in the cache because of the clone itself.
const READ_AHEAD_BYTES: u64 = 16 << 20;
/// A rest of an extent that is shorter than this is not worth a call.
const READ_REST_BYTES: u64 = 4 << 20;
/// The largest folio of the page cache. The kernel drops only folios that are completely in the range of a call, so the
/// folio at the end of a window is dropped with the next window.
const FOLIO_BYTES: u64 = 2 << 20;
/// Pages of files below this size are not dropped.
pub(crate) const SMALL_BYTES: u64 = 1 << 20;

/// Drops the pages of files. The files are read one after the other, each from its beginning to its end.
#[derive(Debug, Default)]
pub struct DropAfterRead {
    /// The window, whose bytes are dropped together.
    start: u64,
    end: u64,
    /// Whether the window was in the cache before it was read.
    was_there: bool,
    /// The same for the next window. It is checked one window early, before the kernel reads ahead into it.
    next_was_there: Option<bool>,
    /// The start of the next call that drops pages.
    drop_from: u64,
}

impl DropAfterRead {
    /// Notes that the bytes before `offset` were read. The next reads start there and continue without a gap up to
    /// `until`.
    pub fn read(&mut self, file: &File, offset: u64, until: u64) {
        if (self.start..self.end).contains(&offset) || (offset == 0 && until < SMALL_BYTES) {
            return;
        }
        // The end of a read need not be the end of a window.
        let is_next = self.end > 0 && (self.end..self.end + READ_REST_BYTES).contains(&offset);
        if is_next {
            self.drop_up_to(file, offset);
        } else {
            self.drop_from = offset;
        }
        let read_ahead_end = if self.end > 0 && offset >= self.end { self.end + READ_AHEAD_BYTES } else { 0 };
        (self.start, self.end) = (offset, offset + READ_WINDOW_BYTES);
        self.was_there = match self.next_was_there.take() {
            Some(was_there) if is_next => was_there,
            // A window after a hole. If all of it may have been read ahead, the previous window decides.
            _ => {
                let unread = offset.max(read_ahead_end)..self.end.min(until);
                if unread.is_empty() { self.was_there } else { is_there(file, unread) }
            }
        };
        let next = self.end..until.min(self.end + READ_WINDOW_BYTES);
        self.next_was_there = (!next.is_empty()).then(|| is_there(file, next));
    }

    /// Notes that an extent was read to `offset`, which is its end unless the clone failed.
    pub fn end(&mut self, file: &File, offset: u64) {
        if (self.start + READ_REST_BYTES..self.end + READ_REST_BYTES).contains(&offset) {
            self.drop_up_to(file, offset);
        }
    }

    fn drop_up_to(&mut self, file: &File, offset: u64) {
        if self.was_there {
            self.drop_from = offset;
        } else {
            drop_pages(file, self.drop_from, offset - self.drop_from);
            self.drop_from = self.drop_from.max(offset.saturating_sub(FOLIO_BYTES));
            self.start = offset;
        }
    }
}

/// Drops `len` bytes, starting at `offset`, from the page cache. A filesystem may ignore this advice, or keep what is
/// not synced.
pub(crate) fn drop_pages(file: &File, offset: u64, len: u64) {
    if let Some(len) = NonZeroU64::new(len) {
        let _ = fadvise(file, offset, Some(len), Advice::DontNeed);
    }
}

/// Whether a range, which this process has not read, is in the cache: its end, its middle and the end of its first
/// third. Another program's read-ahead may have left some of these pages there. If the first of them is missing, the
/// others are not checked, because each check of a missing page reads it.
fn is_there(file: &File, range: Range<u64>) -> bool {
    let len = range.end - range.start;
    [len, len / 2, len / 3].into_iter().all(|at| is_page_there(file, range.start + at.saturating_sub(1)))
}

/// Whether the byte at `offset` can be read without the disk.
///
/// `RWF_NOWAIT` is not enough: the kernel starts to read a missing page and then checks again whether the page is there.
/// A fast disk may have delivered it by then, and any disk if another thread runs in between. So the page was in the
/// cache only if this thread has also read no blocks. Kernels without `CONFIG_TASK_IO_ACCOUNTING` and some network
/// filesystems do not count blocks; there, only the number of checked pages makes a wrong answer unlikely.
fn is_page_there(file: &File, offset: u64) -> bool {
    let mut byte = [0];
    let count = read_blocks();
    let read = preadv2(file, &mut [IoSliceMut::new(&mut byte)], offset, ReadWriteFlags::NOWAIT);
    read == Ok(1) && read_blocks() == count
}

/// The number of blocks that disks have read for this thread.
fn read_blocks() -> i64 {
    getrusage(UsageWho::RUSAGE_THREAD).map_or(0, |usage| usage.block_reads())
}

/// The number of bytes that are dropped together after they were written.
const WRITE_STEP_BYTES: u64 = 8 << 20;
/// The maximum distance between the writer and what is on disk (`writing/sync.rs`, for a tree).
const WRITE_UNSYNCED_BYTES: u64 = 48 << 20;

/// Drops the pages of one file that is written from its beginning to its end.
#[derive(Debug, Default)]
pub(crate) struct DropAfterWrite {
    dropped_bytes: u64,
}

impl DropAfterWrite {
    /// Notes that the file was written up to `end`, an offset in bytes.
    pub(crate) fn written(&mut self, file: &File, end: u64) {
        let synced_bytes = end.saturating_sub(WRITE_UNSYNCED_BYTES);
        let len = synced_bytes.saturating_sub(self.dropped_bytes);
        if len >= WRITE_STEP_BYTES {
            drop_pages(file, self.dropped_bytes, len);
            self.dropped_bytes = synced_bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use decant_test_support::able;
    use std::io::Write;
    use std::os::unix::fs::FileExt;
    use std::time::Duration;

    const MIB: u64 = 1 << 20;
    /// Two windows and a short one, which the kernel reads ahead completely.
    const SIZE_BYTES: u64 = 72 * MIB;

    const NONE: [u64; 0] = [];

    /// A file that is on disk and in the page cache.
    fn synced_file() -> File {
        // The directory of the sources is on a disk, and so has a page cache.
        let mut file = tempfile::tempfile_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        file.write_all(&vec![1; usize::try_from(SIZE_BYTES).unwrap()]).unwrap();
        file.sync_all().unwrap();
        file
    }

    /// Reads the file as the reader does, but slowly, so that the kernel's read-ahead is always complete.
    fn read_all(file: &File) {
        let mut cache = DropAfterRead::default();
        let mut buffer = vec![0; 999_999];
        let mut offset = 0;
        while offset < SIZE_BYTES {
            cache.read(file, offset, SIZE_BYTES);
            offset += file.read_at(&mut buffer, offset).unwrap() as u64;
            std::thread::sleep(Duration::from_millis(4));
        }
        cache.end(file, offset);
    }

    /// Drops the whole file. Returns whether that worked.
    fn drop_all(file: &File) -> bool {
        fadvise(file, 0, None, Advice::DontNeed).unwrap();
        able(!is_page_there(file, 5 * MIB), "a filesystem that takes advice about its page cache")
    }

    /// The pages of this range that are in the cache, of one page per MiB.
    fn there(file: &File, range: Range<u64>) -> Vec<u64> {
        let middles = range.map(|at_mib| at_mib * MIB + MIB / 2);
        middles.filter(|&offset| is_page_there(file, offset)).map(|offset| offset / MIB).collect()
    }

    #[test]
    fn only_what_was_not_there_before_is_dropped() {
        let file = synced_file();
        read_all(&file);
        assert_eq!(there(&file, 0..72).len(), 72, "what was there stays");
        if !drop_all(&file) {
            return;
        }
        read_all(&file);
        assert_eq!(there(&file, 0..72), NONE, "what was not there is gone again");
    }

    #[test]
    fn a_window_that_was_there_stays_between_others_that_are_dropped() {
        let file = synced_file();
        if !drop_all(&file) {
            return;
        }
        let other = file.try_clone().unwrap();
        fadvise(&other, 0, None, Advice::Random).unwrap();
        other.read_exact_at(&mut vec![0; 32 << 20], 32 * MIB).unwrap();
        fadvise(&other, 0, None, Advice::Normal).unwrap();
        read_all(&file);
        assert_eq!(there(&file, 0..32), NONE);
        assert_eq!(there(&file, 34..63).len(), 29);
        assert_eq!(there(&file, 66..72), NONE);
    }

    #[test]
    fn a_page_that_the_check_itself_reads_was_not_there() {
        let file = synced_file();
        if !drop_all(&file) {
            return;
        }
        // Every disk is fast enough for some of these pages.
        assert_eq!(there(&file, 6..72), NONE);
    }

    #[test]
    fn after_a_hole_the_previous_window_decides_about_what_was_read_ahead() {
        let file = synced_file();
        let mut cache = DropAfterRead { start: 0, end: 32 * MIB, ..DropAfterRead::default() };
        cache.read(&file, 33 * MIB, 40 * MIB);
        assert!(!cache.was_there);
        let mut cache = DropAfterRead { start: 0, end: 32 * MIB, ..DropAfterRead::default() };
        cache.read(&file, 33 * MIB, 60 * MIB);
        assert!(cache.was_there, "the end of this extent is too far to be read ahead");
    }

    #[test]
    fn what_may_not_be_synced_yet_is_not_dropped() {
        let file = tempfile::tempfile().unwrap();
        let mut cache = DropAfterWrite::default();
        for (end, dropped) in [(1 << 20, 0), (50 << 20, 0), (56 << 20, 8 << 20), (57 << 20, 8 << 20)] {
            cache.written(&file, end);
            assert_eq!(cache.dropped_bytes, dropped, "written up to {end}");
        }
    }
}
