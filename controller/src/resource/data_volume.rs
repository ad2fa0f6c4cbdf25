//! A DataVolume (contract 4.2, 4.7).

use serde::{Deserialize, Serialize};

use super::Packed;
use super::meta::Meta;

/// What is read of a DataVolume.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct DataVolume {
    /// Metadata.
    pub metadata: Meta,
    /// What was asked for.
    pub spec: Spec,
    /// What is said about it.
    pub status: Status,
}

/// What a DataVolume asks for.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Spec {
    /// Each key is a kind of source, `pvc` among them; exactly one should be there. A key that is null counts as
    /// not there.
    pub source: Option<Packed>,
    /// A named source instead of `source`.
    pub source_ref: Option<SourceRef>,
    /// The target claim's spec, literally.
    pub pvc: Option<Packed>,
    /// The target claim's spec, to be completed.
    pub storage: Option<Packed>,
    /// `kubevirt` (also when nothing is said) or `archive`.
    pub content_type: String,
    /// Whether space is taken in advance.
    pub preallocation: Option<bool>,
    /// For the pods.
    pub priority_class_name: String,
    /// For the target pod.
    pub service_account_name: String,
}

/// A claim, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ClaimSource {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// A reference to a DataSource.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct SourceRef {
    /// Only `DataSource`.
    pub kind: String,
    /// The DataVolume's own namespace when nothing is said.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

/// The status of a DataVolume (contract 4.7). Serialized in full, so that equal statuses give equal JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Status {
    /// The claim's name, as soon as it exists.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub claim_name: String,
    /// The phase; empty before anything was said.
    pub phase: String,
    /// Empty, `N/A`, `12.34%` or `100.0%`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub progress: String,
    /// Highest count of both pods; never falls.
    pub restart_count: i64,
    /// Bound, Ready, Running, in this order.
    pub conditions: Vec<Condition>,
}

/// A condition of a DataVolume.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Condition {
    /// `Bound`, `Ready` or `Running`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// One word for machines.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// A sentence for people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// When the status last changed; RFC 3339.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub last_transition_time: String,
    /// When status, reason or message last changed; RFC 3339.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub last_heartbeat_time: String,
}

impl Status {
    /// The condition of this type.
    pub fn condition(&self, kind: &str) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.kind == kind)
    }
}
