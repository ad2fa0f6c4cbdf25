//! The table of `docs/states.md`: what is seen, and the step that follows.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;

use decant_controller::cluster::ApiError;
use decant_controller::decide::{Action, Decision, Role, Step, Why, decide};
use decant_controller::observed::{Doing, Observed, Origin, Trouble, Turn};
use decant_controller::permission::Permission;
use decant_controller::policy::Policy;
use decant_controller::resource::{Claim, DataVolume, Key, Pod, StorageClass};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

const NOW: &str = "2026-01-01T12:00:00Z";

fn now() -> OffsetDateTime {
    OffsetDateTime::parse(NOW, &Rfc3339).unwrap()
}

fn size() -> Value {
    json!({ "accessModes": ["ReadWriteOnce"], "volumeMode": "Block", "storageClassName": "c",
            "resources": { "requests": { "storage": "1Gi" } } })
}

fn read<T: serde::de::DeserializeOwned>(object: Value) -> Arc<T> {
    Arc::new(serde_json::from_value(object).unwrap())
}

#[allow(clippy::needless_pass_by_value)] // Called with json!.
fn claim(name: &str, annotations: Value) -> Arc<Claim> {
    read(json!({
        "metadata": {
            "namespace": "n", "name": name, "uid": format!("{name}-uid"), "annotations": annotations,
            "finalizers": ["cdi.kubevirt.io/cloneSource"],
            "ownerReferences": [{ "kind": "DataVolume", "name": name, "uid": "dv-uid", "controller": true }],
        },
        "spec": size(),
        "status": { "phase": "Bound" },
    }))
}

fn named() -> Value {
    json!({
        "k8s.io/CloneRequest": "n/golden",
        "cdi.kubevirt.io/storage.uploadPodName": "cdi-upload-copy",
        "cdi.kubevirt.io/storage.sourceClonePodName": "copy-uid-source-pod",
    })
}

fn with(mut annotations: Value, name: &str, value: &str) -> Value {
    annotations[name] = value.into();
    annotations
}

fn target_pod(phase: &str, ready: bool, message: &str) -> Arc<Pod> {
    let ended = json!({ "exitCode": 0, "message": message, "finishedAt": "2026-01-01T11:59:50Z" });
    let state = match phase {
        "Running" => json!({ "running": {} }),
        "Pending" => json!({ "waiting": { "reason": "ContainerCreating" } }),
        _ => json!({ "terminated": ended }),
    };
    read(json!({
        "metadata": { "namespace": "n", "name": "cdi-upload-copy", "uid": "target-uid",
                      "annotations": { "decant.dev/authority": "1" } },
        "status": { "phase": phase, "podIP": "10.0.0.1", "containerStatuses": [
            { "name": "cdi-upload-server", "ready": ready, "state": state } ] },
    }))
}

fn source_pod(phase: &str, target_uid: &str, authority: &str) -> Arc<Pod> {
    let state =
        if phase == "Running" { json!({ "running": {} }) } else { json!({ "waiting": { "reason": "x" } }) };
    read(json!({
        "metadata": { "namespace": "n", "name": "copy-uid-source-pod", "uid": "source-uid", "annotations": {
            "decant.dev/target-pod-uid": target_uid, "decant.dev/authority": authority } },
        "status": { "phase": phase, "containerStatuses": [{ "name": "cdi-clone-source", "state": state }] },
    }))
}

/// A DataVolume whose source is there and may be cloned.
fn start() -> Observed {
    let dv: Arc<DataVolume> = read(json!({
        "metadata": { "namespace": "n", "name": "copy", "uid": "dv-uid" },
        "spec": { "source": { "pvc": { "namespace": "n", "name": "golden" } }, "pvc": size() },
    }));
    Observed {
        data_volume: Some(dv),
        origin: Origin::Claim(Key::new("n", "golden")),
        source: Some(claim("golden", json!({}))),
        permission: Some(Permission::SameNamespace),
        ..Observed::default()
    }
}

/// The same with its claim, and the pods' names on it.
fn claimed() -> Observed {
    Observed { target: Some(claim("copy", named())), ..start() }
}

/// The same with both pods running.
fn copying() -> Observed {
    Observed {
        target_pod: Some(target_pod("Running", true, "")),
        source_pod: Some(source_pod("Running", "target-uid", "1")),
        ..claimed()
    }
}

fn decided(seen: &Observed) -> Decision {
    decide(seen, now(), &Policy::default())
}

fn step(seen: &Observed) -> Step {
    decided(seen).step
}

#[test]
fn before_there_is_a_claim() {
    assert_eq!(step(&start()), Step::MakeClaim);
    assert_eq!(step(&Observed { source: None, ..start() }), Step::NoSource(Key::new("n", "golden")));
    let denied = Observed { permission: Some(Permission::Denied("no".to_owned())), ..start() };
    assert_eq!(step(&denied), Step::Denied("no".to_owned()));
    assert!(decided(&denied).actions.is_empty());
    let http = Observed { origin: Origin::NotOurs("http".to_owned()), source: None, ..start() };
    assert_eq!(step(&http), Step::NotOurs("http".to_owned()));
    assert_eq!(step(&Observed::default()), Step::Nothing);
}

#[test]
fn one_row_after_the_other_up_to_the_copy() {
    let bare = claim("copy", json!({ "k8s.io/CloneRequest": "n/golden" }));
    assert_eq!(step(&Observed { target: Some(bare), ..start() }), Step::NamePods);
    assert_eq!(step(&claimed()), Step::MakeTargetPod);
    let waiting = Observed { target_pod: Some(target_pod("Running", false, "")), ..claimed() };
    assert_eq!(step(&waiting), Step::WaitForTarget);
    let ready = Observed { target_pod: Some(target_pod("Running", true, "")), ..claimed() };
    assert_eq!(step(&ready), Step::MakeSourcePod);
    assert_eq!(step(&copying()), Step::Copying);
}

#[test]
fn what_holds_a_clone_up_is_found_before_pods_are_made() {
    let writer = vec![Key::new("n", "vm")];
    assert_eq!(
        step(&Observed { source_writers: writer.clone(), ..claimed() }),
        Step::SourceInUse(writer.clone())
    );
    assert_eq!(step(&Observed { target_users: writer.clone(), ..claimed() }), Step::TargetInUse(writer));
    assert_eq!(step(&Observed { source_is_filling: true, ..claimed() }), Step::SourceFilling);
    let turn = Turn::Wait { place: 2, of: 3, limit: "full".to_owned() };
    let queued = decided(&Observed { turn, ..claimed() });
    assert_eq!(queued.step, Step::Queued);
    assert_eq!(
        queued.status.unwrap().condition("Running").unwrap().message,
        "place 2 of 3 in the queue: full"
    );
}

#[test]
fn a_claim_that_waits_for_its_consumer_is_left_alone_unless_told_otherwise() {
    let class: Arc<StorageClass> = read(json!({ "volumeBindingMode": "WaitForFirstConsumer" }));
    let pending = |annotations| {
        let mut claim = (*claim("copy", annotations)).clone();
        claim.status.phase = "Pending".to_owned();
        Observed { target: Some(Arc::new(claim)), class: Some(Arc::clone(&class)), ..start() }
    };
    let waits = decided(&pending(named()));
    assert_eq!(
        (waits.step, waits.status.unwrap().phase.as_str()),
        (Step::WaitForConsumer, "WaitForFirstConsumer")
    );
    let at_once = with(named(), "cdi.kubevirt.io/storage.bind.immediate.requested", "");
    assert_eq!(step(&pending(at_once)), Step::MakeTargetPod);
}

#[test]
fn a_target_that_succeeded_is_final() {
    let done = Observed { target_pod: Some(target_pod("Succeeded", false, "{}")), ..copying() };
    let decision = decided(&done);
    assert_eq!(decision.step, Step::TargetDone);
    let status = decision.status.unwrap();
    assert_eq!((status.phase.as_str(), status.progress.as_str()), ("Succeeded", "100.0%"));

    let marked = Some(claim("copy", with(named(), "cdi.kubevirt.io/storage.pod.phase", "Succeeded")));
    let done = Observed { target: marked, ..done };
    assert_eq!(step(&done), Step::WaitForSource, "the source gets a moment");
    assert_eq!(
        step(&Observed { source: None, ..done.clone() }),
        Step::WaitForSource,
        "whatever became of the source"
    );
    let late = decide(&done, now() + time::Duration::minutes(5), &Policy::default());
    assert_eq!(late.step, Step::MarkDone, "a source that never ends does not hold it up");
    assert_eq!(step(&Observed { source_pod: None, ..done }), Step::MarkDone);
}

#[test]
fn a_passed_deadline_is_no_success() {
    let passed = target_pod("Succeeded", false, r#"{"deadlinePassed":true}"#);
    let decision = decided(&Observed { target_pod: Some(passed), ..claimed() });
    assert_eq!(decision.step, Step::Replace(Role::Target, Why::Deadline));
    assert_ne!(decision.status.unwrap().phase, "Succeeded");
}

#[test]
fn pods_that_are_of_no_use_are_replaced() {
    let failed = Observed { target_pod: Some(target_pod("Failed", false, "")), ..copying() };
    assert_eq!(step(&failed), Step::Replace(Role::Target, Why::Failed));
    let again = claim("copy", with(named(), "decant.dev/replaced-pods", "5"));
    assert_eq!(step(&Observed { target: Some(again), ..failed }), Step::Pause(Role::Target));
    let other = Observed { source_pod: Some(source_pod("Running", "old-uid", "1")), ..copying() };
    assert_eq!(step(&other), Step::Replace(Role::Source, Why::OtherTarget));
    let stranger = Observed { source_pod: Some(source_pod("Pending", "target-uid", "2")), ..copying() };
    assert_eq!(step(&stranger), Step::Replace(Role::Source, Why::OtherAuthority));
    let evicted = Observed { source_pod: Some(source_pod("Failed", "target-uid", "1")), ..copying() };
    assert_eq!(step(&evicted), Step::Replace(Role::Source, Why::Failed));
}

#[test]
fn a_clone_that_gives_way_loses_both_pods_and_stays_scheduled() {
    let decision = decided(&Observed { gives_way: true, ..copying() });
    assert_eq!(decision.step, Step::GiveWay);
    let deleted: Vec<&Action> =
        decision.actions.iter().filter(|action| matches!(action, Action::DeletePod(_))).collect();
    assert_eq!(deleted, [&Action::DeletePod(Role::Source), &Action::DeletePod(Role::Target)]);
}

#[test]
fn what_keeps_a_clone_waiting_is_told_about_the_claim_once() {
    let writer = vec![Key::new("n", "writer")];
    let waits = Observed { source_writers: writer.clone(), ..claimed() };
    let decision = decided(&waits);
    assert_eq!(decision.claim_events.len(), 1);
    let event = &decision.claim_events[0];
    assert_eq!((event.kind, event.reason.as_str()), ("Warning", "CloneSourceInUse"));
    assert_eq!(event.message, "pod n/writer using PersistentVolumeClaim golden");
    let said = with(named(), "cdi.kubevirt.io/storage.condition.running.message", &event.message);
    let again = Observed { target: Some(claim("copy", said)), ..waits };
    assert_eq!(decided(&again).claim_events, []);
}

#[test]
fn a_claim_that_asks_by_itself_is_cloned_and_told_when_it_is_done() {
    let bare = Observed { data_volume: None, ..copying() };
    assert_eq!(step(&bare), Step::Copying);
    assert_eq!(decided(&bare).status, None);
    assert_eq!(bare.owner_uid().unwrap().as_str(), "copy-uid", "the claim's own, where nothing else is said");
    let done = with(named(), "cdi.kubevirt.io/storage.pod.phase", "Succeeded");
    let done = Observed { target: Some(claim("copy", done)), source_pod: None, ..bare };
    let decision = decided(&done);
    assert_eq!(decision.step, Step::MarkDone);
    assert_eq!(decision.claim_events[0].message, "Clone Complete");
}

#[test]
fn labels_about_sizes_of_machines_come_with_the_source_unless_there_are_some() {
    const LABEL: &str = "instancetype.kubevirt.io/default-preference";
    let labelled = |mut claim: Claim| {
        claim.metadata.labels.insert(LABEL.to_owned(), "fedora".to_owned());
        Some(Arc::new(claim))
    };
    let source = labelled((**start().source.as_ref().unwrap()).clone());
    let seen = Observed { source, ..start() };
    let label = |seen: &Observed| {
        decided(seen).actions.into_iter().find_map(|action| match action {
            Action::Label(labels) => labels.get(LABEL).cloned(),
            _ => None,
        })
    };
    assert_eq!(label(&seen).as_deref(), Some("fedora"));
    let mut dv = (**seen.data_volume.as_ref().unwrap()).clone();
    dv.metadata.labels.insert("instancetype.kubevirt.io/default-instancetype".to_owned(), "u1".to_owned());
    assert_eq!(label(&Observed { data_volume: Some(Arc::new(dv)), ..seen }), None);
}

#[test]
fn a_claim_that_was_filled_for_the_data_volume_is_taken_and_said_to_be_so() {
    let mut filled = (*claim("copy", json!({ "cdi.kubevirt.io/storage.populatedFor": "copy" }))).clone();
    filled.metadata.owner_references.clear();
    let decision = decided(&Observed { target: Some(Arc::new(filled)), ..start() });
    assert_eq!(decision.step, Step::Adopted);
    assert_eq!(decision.actions, [Action::SayPrePopulated]);
    let status = decision.status.unwrap();
    assert_eq!((status.phase.as_str(), status.progress.as_str()), ("Succeeded", "N/A"));
}

#[test]
fn a_token_is_extended_before_anything_else() {
    let token = Some(Permission::ExtendToken("long".to_owned()));
    for source in [None, start().source] {
        let decision = decided(&Observed { permission: token.clone(), source, ..start() });
        assert_eq!((decision.step, decision.actions), (Step::ExtendToken, vec![Action::KeepToken]));
    }
    let given = Observed { permission: Some(Permission::Token), ..start() };
    assert_eq!(step(&given), Step::MakeClaim);
    let denied = Observed { permission: Some(Permission::Denied("no".to_owned())), ..start() };
    assert_eq!(step(&denied), Step::Denied("no".to_owned()));
    assert_eq!(step(&Observed { source: None, ..denied }), Step::NoSource(Key::new("n", "golden")));
}

#[test]
fn a_clone_without_news_of_progress_is_in_progress() {
    let status = decided(&copying()).status.unwrap();
    assert_eq!((status.phase.as_str(), status.progress.as_str()), ("CloneInProgress", "N/A"));
    assert_eq!(status.condition("Running").unwrap().status, "True");
}

#[test]
fn each_pod_has_annotations_of_its_own() {
    let crashed = Observed { source_pod: Some(source_pod("Pending", "target-uid", "1")), ..copying() };
    let Some(Action::Annotate(told)) = decided(&crashed).actions.into_iter().next() else { panic!() };
    assert_eq!(told["cdi.kubevirt.io/storage.condition.running"], "true");
    assert_eq!(told["cdi.kubevirt.io/storage.condition.source.running"], "false");
}

#[test]
fn a_size_that_does_not_fit_is_looked_at_again() {
    let mut larger = (*claim("golden", json!({}))).clone();
    larger.spec.resources.requests.insert("storage".to_owned(), json!("2Gi"));
    let before = Observed { source: Some(Arc::new(larger.clone())), ..start() };
    assert!(matches!(step(&before), Step::Unfit(_)));
    let after = Observed { source: Some(Arc::new(larger)), ..claimed() };
    assert!(matches!(step(&after), Step::Incompatible(_)));
    for seen in [before, after] {
        assert_eq!(decided(&seen).again, Some(std::time::Duration::from_secs(10)));
    }
}

#[test]
fn pods_that_the_user_wants_to_keep_are_kept_after_the_end() {
    const RETAIN: &str = "cdi.kubevirt.io/storage.pod.retainAfterCompletion";
    let over = with(with(named(), "k8s.io/CloneOf", "true"), RETAIN, "true");
    let kept = decided(&Observed { target: Some(claim("copy", over.clone())), ..copying() });
    assert_eq!(kept.step, Step::Done);
    assert!(!kept.actions.iter().any(|action| matches!(action, Action::DeletePod(_))), "{:?}", kept.actions);
    let mut leaving = (*claim("copy", over)).clone();
    leaving.metadata.deletion_timestamp = Some(NOW.to_owned());
    let leaving = Observed { target: Some(Arc::new(leaving)), ..copying() };
    assert_eq!(step(&leaving), Step::CleanUp, "but not longer than the claim");
}

#[test]
fn a_clock_that_was_moved_neither_stretches_a_pause_nor_forgets_it() {
    let again = claim("copy", with(named(), "decant.dev/replaced-pods", "9"));
    let failed =
        Observed { target: Some(again), target_pod: Some(target_pod("Failed", false, "")), ..copying() };
    let at =
        |seconds: i64| decide(&failed, now() + time::Duration::seconds(seconds), &Policy::default()).step;
    // It ended ten seconds ago, and the pause is a minute.
    assert_eq!(at(0), Step::Pause(Role::Target));
    assert_eq!(at(60), Step::Replace(Role::Target, Why::Failed));
    assert_eq!(at(-3600), Step::Replace(Role::Target, Why::Failed), "an hour back");
    assert_eq!(at(86_400 * 365), Step::Replace(Role::Target, Why::Failed), "a year ahead");
}

#[test]
fn a_storage_class_that_does_not_exist_is_named() {
    let mut pending = (*claim("copy", named())).clone();
    pending.status.phase = "Pending".to_owned();
    let status = decided(&Observed { target: Some(Arc::new(pending)), ..start() }).status.unwrap();
    let bound = status.condition("Bound").unwrap();
    assert_eq!(
        (bound.reason.as_str(), bound.message.as_str()),
        ("Pending", "PVC copy Pending: there is no StorageClass \"c\"")
    );
}

#[test]
fn the_finalizer_goes_after_the_source_pod() {
    let over = Some(claim("copy", with(named(), "k8s.io/CloneOf", "true")));
    let both = decided(&Observed { target: over.clone(), ..copying() });
    assert_eq!(both.step, Step::TidyUp);
    assert!(both.actions.contains(&Action::DeletePod(Role::Source)));
    assert!(!both.actions.contains(&Action::Hold(false)));
    let alone = decided(&Observed { target: over, ..claimed() });
    assert!(alone.actions.contains(&Action::Hold(false)));
}

#[test]
fn a_claim_of_somebody_else_is_never_touched() {
    let mut foreign = (*claim("copy", json!({}))).clone();
    foreign.metadata.owner_references.clear();
    let taken = decided(&Observed { target: Some(Arc::new(foreign.clone())), ..start() });
    assert_eq!(taken.step, Step::Taken);
    assert!(taken.actions.is_empty());
    assert_eq!(taken.status.unwrap().claim_name, "");
    foreign.metadata.annotations.insert("cdi.kubevirt.io/allowClaimAdoption".to_owned(), "true".to_owned());
    assert_eq!(step(&Observed { target: Some(Arc::new(foreign)), ..start() }), Step::Adopt);
}

#[test]
fn a_quota_is_no_failure() {
    let error =
        ApiError { code: 403, reason: "Forbidden".to_owned(), message: "exceeded quota: q".to_owned() };
    let trouble = Trouble { doing: Doing::MakeClaim, error };
    let decision = decided(&Observed { trouble: Some(trouble), ..start() });
    let status = decision.status.unwrap();
    assert_eq!((decision.step, status.phase.as_str()), (Step::MakeClaim, "Pending"));
    assert_eq!(status.condition("Bound").unwrap().reason, "ErrExceededQuota");
}

#[test]
fn a_decision_on_an_unchanged_world_changes_nothing() {
    let mut seen = copying();
    let first = decided(&seen);
    let mut dv = (**seen.data_volume.as_ref().unwrap()).clone();
    dv.status = first.status.clone().unwrap();
    seen.data_volume = Some(Arc::new(dv));
    let later = decide(&seen, now() + time::Duration::minutes(1), &Policy::default());
    assert_eq!(later.status, first.status);
    assert!(later.events.is_empty());
}
