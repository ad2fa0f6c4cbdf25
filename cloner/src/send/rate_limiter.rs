//! The bandwidth limit: how long to wait before more bytes go out.

use std::time::{Duration, Instant};

use decant_shared::process::stop::Stop;
use decant_shared::protocol::units::Rate;

/// How much may be caught up after a pause that somebody else made: enough for a scheduler's hiccups, too little to be
/// seen as a burst on the wire.
const CATCH_UP: Duration = Duration::from_millis(100);

/// Keeps a sender to a rate. Without one it never waits.
#[derive(Debug)]
pub struct RateLimiter {
    limit: Option<Rate>,
    /// When everything that was sent so far should have left.
    due: Option<Instant>,
}

impl RateLimiter {
    /// No faster than `limit`.
    pub fn new(limit: Option<Rate>) -> Self {
        Self { limit, due: None }
    }

    /// Waits until what was sent before has had its time; `bytes` more are about to be sent. Returns early on a stop.
    pub fn wait(&mut self, bytes: usize, stop: &Stop) {
        let pause = self.pause(bytes, Instant::now());
        if !pause.is_zero() {
            stop.sleep(pause);
        }
    }

    /// How long to wait before `bytes` more.
    fn pause(&mut self, bytes: usize, now: Instant) -> Duration {
        let Some(Rate(bytes_per_sec)) = self.limit else { return Duration::ZERO };
        let due = self.due.map_or(now, |due| due.max(now.checked_sub(CATCH_UP).unwrap_or(now)));
        let nanos = u128::try_from(bytes).unwrap_or(u128::MAX).saturating_mul(1_000_000_000)
            / u128::from(bytes_per_sec.max(1));
        self.due = Some(due + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)));
        due.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn without_a_limit_nobody_waits() {
        assert_eq!(RateLimiter::new(None).pause(usize::MAX, Instant::now()), Duration::ZERO);
    }

    #[test]
    fn the_second_block_waits_for_the_first_to_have_left() {
        let (mut rate_limiter, now) = (RateLimiter::new(Some(Rate(1000))), Instant::now());
        assert_eq!(rate_limiter.pause(500, now), Duration::ZERO);
        assert_eq!(rate_limiter.pause(500, now), Duration::from_millis(500));
    }

    #[test]
    fn a_foreign_pause_is_not_caught_up() {
        let (mut rate_limiter, now) = (RateLimiter::new(Some(Rate(1000))), Instant::now());
        rate_limiter.pause(1000, now);
        let late = now + Duration::from_secs(60);
        assert_eq!(rate_limiter.pause(1000, late), Duration::ZERO);
        assert_eq!(rate_limiter.pause(1000, late), Duration::from_millis(900));
    }

    /// A clock of its own, in which each block also takes a millisecond for something else.
    #[test]
    fn a_limit_is_held_within_five_percent_over_ten_seconds() {
        let (mut limiter, start) = (RateLimiter::new(Some(Rate(2 << 20))), Instant::now());
        let mut now = start;
        for _ in 0..(20 << 20) / (64 << 10) {
            now += limiter.pause(64 << 10, now) + Duration::from_millis(1);
        }
        let secs = (now - start).as_secs_f64();
        assert!((9.5..10.5).contains(&secs), "20 MiB at 2 MiB/s took {secs} s");
    }

    proptest! {
        #[test]
        fn a_sender_that_never_tires_keeps_the_rate(
            blocks in prop::collection::vec(1_usize..300_000, 50..200),
            rate in 10_000_u64..10_000_000,
        ) {
            let (mut rate_limiter, start) = (RateLimiter::new(Some(Rate(rate))), Instant::now());
            let mut now = start;
            for block in &blocks {
                now += rate_limiter.pause(*block, now);
            }
            // The last block leaves after that.
            let before: usize = blocks[..blocks.len() - 1].iter().sum();
            let seconds = (now - start).as_secs_f64();
            let expected = before as f64 / rate as f64;
            prop_assert!((seconds - expected).abs() < 0.001 + expected * 0.001, "{seconds} for {expected}");
        }
    }
}
