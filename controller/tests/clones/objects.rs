//! What users make: claims, DataVolumes, pods.

use serde_json::{Value, json};

use crate::environment::TestEnv;
use crate::kubectl::kubectl;
use crate::rights;

/// The image of the pause container of that cluster.
const PAUSE_IMAGE: &str = "localhost/decant-pause:1";

impl TestEnv {
    pub(crate) fn claim(&self, name: &str, mode: &str, size: &str) {
        let spec = self.claim_spec(mode, size);
        self.apply(&json!({ "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": { "name": name }, "spec": spec }));
        self.wait("pvc", name, |claim| claim["status"]["phase"] == "Bound");
    }

    /// A claim that asks for a clone of `source` without a DataVolume.
    pub(crate) fn bare_claim(&self, name: &str, source: &str, size: &str) {
        let request = format!("{}/{source}", self.namespace);
        self.apply(&json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "spec": self.claim_spec("Block", size),
            "metadata": { "name": name, "annotations": { "k8s.io/CloneRequest": request } },
        }));
    }

    pub(crate) fn claim_spec(&self, mode: &str, size: &str) -> Value {
        json!({
            "accessModes": ["ReadWriteOnce"], "volumeMode": mode, "storageClassName": self.class,
            "resources": { "requests": { "storage": size } },
        })
    }

    /// A DataVolume that clones `source` (namespace/name).
    pub(crate) fn data_volume(&self, name: &str, source: (&str, &str), mode: &str, size: &str) {
        let (namespace, source) = source;
        self.apply(&json!({
            "apiVersion": "cdi.kubevirt.io/v1beta1", "kind": "DataVolume", "metadata": { "name": name },
            "spec": {
                "source": { "pvc": { "namespace": namespace, "name": source } },
                "pvc": self.claim_spec(mode, size),
            },
        }));
    }

    /// The same with a bandwidth limit: it takes as long as a test needs, whatever the machine.
    pub(crate) fn limited_data_volume(
        &self,
        name: &str,
        source: (&str, &str),
        (mode, size): (&str, &str),
        rate: &str,
    ) {
        let (namespace, source) = source;
        self.apply(&json!({
            "apiVersion": "cdi.kubevirt.io/v1beta1", "kind": "DataVolume",
            "metadata": { "name": name, "annotations": { "decant.dev/bandwidth-limit": rate } },
            "spec": {
                "source": { "pvc": { "namespace": namespace, "name": source } },
                "pvc": self.claim_spec(mode, size),
            },
        }));
    }

    /// A pod that does nothing but have `claim`.
    pub(crate) fn pod_using(&self, name: &str, claim: &str, device: bool) {
        let attached = json!([if device {
            json!({ "name": "v", "devicePath": "/dev/v" })
        } else {
            json!({ "name": "v", "mountPath": "/v" })
        }]);
        let field = if device { "volumeDevices" } else { "volumeMounts" };
        self.apply(&json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name }, "spec": {
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": false,
            "volumes": [{ "name": "v", "persistentVolumeClaim": { "claimName": claim } }],
            "containers": [{ "name": "c", "image": PAUSE_IMAGE, "imagePullPolicy": "Never", field: attached }],
        } }));
    }

    /// How often the controller asked for this and got it.
    pub(crate) fn calls(&self, verb: &str, resource: &str) -> u64 {
        rights::calls(self.pages, verb, resource)
    }

    pub(crate) fn delete(&self, kind: &str, name: &str) {
        kubectl(&["-n", &self.namespace, "delete", kind, name, "--timeout=150s"], None);
    }

    /// The condition `kind` of a DataVolume gets the reason `reason`; returns its message.
    pub(crate) fn wait_for_reason(&self, name: &str, kind: &str, reason: &str) -> String {
        let condition = |dv: &Value| {
            let list = dv["status"]["conditions"].as_array().cloned().unwrap_or_default();
            list.into_iter().find(|condition| condition["type"] == kind).unwrap_or_default()
        };
        let dv = self.wait("dv", name, |dv| condition(dv)["reason"] == reason);
        condition(&dv)["message"].as_str().unwrap_or_default().to_owned()
    }
}
