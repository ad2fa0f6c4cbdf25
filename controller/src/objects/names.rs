//! The names of the objects of a clone (docs/protocol.md section 3.1). Tools and alerts look for these names.
//!
//! A name that had to be shortened or changed carries 128 bits of a SHA-256 of the original, so that two originals
//! never share one name.

use ring::digest::{SHA256, digest};

use crate::objects::{PopulatorKind, Uid};

/// Longest name of an object.
pub const NAME_MAX_BYTES: usize = 253;
/// Random bytes in the name of a pod's Secrets.
pub const NONCE_BYTES: usize = 8;
/// Their length in hexadecimal digits, including the leading dash. The names of pods leave room for them, because the
/// name of a Secret always begins with the name of its pod.
const NONCE_CHARS: usize = 2 * NONCE_BYTES + 1;
/// Characters kept free for the number of a generation of keys.
const GENERATION_CHARS: usize = 3;
/// Longest DNS label, and therefore the longest name of a Service.
const LABEL_MAX_BYTES: usize = 63;
/// Bytes of the hash in a name: it is not feasible to find two names with the same 128 bits.
const HASHED_BYTES: usize = 16;
/// Characters of the hash in a name, including the leading dash.
const HASH_CHARS: usize = 2 * HASHED_BYTES + 1;

/// `base-suffix`, shortened with a hash of what was cut if it is longer than `max` bytes.
pub fn joined(base: &str, suffix: &str, max: usize) -> String {
    let whole = format!("{base}-{suffix}");
    if whole.len() <= max {
        return whole;
    }
    match max.checked_sub(HASH_CHARS + 1 + suffix.len()) {
        Some(keep @ 1..) => format!("{}-{}-{suffix}", head(base, keep), hash(base)),
        _ => format!("{}-{}", head(base, max.saturating_sub(HASH_CHARS)), hash(&whole)),
    }
}

/// The target pod of the claim `claim`.
pub fn target_pod(claim: &str) -> String {
    let max = NAME_MAX_BYTES - NONCE_CHARS - GENERATION_CHARS;
    match claim.strip_prefix(PRIME) {
        Some(uid) => joined("decant-target", uid, max),
        None => joined("cdi-upload", claim, max),
    }
}

/// The name under which a target pod is reached, as a DNS label. A name with dots gets a hash, because `a.b` and `a-b`
/// are different pods.
pub fn service(target_pod: &str) -> String {
    if target_pod.len() <= LABEL_MAX_BYTES && !target_pod.contains('.') {
        return target_pod.to_owned();
    }
    let label = target_pod.replace('.', "-");
    format!("{}-{}", head(&label, LABEL_MAX_BYTES - HASH_CHARS).trim_end_matches('-'), hash(target_pod))
}

/// The source pod of the claim with `uid`.
pub fn source_pod(uid: &Uid) -> String {
    format!("{uid}-source-pod")
}

/// The beginning of the name of a prime PVC that a CloneSource fills.
const PRIME: &str = "decant-prime-";
/// The same for a prime PVC that a VolumeCloneSource fills, as in CDI.
const CDI_PRIME: &str = "tmp-pvc-";

/// Whose names, labels and annotations the objects of a clone have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameStyle {
    /// CDI's, because CDI's tools look for them.
    Cdi,
    /// Decant's own, because CDI's controllers may run in the same cluster: they delete pods by name and by label.
    Decant,
}

/// The style of the clone into the PVC `claim`: a CloneSource is Decant's own kind.
pub fn style(claim: &str) -> NameStyle {
    if claim.starts_with(PRIME) { NameStyle::Decant } else { NameStyle::Cdi }
}

/// The prime PVC of the PVC with `uid`: it is filled, and its volume is then handed over to that PVC.
pub fn prime(kind: PopulatorKind, uid: &Uid) -> String {
    match kind {
        PopulatorKind::CloneSource => format!("{PRIME}{uid}"),
        PopulatorKind::VolumeCloneSource => format!("{CDI_PRIME}{uid}"),
    }
}

/// Whether `name` is that of the prime PVC of the PVC with `uid`, whatever fills it.
pub fn is_prime(name: &str, uid: &Uid) -> bool {
    [PRIME, CDI_PRIME].iter().any(|prefix| name.strip_prefix(prefix) == Some(uid.as_str()))
}

/// Whether a PVC of this name may be a prime.
pub fn may_be_prime(name: &str) -> bool {
    [PRIME, CDI_PRIME].iter().any(|prefix| name.starts_with(prefix))
}

/// The beginning of the name of a temporary PVC that is restored from a snapshot.
const RESTORED: &str = "decant-restored-";

/// The temporary PVC that is restored from a snapshot, as the source of the clone into the PVC with `uid`.
pub fn restored(uid: &Uid) -> String {
    format!("{RESTORED}{uid}")
}

/// The beginning of the name of a VolumeSnapshot of a source that is in use.
const SOURCE_SNAPSHOT: &str = "decant-snapshot-";

/// The VolumeSnapshot of a source that is in use, for the clone into the PVC with `uid`.
pub fn source_snapshot(uid: &Uid) -> String {
    format!("{SOURCE_SNAPSHOT}{uid}")
}

/// Whether a PVC of this name may be restored from a snapshot for a clone.
pub fn may_be_restored(name: &str) -> bool {
    name.starts_with(RESTORED)
}

/// The VolumeCloneSource of the DataVolume with `uid`.
pub fn volume_clone_source(uid: &Uid) -> String {
    format!("volume-clone-source-{uid}")
}

/// The common name of the certificate that a source presents (docs/protocol.md section 3.9). UIDs are never reused and
/// contain no separator, so the name belongs to exactly one pair of claims. Both ends get it from the controller; CDI's
/// ends compare the text.
pub fn client(source_claim: &Uid, target_claim: &Uid) -> String {
    format!("decant:{source_claim}:{target_claim}")
}

/// The Secret with the keys of a pod: the pod's name and [`NONCE_BYTES`] random bytes that the controller chose, so
/// that an existing Secret is never mistaken for it.
pub fn secret(pod: &str, nonce: &str) -> String {
    format!("{pod}-{nonce}")
}

/// The Secret with the keys of `generation` of a pod whose first Secret is `secret`.
pub fn secret_generation(secret: &str, generation: u32) -> String {
    if generation == 0 { secret.to_owned() } else { format!("{secret}-{generation}") }
}

/// The host name that a source connects to and that its target's certificate is issued for. It contains the UID of the
/// target's claim, so the certificate of an earlier target of the same name is not valid. A host alias in the source's
/// pod maps it to the address.
pub fn target_host(target_pod: &str, namespace: &str, target_claim: &Uid) -> String {
    format!("{target_claim}.{}.{namespace}.svc", service(target_pod))
}

/// The names in a target's certificate: those under which CDI's tools reach it, and [`target_host`].
pub fn target_hosts(target_pod: &str, namespace: &str, target_claim: &Uid) -> [String; 4] {
    let service = service(target_pod);
    [
        service.clone(),
        format!("{service}.{namespace}"),
        format!("{service}.{namespace}.svc"),
        target_host(target_pod, namespace, target_claim),
    ]
}

/// The name in the certificate of a source's metrics page. It is never resolved: the controller connects to the pod's
/// address and checks this name.
pub fn metrics_host(source_pod: &str) -> String {
    format!("{source_pod}.metrics")
}

/// The first 128 bits of the SHA-256, in hexadecimal digits.
fn hash(text: &str) -> String {
    let digest = digest(&SHA256, text.as_bytes());
    digest.as_ref().iter().take(HASHED_BYTES).map(|byte| format!("{byte:02x}")).collect()
}

/// The first `bytes` bytes. Names are ASCII; other text is cut in front of a character that does not fit.
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
    }

    #[test]
    fn a_shortened_name_carries_128_bits_of_sha_256() {
        let sha_256_of_whole = "cdi-upload-".to_owned() + &"a".repeat(250);
        assert_eq!(target_pod(&"a".repeat(250)), format!("cdi-upload-{}", hash(&sha_256_of_whole)));
        assert_eq!(hash("abc"), "ba7816bf8f01cfea414140de5dae2223");
    }

    #[test]
    fn a_target_is_reached_under_its_service_name() {
        let hosts = target_hosts("cdi-upload-a-b", "ns", &Uid::from("1"));
        assert_eq!(hosts[2], "cdi-upload-a-b.ns.svc");
        assert_eq!(hosts[3], "1.cdi-upload-a-b.ns.svc");
    }

    #[test]
    fn a_dot_and_a_dash_are_two_services() {
        let (dot, dash) = (service("cdi-upload-a.b"), service("cdi-upload-a-b"));
        assert_ne!(dot, dash);
        assert!(dot.starts_with("cdi-upload-a-b-"), "{dot}");
    }

    #[test]
    fn the_common_name_of_one_pair_of_claims_is_of_no_other() {
        let uid = |text: &str| Uid::from(text);
        assert_eq!(client(&uid("1"), &uid("2")), "decant:1:2");
        assert_ne!(client(&uid("a-b"), &uid("c")), client(&uid("a"), &uid("b-c")));
    }

    proptest! {
        #[test]
        fn no_name_is_longer_than_allowed(base in ".{0,300}", suffix in "[a-z0-9.-]{1,300}", max in HASH_CHARS + 1..300) {
            prop_assert!(joined(&base, &suffix, max).len() <= max);
        }

        #[test]
        fn a_service_is_a_dns_label_and_of_one_pod(one in "[a-z0-9][a-z0-9.-]{0,250}[a-z0-9]", other in "[a-z0-9][a-z0-9.-]{0,250}[a-z0-9]") {
            let label = service(&one);
            prop_assert!(label.len() <= LABEL_MAX_BYTES && !label.contains('.') && !label.ends_with('-'));
            prop_assert_eq!(one == other, label == service(&other));
        }

        #[test]
        fn a_secret_of_any_generation_is_called_like_its_pod_and_not_at_too_great_length(claim in "[a-z0-9.-]{1,253}", generation in 0_u32..=99) {
            let pod = target_pod(&claim);
            let name = secret_generation(&secret(&pod, "0123456789abcdef"), generation);
            prop_assert!(name.len() <= NAME_MAX_BYTES && name.starts_with(&pod), "{name}");
        }
    }
}
