//! Limits how many large reviews are in memory at a time.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Slots for large reviews.
#[derive(Debug)]
pub(super) struct ReviewSlots {
    free: Mutex<usize>,
    freed: Condvar,
}

/// A slot; free again when it is dropped.
#[derive(Debug)]
pub(super) struct ReviewSlot<'p>(&'p ReviewSlots);

impl ReviewSlots {
    pub(super) fn new(count: usize) -> Self {
        Self { free: Mutex::new(count), freed: Condvar::new() }
    }

    /// Waits at most `limit` for a slot.
    pub(super) fn take(&self, limit: Duration) -> Option<ReviewSlot<'_>> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut free, _) = self
            .freed
            .wait_timeout_while(free, limit, |free| *free == 0)
            .unwrap_or_else(PoisonError::into_inner);
        *free = free.checked_sub(1)?;
        Some(ReviewSlot(self))
    }
}

impl Drop for ReviewSlot<'_> {
    fn drop(&mut self) {
        *self.0.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_has_one_user_at_a_time() {
        let review_slots = ReviewSlots::new(1);
        let first = review_slots.take(Duration::ZERO).unwrap();
        assert!(review_slots.take(Duration::from_millis(10)).is_none());
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| review_slots.take(Duration::from_secs(60)).is_some());
            drop(first);
            assert!(waiting.join().unwrap());
        });
        assert!(review_slots.take(Duration::ZERO).is_some());
    }
}
