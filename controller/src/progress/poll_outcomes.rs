//! How questions to source pods ended, counted.

use std::sync::atomic::{AtomicU64, Ordering};

/// How a question to a source pod ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The pod answered.
    Direct,
    /// The API server brought the answer.
    Proxy,
    /// No news.
    Failed,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Outcome; 3] = [Outcome::Direct, Outcome::Proxy, Outcome::Failed];

    /// In metrics.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Direct => "direct",
            Outcome::Proxy => "proxy",
            Outcome::Failed => "failed",
        }
    }
}

/// How often each outcome was.
#[derive(Debug, Default)]
pub struct Outcomes([AtomicU64; 3]);

impl Outcomes {
    /// How often `outcome` was so far.
    pub fn count(&self, outcome: Outcome) -> u64 {
        self.0[outcome as usize].load(Ordering::Relaxed)
    }

    pub(super) fn add(&self, outcome: Outcome) {
        self.0[outcome as usize].fetch_add(1, Ordering::Relaxed);
    }
}
