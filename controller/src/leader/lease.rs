//! Which of several controllers acts: the one that holds the Lease (`coordination.k8s.io`).
//!
//! A Lease that nobody renewed for its duration may be taken over. When that is, each process judges by its own
//! monotonic clock, from the moment at which it saw the Lease change: clocks of two machines are never compared,
//! and moving a clock changes nothing.

use std::time::{Duration, Instant};

use crate::leader::record::Lease;

/// Name of the controller's Lease, in its namespace.
pub const NAME: &str = "decant-controller";
/// Whoever could not renew for this long stops acting. The calls about a Lease have limits of 4 s, so the last try
/// ends before the Lease does.
pub const RENEW_DEADLINE: Duration = Duration::from_secs(8);
/// Between two looks or renewals. The next one acts at most `LEASE_DURATION` + two of these + a call later.
pub const RETRY_WAIT: Duration = Duration::from_secs(2);

/// When this process first saw the Lease as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Its resource version.
    pub version: String,
    /// By the monotonic clock of this process.
    pub at: Instant,
}

/// What to do about the Lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseStep {
    /// There is none: make it.
    Create,
    /// Nobody holds it any more: take it.
    Take,
    /// It is ours: renew it.
    Renew,
    /// Somebody else holds it.
    Wait,
}

/// Decides what `me` does about `lease`, which is as it is since `seen`.
pub fn decide_lease(lease: Option<&Lease>, seen: &Seen, me: &str, now: Instant) -> LeaseStep {
    let Some(lease) = lease else { return LeaseStep::Create };
    if lease.holder == me {
        return LeaseStep::Renew;
    }
    if lease.holder.is_empty() {
        return LeaseStep::Take;
    }
    // Seen a moment ago for the first time: the holder may have renewed it just before.
    let unchanged = now.saturating_duration_since(seen.at);
    if unchanged >= lease.duration { LeaseStep::Take } else { LeaseStep::Wait }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leader::record::LEASE_DURATION;

    fn lease(holder: &str) -> Lease {
        Lease { holder: holder.to_owned(), duration: LEASE_DURATION, ..Lease::default() }
    }

    fn step(lease: Option<&Lease>, unchanged: Duration) -> LeaseStep {
        let at = Instant::now();
        decide_lease(lease, &Seen { version: "1".to_owned(), at }, "me", at + unchanged)
    }

    #[test]
    fn a_missing_lease_is_made() {
        assert_eq!(step(None, Duration::ZERO), LeaseStep::Create);
    }

    #[test]
    fn a_released_lease_is_taken_at_once() {
        assert_eq!(step(Some(&lease("")), Duration::ZERO), LeaseStep::Take);
    }

    #[test]
    fn our_own_lease_is_renewed_however_old() {
        assert_eq!(step(Some(&lease("me")), Duration::from_secs(3600)), LeaseStep::Renew);
    }

    #[test]
    fn a_foreign_lease_is_taken_only_after_its_duration() {
        let almost = LEASE_DURATION - Duration::from_millis(1);
        assert_eq!(step(Some(&lease("other")), almost), LeaseStep::Wait);
        assert_eq!(step(Some(&lease("other")), LEASE_DURATION), LeaseStep::Take);
    }

    #[test]
    fn the_duration_that_the_holder_wrote_counts() {
        let long = Lease { duration: Duration::from_secs(60), ..lease("other") };
        assert_eq!(step(Some(&long), LEASE_DURATION), LeaseStep::Wait);
    }
}
