//! Asks the API server for the ReferenceGrants of a namespace.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::api::cluster::{ApiError, Cluster, ListParams};
use crate::api::listing;
use crate::objects::reference_grant::ReferenceGrant;
use crate::objects::{ClonedKind, Key, Kind, decode};

/// How long an answer counts, so that many claims that are created together cost one request. A grant that is withdrawn
/// counts no longer than this; before a pod is created, the API server is asked again.
const ANSWER_LIFE: Duration = Duration::from_secs(5);
/// The longest name of a namespace.
const NAMESPACE_MAX_BYTES: usize = 63;

/// The ReferenceGrants of some namespaces.
pub(crate) struct Grants {
    cluster: Arc<dyn Cluster>,
    /// By namespace.
    known: Mutex<HashMap<String, GrantAnswer>>,
}

struct GrantAnswer {
    asked: Instant,
    grants: Arc<[ReferenceGrant]>,
}

impl Grants {
    pub(crate) fn new(cluster: Arc<dyn Cluster>) -> Self {
        Self { cluster, known: Mutex::default() }
    }

    /// Whether a ReferenceGrant allows the CloneSources of `namespace` to clone `source`, which is of `kind`. Without the definition of
    /// ReferenceGrants, or without the right to list them, none does.
    pub(crate) fn allow(&self, source: &Key, kind: ClonedKind, namespace: &str) -> Result<bool, ApiError> {
        if !is_namespace(&source.namespace) {
            return Ok(false);
        }
        let now = Instant::now();
        let known = self
            .known()
            .get(&source.namespace)
            .filter(|answer| answer.counts(now))
            .map(|a| Arc::clone(&a.grants));
        let grants = match known {
            Some(grants) => grants,
            None => self.ask(&source.namespace, now)?,
        };
        Ok(grants.iter().any(|grant| grant.allows_clone(source, kind, namespace)))
    }

    /// Asks again at the next call.
    pub(crate) fn forget(&self, namespace: &str) {
        self.known().remove(namespace);
    }

    fn ask(&self, namespace: &str, now: Instant) -> Result<Arc<[ReferenceGrant]>, ApiError> {
        let grants: Arc<[ReferenceGrant]> = match self.list(Kind::ReferenceGrant, namespace) {
            Err(e) if e.is_not_found() => match self.list(Kind::ReferenceGrantV1, namespace) {
                Err(e) if e.is_not_found() => Vec::new(),
                listed => listed?,
            },
            listed => listed?,
        }
        .into();
        let mut known = self.known();
        known.retain(|_, answer| answer.counts(now));
        known.insert(namespace.to_owned(), GrantAnswer { asked: now, grants: Arc::clone(&grants) });
        Ok(grants)
    }

    fn list(&self, kind: Kind, namespace: &str) -> Result<Vec<ReferenceGrant>, ApiError> {
        let params = ListParams { namespace: Some(namespace.to_owned()), ..ListParams::default() };
        let mut grants = Vec::new();
        // A grant that cannot be read allows nothing.
        let listed =
            listing::list(&*self.cluster, kind, &params, |object| grants.extend(decode(object).ok()));
        match listed {
            Ok(_) => Ok(grants),
            Err(e) if e.is_forbidden() => {
                log::debug!("cannot list the ReferenceGrants of namespace {namespace}: {e}");
                Ok(Vec::new())
            }
            Err(e) => Err(e),
        }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, GrantAnswer>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl GrantAnswer {
    fn counts(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.asked) < ANSWER_LIFE
    }
}

/// Whether `name` can be that of a namespace. Users choose it, and it becomes part of the path of a request; an empty one
/// would mean all namespaces.
fn is_namespace(name: &str) -> bool {
    let is_label = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !name.is_empty() && name.len() <= NAMESPACE_MAX_BYTES && name.chars().all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::webhook::stub::Stub;
    use serde_json::{Value, json};

    fn grant(target: &str) -> Value {
        json!({ "spec": {
            "from": [{ "group": "decant.dev", "kind": "CloneSource", "namespace": target }],
            "to": [{ "group": "", "kind": "PersistentVolumeClaim" }],
        } })
    }

    fn grants(change: impl FnOnce(&mut Stub)) -> (Grants, Arc<Stub>) {
        let mut stub = Stub::default();
        change(&mut stub);
        let stub = Arc::new(stub);
        (Grants::new(stub.clone()), stub)
    }

    fn golden() -> Key {
        Key::new("images", "golden")
    }

    #[test]
    fn a_grant_in_the_sources_namespace_allows_and_one_elsewhere_does_not() {
        for kind in [Kind::ReferenceGrant, Kind::ReferenceGrantV1] {
            let (grants, stub) = grants(|stub| {
                stub.served.extend([kind]);
                stub.put(kind, "images", "for-team", grant("team"));
                stub.put(kind, "team", "for-itself", grant("self"));
            });
            assert_eq!(grants.allow(&golden(), ClonedKind::Claim, "team"), Ok(true), "{kind:?}");
            assert_eq!(grants.allow(&golden(), ClonedKind::Claim, "self"), Ok(false), "{kind:?}");
            let listed = stub.listed.lock().unwrap();
            assert!(listed.iter().all(|params| params.namespace.as_deref() == Some("images")), "{listed:?}");
        }
    }

    #[test]
    fn many_questions_about_a_namespace_cost_one_request_until_it_is_forgotten() {
        let (grants, stub) = grants(|stub| {
            stub.served.push(Kind::ReferenceGrant);
            stub.put(Kind::ReferenceGrant, "images", "for-team", grant("team"));
        });
        for _ in 0..50 {
            assert_eq!(grants.allow(&golden(), ClonedKind::Claim, "team"), Ok(true));
            assert_eq!(grants.allow(&Key::new("images", "silver"), ClonedKind::Claim, "other"), Ok(false));
        }
        assert_eq!(stub.listed.lock().unwrap().len(), 1);
        grants.forget("images");
        assert_eq!(grants.allow(&golden(), ClonedKind::Claim, "team"), Ok(true));
        assert_eq!(stub.listed.lock().unwrap().len(), 2);
    }

    #[test]
    fn without_the_definition_nothing_is_granted_and_a_failure_is_an_error() {
        let (none, _) = grants(|_| ());
        assert_eq!(none.allow(&golden(), ClonedKind::Claim, "team"), Ok(false));
        let (down, _) = grants(|stub| {
            stub.served.push(Kind::ReferenceGrant);
            stub.is_down = true;
        });
        assert!(down.allow(&golden(), ClonedKind::Claim, "team").is_err());
    }

    #[test]
    fn no_request_is_made_for_what_cannot_be_a_namespace() {
        let (grants, stub) = grants(|stub| stub.served.push(Kind::ReferenceGrant));
        for namespace in ["", "a/../b", "..", "a%2fb", "A", &"a".repeat(64)] {
            assert_eq!(
                grants.allow(&Key::new(namespace, "golden"), ClonedKind::Claim, "team"),
                Ok(false),
                "{namespace}"
            );
        }
        assert!(stub.listed.lock().unwrap().is_empty());
    }
}
