//! A PersistentVolumeClaim.

use serde::{Deserialize, Deserializer, Serialize};

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
    /// How much of what.
    pub requests: Amounts,
}

/// Amounts by resource name; only storage is read.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Amounts {
    /// A Kubernetes quantity, as it was written.
    #[serde(deserialize_with = "quantity")]
    pub storage: Option<String>,
}

fn quantity<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Option::<serde_json::Value>::deserialize(deserializer).map(|value| value.as_ref().map(quantity_text))
}

/// What a claim has got.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ClaimStatus {
    /// `Pending`, `Bound`, `Lost`, or empty.
    pub phase: String,
    /// How much there is.
    pub capacity: Amounts,
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
        self.spec.resources.requests.storage.clone()
    }
}

/// A quantity may come as text or as a bare number.
pub fn quantity_text(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
