//! The spec of a claim that is to be created, as in `spec.pvc` or `spec.storage` of a DataVolume.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::objects::claim::{Quantity, VolumeMode};

/// All fields of a PersistentVolumeClaimSpec. The API server would drop any other field from a claim.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClaimTemplate {
    /// Access modes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub access_modes: Vec<String>,
    /// Which volumes may be bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<Selector>,
    /// Requested resources.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<TemplateResources>,
    /// The one volume that may be bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume_name: Option<String>,
    /// Storage class; `None` for the default, `""` for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage_class_name: Option<String>,
    /// How the volume is used; `None` for the source's, or files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume_mode: Option<VolumeMode>,
    /// What fills the volume; not for clones, and the API server's to judge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_source: Option<Reference>,
    /// What fills the volume; not for clones, and the API server's to judge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_source_ref: Option<Reference>,
    /// Attributes of the volume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume_attributes_class_name: Option<String>,
}

impl ClaimTemplate {
    /// The volume mode; `Filesystem` by default.
    pub fn mode(&self) -> VolumeMode {
        self.volume_mode.unwrap_or_default()
    }

    /// The requested size, as it was written.
    pub fn requested(&self) -> Option<&str> {
        let amount = self.resources.as_ref()?.requests.get(STORAGE)?.as_ref()?;
        Some(&amount.0)
    }

    /// Sets the requested size to `size`.
    pub fn request(&mut self, size: String) {
        let resources = self.resources.get_or_insert_default();
        resources.requests.insert(STORAGE.to_owned(), Some(Quantity(size)));
    }
}

/// The resource that a claim asks for.
const STORAGE: &str = "storage";

/// Requests and limits by resource name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TemplateResources {
    /// At least this much; null counts as missing.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub requests: BTreeMap<String, Option<Quantity>>,
    /// At most this much.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: BTreeMap<String, Option<Quantity>>,
}

/// A label selector.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Selector {
    /// Labels and their values.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: BTreeMap<String, String>,
    /// Conditions on labels.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub match_expressions: Vec<Expression>,
}

/// A condition on a label.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Expression {
    /// The label.
    pub key: String,
    /// `In`, `NotIn`, `Exists`, `DoesNotExist`.
    pub operator: String,
    /// What it is compared with.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
}

/// An object that fills a volume.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Reference {
    /// API group; nothing for the core.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_group: Option<String>,
    /// Kind.
    pub kind: String,
    /// Name.
    pub name: String,
    /// Namespace; nothing for the claim's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::decode;
    use serde_json::json;

    #[test]
    fn every_field_of_a_claims_spec_is_kept() {
        let object = json!({
            "accessModes": ["ReadWriteOnce"], "volumeName": "v", "storageClassName": "", "volumeMode": "Block",
            "selector": { "matchLabels": { "a": "b" },
                          "matchExpressions": [{ "key": "k", "operator": "In", "values": ["x"] }] },
            "resources": { "requests": { "storage": "1Gi" }, "limits": { "storage": "2Gi" } },
            "dataSource": { "apiGroup": "g", "kind": "K", "name": "n" },
            "dataSourceRef": { "kind": "K", "name": "n", "namespace": "m" },
            "volumeAttributesClassName": "gold",
        });
        let template: ClaimTemplate = decode(&object).unwrap();
        assert_eq!(serde_json::to_value(&template).unwrap(), object);
    }

    #[test]
    fn a_size_is_set_beside_what_else_is_asked_for() {
        let mut template: ClaimTemplate =
            decode(json!({ "resources": { "limits": { "storage": 5 } } })).unwrap();
        assert_eq!(template.requested(), None);
        template.request("7".to_owned());
        assert_eq!(template.requested(), Some("7"));
        assert_eq!(
            serde_json::to_value(&template).unwrap(),
            json!({ "resources": { "requests": { "storage": "7" }, "limits": { "storage": "5" } } })
        );
    }
}
