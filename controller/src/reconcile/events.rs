//! Kubernetes events (docs/protocol.md section 4.7). Each change is reported once.

use decant_shared::process::panics::Panic;
use serde_json::{Value, json};

use crate::objects::annotations::{
    BANDWIDTH_LIMIT, CLONE_ERROR, CLONE_PHASE, RUNNING_MESSAGE, SNAPSHOT_TIME, SOURCE_RUNNING_MESSAGE,
    TRANSFER_MODE,
};
use crate::objects::data_volume::DataVolumeStatus;
use crate::objects::{ConditionStatus, ConditionType, DataVolumePhase, Key, Kind, Meta, Reason};
use crate::reconcile::last_error::LastError;
use crate::reconcile::observed::Observed;
use crate::reconcile::status::population::clone_phase;
use crate::reconcile::status::running::RunningConditions;
use crate::reconcile::step::Step;
use crate::reconcile::transfer;
use crate::reconcile::transfer::TransferMode;
use crate::watch::unreadable::UnreadableObject;

/// The name under which events are reported.
const COMPONENT: &str = "datavolume-pvc-clone-controller";

/// An event about a DataVolume or, without a DataVolume, about the claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// `Normal` or `Warning`.
    pub kind: &'static str,
    /// The reason, for programs.
    pub reason: String,
    /// The message, for people.
    pub message: String,
}

fn normal(reason: impl Into<String>, message: String) -> Event {
    Event { kind: "Normal", reason: reason.into(), message }
}

fn warning(reason: impl Into<String>, message: &str) -> Event {
    Event { kind: "Warning", reason: reason.into(), message: message.to_owned() }
}

/// The events about a new status.
pub fn events(step: &Step, seen: &Observed, new: Option<&DataVolumeStatus>) -> Vec<Event> {
    let (Some(dv), Some(new)) = (&seen.data_volume, new) else { return Vec::new() };
    let old = &dv.status;
    let mut events = Vec::new();
    if old.phase != new.phase {
        // An adopted claim was not cloned, so it gets no event about a clone.
        events.extend(of_phase(seen, &new.phase, &dv.metadata.name).filter(|_| *step != Step::Adopted));
        let tells_snapshot =
            matches!(new.phase, DataVolumePhase::CloneInProgress | DataVolumePhase::Succeeded);
        events.extend(of_snapshot(seen).filter(|_| tells_snapshot));
        let digest = seen.digest().filter(|_| new.phase == DataVolumePhase::Succeeded);
        events.extend(digest.map(|digest| {
            normal(Reason::CloneVerified, format!("Source and target hold the same: {digest}"))
        }));
        let not_kept = seen.not_kept().filter(|_| new.phase == DataVolumePhase::Succeeded);
        events.extend(not_kept.map(|counts| {
            let text = format!("The target could not keep all attributes of all entries: {counts}");
            warning(Reason::AttributesNotKept, &text)
        }));
    }
    // The event about the phase reports the first mode.
    if seen.target_annotation(TRANSFER_MODE) == Some(TransferMode::Direct.as_str()) {
        let is_reported = old.phase != new.phase && new.phase == DataVolumePhase::CloneInProgress;
        events.extend(of_transfer(seen).filter(|_| !is_reported));
    }
    if let (before, Some(bound)) = (old.condition(ConditionType::Bound), new.condition(ConditionType::Bound))
        && before.is_none_or(|before| before.reason != bound.reason || before.message != bound.message)
        && !bound.message.is_empty()
    {
        let is_refusal = matches!(
            step,
            Step::Taken
                | Step::Invalid(_)
                | Step::Denied(_)
                | Step::NotOurs(_)
                | Step::VolumeInTheWay(_)
                | Step::CannotRestore(_)
        ) || seen.claim_error().is_some();
        let event = Event {
            kind: if is_refusal { "Warning" } else { "Normal" },
            ..normal(bound.reason.as_str(), bound.message.clone())
        };
        events.push(event);
    }
    let said =
        old.condition(ConditionType::Running).map(|before| before.message.as_str()).unwrap_or_default();
    if let Some(last_error) = seen.other_error() {
        // Independent of the rest of the condition, and of whether the clone runs or is complete.
        if !said.contains(&last_error.message()) {
            events.push(of_trouble(last_error));
        }
    } else if let Some(running) = new.condition(ConditionType::Running)
        && running.status == ConditionStatus::False
        && new.phase != DataVolumePhase::Succeeded
        && !running.message.is_empty()
        && running.message != said
        && !UNREPORTED.iter().any(|reason| reason.is(&running.reason))
    {
        let is_expected = Reason::TakingSnapshot.is(&running.reason);
        let kind = if is_expected { "Normal" } else { "Warning" };
        events.push(Event { kind, ..warning(running.reason.as_str(), &running.message) });
    }
    events
}

/// The event that a snapshot is cloned because the source is in use.
fn of_snapshot(seen: &Observed) -> Option<Event> {
    let time = seen.snapshot_time()?;
    let source = seen.source_key()?;
    Some(normal(
        Reason::SourceSnapshotCloned,
        format!(
            "The source {source} is in use: a snapshot of it, taken at {time}, is cloned. Its content is that of a disk after a power \
             failure"
        ),
    ))
}

/// The same event for a claim, until its annotation has the time of the snapshot.
fn of_snapshot_for_claim(seen: &Observed) -> Option<Event> {
    let time = seen.snapshot_time()?;
    of_snapshot(seen).filter(|_| seen.target_annotation(SNAPSHOT_TIME) != Some(time.as_str()))
}

/// The event about how the bytes travel, until the claim's annotation says the same.
fn of_transfer(seen: &Observed) -> Option<Event> {
    let (mode, source) = (transfer::of_clone(seen)?, seen.source_key()?);
    let target = seen.target.as_ref()?.metadata.key();
    let text = || format!("Cloning from {source} into {target} {}", mode.shown());
    (seen.target_annotation(TRANSFER_MODE) != Some(mode.as_str()))
        .then(|| normal(Reason::CloneTransfer, text()))
}

/// Reasons of the Running condition that are not reported as events, because every clone has them.
const UNREPORTED: [Reason; 3] = [Reason::Queued, Reason::Completed, Reason::ContainerCreating];

/// The event about an action that fails.
pub fn of_trouble(last_error: &LastError) -> Event {
    warning(last_error.reason(), &last_error.message())
}

/// Reasons of the target's Running condition that are also reported about the claim, as CDI does. Failures are always
/// reported.
const ABOUT_CLAIM: [Reason; 7] = [
    Reason::NodeNotResponding,
    Reason::ErrClaimNotValid,
    Reason::CloneSourceInUse,
    Reason::UploadTargetInUse,
    Reason::ErrIncompatiblePvc,
    Reason::CloneWithoutSource,
    Reason::CloneNotAllowed,
];

/// The events about the target claim, each only until the claim's annotations show it. A claim that requests a clone
/// without a DataVolume has no other way to report.
pub fn about_claim(step: &Step, seen: &Observed, pod_conditions: &RunningConditions) -> Vec<Event> {
    let Some(claim) = &seen.target else { return Vec::new() };
    let is_said = |text: &str| {
        [RUNNING_MESSAGE, SOURCE_RUNNING_MESSAGE, CLONE_ERROR]
            .iter()
            .any(|name| claim.metadata.annotation(name) == Some(text))
    };
    if seen.population.is_some() && seen.last_error.is_none() {
        return about_population(step, seen, pod_conditions);
    }
    let mut events = Vec::new();
    if *step == Step::MarkDone {
        events.push(normal(Reason::CloneSucceeded, "Clone Complete".to_owned()));
    }
    if let Some(last_error) = seen.last_error.as_ref().filter(|_| seen.target_is_ours()) {
        events.extend(Some(of_trouble(last_error)).filter(|event| !is_said(&event.message)));
        return events;
    }
    if claim.metadata.is_deleting() || !events.is_empty() {
        return events;
    }
    if *step == Step::KeepVolume {
        let text = format!(
            "The volume {} was reserved for this PVC: it is kept as it is, and nothing is cloned into it",
            claim.spec.volume_name
        );
        return vec![normal(Reason::VolumeKept, text)];
    }
    let reports_clone = seen.data_volume.is_none() && seen.populates.is_none() && seen.target_is_ours();
    let snapshot = of_snapshot_for_claim(seen).filter(|_| reports_clone);
    let transfer = of_transfer(seen).filter(|_| reports_clone);
    let said = claim.metadata.annotation(RUNNING_MESSAGE);
    let news = pod_conditions.target.as_ref().filter(|target| {
        seen.target_is_ours()
            && !target.runs()
            && ABOUT_CLAIM.iter().any(|reason| reason.is(&target.reason))
            && said != Some(target.message.as_str())
    });
    let news = news.map(|target| warning(target.reason.as_str(), &target.message));
    snapshot.into_iter().chain(transfer).chain(news).collect()
}

/// The events about a claim that is filled before it is bound: each change of what its clone does, and each problem.
fn about_population(step: &Step, seen: &Observed, pod_conditions: &RunningConditions) -> Vec<Event> {
    let Some(claim) = seen.target.as_ref().filter(|claim| !claim.metadata.is_deleting()) else {
        return Vec::new();
    };
    let mut events = Vec::new();
    let phase = clone_phase(step, seen);
    if seen.target_annotation(CLONE_PHASE) != Some(phase) {
        let (source, target) = (seen.source_key(), claim.metadata.key());
        match (phase, source) {
            ("HostClone", Some(source)) => events.push(normal(
                DataVolumePhase::CloneScheduled.as_str(),
                format!("Cloning from {source} into {target} scheduled"),
            )),
            ("Rebind", _) => events.push(normal(
                Reason::RebindInProgress,
                format!("The clone is complete; its volume is handed over to PVC {target}"),
            )),
            ("Succeeded", _) if *step != Step::Done => {
                events.push(normal(Reason::CloneSucceeded, "Clone Complete".to_owned()));
                events.extend(seen.digest().map(|digest| {
                    normal(Reason::CloneVerified, format!("Source and target hold the same: {digest}"))
                }));
                events.extend(seen.not_kept().map(|counts| {
                    let text = format!("The target could not keep all attributes of all entries: {counts}");
                    warning(Reason::AttributesNotKept, &text)
                }));
            }
            _ => {}
        }
    }
    events.extend(of_snapshot_for_claim(seen).filter(|_| seen.data_volume.is_none()));
    events.extend(of_transfer(seen).filter(|_| seen.data_volume.is_none()));
    let said = seen.target_annotation(CLONE_ERROR);
    let error = pod_conditions.error().filter(|condition| said != Some(condition.message.as_str()));
    events.extend(error.map(|condition| warning(condition.reason.as_str(), &condition.message)));
    events
}

/// The event about an object that cannot be read.
pub fn unreadable(odd: &UnreadableObject) -> Event {
    let text =
        format!("Decant cannot read this object and leaves it alone until it is corrected: {}", odd.why);
    warning(Reason::ObjectUnreadable, &text)
}

/// The event about the clone `key`, which waits for an object that cannot be read. If the object is in another
/// namespace, the event does not reveal what is wrong with it.
pub fn waits_for_unreadable(odd: &UnreadableObject, key: &Key) -> Event {
    let text = if odd.meta.namespace == key.namespace {
        format!("The clone waits: {odd}")
    } else {
        format!(
            "The clone waits: a {} of another namespace that it depends on cannot be read",
            odd.kind.name()
        )
    };
    warning(Reason::WaitsForUnreadable, &text)
}

/// The event about a bandwidth limit that was changed to something that is not a limit.
pub fn limit_not_valid(why: &str) -> Event {
    let text = format!("{BANDWIDTH_LIMIT}: {why}; the previous limit stays");
    warning(Reason::BandwidthLimitNotValid, &text)
}

/// The event about a fault of the controller during a round of a clone.
pub fn controller_fault(panic: &Panic) -> Event {
    let text = format!("Internal error in the controller: {panic}; the controller retries; please report it");
    warning(Reason::ControllerFault, &text)
}

fn of_phase(seen: &Observed, phase: &DataVolumePhase, name: &str) -> Option<Event> {
    let (Some(source), Some(dv)) = (seen.source_key(), &seen.data_volume) else { return None };
    let target = dv.metadata.key();
    Some(match phase {
        DataVolumePhase::CloneScheduled => {
            normal(phase.as_str(), format!("Cloning from {source} into {target} scheduled"))
        }
        DataVolumePhase::CloneInProgress => {
            let how = transfer::of_clone(seen).map(|mode| format!(", {}", mode.shown())).unwrap_or_default();
            normal(phase.as_str(), format!("Cloning from {source} into {target} in progress{how}"))
        }
        DataVolumePhase::RebindInProgress => {
            normal(phase.as_str(), format!("Rebinding PersistentVolumeClaim for DataVolume {target}"))
        }
        DataVolumePhase::Succeeded => {
            normal(Reason::CloneSucceeded, format!("Successfully cloned from {source} into {target}"))
        }
        DataVolumePhase::Failed => warning(Reason::ErrClaimLost, &format!("PVC {name} lost")),
        _ => return None,
    })
}

/// The Event object to create. Its name is derived from its text and from the state of the object that it is about, so
/// that a repeated attempt creates no second event.
pub fn object(event: &Event, kind: Kind, about: &Meta, now: &str) -> Value {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    (&about.uid, &about.resource_version, &event.reason, &event.message).hash(&mut hasher);
    // Names have at most 253 bytes.
    let base: String = about.name.chars().take(200).collect();
    json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": { "namespace": about.namespace, "name": format!("{base}.{:016x}", hasher.finish()) },
        "involvedObject": {
            "apiVersion": kind.api_version(), "kind": kind.name(), "namespace": about.namespace,
            "name": about.name, "uid": about.uid, "resourceVersion": about.resource_version,
        },
        "type": event.kind,
        "reason": event.reason,
        // The API server accepts at most 1024 bytes.
        "message": event.message.chars().take(1000).collect::<String>(),
        "source": { "component": COMPONENT },
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    })
}
