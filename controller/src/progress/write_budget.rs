//! Limits how often progress is written, for each clone and for all clones together.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::objects::Key;
use crate::policy::Intervals;

/// The writes that are allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writes {
    /// The status.
    One,
    /// The status and the annotations.
    Both,
}

/// The progress writes that are allowed in one second.
#[derive(Debug)]
pub struct WriteBudget {
    per_clone: Duration,
    /// Interval of writes, for all clones together.
    pace: Duration,
    inner: Mutex<BudgetState>,
}

#[derive(Debug, Default)]
struct BudgetState {
    /// The next free slot.
    free: Option<Instant>,
    /// Reserved slots by clone, so that a retry keeps its slot.
    slots: HashMap<Key, Instant>,
    /// No write before this instant, whatever its slot, so that late writes do not accumulate.
    quiet: Option<Instant>,
    /// When each clone was written last.
    last: HashMap<Key, Instant>,
    /// Grants so far.
    granted: u64,
}

impl WriteBudget {
    /// A budget with the limits of the operator.
    pub fn new(every: &Intervals) -> Self {
        let pace = Duration::from_secs(1) / every.progress_writes_per_sec.max(1);
        Self { per_clone: every.progress_write, pace, inner: Mutex::default() }
    }

    /// Whether the progress of `key` may be written now, and whether the less important annotations may be written as
    /// well. The error is how long to wait before the next attempt. Writes are spaced evenly, so that there are never
    /// more in a second than allowed.
    pub fn ask(&self, key: &Key, now: Instant) -> Result<Writes, Duration> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = inner.last.get(key) {
            let since = now.saturating_duration_since(*last);
            if since < self.per_clone {
                return Err(self.per_clone - since);
            }
        }
        let slot = match inner.slots.get(key) {
            Some(slot) => *slot,
            None => {
                let slot = inner.free.map_or(now, |free| free.max(now));
                inner.free = Some(slot + self.pace);
                inner.slots.insert(key.clone(), slot);
                slot
            }
        };
        let at = inner.quiet.map_or(slot, |quiet| quiet.max(slot));
        if at > now {
            return Err(at - now);
        }
        inner.slots.remove(key);
        inner.granted = inner.granted.wrapping_add(1);
        // Both writes are allowed if no clone waits, and otherwise for every tenth grant.
        let is_idle = inner.free.is_none_or(|free| free <= now + self.pace);
        let writes = if is_idle || inner.granted.is_multiple_of(10) { Writes::Both } else { Writes::One };
        let pause = self.pace * if writes == Writes::Both { 2 } else { 1 };
        inner.quiet = Some(now + pause);
        inner.free = inner.free.map(|free| free + (pause - self.pace));
        inner.last.insert(key.clone(), now);
        Ok(writes)
    }

    /// Forgets the clone `key`, which has ended.
    pub fn forget(&self, key: &Key) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.last.remove(key);
        inner.slots.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Policy;
    use proptest::prelude::*;

    #[test]
    fn a_waiting_clone_is_told_its_own_place() {
        let budget = WriteBudget::new(&Policy::default().intervals);
        let now = Instant::now();
        let ask =
            |name: &str, after: u64| budget.ask(&Key::new("n", name), now + Duration::from_millis(after));
        assert_eq!(ask("a", 0), Ok(Writes::Both));
        assert_eq!(ask("b", 0), Err(Duration::from_millis(100)));
        assert_eq!(ask("c", 0), Err(Duration::from_millis(150)));
        assert_eq!(ask("b", 0), Err(Duration::from_millis(100)), "still the same");
        assert!(ask("c", 150).is_ok(), "b does not come");
    }

    proptest! {
        #[test]
        fn never_more_than_allowed_in_a_second_nor_twice_for_one_clone(
            asks in prop::collection::vec((0_u64..40, 0_u8..60), 1..300),
        ) {
            let every = Policy::default().intervals;
            let budget = WriteBudget::new(&every);
            let (start, mut at, mut writes) = (Instant::now(), Duration::ZERO, Vec::new());
            for (step, clone) in asks {
                at += Duration::from_millis(step);
                if let Ok(granted) = budget.ask(&Key::new("n", clone.to_string()), start + at) {
                    writes.push((at, clone, if granted == Writes::Both { 2 } else { 1 }));
                }
            }
            for (index, (at, clone, _)) in writes.iter().enumerate() {
                let window = writes[index..].iter().filter(|(other, ..)| *other < *at + Duration::from_secs(1));
                let window: u32 = window.map(|(.., count)| count).sum();
                // The last grant of a second may be for both writes.
                prop_assert!(window <= 21, "{window} writes in a second");
                let again = writes[index + 1..].iter().find(|(_, other, _)| other == clone);
                prop_assert!(again.is_none_or(|(other, ..)| *other >= *at + every.progress_write));
            }
        }
    }
}
