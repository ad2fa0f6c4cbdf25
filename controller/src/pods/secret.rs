//! The Secret with the keys of a pod (docs/protocol.md sections 3.3, 3.4).

use serde_json::{Map, Value, json};

use crate::objects::Meta;
use crate::objects::annotations::{COMPONENT, CREATED_BY_CONTROLLER, CREATED_BY_UPLOAD_CONTROLLER};
use crate::objects::names::NameStyle;
use crate::pods::role::Role;
use crate::pods::template::labels;
use crate::policy::PodPolicy;

/// A key of a Secret and the PEM text under it.
pub type Pem = (&'static str, String);

/// The type of these Secrets, by which an admission policy can distinguish them from all others.
pub const TYPE: &str = "decant.dev/keys";

/// The Secret `name` of `pod`. It is deleted with the pod, and its content never changes.
pub fn secret(role: Role, pod: &Meta, name: &str, pems: Vec<Pem>, policy: &PodPolicy) -> Value {
    let created_by = match role {
        Role::Source => CREATED_BY_CONTROLLER,
        Role::Target => CREATED_BY_UPLOAD_CONTROLLER,
    };
    // As its pod.
    let style = if pod.labels.contains_key(COMPONENT) { NameStyle::Cdi } else { NameStyle::Decant };
    let data: Map<String, Value> = pems.into_iter().map(|(key, pem)| (key.to_owned(), pem.into())).collect();
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": name,
            "namespace": pod.namespace,
            "labels": labels(role, style, policy),
            "annotations": { created_by: "yes" },
            "ownerReferences": [{
                "apiVersion": "v1", "kind": "Pod", "name": pod.name, "uid": pod.uid,
                "controller": true, "blockOwnerDeletion": true,
            }],
        },
        "type": TYPE,
        "immutable": true,
        "stringData": data,
    })
}
