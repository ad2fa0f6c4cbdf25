//! The CustomResourceDefinitions: DataVolume (contract 4.1, 4.2), and the four others that KubeVirt insists on.

use serde_json::{Value, json};

const GROUP: &str = "cdi.kubevirt.io";

/// All of them, a document each (Helm takes no list): JSON, which is YAML, too.
pub fn manifest() -> String {
    definitions().iter().map(|definition| format!("---\n{definition:#}\n")).collect()
}

/// Their names.
pub fn names() -> Vec<String> {
    let name = |definition: &Value| definition["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    definitions().iter().map(name).collect()
}

fn definitions() -> [Value; 5] {
    [
        data_volume(),
        open("CDI", "cdis", "cdi", &["cdi", "cdis"], "Cluster"),
        open("CDIConfig", "cdiconfigs", "cdiconfig", &[], "Cluster"),
        open("DataSource", "datasources", "datasource", &["das"], "Namespaced"),
        open("StorageProfile", "storageprofiles", "storageprofile", &[], "Cluster"),
    ]
}

fn definition(
    kind: &str,
    plural: &str,
    singular: &str,
    short: &[&str],
    scope: &str,
    version: &Value,
) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": { "name": format!("{plural}.{GROUP}") },
        "spec": {
            "group": GROUP,
            "names": {
                "kind": kind, "listKind": format!("{kind}List"), "plural": plural, "singular": singular,
                "shortNames": short, "categories": ["all"],
            },
            "scope": scope,
            "versions": [version],
        },
    })
}

/// A kind whose content is not ours to check.
fn open(kind: &str, plural: &str, singular: &str, short: &[&str], scope: &str) -> Value {
    let any = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
    let version = json!({
        "name": "v1beta1", "served": true, "storage": true,
        "schema": { "openAPIV3Schema": {
            "type": "object",
            "properties": { "spec": any, "status": any },
            "required": ["spec"],
        } },
        "subresources": { "status": {} },
    });
    definition(kind, plural, singular, short, scope, &version)
}

fn data_volume() -> Value {
    let column = |name: &str, kind: &str, path: &str| json!({ "name": name, "type": kind, "jsonPath": path });
    let version = json!({
        "name": "v1beta1", "served": true, "storage": true,
        "subresources": { "status": {} },
        "additionalPrinterColumns": [
            column("Phase", "string", ".status.phase"),
            column("Progress", "string", ".status.progress"),
            column("Restarts", "integer", ".status.restartCount"),
            column("Age", "date", ".metadata.creationTimestamp"),
        ],
        "schema": { "openAPIV3Schema": {
            "type": "object",
            "description": "A volume, and what it is to be filled with.",
            "required": ["spec"],
            "properties": {
                "apiVersion": { "type": "string" },
                "kind": { "type": "string" },
                "metadata": { "type": "object" },
                "spec": spec(),
                "status": status(),
            },
        } },
    });
    definition("DataVolume", "datavolumes", "datavolume", &["dv", "dvs"], "Namespaced", &version)
}

fn spec() -> Value {
    let any = |text: &str| json!({ "type": "object", "description": text, "x-kubernetes-preserve-unknown-fields": true });
    let text = |text: &str| json!({ "type": "string", "description": text });
    let reference = json!({
        "type": "object",
        "description": "A DataSource that says where the data comes from.",
        "required": ["kind", "name"],
        "properties": {
            "kind": text("Only DataSource."),
            "namespace": text("The DataVolume's own if it is not given."),
            "name": text("Its name."),
        },
    });
    json!({
        "type": "object",
        "x-kubernetes-preserve-unknown-fields": true,
        "properties": {
            "source": any("Exactly one kind of source. Decant clones from pvc: {namespace, name}."),
            "sourceRef": reference,
            "pvc": any("The spec of the PVC to make, taken literally."),
            "storage": any("The spec of the PVC to make; what it leaves open follows the source."),
            "contentType": { "type": "string", "enum": ["kubevirt", "archive"],
                             "description": "What the volume holds: a disk image, or any files." },
            "preallocation": { "type": "boolean", "description": "Whether all space is taken in advance." },
            "priorityClassName": text("Priority class of the pods."),
            "serviceAccountName": text("Service account of the target pod."),
            "checkpoints": { "type": "array", "items": any("Not for clones.") },
            "finalCheckpoint": { "type": "boolean", "description": "Not for clones." },
        },
    })
}

fn status() -> Value {
    let text = json!({ "type": "string" });
    let time = json!({ "type": "string", "format": "date-time" });
    json!({
        "type": "object",
        "x-kubernetes-preserve-unknown-fields": true,
        "properties": {
            "claimName": text,
            "phase": text,
            "progress": text,
            "restartCount": { "type": "integer", "format": "int32" },
            "conditions": { "type": "array", "items": {
                "type": "object",
                "required": ["type", "status"],
                "properties": {
                    "type": text, "status": text, "reason": text, "message": text,
                    "lastTransitionTime": time, "lastHeartbeatTime": time,
                },
            } },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `controller crds > controller/deploy/base/crds.yaml` makes it anew.
    #[test]
    fn the_deployed_definitions_are_the_ones_that_are_printed() {
        assert_eq!(manifest(), include_str!("../deploy/base/crds.yaml"));
    }
}
