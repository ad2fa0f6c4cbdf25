//! The clone of a snapshot, until the temporary PVC that is restored from it can be read: docs/protocol.md sections 7.2,
//! 7.5 and 7.6. The snapshot is the one that the request names, or one that is taken of a source in use.

use crate::objects::{Claim, ClaimPhase, VolumeSnapshot};
use crate::reconcile::observed::{Observed, Origin, Restore, Restored, SnapshotChoice, TakenSnapshot};
use crate::reconcile::step::{RestoreFault, SnapshotFault, Step};

/// The step if the source is a snapshot that cannot be restored now.
pub(super) fn unready(seen: &Observed) -> Option<Step> {
    if !matches!(seen.origin, Origin::Snapshot(_)) {
        return None;
    }
    match &seen.snapshot.as_ref()?.restore {
        Restore::Impossible(why) => Some(Step::CannotRestore(why.clone())),
        Restore::NotReady(why) => Some(Step::SnapshotNotReady(why.clone())),
        Restore::Ready(_) | Restore::Unseen => None,
    }
}

/// Whether a snapshot of the source can be cloned, which is in use.
pub(super) fn may_be_taken(seen: &Observed) -> bool {
    matches!(seen.snapshot_choice, SnapshotChoice::Class(_))
}

/// The step if a snapshot is taken of the source, and cannot be restored yet.
pub(super) fn taking(seen: &Observed, claim: &Claim) -> Option<Step> {
    if !matches!(seen.origin, Origin::Claim(_)) {
        return None;
    }
    let is_left = seen.left_taken().is_some() || seen.left_restored().is_some();
    if seen.is_taken_of_other() && is_left {
        return Some(Step::ReplaceSnapshot(SnapshotFault::OtherSource));
    }
    let has_restored = seen.snapshot.is_some() && matches!(seen.restored, Restored::Ours { .. });
    match &seen.taken {
        TakenSnapshot::Ours { is_recorded: true, .. } if has_restored => None,
        TakenSnapshot::Ours { snapshot, .. } if snapshot.metadata.is_deleting() => {
            Some(Step::SnapshotLeaving)
        }
        TakenSnapshot::Ours { .. } if !seen.wants_snapshot && !has_restored => {
            Some(Step::ReplaceSnapshot(SnapshotFault::Unwanted))
        }
        TakenSnapshot::Ours { is_recorded: false, .. } => Some(Step::RecordSnapshot),
        // Provisioners find a snapshot by its name, so it may have been restored from another one of that name.
        TakenSnapshot::Foreign(_) | TakenSnapshot::Missing if has_restored => {
            Some(Step::ReplaceRestored(RestoreFault::SnapshotGone))
        }
        TakenSnapshot::Ours { snapshot, .. } => unfinished(seen, snapshot),
        TakenSnapshot::Foreign(snapshot) if may_be_taken(seen) => Some(strange_snapshot(snapshot, claim)),
        TakenSnapshot::Missing if may_be_taken(seen) && !seen.makes_pause => Some(Step::MakeSnapshot),
        TakenSnapshot::Missing if may_be_taken(seen) => Some(Step::TakingSnapshot(None)),
        TakenSnapshot::Foreign(_) | TakenSnapshot::Missing => None,
    }
}

/// The step if the snapshot of the source in use cannot be restored yet.
fn unfinished(seen: &Observed, snapshot: &VolumeSnapshot) -> Option<Step> {
    let is_ready = snapshot.status.as_ref().is_some_and(|status| status.ready_to_use == Some(true));
    match &seen.snapshot.as_ref()?.restore {
        Restore::NotReady(_) if !is_ready && snapshot.error().is_none() => Some(Step::TakingSnapshot(None)),
        Restore::NotReady(why) | Restore::Impossible(why) => Some(Step::TakingSnapshot(Some(why.clone()))),
        Restore::Ready(_) | Restore::Unseen => None,
    }
}

/// The step if the VolumeSnapshot with the name of that of the source is not known to be this controller's.
fn strange_snapshot(snapshot: &VolumeSnapshot, claim: &Claim) -> Step {
    if snapshot.metadata.is_deleting() {
        return Step::SnapshotLeaving;
    }
    // It was created by this controller, which ended before it could record it, or by a user who copied it.
    if snapshot.taken_for() == Some(claim.metadata.key()) {
        return Step::ReplaceSnapshot(SnapshotFault::Unproven);
    }
    Step::SnapshotInTheWay(format!(
        "VolumeSnapshot {} has the name of the snapshot that this clone takes of its source, and this controller did not create \
         it; delete it",
        snapshot.metadata.key()
    ))
}

/// The step if the source is a snapshot, and no PVC that was restored from it can be read yet.
pub(super) fn restoring(seen: &Observed, claim: &Claim) -> Option<Step> {
    // Only clones of snapshots need a PVC.
    seen.snapshot.as_ref()?;
    match &seen.restored {
        Restored::Foreign(restored) => Some(strange(restored, claim)),
        Restored::Ours { claim: restored, .. } if restored.metadata.is_deleting() => {
            Some(Step::RestoredLeaving)
        }
        Restored::Ours { claim: restored, .. } if restored.status.phase == ClaimPhase::Lost => {
            Some(Step::ReplaceRestored(RestoreFault::Lost))
        }
        Restored::Ours { is_recorded: false, .. } => Some(Step::RecordRestored),
        Restored::Missing if !seen.makes_pause => Some(Step::MakeRestored),
        Restored::Missing => Some(Step::Restoring),
        Restored::Ours { claim: restored, waits_for_consumer, .. } => {
            (!restored.is_bound() && !waits_for_consumer).then_some(Step::Restoring)
        }
    }
}

/// The step if the claim with the name of the temporary PVC is not known to be this controller's.
fn strange(restored: &Claim, claim: &Claim) -> Step {
    if restored.metadata.is_deleting() {
        return Step::RestoredLeaving;
    }
    // It was created by this controller, which ended before it could record it, or by a user who copied it.
    if restored.restored_for() == Some(claim.metadata.key()) {
        return Step::ReplaceRestored(RestoreFault::Unproven);
    }
    Step::RestoredInTheWay(format!(
        "PVC {} has the name of the temporary PVC that this clone restores from the snapshot, and this controller did not create \
         it; delete it",
        restored.metadata.key()
    ))
}
