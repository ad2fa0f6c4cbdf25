//! The rules until the clone has its target claim (docs/protocol.md section 4.6 up to the PVC, 4.9).

use crate::objects::annotations::{CREATED_FOR, PRE_POPULATED};
use crate::pods::claim;
use crate::policy::Policy;
use crate::reconcile::observed::{Observed, Origin};
use crate::reconcile::permission::check::Permission;
use crate::reconcile::rules::kept;
use crate::reconcile::step::Step;
use crate::reconcile::{adoption, compatibility};

/// The step if no claim of this name exists.
pub(super) fn step(seen: &Observed, policy: &Policy) -> Step {
    let Some(dv) = &seen.data_volume else { return Step::Nothing };
    if let Origin::Invalid(invalid) = &seen.origin {
        return Step::Invalid(invalid.to_string());
    }
    // These cases read nothing from the source, so the source need not exist, and no permission is needed.
    if dv.metadata.annotation(PRE_POPULATED).is_some() {
        return Step::AwaitClaim;
    }
    if let Some(step) = kept::before(seen, dv, policy) {
        return step;
    }
    let key = match &seen.origin {
        Origin::Invalid(invalid) => return Step::Invalid(invalid.to_string()),
        Origin::Unresolved(why) => return Step::Unresolved(why.clone()),
        Origin::Withheld(why) => return Step::Denied(why.clone()),
        Origin::NotOurs(kind) => return Step::NotOurs(kind.clone()),
        Origin::None => return Step::Nothing,
        Origin::Claim(key) => key,
    };
    if let Some(step) = permission(seen) {
        return step;
    }
    let Some(source) = &seen.source else { return Step::NoSource(key.clone()) };
    let spec = match claim::claim_spec(dv, source, &seen.class_defaults, policy) {
        Ok(spec) => spec,
        Err(why) => return Step::Invalid(why),
    };
    match compatibility::before(dv, source, &spec) {
        Ok(()) => Step::MakeClaim,
        Err(why) => Step::Unfit(why),
    }
}

/// The step of a clone that lacks permission (docs/protocol.md section 4.4).
pub(super) fn permission(seen: &Observed) -> Option<Step> {
    match seen.permission.as_ref()? {
        Permission::SameNamespace | Permission::Consent | Permission::Granted | Permission::Token(_) => None,
        Permission::ExtendToken(_) => Some(Step::ExtendToken),
        // Also if the source does not exist: users who may not clone it must not learn that.
        Permission::Denied(why) => Some(Step::Denied(why.clone())),
    }
}

/// The step if a claim of this name exists that the DataVolume does not control (docs/protocol.md section 4.9, rows
/// pre-populated and adoption; 3.5, pitfall).
pub(super) fn foreign(seen: &Observed, policy: &Policy) -> Step {
    let (Some(dv), Some(claim)) = (&seen.data_volume, &seen.target) else { return Step::Nothing };
    let allowed = adoption::is_allowed(&claim.metadata, &dv.metadata, policy.claim_adoption);
    let made_for_us = claim.metadata.annotation(CREATED_FOR) == Some(dv.metadata.uid.as_str());
    let may_be_taken = seen.is_populated() || allowed && !made_for_us;
    if may_be_taken && claim.metadata.controller().is_none() {
        return Step::Adopt;
    }
    Step::Taken
}
