//! Volumes that an administrator reserved for a claim (docs/protocol.md section 4.9, row "static volume"). A restore or
//! a disaster recovery created them in advance, with the content that the claim shall have. They are bound and never
//! overwritten by a clone.
//!
//! Only the fields of the PersistentVolume decide, because users of a namespace cannot write PersistentVolumes.

use std::sync::Arc;

use decant_shared::protocol::units::parse_quantity;

use crate::objects::annotations::VOLUME_LIST;
use crate::objects::{Claim, ClaimTemplate, DataVolume, Volume};
use crate::pods::claim;
use crate::policy::Policy;

/// Annotation on a volume that Kubernetes chose for its claim, so it was not reserved.
const BOUND_BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";
/// This many characters of a UID in the name of a volume cannot be a coincidence.
const UID_PART_CHARS: usize = 8;

/// What is known about volumes that are reserved for a claim.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Volumes {
    /// Not listed: the DataVolume does not ask for it, or it no longer makes a difference.
    #[default]
    NotAsked,
    /// These wait for the claim, which does not exist or is not bound.
    Reserved(Vec<Arc<Volume>>),
    /// The claim is bound to this one.
    Bound(Arc<Volume>),
    /// They cannot be listed; the text describes why.
    Unseen(String),
}

/// How a volume came to the claim that it is bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binding {
    /// It was created or chosen for the claim after the claim existed, so it has no content to keep.
    Fresh,
    /// It was reserved for the claim.
    Reserved,
    /// It cannot be determined.
    Unclear,
}

/// How `volume` came to `claim`, which is bound to it.
pub fn binding(volume: &Volume, claim: &Claim) -> Binding {
    let is_made_for_it = is_named_after(&volume.metadata.name, claim.metadata.uid.as_str());
    let is_chosen = volume.metadata.annotation(BOUND_BY_CONTROLLER).is_some();
    // Both are in UTC and have the same length, so their texts sort by time.
    let is_older = volume.metadata.creation_timestamp < claim.metadata.creation_timestamp;
    match (is_made_for_it || is_chosen, is_older) {
        (true, _) => Binding::Fresh,
        (false, true) => Binding::Reserved,
        (false, false) => Binding::Unclear,
    }
}

/// Whether a provisioner derived the name from the claim's `uid`: it contains the UID, or ends with the first
/// characters of it.
fn is_named_after(name: &str, uid: &str) -> bool {
    if uid.len() < UID_PART_CHARS {
        return false;
    }
    let end = name.rsplit('-').next().unwrap_or_default();
    name.contains(uid) || end.len() >= UID_PART_CHARS && uid.replace('-', "").starts_with(end)
}

/// The names of the volumes that `claim` may be bound to. A list that cannot be parsed counts as empty.
pub fn expected(claim: &Claim) -> Vec<String> {
    let list = claim.metadata.annotation(VOLUME_LIST);
    list.and_then(|list| serde_json::from_str(list).ok()).unwrap_or_default()
}

/// The spec of a claim for the smallest of `volumes` that fits `dv`. The error is for the user.
pub fn claim_spec(
    dv: &DataVolume,
    volumes: &[Arc<Volume>],
    policy: &Policy,
) -> Result<ClaimTemplate, String> {
    let mut sorted: Vec<&Volume> = volumes.iter().map(|volume| &**volume).collect();
    sorted.sort_by_key(|volume| (capacity_bytes(volume), volume.metadata.name.clone()));
    let mut refusals = Vec::new();
    for volume in sorted {
        let spec = claim::kept_claim_spec(dv, volume, policy)?;
        match fits(volume, &spec) {
            Ok(()) => return Ok(spec),
            Err(why) => refusals.push(format!("{} ({why})", volume.metadata.name)),
        }
    }
    Err(format!(
        "volumes are reserved for this DataVolume and do not fit it: {}. Nothing is cloned over them: correct the volume or \
         the DataVolume, or remove the volume's claimRef to have a new one filled",
        refusals.join(", ")
    ))
}

/// Whether Kubernetes would bind a claim with `spec` to `volume`. The error is the requirement that is not met.
fn fits(volume: &Volume, spec: &ClaimTemplate) -> Result<(), String> {
    let wanted = spec.requested().unwrap_or("0");
    let wanted_bytes = parse_quantity(wanted).map_err(|e| format!("size {wanted:?}: {e}"))?;
    if capacity_bytes(volume) < wanted_bytes {
        let has = volume.spec.capacity.storage.as_deref().unwrap_or("0");
        return Err(format!("it has {has}, {wanted} is asked for"));
    }
    let class = spec.storage_class_name.as_deref().unwrap_or_default();
    if class != volume.class() {
        return Err(format!("its storage class is {:?}, {class:?} is asked for", volume.class()));
    }
    if spec.mode() != volume.spec.volume_mode {
        return Err(format!("it is a {:?} volume, {:?} is asked for", volume.spec.volume_mode, spec.mode()));
    }
    if let Some(mode) = spec.access_modes.iter().find(|mode| !volume.spec.access_modes.contains(mode)) {
        return Err(format!("it lacks the access mode {mode}"));
    }
    match &spec.volume_name {
        Some(name) if *name != volume.metadata.name => Err(format!("the volume {name} is asked for")),
        _ => Ok(()),
    }
}

/// The capacity of `volume`; 0 if it cannot be read.
fn capacity_bytes(volume: &Volume) -> u64 {
    let capacity = volume.spec.capacity.storage.as_deref();
    capacity.and_then(|text| parse_quantity(text).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn volume(name: &str, changes: &Value) -> Arc<Volume> {
        let mut object = json!({
            "metadata": { "name": name, "creationTimestamp": "2026-01-01T11:00:00Z" },
            "spec": { "capacity": { "storage": "1Gi" }, "accessModes": ["ReadWriteOnce"], "volumeMode": "Block",
                      "storageClassName": "c", "claimRef": { "namespace": "n", "name": "copy" } },
        });
        for (pointer, value) in changes.as_object().unwrap() {
            let (parent, name) = pointer.rsplit_once('/').unwrap();
            object.pointer_mut(parent).unwrap()[name] = value.clone();
        }
        Arc::new(serde_json::from_value(object).unwrap())
    }

    fn data_volume(kind: &str, spec: &Value) -> DataVolume {
        serde_json::from_value(
            json!({ "metadata": { "namespace": "n", "name": "copy" }, "spec": { kind: spec } }),
        )
        .unwrap()
    }

    fn spec_of(dv: &DataVolume, volumes: &[Arc<Volume>]) -> Result<Value, String> {
        claim_spec(dv, volumes, &Policy::default()).map(|spec| serde_json::to_value(spec).unwrap())
    }

    #[test]
    fn what_a_data_volume_leaves_open_is_the_volumes() {
        let spec = spec_of(&data_volume("storage", &json!({})), &[volume("v", &json!({}))]).unwrap();
        let expected = json!({
            "volumeName": "v", "storageClassName": "c", "volumeMode": "Block", "accessModes": ["ReadWriteOnce"],
            "resources": { "requests": { "storage": "1073741824" } },
        });
        assert_eq!(spec, expected);
    }

    #[test]
    fn a_filesystem_that_holds_what_is_asked_for_fits_without_todays_overhead() {
        let files = json!({ "/spec/volumeMode": "Filesystem" });
        let dv = data_volume("storage", &json!({ "resources": { "requests": { "storage": "1020Mi" } } }));
        let spec = spec_of(&dv, &[volume("v", &files)]).unwrap();
        assert_eq!(spec["resources"]["requests"]["storage"], "1073741824");
        let larger = data_volume("storage", &json!({ "resources": { "requests": { "storage": "1025Mi" } } }));
        assert!(spec_of(&larger, &[volume("v", &files)]).is_err());
    }

    #[test]
    fn a_volume_that_does_not_fit_is_named_with_the_reason() {
        let asked = json!({ "accessModes": ["ReadWriteOnce"], "volumeMode": "Block", "storageClassName": "c",
                            "resources": { "requests": { "storage": "1Gi" } } });
        let dv = data_volume("pvc", &asked);
        for (changes, why) in [
            (json!({ "/spec/capacity/storage": "1023Mi" }), "v (it has 1023Mi, 1Gi is asked for)"),
            (json!({ "/spec/storageClassName": "d" }), "its storage class is \"d\", \"c\" is asked for"),
            (json!({ "/spec/volumeMode": "Filesystem" }), "it is a Filesystem volume, Block is asked for"),
            (json!({ "/spec/accessModes": ["ReadOnlyMany"] }), "it lacks the access mode ReadWriteOnce"),
        ] {
            let error = spec_of(&dv, &[volume("v", &changes)]).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn the_smallest_volume_that_fits_is_taken() {
        let volumes = [
            volume("large", &json!({ "/spec/capacity/storage": "3Gi" })),
            volume("small", &json!({ "/spec/capacity/storage": "1Mi" })),
            volume("right", &json!({ "/spec/capacity/storage": "2Gi" })),
        ];
        let dv = data_volume("storage", &json!({ "resources": { "requests": { "storage": "1Gi" } } }));
        assert_eq!(spec_of(&dv, &volumes).unwrap()["volumeName"], "right");
    }

    #[test]
    fn only_what_was_made_or_chosen_for_a_claim_is_cloned_over() {
        const UID: &str = "0a1b2c3d-4e5f-6789-abcd-ef0123456789";
        let claim: Claim = serde_json::from_value(json!({ "metadata": {
            "name": "copy", "uid": UID, "creationTimestamp": "2026-01-01T12:00:00Z" } }))
        .unwrap();
        let chosen = json!({ "/metadata/annotations": { BOUND_BY_CONTROLLER: "yes" } });
        let later = json!({ "/metadata/creationTimestamp": "2026-01-01T12:00:00Z" });
        for (name, changes, expected) in [
            (format!("pvc-{UID}"), &later, Binding::Fresh),
            ("disk-0a1b2c3d4e5f".to_owned(), &later, Binding::Fresh),
            ("disk-0a1b2c3".to_owned(), &later, Binding::Unclear),
            ("v".to_owned(), &chosen, Binding::Fresh),
            ("v".to_owned(), &json!({}), Binding::Reserved),
            ("pvc-11111111-2222-3333-4444-555555555555".to_owned(), &json!({}), Binding::Reserved),
            ("v".to_owned(), &later, Binding::Unclear),
        ] {
            assert_eq!(binding(&volume(&name, changes), &claim), expected, "{name}");
        }
    }
}
