//! A controller with `--beside-cdi`: it fills PVCs with a CloneSource, and leaves everything else to CDI.

use std::time::Duration;

use serde_json::{Value, json};

use crate::MIB;
use crate::content::assert_content;
use crate::environment::TestEnv;
use crate::kubectl::kubectl;
use crate::objects::{ClaimRequest, data_source_field};

const CLASS: &str = "provisioned-now";
const SIZE: &str = "16Mi";
const BYTES: usize = 8 * MIB;
const ROLE: &str = "decant.dev/role";

fn request() -> ClaimRequest<'static> {
    ClaimRequest { class: CLASS, mode: "Block", size: SIZE, ..ClaimRequest::default() }
}

/// A namespace with a full PVC `golden`, and a controller beside CDI.
fn environment() -> (TestEnv, Vec<u8>) {
    let mut env = TestEnv::new(&["--beside-cdi"]);
    env.request_claim("golden", &request());
    env.wait_for_bound("golden");
    let bytes = env.fill("golden", BYTES);
    env.start();
    (env, bytes)
}

/// A CloneSource of `golden`, limited so that its clone takes some seconds.
fn clone_source(env: &TestEnv, name: &str) {
    env.apply(&json!({
        "apiVersion": "decant.dev/v1alpha1", "kind": "CloneSource", "metadata": { "name": name },
        "spec": { "source": { "name": "golden" }, "bandwidthLimit": "2MiB/s" },
    }));
}

fn data_source(group: &str, kind: &str, name: &str) -> Option<Value> {
    Some(json!({ "apiGroup": group, "kind": kind, "name": name }))
}

/// What CDI would serve: a DataVolume, a PVC with a VolumeCloneSource, and a PVC with the annotation of a clone.
fn request_from_cdi(env: &TestEnv) {
    env.data_volume("by-datavolume", (&env.namespace, "golden"), "Block", SIZE);
    env.apply(&json!({
        "apiVersion": "cdi.kubevirt.io/v1beta1", "kind": "VolumeCloneSource", "metadata": { "name": "golden" },
        "spec": { "source": { "kind": "PersistentVolumeClaim", "name": "golden" } },
    }));
    let by_cdi = data_source("cdi.kubevirt.io", "VolumeCloneSource", "golden");
    env.request_claim("by-populator", &ClaimRequest { data_source: by_cdi, ..request() });
    let annotations = json!({ "k8s.io/CloneRequest": format!("{}/golden", env.namespace) });
    env.request_claim("by-annotation", &ClaimRequest { annotations, ..request() });
}

/// Fails if the controller has written anything to what CDI would serve.
fn assert_left_alone(env: &TestEnv) {
    let dv = env.get("dv", "by-datavolume").unwrap();
    let has_phase = dv["status"]["phase"].as_str().is_some_and(|phase| !phase.is_empty());
    assert!(!has_phase && env.get("pvc", "by-datavolume").is_none(), "{dv:#}");
    for name in ["by-populator", "by-annotation"] {
        let claim = env.get("pvc", name).unwrap();
        let metadata = &claim["metadata"];
        assert_eq!(metadata["finalizers"], json!(["kubernetes.io/pvc-protection"]), "{claim:#}");
        // Those of kubectl, of the test and of the provisioner.
        let written = metadata["annotations"].as_object().unwrap().keys();
        let written: Vec<&String> = written
            .filter(|key| {
                key.contains("decant.dev/") || key.contains("cdi.kubevirt.io") || *key == "k8s.io/CloneOf"
            })
            .filter(|key| !key.contains("test.decant.dev"))
            .collect();
        assert!(written.is_empty(), "{claim:#}");
    }
    let populated = env.get("pvc", "by-populator").unwrap();
    assert_eq!(populated["status"]["phase"], "Pending", "{populated:#}");
    assert!(env.get("pod", "cdi-upload-by-annotation").is_none());
    let uid = populated["metadata"]["uid"].as_str().unwrap();
    assert!(env.get("pvc", &format!("tmp-pvc-{uid}")).is_none());
}

fn pods_of_clones(env: &TestEnv) -> String {
    kubectl(&["-n", &env.namespace, "get", "pods", "-l", ROLE, "-o", "name"], None)
}

/// Waits until `claim` has its volume and nothing else is left of its clone.
fn wait_for_volume(env: &TestEnv, claim: &str) -> Value {
    let is_done = |claim: &Value| {
        claim["status"]["phase"] == "Bound"
            && claim["metadata"]["finalizers"] == json!(["kubernetes.io/pvc-protection"])
    };
    let done = env.wait("pvc", claim, is_done);
    assert_eq!(pods_of_clones(env), "", "pods are left");
    let uid = done["metadata"]["uid"].as_str().unwrap();
    assert!(env.get("pvc", &format!("decant-prime-{uid}")).is_none());
    done
}

#[test]
fn only_claims_with_a_clone_source_are_filled() {
    let (env, bytes) = environment();
    request_from_cdi(&env);
    clone_source(&env, "golden");
    let own = data_source("decant.dev", "CloneSource", "golden");
    env.request_claim("copy", &ClaimRequest { data_source: own, ..request() });

    let uid = env.get("pvc", "copy").unwrap()["metadata"]["uid"].as_str().unwrap().to_owned();
    let prime_name = format!("decant-prime-{uid}");
    let target = env.wait("pod", &format!("decant-target-{uid}"), |_| true);
    let prime = env.get("pvc", &prime_name).unwrap();
    let prime_uid = prime["metadata"]["uid"].as_str().unwrap();
    let source = env.wait("pod", &format!("{prime_uid}-source-pod"), |_| true);
    for (pod, role) in [(&target, "target"), (&source, "source")] {
        let labels = &pod["metadata"]["labels"];
        assert_eq!((&labels[ROLE], &labels["cdi.kubevirt.io"]), (&json!(role), &Value::Null), "{labels:#}");
        assert_eq!(labels["prometheus.cdi.kubevirt.io"], Value::Null, "{labels:#}");
    }
    let annotations = &env.get("pvc", &prime_name).unwrap()["metadata"]["annotations"];
    for name in [
        "k8s.io/CloneRequest",
        "cdi.kubevirt.io/storage.uploadPodName",
        "cdi.kubevirt.io/storage.populator.kind",
    ] {
        assert_eq!(annotations[name], Value::Null, "{annotations:#}");
    }
    let finalizers = env.get("pvc", "copy").unwrap()["metadata"]["finalizers"].clone();
    assert!(finalizers.as_array().unwrap().contains(&json!("decant.dev/populator")), "{finalizers}");

    wait_for_volume(&env, "copy");
    assert_content(&env, "copy", &bytes);
    // Time for a round about each of the others.
    std::thread::sleep(Duration::from_secs(3));
    assert_left_alone(&env);
    env.end_without_leftovers();
}

/// As CDI makes it for a DataVolume with `spec.storage.dataSourceRef` (external population).
#[test]
fn the_claim_of_a_data_volume_with_a_clone_source_is_filled() {
    let (env, bytes) = environment();
    clone_source(&env, "golden");
    let own = data_source("decant.dev", "CloneSource", "golden");
    let wanted = ClaimRequest { data_source: own.clone(), ..request() };
    env.apply(&json!({
        "apiVersion": "cdi.kubevirt.io/v1beta1", "kind": "DataVolume", "metadata": { "name": "disk" },
        "spec": { "storage": {
            "accessModes": ["ReadWriteOnce"], "volumeMode": "Block", "storageClassName": CLASS,
            "resources": { "requests": { "storage": SIZE } }, "dataSourceRef": own,
        } },
    }));
    let dv = env.get("dv", "disk").unwrap();
    let claim = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "spec": wanted.spec(),
        "metadata": {
            "name": "disk", "labels": { "app": "containerized-data-importer" },
            "annotations": { "cdi.kubevirt.io/externalPopulation": "true", "cdi.kubevirt.io/createdForDataVolume": dv["metadata"]["uid"] },
            "ownerReferences": [{
                "apiVersion": dv["apiVersion"], "kind": dv["kind"], "name": "disk", "uid": dv["metadata"]["uid"],
                "controller": true, "blockOwnerDeletion": true,
            }],
        },
    });
    assert!(claim["spec"][data_source_field()].is_object());
    env.apply(&claim);

    let done = wait_for_volume(&env, "disk");
    assert_eq!(done["metadata"]["annotations"]["cdi.kubevirt.io/clonePhase"], "Succeeded", "{done:#}");
    assert_eq!(done["metadata"]["ownerReferences"][0]["uid"], dv["metadata"]["uid"], "{done:#}");
    assert_content(&env, "disk", &bytes);
    let untouched = env.get("dv", "disk").unwrap();
    assert_eq!(untouched["metadata"]["resourceVersion"], dv["metadata"]["resourceVersion"], "{untouched:#}");
    env.end_without_leftovers();
}
