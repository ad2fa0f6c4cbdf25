//! The conditions Bound, Ready and Running (contract 4.7).

use decant_shared::protocol::progress::Phase;

use crate::objects::Claim;
use crate::objects::data_volume::{DataVolumeCondition, DataVolumeStatus};
use crate::progress::amounts::amounts;
use crate::progress::clone_progress::Progress;
use crate::reconcile::last_error::LastError;
use crate::reconcile::observed::Observed;
use crate::reconcile::reserved_volumes;
use crate::reconcile::status::reasons;
use crate::reconcile::status::running::RunningConditions;
use crate::reconcile::step::Step;

pub(super) fn conditions(
    step: &Step,
    phase: &str,
    seen: &Observed,
    pod_conditions: &RunningConditions,
) -> Vec<DataVolumeCondition> {
    let bound = bound(step, seen);
    let mut running = condition("Running", "False", "", "");
    let joined = pod_conditions.joined();
    running.reason = joined.reason;
    running.message = joined.message;
    if joined.runs {
        running.status = "True".to_owned();
        if pod_conditions.clone.is_none() {
            running.message = seen.progress.as_ref().map(sentence).unwrap_or_default();
        }
    }
    let ready = match phase {
        "Succeeded" => condition("Ready", "True", "", ""),
        "Unknown" => condition("Ready", "Unknown", "", ""),
        _ if running.status == "True" => condition("Ready", "False", "TransferRunning", ""),
        _ if bound.reason != "Bound" && bound.reason != "Pending" => {
            condition("Ready", "False", &bound.reason, &bound.message)
        }
        _ => condition("Ready", "False", "", ""),
    };
    vec![bound, ready, running]
}

/// Why there is no claim yet although nothing is wrong.
const AWAITED: &str =
    "No PVC found: it is to come from a restore (annotation cdi.kubevirt.io/storage.prePopulated)";

fn bound(step: &Step, seen: &Observed) -> DataVolumeCondition {
    let no = |reason: &str, message: &str| condition("Bound", "False", reason, message);
    if let Some((reason, message)) = cause(step, seen) {
        return no(reason, &message);
    }
    let Some(claim) = &seen.target else {
        return no("NotFound", if *step == Step::AwaitClaim { AWAITED } else { "No PVC found" });
    };
    let name = &claim.metadata.name;
    match claim.status.phase.as_str() {
        "Bound" => condition("Bound", "True", "Bound", &format!("PVC {name} Bound")),
        "Lost" => no("ClaimLost", "Claim Lost"),
        _ if *step == Step::AwaitVolume => {
            let names = reserved_volumes::expected(claim).join(", ");
            no(
                "Pending",
                &format!("PVC {name} Pending: it waits for the volume that is reserved for it, {names}"),
            )
        }
        _ => match unknown_class(claim, seen) {
            Some(class) => no("Pending", &format!("PVC {name} Pending: there is no StorageClass {class:?}")),
            None => no("Pending", &format!("PVC {name} Pending")),
        },
    }
}

/// The class that an unbound claim names and that does not exist. A volume made by hand may still fit it.
fn unknown_class<'c>(claim: &'c Claim, seen: &Observed) -> Option<&'c str> {
    claim.spec.storage_class_name.as_deref().filter(|name| !name.is_empty() && seen.class.is_none())
}

/// Why there is no claim of ours, if it is known.
fn cause(step: &Step, seen: &Observed) -> Option<(&'static str, String)> {
    if let Some(last_error) = seen.claim_error() {
        return Some((last_error.reason(), last_error.message()));
    }
    let dv = seen.data_volume.as_ref()?;
    let name = &dv.metadata.name;
    Some(match step {
        Step::Taken => (
            "ErrResourceExists",
            format!("Resource {name:?} already exists and is not managed by DataVolume"),
        ),
        _ if seen.target.is_some() => return None,
        Step::Invalid(why) => ("ErrClaimNotValid", why.clone()),
        Step::NotOurs(kind) => (
            "SourceNotSupported",
            format!("Decant clones PVCs; it leaves a DataVolume with source {kind} alone"),
        ),
        Step::Unresolved(why) => ("CloneWithoutSource", why.clone()),
        Step::NoSource(key) => ("CloneWithoutSource", format!("The source pvc {} doesn't exist", key.name)),
        Step::Unfit(why) => {
            ("CloneValidationFailed", format!("The clone doesn't meet the validation requirements: {why}"))
        }
        Step::Denied(why) => ("CloneNotAllowed", why.clone()),
        Step::VolumeInTheWay(why) => ("VolumeInTheWay", why.clone()),
        _ => return None,
    })
}

/// How far it is, for people: `1.20 GiB of 8.00 GiB, 210 MiB/s, 33s left`.
fn sentence(progress: &Progress) -> String {
    let Progress { sent_bytes, total_bytes, rate_bytes_per_sec, .. } = *progress;
    let mut text = amounts(sent_bytes, total_bytes, rate_bytes_per_sec, progress.left_secs());
    if text.is_empty() {
        return text;
    }
    match progress.phase {
        Some(Phase::Sync) => text += ", the target is writing it to disk",
        Some(Phase::Verify) => text += ", the target is reading it back",
        _ => {}
    }
    text
}

/// The status `old` with what fails where no decision is made: the rest stays as it is.
pub fn with_last_error(old: &DataVolumeStatus, last_error: &LastError) -> DataVolumeStatus {
    let mut new = old.clone();
    let status = old.condition("Running").map_or("False", |running| &running.status).to_owned();
    put(&mut new, condition("Running", &status, last_error.reason(), &last_error.message()));
    new
}

fn put(status: &mut DataVolumeStatus, new: DataVolumeCondition) {
    match status.conditions.iter_mut().find(|condition| condition.kind == new.kind) {
        Some(before) => *before = new,
        None => status.conditions.push(new),
    }
}

/// The status `old` after the controller itself failed, with `said`. Of a clone that is done nothing changes.
pub fn with_fault(old: &DataVolumeStatus, said: &str) -> DataVolumeStatus {
    let mut new = old.clone();
    if matches!(old.phase.as_str(), "Succeeded" | "Failed") {
        return new;
    }
    let message = format!("a fault in the controller, please report it; it is tried again: {said}");
    put(&mut new, condition("Ready", "False", reasons::FAULT, &message));
    new
}

fn condition(kind: &str, status: &str, reason: &str, message: &str) -> DataVolumeCondition {
    DataVolumeCondition {
        kind: kind.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        ..DataVolumeCondition::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_said_of_clones_that_are_not_done() {
        let mut status =
            DataVolumeStatus { phase: "CloneInProgress".to_owned(), ..DataVolumeStatus::default() };
        status.conditions.push(condition("Ready", "False", "TransferRunning", ""));
        let ready = with_fault(&status, "panicked: odd").condition("Ready").cloned().unwrap();
        assert_eq!((ready.status.as_str(), ready.reason.as_str()), ("False", reasons::FAULT));
        assert!(ready.message.contains("panicked: odd"));
        status.phase = "Succeeded".to_owned();
        assert_eq!(with_fault(&status, "panicked: odd"), status);
    }
}
