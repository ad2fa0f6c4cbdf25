//! What trials may cost: a share of the time that a clone takes.

use std::time::Duration;

use crate::send::compression::sample::{RateSample, Speed};

/// What may be lost at the beginning, when nothing is known. Nobody notices it in a clone that takes seconds.
const CREDIT_SECS: f64 = 0.04;
/// And after that, of the time that goes by.
const SHARE: f64 = 0.02;

/// Keeps the account.
#[derive(Debug, Default)]
pub(super) struct TrialBudget {
    elapsed: Duration,
    /// What trials took longer than the better way would have, in seconds.
    spent_secs: f64,
}

impl TrialBudget {
    /// Time goes by.
    pub(super) fn elapse(&mut self, time: Duration) {
        self.elapsed += time;
    }

    /// A block went the other way than the one that usually gets `usual` through.
    pub(super) fn charge(&mut self, sent: &RateSample, usual: Speed) {
        self.spent_secs += sent.time.as_secs_f64() - sent.logical_bytes as f64 / usual;
    }

    /// A trial is over. What it gained is no reason to try more.
    pub(super) fn settle(&mut self) {
        self.spent_secs = self.spent_secs.max(0.0);
    }

    /// Whether a trial may begin that costs `secs`.
    pub(super) fn allows(&self, secs: f64) -> bool {
        self.spent_secs + secs <= CREDIT_SECS + self.elapsed.as_secs_f64() * SHARE
    }
}
