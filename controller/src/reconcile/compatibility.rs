//! Whether a source fits its target: content, volume modes, sizes (docs/protocol.md section 4.6 row 1, 4.8).

use decant_shared::protocol::units::{Bytes, Overhead, parse_quantity, usable_bytes};

use crate::objects::annotations::{CONTENT_TYPE, PERMISSIVE_CLONE};
use crate::objects::claim::VolumeMode;
use crate::objects::{Claim, ClaimTemplate, DataVolume};
use crate::pods::image_size;
use crate::policy::Policy;

/// The content type of a disk image.
const DISK: &str = "kubevirt";

/// Checks the request before a claim is created with `spec` (docs/protocol.md section 4.8, "check before PVC
/// creation").
pub fn before(dv: &DataVolume, source: &Claim, spec: &ClaimTemplate) -> Result<(), String> {
    content(content_type(&dv.spec.content_type), source, spec.mode())?;
    let checked = dv.spec.pvc.is_some() || source.spec.volume_mode == VolumeMode::Block;
    if !checked || dv.metadata.annotation(PERMISSIVE_CLONE).is_some() {
        return Ok(());
    }
    let target_bytes = bytes(spec.requested().map(str::to_owned))?;
    let image_bytes = image_size::recorded_bytes(source).filter(|_| spec.mode() == VolumeMode::Block);
    compare(image_bytes.map_or_else(|| bytes(source.requested()), Ok)?, target_bytes)
}

/// Checks both claims once they exist. It compares the space that files can use (docs/protocol.md section 4.8, "check
/// by U and C"), or for an image of a recorded size the image.
pub fn claims(source: &Claim, target: &Claim, policy: &Policy) -> Result<(), String> {
    let wanted = content_type(target.metadata.annotation(CONTENT_TYPE).unwrap_or_default());
    content(wanted, source, target.spec.volume_mode)?;
    if target.metadata.annotation(PERMISSIVE_CLONE).is_some() {
        return Ok(());
    }
    let source_bytes = usable(source, policy)?;
    let image_bytes = image_size::recorded_bytes(source).unwrap_or(source_bytes);
    compare(source_bytes.min(image_bytes), usable(target, policy)?)
}

/// The overhead of a claim's filesystem; zero for block volumes.
pub fn overhead(claim: &Claim, policy: &Policy) -> Overhead {
    if claim.spec.volume_mode == VolumeMode::Block {
        return Overhead::NONE;
    }
    let class = claim.spec.storage_class_name.as_deref();
    match class {
        Some("") => Overhead::NONE,
        Some(class) => policy.class_overheads.get(class).copied().unwrap_or(policy.overhead),
        None => policy.overhead,
    }
}

fn content_type(text: &str) -> &str {
    if text == "archive" { "archive" } else { DISK }
}

fn content(wanted: &str, source: &Claim, target_mode: VolumeMode) -> Result<(), String> {
    let has = content_type(source.metadata.annotation(CONTENT_TYPE).unwrap_or_default());
    if has != wanted {
        return Err(format!("the source's content type is {has}, the target's {wanted}"));
    }
    if source.spec.volume_mode != target_mode && wanted != DISK {
        return Err(format!(
            "content type {wanted} cannot be cloned from a {:?} volume to a {target_mode:?} volume",
            source.spec.volume_mode
        ));
    }
    Ok(())
}

fn usable(claim: &Claim, policy: &Policy) -> Result<u64, String> {
    let requested = bytes(claim.requested())?;
    Ok(match claim.spec.volume_mode {
        VolumeMode::Block => requested,
        VolumeMode::Filesystem => usable_bytes(overhead(claim, policy), requested),
    })
}

fn bytes(text: Option<String>) -> Result<u64, String> {
    let text = text.ok_or("a claim without a size")?;
    parse_quantity(&text).map_err(|e| format!("size {text:?}: {e}"))
}

fn compare(source: u64, target: u64) -> Result<(), String> {
    if source <= target {
        return Ok(());
    }
    Err(format!(
        "target resources requests storage size is smaller than the source: {} < {}",
        Bytes(target),
        Bytes(source)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pods::claim::claim_spec;
    use crate::pods::class_defaults::ClassDefaults;
    use crate::pods::image_size::CompleteClone;
    use proptest::prelude::*;
    use serde_json::json;

    fn claim(size: &str, mode: &str) -> Claim {
        serde_json::from_value(json!({
            "spec": { "volumeMode": mode, "storageClassName": "c",
                      "resources": { "requests": { "storage": size } } },
        }))
        .unwrap()
    }

    #[test]
    fn a_smaller_target_does_not_fit_unless_the_user_insists() {
        let policy = Policy::default();
        let (source, mut target) = (claim("2Gi", "Block"), claim("1Gi", "Block"));
        assert!(claims(&source, &target, &policy).unwrap_err().contains("smaller than the source"));
        target.metadata.annotations.insert(PERMISSIVE_CLONE.to_owned(), String::new());
        assert_eq!(claims(&source, &target, &policy), Ok(()));
    }

    #[test]
    fn a_filesystem_needs_more_than_the_device_it_takes_in() {
        let policy = Policy::default();
        assert!(claims(&claim("1Gi", "Block"), &claim("1Gi", "Filesystem"), &policy).is_err());
        assert_eq!(claims(&claim("1Gi", "Filesystem"), &claim("1Gi", "Block"), &policy), Ok(()));
    }

    #[test]
    fn archives_stay_files() {
        let policy = Policy::default();
        let mut source = claim("1Gi", "Filesystem");
        source.metadata.annotations.insert(CONTENT_TYPE.to_owned(), "archive".to_owned());
        let mut target = claim("1Gi", "Block");
        assert!(claims(&source, &target, &policy).unwrap_err().contains("content type"));
        target.metadata.annotations.insert(CONTENT_TYPE.to_owned(), "archive".to_owned());
        assert!(claims(&source, &target, &policy).unwrap_err().contains("cannot be cloned"));
    }

    /// A PVC as a provisioner binds it that rounds sizes up to `grain_bytes`.
    fn bound(spec: &ClaimTemplate, grain_bytes: u64) -> Claim {
        let requested: u64 = spec.requested().unwrap().parse().unwrap();
        let mut claim: Claim = serde_json::from_value(json!({ "spec": spec })).unwrap();
        claim.status.capacity.storage = Some((requested.div_ceil(grain_bytes) * grain_bytes).to_string());
        claim
    }

    /// A clone of `source` that names only class and mode.
    fn cloned(source: &Claim, mode: VolumeMode, class: &str, grain_bytes: u64, policy: &Policy) -> Claim {
        let storage =
            json!({ "volumeMode": mode, "storageClassName": class, "accessModes": ["ReadWriteOnce"] });
        let dv: DataVolume = serde_json::from_value(json!({ "spec": { "storage": storage } })).unwrap();
        let spec = claim_spec(&dv, source, &ClassDefaults::default(), policy).unwrap();
        assert_eq!(before(&dv, source, &spec), Ok(()));
        let mut target = bound(&spec, grain_bytes);
        assert_eq!(claims(source, &target, policy), Ok(()));
        let digest = format!("decant1:{}:ab", source.status.capacity.storage.as_deref().unwrap());
        let clone = CompleteClone {
            source: Some(source),
            target: &target,
            capacity: target.status.capacity.storage.as_deref(),
            overhead: overhead(&target, policy),
            digest: Some(&digest),
        };
        for (name, value) in clone.record() {
            target.metadata.annotations.extend(value.as_str().map(|text| (name, text.to_owned())));
        }
        target
    }

    proptest! {
        #[test]
        fn round_trips_between_devices_and_files_do_not_grow(
            mib in 1_u64..5000,
            grain_mib in prop::sample::select(vec![1_u64, 4, 1024]),
            // The first class has the first one, the second class the second one.
            overheads in prop::sample::select(vec![("0.06", "0.06"), ("0", "0.2"), ("0.055", "0"), ("0.5", "0.001")]),
        ) {
            let mut policy = Policy::default();
            for (class, share) in [("a", overheads.0), ("b", overheads.1)] {
                policy.class_overheads.insert(class.to_owned(), share.parse().unwrap());
            }
            let grain_bytes = grain_mib << 20;
            let size = (mib << 20).div_ceil(grain_bytes) * grain_bytes;
            let mut device = claim(&size.to_string(), "Block");
            device.status.capacity.storage = Some(size.to_string());
            for class in ["a", "b", "a", "b", "a"] {
                let files = cloned(&device, VolumeMode::Filesystem, class, grain_bytes, &policy);
                let copied = cloned(&files, VolumeMode::Filesystem, class, grain_bytes, &policy);
                prop_assert_eq!(&copied.status.capacity, &files.status.capacity);
                device = cloned(&copied, VolumeMode::Block, "c", grain_bytes, &policy);
                prop_assert_eq!(device.status.capacity.storage.as_deref(), Some(&*size.to_string()));
            }
        }
    }
}
