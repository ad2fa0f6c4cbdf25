//! From the claim of a clone to its end: docs/protocol.md sections 7.4 and 7.5. A pod that is evicted for pressure on its node is `Failed`
//! and is replaced; one that is evicted through the API is being deleted and is waited for.

use std::collections::BTreeMap;
use std::time::Duration;

use decant_shared::protocol::exit_code::Exit;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::objects::annotations::{
    AUTHORITY, BIND_IMMEDIATE, CREATED_FOR, REPLACED_PODS, RETAIN_PODS, SOURCE_CLAIM_UID, SOURCE_CONTAINER,
    SOURCE_POD_NAME, TARGET_CONTAINER, TARGET_POD_UID, UPLOAD_CLIENT_NAME, UPLOAD_POD_NAME,
};
use crate::objects::names::NameStyle;
use crate::objects::{Claim, DataVolumePhase, Pod, PodPhase, names};
use crate::pods::role::Role;
use crate::pods::termination;
use crate::pods::termination::TargetMessage;
use crate::policy::{Policy, Transfer};
use crate::reconcile::observed::{Observed, Origin};
use crate::reconcile::rules::before_claim::permission;
use crate::reconcile::rules::{kept, snapshot};
use crate::reconcile::step::Slot;
use crate::reconcile::step::{ReplaceReason, Step};
use crate::reconcile::transfer::TransferMode;
use crate::reconcile::{adoption, compatibility, transfer};

/// A pod that ended this often because of its keys is replaced. The kubelet delivers a Secret within a minute or two,
/// and its own pauses before the third restart take more than one minute.
const UNUSABLE_KEYS: i64 = 3;
/// A direct pod without a node, or on one that does not answer, is replaced by two pods after this time: volumes that
/// were just created may need some seconds until the scheduler accepts a pod.
const FALL_BACK_AFTER: Duration = Duration::from_secs(15);
/// Why a clone that has to be direct cannot be.
const NOT_IN_ONE_NAMESPACE: &str = "a direct clone needs source and target in one namespace; set decant.dev/transfer to auto or network, or \
    use a PVC with a CloneSource, which is filled in the namespace of its source";
/// Longest pause before a failed pod is replaced.
const PAUSE_MAX_SECS: u64 = 60;

/// The step if the claim requests a clone that is not complete.
pub(super) fn step(seen: &Observed, now: OffsetDateTime, policy: &Policy) -> Step {
    let Some(claim) = &seen.target else { return Step::Nothing };
    if seen.outcome.is_some() {
        return after_target(seen, now, policy);
    }
    if let Some(pod) = &seen.target_pod
        && let Some(step) = ended_target(pod, claim, now)
    {
        return step;
    }
    if let Some(step) = kept::instead(seen, claim) {
        return step;
    }
    if let Some(step) = obstacle(seen, claim, policy) {
        return step;
    }
    if !is_named(seen, claim) {
        return Step::NamePods;
    }
    pods(seen, claim, now, policy)
}

/// The step if the claim has CDI's mark of a complete clone. The mark counts if the controller's record exists as well,
/// if the DataVolume has already succeeded (users cannot write its status, so CDI or an earlier version wrote it), or
/// if the claim was not created for the DataVolume but taken over as it is.
pub(super) fn marked_done(seen: &Observed, policy: &Policy) -> Step {
    let (Some(dv), Some(claim)) = (&seen.data_volume, &seen.target) else { return finished(seen) };
    let is_told = dv.status.phase == DataVolumePhase::Succeeded;
    let is_made_for_it = claim.metadata.annotation(CREATED_FOR) == Some(dv.metadata.uid.as_str());
    let is_taken_over =
        !is_made_for_it && adoption::is_allowed(&claim.metadata, &dv.metadata, policy.claim_adoption);
    if seen.outcome.is_some() || is_told || is_taken_over { finished(seen) } else { Step::Unproven }
}

/// The step if the clone is complete and marked as such.
fn finished(seen: &Observed) -> Step {
    let Some(claim) = &seen.target else { return Step::Nothing };
    // Retained pods must have ended. A source pod in another namespace is never retained.
    let keeps_source = seen.source_pod.as_ref().is_none_or(|pod| {
        pod.is_over(SOURCE_CONTAINER) && pod.metadata.namespace == claim.metadata.namespace
    });
    let keeps_restored = seen.left_restored().is_some() || seen.left_taken().is_some();
    if retains(seen) && keeps_source && !keeps_restored {
        return Step::Done;
    }
    let left = seen.source_pod.is_some() || seen.target_pod.is_some() || claim.is_held() || keeps_restored;
    if left { Step::TidyUp } else { Step::Done }
}

fn is_named(seen: &Observed, claim: &Claim) -> bool {
    let mut names = pod_names(seen).into_iter().flatten();
    names.all(|(name, value)| claim.metadata.annotation(name) == Some(&value)) && claim.is_held()
}

/// The annotations of the target claim that name the pods of its clone.
pub(crate) fn pod_names(seen: &Observed) -> Option<BTreeMap<&'static str, String>> {
    let claim = seen.target.as_ref()?;
    let source = seen.source.as_ref()?;
    // CDI's controllers delete the pod that a PVC names.
    if claim.style() == NameStyle::Decant {
        return Some(BTreeMap::new());
    }
    Some(BTreeMap::from([
        (UPLOAD_POD_NAME, names::target_pod(&claim.metadata.name)),
        (UPLOAD_CLIENT_NAME, names::client(&source.metadata.uid, &claim.metadata.uid)),
        (SOURCE_POD_NAME, names::source_pod(&claim.metadata.uid)),
    ]))
}

fn retains(seen: &Observed) -> bool {
    seen.data_volume.as_ref().is_some_and(|dv| dv.metadata.is_annotated_true(RETAIN_PODS))
        || seen.target.as_ref().is_some_and(|claim| claim.metadata.is_annotated_true(RETAIN_PODS))
}

/// The step if the target pod has ended. Success is final, whatever else is wrong; a failed pod is replaced.
fn ended_target(pod: &Pod, claim: &Claim, now: OffsetDateTime) -> Option<Step> {
    if pod.ended_well(TARGET_CONTAINER) {
        return Some(match termination::target_message(pod) {
            TargetMessage::DeadlinePassed => Step::Replace(Role::Target, ReplaceReason::Deadline),
            TargetMessage::Done { .. } => Step::TargetDone,
        });
    }
    (pod.status.phase == PodPhase::Failed).then(|| replace(Role::Target, pod, claim, now))
}

/// The step that prevents a claim without pods from getting them. Claims whose pods run are not checked any more.
fn obstacle(seen: &Observed, claim: &Claim, policy: &Policy) -> Option<Step> {
    let is_direct = transfer::mode(seen, policy) == TransferMode::Direct;
    if seen.target_pod.is_some() && (seen.source_pod.is_some() || is_direct) {
        return None;
    }
    match &seen.origin {
        Origin::Invalid(invalid) => return Some(Step::Invalid(invalid.to_string())),
        Origin::Unresolved(why) => return Some(Step::Unresolved(why.clone())),
        Origin::Withheld(why) => return Some(Step::Denied(why.clone())),
        _ => {}
    }
    if let Some(step) = permission(seen) {
        return Some(step);
    }
    if waits_for_consumer(seen, claim, policy) {
        return Some(Step::WaitForConsumer);
    }
    if let Some(step) = snapshot::unready(seen) {
        return Some(step);
    }
    let Some(source) = &seen.source else { return seen.source_key().cloned().map(Step::NoSource) };
    if let Err(why) = compatibility::claims(source, claim, policy) {
        return Some(Step::Incompatible(why));
    }
    if transfer::wish(seen, policy) == Transfer::Direct && !transfer::is_in_one_namespace(seen) {
        return Some(Step::Incompatible(NOT_IN_ONE_NAMESPACE.to_owned()));
    }
    if seen.source_is_filling {
        return Some(Step::SourceFilling);
    }
    if seen.source_pod.is_none() && !seen.source_writers.is_empty() && !snapshot::may_be_taken(seen) {
        return Some(Step::SourceInUse(seen.source_writers.clone()));
    }
    if seen.target_pod.is_none() && !seen.target_users.is_empty() {
        return Some(Step::TargetInUse(seen.target_users.clone()));
    }
    if waits_for_volume(seen, claim) {
        return Some(Step::WaitForVolume);
    }
    if seen.target_pod.is_none() && seen.source_pod.is_none() && seen.slot != Slot::Free {
        return Some(Step::Queued);
    }
    snapshot::taking(seen, claim).or_else(|| snapshot::restoring(seen, claim))
}

/// Whether the claim must be bound before it gets a pod. As in CDI, that holds if its class binds immediately: no node
/// could take the pod earlier, which would cause a warning although nothing is wrong.
fn waits_for_volume(seen: &Observed, claim: &Claim) -> bool {
    let needs_pod = seen.class.as_ref().is_some_and(|class| class.waits_for_consumer());
    seen.target_pod.is_none() && !claim.is_bound() && !needs_pod
}

/// Whether the claim is left to its first consumer: it waits for one, and the user does not request immediate binding
/// (docs/protocol.md section 4.9).
///
/// CDI keeps such a claim unbound until it is complete, so its clients start a consumer early: it cannot run on an empty volume. Decant
/// fills the claim in place, so the clone itself is the first consumer.
pub(crate) fn waits_for_consumer(seen: &Observed, claim: &Claim, policy: &Policy) -> bool {
    let waits = seen.class.as_ref().is_some_and(|class| class.waits_for_consumer());
    let at_once = claim.metadata.annotation(BIND_IMMEDIATE).is_some()
        || seen.data_volume.as_ref().is_some_and(|dv| dv.metadata.annotation(BIND_IMMEDIATE).is_some());
    !claim.is_bound() && waits && policy.honor_wait_for_first_consumer && !at_once && !seen.is_filled_unbound
}

/// The step about the pods: the target comes first, then the source that sends to it.
fn pods(seen: &Observed, claim: &Claim, now: OffsetDateTime, policy: &Policy) -> Step {
    let Some(target) = &seen.target_pod else {
        return make(Role::Target, Step::MakeTargetPod, &names::target_pod(&claim.metadata.name), seen);
    };
    if target.metadata.is_deleting() {
        let falls_back = is_lost(target, now) && may_fall_back(target, seen, policy);
        return if falls_back { Step::FallBack } else { Step::PodLeaving(Role::Target) };
    }
    if seen.slot == Slot::GiveWay {
        return Step::GiveWay;
    }
    let sends = seen.source_pod.as_deref().is_some_and(runs);
    if is_of_another_source(target, seen) {
        return replace_in_time(Role::Target, ReplaceReason::OtherSource, target, claim, now);
    }
    if target.is_direct() {
        return direct(seen, target, now, policy);
    }
    if lacks_keys(target, TARGET_CONTAINER) {
        return replace_in_time(Role::Target, ReplaceReason::UnusableKeys, target, claim, now);
    }
    // A pod with certificates of an authority that no longer signs does not trust a new peer. A connected pair is kept.
    if !sends && target.metadata.annotation(AUTHORITY) != Some(&seen.authority) {
        return replace_in_time(Role::Target, ReplaceReason::OtherAuthority, target, claim, now);
    }
    let Some(source) = &seen.source_pod else {
        return if claim.is_bound() && is_ready(target) {
            make(Role::Source, Step::MakeSourcePod, &names::source_pod(&claim.metadata.uid), seen)
        } else {
            Step::WaitForTarget
        };
    };
    if source.metadata.is_deleting() {
        let is_abandoned = source.overstays(now);
        return if is_abandoned { Step::Abandon(Role::Source) } else { Step::PodLeaving(Role::Source) };
    }
    if source.status.phase == PodPhase::Failed && !source.ended_well(SOURCE_CONTAINER) {
        return replace(Role::Source, source, claim, now);
    }
    if source.metadata.annotation(TARGET_POD_UID) != Some(target.metadata.uid.as_str()) {
        return replace_in_time(Role::Source, ReplaceReason::OtherTarget, source, claim, now);
    }
    if lacks_keys(source, SOURCE_CONTAINER) {
        return replace_in_time(Role::Source, ReplaceReason::UnusableKeys, source, claim, now);
    }
    if !sends && source.metadata.annotation(AUTHORITY) != Some(&seen.authority) {
        return replace_in_time(Role::Source, ReplaceReason::OtherAuthority, source, claim, now);
    }
    Step::Copying
}

/// The step about the pod of a direct clone.
fn direct(seen: &Observed, pod: &Pod, now: OffsetDateTime, policy: &Policy) -> Step {
    if pod.status.phase == PodPhase::Running {
        return Step::Copying;
    }
    let is_homeless = pod.unscheduled().is_some_and(|condition| {
        // Two pods would find no room either.
        !condition.message.contains("Insufficient")
            && OffsetDateTime::parse(&condition.last_transition_time, &Rfc3339)
                .is_ok_and(|since| now - since >= FALL_BACK_AFTER)
    });
    if is_homeless && may_fall_back(pod, seen, policy) {
        return Step::FallBack;
    }
    Step::WaitForTarget
}

/// Whether two pods may replace the pod of a direct clone.
fn may_fall_back(pod: &Pod, seen: &Observed, policy: &Policy) -> bool {
    pod.is_direct() && transfer::wish(seen, policy) == Transfer::Auto && !transfer::has_fallen_back(seen)
}

/// Whether the node of a pod that is being deleted does not answer: the pod should be gone for a while, and no kubelet
/// reported the end of its container.
fn is_lost(pod: &Pod, now: OffsetDateTime) -> bool {
    let runs = pod.container_status(TARGET_CONTAINER).is_some_and(|status| status.state.running.is_some());
    let gone_at = pod.metadata.deletion_timestamp.as_deref();
    let gone_at = gone_at.and_then(|time| OffsetDateTime::parse(time, &Rfc3339).ok());
    runs && gone_at.is_some_and(|gone_at| now - gone_at >= FALL_BACK_AFTER)
}

/// The step that creates a pod, unless an earlier pod of its name has to be removed first, or too many were created.
fn make(role: Role, step: Step, name: &str, seen: &Observed) -> Step {
    if seen.orphans.iter().any(|pod| pod.metadata.name == name) {
        return Step::PodLeaving(role);
    }
    if seen.makes_pause { Step::Pause(role) } else { step }
}

/// Whether the pod was created for an earlier source claim of the same name. The certificates of its peer carry the
/// claim's UID.
fn is_of_another_source(pod: &Pod, seen: &Observed) -> bool {
    seen.source
        .as_ref()
        .is_some_and(|source| pod.metadata.annotation(SOURCE_CLAIM_UID) != Some(source.metadata.uid.as_str()))
}

/// Whether the container ends repeatedly because it cannot use its keys: a Secret that it needs was created by another
/// user, or one pod does not trust the other.
fn lacks_keys(pod: &Pod, container: &str) -> bool {
    pod.container_status(container).is_some_and(|status| {
        let ended = termination::last_end(status);
        status.state.running.is_none()
            && status.restart_count >= UNUSABLE_KEYS
            && ended.is_some_and(|ended| ended.exit_code == i64::from(Exit::Identity.code()))
    })
}

/// Whether the source's container runs.
fn runs(source: &Pod) -> bool {
    source.container_status(SOURCE_CONTAINER).is_some_and(|status| status.state.running.is_some())
}

/// Whether the target listens: its probe succeeded, and it has an address for the source.
fn is_ready(pod: &Pod) -> bool {
    pod.container_status(TARGET_CONTAINER).is_some_and(|status| status.ready) && !pod.status.pod_ip.is_empty()
}

/// The step that replaces a failed pod, each time after a longer pause.
fn replace(role: Role, pod: &Pod, claim: &Claim, now: OffsetDateTime) -> Step {
    if pod.metadata.is_deleting() {
        return Step::PodLeaving(role);
    }
    // A pod that a kubelet rejected has no container that ended.
    match termination::ended_at(pod).or_else(|| made_at(pod)) {
        // A clock that was set back must not stretch the pause.
        Some(ended) if now >= ended && now - ended < pause(claim) => Step::Pause(role),
        _ => Step::Replace(role, ReplaceReason::Failed),
    }
}

/// The step that replaces a useless pod, but only once the pod is older than the pause. So a permanent cause of useless
/// pods does not make the controller replace them continuously.
fn replace_in_time(role: Role, why: ReplaceReason, pod: &Pod, claim: &Claim, now: OffsetDateTime) -> Step {
    match made_at(pod) {
        Some(made) if now >= made && now - made < pause(claim) => Step::Pause(role),
        _ => Step::Replace(role, why),
    }
}

fn made_at(pod: &Pod) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(&pod.metadata.creation_timestamp, &Rfc3339).ok()
}

/// How long to wait before the next pod is replaced. The pause grows each time.
fn pause(claim: &Claim) -> Duration {
    let replaced = claim.metadata.annotation(REPLACED_PODS).and_then(|n| n.parse::<u32>().ok()).unwrap_or(0);
    Duration::from_secs(if replaced == 0 {
        0
    } else {
        PAUSE_MAX_SECS.min(1u64.checked_shl(replaced).unwrap_or(PAUSE_MAX_SECS))
    })
}

/// The step after the target succeeded. The source gets some time to read the response (docs/migrate-from-cdi.md row
/// 57).
fn after_target(seen: &Observed, now: OffsetDateTime, policy: &Policy) -> Step {
    let Some(source) = &seen.source_pod else { return Step::MarkDone };
    if source.is_over(SOURCE_CONTAINER) || source.metadata.is_deleting() {
        return Step::MarkDone;
    }
    let ended =
        seen.target_pod.as_deref().and_then(|pod| termination::container_ended_at(pod, TARGET_CONTAINER));
    match ended {
        Some(ended) if now >= ended && now - ended < policy.intervals.source_grace => Step::WaitForSource,
        _ => Step::MarkDone,
    }
}
