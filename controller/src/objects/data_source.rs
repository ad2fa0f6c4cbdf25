//! A DataSource: a name for a volume that DataVolumes may refer to.

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::objects::data_volume::{ClaimSource, DataVolumeCondition};
use crate::objects::meta::Meta;

/// What is read of a DataSource.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct DataSource {
    /// Metadata.
    pub metadata: Meta,
    /// What it points to.
    pub spec: DataSourceSpec,
    /// What it led to when it was last checked.
    pub status: DataSourceStatus,
}

/// What a DataSource leads to.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct DataSourceStatus {
    /// The object at the end of its references; empty if it is not ready.
    pub source: DataSourceTarget,
    /// Ready.
    pub conditions: Vec<DataVolumeCondition>,
}

/// What a DataSource points to.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct DataSourceSpec {
    /// Exactly one of its fields should be set.
    pub source: DataSourceTarget,
}

/// The kinds of objects that a DataSource can point to.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DataSourceTarget {
    /// A claim.
    pub pvc: Option<ClaimSource>,
    /// A snapshot; Decant does not clone it.
    pub snapshot: Option<IgnoredAny>,
    /// Another DataSource of the same namespace.
    pub data_source: Option<ClaimSource>,
}
