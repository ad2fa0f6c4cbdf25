//! Drops from the page cache what was written of a large file, once it is on disk: nobody reads it soon, and the programs
//! of the machine need the room. Small files stay: to come back to each of them would cost more than it gives.

use std::fs::File;
use std::num::NonZeroU64;

use rustix::fs::{Advice, fadvise};

/// What is dropped at a time.
const STEP_BYTES: u64 = 8 << 20;
/// What was written before the last so many bytes is on disk: that is how far the writer may be ahead of what was
/// synced (`receive/sync.rs`, of a tree).
const UNSYNCED_BYTES: u64 = 48 << 20;

/// Follows the writing of one file, from its beginning to its end.
#[derive(Debug, Default)]
pub(super) struct Behind {
    dropped_bytes: u64,
}

impl Behind {
    /// The file was written up to `end`, an offset in bytes.
    pub(super) fn written(&mut self, file: &File, end: u64) {
        let synced_bytes = end.saturating_sub(UNSYNCED_BYTES);
        let len = synced_bytes.saturating_sub(self.dropped_bytes);
        if len >= STEP_BYTES {
            // Advice only: a filesystem that does not take it keeps the pages.
            let _ = fadvise(file, self.dropped_bytes, NonZeroU64::new(len), Advice::DontNeed);
            self.dropped_bytes = synced_bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_not_be_synced_yet_is_not_dropped() {
        let file = tempfile::tempfile().unwrap();
        let mut behind = Behind::default();
        for (end, dropped) in [(1 << 20, 0), (50 << 20, 0), (56 << 20, 8 << 20), (57 << 20, 8 << 20)] {
            behind.written(&file, end);
            assert_eq!(behind.dropped_bytes, dropped, "written up to {end}");
        }
    }
}
