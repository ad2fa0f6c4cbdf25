//! What both pods have in common: labels, copied annotations, security, placement.

use std::collections::BTreeMap;

use decant_shared::protocol::limit_order::{KEY_VARIABLE, POD_UID_VARIABLE};
use decant_shared::protocol::units::Rate;
use serde_json::{Map, Value, json};

use crate::objects::annotations::{APP, APP_VALUE, BANDWIDTH_LIMIT, COMPONENT, PRIORITY_CLASS, ROLE};
use crate::objects::claim::VolumeMode;
use crate::objects::names::NameStyle;
use crate::objects::placement::{self, Placement};
use crate::objects::{Claim, Meta};
use crate::pods::clone_pods::{ClonePods, DEVICE, USER};
use crate::pods::identity::PodIdentity;
use crate::pods::role::Role;
use crate::policy::PodPolicy;

/// Annotations that are copied from a claim to a pod, with their defaults (docs/protocol.md section 3.11).
const COPIED: [(&str, Option<&str>); 5] = [
    ("k8s.v1.cni.cncf.io/networks", None),
    ("v1.multus-cni.io/default-network", None),
    ("sidecar.istio.io/inject", Some("false")),
    ("linkerd.io/inject", Some("disabled")),
    ("consul.hashicorp.com/connect-inject", Some("false")),
];
/// Labels that keep the pods out of meshes that decide by labels: Istio's ambient mode, and Kuma.
const MESH_LABELS: [(&str, &str); 2] =
    [("istio.io/dataplane-mode", "none"), ("kuma.io/sidecar-injection", "disabled")];

/// Labels of every object of a clone.
pub(super) fn labels(role: Role, style: NameStyle, policy: &PodPolicy) -> Map<String, Value> {
    let mut labels = recommended(policy);
    labels.insert(APP.to_owned(), APP_VALUE.into());
    labels.insert(ROLE.to_owned(), role.name().into());
    // CDI's operator deletes pods with this label when CDI is removed.
    if style == NameStyle::Cdi {
        labels.insert(COMPONENT.to_owned(), role.component().into());
    }
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

/// Annotations that the controller itself does not read: each of [`COPIED`] from the claim, else from the operator,
/// else its default, and all others of the operator. Annotations that the controller reads are inserted later, so these
/// cannot replace them.
fn annotations(claim: &Meta, policy: &PodPolicy) -> Map<String, Value> {
    let defaults = COPIED.iter().filter_map(|(name, default)| Some((*name, (*default)?)));
    let wanted = policy.annotations.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let own = COPIED.iter().filter_map(|(name, _)| Some((*name, claim.annotation(name)?)));
    let all = defaults.chain(wanted).chain(own);
    all.map(|(name, value)| (name.to_owned(), value.into())).collect()
}

/// The pod around one container.
pub(super) struct PodTemplate<'a> {
    pub(super) clone: &'a ClonePods<'a>,
    /// The identity of the pod.
    pub(super) identity: &'a PodIdentity,
    /// The claim whose owner decides on networks and priority of the pod.
    pub(super) ruled_by: &'a Meta,
    pub(super) labels: Map<String, Value>,
    /// Annotations that only this role has.
    pub(super) annotations: Map<String, Value>,
    pub(super) owners: Vec<Value>,
    pub(super) container: Map<String, Value>,
    pub(super) volumes: Vec<Value>,
    /// The affinity that the role requires or prefers; null for none.
    pub(super) affinity: Value,
    /// Fields of the pod's spec that only this role has.
    pub(super) spec: Map<String, Value>,
}

impl PodTemplate<'_> {
    /// The whole pod. It conforms to the Pod Security level "restricted" (docs/protocol.md section 3.10).
    pub(super) fn pod(self) -> Value {
        let policy = self.clone.policy;
        let chosen = self.clone.settings(&self.identity.pod.namespace);
        let texts = |texts: BTreeMap<String, String>| {
            texts.into_iter().map(|(name, value)| (name, Value::from(value))).collect::<Map<_, _>>()
        };
        let mut labels: Map<String, Value> =
            MESH_LABELS.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
        labels.extend(self.labels);
        // They have none of the controller's own keys.
        labels.extend(texts(chosen.labels));
        let mut annotations = annotations(self.ruled_by, policy);
        annotations.extend(texts(chosen.annotations));
        annotations.extend(self.annotations);
        // Last, so that no setting replaces the annotations by which the controller recognizes its pods.
        annotations.extend(self.identity.annotations(self.clone.seal));
        let mut metadata = members(json!({
            "name": self.identity.pod.name,
            "namespace": self.identity.pod.namespace,
            "labels": labels,
            "annotations": annotations,
        }));
        if !self.owners.is_empty() {
            metadata.insert("ownerReferences".to_owned(), self.owners.into());
        }
        let mut container = self.container;
        container.extend(members(json!({
            "image": policy.image,
            "imagePullPolicy": policy.pull_policy,
            "resources": policy.resources,
            "terminationMessagePolicy": "FallbackToLogsOnError",
            "securityContext": {
                "capabilities": { "drop": ["ALL"] },
                "seccompProfile": { "type": "RuntimeDefault" },
                "allowPrivilegeEscalation": false,
                "readOnlyRootFilesystem": true,
                "runAsNonRoot": true,
                "runAsUser": USER,
            },
        })));
        let mut spec = members(json!({
            "restartPolicy": "OnFailure",
            "enableServiceLinks": false,
            // The pods of a clone never call the API server.
            "automountServiceAccountToken": false,
            "securityContext": {
                "seccompProfile": { "type": "RuntimeDefault" },
                "runAsNonRoot": true,
                // The certificates are files of a Secret: the group may read them.
                "fsGroup": USER,
            },
            "containers": [container],
            "volumes": self.volumes,
        }));
        let mut add = |name: &str, value: Value| spec.insert(name.to_owned(), value);
        let Placement { node_selector, tolerations, affinity } = chosen.placement;
        let node_selector = placement::node_selector(&policy.node_selector, &node_selector);
        if !node_selector.is_empty() {
            add("nodeSelector", json!(node_selector));
        }
        let tolerations = placement::tolerations(&policy.tolerations, &tolerations);
        if !tolerations.is_empty() {
            add("tolerations", tolerations.into());
        }
        let affinity = placement::affinity(&[json!(policy.affinity), json!(affinity), self.affinity]);
        if !affinity.is_empty() {
            add("affinity", affinity.into());
        }
        if !policy.pull_secrets.is_empty() {
            add("imagePullSecrets", policy.pull_secrets.iter().map(|name| json!({ "name": name })).collect());
        }
        if let Some(class) = self.ruled_by.annotation(PRIORITY_CLASS) {
            add("priorityClassName", class.into());
        }
        spec.extend(self.spec);
        json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec })
    }
}

/// The members of an object.
pub(super) fn members(object: Value) -> Map<String, Value> {
    match object {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

/// The volume `cdi-data-vol` of a claim. `read_only` applies to the volume as a whole: the kubelet then changes no
/// owner and no mode in it, and the device of a block volume cannot be written to.
pub(super) fn data_volume(claim: &Claim, read_only: bool) -> Value {
    let mut volume = members(json!({ "claimName": claim.metadata.name }));
    if read_only {
        volume.insert("readOnly".to_owned(), true.into());
    }
    json!({ "name": "cdi-data-vol", "persistentVolumeClaim": volume })
}

/// Adds the data volume to a container, as a device or at `directory`, beside the mount `keys`.
pub(super) fn attach(
    container: &mut Map<String, Value>,
    claim: &Claim,
    directory: &str,
    read_only: bool,
    keys: Value,
) {
    let mut mounts = vec![keys];
    match claim.spec.volume_mode {
        VolumeMode::Block => {
            let devices = json!([{ "name": "cdi-data-vol", "devicePath": DEVICE }]);
            container.insert("volumeDevices".to_owned(), devices);
        }
        VolumeMode::Filesystem => {
            let mut mount = members(json!({ "name": "cdi-data-vol", "mountPath": directory }));
            if read_only {
                mount.insert("readOnly".to_owned(), true.into());
            }
            mounts.push(mount.into());
        }
    }
    container.insert("volumeMounts".to_owned(), mounts.into());
}

/// The variables about the bandwidth limit: the one to start with, and whose orders change it.
pub(super) fn limit(clone: &ClonePods<'_>) -> Vec<Value> {
    let own = clone.target.metadata.annotation(BANDWIDTH_LIMIT).map(str::to_owned);
    let start = clone.policy.start_limit.map(|Rate(bytes_per_sec)| bytes_per_sec.to_string());
    let mut variables = Vec::new();
    if let Some(limit) = start.or(own) {
        variables.push(json!({ "name": "DECANT_LIMIT", "value": limit }));
    }
    if let Some(signer) = clone.seal.limit_signer() {
        let uid = json!({ "fieldRef": { "apiVersion": "v1", "fieldPath": "metadata.uid" } });
        variables.push(json!({ "name": KEY_VARIABLE, "value": signer.public_key() }));
        variables.push(json!({ "name": POD_UID_VARIABLE, "valueFrom": uid }));
    }
    variables
}

/// Whether the clone into `claim` shall preallocate its space.
pub(super) fn preallocation(claim: &Claim) -> &'static str {
    if claim.metadata.is_annotated_true(crate::objects::annotations::PREALLOCATION_REQUESTED) {
        "true"
    } else {
        "false"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_of_the_operator_are_added_to_those_of_a_clone() {
        let operator = json!({
            "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": [1] } },
            "podAffinity": { "preferredDuringSchedulingIgnoredDuringExecution": [2] },
        });
        let own = json!({ "podAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [3],
            "requiredDuringSchedulingIgnoredDuringExecution": [4],
        } });
        let both = placement::affinity(&[operator.clone(), own.clone()]);
        assert_eq!(both["nodeAffinity"], operator["nodeAffinity"]);
        assert_eq!(
            both["podAffinity"],
            json!({
                "preferredDuringSchedulingIgnoredDuringExecution": [2, 3],
                "requiredDuringSchedulingIgnoredDuringExecution": [4],
            })
        );
        assert_eq!(placement::affinity(&[Value::Null, own.clone()]), members(own));
    }
}
