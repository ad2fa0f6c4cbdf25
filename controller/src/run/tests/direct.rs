//! Tests of direct clones: one pod that mounts both volumes.

use super::*;
use crate::objects::annotations::{DIGEST, TRANSFER_FALLBACK, TRANSFER_MODE};
use crate::objects::{DataVolume, Pod};

const POD: &str = "b/cdi-upload-copy";

fn local() -> Key {
    Key::new("b", "golden")
}

fn pod_key() -> Key {
    Key::new("b", "cdi-upload-copy")
}

/// A clone within namespace b, whose target is bound and whose DataVolume has these annotations.
fn bench(annotations: &Value) -> Bench {
    let bench = Bench::new();
    let bound = |uid: &str, volume: &str| {
        let mut spec = size();
        merge(&mut spec, &json!({"volumeName": volume}));
        json!({"metadata": {"uid": uid}, "spec": spec, "status": {"phase": "Bound"}})
    };
    bench.put(Kind::PersistentVolumeClaim, &local(), bound("s-1", "of-golden"));
    bench.data_volume(&json!({"source": {"pvc": {"namespace": "b", "name": "golden"}}}), annotations);
    bench.rounds(2);
    let volume = json!({"spec": {"volumeName": "of-copy"}, "status": {"phase": "Bound"}});
    bench.set(Kind::PersistentVolumeClaim, &copy(), &volume);
    bench
}

/// Adds a volume that only this node can mount.
fn local_volume(bench: &Bench, name: &str, node: &str) {
    let terms = json!([{"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]}]);
    let spec = json!({"nodeAffinity": {"required": {"nodeSelectorTerms": terms}}});
    bench.put(Kind::PersistentVolume, &Key::new("", name), json!({"spec": spec}));
}

/// Names of the Secrets beside the pods.
fn secrets(bench: &Bench) -> Vec<String> {
    let all = bench.cluster.names_of(Kind::Secret);
    all.into_iter().filter(|name| name.starts_with("b/")).collect()
}

fn pod(bench: &Bench) -> Pod {
    decode(bench.cluster.get(Kind::Pod, &pod_key()).unwrap()).unwrap()
}

fn role(bench: &Bench) -> String {
    assert_eq!(bench.cluster.names_of(Kind::Pod), [POD]);
    pod(bench).metadata.labels.get("decant.dev/role").unwrap().clone()
}

fn phase(bench: &Bench) -> String {
    let dv: DataVolume = decode(bench.cluster.get(Kind::DataVolume, &copy()).unwrap()).unwrap();
    dv.status.phase.to_string()
}

fn succeed(bench: &Bench, digest: &str) {
    let message = json!({"message": "Clone Complete", "digest": digest, "digestConfirmed": true}).to_string();
    let ended = json!({"exitCode": 0, "message": message, "finishedAt": "2026-01-01T00:00:00Z"});
    let status = json!({"phase": "Succeeded", "containerStatuses": [
        {"name": "cdi-upload-server", "state": {"terminated": ended}}]});
    bench.set(Kind::Pod, &pod_key(), &json!({"status": status}));
}

#[test]
fn one_pod_without_a_secret_clones_within_a_namespace() {
    let bench = bench(&json!({}));
    bench.rounds(3);
    assert_eq!(role(&bench), "direct");
    bench.kubelet();
    bench.rounds(3);
    assert_eq!(role(&bench), "direct", "there is no source pod");
    assert_eq!(secrets(&bench), Vec::<String>::new());
    assert_eq!(phase(&bench), "CloneInProgress");
    assert_eq!(bench.annotation(Kind::PersistentVolumeClaim, TRANSFER_MODE).as_deref(), Some("direct"));
    let (reason, message) = bench.condition("Running");
    assert_eq!((reason.as_str(), message.as_str()), ("Pod is running", "in one pod"));
    succeed(&bench, "decant1:7:ab");
    bench.rounds(6);
    assert_eq!(phase(&bench), "Succeeded");
    assert_eq!(bench.annotation(Kind::DataVolume, DIGEST).as_deref(), Some("decant1:7:ab"));
    assert_eq!(bench.annotation(Kind::DataVolume, TRANSFER_MODE).as_deref(), Some("direct"));
    assert!(bench.cluster.names_of(Kind::Pod).is_empty());
    let in_progress = "Cloning from b/golden into b/copy in progress, in one pod";
    assert!(bench.events().iter().any(|(_, _, message)| message == in_progress), "{:?}", bench.events());
}

#[test]
fn a_copy_of_the_pod_decides_nothing() {
    let bench = bench(&json!({}));
    bench.rounds(3);
    bench.kubelet();
    bench.rounds(2);
    // A user who can delete the pod creates another one with its labels and annotations, and with a digest.
    bench.set(Kind::Pod, &pod_key(), &json!({"metadata": {"uid": "copied"}}));
    succeed(&bench, "decant1:7:ee");
    bench.rounds(4);
    assert_ne!(phase(&bench), "Succeeded");
    assert_eq!(bench.annotation(Kind::DataVolume, DIGEST), None);
    assert_eq!(bench.annotation(Kind::PersistentVolumeClaim, DIGEST), None);
    assert_ne!(pod(&bench).metadata.uid, Uid::from("copied"), "the copy is deleted");
    assert_eq!(role(&bench), "direct");
}

#[test]
fn a_pod_without_a_node_gives_way_to_two_pods() {
    let bench = bench(&json!({}));
    bench.rounds(3);
    assert_eq!(role(&bench), "direct");
    let refused = json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
        "message": "0/2 nodes are available: 2 node(s) had volume node affinity conflict.",
        "lastTransitionTime": "2026-01-01T00:00:00Z"});
    bench.set(Kind::Pod, &pod_key(), &json!({"status": {"phase": "Pending", "conditions": [refused]}}));
    bench.rounds(1);
    assert!(bench.cluster.names_of(Kind::Pod).is_empty());
    assert!(bench.annotation(Kind::PersistentVolumeClaim, TRANSFER_FALLBACK).is_some());
    bench.rounds(2);
    assert_eq!(role(&bench), "target");
    assert_eq!(secrets(&bench).len(), 1);
    bench.kubelet();
    bench.rounds(3);
    assert_eq!(bench.cluster.names_of(Kind::Pod).len(), 2);
    assert_eq!(bench.annotation(Kind::PersistentVolumeClaim, TRANSFER_MODE).as_deref(), Some("network"));
}

#[test]
fn volumes_of_different_nodes_are_cloned_by_two_pods_at_once() {
    for (node, expected) in [("n1", "direct"), ("n2", "target")] {
        let bench = bench(&json!({}));
        local_volume(&bench, "of-golden", "n1");
        local_volume(&bench, "of-copy", node);
        bench.rounds(3);
        assert_eq!(role(&bench), expected);
    }
    // A clone that has to be direct is left to the scheduler.
    let bench = bench(&json!({"decant.dev/transfer": "direct"}));
    local_volume(&bench, "of-golden", "n1");
    local_volume(&bench, "of-copy", "n2");
    bench.rounds(3);
    assert_eq!(role(&bench), "direct");
}

#[test]
fn a_controller_without_rights_to_volumes_lets_the_scheduler_decide() {
    let bench = bench(&json!({}));
    let error = ApiError { code: 403, reason: "Forbidden".to_owned(), message: "no rights".to_owned() };
    let refusal =
        Refusal { verb: "get", kind: Kind::PersistentVolume, part: Part::Whole, namespace: "", error };
    bench.cluster.refuses.lock().unwrap().push(refusal);
    bench.rounds(3);
    assert_eq!(role(&bench), "direct");
}

#[test]
fn the_annotation_counts_more_than_the_flag() {
    let with_network = bench(&json!({"decant.dev/transfer": "network"}));
    with_network.rounds(3);
    assert_eq!(role(&with_network), "target");
    let elsewhere = Bench::new();
    elsewhere.source("s-1");
    let consent = json!({"metadata": {"annotations": {"decant.dev/allow-clone-to": "b"}}});
    elsewhere.set(Kind::PersistentVolumeClaim, &golden(), &consent);
    elsewhere.data_volume(&from_golden(), &json!({"decant.dev/transfer": "direct"}));
    elsewhere.rounds(2);
    elsewhere.bind();
    elsewhere.rounds(3);
    assert!(elsewhere.cluster.names_of(Kind::Pod).is_empty());
    assert_eq!(elsewhere.condition("Running").0, "ErrIncompatiblePVC");
}

#[test]
fn a_pod_that_a_quota_refuses_is_created_once_there_is_room() {
    let bench = bench(&json!({}));
    let message = "pods \"cdi-upload-copy\" is forbidden: exceeded quota: q".to_owned();
    let error = ApiError { code: 403, reason: "Forbidden".to_owned(), message };
    let refusal = Refusal { verb: "create", kind: Kind::Pod, part: Part::Whole, namespace: "b", error };
    bench.cluster.refuses.lock().unwrap().push(refusal);
    // A failure is reported once it has lasted.
    let deadline = Instant::now() + std::time::Duration::from_secs(20);
    while bench.condition("Running").0 != "ErrExceededQuota" {
        assert!(Instant::now() < deadline, "{:?}", bench.condition("Running"));
        bench.round();
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert!(bench.cluster.names_of(Kind::Pod).is_empty());
    let (_, message) = bench.condition("Running");
    assert!(message.contains("exceeded quota: q"), "{message}");
    bench.cluster.refuses.lock().unwrap().clear();
    bench.rounds(3);
    assert_eq!(role(&bench), "direct");
    assert_eq!(bench.reconciler.observer.scheduler.counts(), (1, 0), "one slot");
}
