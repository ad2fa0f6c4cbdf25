//! Gives tokens to those who may clone, and keeps everybody's hands off them.

use ring::rand::{SecureRandom, SystemRandom};
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::Gate;
use super::authorize::Authority;
use super::review::{Denial, Request, Verdict};
use crate::annotations::{CHECK_STATIC, EXTENDED_TOKEN, PRE_POPULATED, TOKEN};
use crate::permission::{Ask, Permission, check};
use crate::request::wanted;
use crate::resource::{DataVolume, Key};

/// Where the denial points to, also for a DataSource (contract 4.4).
const FIELD: &str = "spec.source.PVC.namespace";
/// What Kubernetes makes names of (k8s.io/apimachinery, `rand.String`): no vowels, no words.
const NAME_LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
/// As many as Kubernetes appends.
const SUFFIX_LEN: usize = 5;
/// What Kubernetes leaves of a `generateName`, so that a label can hold the result.
const PREFIX_MAX_LEN: usize = 63 - SUFFIX_LEN;

impl Gate {
    /// Answers the mutating webhook.
    pub(super) fn mutate(&self, request: &Request, now: OffsetDateTime) -> Verdict {
        let verdict = match request.operation.as_str() {
            "CREATE" => self.admit_new(request, now),
            "UPDATE" if request.user_info.username != self.own_user => self.guard(request, now),
            _ => Ok(Verdict::Allowed),
        };
        verdict.unwrap_or_else(|denied| denied)
    }

    /// Whatever the user wrote as a token goes; one of ours comes if he may clone from another namespace.
    fn admit_new(&self, request: &Request, now: OffsetDateTime) -> Result<Verdict, Verdict> {
        let dv = request.data_volume()?;
        let mut edit = Edit::of(&request.object);
        edit.annotation(EXTENDED_TOKEN, None);
        edit.annotation(TOKEN, None);
        // What is wrong with it the validating webhook says, in better words.
        let Ok(wanted) = wanted(&dv) else { return Ok(edit.finish()) };
        let user = &request.user_info;
        let authority = self
            .authorize(user, &wanted, &request.namespace)
            .map_err(|e| Denial::failed(format!("whether {} may clone is not known: {e}", user.username)))?;
        match authority {
            Authority::NoneNeeded => {}
            Authority::Given(source) => {
                let name = match dv.metadata.name.as_str() {
                    "" => edit.choose_name()?,
                    name => name.to_owned(),
                };
                let target = Key::new(&request.namespace, name);
                edit.annotation(TOKEN, Some(&self.keys.short(&source, &target, now)));
            }
            // Its claim is there already; nothing is cloned without a token.
            Authority::NoNamespace(_) | Authority::Missing(_) if is_filled_elsewhere(&dv) => {}
            Authority::NoNamespace(namespace) => {
                return Err(Denial::invalid(FIELD, format!("namespace {namespace:?} not found")));
            }
            Authority::Missing(namespace) => {
                let message = format!(
                    "User {} has insufficient permissions in clone source namespace {namespace}",
                    user.username
                );
                return Err(Denial::forbidden(FIELD, message));
            }
        }
        Ok(edit.finish())
    }

    /// Users do not change tokens. But where no token is good any more, a user who may clone gets a fresh one by
    /// any change: so a DataVolume that was made while the controller was away is not lost (contract 8, #56).
    fn guard(&self, request: &Request, now: OffsetDateTime) -> Result<Verdict, Verdict> {
        let mut edit = Edit::of(&request.object);
        for name in [TOKEN, EXTENDED_TOKEN] {
            edit.annotation(name, annotation(&request.old_object, name));
        }
        if let Some(token) = self.fresh_token(request, now) {
            edit.annotation(TOKEN, Some(&token));
        }
        Ok(edit.finish())
    }

    /// A new short token for a DataVolume that cannot go on without. Whatever fails here leaves things as they are.
    fn fresh_token(&self, request: &Request, now: OffsetDateTime) -> Option<String> {
        let dv = request.data_volume().ok()?;
        let is_done = request.old_object["status"]["phase"] == "Succeeded";
        if is_done || dv.metadata.is_deleting() || is_filled_elsewhere(&dv) {
            return None;
        }
        let wanted = wanted(&dv).ok()?;
        let source = self.source_claim(&wanted).ok()??;
        let target = dv.metadata.key();
        let known = check(&Ask {
            source: &source,
            target: &target,
            target_uid: &dv.metadata.uid,
            consent: None,
            short_token: annotation(&request.old_object, TOKEN),
            long_token: annotation(&request.old_object, EXTENDED_TOKEN),
            keys: &self.keys,
            now,
        });
        if !matches!(known, Permission::Denied(_)) {
            return None;
        }
        match self.authorize(&request.user_info, &wanted, &request.namespace) {
            Ok(Authority::Given(source)) => Some(self.keys.short(&source, &target, now)),
            _ => None,
        }
    }
}

/// Contract 4.4, "exempt".
fn is_filled_elsewhere(dv: &DataVolume) -> bool {
    [PRE_POPULATED, CHECK_STATIC].iter().any(|name| dv.metadata.annotation(name).is_some())
}

fn annotation<'o>(object: &'o Value, name: &str) -> Option<&'o str> {
    object["metadata"]["annotations"].get(name)?.as_str()
}

/// Collects changes to an object and writes only those that change something.
struct Edit<'o> {
    object: &'o Value,
    /// The last word on each annotation.
    annotations: Vec<(&'static str, Option<String>)>,
    name: Option<String>,
}

impl<'o> Edit<'o> {
    fn of(object: &'o Value) -> Self {
        Self { object, annotations: Vec::new(), name: None }
    }

    fn annotation(&mut self, name: &'static str, value: Option<&str>) {
        self.annotations.retain(|(known, _)| *known != name);
        self.annotations.push((name, value.map(str::to_owned)));
    }

    /// Names an object that has only a `generateName`: a token is for one name, and the API server would choose
    /// it only after us.
    fn choose_name(&mut self) -> Result<String, Verdict> {
        let prefix = self.object["metadata"]["generateName"].as_str().unwrap_or_default();
        let prefix: String = prefix.chars().take(PREFIX_MAX_LEN).collect();
        let mut random = [0; SUFFIX_LEN];
        SystemRandom::new().fill(&mut random).map_err(|_| Denial::failed("there are no random numbers"))?;
        let letter = |byte: u8| char::from(NAME_LETTERS[usize::from(byte) % NAME_LETTERS.len()]);
        let name = format!("{prefix}{}", random.map(letter).iter().collect::<String>());
        self.name = Some(name.clone());
        Ok(name)
    }

    fn finish(self) -> Verdict {
        let mut operations = Vec::new();
        if let Some(name) = self.name {
            operations.push(json!({"op": "add", "path": "/metadata/name", "value": name}));
        }
        let mut has_map = self.object["metadata"]["annotations"].is_object();
        for (name, value) in self.annotations {
            if annotation(self.object, name) == value.as_deref() {
                continue;
            }
            let path = format!("/metadata/annotations/{}", name.replace('~', "~0").replace('/', "~1"));
            match value {
                Some(value) => {
                    if !has_map {
                        operations.push(json!({"op": "add", "path": "/metadata/annotations", "value": {}}));
                        has_map = true;
                    }
                    operations.push(json!({"op": "add", "path": path, "value": value}));
                }
                None => operations.push(json!({"op": "remove", "path": path})),
            }
        }
        if operations.is_empty() { Verdict::Allowed } else { Verdict::Patched(operations) }
    }
}
