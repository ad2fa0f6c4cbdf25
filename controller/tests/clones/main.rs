//! Clones on a real cluster, with the images in the pods. `scripts/test.sh cluster` brings one up and runs this.

mod bed;

use std::io::Read;
use std::time::Duration;

use bed::{Bed, kubectl};

const MIB: usize = 1 << 20;
/// So little CPU that a clone of some ten megabytes takes some seconds.
const SLOW: [&str; 2] = ["--pod-resources", r#"{"limits":{"cpu":"60m","memory":"64Mi"}}"#];

fn content(path: &std::path::Path, bytes: usize) -> Vec<u8> {
    let path = if path.is_dir() { path.join("disk.img") } else { path.to_path_buf() };
    let mut content = vec![0; bytes];
    std::fs::File::open(&path).unwrap().read_exact(&mut content).unwrap();
    content
}

fn clone_and_compare(mode: &str, volumes: &str) {
    let mut bed = Bed::new(&[]);
    bed.volumes(volumes, "128Mi", 2);
    bed.claim("golden", mode, "128Mi");
    let noise = bed.fill("golden", 50 * MIB);
    bed.start();
    bed.data_volume("copy", (&bed.namespace, "golden"), mode, "128Mi");
    let dv = bed.succeeds("copy");
    assert_eq!(dv["status"]["progress"], "100.0%");
    assert_eq!(dv["status"]["claimName"], "copy");
    assert_eq!(dv["status"]["conditions"][1]["status"], "True", "Ready");
    bed.is_tidy("copy");
    assert!(content(&bed.behind("copy"), 50 * MIB) == noise, "the copy differs");
    let events = kubectl(&["-n", &bed.namespace, "get", "events", "-o", "jsonpath={.items[*].reason}"], None);
    for reason in ["CloneScheduled", "CloneInProgress", "CloneSucceeded"] {
        assert!(events.contains(reason), "no event {reason}: {events}");
    }
    assert_eq!(bed.terminate(), Some(0));
}

#[test]
fn a_filesystem_volume_is_cloned() {
    clone_and_compare("Filesystem", "filesystem");
}

#[test]
fn a_block_volume_is_cloned() {
    clone_and_compare("Block", "block");
}

#[test]
fn a_clone_waits_for_its_source_and_for_consent() {
    let mut bed = Bed::new(&[]);
    let mut owner = Bed::new(&[]);
    bed.volumes("filesystem", "64Mi", 1);
    owner.volumes("filesystem", "64Mi", 1);
    bed.start();
    bed.data_volume("copy", (&owner.namespace, "golden"), "Filesystem", "64Mi");
    bed.wait("dv", "copy", |dv| dv["status"]["conditions"][0]["reason"] == "CloneWithoutSource");
    owner.claim("golden", "Filesystem", "64Mi");
    let noise = owner.fill("golden", MIB);
    let dv = bed.wait("dv", "copy", |dv| dv["status"]["conditions"][0]["reason"] == "CloneNotAllowed");
    assert!(dv["status"]["conditions"][0]["message"].as_str().unwrap().contains("decant.dev/allow-clone-to"));
    assert!(bed.get("pvc", "copy").is_none(), "a claim was made without permission");
    let consent = format!("decant.dev/allow-clone-to={}", bed.namespace);
    kubectl(&["-n", &owner.namespace, "annotate", "pvc", "golden", &consent], None);
    bed.succeeds("copy");
    assert!(content(&bed.behind("copy"), MIB) == noise, "the copy differs");
}

#[test]
fn killed_pods_and_a_killed_controller_only_delay_a_clone() {
    let mut bed = Bed::new(&SLOW);
    bed.volumes("block", "64Mi", 2);
    bed.claim("golden", "Block", "64Mi");
    let noise = bed.fill("golden", 40 * MIB);
    bed.start();
    bed.data_volume("copy", (&bed.namespace, "golden"), "Block", "64Mi");
    bed.wait("dv", "copy", |dv| dv["status"]["conditions"][2]["status"] == "True");
    bed.kill();
    kubectl(&["-n", &bed.namespace, "delete", "pod", "cdi-upload-copy", "--force", "--grace-period=0"], None);
    bed.start();
    bed.succeeds("copy");
    assert!(content(&bed.behind("copy"), 40 * MIB) == noise, "the copy differs");
    bed.is_tidy("copy");
}

#[test]
fn a_data_volume_deleted_in_mid_clone_leaves_nothing() {
    let mut bed = Bed::new(&SLOW);
    bed.volumes("block", "64Mi", 2);
    bed.claim("golden", "Block", "64Mi");
    bed.fill("golden", 60 * MIB);
    bed.start();
    bed.data_volume("copy", (&bed.namespace, "golden"), "Block", "64Mi");
    bed.wait("dv", "copy", |dv| dv["status"]["phase"] == "CloneInProgress");
    kubectl(&["-n", &bed.namespace, "delete", "dv", "copy", "--timeout=60s"], None);
    let left = || {
        kubectl(
            &[
                "-n",
                &bed.namespace,
                "get",
                "dv,pods,secrets,pvc",
                "-l",
                "app=containerized-data-importer",
                "-o",
                "name",
            ],
            None,
        )
    };
    for _ in 0..300 {
        if left().is_empty() {
            return;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    panic!("left: {}", left());
}

#[test]
fn what_cannot_be_done_is_said() {
    let mut bed = Bed::new(&[]);
    bed.volumes("block", "64Mi", 1);
    bed.claim("golden", "Block", "64Mi");
    bed.start();
    bed.data_volume("small", (&bed.namespace, "golden"), "Block", "32Mi");
    bed.wait("dv", "small", |dv| dv["status"]["conditions"][0]["reason"] == "CloneValidationFailed");
    bed.data_volume("zero", (&bed.namespace, "golden"), "Block", "0");
    bed.wait("dv", "zero", |dv| dv["status"]["conditions"][0]["reason"] == "ErrClaimNotValid");
    bed.data_volume("golden", (&bed.namespace, "golden"), "Block", "64Mi");
    bed.wait("dv", "golden", |dv| dv["status"]["conditions"][0]["reason"] == "ErrResourceExists");
}
