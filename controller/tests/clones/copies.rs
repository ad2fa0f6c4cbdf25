//! What is copied: both modes, and between them; names of any length.

use crate::MIB;
use crate::bed::Bed;
use crate::content::holds;
use crate::kubectl::kubectl;

fn clone(from: &str, to: &str) {
    let mut bed = Bed::new(&[]);
    bed.volumes(&from.to_lowercase(), "128Mi", 1);
    bed.claim("golden", from, "128Mi");
    bed.volumes(&to.to_lowercase(), "192Mi", 1);
    let noise = bed.fill("golden", 50 * MIB);
    bed.start();
    bed.data_volume("copy", (&bed.namespace, "golden"), to, "192Mi");
    let dv = bed.succeeds("copy");
    assert_eq!(dv["status"]["progress"], "100.0%");
    assert_eq!(dv["status"]["claimName"], "copy");
    assert_eq!(dv["status"]["conditions"][1]["status"], "True", "Ready");
    bed.is_tidy("copy");
    holds(&bed, "copy", &noise);
    let events = kubectl(&["-n", &bed.namespace, "get", "events", "-o", "jsonpath={.items[*].reason}"], None);
    for reason in ["CloneScheduled", "CloneInProgress", "CloneSucceeded"] {
        assert!(events.contains(reason), "no event {reason}: {events}");
    }
    assert_eq!(bed.terminate(), Some(0));
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

#[test]
fn a_claim_that_asks_by_itself_is_filled() {
    let mut bed = Bed::new(&[]);
    bed.volumes("block", "16Mi", 2);
    bed.claim("golden", "Block", "16Mi");
    let noise = bed.fill("golden", MIB);
    bed.user_of("writer", "golden", true);
    bed.start();
    bed.bare_claim("copy", "golden", "16Mi");
    bed.wait("pvc", "copy", |claim| {
        claim["metadata"]["annotations"]["cdi.kubevirt.io/storage.condition.running.reason"]
            == "CloneSourceInUse"
    });
    bed.delete("pod", "writer");
    bed.wait("pvc", "copy", |claim| claim["metadata"]["annotations"]["k8s.io/CloneOf"] == "true");
    bed.is_tidy("copy");
    holds(&bed, "copy", &noise);
    let path = "jsonpath={.items[?(@.involvedObject.kind==\"PersistentVolumeClaim\")].reason}";
    let events = kubectl(&["-n", &bed.namespace, "get", "events", "-o", path], None);
    for reason in ["CloneSourceInUse", "CloneSucceeded"] {
        assert!(events.contains(reason), "no event {reason} about the claim: {events}");
    }
}

#[test]
fn keys_are_made_once() {
    let mut bed = Bed::new(&crate::SLOW);
    bed.volumes("block", "32Mi", 2);
    bed.claim("golden", "Block", "32Mi");
    bed.fill("golden", 24 * MIB);
    bed.start();
    bed.data_volume("copy", (&bed.namespace, "golden"), "Block", "32Mi");
    bed.succeeds("copy");
    // Two authorities, the key of tokens, and one Secret for each pod.
    assert_eq!((bed.calls("create", "secrets"), bed.calls("patch", "secrets")), (5, 0));
}

#[test]
fn a_name_of_253_characters_with_dots_is_as_good_as_any() {
    let mut bed = Bed::new(&[]);
    bed.volumes("block", "16Mi", 2);
    bed.claim("golden", "Block", "16Mi");
    let noise = bed.fill("golden", MIB);
    bed.start();
    let name = format!("{}{}", "long.name-".repeat(25), "end");
    assert_eq!(name.len(), 253);
    bed.data_volume(&name, (&bed.namespace, "golden"), "Block", "16Mi");
    bed.succeeds(&name);
    bed.is_tidy(&name);
    holds(&bed, &name, &noise);
}
