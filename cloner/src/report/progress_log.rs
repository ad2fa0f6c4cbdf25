//! Progress as lines, for logs and users.

use std::time::{Duration, Instant};

use decant_shared::protocol::progress::{Percent, Phase, Progress, RateMeter};
use decant_shared::protocol::units::{Bytes, Rate, Seconds};

/// The shortest interval between two lines.
pub const LOG_EVERY: Duration = Duration::from_secs(5);

/// Makes progress lines at intervals, while data moves.
pub struct ProgressLog {
    meter: RateMeter,
    last_line: Option<Instant>,
    moving: bool,
}

impl Default for ProgressLog {
    fn default() -> Self {
        Self { meter: RateMeter::new(), last_line: None, moving: false }
    }
}

impl ProgressLog {
    /// A line about `progress`, if the interval since the last line has passed.
    pub fn sentence(&mut self, progress: &Progress, now: Instant) -> Option<String> {
        self.watch(progress, now);
        if !matches!(progress.phase(), Phase::Copy | Phase::Sync | Phase::Verify) {
            return None;
        }
        if !std::mem::replace(&mut self.moving, true) {
            return None; // The rate needs two measurements.
        }
        if self.last_line.is_some_and(|last| now - last < LOG_EVERY) {
            return None;
        }
        self.last_line = Some(now);
        Some(describe(progress, &self.meter))
    }

    /// Takes a measurement of `progress` for the rate.
    pub fn watch(&mut self, progress: &Progress, now: Instant) {
        // The rate covers the copy, not the scan.
        if matches!(progress.phase(), Phase::Copy | Phase::Sync | Phase::Verify) {
            self.meter.record(now, progress.moved_bytes());
        }
    }

    /// The rate of the last seconds.
    pub fn meter(&self) -> &RateMeter {
        &self.meter
    }
}

/// For example `12.34 %, 1.20 GiB of 9.70 GiB, 312.0 MiB/s, 28s left`, without the parts that are unknown.
pub fn describe(progress: &Progress, meter: &RateMeter) -> String {
    let sent_bytes = progress.moved_bytes();
    match progress.phase() {
        Phase::Sync => {
            let all = Bytes(progress.sent_bytes());
            return match progress.durable_bytes() {
                Some(durable_bytes) => format!("all {all} sent, {} on disk", Bytes(durable_bytes)),
                None => format!("all {all} sent; the target is writing it to disk"),
            };
        }
        Phase::Verify => return "all on disk; the target is reading it back".to_owned(),
        _ => {}
    }
    // A rate of zero means that the rate is not known yet, or that the bytes do not grow, which is visible anyway.
    let rate = Some(meter.rate()).filter(|rate| rate.0 > 0);
    let rate = rate.map_or(String::new(), |rate| format!(", {rate}"));
    match progress.total_bytes() {
        Some(total_bytes) => {
            let left = meter.time_left(total_bytes.saturating_sub(sent_bytes));
            let left = left.map_or(String::new(), |left| format!(", {left} left"));
            // The percentage of these bytes: a previous attempt may have got further.
            let percent = Percent::of_unfinished(sent_bytes, total_bytes);
            format!("{percent} %, {} of {}{rate}{left}", Bytes(sent_bytes), Bytes(total_bytes))
        }
        None => format!("{}{rate}", Bytes(sent_bytes)),
    }
}

/// For example `10.00 GiB in 12s, 853.1 MiB/s (1.10 GiB on the wire, 95 % compressed)`. Zeros and holes count as
/// compressed. A direct clone sends nothing over the wire; if its target shares blocks, the line ends with
/// `(10.00 GiB shared)`.
pub fn summary(progress: &Progress, elapsed: Duration) -> String {
    let sent_bytes = progress.sent_bytes();
    let millis = elapsed.as_millis().max(1);
    let rate = Rate(u64::try_from(u128::from(sent_bytes) * 1000 / millis).unwrap_or(u64::MAX));
    let took = if millis < 10_000 {
        format!("{}.{} s", millis / 1000, millis % 1000 / 100)
    } else {
        Seconds::from(elapsed).to_string()
    };
    if progress.wire_bytes() == 0 {
        let shared = match progress.shared_bytes() {
            0 => String::new(),
            shared_bytes => format!(" ({} shared)", Bytes(shared_bytes)),
        };
        return format!("{} in {took}, {rate}{shared}", Bytes(sent_bytes));
    }
    let packed = u128::from(progress.packed_bytes()) * 100 / u128::from(sent_bytes).max(1);
    let wire_bytes = Bytes(progress.wire_bytes());
    format!("{} in {took}, {rate} ({wire_bytes} on the wire, {packed} % compressed)", Bytes(sent_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn there_is_a_line_every_five_seconds_while_data_moves() {
        let progress = Progress::new(0);
        let mut log = ProgressLog::default();
        let start = Instant::now();
        progress.set_total_bytes(1000);
        assert_eq!(log.sentence(&progress, start), None);
        progress.enter(Phase::Copy);
        progress.add_sent_bytes(500);
        progress.tick();
        assert_eq!(log.sentence(&progress, start + SECOND), None);
        progress.add_sent_bytes(100);
        let first = log.sentence(&progress, start + 2 * SECOND).unwrap();
        assert_eq!(first, "60.00 %, 600 B of 1000 B, 100 B/s, 4s left");
        assert_eq!(log.sentence(&progress, start + 3 * SECOND), None);
        assert!(log.sentence(&progress, start + 2 * SECOND + LOG_EVERY).is_some());
    }

    #[test]
    fn the_percentage_matches_the_bytes_in_the_same_line() {
        let progress = Progress::new(0);
        progress.set_total_bytes(1000);
        progress.enter(Phase::Copy);
        let line = || describe(&progress, &RateMeter::new());
        progress.set_kept_bytes(200);
        progress.set_durable_bytes(0);
        progress.tick();
        assert_eq!(line(), "20.00 %, 200 B of 1000 B");
        progress.set_durable_bytes(700);
        progress.tick();
        progress.restart();
        progress.enter(Phase::Copy);
        progress.add_sent_bytes(100);
        assert_eq!(line(), "10.00 %, 100 B of 1000 B", "an attempt from the beginning");
    }

    #[test]
    fn the_last_line_has_size_time_and_rate() {
        let progress = Progress::new(0);
        progress.add_sent_bytes(3 << 30);
        progress.add_wire_bytes(1 << 30);
        progress.add_packed_bytes(5 << 29);
        assert_eq!(
            summary(&progress, Duration::from_millis(1500)),
            "3.00 GiB in 1.5 s, 2.0 GiB/s (1.00 GiB on the wire, 83 % compressed)"
        );
    }

    #[test]
    fn the_last_line_of_a_direct_clone_has_what_is_shared() {
        let progress = Progress::new(0);
        progress.add_sent_bytes(3 << 30);
        assert_eq!(summary(&progress, Duration::from_millis(1500)), "3.00 GiB in 1.5 s, 2.0 GiB/s");
        progress.add_shared_bytes(2 << 30);
        let line = summary(&progress, Duration::from_millis(1500));
        assert_eq!(line, "3.00 GiB in 1.5 s, 2.0 GiB/s (2.00 GiB shared)");
    }
}
