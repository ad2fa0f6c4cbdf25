//! The progress of a clone, computed from the readings of its source.

use std::time::Duration;

use decant_shared::protocol::progress::Phase;
use decant_shared::protocol::units::{Bytes, Rate, Seconds};

use crate::progress::page::SourceReading;

/// The weight of a new rate in the smoothed rate.
const RATE_WEIGHT: f64 = 0.3;

/// The progress of a clone.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Progress {
    /// 0 to 100. A restarted source counts from zero.
    pub percent: f64,
    /// Logical bytes that are durable at the target, or sent if the target does not report durable ones.
    pub sent_bytes: Option<u64>,
    /// Logical bytes of the whole volume.
    pub total_bytes: Option<u64>,
    /// The smoothed rate.
    pub rate_bytes_per_sec: Option<u64>,
    /// The phase of the transfer, if the source reports it.
    pub phase: Option<Phase>,
    /// The bandwidth limit in force, if there is one.
    pub limit: Option<Rate>,
}

impl Progress {
    /// Seconds until everything is sent at the current rate.
    pub fn left_secs(&self) -> Option<u64> {
        let left_bytes = self.total_bytes?.checked_sub(self.sent_bytes?)?;
        let rate = self.rate_bytes_per_sec.filter(|rate| *rate > 0)?;
        Some(left_bytes.div_ceil(rate))
    }

    /// Sent and total bytes, rate and time left as text for people.
    pub fn amounts(&self) -> String {
        amounts(self.sent_bytes, self.total_bytes, self.rate_bytes_per_sec, self.left_secs())
    }
}

/// Sent and total bytes, rate and remaining time as text for people. Empty while they are unknown.
pub fn amounts(sent: Option<u64>, total: Option<u64>, rate: Option<u64>, left_secs: Option<u64>) -> String {
    let (Some(sent), Some(total)) = (sent, total) else { return String::new() };
    let mut text = format!("{} of {}", Bytes(sent), Bytes(total));
    if let Some(rate) = rate.filter(|rate| *rate > 0) {
        text += &format!(", {}", Rate(rate));
    }
    if let Some(left) = left_secs {
        text += &format!(", {} left", Seconds(left));
    }
    text
}

/// What the target does at the end of a transfer, as text for people.
pub fn target_activity(phase: Option<Phase>) -> Option<&'static str> {
    match phase? {
        Phase::Sync => Some("the target is writing it to disk"),
        Phase::Verify => Some("the target is reading it back"),
        _ => None,
    }
}

/// The progress after a new reading.
pub(super) fn updated(before: Option<&Progress>, new: SourceReading, since: Duration) -> Progress {
    let grown = match (before.and_then(|before| before.sent_bytes), new.sent_bytes) {
        (Some(old), Some(new)) => new.checked_sub(old),
        _ => None,
    };
    // A restarted source counts from zero: no rate until there are two readings of it.
    let now_rate = grown.filter(|_| !since.is_zero()).map(|bytes| {
        #[allow(clippy::cast_precision_loss)] // A rate for people.
        let bytes = bytes as f64;
        bytes / since.as_secs_f64()
    });
    let old_rate = before.and_then(|before| before.rate_bytes_per_sec);
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let rate = match (old_rate, now_rate) {
        (Some(old), Some(now)) => Some((old as f64 * (1.0 - RATE_WEIGHT) + now * RATE_WEIGHT) as u64),
        (None, Some(now)) => Some(now as u64),
        (_, None) => None,
    };
    let SourceReading { percent, sent_bytes, total_bytes, phase, limit } = new;
    let limit = limit.and_then(|limit| limit.limit);
    Progress { percent, sent_bytes, total_bytes, rate_bytes_per_sec: rate, phase, limit }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(percent: f64, sent: u64) -> SourceReading {
        SourceReading { percent, sent_bytes: Some(sent), total_bytes: Some(1000), phase: None, limit: None }
    }

    #[test]
    fn a_restarted_source_counts_from_zero_and_has_no_rate() {
        let first = updated(None, reading(50.0, 500), Duration::from_secs(1));
        assert_eq!(first.rate_bytes_per_sec, None);
        let second = updated(Some(&first), reading(60.0, 600), Duration::from_secs(1));
        assert_eq!((second.rate_bytes_per_sec, second.left_secs()), (Some(100), Some(4)));
        let restarted = updated(Some(&second), reading(1.0, 10), Duration::from_secs(1));
        assert_eq!((restarted.percent, restarted.rate_bytes_per_sec), (1.0, None));
    }
}
