//! Keeps a clone out of the page cache: what it read or wrote of a large file is dropped, so that a clone does not push
//! out what other programs of the machine work with.
//!
//! What was read is dropped unless it was in the cache before: a volume that is cloned often may stay. What was written is
//! dropped once it is on disk. Small files stay: handling each of them would cost more than it gives.

use std::fs::File;
use std::io::IoSliceMut;
use std::num::NonZeroU64;

use rustix::fs::{Advice, fadvise};
use rustix::io::{ReadWriteFlags, preadv2};

/// What is dropped at a time. Much more than the kernel reads ahead (disks of clouds ask for 8 MiB, and it runs two of those
/// ahead), so that the end of a window that was not read yet is only there if somebody else read it.
const READ_WINDOW_BYTES: u64 = 32 << 20;
/// Less than this at the end of an extent is not worth a call.
const READ_REST_BYTES: u64 = 4 << 20;
/// Files below this size are left alone: looking would cost more than their pages are worth.
pub(crate) const SMALL_BYTES: u64 = 1 << 20;

/// Follows one file, or one after the other.
#[derive(Debug, Default)]
pub struct DropAfterRead {
    start: u64,
    end: u64,
    was_there: bool,
}

impl DropAfterRead {
    /// The bytes before `offset` were read; reading goes on there, up to `until` without a gap.
    pub fn read(&mut self, file: &File, offset: u64, until: u64) {
        if (self.start..self.end).contains(&offset) || (offset == 0 && until < SMALL_BYTES) {
            return;
        }
        // Reads do not end where windows do.
        if (self.end..self.end + READ_REST_BYTES).contains(&offset) {
            self.drop_up_to(file, offset);
        }
        (self.start, self.end) = (offset, offset + READ_WINDOW_BYTES);
        self.was_there = is_there(file, self.end.min(until) - 1);
    }

    /// An extent was read to its end, at `offset`.
    pub fn end(&mut self, file: &File, offset: u64) {
        if (self.start + READ_REST_BYTES..self.end + READ_REST_BYTES).contains(&offset) {
            self.drop_up_to(file, offset);
        }
    }

    fn drop_up_to(&mut self, file: &File, offset: u64) {
        let Some(len) = NonZeroU64::new(offset - self.start).filter(|_| !self.was_there) else {
            return;
        };
        // Advice only: a filesystem that does not take it keeps the pages.
        let _ = fadvise(file, self.start, len.into(), Advice::DontNeed);
        self.start = offset;
    }
}

/// Whether the byte can be had without the disk.
fn is_there(file: &File, offset: u64) -> bool {
    let mut byte = [0];
    let read = preadv2(file, &mut [IoSliceMut::new(&mut byte)], offset, ReadWriteFlags::NOWAIT);
    read == Ok(1)
}

/// What is dropped at a time.
const WRITE_STEP_BYTES: u64 = 8 << 20;
/// What was written before the last so many bytes is on disk: that is how far the writer may be ahead of what was
/// synced (`receive/sync.rs`, of a tree).
const WRITE_UNSYNCED_BYTES: u64 = 48 << 20;

/// Follows the writing of one file, from its beginning to its end.
#[derive(Debug, Default)]
pub(crate) struct DropAfterWrite {
    dropped_bytes: u64,
}

impl DropAfterWrite {
    /// The file was written up to `end`, an offset in bytes.
    pub(crate) fn written(&mut self, file: &File, end: u64) {
        let synced_bytes = end.saturating_sub(WRITE_UNSYNCED_BYTES);
        let len = synced_bytes.saturating_sub(self.dropped_bytes);
        if len >= WRITE_STEP_BYTES {
            // Advice only: a filesystem that does not take it keeps the pages.
            let _ = fadvise(file, self.dropped_bytes, NonZeroU64::new(len), Advice::DontNeed);
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

    /// Reads it as the reader does.
    fn read_all(file: &File, size_bytes: u64) {
        let (mut cache, mut buffer) = (DropAfterRead::default(), vec![0; 999_999]);
        let mut offset = 0;
        while offset < size_bytes {
            cache.read(file, offset, size_bytes);
            offset += file.read_at(&mut buffer, offset).unwrap() as u64;
        }
        cache.end(file, offset);
    }

    #[test]
    fn only_what_was_not_there_before_is_dropped() {
        // Beside the sources: there is a disk under it, and so a page cache.
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
