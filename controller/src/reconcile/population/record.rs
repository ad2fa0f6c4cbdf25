//! What the controller records on a target PVC under its seal: which PVC is the prime, and which volume is complete.

use serde_json::{Map, Value};

use crate::objects::annotations::{POPULATED_VOLUME, PRIME};
use crate::objects::{Meta, Uid};
use crate::token::key::TokenKey;
use crate::token::seal::Purpose;

/// The annotation that records `prime` on the target with this metadata.
pub fn prime_annotation(target: &Meta, prime: &Uid, key: &TokenKey) -> String {
    format!("{prime} {}", key.seal(Purpose::Prime, &[target.uid.as_str(), prime.as_str()]))
}

/// Whether the target with this metadata records `prime`.
pub fn records_prime(target: &Meta, prime: &Uid, key: &TokenKey) -> bool {
    let sealed = target.annotation(PRIME).and_then(|text| text.split_once(' '));
    sealed.is_some_and(|(uid, seal)| {
        uid == prime.as_str() && key.has_sealed(Purpose::Prime, &[target.uid.as_str(), uid], seal)
    })
}

/// A complete volume, which is handed over to the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PopulatedVolume {
    /// Its name.
    pub name: String,
    /// The prime PVC that it was filled for.
    pub prime: Uid,
}

impl PopulatedVolume {
    /// The record on the target with this metadata, if `key` sealed it for exactly this target.
    pub fn of(target: &Meta, key: &TokenKey) -> Option<Self> {
        let mut words = target.annotation(POPULATED_VOLUME)?.split(' ');
        let (Some(name), Some(prime), Some(seal), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return None;
        };
        key.has_sealed(Purpose::PopulatedVolume, &[target.uid.as_str(), name, prime], seal)
            .then(|| Self { name: name.to_owned(), prime: Uid::from(prime) })
    }

    /// The annotation that records it on the target with this metadata.
    pub fn annotation(&self, target: &Meta, key: &TokenKey) -> Map<String, Value> {
        let fields = [target.uid.as_str(), &self.name, self.prime.as_str()];
        let text = format!("{} {} {}", self.name, self.prime, key.seal(Purpose::PopulatedVolume, &fields));
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
        let text = prime_annotation(&meta("t", &[]), &Uid::from("p"), &key());
        let target = meta("t", &[(PRIME, text.clone())]);
        assert!(records_prime(&target, &Uid::from("p"), &key()));
        assert!(!records_prime(&target, &Uid::from("q"), &key()));
        assert!(!records_prime(&meta("u", &[(PRIME, text.clone())]), &Uid::from("p"), &key()));
        let forged = text.replacen('p', "q", 1);
        assert!(!records_prime(&meta("t", &[(PRIME, forged)]), &Uid::from("q"), &key()));
        assert!(!records_prime(&meta("t", &[(PRIME, "p".to_owned())]), &Uid::from("p"), &key()));
    }

    #[test]
    fn a_volume_is_recorded_for_one_target() {
        let volume = PopulatedVolume { name: "pv-1".to_owned(), prime: Uid::from("p") };
        let text = volume.annotation(&meta("t", &[]), &key())[POPULATED_VOLUME].as_str().unwrap().to_owned();
        let of = |uid: &str, text: &str| {
            PopulatedVolume::of(&meta(uid, &[(POPULATED_VOLUME, text.to_owned())]), &key())
        };
        assert_eq!(of("t", &text), Some(volume));
        assert_eq!(of("u", &text), None);
        assert_eq!(of("t", &text.replace("pv-1", "pv-2")), None);
        for odd in ["", "pv-1", "pv-1 p", &format!("{text} more")] {
            assert_eq!(of("t", odd), None, "{odd}");
        }
    }
}
