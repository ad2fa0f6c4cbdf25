//! How far a clone is: counters that its threads share, and the percentage made of them.

mod percent;
mod phase;
mod rate;

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

pub use percent::Percent;
pub use phase::Phase;
pub use rate::RateMeter;

/// Stands for a total that nobody knows yet. No volume is this large.
const UNKNOWN: u64 = u64::MAX;

/// The counters of one clone. All methods take `&self`, from any thread.
///
/// The percentage is made by [`Progress::tick`] only. It never goes back, and it is 100 only after the other
/// end confirmed the clone: CDI shows 100 while the target still writes (contract 1.13 and 8, #13).
#[derive(Debug)]
pub struct Progress {
    total_bytes: AtomicU64,
    read_bytes: AtomicU64,
    sent_bytes: AtomicU64,
    wire_bytes: AtomicU64,
    packed_bytes: AtomicU64,
    /// What the other end made durable, where it says so.
    durable_bytes: AtomicU64,
    /// What the other end had before this attempt; unknown until it was asked.
    kept_bytes: AtomicU64,
    percent_hundredths: AtomicU64,
    ticks: AtomicU64,
    phase: AtomicU8,
    digest: Mutex<Option<String>>,
    /// Set once, never cleared.
    is_done: AtomicBool,
    start_unix_seconds: u64,
}

impl Progress {
    /// The counters of a clone that starts at `start_unix_seconds` (seconds since 1970). All are 0, the total
    /// is unknown.
    pub fn new(start_unix_seconds: u64) -> Self {
        Self {
            total_bytes: AtomicU64::new(UNKNOWN),
            read_bytes: AtomicU64::new(0),
            sent_bytes: AtomicU64::new(0),
            wire_bytes: AtomicU64::new(0),
            packed_bytes: AtomicU64::new(0),
            durable_bytes: AtomicU64::new(UNKNOWN),
            kept_bytes: AtomicU64::new(UNKNOWN),
            percent_hundredths: AtomicU64::new(0),
            ticks: AtomicU64::new(0),
            digest: Mutex::new(None),
            phase: AtomicU8::new(Phase::Starting.number()),
            is_done: AtomicBool::new(false),
            start_unix_seconds,
        }
    }

    /// When the clone started, in seconds since 1970.
    pub fn start_unix_seconds(&self) -> u64 {
        self.start_unix_seconds
    }

    /// Sets the length of the whole logical stream.
    pub fn set_total_bytes(&self, bytes: u64) {
        self.total_bytes.store(bytes, Ordering::Relaxed);
    }

    /// The length of the whole logical stream, once it is known.
    pub fn total_bytes(&self) -> Option<u64> {
        Some(self.total_bytes.load(Ordering::Relaxed)).filter(|&bytes| bytes != UNKNOWN)
    }

    /// Counts `bytes` of the logical stream as read from the source.
    pub fn add_read_bytes(&self, bytes: u64) {
        self.read_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Logical bytes read from the source so far.
    pub fn read_bytes(&self) -> u64 {
        self.read_bytes.load(Ordering::Relaxed)
    }

    /// Counts `bytes` of the logical stream as handed to the other end.
    pub fn add_sent_bytes(&self, bytes: u64) {
        self.sent_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Logical bytes handed to the other end so far.
    pub fn sent_bytes(&self) -> u64 {
        self.sent_bytes.load(Ordering::Relaxed)
    }

    /// The other end says that the first `bytes` of the stream survive a loss of power. From now on the percentage
    /// is made of that, and not of what was sent.
    pub fn set_durable_bytes(&self, bytes: u64) {
        self.durable_bytes.store(bytes, Ordering::Relaxed);
    }

    /// What the other end made durable; `None` where it does not say.
    pub fn durable_bytes(&self) -> Option<u64> {
        Some(self.durable_bytes.load(Ordering::Relaxed)).filter(|&bytes| bytes != UNKNOWN)
    }

    /// The other end was asked and has the first `bytes` of the stream from an earlier attempt. From now on there is a
    /// percentage to tell, which begins there.
    pub fn set_kept_bytes(&self, bytes: u64) {
        self.kept_bytes.store(bytes, Ordering::Relaxed);
    }

    /// How far the clone is: what is durable, or else what was sent; and never less than what was there before.
    pub fn moved_bytes(&self) -> u64 {
        let moved_bytes = self.durable_bytes().unwrap_or_else(|| self.sent_bytes());
        self.kept_bytes().map_or(moved_bytes, |kept_bytes| kept_bytes.max(moved_bytes))
    }

    fn kept_bytes(&self) -> Option<u64> {
        Some(self.kept_bytes.load(Ordering::Relaxed)).filter(|&bytes| bytes != UNKNOWN)
    }

    /// The digest of the whole content, once it is known.
    pub fn set_digest(&self, digest: String) {
        *self.digest.lock().unwrap_or_else(PoisonError::into_inner) = Some(digest);
    }

    /// The digest of the whole content, once it is known.
    pub fn digest(&self) -> Option<String> {
        self.digest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Counts `bytes`, compressed as they are, as sent.
    pub fn add_wire_bytes(&self, bytes: u64) {
        self.wire_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Compressed bytes sent so far.
    pub fn wire_bytes(&self) -> u64 {
        self.wire_bytes.load(Ordering::Relaxed)
    }

    /// Counts `bytes` of the logical stream as sent compressed, zeros and holes included.
    pub fn add_packed_bytes(&self, bytes: u64) {
        self.packed_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Logical bytes that were sent compressed so far.
    pub fn packed_bytes(&self) -> u64 {
        self.packed_bytes.load(Ordering::Relaxed)
    }

    /// Enters `phase`. [`Phase::Done`] is entered by [`Progress::finish_ok`]; named here it is shown, but the
    /// percentage stays below 100.
    pub fn enter(&self, phase: Phase) {
        self.phase.store(phase.number(), Ordering::Relaxed);
    }

    /// What the clone is doing.
    pub fn phase(&self) -> Phase {
        Phase::from_number(self.phase.load(Ordering::Relaxed))
    }

    /// The other end confirmed the clone: the percentage is 100 from here on, without another tick.
    pub fn finish_ok(&self) {
        self.enter(Phase::Done);
        self.is_done.store(true, Ordering::Relaxed);
        self.tick();
    }

    /// A new try from the start of the stream: the counters go back to 0, the percentage stays (contract 8,
    /// #14) until the new try has passed it. The threads of the former try must have ended.
    pub fn restart(&self) {
        for counter in [&self.read_bytes, &self.sent_bytes, &self.wire_bytes, &self.packed_bytes] {
            counter.store(0, Ordering::Relaxed);
        }
        self.durable_bytes.store(UNKNOWN, Ordering::Relaxed);
        self.set_kept_bytes(0);
        self.enter(Phase::Starting);
    }

    /// Brings the percentage up to date with what was sent.
    pub fn tick(&self) {
        let percent = if self.is_done.load(Ordering::Relaxed) {
            Percent::FULL
        } else {
            Percent::of_unfinished(self.moved_bytes(), self.total_bytes().unwrap_or(0))
        };
        // The larger one stays, also if two threads tick at once.
        self.percent_hundredths.fetch_max(percent.hundredths(), Ordering::Relaxed);
        // Behind the percentage: who sees the tick sees that, too.
        self.ticks.fetch_add(1, Ordering::Release);
    }

    /// How often it was brought up to date. What is shown to programs is made again when this changes.
    pub fn ticks(&self) -> u64 {
        self.ticks.load(Ordering::Acquire)
    }

    /// The percentage of the last tick, once it can be told: before the other end was asked, it is not known whether it has a
    /// part of the clone. A source that was restarted in the middle would say 0 there.
    pub fn known_percent(&self) -> Option<Percent> {
        let is_known = self.kept_bytes().is_some() || self.is_done.load(Ordering::Relaxed);
        is_known.then(|| self.percent())
    }

    /// The percentage of the last tick.
    pub fn percent(&self) -> Percent {
        Percent::from_hundredths(self.percent_hundredths.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_unknown_or_empty_total_is_nought_per_cent_until_the_end() {
        let progress = Progress::new(7);
        assert_eq!((progress.start_unix_seconds(), progress.total_bytes()), (7, None));
        for total in [None, Some(0)] {
            total.inspect(|&bytes| progress.set_total_bytes(bytes));
            progress.add_sent_bytes(5);
            progress.tick();
            assert_eq!(progress.percent().to_string(), "0.00");
        }
        progress.finish_ok();
        assert_eq!(progress.percent().to_string(), "100.00");
        assert_eq!(progress.phase(), Phase::Done);
    }

    #[test]
    fn the_last_hundredth_waits_for_the_other_end() {
        let progress = Progress::new(0);
        progress.set_total_bytes(10);
        progress.add_sent_bytes(10);
        progress.enter(Phase::Done);
        progress.tick();
        assert_eq!(progress.percent().to_string(), "99.99");
        progress.finish_ok();
        assert_eq!(progress.percent().to_string(), "100.00");
    }

    #[test]
    fn a_clone_that_goes_on_begins_where_it_was_and_says_nothing_before_that_is_known() {
        let progress = Progress::new(0);
        progress.set_total_bytes(1000);
        progress.tick();
        assert_eq!(progress.known_percent(), None);
        progress.set_kept_bytes(300);
        progress.tick();
        let shown = || progress.known_percent().map(|percent| percent.to_string());
        assert_eq!((shown().as_deref(), progress.moved_bytes()), (Some("30.00"), 300));
        // The other end counts from the beginning of its own process.
        progress.set_durable_bytes(100);
        progress.tick();
        assert_eq!((shown().as_deref(), progress.moved_bytes()), (Some("30.00"), 300));
        progress.restart();
        assert_eq!((shown().as_deref(), progress.moved_bytes()), (Some("30.00"), 0));
        let failed_at_once = Progress::new(0);
        failed_at_once.restart();
        assert_eq!(
            failed_at_once.known_percent().map(|percent| percent.to_string()).as_deref(),
            Some("0.00")
        );
    }

    #[test]
    fn a_new_try_keeps_the_percentage_until_it_has_passed_it() {
        let progress = Progress::new(0);
        progress.set_total_bytes(1000);
        progress.add_read_bytes(900);
        progress.add_sent_bytes(500);
        progress.add_wire_bytes(300);
        progress.tick();
        progress.restart();
        assert_eq!((progress.read_bytes(), progress.sent_bytes(), progress.wire_bytes()), (0, 0, 0));
        for (more, shown) in [(400, "50.00"), (200, "60.00")] {
            progress.add_sent_bytes(more);
            progress.tick();
            assert_eq!(progress.percent().to_string(), shown);
        }
    }

    #[test]
    fn threads_that_tick_at_once_never_see_it_go_back() {
        let progress = Progress::new(0);
        progress.set_total_bytes(100_000);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        let before = progress.percent();
                        progress.add_sent_bytes(1);
                        progress.tick();
                        assert!(progress.percent() >= before);
                    }
                });
            }
        });
        assert_eq!(progress.percent().to_string(), "40.00");
    }

    #[derive(Debug, Clone)]
    enum Step {
        Total(u64),
        Sent(u64),
        Enter(Phase),
        Restart,
        Tick,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            prop_oneof![any::<u64>(), 0..100_u64].prop_map(Step::Total),
            prop_oneof![any::<u64>(), 0..50_u64].prop_map(Step::Sent),
            prop::sample::select(Phase::ALL.to_vec()).prop_map(Step::Enter),
            Just(Step::Restart),
            Just(Step::Tick),
        ]
    }

    proptest! {
        #[test]
        fn the_percentage_never_goes_back_and_is_full_only_at_the_end(
            steps in prop::collection::vec(step(), 0..60)
        ) {
            let progress = Progress::new(0);
            let mut before = progress.percent();
            for step in steps {
                match step {
                    Step::Total(bytes) => progress.set_total_bytes(bytes),
                    Step::Sent(bytes) => progress.add_sent_bytes(bytes),
                    Step::Enter(phase) => progress.enter(phase),
                    Step::Restart => progress.restart(),
                    Step::Tick => progress.tick(),
                }
                prop_assert!(progress.percent() >= before);
                prop_assert!(progress.percent() < Percent::FULL);
                before = progress.percent();
            }
            progress.finish_ok();
            progress.restart();
            progress.tick();
            prop_assert_eq!(progress.percent(), Percent::FULL);
        }
    }
}
