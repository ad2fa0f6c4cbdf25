//! Limits the rate of a stream.

use std::time::{Duration, Instant};

use decant_shared::process::stop::Stop;
use decant_shared::protocol::units::Rate;

/// How much time may be caught up after a pause that the sender did not cause: enough for scheduler delays, too little
/// for a visible burst on the wire.
const CATCH_UP: Duration = Duration::from_millis(100);

/// Limits the rate of a sender. Without a limit it never waits.
#[derive(Debug)]
pub struct RateLimiter {
    limit: Option<Rate>,
    /// The time when everything that was sent so far should have left.
    due: Option<Instant>,
}

impl RateLimiter {
    /// Limits the rate to `limit`.
    pub fn new(limit: Option<Rate>) -> Self {
        Self { limit, due: None }
    }

    /// Waits until the next `bytes` may be sent. Returns early on a stop.
    pub fn wait(&mut self, bytes: usize, stop: &Stop) {
        let pause = self.pause(bytes, Instant::now());
        if !pause.is_zero() {
            stop.sleep(pause);
        }
    }

    /// How long to wait before the next `bytes` are sent.
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

    fn limited(bytes_per_sec: u64) -> RateLimiter {
        RateLimiter { limit: Some(Rate(bytes_per_sec)), due: None }
    }

    #[test]
    fn without_a_limit_there_is_no_pause() {
        assert_eq!(RateLimiter { limit: None, due: None }.pause(usize::MAX, Instant::now()), Duration::ZERO);
    }

    #[test]
    fn the_second_block_waits_for_the_first_to_have_left() {
        let (mut rate_limiter, now) = (limited(1000), Instant::now());
        assert_eq!(rate_limiter.pause(500, now), Duration::ZERO);
        assert_eq!(rate_limiter.pause(500, now), Duration::from_millis(500));
    }

    #[test]
    fn a_foreign_pause_is_not_caught_up() {
        let (mut rate_limiter, now) = (limited(1000), Instant::now());
        rate_limiter.pause(1000, now);
        let late = now + Duration::from_secs(60);
        assert_eq!(rate_limiter.pause(1000, late), Duration::ZERO);
        assert_eq!(rate_limiter.pause(1000, late), Duration::from_millis(900));
    }

    /// Uses a simulated clock, in which each block also takes a millisecond for something else.
    #[test]
    fn a_limit_is_held_within_five_percent_over_ten_seconds() {
        let mut rate_limiter = limited(2 << 20);
        let start = Instant::now();
        let mut now = start;
        for _ in 0..(20 << 20) / (64 << 10) {
            now += rate_limiter.pause(64 << 10, now) + Duration::from_millis(1);
        }
        let secs = (now - start).as_secs_f64();
        assert!((9.5..10.5).contains(&secs), "20 MiB at 2 MiB/s took {secs} s");
    }

    proptest! {
        #[test]
        fn a_sender_that_always_has_data_keeps_the_rate(
            blocks in prop::collection::vec(1_usize..300_000, 50..200),
            rate in 10_000_u64..10_000_000,
        ) {
            let (mut rate_limiter, start) = (limited(rate), Instant::now());
            let mut now = start;
            for block in &blocks {
                now += rate_limiter.pause(*block, now);
            }
            // The last block is sent after that.
            let before: usize = blocks[..blocks.len() - 1].iter().sum();
            let seconds = (now - start).as_secs_f64();
            let expected = before as f64 / rate as f64;
            prop_assert!((seconds - expected).abs() < 0.001 + expected * 0.001, "{seconds} for {expected}");
        }
    }
}
