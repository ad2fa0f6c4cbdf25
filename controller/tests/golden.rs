//! Pods, Secrets and claims as they are sent to the API server, in files that show what a change changes.
//!
//! `GOLDEN=write cargo test -p decant-controller --test golden` rewrites them.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use std::path::Path;
use std::sync::Arc;

use decant_controller::objects::{Claim, DataVolume, Key, Meta, Pod, Uid, Volume, decode};
use decant_controller::pods::class_defaults::ClassDefaults;
use decant_controller::pods::clone_pods::ClonePods;
use decant_controller::pods::role::Role;
use decant_controller::pods::{claim, secret, source, target};
use decant_controller::policy::Policy;
use decant_controller::reconcile::reserved_volumes;
use decant_controller::token::key::TokenKey;
use serde_json::{Value, json};
use time::OffsetDateTime;

fn policy() -> Policy {
    let mut policy = Policy::default();
    // Not the version of the day.
    policy.pods.image = "registry.example/cloner:1".to_owned();
    policy.pods.extra_labels.insert("app.kubernetes.io/part-of".to_owned(), "storage".to_owned());
    policy
}

fn claim(namespace: &str, name: &str, mode: &str) -> Claim {
    decode(json!({
        "metadata": { "namespace": namespace, "name": name, "uid": format!("{name}-uid"), "annotations": {
            "cdi.kubevirt.io/storage.preallocation.requested": "false",
            "cdi.kubevirt.io/storage.pod.priorityclassname": "low",
            "cdi.kubevirt.io/storage.pod.serviceAccountName": "restorer",
            "k8s.v1.cni.cncf.io/networks": "storage-net",
            "decant.dev/bandwidth-limit": "50MiB/s",
            "decant.dev/streams": "4",
        } },
        "spec": { "accessModes": ["ReadWriteOnce"], "volumeMode": mode, "storageClassName": "fast",
                  "resources": { "requests": { "storage": "10Gi" } } },
        "status": { "phase": "Bound", "capacity": { "storage": "10Gi" } },
    }))
    .unwrap()
}

fn data_volume(spec: &str) -> DataVolume {
    let size = json!({ "requests": { "storage": "10Gi" } });
    let target = match spec {
        "pvc" => json!({ "accessModes": ["ReadWriteOnce"], "storageClassName": "fast", "resources": size }),
        _ => json!({ "storageClassName": "fast", "resources": size }),
    };
    decode(json!({
        "metadata": { "namespace": "team", "name": "copy", "uid": "dv-uid", "labels": { "mine": "yes" },
                      "annotations": { "note": "kept", "cdi.kubevirt.io/storage.clone.token": "not for the claim" } },
        "spec": { "source": { "pvc": { "namespace": "golden", "name": "image" } }, "priorityClassName": "low",
                  "serviceAccountName": "restorer", spec: target },
    }))
    .unwrap()
}

/// Compares with the file, or writes it.
fn check(name: &str, object: &Value) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!("{name}.json"));
    let text = format!("{object:#}\n");
    if std::env::var_os("GOLDEN").is_some_and(|value| value == "write") {
        std::fs::write(&path, &text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, expected, "{} is another one", path.display());
}

fn pods(mode: &str) {
    let policy = policy();
    let (source, target) = (claim("golden", "image", mode), claim("team", "copy", mode));
    let owner_uid = Uid::from("dv-uid");
    let clone = ClonePods {
        target: &target,
        source: &source,
        owner_uid: &owner_uid,
        policy: &policy.pods,
        authority: "1-2",
        seal: &TokenKey::new(&[7; 32]),
        nonce: "0123456789abcdef",
    };
    let deadline = OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap();
    let overhead = decant_controller::reconcile::compatibility::overhead(&target, &policy);
    check(&format!("target-{}", mode.to_lowercase()), &target::target_pod(&clone, overhead, deadline));
    let running: Pod = decode(json!({
        "metadata": { "namespace": "team", "name": "cdi-upload-copy", "uid": "target-uid" },
        "status": { "podIP": "10.0.0.7" },
    }))
    .unwrap();
    check(&format!("source-{}", mode.to_lowercase()), &source::source_pod(&clone, &running, "(authority)"));
}

#[test]
fn annotations_of_the_claim_reach_the_pods() {
    let policy = policy();
    let mut target = claim("team", "copy", "Block");
    target.metadata.annotations.insert("decant.dev/verify".to_owned(), "readback".to_owned());
    let clone = ClonePods {
        target: &target,
        source: &claim("golden", "image", "Block"),
        owner_uid: &Uid::from("dv-uid"),
        policy: &policy.pods,
        authority: "1-2",
        seal: &TokenKey::new(&[7; 32]),
        nonce: "0123456789abcdef",
    };
    let overhead = decant_controller::reconcile::compatibility::overhead(&target, &policy);
    let pod = target::target_pod(&clone, overhead, OffsetDateTime::UNIX_EPOCH);
    let environment = pod["spec"]["containers"][0]["env"].as_array().unwrap();
    assert!(environment.contains(&json!({ "name": "DECANT_VERIFY", "value": "readback" })));
}

#[test]
fn pods_of_a_filesystem_clone() {
    pods("Filesystem");
}

#[test]
fn pods_of_a_block_clone() {
    pods("Block");
}

#[test]
fn secrets_of_both_pods() {
    for (role, name, keys) in [
        (Role::Target, "cdi-upload-copy", ["tls.key", "tls.crt", "ca.crt"].as_slice()),
        (
            Role::Source,
            "copy-uid-source-pod",
            ["tls.key", "tls.crt", "ca.crt", "metrics.key", "metrics.crt"].as_slice(),
        ),
    ] {
        let pod = Meta {
            namespace: "team".to_owned(),
            name: name.to_owned(),
            uid: Uid::from("pod-uid"),
            ..Meta::default()
        };
        let pems = keys.iter().map(|key| (*key, format!("({key})"))).collect();
        check(
            &format!("secret-{name}"),
            &secret::secret(role, &pod, &format!("{name}-0123456789abcdef"), pems, &policy().pods),
        );
    }
}

#[test]
fn claims_of_both_kinds_of_request() {
    let policy = policy();
    for spec in ["pvc", "storage"] {
        let dv = data_volume(spec);
        let wanted = claim::claim_spec(
            &dv,
            &claim("golden", "image", "Filesystem"),
            &ClassDefaults::default(),
            &policy,
        )
        .unwrap();
        check(
            &format!("claim-{spec}"),
            &claim::new_claim(&dv, &Key::new("golden", "image"), &wanted, &policy),
        );
    }
}

#[test]
fn a_claim_for_a_reserved_volume() {
    let volume: Volume = decode(json!({
        "metadata": { "name": "restored-7" },
        "spec": { "capacity": { "storage": "20Gi" }, "accessModes": ["ReadWriteOnce"], "storageClassName": "fast",
                  "claimRef": { "namespace": "team", "name": "copy" } },
    }))
    .unwrap();
    let (policy, dv) = (policy(), data_volume("storage"));
    let spec = reserved_volumes::claim_spec(&dv, &[Arc::new(volume)], &policy).unwrap();
    check("claim-kept", &claim::kept_claim(&dv, &spec, &policy));
}
