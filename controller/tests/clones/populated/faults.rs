//! What breaks while a claim is filled before it is bound, and what is left of it.

use serde_json::{Value, json};

use crate::MIB;
use crate::content::assert_content;
use crate::environment::TestEnv;
use crate::kubectl::kubectl;
use crate::populated::{NOW, POPULATED_VOLUME, RECLAIM_POLICY, from_clone_source};

/// A source of 24 MiB, and claims that are filled from it in some 24 seconds, unless `lift_limit_of_source` ends that.
fn filling(flags: &[&str], names: &[&str]) -> (TestEnv, Vec<u8>) {
    let mut env = TestEnv::new(&[&["--poll-secs", "1", "--progress-secs", "1"], flags].concat());
    let noise = env.provisioned_source("Block", "24Mi", 24 * MIB);
    env.clone_source("golden", "golden", &json!({ "bandwidthLimit": "1MiB/s" }));
    env.start();
    for name in names {
        env.request_claim(name, &from_clone_source(NOW, "Block", "24Mi", "golden"));
    }
    (env, noise)
}

fn uid(object: &Value) -> &str {
    object["metadata"]["uid"].as_str().unwrap()
}

fn name_of(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap()
}

/// The prime of a claim, and the volume that the provisioner made for it.
struct Prime {
    name: String,
    uid: String,
    volume: String,
}

impl Prime {
    fn of(env: &TestEnv, claim: &str) -> Self {
        let name = env.prime_name(claim);
        let prime = env.get("pvc", &name).expect("the claim has a prime");
        Self {
            name,
            uid: uid(&prime).to_owned(),
            volume: prime["spec"]["volumeName"].as_str().unwrap().to_owned(),
        }
    }

    /// Asserts that its volume is still its own, and the claim has none.
    fn assert_keeps_its_volume(&self, env: &TestEnv, claim: &str) {
        let volume = env.get("pv", &self.volume).expect("the volume exists");
        assert_eq!(volume["spec"]["claimRef"]["uid"], *self.uid, "{volume}");
        assert_eq!(env.get("pvc", claim).unwrap()["status"]["phase"], "Pending");
    }
}

fn delete_now(env: &TestEnv, kind: &str, name: &str) {
    kubectl(&["-n", &env.namespace, "delete", kind, name, "--wait=false"], None);
}

#[test]
fn killed_pods_only_delay_the_filling_of_a_claim() {
    let names = ["source", "target", "both"];
    let (env, noise) = filling(&[], &names);
    std::thread::scope(|scope| {
        for name in names {
            let env = &env;
            scope.spawn(move || {
                env.wait_for_progress(name, 15.0);
                let [source, target] = env.pods_of_prime(&env.prime_name(name));
                let pods = match name {
                    "source" => vec![name_of(&source)],
                    "target" => vec![name_of(&target)],
                    _ => vec![name_of(&source), name_of(&target)],
                };
                let namespace = ["-n", env.namespace.as_str()];
                let now = ["--force", "--grace-period=0"];
                kubectl(&[&namespace, &["delete", "pods"][..], &pods, &now].concat(), None);
                env.wait_for_populated(name);
            });
        }
    });
    for name in names {
        assert_content(&env, name, &noise);
    }
    env.wait_until_tidy();
    env.end_without_leftovers();
}

#[test]
fn a_prime_that_a_user_deletes_is_replaced_and_its_volume_is_deleted() {
    let (env, noise) = filling(&[], &["copy"]);
    env.wait_for_progress("copy", 25.0);
    let prime = Prime::of(&env, "copy");
    delete_now(&env, "pvc", &prime.name);
    env.wait("pvc", &prime.name, |claim| uid(claim) != prime.uid);
    env.wait_for_removal(&prime.volume);
    env.lift_limit_of_source("golden");
    let claim = env.wait_for_populated("copy");
    assert_ne!(claim["spec"]["volumeName"], *prime.volume);
    assert_content(&env, "copy", &noise);
    env.wait_until_tidy();
    env.end_without_leftovers();
}

#[test]
fn a_claim_deleted_while_it_is_filled_leaves_nothing() {
    let (env, _) = filling(&[], &["copy"]);
    env.wait_for_progress("copy", 25.0);
    let prime = Prime::of(&env, "copy");
    env.delete("pvc", "copy");
    env.wait_until_tidy();
    env.wait_for_removal(&prime.volume);
    env.end_without_leftovers();
}

/// A complete clone whose prime a pod `holder` still uses.
fn held(name: &str) -> (TestEnv, Vec<u8>, Prime) {
    let (env, noise) = filling(&["--no-leader-election"], &[name]);
    env.wait_for_copying(name);
    let prime = Prime::of(&env, name);
    env.pod_using("holder", &prime.name, true);
    env.wait("pod", "holder", |pod| pod["status"]["phase"] == "Running");
    env.lift_limit_of_source("golden");
    env.wait("pvc", &prime.name, |claim| claim["metadata"]["deletionTimestamp"].is_string());
    (env, noise, prime)
}

#[test]
fn a_volume_is_not_handed_over_while_a_pod_uses_it() {
    let (mut env, noise, prime) = held("copy");
    let is_recorded = |claim: &Value| claim["metadata"]["annotations"][POPULATED_VOLUME].is_string();
    let claim = env.wait("pvc", "copy", is_recorded);
    assert_eq!(claim["metadata"]["annotations"]["cdi.kubevirt.io/clonePhase"], "Rebind", "{claim}");
    let volume = env.get("pv", &prime.volume).unwrap();
    assert_eq!(volume["spec"]["persistentVolumeReclaimPolicy"], "Retain", "{volume}");
    assert_eq!(volume["metadata"]["annotations"][RECLAIM_POLICY], "Delete", "{volume}");
    for _ in 0..2 {
        std::thread::sleep(std::time::Duration::from_secs(2));
        prime.assert_keeps_its_volume(&env, "copy");
        env.kill();
        env.start();
    }
    env.delete("pod", "holder");
    let claim = env.wait_for_populated("copy");
    assert_eq!(claim["spec"]["volumeName"], *prime.volume);
    assert_content(&env, "copy", &noise);
    env.wait_until_tidy();
    env.end_without_leftovers();
}

#[test]
fn a_claim_deleted_before_its_volume_is_handed_over_leaves_nothing() {
    let (env, _, prime) = held("copy");
    // Who uses the prime cannot keep the claim.
    env.delete("pvc", "copy");
    let volume = env.get("pv", &prime.volume).unwrap();
    assert_eq!(volume["spec"]["persistentVolumeReclaimPolicy"], "Delete", "{volume}");
    env.delete("pod", "holder");
    env.wait_for_deletion("pvc", &prime.name);
    env.wait_until_tidy();
    env.wait_for_removal(&prime.volume);
    env.end_without_leftovers();
}

#[test]
fn a_clone_continues_after_its_clone_source_is_deleted() {
    let (env, noise) = filling(&[], &["copy"]);
    env.wait_for_progress("copy", 25.0);
    let prime = Prime::of(&env, "copy");
    env.delete("clonesource", "golden");
    let claim = env.wait_for_populated("copy");
    assert_eq!(claim["spec"]["volumeName"], *prime.volume);
    assert_content(&env, "copy", &noise);
    env.end_without_leftovers();
}
