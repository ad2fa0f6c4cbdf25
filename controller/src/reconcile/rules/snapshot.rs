//! The clone of a snapshot, until the temporary PVC that is restored from it can be read: docs/protocol.md sections 7.2,
//! 7.5 and 7.6.

use crate::objects::{Claim, ClaimPhase};
use crate::reconcile::observed::{Observed, Restore, Restored};
use crate::reconcile::step::{RestoreFault, Step};

/// The step if the source is a snapshot that cannot be restored now.
pub(super) fn unready(seen: &Observed) -> Option<Step> {
    match &seen.snapshot.as_ref()?.restore {
        Restore::Impossible(why) => Some(Step::CannotRestore(why.clone())),
        Restore::NotReady(why) => Some(Step::SnapshotNotReady(why.clone())),
        Restore::Ready(_) | Restore::Unseen => None,
    }
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
