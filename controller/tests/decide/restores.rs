//! Restored content is kept: reserved volumes, claims that another tool filled or will fill.

use std::collections::BTreeMap;
use std::sync::Arc;

use decant_controller::objects::{Claim, DataVolume, Key, Volume};
use decant_controller::reconcile::actions::Action;
use decant_controller::reconcile::decide::Decision;
use decant_controller::reconcile::observed::{Observed, Origin};
use decant_controller::reconcile::permission::check::Permission;
use decant_controller::reconcile::reserved_volumes::Volumes;
use decant_controller::reconcile::step::Step;
use serde_json::{Value, json};

use crate::fixtures::*;

const CHECK_STATIC: &str = "cdi.kubevirt.io/storage.checkStaticVolume";
const PRE_POPULATED: &str = "cdi.kubevirt.io/storage.prePopulated";
const POPULATED_FOR: &str = "cdi.kubevirt.io/storage.populatedFor";
const LIST: &str = "cdi.kubevirt.io/storage.persistentVolumeList";
const CLONE_TYPE: &str = "cdi.kubevirt.io/cloneType";

fn with_dv(seen: Observed, change: impl Fn(&mut DataVolume)) -> Observed {
    let mut dv: DataVolume = (**seen.data_volume.as_ref().unwrap()).clone();
    change(&mut dv);
    Observed { data_volume: Some(Arc::new(dv)), ..seen }
}

fn annotated(seen: Observed, name: &str, value: &str) -> Observed {
    with_dv(seen, |dv| drop(dv.metadata.annotations.insert(name.to_owned(), value.to_owned())))
}

fn with_claim(seen: Observed, change: impl Fn(&mut Claim)) -> Observed {
    let mut claim: Claim = (**seen.target.as_ref().unwrap()).clone();
    change(&mut claim);
    Observed { target: Some(Arc::new(claim)), ..seen }
}

fn pending(seen: Observed) -> Observed {
    with_claim(seen, |claim| claim.status.phase = "Pending".into())
}

fn volume(name: &str, size: &str) -> Arc<Volume> {
    read(json!({
        "metadata": { "name": name, "creationTimestamp": "2026-01-01T11:00:00Z" },
        "spec": { "capacity": { "storage": size }, "accessModes": ["ReadWriteOnce"], "volumeMode": "Block",
                  "storageClassName": "c", "claimRef": { "namespace": "n", "name": "copy" } },
    }))
}

fn reserved(seen: Observed, volumes: &[Arc<Volume>]) -> Observed {
    Observed { volumes: Volumes::Reserved(volumes.to_vec()), ..annotated(seen, CHECK_STATIC, "") }
}

/// The claim that was made for a reserved volume.
fn claim_for_reserved_volume(annotations: &[(&str, &str)]) -> Observed {
    let mut all = json!({ "cdi.kubevirt.io/createdForDataVolume": "dv-uid" });
    for (name, value) in annotations {
        all[name] = (*value).into();
    }
    let seen = Observed { target: Some(claim("copy", all)), ..annotated(start(), CHECK_STATIC, "") };
    with_claim(seen, |claim| {
        claim.spec.volume_name = "v".to_owned();
        claim.metadata.finalizers.clear();
    })
}

fn phase(decision: &Decision) -> String {
    decision.status.as_ref().unwrap().phase.to_string()
}

fn makes_pods(decision: &Decision) -> bool {
    decision.actions.iter().any(|action| matches!(action, Action::MakePod(_)))
}

fn reported(decision: Decision) -> BTreeMap<&'static str, Option<String>> {
    let tells = decision.actions.into_iter().filter_map(|action| match action {
        Action::Tell(annotations) => Some(annotations),
        _ => None,
    });
    tells.flatten().collect()
}

#[test]
fn a_volume_reserved_for_the_data_volume_gets_its_claim_and_is_not_overwritten() {
    let first = decided(&reserved(start(), &[volume("v", "1Gi")]));
    assert_eq!((&first.step, phase(&first).as_str()), (&Step::MakeKeptClaim, "Pending"));
    assert_eq!(first.actions, [Action::MakeKeptClaim]);

    let waits = decided(&pending(claim_for_reserved_volume(&[(LIST, r#"["v"]"#)])));
    assert_eq!((&waits.step, phase(&waits).as_str()), (&Step::AwaitVolume, "Pending"));
    assert!(waits.actions.is_empty(), "{:?}", waits.actions);
    let bound = waits.status.unwrap().condition("Bound").unwrap().message.clone();
    assert!(bound.ends_with("it waits for the volume that is reserved for it, v"), "{bound}");

    let keeps = decided(&claim_for_reserved_volume(&[(LIST, r#"["v"]"#)]));
    assert_eq!((&keeps.step, &*keeps.actions), (&Step::KeepVolume, &[Action::KeepVolume][..]));
    assert_eq!(keeps.claim_events[0].reason, "VolumeKept");

    let done = decided(&claim_for_reserved_volume(&[(POPULATED_FOR, "copy")]));
    assert_eq!((&done.step, phase(&done).as_str()), (&Step::Adopted, "Succeeded"));
    assert_eq!(done.actions, [Action::SayPrePopulated]);
    assert_eq!(done.status.as_ref().unwrap().progress.as_str(), "N/A");
    let reasons: Vec<&str> = done.events.iter().map(|event| event.reason.as_str()).collect();
    assert_eq!(reasons, ["Bound"], "nothing was cloned");
}

#[test]
fn a_reserved_volume_needs_no_source_and_no_permission() {
    let without = Observed { source: None, ..start() };
    assert_eq!(step(&reserved(without, &[volume("v", "1Gi")])), Step::MakeKeptClaim);
    let denied = Observed { permission: Some(Permission::Denied("no".to_owned())), ..start() };
    assert_eq!(step(&reserved(denied, &[volume("v", "1Gi")])), Step::MakeKeptClaim);
    let unresolved = Observed { origin: Origin::Unresolved("no".to_owned()), source: None, ..start() };
    assert_eq!(step(&reserved(unresolved, &[volume("v", "1Gi")])), Step::MakeKeptClaim);
}

#[test]
fn without_a_reserved_volume_the_data_volume_is_cloned() {
    assert_eq!(step(&reserved(start(), &[])), Step::MakeClaim);
    let missing = decided(&reserved(Observed { source: None, ..start() }, &[]));
    assert_eq!(missing.step, Step::NoSource(Key::new("n", "golden")));
    assert_eq!(missing.again, Some(std::time::Duration::from_secs(30)), "no watch tells of volumes");
}

#[test]
fn a_reserved_volume_that_does_not_fit_stops_the_clone_with_a_reason() {
    let decision = decided(&reserved(start(), &[volume("v", "512Mi")]));
    let Step::VolumeInTheWay(why) = &decision.step else { panic!("{:?}", decision.step) };
    assert!(why.contains("v (it has 512Mi, 1Gi is asked for)"), "{why}");
    assert!(decision.actions.is_empty());
    let status = decision.status.unwrap();
    assert_eq!(status.condition("Bound").unwrap().reason, "VolumeInTheWay");
    assert!(decision.events.iter().any(|event| event.kind == "Warning" && event.message == *why));
    assert_eq!(decision.again, Some(std::time::Duration::from_secs(10)));
}

#[test]
fn unreadable_volumes_stop_the_clone_before_and_after_the_claim_is_created() {
    for seen in [start(), claimed()] {
        let volumes = Volumes::Unseen("persistentvolumes is forbidden".to_owned());
        let decision = decided(&Observed { volumes, ..annotated(seen, CHECK_STATIC, "") });
        let Step::VolumeInTheWay(why) = &decision.step else { panic!("{:?}", decision.step) };
        assert!(why.contains("persistentvolumes is forbidden"), "{why}");
        assert!(!makes_pods(&decision));
        assert_ne!(phase(&decision), "Succeeded");
    }
}

#[test]
fn a_volume_reserved_after_the_claim_was_created_is_kept() {
    let late = pending(claimed());
    let target_pod = Some(target_pod("Pending", false, ""));
    let expects = decided(&reserved(Observed { target_pod, ..late }, &[volume("v", "1Gi")]));
    assert_eq!((&expects.step, phase(&expects).as_str()), (&Step::ExpectVolume, "Pending"));
    let delete = Action::DeletePod(decant_controller::pods::role::Role::Target);
    assert_eq!(expects.actions, [delete, Action::Hold(false), Action::ExpectVolume]);

    let bound = |name: &str, created: &str| {
        let mut volume = (*volume(name, "1Gi")).clone();
        volume.metadata.creation_timestamp = created.to_owned();
        let seen = with_claim(claimed(), |claim| claim.metadata.creation_timestamp = NOW.to_owned());
        decided(&Observed { volumes: Volumes::Bound(Arc::new(volume)), ..annotated(seen, CHECK_STATIC, "") })
    };
    let keeps = bound("v", "2026-01-01T11:59:59Z");
    assert_eq!(keeps.step, Step::KeepVolume);
    assert!(!makes_pods(&keeps));
    let unclear = bound("v", "2026-01-01T12:00:01Z");
    assert!(matches!(unclear.step, Step::VolumeInTheWay(_)), "{:?}", unclear.step);
    assert_eq!(bound("pvc-copy-uid", "2026-01-01T12:00:01Z").step, Step::MakeTargetPod);
}

#[test]
fn a_claim_bound_to_a_volume_other_than_the_reserved_one_is_left_alone() {
    for list in [r#"["other"]"#, "no list"] {
        let decision = decided(&claim_for_reserved_volume(&[(LIST, list)]));
        assert!(matches!(decision.step, Step::VolumeInTheWay(_)), "{:?}", decision.step);
        assert!(decision.actions.iter().all(|action| matches!(action, Action::Annotate(_))));
        assert_ne!(phase(&decision), "Succeeded");
    }
}

fn filled(annotations: Value) -> Observed {
    let seen = Observed { target: Some(claim("copy", annotations)), ..start() };
    with_claim(seen, |claim| {
        claim.metadata.owner_references.clear();
        claim.metadata.finalizers.clear();
    })
}

#[test]
fn a_restored_claim_gets_its_owner_and_succeeds_bound_or_unbound() {
    let restored = json!({ POPULATED_FOR: "copy" });
    for seen in [filled(restored.clone()), pending(filled(restored.clone()))] {
        let taken = decided(&seen);
        assert_eq!((taken.step, taken.actions), (Step::Adopt, vec![Action::AdoptClaim]));
    }
    let owned = Observed { target: Some(claim("copy", restored)), ..start() };
    for seen in [owned.clone(), pending(owned)] {
        let decision = decided(&seen);
        assert_eq!((&decision.step, phase(&decision).as_str()), (&Step::Adopted, "Succeeded"));
        assert!(decision.actions.contains(&Action::SayPrePopulated));
        let status = decision.status.unwrap();
        assert_eq!((status.claim_name.as_str(), status.progress.as_str()), ("copy", "N/A"));
    }
}

/// As a backup tool brings it back: with all annotations of the first clone's claim.
#[test]
fn a_restored_claim_of_an_earlier_clone_is_not_cloned_and_proves_nothing() {
    let mut annotations = named();
    for (name, value) in [
        ("cdi.kubevirt.io/createdForDataVolume", "uid-before-the-restore"),
        ("cdi.kubevirt.io/storage.pod.phase", "Succeeded"),
        ("decant.dev/digest", "decant1:7:ab"),
        (POPULATED_FOR, "copy"),
    ] {
        annotations[name] = value.into();
    }
    for mark in [None, Some("true")] {
        let mut annotations = annotations.clone();
        if let Some(mark) = mark {
            annotations["k8s.io/CloneOf"] = mark.into();
        }
        assert_eq!(step(&filled(annotations.clone())), Step::Adopt);
        let seen = Observed { target: Some(claim("copy", annotations)), ..start() };
        let seen = annotated(annotated(seen, "decant.dev/digest", "decant1:7:ab"), CLONE_TYPE, "copy");
        let decision = decided(&seen);
        assert_eq!((&decision.step, phase(&decision).as_str()), (&Step::Adopted, "Succeeded"));
        assert_eq!(decision.status.as_ref().unwrap().progress.as_str(), "N/A");
        assert!(
            decision.events.iter().all(|event| !event.reason.starts_with("Clone")),
            "{:?}",
            decision.events
        );
        assert_eq!(reported(decision), BTreeMap::from([("decant.dev/digest", None), (CLONE_TYPE, None)]));
    }
}

#[test]
fn a_claim_filled_for_another_data_volume_or_owned_is_not_adopted() {
    assert_eq!(step(&filled(json!({ POPULATED_FOR: "other" }))), Step::Taken);
    let owned = with_claim(filled(json!({ POPULATED_FOR: "copy" })), |claim| {
        claim.metadata.owner_references = serde_json::from_value(
            json!([{ "kind": "DataVolume", "name": "copy", "uid": "before", "controller": true }]),
        )
        .unwrap();
    });
    assert_eq!(step(&owned), Step::Taken);
}

#[test]
fn the_annotation_does_not_end_a_running_clone() {
    let written = with_annotation(named(), POPULATED_FOR, "copy");
    assert_eq!(step(&Observed { target: Some(claim("copy", written)), ..copying() }), Step::Copying);
}

#[test]
fn a_restored_claim_without_its_data_volume_is_not_cloned() {
    let seen = Observed { data_volume: None, ..filled(with_annotation(named(), POPULATED_FOR, "copy")) };
    assert_eq!(step(&seen), Step::Nothing);
    assert_ne!(step(&Observed { data_volume: None, ..filled(named()) }), Step::Nothing);
}

#[test]
fn a_populated_claim_that_lost_its_volume_has_failed() {
    let lost = Observed { target: Some(claim("copy", json!({ POPULATED_FOR: "copy" }))), ..start() };
    let lost = decided(&with_claim(lost, |claim| claim.status.phase = "Lost".into()));
    assert_eq!((&lost.step, phase(&lost).as_str()), (&Step::Lost, "Failed"));
}

#[test]
fn a_data_volume_that_expects_a_restored_claim_is_not_cloned() {
    for seen in [start(), Observed { source: None, ..start() }, reserved(start(), &[volume("v", "1Gi")])] {
        let decision = decided(&annotated(seen, PRE_POPULATED, "copy"));
        assert_eq!((&decision.step, phase(&decision).as_str()), (&Step::AwaitClaim, "Pending"));
        assert!(decision.actions.is_empty(), "{:?}", decision.actions);
    }
}

#[test]
fn restored_claims_are_adopted_with_any_source_kind() {
    let import =
        || Observed { origin: Origin::NotOurs("http".to_owned()), source: None, permission: None, ..start() };
    assert_eq!(step(&annotated(import(), PRE_POPULATED, "copy")), Step::AwaitClaim);
    assert_eq!(step(&reserved(import(), &[volume("v", "1Gi")])), Step::MakeKeptClaim);
    let missing = decided(&reserved(import(), &[]));
    assert_eq!(missing.step, Step::NotOurs("http".to_owned()));
    assert_eq!(missing.again, Some(std::time::Duration::from_secs(30)));

    let restored = json!({ POPULATED_FOR: "copy" });
    let foreign = Observed { target: filled(restored.clone()).target, ..import() };
    assert_eq!(step(&foreign), Step::Adopt);
    let owned = pending(Observed { target: Some(claim("copy", restored)), ..import() });
    let decision = decided(&owned);
    assert_eq!((&decision.step, phase(&decision).as_str()), (&Step::Adopted, "Succeeded"));
    // A DataVolume that CDI completed keeps its status.
    let complete = with_dv(owned, |dv| dv.status.phase = "Succeeded".into());
    assert_eq!(step(&complete), Step::NotOurs("http".to_owned()));
    let import_of_cdi = Observed { target: Some(claim("copy", json!({}))), ..import() };
    assert_eq!(step(&import_of_cdi), Step::NotOurs("http".to_owned()));
}

#[test]
fn the_clone_type_is_written_once() {
    let unnamed =
        Observed { target: Some(claim("copy", json!({ "k8s.io/CloneRequest": "n/golden" }))), ..start() };
    let first = decided(&unnamed);
    assert_eq!(first.step, Step::NamePods);
    assert_eq!(reported(first), BTreeMap::from([(CLONE_TYPE, Some("copy".to_owned()))]));
    assert_eq!(reported(decided(&annotated(unnamed.clone(), CLONE_TYPE, "copy"))), BTreeMap::new());
    let other = reported(decided(&annotated(unnamed, CLONE_TYPE, "snapshot")));
    assert_eq!(other[CLONE_TYPE].as_deref(), Some("copy"));
    let nothing_cloned = [
        start(),
        claim_for_reserved_volume(&[(LIST, r#"["v"]"#)]),
        claim_for_reserved_volume(&[(POPULATED_FOR, "copy")]),
        filled(json!({})),
    ];
    for seen in nothing_cloned {
        assert!(!reported(decided(&seen)).contains_key(CLONE_TYPE));
    }
}

#[test]
fn the_progress_of_a_clone_completed_by_cdi_by_another_method_is_kept() {
    let seen = Observed { target: Some(claim("copy", json!({}))), ..start() };
    let seen = with_dv(seen, |dv| {
        dv.status.phase = "Succeeded".into();
        dv.status.progress = "100.0%".into();
    });
    let status = decided(&seen).status.unwrap();
    assert_eq!((status.phase.as_str(), status.progress.as_str()), ("Succeeded", "100.0%"));
}

#[test]
fn a_data_volume_that_cdi_completed_from_another_source_keeps_its_status() {
    let import =
        Observed { origin: Origin::NotOurs("http".to_owned()), source: None, permission: None, ..start() };
    for annotations in [json!({}), json!({ POPULATED_FOR: "copy" })] {
        let seen = Observed { target: Some(claim("copy", annotations)), ..import.clone() };
        let seen = with_dv(seen, |dv| {
            dv.status.phase = "Succeeded".into();
            dv.status.progress = "100.0%".into();
        });
        let decision = decided(&seen);
        assert_eq!(decision.status, None, "it is not ours to say");
        assert!(decision.actions.is_empty() && decision.events.is_empty(), "{decision:?}");
    }
}
