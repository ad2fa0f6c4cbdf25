//! Restores, from the objects that a backup tool or an administrator makes to what the controller makes of them.

use serde_json::{Value, json};

use crate::*;

const BEFORE: &str = "2026-01-01T11:00:00Z";
const CHECK_STATIC: &str = "cdi.kubevirt.io/storage.checkStaticVolume";
const POPULATED_FOR: &str = "cdi.kubevirt.io/storage.populatedFor";
const PRE_POPULATED: &str = "cdi.kubevirt.io/storage.prePopulated";
const CLONE_TYPE: &str = "cdi.kubevirt.io/cloneType";

#[test]
fn a_reserved_volume_is_bound_and_kept_with_or_without_the_source() {
    for with_source in [true, false] {
        let mut objects = vec![data_volume(&json!({ CHECK_STATIC: "" })), volume("restored", BEFORE)];
        objects.extend(with_source.then(source));
        let controller = TestController::launch(objects, &[]);
        controller.settle();
        let claim = controller.claim().unwrap();
        assert_eq!(claim["spec"]["volumeName"], "restored");
        assert_eq!(annotation(&claim, "k8s.io/CloneRequest"), &Value::Null);
        assert_eq!(controller.phase(), "Pending");

        controller.bind("restored");
        controller.settle();
        assert_eq!((controller.phase().as_str(), controller.pods()), ("Succeeded", 0));
        let (dv, claim) = (controller.data_volume(), controller.claim().unwrap());
        assert_eq!(dv["status"]["progress"], "N/A");
        assert_eq!(annotation(&dv, PRE_POPULATED), "copy");
        assert_eq!(annotation(&dv, CLONE_TYPE), &Value::Null);
        assert_eq!(annotation(&claim, POPULATED_FOR), "copy");
        let events = controller.events();
        assert!(events.contains("VolumeKept"), "{events:?}");
        assert!(!events.iter().any(|reason| reason.starts_with("Clone")), "{events:?}");
    }
}

#[test]
fn without_the_annotation_volumes_are_not_read_as_in_cdi() {
    let controller =
        TestController::launch(vec![data_volume(&json!({})), source(), volume("restored", BEFORE)], &[]);
    controller.settle();
    controller.bind("restored");
    controller.settle();
    assert_eq!(annotation(&controller.claim().unwrap(), "k8s.io/CloneRequest"), "n/golden");
    assert_eq!(controller.pods(), 1);
    let asked = controller.stub.asked.lock().unwrap();
    assert!(!asked.iter().any(|(_, kind)| *kind == Kind::PersistentVolume), "{asked:?}");
}

#[test]
fn a_volume_reserved_and_bound_after_the_check_is_not_overwritten() {
    let controller = TestController::launch(vec![data_volume(&json!({ CHECK_STATIC: "" })), source()], &[]);
    controller.settle();
    assert_eq!(annotation(&controller.claim().unwrap(), "k8s.io/CloneRequest"), "n/golden");
    let (kind, restored) = volume("restored", BEFORE);
    controller.stub.put(kind, restored);
    controller.bind("restored");
    controller.settle();
    assert_eq!((controller.phase().as_str(), controller.pods()), ("Succeeded", 0));
    let claim = controller.claim().unwrap();
    assert_eq!(annotation(&claim, "k8s.io/CloneRequest"), &Value::Null);
    assert!(claim["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty), "{claim:#}");
    assert_eq!(controller.data_volume()["status"]["progress"], "N/A");
}

#[test]
fn a_volume_reserved_before_the_claim_is_bound_is_waited_for() {
    let controller = TestController::launch(vec![data_volume(&json!({ CHECK_STATIC: "" })), source()], &[]);
    controller.settle();
    let (kind, restored) = volume("restored", "2026-01-01T12:30:00Z");
    controller.stub.put(kind, restored);
    controller.settle();
    assert_eq!((controller.phase().as_str(), controller.pods()), ("Pending", 0));
    controller.bind("restored");
    controller.settle();
    assert_eq!((controller.phase().as_str(), controller.pods()), ("Succeeded", 0));
}

#[test]
fn a_volume_provisioned_for_the_claim_is_filled() {
    let controller = TestController::launch(vec![data_volume(&json!({ CHECK_STATIC: "" })), source()], &[]);
    controller.settle();
    let mut made = volume("pvc-copy-uid", "2026-01-01T12:00:01Z").1;
    made["spec"]["claimRef"]["uid"] = "copy-uid".into();
    controller.stub.put(Kind::PersistentVolume, made);
    controller.bind("pvc-copy-uid");
    controller.settle();
    assert_eq!((controller.phase().as_str(), controller.pods()), ("CloneScheduled", 1));
    assert_eq!(annotation(&controller.data_volume(), CLONE_TYPE), "copy");
}

#[test]
fn without_the_right_to_read_volumes_nothing_is_cloned_and_a_hint_is_given() {
    let objects = vec![data_volume(&json!({ CHECK_STATIC: "" })), source(), volume("restored", BEFORE)];
    let controller = TestController::launch(objects, &[Kind::PersistentVolume]);
    controller.settle();
    assert_eq!((controller.claim(), controller.pods()), (None, 0));
    let bound = controller.data_volume()["status"]["conditions"][0].clone();
    assert_eq!(bound["reason"], "VolumeInTheWay");
    let message = bound["message"].as_str().unwrap();
    assert!(message.contains("persistentvolumes is forbidden"), "{message}");
    assert!(message.contains("Apply the controller's roles again"), "{message}");
}

#[test]
fn a_restored_claim_gets_its_data_volume_as_an_additional_owner() {
    let owner = json!({ "apiVersion": "v1", "kind": "ConfigMap", "name": "backup", "uid": "b" });
    let claim = json!({
        "metadata": { "namespace": "n", "name": "copy", "uid": "copy-uid", "ownerReferences": [owner],
                      "annotations": { POPULATED_FOR: "copy", "k8s.io/CloneRequest": "n/golden" } },
        "spec": size(), "status": { "phase": "Pending" },
    });
    let objects = vec![
        data_volume(&json!({ PRE_POPULATED: "copy" })),
        source(),
        (Kind::PersistentVolumeClaim, claim),
        class("WaitForFirstConsumer"),
    ];
    let controller = TestController::launch(objects, &[]);
    controller.settle();
    assert_eq!((controller.phase().as_str(), controller.pods()), ("Succeeded", 0));
    let owners = controller.claim().unwrap()["metadata"]["ownerReferences"].clone();
    assert_eq!(owners[0], owner);
    assert_eq!((&owners[1]["uid"], &owners[1]["controller"]), (&json!("dv-uid"), &json!(true)));
    assert!(
        !controller.events().iter().any(|reason| reason.starts_with("Clone")),
        "{:?}",
        controller.events()
    );
}

#[test]
fn a_data_volume_waits_for_its_restored_claim() {
    let controller =
        TestController::launch(vec![data_volume(&json!({ PRE_POPULATED: "copy" })), source()], &[]);
    controller.settle();
    assert_eq!((controller.claim(), controller.phase().as_str()), (None, "Pending"));
    controller.stub.put(
        Kind::PersistentVolumeClaim,
        json!({
            "metadata": { "namespace": "n", "name": "copy", "uid": "copy-uid", "annotations": { POPULATED_FOR: "copy" } },
            "spec": size(), "status": { "phase": "Bound" },
        }),
    );
    controller.settle();
    assert_eq!((controller.phase().as_str(), controller.pods()), ("Succeeded", 0));
}

/// A migration deletes its source in the phase `WaitForFirstConsumer`. `PendingPopulation` lets KubeVirt start the virtual machine,
/// whose pod then selects the node.
#[test]
fn on_csi_classes_the_clone_waits_for_a_consumer_in_a_phase_that_does_not_look_complete() {
    let waits = "WaitForFirstConsumer";
    for (annotations, driver, forbidden, phase) in [
        (json!({}), Some(driver()), None, "PendingPopulation"),
        (json!({}), None, None, waits),
        (json!({}), None, Some(Kind::CsiDriver), "PendingPopulation"),
        (json!({ "cdi.kubevirt.io/storage.usePopulator": "false" }), Some(driver()), None, waits),
        (json!({ "cdi.kubevirt.io/storage.usePopulator": "true" }), None, None, "Pending"),
        (
            json!({ "cdi.kubevirt.io/storage.usePopulator": "perhaps" }),
            Some(driver()),
            None,
            "PendingPopulation",
        ),
    ] {
        let mut objects = vec![data_volume(&annotations), source(), class(waits)];
        objects.extend(driver);
        let controller = TestController::launch(objects, &forbidden.into_iter().collect::<Vec<_>>());
        controller.settle();
        let what = format!("{annotations} {forbidden:?}");
        assert_eq!(controller.phase(), phase, "{what}");
        // A class without a CSI driver ignores data sources: the claim is bound first, by the clone itself.
        assert_eq!(controller.pods(), usize::from(phase == "Pending"), "{what}");
        let asked = controller.stub.asked.lock().unwrap();
        let drivers = asked.iter().filter(|(_, kind)| *kind == Kind::CsiDriver).count();
        assert!(drivers <= 1, "{drivers} questions: {what}");
    }
}
