//! What is copied: both modes, and between them; names of any length.

use serde_json::json;

use crate::MIB;
use crate::content::assert_content;
use crate::environment::TestEnv;
use crate::kubectl::kubectl;

fn clone(from: &str, to: &str) {
    let mut env = TestEnv::new(&[]);
    env.volumes(&from.to_lowercase(), "128Mi", 1);
    env.claim("golden", from, "128Mi");
    env.volumes(&to.to_lowercase(), "192Mi", 1);
    let noise = env.fill("golden", 50 * MIB);
    env.start();
    env.data_volume("copy", (&env.namespace, "golden"), to, "192Mi");
    let dv = env.wait_for_success("copy");
    assert_eq!(dv["status"]["progress"], "100.0%");
    assert_eq!(dv["status"]["claimName"], "copy");
    assert_eq!(dv["status"]["conditions"][1]["status"], "True", "Ready");
    env.wait_for_cleanup("copy");
    assert_content(&env, "copy", &noise);
    let events = kubectl(&["-n", &env.namespace, "get", "events", "-o", "jsonpath={.items[*].reason}"], None);
    for reason in ["CloneScheduled", "CloneInProgress", "CloneSucceeded"] {
        assert!(events.contains(reason), "no event {reason}: {events}");
    }
    assert_eq!(env.terminate(), Some(0));
}

#[test]
fn a_filesystem_volume_is_cloned() {
    clone("Filesystem", "Filesystem");
}

#[test]
fn a_block_volume_is_cloned() {
    clone("Block", "Block");
}

#[test]
fn a_disk_image_is_cloned_onto_a_device() {
    clone("Filesystem", "Block");
}

#[test]
fn a_device_is_cloned_into_a_disk_image() {
    clone("Block", "Filesystem");
}

/// As KubeVirt's offline storage migration and Harvester ask for it. Without a StorageProfile the source decides.
#[test]
fn a_data_volume_that_names_only_class_and_size_is_cloned() {
    let mut env = TestEnv::new(&[]);
    env.volumes("block", "16Mi", 2);
    env.claim("golden", "Block", "16Mi");
    let noise = env.fill("golden", MIB);
    // From here on the class exists, so a StorageProfile is looked for.
    env.use_class_with_late_binding();
    env.start();
    env.apply(&json!({
        "apiVersion": "cdi.kubevirt.io/v1beta1", "kind": "DataVolume", 
        "metadata": { "name": "copy", "annotations": { "cdi.kubevirt.io/storage.bind.immediate.requested": "" } },
        "spec": {
            "source": { "pvc": { "namespace": env.namespace, "name": "golden" } },
            "storage": { "storageClassName": env.class, "resources": { "requests": { "storage": "16Mi" } } },
        },
    }));
    env.wait_for_success("copy");
    let claim = env.get("pvc", "copy").unwrap();
    assert_eq!(claim["spec"]["volumeMode"], "Block", "{claim}");
    assert_eq!(claim["spec"]["accessModes"], json!(["ReadWriteOnce"]), "{claim}");
    assert_content(&env, "copy", &noise);
    assert_eq!(env.terminate(), Some(0));
}

#[test]
fn a_claim_with_a_clone_request_is_filled() {
    let mut env = TestEnv::new(&[]);
    env.volumes("block", "16Mi", 2);
    env.claim("golden", "Block", "16Mi");
    let noise = env.fill("golden", MIB);
    env.pod_using("writer", "golden", true);
    env.start();
    env.bare_claim("copy", "golden", "16Mi");
    env.wait("pvc", "copy", |claim| {
        claim["metadata"]["annotations"]["cdi.kubevirt.io/storage.condition.running.reason"]
            == "CloneSourceInUse"
    });
    env.delete("pod", "writer");
    env.wait("pvc", "copy", |claim| claim["metadata"]["annotations"]["k8s.io/CloneOf"] == "true");
    env.wait_for_cleanup("copy");
    assert_content(&env, "copy", &noise);
    let path = "jsonpath={.items[?(@.involvedObject.kind==\"PersistentVolumeClaim\")].reason}";
    let events = kubectl(&["-n", &env.namespace, "get", "events", "-o", path], None);
    for reason in ["CloneSourceInUse", "CloneSucceeded"] {
        assert!(events.contains(reason), "no event {reason} about the claim: {events}");
    }
}

#[test]
fn keys_are_created_once() {
    let mut env = TestEnv::new(&crate::SLOW);
    env.volumes("block", "32Mi", 2);
    env.claim("golden", "Block", "32Mi");
    env.fill("golden", 24 * MIB);
    env.start();
    env.data_volume("copy", (&env.namespace, "golden"), "Block", "32Mi");
    env.wait_for_success("copy");
    // Two authorities, the key of tokens, and one Secret for each pod.
    assert_eq!((env.calls("create", "secrets"), env.calls("patch", "secrets")), (5, 0));
}

#[test]
fn a_name_of_253_characters_with_dots_is_cloned() {
    let mut env = TestEnv::new(&[]);
    env.volumes("block", "16Mi", 2);
    env.claim("golden", "Block", "16Mi");
    let noise = env.fill("golden", MIB);
    env.start();
    let name = format!("{}{}", "long.name-".repeat(25), "end");
    assert_eq!(name.len(), 253);
    env.data_volume(&name, (&env.namespace, "golden"), "Block", "16Mi");
    env.wait_for_success(&name);
    env.wait_for_cleanup(&name);
    assert_content(&env, &name, &noise);
}
