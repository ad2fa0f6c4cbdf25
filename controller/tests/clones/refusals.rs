//! Impossible requests are reported with what to do.

use serde_json::json;

use crate::MIB;
use crate::environment::TestEnv;

#[test]
fn impossible_requests_are_reported() {
    let mut env = TestEnv::new(&[]);
    env.volumes("block", "64Mi", 1);
    env.claim("golden", "Block", "64Mi");
    env.start();
    env.data_volume("small", (&env.namespace, "golden"), "Block", "32Mi");
    env.wait_for_reason("small", "Bound", "CloneValidationFailed");
    env.data_volume("zero", (&env.namespace, "golden"), "Block", "0");
    env.wait_for_reason("zero", "Bound", "ErrClaimNotValid");
    env.data_volume("golden", (&env.namespace, "golden"), "Block", "64Mi");
    env.wait_for_reason("golden", "Bound", "ErrResourceExists");
    env.apply(&json!({
        "apiVersion": "cdi.kubevirt.io/v1beta1", "kind": "DataVolume", "metadata": { "name": "import" },
        "spec": { "source": { "http": { "url": "http://example.invalid" } },
                  "pvc": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "64Mi" } } } },
    }));
    let message = env.wait_for_reason("import", "Bound", "SourceNotSupported");
    assert!(message.contains("source http"), "{message}");
}

#[test]
fn an_image_that_cannot_be_pulled_is_named() {
    let mut env = TestEnv::new(&["--cloner-image", "localhost/there-is:none"]);
    env.volumes("block", "16Mi", 2);
    env.claim("golden", "Block", "16Mi");
    env.start();
    env.data_volume("copy", (&env.namespace, "golden"), "Block", "16Mi");
    let message = env.wait_for_reason("copy", "Running", "ImagePullFailed");
    assert!(message.contains("localhost/there-is:none"), "{message}");
}

#[test]
fn a_foreign_pod_with_the_target_pods_name_is_named_and_left_alone() {
    let mut env = TestEnv::new(&[]);
    env.volumes("block", "16Mi", 3);
    env.claim("golden", "Block", "16Mi");
    env.claim("other", "Block", "16Mi");
    env.pod_using("cdi-upload-copy", "other", true);
    env.start();
    env.data_volume("copy", (&env.namespace, "golden"), "Block", "16Mi");
    let message = env.wait_for_reason("copy", "Running", "ErrStartingPod");
    let why = format!("pod {}/cdi-upload-copy is in the way: this controller did not make it", env.namespace);
    assert!(message.contains(&why), "{message}");
    let stranger = env.get("pod", "cdi-upload-copy").expect("the pod is gone");
    assert_eq!(stranger["metadata"]["deletionTimestamp"], serde_json::Value::Null);
    env.delete("pod", "cdi-upload-copy");
    env.wait_for_success("copy");
}

#[test]
fn a_full_target_is_named_and_not_reported_as_complete() {
    let mut env = TestEnv::new(&[]);
    env.volumes("filesystem", "96Mi", 1);
    env.claim("golden", "Filesystem", "96Mi");
    env.fill("golden", 60 * MIB);
    env.volumes("filesystem", "32Mi", 1);
    env.start();
    env.apply(&json!({
        "apiVersion": "cdi.kubevirt.io/v1beta1", "kind": "DataVolume",
        "metadata": { "name": "copy", "annotations": { "cdi.kubevirt.io/permissiveClone": "true" } },
        "spec": {
            "source": { "pvc": { "namespace": env.namespace, "name": "golden" } },
            "storage": { "accessModes": ["ReadWriteOnce"], "storageClassName": env.namespace,
                         "resources": { "requests": { "storage": "20Mi" } } },
        },
    }));
    let message = env.wait_for_reason("copy", "Running", "Error");
    assert_eq!(message, "DataVolume too small to contain image");
    assert!(!env.backing_path("copy").join("disk.img").exists(), "a file that looks whole");
}
