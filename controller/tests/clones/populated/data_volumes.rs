//! DataVolumes: which of them are filled before their claim is bound, and what their users see.

use serde_json::{Value, json};

use crate::MIB;
use crate::content::assert_content;
use crate::environment::TestEnv;
use crate::objects::data_source_field;
use crate::populated::{NOW, RECLAIM_POLICY, WAIT, check_script};
use crate::progress::{KubectlWatch, percentages};

const USE_POPULATOR: &str = "cdi.kubevirt.io/storage.usePopulator";
const BIND_IMMEDIATE: &str = "cdi.kubevirt.io/storage.bind.immediate.requested";

/// The phases that the screen showed.
fn phases(rows: &[(String, String)]) -> Vec<&str> {
    let mut phases: Vec<&str> = rows.iter().map(|(phase, _)| phase.as_str()).collect();
    phases.dedup();
    phases
}

fn annotated_data_volume(env: &TestEnv, name: &str, size: &str, annotations: &Value) {
    env.apply(&json!({
        "apiVersion": "cdi.kubevirt.io/v1beta1", "kind": "DataVolume",
        "metadata": { "name": name, "annotations": annotations },
        "spec": {
            "source": { "pvc": { "namespace": env.namespace, "name": "golden" } },
            "pvc": env.claim_spec("Block", size),
        },
    }));
}

#[test]
fn kubectl_get_shows_every_phase_of_a_data_volume_on_the_class_of_a_csi_driver() {
    let mut env = TestEnv::new(&["--poll-secs", "1", "--progress-secs", "1"]);
    NOW.clone_into(&mut env.class);
    let noise = env.provisioned_source("Block", "32Mi", 30 * MIB);
    env.limited_data_volume("copy", (&env.namespace, "golden"), ("Block", "32Mi"), "2MiB/s");
    let screen = KubectlWatch::of(&env, "copy");
    env.start();
    env.wait_for_copying("copy");
    let dv = env.get("dv", "copy").unwrap();
    let name = format!("volume-clone-source-{}", dv["metadata"]["uid"].as_str().unwrap());
    let claim = env.get("pvc", "copy").unwrap();
    let source = &claim["spec"][data_source_field()];
    assert_eq!((&source["kind"], &source["name"]), (&json!("VolumeCloneSource"), &json!(name)), "{claim}");
    assert_eq!(claim["status"]["phase"], "Pending", "{claim}");
    assert_eq!(claim["metadata"]["annotations"]["cdi.kubevirt.io/clonePhase"], "HostClone", "{claim}");
    let source = env.get("volumeclonesource", &name).expect("the data source of the claim exists");
    assert_eq!(source["spec"]["source"]["name"], "golden", "{source}");
    let dv = env.wait_for_success("copy");
    env.wait_for_populated("copy");
    let rows = screen.until("Succeeded");
    let phases = phases(&rows);
    let order = ["CloneScheduled", "CloneInProgress", "RebindInProgress", "Succeeded"];
    assert!(phases.ends_with(&order), "{rows:?}");
    let before = &phases[..phases.len() - order.len()];
    assert!(before.iter().all(|phase| ["Pending", "N/A"].contains(phase)), "{rows:?}");
    let percentages = percentages(&rows);
    assert!(percentages.len() >= 2 && percentages.is_sorted(), "{rows:?}");
    assert_eq!(rows.last().unwrap(), &("Succeeded".to_owned(), "100.0%".to_owned()));
    let digest = dv["metadata"]["annotations"]["decant.dev/digest"].as_str().unwrap();
    assert!(digest.starts_with("decant1:33554432:"), "{digest}");
    assert!(env.get("volumeclonesource", &name).is_none());
    let events = env.events_about("copy");
    for reason in ["CloneScheduled", "CloneInProgress", "RebindInProgress", "CloneSucceeded", "CloneVerified"]
    {
        assert!(events.contains(&format!("Normal {reason}: ")), "no event {reason}: {events}");
    }
    assert_content(&env, "copy", &noise);
    env.wait_until_tidy();
    env.end_without_leftovers();
}

#[test]
fn a_data_volume_waits_for_its_consumer_which_then_finds_the_complete_volume() {
    let mut env = TestEnv::new(&[]);
    let noise = env.provisioned_source("Block", "24Mi", 12 * MIB);
    WAIT.clone_into(&mut env.class);
    env.limited_data_volume("copy", (&env.namespace, "golden"), ("Block", "24Mi"), "4MiB/s");
    let screen = KubectlWatch::of(&env, "copy");
    env.start();
    env.wait("dv", "copy", |dv| dv["status"]["phase"] == "PendingPopulation");
    assert_eq!(env.objects_of_clones(), "", "nothing is created for a volume that has no consumer");
    // Another one that does not wait.
    annotated_data_volume(&env, "now", "24Mi", &json!({ BIND_IMMEDIATE: "" }));
    env.wait_for_success("now");
    assert_content(&env, "now", &noise);
    assert_eq!(env.get("dv", "copy").unwrap()["status"]["phase"], "PendingPopulation");
    env.shell_pod("consumer", "copy", "Block", &check_script("Block", &noise, "true"));
    env.wait_for_script("consumer");
    env.wait_for_success("copy");
    env.wait_for_populated("copy");
    let rows = screen.until("Succeeded");
    let order = ["PendingPopulation", "CloneScheduled", "CloneInProgress", "RebindInProgress", "Succeeded"];
    assert!(phases(&rows).ends_with(&order), "{rows:?}");
    env.wait_until_tidy();
    env.end_without_leftovers();
}

#[test]
fn other_data_volumes_are_filled_in_a_bound_claim() {
    let mut env = TestEnv::new(&[]);
    let noise = env.provisioned_source("Block", "16Mi", 12 * MIB);
    env.start();
    // The second class has no CSIDriver object.
    for (name, class, annotation) in [
        ("refusing", NOW, json!({ USE_POPULATOR: "false" })),
        ("path", "provisioned-path", json!({ BIND_IMMEDIATE: "" })),
    ] {
        class.clone_into(&mut env.class);
        annotated_data_volume(&env, name, "16Mi", &annotation);
    }
    for name in ["refusing", "path"] {
        env.wait_for_success(name);
        let claim = env.wait_for_populated(name);
        for field in ["dataSource", "dataSourceRef"] {
            assert!(claim["spec"].get(field).is_none(), "{claim}");
        }
        assert!(claim["metadata"]["annotations"].get("decant.dev/prime").is_none(), "{claim}");
        // The provisioner names a volume after the claim that it was made for.
        let made_for = format!("pvc-{}", claim["metadata"]["uid"].as_str().unwrap());
        assert_eq!(claim["spec"]["volumeName"], made_for);
        let volume = env.get("pv", &made_for).unwrap();
        assert!(volume["metadata"]["annotations"].get(RECLAIM_POLICY).is_none(), "{volume}");
        assert_content(&env, name, &noise);
        assert!(!env.events_about(name).contains("RebindInProgress"));
    }
    env.end_without_leftovers();
}
