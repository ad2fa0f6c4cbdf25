//! What cannot be done, in words that a user can act on.

use serde_json::json;

use crate::MIB;
use crate::bed::Bed;

#[test]
fn what_cannot_be_done_is_said() {
    let mut bed = Bed::new(&[]);
    bed.volumes("block", "64Mi", 1);
    bed.claim("golden", "Block", "64Mi");
    bed.start();
    bed.data_volume("small", (&bed.namespace, "golden"), "Block", "32Mi");
    bed.says("small", "Bound", "CloneValidationFailed");
    bed.data_volume("zero", (&bed.namespace, "golden"), "Block", "0");
    bed.says("zero", "Bound", "ErrClaimNotValid");
    bed.data_volume("golden", (&bed.namespace, "golden"), "Block", "64Mi");
    bed.says("golden", "Bound", "ErrResourceExists");
    bed.apply(&json!({
        "apiVersion": "cdi.kubevirt.io/v1beta1", "kind": "DataVolume", "metadata": { "name": "import" },
        "spec": { "source": { "http": { "url": "http://example.invalid" } },
                  "pvc": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "64Mi" } } } },
    }));
    let message = bed.says("import", "Bound", "SourceNotSupported");
    assert!(message.contains("source http"), "{message}");
}

#[test]
fn an_image_that_cannot_be_had_is_named() {
    let mut bed = Bed::new(&["--cloner-image", "localhost/there-is:none"]);
    bed.volumes("block", "16Mi", 2);
    bed.claim("golden", "Block", "16Mi");
    bed.start();
    bed.data_volume("copy", (&bed.namespace, "golden"), "Block", "16Mi");
    let message = bed.says("copy", "Running", "ImagePullFailed");
    assert!(message.contains("localhost/there-is:none"), "{message}");
}

#[test]
fn a_strangers_pod_with_the_targets_name_is_named_and_left_alone() {
    let mut bed = Bed::new(&[]);
    bed.volumes("block", "16Mi", 3);
    bed.claim("golden", "Block", "16Mi");
    bed.claim("other", "Block", "16Mi");
    bed.user_of("cdi-upload-copy", "other", true);
    bed.start();
    bed.data_volume("copy", (&bed.namespace, "golden"), "Block", "16Mi");
    let message = bed.says("copy", "Running", "ErrStartingPod");
    let why = format!("pod {}/cdi-upload-copy is in the way: this controller did not make it", bed.namespace);
    assert!(message.contains(&why), "{message}");
    let stranger = bed.get("pod", "cdi-upload-copy").expect("the pod is gone");
    assert_eq!(stranger["metadata"]["deletionTimestamp"], serde_json::Value::Null);
    bed.delete("pod", "cdi-upload-copy");
    bed.succeeds("copy");
}

#[test]
fn a_full_target_is_named_and_nothing_looks_finished() {
    let mut bed = Bed::new(&[]);
    bed.volumes("filesystem", "96Mi", 1);
    bed.claim("golden", "Filesystem", "96Mi");
    bed.fill("golden", 60 * MIB);
    bed.volumes("filesystem", "32Mi", 1);
    bed.start();
    bed.apply(&json!({
        "apiVersion": "cdi.kubevirt.io/v1beta1", "kind": "DataVolume",
        "metadata": { "name": "copy", "annotations": { "cdi.kubevirt.io/permissiveClone": "true" } },
        "spec": {
            "source": { "pvc": { "namespace": bed.namespace, "name": "golden" } },
            "storage": { "accessModes": ["ReadWriteOnce"], "storageClassName": bed.namespace,
                         "resources": { "requests": { "storage": "20Mi" } } },
        },
    }));
    let message = bed.says("copy", "Running", "Error");
    assert_eq!(message, "DataVolume too small to contain image");
    assert!(!bed.behind("copy").join("disk.img").exists(), "a file that looks whole");
}
