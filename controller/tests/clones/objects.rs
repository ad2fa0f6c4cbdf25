//! What users make: claims, DataVolumes, pods.

use std::sync::OnceLock;

use serde_json::{Value, json};

use crate::environment::TestEnv;
use crate::kubectl::{kubectl, try_kubectl};
use crate::rights;

/// The image of the pause container of that cluster.
const PAUSE_IMAGE: &str = "localhost/decant-pause:1";
/// An image with busybox, which `scripts/cluster.sh provisioner up` makes.
const SHELL_IMAGE: &str = "localhost/decant-shell:1";

/// What a claim asks for.
#[derive(Clone, Default)]
pub(crate) struct ClaimRequest<'a> {
    pub(crate) class: &'a str,
    /// `Block` or `Filesystem`.
    pub(crate) mode: &'a str,
    pub(crate) size: &'a str,
    /// `apiGroup`, `kind` and `name`.
    pub(crate) data_source: Option<Value>,
    /// Null for none.
    pub(crate) annotations: Value,
}

impl ClaimRequest<'_> {
    /// The claim's spec. Where the API server knows no `dataSourceRef`, the data source is in `dataSource`.
    pub(crate) fn spec(&self) -> Value {
        let mut spec = json!({
            "accessModes": ["ReadWriteOnce"], "volumeMode": self.mode, "storageClassName": self.class,
            "resources": { "requests": { "storage": self.size } },
        });
        if let Some(source) = &self.data_source {
            spec[data_source_field()] = source.clone();
        }
        spec
    }
}

/// Kubernetes 1.24 and later have `dataSourceRef` by default, and ignore foreign kinds in `dataSource`.
pub(crate) fn data_source_field() -> &'static str {
    static FIELD: OnceLock<&str> = OnceLock::new();
    FIELD.get_or_init(|| {
        let version: Value = serde_json::from_str(&kubectl(&["version", "-o", "json"], None)).unwrap();
        let minor = version["serverVersion"]["minor"].as_str().unwrap();
        let minor: u32 = minor.trim_end_matches('+').parse().unwrap();
        if minor < 24 { "dataSource" } else { "dataSourceRef" }
    })
}

/// The spec of a pod of user and group 107 that runs `script` with the volume `v`: as the device `/dev/v`, or mounted at `/v`.
fn shell_spec(mode: &str, script: &str) -> Value {
    let (field, path, at) = match mode {
        "Block" => ("volumeDevices", "devicePath", "/dev/v"),
        _ => ("volumeMounts", "mountPath", "/v"),
    };
    json!({
        "terminationGracePeriodSeconds": 0, "automountServiceAccountToken": false,
        "securityContext": { "runAsUser": 107, "runAsGroup": 107, "fsGroup": 107 },
        "containers": [{
            "name": "c", "image": SHELL_IMAGE, "imagePullPolicy": "Never", "command": ["/bin/sh", "-c", script],
            field: [{ "name": "v", path: at }],
        }],
    })
}

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

    /// Creates a claim and does not wait.
    pub(crate) fn request_claim(&self, name: &str, request: &ClaimRequest<'_>) {
        self.apply(&json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "spec": request.spec(),
            "metadata": { "name": name, "annotations": request.annotations },
        }));
    }

    /// Waits until a claim has its volume; returns the volume's name.
    pub(crate) fn wait_for_bound(&self, claim: &str) -> String {
        let bound = self.wait("pvc", claim, |claim| claim["status"]["phase"] == "Bound");
        bound["spec"]["volumeName"].as_str().unwrap().to_owned()
    }

    /// Waits for an event about a claim; returns its message.
    pub(crate) fn wait_for_claim_event(&self, claim: &str, reason: &str) -> String {
        let fields = format!("involvedObject.name={claim},reason={reason}");
        let args = ["-n", &self.namespace, "get", "events", "-o", "json", "--field-selector", &fields];
        let mut message = String::new();
        self.wait("pvc", claim, |_| {
            let events: Value = serde_json::from_str(&kubectl(&args, None)).unwrap();
            events["items"][0]["message"].as_str().unwrap_or_default().clone_into(&mut message);
            !message.is_empty()
        });
        message
    }

    /// A pod of user 107 that runs `script` once, with `claim` as `/dev/v` or at `/v`.
    pub(crate) fn shell_pod(&self, name: &str, claim: &str, mode: &str, script: &str) {
        let mut spec = shell_spec(mode, script);
        spec["restartPolicy"] = "Never".into();
        spec["volumes"] = json!([{ "name": "v", "persistentVolumeClaim": { "claimName": claim } }]);
        self.apply(&json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name }, "spec": spec }));
    }

    /// Waits until the script of a pod has succeeded; fails with its output if it has not.
    pub(crate) fn wait_for_script(&self, pod: &str) {
        let ended =
            |pod: &Value| ["Succeeded", "Failed"].iter().any(|phase| pod["status"]["phase"] == *phase);
        let object = self.wait("pod", pod, ended);
        let log = || try_kubectl(&["-n", &self.namespace, "logs", pod], None).1;
        assert_eq!(object["status"]["phase"], "Succeeded", "{pod}: {}\n{}", log(), object["status"]);
    }

    /// A StatefulSet whose pods are like those of `shell_pod`, but start together and are restarted. The claim of pod N is
    /// `v-NAME-N`.
    pub(crate) fn stateful_set(&self, name: &str, replicas: u32, claim: &ClaimRequest<'_>, script: &str) {
        let labels = json!({ "stateful-set": name });
        self.apply(
            &json!({ "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": { "name": name }, "spec": {
            "replicas": replicas, "serviceName": name, "podManagementPolicy": "Parallel",
            "selector": { "matchLabels": labels },
            "template": { "metadata": { "labels": labels }, "spec": shell_spec(claim.mode, script) },
            "volumeClaimTemplates": [{
                "metadata": { "name": "v", "annotations": claim.annotations }, "spec": claim.spec(),
            }],
        } }),
        );
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

    /// Lets a running clone of `limited_data_volume` end soon. A test holds a clone with a low limit until it has seen or done what
    /// it needs a running clone for.
    pub(crate) fn lift_limit(&self, name: &str) {
        let limit = "decant.dev/bandwidth-limit=512MiB/s";
        kubectl(&["-n", &self.namespace, "annotate", "--overwrite", "dv", name, limit], None);
    }

    /// Waits until the log of `pod` says that it resumes the clone into the claim `target`.
    pub(crate) fn wait_for_resumption(&self, target: &str, pod: &str) {
        // Once only: the pod goes with the end of the clone.
        let mut resumes = false;
        self.wait("pvc", target, |claim| {
            let (_, log) = try_kubectl(&["-n", &self.namespace, "logs", pod], None);
            resumes = log.contains("resuming after the first");
            resumes || claim["metadata"]["annotations"]["k8s.io/CloneOf"] == "true"
        });
        assert!(resumes, "the clone restarted from zero");
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
