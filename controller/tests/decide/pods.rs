//! Steps while the pods exist.

use decant_controller::pods::role::Role;
use decant_controller::policy::Policy;
use decant_controller::reconcile::actions::Action;
use decant_controller::reconcile::decide::decide;
use decant_controller::reconcile::observed::Observed;
use decant_controller::reconcile::step::Slot;
use decant_controller::reconcile::step::{ReplaceReason, Step};
use serde_json::json;
use std::sync::Arc;

use crate::fixtures::*;

#[test]
fn steps_follow_each_other_up_to_the_copy() {
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
fn useless_pods_are_replaced() {
    let failed = Observed { target_pod: Some(target_pod("Failed", false, "")), ..copying() };
    assert_eq!(step(&failed), Step::Replace(Role::Target, ReplaceReason::Failed));
    let again = claim("copy", with_annotation(named(), "decant.dev/replaced-pods", "5"));
    assert_eq!(step(&Observed { target: Some(again), ..failed }), Step::Pause(Role::Target));
    let other = Observed { source_pod: Some(source_pod("Running", "old-uid", "1")), ..copying() };
    assert_eq!(step(&other), Step::Replace(Role::Source, ReplaceReason::OtherTarget));
    let stranger = Observed { source_pod: Some(source_pod("Pending", "target-uid", "2")), ..copying() };
    assert_eq!(step(&stranger), Step::Replace(Role::Source, ReplaceReason::OtherAuthority));
    let renewed = Observed { authority: "2".to_owned(), source_pod: None, ..copying() };
    assert_eq!(
        step(&renewed),
        Step::Replace(Role::Target, ReplaceReason::OtherAuthority),
        "the older end goes first"
    );
    assert_eq!(
        step(&Observed { authority: "2".to_owned(), ..copying() }),
        Step::Copying,
        "a pair that is connected stays"
    );
    let evicted = Observed { source_pod: Some(source_pod("Failed", "target-uid", "1")), ..copying() };
    assert_eq!(step(&evicted), Step::Replace(Role::Source, ReplaceReason::Failed));
}

#[test]
fn repeatedly_useless_pods_are_replaced_with_growing_back_off() {
    let again = claim("copy", with_annotation(named(), "decant.dev/replaced-pods", "5"));
    let other = Observed {
        target: Some(again),
        source_pod: Some(source_pod("Running", "old-uid", "1")),
        ..copying()
    };
    // It was made ten seconds ago, and the pause is half a minute.
    assert_eq!(step(&other), Step::Pause(Role::Source));
    let later = decide(&other, now() + time::Duration::seconds(30), &Policy::default());
    assert_eq!(later.step, Step::Replace(Role::Source, ReplaceReason::OtherTarget));
}

#[test]
fn useless_pods_are_deleted_along_with_other_actions() {
    let orphan = source_pod("Running", "old-uid", "1");
    let decision = decided(&Observed { orphans: vec![orphan], ..claimed() });
    assert_eq!(decision.step, Step::MakeTargetPod);
    assert!(decision.actions.contains(&Action::DeleteOrphans));
    assert!(decision.actions.contains(&Action::MakePod(Role::Target)));
}

#[test]
fn a_copy_of_a_target_pod_is_deleted_and_its_status_ignored() {
    let copy = target_pod("Succeeded", false, r#"{"digest":"decant1:1:ee","digestConfirmed":true}"#);
    let decision = decided(&Observed { orphans: vec![copy], ..claimed() });
    assert_eq!(decision.step, Step::PodLeaving(Role::Target), "its name has to be free");
    assert!(decision.actions.contains(&Action::DeleteOrphans));
    assert_ne!(decision.status.unwrap().phase, "Succeeded");
}

#[test]
fn a_created_pod_is_first_recorded_on_the_claim() {
    let decision = decided(&Observed { unrecorded: vec![Role::Source], ..copying() });
    assert!(decision.actions.contains(&Action::RecordPod(Role::Source)), "{:?}", decision.actions);
}

#[test]
fn a_pod_rejected_by_the_kubelet_is_replaced_with_back_off() {
    let mut rejected = (*target_pod("Failed", false, "")).clone();
    rejected.status.container_statuses.clear();
    let again = claim("copy", with_annotation(named(), "decant.dev/replaced-pods", "5"));
    let seen = Observed { target: Some(again), target_pod: Some(Arc::new(rejected)), ..claimed() };
    assert_eq!(step(&seen), Step::Pause(Role::Target));
}

#[test]
fn a_pod_with_unusable_keys_is_replaced_by_one_with_new_keys() {
    let failing = |pod: Arc<decant_controller::objects::Pod>, restarts: i64, code: i64| {
        let mut pod = (*pod).clone();
        let status = &mut pod.status.container_statuses[0];
        status.state =
            serde_json::from_value(json!({ "waiting": { "reason": "CrashLoopBackOff" } })).unwrap();
        let message = "/etc/tls/tls.crt contains no PEM certificate";
        status.last_state =
            serde_json::from_value(json!({ "terminated": { "exitCode": code, "message": message } }))
                .unwrap();
        status.restart_count = restarts;
        Some(Arc::new(pod))
    };
    let target = |restarts, code| Observed {
        target_pod: failing(target_pod("Running", true, ""), restarts, code),
        source_pod: None,
        ..copying()
    };
    assert_eq!(step(&target(3, 7)), Step::Replace(Role::Target, ReplaceReason::UnusableKeys));
    assert_ne!(
        step(&target(2, 7)),
        Step::Replace(Role::Target, ReplaceReason::UnusableKeys),
        "the kubelet tries first"
    );
    assert_ne!(
        step(&target(9, 4)),
        Step::Replace(Role::Target, ReplaceReason::UnusableKeys),
        "another error"
    );
    let source =
        Observed { source_pod: failing(source_pod("Running", "target-uid", "1"), 3, 7), ..copying() };
    assert_eq!(step(&source), Step::Replace(Role::Source, ReplaceReason::UnusableKeys));
    let running = Observed { source_pod: Some(source_pod("Running", "target-uid", "1")), ..copying() };
    assert_eq!(step(&running), Step::Copying);
}

#[test]
fn after_too_many_pods_the_next_one_waits() {
    assert_eq!(step(&Observed { makes_pause: true, ..claimed() }), Step::Pause(Role::Target));
    let ready = Observed { target_pod: copying().target_pod, makes_pause: true, ..claimed() };
    assert_eq!(step(&ready), Step::Pause(Role::Source));
    assert_eq!(step(&Observed { makes_pause: true, ..copying() }), Step::Copying);
}

#[test]
fn a_target_pod_of_an_earlier_source_with_the_same_name_is_replaced() {
    let mut other = (*claim("golden", json!({}))).clone();
    other.metadata.uid = "another-uid".into();
    let seen = Observed { source: Some(Arc::new(other)), source_pod: None, ..copying() };
    assert_eq!(step(&seen), Step::NamePods, "the names on the claim come first");
    let renamed = with_annotation(named(), "cdi.kubevirt.io/uploadClientName", "decant:another-uid:copy-uid");
    let seen = Observed { target: Some(claim("copy", renamed)), ..seen };
    assert_eq!(step(&seen), Step::Replace(Role::Target, ReplaceReason::OtherSource));
}

#[test]
fn a_preempted_clone_loses_both_pods_and_stays_scheduled() {
    let decision = decided(&Observed { slot: Slot::GiveWay, ..copying() });
    assert_eq!(decision.step, Step::GiveWay);
    let deleted: Vec<&Action> =
        decision.actions.iter().filter(|action| matches!(action, Action::DeletePod(_))).collect();
    assert_eq!(deleted, [&Action::DeletePod(Role::Source), &Action::DeletePod(Role::Target)]);
}

#[test]
fn a_clock_change_neither_extends_nor_skips_the_back_off() {
    let again = claim("copy", with_annotation(named(), "decant.dev/replaced-pods", "9"));
    let failed =
        Observed { target: Some(again), target_pod: Some(target_pod("Failed", false, "")), ..copying() };
    let at =
        |seconds: i64| decide(&failed, now() + time::Duration::seconds(seconds), &Policy::default()).step;
    // It ended ten seconds ago, and the pause is a minute.
    assert_eq!(at(0), Step::Pause(Role::Target));
    assert_eq!(at(60), Step::Replace(Role::Target, ReplaceReason::Failed));
    assert_eq!(at(-3600), Step::Replace(Role::Target, ReplaceReason::Failed), "an hour back");
    assert_eq!(at(86_400 * 365), Step::Replace(Role::Target, ReplaceReason::Failed), "a year ahead");
}

#[test]
fn a_second_decision_on_the_same_state_changes_nothing() {
    let mut seen = copying();
    let first = decided(&seen);
    let mut dv = (**seen.data_volume.as_ref().unwrap()).clone();
    dv.status = first.status.clone().unwrap();
    seen.data_volume = Some(Arc::new(dv));
    let later = decide(&seen, now() + time::Duration::minutes(1), &Policy::default());
    assert_eq!(later.status, first.status);
    assert!(later.events.is_empty());
}
