//! A PersistentVolume.

use serde::Deserialize;

use crate::objects::claim::{Amounts, VolumeMode, mode};
use crate::objects::key::{Key, Uid};
use crate::objects::meta::Meta;

/// What is read of a PersistentVolume.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Volume {
    /// Metadata.
    pub metadata: Meta,
    /// The spec.
    pub spec: VolumeSpec,
    /// The status.
    pub status: VolumeStatus,
}

/// The status of a volume.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct VolumeStatus {
    /// `Available`, `Bound`, `Released` or `Failed`.
    pub phase: String,
}

/// The spec of a volume.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeSpec {
    /// Its capacity.
    pub capacity: Amounts,
    /// How it can be attached.
    pub access_modes: Vec<String>,
    /// `Filesystem` by default.
    #[serde(deserialize_with = "mode")]
    pub volume_mode: VolumeMode,
    /// Its storage class; empty for none.
    pub storage_class_name: String,
    /// What happens to it after its claim is deleted: `Delete`, `Retain` or `Recycle`.
    pub persistent_volume_reclaim_policy: String,
    /// The claim that it is bound to, or reserved for.
    pub claim_ref: Option<ClaimRef>,
    /// Which nodes can mount it.
    pub node_affinity: VolumeNodeAffinity,
}

/// Which nodes can mount a volume.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct VolumeNodeAffinity {
    /// What a node has to match.
    pub required: NodeSelector,
}

/// A selection of nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeSelector {
    /// Terms, one of which a node has to match. Empty for all nodes.
    pub node_selector_terms: Vec<NodeSelectorTerm>,
}

/// Requirements, all of which a node has to meet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeSelectorTerm {
    /// Requirements of the node's labels.
    pub match_expressions: Vec<NodeRequirement>,
    /// Requirements of the node's fields; only `metadata.name` exists.
    pub match_fields: Vec<NodeRequirement>,
}

/// A requirement of one label or field.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct NodeRequirement {
    /// The name of the label or field.
    pub key: String,
    /// `In`, `NotIn`, `Exists`, `DoesNotExist`, `Gt` or `Lt`.
    pub operator: String,
    /// The values that it is compared with.
    pub values: Vec<String>,
}

/// The claim that a volume is bound to, or reserved for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ClaimRef {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Which claim of this name; empty until the volume is bound.
    pub uid: Uid,
}

/// The older annotation for the storage class, which still takes precedence.
const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";

impl Volume {
    /// Its storage class; empty for none.
    pub fn class(&self) -> &str {
        self.metadata.annotation(CLASS_ANNOTATION).unwrap_or(&self.spec.storage_class_name)
    }

    /// Whether it waits for the claim `key`: it is reserved for the claim, is not bound, and is not being deleted.
    pub fn is_reserved_for(&self, key: &Key) -> bool {
        let reference = self.spec.claim_ref.as_ref();
        !self.metadata.is_deleting()
            && reference.is_some_and(|claim| {
                claim.namespace == key.namespace && claim.name == key.name && claim.uid.as_str().is_empty()
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn volume(claim: &Value) -> Volume {
        serde_json::from_value(json!({ "metadata": { "name": "v" }, "spec": {
            "volumeMode": null, "storageClassName": "slow", "claimRef": claim } }))
        .unwrap()
    }

    #[test]
    fn a_volume_is_reserved_until_it_is_bound_or_leaves() {
        let key = Key::new("n", "restored");
        let reserved = volume(&json!({ "namespace": "n", "name": "restored" }));
        assert!(reserved.is_reserved_for(&key));
        for other in [
            json!({ "namespace": "m", "name": "restored" }),
            json!({ "namespace": "n", "name": "other" }),
            json!({ "namespace": "n", "name": "restored", "uid": "1" }),
            Value::Null,
        ] {
            assert!(!volume(&other).is_reserved_for(&key), "{other}");
        }
        let mut leaving = reserved;
        leaving.metadata.deletion_timestamp = Some("2026-01-01T12:00:00Z".to_owned());
        assert!(!leaving.is_reserved_for(&key));
    }

    #[test]
    fn the_older_annotation_of_the_class_comes_first() {
        let mut volume = volume(&Value::Null);
        assert_eq!(volume.class(), "slow");
        volume.metadata.annotations.insert(CLASS_ANNOTATION.to_owned(), "fast".to_owned());
        assert_eq!(volume.class(), "fast");
    }
}
