//! Decides whether to retry: only if nothing is lost by it, and only for a limited time.

use std::time::{Duration, Instant};

use crate::error::{Error, Kind};

/// The first pause. Each of the next ones is twice as long.
const FIRST: Duration = Duration::from_millis(500);
/// The longest pause, which limits how late a target pod that becomes ready is noticed.
const LONGEST: Duration = Duration::from_secs(5);

/// Why another attempt may succeed where this one failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Hope {
    /// A connection broke, and nothing was sent, or the target can resume.
    pub resume: bool,
    /// The ends trusted each other at first, and keys are renewed: one end may get its new keys a minute after the
    /// other, because the kubelets of two nodes do not update them at the same time.
    pub renewal: bool,
}

/// Determines the pauses between attempts.
#[derive(Debug)]
pub struct Pause {
    deadline: Instant,
    next: Duration,
}

impl Pause {
    /// Allows attempts until `patience` has passed after `now`.
    pub fn new(now: Instant, patience: Duration) -> Self {
        Self { deadline: now + patience, next: FIRST }
    }

    /// How long to wait after `error` before the next attempt; `None` if there must be none.
    pub fn before_next(&mut self, error: &Error, hope: Hope, now: Instant) -> Option<Duration> {
        let delay = self.next;
        if !is_worth_retrying(error.kind(), hope) || now + delay > self.deadline {
            return None;
        }
        self.next = (delay * 2).min(LONGEST);
        Some(delay)
    }
}

/// True for a target that is not listening yet, or that is still busy with the connection of a source that died. After
/// data was sent, a retry is left to the supervisor of the process, unless the target can resume.
fn is_worth_retrying(kind: Kind, hope: Hope) -> bool {
    match kind {
        Kind::Unreachable | Kind::Refused(503) => true,
        Kind::HungUp => hope.resume,
        Kind::Identity => hope.renewal,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit_and_end_with_the_patience() {
        let start = Instant::now();
        let mut pause = Pause::new(start, Duration::from_secs(20));
        let refused = Error::new(Kind::Unreachable, "refused");
        let (mut now, mut delays) = (start, Vec::new());
        while let Some(delay) = pause.before_next(&refused, Hope::default(), now) {
            now += delay;
            delays.push(delay.as_millis());
        }
        assert_eq!(delays, [500, 1000, 2000, 4000, 5000, 5000]);
    }

    #[test]
    fn a_broken_connection_is_retried_where_the_target_can_resume() {
        let now = Instant::now();
        let broken = Error::new(Kind::HungUp, "cut");
        for (resume, wanted) in [(false, None), (true, Some(FIRST))] {
            let mut pause = Pause::new(now, Duration::from_secs(20));
            assert_eq!(pause.before_next(&broken, Hope { resume, renewal: true }, now), wanted);
        }
    }

    #[test]
    fn lost_trust_is_retried_where_keys_are_renewed() {
        let now = Instant::now();
        let untrusted = Error::new(Kind::Identity, "expired");
        for (renewal, wanted) in [(false, None), (true, Some(FIRST))] {
            let mut pause = Pause::new(now, Duration::from_secs(20));
            assert_eq!(pause.before_next(&untrusted, Hope { resume: true, renewal }, now), wanted);
        }
    }

    #[test]
    fn a_damaged_or_refused_clone_is_not_retried() {
        let now = Instant::now();
        for kind in [Kind::Damaged, Kind::Refused(409), Kind::Refused(500), Kind::HungUp, Kind::Identity] {
            let mut pause = Pause::new(now, Duration::from_secs(20));
            assert_eq!(pause.before_next(&Error::new(kind, ""), Hope::default(), now), None, "{kind:?}");
        }
    }
}
