//! Restored content is kept: reserved volumes, claims that another tool filled or will fill.

use serde_json::{Value, json};

use crate::MIB;
use crate::content::{assert_content, content};
use crate::environment::TestEnv;
use crate::kubectl::kubectl;

const CHECK_STATIC: &str = "cdi.kubevirt.io/storage.checkStaticVolume";
const POPULATED_FOR: &str = "cdi.kubevirt.io/storage.populatedFor";
const PRE_POPULATED: &str = "cdi.kubevirt.io/storage.prePopulated";
const CLONE_TYPE: &str = "cdi.kubevirt.io/cloneType";
/// What the restored volume begins with.
const KEPT: &[u8] = b"KEEPME";

fn annotated(env: &TestEnv, name: &str, mode: &str, annotations: &Value) {
    env.apply(&json!({
        "apiVersion": "cdi.kubevirt.io/v1beta1", "kind": "DataVolume",
        "metadata": { "name": name, "annotations": annotations },
        "spec": {
            "source": { "pvc": { "namespace": env.namespace, "name": "golden" } },
            "pvc": env.claim_spec(mode, "32Mi"),
        },
    }));
}

/// A bed with a full source, and with its other volume reserved for the claim `restored`: its name.
fn reserved(mode: &str) -> (TestEnv, String) {
    let kind = if mode == "Block" { "block" } else { "filesystem" };
    let mut env = TestEnv::new(&[]);
    env.volumes(kind, "32Mi", 2);
    env.claim("golden", mode, "32Mi");
    env.fill("golden", 4 * MIB);
    let taken = env.get("pvc", "golden").unwrap()["spec"]["volumeName"].as_str().unwrap().to_owned();
    let spare =
        [0, 1].map(|n| format!("{}-{n}", env.namespace)).into_iter().find(|name| *name != taken).unwrap();
    let claim = json!({ "spec": { "claimRef": {
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": env.namespace, "name": "restored" } } });
    kubectl(&["patch", "pv", &spare, "--type=merge", "-p", &claim.to_string()], None);
    let path = env.backing_path_of_volume(&spare, mode);
    let path = if path.is_dir() { path.join("disk.img") } else { path };
    if mode == "Block" {
        use std::io::Write;
        std::fs::OpenOptions::new().write(true).open(&path).unwrap().write_all(KEPT).unwrap();
    } else {
        std::fs::write(&path, KEPT).unwrap();
    }
    assert!(std::process::Command::new("sync").status().unwrap().success());
    (env, spare)
}

#[test]
fn a_volume_reserved_for_a_data_volume_is_bound_and_keeps_its_content() {
    for mode in ["Block", "Filesystem"] {
        let (mut env, volume) = reserved(mode);
        env.start();
        annotated(&env, "restored", mode, &json!({ CHECK_STATIC: "" }));
        let dv = env.wait_for_success("restored");
        assert_eq!(dv["status"]["progress"], "N/A");
        assert_eq!(dv["metadata"]["annotations"].get(CLONE_TYPE), None);
        let claim = env.get("pvc", "restored").unwrap();
        assert_eq!(claim["spec"]["volumeName"], *volume);
        assert_eq!(claim["metadata"]["annotations"][POPULATED_FOR], "restored");
        assert!(
            content(&env.backing_path("restored"), KEPT.len()) == KEPT,
            "{mode}: the volume was cloned over"
        );
        let label = "app=containerized-data-importer";
        assert_eq!(kubectl(&["-n", &env.namespace, "get", "pods", "-l", label, "-o", "name"], None), "");
        env.wait("dv", "restored", |dv| dv["metadata"]["annotations"][PRE_POPULATED] == "restored");
    }
}

#[test]
fn without_a_reserved_volume_a_data_volume_that_asks_for_one_is_cloned() {
    let mut env = TestEnv::new(&[]);
    env.volumes("block", "32Mi", 2);
    env.claim("golden", "Block", "32Mi");
    let noise = env.fill("golden", 4 * MIB);
    env.start();
    annotated(&env, "copy", "Block", &json!({ CHECK_STATIC: "" }));
    let dv = env.wait_for_success("copy");
    assert_eq!(dv["metadata"]["annotations"][CLONE_TYPE], "copy");
    assert_content(&env, "copy", &noise);
    assert!(env.calls("list", "persistentvolumes") > 0 && env.calls("get", "persistentvolumes") > 0);
}

#[test]
fn a_reserved_volume_that_does_not_fit_is_not_overwritten() {
    let (mut env, _) = reserved("Filesystem");
    env.start();
    annotated(&env, "restored", "Block", &json!({ CHECK_STATIC: "" }));
    let message = env.wait_for_reason("restored", "Bound", "VolumeInTheWay");
    assert!(message.contains("it is a Filesystem volume, Block is asked for"), "{message}");
    assert_eq!(env.get("pvc", "restored"), None);
}

#[test]
fn restored_claims_are_adopted_bound_or_unbound_and_awaited() {
    let mut env = TestEnv::new(&[]);
    env.use_class_with_late_binding();
    env.start();
    // The claim first: no pod uses it, so it is not bound.
    let claim = |name: &str| {
        json!({ "apiVersion": "v1", "kind": "PersistentVolumeClaim",
                "metadata": { "name": name, "annotations": { POPULATED_FOR: name } },
                "spec": env.claim_spec("Block", "32Mi") })
    };
    env.apply(&claim("first"));
    annotated(&env, "first", "Block", &json!({ PRE_POPULATED: "first" }));
    let dv = env.wait_for_success("first");
    assert_eq!(dv["status"]["progress"], "N/A");
    let owned = env.get("pvc", "first").unwrap();
    assert_eq!(owned["status"]["phase"], "Pending");
    assert_eq!(owned["metadata"]["ownerReferences"][0]["uid"], dv["metadata"]["uid"]);
    // The DataVolume first.
    annotated(&env, "second", "Block", &json!({ PRE_POPULATED: "second" }));
    env.wait("dv", "second", |dv| dv["status"]["phase"] == "Pending");
    assert_eq!(env.get("pvc", "second"), None);
    env.apply(&claim("second"));
    env.wait_for_success("second");
}

#[test]
fn with_a_csi_storage_class_only_the_direct_flow_reports_that_it_waits_for_a_consumer_to_bind_the_claim() {
    let mut env = TestEnv::new(&[]);
    env.use_csi_class_with_late_binding();
    env.volumes("block", "32Mi", 1);
    env.apply(
        &json!({ "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": { "name": "golden" },
                       "spec": env.claim_spec("Block", "32Mi") }),
    );
    env.pod_using("first", "golden", true);
    env.wait("pvc", "golden", |claim| claim["status"]["phase"] == "Bound");
    env.start();
    annotated(&env, "copy", "Block", &json!({}));
    annotated(&env, "direct", "Block", &json!({ "cdi.kubevirt.io/storage.usePopulator": "false" }));
    env.wait("dv", "direct", |dv| dv["status"]["phase"] == "WaitForFirstConsumer");
    env.wait("dv", "copy", |dv| dv["status"]["phase"] == "PendingPopulation");
    assert!(env.get("pvc", "direct").unwrap()["spec"].get("dataSource").is_none());
}
