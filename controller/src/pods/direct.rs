//! The pod of a direct clone: it mounts both volumes, so nothing crosses the network, and it needs no keys
//! (docs/protocol.md section 3.4).

use decant_shared::protocol::units::Overhead;
use serde_json::{Map, Value, json};

use crate::objects::annotations::{
    CREATED_BY_UPLOAD_CONTROLLER, READBACK, ROLE, SOURCE_POD_OF, TARGET_CONTAINER, UPLOAD_TARGET, VERIFY,
};
use crate::objects::claim::VolumeMode;
use crate::objects::{Claim, Key, names};
use crate::pods::clone_pods::{ClonePods, DEVICE, SOURCE_DIRECTORY};
use crate::pods::role::Role;
use crate::pods::source;
use crate::pods::template::{PodTemplate, data_volume, labels, limit, members, preallocation};

/// Where a source's block volume appears; the target's is at its usual place.
const SOURCE_DEVICE: &str = "/dev/decant-source";
/// Where a target's filesystem is mounted.
const TARGET_DIRECTORY: &str = "/data";
/// The name of the source's volume in the pod.
const SOURCE_VOLUME: &str = "decant-source-vol";

/// The pod that reads the source and writes the target, which are in one namespace. It has the name of the target pod.
pub fn direct_pod(clone: &ClonePods<'_>, overhead: Overhead) -> Value {
    let (source, claim) = (clone.source, clone.target);
    let name = names::target_pod(&claim.metadata.name);
    let pod = Key::new(&claim.metadata.namespace, &name);
    let mut identity = clone.identity(Role::Target, pod, None);
    identity.keys.clear();
    let mut labels = labels(Role::Target, claim.style(), clone.policy);
    labels.insert(ROLE.to_owned(), "direct".into());
    labels.insert(UPLOAD_TARGET.to_owned(), claim.metadata.uid.as_str().into());
    labels.insert(SOURCE_POD_OF.to_owned(), source.metadata.uid.as_str().into());
    let mut container = members(json!({
        "name": TARGET_CONTAINER,
        "args": ["direct"],
        "env": environment(clone, overhead),
        "ports": [{ "name": "metrics", "containerPort": 8443, "protocol": "TCP" }],
    }));
    attach(&mut container, source, claim);
    let mut source_volume = members(data_volume(source, true));
    source_volume.insert("name".to_owned(), SOURCE_VOLUME.into());
    PodTemplate {
        clone,
        identity: &identity,
        ruled_by: &claim.metadata,
        labels,
        annotations: Map::from_iter([(CREATED_BY_UPLOAD_CONTROLLER.to_owned(), "yes".into())]),
        owners: vec![json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "name": claim.metadata.name,
            "uid": claim.metadata.uid, "controller": true, "blockOwnerDeletion": true,
        })],
        container,
        volumes: vec![data_volume(claim, false), source_volume.into()],
        affinity: json!({ "podAffinity": source::required_affinity(source) }),
        spec: Map::new(),
    }
    .pod()
}

fn attach(container: &mut Map<String, Value>, source: &Claim, target: &Claim) {
    let (mut devices, mut mounts) = (Vec::new(), Vec::new());
    match source.spec.volume_mode {
        VolumeMode::Block => devices.push(json!({ "name": SOURCE_VOLUME, "devicePath": SOURCE_DEVICE })),
        VolumeMode::Filesystem => {
            mounts.push(json!({ "name": SOURCE_VOLUME, "mountPath": SOURCE_DIRECTORY, "readOnly": true }));
        }
    }
    match target.spec.volume_mode {
        VolumeMode::Block => devices.push(json!({ "name": "cdi-data-vol", "devicePath": DEVICE })),
        VolumeMode::Filesystem => {
            mounts.push(json!({ "name": "cdi-data-vol", "mountPath": TARGET_DIRECTORY }));
        }
    }
    for (field, list) in [("volumeDevices", devices), ("volumeMounts", mounts)] {
        if !list.is_empty() {
            container.insert(field.to_owned(), list.into());
        }
    }
}

/// The variables of a source and of a target, without those about connections.
fn environment(clone: &ClonePods<'_>, overhead: Overhead) -> Vec<Value> {
    let (mode, path) = match clone.source.spec.volume_mode {
        VolumeMode::Block => ("block", SOURCE_DEVICE),
        VolumeMode::Filesystem => ("filesystem", SOURCE_DIRECTORY),
    };
    let claim = clone.target;
    let mut environment = vec![
        json!({ "name": "OWNER_UID", "value": clone.owner_uid }),
        json!({ "name": "VOLUME_MODE", "value": mode }),
        json!({ "name": "MOUNT_POINT", "value": path }),
        json!({ "name": "FILESYSTEM_OVERHEAD", "value": overhead.to_string() }),
        json!({ "name": "UPLOAD_IMAGE_SIZE", "value": claim.requested().unwrap_or_default() }),
        json!({ "name": "PREALLOCATION", "value": preallocation(claim) }),
    ];
    if claim.spec.volume_mode == VolumeMode::Block {
        environment.push(json!({ "name": "DESTINATION", "value": DEVICE }));
    }
    environment.extend(limit(clone));
    if claim.metadata.annotation(VERIFY) == Some(READBACK) {
        environment.push(json!({ "name": "DECANT_VERIFY", "value": READBACK }));
    }
    environment
}
