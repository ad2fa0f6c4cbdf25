//! The conditions Bound, Ready and Running (docs/protocol.md section 4.7).

use crate::objects::data_volume::{DataVolumeCondition, DataVolumeStatus};
use crate::objects::{Claim, ClaimPhase, ConditionStatus, ConditionType, DataVolumePhase, Reason};
use crate::progress::clone_progress::{Progress, target_activity};
use crate::reconcile::last_error::LastError;
use crate::reconcile::observed::Observed;
use crate::reconcile::reserved_volumes;
use crate::reconcile::status::running::{RunningCondition, RunningConditions, no_source};
use crate::reconcile::step::Step;
use crate::reconcile::transfer;

/// All three conditions, in this order.
pub(super) fn conditions(
    step: &Step,
    phase: &DataVolumePhase,
    seen: &Observed,
    pod_conditions: &RunningConditions,
) -> Vec<DataVolumeCondition> {
    let bound = bound(step, seen);
    let mut joined = pod_conditions.joined();
    if joined.runs() && pod_conditions.clone.is_none() {
        let sentence = seen.progress.as_ref().map(sentence).unwrap_or_default();
        joined.message = match transfer::of_clone(seen) {
            Some(mode) if sentence.is_empty() => mode.shown().to_owned(),
            Some(mode) => format!("{}: {sentence}", mode.shown()),
            None => sentence,
        };
    }
    if let Some(time) = seen.snapshot_time().filter(|_| joined.runs() || *phase == DataVolumePhase::Succeeded)
    {
        let parts = [joined.message, format!("from a snapshot of the source in use, taken at {time}")];
        joined.message = parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; ");
    }
    let RunningCondition { status, reason, message } = joined;
    let running = condition(ConditionType::Running, status, reason, message);
    let not_ready = |reason: String, message: &str| {
        condition(ConditionType::Ready, ConditionStatus::False, reason, message)
    };
    let ready = match phase {
        DataVolumePhase::Succeeded => condition(ConditionType::Ready, ConditionStatus::True, "", ""),
        DataVolumePhase::Unknown => condition(ConditionType::Ready, ConditionStatus::Unknown, "", ""),
        _ if running.status == ConditionStatus::True => not_ready(Reason::TransferRunning.into(), ""),
        _ if Reason::Bound.is(&bound.reason) || Reason::Pending.is(&bound.reason) => {
            not_ready(String::new(), "")
        }
        _ => not_ready(bound.reason.clone(), &bound.message),
    };
    vec![bound, ready, running]
}

/// The message while a restore has yet to create the claim.
const AWAITED: &str =
    "No PVC found: it is to come from a restore (annotation cdi.kubevirt.io/storage.prePopulated)";

fn bound(step: &Step, seen: &Observed) -> DataVolumeCondition {
    let no = |reason: Reason, message: String| {
        condition(ConditionType::Bound, ConditionStatus::False, reason, message)
    };
    if let Some((reason, message)) = cause(step, seen) {
        return no(reason, message);
    }
    let Some(claim) = &seen.target else {
        let message = if *step == Step::AwaitClaim { AWAITED } else { "No PVC found" };
        return no(Reason::NotFound, message.to_owned());
    };
    let name = &claim.metadata.name;
    match claim.status.phase {
        ClaimPhase::Bound => {
            let message = format!("PVC {name} Bound");
            condition(ConditionType::Bound, ConditionStatus::True, Reason::Bound, message)
        }
        ClaimPhase::Lost => no(Reason::ClaimLost, "Claim Lost".to_owned()),
        _ if *step == Step::AwaitVolume => {
            let names = reserved_volumes::expected(claim).join(", ");
            no(
                Reason::Pending,
                format!("PVC {name} Pending: it waits for the volume that is reserved for it, {names}"),
            )
        }
        _ => match unknown_class(claim, seen) {
            Some(class) => {
                no(Reason::Pending, format!("PVC {name} Pending: there is no StorageClass {class:?}"))
            }
            None => no(Reason::Pending, format!("PVC {name} Pending")),
        },
    }
}

/// The class of an unbound claim, if it does not exist. A volume that was created by hand may still fit the claim.
fn unknown_class<'c>(claim: &'c Claim, seen: &Observed) -> Option<&'c str> {
    let class = claim.spec.storage_class_name.as_deref();
    class.filter(|name| !name.is_empty() && seen.class.is_none() && !seen.has_prime())
}

/// Why the clone has no claim, if it is known.
fn cause(step: &Step, seen: &Observed) -> Option<(Reason, String)> {
    if let Some(last_error) = seen.claim_error() {
        return Some((last_error.reason(), last_error.message()));
    }
    let dv = seen.data_volume.as_ref()?;
    let name = &dv.metadata.name;
    Some(match step {
        Step::Taken => (
            Reason::ErrResourceExists,
            format!("Resource {name:?} already exists and is not managed by DataVolume"),
        ),
        _ if seen.target.is_some() => return None,
        Step::Invalid(why) => (Reason::ErrClaimNotValid, why.clone()),
        Step::NotOurs(kind) => (
            Reason::SourceNotSupported,
            format!("Decant clones PVCs and snapshots; it leaves a DataVolume with source {kind} alone"),
        ),
        Step::Unresolved(why) => (Reason::CloneWithoutSource, why.clone()),
        Step::NoSource(key) => (Reason::CloneWithoutSource, no_source(key, seen)),
        Step::CannotRestore(why) => (Reason::CannotRestore, why.clone()),
        Step::SnapshotNotReady(why) => (Reason::SnapshotNotReady, why.clone()),
        Step::Unfit(why) => (
            Reason::CloneValidationFailed,
            format!("The clone doesn't meet the validation requirements: {why}"),
        ),
        Step::Denied(why) => (Reason::CloneNotAllowed, why.clone()),
        Step::VolumeInTheWay(why) => (Reason::VolumeInTheWay, why.clone()),
        _ => return None,
    })
}

/// The progress for people: `1.20 GiB of 8.00 GiB, 210 MiB/s, 33s left`.
fn sentence(progress: &Progress) -> String {
    let amounts = progress.amounts();
    match target_activity(progress.phase) {
        Some(activity) if !amounts.is_empty() => format!("{amounts}, {activity}"),
        _ => amounts,
    }
}

/// The status `old` with the failure of a round that made no decision. Everything else is unchanged.
pub fn with_last_error(old: &DataVolumeStatus, last_error: &LastError) -> DataVolumeStatus {
    let mut new = old.clone();
    let running = old.condition(ConditionType::Running);
    let status = running.map_or(ConditionStatus::False, |running| running.status.clone());
    put(&mut new, condition(ConditionType::Running, status, last_error.reason(), last_error.message()));
    new
}

fn put(status: &mut DataVolumeStatus, new: DataVolumeCondition) {
    match status.conditions.iter_mut().find(|condition| condition.kind == new.kind) {
        Some(before) => *before = new,
        None => status.conditions.push(new),
    }
}

/// The status `old` with the fault `said` of the controller. The status of a clone that has ended does not change.
pub fn with_fault(old: &DataVolumeStatus, said: &str) -> DataVolumeStatus {
    let mut new = old.clone();
    if old.phase.is_final() {
        return new;
    }
    let message =
        format!("internal error in the controller: {said}; the controller retries; please report it");
    put(&mut new, condition(ConditionType::Ready, ConditionStatus::False, Reason::ControllerFault, message));
    new
}

fn condition(
    kind: ConditionType,
    status: ConditionStatus,
    reason: impl Into<String>,
    message: impl Into<String>,
) -> DataVolumeCondition {
    DataVolumeCondition {
        kind,
        status,
        reason: reason.into(),
        message: message.into(),
        ..DataVolumeCondition::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_said_of_clones_that_are_not_done() {
        let mut status =
            DataVolumeStatus { phase: DataVolumePhase::CloneInProgress, ..DataVolumeStatus::default() };
        status.conditions.push(condition(
            ConditionType::Ready,
            ConditionStatus::False,
            Reason::TransferRunning,
            "",
        ));
        let ready = with_fault(&status, "panicked: odd").condition("Ready").cloned().unwrap();
        assert_eq!(
            (ready.status.as_str(), ready.reason.as_str()),
            ("False", Reason::ControllerFault.as_str())
        );
        assert!(ready.message.contains("panicked: odd"));
        status.phase = DataVolumePhase::Succeeded;
        assert_eq!(with_fault(&status, "panicked: odd"), status);
    }
}
