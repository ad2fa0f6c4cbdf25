//! What a clone waits for and reports, and how it continues.

use serde_json::json;

use crate::content::assert_content;
use crate::environment::TestEnv;
use crate::kubectl::kubectl;
use crate::{MIB, SLOW};

fn with_source(flags: &[&str], spare: usize) -> (TestEnv, Vec<u8>) {
    let mut env = TestEnv::new(flags);
    env.volumes("block", "32Mi", 1 + spare);
    env.claim("golden", "Block", "32Mi");
    let noise = env.fill("golden", 4 * MIB);
    (env, noise)
}

#[test]
fn a_source_in_use_is_waited_for() {
    let (mut env, noise) = with_source(&[], 1);
    env.pod_using("writer", "golden", true);
    env.start();
    env.data_volume("copy", (&env.namespace, "golden"), "Block", "32Mi");
    let message = env.wait_for_reason("copy", "Running", "CloneSourceInUse");
    assert!(message.contains("/writer using PersistentVolumeClaim golden"), "{message}");
    assert_eq!(env.get("dv", "copy").unwrap()["status"]["phase"], "CloneScheduled");
    env.delete("pod", "writer");
    env.wait_for_success("copy");
    assert_content(&env, "copy", &noise);
}

#[test]
fn a_source_that_is_still_being_cloned_is_waited_for() {
    let (mut env, noise) = with_source(&SLOW, 2);
    env.start();
    env.data_volume("second", (&env.namespace, "first"), "Block", "32Mi");
    env.data_volume("first", (&env.namespace, "golden"), "Block", "32Mi");
    env.wait_for_success("second");
    assert_eq!(env.get("dv", "first").unwrap()["status"]["phase"], "Succeeded");
    assert_content(&env, "second", &noise);
}

#[test]
fn a_data_source_is_resolved_once_it_exists() {
    let (mut env, noise) = with_source(&[], 1);
    env.start();
    let spec = json!({
        "accessModes": ["ReadWriteOnce"], "volumeMode": "Block", "storageClassName": env.namespace,
        "resources": { "requests": { "storage": "32Mi" } },
    });
    env.apply(&json!({
        "apiVersion": "cdi.kubevirt.io/v1beta1", "kind": "DataVolume", "metadata": { "name": "copy" },
        "spec": { "sourceRef": { "kind": "DataSource", "name": "images" }, "pvc": spec },
    }));
    let message = env.wait_for_reason("copy", "Bound", "CloneWithoutSource");
    assert!(message.contains("DataSource"), "{message}");
    env.apply(&json!({
        "apiVersion": "cdi.kubevirt.io/v1beta1", "kind": "DataSource", "metadata": { "name": "images" },
        "spec": { "source": { "pvc": { "name": "golden" } } },
    }));
    env.wait_for_success("copy");
    assert_content(&env, "copy", &noise);
}

#[test]
fn a_quota_is_named_and_the_clone_continues_after_it_is_raised() {
    let (mut env, noise) = with_source(&[], 1);
    let quota = |pods: u32, claims: u32| {
        json!({ "apiVersion": "v1", "kind": "ResourceQuota", "metadata": { "name": "q" },
                "spec": { "hard": { "pods": pods.to_string(), "persistentvolumeclaims": claims.to_string() } } })
    };
    env.apply(&quota(0, 1));
    env.wait("resourcequota", "q", |quota| quota["status"]["used"]["persistentvolumeclaims"] == "1");
    env.start();
    env.data_volume("copy", (&env.namespace, "golden"), "Block", "32Mi");
    let message = env.wait_for_reason("copy", "Bound", "ErrExceededQuota");
    assert!(message.contains("persistentvolumeclaims=1"), "{message}");
    assert_eq!(env.get("dv", "copy").unwrap()["status"]["phase"], "Pending");
    env.apply(&quota(0, 5));
    let message = env.wait_for_reason("copy", "Running", "ErrExceededQuota");
    assert!(message.contains("exceeded quota: q"), "{message}");
    env.apply(&quota(5, 5));
    env.wait_for_success("copy");
    assert_content(&env, "copy", &noise);
}

#[test]
fn a_claim_that_waits_for_its_consumer_is_bound_by_the_clone_only_on_request() {
    let mut env = TestEnv::new(&[]);
    env.use_class_with_late_binding();
    env.volumes("block", "32Mi", 3);
    env.apply(&json!({ "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": { "name": "golden" }, "spec": {
        "accessModes": ["ReadWriteOnce"], "volumeMode": "Block", "storageClassName": env.namespace,
        "resources": { "requests": { "storage": "32Mi" } } } }));
    env.pod_using("first", "golden", true);
    env.wait("pvc", "golden", |claim| claim["status"]["phase"] == "Bound");
    env.delete("pod", "first");
    let noise = env.fill("golden", 4 * MIB);
    env.start();
    env.data_volume("later", (&env.namespace, "golden"), "Block", "32Mi");
    env.wait("dv", "later", |dv| dv["status"]["phase"] == "WaitForFirstConsumer");
    env.data_volume("now", (&env.namespace, "golden"), "Block", "32Mi");
    kubectl(
        &["-n", &env.namespace, "annotate", "dv", "now", "cdi.kubevirt.io/storage.bind.immediate.requested="],
        None,
    );
    env.wait_for_success("now");
    assert_content(&env, "now", &noise);
    assert_eq!(env.get("dv", "later").unwrap()["status"]["phase"], "WaitForFirstConsumer");
    env.pod_using("consumer", "later", true);
    env.wait_for_reason("later", "Running", "UploadTargetInUse");
    env.delete("pod", "consumer");
    env.wait_for_success("later");
    assert_content(&env, "later", &noise);
}

#[test]
fn a_clone_beyond_the_limit_reports_its_position_and_runs_later() {
    let (mut env, noise) = with_source(&["--max-clones", "1"], 3);
    env.start();
    // The first one runs until the others are in the queue.
    env.limited_data_volume("a", (&env.namespace, "golden"), ("Block", "32Mi"), "64KiB/s");
    env.wait_for_copying("a");
    for name in ["b", "c"] {
        env.data_volume(name, (&env.namespace, "golden"), "Block", "32Mi");
    }
    env.wait("dv", "c", |dv| {
        let text = dv["status"]["conditions"][2]["message"].as_str().unwrap_or_default();
        text.contains(" of 2 in the queue: 1 clones run (limit 1")
            && dv["status"]["phase"] == "CloneScheduled"
    });
    env.lift_limit("a");
    for name in ["a", "b", "c"] {
        env.wait_for_success(name);
        assert_content(&env, name, &noise);
    }
}
