//! How objects of a clone are called (contract 3.1). Tools and alerts look for these names.

use crate::resource::{Key, Uid};

/// Longest name of an object.
pub const NAME_MAX_BYTES: usize = 253;
/// Longest DNS label, and so longest name of a Service.
const LABEL_MAX_BYTES: usize = 63;
/// Bytes of a hash in a name, with the dash before it.
const HASH_BYTES: usize = 9;

/// `base-suffix`, shortened with a hash of what was cut if it is longer than `max` bytes.
pub fn joined(base: &str, suffix: &str, max: usize) -> String {
    let whole = format!("{base}-{suffix}");
    if whole.len() <= max {
        return whole;
    }
    match max.checked_sub(HASH_BYTES + 1 + suffix.len()) {
        Some(keep @ 1..) => format!("{}-{}-{suffix}", head(base, keep), hash(base)),
        _ => format!("{}-{}", head(base, max.saturating_sub(HASH_BYTES)), hash(&whole)),
    }
}

/// The target pod of the claim `claim`, and the Secret of that pod.
pub fn target_pod(claim: &str) -> String {
    joined("cdi-upload", claim, NAME_MAX_BYTES)
}

/// The name under which a target pod is reached, as a DNS label.
pub fn service(target_pod: &str) -> String {
    let label = target_pod.replace('.', "-");
    if label.len() <= LABEL_MAX_BYTES { label } else { joined(&label, "cdi", LABEL_MAX_BYTES) }
}

/// The source pod of the claim with `uid`, and the Secret of that pod.
pub fn source_pod(uid: &Uid) -> String {
    format!("{uid}-source-pod")
}

/// The common name of the certificate that a source shows (contract 3.9).
pub fn client(source: &Key, target: &Key) -> String {
    format!("{source}-{target}")
}

/// The host names that a target's certificate is for; the last one stands in `UPLOAD_URL`.
pub fn target_hosts(target_pod: &str, namespace: &str) -> [String; 3] {
    let service = service(target_pod);
    [service.clone(), format!("{service}.{namespace}"), format!("{service}.{namespace}.svc")]
}

/// The name in the certificate of a source's metrics page. It is never looked up: the controller dials the pod's
/// address and checks this name.
pub fn metrics_host(source_pod: &str) -> String {
    format!("{source_pod}.metrics")
}

/// FNV-1a, 32 bits, as eight hexadecimal digits.
fn hash(text: &str) -> String {
    let hash =
        text.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    format!("{hash:08x}")
}

/// The first `bytes` bytes. Names are ASCII; other text is cut before a character that does not fit.
fn head(text: &str, bytes: usize) -> &str {
    let mut end = bytes.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_those_of_the_contract() {
        assert_eq!(target_pod("target-dv"), "cdi-upload-target-dv");
        assert_eq!(service(&target_pod("target-dv")), "cdi-upload-target-dv");
        assert_eq!(target_pod(&"a".repeat(250)), "cdi-upload-643c4086");
        let long = format!(
            "import-long-name-dv.{}123456789-123456789-123456789-1234567890",
            "123456789-".repeat(10)
        );
        assert_eq!(
            service(&target_pod(&long)),
            "cdi-upload-import-long-name-dv-123456789-123456789-92423cc1-cdi"
        );
    }

    #[test]
    fn a_target_is_reached_under_its_service_name() {
        assert_eq!(target_hosts("cdi-upload-a.b", "ns")[2], "cdi-upload-a-b.ns.svc");
    }

    proptest! {
        #[test]
        fn no_name_is_longer_than_allowed(base in ".{0,300}", suffix in "[a-z0-9.-]{1,300}", max in 20_usize..300) {
            prop_assert!(joined(&base, &suffix, max).len() <= max);
        }
    }
}
