//! Whether a user may clone (contract 4.4).

use serde_json::{Value, json};

use super::Gate;
use super::review::UserInfo;
use crate::annotations::ALLOW_CLONE_TO;
use crate::cluster::ApiError;
use crate::permission::consents;
use crate::request::{Wanted, resolve};
use crate::resource::{Claim, DataSource, Key, Kind, Object, view};

/// What was found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Authority {
    /// Nothing has to be allowed, or nothing is known that could be.
    NoneNeeded,
    /// The user may clone this claim, which is in another namespace.
    Given(Key),
    /// The user may, but there is no such namespace.
    NoNamespace(String),
    /// The user may not clone out of this namespace.
    Missing(String),
}

impl Gate {
    /// Whether `user` may fill something in `namespace` with what is `wanted`.
    pub(super) fn authorize(
        &self,
        user: &UserInfo,
        wanted: &Wanted,
        namespace: &str,
    ) -> Result<Authority, ApiError> {
        let Some(source) = self.source_claim(wanted)? else { return Ok(Authority::NoneNeeded) };
        if source.namespace == namespace {
            return Ok(Authority::NoneNeeded);
        }
        if self.may_clone(user, &source)? {
            // Looked for last, so that nobody learns what namespaces there are.
            let home = Key::new("", &source.namespace);
            return match found(self.cluster.get(Kind::Namespace, &home))? {
                Some(_) => Ok(Authority::Given(source)),
                None => Ok(Authority::NoNamespace(source.namespace)),
            };
        }
        Ok(match self.has_consent(&source, namespace)? {
            true => Authority::NoneNeeded,
            false => Authority::Missing(source.namespace),
        })
    }

    /// The claim that would be read in the end: that of a DataSource is looked up, because the right to clone
    /// is about the data and not about the name by which they are asked for. `None` when there is none yet, or
    /// none of ours; the controller finds no permission then.
    pub(super) fn source_claim(&self, wanted: &Wanted) -> Result<Option<Key>, ApiError> {
        let mut next = match wanted {
            Wanted::Claim(claim) => return Ok(Some(claim.clone())),
            Wanted::NotOurs(_) => return Ok(None),
            Wanted::DataSource(key) => key.clone(),
        };
        // A DataSource may point to another one, which may not.
        for _ in 0..2 {
            let Some(value) = found(self.cluster.get(Kind::DataSource, &next))? else { return Ok(None) };
            let Ok(data_source) = view::<DataSource>(value) else { return Ok(None) };
            match resolve(&data_source) {
                Ok(Wanted::Claim(claim)) => return Ok(Some(claim)),
                Ok(Wanted::DataSource(other)) => next = other,
                Ok(Wanted::NotOurs(_)) | Err(_) => return Ok(None),
            }
        }
        Ok(None)
    }

    /// The right made for it, or the right to make a pod that reads the claim, which comes to the same.
    fn may_clone(&self, user: &UserInfo, source: &Key) -> Result<bool, ApiError> {
        let mine = json!({
            "verb": "create", "group": "cdi.kubevirt.io", "resource": "datavolumes", "subresource": "source",
            "namespace": source.namespace, "name": source.name,
        });
        let pods = json!({
            "verb": "create", "group": "", "resource": "pods",
            "namespace": source.namespace, "name": source.name,
        });
        Ok(self.may(user, &mine)? || self.may(user, &pods)?)
    }

    fn may(&self, user: &UserInfo, attributes: &Value) -> Result<bool, ApiError> {
        let mut spec = json!(user);
        spec["resourceAttributes"] = attributes.clone();
        let review = json!({
            "apiVersion": Kind::SubjectAccessReview.api_version(),
            "kind": Kind::SubjectAccessReview.name(),
            "metadata": {},
            "spec": spec,
        });
        let answer = self.cluster.create(Kind::SubjectAccessReview, &review)?.value();
        let status = &answer["status"];
        Ok(status["allowed"] == true && status["denied"] != true)
    }

    fn has_consent(&self, source: &Key, namespace: &str) -> Result<bool, ApiError> {
        let claim = found(self.cluster.get(Kind::PersistentVolumeClaim, source))?;
        let claim: Claim = claim.and_then(|claim| view(claim).ok()).unwrap_or_default();
        Ok(claim.metadata.annotation(ALLOW_CLONE_TO).is_some_and(|names| consents(names, namespace)))
    }
}

/// An object that is not there is an answer and no failure.
pub(super) fn found(answer: Result<Object, ApiError>) -> Result<Option<Object>, ApiError> {
    match answer {
        Err(error) if error.is_not_found() => Ok(None),
        other => other.map(Some),
    }
}
