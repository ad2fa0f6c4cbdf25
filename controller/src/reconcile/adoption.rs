//! Whether a DataVolume may take over an existing claim (docs/protocol.md section 4.9).

use crate::objects::Meta;
use crate::objects::annotations::ALLOW_ADOPTION;

/// Whether `data_volume` may take over `claim`: the owner of the claim decides, or the operator's `policy` if the claim
/// has no annotation. The DataVolume's own annotation can only refuse. Otherwise its author could take ownership of
/// other users' claims, and thereby delete them.
pub(crate) fn is_allowed(claim: &Meta, data_volume: &Meta, policy: bool) -> bool {
    let by_owner = claim.annotation(ALLOW_ADOPTION).map_or(policy, |text| text == "true");
    by_owner && data_volume.annotation(ALLOW_ADOPTION) != Some("false")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(annotation: Option<&str>) -> Meta {
        let annotations = annotation.map(|text| (ALLOW_ADOPTION.to_owned(), text.to_owned()));
        Meta { annotations: annotations.into_iter().collect(), ..Meta::default() }
    }

    #[test]
    fn only_the_claim_or_the_operator_lets_a_claim_be_adopted() {
        for (claim, data_volume, policy, allowed) in [
            (None, None, false, false),
            (None, Some("true"), false, false),
            (Some("true"), None, false, true),
            (Some("true"), Some("false"), false, false),
            (Some("1"), Some("true"), false, false),
            (None, None, true, true),
            (Some("false"), Some("true"), true, false),
            (None, Some("false"), true, false),
        ] {
            let is_allowed = is_allowed(&meta(claim), &meta(data_volume), policy);
            assert_eq!(is_allowed, allowed, "{claim:?} {data_volume:?} {policy}");
        }
    }
}
