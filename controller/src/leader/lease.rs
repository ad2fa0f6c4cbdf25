//! Leader election: the controller that holds the Lease acts (`coordination.k8s.io`).
//!
//! A Lease that was not renewed for its duration may be taken over. Each process measures this with its own monotonic
//! clock, from the moment it saw the Lease change: the clocks of two machines are never compared, and setting a clock
//! has no effect.

use std::time::{Duration, Instant};

use crate::leader::record::Lease;

/// The name of the Lease, in the namespace of the controller.
pub const NAME: &str = "decant-controller";
/// A leader that could not renew for this long stops acting, and makes no further attempt. Calls about a Lease are limited to 4 s,
/// so the last attempt ends before the Lease expires.
pub const RENEW_DEADLINE: Duration = Duration::from_secs(8);
/// Between two reads or renewals. A successor acts at most `LEASE_DURATION` + two of these + a call later.
pub const RETRY_WAIT: Duration = Duration::from_secs(2);

/// When this process first saw the current version of the Lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The resource version.
    pub version: String,
    /// By the monotonic clock of this process.
    pub at: Instant,
}

/// What to do about the Lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseStep {
    /// It does not exist: create it.
    Create,
    /// It has no holder, or has expired: take it.
    Take,
    /// This process holds it: renew it.
    Renew,
    /// Another process holds it.
    Wait,
}

/// Decides what `me` does about `lease`, which is unchanged since `seen`.
pub fn decide_lease(lease: Option<&Lease>, seen: &Seen, me: &str, now: Instant) -> LeaseStep {
    let Some(lease) = lease else { return LeaseStep::Create };
    if lease.holder == me {
        return LeaseStep::Renew;
    }
    if lease.holder.is_empty() {
        return LeaseStep::Take;
    }
    // The holder may have renewed it just before it was seen.
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
    fn a_missing_lease_is_created() {
        assert_eq!(step(None, Duration::ZERO), LeaseStep::Create);
    }

    #[test]
    fn a_released_lease_is_taken_immediately() {
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
