//! What a clone waits for, says, and goes on after.

use serde_json::json;

use crate::bed::Bed;
use crate::content::holds;
use crate::kubectl::kubectl;
use crate::{MIB, SLOW};

fn with_source(flags: &[&str], spare: usize) -> (Bed, Vec<u8>) {
    let mut bed = Bed::new(flags);
    bed.volumes("block", "32Mi", 1 + spare);
    bed.claim("golden", "Block", "32Mi");
    let noise = bed.fill("golden", 4 * MIB);
    (bed, noise)
}

#[test]
fn a_source_in_use_is_waited_for() {
    let (mut bed, noise) = with_source(&[], 1);
    bed.user_of("writer", "golden", true);
    bed.start();
    bed.data_volume("copy", (&bed.namespace, "golden"), "Block", "32Mi");
    let message = bed.says("copy", "Running", "CloneSourceInUse");
    assert!(message.contains("/writer using PersistentVolumeClaim golden"), "{message}");
    assert_eq!(bed.get("dv", "copy").unwrap()["status"]["phase"], "CloneScheduled");
    bed.delete("pod", "writer");
    bed.succeeds("copy");
    holds(&bed, "copy", &noise);
}

#[test]
fn a_source_that_is_a_clone_itself_is_waited_for() {
    let (mut bed, noise) = with_source(&SLOW, 2);
    bed.start();
    bed.data_volume("second", (&bed.namespace, "first"), "Block", "32Mi");
    bed.data_volume("first", (&bed.namespace, "golden"), "Block", "32Mi");
    bed.succeeds("second");
    assert_eq!(bed.get("dv", "first").unwrap()["status"]["phase"], "Succeeded");
    holds(&bed, "second", &noise);
}

#[test]
fn a_data_source_is_followed_once_it_is_there() {
    let (mut bed, noise) = with_source(&[], 1);
    bed.start();
    let spec = json!({
        "accessModes": ["ReadWriteOnce"], "volumeMode": "Block", "storageClassName": bed.namespace,
        "resources": { "requests": { "storage": "32Mi" } },
    });
    bed.apply(&json!({
        "apiVersion": "cdi.kubevirt.io/v1beta1", "kind": "DataVolume", "metadata": { "name": "copy" },
        "spec": { "sourceRef": { "kind": "DataSource", "name": "images" }, "pvc": spec },
    }));
    let message = bed.says("copy", "Bound", "CloneWithoutSource");
    assert!(message.contains("DataSource"), "{message}");
    bed.apply(&json!({
        "apiVersion": "cdi.kubevirt.io/v1beta1", "kind": "DataSource", "metadata": { "name": "images" },
        "spec": { "source": { "pvc": { "name": "golden" } } },
    }));
    bed.succeeds("copy");
    holds(&bed, "copy", &noise);
}

#[test]
fn a_quota_is_named_and_a_larger_one_lets_the_clone_go_on() {
    let (mut bed, noise) = with_source(&[], 1);
    let quota = |pods: u32, claims: u32| {
        json!({ "apiVersion": "v1", "kind": "ResourceQuota", "metadata": { "name": "q" },
                "spec": { "hard": { "pods": pods.to_string(), "persistentvolumeclaims": claims.to_string() } } })
    };
    bed.apply(&quota(0, 1));
    bed.wait("resourcequota", "q", |quota| quota["status"]["used"]["persistentvolumeclaims"] == "1");
    bed.start();
    bed.data_volume("copy", (&bed.namespace, "golden"), "Block", "32Mi");
    let message = bed.says("copy", "Bound", "ErrExceededQuota");
    assert!(message.contains("persistentvolumeclaims=1"), "{message}");
    assert_eq!(bed.get("dv", "copy").unwrap()["status"]["phase"], "Pending");
    bed.apply(&quota(0, 5));
    let message = bed.says("copy", "Running", "ErrExceededQuota");
    assert!(message.contains("exceeded quota: q"), "{message}");
    bed.apply(&quota(5, 5));
    bed.succeeds("copy");
    holds(&bed, "copy", &noise);
}

#[test]
fn a_claim_that_waits_for_its_consumer_is_left_to_it_unless_it_shall_be_bound_at_once() {
    let mut bed = Bed::new(&[]);
    bed.waits_for_consumers();
    bed.volumes("block", "32Mi", 3);
    bed.apply(&json!({ "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": { "name": "golden" }, "spec": {
        "accessModes": ["ReadWriteOnce"], "volumeMode": "Block", "storageClassName": bed.namespace,
        "resources": { "requests": { "storage": "32Mi" } } } }));
    bed.user_of("first", "golden", true);
    bed.wait("pvc", "golden", |claim| claim["status"]["phase"] == "Bound");
    bed.delete("pod", "first");
    let noise = bed.fill("golden", 4 * MIB);
    bed.start();
    bed.data_volume("later", (&bed.namespace, "golden"), "Block", "32Mi");
    bed.wait("dv", "later", |dv| dv["status"]["phase"] == "WaitForFirstConsumer");
    bed.data_volume("now", (&bed.namespace, "golden"), "Block", "32Mi");
    kubectl(
        &["-n", &bed.namespace, "annotate", "dv", "now", "cdi.kubevirt.io/storage.bind.immediate.requested="],
        None,
    );
    bed.succeeds("now");
    holds(&bed, "now", &noise);
    assert_eq!(bed.get("dv", "later").unwrap()["status"]["phase"], "WaitForFirstConsumer");
    bed.user_of("consumer", "later", true);
    bed.says("later", "Running", "UploadTargetInUse");
    bed.delete("pod", "consumer");
    bed.succeeds("later");
    holds(&bed, "later", &noise);
}

#[test]
fn a_clone_beyond_the_limit_tells_its_place_and_gets_its_turn() {
    let (mut bed, noise) = with_source(&[SLOW, ["--max-clones", "1"]].concat(), 3);
    bed.start();
    for name in ["a", "b", "c"] {
        bed.data_volume(name, (&bed.namespace, "golden"), "Block", "32Mi");
    }
    let waits = |dv: &serde_json::Value| {
        let text = dv["status"]["conditions"][2]["message"].as_str().unwrap_or_default();
        text.contains("in the queue") && dv["status"]["phase"] == "CloneScheduled"
    };
    let place = bed.wait("dv", "c", waits);
    let text = place["status"]["conditions"][2]["message"].as_str().unwrap();
    assert!(text.contains(" of 2 in the queue: 1 clones run (limit 1"), "{text}");
    for name in ["a", "b", "c"] {
        bed.succeeds(name);
        holds(&bed, name, &noise);
    }
}
