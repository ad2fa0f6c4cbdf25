//! How questions to source pods ended, counted.

use std::sync::atomic::{AtomicU64, Ordering};

/// How a question to a source pod ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PollOutcome {
    /// The pod answered.
    Direct,
    /// The API server brought the answer.
    Proxy,
    /// No news.
    Failed,
}

impl PollOutcome {
    /// All of them.
    pub const ALL: [PollOutcome; 3] = [PollOutcome::Direct, PollOutcome::Proxy, PollOutcome::Failed];

    /// In metrics.
    pub fn name(self) -> &'static str {
        match self {
            PollOutcome::Direct => "direct",
            PollOutcome::Proxy => "proxy",
            PollOutcome::Failed => "failed",
        }
    }
}

/// How often each outcome was.
#[derive(Debug, Default)]
pub struct PollOutcomes([AtomicU64; 3]);

impl PollOutcomes {
    /// How often `outcome` was so far.
    pub fn count(&self, outcome: PollOutcome) -> u64 {
        self.0[outcome as usize].load(Ordering::Relaxed)
    }

    pub(super) fn add(&self, outcome: PollOutcome) {
        self.0[outcome as usize].fetch_add(1, Ordering::Relaxed);
    }
}
