//! `kubectl decant cleanup`.

use decant_controller::api::cluster::{Cluster, Part};
use decant_controller::objects::Kind;
use decant_controller::objects::annotations::{
    APP, APP_VALUE, CLONE_OF, COMPONENT, COMPONENT_SOURCE, COMPONENT_TARGET, CREATED_BY_CONTROLLER, OWNER_REF,
};
use serde_json::{Value, json};

use super::{make_claim, make_data_volume, plugin, plugin_answered, running, succeeded, tell};
use crate::ground::{Ground, uid};

/// A pod of the clone into `claim`.
fn make_pod(ground: &Ground, name: &str, claim: &str, component: &str) -> Value {
    let owner = format!("{}/{claim}", ground.namespace);
    ground.create_pod(&ground.pod(
        name,
        &json!({
            "labels": { APP: APP_VALUE, COMPONENT: component }, "annotations": { OWNER_REF: owner },
        }),
    ))
}

fn ends(ground: &Ground, pod: &str) {
    let status = json!({ "status": { "phase": "Succeeded" } });
    ground.cluster.patch(Kind::Pod, &ground.key(pod), Part::Status, &status).unwrap();
}

fn is_there(ground: &Ground, kind: Kind, name: &str) -> bool {
    ground.cluster.get(kind, &ground.key(name)).is_ok()
}

/// One of each: a kept pod of a finished clone, a source pod of a PVC that is gone, a Secret of a pod that is gone; and
/// beside them the pods of a clone that goes on.
fn left_behind() -> Ground {
    let ground = Ground::new();
    make_claim(&ground, "done", &json!({ CLONE_OF: "true" }));
    make_pod(&ground, "kept", "done", COMPONENT_TARGET);
    ends(&ground, "kept");
    make_pod(&ground, "orphan", "none", COMPONENT_SOURCE);
    let claim = make_claim(&ground, "copy", &json!({}));
    make_pod(&ground, &format!("{}-source-pod", uid(&claim)), "copy", COMPONENT_SOURCE);
    make_pod(&ground, "cdi-upload-copy", "copy", COMPONENT_TARGET);
    for (name, pod, pod_uid) in [
        ("old", "gone", "x".to_owned()),
        (
            "new",
            "cdi-upload-copy",
            uid(&ground.cluster.get(Kind::Pod, &ground.key("cdi-upload-copy")).unwrap().value()).to_string(),
        ),
    ] {
        let mut secret = ground.secret(name);
        secret["metadata"]["labels"] = json!({ APP: APP_VALUE });
        secret["metadata"]["annotations"] = json!({ CREATED_BY_CONTROLLER: "yes" });
        secret["metadata"]["ownerReferences"] =
            json!([{ "apiVersion": "v1", "kind": "Pod", "name": pod, "uid": pod_uid, "controller": true }]);
        ground.cluster.create(Kind::Secret, &secret).unwrap();
    }
    ground
}

#[test]
fn a_dry_run_names_what_is_left_and_deletes_nothing() {
    let ground = left_behind();
    for args in [&["cleanup", "--dry-run", "-o", "json"][..], &["cleanup", "-o", "json"]] {
        let found = plugin(&ground, args).json();
        let names: Vec<&str> = found["leftovers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|left| left["name"].as_str().unwrap())
            .collect();
        assert_eq!(names, ["kept", "orphan", "old"], "{found:#}");
    }
    let said = plugin(&ground, &["cleanup", "--dry-run"]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(
        said.out.contains("it was kept after the clone into") && said.out.contains("is gone"),
        "{}",
        said.out
    );
    assert!(is_there(&ground, Kind::Pod, "kept") && is_there(&ground, Kind::Secret, "old"));
}

#[test]
fn nothing_is_deleted_before_the_user_confirms() {
    let ground = left_behind();
    let said = plugin(&ground, &["cleanup"]);
    assert_eq!(said.code, 2, "{}", said.err);
    assert!(said.err.contains("--yes"), "{}", said.err);
    let said = plugin_answered(&ground, &["cleanup"], "n\n");
    assert_eq!(said.code, 0);
    assert!(said.err.contains("Nothing was deleted"), "{}", said.err);
    assert!(is_there(&ground, Kind::Pod, "kept") && is_there(&ground, Kind::Secret, "old"));
    let said = plugin_answered(&ground, &["cleanup"], "y\n");
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.out.contains(&format!("Pod {}/kept deleted", ground.namespace)), "{}", said.out);
    let gone = |kind, name: &str| {
        ground
            .cluster
            .get(kind, &ground.key(name))
            .map_or(true, |object| object.value()["metadata"]["deletionTimestamp"].is_string())
    };
    assert!(gone(Kind::Pod, "kept") && gone(Kind::Pod, "orphan") && gone(Kind::Secret, "old"));
    assert!(!gone(Kind::Pod, "cdi-upload-copy") && !gone(Kind::Secret, "new"));
    let again = plugin(&ground, &["cleanup", "--yes"]);
    assert_eq!((again.code, again.err.as_str()), (0, "Nothing is left over.\n"), "{}", again.out);
}

#[test]
fn data_volumes_go_only_when_that_is_asked_for_and_let_go_of_their_claims() {
    let ground = Ground::new();
    for name in ["done", "copy"] {
        make_claim(&ground, name, &json!({}));
        make_data_volume(&ground, name);
    }
    tell(&ground, "done", &succeeded());
    tell(&ground, "copy", &running("1.00%"));
    assert!(plugin(&ground, &["cleanup", "--yes"]).err.contains("Nothing is left over"));
    let said = plugin(&ground, &["cleanup", "--finished", "--yes"]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert_eq!(said.out.matches(" deleted").count(), 1, "{}", said.out);
    // Here nobody lets go of what it owns, so that it stays: as it should, with this finalizer.
    let dv = ground.cluster.get(Kind::DataVolume, &ground.key("done")).unwrap().value();
    assert_eq!(dv["metadata"]["finalizers"], json!(["orphan"]), "{dv}");
    assert!(dv["metadata"]["deletionTimestamp"].is_string());
    let free = json!({ "metadata": { "finalizers": null } });
    ground.cluster.patch(Kind::DataVolume, &ground.key("done"), Part::Whole, &free).unwrap();
    assert!(is_there(&ground, Kind::PersistentVolumeClaim, "done"));
    assert!(is_there(&ground, Kind::DataVolume, "copy"));
}
