//! `kubectl decant cleanup`.

use decant_controller::api::cluster::{Cluster, Part};
use decant_controller::objects::annotations::{
    APP, APP_VALUE, CLONE_OF, COMPONENT, COMPONENT_SOURCE, CREATED_BY_CONTROLLER, OWNED_BY_UID, OWNER_REF,
    POPULATES, RECLAIM_POLICY, ROLE, TOTAL_BYTES,
};
use decant_controller::objects::{Key, Kind};
use serde_json::{Value, json};

use super::{make_claim, make_data_volume, plugin, plugin_answered, running, succeeded, write_status};
use crate::sandbox::{Sandbox, uid};

/// A pod of the clone into `claim`.
fn make_pod(sandbox: &Sandbox, name: &str, claim: &str, role: &str) -> Value {
    let owner = format!("{}/{claim}", sandbox.namespace);
    sandbox.create_pod(&sandbox.pod(
        name,
        &json!({
            "labels": { APP: APP_VALUE, ROLE: role }, "annotations": { OWNER_REF: owner },
        }),
    ))
}

fn finish_pod(sandbox: &Sandbox, pod: &str) {
    let status = json!({ "status": { "phase": "Succeeded" } });
    sandbox.cluster.patch(Kind::Pod, &sandbox.key(pod), Part::Status, &status).unwrap();
}

fn is_there(sandbox: &Sandbox, kind: Kind, name: &str) -> bool {
    sandbox.cluster.get(kind, &sandbox.key(name)).is_ok()
}

/// One of each: a kept pod of a finished clone, a source pod of a PVC that is gone, a Secret of a pod that is gone; and
/// also the pods of a running clone.
fn sandbox_with_leftovers() -> Sandbox {
    let sandbox = Sandbox::new();
    make_claim(&sandbox, "done", &json!({ CLONE_OF: "true" }));
    make_pod(&sandbox, "kept", "done", "target");
    finish_pod(&sandbox, "kept");
    make_pod(&sandbox, "orphan", "none", "source");
    let claim = make_claim(&sandbox, "copy", &json!({}));
    make_pod(&sandbox, &format!("{}-source-pod", uid(&claim)), "copy", "source");
    make_pod(&sandbox, "cdi-upload-copy", "copy", "target");
    for (name, pod, pod_uid) in [
        ("old", "gone", "x".to_owned()),
        (
            "new",
            "cdi-upload-copy",
            uid(&sandbox.cluster.get(Kind::Pod, &sandbox.key("cdi-upload-copy")).unwrap().value())
                .to_string(),
        ),
    ] {
        let mut secret = sandbox.secret(name);
        secret["type"] = "decant.dev/keys".into();
        secret["metadata"]["labels"] = json!({ APP: APP_VALUE });
        secret["metadata"]["annotations"] = json!({ CREATED_BY_CONTROLLER: "yes" });
        secret["metadata"]["ownerReferences"] =
            json!([{ "apiVersion": "v1", "kind": "Pod", "name": pod, "uid": pod_uid, "controller": true }]);
        sandbox.cluster.create(Kind::Secret, &secret).unwrap();
    }
    sandbox
}

#[test]
fn pods_and_secrets_of_cdi_are_not_listed() {
    let sandbox = Sandbox::new();
    sandbox.create_pod(&sandbox.pod(
        "cdi-pod",
        &json!({
            "labels": { APP: APP_VALUE, COMPONENT: COMPONENT_SOURCE },
            "annotations": { OWNER_REF: format!("{}/gone", sandbox.namespace) },
        }),
    ));
    let mut secret = sandbox.secret("cdi-secret");
    secret["metadata"]["labels"] = json!({ APP: APP_VALUE, COMPONENT: COMPONENT_SOURCE });
    secret["metadata"]["annotations"] = json!({ CREATED_BY_CONTROLLER: "yes" });
    secret["metadata"]["ownerReferences"] =
        json!([{ "apiVersion": "v1", "kind": "Pod", "name": "gone", "uid": "x", "controller": true }]);
    sandbox.cluster.create(Kind::Secret, &secret).unwrap();
    let output = plugin(&sandbox, &["cleanup", "--yes"]);
    assert_eq!((output.code, output.err.as_str()), (0, "Nothing is left over.\n"), "{}", output.out);
}

#[test]
fn a_dry_run_lists_leftovers_and_deletes_nothing() {
    let sandbox = sandbox_with_leftovers();
    for args in [&["cleanup", "--dry-run", "-o", "json"][..], &["cleanup", "-o", "json"]] {
        let found = plugin(&sandbox, args).json();
        let names: Vec<&str> = found["leftovers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|left| left["name"].as_str().unwrap())
            .collect();
        assert_eq!(names, ["kept", "orphan", "old"], "{found:#}");
    }
    let output = plugin(&sandbox, &["cleanup", "--dry-run"]);
    assert_eq!(output.code, 0, "{}", output.err);
    assert!(
        output.out.contains("it was kept after the clone into") && output.out.contains("is gone"),
        "{}",
        output.out
    );
    assert!(is_there(&sandbox, Kind::Pod, "kept") && is_there(&sandbox, Kind::Secret, "old"));
}

#[test]
fn cleanup_deletes_only_after_confirmation() {
    let sandbox = sandbox_with_leftovers();
    let output = plugin(&sandbox, &["cleanup"]);
    assert_eq!(output.code, 2, "{}", output.err);
    assert!(output.err.contains("--yes"), "{}", output.err);
    let output = plugin_answered(&sandbox, &["cleanup"], "n\n");
    assert_eq!(output.code, 0);
    assert!(output.err.contains("Nothing was deleted"), "{}", output.err);
    assert!(is_there(&sandbox, Kind::Pod, "kept") && is_there(&sandbox, Kind::Secret, "old"));
    let output = plugin_answered(&sandbox, &["cleanup"], "y\n");
    assert_eq!(output.code, 0, "{}", output.err);
    assert!(output.out.contains(&format!("Pod {}/kept deleted", sandbox.namespace)), "{}", output.out);
    let gone = |kind, name: &str| {
        sandbox
            .cluster
            .get(kind, &sandbox.key(name))
            .map_or(true, |object| object.value()["metadata"]["deletionTimestamp"].is_string())
    };
    assert!(gone(Kind::Pod, "kept") && gone(Kind::Pod, "orphan") && gone(Kind::Secret, "old"));
    assert!(!gone(Kind::Pod, "cdi-upload-copy") && !gone(Kind::Secret, "new"));
    let again = plugin(&sandbox, &["cleanup", "--yes"]);
    assert_eq!((again.code, again.err.as_str()), (0, "Nothing is left over.\n"), "{}", again.out);
}

#[test]
fn data_volumes_are_deleted_only_on_request_and_release_their_claims() {
    let sandbox = Sandbox::new();
    for name in ["done", "copy"] {
        make_claim(&sandbox, name, &json!({}));
        make_data_volume(&sandbox, name);
        // As the controller writes to every clone. CDI's DataVolumes are not listed.
        let written = json!({ "metadata": { "annotations": { TOTAL_BYTES: "1" } } });
        sandbox.cluster.patch(Kind::DataVolume, &sandbox.key(name), Part::Whole, &written).unwrap();
    }
    make_claim(&sandbox, "imported", &json!({}));
    make_data_volume(&sandbox, "imported");
    write_status(&sandbox, "imported", &succeeded());
    write_status(&sandbox, "done", &succeeded());
    write_status(&sandbox, "copy", &running("1.00%"));
    assert!(plugin(&sandbox, &["cleanup", "--yes"]).err.contains("Nothing is left over"));
    let output = plugin(&sandbox, &["cleanup", "--finished", "--yes"]);
    assert_eq!(output.code, 0, "{}", output.err);
    assert_eq!(output.out.matches(" deleted").count(), 1, "{}", output.out);
    // No controller releases the claim here, so the DataVolume stays with its finalizer, as it should.
    let dv = sandbox.cluster.get(Kind::DataVolume, &sandbox.key("done")).unwrap().value();
    assert_eq!(dv["metadata"]["finalizers"], json!(["orphan"]), "{dv}");
    assert!(dv["metadata"]["deletionTimestamp"].is_string());
    let free = json!({ "metadata": { "finalizers": null } });
    sandbox.cluster.patch(Kind::DataVolume, &sandbox.key("done"), Part::Whole, &free).unwrap();
    assert!(is_there(&sandbox, Kind::PersistentVolumeClaim, "done"));
    assert!(is_there(&sandbox, Kind::DataVolume, "copy"));
}

/// A temporary PVC whose target does not exist.
fn make_prime(sandbox: &Sandbox, target_uid: &str, populates: &str) -> String {
    let name = format!("tmp-pvc-{target_uid}");
    let mut prime = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": { "namespace": sandbox.namespace, "name": name, "labels": { OWNED_BY_UID: target_uid },
                      "annotations": { POPULATES: format!("{}/{populates}", sandbox.namespace) } },
        "spec": { "accessModes": ["ReadWriteOnce"], "storageClassName": "none" },
    });
    prime["spec"]["resources"] = json!({ "requests": { "storage": "1Gi" } });
    sandbox.cluster.create(Kind::PersistentVolumeClaim, &prime).unwrap();
    name
}

#[test]
fn temporary_claims_are_deleted_once_their_target_is_gone() {
    let sandbox = Sandbox::new();
    let target = make_claim(&sandbox, "copy", &json!({}));
    let needed = make_prime(&sandbox, uid(&target).as_str(), "copy");
    let replaced = make_prime(&sandbox, "earlier", "copy");
    let orphan = make_prime(&sandbox, "gone", "none");
    let found = plugin(&sandbox, &["cleanup", "--dry-run", "-o", "json"]).json();
    let mut names: Vec<&str> =
        found["leftovers"].as_array().unwrap().iter().map(|left| left["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, [replaced.as_str(), orphan.as_str()], "{found:#}");
    let output = plugin(&sandbox, &["cleanup", "--yes"]);
    assert_eq!(output.code, 0, "{}", output.err);
    assert!(is_there(&sandbox, Kind::PersistentVolumeClaim, &needed));
}

#[test]
fn a_volume_gets_its_reclaim_policy_back_and_is_not_deleted() {
    let sandbox = Sandbox::new();
    let name = format!("pv-{}", sandbox.namespace);
    let volume = json!({
        "apiVersion": "v1", "kind": "PersistentVolume",
        "metadata": { "name": name, "annotations": { RECLAIM_POLICY: "Delete" } },
        "spec": {
            "accessModes": ["ReadWriteOnce"], "capacity": { "storage": "1Gi" }, "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": "none", "hostPath": { "path": "/none" },
            "claimRef": { "namespace": sandbox.namespace, "name": "tmp-pvc-gone", "uid": "x" },
        },
    });
    let created = sandbox.cluster.create(Kind::PersistentVolume, &volume).unwrap().value();
    let key = Key::new("", &name);
    let output = plugin(&sandbox, &["cleanup", "--dry-run"]);
    let why = format!("PVC {}/tmp-pvc-gone is gone; its reclaim policy was Delete", sandbox.namespace);
    assert!(output.out.contains(&why), "{}{}", output.out, output.err);
    let elsewhere = Sandbox::new();
    assert!(!plugin(&elsewhere, &["cleanup", "--dry-run"]).out.contains(&name));
    assert!(plugin(&elsewhere, &["cleanup", "-A", "--dry-run"]).out.contains(&name));
    let doctor = plugin(&sandbox, &["doctor", "-o", "json", "--controller-namespace", &sandbox.namespace]);
    assert!(doctor.out.contains("leftovers of PVCs with a data source"), "{}", doctor.out);
    let before = sandbox.cluster.get(Kind::PersistentVolume, &key).unwrap().value();
    assert_eq!(before["spec"]["persistentVolumeReclaimPolicy"], "Retain");
    let answer = plugin(&sandbox, &["cleanup", "--yes"]);
    let restored = format!("PersistentVolume {name}: reclaim policy Delete restored");
    let after = sandbox.cluster.get(Kind::PersistentVolume, &key).unwrap().value();
    sandbox.cluster.delete(Kind::PersistentVolume, &key, &uid(&created), None).unwrap();
    assert!(answer.out.contains(&restored), "{}{}", answer.out, answer.err);
    assert_eq!(after["spec"]["persistentVolumeReclaimPolicy"], "Delete");
    assert!(after["metadata"]["annotations"].get(RECLAIM_POLICY).is_none());
}
