use proptest::prelude::*;
use serde_json::{Value, json};

use crate::objects::annotations::{
    CLONE_ERROR, CLONE_PHASE, LEFT_SECS, POPULATOR_PROGRESS, RATE_BYTES, RUNNING, RUNNING_MESSAGE,
    RUNNING_REASON, SELECTED_NODE, SENT_BYTES, SOURCE_RUNNING, TOTAL_BYTES, TRANSFER_MODE, TRANSFER_PHASE,
};
use crate::objects::data_volume::ReportedProgress;
use crate::objects::{Claim, DataVolume};
use crate::progress::clone_progress::Progress;
use crate::summary::advice::is_blocked;
use crate::summary::clone_summary::{CloneState, CloneSummary};
use crate::summary::pick::{Picked, pick, pick_with_claims};

fn data_volume(name: &str, status: &Value, annotations: &Value) -> DataVolume {
    serde_json::from_value(json!({
        "metadata": { "namespace": "n", "name": name, "annotations": annotations, "creationTimestamp": "2026-01-01T00:00:00Z" },
        "spec": { "source": { "pvc": { "namespace": "n", "name": "golden" } } },
        "status": status,
    }))
    .unwrap()
}

fn condition(kind: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({ "type": kind, "status": status, "reason": reason, "message": message,
            "lastTransitionTime": "2026-01-01T00:01:00Z" })
}

fn standing(status: &Value) -> CloneSummary {
    CloneSummary::of(&data_volume("copy", status, &json!({}))).unwrap()
}

#[test]
fn a_running_clone_has_its_numbers() {
    let status = json!({ "phase": "CloneInProgress", "progress": "52.10%",
                         "conditions": [condition("Running", "True", "Pod is running", "x")] });
    let numbers = json!({ SENT_BYTES: "1073741824", TOTAL_BYTES: "2147483648", RATE_BYTES: "1048576", LEFT_SECS: "1024" });
    let seen = CloneSummary::of(&data_volume("copy", &status, &numbers)).unwrap();
    assert_eq!(
        (seen.state, seen.percent, seen.source.as_str()),
        (CloneState::Running, Some(52.1), "n/golden")
    );
    assert_eq!(seen.amounts(), "1.00 GiB of 2.00 GiB, 1.0 MiB/s, 17m04s left");
    assert_eq!(seen.why(), "");
    let news = Progress { percent: 60.0, sent_bytes: Some(5), total_bytes: Some(10), ..Progress::default() };
    let fresh = seen.clone().with(Some(&news));
    assert_eq!((fresh.percent_text().as_str(), fresh.amounts().as_str()), ("60.00 %", "5 B of 10 B"));
    let late = Progress { percent: 10.0, ..Progress::default() };
    assert_eq!(seen.with(Some(&late)).percent, Some(52.1), "progress never falls");
}

#[test]
fn a_running_clone_says_what_its_target_does_at_the_end() {
    let words = "8.00 GiB of 8.00 GiB, the target is writing it to disk";
    let running = condition("Running", "True", "Pod is running", words);
    let status = json!({ "phase": "CloneInProgress", "conditions": [running] });
    let seen = CloneSummary::of(&data_volume("copy", &status, &json!({ TRANSFER_PHASE: "sync" }))).unwrap();
    assert_eq!(seen.why(), "the target is writing it to disk");
}

#[test]
fn a_clone_that_waits_says_what_for() {
    let queued = condition("Running", "False", "Queued", "place 1 of 2");
    let bound = condition("Bound", "True", "Bound", "PVC copy Bound");
    let seen =
        standing(&json!({ "phase": "CloneScheduled", "progress": "N/A", "conditions": [bound, queued] }));
    assert_eq!(
        (seen.state, seen.percent, seen.why().as_str()),
        (CloneState::Waiting, None, "Queued: place 1 of 2")
    );
    assert_eq!(seen.percent_text(), "-");

    let refused = condition("Bound", "False", "CloneNotAllowed", "no");
    let seen = standing(&json!({ "conditions": [refused, condition("Running", "False", "", "")] }));
    assert_eq!(seen.why(), "CloneNotAllowed: no");
    assert!(is_blocked(&seen.reason) && !is_blocked("Queued") && !is_blocked(""));

    let pending = condition("Bound", "False", "Pending", "PVC copy Pending");
    assert_eq!(
        standing(&json!({ "phase": "Pending", "conditions": [pending] })).why(),
        "Pending: PVC copy Pending"
    );
    let seen = standing(&json!({ "phase": "WaitForFirstConsumer", "claimName": "copy" }));
    assert_eq!(seen.why(), "WaitForFirstConsumer: no pod uses PVC copy yet");
}

#[test]
fn a_clone_that_succeeded_waits_for_nothing_and_tells_when() {
    let conditions = [
        condition("Bound", "True", "Bound", "PVC copy Bound"),
        condition("Ready", "True", "", ""),
        condition("Running", "False", "Completed", "Clone Complete"),
    ];
    let seen = standing(&json!({ "phase": "Succeeded", "progress": "100.0%", "conditions": conditions }));
    assert_eq!(
        (seen.state, seen.percent_text().as_str(), seen.why().as_str()),
        (CloneState::Succeeded, "100.00 %", "")
    );
    assert_eq!(seen.ended, "2026-01-01T00:01:00Z");
}

#[test]
fn what_is_no_clone_is_left_out() {
    let import: DataVolume =
        serde_json::from_value(json!({ "spec": { "source": { "http": { "url": "x" } } } })).unwrap();
    assert_eq!(CloneSummary::of(&import), None);
    let picked = pick(&[import], 10, 10);
    assert_eq!(picked, Picked::default());
}

/// A PVC that a CloneSource fills.
fn claim(name: &str, annotations: &Value, phase: &str) -> Claim {
    serde_json::from_value(json!({
        "metadata": { "namespace": "n", "name": name, "annotations": annotations, "creationTimestamp": "2026-01-01T00:00:00Z" },
        "spec": { "dataSourceRef": { "apiGroup": "decant.dev", "kind": "CloneSource", "name": "golden" } },
        "status": { "phase": phase },
    }))
    .unwrap()
}

#[test]
fn a_claim_without_a_data_volume_is_summarized_like_one() {
    let annotations = json!({
        CLONE_PHASE: "HostClone", RUNNING: "true", SOURCE_RUNNING: "true", POPULATOR_PROGRESS: "52.10%",
        SENT_BYTES: "1073741824", TOTAL_BYTES: "2147483648", RATE_BYTES: "1048576", LEFT_SECS: "1024",
        SELECTED_NODE: "node1",
    });
    let seen = CloneSummary::of_claim(&claim("copy", &annotations, "Pending")).unwrap();
    assert_eq!(
        (seen.state, seen.percent, seen.phase.as_str()),
        (CloneState::Running, Some(52.1), "HostClone")
    );
    assert_eq!((seen.kind, seen.source.as_str()), ("PersistentVolumeClaim", "CloneSource n/golden"));
    assert_eq!(seen.shown_name(), "pvc/copy");
    assert_eq!(seen.amounts(), "1.00 GiB of 2.00 GiB, 1.0 MiB/s, 17m04s left");
}

#[test]
fn a_clone_says_how_its_bytes_travel_and_one_pod_needs_no_source_pod() {
    let numbers = json!({ SENT_BYTES: "5", TOTAL_BYTES: "10", TRANSFER_MODE: "direct" });
    let status = json!({ "phase": "CloneInProgress", "conditions": [condition("Running", "True", "", "")] });
    let seen = CloneSummary::of(&data_volume("copy", &status, &numbers)).unwrap();
    assert_eq!((seen.transfer, seen.amounts().as_str()), (Some("direct"), "5 B of 10 B, in one pod"));
    for (mode, transfer, state) in [
        ("direct", Some("direct"), CloneState::Running),
        ("network", Some("network"), CloneState::Waiting),
        // Users can write the annotation.
        ("pigeon", None, CloneState::Waiting),
    ] {
        let annotations = json!({ CLONE_PHASE: "HostClone", RUNNING: "true", TRANSFER_MODE: mode });
        let seen = CloneSummary::of_claim(&claim("copy", &annotations, "Pending")).unwrap();
        assert_eq!((seen.transfer, seen.state), (transfer, state), "{mode}");
    }
}

#[test]
fn a_claim_tells_why_its_clone_waits_and_that_it_is_complete() {
    let why = |annotations: &Value, phase: &str| {
        let seen = CloneSummary::of_claim(&claim("copy", annotations, phase)).unwrap();
        (seen.state, seen.why())
    };
    let consumer = (CloneState::Waiting, "PendingPopulation: no pod uses PVC copy yet".to_owned());
    assert_eq!(why(&json!({ CLONE_PHASE: "Pending" }), "Pending"), consumer);
    // What it waited for earlier.
    let earlier = json!({ CLONE_PHASE: "Pending", CLONE_ERROR: "", RUNNING_REASON: "CloneWithoutSource" });
    assert_eq!(why(&earlier, "Pending"), consumer);
    let denied = json!({
        CLONE_PHASE: "Error", CLONE_ERROR: "no", RUNNING: "false", RUNNING_REASON: "CloneNotAllowed", RUNNING_MESSAGE: "no",
    });
    assert_eq!(why(&denied, "Pending"), (CloneState::Waiting, "CloneNotAllowed: no".to_owned()));
    assert!(is_blocked("CloneNotAllowed"));
    let done = json!({ CLONE_PHASE: "Succeeded", RUNNING: "false", RUNNING_REASON: "Completed" });
    assert_eq!(why(&done, "Bound"), (CloneState::Succeeded, String::new()));
    // Users can write annotations; only Kubernetes binds the PVC.
    assert_eq!(why(&done, "Pending").0, CloneState::Waiting);
    assert_eq!(why(&json!({}), "Lost").0, CloneState::Failed);
    assert_eq!(why(&json!({}), "Pending"), (CloneState::Waiting, String::new()));
}

#[test]
fn a_claim_of_a_data_volume_and_one_with_another_data_source_are_left_out() {
    let mut owned = claim("copy", &json!({}), "Pending");
    let source = owned.spec.data_source_ref.as_mut().unwrap();
    (source.api_group, source.kind) = (Some("cdi.kubevirt.io".to_owned()), "VolumeCloneSource".to_owned());
    owned.metadata.owner_references = serde_json::from_value(
        json!([{ "apiVersion": "cdi.kubevirt.io/v1beta1", "kind": "DataVolume", "name": "copy", "uid": "u", "controller": true }]),
    )
    .unwrap();
    let mut restored = claim("restored", &json!({}), "Pending");
    restored.spec.data_source_ref.as_mut().unwrap().kind = "VolumeSnapshot".to_owned();
    let claims = [owned, restored, Claim::default(), claim("ours", &json!({}), "Pending")];
    let picked = pick_with_claims::<DataVolume, Claim>(&[], &claims, 10, 10);
    let names: Vec<&str> = picked.open.iter().map(|seen| seen.name.as_str()).collect();
    assert_eq!(names, ["ours"]);
}

#[test]
fn those_that_run_come_first_and_only_so_many_are_shown() {
    let run = json!({ "phase": "CloneInProgress", "conditions": [condition("Running", "True", "", "")] });
    let wait = json!({ "phase": "CloneScheduled" });
    let done = |minute: u32| {
        let mut ready = condition("Ready", "True", "", "");
        ready["lastTransitionTime"] = format!("2026-01-01T00:{minute:02}:00Z").into();
        json!({ "phase": "Succeeded", "conditions": [ready] })
    };
    let mut all = vec![data_volume("a", &wait, &json!({})), data_volume("z", &run, &json!({}))];
    all.extend((0..30).map(|n| data_volume(&format!("w{n:02}"), &wait, &json!({}))));
    all.extend((0..20).map(|n| data_volume(&format!("d{n}"), &done(n), &json!({}))));
    let picked = pick(&all, 3, 2);
    let names = |list: &[CloneSummary]| list.iter().map(|one| one.name.clone()).collect::<Vec<_>>();
    assert_eq!(
        (names(&picked.open), names(&picked.recent)),
        (vec!["z".to_owned(), "a".to_owned(), "w00".to_owned()], vec!["d19".to_owned(), "d18".to_owned()],)
    );
    assert_eq!(picked.more_open, 29);
}

proptest! {
    #[test]
    fn any_progress_text_gives_a_percentage_or_none(text in ".{0,12}") {
        prop_assert!(ReportedProgress::from(&*text).percent().is_none_or(|percent| (0.0..=100.0).contains(&percent)));
    }

    #[test]
    fn what_the_controller_writes_is_read_back(hundredths in 0_u32..10_000) {
        let number = f64::from(hundredths) / 100.0;
        prop_assert_eq!(ReportedProgress::default().raised_to(Some(number)).percent(), Some(number));
    }
}
