//! Whether to try again: only what was refused before anything was lost, and only for a while.

use std::time::{Duration, Instant};

use crate::error::{Error, Kind};

/// First pause; each further one is twice as long.
const FIRST: Duration = Duration::from_millis(500);
/// Longest pause. A target pod that becomes ready is noticed within it.
const LONGEST: Duration = Duration::from_secs(5);

/// Why another attempt may succeed where this one failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Hope {
    /// A connection that broke: nothing was sent, or the target can resume.
    pub resume: bool,
    /// An end that does not trust the other: they trusted each other before, and keys are renewed. One of them has its new
    /// ones a minute later than the other, as the kubelets of two nodes look at them.
    pub renewal: bool,
}

/// Decides about pauses between attempts.
#[derive(Debug)]
pub struct Pause {
    deadline: Instant,
    next: Duration,
}

impl Pause {
    /// Pauses until `patience` after `now`.
    pub fn new(now: Instant, patience: Duration) -> Self {
        Self { deadline: now + patience, next: FIRST }
    }

    /// How long to wait before another attempt after `error`; `None` when there must be none.
    pub fn before_next(&mut self, error: &Error, hope: Hope, now: Instant) -> Option<Duration> {
        let delay = self.next;
        if !is_worth_retrying(error.kind(), hope) || now + delay > self.deadline {
            return None;
        }
        self.next = (delay * 2).min(LONGEST);
        Some(delay)
    }
}

/// A target that is not listening yet, or still busy with a connection of a source that died. What happened
/// after data went out is for whoever started us to decide, unless the target can go on from where it was.
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
    fn a_connection_that_broke_is_tried_again_where_the_target_can_go_on() {
        let now = Instant::now();
        let broken = Error::new(Kind::HungUp, "cut");
        for (resume, wanted) in [(false, None), (true, Some(FIRST))] {
            let mut pause = Pause::new(now, Duration::from_secs(20));
            assert_eq!(pause.before_next(&broken, Hope { resume, renewal: true }, now), wanted);
        }
    }

    #[test]
    fn ends_that_do_not_trust_each_other_are_tried_again_where_keys_are_renewed() {
        let now = Instant::now();
        let untrusted = Error::new(Kind::Identity, "expired");
        for (renewal, wanted) in [(false, None), (true, Some(FIRST))] {
            let mut pause = Pause::new(now, Duration::from_secs(20));
            assert_eq!(pause.before_next(&untrusted, Hope { resume: true, renewal }, now), wanted);
        }
    }

    #[test]
    fn a_damaged_or_refused_clone_is_not_tried_again() {
        let now = Instant::now();
        for kind in [Kind::Damaged, Kind::Refused(409), Kind::Refused(500), Kind::HungUp, Kind::Identity] {
            let mut pause = Pause::new(now, Duration::from_secs(20));
            assert_eq!(pause.before_next(&Error::new(kind, ""), Hope::default(), now), None, "{kind:?}");
        }
    }
}
