//! A DataVolume (docs/protocol.md sections 4.2, 4.7).

use std::fmt;

use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::objects::checked::Checked;
use crate::objects::claim_template::ClaimTemplate;
use crate::objects::meta::Meta;
use crate::objects::phase::{ConditionStatus, ConditionType, DataVolumePhase};

/// What is read of a DataVolume.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct DataVolume {
    /// Metadata.
    pub metadata: Meta,
    /// The spec: what is requested.
    pub spec: DataVolumeSpec,
    /// The status.
    pub status: DataVolumeStatus,
}

impl DataVolume {
    /// Whether the content is files rather than a disk image.
    pub fn is_archive(&self) -> bool {
        self.spec.content_type == "archive"
    }
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
    /// `kubevirt` (the default) or `archive`.
    pub content_type: String,
    /// Whether all space is allocated in advance.
    pub preallocation: Option<bool>,
    /// Priority class of the pods.
    pub priority_class_name: String,
    /// Service account of the target pod.
    pub service_account_name: String,
}

/// Where the data comes from. Each key of the object is a kind of source, `pvc` among them; there should be exactly
/// one. A key with the value null counts as missing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Source {
    /// A claim.
    pub pvc: Option<Checked<ClaimSource>>,
    /// The kinds of other sources; at most two are kept, because a second source is already an error.
    pub others: Vec<String>,
}

impl<'de> Deserialize<'de> for Source {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(SourceVisitor)
    }
}

/// The most kinds of other sources that are kept.
const OTHERS: usize = 2;
/// The most characters of a kind of source that are kept. CDI's longest has 8.
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
    /// The DataVolume's own namespace by default.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

/// The status of a DataVolume (docs/protocol.md section 4.7). Serialized in full, so that equal statuses give equal
/// JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DataVolumeStatus {
    /// The claim's name, as soon as it exists.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub claim_name: String,
    /// The phase.
    pub phase: DataVolumePhase,
    /// How much of the content the target has.
    #[serde(skip_serializing_if = "ReportedProgress::is_empty")]
    pub progress: ReportedProgress,
    /// Highest count of both pods; never falls.
    pub restart_count: i64,
    /// Bound, Ready, Running, in this order.
    pub conditions: Vec<DataVolumeCondition>,
}

/// A condition of a DataVolume.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DataVolumeCondition {
    /// The type.
    #[serde(rename = "type")]
    pub kind: ConditionType,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// A [`crate::objects::Reason`] or one of Kubernetes; two reasons are joined with `and`.
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
    pub fn condition(&self, kind: impl Into<ConditionType>) -> Option<&DataVolumeCondition> {
        let kind = kind.into();
        self.conditions.iter().find(|condition| condition.kind == kind)
    }
}

/// The progress in a status, as CDI writes it: empty, `N/A`, `12.34%`, or `100.0%` when the clone is complete.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReportedProgress(String);

impl ReportedProgress {
    /// The progress of a clone that is complete.
    pub fn complete() -> Self {
        Self("100.0%".to_owned())
    }

    /// The progress of a clone that has not reported any yet.
    pub fn unknown() -> Self {
        Self("N/A".to_owned())
    }

    /// This progress, raised to `now_percent` if that is higher: the progress in a status never falls.
    pub fn raised_to(&self, now_percent: Option<f64>) -> Self {
        higher_percent(self.percent(), now_percent)
            .map_or_else(Self::unknown, |percent| Self(format!("{percent:.2}%")))
    }

    /// The number, from 0 to 100; `None` for `N/A` and anything else.
    pub fn percent(&self) -> Option<f64> {
        let number = self.0.strip_suffix('%')?.parse::<f64>().ok()?;
        number.is_finite().then(|| number.clamp(0.0, 100.0))
    }

    /// Whether it is the progress of a complete clone.
    pub fn is_complete(&self) -> bool {
        self.0 == "100.0%"
    }

    /// Whether no progress was written.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The text in the API.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The higher of two percentages, where they are known.
pub fn higher_percent(old: Option<f64>, new: Option<f64>) -> Option<f64> {
    old.into_iter().chain(new).reduce(f64::max)
}

impl From<&str> for ReportedProgress {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}
