//! Limits the rate of a stream. The limit can change while data flows.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use decant_shared::process::stop::{STOP_TICK, Stop};
use decant_shared::protocol::units::Rate;

/// How much time may be caught up after a pause that the sender did not cause: enough for scheduler delays, too little
/// for a visible burst on the wire.
const CATCH_UP: Duration = Duration::from_millis(100);
/// The unit of a bucket is bytes per second times nanoseconds, in which every sum is exact.
const NANOS_PER_SEC: i128 = 1_000_000_000;

/// Limits the rate of a sender. Without a limit it never waits.
///
/// In any period no more bytes pass than the limits permit in that period, plus one block and `CATCH_UP`.
#[derive(Debug)]
pub struct RateLimiter {
    bucket: Mutex<Bucket>,
    /// Wakes the sender when the limit changes.
    changed: Condvar,
    passed_bytes: AtomicU64,
    waited_nanos: AtomicU64,
}

impl RateLimiter {
    /// Limits the rate to `limit`.
    pub fn new(limit: Option<Rate>) -> Self {
        Self {
            bucket: Mutex::new(Bucket { limit, debt: 0, settled_at: None }),
            changed: Condvar::new(),
            passed_bytes: AtomicU64::new(0),
            waited_nanos: AtomicU64::new(0),
        }
    }

    /// Changes the limit at once, also for a sender that waits because of the previous one.
    pub fn set_limit(&self, limit: Option<Rate>) {
        self.lock().set_limit(limit, Instant::now());
        self.changed.notify_all();
    }

    /// The limit in force.
    pub fn limit(&self) -> Option<Rate> {
        self.lock().limit
    }

    /// How many bytes have passed.
    pub fn passed_bytes(&self) -> u64 {
        self.passed_bytes.load(Ordering::Relaxed)
    }

    /// For how long the sender has waited because of limits.
    pub fn waited(&self) -> Duration {
        Duration::from_nanos(self.waited_nanos.load(Ordering::Relaxed))
    }

    /// Waits until the next `bytes` may be sent. Returns early on a stop.
    pub fn wait(&self, bytes: usize, stop: &Stop) {
        let mut bucket = self.lock();
        let mut now = Instant::now();
        loop {
            let pause = bucket.pause(now);
            if pause.is_zero() || stop.is_set() {
                break;
            }
            let slept = self.changed.wait_timeout(bucket, pause.min(STOP_TICK));
            bucket = slept.unwrap_or_else(PoisonError::into_inner).0;
            let waited = now.elapsed();
            now += waited;
            let nanos = u64::try_from(waited.as_nanos()).unwrap_or(u64::MAX);
            self.waited_nanos.fetch_add(nanos, Ordering::Relaxed);
        }
        bucket.take(bytes);
        drop(bucket);
        self.passed_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Bucket> {
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was sent and not yet paid for with time.
#[derive(Debug)]
struct Bucket {
    limit: Option<Rate>,
    /// In bytes per second times nanoseconds. A negative debt is time that may be caught up.
    debt: i128,
    settled_at: Option<Instant>,
}

impl Bucket {
    /// How long to wait before the next block.
    fn pause(&mut self, now: Instant) -> Duration {
        self.settle(now);
        let Some(Rate(bytes_per_sec)) = self.limit else { return Duration::ZERO };
        let nanos = self.debt.max(0).div_euclid(i128::from(bytes_per_sec.max(1)));
        let rest = i128::from(nanos * i128::from(bytes_per_sec.max(1)) < self.debt);
        Duration::from_nanos(u64::try_from(nanos + rest).unwrap_or(u64::MAX))
    }

    /// Counts a block that is sent now.
    fn take(&mut self, bytes: usize) {
        if self.limit.is_some() {
            let bytes = i128::try_from(bytes).unwrap_or(i128::MAX / NANOS_PER_SEC);
            self.debt = self.debt.saturating_add(bytes * NANOS_PER_SEC);
        }
    }

    fn set_limit(&mut self, limit: Option<Rate>, now: Instant) {
        // The time until now is worth what the previous limit permits.
        self.settle(now);
        self.limit = limit;
        self.settle(now);
    }

    /// Pays with the time that has passed.
    fn settle(&mut self, now: Instant) {
        let passed = self.settled_at.map_or(Duration::ZERO, |then| now.saturating_duration_since(then));
        self.settled_at = Some(self.settled_at.map_or(now, |then| then.max(now)));
        let Some(Rate(bytes_per_sec)) = self.limit else {
            self.debt = 0;
            return;
        };
        let worth = |time: Duration| {
            let nanos = i128::try_from(time.as_nanos()).unwrap_or(i128::MAX);
            nanos.saturating_mul(i128::from(bytes_per_sec.max(1)))
        };
        self.debt = self.debt.saturating_sub(worth(passed)).max(-worth(CATCH_UP));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn limited(bytes_per_sec: u64) -> Bucket {
        Bucket { limit: Some(Rate(bytes_per_sec)), debt: 0, settled_at: None }
    }

    impl Bucket {
        /// Sends a block after its pause, which is returned.
        fn send(&mut self, bytes: usize, now: Instant) -> Duration {
            let pause = self.pause(now);
            self.take(bytes);
            pause
        }
    }

    #[test]
    fn without_a_limit_there_is_no_pause() {
        let mut bucket = Bucket { limit: None, debt: 0, settled_at: None };
        for _ in 0..2 {
            assert_eq!(bucket.send(usize::MAX, Instant::now()), Duration::ZERO);
        }
    }

    #[test]
    fn the_second_block_waits_for_the_first_to_have_left() {
        let (mut bucket, now) = (limited(1000), Instant::now());
        assert_eq!(bucket.send(500, now), Duration::ZERO);
        assert_eq!(bucket.send(500, now), Duration::from_millis(500));
    }

    #[test]
    fn a_foreign_pause_is_not_caught_up() {
        let (mut bucket, now) = (limited(1000), Instant::now());
        bucket.send(1000, now);
        let late = now + Duration::from_secs(60);
        assert_eq!(bucket.send(1000, late), Duration::ZERO);
        assert_eq!(bucket.send(1000, late), Duration::from_millis(900));
    }

    #[test]
    fn a_new_limit_decides_how_long_the_rest_of_a_block_takes() {
        let (mut bucket, now) = (limited(1000), Instant::now());
        bucket.send(10_000, now);
        assert_eq!(bucket.pause(now), Duration::from_secs(10));
        let later = now + Duration::from_secs(4);
        bucket.set_limit(Some(Rate(6000)), later);
        assert_eq!(bucket.pause(later), Duration::from_secs(1), "6000 bytes are left");
        bucket.set_limit(Some(Rate(500)), later + Duration::from_millis(500));
        assert_eq!(bucket.pause(later + Duration::from_millis(500)), Duration::from_secs(6));
        bucket.set_limit(None, later + Duration::from_secs(1));
        assert_eq!(bucket.pause(later + Duration::from_secs(1)), Duration::ZERO);
    }

    #[test]
    fn time_at_a_high_limit_is_not_caught_up_at_a_low_one() {
        let (mut bucket, now) = (limited(1_000_000), Instant::now());
        bucket.send(1, now);
        let later = now + Duration::from_secs(1);
        bucket.set_limit(Some(Rate(1000)), later);
        assert_eq!(bucket.send(1000, later), Duration::ZERO);
        assert_eq!(bucket.pause(later), Duration::from_millis(900), "100 ms at the new limit");
    }

    #[test]
    fn a_sender_that_waits_notices_a_new_limit_and_a_stop() {
        let (limiter, stop) = (RateLimiter::new(Some(Rate(1))), Stop::new());
        limiter.wait(1 << 30, &stop);
        std::thread::scope(|scope| {
            let sender = scope.spawn(|| {
                // Each would take 34 years.
                limiter.wait(1 << 30, &stop);
                limiter.set_limit(Some(Rate(1)));
                limiter.wait(1 << 30, &stop);
                limiter.wait(1 << 30, &stop);
            });
            limiter.set_limit(None);
            while limiter.passed_bytes() < 2 << 30 {
                std::thread::yield_now();
            }
            stop.cancel();
            sender.join().unwrap();
        });
        assert_eq!((limiter.limit(), limiter.passed_bytes()), (Some(Rate(1)), 4 << 30));
    }

    /// Uses a simulated clock, in which each block also takes a millisecond for something else.
    #[test]
    fn a_limit_is_held_within_five_percent_over_ten_seconds() {
        let mut bucket = limited(2 << 20);
        let start = Instant::now();
        let mut now = start;
        for _ in 0..(20 << 20) / (64 << 10) {
            now += bucket.pause(now);
            bucket.send(64 << 10, now);
            now += Duration::from_millis(1);
        }
        let secs = (now - start).as_secs_f64();
        assert!((9.5..10.5).contains(&secs), "20 MiB at 2 MiB/s took {secs} s");
    }

    /// What happens in a simulated clone.
    #[derive(Debug, Clone)]
    enum Happening {
        Block(usize),
        Busy(Duration),
        Limit(Option<u64>),
    }

    fn happenings() -> impl Strategy<Value = Vec<Happening>> {
        let happening = prop_oneof![
            6 => (1_usize..300_000).prop_map(Happening::Block),
            2 => (0_u64..400).prop_map(|millis| Happening::Busy(Duration::from_millis(millis))),
            1 => (4096_u64..5_000_000).prop_map(|rate| Happening::Limit(Some(rate))),
        ];
        prop::collection::vec(happening, 1..80)
    }

    proptest! {
        #[test]
        fn a_sender_that_always_has_data_keeps_the_rate(
            blocks in prop::collection::vec(1_usize..300_000, 50..200),
            rate in 10_000_u64..10_000_000,
        ) {
            let (mut bucket, start) = (limited(rate), Instant::now());
            let mut now = start;
            for block in &blocks {
                now += bucket.pause(now);
                bucket.send(*block, now);
            }
            // The last block is sent after that.
            let before: usize = blocks[..blocks.len() - 1].iter().sum();
            let seconds = (now - start).as_secs_f64();
            let expected = before as f64 / rate as f64;
            prop_assert!((seconds - expected).abs() < 0.001 + expected * 0.001, "{seconds} for {expected}");
        }

        /// In every period: at most what the limits permit, one block, and what may be caught up.
        #[test]
        fn no_more_passes_in_any_period_than_the_limits_permit(
            first in 4096_u64..5_000_000, happenings in happenings(),
        ) {
            let (mut bucket, mut now, mut rate) = (limited(first), Instant::now(), first);
            // For each block: what the limits permitted until then, and the bytes until then.
            let (mut permitted, mut sent, mut blocks) = (0.0, 0.0, Vec::new());
            let mut highest = first;
            for happening in happenings {
                match happening {
                    Happening::Block(bytes) => {
                        let pause = bucket.pause(now);
                        now += pause;
                        permitted += rate as f64 * pause.as_secs_f64();
                        bucket.send(bytes, now);
                        blocks.push((permitted, sent, bytes as f64));
                        sent += bytes as f64;
                    }
                    Happening::Busy(time) => {
                        now += time;
                        permitted += rate as f64 * time.as_secs_f64();
                    }
                    Happening::Limit(limit) => {
                        bucket.set_limit(limit.map(Rate), now);
                        rate = limit.unwrap_or(rate);
                        highest = highest.max(rate);
                    }
                }
            }
            let catch_up = highest as f64 * CATCH_UP.as_secs_f64();
            for (index, (permitted_first, sent_first, _)) in blocks.iter().enumerate() {
                for (permitted_last, sent_last, last) in &blocks[index..] {
                    let (passed, allowed) = (sent_last - sent_first, permitted_last - permitted_first);
                    prop_assert!(passed <= allowed + catch_up + 1.0, "{passed} of {allowed}, then {last}");
                }
            }
        }
    }
}
