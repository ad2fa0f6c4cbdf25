//! How fast a clone was in the last seconds, and when it will be through at that pace.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::protocol::units::{Rate, Seconds};

/// How far back the meter looks: long enough to smooth out a slow write, short enough that a person who
/// looks sees what is going on now.
const WINDOW: Duration = Duration::from_secs(10);

/// Marks closer than this to the one before are dropped, so that the window holds a bounded number.
const STEP: Duration = Duration::from_millis(100);

/// Measures the pace of a counter that is shown to it again and again. It never asks the clock itself.
#[derive(Debug, Clone, Default)]
pub struct RateMeter {
    marks: VecDeque<(Instant, u64)>,
}

impl RateMeter {
    /// A meter that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// At `now` the counter stands at `bytes`. A counter that fell was restarted: the meter begins anew.
    pub fn mark(&mut self, now: Instant, bytes: u64) {
        if let Some(&(then, before)) = self.marks.back() {
            if bytes < before {
                self.marks.clear();
            } else if now.saturating_duration_since(then) < STEP {
                return;
            }
        }
        self.marks.push_back((now, bytes));
        // One mark stays beyond the window, so that rare marks give a rate, too.
        while self.marks.get(1).is_some_and(|&(then, _)| now.saturating_duration_since(then) >= WINDOW) {
            self.marks.pop_front();
        }
    }

    /// Bytes per second over the window; 0 before there are two marks.
    pub fn rate(&self) -> Rate {
        let (Some(&(start, first)), Some(&(end, last))) = (self.marks.front(), self.marks.back()) else {
            return Rate(0);
        };
        let millis = end.saturating_duration_since(start).as_millis();
        let per_second = (u128::from(last.saturating_sub(first)) * 1000).checked_div(millis).unwrap_or(0);
        Rate(u64::try_from(per_second).unwrap_or(u64::MAX))
    }

    /// How long `left_bytes` take at this pace, rounded up; `None` while nothing moves.
    pub fn left(&self, left_bytes: u64) -> Option<Seconds> {
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

    fn meter(marks: &[(u64, u64)]) -> RateMeter {
        let start = Instant::now();
        let mut meter = RateMeter::new();
        for &(millis, bytes) in marks {
            meter.mark(start + Duration::from_millis(millis), bytes);
        }
        meter
    }

    #[test]
    fn without_two_marks_there_is_no_pace() {
        assert_eq!(meter(&[]).rate(), Rate(0));
        assert_eq!(meter(&[(0, 99)]).rate(), Rate(0));
        assert_eq!(meter(&[(0, 99)]).left(1), None);
    }

    #[test]
    fn only_the_window_counts() {
        let marks: Vec<_> = (0..60).map(|second| (second * 1000, second.max(30) * 500)).collect();
        assert_eq!(meter(&marks[..31]).rate(), Rate(0));
        assert_eq!(meter(&marks[..36]).rate(), Rate(250));
        assert_eq!(meter(&marks).rate(), Rate(500));
        assert_eq!(meter(&marks).left(1001), Some(Seconds(3)));
    }

    #[test]
    fn rare_marks_give_a_pace_too() {
        assert_eq!(meter(&[(0, 0), (60_000, 60_000), (120_000, 180_000)]).rate(), Rate(2000));
    }

    #[test]
    fn a_restart_begins_anew() {
        assert_eq!(meter(&[(0, 0), (1000, 9000), (1001, 0)]).rate(), Rate(0));
        assert_eq!(meter(&[(0, 0), (1000, 9000), (1001, 0), (2001, 50)]).rate(), Rate(50));
    }

    proptest! {
        #[test]
        fn no_marks_panic_and_few_are_kept(marks in prop::collection::vec((0..20_000_u64, any::<u64>()), 0..300)) {
            prop_assert!(meter(&marks).marks.len() <= 102);
        }

        #[test]
        fn frequent_marks_are_bounded(step_millis in 1..50_u64) {
            let marks: Vec<_> = (0..3000).map(|index| (index * step_millis, index)).collect();
            prop_assert!(meter(&marks).marks.len() <= 102);
        }
    }
}
