//! A StorageProfile: what CDI or an administrator recommends for claims of a storage class.

use decant_shared::protocol::units::parse_quantity;
use serde::Deserialize;

use crate::objects::annotations::MINIMUM_CLAIM_SIZE;
use crate::objects::claim::VolumeMode;
use crate::objects::meta::Meta;

/// What is read of a StorageProfile. Its name is that of the storage class.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct StorageProfile {
    /// Metadata.
    pub metadata: Meta,
    /// What an administrator recommends.
    pub spec: ClaimProperties,
    /// What CDI recommends; it copies the recommendations of the administrator.
    pub status: ClaimProperties,
}

/// Recommendations for claims.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClaimProperties {
    /// Combinations that work, the best one first.
    pub claim_property_sets: Vec<ClaimPropertySet>,
    /// The VolumeSnapshotClass of snapshots of its volumes.
    pub snapshot_class: Option<String>,
}

/// A combination of modes that works.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClaimPropertySet {
    /// Access modes.
    pub access_modes: Vec<String>,
    /// How the volume is used; `None` for Kubernetes' default.
    pub volume_mode: Option<VolumeMode>,
}

impl StorageProfile {
    /// The recommendations. Those of the administrator take precedence, as in CDI, whose controller may not run to copy
    /// them.
    pub fn property_sets(&self) -> &[ClaimPropertySet] {
        let of_administrator = &self.spec.claim_property_sets;
        if of_administrator.is_empty() { &self.status.claim_property_sets } else { of_administrator }
    }

    /// The VolumeSnapshotClass that is recommended for snapshots of volumes of this class.
    pub fn snapshot_class(&self) -> Option<&str> {
        let named = self.spec.snapshot_class.as_deref().or(self.status.snapshot_class.as_deref());
        named.filter(|name| !name.is_empty())
    }

    /// The smallest size of a claim of this class; `None` without one. The error is for people.
    pub fn min_size_bytes(&self) -> Result<Option<u64>, String> {
        let Some(text) = self.metadata.annotation(MINIMUM_CLAIM_SIZE) else { return Ok(None) };
        parse_quantity(text).map(Some).map_err(|e| format!("{MINIMUM_CLAIM_SIZE}: size {text:?}: {e}"))
    }
}
