//! What breaks while a clone runs, and what is left of it.

use std::time::{Duration, Instant};

use crate::MIB;
use crate::content::assert_content;
use crate::environment::{PATIENCE, TestEnv};
use crate::kubectl::kubectl;
use crate::progress::SHORT_INTERVALS;

/// A clone that runs for some ten seconds, with `spare` volumes more than it needs.
fn running(spare: usize) -> (TestEnv, Vec<u8>) {
    running_at("6MiB/s", &[], spare)
}

pub(crate) fn running_at(rate: &str, flags: &[&str], spare: usize) -> (TestEnv, Vec<u8>) {
    let mut env = TestEnv::new(flags);
    env.volumes("block", "64Mi", 2 + spare);
    env.claim("golden", "Block", "64Mi");
    let noise = env.fill("golden", 60 * MIB);
    env.start();
    env.limited_data_volume("copy", (&env.namespace, "golden"), ("Block", "64Mi"), rate);
    env.wait_for_copying("copy");
    (env, noise)
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

fn assert_nothing_is_left(namespace: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let left = left(namespace);
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "left: {left}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn killed_pods_and_a_killed_controller_only_delay_a_clone() {
    let (mut env, noise) = running(0);
    env.kill();
    kubectl(&["-n", &env.namespace, "delete", "pod", "cdi-upload-copy", "--force", "--grace-period=0"], None);
    env.start();
    env.wait_for_success("copy");
    assert_content(&env, "copy", &noise);
    env.wait_for_cleanup("copy");
}

#[test]
fn a_deleted_source_pod_is_created_again() {
    let (env, noise) = running(0);
    let uid = env.get("pvc", "copy").unwrap()["metadata"]["uid"].as_str().unwrap().to_owned();
    kubectl(
        &["-n", &env.namespace, "delete", "pod", &format!("{uid}-source-pod"), "--force", "--grace-period=0"],
        None,
    );
    env.wait_for_success("copy");
    assert_content(&env, "copy", &noise);
    env.wait_for_cleanup("copy");
}

/// Deletes `pod` ("source" or "target") when some segments of a clone are done. What is left takes longer than the kubelet needs
/// to end the pod.
fn assert_resumes_without(pod: &str) {
    let mut env = TestEnv::new(&SHORT_INTERVALS);
    env.volumes("block", "200Mi", 2);
    env.claim("golden", "Block", "200Mi");
    let noise = env.fill("golden", 190 * MIB);
    env.start();
    let source = (env.namespace.as_str(), "golden");
    env.limited_data_volume("copy", source, ("Block", "200Mi"), "4MiB/s");
    env.wait("dv", "copy", |dv| {
        let progress = dv["status"]["progress"].as_str().unwrap_or_default();
        progress.trim_end_matches('%').parse::<f64>().is_ok_and(|percent| percent > 40.0)
    });
    let uid = env.get("pvc", "copy").unwrap()["metadata"]["uid"].as_str().unwrap().to_owned();
    let source_pod = format!("{uid}-source-pod");
    let gone = if pod == "source" { source_pod.as_str() } else { "cdi-upload-copy" };
    kubectl(&["-n", &env.namespace, "delete", "pod", gone, "--force", "--grace-period=0"], None);
    env.wait_for_resumption("copy", &source_pod);
    env.lift_limit("copy");
    env.wait_for_success("copy");
    env.wait("dv", "copy", |dv| {
        let digest = dv["metadata"]["annotations"]["decant.dev/digest"].as_str();
        digest.is_some_and(|digest| digest.starts_with("decant1:209715200:"))
    });
    let events = kubectl(&["-n", &env.namespace, "get", "events"], None);
    assert!(events.contains("CloneVerified"), "{events}");
    assert_content(&env, "copy", &noise);
}

#[test]
fn a_clone_resumes_after_its_source_pod_is_deleted() {
    assert_resumes_without("source");
}

#[test]
fn a_clone_resumes_after_its_target_pod_is_deleted() {
    assert_resumes_without("target");
}

#[test]
fn a_data_volume_deleted_during_the_clone_leaves_nothing() {
    let (env, _) = running(0);
    env.delete("dv", "copy");
    assert_nothing_is_left(&env.namespace);
}

#[test]
fn a_claim_deleted_during_the_clone_is_created_and_filled_again() {
    let (env, noise) = running(1);
    let first = env.get("pvc", "copy").unwrap()["metadata"]["uid"].clone();
    env.delete("pvc", "copy");
    env.wait("pvc", "copy", |claim| claim["metadata"]["uid"] != first && claim["status"]["phase"] == "Bound");
    env.wait_for_success("copy");
    assert_content(&env, "copy", &noise);
    env.wait_for_cleanup("copy");
}

#[test]
fn a_namespace_can_be_deleted_during_a_clone() {
    // Its Lease would go with the namespace.
    let (env, _) = running_at("6MiB/s", &["--no-leader-election"], 0);
    kubectl(&["delete", "namespace", &env.namespace, "--timeout=200s"], None);
}
