//! CloneSources, ReferenceGrants and VolumePopulators at an API server. No volume is needed.

use serde_json::{Value, json};

use crate::environment::TestEnv;
use crate::kubectl::{kubectl, try_kubectl};
use crate::objects::ClaimRequest;

/// A CloneSource of the claim `golden` in another namespace, and a claim that it fills.
fn request_clone(env: &TestEnv, name: &str, from: &str) {
    env.apply(&json!({
        "apiVersion": "decant.dev/v1alpha1", "kind": "CloneSource", "metadata": { "name": name },
        "spec": { "source": { "name": "golden", "namespace": from } },
    }));
    let data_source = json!({ "apiGroup": "decant.dev", "kind": "CloneSource", "name": name });
    let request = ClaimRequest {
        class: "none",
        mode: "Block",
        size: "16Mi",
        data_source: Some(data_source),
        ..ClaimRequest::default()
    };
    env.request_claim(name, &request);
}

/// What the claim says about its clone.
fn error(claim: &Value) -> &str {
    claim["metadata"]["annotations"]["cdi.kubevirt.io/cloneError"].as_str().unwrap_or_default()
}

fn grant(to: &TestEnv, name: &str) -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1beta1", "kind": "ReferenceGrant", "metadata": { "name": name },
        "spec": {
            "from": [{ "group": "decant.dev", "kind": "CloneSource", "namespace": to.namespace }],
            "to": [{ "group": "", "kind": "PersistentVolumeClaim", "name": "golden" }],
        },
    })
}

#[test]
fn a_claim_is_denied_until_a_reference_grant_in_the_sources_namespace_allows_it() {
    let images = TestEnv::new(&[]);
    let mut env = TestEnv::new(&[]);
    env.start();
    request_clone(&env, "copy", &images.namespace);
    let way =
        format!("a ReferenceGrant (gateway.networking.k8s.io) created in namespace {}", images.namespace);
    env.wait("pvc", "copy", |claim| error(claim).contains(&way));
    // A grant of the target's namespace grants nothing.
    env.apply(&grant(&env, "ours"));
    std::thread::sleep(std::time::Duration::from_secs(8));
    assert!(error(&env.get("pvc", "copy").unwrap()).contains(&way));
    images.apply(&grant(&env, "theirs"));
    // With permission, the user learns that there is no such claim.
    env.wait("pvc", "copy", |claim| error(claim).contains("The source pvc golden doesn't exist"));
    images.delete("referencegrants.gateway.networking.k8s.io", "theirs");
    // No watch reports that: it is noticed when the claim is looked at again.
    env.wait("pvc", "copy", |claim| {
        kubectl(&["-n", &env.namespace, "annotate", "--overwrite", "pvc", "copy", &look()], None);
        error(claim).contains(&way)
    });
}

/// An annotation with another value each time.
fn look() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    format!("look={}", now.as_millis())
}

#[test]
fn both_kinds_of_data_source_are_registered_when_the_controller_starts() {
    let mut env = TestEnv::new(&[]);
    env.start();
    for (name, group, kind) in [
        ("decant-clonesource", "decant.dev", "CloneSource"),
        ("decant-volumeclonesource", "cdi.kubevirt.io", "VolumeCloneSource"),
    ] {
        let populator = env.wait("volumepopulators.populator.storage.k8s.io", name, |_| true);
        assert_eq!(populator["sourceKind"], json!({ "group": group, "kind": kind }));
    }
}

#[test]
fn clone_sources_have_defaults_and_columns() {
    let env = TestEnv::new(&[]);
    env.apply(&json!({
        "apiVersion": "decant.dev/v1alpha1", "kind": "CloneSource", "metadata": { "name": "golden" },
        "spec": { "source": { "name": "debian-12", "namespace": "images" } },
    }));
    let spec = env.get("csrc", "golden").unwrap()["spec"].clone();
    assert_eq!(
        spec,
        json!({ "source": { "kind": "PersistentVolumeClaim", "name": "debian-12", "namespace": "images" },
                "verify": "digest", "transfer": "auto" })
    );
    let (_, table) = try_kubectl(&["-n", &env.namespace, "get", "clonesources"], None);
    let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["NAME", "SOURCE", "NAMESPACE", "VERIFY", "AGE"]);
    assert_eq!(lines[1][..4], ["golden", "debian-12", "images", "digest"]);
}
