//! Whether a user may clone (docs/protocol.md section 4.4).

use serde::Deserialize;

use crate::api::cluster::ApiError;
use crate::objects::annotations::ALLOW_CLONE_TO;
use crate::objects::clone_request::{Wanted, resolve};
use crate::objects::{ClonedKind, ClonedObject, DataSource, Key, Kind, Meta, Object, Uid, decode};
use crate::reconcile::permission::check::consents;
use crate::reconcile::permission::rights;
use crate::token::asker::Asker;
use crate::webhook::gate::Gate;

/// Whether a user may clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Authority {
    /// No permission is needed, or the source is unknown.
    NoneNeeded,
    /// The user may clone this object, which is in another namespace.
    Given(ClonedObject),
    /// The user may, but the namespace does not exist.
    NoNamespace(String),
    /// The user may not. The message is the same whether the source exists or not.
    Missing(String),
}

impl Gate {
    /// Whether `user` may clone what is `wanted` into `namespace`.
    pub(super) fn authorize(
        &self,
        user: &Asker,
        wanted: &Wanted,
        namespace: &str,
    ) -> Result<Authority, ApiError> {
        let through = match wanted {
            Wanted::DataSource(key) if key.namespace != namespace => Some(key),
            _ => None,
        };
        let missing = |source: &str| {
            Authority::Missing(match through {
                None => {
                    format!(
                        "User {} has insufficient permissions in clone source namespace {source}",
                        user.username
                    )
                }
                Some(key) => format!(
                    "User {} has insufficient permissions in clone source namespace {}, or in the one that DataSource \
                     {key} refers to",
                    user.username, key.namespace
                ),
            })
        };
        let Some(source) = self.source_object(wanted)? else {
            // Only users who may clone everything in the namespace of the DataSource learn what exists there.
            let may_know = match through {
                Some(key) => {
                    let all = Key::new(&key.namespace, "");
                    rights::may_clone(&*self.cluster, user, &all, ClonedKind::Claim)?
                }
                None => true,
            };
            return Ok(if may_know { Authority::NoneNeeded } else { missing("") });
        };
        let home = source.key.namespace.clone();
        if home == namespace {
            return Ok(Authority::NoneNeeded);
        }
        if rights::may_clone(&*self.cluster, user, &source.key, source.kind)? {
            // Last, so that only users who may clone from a namespace learn whether it exists.
            return match found(self.cluster.get(Kind::Namespace, &Key::new("", &home)))? {
                Some(_) => Ok(Authority::Given(source)),
                None => Ok(Authority::NoNamespace(home)),
            };
        }
        Ok(match self.has_consent(&source, namespace)? {
            true => Authority::NoneNeeded,
            false => missing(&home),
        })
    }

    /// The claim or snapshot that would be read. A DataSource is resolved, because the right to clone is about the data and not
    /// about the name in the request. `None` if there is no such object yet or the source is of another kind; then
    /// the controller finds no permission.
    pub(super) fn source_object(&self, wanted: &Wanted) -> Result<Option<ClonedObject>, ApiError> {
        let mut next = match wanted {
            Wanted::Claim(_) | Wanted::Snapshot(_) | Wanted::NotOurs(_) => return Ok(wanted.object()),
            Wanted::DataSource(key) => key.clone(),
        };
        // A DataSource may refer to another one, but only once.
        for _ in 0..2 {
            let Some(value) = found(self.cluster.get(Kind::DataSource, &next))? else { return Ok(None) };
            let Ok(data_source) = decode::<DataSource>(value) else { return Ok(None) };
            match resolve(&data_source) {
                Ok(Wanted::DataSource(other)) => next = other,
                Ok(wanted) => return Ok(wanted.object()),
                Err(_) => return Ok(None),
            }
        }
        Ok(None)
    }

    /// The UID of the current object with this name.
    pub(super) fn source_uid(&self, source: &ClonedObject) -> Result<Option<Uid>, ApiError> {
        Ok(self.meta(source)?.map(|meta| meta.uid).filter(|uid| !uid.as_str().is_empty()))
    }

    fn has_consent(&self, source: &ClonedObject, namespace: &str) -> Result<bool, ApiError> {
        let meta = self.meta(source)?.unwrap_or_default();
        Ok(meta.annotation(ALLOW_CLONE_TO).is_some_and(|names| consents(names, namespace)))
    }

    fn meta(&self, source: &ClonedObject) -> Result<Option<Meta>, ApiError> {
        let object = found(self.cluster.get(source.kind.kind(), &source.key))?;
        Ok(object.and_then(|object| decode::<SourceMeta>(object).ok()).map(|source| source.metadata))
    }
}

/// What is read of a source.
#[derive(Default, Deserialize)]
#[serde(default)]
struct SourceMeta {
    metadata: Meta,
}

/// A missing object is not a failure.
pub(super) fn found(answer: Result<Object, ApiError>) -> Result<Option<Object>, ApiError> {
    match answer {
        Err(error) if error.is_not_found() => Ok(None),
        other => other.map(Some),
    }
}
