//! The CustomResourceDefinitions: DataVolume (docs/protocol.md sections 4.1, 4.2), the four others that KubeVirt insists
//! on, and the two kinds of object that a PVC can name as its data source (docs/protocol.md section 3.6).

use decant_shared::protocol::stream_id::STREAMS_LIMIT;
use serde_json::{Value, json};

use crate::objects::annotations::READBACK;
use crate::objects::kind::Kind;
use crate::objects::placement;

const GROUP: &str = "cdi.kubevirt.io";

/// All definitions as one YAML stream, one document each, because Helm accepts no list. The documents are JSON, which
/// is valid YAML.
pub fn manifest() -> String {
    definitions().iter().map(|definition| format!("---\n{definition:#}\n")).collect()
}

/// A kind that a cluster has to serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServedKind {
    /// The name of its definition.
    pub definition: String,
    /// The version that is used.
    pub version: String,
}

impl ServedKind {
    /// Whether CDI defines it, too.
    pub fn is_of_cdi(&self) -> bool {
        self.definition.strip_suffix(GROUP).is_some_and(|plural| plural.ends_with('.'))
    }
}

/// All kinds that are defined here.
pub fn served_kinds() -> Vec<ServedKind> {
    let text =
        |definition: &Value, path: &str| definition.pointer(path).and_then(Value::as_str).map(str::to_owned);
    let kind = |definition: &Value| {
        Some(ServedKind {
            definition: text(definition, "/metadata/name")?,
            version: text(definition, "/spec/versions/0/name")?,
        })
    };
    definitions().iter().filter_map(kind).collect()
}

fn definitions() -> [Value; 7] {
    [
        data_volume(),
        open("CDI", "cdis", "cdi", &["cdi", "cdis"], "Cluster"),
        open("CDIConfig", "cdiconfigs", "cdiconfig", &[], "Cluster"),
        data_source(),
        open("StorageProfile", "storageprofiles", "storageprofile", &[], "Cluster"),
        volume_clone_source(),
        clone_source(),
    ]
}

/// A definition of CDI's group.
fn definition(
    kind: &str,
    plural: &str,
    singular: &str,
    short: &[&str],
    scope: &str,
    version: &Value,
) -> Value {
    definition_in(GROUP, kind, plural, singular, short, scope, version)
}

fn definition_in(
    group: &str,
    kind: &str,
    plural: &str,
    singular: &str,
    short: &[&str],
    scope: &str,
    version: &Value,
) -> Value {
    // The API server drops empty lists. With an empty list here, every `kubectl apply` would report a change.
    let short = if short.is_empty() { json!({}) } else { json!({ "shortNames": short }) };
    let names = merged(
        &json!({
            "kind": kind, "listKind": format!("{kind}List"), "plural": plural, "singular": singular, "categories": ["all"],
        }),
        &short,
    );
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": { "name": format!("{plural}.{group}") },
        "spec": { "group": group, "names": names, "scope": scope, "versions": [version] },
    })
}

/// One object with the members of both.
fn merged(one: &Value, other: &Value) -> Value {
    let members = one.as_object().into_iter().chain(other.as_object()).flatten();
    members.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// A kind whose content Decant does not check.
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

fn column(name: &str, kind: &str, path: &str) -> Value {
    json!({ "name": name, "type": kind, "jsonPath": path })
}

fn data_volume() -> Value {
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
            "description": "A volume and the source of its content.",
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

fn data_source() -> Value {
    let any = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
    let snapshot = named(
        "A VolumeSnapshot.",
        "The namespace of the VolumeSnapshot. Defaults to that of the DataSource.",
    );
    let version = json!({
        "name": "v1beta1", "served": true, "storage": true,
        "schema": { "openAPIV3Schema": {
            "type": "object",
            "description": "A named source that DataVolumes can refer to.",
            "required": ["spec"],
            "properties": {
                "spec": object("The source.", &json!({
                    "source": object("Exactly one kind of source.", &json!({
                        "pvc": named("A PVC.", "The namespace of the PVC. Defaults to that of the DataSource."),
                        "snapshot": snapshot,
                        "dataSource": named(
                            "Another DataSource, which must not refer to a third one.",
                            "Must be the namespace of the DataSource.",
                        ),
                    })),
                })),
                "status": any,
            },
        } },
        "subresources": { "status": {} },
    });
    definition("DataSource", "datasources", "datasource", &["das"], "Namespaced", &version)
}

/// CDI's kind, without a status. Its source is in its own namespace.
fn volume_clone_source() -> Value {
    let source = json!({
        "type": "object",
        "description": "The object to clone, in the namespace of the VolumeCloneSource.",
        "required": ["kind", "name"],
        "properties": {
            "apiGroup": text("The API group. Empty for PersistentVolumeClaims."),
            "kind": text("The kind of the object. Decant clones a `PersistentVolumeClaim` and a `VolumeSnapshot`."),
            "name": text("The name of the object."),
        },
    });
    let spec = object(
        "What a PVC whose `dataSourceRef` names this object is filled with.",
        &json!({
            "source": source,
            "preallocation": { "type": "boolean", "description": "Whether all space is allocated in advance." },
            "priorityClassName": text("Priority class of the clone's pods."),
        }),
    );
    let spec = merged(&spec, &json!({ "required": ["source"] }));
    let version = json!({
        "name": "v1beta1", "served": true, "storage": true,
        "schema": { "openAPIV3Schema": data_source_schema("The source of PVCs, as CDI describes it.", &spec) },
    });
    let kind = Kind::VolumeCloneSource;
    definition(kind.name(), kind.plural(), "volumeclonesource", &[], "Namespaced", &version)
}

/// Decant's own kind. The API server fills in the defaults and refuses wrong values, so each field has its type.
fn clone_source() -> Value {
    let of_pods = |description: &str| json!({ "type": "object", "description": description, "additionalProperties": { "type": "string" } });
    let one_of = |values: &[&str], default: &str, description: &str| json!({ "type": "string", "enum": values, "default": default, "description": description });
    let source = json!({
        "type": "object",
        "description": "The object to clone.",
        "required": ["name"],
        "properties": {
            "kind": one_of(
                &["PersistentVolumeClaim", "VolumeSnapshot"],
                "PersistentVolumeClaim",
                "The kind of the object. A `VolumeSnapshot` is restored to a temporary PVC, which is cloned and deleted.",
            ),
            "name": {
                "type": "string", "minLength": 1, "maxLength": NAME_LIMIT, "description": "The name of the object.",
            },
            "namespace": {
                "type": "string", "maxLength": NAMESPACE_LIMIT,
                "description": "The namespace of the object. Defaults to that of the CloneSource. For another namespace, its \
                    owner has to allow the clone.",
            },
        },
    });
    let spec = json!({
        "type": "object",
        "description": "What a PVC whose `dataSourceRef` names this object is filled with, and how.",
        "required": ["source"],
        "properties": {
            "source": source,
            "verify": one_of(
                &["digest", READBACK],
                "digest",
                "How the content is verified: `digest` compares the digests of what was sent and written, `readback` also \
                 reads everything back from the target's disk.",
            ),
            "bandwidthLimit": {
                "type": "string", "pattern": RATE,
                "description": "Limit of the bytes on the wire, such as `50MiB/s`. Without it there is no limit.",
            },
            "streams": {
                "type": "integer", "format": "int32", "minimum": 1, "maximum": STREAMS_LIMIT,
                "description": "The number of connections. Defaults to 1.",
            },
            "transfer": one_of(
                &["auto", "direct", "network"],
                "auto",
                "How the bytes travel: `direct` within one pod, `network` between two pods, `auto` as is possible.",
            ),
            "sourceInUse": {
                "type": "string", "enum": ["wait", "snapshot"],
                "description": "What happens while pods may write to the source: `wait` until none does, or `snapshot` to clone a \
                    snapshot of it. The snapshot is crash-consistent, as the disk after a power failure. Defaults to the setting of \
                    the controller.",
            },
            "preallocation": { "type": "boolean", "description": "Whether all space is allocated in advance." },
            "priorityClassName": text("Priority class of the clone's pods."),
            "placement": placement::schema(),
            "podLabels": of_pods("Further labels of the clone's pods in the namespace of the PVC."),
            "podAnnotations": of_pods("Further annotations of the clone's pods in the namespace of the PVC."),
        },
    });
    let version = json!({
        "name": "v1alpha1", "served": true, "storage": true,
        "additionalPrinterColumns": [
            column("Source", "string", ".spec.source.name"),
            column("Namespace", "string", ".spec.source.namespace"),
            column("Verify", "string", ".spec.verify"),
            column("Age", "date", ".metadata.creationTimestamp"),
        ],
        "schema": { "openAPIV3Schema": data_source_schema("The source of PVCs whose `dataSourceRef` names it.", &spec) },
    });
    let kind = Kind::CloneSource;
    definition_in(kind.group(), kind.name(), kind.plural(), "clonesource", &["csrc"], "Namespaced", &version)
}

/// The schema of a kind that consists of `spec`.
fn data_source_schema(description: &str, spec: &Value) -> Value {
    json!({
        "type": "object",
        "description": description,
        "required": ["spec"],
        "properties": {
            "apiVersion": { "type": "string" },
            "kind": { "type": "string" },
            "metadata": { "type": "object" },
            "spec": spec,
        },
    })
}

/// What can be a bandwidth limit: a Kubernetes quantity of bytes, with or without `B` and `/s`. The controller also
/// refuses limits that are too low.
const RATE: &str = r"^[0-9]+(\.[0-9]+)?\s*([KMGTPE]i|[kMGTPE])?B?(/s)?$";
/// The longest name of a PVC.
const NAME_LIMIT: usize = 253;
/// The longest name of a namespace.
const NAMESPACE_LIMIT: usize = 63;

/// An object whose `properties` are read. Unknown fields are preserved, because CDI may know them.
fn object(description: &str, properties: &Value) -> Value {
    json!({
        "type": "object",
        "description": description,
        "x-kubernetes-preserve-unknown-fields": true,
        "properties": properties,
    })
}

fn text(description: &str) -> Value {
    json!({ "type": "string", "description": description })
}

/// A reference by namespace and name.
fn named(description: &str, namespace: &str) -> Value {
    object(description, &json!({ "namespace": text(namespace), "name": text("The name of the object.") }))
}

fn spec() -> Value {
    let any = |text: &str| json!({ "type": "object", "description": text, "x-kubernetes-preserve-unknown-fields": true });
    let reference = json!({
        "type": "object",
        "description": "A DataSource that names the source.",
        "required": ["kind", "name"],
        "properties": {
            "kind": text("Must be `DataSource`."),
            "namespace": text("The namespace of the DataSource. Defaults to that of the DataVolume."),
            "name": text("The name of the object."),
        },
    });
    json!({
        "type": "object",
        "x-kubernetes-preserve-unknown-fields": true,
        "properties": {
            "source": object(
                "Exactly one kind of source. Decant clones from `pvc` and `snapshot`.",
                &json!({
                    "pvc": named("The PVC to clone.", "The namespace of the PVC."),
                    "snapshot": named("The VolumeSnapshot to clone.", "The namespace of the VolumeSnapshot."),
                }),
            ),
            "sourceRef": reference,
            "pvc": claim_spec("The spec of the target PVC, used unchanged."),
            "storage": claim_spec("The spec of the target PVC. Missing fields are those of the StorageProfile of its class, or of the source."),
            "contentType": { "type": "string", "enum": ["kubevirt", "archive"],
                             "description": "The content of the volume: `kubevirt` is a disk image, `archive` is any files." },
            "preallocation": { "type": "boolean", "description": "Whether all space is allocated in advance." },
            "priorityClassName": text("Priority class of the clone's pods."),
            "serviceAccountName": text("Service account of the target pod."),
            "checkpoints": { "type": "array", "items": any("Not supported for clones.") },
            "finalCheckpoint": { "type": "boolean", "description": "Not supported for clones." },
        },
    })
}

/// All fields of a PersistentVolumeClaimSpec, as `objects/claim_template.rs` reads them. The API server would drop any
/// other field from a PVC, so the schema drops it here already.
fn claim_spec(description: &str) -> Value {
    let words = json!({ "type": "array", "items": { "type": "string" } });
    let amounts = json!({ "type": "object", "additionalProperties": {
        "anyOf": [{ "type": "integer" }, { "type": "string" }],
        "pattern": QUANTITY,
        "x-kubernetes-int-or-string": true,
    } });
    let reference = |description: &str| {
        json!({
            "type": "object",
            "description": description,
            "required": ["kind", "name"],
            "properties": {
                "apiGroup": text("The API group. Empty for the core group."),
                "kind": text("The kind of the object."),
                "name": text("The name of the object."),
                "namespace": text("The namespace of the object. Defaults to that of the PVC."),
            },
        })
    };
    json!({
        "type": "object",
        "description": description,
        "properties": {
            "accessModes": words,
            "selector": {
                "type": "object",
                "description": "The volumes that may be bound.",
                "properties": {
                    "matchLabels": { "type": "object", "additionalProperties": { "type": "string" } },
                    "matchExpressions": { "type": "array", "items": {
                        "type": "object",
                        "required": ["key", "operator"],
                        "properties": {
                            "key": text("The key of the label."),
                            "operator": text("`In`, `NotIn`, `Exists` or `DoesNotExist`."),
                            "values": words,
                        },
                    } },
                },
            },
            "resources": {
                "type": "object",
                "description": "The size of the volume: `requests.storage`.",
                "properties": {
                    "requests": amounts,
                    "limits": amounts,
                    // From earlier versions of Kubernetes: accepted, but not passed on.
                    "claims": { "type": "array", "items": {
                        "type": "object", "x-kubernetes-preserve-unknown-fields": true,
                    } },
                },
            },
            "volumeName": text("The name of the only volume that may be bound."),
            "storageClassName": text("The storage class. Defaults to the default class of the cluster."),
            "volumeMode": text("`Filesystem` or `Block`."),
            "dataSource": reference("Not supported for clones."),
            "dataSourceRef": reference("Not supported for clones."),
            "volumeAttributesClassName": text("The VolumeAttributesClass of the volume."),
        },
    })
}

/// What Kubernetes accepts as a quantity, copied from the schemas of its own kinds.
const QUANTITY: &str = r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$";

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
    use crate::objects::CloneSource;

    /// To regenerate the file: `controller crds > controller/deploy/base/crds.yaml`.
    #[test]
    fn the_deployed_definitions_are_the_ones_that_are_printed() {
        assert_eq!(manifest(), include_str!("../../deploy/base/crds.yaml"));
    }

    /// Whether `value` has the types that `schema` requires. This is the part of the API server's check that matters
    /// here.
    fn fits(schema: &Value, value: &Value) -> bool {
        if schema.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true)) {
            return value.is_string() || value.is_i64() || value.is_u64();
        }
        match schema["type"].as_str() {
            Some("string") => {
                let words = schema["enum"].as_array();
                let has_length = value.as_str().is_some_and(|text| {
                    schema["minLength"].as_u64().is_none_or(|least| text.len() as u64 >= least)
                        && schema["maxLength"].as_u64().is_none_or(|most| text.len() as u64 <= most)
                });
                has_length && words.is_none_or(|words| words.contains(value))
            }
            Some("boolean") => value.is_boolean(),
            Some("integer") => value.as_u64().is_some_and(|number| {
                schema["minimum"].as_u64().is_none_or(|least| number >= least)
                    && schema["maximum"].as_u64().is_none_or(|most| number <= most)
            }),
            Some("array") => {
                value.as_array().is_some_and(|items| items.iter().all(|item| fits(&schema["items"], item)))
            }
            Some("object") => value.as_object().is_some_and(|members| {
                let required = schema["required"].as_array().into_iter().flatten();
                let is_complete = required.filter_map(Value::as_str).all(|name| members.contains_key(name));
                is_complete
                    && members.iter().all(|(name, member)| {
                        let of_name = schema["properties"].get(name).or(schema.get("additionalProperties"));
                        of_name.is_none_or(|schema| fits(schema, member))
                    })
            }),
            _ => true,
        }
    }

    fn schema(definition: &Value) -> &Value {
        &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    }

    #[test]
    fn what_would_make_a_field_that_is_read_unreadable_is_refused_by_the_schema() {
        let definition = data_volume();
        for spec in [
            json!({ "storage": { "resources": "x" } }),
            json!({ "storage": { "resources": { "requests": [] } } }),
            json!({ "storage": { "resources": { "requests": { "storage": [] } } } }),
            json!({ "storage": { "volumeMode": 7 } }),
            json!({ "pvc": { "accessModes": "x" } }),
            json!({ "pvc": { "storageClassName": [] } }),
            json!({ "pvc": { "selector": { "matchLabels": { "a": 1 } } } }),
            json!({ "source": { "pvc": { "namespace": 5 } } }),
            json!({ "source": "golden" }),
            json!({ "sourceRef": { "name": [] } }),
            json!({ "contentType": 5 }),
            json!({ "preallocation": "yes" }),
            json!({ "priorityClassName": 1 }),
            json!({ "serviceAccountName": {} }),
        ] {
            let object = json!({ "metadata": { "name": "a" }, "spec": spec });
            assert!(!fits(schema(&definition), &object), "{object}");
        }
        let source = data_source();
        for spec in [
            json!({ "source": 5 }),
            json!({ "source": { "pvc": "x" } }),
            json!({ "source": { "pvc": { "name": [] } } }),
            json!({ "source": { "dataSource": { "name": 1 } } }),
        ] {
            assert!(!fits(schema(&source), &json!({ "spec": spec })), "{spec}");
        }
    }

    #[test]
    fn what_cdi_takes_the_schema_takes_and_nothing_of_a_claims_spec_is_dropped() {
        let claim = json!({
            "accessModes": ["ReadWriteOnce"], "volumeName": "v", "storageClassName": "c", "volumeMode": "Block",
            "selector": { "matchExpressions": [{ "key": "k", "operator": "In", "values": ["x"] }] },
            "resources": { "requests": { "storage": 1_073_741_824 }, "limits": { "storage": "2Gi" } },
            "dataSource": { "apiGroup": "g", "kind": "K", "name": "n" },
            "dataSourceRef": { "kind": "K", "name": "n", "namespace": "m" },
            "volumeAttributesClassName": "gold",
        });
        let object = json!({ "spec": {
            "source": { "http": { "url": "https://x", "extraHeaders": ["a: b"] } },
            "pvc": claim, "contentType": "archive", "preallocation": true, "finalCheckpoint": false,
            "checkpoints": [{ "previous": "", "current": "a" }], "unknown": { "to": "us" },
        } });
        let definition = data_volume();
        assert!(fits(schema(&definition), &object));
        let known = &schema(&definition)["properties"]["spec"]["properties"]["pvc"]["properties"];
        for name in claim.as_object().unwrap().keys() {
            assert!(known.get(name).is_some(), "{name} would be dropped");
        }
    }

    #[test]
    fn a_clone_source_is_refused_if_a_field_has_no_meaning() {
        let definition = clone_source();
        let fits = |spec: &Value| fits(schema(&definition), &json!({ "metadata": {}, "spec": spec }));
        for spec in [
            json!({ "source": { "name": "golden" } }),
            json!({ "source": { "kind": "PersistentVolumeClaim", "name": "golden", "namespace": "images" } }),
            json!({ "source": { "kind": "VolumeSnapshot", "name": "golden" } }),
            json!({ "source": { "name": "g" }, "verify": "readback", "streams": 8, "transfer": "network", "sourceInUse": "snapshot",
                    "bandwidthLimit": "50MiB/s", "preallocation": true, "priorityClassName": "low",
                    "podLabels": { "team": "a" }, "podAnnotations": { "x": "y z" },
                    "placement": { "nodeSelector": { "disk": "ssd" }, "tolerations": [{ "key": "gpu", "operator": "Exists" }],
                                   "affinity": { "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": {
                                       "nodeSelectorTerms": [{ "matchExpressions": [{ "key": "a", "operator": "Exists" }] }] } } } } }),
        ] {
            assert!(fits(&spec), "{spec}");
        }
        for spec in [
            json!({}),
            json!({ "source": {} }),
            json!({ "source": { "name": "" } }),
            json!({ "source": { "name": "g", "kind": "Secret" } }),
            json!({ "source": { "name": "g" }, "verify": "twice" }),
            json!({ "source": { "name": "g" }, "streams": 0 }),
            json!({ "source": { "name": "g" }, "streams": 9 }),
            json!({ "source": { "name": "g" }, "transfer": "pigeon" }),
            json!({ "source": { "name": "g" }, "sourceInUse": "ignore" }),
            json!({ "source": { "name": "g" }, "preallocation": "yes" }),
            json!({ "source": { "name": "g" }, "bandwidthLimit": 5 }),
            json!({ "source": { "name": "g" }, "placement": "node1" }),
            json!({ "source": { "name": "g" }, "placement": { "nodeSelector": { "a": 1 } } }),
            json!({ "source": { "name": "g" }, "placement": { "tolerations": [{ "effect": "Never" }] } }),
            json!({ "source": { "name": "g" }, "podLabels": ["a"] }),
        ] {
            assert!(!fits(&spec), "{spec}");
        }
    }

    #[test]
    fn the_defaults_of_a_clone_source_are_valid_and_mean_what_no_value_means() {
        let definition = clone_source();
        let properties = &schema(&definition)["properties"]["spec"]["properties"];
        let default = |field: &Value| field["default"].clone();
        let spec = json!({
            "source": { "name": "g", "kind": default(&properties["source"]["properties"]["kind"]) },
            "verify": default(&properties["verify"]), "transfer": default(&properties["transfer"]),
        });
        assert!(fits(schema(&definition), &json!({ "spec": spec })), "{spec}");
        let request = |spec: &Value| {
            let object = json!({ "metadata": { "namespace": "n" }, "spec": spec });
            serde_json::from_value::<CloneSource>(object).unwrap().request().unwrap()
        };
        assert_eq!(request(&spec), request(&json!({ "source": { "name": "g" } })));
    }

    #[test]
    fn a_volume_clone_source_of_cdi_fits() {
        let definition = volume_clone_source();
        for spec in [
            json!({ "source": { "kind": "PersistentVolumeClaim", "name": "golden" }, "preallocation": false }),
            json!({ "source": { "apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "s" },
                    "priorityClassName": "low" }),
        ] {
            assert!(fits(schema(&definition), &json!({ "metadata": {}, "spec": spec })), "{spec}");
        }
        assert!(!fits(schema(&definition), &json!({ "spec": { "source": { "name": "golden" } } })));
    }

    /// A structural schema names the type of each part, and may preserve unknown fields only where it names a type.
    #[test]
    fn every_part_of_a_schema_has_a_type() {
        fn check(schema: &Value, path: &str) {
            let of_two = schema.get("x-kubernetes-int-or-string").is_some();
            assert!(of_two || schema["type"].is_string(), "{path}");
            for (name, part) in schema["properties"].as_object().into_iter().flatten() {
                check(part, &format!("{path}.{name}"));
            }
            for name in ["items", "additionalProperties"] {
                if let Some(part) = schema.get(name) {
                    check(part, &format!("{path}.{name}"));
                }
            }
        }
        for definition in definitions() {
            check(schema(&definition), definition["metadata"]["name"].as_str().unwrap());
        }
    }
}
