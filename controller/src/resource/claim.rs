//! A PersistentVolumeClaim.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::meta::Meta;

/// What is read of a PersistentVolumeClaim.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Claim {
    /// Metadata.
    pub metadata: Meta,
    /// What was asked for.
    pub spec: ClaimSpec,
    /// What there is.
    pub status: ClaimStatus,
}

/// What a claim asks for.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClaimSpec {
    /// Access modes.
    pub access_modes: Vec<String>,
    /// Storage class; `None` until the default is filled in, `""` for none.
    pub storage_class_name: Option<String>,
    /// `Filesystem` when nothing is said.
    pub volume_mode: VolumeMode,
    /// The bound volume's name.
    pub volume_name: String,
    /// Requests.
    pub resources: Resources,
}

/// Requests by resource name, as Kubernetes quantities.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// For example `storage`.
    pub requests: BTreeMap<String, serde_json::Value>,
}

/// What a claim has got.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ClaimStatus {
    /// `Pending`, `Bound`, `Lost`, or empty.
    pub phase: String,
    /// Capacity by resource name, as Kubernetes quantities.
    pub capacity: BTreeMap<String, serde_json::Value>,
}

/// How a volume is used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum VolumeMode {
    /// Files.
    #[default]
    Filesystem,
    /// A device.
    Block,
}

impl Claim {
    /// Whether it is bound to a volume.
    pub fn is_bound(&self) -> bool {
        self.status.phase == "Bound"
    }

    /// The size that was asked for, as Kubernetes wrote it.
    pub fn requested(&self) -> Option<String> {
        self.spec.resources.requests.get("storage").map(quantity_text)
    }
}

/// A quantity may come as text or as a bare number.
pub fn quantity_text(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
