//! The VolumeSnapshot of a source that is in use, which is cloned in place of the source.

use serde_json::{Map, Value, json};

use crate::objects::annotations::{OWNED_BY_UID, SNAPSHOT_FOR};
use crate::objects::{Claim, Kind, names};

/// The VolumeSnapshot of `source` to create for the clone into `target`, with the VolumeSnapshotClass `class`.
pub fn object(target: &Claim, source: &Claim, class: &str) -> Value {
    let meta = &target.metadata;
    // Kubernetes deletes it with the target, even if its record was removed. In another namespace it can have no owner.
    let is_local = meta.namespace == source.metadata.namespace;
    let owner = json!({
        "apiVersion": "v1", "kind": Kind::PersistentVolumeClaim.name(), "name": meta.name, "uid": meta.uid,
    });
    let metadata = Map::from_iter(
        [
            ("name", Some(names::source_snapshot(&meta.uid).into())),
            ("namespace", Some(source.metadata.namespace.as_str().into())),
            ("labels", Some(json!({ OWNED_BY_UID: meta.uid, "velero.io/exclude-from-backup": "true" }))),
            ("annotations", Some(json!({ SNAPSHOT_FOR: meta.key().to_string() }))),
            ("ownerReferences", is_local.then(|| json!([owner]))),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?))),
    );
    json!({
        "apiVersion": Kind::VolumeSnapshot.api_version(),
        "kind": Kind::VolumeSnapshot.name(),
        "metadata": metadata,
        "spec": {
            "volumeSnapshotClassName": class,
            "source": { "persistentVolumeClaimName": source.metadata.name },
        },
    })
}
