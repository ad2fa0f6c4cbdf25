//! The controller's decision whether a clone may be made: from its annotations, and from requests to the API server
//! that confirm them.

use std::sync::Arc;

use crate::api::cluster::{ApiError, Cluster};
use crate::objects::{ClonedKind, Key};
use crate::reconcile::permission::check::{
    Ask, Finding, Permission, TargetKind, check, not_guarded, revoked,
};
use crate::reconcile::permission::grants::Grants;
use crate::reconcile::permission::guarded::Guarded;
use crate::reconcile::permission::rights;
use crate::token::asker::Asker;
use crate::token::grant::Grant;
use crate::token::key::TokenKey;

/// Decides whether clones may be made.
pub struct Judge {
    cluster: Arc<dyn Cluster>,
    keys: Arc<TokenKey>,
    guarded: Guarded,
    grants: Grants,
}

impl Judge {
    /// A judge that asks `cluster`, and accepts tokens signed with `keys`.
    pub fn new(cluster: Arc<dyn Cluster>, keys: Arc<TokenKey>, guarded: Guarded) -> Self {
        let grants = Grants::new(Arc::clone(&cluster));
        Self { cluster, keys, guarded, grants }
    }

    /// Whether the clone may be made. If annotations settle that, the API server is not asked. A token that is new, or
    /// was issued before its source existed, costs a few calls. If nothing else allows a clone for a CloneSource, the
    /// ReferenceGrants of the source's namespace are listed. The error is a call that failed.
    pub fn permission(&self, ask: &Ask<'_>) -> Result<Permission, ApiError> {
        let permission = self.by_annotations(ask)?;
        let may_be_granted =
            matches!(permission, Permission::Denied(_)) && ask.target_kind == TargetKind::CloneSource;
        if may_be_granted && self.grants.allow(ask.source, ask.source_kind, &ask.target.namespace)? {
            return Ok(Permission::Granted);
        }
        Ok(permission)
    }

    /// The denial, if the permission for a clone that a ReferenceGrant allowed is gone. Asks the API server.
    pub fn withdrawn(&self, ask: &Ask<'_>) -> Result<Option<Permission>, ApiError> {
        self.grants.forget(&ask.source.namespace);
        let permission = self.permission(ask)?;
        Ok(matches!(permission, Permission::Denied(_)).then_some(permission))
    }

    fn by_annotations(&self, ask: &Ask<'_>) -> Result<Permission, ApiError> {
        let (asker, extension) = match check(ask, &self.keys) {
            Finding::Settled(permission) => return Ok(permission),
            Finding::Provisional(asker) => (asker, None),
            Finding::Extend(extension) => {
                if let Some(written) = extension.unproven_since
                    && let Err(why) = self.guarded.check(written)
                {
                    return Ok(Permission::Denied(not_guarded(ask, &why)));
                }
                (extension.asker, Some(extension.is_bound))
            }
        };
        // The webhook checked the right recently, and for exactly this claim.
        let is_known = extension == Some(true);
        if !is_known && !self.may_clone(&asker, ask.source, ask.source_kind)? {
            return Ok(Permission::Denied(revoked(ask, &asker)));
        }
        if extension.is_none() {
            return Ok(Permission::Token(asker));
        }
        let grant = Grant {
            source: ask.source,
            source_kind: ask.source_kind,
            source_uid: ask.source_uid,
            target: ask.target,
            asker: &asker,
        };
        Ok(Permission::ExtendToken(self.keys.long(&grant, ask.target_uid, ask.now)))
    }

    /// Checks again whether `asker` may clone `source`, because rights can be withdrawn and users can be removed.
    pub fn may_clone(&self, asker: &Asker, source: &Key, kind: ClonedKind) -> Result<bool, ApiError> {
        rights::may_clone(&*self.cluster, asker, source, kind)
    }
}

#[cfg(test)]
mod tests;
