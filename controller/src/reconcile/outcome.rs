//! The outcome of a clone, as the controller recorded it on the claim.
//!
//! The annotations of a claim can be written by its users, restored from a backup or copied from another claim. So the
//! record that a clone succeeded, with its digest, is valid only with the controller's seal over the record and the
//! claim's UID.

use serde_json::{Map, Value};

use crate::objects::annotations::{DIGEST, NOT_KEPT, OUTCOME, POD_PHASE, SNAPSHOT_TIME};
use crate::objects::{Meta, PodPhase};
use crate::token::key::TokenKey;
use crate::token::seal::Purpose;

/// What the target pod reported when it succeeded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CloneOutcome {
    /// The digest that source and target agree on; CDI's target reports none.
    pub digest: Option<String>,
    /// The attributes that the target could not keep.
    pub not_kept: Option<String>,
    /// When the snapshot was taken that was cloned because the source was in use; `None` if the source itself was cloned.
    pub snapshot_time: Option<String>,
}

impl CloneOutcome {
    /// The outcome recorded on the claim with this metadata, if `key` sealed it for exactly this claim.
    pub fn of(claim: &Meta, key: &TokenKey) -> Option<Self> {
        if claim.annotation(POD_PHASE) != Some(PodPhase::Succeeded.as_str()) {
            return None;
        }
        let text = |name| claim.annotation(name).map(str::to_owned);
        let outcome =
            Self { digest: text(DIGEST), not_kept: text(NOT_KEPT), snapshot_time: text(SNAPSHOT_TIME) };
        let seal = claim.annotation(OUTCOME)?;
        key.has_sealed(Purpose::CloneOutcome, &outcome.fields(claim), seal).then_some(outcome)
    }

    /// The annotations of the claim that record it; null removes an earlier value.
    pub fn annotations(&self, claim: &Meta, key: &TokenKey) -> Map<String, Value> {
        let said = |text: &Option<String>| text.clone().map_or(Value::Null, Value::from);
        Map::from_iter([
            (POD_PHASE.to_owned(), PodPhase::Succeeded.as_str().into()),
            (DIGEST.to_owned(), said(&self.digest)),
            (NOT_KEPT.to_owned(), said(&self.not_kept)),
            (SNAPSHOT_TIME.to_owned(), said(&self.snapshot_time)),
            (OUTCOME.to_owned(), key.seal(Purpose::CloneOutcome, &self.fields(claim)).into()),
        ])
    }

    /// The sealed fields. An empty annotation is equivalent to a missing one. Without a snapshot they are those of earlier
    /// versions, whose seals stay valid.
    fn fields<'a>(&'a self, claim: &'a Meta) -> Vec<&'a str> {
        let text = |text: &'a Option<String>| text.as_deref().unwrap_or_default();
        let always = [claim.uid.as_str(), text(&self.digest), text(&self.not_kept)];
        always.into_iter().chain(self.snapshot_time.as_deref().filter(|time| !time.is_empty())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::Uid;

    fn key() -> TokenKey {
        TokenKey::new(&[5; 32])
    }

    fn claim(outcome: &CloneOutcome) -> Meta {
        let mut claim = Meta { uid: Uid::from("1"), ..Meta::default() };
        for (name, value) in outcome.annotations(&claim, &key()) {
            claim.annotations.extend(value.as_str().map(|text| (name, text.to_owned())));
        }
        claim
    }

    fn verified() -> CloneOutcome {
        CloneOutcome { digest: Some("decant1:7:ab".to_owned()), ..CloneOutcome::default() }
    }

    #[test]
    fn an_outcome_survives_its_claim() {
        let of_snapshot =
            CloneOutcome { snapshot_time: Some("2026-01-01T12:00:00Z".to_owned()), ..verified() };
        for outcome in [verified(), of_snapshot, CloneOutcome::default()] {
            assert_eq!(CloneOutcome::of(&claim(&outcome), &key()), Some(outcome));
        }
    }

    #[test]
    fn an_outcome_of_another_claim_or_another_digest_is_none() {
        let mut other_claim = claim(&verified());
        other_claim.uid = Uid::from("2");
        let mut other_digest = claim(&verified());
        other_digest.annotations.insert(DIGEST.to_owned(), "decant1:7:cd".to_owned());
        let mut added = claim(&CloneOutcome::default());
        added.annotations.insert(NOT_KEPT.to_owned(), "xattrs 1".to_owned());
        let mut of_snapshot = claim(&verified());
        of_snapshot.annotations.insert(SNAPSHOT_TIME.to_owned(), "2026-01-01T12:00:00Z".to_owned());
        let mut unsealed = claim(&verified());
        unsealed.annotations.remove(OUTCOME);
        for changed in [other_claim, other_digest, added, of_snapshot, unsealed] {
            assert_eq!(CloneOutcome::of(&changed, &key()), None, "{changed:?}");
        }
    }
}
