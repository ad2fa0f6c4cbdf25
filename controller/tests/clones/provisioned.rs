//! The dynamic provisioner of the test cluster, on which other tests rely, and its volumes in pods.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::environment::{PATIENCE, ProvisionedClass, TestEnv};
use crate::kubectl::kubectl;
use crate::objects::ClaimRequest;

const CLASSES: [&str; 3] = ["provisioned-now", "provisioned-wait", "provisioned-path"];
const MODES: [&str; 2] = ["Block", "Filesystem"];

fn request<'a>(class: &'a str, mode: &'a str) -> ClaimRequest<'a> {
    ClaimRequest { class, mode, size: "16Mi", ..ClaimRequest::default() }
}

fn with_foreign_source(class: &str) -> ClaimRequest<'_> {
    let source = json!({ "apiGroup": "populators.example", "kind": "Unknown", "name": "x" });
    ClaimRequest { data_source: Some(source), ..request(class, "Block") }
}

fn phase(env: &TestEnv, claim: &str) -> Value {
    env.get("pvc", claim).unwrap()["status"]["phase"].clone()
}

#[test]
fn a_pod_writes_and_fills_volumes_of_every_class_and_mode() {
    let env = TestEnv::new(&[]);
    let all = CLASSES.iter().flat_map(|class| MODES.map(|mode| (*class, mode)));
    let all: Vec<(String, &str, &str)> =
        all.map(|(class, mode)| (format!("{class}-{}", mode.to_lowercase()), class, mode)).collect();
    for (name, class, mode) in &all {
        env.request_claim(name, &request(class, mode));
        let script = match *mode {
            "Block" => "echo written | dd of=/dev/v conv=fsync && head -n 1 /dev/v | grep -x written",
            _ => {
                "echo written >/v/file && sync && grep -x written /v/file &&
                 dd if=/dev/zero of=/v/rest bs=1M 2>&1 | grep 'No space left'"
            }
        };
        env.shell_pod(name, name, mode, script);
    }
    for (name, _, mode) in &all {
        env.wait_for_script(name);
        let path = env.backing_path(name);
        let path = if *mode == "Block" { path } else { path.join("file") };
        let mut start = [0; 8];
        std::io::Read::read_exact(&mut std::fs::File::open(path).unwrap(), &mut start).unwrap();
        assert_eq!(&start, b"written\n", "{name}");
    }
    env.end_without_leftovers();
}

#[test]
fn a_volume_is_deleted_with_its_claim_unless_it_is_retained() {
    let mut env = TestEnv::new(&[]);
    let parameters = json!({});
    let retain =
        env.make_provisioned_class(&ProvisionedClass { waits: false, reclaim_policy: "Retain", parameters });
    env.request_claim("kept", &request(&retain, "Block"));
    for mode in MODES {
        env.request_claim(&mode.to_lowercase(), &request("provisioned-now", mode));
    }
    let kept = env.wait_for_bound("kept");
    env.remove_at_the_end(&kept);
    env.delete("pvc", "kept");
    env.wait("pv", &kept, |volume| volume["status"]["phase"] == "Released");
    for mode in MODES {
        let claim = mode.to_lowercase();
        let volume = env.wait_for_bound(&claim);
        assert!(env.backing_path(&claim).exists());
        env.delete("pvc", &claim);
        env.wait_for_removal(&volume);
    }
    assert!(env.get("pv", &kept).is_some());
    assert!(env.backing_path_of_volume(&kept, "Block").exists());
    env.end_without_leftovers();
}

#[test]
fn claims_with_a_foreign_data_source_are_left_to_a_populator() {
    let env = TestEnv::new(&[]);
    for class in CLASSES {
        env.request_claim(class, &with_foreign_source(class));
        env.shell_pod(class, class, "Block", "true");
    }
    // The provisioner without a CSI driver knows no data sources.
    env.wait_for_script("provisioned-path");
    for class in ["provisioned-now", "provisioned-wait"] {
        let message = env.wait_for_claim_event(class, "Provisioning");
        assert!(message.contains("external populator"), "{message}");
        assert_eq!(phase(&env, class), "Pending");
        let pod = env.get("pod", class).unwrap();
        assert_eq!(pod["status"]["phase"], "Pending");
    }
    let waits = env.get("pvc", "provisioned-wait").unwrap();
    assert!(waits["metadata"]["annotations"]["volume.kubernetes.io/selected-node"].is_string(), "{waits}");
    env.end_without_leftovers();
}

#[test]
fn a_claim_without_a_running_provisioner_stays_pending() {
    let env = TestEnv::new(&[]);
    env.request_claim("never", &request("provisioned-never", "Block"));
    env.wait_for_claim_event("never", "ExternalProvisioning");
    assert_eq!(phase(&env, "never"), "Pending");
    env.end_without_leftovers();
}

#[test]
fn the_provisioner_refuses_and_delays_on_request() {
    let mut env = TestEnv::new(&[]);
    let annotations = json!({ "provisioner.test.decant.dev/refuse": "the pool is full" });
    env.request_claim("refused", &ClaimRequest { annotations, ..request("provisioned-now", "Block") });
    let parameters = json!({ "delaySecs": "2" });
    let slow =
        env.make_provisioned_class(&ProvisionedClass { waits: false, reclaim_policy: "Delete", parameters });
    let start = Instant::now();
    env.request_claim("delayed", &request(&slow, "Block"));
    let message = env.wait_for_claim_event("refused", "ProvisioningFailed");
    assert!(message.ends_with(": the pool is full"), "{message}");
    assert_eq!(phase(&env, "refused"), "Pending");
    env.wait_for_bound("delayed");
    assert!(start.elapsed() >= Duration::from_secs(2));
    kubectl(
        &["-n", &env.namespace, "annotate", "pvc", "refused", "provisioner.test.decant.dev/refuse-"],
        None,
    );
    env.wait_for_bound("refused");
    env.end_without_leftovers();
}

#[test]
fn each_pod_of_a_stateful_set_gets_its_own_volume() {
    let env = TestEnv::new(&[]);
    let script = "hostname >/v/name && sync && exec sleep 100000";
    env.stateful_set("set", 2, &request("provisioned-wait", "Filesystem"), script);
    env.wait("statefulset", "set", |set| set["status"]["readyReplicas"] == 2);
    for pod in ["set-0", "set-1"] {
        let directory = env.backing_path(&format!("v-{pod}"));
        let deadline = Instant::now() + PATIENCE;
        while std::fs::read_to_string(directory.join("name")).unwrap_or_default() != format!("{pod}\n") {
            assert!(Instant::now() < deadline, "{pod} has not written its name");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    env.end_without_leftovers();
}
