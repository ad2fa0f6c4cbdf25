//! The status of a DataVolume (docs/protocol.md section 4.7): a pure function of step and observation.

pub mod conditions;
pub mod phase;
pub(crate) mod population;
pub mod progress;
pub mod running;

use std::sync::Arc;

use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::objects::annotations::{POD_RESTARTS, REPLACED_PODS, SOURCE_CONTAINER, TARGET_CONTAINER};
use crate::objects::data_volume::{DataVolumeCondition, DataVolumeStatus, ReportedProgress};
use crate::objects::{ConditionStatus, ConditionType, Pod, Reason};
use crate::policy::Policy;
use crate::reconcile::observed::Observed;
use crate::reconcile::status::running::RunningConditions;
use crate::reconcile::step::Step;

/// The status for `step`; `None` when the controller does not write it.
pub fn status(
    step: &Step,
    seen: &Observed,
    pod_conditions: &RunningConditions,
    policy: &Policy,
) -> Option<DataVolumeStatus> {
    // The controller that created the claim of an import reports it. The status is kept even after CDI was removed.
    let is_of_another = matches!(step, Step::NotOurs(_)) && seen.target.is_some();
    if is_of_another || matches!(step, Step::Nothing | Step::RemoveOrphans) {
        return None;
    }
    let phase = phase::phase(step, seen, policy);
    let claim = seen.target.as_ref().filter(|_| seen.target_is_ours());
    Some(DataVolumeStatus {
        claim_name: claim.map(|claim| claim.metadata.name.clone()).unwrap_or_default(),
        progress: progress::progress(step, &phase, seen),
        restart_count: restarts(seen),
        conditions: conditions::conditions(step, &phase, seen, pod_conditions),
        phase,
    })
}

/// The highest restart count of both pods, plus the pods that were replaced; never lower than the previous status.
pub fn restarts(seen: &Observed) -> i64 {
    let count = |pod: &Option<Arc<Pod>>, container| {
        pod.as_ref().and_then(|pod| pod.container_status(container)).map_or(0, |status| status.restart_count)
    };
    let number = |name| seen.target_annotation(name).and_then(|text| text.parse::<i64>().ok()).unwrap_or(0);
    let now = count(&seen.source_pod, SOURCE_CONTAINER).max(count(&seen.target_pod, TARGET_CONTAINER));
    let of_clone =
        seen.population.as_ref().and_then(|population| population.clone.as_deref()).map_or(0, restarts);
    now.saturating_add(number(REPLACED_PODS)).max(number(POD_RESTARTS)).max(of_clone)
}

/// Puts the times into the conditions: an unchanged condition keeps its time.
pub fn with_times(
    mut new: DataVolumeStatus,
    old: &DataVolumeStatus,
    now: OffsetDateTime,
) -> DataVolumeStatus {
    // Formatting fails only for a year beyond 9999.
    let now = now.replace_nanosecond(0).unwrap_or(now).format(&Rfc3339).unwrap_or_default();
    for condition in &mut new.conditions {
        let before = old.condition(condition.kind.clone());
        let same_status = before.is_some_and(|before| before.status == condition.status);
        let same = same_status
            && before.is_some_and(|b| b.reason == condition.reason && b.message == condition.message);
        let time = |keep: bool, of: fn(&DataVolumeCondition) -> &String| match before.map(of) {
            Some(time) if keep && !time.is_empty() => time.clone(),
            _ => now.clone(),
        };
        condition.last_transition_time = time(same_status, |b| &b.last_transition_time);
        condition.last_heartbeat_time = time(same, |b| &b.last_heartbeat_time);
    }
    new
}

/// Whether the difference between two statuses may wait for the write budget: only progress and the text about it.
pub fn may_wait(old: &DataVolumeStatus, new: &DataVolumeStatus) -> bool {
    let bare = |status: &DataVolumeStatus| {
        let mut bare = status.clone();
        bare.progress = ReportedProgress::default();
        for condition in &mut bare.conditions {
            condition.last_heartbeat_time.clear();
            let is_progress =
                condition.kind == ConditionType::Running && condition.status == ConditionStatus::True;
            if is_progress || Reason::Queued.is(&condition.reason) {
                condition.message.clear();
            }
        }
        bare
    };
    let is_first = old.progress.is_empty() != new.progress.is_empty();
    bare(old) == bare(new) && !is_first && !new.progress.is_complete()
}

/// The merge patch from `old` to `new`: only fields that differ, with null for removed ones.
pub fn status_patch(old: &DataVolumeStatus, new: &DataVolumeStatus) -> Value {
    let old = json!(old);
    let new = json!(new);
    let mut patch = Map::new();
    for (name, value) in new.as_object().into_iter().flatten() {
        if old.get(name) != Some(value) {
            patch.insert(name.clone(), value.clone());
        }
    }
    for name in old.as_object().into_iter().flat_map(Map::keys) {
        if new.get(name).is_none() {
            patch.insert(name.clone(), Value::Null);
        }
    }
    json!({ "status": patch })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::DataVolumePhase;

    #[test]
    fn a_patch_says_what_differs_and_removes_what_is_gone() {
        let old = DataVolumeStatus {
            phase: DataVolumePhase::Pending,
            claim_name: "a".to_owned(),
            ..DataVolumeStatus::default()
        };
        let new = DataVolumeStatus {
            phase: DataVolumePhase::Pending,
            progress: ReportedProgress::unknown(),
            ..DataVolumeStatus::default()
        };
        assert_eq!(status_patch(&old, &new), json!({ "status": { "progress": "N/A", "claimName": null } }));
    }
}
