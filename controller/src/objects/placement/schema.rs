//! The schema of a placement in the definition of a CloneSource.
//!
//! It has no rules in CEL: clusters before 1.25 do not know them, and kubectl refuses such a definition there. The
//! controller checks what types, words and patterns do not express.

use serde_json::{Value, json};

/// What can be the key of a label, or the value of one.
const KEY: &str = r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$";
const LABEL: &str = r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$";
const ITEMS_MAX: usize = 64;

fn object(description: &str, required: &[&str], properties: &Value) -> Value {
    let mut schema = json!({ "type": "object", "description": description, "properties": properties });
    if let Some(members) = schema.as_object_mut().filter(|_| !required.is_empty()) {
        members.insert("required".to_owned(), json!(required));
    }
    schema
}

fn list(description: &str, items: &Value) -> Value {
    json!({ "type": "array", "description": description, "maxItems": ITEMS_MAX, "items": items })
}

fn word(description: &str, words: &[&str]) -> Value {
    json!({ "type": "string", "description": description, "enum": words })
}

fn key(description: &str) -> Value {
    json!({ "type": "string", "description": description, "minLength": 1, "maxLength": 317, "pattern": KEY })
}

fn label() -> Value {
    json!({ "type": "string", "maxLength": 63, "pattern": LABEL })
}

/// Labels, or annotations, by their keys.
pub(in crate::objects) fn labels(description: &str, value: &Value) -> Value {
    json!({ "type": "object", "description": description, "additionalProperties": value })
}

fn weight() -> Value {
    json!({
        "type": "integer", "format": "int32", "minimum": 1, "maximum": 100,
        "description": "The weight of the term, 1 to 100.",
    })
}

fn requirements(description: &str, words: &[&str]) -> Value {
    let requirement = object(
        "A requirement.",
        &["key", "operator"],
        &json!({
            "key": key("The label or field."),
            "operator": word("How it is compared.", words),
            "values": list("What it is compared with.", &json!({ "type": "string" })),
        }),
    );
    list(description, &requirement)
}

fn tolerations() -> Value {
    let toleration = object(
        "A tolerated taint.",
        &[],
        &json!({
            "key": { "type": "string", "maxLength": 317, "description": "Its key. Empty for all." },
            "operator": word("How the value is compared. Defaults to `Equal`.", &["", "Exists", "Equal"]),
            "value": label(),
            "effect": word("Its effect. Empty for all.", &["", "NoSchedule", "PreferNoSchedule", "NoExecute"]),
            "tolerationSeconds": {
                "type": "integer", "format": "int64", "description": "How long `NoExecute` is tolerated.",
            },
        }),
    );
    list("The taints that the pods tolerate. Only for pods in the namespace of the PVC.", &toleration)
}

fn node_affinity() -> Value {
    let term = object(
        "Requirements that all apply.",
        &[],
        &json!({
            "matchExpressions": requirements(
                "About labels of the node.",
                &["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"],
            ),
            "matchFields": requirements("About `metadata.name` of the node.", &["In", "NotIn"]),
        }),
    );
    let preferred = object(
        "A preferred term.",
        &["weight", "preference"],
        &json!({ "weight": weight(), "preference": term }),
    );
    let terms = json!({
        "type": "array", "description": "Terms of which one applies.", "minItems": 1, "maxItems": ITEMS_MAX,
        "items": term,
    });
    object(
        "Nodes to run on.",
        &[],
        &json!({
            "requiredDuringSchedulingIgnoredDuringExecution": object(
                "What a node has to fulfil.", &["nodeSelectorTerms"], &json!({ "nodeSelectorTerms": terms }),
            ),
            "preferredDuringSchedulingIgnoredDuringExecution": list("What is preferred.", &preferred),
        }),
    )
}

fn pod_affinity(description: &str) -> Value {
    let term = object(
        "Pods, and what counts as near them.",
        &["topologyKey"],
        &json!({
            "labelSelector": object(
                "The pods.",
                &[],
                &json!({
                    "matchLabels": labels("Labels that they have.", &label()),
                    "matchExpressions": requirements(
                        "Requirements on their labels.", &["In", "NotIn", "Exists", "DoesNotExist"],
                    ),
                }),
            ),
            "namespaces": list("Their namespaces. Defaults to that of the clone's pod.", &json!({ "type": "string" })),
            "topologyKey": key("Nodes with the same value of this label are near each other."),
        }),
    );
    let preferred = object(
        "A preferred term.",
        &["weight", "podAffinityTerm"],
        &json!({ "weight": weight(), "podAffinityTerm": term }),
    );
    object(
        description,
        &[],
        &json!({
            "requiredDuringSchedulingIgnoredDuringExecution": list("Terms that all apply.", &term),
            "preferredDuringSchedulingIgnoredDuringExecution": list("What is preferred.", &preferred),
        }),
    )
}

/// The schema.
pub fn schema() -> Value {
    object(
        "Where the clone's pods run, in addition to what the operator configured. If the source is in another namespace, only \
         `nodeSelector` and `affinity.nodeAffinity` count.",
        &[],
        &json!({
            "nodeSelector": labels("Required labels of the node.", &label()),
            "tolerations": tolerations(),
            "affinity": object(
                "Nodes and other pods to be near to, or far from.",
                &[],
                &json!({
                    "nodeAffinity": node_affinity(),
                    "podAffinity": pod_affinity("Pods to be near to. Only for pods in the namespace of the PVC."),
                    "podAntiAffinity": pod_affinity("Pods to be far from. Only for pods in the namespace of the PVC."),
                }),
            ),
        }),
    )
}
