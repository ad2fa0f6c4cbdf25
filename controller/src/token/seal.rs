//! Seals: signatures of annotations that the controller wrote and will trust later, because only it has the key.
//!
//! A seal is an HMAC over a purpose and a list of fields. The length precedes each field, so that different lists never
//! have the same bytes. The sealed bytes start with a byte that starts no token, so that a seal is never a token.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use crate::token::key::TokenKey;

/// The prefix of all sealed bytes. A token starts with a letter (its header in base64).
const DOMAIN: &[u8] = b"\0decant seal 1\0";

/// The purpose of a seal: a seal is valid for one purpose only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A pod belongs to a clone (`pods/identity.rs`).
    Pod,
    /// A claim was filled with this content (`reconcile/outcome.rs`).
    CloneOutcome,
    /// A pod was created for a claim (`pods/made.rs`).
    MadePods,
    /// A prime PVC was created for a claim (`reconcile/population/record.rs`).
    Prime,
    /// A PVC was restored from a snapshot for a claim (`reconcile/population/record.rs`).
    Restored,
    /// A VolumeSnapshot of a source in use was taken for a claim (`reconcile/population/record.rs`).
    SourceSnapshot,
    /// A volume was filled for a claim (`reconcile/population/record.rs`).
    PopulatedVolume,
}

impl TokenKey {
    /// The seal over `fields`.
    pub(crate) fn seal(&self, purpose: Purpose, fields: &[&str]) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(self.sign(&sealed(purpose, fields)))
    }

    /// Whether `seal` is valid for `fields`, compared in constant time.
    pub(crate) fn has_sealed(&self, purpose: Purpose, fields: &[&str], seal: &str) -> bool {
        BASE64_URL_SAFE_NO_PAD.decode(seal).is_ok_and(|tag| self.has_signed(&sealed(purpose, fields), &tag))
    }
}

fn sealed(purpose: Purpose, fields: &[&str]) -> Vec<u8> {
    let purpose = match purpose {
        Purpose::Pod => "pod",
        Purpose::CloneOutcome => "outcome",
        Purpose::MadePods => "made",
        Purpose::Prime => "prime",
        Purpose::Restored => "restored",
        Purpose::SourceSnapshot => "snapshot",
        Purpose::PopulatedVolume => "volume",
    };
    let mut bytes = DOMAIN.to_vec();
    for field in [purpose].iter().chain(fields) {
        bytes.extend_from_slice(&(field.len() as u64).to_be_bytes());
        bytes.extend_from_slice(field.as_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_seal_is_valid_only_for_its_fields_its_purpose_and_its_key() {
        let key = TokenKey::new(&[7; 32]);
        let seal = key.seal(Purpose::Pod, &["ab", "c"]);
        assert!(key.has_sealed(Purpose::Pod, &["ab", "c"], &seal));
        assert!(!key.has_sealed(Purpose::Pod, &["a", "bc"], &seal));
        assert!(!key.has_sealed(Purpose::Pod, &["ab", "c", ""], &seal));
        assert!(!key.has_sealed(Purpose::CloneOutcome, &["ab", "c"], &seal));
        assert!(!TokenKey::new(&[8; 32]).has_sealed(Purpose::Pod, &["ab", "c"], &seal));
    }

    proptest! {
        #[test]
        fn no_other_text_is_a_valid_seal(seal in ".{0,60}", fields in prop::collection::vec(".{0,20}", 0..5)) {
            let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
            prop_assert!(!TokenKey::new(&[7; 32]).has_sealed(Purpose::Pod, &fields, &seal));
        }
    }
}
