//! What prevents a claim from being filled, as its user sees it, and how it continues.

use serde_json::json;

use crate::MIB;
use crate::content::assert_content;
use crate::environment::{ProvisionedClass, TestEnv};
use crate::kubectl::kubectl;
use crate::objects::ClaimRequest;
use crate::populated::{NOW, from_clone_source};

#[test]
fn a_claim_is_filled_once_its_data_source_and_its_source_exist() {
    let mut env = TestEnv::new(&[]);
    let noise = env.provisioned_source("Block", "16Mi", 4 * MIB);
    env.start();
    env.request_claim("last", &from_clone_source(NOW, "Block", "16Mi", "middle"));
    let message = env.wait_for_claim_event("last", "CloneWithoutSource");
    assert!(message.contains(&format!("CloneSource {}/middle doesn't exist", env.namespace)), "{message}");
    env.clone_source("middle", "middle", &json!({}));
    let missing = "The source pvc middle doesn't exist";
    env.wait("pvc", "last", |claim| {
        claim["metadata"]["annotations"]["cdi.kubevirt.io/cloneError"] == missing
    });
    assert!(env.events_about("last").contains(missing));
    // The source of the one is the target of the other: it is read when it is complete.
    env.clone_source("golden", "golden", &json!({ "bandwidthLimit": "3MiB/s" }));
    env.request_claim("middle", &from_clone_source(NOW, "Block", "16Mi", "golden"));
    for name in ["last", "middle"] {
        env.wait_for_populated(name);
        assert_content(&env, name, &noise);
    }
    env.wait_until_tidy();
    env.end_without_leftovers();
}

#[test]
fn a_claim_that_cannot_be_filled_tells_its_user_why() {
    let mut env = TestEnv::new(&[]);
    env.provisioned_source("Block", "16Mi", MIB);
    env.clone_source("golden", "golden", &json!({}));
    env.start();
    let request = |class, size| from_clone_source(class, "Block", size, "golden");
    let small = ClaimRequest { class: NOW, mode: "Block", size: "12Mi", ..request(NOW, "12Mi") };
    env.request_claim("small", &small);
    env.request_claim("by-hand", &request("decant-wait", "16Mi"));
    env.request_claim("no-class", &request("there-is-none", "16Mi"));
    env.request_claim("no-driver", &request("provisioned-path", "16Mi"));
    for (name, reason, text) in [
        ("small", "ErrIncompatiblePVC", "smaller"),
        ("by-hand", "NoProvisioner", "creates no volumes (kubernetes.io/no-provisioner)"),
        ("no-class", "NoProvisioner", "there is no StorageClass \"there-is-none\""),
        ("no-driver", "NoProvisioner", "has no CSIDriver object"),
    ] {
        let message = env.wait_for_claim_event(name, reason);
        assert!(message.contains(text), "{name}: {message}");
        let claim = env.get("pvc", name).unwrap();
        assert_eq!(claim["metadata"]["annotations"]["cdi.kubevirt.io/clonePhase"], "Error", "{claim}");
        assert!(env.get("pvc", &env.prime_name(name)).is_none(), "{name} has a prime");
    }
    // Its provisioner does not know what a data source is.
    env.shell_pod("consumer", "no-driver", "Block", "true");
    let message = env.wait_for_claim_event("no-driver", "VolumeInTheWay");
    assert!(message.contains("which no clone filled: its provisioner ignored the data source"), "{message}");
    env.end_without_leftovers();
}

#[test]
fn a_refusal_of_the_provisioner_reaches_the_user_of_the_claim() {
    let mut env = TestEnv::new(&[]);
    let noise = env.provisioned_source("Block", "16Mi", MIB);
    let parameters = json!({ "refuse": "the pool is full" });
    let class =
        env.make_provisioned_class(&ProvisionedClass { waits: false, reclaim_policy: "Delete", parameters });
    env.clone_source("golden", "golden", &json!({}));
    env.start();
    env.request_claim("copy", &from_clone_source(&class, "Block", "16Mi", "golden"));
    let message = env.wait_for_claim_event("copy", "ProvisioningFailed");
    let prime = env.prime_name("copy");
    assert!(message.starts_with(&format!("[{prime}] : ")), "{message}");
    assert!(message.ends_with("the pool is full"), "{message}");
    // The provisioner is asked to try again, as administrators do after they made room.
    let key = "provisioner.test.decant.dev";
    let replacement = json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": { "name": class },
        "provisioner": key, "volumeBindingMode": "Immediate", "reclaimPolicy": "Delete",
    });
    kubectl(&["replace", "--force", "-f", "-"], Some(&replacement));
    env.wait_for_populated("copy");
    assert_content(&env, "copy", &noise);
    env.end_without_leftovers();
}
