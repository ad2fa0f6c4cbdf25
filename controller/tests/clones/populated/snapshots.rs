//! Clones of snapshots, which the test provisioner takes and restores as copies.

use serde_json::json;

use crate::MIB;
use crate::content::assert_content;
use crate::environment::TestEnv;
use crate::kubectl::try_kubectl;
use crate::populated::{NOW, WAIT, from_clone_source};

/// The driver of the test provisioner.
const DRIVER: &str = "provisioner.test.decant.dev";

impl TestEnv {
    /// Takes a snapshot of the claim `golden`, and lets a pod use the claim and write to it.
    fn take_snapshot_and_write(&self) {
        self.apply(&json!({
            "apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshot", "metadata": { "name": "golden" },
            "spec": { "source": { "persistentVolumeClaimName": "golden" } },
        }));
        self.wait("volumesnapshot", "golden", |snapshot| snapshot["status"]["readyToUse"] == true);
        self.shell_pod(
            "writer",
            "golden",
            "Block",
            "head -c 4194304 /dev/urandom >/dev/v && sync && exec sleep 100000",
        );
        self.wait("pod", "writer", |pod| pod["status"]["phase"] == "Running");
    }
}

#[test]
fn a_snapshot_is_cloned_while_its_claim_is_in_use() {
    let mut env = TestEnv::new(&[]);
    let noise = env.provisioned_source("Block", "24Mi", 20 * MIB);
    env.take_snapshot_and_write();
    env.apply(&json!({
        "apiVersion": "decant.dev/v1alpha1", "kind": "CloneSource", "metadata": { "name": "golden" },
        "spec": { "source": { "kind": "VolumeSnapshot", "name": "golden" } },
    }));
    env.start();
    env.request_claim("copy", &from_clone_source(NOW, "Block", "24Mi", "golden"));
    env.wait_for_populated("copy");
    assert_content(&env, "copy", &noise);
    let spec = json!({
        "source": { "snapshot": { "namespace": env.namespace, "name": "golden" } },
        "pvc": { "accessModes": ["ReadWriteOnce"], "volumeMode": "Block", "storageClassName": NOW,
                 "resources": { "requests": { "storage": "24Mi" } } },
    });
    env.apply(&json!({
        "apiVersion": "cdi.kubevirt.io/v1beta1", "kind": "DataVolume", "metadata": { "name": "vm" }, "spec": spec,
    }));
    env.wait_for_success("vm");
    assert_content(&env, "vm", &noise);
    assert_eq!(env.get("pod", "writer").unwrap()["status"]["phase"], "Running");
    env.wait_until_tidy();
    env.delete("volumesnapshot", "golden");
    env.end_without_leftovers();
}

#[test]
fn a_snapshot_is_cloned_to_a_class_that_waits_for_a_consumer() {
    let mut env = TestEnv::new(&[]);
    let noise = env.provisioned_source("Block", "24Mi", 4 * MIB);
    env.take_snapshot_and_write();
    env.apply(&json!({
        "apiVersion": "decant.dev/v1alpha1", "kind": "CloneSource", "metadata": { "name": "golden" },
        "spec": { "source": { "kind": "VolumeSnapshot", "name": "golden" } },
    }));
    env.start();
    env.request_claim("copy", &from_clone_source(WAIT, "Block", "24Mi", "golden"));
    env.pod_using("consumer", "copy", true);
    env.wait_for_populated("copy");
    assert_content(&env, "copy", &noise);
    env.wait_until_tidy();
    env.delete("volumesnapshot", "golden");
    env.end_without_leftovers();
}

#[test]
fn a_source_in_use_is_cloned_through_a_snapshot_of_it() {
    let mut env = TestEnv::new(&[]);
    let noise = env.provisioned_source("Block", "24Mi", 20 * MIB);
    env.apply(&json!({
        "apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshotClass", "metadata": { "name": "decant-test" },
        "driver": DRIVER, "deletionPolicy": "Delete",
    }));
    env.shell_pod("writer", "golden", "Block", "exec sleep 100000");
    env.wait("pod", "writer", |pod| pod["status"]["phase"] == "Running");
    env.clone_source("golden", "golden", &json!({}));
    env.start();
    env.request_claim("copy", &from_clone_source(NOW, "Block", "24Mi", "golden"));
    // By default it waits.
    let name = "cdi.kubevirt.io/cloneError";
    env.wait("pvc", "copy", |claim| {
        claim["metadata"]["annotations"][name].as_str().is_some_and(|text| text.contains("writer using"))
    });
    env.clone_source("golden", "golden", &json!({ "sourceInUse": "snapshot" }));
    env.wait_for_populated("copy");
    assert_content(&env, "copy", &noise);
    let claim = env.get("pvc", "copy").unwrap();
    assert!(claim["metadata"]["annotations"]["decant.dev/snapshot-time"].is_string(), "{claim:#}");
    let spec = json!({
        "source": { "pvc": { "namespace": env.namespace, "name": "golden" } },
        "pvc": { "accessModes": ["ReadWriteOnce"], "volumeMode": "Block", "storageClassName": NOW,
                 "resources": { "requests": { "storage": "24Mi" } } },
    });
    env.apply(&json!({
        "apiVersion": "cdi.kubevirt.io/v1beta1", "kind": "DataVolume",
        "metadata": { "name": "vm", "annotations": { "decant.dev/source-in-use": "snapshot" } }, "spec": spec,
    }));
    env.wait_for_success("vm");
    assert_content(&env, "vm", &noise);
    let dv = env.get("datavolume", "vm").unwrap();
    assert!(dv["metadata"]["annotations"]["decant.dev/snapshot-time"].is_string(), "{dv:#}");
    assert_eq!(env.get("pod", "writer").unwrap()["status"]["phase"], "Running");
    env.wait_until_tidy();
    let (_, left) = try_kubectl(&["-n", &env.namespace, "get", "volumesnapshots", "-o", "name"], None);
    assert_eq!(left.trim(), "", "the snapshot is deleted with its clone");
    env.end_without_leftovers();
}
