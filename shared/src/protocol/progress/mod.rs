//! The progress of a clone: counters that its threads share, and the percentage computed from them.

mod percent;
mod phase;
mod rate;

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

pub use percent::Percent;
pub use phase::Phase;
pub use rate::RateMeter;

/// The value of a counter that is not known yet. No volume is this large.
const UNKNOWN: u64 = u64::MAX;

/// The counters of one clone. All methods take `&self`, from any thread.
///
/// Only [`Progress::tick`] computes the percentage. It never decreases, and it is 100 only after the target confirmed the
/// clone: CDI shows 100 while the target still writes (docs/protocol.md section 1.13 and
/// docs/migrate-from-cdi.md row 13).
#[derive(Debug)]
pub struct Progress {
    total_bytes: AtomicU64,
    read_bytes: AtomicU64,
    sent_bytes: AtomicU64,
    wire_bytes: AtomicU64,
    packed_bytes: AtomicU64,
    shared_bytes: AtomicU64,
    /// What the target made durable, if it reports that.
    durable_bytes: AtomicU64,
    /// What the target had before this attempt; unknown until the source has asked.
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
    /// The counters of a clone that starts at `start_unix_seconds` (seconds since 1970). All are 0, the total is unknown.
    pub fn new(start_unix_seconds: u64) -> Self {
        Self {
            total_bytes: AtomicU64::new(UNKNOWN),
            read_bytes: AtomicU64::new(0),
            sent_bytes: AtomicU64::new(0),
            wire_bytes: AtomicU64::new(0),
            packed_bytes: AtomicU64::new(0),
            shared_bytes: AtomicU64::new(0),
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

    /// Sets the length of the logical stream in bytes.
    pub fn set_total_bytes(&self, bytes: u64) {
        self.total_bytes.store(bytes, Ordering::Relaxed);
    }

    /// The length of the logical stream in bytes, once it is known.
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

    /// Counts `bytes` of the logical stream as sent to the target.
    pub fn add_sent_bytes(&self, bytes: u64) {
        self.sent_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Logical bytes sent to the target so far.
    pub fn sent_bytes(&self) -> u64 {
        self.sent_bytes.load(Ordering::Relaxed)
    }

    /// Sets how many bytes at the start of the stream would survive a power loss, as the target reports. From now on the
    /// percentage is computed from them and not from the sent bytes.
    pub fn set_durable_bytes(&self, bytes: u64) {
        self.durable_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Bytes that the target made durable; `None` if it does not report them.
    pub fn durable_bytes(&self) -> Option<u64> {
        Some(self.durable_bytes.load(Ordering::Relaxed)).filter(|&bytes| bytes != UNKNOWN)
    }

    /// Sets how many bytes at the start of the stream the target has from a previous attempt. From now on there is a
    /// percentage to report, which starts there.
    pub fn set_kept_bytes(&self, bytes: u64) {
        self.kept_bytes.store(bytes, Ordering::Relaxed);
    }

    /// The clone's progress in bytes: the durable bytes, or the sent bytes if the target does not report durable ones. Never less
    /// than what the target had before this attempt.
    pub fn moved_bytes(&self) -> u64 {
        let moved_bytes = self.durable_bytes().unwrap_or_else(|| self.sent_bytes());
        self.kept_bytes().map_or(moved_bytes, |kept_bytes| kept_bytes.max(moved_bytes))
    }

    fn kept_bytes(&self) -> Option<u64> {
        Some(self.kept_bytes.load(Ordering::Relaxed)).filter(|&bytes| bytes != UNKNOWN)
    }

    /// Sets the digest of the content.
    pub fn set_digest(&self, digest: String) {
        *self.digest.lock().unwrap_or_else(PoisonError::into_inner) = Some(digest);
    }

    /// The digest of the content, once it is known.
    pub fn digest(&self) -> Option<String> {
        self.digest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Counts `bytes` on the wire, after compression, as sent.
    pub fn add_wire_bytes(&self, bytes: u64) {
        self.wire_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes sent on the wire so far.
    pub fn wire_bytes(&self) -> u64 {
        self.wire_bytes.load(Ordering::Relaxed)
    }

    /// Counts `bytes` of the logical stream as sent in compressed form, including zeros and holes.
    pub fn add_packed_bytes(&self, bytes: u64) {
        self.packed_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Logical bytes that were sent in compressed form so far.
    pub fn packed_bytes(&self) -> u64 {
        self.packed_bytes.load(Ordering::Relaxed)
    }

    /// Counts `bytes` of the logical stream that are in blocks which the target shares with the source, so that they were
    /// not copied.
    pub fn add_shared_bytes(&self, bytes: u64) {
        self.shared_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes that the target shares with the source so far.
    pub fn shared_bytes(&self) -> u64 {
        self.shared_bytes.load(Ordering::Relaxed)
    }

    /// Enters `phase`. Only [`Progress::finish_ok`] completes a clone: with [`Phase::Done`] here the percentage stays below
    /// 100.
    pub fn enter(&self, phase: Phase) {
        self.phase.store(phase.number(), Ordering::Relaxed);
    }

    /// The current phase.
    pub fn phase(&self) -> Phase {
        Phase::from_number(self.phase.load(Ordering::Relaxed))
    }

    /// Records that the target confirmed the clone: the percentage is 100 from now on, without another tick.
    pub fn finish_ok(&self) {
        self.enter(Phase::Done);
        self.is_done.store(true, Ordering::Relaxed);
        self.tick();
    }

    /// Starts a new attempt from the start of the stream. The counters return to 0; the percentage stays until the new attempt
    /// has passed it (docs/migrate-from-cdi.md row 14). The threads of the previous attempt must have ended.
    pub fn restart(&self) {
        let Self { read_bytes, sent_bytes, wire_bytes, packed_bytes, shared_bytes, .. } = self;
        for counter in [read_bytes, sent_bytes, wire_bytes, packed_bytes, shared_bytes] {
            counter.store(0, Ordering::Relaxed);
        }
        self.durable_bytes.store(UNKNOWN, Ordering::Relaxed);
        self.set_kept_bytes(0);
        self.enter(Phase::Starting);
    }

    /// Updates the percentage.
    pub fn tick(&self) {
        let percent = if self.is_done.load(Ordering::Relaxed) {
            Percent::FULL
        } else {
            Percent::of_unfinished(self.moved_bytes(), self.total_bytes().unwrap_or(0))
        };
        // The maximum is kept even if two threads tick at once.
        self.percent_hundredths.fetch_max(percent.hundredths(), Ordering::Relaxed);
        // After the percentage: a thread that sees the new tick also sees the new percentage.
        self.ticks.fetch_add(1, Ordering::Release);
    }

    /// The number of updates so far. The metrics page is rendered again when this changes.
    pub fn ticks(&self) -> u64 {
        self.ticks.load(Ordering::Acquire)
    }

    /// The percentage of the last tick. `None` until the source knows whether the target has a part of the clone: a source
    /// that was restarted in the middle would otherwise report 0.
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
    fn the_percentage_of_an_unknown_or_empty_total_is_zero_until_the_end() {
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
    fn the_percentage_stays_below_100_until_the_target_confirms() {
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
    fn a_resumed_clone_reports_no_percentage_until_it_knows_where_it_resumes() {
        let progress = Progress::new(0);
        progress.set_total_bytes(1000);
        progress.tick();
        assert_eq!(progress.known_percent(), None);
        progress.set_kept_bytes(300);
        progress.tick();
        let shown = || progress.known_percent().map(|percent| percent.to_string());
        assert_eq!((shown().as_deref(), progress.moved_bytes()), (Some("30.00"), 300));
        // The target counts from the start of its own process.
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
    fn a_restart_keeps_the_percentage_until_the_new_attempt_has_passed_it() {
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
    fn the_percentage_never_decreases_with_concurrent_ticks() {
        let progress = Progress::new(0);
        progress.set_total_bytes(100_000);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        let previous = progress.percent();
                        progress.add_sent_bytes(1);
                        progress.tick();
                        assert!(progress.percent() >= previous);
                    }
                });
            }
        });
        assert_eq!(progress.percent().to_string(), "40.00");
    }

    #[derive(Debug, Clone)]
    enum Operation {
        Total(u64),
        Sent(u64),
        Enter(Phase),
        Restart,
        Tick,
    }

    fn operation() -> impl Strategy<Value = Operation> {
        prop_oneof![
            prop_oneof![any::<u64>(), 0..100_u64].prop_map(Operation::Total),
            prop_oneof![any::<u64>(), 0..50_u64].prop_map(Operation::Sent),
            prop::sample::select(Phase::ALL.to_vec()).prop_map(Operation::Enter),
            Just(Operation::Restart),
            Just(Operation::Tick),
        ]
    }

    proptest! {
        #[test]
        fn the_percentage_never_decreases_and_is_100_only_at_the_end(
            operations in prop::collection::vec(operation(), 0..60)
        ) {
            let progress = Progress::new(0);
            let mut previous = progress.percent();
            for operation in operations {
                match operation {
                    Operation::Total(bytes) => progress.set_total_bytes(bytes),
                    Operation::Sent(bytes) => progress.add_sent_bytes(bytes),
                    Operation::Enter(phase) => progress.enter(phase),
                    Operation::Restart => progress.restart(),
                    Operation::Tick => progress.tick(),
                }
                prop_assert!(progress.percent() >= previous);
                prop_assert!(progress.percent() < Percent::FULL);
                previous = progress.percent();
            }
            progress.finish_ok();
            progress.restart();
            progress.tick();
            prop_assert_eq!(progress.percent(), Percent::FULL);
        }
    }
}
