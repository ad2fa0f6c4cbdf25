//! Snapshots: copies of volumes, in directories beside those of the volumes.

use std::time::Duration;

use decant_controller::api::cluster::{Cluster, Part};
use decant_controller::objects::{Key, Kind, Uid};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::request::{CSI, Request, text};
use crate::{PERIOD, Provisioner, RETRY};

/// The directory of the snapshot with `uid`. It begins as those of volumes do, so that it is removed with them.
fn directory(uid: &str) -> String {
    format!("pvc-snapshot-{uid}")
}

/// The name of the content of the snapshot with `uid`.
fn content_name(uid: &str) -> String {
    format!("snapcontent-{uid}")
}

impl Provisioner {
    /// Takes the snapshots that are missing; returns after which time to look again.
    pub(crate) fn take_snapshots(&self) -> Duration {
        let is_missing = |snapshot: &&Value| snapshot["status"]["readyToUse"] != true;
        let mut pause = PERIOD;
        for snapshot in self.all(Kind::VolumeSnapshot).filter(is_missing) {
            if let Err(e) = self.take(snapshot) {
                eprintln!("cannot take the snapshot {}: {e}", text(snapshot, "/metadata/name"));
                pause = RETRY;
            }
        }
        pause
    }

    fn take(&self, snapshot: &Value) -> Result<(), String> {
        let (namespace, name) = (text(snapshot, "/metadata/namespace"), text(snapshot, "/metadata/name"));
        let uid = text(snapshot, "/metadata/uid");
        let of = text(snapshot, "/spec/source/persistentVolumeClaimName");
        let claim = self.all(Kind::PersistentVolumeClaim).find(|claim| {
            text(claim, "/metadata/namespace") == namespace && text(claim, "/metadata/name") == of
        });
        let claim = claim.ok_or_else(|| format!("PVC {namespace}/{of} does not exist"))?;
        let volume = text(claim, "/spec/volumeName");
        if volume.is_empty() {
            return Err(format!("PVC {namespace}/{of} has no volume"));
        }
        let taken_at = OffsetDateTime::now_utc().format(&Rfc3339).map_err(|e| e.to_string())?;
        let size = self.disks.take_snapshot(volume, &directory(uid))?;
        let content = json!({
            "apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshotContent",
            "metadata": { "name": content_name(uid) },
            "spec": {
                "driver": CSI, "deletionPolicy": "Delete", "source": { "volumeHandle": volume },
                "sourceVolumeMode": claim["spec"]["volumeMode"],
                "volumeSnapshotRef": { "kind": "VolumeSnapshot", "namespace": namespace, "name": name, "uid": uid },
            },
        });
        match self.cluster.create(Kind::VolumeSnapshotContent, &content) {
            Err(e) if !e.already_exists() => return Err(e.to_string()),
            _ => {}
        }
        let status = json!({ "status": {
            "readyToUse": true, "restoreSize": size.to_string(), "boundVolumeSnapshotContentName": content_name(uid),
            "creationTime": taken_at,
        } });
        let key = Key::new(namespace, name);
        self.cluster.patch(Kind::VolumeSnapshot, &key, Part::Status, &status).map_err(|e| e.to_string())?;
        eprintln!("took the snapshot {key} of {volume}");
        Ok(())
    }

    /// The directory of the snapshot `name` from which `request` is restored.
    pub(crate) fn taken(&self, request: &Request, name: &str) -> Result<String, String> {
        let key = request.claim.split_once('/').map(|(namespace, _)| (namespace, name));
        let snapshot = self.all(Kind::VolumeSnapshot).find(|snapshot| {
            Some((text(snapshot, "/metadata/namespace"), text(snapshot, "/metadata/name"))) == key
        });
        match snapshot {
            Some(snapshot) if snapshot["status"]["readyToUse"] == true => {
                Ok(directory(text(snapshot, "/metadata/uid")))
            }
            Some(_) => Err(format!("snapshot {name} is not ready")),
            None => Err(format!("snapshot {name} not found")),
        }
    }

    /// Removes what a deleted snapshot held.
    pub(crate) fn forget_snapshot(&self, snapshot: &Value) {
        let uid = text(snapshot, "/metadata/uid");
        if let Err(e) = self.disks.remove(&directory(uid)) {
            eprintln!("cannot remove the snapshot {uid}: {e}");
        }
        let key = Key::new("", content_name(uid));
        if let Ok(content) = self.cluster.get(Kind::VolumeSnapshotContent, &key) {
            let of_content = Uid::from(text(&content.value(), "/metadata/uid"));
            let _ = self.cluster.delete(Kind::VolumeSnapshotContent, &key, &of_content, None);
        }
    }
}
