//! Claims of manifests, restored objects or users about a clone have no effect.

use std::collections::BTreeMap;
use std::sync::Arc;

use decant_controller::objects::{ClonedObject, DataVolume};
use decant_controller::pods::class_defaults::ClassDefaults;
use decant_controller::policy::Policy;
use decant_controller::reconcile::actions::Action;
use decant_controller::reconcile::observed::Observed;
use decant_controller::reconcile::outcome::CloneOutcome;
use decant_controller::reconcile::step::Step;
use serde_json::json;

use crate::fixtures::*;

fn annotated(seen: Observed, annotations: &[(&str, &str)]) -> Observed {
    let mut dv: DataVolume = (**seen.data_volume.as_ref().unwrap()).clone();
    for (name, value) in annotations {
        dv.metadata.annotations.insert((*name).to_owned(), (*value).to_owned());
    }
    Observed { data_volume: Some(Arc::new(dv)), ..seen }
}

#[test]
fn a_forged_phase_on_the_claim_ends_no_clone() {
    let written = with_annotation(named(), "cdi.kubevirt.io/storage.pod.phase", "Succeeded");
    let seen = Observed { target: Some(claim("copy", written)), ..claimed() };
    let decision = decided(&seen);
    assert_eq!(decision.step, Step::MakeTargetPod);
    assert_eq!(decision.status.unwrap().phase, "CloneScheduled");
    let Some(Action::Annotate(corrected)) = decision.actions.into_iter().next() else { panic!() };
    assert_eq!(corrected["cdi.kubevirt.io/storage.pod.phase"], "Pending");
}

#[test]
fn a_forged_mark_of_completion_is_ignored_and_its_claim_is_kept() {
    let written = with_annotation(named(), "k8s.io/CloneOf", "true");
    let seen = Observed { target: Some(claim("copy", written)), ..claimed() };
    let decision = decided(&seen);
    assert_eq!(decision.step, Step::Unproven);
    let status = decision.status.unwrap();
    assert_ne!(status.phase, "Succeeded");
    let running = status.condition("Running").unwrap();
    assert_eq!(running.reason, "CloneNotProven");
    assert!(!decision.actions.iter().any(|action| matches!(action, Action::MakePod(_))));
    assert!(decision.events.iter().any(|event| event.reason == "CloneNotProven"), "{:?}", decision.events);
}

#[test]
fn a_clone_completed_by_cdi_or_an_earlier_version_stays_complete() {
    let mut seen = Observed {
        target: Some(claim("copy", with_annotation(named(), "k8s.io/CloneOf", "true"))),
        ..claimed()
    };
    let mut dv: DataVolume = (**seen.data_volume.as_ref().unwrap()).clone();
    dv.status.phase = "Succeeded".into();
    dv.metadata.annotations.insert("decant.dev/digest".to_owned(), "decant1:7:ab".to_owned());
    seen.data_volume = Some(Arc::new(dv));
    let decision = decided(&seen);
    assert_eq!((decision.step, decision.status.unwrap().phase.as_str()), (Step::TidyUp, "Succeeded"));
    assert_eq!(reported(&seen), None, "what it said of itself stays");
}

#[test]
fn an_adopted_claim_counts_as_complete() {
    let other = with_annotation(
        with_annotation(named(), "k8s.io/CloneOf", "true"),
        "cdi.kubevirt.io/createdForDataVolume",
        "old-uid",
    );
    let adopted = with_annotation(other.clone(), "cdi.kubevirt.io/allowClaimAdoption", "true");
    assert_eq!(step(&Observed { target: Some(claim("copy", adopted)), ..claimed() }), Step::TidyUp);
    assert_eq!(step(&Observed { target: Some(claim("copy", other)), ..claimed() }), Step::Unproven);
}

#[test]
fn the_digest_is_the_recorded_one_whatever_the_objects_claim() {
    let forged = [("decant.dev/digest", "decant1:5:ff")];
    let seen = annotated(complete(), &forged);
    assert_eq!(seen.digest().as_deref(), Some("decant1:7:ab"));
    let corrected = BTreeMap::from([("decant.dev/digest", Some("decant1:7:ab".to_owned()))]);
    assert_eq!(reported(&seen), Some(corrected));

    let running = annotated(copying(), &forged);
    assert_eq!(running.digest(), None);
    assert_eq!(
        reported(&running),
        Some(BTreeMap::from([("decant.dev/digest", None)])),
        "none before the end"
    );

    let without = Observed { outcome: Some(CloneOutcome::default()), ..annotated(recorded(), &forged) };
    let without = Observed { source_pod: None, ..without };
    assert_eq!(step(&without), Step::MarkDone);
    assert_eq!(
        reported(&without),
        Some(BTreeMap::from([("decant.dev/digest", None)])),
        "CDI's target reports none"
    );
}

#[test]
fn a_data_volume_copied_from_a_complete_one_is_cloned_without_its_status() {
    let copied = [
        ("decant.dev/digest", "decant1:5:ff"),
        ("decant.dev/sent-bytes", "5"),
        ("decant.dev/total-bytes", "5"),
        ("k8s.io/CloneOf", "true"),
        ("cdi.kubevirt.io/storage.pod.phase", "Succeeded"),
    ];
    let seen = annotated(start(), &copied);
    let decision = decided(&seen);
    assert_eq!(decision.step, Step::MakeClaim);
    assert_ne!(decision.status.unwrap().phase, "Succeeded");
    let removed = ["decant.dev/digest", "decant.dev/sent-bytes", "decant.dev/total-bytes"];
    assert_eq!(reported(&seen), Some(removed.map(|name| (name, None)).into()));
}

/// As KubeVirt's controller for the migration of storage makes it: the source claim's annotations but those of CDI.
#[test]
fn annotations_copied_from_a_cloned_claim_do_not_complete_the_next_clone() {
    let annotations = json!({
        "k8s.io/CloneOf": "true",
        "k8s.io/CloneRequest": "n/base",
        "decant.dev/digest": "decant1:5:ff",
        "decant.dev/outcome": "c2VhbA",
        "decant.dev/not-kept": "owners 3",
        "pv.kubernetes.io/bind-completed": "yes",
        "pv.kubernetes.io/bound-by-controller": "yes",
        "volume.kubernetes.io/storage-provisioner": "fast.example.com",
        "volume.kubernetes.io/selected-node": "node1",
        "example.com/team": "storage",
    });
    let dv: Arc<DataVolume> = read(json!({
        "metadata": { "namespace": "n", "name": "copy", "uid": "dv-uid", "annotations": annotations },
        "spec": { "source": { "pvc": { "namespace": "n", "name": "golden" } }, "storage": { "storageClassName": "c" } },
    }));
    let seen = Observed { data_volume: Some(Arc::clone(&dv)), ..start() };
    assert_eq!(step(&seen), Step::MakeClaim);
    let source = claim("golden", json!({}));
    let spec = decant_controller::pods::claim::claim_spec(
        &dv,
        &source,
        &ClassDefaults::default(),
        &Policy::default(),
    )
    .unwrap();
    let made = decant_controller::pods::claim::new_claim(
        &dv,
        &ClonedObject::claim(source.metadata.key()),
        &spec,
        &Policy::default(),
    );
    let made = made["metadata"]["annotations"].as_object().unwrap();
    assert_eq!(made["k8s.io/CloneRequest"], "n/golden");
    assert_eq!(made["example.com/team"], "storage");
    for name in annotations
        .as_object()
        .unwrap()
        .keys()
        .filter(|name| !["k8s.io/CloneRequest", "example.com/team"].contains(&name.as_str()))
    {
        assert!(!made.contains_key(name), "{name}");
    }
}
