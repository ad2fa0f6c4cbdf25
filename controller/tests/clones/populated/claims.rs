//! Claims without a DataVolume: of StatefulSets, with each kind of data source, and many at once.

use std::process::Command;

use serde_json::{Value, json};

use crate::MIB;
use crate::content::assert_content;
use crate::environment::TestEnv;
use crate::objects::ClaimRequest;
use crate::populated::{NOW, WAIT, check_script, from_clone_source};

/// Waits until three pods of a StatefulSet run; none of their containers may have failed its check.
fn assert_started_once(env: &TestEnv, set: &str) {
    env.wait("statefulset", set, |set| set["status"]["readyReplicas"] == 3);
    for number in 0..3 {
        let pod = env.get("pod", &format!("{set}-{number}")).unwrap();
        assert_eq!(pod["status"]["containerStatuses"][0]["restartCount"], 0, "{pod}");
    }
}

/// No pod of the StatefulSet may have started a container.
fn assert_no_container_has_started(env: &TestEnv, set: &str) {
    for number in 0..3 {
        let claim = env.get("pvc", &format!("v-{set}-{number}")).unwrap();
        let pod = env.get("pod", &format!("{set}-{number}")).unwrap();
        // The pod was read later: it may start in between.
        assert!(
            claim["status"]["phase"] == "Bound" || pod["status"].get("containerStatuses").is_none(),
            "{pod}"
        );
    }
}

#[test]
fn a_stateful_set_on_devices_never_starts_a_container_on_an_incomplete_volume() {
    let mut env = TestEnv::new(&["--no-leader-election", "--progress-secs", "1"]);
    let noise = env.provisioned_source("Block", "24Mi", 20 * MIB);
    env.clone_source("golden", "golden", &json!({ "bandwidthLimit": "4MiB/s" }));
    env.start();
    let script = check_script("Block", &noise, "exec sleep 100000");
    env.stateful_set("set", 3, &from_clone_source(WAIT, "Block", "24Mi", "golden"), &script);
    env.wait_for_cloning("v-set-1");
    assert_no_container_has_started(&env, "set");
    env.kill();
    assert_no_container_has_started(&env, "set");
    env.start();
    assert_started_once(&env, "set");
    for number in 0..3 {
        let claim = env.wait_for_populated(&format!("v-set-{number}"));
        let digest = claim["metadata"]["annotations"]["decant.dev/digest"].as_str().unwrap();
        assert!(digest.starts_with("decant1:25165824:"), "{digest}");
    }
    env.wait_until_tidy();
    env.end_without_leftovers();
}

/// Prints a digest of the names, links and contents of a tree.
const TREE_DIGEST: &str = "{ find . -name lost+found -prune -o -print | sort
    find . -type l | sort | xargs readlink
    find . -name lost+found -prune -o -type f -print | sort | xargs sha256sum; } | sha256sum";

#[test]
fn a_stateful_set_on_trees_never_starts_a_container_on_an_incomplete_volume() {
    let mut env = TestEnv::new(&[]);
    let archive = json!({ "cdi.kubevirt.io/storage.contentType": "archive" });
    let source = ClaimRequest {
        class: NOW,
        mode: "Filesystem",
        size: "32Mi",
        annotations: archive.clone(),
        ..ClaimRequest::default()
    };
    env.request_claim("golden", &source);
    let tree =
        "cd /v && mkdir -p a/b c && ln -s ../a c/link && dd if=/dev/urandom of=a/b/data bs=1M count=8 &&
        for n in $(seq 200); do echo $n >c/$n; done && sync";
    env.shell_pod("writer", "golden", "Filesystem", tree);
    env.wait_for_script("writer");
    let mut sum = Command::new("sh");
    sum.args(["-c", TREE_DIGEST]).env("LC_ALL", "C").current_dir(env.backing_path("golden"));
    let sum = String::from_utf8(sum.output().unwrap().stdout).unwrap();
    env.delete("pod", "writer");
    env.clone_source("golden", "golden", &json!({ "bandwidthLimit": "3MiB/s" }));
    env.start();
    let script = format!("cd /v && {TREE_DIGEST} | grep '^{} ' && exec sleep 100000", &sum[..64]);
    let request = from_clone_source(WAIT, "Filesystem", "32Mi", "golden");
    env.stateful_set("set", 3, &ClaimRequest { annotations: archive, ..request }, &script);
    env.wait_for_cloning("v-set-2");
    assert_no_container_has_started(&env, "set");
    assert_started_once(&env, "set");
    for number in 0..3 {
        env.wait_for_populated(&format!("v-set-{number}"));
    }
    env.wait_until_tidy();
    env.end_without_leftovers();
}

#[test]
fn a_volume_clone_source_fills_a_claim_and_stays() {
    let mut env = TestEnv::new(&[]);
    let noise = env.provisioned_source("Filesystem", "24Mi", 4 * MIB);
    env.apply(&json!({
        "apiVersion": "cdi.kubevirt.io/v1beta1", "kind": "VolumeCloneSource", "metadata": { "name": "golden" },
        "spec": { "source": { "kind": "PersistentVolumeClaim", "name": "golden" } },
    }));
    env.start();
    let source = json!({ "apiGroup": "cdi.kubevirt.io", "kind": "VolumeCloneSource", "name": "golden" });
    let request =
        ClaimRequest { data_source: Some(source), ..from_clone_source(NOW, "Filesystem", "24Mi", "golden") };
    env.request_claim("copy", &request);
    let claim = env.wait_for_populated("copy");
    assert_content(&env, "copy", &noise);
    let annotations = &claim["metadata"]["annotations"];
    assert_eq!(annotations["cdi.kubevirt.io/clonePhase"], "Succeeded");
    assert_eq!(annotations["cdi.kubevirt.io/cloneType"], "copy");
    assert_eq!(annotations["cdi.kubevirt.io/storage.populator.progress"], "100.0%");
    let events = env.events_about("copy");
    for reason in ["CloneScheduled", "RebindInProgress", "CloneSucceeded", "CloneVerified"] {
        assert!(events.contains(&format!("Normal {reason}: ")), "no event {reason}: {events}");
    }
    assert!(!events.contains("Warning"), "{events}");
    env.wait_until_tidy();
    assert!(env.get("volumeclonesource", "golden").is_some(), "a user created it");
    env.end_without_leftovers();
}

/// The value of a variable of a pod's container.
fn variable(pod: &Value, name: &str) -> Value {
    let all = pod["spec"]["containers"][0]["env"].as_array().unwrap();
    all.iter().find(|variable| variable["name"] == name).map_or(Value::Null, |found| found["value"].clone())
}

#[test]
fn the_settings_of_a_clone_source_reach_the_pods() {
    let mut env = TestEnv::new(&[]);
    let noise = env.provisioned_source("Block", "24Mi", 20 * MIB);
    let settings = json!({ "bandwidthLimit": "512KiB/s", "verify": "readback", "streams": 3 });
    env.clone_source("golden", "golden", &settings);
    env.start();
    env.request_claim("copy", &from_clone_source(NOW, "Block", "24Mi", "golden"));
    env.wait_for_copying("copy");
    let [source, target] = env.pods_of_prime(&env.prime_name("copy"));
    assert_eq!(variable(&source, "DECANT_LIMIT"), "512KiB/s");
    assert_eq!(variable(&source, "DECANT_STREAMS"), "3");
    assert_eq!(variable(&target, "DECANT_VERIFY"), "readback");
    env.lift_limit_of_source("golden");
    env.wait_for_populated("copy");
    assert_content(&env, "copy", &noise);
    env.end_without_leftovers();
}

/// `DECANT_CLAIMS=50` clones as many.
#[test]
fn many_claims_are_filled_at_once() {
    let count = std::env::var("DECANT_CLAIMS").map_or(6, |count| count.parse().unwrap());
    let mut env = TestEnv::new(&[]);
    let noise = env.provisioned_source("Block", "8Mi", 2 * MIB);
    env.clone_source("golden", "golden", &json!({}));
    env.start();
    let start = std::time::Instant::now();
    let names: Vec<String> = (0..count).map(|number| format!("copy-{number}")).collect();
    for name in &names {
        env.request_claim(name, &from_clone_source(NOW, "Block", "8Mi", "golden"));
    }
    let requested = start.elapsed();
    for name in &names {
        env.wait_for_populated(name);
        assert_content(&env, name, &noise);
    }
    println!("{count} claims: requested within {requested:?}, filled and bound within {:?}", start.elapsed());
    env.wait_until_tidy();
    env.end_without_leftovers();
}
