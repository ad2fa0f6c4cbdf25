//! The size of a disk image in the filesystem of a PVC (docs/protocol.md section 4.8, "image"). Without it, a clone from
//! files to a device would be as large as the filesystem, and grow by the overhead with each round trip.

use decant_shared::protocol::units::{Overhead, parse_quantity, usable_bytes};
use serde_json::{Map, Value};

use crate::objects::Claim;
use crate::objects::annotations::{CONTENT_TYPE, IMAGE_BYTES, IMAGE_CAPACITY};
use crate::objects::claim::VolumeMode;

/// The recorded size of the image on `claim`, in bytes. A record of a volume with another capacity does not count, nor
/// one that is larger than the volume: a record never makes a clone larger than its source.
pub fn recorded_bytes(claim: &Claim) -> Option<u64> {
    if claim.spec.volume_mode == VolumeMode::Block {
        return None;
    }
    let image_bytes: u64 = claim.metadata.annotation(IMAGE_BYTES)?.parse().ok()?;
    let measured_bytes = parse_quantity(claim.metadata.annotation(IMAGE_CAPACITY)?).ok()?;
    let capacity_bytes = parse_quantity(claim.status.capacity.storage.as_deref()?).ok()?;
    let is_current = measured_bytes == capacity_bytes && (1..=capacity_bytes).contains(&image_bytes);
    is_current.then_some(image_bytes)
}

/// A clone that is complete.
#[derive(Debug, Clone, Copy)]
pub struct CompleteClone<'a> {
    /// The claim that was cloned; `None` if it is gone.
    pub source: Option<&'a Claim>,
    /// The claim that gets the record.
    pub target: &'a Claim,
    /// The capacity of its volume.
    pub capacity: Option<&'a str>,
    /// The overhead of its filesystem.
    pub overhead: Overhead,
    /// The digest of the content, which starts with its length.
    pub digest: Option<&'a str>,
}

impl CompleteClone<'_> {
    /// The annotations of the target that record the size of its image; null removes those of an earlier image.
    pub fn record(&self) -> Map<String, Value> {
        if self.target.spec.volume_mode == VolumeMode::Block {
            return Map::new();
        }
        let known = self.image_bytes().zip(self.capacity);
        let (size, capacity) = known.map_or((Value::Null, Value::Null), |(image_bytes, capacity)| {
            (image_bytes.to_string().into(), capacity.into())
        });
        Map::from_iter([(IMAGE_BYTES.to_owned(), size), (IMAGE_CAPACITY.to_owned(), capacity)])
    }

    fn image_bytes(&self) -> Option<u64> {
        if self.target.metadata.annotation(CONTENT_TYPE) == Some("archive") {
            return None;
        }
        let source = self.source?;
        if source.spec.volume_mode == VolumeMode::Filesystem {
            return recorded_bytes(source);
        }
        // The target writes the device to a file, and grows the file to the space that files can use.
        let content_bytes: u64 = self.digest?.strip_prefix("decant1:")?.split(':').next()?.parse().ok()?;
        let requested_bytes = parse_quantity(&self.target.requested()?).ok()?;
        Some(content_bytes.max(usable_bytes(self.overhead, requested_bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn claim(mode: &str, annotations: &Value) -> Claim {
        serde_json::from_value(json!({
            "metadata": { "annotations": annotations },
            "spec": { "volumeMode": mode, "resources": { "requests": { "storage": "2Gi" } } },
            "status": { "capacity": { "storage": "2Gi" } },
        }))
        .unwrap()
    }

    fn annotated(image_bytes: &str, capacity: &str) -> Value {
        json!({ IMAGE_BYTES: image_bytes, IMAGE_CAPACITY: capacity })
    }

    #[test]
    fn a_record_counts_only_for_the_volume_that_was_measured() {
        let files =
            |size: &str, capacity: &str| recorded_bytes(&claim("Filesystem", &annotated(size, capacity)));
        assert_eq!(files("1073741824", "2Gi"), Some(1 << 30));
        assert_eq!(files("1073741824", "2147483648"), Some(1 << 30));
        for (size, capacity) in
            [("1073741824", "1Gi"), ("3221225472", "2Gi"), ("0", "2Gi"), ("1Gi", "2Gi"), ("-1", "2Gi")]
        {
            assert_eq!(files(size, capacity), None, "{size} {capacity}");
        }
        assert_eq!(recorded_bytes(&claim("Block", &annotated("1073741824", "2Gi"))), None);
        assert_eq!(recorded_bytes(&claim("Filesystem", &json!({}))), None);
    }

    #[test]
    fn a_complete_clone_records_the_size_of_its_image() {
        let digest = Some("decant1:1073741824:ab");
        let recorded = annotated("5368709", "2Gi");
        let archive = json!({ CONTENT_TYPE: "archive" });
        let usable = usable_bytes("0.06".parse().unwrap(), 2 << 30).to_string();
        for (source, source_annotations, target, target_annotations, digest, image) in [
            ("Block", &json!({}), "Filesystem", &json!({}), digest, Some(usable.as_str())),
            (
                "Block",
                &json!({}),
                "Filesystem",
                &json!({}),
                Some("decant1:2147000000:ab"),
                Some("2147000000"),
            ),
            ("Block", &json!({}), "Filesystem", &recorded, None, None),
            ("Filesystem", &recorded, "Filesystem", &json!({}), digest, Some("5368709")),
            ("Filesystem", &json!({}), "Filesystem", &recorded, digest, None),
            ("Filesystem", &recorded, "Filesystem", &archive, digest, None),
        ] {
            let (source, target) = (claim(source, source_annotations), claim(target, target_annotations));
            let clone = CompleteClone {
                source: Some(&source),
                target: &target,
                capacity: Some("2Gi"),
                overhead: "0.06".parse().unwrap(),
                digest,
            };
            let capacity = image.map(|_| "2Gi");
            let expected = json!({ IMAGE_BYTES: image, IMAGE_CAPACITY: capacity });
            assert_eq!(Value::Object(clone.record()), expected, "{clone:?}");
        }
    }

    #[test]
    fn a_device_needs_no_record() {
        let (source, target) = (claim("Filesystem", &annotated("7", "2Gi")), claim("Block", &json!({})));
        let clone = CompleteClone {
            source: Some(&source),
            target: &target,
            capacity: Some("2Gi"),
            overhead: Overhead::NONE,
            digest: None,
        };
        assert_eq!(clone.record(), Map::new());
    }
}
