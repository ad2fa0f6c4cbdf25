//! Where the pods of one clone run: the annotation [`PLACEMENT`] of a claim or DataVolume, and `spec.placement` of a
//! CloneSource (docs/protocol.md section 3.12). The fields are those of a pod's spec.
//!
//! Every field that is read is checked as the API server checks it, so that no pod is refused for its placement. Fields
//! that are not known here are refused as well: an ignored requirement would be worse.

mod check;
mod merge;
mod schema;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::objects::annotations::PLACEMENT;
use crate::objects::clone_request::Invalid;
use crate::objects::{Meta, decode_within};

pub use merge::{affinity, node_selector, tolerations};
pub use schema::schema;

/// The longest text of an annotation with settings of pods, in bytes.
pub(super) const TEXT_LIMIT_BYTES: usize = 16 << 10;

/// Where the pods of one clone run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Placement {
    /// Required labels of the node.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    /// Taints that the pods tolerate.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tolerations: Vec<Toleration>,
    /// Nodes and other pods to be near to, or far from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,
}

/// A tolerated taint.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Toleration {
    /// Its key; empty for all.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub key: String,
    /// `Exists` or `Equal`, which is the default.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub operator: String,
    /// The value for `Equal`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub value: String,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`; empty for all.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub effect: String,
    /// For `NoExecute`, how long it is tolerated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub toleration_seconds: Option<i64>,
}

/// Nodes and other pods to be near to, or far from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Affinity {
    /// To nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_affinity: Option<NodeAffinity>,
    /// Near other pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_affinity: Option<PodAffinity>,
    /// Far from other pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_anti_affinity: Option<PodAffinity>,
}

/// Affinity to nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NodeAffinity {
    /// One of these terms has to apply.
    #[serde(
        rename = "requiredDuringSchedulingIgnoredDuringExecution",
        skip_serializing_if = "Option::is_none"
    )]
    pub required: Option<NodeTerms>,
    /// Nodes with these terms are preferred.
    #[serde(
        rename = "preferredDuringSchedulingIgnoredDuringExecution",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub preferred: Vec<PreferredNodes>,
}

/// Terms of which one has to apply.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct NodeTerms {
    /// The terms.
    pub node_selector_terms: Vec<NodeTerm>,
}

/// Requirements of which all have to apply.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct NodeTerm {
    /// About labels of the node.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub match_expressions: Vec<Requirement>,
    /// About fields of the node: only `metadata.name`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub match_fields: Vec<Requirement>,
}

/// A preferred term.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PreferredNodes {
    /// 1 to 100.
    pub weight: i64,
    /// The term.
    pub preference: NodeTerm,
}

/// A requirement on a label or field.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Requirement {
    /// The label.
    pub key: String,
    /// `In`, `NotIn`, `Exists`, `DoesNotExist`; for nodes also `Gt` and `Lt`.
    pub operator: String,
    /// What the value is compared with.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
}

/// Affinity to other pods.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PodAffinity {
    /// All of these terms have to apply.
    #[serde(
        rename = "requiredDuringSchedulingIgnoredDuringExecution",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub required: Vec<PodTerm>,
    /// Nodes for which these terms apply are preferred.
    #[serde(
        rename = "preferredDuringSchedulingIgnoredDuringExecution",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub preferred: Vec<PreferredPods>,
}

/// Pods, and what counts as near them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct PodTerm {
    /// The pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label_selector: Option<PodLabels>,
    /// Their namespaces; without any, that of the clone's pod.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
    /// Nodes with the same value of this label are near each other.
    pub topology_key: String,
}

/// Pods by their labels.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct PodLabels {
    /// Labels that they have.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: BTreeMap<String, String>,
    /// Requirements on their labels.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub match_expressions: Vec<Requirement>,
}

/// A preferred term.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct PreferredPods {
    /// 1 to 100.
    pub weight: i64,
    /// The term.
    pub pod_affinity_term: PodTerm,
}

impl Placement {
    /// The placement in the annotations of a claim or DataVolume; the default one without the annotation.
    pub fn of(meta: &Meta) -> Result<Self, Invalid> {
        meta.annotation(PLACEMENT).map_or_else(|| Ok(Self::default()), Self::read)
    }

    /// The placement in the text of an annotation.
    pub fn read(text: &str) -> Result<Self, Invalid> {
        let invalid =
            |why: String| Invalid { field: "metadata.annotations", message: format!("{PLACEMENT}: {why}") };
        if text.len() > TEXT_LIMIT_BYTES {
            return Err(invalid(format!("it is longer than {} KiB", TEXT_LIMIT_BYTES >> 10)));
        }
        // What is kept of a text takes more memory than the text.
        let placement: Self =
            decode_within(text, 16 * TEXT_LIMIT_BYTES).map_err(|e| invalid(e.to_string()))?;
        placement.check().map_err(invalid)?;
        Ok(placement)
    }

    /// The error names the field that is wrong, from `nodeSelector`, `tolerations` or `affinity` on.
    pub fn check(&self) -> Result<(), String> {
        check::placement(self).map_err(|wrong| wrong.to_string())
    }

    /// The text of an annotation.
    pub fn text(&self) -> String {
        // Strings, numbers, lists and maps with text keys cannot fail.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// What of it counts for pods in another namespace than that of the PVC that asks for the clone: what only narrows
    /// the choice of nodes. Tolerations and the affinity to pods are a matter of the pods' namespace (docs/security.md).
    #[must_use]
    pub fn elsewhere(&self) -> Self {
        let nodes = self.affinity.as_ref().and_then(|affinity| affinity.node_affinity.clone());
        Self {
            node_selector: self.node_selector.clone(),
            tolerations: Vec::new(),
            affinity: nodes.map(|nodes| Affinity { node_affinity: Some(nodes), ..Affinity::default() }),
        }
    }
}

#[cfg(test)]
mod tests;
