//! A DataVolume (contract 4.2, 4.7).

use std::fmt;

use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::objects::checked::Checked;
use crate::objects::claim_template::ClaimTemplate;
use crate::objects::meta::Meta;

/// What is read of a DataVolume.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct DataVolume {
    /// Metadata.
    pub metadata: Meta,
    /// What was asked for.
    pub spec: DataVolumeSpec,
    /// What is said about it.
    pub status: DataVolumeStatus,
}

/// What a DataVolume asks for.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DataVolumeSpec {
    /// Where the data comes from.
    pub source: Option<Checked<Source>>,
    /// A named source instead of `source`.
    pub source_ref: Option<Checked<SourceRef>>,
    /// The target claim's spec, literally.
    pub pvc: Option<Checked<ClaimTemplate>>,
    /// The target claim's spec, to be completed.
    pub storage: Option<Checked<ClaimTemplate>>,
    /// `kubevirt` (also when nothing is said) or `archive`.
    pub content_type: String,
    /// Whether space is taken in advance.
    pub preallocation: Option<bool>,
    /// For the pods.
    pub priority_class_name: String,
    /// For the target pod.
    pub service_account_name: String,
}

/// Where the data comes from. Each key of the object is a kind of source, `pvc` among them; exactly one should be
/// there. A key that is null counts as not there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Source {
    /// A claim.
    pub pvc: Option<Checked<ClaimSource>>,
    /// The kinds of other sources; at most two are kept, for one is too many beside another.
    pub others: Vec<String>,
}

impl<'de> Deserialize<'de> for Source {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(SourceVisitor)
    }
}

/// The most kinds of other sources that are kept.
const OTHERS: usize = 2;
/// The most characters of such a kind: the longest of CDI has 8.
const KIND_CHARS: usize = 64;

struct SourceVisitor;

impl<'de> Visitor<'de> for SourceVisitor {
    type Value = Source;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with one kind of source")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Source, A::Error> {
        let mut source = Source::default();
        while let Some(kind) = entries.next_key::<String>()? {
            if kind == "pvc" {
                source.pvc = entries.next_value()?;
            } else if entries.next_value::<Option<IgnoredAny>>()?.is_some() && source.others.len() < OTHERS {
                source.others.push(kind.chars().take(KIND_CHARS).collect());
            }
        }
        Ok(source)
    }
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
pub struct DataVolumeStatus {
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
    pub conditions: Vec<DataVolumeCondition>,
}

/// A condition of a DataVolume.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DataVolumeCondition {
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

impl DataVolumeStatus {
    /// The condition of this type.
    pub fn condition(&self, kind: &str) -> Option<&DataVolumeCondition> {
        self.conditions.iter().find(|condition| condition.kind == kind)
    }
}
