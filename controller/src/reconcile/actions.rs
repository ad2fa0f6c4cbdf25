//! The actions of each step.

use std::collections::BTreeMap;

use crate::objects::annotations::{
    CLONE_ERROR, CLONE_OF, CLONE_PHASE, CLONE_TYPE, COPY, DIGEST, INSTANCETYPE_LABELS, LEFT_SECS,
    LIMIT_BYTES, POD_PHASE, POD_READY, POD_RESTARTS, PRE_POPULATED, PREALLOCATION_APPLIED,
    PREALLOCATION_REQUESTED, RATE_BYTES, REPLACED_PODS, RUNNING, RUNNING_MESSAGE, RUNNING_REASON, SENT_BYTES,
    SNAPSHOT_TIME, SOURCE_CONTAINER, SOURCE_RUNNING, SOURCE_RUNNING_MESSAGE, SOURCE_RUNNING_REASON,
    TARGET_CONTAINER, TOTAL_BYTES, TRANSFER_FALLBACK, TRANSFER_MODE, TRANSFER_PHASE,
};
use crate::objects::{Claim, DataVolumePhase, Meta, Pod, PodPhase};
use crate::pods::role::Role;
use crate::pods::termination;
use crate::pods::termination::TargetMessage;
use crate::reconcile::observed::Observed;
use crate::reconcile::outcome::CloneOutcome;
use crate::reconcile::rules::populated::{has_changed_policy, removable_prime};
use crate::reconcile::rules::running::pod_names;
use crate::reconcile::status::population::clone_phase;
use crate::reconcile::status::restarts;
use crate::reconcile::status::running::RunningConditions;
use crate::reconcile::step::{PrimeFault, SlotAction, Step};
use crate::reconcile::transfer;
use crate::reconcile::transfer::TransferMode;

/// An action in the cluster. Each can safely be repeated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Create the target claim.
    MakeClaim,
    /// Create the target claim for a volume that is reserved for it.
    MakeKeptClaim,
    /// Let the target claim wait for the volumes that are reserved for it, instead of a clone.
    ExpectVolume,
    /// Record on the target claim that its volume was not filled by a clone, and that no clone is wanted.
    KeepVolume,
    /// Make the DataVolume the owner of the claim.
    AdoptClaim,
    /// Write the long-lived token on the object that has the webhook's token.
    KeepToken,
    /// Set labels of the DataVolume.
    Label(BTreeMap<String, String>),
    /// Record on the DataVolume that another tool filled its claim.
    SayPrePopulated,
    /// Set annotations of the DataVolume, or remove those without a value.
    Tell(BTreeMap<&'static str, Option<String>>),
    /// Record the outcome of the clone on the target claim, under the controller's seal.
    Record(CloneOutcome),
    /// Record a created pod on the target claim.
    RecordPod(Role),
    /// Set annotations of the target claim.
    Annotate(BTreeMap<&'static str, String>),
    /// Add or remove the finalizer on the target claim.
    Hold(bool),
    /// Create a pod.
    MakePod(Role),
    /// Create the keys of a pod that are due.
    MakeSecret(Role),
    /// Delete a pod, immediately or with its usual grace period.
    DeletePod(Role),
    /// Delete a pod without waiting for its node, which does not answer.
    AbandonPod(Role),
    /// Delete source pods of claims that are gone.
    DeleteOrphans,
    /// Create the VolumeCloneSource that the claim of the DataVolume names.
    MakeCloneSource,
    /// Delete the VolumeCloneSource that was created for the DataVolume.
    DeleteCloneSource,
    /// Add or remove the finalizer of the population on the target claim.
    HoldPopulation(bool),
    /// Create the prime, and record it on the target claim.
    MakePrime,
    /// Record the prime on the target claim.
    RecordPrime,
    /// Delete the prime.
    DeletePrime,
    /// Take a snapshot of the source, and record that on the target claim.
    MakeSnapshot,
    /// Record the snapshot of the source on the target claim.
    RecordSnapshot,
    /// Delete the snapshot of the source.
    DeleteSnapshot,
    /// Restore the snapshot to a temporary PVC, and record that on the target claim.
    MakeRestored,
    /// Record the temporary PVC on the target claim.
    RecordRestored,
    /// Delete the temporary PVC.
    DeleteRestored,
    /// Record on the target claim the outcome of the clone into the prime, and the prime's volume.
    RecordPopulation(CloneOutcome),
    /// Remove from the target claim the records of a volume that is gone.
    ForgetPopulation,
    /// Let Kubernetes choose another node for the first consumer of the target claim.
    ForgetNode,
    /// Let the volume survive its prime.
    RetainVolume,
    /// Hand the volume over to the target claim.
    HandOverVolume,
    /// Give the volume its own reclaim policy back.
    RestorePolicy,
    /// Mark the target claim as complete, and record that its volume was handed over.
    MarkPopulated,
}

/// The slot action of `step`: a clone that runs or is queued needs a slot; any other clone releases its slot.
pub(super) fn slot_action(step: &Step) -> SlotAction {
    if step.is_running() || *step == Step::Queued { SlotAction::TakeSlot } else { SlotAction::ReleaseSlot }
}

/// The actions that follow from `step`, in order.
pub(super) fn actions(step: &Step, seen: &Observed, pod_conditions: &RunningConditions) -> Vec<Action> {
    let mut actions = Vec::new();
    actions.extend(seen.unrecorded.iter().copied().map(Action::RecordPod));
    // In addition to the actions of the step, so that a user who keeps creating such pods delays no clone.
    if seen.orphans.iter().any(|pod| !pod.metadata.is_deleting()) && !matches!(step, Step::NotOurs(_)) {
        actions.push(Action::DeleteOrphans);
    }
    actions.extend(corrections(step, seen).or_else(|| clone_type(step, seen)).map(Action::Tell));
    match step {
        Step::CleanUp | Step::TidyUp => clean_up(seen, &mut actions),
        Step::ExtendToken => actions.push(Action::KeepToken),
        // Without the other pod, which must not be created, a pod is useless.
        Step::GiveWay | Step::Denied(_) => delete_pods(seen, &mut actions),
        Step::Adopt => actions.push(Action::AdoptClaim),
        Step::MakeClaim => {
            actions.extend(instancetype(seen).map(Action::Label));
            actions.push(Action::MakeClaim);
        }
        // The claim is held first, so that a deletion removes what follows.
        Step::MakePrime => {
            actions.push(Action::HoldPopulation(true));
            let has_source =
                seen.population.as_ref().is_some_and(|population| population.own_source.is_some());
            if seen.data_volume.is_some() && !has_source {
                actions.push(Action::MakeCloneSource);
            }
            actions.push(Action::MakePrime);
        }
        Step::RecordPrime => actions.push(Action::RecordPrime),
        // The claim is held first, so that a deletion removes what follows.
        Step::MakeSnapshot => actions.extend([Action::Hold(true), Action::MakeSnapshot]),
        Step::RecordSnapshot => actions.push(Action::RecordSnapshot),
        Step::ReplaceSnapshot(_) => delete_snapshot_and_restored(seen, &mut actions),
        // The claim is held first, so that a deletion removes what follows.
        Step::MakeRestored => actions.extend([Action::Hold(true), Action::MakeRestored]),
        Step::RecordRestored => actions.push(Action::RecordRestored),
        Step::ReplaceRestored(_) => actions.push(Action::DeleteRestored),
        Step::ReplacePrime(fault) => {
            if *fault == PrimeFault::NodeRefused {
                actions.push(Action::ForgetNode);
            }
            actions.push(Action::DeletePrime);
        }
        Step::PrimeDone => {
            let clone = seen.population.as_ref().and_then(|population| population.clone.as_ref());
            actions.extend(clone.and_then(|clone| clone.outcome.clone()).map(Action::RecordPopulation));
        }
        // In one round, because no watch reports volumes. The prime is deleted only if the volume survives it.
        Step::RetainVolume => actions.extend([Action::RetainVolume, Action::DeletePrime]),
        Step::ReleasePrime => actions.push(Action::DeletePrime),
        Step::HandOver => actions.push(Action::HandOverVolume),
        Step::RestorePolicy => {
            actions.extend([Action::RestorePolicy, Action::MarkPopulated]);
        }
        Step::VolumeGone => actions.push(Action::ForgetPopulation),
        Step::MarkDone if seen.population.is_some() => {
            actions.extend(result(step, seen).map(Action::Tell));
            actions.push(Action::MarkPopulated);
        }
        Step::MakeKeptClaim => actions.push(Action::MakeKeptClaim),
        // The clone's own objects are removed first: after the claim changes, it is no longer recognized as a clone's.
        Step::ExpectVolume => {
            clean_up(seen, &mut actions);
            actions.push(Action::ExpectVolume);
        }
        Step::KeepVolume => {
            clean_up(seen, &mut actions);
            actions.push(Action::KeepVolume);
        }
        Step::VolumeInTheWay(_) => {
            delete_pods(seen, &mut actions);
            clean_up_prime(seen, &mut actions);
        }
        Step::Adopted => {
            if seen.is_populated() {
                clean_up(seen, &mut actions);
            }
            if is_pre_populated(seen) {
                actions.push(Action::SayPrePopulated);
            }
        }
        Step::NamePods => {
            actions.extend(pod_names(seen).filter(|names| !names.is_empty()).map(Action::Annotate));
            actions.push(Action::Hold(true));
        }
        Step::MakeTargetPod => {
            actions.extend([Action::MakePod(Role::Target), Action::MakeSecret(Role::Target)]);
        }
        Step::MakeSourcePod => actions.extend([
            Action::MakeSecret(Role::Target),
            Action::MakePod(Role::Source),
            Action::MakeSecret(Role::Source),
        ]),
        Step::WaitForTarget => actions.push(Action::MakeSecret(Role::Target)),
        Step::Copying => {
            actions.extend([Action::MakeSecret(Role::Target), Action::MakeSecret(Role::Source)]);
        }
        Step::Replace(role, _) => {
            actions.push(Action::Annotate(replaced(seen)));
            actions.push(Action::DeletePod(*role));
        }
        Step::Abandon(role) => {
            actions.push(Action::Annotate(replaced(seen)));
            actions.push(Action::AbandonPod(*role));
        }
        Step::FallBack => {
            actions.push(Action::Annotate(BTreeMap::from([(TRANSFER_FALLBACK, "true".to_owned())])));
            delete_pods(seen, &mut actions);
        }
        Step::TargetDone => {
            actions.extend(seen.reported_outcome().map(Action::Record));
            actions.extend(result(step, seen).map(Action::Tell));
        }
        Step::MarkDone => {
            actions.extend(result(step, seen).map(Action::Tell));
            actions.push(Action::Annotate(BTreeMap::from([(CLONE_OF, "true".to_owned())])));
        }
        _ => {}
    }
    // CDI's tools read the state of the pods from the claim.
    if let Some(claim) = seen.target.as_ref().filter(|claim| !claim.metadata.is_deleting())
        && !matches!(step, Step::Nothing | Step::Done | Step::Adopted | Step::Taken)
        // A claim without a DataVolume has no other place to report that.
        && (!matches!(step, Step::NotOurs(_)) || seen.data_volume.is_none())
        && !matches!(step, Step::AwaitVolume | Step::KeepVolume | Step::ExpectVolume)
        && seen.target_is_ours()
    {
        let news = differing(claim, told(step, seen, pod_conditions));
        if !news.is_empty() {
            actions.insert(0, Action::Annotate(news));
        }
    }
    actions
}

/// The annotations of a DataVolume that report its clone.
const REPORTS: [&str; 9] = [
    DIGEST,
    SENT_BYTES,
    TOTAL_BYTES,
    RATE_BYTES,
    LIMIT_BYTES,
    LEFT_SECS,
    TRANSFER_PHASE,
    TRANSFER_MODE,
    SNAPSHOT_TIME,
];

/// Corrections of annotations that the controller did not write: they were set by hand, or applied from a copy of a
/// DataVolume that was cloned earlier.
fn corrections(step: &Step, seen: &Observed) -> Option<BTreeMap<&'static str, Option<String>>> {
    let dv = seen.data_volume.as_ref()?;
    match step {
        Step::MakeClaim => {
            let stale = REPORTS.iter().filter(|name| dv.metadata.annotation(name).is_some());
            Some(stale.map(|name| (*name, None)).collect()).filter(|stale: &BTreeMap<_, _>| !stale.is_empty())
        }
        // Nothing was cloned. The reports were copied from another DataVolume and do not apply.
        Step::Adopted => {
            let is_new = seen.is_populated() && dv.status.phase != DataVolumePhase::Succeeded;
            let stale = REPORTS.iter().chain([&CLONE_TYPE]);
            let stale = stale.filter(|name| is_new && dv.metadata.annotation(name).is_some());
            Some(stale.map(|name| (*name, None)).collect()).filter(|stale: &BTreeMap<_, _>| !stale.is_empty())
        }
        // A clone that is marked as complete without a record was made by CDI or by an earlier version.
        Step::Done | Step::TidyUp if seen.outcome.is_none() => None,
        Step::Nothing
        | Step::NotOurs(_)
        | Step::Taken
        | Step::Adopt
        | Step::MarkDone
        | Step::TargetDone
        | Step::CleanUp
        | Step::ClaimLeaving => None,
        _ => result(step, seen),
    }
}

/// The clone type annotation of the DataVolume, if it is missing; CDI's users expect it there. It is written once, with
/// the first action on the claim of a clone, or after an upgrade when the clone ends.
fn clone_type(step: &Step, seen: &Observed) -> Option<BTreeMap<&'static str, Option<String>>> {
    let dv = seen.data_volume.as_ref()?;
    let is_time = matches!(
        step,
        Step::WaitForConsumer
            | Step::WaitForVolume
            | Step::NamePods
            | Step::TargetDone
            | Step::MakePrime
            | Step::PrimeDone
    );
    let is_missing = dv.metadata.annotation(CLONE_TYPE) != Some(COPY);
    (is_time && is_missing && seen.target_is_ours())
        .then(|| BTreeMap::from([(CLONE_TYPE, Some(COPY.to_owned()))]))
}

/// The digest of a complete clone, the time of its snapshot and how its bytes traveled, as far as the DataVolume has
/// something else. They are written before the phase, so a DataVolume that has Succeeded has them.
fn result(step: &Step, seen: &Observed) -> Option<BTreeMap<&'static str, Option<String>>> {
    let dv = seen.data_volume.as_ref()?;
    let is_complete =
        matches!(step, Step::TargetDone | Step::WaitForSource | Step::MarkDone | Step::TidyUp | Step::Done);
    let digest = seen.digest().filter(|_| is_complete);
    let mut told = BTreeMap::new();
    if dv.metadata.annotation(DIGEST) != digest.as_deref() {
        told.insert(DIGEST, digest);
    }
    let time = seen.snapshot_time();
    if dv.metadata.annotation(SNAPSHOT_TIME) != time.as_deref() {
        told.insert(SNAPSHOT_TIME, time);
    }
    // The claim keeps the mode after its pods are gone. Users can write the annotation.
    let mode = seen.target_annotation(TRANSFER_MODE).and_then(TransferMode::of).filter(|_| is_complete);
    if let Some(mode) = mode.filter(|mode| dv.metadata.annotation(TRANSFER_MODE) != Some(mode.as_str())) {
        told.insert(TRANSFER_MODE, Some(mode.as_str().to_owned()));
    }
    (!told.is_empty()).then_some(told)
}

/// Removes the prime. A volume with a changed policy gets it back first, because it would otherwise survive without a
/// claim.
fn clean_up_prime(seen: &Observed, actions: &mut Vec<Action>) {
    let (Some(population), Some(target)) = (&seen.population, &seen.target) else { return };
    if population.volume.as_deref().is_some_and(has_changed_policy) {
        actions.push(Action::RestorePolicy);
    }
    if removable_prime(population, target).is_some() {
        actions.push(Action::DeletePrime);
    }
}

/// Removes what a population leaves. The target claim waits until the prime is being deleted, not until it is gone:
/// users of the prime's namespace must not keep it.
fn clean_up_population(seen: &Observed, actions: &mut Vec<Action>) {
    let Some(population) = &seen.population else { return };
    clean_up_prime(seen, actions);
    if population.own_source.is_some() {
        actions.push(Action::DeleteCloneSource);
    }
    if seen.target.as_ref().is_some_and(|claim| claim.is_held_for_population()) {
        actions.push(Action::HoldPopulation(false));
    }
}

fn clean_up(seen: &Observed, actions: &mut Vec<Action>) {
    delete_pods(seen, actions);
    delete_snapshot_and_restored(seen, actions);
    clean_up_population(seen, actions);
    // The finalizer is removed only once the API server has accepted the deletion of the source pod, because it ensures
    // that the pod is not forgotten. The claim does not wait until the pod is gone.
    let held = seen.target.as_ref().is_some_and(|claim| claim.is_held());
    let is_let_go = seen.source_pod.as_ref().is_none_or(|pod| pod.metadata.is_deleting());
    if is_let_go && held {
        actions.push(Action::Hold(false));
    }
}

/// Deletes what was restored from a snapshot, and the snapshot that was taken of a source in use.
fn delete_snapshot_and_restored(seen: &Observed, actions: &mut Vec<Action>) {
    if seen.left_restored().is_some() {
        actions.push(Action::DeleteRestored);
    }
    if seen.left_taken().is_some() {
        actions.push(Action::DeleteSnapshot);
    }
}

/// The instancetype labels for a DataVolume that has none of its own: those of the DataSource that it names, else those of the
/// VolumeSnapshot or PVC that is cloned (docs/protocol.md section 4.9).
fn instancetype(seen: &Observed) -> Option<BTreeMap<String, String>> {
    let dv = seen.data_volume.as_ref()?;
    let of = |meta: &Meta| -> BTreeMap<String, String> {
        let labels = INSTANCETYPE_LABELS.iter().filter_map(|name| meta.labels.get_key_value(*name));
        labels.map(|(name, value)| (name.clone(), value.clone())).collect()
    };
    if !of(&dv.metadata).is_empty() {
        return None;
    }
    let data_source = seen.data_source.as_ref().map(|source| &source.metadata);
    let snapshot = seen.snapshot.as_ref().and_then(|snapshot| snapshot.metadata.as_ref());
    // The source of a snapshot is a temporary PVC, without labels of its own.
    let claim = seen.named_source.as_ref().or(seen.source.as_ref()).map(|claim| &claim.metadata);
    [data_source, snapshot, claim].into_iter().flatten().map(of).find(|labels| !labels.is_empty())
}

/// Whether the claim was filled for this DataVolume, and the DataVolume does not record that yet.
fn is_pre_populated(seen: &Observed) -> bool {
    let Some(dv) = &seen.data_volume else { return false };
    seen.is_populated() && dv.metadata.annotation(PRE_POPULATED).is_none()
}

fn delete_pods(seen: &Observed, actions: &mut Vec<Action>) {
    for (role, pod) in [(Role::Source, &seen.source_pod), (Role::Target, &seen.target_pod)] {
        if pod.as_ref().is_some_and(|pod| !pod.metadata.is_deleting()) {
            actions.push(Action::DeletePod(role));
        }
    }
}

fn replaced(seen: &Observed) -> BTreeMap<&'static str, String> {
    let before = seen.target_annotation(REPLACED_PODS).and_then(|n| n.parse::<u32>().ok()).unwrap_or(0);
    BTreeMap::from([(REPLACED_PODS, before.saturating_add(1).to_string())])
}

/// The annotations of the claim about its pods (docs/protocol.md section 3.11).
fn told(step: &Step, seen: &Observed, pod_conditions: &RunningConditions) -> BTreeMap<&'static str, String> {
    let mut told = BTreeMap::from([(POD_RESTARTS, restarts(seen).to_string())]);
    if seen.population.is_some() {
        told.insert(CLONE_TYPE, COPY.to_owned());
        told.insert(CLONE_PHASE, clone_phase(step, seen).to_owned());
        let error = pod_conditions.error().map(|condition| condition.message.clone());
        if error.is_some() || seen.target_annotation(CLONE_ERROR).is_some_and(|said| !said.is_empty()) {
            told.insert(CLONE_ERROR, error.unwrap_or_default());
        }
    }
    if let Some(time) = seen.snapshot_time() {
        told.insert(SNAPSHOT_TIME, time);
    }
    if let Some(mode) = transfer::of_clone(seen) {
        told.insert(TRANSFER_MODE, mode.as_str().to_owned());
    }
    if let Some(pod) = &seen.target_pod {
        let ready = pod.container_status(TARGET_CONTAINER).is_some_and(|status| status.ready);
        told.insert(POD_READY, ready.to_string());
        if seen.outcome.is_none() && pod.status.phase != PodPhase::Succeeded {
            told.insert(POD_PHASE, pod.status.phase.to_string());
        }
    } else if seen.outcome.is_none()
        && seen.target_annotation(POD_PHASE) == Some(PodPhase::Succeeded.as_str())
        && !seen.is_marked_done()
    {
        // A user wrote it: no pod of this clone succeeded.
        told.insert(POD_PHASE, PodPhase::Pending.to_string());
    }
    for (pod_condition, [runs, message, reason]) in [
        (&pod_conditions.target, [RUNNING, RUNNING_MESSAGE, RUNNING_REASON]),
        (&pod_conditions.source, [SOURCE_RUNNING, SOURCE_RUNNING_MESSAGE, SOURCE_RUNNING_REASON]),
    ] {
        // The position in the queue changes often, so only the DataVolume reports it.
        if let Some(pod_condition) = pod_condition.as_ref().filter(|_| *step != Step::Queued) {
            told.insert(runs, pod_condition.runs().to_string());
            told.insert(message, pod_condition.message.clone());
            told.insert(reason, pod_condition.reason.clone());
        }
    }
    if is_preallocated(seen) {
        told.insert(PREALLOCATION_APPLIED, "true".to_owned());
    }
    told
}

fn is_preallocated(seen: &Observed) -> bool {
    let asked = seen.target.as_ref().is_some_and(|c| c.metadata.is_annotated_true(PREALLOCATION_REQUESTED));
    let by_target = |pod: &Pod| {
        pod.ended_well(TARGET_CONTAINER)
            && matches!(termination::target_message(pod), TargetMessage::Done { preallocated: true, .. })
    };
    let by_source = |pod: &Pod| termination::source_preallocated(pod, SOURCE_CONTAINER);
    asked
        && (seen.target_pod.as_deref().is_some_and(by_target)
            || seen.source_pod.as_deref().is_some_and(by_source))
}

fn differing(claim: &Claim, told: BTreeMap<&'static str, String>) -> BTreeMap<&'static str, String> {
    told.into_iter().filter(|(name, value)| claim.metadata.annotation(name) != Some(value.as_str())).collect()
}
