//! The temporary PVC that is restored from a snapshot, as the source of a clone.

use serde_json::{Value, json};

use crate::objects::annotations::{OWNED_BY_UID, RESTORED_FOR};
use crate::objects::{Claim, Key, Kind, names};

/// The PVC to create for the clone of `snapshot` into `target`. `source` has the properties of the snapshot.
///
/// Its size is exactly that of the snapshot: some drivers refuse to restore to a larger volume.
pub fn object(target: &Claim, snapshot: &Key, source: &Claim) -> Value {
    let meta = &target.metadata;
    let spec = &source.spec;
    json!({
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": names::restored(&meta.uid),
            "namespace": snapshot.namespace,
            "labels": { OWNED_BY_UID: meta.uid, "velero.io/exclude-from-backup": "true" },
            "annotations": { RESTORED_FOR: meta.key().to_string() },
        },
        "spec": {
            "accessModes": spec.access_modes,
            "storageClassName": spec.storage_class_name,
            "volumeMode": spec.volume_mode,
            "resources": { "requests": { "storage": spec.resources.requests.storage } },
            // Kubernetes before 1.24 knows only this field, and later versions fill in the other one.
            "dataSource": {
                "apiGroup": Kind::VolumeSnapshot.group(), "kind": Kind::VolumeSnapshot.name(),
                "name": snapshot.name,
            },
        },
    })
}
