//! The rules for volumes and claims whose content is kept: no clone overwrites them (docs/protocol.md section 4.9, rows
//! "pre-populated" and "static volume").

use crate::objects::annotations::{CLONE_REQUEST, PRE_POPULATED, VOLUME_LIST};
use crate::objects::{Claim, ClaimPhase, DataVolume, DataVolumePhase};
use crate::policy::Policy;
use crate::reconcile::observed::Observed;
use crate::reconcile::reserved_volumes;
use crate::reconcile::reserved_volumes::{Binding, Volumes};
use crate::reconcile::step::Step;

/// The step if the DataVolume has a source that is not cloned, such as an import or an upload. A claim or volume from a
/// restore needs no source.
pub(super) fn of_any_source(seen: &Observed, policy: &Policy) -> Option<Step> {
    let dv = seen.data_volume.as_ref()?;
    match &seen.target {
        None if dv.metadata.annotation(PRE_POPULATED).is_some() => Some(Step::AwaitClaim),
        None => before(seen, dv, policy),
        // Another controller completed it.
        Some(claim) if claim.metadata.is_deleting() || dv.status.phase == DataVolumePhase::Succeeded => None,
        Some(claim) if seen.target_is_ours() => claimed(seen, claim),
        Some(claim) => (seen.is_populated() && claim.metadata.controller().is_none()).then_some(Step::Adopt),
    }
}

/// The step if there is no claim yet.
pub(super) fn before(seen: &Observed, dv: &DataVolume, policy: &Policy) -> Option<Step> {
    match &seen.volumes {
        Volumes::Unseen(why) => Some(Step::VolumeInTheWay(unseen(why))),
        Volumes::Reserved(volumes) if !volumes.is_empty() => {
            Some(match reserved_volumes::claim_spec(dv, volumes, policy) {
                Ok(_) => Step::MakeKeptClaim,
                Err(why) => Step::VolumeInTheWay(why),
            })
        }
        _ => None,
    }
}

/// The step if the DataVolume controls the claim, and the claim was filled by another tool or created for a volume that
/// is reserved for it.
pub(super) fn claimed(seen: &Observed, claim: &Claim) -> Option<Step> {
    let is_lost = claim.status.phase == ClaimPhase::Lost;
    if seen.is_populated() {
        return Some(if is_lost { Step::Lost } else { Step::Adopted });
    }
    if claim.metadata.annotation(CLONE_REQUEST).is_some() {
        return None;
    }
    claim.metadata.annotation(VOLUME_LIST)?;
    let expected = reserved_volumes::expected(claim);
    let name = &claim.spec.volume_name;
    Some(if is_lost {
        Step::Lost
    } else if !claim.is_bound() {
        Step::AwaitVolume
    } else if expected.contains(name) {
        Step::KeepVolume
    } else {
        Step::VolumeInTheWay(format!(
            "the PVC is bound to the volume {name} and not to the one that is reserved for it ({}); nothing is cloned into it. \
             Delete the PVC to try again",
            expected.join(", ")
        ))
    })
}

/// The step if the claim was created as the target of a clone, but a volume may have been reserved for it in the
/// meantime.
pub(super) fn instead(seen: &Observed, claim: &Claim) -> Option<Step> {
    match &seen.volumes {
        Volumes::NotAsked => None,
        Volumes::Unseen(why) => Some(Step::VolumeInTheWay(unseen(why))),
        Volumes::Reserved(volumes) => (!volumes.is_empty()).then_some(Step::ExpectVolume),
        Volumes::Bound(volume) => match reserved_volumes::binding(volume, claim) {
            Binding::Fresh => None,
            Binding::Reserved => Some(Step::KeepVolume),
            Binding::Unclear => Some(Step::VolumeInTheWay(format!(
                "the PVC is bound to the volume {}, which was neither made for it nor chosen by Kubernetes, so it may hold what is \
                 to be kept. To keep it, annotate the PVC with {}={} and remove its annotation {CLONE_REQUEST}; to clone over it, \
                 remove the annotation {} from the DataVolume",
                volume.metadata.name,
                crate::objects::annotations::POPULATED_FOR,
                claim.metadata.name,
                crate::objects::annotations::CHECK_STATIC,
            ))),
        },
    }
}

fn unseen(why: &str) -> String {
    format!(
        "the DataVolume asks for a volume that is reserved for it (annotation {}), and the controller cannot see volumes: {why}. \
         Nothing is cloned, as it might be cloned over what is to be kept. Apply the controller's roles again, or remove the \
         annotation to clone",
        crate::objects::annotations::CHECK_STATIC
    )
}
