//! The validating webhook: denies invalid DataVolumes (docs/protocol.md section 4.3).

use crate::objects::annotations::POPULATED_FOR;
use crate::objects::{Claim, DataVolume, Kind, clone_request, decode};
use crate::reconcile::adoption;
use crate::webhook::authorize::found;
use crate::webhook::gate::Gate;
use crate::webhook::review::{Denial, Request, Verdict};
use crate::webhook::spec;

impl Gate {
    /// Answers the validating webhook.
    pub(super) fn validate(&self, request: &Request<'_>) -> Verdict {
        let checked = match request.operation.as_str() {
            "CREATE" => self.check_new(request),
            "UPDATE" => check_change(request),
            _ => Ok(()),
        };
        checked.err().unwrap_or(Verdict::Allowed)
    }

    fn check_new(&self, request: &Request<'_>) -> Result<(), Verdict> {
        let dv = request.data_volume()?;
        clone_request::validate(&dv).map_err(|bad| Denial::invalid(bad.field, bad.message))?;
        if dv.metadata.name.is_empty() {
            return Ok(()); // The API server will append random letters, and no claim has that name.
        }
        let key = dv.metadata.key();
        let claim = found(self.cluster.get(Kind::PersistentVolumeClaim, &key))
            .map_err(|e| Denial::failed(format!("cannot check whether claim {key} exists: {e}")))?;
        let Some(claim) = claim else { return Ok(()) };
        let claim = decode(claim).unwrap_or_default();
        if self.may_take(&claim, &dv) {
            return Ok(());
        }
        Err(Denial::invalid("metadata.name", format!("Destination PVC {key} already exists")))
    }

    /// Whether a claim with the name of the DataVolume may exist before the DataVolume.
    fn may_take(&self, claim: &Claim, dv: &DataVolume) -> bool {
        let is_adoptable = adoption::is_allowed(&claim.metadata, &dv.metadata, self.claim_adoption);
        let is_filled = claim.metadata.annotation(POPULATED_FOR) == Some(&dv.metadata.name);
        let is_owned = claim
            .metadata
            .controller()
            .is_some_and(|owner| owner.kind == "DataVolume" && owner.name == dv.metadata.name);
        is_filled || is_adoptable || is_owned
    }
}

/// A DataVolume that is older than the webhook can be changed and deleted.
fn check_change(request: &Request<'_>) -> Result<(), Verdict> {
    match spec::is_same(request.reviewed()?.spec, request.reviewed_before().spec) {
        true => Ok(()),
        false => Err(Denial::invalid("spec", "Cannot update DataVolume Spec")),
    }
}
