//! The clone of a snapshot, until the temporary PVC that is restored from it can be read: docs/protocol.md sections 7.2,
//! 7.5 and 7.6. The snapshot is the one that the request names, or one that is taken of a source in use.

use crate::objects::{Claim, ClaimPhase, Key, Meta, VolumeSnapshot};
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

/// Whether the source is in use, and a snapshot of it is wanted and can be taken.
pub(super) fn may_be_taken(seen: &Observed) -> bool {
    matches!(seen.snapshot_choice, SnapshotChoice::Class(_))
}

/// The step until the snapshot that is taken of a source in use can be restored.
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
        TakenSnapshot::Foreign(snapshot) if may_be_taken(seen) => Some(unrecorded_snapshot(snapshot, claim)),
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

/// An object with the name of one that this controller creates, but without a record of it.
enum Unrecorded {
    /// It is being deleted.
    Leaving,
    /// Its annotation says that it is for this clone. This controller created it and ended before it could record it, or a
    /// user copied the annotation.
    Unproven,
    /// It is for something else.
    InTheWay,
}

impl Unrecorded {
    /// Classifies the object with the metadata `meta`, whose annotation names `made_for`, for the clone into `claim`.
    fn of(meta: &Meta, made_for: Option<&Key>, claim: &Claim) -> Self {
        if meta.is_deleting() {
            Self::Leaving
        } else if made_for == Some(&claim.metadata.key()) {
            Self::Unproven
        } else {
            Self::InTheWay
        }
    }
}

/// The step if the VolumeSnapshot with the name of the clone's snapshot has no record.
fn unrecorded_snapshot(snapshot: &VolumeSnapshot, claim: &Claim) -> Step {
    match Unrecorded::of(&snapshot.metadata, snapshot.taken_for().as_ref(), claim) {
        Unrecorded::Leaving => Step::SnapshotLeaving,
        Unrecorded::Unproven => Step::ReplaceSnapshot(SnapshotFault::Unproven),
        Unrecorded::InTheWay => Step::SnapshotInTheWay(format!(
            "VolumeSnapshot {} has the name of the snapshot that this clone takes of its source, and this controller did not create \
             it; delete it",
            snapshot.metadata.key()
        )),
    }
}

/// The step if the source is a snapshot, and no PVC that was restored from it can be read yet.
pub(super) fn restoring(seen: &Observed, claim: &Claim) -> Option<Step> {
    // Only clones of snapshots need a temporary PVC.
    seen.snapshot.as_ref()?;
    match &seen.restored {
        Restored::Foreign(restored) => Some(unrecorded_restored(restored, claim)),
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

/// The step if the claim with the name of the temporary PVC has no record.
fn unrecorded_restored(restored: &Claim, claim: &Claim) -> Step {
    match Unrecorded::of(&restored.metadata, restored.restored_for().as_ref(), claim) {
        Unrecorded::Leaving => Step::RestoredLeaving,
        Unrecorded::Unproven => Step::ReplaceRestored(RestoreFault::Unproven),
        Unrecorded::InTheWay => Step::RestoredInTheWay(format!(
            "PVC {} has the name of the temporary PVC that this clone restores from the snapshot, and this controller did not \
             create it; delete it",
            restored.metadata.key()
        )),
    }
}
