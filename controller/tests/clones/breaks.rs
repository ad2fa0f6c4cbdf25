//! What breaks while a clone runs, and what is left of it.

use std::time::Duration;

use crate::MIB;
use crate::bed::Bed;
use crate::content::holds;
use crate::kubectl::{kubectl, try_kubectl};

/// A clone that runs for some ten seconds, with `spare` volumes more than it needs.
fn running(spare: usize) -> (Bed, Vec<u8>) {
    running_at("6MiB/s", &[], spare)
}

pub(crate) fn running_at(rate: &str, flags: &[&str], spare: usize) -> (Bed, Vec<u8>) {
    let mut bed = Bed::new(flags);
    bed.volumes("block", "64Mi", 2 + spare);
    bed.claim("golden", "Block", "64Mi");
    let noise = bed.fill("golden", 60 * MIB);
    bed.start();
    bed.limited_data_volume("copy", (&bed.namespace, "golden"), ("Block", "64Mi"), rate);
    bed.copies("copy");
    (bed, noise)
}

fn left(namespace: &str) -> String {
    let kinds = "dv,pods,secrets,pvc";
    kubectl(
        &[
            "-n",
            namespace,
            "get",
            kinds,
            "-l",
            "app=containerized-data-importer",
            "-o",
            "name",
            "--ignore-not-found",
        ],
        None,
    )
}

fn nothing_is_left(namespace: &str) {
    for _ in 0..300 {
        if left(namespace).is_empty() {
            return;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    panic!("left: {}", left(namespace));
}

#[test]
fn killed_pods_and_a_killed_controller_only_delay_a_clone() {
    let (mut bed, noise) = running(0);
    bed.kill();
    kubectl(&["-n", &bed.namespace, "delete", "pod", "cdi-upload-copy", "--force", "--grace-period=0"], None);
    bed.start();
    bed.succeeds("copy");
    holds(&bed, "copy", &noise);
    bed.is_tidy("copy");
}

#[test]
fn a_source_pod_that_is_deleted_is_made_again() {
    let (bed, noise) = running(0);
    let uid = bed.get("pvc", "copy").unwrap()["metadata"]["uid"].as_str().unwrap().to_owned();
    kubectl(
        &["-n", &bed.namespace, "delete", "pod", &format!("{uid}-source-pod"), "--force", "--grace-period=0"],
        None,
    );
    bed.succeeds("copy");
    holds(&bed, "copy", &noise);
    bed.is_tidy("copy");
}

/// Deletes `pod` ("source" or "target") when some segments of a clone are done. What is left takes longer than the kubelet needs
/// to end the pod.
fn goes_on_without(pod: &str) {
    let mut bed = Bed::new(&[]);
    bed.volumes("block", "200Mi", 2);
    bed.claim("golden", "Block", "200Mi");
    let noise = bed.fill("golden", 190 * MIB);
    bed.start();
    let source = (bed.namespace.as_str(), "golden");
    bed.limited_data_volume("copy", source, ("Block", "200Mi"), "8MiB/s");
    bed.wait("dv", "copy", |dv| {
        let progress = dv["status"]["progress"].as_str().unwrap_or_default();
        progress.trim_end_matches('%').parse::<f64>().is_ok_and(|percent| percent > 40.0)
    });
    let uid = bed.get("pvc", "copy").unwrap()["metadata"]["uid"].as_str().unwrap().to_owned();
    let source_pod = format!("{uid}-source-pod");
    let gone = if pod == "source" { source_pod.as_str() } else { "cdi-upload-copy" };
    kubectl(&["-n", &bed.namespace, "delete", "pod", gone, "--force", "--grace-period=0"], None);
    let goes_on = || {
        let (_, log) = try_kubectl(&["-n", &bed.namespace, "logs", &source_pod], None);
        log.contains("resuming after the first")
    };
    bed.wait("dv", "copy", |dv| goes_on() || dv["status"]["phase"] == "Succeeded");
    assert!(goes_on(), "it began anew");
    bed.succeeds("copy");
    bed.wait("dv", "copy", |dv| {
        let digest = dv["metadata"]["annotations"]["decant.dev/digest"].as_str();
        digest.is_some_and(|digest| digest.starts_with("decant1:209715200:"))
    });
    let events = kubectl(&["-n", &bed.namespace, "get", "events"], None);
    assert!(events.contains("CloneVerified"), "{events}");
    holds(&bed, "copy", &noise);
}

#[test]
fn a_clone_goes_on_where_its_source_pod_was_deleted() {
    goes_on_without("source");
}

#[test]
fn a_clone_goes_on_where_its_target_pod_was_deleted() {
    goes_on_without("target");
}

#[test]
fn a_data_volume_deleted_in_mid_clone_leaves_nothing() {
    let (bed, _) = running(0);
    bed.delete("dv", "copy");
    nothing_is_left(&bed.namespace);
}

#[test]
fn a_claim_deleted_in_mid_clone_is_made_and_filled_again() {
    let (bed, noise) = running(1);
    let first = bed.get("pvc", "copy").unwrap()["metadata"]["uid"].clone();
    bed.delete("pvc", "copy");
    bed.wait("pvc", "copy", |claim| claim["metadata"]["uid"] != first && claim["status"]["phase"] == "Bound");
    bed.succeeds("copy");
    holds(&bed, "copy", &noise);
    bed.is_tidy("copy");
}

#[test]
fn a_namespace_deleted_in_mid_clone_goes() {
    // Its Lease would go with the namespace.
    let (bed, _) = running_at("6MiB/s", &["--no-leader-election"], 0);
    kubectl(&["delete", "namespace", &bed.namespace, "--timeout=200s"], None);
}
