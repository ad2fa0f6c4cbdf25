//! Steps of a direct clone: one pod, which reads the source and writes the target.

use std::sync::Arc;

use decant_controller::objects::{Claim, Pod};
use decant_controller::pods::role::Role;
use decant_controller::policy::{Policy, Transfer};
use decant_controller::reconcile::actions::Action;
use decant_controller::reconcile::decide::{Decision, decide};
use decant_controller::reconcile::observed::{Observed, Prime};
use decant_controller::reconcile::scheduling::SlotRequest;
use decant_controller::reconcile::step::{ReplaceReason, Slot, SlotAction, Step};
use serde_json::{Value, json};

use crate::fixtures::*;

const SEEN_AT: &str = "2026-01-01T11:59:45Z";

/// The pod of a direct clone with this status.
#[allow(clippy::needless_pass_by_value)] // Called with json!.
fn pod(status: Value) -> Arc<Pod> {
    read(json!({
        "metadata": { "namespace": "n", "name": "cdi-upload-copy", "uid": "target-uid",
                      "creationTimestamp": "2026-01-01T11:59:00Z", "annotations": {
            "decant.dev/authority": "1", "decant.dev/source-claim-uid": "golden-uid", "decant.dev/keys": "" } },
        "status": status,
    }))
}

fn container(state: &Value) -> Value {
    json!([{ "name": "cdi-upload-server", "restartCount": 2, "state": state }])
}

fn running() -> Arc<Pod> {
    pod(json!({ "phase": "Running", "containerStatuses": container(&json!({ "running": {} })) }))
}

fn unscheduled(message: &str, since: &str) -> Arc<Pod> {
    pod(json!({ "phase": "Pending", "conditions": [{ "type": "PodScheduled", "status": "False",
        "reason": "Unschedulable", "message": message, "lastTransitionTime": since }] }))
}

fn ended(phase: &str, code: i64, message: &str) -> Arc<Pod> {
    let state = json!({ "terminated": { "exitCode": code, "message": message, "finishedAt": "2026-01-01T11:59:50Z" } });
    pod(json!({ "phase": phase, "containerStatuses": container(&state) }))
}

/// A clone with this pod and no other.
fn with(pod: Arc<Pod>) -> Observed {
    Observed { target_pod: Some(pod), ..claimed() }
}

fn annotated(name: &str, value: &str) -> Arc<Claim> {
    claim("copy", with_annotation(named(), name, value))
}

fn decided_with(seen: &Observed, transfer: Transfer) -> Decision {
    decide(seen, now(), &Policy { transfer, ..Policy::default() })
}

#[test]
fn a_running_pod_copies_without_a_source_pod() {
    let decision = decided(&with(running()));
    assert_eq!((&decision.step, decision.slot), (&Step::Copying, SlotAction::TakeSlot));
    let status = decision.status.unwrap();
    assert_eq!(status.phase, "CloneInProgress");
    assert_eq!(status.restart_count, 2);
    let condition = status.condition("Running").unwrap();
    assert_eq!((condition.status.as_str(), condition.message.as_str()), ("True", "in one pod"));
    let is_pod = |action: &&Action| matches!(action, Action::MakePod(_) | Action::DeletePod(_));
    assert!(!decision.actions.iter().any(|action| is_pod(&action)), "{:?}", decision.actions);
}

#[test]
fn the_annotation_and_the_event_say_the_mode() {
    for (seen, mode, text) in
        [(with(running()), "direct", "in one pod"), (copying(), "network", "over the network")]
    {
        let decision = decided(&seen);
        let told = decision.actions.iter().find_map(|action| match action {
            Action::Annotate(annotations) => annotations.get("decant.dev/transfer-mode").cloned(),
            _ => None,
        });
        assert_eq!(told.as_deref(), Some(mode));
        let event = decision.events.iter().find(|event| event.reason == "CloneInProgress").unwrap();
        assert_eq!(event.message, format!("Cloning from n/golden into n/copy in progress, {text}"));
    }
}

#[test]
fn a_clone_that_becomes_one_of_two_pods_says_so_once() {
    let mut seen = copying();
    seen.target = Some(annotated("decant.dev/transfer-mode", "direct"));
    let mut dv = (**seen.data_volume.as_ref().unwrap()).clone();
    dv.status = decided(&seen).status.unwrap();
    seen.data_volume = Some(Arc::new(dv));
    let events = decided(&seen).events;
    let texts: Vec<&str> = events.iter().map(|event| event.message.as_str()).collect();
    assert_eq!(texts, ["Cloning from n/golden into n/copy over the network"]);
    seen.target = Some(annotated("decant.dev/transfer-mode", "network"));
    assert!(decided(&seen).events.is_empty());
}

#[test]
fn a_failed_pod_is_replaced_and_one_that_succeeded_completes_the_clone() {
    let failed = with(ended("Failed", 4, "disk is on fire"));
    let later = now() + time::Duration::minutes(2);
    let decision = decide(&failed, later, &Policy::default());
    assert_eq!(decision.step, Step::Replace(Role::Target, ReplaceReason::Failed));
    assert_eq!(decision.status.unwrap().condition("Running").unwrap().message, "disk is on fire");
    let message = r#"{"message":"Clone Complete","digest":"decant1:7:ab","digestConfirmed":true}"#;
    let decision = decided(&with(ended("Succeeded", 0, message)));
    assert_eq!(decision.step, Step::TargetDone);
    let recorded = decision.actions.iter().any(|action| {
        matches!(action, Action::Record(outcome) if outcome.digest.as_deref() == Some("decant1:7:ab"))
    });
    assert!(recorded, "{:?}", decision.actions);
}

#[test]
fn a_container_that_fails_again_and_again_is_reported() {
    let state = json!({ "waiting": { "reason": "CrashLoopBackOff" } });
    let mut failing = (*running()).clone();
    failing.status.container_statuses = serde_json::from_value(json!([{
        "name": "cdi-upload-server", "restartCount": 3, "state": state,
        "lastState": { "terminated": { "exitCode": 3, "reason": "Error", "message": "cannot read the source" } },
    }]))
    .unwrap();
    let decision = decided(&with(Arc::new(failing)));
    assert_eq!(decision.step, Step::Copying);
    let status = decision.status.unwrap();
    let condition = status.condition("Running").unwrap();
    assert_eq!((condition.status.as_str(), condition.message.as_str()), ("False", "cannot read the source"));
}

#[test]
fn a_pod_without_a_node_is_replaced_by_two_after_fifteen_seconds() {
    const CONFLICT: &str = "0/2 nodes are available: 2 node(s) had volume node affinity conflict.";
    let young = "2026-01-01T11:59:46Z";
    for (pod, transfer, expected) in [
        (unscheduled(CONFLICT, SEEN_AT), Transfer::Auto, Step::FallBack),
        (unscheduled(CONFLICT, young), Transfer::Auto, Step::WaitForTarget),
        (unscheduled(CONFLICT, SEEN_AT), Transfer::Direct, Step::WaitForTarget),
        (
            unscheduled("0/1 nodes are available: 1 Insufficient memory.", SEEN_AT),
            Transfer::Auto,
            Step::WaitForTarget,
        ),
        (unscheduled(CONFLICT, "no time"), Transfer::Auto, Step::WaitForTarget),
        (
            pod(
                json!({ "phase": "Pending", "containerStatuses": container(&json!({ "waiting": { "reason": "ContainerCreating" } })) }),
            ),
            Transfer::Auto,
            Step::WaitForTarget,
        ),
    ] {
        assert_eq!(decided_with(&with(pod.clone()), transfer).step, expected, "{pod:?}");
    }
    let decision = decided(&with(unscheduled(CONFLICT, SEEN_AT)));
    let fallback = |action: &Action| matches!(action, Action::Annotate(told) if told.contains_key("decant.dev/transfer-fallback"));
    let recorded = decision.actions.iter().position(fallback).unwrap();
    let deleted =
        decision.actions.iter().position(|action| *action == Action::DeletePod(Role::Target)).unwrap();
    assert!(recorded < deleted, "{:?}", decision.actions);
    assert_eq!(decision.slot, SlotAction::TakeSlot, "the clone keeps its turn");
    assert_eq!(decision.status.unwrap().condition("Running").unwrap().message, CONFLICT);
    // The wish of the clone counts more than the flag.
    let direct = Observed {
        target: Some(annotated("decant.dev/transfer", "direct")),
        ..with(unscheduled(CONFLICT, SEEN_AT))
    };
    assert_eq!(step(&direct), Step::WaitForTarget);
    let auto = Observed {
        target: Some(annotated("decant.dev/transfer", "auto")),
        ..with(unscheduled(CONFLICT, SEEN_AT))
    };
    assert_eq!(decided_with(&auto, Transfer::Direct).step, Step::FallBack);
}

#[test]
fn a_pod_on_a_lost_node_is_left_to_its_node_and_two_pods_follow() {
    let leaving = |gone_at: &str, mut pod: Pod| {
        pod.metadata.deletion_timestamp = Some(gone_at.to_owned());
        with(Arc::new(pod))
    };
    let lost = leaving(SEEN_AT, (*running()).clone());
    let decision = decided(&lost);
    assert_eq!(decision.step, Step::FallBack);
    let is_deletion = |action: &Action| matches!(action, Action::DeletePod(_));
    assert!(!decision.actions.iter().any(is_deletion), "it may still write: {:?}", decision.actions);
    let recorded =
        Observed { target: Some(annotated("decant.dev/transfer-fallback", "true")), ..lost.clone() };
    assert_eq!(step(&recorded), Step::PodLeaving(Role::Target));
    for (seen, why) in [
        (leaving("2026-01-01T12:00:20Z", (*running()).clone()), "its time is not over"),
        (leaving("2026-01-01T11:59:50Z", (*running()).clone()), "the kubelet may be slow"),
        (leaving(SEEN_AT, (*ended("Running", 143, "")).clone()), "the kubelet reported its end"),
        (leaving("no time", (*running()).clone()), "no time"),
    ] {
        assert_eq!(step(&seen), Step::PodLeaving(Role::Target), "{why}");
    }
    assert_eq!(decided_with(&lost, Transfer::Direct).step, Step::PodLeaving(Role::Target));
    let of_two = leaving(SEEN_AT, (*target_pod("Running", true, "")).clone());
    assert_eq!(step(&of_two), Step::PodLeaving(Role::Target));
}

#[test]
fn a_pod_of_an_earlier_source_is_replaced() {
    let mut earlier = (*running()).clone();
    earlier.metadata.annotations.insert("decant.dev/source-claim-uid".to_owned(), "earlier-uid".to_owned());
    assert_eq!(step(&with(Arc::new(earlier))), Step::Replace(Role::Target, ReplaceReason::OtherSource));
}

#[test]
fn keys_and_authorities_do_not_matter() {
    let renewed = Observed { authority: "2".to_owned(), ..with(running()) };
    assert_eq!(step(&renewed), Step::Copying);
}

#[test]
fn source_and_target_in_use_are_waited_for_and_a_running_clone_is_not_disturbed() {
    let writer = vec![decant_controller::objects::Key::new("n", "writer")];
    let waiting = Observed { source_writers: writer.clone(), ..claimed() };
    assert_eq!(step(&waiting), Step::SourceInUse(writer.clone()));
    assert_eq!(step(&Observed { source_writers: writer.clone(), ..with(running()) }), Step::Copying);
    assert_eq!(step(&Observed { target_users: writer.clone(), ..claimed() }), Step::TargetInUse(writer));
}

#[test]
fn a_direct_clone_counts_as_one_and_gives_way_like_any_other() {
    let homeless = with(unscheduled("0/1 nodes are available: 1 Insufficient cpu.", SEEN_AT));
    let request = SlotRequest::of(&homeless).unwrap();
    assert!(request.has_pods && request.is_stuck);
    assert!(!SlotRequest::of(&with(running())).unwrap().is_stuck);
    let decision = decided(&Observed { slot: Slot::GiveWay, ..homeless });
    assert_eq!(decision.step, Step::GiveWay);
    let deleted: Vec<&Action> =
        decision.actions.iter().filter(|action| matches!(action, Action::DeletePod(_))).collect();
    assert_eq!(deleted, [&Action::DeletePod(Role::Target)]);
    let limit = "1 clones run (limit 1)".to_owned();
    let queued = Observed { slot: Slot::Queued { position: 1, of: 1, limit }, ..claimed() };
    assert_eq!(step(&queued), Step::Queued);
}

#[test]
fn a_clone_that_has_to_be_direct_needs_one_namespace() {
    let mut elsewhere = claimed();
    let mut golden = (*claim("golden", json!({}))).clone();
    golden.metadata.namespace = "images".to_owned();
    elsewhere.source = Some(Arc::new(golden));
    elsewhere.origin = decant_controller::reconcile::observed::Origin::Claim(
        decant_controller::objects::Key::new("images", "golden"),
    );
    let step_with = |transfer| decided_with(&elsewhere, transfer).step;
    assert!(matches!(step_with(Transfer::Direct), Step::Incompatible(why) if why.contains("one namespace")));
    for transfer in [Transfer::Auto, Transfer::Network] {
        assert_eq!(step_with(transfer), Step::MakeTargetPod);
    }
}

#[test]
fn the_claim_of_a_prime_reports_the_mode_of_its_clone() {
    let mut seen = filling("Bound", None);
    let population = seen.population.as_mut().unwrap();
    assert!(matches!(population.prime, Prime::Ours { .. }));
    population.clone.as_mut().unwrap().target_pod = Some(running());
    seen.data_volume = None;
    let decision = decided(&seen);
    assert_eq!(decision.step, Step::Populating);
    let told = decision.actions.iter().any(|action| {
        matches!(action, Action::Annotate(told) if told.get("decant.dev/transfer-mode").is_some_and(|mode| mode == "direct"))
    });
    assert!(told, "{:?}", decision.actions);
    let texts: Vec<&str> = decision.claim_events.iter().map(|event| event.message.as_str()).collect();
    assert_eq!(texts, ["Cloning from n/golden into n/copy in one pod"]);
}
