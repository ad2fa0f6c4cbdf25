//! A wait as a whole: interim answers, or single bytes, do not make it longer.

use std::time::{Duration, Instant};

use decant_shared::net::conn::ConnError;

/// How long it may take, and until when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wait {
    limit: Duration,
    deadline: Instant,
}

impl Wait {
    /// From now on.
    pub(super) fn of(limit: Duration) -> Self {
        Self { limit, deadline: Instant::now() + limit }
    }

    /// What is left of it.
    pub(super) fn left(self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// What was waited for in all, in place of what the last read was given.
    pub(super) fn explain(self, fault: ConnError) -> ConnError {
        match fault {
            ConnError::TimedOut(doing, _) => ConnError::TimedOut(doing, self.limit),
            other => other,
        }
    }
}
