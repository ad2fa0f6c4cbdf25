//! Claims that one pod fills: source and temporary claim are in one namespace.

use serde_json::json;

use crate::MIB;
use crate::content::assert_content;
use crate::direct::{AUTO, TRANSFER_MODE};
use crate::environment::TestEnv;
use crate::kubectl::try_kubectl;
use crate::populated::{NOW, WAIT, check_script, from_clone_source};

#[test]
fn one_pod_fills_a_claim_and_resumes_after_it_is_deleted() {
    let mut env = TestEnv::new(&AUTO);
    let noise = env.provisioned_source("Block", "192Mi", 180 * MIB);
    env.clone_source("golden", "golden", &json!({ "bandwidthLimit": "4MiB/s" }));
    env.start();
    env.request_claim("copy", &from_clone_source(NOW, "Block", "192Mi", "golden"));
    env.wait_for_progress("copy", 40.0);
    let [(pod, role)] = &env.clone_pods()[..] else { panic!("{:?}", env.clone_pods()) };
    assert_eq!(role, "direct");
    let summary = env.get("pvc", "copy").unwrap()["metadata"]["annotations"].clone();
    assert_eq!(summary[TRANSFER_MODE], "direct", "{summary}");
    try_kubectl(&["-n", &env.namespace, "delete", "pod", pod, "--force", "--grace-period=0"], None);
    env.wait_for_resumption("copy", pod);
    env.lift_limit_of_source("golden");
    let claim = env.wait_for_populated("copy");
    assert_content(&env, "copy", &noise);
    assert_eq!(claim["metadata"]["annotations"][TRANSFER_MODE], "direct", "{claim}");
    let events = env.events_about("copy");
    assert!(events.contains("Normal CloneTransfer: ") && events.contains(" in one pod"), "{events}");
    assert!(events.contains("Normal CloneVerified: "), "{events}");
    env.wait_until_tidy();
    env.end_without_leftovers();
}

#[test]
fn a_consumer_starts_on_a_filesystem_that_one_pod_filled() {
    let mut env = TestEnv::new(&AUTO);
    let noise = env.provisioned_source("Filesystem", "32Mi", 16 * MIB);
    env.clone_source("golden", "golden", &json!({}));
    env.start();
    env.request_claim("copy", &from_clone_source(WAIT, "Filesystem", "32Mi", "golden"));
    env.shell_pod("consumer", "copy", "Filesystem", &check_script("Filesystem", &noise, "true"));
    env.wait_for_script("consumer");
    let claim = env.wait_for_populated("copy");
    assert_eq!(claim["metadata"]["annotations"][TRANSFER_MODE], "direct", "{claim}");
    env.delete("pod", "consumer");
    env.wait_until_tidy();
    env.end_without_leftovers();
}
