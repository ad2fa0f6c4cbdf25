//! Clones into claims of another namespace: they need a controller for the whole cluster.

use serde_json::{Value, json};

use crate::MIB;
use crate::content::assert_content;
use crate::direct::{AUTO, TRANSFER_MODE};
use crate::environment::TestEnv;
use crate::kubectl::kubectl;
use crate::populated::{NOW, WAIT, check_script, from_clone_source};

/// The namespaces of the target and of the source, with a source and a CloneSource that leads to it.
fn two_namespaces(flags: &[&str], bytes: usize, limit: &str) -> (TestEnv, TestEnv, Vec<u8>) {
    let env = TestEnv::for_whole_cluster(flags);
    let owner = TestEnv::for_whole_cluster(&[]);
    let noise = owner.provisioned_source("Block", "24Mi", bytes);
    let source = format!("{}/golden", owner.namespace);
    env.clone_source("golden", &source, &json!({ "bandwidthLimit": limit }));
    (env, owner, noise)
}

fn allow(owner: &TestEnv, env: &TestEnv) {
    let consent = format!("decant.dev/allow-clone-to={}", env.namespace);
    kubectl(&["-n", &owner.namespace, "annotate", "pvc", "golden", &consent], None);
}

fn wait_for_prime(owner: &TestEnv, env: &TestEnv, claim: &str) -> Value {
    owner.wait("pvc", &env.prime_name(claim), |prime| prime["status"]["phase"] == "Bound")
}

fn quota(env: &TestEnv, claims: u32) {
    env.apply(
        &json!({ "apiVersion": "v1", "kind": "ResourceQuota", "metadata": { "name": "q" }, "spec": { "hard": {
        "pods": "5", "persistentvolumeclaims": claims.to_string(), "requests.storage": "1Gi" } } }),
    );
    env.wait("resourcequota", "q", |quota| {
        quota["status"]["hard"]["persistentvolumeclaims"].as_str() == Some(&*claims.to_string())
    });
}

/// Waits until the quota counts so many claims, pods, and MiB of storage.
fn wait_for_usage(env: &TestEnv, claims: u32, pods: u32, size: &str) {
    let used = json!({ "persistentvolumeclaims": claims.to_string(), "pods": pods.to_string(), "requests.storage": size });
    env.wait("resourcequota", "q", |quota| quota["status"]["used"] == used);
}

#[test]
fn a_claim_is_filled_from_another_namespace_with_permission_and_quota() {
    let (mut env, owner, noise) = two_namespaces(&[], 24 * MIB, "512KiB/s");
    quota(&owner, 1);
    quota(&env, 2);
    env.start();
    env.request_claim("copy", &from_clone_source(NOW, "Block", "24Mi", "golden"));
    let message = env.wait_for_claim_event("copy", "CloneNotAllowed");
    assert!(message.contains("decant.dev/allow-clone-to"), "{message}");
    assert_eq!(owner.objects_of_clones(), "", "something was created without permission");
    allow(&owner, &env);
    let message = env.wait_for_claim_event("copy", "ErrExceededQuota");
    assert!(
        message.contains("exceeded quota: q") && message.contains("persistentvolumeclaims=1"),
        "{message}"
    );
    wait_for_usage(&owner, 1, 0, "24Mi");
    wait_for_usage(&env, 1, 0, "24Mi");
    quota(&owner, 2);
    env.wait_for_copying("copy");
    // While it runs: a second claim and two pods in the namespace of the source.
    wait_for_usage(&owner, 2, 2, "48Mi");
    wait_for_usage(&env, 1, 0, "24Mi");
    env.lift_limit_of_source("golden");
    let claim = env.wait_for_populated("copy");
    assert_content(&env, "copy", &noise);
    let made_for = format!("pvc-{}", claim["metadata"]["uid"].as_str().unwrap());
    assert_ne!(claim["spec"]["volumeName"], *made_for, "the volume comes from the other namespace");
    wait_for_usage(&owner, 1, 0, "24Mi");
    wait_for_usage(&env, 1, 0, "24Mi");
    owner.wait_until_tidy();
    env.end_without_leftovers();
    owner.end_without_leftovers();
}

#[test]
fn one_pod_fills_a_claim_from_another_namespace() {
    let (mut env, owner, noise) = two_namespaces(&AUTO, 24 * MIB, "2MiB/s");
    allow(&owner, &env);
    env.start();
    env.request_claim("copy", &from_clone_source(NOW, "Block", "24Mi", "golden"));
    env.wait_for_progress("copy", 10.0);
    let roles: Vec<String> = owner.clone_pods().into_iter().map(|(_, role)| role).collect();
    assert_eq!(roles, ["direct"], "one pod beside the source");
    assert_eq!(env.clone_pods(), []);
    let claim = env.wait_for_populated("copy");
    assert_content(&env, "copy", &noise);
    assert_eq!(claim["metadata"]["annotations"][TRANSFER_MODE], "direct", "{claim}");
    owner.wait_until_tidy();
    env.end_without_leftovers();
    owner.end_without_leftovers();
}

#[test]
fn a_stateful_set_with_a_grant_of_another_namespace_starts_on_complete_volumes() {
    let (mut env, owner, noise) = two_namespaces(&[], 16 * MIB, "4MiB/s");
    owner.apply(&json!({
        "apiVersion": "gateway.networking.k8s.io/v1beta1", "kind": "ReferenceGrant", "metadata": { "name": "g" },
        "spec": {
            "from": [{ "group": "decant.dev", "kind": "CloneSource", "namespace": env.namespace }],
            "to": [{ "group": "", "kind": "PersistentVolumeClaim", "name": "golden" }],
        },
    }));
    env.start();
    let script = check_script("Block", &noise, "exec sleep 100000");
    env.stateful_set("set", 3, &from_clone_source(WAIT, "Block", "24Mi", "golden"), &script);
    env.wait("statefulset", "set", |set| set["status"]["readyReplicas"] == 3);
    for number in 0..3 {
        let pod = env.get("pod", &format!("set-{number}")).unwrap();
        assert_eq!(pod["status"]["containerStatuses"][0]["restartCount"], 0, "{pod}");
        env.wait_for_populated(&format!("v-set-{number}"));
    }
    owner.wait_until_tidy();
    env.end_without_leftovers();
    owner.end_without_leftovers();
}

#[test]
fn a_deleted_namespace_of_a_target_leaves_nothing_in_that_of_the_source() {
    let (mut env, owner, _) = two_namespaces(&["--no-leader-election"], 24 * MIB, "4MiB/s");
    allow(&owner, &env);
    env.start();
    env.request_claim("copy", &from_clone_source(NOW, "Block", "24Mi", "golden"));
    let prime = wait_for_prime(&owner, &env, "copy");
    env.wait_for_copying("copy");
    kubectl(&["delete", "namespace", &env.namespace, "--timeout=200s"], None);
    owner.wait_until_tidy();
    owner.wait_for_removal(prime["spec"]["volumeName"].as_str().unwrap());
    env.end_without_leftovers();
    owner.end_without_leftovers();
}
