//! Pauses between attempts.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::time::Duration;

/// Waits that double from a shortest to a longest one. Each is shortened by up to a half, depending on the seed, so
/// that many clients that failed at the same time do not retry at the same time.
#[derive(Debug, Clone)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    seed: u64,
    attempt: u32,
}

impl Backoff {
    /// Waits between `min / 2` and `max`. `seed` is any value that differs between the waiters, for example a key.
    pub fn new(min: Duration, max: Duration, seed: impl Hash) -> Self {
        let mut hasher = DefaultHasher::new();
        seed.hash(&mut hasher);
        Self { min, max, seed: hasher.finish(), attempt: 0 }
    }

    /// The wait before the next attempt.
    #[allow(clippy::should_implement_trait)] // It never ends, so it does not return an `Option`.
    pub fn next(&mut self) -> Duration {
        // 2^31 of any unit exceeds every `max`, and `saturating_mul` does not overflow.
        let full = self.min.saturating_mul(1 << self.attempt.min(31)).min(self.max);
        let mut hasher = DefaultHasher::new();
        (self.seed, self.attempt).hash(&mut hasher);
        self.attempt = self.attempt.saturating_add(1);
        let per_mille = u32::try_from(hasher.finish() % 1000).unwrap_or_default();
        full - full / 2 * per_mille / 1000
    }

    /// Resets the wait after a success: the next failure starts with the shortest wait.
    pub fn reset(&mut self) {
        self.attempt = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MIN: Duration = Duration::from_secs(1);
    const MAX: Duration = Duration::from_secs(30);

    #[test]
    fn waits_double_until_the_longest() {
        let mut backoff = Backoff::new(MIN, MAX, "key");
        for full_secs in [1, 2, 4, 8, 16, 30, 30, 30] {
            let full = Duration::from_secs(full_secs);
            let wait = backoff.next();
            assert!(wait <= full && wait >= full / 2, "{wait:?} of {full:?}");
        }
    }

    #[test]
    fn a_reset_starts_again_with_the_shortest() {
        let mut backoff = Backoff::new(MIN, MAX, "key");
        let first = backoff.next();
        backoff.next();
        backoff.reset();
        assert_eq!(backoff.next(), first);
    }

    #[test]
    fn two_seeds_wait_differently() {
        let waits = |seed| {
            let mut backoff = Backoff::new(MIN, MAX, seed);
            (0..4).map(|_| backoff.next()).collect::<Vec<_>>()
        };
        assert_ne!(waits("a"), waits("b"));
    }

    proptest! {
        #[test]
        fn no_wait_leaves_its_range(min_millis in 0_u64..100_000, extra in 0_u64..100_000, steps in 0_usize..80) {
            let (min, max) = (Duration::from_millis(min_millis), Duration::from_millis(min_millis + extra));
            let mut backoff = Backoff::new(min, max, steps);
            for _ in 0..=steps {
                let wait = backoff.next();
                prop_assert!(wait >= min / 2 && wait <= max);
            }
        }
    }
}
