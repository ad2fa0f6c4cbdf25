//! Why a clone by a CSI driver or by a snapshot does not end, in plain words.

use serde_json::Value;

use crate::rescue::found::{StuckDataVolume, optional};
use decant_controller::api::cluster::{Cluster, ListParams};
use decant_controller::api::listing;
use decant_controller::objects::{Claim, Key, Kind, StorageClass};

/// Phases of CDI in which it waits for a CSI driver or for the snapshot controller.
const STUCK: [&str; 7] = [
    "CSICloneInProgress",
    "SnapshotForSmartCloneInProgress",
    "CloneFromSnapshotSourceInProgress",
    "SmartClonePVCInProgress",
    "PrepClaimInProgress",
    "ExpansionInProgress",
    "NamespaceTransferInProgress",
];

/// Whether CDI waits for others in this phase.
pub(super) fn is_stuck(phase: &str) -> bool {
    STUCK.contains(&phase)
}

/// CDI's temporary PVC, in the namespace of the source.
pub(super) fn temporary_claim(found: &StuckDataVolume) -> Option<Key> {
    let target = found.target.as_ref()?;
    Some(Key::new(&found.source.namespace, format!("tmp-pvc-{}", target.metadata.uid)))
}

/// CDI's temporary snapshot, in the namespace of the source.
pub(super) fn temporary_snapshot(found: &StuckDataVolume) -> Option<Key> {
    let target = found.target.as_ref()?;
    Some(Key::new(&found.source.namespace, format!("tmp-snapshot-{}", target.metadata.uid)))
}

/// The lines of the explanation. What cannot be read is left out.
pub(super) fn explain(cluster: &dyn Cluster, found: &StuckDataVolume) -> Vec<String> {
    let phase = found.data_volume.status.phase.to_string();
    let mut lines = vec![format!(
        "DataVolume {} is in phase {phase}: {}. It was created at {}.",
        found.key(),
        waits_for(&phase, found),
        found.data_volume.metadata.creation_timestamp
    )];
    let before = lines.len();
    lines.extend(classes(cluster, found));
    lines.extend(snapshot_error(cluster, found));
    lines.extend(warnings(cluster, found));
    if lines.len() == before {
        lines.push(
            "No error is recorded. The CSI driver or the snapshot controller may not run, or may not support this; CDI waits without \
             a limit."
                .to_owned(),
        );
    }
    lines
}

fn waits_for(phase: &str, found: &StuckDataVolume) -> String {
    let named = |key: Option<Key>| key.map(|key| format!(" {key}")).unwrap_or_default();
    let (claim, snapshot) = (named(temporary_claim(found)), named(temporary_snapshot(found)));
    let source = &found.source;
    match phase {
        "CSICloneInProgress" => {
            format!(
                "CDI asked the CSI driver to clone PVC {source} into the temporary PVC{claim}, and waits until that is bound"
            )
        }
        "SnapshotForSmartCloneInProgress" => {
            format!("CDI asked for the snapshot{snapshot} of PVC {source}, and waits until it is ready")
        }
        "CloneFromSnapshotSourceInProgress" | "SmartClonePVCInProgress" => format!(
            "CDI asked the CSI driver to restore a snapshot of PVC {source} into the temporary PVC{claim}, and waits until that is bound"
        ),
        "NamespaceTransferInProgress" => {
            format!("CDI waits until the cloned volume is transferred to namespace {}", found.key().namespace)
        }
        _ => format!(
            "CDI waits until the temporary PVC{claim} has its final size, for which a pod has to use it"
        ),
    }
}

/// What the classes of source and target mean for a clone by a driver.
fn classes(cluster: &dyn Cluster, found: &StuckDataVolume) -> Option<String> {
    let provisioner = |name: &str| -> Option<String> {
        let class: Option<StorageClass> =
            optional(cluster.get(Kind::StorageClass, &Key::new("", name))).ok()?;
        class.map(|class| class.provisioner)
    };
    let class_of = |claim: &Claim| claim.spec.storage_class_name.clone().filter(|name| !name.is_empty());
    let (from, to) = (class_of(&found.source_claim)?, class_of(found.target.as_ref()?)?);
    if from == to {
        return None;
    }
    let (one, other) = (provisioner(&from)?, provisioner(&to)?);
    Some(if one == other {
        format!(
            "The source has class {from:?} and the target class {to:?} of the same driver ({one}): many drivers do not clone between \
             classes with different parameters, such as pools or encryption."
        )
    } else {
        format!(
            "The source has class {from:?} of driver {one}, and the target class {to:?} of driver {other}: a driver clones only its own \
             volumes."
        )
    })
}

fn snapshot_error(cluster: &dyn Cluster, found: &StuckDataVolume) -> Option<String> {
    let key = temporary_snapshot(found)?;
    let snapshot = cluster.get(Kind::VolumeSnapshot, &key).ok()?.value();
    if let Some(message) = snapshot.pointer("/status/error/message").and_then(Value::as_str) {
        return Some(format!("The snapshot {key} failed: {message}"));
    }
    let is_ready = snapshot.pointer("/status/readyToUse").and_then(Value::as_bool);
    match is_ready {
        Some(true) => None,
        Some(false) => Some(format!("The snapshot {key} is not ready: the CSI driver has not finished it.")),
        None => Some(format!(
            "The snapshot {key} has no status: no snapshot controller serves it, or its VolumeSnapshotClass does not exist."
        )),
    }
}

/// The latest warning about each object of the clone.
fn warnings(cluster: &dyn Cluster, found: &StuckDataVolume) -> Vec<String> {
    let key = found.key();
    let objects = [
        temporary_claim(found).map(|key| (Kind::PersistentVolumeClaim, key)),
        temporary_snapshot(found).map(|key| (Kind::VolumeSnapshot, key)),
        Some((Kind::PersistentVolumeClaim, key.clone())),
        Some((Kind::DataVolume, key)),
    ];
    let mut said: Vec<(String, String)> = Vec::new();
    for (kind, key) in objects.into_iter().flatten() {
        let Some((reason, message)) = warning(cluster, kind, &key) else { continue };
        // CDI repeats the warnings of its temporary objects.
        if !said.iter().any(|(_, earlier)| earlier.contains(&message) || message.contains(earlier.as_str())) {
            said.push((format!("{} {key}: {reason}: {message}", kind.name()), message));
        }
    }
    said.into_iter().map(|(line, _)| line).collect()
}

/// Reason and message of the latest warning about an object.
fn warning(cluster: &dyn Cluster, kind: Kind, key: &Key) -> Option<(String, String)> {
    let params = ListParams {
        namespace: Some(key.namespace.clone()),
        fields: format!("involvedObject.kind={},involvedObject.name={},type=Warning", kind.name(), key.name),
        ..ListParams::default()
    };
    let mut latest: Option<(String, Value)> = None;
    let take = |object: decant_controller::objects::Object| {
        let event = object.value();
        let times = ["/lastTimestamp", "/eventTime", "/metadata/creationTimestamp"];
        let time = times.iter().find_map(|time| event.pointer(time)?.as_str()).unwrap_or_default().to_owned();
        if latest.as_ref().is_none_or(|(latest, _)| *latest <= time) {
            latest = Some((time, event));
        }
    };
    listing::list(cluster, Kind::Event, &params, take).ok()?;
    let (_, event) = latest?;
    let text = |field: &str| event[field].as_str().unwrap_or_default().to_owned();
    Some((text("reason"), text("message")))
}
