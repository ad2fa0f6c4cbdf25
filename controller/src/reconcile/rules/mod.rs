//! The rows of the tables in `docs/protocol.md` section 7.

pub(crate) mod before_claim;
pub(crate) mod kept;
pub(crate) mod populated;
pub(crate) mod running;
pub(crate) mod snapshot;

use std::time::Duration;

use time::OffsetDateTime;

use crate::objects::annotations::{CLONE_OF, CLONE_REQUEST, POPULATED_FOR};
use crate::objects::{Claim, ClaimPhase};
use crate::policy::Policy;
use crate::reconcile::observed::{Observed, Origin};
use crate::reconcile::permission::check::Permission;
use crate::reconcile::reserved_volumes::Volumes;
use crate::reconcile::step::Slot;
use crate::reconcile::step::Step;

/// The row that applies.
pub(super) fn step(seen: &Observed, now: OffsetDateTime, policy: &Policy) -> Step {
    if let Some(step) = leaving(seen) {
        return step;
    }
    if let (Some(claim), Some(population)) = (&seen.target, &seen.population) {
        return populated::step(seen, claim, population, now, policy);
    }
    if let Origin::NotOurs(kind) = &seen.origin {
        return kept::of_any_source(seen, policy).unwrap_or_else(|| Step::NotOurs(kind.clone()));
    }
    // A claim that a restore filled before its DataVolume exists requests no clone, whatever its other annotations are.
    let is_restored = seen.target_annotation(POPULATED_FOR).is_some()
        && seen.target_annotation(CLONE_OF).is_none()
        && seen.target_pod.is_none()
        && seen.source_pod.is_none();
    if seen.data_volume.is_none() && (seen.target_annotation(CLONE_REQUEST).is_none() || is_restored) {
        return if seen.orphans.is_empty() { Step::Nothing } else { Step::RemoveOrphans };
    }
    match &seen.target {
        None => before_claim::step(seen, policy),
        Some(claim) if claim.metadata.is_deleting() => Step::ClaimLeaving,
        Some(_) if !seen.target_is_ours() => before_claim::foreign(seen, policy),
        Some(claim) => kept::claimed(seen, claim).unwrap_or_else(|| ours(seen, claim, now, policy)),
    }
}

/// The step if the claim belongs to this clone, and is not annotated as having content to keep.
fn ours(seen: &Observed, claim: &Claim, now: OffsetDateTime, policy: &Policy) -> Step {
    if seen.is_marked_done() {
        running::marked_done(seen, policy)
    } else if claim.status.phase == ClaimPhase::Lost {
        Step::Lost
    } else if claim.metadata.annotation(CLONE_REQUEST).is_none() {
        Step::Adopted
    } else {
        running::step(seen, now, policy)
    }
}

/// The step during a deletion, which takes precedence. The pods and the finalizer of the clone are removed before the
/// claim.
fn leaving(seen: &Observed) -> Option<Step> {
    let dv_leaves = seen.data_volume.as_ref().is_some_and(|dv| dv.metadata.is_deleting());
    let claim_leaves = seen.target.as_ref().is_some_and(|claim| claim.metadata.is_deleting());
    if !(dv_leaves || claim_leaves && seen.target_is_ours()) {
        return None;
    }
    let held = seen.target.as_ref().is_some_and(|claim| claim.is_held() || claim.is_held_for_population());
    let populated = seen.population.as_ref().is_some_and(populated::is_left);
    let left = seen.source_pod.is_some()
        || seen.target_pod.is_some()
        || !seen.orphans.is_empty()
        || seen.left_restored().is_some()
        || seen.left_taken().is_some()
        || held
        || populated;
    if left {
        return Some(Step::CleanUp);
    }
    Some(if dv_leaves { Step::Nothing } else { Step::ClaimLeaving })
}

/// When to observe again although nothing changed, for changes that no watch reports.
pub(super) fn again(step: &Step, policy: &Policy, seen: &Observed) -> Option<Duration> {
    let every = &policy.intervals;
    match step {
        Step::SourceInUse(_) | Step::TargetInUse(_) | Step::SourceFilling => Some(every.wait),
        Step::Unresolved(_) | Step::Denied(_) | Step::Taken | Step::Unproven => Some(every.wait * 5),
        // A token from before its source existed expires, and its user may lose the right earlier. A grant may be
        // withdrawn.
        Step::NoSource(_) if matches!(seen.permission, Some(Permission::Token(_) | Permission::Granted)) => {
            Some(every.wait * 30)
        }
        // No watch reports snapshots.
        Step::NoSource(_) if matches!(seen.origin, Origin::Snapshot(_)) => Some(every.wait * 5),
        Step::SnapshotNotReady(_) | Step::ReplaceRestored(_) | Step::RestoredLeaving => Some(every.wait),
        // No watch reports snapshots.
        Step::TakingSnapshot(_) | Step::ReplaceSnapshot(_) | Step::SnapshotLeaving => Some(every.wait),
        Step::SnapshotInTheWay(_) => Some(every.wait * 5),
        Step::CannotRestore(_) | Step::Restoring | Step::RestoredInTheWay(_) => Some(every.wait * 5),
        // No watch reports volumes.
        Step::NoSource(_) | Step::NotOurs(_) if seen.volumes != Volumes::NotAsked => Some(every.wait * 15),
        Step::VolumeInTheWay(_) | Step::PrimeInTheWay(_) | Step::NoProvisioner(_) | Step::Populating => {
            Some(every.wait * 5)
        }
        // No watch reports volumes.
        Step::PrimeLeaving | Step::AwaitBinding | Step::VolumeGone | Step::ReplacePrime(_) => {
            Some(every.wait)
        }
        // A claim can be enlarged without an event that names this key.
        Step::Unfit(_) | Step::Incompatible(_) | Step::WaitForConsumer | Step::WaitForVolume => {
            Some(every.wait * 5)
        }
        Step::WaitForTarget | Step::Copying | Step::WaitForSource => Some(every.wait * 5),
        Step::Pause(_) => Some(Duration::from_secs(1)),
        Step::PodLeaving(_)
        | Step::Abandon(_)
        | Step::GiveWay
        | Step::FallBack
        | Step::ExtendToken
        | Step::CleanUp
        | Step::ClaimLeaving => Some(every.wait),
        Step::Queued => Some(queue_look(seen, every.wait)),
        _ => None,
    }
}

/// When to observe a queued clone again. One far back in the queue need not be observed every few seconds, because the
/// first ones are woken when a slot is free.
fn queue_look(seen: &Observed, wait: Duration) -> Duration {
    match seen.slot {
        Slot::Queued { position, .. } => {
            wait * 5 + Duration::from_secs(u64::try_from(position / 20).unwrap_or(u64::MAX).min(600))
        }
        Slot::Free | Slot::GiveWay => wait,
    }
}
