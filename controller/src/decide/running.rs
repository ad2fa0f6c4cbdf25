//! From a claim of ours to the end of its clone (contract 4.6, rows 1 to 14).

use std::time::Duration;

use time::OffsetDateTime;

use super::before::permission;
use super::step::{Role, Step, Why};
use crate::annotations::{
    AUTHORITY, BIND_IMMEDIATE, CLONE_SOURCE_FINALIZER, POD_PHASE, REPLACED_PODS, RETAIN_PODS,
    SOURCE_CONTAINER, SOURCE_POD_NAME, TARGET_CONTAINER, TARGET_POD_UID, UPLOAD_POD_NAME,
};
use crate::fit;
use crate::observed::{Observed, Origin, Turn};
use crate::policy::Policy;
use crate::resource::{Claim, Pod};
use crate::termination::{self, TargetWord};

/// Longest pause before a failed pod is replaced.
const PAUSE_MAX_SECS: u64 = 60;

/// The claim asks for a clone that is not done.
pub(super) fn step(seen: &Observed, now: OffsetDateTime, policy: &Policy) -> Step {
    let Some(claim) = &seen.target else { return Step::Nothing };
    if claim.metadata.annotation(POD_PHASE) == Some("Succeeded") {
        return after_target(seen, now, policy);
    }
    if let Some(pod) = &seen.target_pod
        && let Some(step) = ended_target(pod, claim, now)
    {
        return step;
    }
    if let Some(step) = obstacle(seen, claim, policy) {
        return step;
    }
    if !is_named(claim) {
        return Step::NamePods;
    }
    pods(seen, claim, now)
}

/// The claim is marked as done.
pub(super) fn finished(seen: &Observed) -> Step {
    let Some(claim) = &seen.target else { return Step::Nothing };
    if retains(seen) {
        return Step::Done;
    }
    let left = seen.source_pod.is_some() || seen.target_pod.is_some() || is_held(claim);
    if left { Step::TidyUp } else { Step::Done }
}

/// Whether the finalizer that protects source pods is there.
pub(super) fn is_held(claim: &Claim) -> bool {
    claim.metadata.finalizers.iter().any(|name| name == CLONE_SOURCE_FINALIZER)
}

fn is_named(claim: &Claim) -> bool {
    let has = |name| claim.metadata.annotation(name).is_some_and(|value| !value.is_empty());
    has(UPLOAD_POD_NAME) && has(SOURCE_POD_NAME) && is_held(claim)
}

fn retains(seen: &Observed) -> bool {
    seen.data_volume.as_ref().is_some_and(|dv| dv.metadata.is_annotated_true(RETAIN_PODS))
        || seen.target.as_ref().is_some_and(|claim| claim.metadata.is_annotated_true(RETAIN_PODS))
}

/// A target pod that succeeded is final, whatever else is wrong; one that failed is replaced.
fn ended_target(pod: &Pod, claim: &Claim, now: OffsetDateTime) -> Option<Step> {
    match pod.status.phase.as_str() {
        "Succeeded" => Some(match termination::target_word(pod) {
            TargetWord::DeadlinePassed => Step::Replace(Role::Target, Why::Deadline),
            TargetWord::Done { .. } => Step::TargetDone,
        }),
        "Failed" => Some(replace(Role::Target, pod, claim, now)),
        _ => None,
    }
}

/// What keeps a claim without pods from getting them. Claims whose pods run are past this.
fn obstacle(seen: &Observed, claim: &Claim, policy: &Policy) -> Option<Step> {
    if seen.target_pod.is_some() && seen.source_pod.is_some() {
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
    let Some(source) = &seen.source else { return seen.source_key().cloned().map(Step::NoSource) };
    if let Err(why) = fit::claims(source, claim, policy) {
        return Some(Step::Incompatible(why));
    }
    if seen.source_is_filling {
        return Some(Step::SourceFilling);
    }
    if seen.source_pod.is_none() && !seen.source_writers.is_empty() {
        return Some(Step::SourceInUse(seen.source_writers.clone()));
    }
    if seen.target_pod.is_none() && !seen.target_users.is_empty() {
        return Some(Step::TargetInUse(seen.target_users.clone()));
    }
    (seen.target_pod.is_none() && seen.source_pod.is_none() && seen.turn != Turn::Now).then_some(Step::Queued)
}

/// A claim that waits for its first consumer is left to it, unless the user wants it at once (contract 4.9).
pub(crate) fn waits_for_consumer(seen: &Observed, claim: &Claim, policy: &Policy) -> bool {
    let waits = seen.class.as_ref().is_some_and(|class| class.waits_for_consumer());
    let at_once = claim.metadata.annotation(BIND_IMMEDIATE).is_some()
        || seen.data_volume.as_ref().is_some_and(|dv| dv.metadata.annotation(BIND_IMMEDIATE).is_some());
    !claim.is_bound() && waits && policy.honor_wait_for_first_consumer && !at_once
}

/// Target first, then the source that sends to it.
fn pods(seen: &Observed, claim: &Claim, now: OffsetDateTime) -> Step {
    let Some(target) = &seen.target_pod else { return Step::MakeTargetPod };
    if target.metadata.is_deleting() {
        return Step::PodLeaving(Role::Target);
    }
    if seen.gives_way {
        return Step::GiveWay;
    }
    let Some(source) = &seen.source_pod else {
        return if claim.is_bound() && is_ready(target) { Step::MakeSourcePod } else { Step::WaitForTarget };
    };
    if source.metadata.is_deleting() {
        return Step::PodLeaving(Role::Source);
    }
    if source.status.phase == "Failed" {
        return replace(Role::Source, source, claim, now);
    }
    if source.metadata.annotation(TARGET_POD_UID) != Some(target.metadata.uid.as_str()) {
        return Step::Replace(Role::Source, Why::OtherTarget);
    }
    let authority = |pod: &Pod| pod.metadata.annotation(AUTHORITY).map(str::to_owned);
    let runs = source.container_status(SOURCE_CONTAINER).is_some_and(|status| status.state.running.is_some());
    if authority(source) != authority(target) && !runs {
        return Step::Replace(Role::Source, Why::OtherAuthority);
    }
    Step::Copying
}

/// Whether the target listens: its probe said so, and it has an address for the source.
fn is_ready(pod: &Pod) -> bool {
    pod.container_status(TARGET_CONTAINER).is_some_and(|status| status.ready) && !pod.status.pod_ip.is_empty()
}

/// A failed pod is replaced, each time after a longer pause.
fn replace(role: Role, pod: &Pod, claim: &Claim, now: OffsetDateTime) -> Step {
    if pod.metadata.is_deleting() {
        return Step::PodLeaving(role);
    }
    let replaced = claim.metadata.annotation(REPLACED_PODS).and_then(|n| n.parse::<u32>().ok()).unwrap_or(0);
    let pause = Duration::from_secs(if replaced == 0 {
        0
    } else {
        PAUSE_MAX_SECS.min(1u64.checked_shl(replaced).unwrap_or(PAUSE_MAX_SECS))
    });
    match termination::ended_at(pod) {
        // A clock that was set back must not stretch the pause.
        Some(ended) if now >= ended && now - ended < pause => Step::Pause(role),
        _ => Step::Replace(role, Why::Failed),
    }
}

/// The target is done; the source gets a moment to read its answer (contract 8, #57).
fn after_target(seen: &Observed, now: OffsetDateTime, policy: &Policy) -> Step {
    let Some(source) = &seen.source_pod else { return Step::MarkDone };
    if source.has_ended() || source.metadata.is_deleting() {
        return Step::MarkDone;
    }
    let ended = seen.target_pod.as_deref().and_then(termination::ended_at);
    match ended {
        Some(ended) if now >= ended && now - ended < policy.intervals.source_grace => Step::WaitForSource,
        _ => Step::MarkDone,
    }
}
