//! Claims that are filled before they are bound, with volumes of the dynamic provisioner (docs/protocol.md section 7.6).

mod alone;
mod claims;
mod data_volumes;
mod direct;
mod faults;
mod kills;
mod refusals;
mod snapshots;

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::environment::{PATIENCE, TestEnv};
use crate::kubectl::{kubectl, try_kubectl};
use crate::objects::{ClaimRequest, data_source_field};

/// The class of a CSI driver that creates volumes at once.
const NOW: &str = "provisioned-now";
/// The class of a CSI driver that waits for the first consumer.
const WAIT: &str = "provisioned-wait";
/// The record on the target of the complete volume.
const POPULATED_VOLUME: &str = "decant.dev/populated-volume";
/// The reclaim policy of a volume before its hand-over.
const RECLAIM_POLICY: &str = "decant.dev/reclaim-policy";
/// A claim with a CloneSource as its data source.
fn from_clone_source<'a>(class: &'a str, mode: &'a str, size: &'a str, source: &str) -> ClaimRequest<'a> {
    let source = json!({ "apiGroup": "decant.dev", "kind": "CloneSource", "name": source });
    ClaimRequest { class, mode, size, data_source: Some(source), ..ClaimRequest::default() }
}

/// A script that fails unless the device or the disk image begins with `content`, and continues with `then`.
fn check_script(mode: &str, content: &[u8], then: &str) -> String {
    let path = if mode == "Block" { "/dev/v" } else { "/v/disk.img" };
    format!("head -c {} {path} | sha256sum | grep '^{} ' && {then}", content.len(), sha256(content))
}

/// Hexadecimal.
fn sha256(content: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, content);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

impl TestEnv {
    /// A claim `golden` of the provisioner with `bytes` random bytes.
    fn provisioned_source(&self, mode: &str, size: &str, bytes: usize) -> Vec<u8> {
        self.request_claim("golden", &ClaimRequest { class: NOW, mode, size, ..ClaimRequest::default() });
        self.wait_for_bound("golden");
        self.fill("golden", bytes)
    }

    /// A CloneSource for the claim `source` ("name" or "namespace/name") with more fields of its spec.
    fn clone_source(&self, name: &str, source: &str, settings: &Value) {
        let mut spec = settings.as_object().cloned().unwrap_or_default();
        let source = match source.split_once('/') {
            Some((namespace, name)) => json!({ "namespace": namespace, "name": name }),
            None => json!({ "name": source }),
        };
        spec.insert("source".to_owned(), source);
        self.apply(&json!({
            "apiVersion": "decant.dev/v1alpha1", "kind": "CloneSource", "metadata": { "name": name }, "spec": spec,
        }));
    }

    /// Lets the running clones of a CloneSource with a `bandwidthLimit` end soon.
    fn lift_limit_of_source(&self, name: &str) {
        let change = r#"{"spec":{"bandwidthLimit":"512MiB/s"}}"#;
        kubectl(&["-n", &self.namespace, "patch", "clonesource", name, "--type=merge", "-p", change], None);
    }

    /// The name of a claim's prime, whether or not it exists.
    fn prime_name(&self, claim: &str) -> String {
        let claim = self.get("pvc", claim).unwrap();
        let uid = claim["metadata"]["uid"].as_str().unwrap();
        let kind = &claim["spec"][data_source_field()]["kind"];
        if kind == "CloneSource" { format!("decant-prime-{uid}") } else { format!("tmp-pvc-{uid}") }
    }

    /// The pods of the clone into a prime: source and target.
    fn pods_of_prime(&self, prime: &str) -> [Value; 2] {
        let args = ["get", "pods", "-l", "app=containerized-data-importer", "-o", "json"];
        let list = kubectl(&[&["-n", &self.namespace], &args[..]].concat(), None);
        let list: Value = serde_json::from_str(&list).unwrap();
        let uid = self.get("pvc", prime).unwrap()["metadata"]["uid"].as_str().unwrap().to_owned();
        let pods = list["items"].as_array().unwrap();
        let is_source = |pod: &&Value| pod["metadata"]["name"] == format!("{uid}-source-pod");
        let has_prime = |pod: &&Value| {
            let volumes = pod["spec"]["volumes"].as_array().unwrap();
            volumes.iter().any(|volume| volume["persistentVolumeClaim"]["claimName"] == prime)
        };
        [pods.iter().find(is_source), pods.iter().find(has_prime)]
            .map(|pod| pod.expect("both pods exist").clone())
    }

    /// Waits until the clone into a claim's prime has started.
    fn wait_for_cloning(&self, claim: &str) {
        let started = ["HostClone", "Rebind", "Succeeded"];
        self.wait("pvc", claim, |claim| {
            let phase = &claim["metadata"]["annotations"]["cdi.kubevirt.io/clonePhase"];
            started.iter().any(|started| phase == started)
        });
    }

    /// Waits until more than `percent` of a claim's content is sent.
    fn wait_for_progress(&self, claim: &str, percent: f64) {
        self.wait("pvc", claim, |claim| {
            let text = &claim["metadata"]["annotations"]["cdi.kubevirt.io/storage.populator.progress"];
            let text = text.as_str().unwrap_or_default().trim_end_matches('%');
            text.parse::<f64>().is_ok_and(|progress| progress > percent)
        });
    }

    /// Waits until a claim is bound to its complete volume, and checks what is left of the clone; returns the claim.
    fn wait_for_populated(&self, name: &str) -> Value {
        let claim = self.wait("pvc", name, |claim| {
            claim["metadata"]["annotations"]["k8s.io/CloneOf"] == "true"
                && claim["metadata"]["finalizers"] == json!(["kubernetes.io/pvc-protection"])
        });
        assert_eq!(claim["status"]["phase"], "Bound", "{claim}");
        let volume = self.get("pv", claim["spec"]["volumeName"].as_str().unwrap()).unwrap();
        assert_eq!(volume["spec"]["claimRef"]["uid"], claim["metadata"]["uid"], "{volume}");
        assert_eq!(volume["spec"]["persistentVolumeReclaimPolicy"], "Delete", "{volume}");
        assert!(volume["metadata"]["annotations"].get(RECLAIM_POLICY).is_none(), "{volume}");
        claim
    }

    /// Waits until no object of any clone is left in the namespace, but for target claims and DataVolumes.
    fn wait_until_tidy(&self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = self.objects_of_clones();
            if left.is_empty() {
                return;
            }
            if Instant::now() > deadline {
                let objects = ["-n", &self.namespace, "get", "pods,pvc,events", "-o", "yaml"];
                panic!("left in {}: {left}\n{}", self.namespace, try_kubectl(&objects, None).1);
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Waits until an object is gone.
    fn wait_for_deletion(&self, kind: &str, name: &str) {
        let deadline = Instant::now() + PATIENCE;
        while let Some(object) = self.get(kind, name) {
            assert!(Instant::now() < deadline, "{kind} {name} is still there: {object:#}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Primes, pods and Secrets of clones, by name.
    fn objects_of_clones(&self) -> String {
        let get = |kinds: &str, label: &str| {
            kubectl(&["-n", &self.namespace, "get", kinds, "-l", label, "-o", "name"], None)
        };
        get("pvc", "cdi.kubevirt.io/OwnedByUID") + &get("pods,secrets", "app=containerized-data-importer")
    }

    /// The events about a claim or another object: reason and message, one per line.
    fn events_about(&self, name: &str) -> String {
        let template = "jsonpath={range .items[*]}{.type} {.reason}: {.message}{\"\\n\"}{end}";
        let about = format!("involvedObject.name={name}");
        kubectl(&["-n", &self.namespace, "get", "events", "--field-selector", &about, "-o", template], None)
    }
}
