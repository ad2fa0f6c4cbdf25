//! The target claim (docs/protocol.md section 3.5, direct flow; 4.8 for sizes).

use decant_shared::protocol::units::{parse_quantity, required_bytes};
use serde_json::{Value, json};

use crate::objects::annotations::{
    APP, APP_VALUE, BIND_IMMEDIATE, CLONE_REQUEST, CLONE_TYPE, CONTENT_TYPE, COPY, CREATED_FOR,
    DATA_SOURCE_NAMESPACE, POD_RESTARTS, PREALLOCATION_REQUESTED, PRIORITY_CLASS, SERVICE_ACCOUNT,
    STORAGE_MIGRATION, USE_POPULATOR, VOLUME_LIST,
};
use crate::objects::claim::VolumeMode;
use crate::objects::{Claim, ClaimTemplate, DataVolume, Key, Kind, Volume, names};
use crate::pods::class_defaults::ClassDefaults;
use crate::pods::image_size;
use crate::pods::inherited;
use crate::pods::template::recommended;
use crate::policy::Policy;

/// The claim's spec: `spec.pvc` unchanged, or `spec.storage` with missing fields taken from the StorageProfile of its
/// class, otherwise from the source. The error is for the user.
pub fn claim_spec(
    dv: &DataVolume,
    source: &Claim,
    defaults: &ClassDefaults,
    policy: &Policy,
) -> Result<ClaimTemplate, String> {
    let Written { mut spec, is_literal } = written(dv)?;
    if is_literal {
        return Ok(spec);
    }
    defaults.complete(&mut spec, dv.is_archive());
    if spec.access_modes.is_empty() {
        spec.access_modes.clone_from(&source.spec.access_modes);
    }
    let mode = *spec.volume_mode.get_or_insert(source.spec.volume_mode);
    let same_kind = source.spec.volume_mode == VolumeMode::Filesystem && spec.requested().is_none();
    let image_bytes = image_size::recorded_bytes(source).filter(|_| mode == VolumeMode::Block);
    let text = match (spec.requested(), image_bytes) {
        (Some(text), _) => text.to_owned(),
        // The device holds the image, without the overhead of the filesystem around it.
        (None, Some(image_bytes)) => image_bytes.to_string(),
        (None, None) => source_size(source)?,
    };
    let size_bytes = parse_quantity(&text).map_err(|e| format!("size {text:?}: {e}"))?;
    let needed_bytes = match mode {
        // The size of a filesystem source already includes the overhead.
        VolumeMode::Filesystem if !same_kind => required_bytes(overhead(&spec, policy), size_bytes),
        _ => size_bytes,
    };
    spec.request(needed_bytes.max(defaults.min_size_bytes()).to_string());
    Ok(spec)
}

/// The claim's spec as written in a DataVolume.
struct Written {
    spec: ClaimTemplate,
    /// Whether it is used unchanged (`spec.pvc`) rather than completed (`spec.storage`).
    is_literal: bool,
}

fn written(dv: &DataVolume) -> Result<Written, String> {
    if let Some(pvc) = &dv.spec.pvc {
        let spec = pvc.0.clone().map_err(|e| format!("spec.pvc: {e}"))?;
        return Ok(Written { spec, is_literal: true });
    }
    let Some(storage) = &dv.spec.storage else { return Err("Missing Data volume PVC".to_owned()) };
    let spec = storage.0.clone().map_err(|e| format!("spec.storage: {e}"))?;
    Ok(Written { spec, is_literal: false })
}

/// The spec of a claim for `volume`, which is reserved for it: fields that `dv` leaves open are taken from the volume.
/// Whether they fit is not checked. The error is for the user.
pub(crate) fn kept_claim_spec(
    dv: &DataVolume,
    volume: &Volume,
    policy: &Policy,
) -> Result<ClaimTemplate, String> {
    let Written { mut spec, is_literal } = written(dv)?;
    if spec.access_modes.is_empty() {
        spec.access_modes.clone_from(&volume.spec.access_modes);
    }
    if !is_literal {
        spec.volume_mode.get_or_insert(volume.spec.volume_mode);
    }
    // Without a class the API server would fill in the default class, and a volume of another class is never bound.
    if spec.storage_class_name.as_deref().unwrap_or_default().is_empty() {
        spec.storage_class_name = Some(volume.class().to_owned());
    }
    let capacity = volume.spec.capacity.storage.as_deref().unwrap_or("0");
    let capacity_bytes = parse_quantity(capacity).map_err(|e| format!("size {capacity:?}: {e}"))?;
    match spec.requested() {
        None => spec.request(capacity_bytes.to_string()),
        Some(text) if !is_literal => {
            let asked_bytes = parse_quantity(text).map_err(|e| format!("size {text:?}: {e}"))?;
            let with_overhead_bytes = match spec.mode() {
                VolumeMode::Filesystem => required_bytes(overhead(&spec, policy), asked_bytes),
                VolumeMode::Block => asked_bytes,
            };
            // The volume may have been created with another overhead; its content fits.
            spec.request(with_overhead_bytes.min(capacity_bytes.max(asked_bytes)).to_string());
        }
        Some(_) => {}
    }
    spec.volume_name.get_or_insert_with(|| volume.metadata.name.clone());
    Ok(spec)
}

fn source_size(source: &Claim) -> Result<String, String> {
    let capacity = source.status.capacity.storage.clone();
    capacity
        .or_else(|| source.requested())
        .ok_or_else(|| format!("PVC {} has no size yet", source.metadata.key()))
}

fn overhead(spec: &ClaimTemplate, policy: &Policy) -> decant_shared::protocol::units::Overhead {
    let class = spec.storage_class_name.as_deref();
    class.and_then(|class| policy.class_overheads.get(class)).copied().unwrap_or(policy.overhead)
}

/// The claim of `dv` into which `source` is cloned.
pub fn new_claim(dv: &DataVolume, source: &Key, spec: &ClaimTemplate, policy: &Policy) -> Value {
    claim(dv, spec, policy, [(CLONE_REQUEST, source.to_string()), (CLONE_TYPE, COPY.to_owned())])
}

/// The claim of `dv` that is filled before it is bound. Its VolumeCloneSource is in the namespace of `source`.
pub fn populated_claim(dv: &DataVolume, source: &Key, spec: &ClaimTemplate, policy: &Policy) -> Value {
    let meta = &dv.metadata;
    let elsewhere = Some(source.namespace.clone()).filter(|namespace| *namespace != meta.namespace);
    let purpose = [
        (CLONE_TYPE, COPY.to_owned()),
        (USE_POPULATOR, "true".to_owned()),
        (DATA_SOURCE_NAMESPACE, elsewhere.unwrap_or_default()),
    ];
    let source = json!({
        "apiGroup": Kind::VolumeCloneSource.group(), "kind": Kind::VolumeCloneSource.name(),
        "name": names::volume_clone_source(&meta.uid),
    });
    let mut claim = claim(dv, spec, policy, purpose);
    if let Some(spec) = claim.get_mut("spec").and_then(Value::as_object_mut) {
        // Kubernetes before 1.24 knows only the first field.
        spec.extend(["dataSource", "dataSourceRef"].map(|field| (field.to_owned(), source.clone())));
    }
    claim
}

/// The claim of `dv` for a volume that is reserved for it. Nothing is cloned into it.
pub fn kept_claim(dv: &DataVolume, spec: &ClaimTemplate, policy: &Policy) -> Value {
    let volumes: Vec<&String> = spec.volume_name.iter().collect();
    claim(dv, spec, policy, [(VOLUME_LIST, json!(volumes).to_string())])
}

fn claim(
    dv: &DataVolume,
    spec: &ClaimTemplate,
    policy: &Policy,
    purpose: impl IntoIterator<Item = (&'static str, String)>,
) -> Value {
    let meta = &dv.metadata;
    let mut labels = inherited::labels(meta);
    labels.extend(recommended(&policy.pods));
    labels.insert(APP.to_owned(), APP_VALUE.into());
    if spec.mode() == VolumeMode::Filesystem {
        labels.insert("alerts.k8s.io/KubePersistentVolumeFillingUp".to_owned(), "disabled".into());
    }

    let mut annotations = inherited::annotations(meta);
    // The virtual machine does not run, so nothing else uses the claim. The migration controller waits for the phase `Succeeded`, and
    // takes `WaitForFirstConsumer` for it: it would delete the source before the copy.
    if meta.labels.contains_key(STORAGE_MIGRATION) {
        annotations.entry(BIND_IMMEDIATE).or_insert("true".into());
    }
    let preallocation = dv.spec.preallocation.unwrap_or(policy.preallocation);
    let content_type = if dv.is_archive() { "archive" } else { "kubevirt" };
    let always = [
        (POD_RESTARTS, "0".to_owned()),
        (CONTENT_TYPE, content_type.to_owned()),
        (PREALLOCATION_REQUESTED, preallocation.to_string()),
        (CREATED_FOR, meta.uid.to_string()),
        (PRIORITY_CLASS, dv.spec.priority_class_name.clone()),
        (SERVICE_ACCOUNT, dv.spec.service_account_name.clone()),
    ];
    for (name, value) in always.into_iter().chain(purpose) {
        if !value.is_empty() {
            annotations.insert(name.to_owned(), value.into());
        }
    }
    json!({
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": meta.name,
            "namespace": meta.namespace,
            "labels": labels,
            "annotations": annotations,
            "ownerReferences": [owner(dv)],
        },
        "spec": spec,
    })
}

/// The reference that makes `dv` the controller of its claim.
pub(crate) fn owner(dv: &DataVolume) -> Value {
    json!({
        "apiVersion": "cdi.kubevirt.io/v1beta1", "kind": "DataVolume", "name": dv.metadata.name,
        "uid": dv.metadata.uid, "controller": true, "blockOwnerDeletion": true,
    })
}
