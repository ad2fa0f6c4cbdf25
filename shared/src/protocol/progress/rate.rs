//! The rate of a clone in the last seconds, and the remaining time at that rate.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::protocol::units::{Rate, Seconds};

/// How far back the meter looks: long enough to smooth out a slow write, short enough to show the current rate.
const WINDOW: Duration = Duration::from_secs(10);

/// A reading that follows the previous one sooner than this is dropped, which bounds the number of readings in the window.
const MIN_INTERVAL: Duration = Duration::from_millis(100);

/// Measures the rate of a counter from repeated readings. It does not read the clock itself.
#[derive(Debug, Clone, Default)]
pub struct RateMeter {
    readings: VecDeque<Reading>,
}

#[derive(Debug, Clone, Copy)]
struct Reading {
    at: Instant,
    bytes: u64,
}

impl RateMeter {
    /// A meter without readings.
    pub fn new() -> Self {
        Self::default()
    }

    /// Records that the counter is `bytes` at `now`. A counter that decreased was restarted: the earlier readings are dropped.
    pub fn record(&mut self, now: Instant, bytes: u64) {
        if let Some(previous) = self.readings.back() {
            if bytes < previous.bytes {
                self.readings.clear();
            } else if now.saturating_duration_since(previous.at) < MIN_INTERVAL {
                return;
            }
        }
        self.readings.push_back(Reading { at: now, bytes });
        // One reading outside of the window stays, so that infrequent readings also give a rate.
        while self.readings.get(1).is_some_and(|second| now.saturating_duration_since(second.at) >= WINDOW) {
            self.readings.pop_front();
        }
    }

    /// Bytes per second over the window; 0 with fewer than two readings.
    pub fn rate(&self) -> Rate {
        let (Some(first), Some(last)) = (self.readings.front(), self.readings.back()) else {
            return Rate(0);
        };
        let millis = last.at.saturating_duration_since(first.at).as_millis();
        let moved = last.bytes.saturating_sub(first.bytes);
        let per_second = (u128::from(moved) * 1000).checked_div(millis).unwrap_or(0);
        Rate(u64::try_from(per_second).unwrap_or(u64::MAX))
    }

    /// How long `left_bytes` take at this rate, rounded up; `None` if the rate is 0.
    pub fn time_left(&self, left_bytes: u64) -> Option<Seconds> {
        match self.rate() {
            Rate(0) => None,
            Rate(per_second) => Some(Seconds(left_bytes.div_ceil(per_second))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn meter(readings: &[(u64, u64)]) -> RateMeter {
        let start = Instant::now();
        let mut meter = RateMeter::new();
        for &(millis, bytes) in readings {
            meter.record(start + Duration::from_millis(millis), bytes);
        }
        meter
    }

    #[test]
    fn the_rate_is_zero_without_two_readings() {
        assert_eq!(meter(&[]).rate(), Rate(0));
        assert_eq!(meter(&[(0, 99)]).rate(), Rate(0));
        assert_eq!(meter(&[(0, 99)]).time_left(1), None);
    }

    #[test]
    fn only_readings_in_the_window_count() {
        let readings: Vec<_> = (0..60).map(|second| (second * 1000, second.max(30) * 500)).collect();
        assert_eq!(meter(&readings[..31]).rate(), Rate(0));
        assert_eq!(meter(&readings[..36]).rate(), Rate(250));
        assert_eq!(meter(&readings).rate(), Rate(500));
        assert_eq!(meter(&readings).time_left(1001), Some(Seconds(3)));
    }

    #[test]
    fn infrequent_readings_give_a_rate() {
        assert_eq!(meter(&[(0, 0), (60_000, 60_000), (120_000, 180_000)]).rate(), Rate(2000));
    }

    #[test]
    fn a_counter_that_decreases_resets_the_rate() {
        assert_eq!(meter(&[(0, 0), (1000, 9000), (1001, 0)]).rate(), Rate(0));
        assert_eq!(meter(&[(0, 0), (1000, 9000), (1001, 0), (2001, 50)]).rate(), Rate(50));
    }

    proptest! {
        #[test]
        fn arbitrary_readings_never_panic_and_few_are_kept(readings in prop::collection::vec((0..20_000_u64, any::<u64>()), 0..300)) {
            prop_assert!(meter(&readings).readings.len() <= 102);
        }

        #[test]
        fn frequent_readings_are_bounded(step_millis in 1..50_u64) {
            let readings: Vec<_> = (0..3000).map(|index| (index * step_millis, index)).collect();
            prop_assert!(meter(&readings).readings.len() <= 102);
        }
    }
}
