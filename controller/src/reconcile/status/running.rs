//! Whether the pods run, and if not, why, with a message that a user can act on.

use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::objects::pod::{ContainerStatus, Terminated};
use crate::objects::reason::is_usual;
use crate::objects::{ConditionStatus, Key, Pod, PodPhase, Reason};
use crate::pods::role::Role;
use crate::pods::termination::last_end;
use crate::reconcile::observed::{Observed, Origin, SnapshotChoice};
use crate::reconcile::step::Slot;
use crate::reconcile::step::{PrimeFault, RestoreFault, SnapshotFault, Step};

/// The message of every failure because the target is too small (docs/protocol.md section 4.7).
const TOO_SMALL: &str = "DataVolume too small to contain image";
/// Texts in termination messages that mean [`TOO_SMALL`].
const NO_SPACE: [&str; 4] = [
    "no space left on device",
    "is larger than the reported available",
    "disk quota exceeded",
    "file largest block is bigger than maxblock",
];

/// The message of a clone that is complete.
const CLONE_COMPLETE: &str = "Clone Complete";

/// How long the scheduler of Kubernetes may refuse a pod before that is reported. It retries within a few seconds.
const SCHEDULING: Duration = Duration::from_secs(10);

/// The message about a claim whose mark of a complete clone is not trusted.
const UNPROVEN: &str = "the claim has the annotation k8s.io/CloneOf, but the controller completed no clone into it; the volume may \
    hold anything. Delete the claim to have it cloned, or annotate it with cdi.kubevirt.io/allowClaimAdoption=true and remove \
    cdi.kubevirt.io/createdForDataVolume if its content is right";

/// One pod's running condition (docs/protocol.md section 3.11).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunningCondition {
    /// Whether the container runs.
    pub status: ConditionStatus,
    /// Why: a [`Reason`] or one of Kubernetes; two reasons are joined with `and`.
    pub reason: String,
    /// The same, for people.
    pub message: String,
}

impl RunningCondition {
    fn yes() -> Self {
        Self { status: ConditionStatus::True, reason: Reason::PodRunning.into(), message: String::new() }
    }

    fn no(reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self { status: ConditionStatus::False, reason: reason.into(), message: message.into() }
    }

    /// Whether the container runs.
    pub fn runs(&self) -> bool {
        self.status == ConditionStatus::True
    }

    /// Both conditions as one, if neither container runs.
    fn and(&self, other: &Self) -> Self {
        let join = |a: &str, b: &str| match (a, b) {
            ("", one) | (one, "") => one.to_owned(),
            (a, b) => format!("{a} and {b}"),
        };
        Self::no(join(&self.reason, &other.reason), join(&self.message, &other.message))
    }
}

/// The conditions of both pods; `None` as long as nothing is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunningConditions {
    /// The target's.
    pub target: Option<RunningCondition>,
    /// The source's.
    pub source: Option<RunningCondition>,
    /// A failure that is not about one pod, or is about a pod that runs.
    pub clone: Option<RunningCondition>,
    /// Whether there is no source pod because the target pod reads the source itself.
    pub is_direct: bool,
}

impl RunningConditions {
    /// All conditions for a step. A failure replaces the condition of the pod that it is about.
    pub fn of(step: &Step, seen: &Observed, now: OffsetDateTime) -> Self {
        let of_pod = |pod: &Option<Arc<Pod>>, role: Role| {
            pod.as_deref().map(|pod| pod_condition(pod, role.container(), now))
        };
        let mut pod_conditions = Self {
            target: of_pod(&seen.target_pod, Role::Target).or_else(|| waiting(step, seen, now)),
            source: of_pod(&seen.source_pod, Role::Source),
            clone: None,
            is_direct: seen.target_pod.as_ref().is_some_and(|pod| pod.is_direct()),
        };
        // The condition Bound reports a claim that cannot be created.
        if let Some(last_error) = seen.other_error() {
            let said = RunningCondition::no(last_error.reason(), last_error.message());
            let slot = match last_error.failed_action.side() {
                Some(Role::Target) => &mut pod_conditions.target,
                Some(Role::Source) => &mut pod_conditions.source,
                None => &mut pod_conditions.clone,
            };
            // A failure to create the next keys of a running pod does not stop it yet.
            let runs = slot.as_ref().is_some_and(RunningCondition::runs);
            *(if runs { &mut pod_conditions.clone } else { slot }) = Some(said);
        }
        pod_conditions
    }

    /// These conditions, completed by `other` where nothing is known.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            target: self.target.or(other.target),
            source: self.source.or(other.source),
            clone: other.clone.or(self.clone),
            is_direct: self.is_direct || other.is_direct,
        }
    }

    /// What prevents the clone from running: a condition that not every clone has for a while.
    pub fn error(&self) -> Option<&RunningCondition> {
        let all = [&self.clone, &self.target, &self.source].into_iter().flatten();
        let is_error = |condition: &&RunningCondition| {
            let is_expected =
                [Reason::Queued, Reason::TakingSnapshot].iter().any(|one| one.is(&condition.reason));
            !condition.runs() && !is_usual(&condition.reason) && !is_expected
        };
        all.filter(|condition| !condition.message.is_empty()).find(is_error)
    }

    /// Whether all pods run, so that data can be transferred.
    fn all_run(&self) -> bool {
        let runs =
            |condition: &Option<RunningCondition>| condition.as_ref().is_some_and(RunningCondition::runs);
        runs(&self.target) && (self.is_direct || runs(&self.source))
    }

    /// All conditions as one (docs/protocol.md section 4.7, "Running"). A failure is always reported; while all pods
    /// run, the status stays True.
    pub fn joined(&self) -> RunningCondition {
        match &self.clone {
            Some(said) if self.all_run() => {
                RunningCondition { status: ConditionStatus::True, ..said.clone() }
            }
            // The failure does not hide what the pods wait for, unless every clone waits for that at the beginning.
            Some(said) => match self.pods() {
                pods if pods.runs() || is_usual(&pods.reason) => said.clone(),
                pods => said.and(&pods),
            },
            None => self.pods(),
        }
    }

    fn pods(&self) -> RunningCondition {
        match (&self.target, &self.source) {
            (None, None) => RunningCondition::no("", ""),
            (Some(one), None) | (None, Some(one)) => one.clone(),
            (Some(target), Some(source)) => match (target.runs(), source.runs()) {
                (true, true) | (false, true) => target.clone(),
                (true, false) => source.clone(),
                (false, false) if target == source => target.clone(),
                (false, false) => target.and(source),
            },
        }
    }
}

/// The condition while there is no target pod: why there is none.
fn waiting(step: &Step, seen: &Observed, now: OffsetDateTime) -> Option<RunningCondition> {
    let list = |pods: &[Key]| {
        let names: Vec<String> = pods.iter().map(ToString::to_string).collect();
        names.join(", ")
    };
    Some(match step {
        Step::Queued => match &seen.slot {
            Slot::Queued { position, of, limit } => RunningCondition::no(
                Reason::Queued,
                format!("place {position} of {of} in the queue: {limit}"),
            ),
            Slot::Free | Slot::GiveWay => return None,
        },
        Step::SourceInUse(pods) => {
            let source = seen.source.as_ref().map(|claim| claim.metadata.name.as_str()).unwrap_or_default();
            let mut text = format!("pod {} using PersistentVolumeClaim {source}", list(pods));
            if let SnapshotChoice::Impossible(why) = &seen.snapshot_choice {
                text = format!("{text}; no snapshot of it can be taken: {why}");
            }
            RunningCondition::no(Reason::CloneSourceInUse, text)
        }
        Step::TargetInUse(pods) => {
            RunningCondition::no(Reason::UploadTargetInUse, format!("pod {} using the target", list(pods)))
        }
        Step::SourceFilling => {
            RunningCondition::no(Reason::ImportPvcNotReady, "the source is still being filled".to_owned())
        }
        // The pod of an earlier claim of this name.
        Step::PodLeaving(_) => return seen.orphans.iter().find_map(|pod| overstaying(pod, now)),
        Step::Incompatible(why) => RunningCondition::no(Reason::ErrIncompatiblePvc, why.clone()),
        Step::Denied(why) => RunningCondition::no(Reason::CloneNotAllowed, why.clone()),
        Step::Unproven => RunningCondition::no(Reason::CloneNotProven, UNPROVEN),
        Step::VolumeInTheWay(why) => RunningCondition::no(Reason::VolumeInTheWay, why.clone()),
        Step::NoSource(key) => RunningCondition::no(Reason::CloneWithoutSource, no_source(key, seen)),
        Step::CannotRestore(why) => RunningCondition::no(Reason::CannotRestore, why.clone()),
        Step::SnapshotNotReady(why) => RunningCondition::no(Reason::SnapshotNotReady, why.clone()),
        Step::MakeSnapshot | Step::RecordSnapshot | Step::TakingSnapshot(None) => {
            let source = seen.source_key().map(ToString::to_string).unwrap_or_default();
            RunningCondition::no(
                Reason::TakingSnapshot,
                format!("the source {source} is in use: a snapshot of it is being taken"),
            )
        }
        Step::TakingSnapshot(Some(why)) => RunningCondition::no(Reason::SnapshotNotReady, why.clone()),
        Step::SnapshotInTheWay(why) => RunningCondition::no(Reason::SnapshotInTheWay, why.clone()),
        Step::ReplaceSnapshot(fault) => {
            RunningCondition::no(Reason::SnapshotReplaced, snapshot_fault(*fault))
        }
        Step::RestoredInTheWay(why) => RunningCondition::no(Reason::RestoredInTheWay, why.clone()),
        Step::ReplaceRestored(fault) => RunningCondition::no(Reason::RestoredReplaced, restore_fault(*fault)),
        Step::Restoring => {
            let error = seen.snapshot.as_ref()?.error.as_ref()?;
            RunningCondition::no(error.reason.as_str(), error.message.as_str())
        }
        Step::NoProvisioner(why) => RunningCondition::no(Reason::NoProvisioner, why.clone()),
        Step::PrimeInTheWay(why) => RunningCondition::no(Reason::PrimeInTheWay, why.clone()),
        Step::Populating => {
            let error = seen.population.as_ref()?.provisioning_error.as_ref()?;
            RunningCondition::no(error.reason.as_str(), error.message.as_str())
        }
        Step::ReplacePrime(fault) => RunningCondition::no(Reason::PrimeReplaced, prime_fault(*fault)),
        Step::VolumeGone => RunningCondition::no(Reason::VolumeGone, VOLUME_GONE),
        Step::Invalid(why) if seen.target.is_some() => {
            RunningCondition::no(Reason::ErrClaimNotValid, why.clone())
        }
        Step::Unresolved(why) if seen.population.is_some() => {
            RunningCondition::no(Reason::CloneWithoutSource, why.clone())
        }
        Step::NotOurs(kind) if seen.population.is_some() => RunningCondition::no(
            Reason::SourceNotSupported,
            format!("Decant clones PVCs and snapshots; it does not clone a {kind}"),
        ),
        Step::PrimeDone
        | Step::RetainVolume
        | Step::ReleasePrime
        | Step::PrimeLeaving
        | Step::HandOver
        | Step::AwaitBinding
            if seen.population.as_ref().is_some_and(|population| population.record.is_some()) =>
        {
            RunningCondition::no(Reason::RebindInProgress, "")
        }
        Step::Done | Step::TidyUp | Step::MarkDone | Step::RestorePolicy => {
            RunningCondition::no(Reason::Completed, CLONE_COMPLETE)
        }
        _ => return None,
    })
}

/// The message about a complete volume that was deleted, or taken by another claim, before the claim was bound to it.
const VOLUME_GONE: &str = "the complete volume was deleted or taken by another claim before this PVC was bound to it; the clone \
    starts over";

/// The message about a source that does not exist. The text about PVCs is CDI's.
pub(super) fn no_source(key: &Key, seen: &Observed) -> String {
    match &seen.origin {
        Origin::Snapshot(_) => format!("The source snapshot {} doesn't exist", key.name),
        _ => format!("The source pvc {} doesn't exist", key.name),
    }
}

/// Why the snapshot of a source in use is deleted, for people.
fn snapshot_fault(fault: SnapshotFault) -> &'static str {
    match fault {
        SnapshotFault::Unproven => {
            "the snapshot of the source has no record of this controller, so its content is not trusted; it is taken again"
        }
        SnapshotFault::OtherSource => {
            "the snapshot was taken of an earlier source; it is deleted, and the current source is cloned"
        }
        SnapshotFault::Unwanted => "the snapshot of the source is deleted, because it is not wanted any more",
    }
}

/// Why the temporary PVC of a snapshot is replaced, for people.
fn restore_fault(fault: RestoreFault) -> &'static str {
    match fault {
        RestoreFault::Unproven => {
            "the PVC that was restored from the snapshot has no record of this controller, so its content is not trusted; it is \
             restored again"
        }
        RestoreFault::SnapshotGone => {
            "the snapshot of the source was deleted or replaced before anything read the PVC that was restored from it; the source is \
             observed again"
        }
        RestoreFault::Lost => {
            "the PVC that was restored from the snapshot lost its volume; the snapshot is restored again"
        }
    }
}

/// Why a prime is replaced, for people.
fn prime_fault(fault: PrimeFault) -> &'static str {
    match fault {
        PrimeFault::Unproven => {
            "the temporary PVC of the clone has no record of this controller, so its content is not trusted; it is created again"
        }
        PrimeFault::Lost => "the temporary PVC of the clone lost its volume; the clone starts over",
        PrimeFault::OtherNamespace => "the source is in another namespace now; the clone starts over there",
        PrimeFault::OtherNode => {
            "the first consumer moved to another node before the volume was created; the volume is created there"
        }
        PrimeFault::NodeRefused => {
            "no volume can be created on the node of the first consumer; Kubernetes chooses another node"
        }
    }
}

/// The condition of a pod that should be gone, while its node does not answer. What its status says is out of date.
fn overstaying(pod: &Pod, now: OffsetDateTime) -> Option<RunningCondition> {
    let is_source = Role::of(&pod.metadata.labels) == Some(Role::Source);
    let (name, node) = (pod.metadata.key(), &pod.spec.node_name);
    let what = format!("pod {name} should be gone, but its node {node} does not answer");
    pod.overstays(now).then(|| {
        RunningCondition::no(
            Reason::NodeNotResponding,
            if is_source {
                format!("{what}; it only reads, so it is replaced")
            } else {
                format!("{what}. {WRITER_OVERSTAYS}")
            },
        )
    })
}

/// What helps if a pod that writes cannot be replaced.
const WRITER_OVERSTAYS: &str = "It may still write to the volume, so it is replaced only when it is gone, and the clone then resumes. If \
    the node does not return, delete its Node object; or, once it is powered off, taint it with \
    node.kubernetes.io/out-of-service=nodeshutdown:NoExecute";

/// The running condition of the container `name`.
fn pod_condition(pod: &Pod, name: &str, now: OffsetDateTime) -> RunningCondition {
    if let Some(condition) = overstaying(pod, now).filter(|_| !pod.ended_well(name)) {
        return condition;
    }
    if pod.status.phase == PodPhase::Failed && !pod.status.reason.is_empty() && !pod.ended_well(name) {
        return RunningCondition::no(pod.status.reason.as_str(), pod.status.message.as_str());
    }
    let Some(status) = pod.container_status(name) else { return not_scheduled(pod, now) };
    if status.state.running.is_some() {
        return RunningCondition::yes();
    }
    if let Some(ended) = &status.state.terminated {
        return ended_condition(ended);
    }
    waiting_condition(status)
}

fn waiting_condition(status: &ContainerStatus) -> RunningCondition {
    let (reason, message) = match &status.state.waiting {
        Some(waiting) => (waiting.reason.as_str(), waiting.message.as_str()),
        None => (Reason::Pending.as_str(), ""),
    };
    match reason {
        "ErrImagePull" | "ImagePullBackOff" | "ErrImageNeverPull" | "InvalidImageName" => {
            RunningCondition::no(Reason::ImagePullFailed, format!("failed to pull image: {}", status.image))
        }
        // CrashLoopBackOff explains nothing; the end of the last attempt does.
        _ if Reason::CrashLoopBackOff.is(reason) => {
            last_end(status).map_or_else(|| RunningCondition::no(reason, message), ended_condition)
        }
        _ => RunningCondition::no(reason, message),
    }
}

fn ended_condition(ended: &Terminated) -> RunningCondition {
    if ended.exit_code == 0 {
        return RunningCondition::no(Reason::Completed, CLONE_COMPLETE);
    }
    let small = ended.message.to_ascii_lowercase();
    if NO_SPACE.iter().any(|text| small.contains(text)) {
        return RunningCondition::no(Reason::Error, TOO_SMALL);
    }
    let message = match (ended.reason.as_str(), ended.message.trim()) {
        ("OOMKilled", _) => "the container was killed because it used more memory than its limit".to_owned(),
        (_, "") => format!("the container ended with exit code {}", ended.exit_code),
        (_, text) => text.to_owned(),
    };
    let reason = if ended.reason.is_empty() { Reason::Error.as_str() } else { &ended.reason };
    RunningCondition::no(reason, message)
}

/// The refusal of the scheduler of Kubernetes, once it has lasted: it often refuses a pod whose volume was just
/// created.
fn not_scheduled(pod: &Pod, now: OffsetDateTime) -> RunningCondition {
    match pod.unscheduled() {
        Some(condition) if !is_new(&condition.last_transition_time, now) => {
            RunningCondition::no(condition.reason.as_str(), condition.message.as_str())
        }
        _ => RunningCondition::no(Reason::Pending, ""),
    }
}

/// Whether `time` was less than [`SCHEDULING`] ago. A time that cannot be parsed, or is in the future, is not new.
fn is_new(time: &str, now: OffsetDateTime) -> bool {
    OffsetDateTime::parse(time, &Rfc3339).is_ok_and(|time| now >= time && now - time < SCHEDULING)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(state: &Value) -> Pod {
        serde_json::from_value(json!({ "status": { "phase": "Running", "containerStatuses": [
            { "name": "c", "image": "decant/cloner:1", "state": state,
              "lastState": { "terminated": { "exitCode": 4, "reason": "Error", "message": "disk is on fire" } } },
        ] } }))
        .unwrap()
    }

    #[test]
    fn each_state_has_its_reason_and_message() {
        for (state, reason, message) in [
            (json!({ "running": {} }), "Pod is running", ""),
            (
                json!({ "waiting": { "reason": "ImagePullBackOff" } }),
                "ImagePullFailed",
                "failed to pull image: decant/cloner:1",
            ),
            (json!({ "waiting": { "reason": "CrashLoopBackOff" } }), "Error", "disk is on fire"),
            (json!({ "waiting": { "reason": "ContainerCreating" } }), "ContainerCreating", ""),
            (
                json!({ "terminated": { "exitCode": 0, "reason": "Completed" } }),
                "Completed",
                "Clone Complete",
            ),
            (
                json!({ "terminated": { "exitCode": 137, "reason": "OOMKilled" } }),
                "OOMKilled",
                "more memory than its limit",
            ),
            (
                json!({ "terminated": { "exitCode": 4, "reason": "Error", "message": "x: No space left on device" } }),
                "Error",
                TOO_SMALL,
            ),
        ] {
            let pod_condition = pod_condition(&pod(&state), "c", OffsetDateTime::UNIX_EPOCH);
            assert_eq!(pod_condition.reason, reason, "{state}");
            assert!(pod_condition.message.contains(message), "{state}: {}", pod_condition.message);
        }
    }

    #[test]
    fn an_eviction_and_a_pod_without_a_node_have_a_reason() {
        let evicted: Pod = serde_json::from_value(json!({
            "status": { "phase": "Failed", "reason": "Evicted", "message": "low on memory" } }))
        .unwrap();
        assert_eq!(
            pod_condition(&evicted, "c", OffsetDateTime::UNIX_EPOCH),
            RunningCondition::no("Evicted", "low on memory")
        );
        let homeless: Pod = serde_json::from_value(json!({ "status": { "phase": "Pending", "conditions": [
            { "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes" } ] } })).unwrap();
        assert_eq!(
            pod_condition(&homeless, "c", OffsetDateTime::UNIX_EPOCH),
            RunningCondition::no("Unschedulable", "0/1 nodes")
        );
    }

    #[test]
    fn a_refusal_of_the_scheduler_is_reported_once_it_has_lasted() {
        let pod: Pod = serde_json::from_value(json!({ "status": { "phase": "Pending", "conditions": [
            { "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "unbound claims",
              "lastTransitionTime": "1970-01-01T00:01:00Z" } ] } }))
        .unwrap();
        let at = |secs: i64| {
            pod_condition(&pod, "c", OffsetDateTime::UNIX_EPOCH + Duration::from_secs(secs.unsigned_abs()))
        };
        assert_eq!(at(60), RunningCondition::no("Pending", ""));
        assert_eq!(at(69), RunningCondition::no("Pending", ""));
        assert_eq!(at(70), RunningCondition::no("Unschedulable", "unbound claims"));
        assert_eq!(
            at(0),
            RunningCondition::no("Unschedulable", "unbound claims"),
            "a slow clock hides nothing"
        );
    }

    #[test]
    fn a_failure_does_not_hide_why_a_pod_does_not_run() {
        let run = RunningCondition::yes();
        let joined = |target: RunningCondition| {
            let clone = Some(RunningCondition::no("ErrDeletingPod", "d"));
            RunningConditions { target: Some(target), clone, ..RunningConditions::default() }.joined()
        };
        assert_eq!(joined(run).message, "d");
        assert_eq!(joined(RunningCondition::no("ContainerCreating", "")).reason, "ErrDeletingPod");
        let both = joined(RunningCondition::no("ImagePullFailed", "i"));
        assert_eq!(
            (both.reason.as_str(), both.message.as_str()),
            ("ErrDeletingPod and ImagePullFailed", "d and i")
        );
    }

    #[test]
    fn the_condition_is_that_of_the_pod_that_does_not_run() {
        let run = RunningCondition::yes();
        let stop = |text: &str| RunningCondition::no("R", text);
        let joined = |target: &RunningCondition, source: &RunningCondition| {
            let (target, source) = (Some(target.clone()), Some(source.clone()));
            RunningConditions { target, source, ..RunningConditions::default() }.joined()
        };
        assert_eq!(joined(&run, &stop("s")).message, "s");
        assert_eq!(joined(&run, &run), run);
        assert_eq!(joined(&stop("t"), &stop("s")).message, "t and s");
        assert!(!joined(&stop("t"), &run).runs());
    }
}
