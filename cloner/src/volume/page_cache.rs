//! Keeps a clone out of the page cache: drops the pages of large files that the clone has read or written, so that it
//! does not evict the pages of other programs.
//!
//! [`DropAfterRead`] keeps pages that were already in the cache: a volume that is cloned often may stay there.
//! `DropAfterWrite` waits until pages are on disk, because the kernel drops only such pages. The pages of small files
//! stay: a call for each of these files would cost more than it saves.

use std::fs::File;
use std::io::IoSliceMut;
use std::num::NonZeroU64;

use rustix::fs::{Advice, fadvise};
use rustix::io::{ReadWriteFlags, preadv2};

/// The size of a window, whose pages are dropped together. It is much larger than the kernel's read-ahead (cloud disks
/// ask for 8 MiB, and the kernel keeps two of those in flight). So if the end of an unread window is cached, another
/// program has read it.
const READ_WINDOW_BYTES: u64 = 32 << 20;
/// A rest of an extent that is shorter than this is not worth a call.
const READ_REST_BYTES: u64 = 4 << 20;
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
}

impl DropAfterRead {
    /// Notes that the bytes before `offset` were read. The next reads start there and continue without a gap up to
    /// `until`.
    pub fn read(&mut self, file: &File, offset: u64, until: u64) {
        if (self.start..self.end).contains(&offset) || (offset == 0 && until < SMALL_BYTES) {
            return;
        }
        // The end of a read need not be the end of a window.
        if (self.end..self.end + READ_REST_BYTES).contains(&offset) {
            self.drop_up_to(file, offset);
        }
        (self.start, self.end) = (offset, offset + READ_WINDOW_BYTES);
        self.was_there = is_there(file, self.end.min(until) - 1);
    }

    /// Notes that an extent was read to its end, at `offset`.
    pub fn end(&mut self, file: &File, offset: u64) {
        if (self.start + READ_REST_BYTES..self.end + READ_REST_BYTES).contains(&offset) {
            self.drop_up_to(file, offset);
        }
    }

    fn drop_up_to(&mut self, file: &File, offset: u64) {
        if !self.was_there {
            drop_pages(file, self.start, offset - self.start);
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

/// Whether the byte at `offset` can be read without the disk.
fn is_there(file: &File, offset: u64) -> bool {
    let mut byte = [0];
    let read = preadv2(file, &mut [IoSliceMut::new(&mut byte)], offset, ReadWriteFlags::NOWAIT);
    read == Ok(1)
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

    /// More than one window.
    const SIZE_BYTES: usize = 44 << 20;

    /// Reads the file as the reader does.
    fn read_all(file: &File, size_bytes: u64) {
        let mut cache = DropAfterRead::default();
        let mut buffer = vec![0; 999_999];
        let mut offset = 0;
        while offset < size_bytes {
            cache.read(file, offset, size_bytes);
            offset += file.read_at(&mut buffer, offset).unwrap() as u64;
        }
        cache.end(file, offset);
    }

    #[test]
    fn only_what_was_not_there_before_is_dropped() {
        // The directory of the sources is on a disk, and so has a page cache.
        let mut file = tempfile::tempfile_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        file.write_all(&vec![1; SIZE_BYTES]).unwrap();
        file.sync_all().unwrap();
        read_all(&file, SIZE_BYTES as u64);
        assert!(is_there(&file, 5 << 20), "what was there stays");
        fadvise(&file, 0, None, Advice::DontNeed).unwrap();
        if !able(!is_there(&file, 5 << 20), "a filesystem that takes advice about its page cache") {
            return;
        }
        read_all(&file, SIZE_BYTES as u64);
        for offset in (0..SIZE_BYTES as u64).step_by(1 << 20) {
            assert!(!is_there(&file, offset), "what was not there is gone again, at {offset}");
        }
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
