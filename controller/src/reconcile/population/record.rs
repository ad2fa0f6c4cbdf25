//! What the controller records on a target PVC under its seal: which PVC is the prime, which volume is complete, which
//! PVC was restored from a snapshot, and which snapshot was taken of a source in use.

use serde_json::{Map, Value};

use crate::objects::annotations::{POPULATED_VOLUME, PRIME, RESTORED, SOURCE_SNAPSHOT};
use crate::objects::{Meta, Uid};
use crate::token::key::TokenKey;
use crate::token::seal::Purpose;

/// The annotation that records on the target with this metadata that the controller created `prime` for it.
pub fn prime_annotation(target: &Meta, prime: &Meta, key: &TokenKey) -> String {
    sealed(Purpose::Prime, target, prime, key)
}

/// Whether the target with this metadata records `prime`.
pub fn records_prime(target: &Meta, prime: &Meta, key: &TokenKey) -> bool {
    is_sealed(target.annotation(PRIME), Purpose::Prime, target, prime, key)
}

/// The annotation that records on the target with this metadata that the controller created `restored` from a snapshot
/// as the source of its clone.
pub fn restored_annotation(target: &Meta, restored: &Meta, key: &TokenKey) -> String {
    sealed(Purpose::Restored, target, restored, key)
}

/// Whether the target with this metadata records `restored`.
pub fn records_restored(target: &Meta, restored: &Meta, key: &TokenKey) -> bool {
    is_sealed(target.annotation(RESTORED), Purpose::Restored, target, restored, key)
}

/// The record of `claim` on `target`: its namespace, its UID and a seal.
fn sealed(purpose: Purpose, target: &Meta, claim: &Meta, key: &TokenKey) -> String {
    let fields = [target.uid.as_str(), &claim.namespace, claim.uid.as_str()];
    format!("{} {} {}", claim.namespace, claim.uid, key.seal(purpose, &fields))
}

fn is_sealed(text: Option<&str>, purpose: Purpose, target: &Meta, claim: &Meta, key: &TokenKey) -> bool {
    let Some(text) = text else { return false };
    let mut words = text.split(' ');
    let (Some(namespace), Some(uid), Some(seal), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return false;
    };
    namespace == claim.namespace
        && uid == claim.uid.as_str()
        && key.has_sealed(purpose, &[target.uid.as_str(), namespace, uid], seal)
}

/// The annotation of a target before the snapshot of its source is created: a snapshot may exist.
pub const SNAPSHOT_INTENT: &str = "intended";

/// The VolumeSnapshot that the controller took of a source in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotRecord {
    /// Its namespace.
    pub namespace: String,
    /// Its UID.
    pub uid: Uid,
    /// The UID of the source claim.
    pub source: Uid,
}

impl SnapshotRecord {
    /// The record on the target with this metadata, if `key` sealed it for exactly this target.
    pub fn of(target: &Meta, key: &TokenKey) -> Option<Self> {
        let mut words = target.annotation(SOURCE_SNAPSHOT)?.split(' ');
        let (Some(namespace), Some(uid), Some(source), Some(seal), None) =
            (words.next(), words.next(), words.next(), words.next(), words.next())
        else {
            return None;
        };
        let record = Self { namespace: namespace.to_owned(), uid: Uid::from(uid), source: Uid::from(source) };
        key.has_sealed(Purpose::SourceSnapshot, &record.fields(target), seal).then_some(record)
    }

    /// The annotation that records it on the target with this metadata.
    pub fn annotation(&self, target: &Meta, key: &TokenKey) -> String {
        let seal = key.seal(Purpose::SourceSnapshot, &self.fields(target));
        format!("{} {} {} {seal}", self.namespace, self.uid, self.source)
    }

    fn fields<'a>(&'a self, target: &'a Meta) -> [&'a str; 4] {
        [target.uid.as_str(), &self.namespace, self.uid.as_str(), self.source.as_str()]
    }
}

/// A complete volume, which is handed over to the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PopulatedVolume {
    /// Its name.
    pub name: String,
    /// The prime PVC that it was filled for.
    pub prime: Uid,
    /// Whether the target is bound to it and it has its own reclaim policy again, so that nothing is left to do.
    pub is_handed_over: bool,
}

/// The word in the record of a volume that was handed over.
const HANDED_OVER: &str = "handed-over";

impl PopulatedVolume {
    /// The record on the target with this metadata, if `key` sealed it for exactly this target.
    pub fn of(target: &Meta, key: &TokenKey) -> Option<Self> {
        let words: Vec<&str> = target.annotation(POPULATED_VOLUME)?.split(' ').collect();
        let (name, prime, state, seal) = match words[..] {
            [name, prime, seal] => (name, prime, "", seal),
            [name, prime, HANDED_OVER, seal] => (name, prime, HANDED_OVER, seal),
            _ => return None,
        };
        key.has_sealed(Purpose::PopulatedVolume, &[target.uid.as_str(), name, prime, state], seal).then(
            || Self { name: name.to_owned(), prime: Uid::from(prime), is_handed_over: state == HANDED_OVER },
        )
    }

    /// The annotation that records it on the target with this metadata.
    pub fn annotation(&self, target: &Meta, key: &TokenKey) -> Map<String, Value> {
        let state = if self.is_handed_over { HANDED_OVER } else { "" };
        let seal = key
            .seal(Purpose::PopulatedVolume, &[target.uid.as_str(), &self.name, self.prime.as_str(), state]);
        let words = [self.name.as_str(), self.prime.as_str(), state, &seal];
        let text = words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
        Map::from_iter([(POPULATED_VOLUME.to_owned(), text.into())])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> TokenKey {
        TokenKey::new(&[5; 32])
    }

    fn meta(uid: &str, annotations: &[(&str, String)]) -> Meta {
        let annotations =
            annotations.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        Meta { uid: Uid::from(uid), annotations, ..Meta::default() }
    }

    #[test]
    fn a_target_records_one_prime_and_its_record_is_of_no_use_on_another_target() {
        let prime = |namespace: &str, uid: &str| Meta { namespace: namespace.to_owned(), ..meta(uid, &[]) };
        let text = prime_annotation(&meta("t", &[]), &prime("s", "p"), &key());
        let target = meta("t", &[(PRIME, text.clone())]);
        assert!(records_prime(&target, &prime("s", "p"), &key()));
        assert!(!records_prime(&target, &prime("s", "q"), &key()));
        assert!(!records_prime(&target, &prime("r", "p"), &key()));
        assert!(!records_prime(&meta("u", &[(PRIME, text.clone())]), &prime("s", "p"), &key()));
        let forged = text.replacen(" p ", " q ", 1);
        assert!(!records_prime(&meta("t", &[(PRIME, forged)]), &prime("s", "q"), &key()));
        assert!(!records_prime(&meta("t", &[(PRIME, "s p".to_owned())]), &prime("s", "p"), &key()));
        let as_restored = meta("t", &[(RESTORED, text)]);
        assert!(!records_restored(&as_restored, &prime("s", "p"), &key()), "a prime is not a source");
        let text = restored_annotation(&meta("t", &[]), &prime("s", "p"), &key());
        assert!(records_restored(&meta("t", &[(RESTORED, text)]), &prime("s", "p"), &key()));
    }

    #[test]
    fn a_target_records_one_snapshot_of_one_source() {
        let record =
            SnapshotRecord { namespace: "s".to_owned(), uid: Uid::from("v"), source: Uid::from("g") };
        let text = record.annotation(&meta("t", &[]), &key());
        let of = |uid: &str, text: &str| {
            SnapshotRecord::of(&meta(uid, &[(SOURCE_SNAPSHOT, text.to_owned())]), &key())
        };
        assert_eq!(of("t", &text), Some(record));
        assert_eq!(of("u", &text), None);
        for (from, to) in [("s v ", "r v "), (" v ", " w "), (" g ", " h ")] {
            assert_eq!(of("t", &text.replacen(from, to, 1)), None, "{to}");
        }
        for odd in ["", SNAPSHOT_INTENT, "s v g", &format!("{text} more")] {
            assert_eq!(of("t", odd), None, "{odd}");
        }
    }

    #[test]
    fn a_volume_is_recorded_for_one_target() {
        for is_handed_over in [false, true] {
            let volume = PopulatedVolume { name: "pv-1".to_owned(), prime: Uid::from("p"), is_handed_over };
            let text =
                volume.annotation(&meta("t", &[]), &key())[POPULATED_VOLUME].as_str().unwrap().to_owned();
            let of = |uid: &str, text: &str| {
                PopulatedVolume::of(&meta(uid, &[(POPULATED_VOLUME, text.to_owned())]), &key())
            };
            assert_eq!(of("t", &text), Some(volume));
            assert_eq!(of("u", &text), None);
            assert_eq!(of("t", &text.replace("pv-1", "pv-2")), None);
            for odd in ["", "pv-1", "pv-1 p", &format!("{text} more")] {
                assert_eq!(of("t", odd), None, "{odd}");
            }
            assert_eq!(of("t", &text.replace("pv-1 p ", "pv-1 p handed-over ")), None);
            assert_eq!(of("t", &text.replace(" handed-over", "")).is_some(), !is_handed_over);
        }
    }
}
