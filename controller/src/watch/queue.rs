//! The queue of keys to work on. Each key is due at a certain time, and no two workers have the same key.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use decant_shared::process::stop::{STOP_TICK, Stop};

use crate::objects::Key;

/// The queue. All methods take `&self`, because workers share it.
#[derive(Debug, Default)]
pub struct Queue {
    inner: Mutex<QueueState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct QueueState {
    /// By time, then key.
    due: BTreeSet<(Instant, Key)>,
    times: HashMap<Key, Instant>,
    working: HashSet<Key>,
}

impl QueueState {
    fn add(&mut self, key: Key, at: Instant) {
        match self.times.get(&key) {
            Some(earlier) if *earlier <= at => return,
            Some(later) => {
                self.due.remove(&(*later, key.clone()));
            }
            None => {}
        }
        self.due.insert((at, key.clone()));
        self.times.insert(key, at);
    }

    /// The first key that is due and that no worker has.
    fn take(&mut self, now: Instant) -> Option<Key> {
        let found = self
            .due
            .iter()
            .take_while(|(at, _)| *at <= now)
            .find(|(_, key)| !self.working.contains(key))
            .cloned()?;
        self.due.remove(&found);
        self.times.remove(&found.1);
        self.working.insert(found.1.clone());
        Some(found.1)
    }
}

impl Queue {
    /// Adds `key`, due in `after`. If the queue already has it, the earlier time counts.
    pub fn add(&self, key: Key, after: Duration) {
        self.lock().add(key, Instant::now() + after);
        self.changed.notify_one();
    }

    /// The next key, when one is due. It stays with the caller until [`Queue::done`]. `None` after a stop.
    pub fn take(&self, stop: &Stop) -> Option<Key> {
        let mut inner = self.lock();
        loop {
            if stop.is_set() {
                return None;
            }
            let now = Instant::now();
            if let Some(key) = inner.take(now) {
                return Some(key);
            }
            let next = inner.due.iter().find(|(_, key)| !inner.working.contains(key)).map(|(at, _)| *at);
            let wait = next.map_or(STOP_TICK, |at| at.saturating_duration_since(now).min(STOP_TICK));
            inner = self.changed.wait_timeout(inner, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Returns `key` to the queue after the caller has finished with it; `again` is the delay until it is due again.
    pub fn done(&self, key: &Key, again: Option<Duration>) {
        let mut inner = self.lock();
        inner.working.remove(key);
        if let Some(after) = again {
            inner.add(key.clone(), Instant::now() + after);
        }
        drop(inner);
        self.changed.notify_one();
    }

    /// How many keys wait, and for how long the first of them is overdue.
    pub fn depth(&self) -> (usize, Duration) {
        let inner = self.lock();
        let first = inner.due.first().map(|(at, _)| *at);
        (inner.due.len(), first.map_or(Duration::ZERO, |at| at.elapsed()))
    }

    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn key(number: u8) -> Key {
        Key::new("n", number.to_string())
    }

    #[test]
    fn the_earlier_time_wins() {
        let (queue, stop) = (Queue::default(), Stop::new());
        queue.add(key(1), Duration::from_secs(3600));
        queue.add(key(1), Duration::ZERO);
        queue.add(key(1), Duration::from_secs(3600));
        assert_eq!(queue.take(&stop), Some(key(1)));
        assert_eq!(queue.depth().0, 0);
    }

    #[test]
    fn a_key_at_work_waits_until_it_is_done() {
        let (queue, stop) = (Queue::default(), Stop::new());
        queue.add(key(1), Duration::ZERO);
        queue.take(&stop);
        queue.add(key(1), Duration::ZERO);
        queue.add(key(2), Duration::from_millis(20));
        assert_eq!(queue.take(&stop), Some(key(2)));
        queue.done(&key(1), None);
        assert_eq!(queue.take(&stop), Some(key(1)));
    }

    #[test]
    fn a_stop_ends_the_wait() {
        let (queue, stop) = (Queue::default(), Stop::new());
        stop.cancel();
        assert_eq!(queue.take(&stop), None);
    }

    #[test]
    fn no_two_workers_ever_hold_one_key() {
        let (queue, stop) = (Arc::new(Queue::default()), Stop::new());
        let held: Arc<Vec<AtomicUsize>> = Arc::new((0..4).map(|_| AtomicUsize::new(0)).collect());
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while let Some(taken) = queue.take(&stop) {
                        let slot: usize = taken.name.parse().unwrap();
                        assert_eq!(held[slot].fetch_add(1, Ordering::SeqCst), 0);
                        std::thread::yield_now();
                        held[slot].fetch_sub(1, Ordering::SeqCst);
                        queue.done(&taken, None);
                    }
                });
            }
            for round in 0..2000_u32 {
                queue.add(key(u8::try_from(round % 4).unwrap()), Duration::ZERO);
            }
            while queue.depth().0 > 0 {
                std::thread::yield_now();
            }
            stop.cancel();
        });
    }

    proptest! {
        #[test]
        fn every_key_added_comes_out_once_in_the_order_of_its_time(times in prop::collection::vec(0_u64..50, 1..40)) {
            let mut inner = QueueState::default();
            let start = Instant::now();
            for (number, after) in times.iter().enumerate() {
                inner.add(key(u8::try_from(number).unwrap()), start + Duration::from_millis(*after));
            }
            let late = start + Duration::from_secs(1);
            let order: Vec<u64> = std::iter::from_fn(|| inner.take(late))
                .map(|key| times[key.name.parse::<usize>().unwrap()])
                .collect();
            let mut sorted = times.clone();
            sorted.sort_unstable();
            prop_assert_eq!(order, sorted);
        }
    }
}
