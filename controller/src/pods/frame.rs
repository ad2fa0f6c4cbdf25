//! What both pods have in common: labels, copied annotations, security, placement.

use serde_json::{Map, Value, json};

use super::{Clone, DEVICE, USER};
use crate::annotations::{APP, APP_VALUE, COMPONENT, PRIORITY_CLASS};
use crate::policy::PodPolicy;
use crate::resource::claim::VolumeMode;
use crate::resource::{Claim, Meta};

/// Annotations that go from the claim to its pods, and what they are when the claim has none (contract 3.11).
const COPIED: [(&str, Option<&str>); 4] = [
    ("k8s.v1.cni.cncf.io/networks", None),
    ("v1.multus-cni.io/default-network", None),
    ("sidecar.istio.io/inject", Some("false")),
    ("linkerd.io/inject", Some("disabled")),
];

/// Labels of every object of a clone.
pub(super) fn labels(component: &str, policy: &PodPolicy) -> Map<String, Value> {
    let mut labels = recommended(policy);
    labels.insert(APP.to_owned(), APP_VALUE.into());
    labels.insert(COMPONENT.to_owned(), component.into());
    labels
}

/// Kubernetes' recommended labels.
pub(super) fn recommended(policy: &PodPolicy) -> Map<String, Value> {
    let mut labels = Map::new();
    labels.insert("app.kubernetes.io/managed-by".to_owned(), "cdi-controller".into());
    labels.insert("app.kubernetes.io/component".to_owned(), "storage".into());
    labels.extend(policy.extra_labels.iter().map(|(name, value)| (name.clone(), value.clone().into())));
    labels
}

/// Annotations that are not ours: of [`COPIED`] the claim's, else the operator's, else the default; and what else the
/// operator wants. What the controller itself reads again is inserted afterwards, and so cannot be replaced.
pub(super) fn annotations(claim: &Meta, policy: &PodPolicy) -> Map<String, Value> {
    let defaults = COPIED.iter().filter_map(|(name, default)| Some((*name, (*default)?)));
    let wanted = policy.annotations.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let own = COPIED.iter().filter_map(|(name, _)| Some((*name, claim.annotation(name)?)));
    let all = defaults.chain(wanted).chain(own);
    all.map(|(name, value)| (name.to_owned(), value.into())).collect()
}

/// The pod around one container.
pub(super) struct Frame<'a> {
    pub(super) clone: &'a Clone<'a>,
    pub(super) name: String,
    pub(super) namespace: &'a str,
    pub(super) labels: Map<String, Value>,
    pub(super) annotations: Map<String, Value>,
    pub(super) container: Value,
    pub(super) volumes: Vec<Value>,
}

impl Frame<'_> {
    /// The whole pod, fit for the Pod Security level "restricted" (contract 3.10).
    pub(super) fn pod(self) -> Value {
        let policy = self.clone.policy;
        let mut container = self.container;
        container["image"] = policy.image.clone().into();
        container["imagePullPolicy"] = policy.pull_policy.clone().into();
        container["resources"] = policy.resources.clone();
        container["terminationMessagePolicy"] = "FallbackToLogsOnError".into();
        container["securityContext"] = json!({
            "capabilities": { "drop": ["ALL"] },
            "seccompProfile": { "type": "RuntimeDefault" },
            "allowPrivilegeEscalation": false,
            "runAsNonRoot": true,
            "runAsUser": USER,
        });
        let mut spec = json!({
            "restartPolicy": "OnFailure",
            "enableServiceLinks": false,
            // Our pods never talk to the API server.
            "automountServiceAccountToken": false,
            "securityContext": {
                "seccompProfile": { "type": "RuntimeDefault" },
                "runAsNonRoot": true,
                // The certificates are files of a Secret: the group may read them.
                "fsGroup": USER,
            },
            "containers": [container],
            "volumes": self.volumes,
        });
        if !policy.node_selector.is_empty() {
            spec["nodeSelector"] = json!(policy.node_selector);
        }
        if policy.tolerations.as_array().is_some_and(|list| !list.is_empty()) {
            spec["tolerations"] = policy.tolerations.clone();
        }
        if !policy.pull_secrets.is_empty() {
            spec["imagePullSecrets"] =
                policy.pull_secrets.iter().map(|name| json!({ "name": name })).collect();
        }
        if let Some(class) = self.clone.target.metadata.annotation(PRIORITY_CLASS) {
            spec["priorityClassName"] = class.into();
        }
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": self.name,
                "namespace": self.namespace,
                "labels": self.labels,
                "annotations": self.annotations,
            },
            "spec": spec,
        })
    }
}

/// The volume `cdi-data-vol` of a claim.
pub(super) fn data_volume(claim: &Claim) -> Value {
    json!({ "name": "cdi-data-vol", "persistentVolumeClaim": { "claimName": claim.metadata.name } })
}

/// Adds the data volume to a container, as a device or at `folder`.
pub(super) fn attach(container: &mut Value, claim: &Claim, folder: &str, read_only: bool) {
    match claim.spec.volume_mode {
        VolumeMode::Block => {
            container["volumeDevices"] = json!([{ "name": "cdi-data-vol", "devicePath": DEVICE }]);
        }
        VolumeMode::Filesystem => {
            let mut mount = json!({ "name": "cdi-data-vol", "mountPath": folder });
            if read_only {
                mount["readOnly"] = true.into();
            }
            push(&mut container["volumeMounts"], mount);
        }
    }
}

/// Adds to a list that may not be there yet.
pub(super) fn push(list: &mut Value, item: Value) {
    match list {
        Value::Array(items) => items.push(item),
        _ => *list = Value::Array(vec![item]),
    }
}

/// Whether preallocation was asked of the clone into `claim`.
pub(super) fn preallocation(claim: &Claim) -> &'static str {
    if claim.metadata.is_annotated_true(crate::annotations::PREALLOCATION_REQUESTED) {
        "true"
    } else {
        "false"
    }
}
