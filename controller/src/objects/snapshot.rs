//! VolumeSnapshots (`snapshot.storage.k8s.io/v1`), and what a clone can read: a PVC or a VolumeSnapshot.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

use crate::objects::annotations::SNAPSHOT_FOR;
use crate::objects::claim::{Quantity, VolumeMode};
use crate::objects::{Key, Kind, Meta, Uid};

/// The kind of object that a clone reads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClonedKind {
    /// A PVC.
    #[default]
    Claim,
    /// A VolumeSnapshot, which is restored to a temporary PVC.
    Snapshot,
}

impl ClonedKind {
    /// The kind of the API.
    pub fn kind(self) -> Kind {
        match self {
            Self::Claim => Kind::PersistentVolumeClaim,
            Self::Snapshot => Kind::VolumeSnapshot,
        }
    }

    /// The name for people, as in CDI's messages.
    pub fn noun(self) -> &'static str {
        match self {
            Self::Claim => "claim",
            Self::Snapshot => "snapshot",
        }
    }
}

/// The object that a clone reads. As text it is `<namespace>/<name>` for a PVC, which is CDI's form, and
/// `VolumeSnapshot/<namespace>/<name>` for a snapshot, which is no PVC for any reader of CDI's form.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClonedObject {
    /// Its kind.
    pub kind: ClonedKind,
    /// Its namespace and name.
    pub key: Key,
}

impl ClonedObject {
    /// The PVC `key`.
    pub fn claim(key: Key) -> Self {
        Self { kind: ClonedKind::Claim, key }
    }

    /// The VolumeSnapshot `key`.
    pub fn snapshot(key: Key) -> Self {
        Self { kind: ClonedKind::Snapshot, key }
    }
}

/// The prefix of a snapshot as text.
const SNAPSHOT_PREFIX: &str = "VolumeSnapshot/";

impl fmt::Display for ClonedObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            ClonedKind::Claim => self.key.fmt(f),
            ClonedKind::Snapshot => write!(f, "{SNAPSHOT_PREFIX}{}", self.key),
        }
    }
}

impl FromStr for ClonedObject {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix(SNAPSHOT_PREFIX).map(str::parse) {
            // A PVC in a namespace of this name cannot exist: names of namespaces have no capitals.
            Some(Ok(key)) => Ok(Self::snapshot(key)),
            Some(Err(e)) => Err(e),
            None => text.parse().map(Self::claim),
        }
    }
}

/// What is read of a VolumeSnapshot.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct VolumeSnapshot {
    /// Metadata.
    pub metadata: Meta,
    /// What it is a snapshot of.
    pub spec: VolumeSnapshotSpec,
    /// The state, which the snapshot controller writes; `None` until it has seen the snapshot.
    pub status: Option<VolumeSnapshotStatus>,
}

/// The spec of a VolumeSnapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct VolumeSnapshotSpec {
    /// Its source.
    pub source: VolumeSnapshotSource,
}

/// What a VolumeSnapshot was taken of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeSnapshotSource {
    /// A PVC of the same namespace.
    pub persistent_volume_claim_name: Option<String>,
}

/// The state of a VolumeSnapshot.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeSnapshotStatus {
    /// Whether it can be restored.
    pub ready_to_use: Option<bool>,
    /// The least size of a volume that is restored from it; a missing or zero size is unknown.
    pub restore_size: Option<Quantity>,
    /// The VolumeSnapshotContent that holds it.
    pub bound_volume_snapshot_content_name: Option<String>,
    /// When it was taken; RFC 3339.
    pub creation_time: Option<String>,
    /// Why it cannot be taken.
    pub error: Option<VolumeSnapshotError>,
}

/// Why a snapshot cannot be taken.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct VolumeSnapshotError {
    /// For people.
    pub message: Option<String>,
}

impl VolumeSnapshot {
    /// The PVC that a clone of this snapshot writes, if the snapshot was taken for that, according to an annotation that users
    /// can write.
    pub fn taken_for(&self) -> Option<Key> {
        self.metadata.annotation(SNAPSHOT_FOR)?.parse().ok()
    }

    /// Whether it can be restored.
    pub fn is_ready(&self) -> bool {
        let is_ready = self.status.as_ref().is_some_and(|status| status.ready_to_use == Some(true));
        is_ready && !self.metadata.is_deleting()
    }

    /// Why it cannot be taken, as far as the snapshot controller tells.
    pub fn error(&self) -> Option<&str> {
        self.status.as_ref()?.error.as_ref()?.message.as_deref()
    }
}

/// What is read of a VolumeSnapshotContent.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct VolumeSnapshotContent {
    /// Its spec.
    pub spec: VolumeSnapshotContentSpec,
}

/// The spec of a VolumeSnapshotContent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeSnapshotContentSpec {
    /// The CSI driver that took the snapshot and can restore it.
    pub driver: String,
    /// The mode of the volume that the snapshot was taken of, if it is known.
    pub source_volume_mode: Option<VolumeMode>,
    /// The VolumeSnapshot that it is bound to.
    pub volume_snapshot_ref: SnapshotHolder,
}

/// What is read of a VolumeSnapshotClass.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct VolumeSnapshotClass {
    /// Metadata.
    pub metadata: Meta,
    /// The CSI driver that takes its snapshots.
    pub driver: String,
}

impl VolumeSnapshotClass {
    /// Whether it is the default of its driver.
    pub fn is_default(&self) -> bool {
        self.metadata.is_annotated_true("snapshot.storage.kubernetes.io/is-default-class")
    }
}

/// The VolumeSnapshot that a content is bound to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct SnapshotHolder {
    /// Its UID.
    pub uid: Uid,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_as_text_is_no_claim_of_any_namespace() {
        let key = Key::new("n", "s");
        for object in [ClonedObject::claim(key.clone()), ClonedObject::snapshot(key.clone())] {
            assert_eq!(object.to_string().parse(), Ok(object));
        }
        assert_eq!(ClonedObject::claim(key.clone()).to_string(), "n/s", "CDI's form");
        assert!(ClonedObject::snapshot(key).to_string().parse::<Key>().is_err());
        for odd in ["VolumeSnapshot/", "VolumeSnapshot/s", "VolumeSnapshot/a/b/c", "", "n"] {
            assert!(odd.parse::<ClonedObject>().is_err(), "{odd}");
        }
    }
}
