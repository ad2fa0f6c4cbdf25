//! Tests that need the whole cluster for themselves.

use std::time::Duration;

use serde_json::Value;

use crate::content::assert_content;
use crate::environment::TestEnv;
use crate::kubectl::{kubectl, script};
use crate::{MIB, SLOW};

#[test]
fn a_clone_waits_for_its_source_and_for_permission() {
    let mut env = TestEnv::for_whole_cluster(&[]);
    let mut owner = TestEnv::for_whole_cluster(&[]);
    env.volumes("filesystem", "64Mi", 1);
    owner.volumes("filesystem", "64Mi", 1);
    env.start();
    env.data_volume("copy", (&owner.namespace, "golden"), "Filesystem", "64Mi");
    let before = env.wait_for_reason("copy", "Bound", "CloneNotAllowed");
    owner.claim("golden", "Filesystem", "64Mi");
    let noise = owner.fill("golden", MIB);
    let message = env.wait_for_reason("copy", "Bound", "CloneNotAllowed");
    assert_eq!(message, before, "it tells whether there is a source");
    assert!(message.contains("decant.dev/allow-clone-to"), "{message}");
    assert!(env.get("pvc", "copy").is_none(), "a claim was made without permission");
    let consent = format!("decant.dev/allow-clone-to={}", env.namespace);
    kubectl(&["-n", &owner.namespace, "annotate", "pvc", "golden", &consent], None);
    env.wait_for_success("copy");
    assert_content(&env, "copy", &noise);
}

#[test]
fn a_restart_of_the_api_server_only_delays_the_status() {
    let mut env = TestEnv::for_whole_cluster(&SLOW);
    env.volumes("block", "64Mi", 2);
    env.claim("golden", "Block", "64Mi");
    let noise = env.fill("golden", 60 * MIB);
    env.start();
    env.data_volume("copy", (&env.namespace, "golden"), "Block", "64Mi");
    env.wait_for_copying("copy");
    script(&["restart-api", "5"]);
    env.wait_for_success("copy");
    assert_content(&env, "copy", &noise);
    env.wait_for_cleanup("copy");
}

#[test]
fn fifty_concurrent_clones_succeed() {
    const CLONES: usize = 50;
    let mut env = TestEnv::for_whole_cluster(&[]);
    env.volumes("block", "8Mi", 1 + CLONES);
    env.claim("golden", "Block", "8Mi");
    let noise = env.fill("golden", 2 * MIB);
    env.start();
    let names: Vec<String> = (0..CLONES).map(|number| format!("copy-{number}")).collect();
    for name in &names {
        env.data_volume(name, (&env.namespace, "golden"), "Block", "8Mi");
    }
    for _ in 0..300 {
        let text = kubectl(&["-n", &env.namespace, "get", "dv", "-o", "json"], None);
        let list: Value = serde_json::from_str(&text).unwrap();
        let phases = list["items"].as_array().unwrap().iter().map(|dv| &dv["status"]["phase"]);
        if phases.filter(|phase| *phase == "Succeeded").count() == CLONES {
            break;
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    for name in &names {
        env.wait_for_success(name);
        assert_content(&env, name, &noise);
    }
}
