//! What a restore brought is kept: reserved volumes, claims that another tool filled or will fill.

use serde_json::{Value, json};

use crate::MIB;
use crate::bed::Bed;
use crate::content::{content, holds};
use crate::kubectl::kubectl;

const CHECK_STATIC: &str = "cdi.kubevirt.io/storage.checkStaticVolume";
const POPULATED_FOR: &str = "cdi.kubevirt.io/storage.populatedFor";
const PRE_POPULATED: &str = "cdi.kubevirt.io/storage.prePopulated";
const CLONE_TYPE: &str = "cdi.kubevirt.io/cloneType";
/// What the restored volume begins with.
const KEPT: &[u8] = b"KEEPME";

fn annotated(bed: &Bed, name: &str, mode: &str, annotations: &Value) {
    bed.apply(&json!({
        "apiVersion": "cdi.kubevirt.io/v1beta1", "kind": "DataVolume",
        "metadata": { "name": name, "annotations": annotations },
        "spec": {
            "source": { "pvc": { "namespace": bed.namespace, "name": "golden" } },
            "pvc": bed.claim_spec(mode, "32Mi"),
        },
    }));
}

/// A bed with a full source, and with its other volume reserved for the claim `restored`: its name.
fn reserved(mode: &str) -> (Bed, String) {
    let kind = if mode == "Block" { "block" } else { "filesystem" };
    let mut bed = Bed::new(&[]);
    bed.volumes(kind, "32Mi", 2);
    bed.claim("golden", mode, "32Mi");
    bed.fill("golden", 4 * MIB);
    let taken = bed.get("pvc", "golden").unwrap()["spec"]["volumeName"].as_str().unwrap().to_owned();
    let spare =
        [0, 1].map(|n| format!("{}-{n}", bed.namespace)).into_iter().find(|name| *name != taken).unwrap();
    let claim = json!({ "spec": { "claimRef": {
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": bed.namespace, "name": "restored" } } });
    kubectl(&["patch", "pv", &spare, "--type=merge", "-p", &claim.to_string()], None);
    let path = bed.behind_volume(&spare, mode);
    let path = if path.is_dir() { path.join("disk.img") } else { path };
    if mode == "Block" {
        use std::io::Write;
        std::fs::OpenOptions::new().write(true).open(&path).unwrap().write_all(KEPT).unwrap();
    } else {
        std::fs::write(&path, KEPT).unwrap();
    }
    assert!(std::process::Command::new("sync").status().unwrap().success());
    (bed, spare)
}

#[test]
fn a_volume_that_is_reserved_for_a_data_volume_is_bound_and_its_content_kept() {
    for mode in ["Block", "Filesystem"] {
        let (mut bed, volume) = reserved(mode);
        bed.start();
        annotated(&bed, "restored", mode, &json!({ CHECK_STATIC: "" }));
        let dv = bed.succeeds("restored");
        assert_eq!(dv["status"]["progress"], "N/A");
        assert_eq!(dv["metadata"]["annotations"].get(CLONE_TYPE), None);
        let claim = bed.get("pvc", "restored").unwrap();
        assert_eq!(claim["spec"]["volumeName"], *volume);
        assert_eq!(claim["metadata"]["annotations"][POPULATED_FOR], "restored");
        assert!(content(&bed.behind("restored"), KEPT.len()) == KEPT, "{mode}: the volume was cloned over");
        let label = "app=containerized-data-importer";
        assert_eq!(kubectl(&["-n", &bed.namespace, "get", "pods", "-l", label, "-o", "name"], None), "");
        bed.wait("dv", "restored", |dv| dv["metadata"]["annotations"][PRE_POPULATED] == "restored");
    }
}

#[test]
fn where_no_volume_is_reserved_a_data_volume_that_asks_for_one_is_cloned() {
    let mut bed = Bed::new(&[]);
    bed.volumes("block", "32Mi", 2);
    bed.claim("golden", "Block", "32Mi");
    let noise = bed.fill("golden", 4 * MIB);
    bed.start();
    annotated(&bed, "copy", "Block", &json!({ CHECK_STATIC: "" }));
    let dv = bed.succeeds("copy");
    assert_eq!(dv["metadata"]["annotations"][CLONE_TYPE], "copy");
    holds(&bed, "copy", &noise);
    assert!(bed.calls("list", "persistentvolumes") > 0 && bed.calls("get", "persistentvolumes") > 0);
}

#[test]
fn a_reserved_volume_that_does_not_fit_is_not_cloned_over() {
    let (mut bed, _) = reserved("Filesystem");
    bed.start();
    annotated(&bed, "restored", "Block", &json!({ CHECK_STATIC: "" }));
    let message = bed.says("restored", "Bound", "VolumeInTheWay");
    assert!(message.contains("it is a Filesystem volume, Block is asked for"), "{message}");
    assert_eq!(bed.get("pvc", "restored"), None);
}

#[test]
fn restored_claims_are_taken_bound_or_not_and_waited_for() {
    let mut bed = Bed::new(&[]);
    bed.waits_for_consumers();
    bed.start();
    // The claim first: no pod uses it, so it is not bound.
    let claim = |name: &str| {
        json!({ "apiVersion": "v1", "kind": "PersistentVolumeClaim",
                "metadata": { "name": name, "annotations": { POPULATED_FOR: name } },
                "spec": bed.claim_spec("Block", "32Mi") })
    };
    bed.apply(&claim("first"));
    annotated(&bed, "first", "Block", &json!({ PRE_POPULATED: "first" }));
    let dv = bed.succeeds("first");
    assert_eq!(dv["status"]["progress"], "N/A");
    let owned = bed.get("pvc", "first").unwrap();
    assert_eq!(owned["status"]["phase"], "Pending");
    assert_eq!(owned["metadata"]["ownerReferences"][0]["uid"], dv["metadata"]["uid"]);
    // The DataVolume first.
    annotated(&bed, "second", "Block", &json!({ PRE_POPULATED: "second" }));
    bed.wait("dv", "second", |dv| dv["status"]["phase"] == "Pending");
    assert_eq!(bed.get("pvc", "second"), None);
    bed.apply(&claim("second"));
    bed.succeeds("second");
}

#[test]
fn on_the_class_of_a_csi_driver_the_clone_is_the_first_consumer() {
    let mut bed = Bed::new(&[]);
    bed.waits_for_consumers_of_a_driver();
    bed.volumes("block", "32Mi", 2);
    bed.apply(
        &json!({ "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": { "name": "golden" },
                       "spec": bed.claim_spec("Block", "32Mi") }),
    );
    bed.user_of("first", "golden", true);
    bed.wait("pvc", "golden", |claim| claim["status"]["phase"] == "Bound");
    let noise = bed.fill("golden", 4 * MIB);
    bed.start();
    // The source is in use, so there is time to look.
    annotated(&bed, "copy", "Block", &json!({}));
    annotated(&bed, "direct", "Block", &json!({ "cdi.kubevirt.io/storage.usePopulator": "false" }));
    bed.wait("dv", "direct", |dv| dv["status"]["phase"] == "WaitForFirstConsumer");
    bed.says("copy", "Running", "CloneSourceInUse");
    assert_eq!(bed.get("dv", "copy").unwrap()["status"]["phase"], "Pending");
    bed.delete("pod", "first");
    bed.succeeds("copy");
    holds(&bed, "copy", &noise);
}
