//! Whether a source fits its target: content, volume modes, sizes (docs/protocol.md section 4.6 row 1, 4.8).

use decant_shared::protocol::units::{Bytes, Overhead, parse_quantity, usable_bytes};

use crate::objects::annotations::{CONTENT_TYPE, PERMISSIVE_CLONE};
use crate::objects::claim::VolumeMode;
use crate::objects::{Claim, ClaimTemplate, DataVolume};
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
    compare(bytes(source.requested())?, target_bytes)
}

/// Checks both claims once they exist. It compares the space that files can use (docs/protocol.md section 4.8, "check
/// by U and C").
pub fn claims(source: &Claim, target: &Claim, policy: &Policy) -> Result<(), String> {
    let wanted = content_type(target.metadata.annotation(CONTENT_TYPE).unwrap_or_default());
    content(wanted, source, target.spec.volume_mode)?;
    if target.metadata.annotation(PERMISSIVE_CLONE).is_some() {
        return Ok(());
    }
    compare(usable(source, policy)?, usable(target, policy)?)
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
}
