//! Gives tokens to those who may clone, and keeps everybody's hands off them.

use ring::rand::{SecureRandom, SystemRandom};
use serde_json::json;
use time::OffsetDateTime;

use crate::api::cluster::ApiError;
use crate::objects::annotations::{CHECK_STATIC, EXTENDED_TOKEN, PRE_POPULATED, TOKEN};
use crate::objects::clone_request::wanted;
use crate::objects::{DataVolume, Key, Uid};
use crate::reconcile::permission::check::{Ask, Finding, Permission, TargetKind, check};
use crate::reconcile::permission::rights;
use crate::token::grant::Grant;
use crate::webhook::authorize::Authority;
use crate::webhook::callers::Caller;
use crate::webhook::gate::Gate;
use crate::webhook::review::{Denial, Operation, Request, Reviewed, Verdict};

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
    pub(super) fn mutate(&self, request: &Request<'_>, caller: Caller, now: OffsetDateTime) -> Verdict {
        let verdict = match request.operation.as_str() {
            "CREATE" => self.admit_new(request, caller, now),
            "UPDATE" if request.asker.username != self.own_user => self.guard(request, caller, now),
            _ => Ok(Verdict::Allowed),
        };
        verdict.unwrap_or_else(|denied| denied)
    }

    /// Whatever the user wrote as a token goes; one of ours comes if he may clone from another namespace.
    fn admit_new(
        &self,
        request: &Request<'_>,
        caller: Caller,
        now: OffsetDateTime,
    ) -> Result<Verdict, Verdict> {
        let dv = request.data_volume()?;
        let object = request.reviewed()?;
        let mut edit = Edit::of(&object);
        edit.annotation(EXTENDED_TOKEN, None);
        edit.annotation(TOKEN, None);
        // What is wrong with it the validating webhook says, in better words.
        let Ok(wanted) = wanted(&dv) else { return Ok(edit.finish()) };
        let user = &request.asker;
        let unknown = |e| Denial::failed(format!("whether {} may clone is not known: {e}", user.username));
        match self.authorize(user, &wanted, &request.namespace).map_err(unknown)? {
            Authority::NoneNeeded => {}
            Authority::Given(source) => {
                user.fits().map_err(|why| Denial::invalid(FIELD, why))?;
                let name = match dv.metadata.name.as_str() {
                    "" => edit.choose_name()?,
                    name => name.to_owned(),
                };
                let target = Key::new(&request.namespace, name);
                let source_uid = self.told_uid(&source, caller).map_err(unknown)?;
                let grant =
                    Grant { source: &source, source_uid: source_uid.as_ref(), target: &target, asker: user };
                edit.annotation(TOKEN, Some(&self.keys.short(&grant, caller.is_proven(), now)));
            }
            // Its claim is there already; nothing is cloned without a token.
            Authority::NoNamespace(_) | Authority::Missing(_) if is_filled_elsewhere(&dv) => {}
            Authority::NoNamespace(namespace) => {
                return Err(Denial::invalid(FIELD, format!("namespace {namespace:?} not found")));
            }
            Authority::Missing(message) => return Err(Denial::forbidden(FIELD, message)),
        }
        Ok(edit.finish())
    }

    /// The source's UID for a token that `caller` gets to see. One who may have made up whose question it is does not
    /// learn from the token whether the claim exists; the controller binds it, after it has asked for the right again.
    fn told_uid(&self, source: &Key, caller: Caller) -> Result<Option<Uid>, ApiError> {
        if caller.is_proven() { self.source_uid(source) } else { Ok(None) }
    }

    /// Users do not change tokens. But where no token is good any more, a user who may clone gets a fresh one by
    /// any change: so a DataVolume that was made while the controller was away is not lost (contract 8, #56).
    fn guard(&self, request: &Request<'_>, caller: Caller, now: OffsetDateTime) -> Result<Verdict, Verdict> {
        let (object, old) = (request.reviewed()?, request.reviewed_before());
        let mut edit = Edit::of(&object);
        for name in [TOKEN, EXTENDED_TOKEN] {
            edit.annotation(name, old.annotation(name));
        }
        if let Some(token) = self.fresh_token(request, &old, caller, now) {
            edit.annotation(TOKEN, Some(&token));
        }
        Ok(edit.finish())
    }

    /// A new short token for a DataVolume that cannot go on without: it has none that is good, or its user may not
    /// clone any more and the one who changes it may. Whatever fails here leaves things as they are.
    fn fresh_token(
        &self,
        request: &Request<'_>,
        old: &Reviewed<'_>,
        caller: Caller,
        now: OffsetDateTime,
    ) -> Option<String> {
        let dv = request.data_volume().ok()?;
        if old.phase == "Succeeded" || dv.metadata.is_deleting() || is_filled_elsewhere(&dv) {
            return None;
        }
        let wanted = wanted(&dv).ok()?;
        let source = self.source_claim(&wanted).ok()??;
        let target = dv.metadata.key();
        if source.namespace == target.namespace {
            return None;
        }
        let source_uid = self.source_uid(&source).ok()?;
        let known = check(
            &Ask {
                source: &source,
                source_uid: source_uid.as_ref(),
                through: None,
                target: &target,
                target_uid: &dv.metadata.uid,
                target_kind: TargetKind::DataVolume,
                consent: None,
                short_token: old.annotation(TOKEN),
                long_token: old.annotation(EXTENDED_TOKEN),
                now,
            },
            &self.keys,
        );
        let asker = match known {
            Finding::Settled(Permission::Denied(_)) => None,
            Finding::Settled(Permission::Token(asker)) | Finding::Provisional(asker) => Some(asker),
            Finding::Settled(_) => return None,
            // One that the controller may refuse is replaced: its configurations may be put right by now.
            Finding::Extend(extension) if extension.unproven_since.is_some() => None,
            Finding::Extend(extension) => Some(extension.asker),
        };
        if let Some(asker) = asker
            && rights::may_clone(&*self.cluster, &asker, &source).ok()?
        {
            return None;
        }
        match self.authorize(&request.asker, &wanted, &request.namespace) {
            Ok(Authority::Given(source)) if request.asker.fits().is_ok() => {
                let (asker, told) = (&request.asker, source_uid.as_ref().filter(|_| caller.is_proven()));
                let grant = Grant { source: &source, source_uid: told, target: &target, asker };
                Some(self.keys.short(&grant, caller.is_proven(), now))
            }
            _ => None,
        }
    }
}

/// Contract 4.4, "exempt".
fn is_filled_elsewhere(dv: &DataVolume) -> bool {
    [PRE_POPULATED, CHECK_STATIC].iter().any(|name| dv.metadata.annotation(name).is_some())
}

/// Collects changes to an object and writes only those that change something.
struct Edit<'o> {
    object: &'o Reviewed<'o>,
    /// The last word on each annotation.
    annotations: Vec<(&'static str, Option<String>)>,
    name: Option<String>,
}

impl<'o> Edit<'o> {
    fn of(object: &'o Reviewed<'o>) -> Self {
        Self { object, annotations: Vec::new(), name: None }
    }

    fn annotation(&mut self, name: &'static str, value: Option<&str>) {
        self.annotations.retain(|(known, _)| *known != name);
        self.annotations.push((name, value.map(str::to_owned)));
    }

    /// Names an object that has only a `generateName`: a token is for one name, and the API server would choose
    /// it only after us.
    fn choose_name(&mut self) -> Result<String, Verdict> {
        let prefix: String = self.object.generate_name.chars().take(PREFIX_MAX_LEN).collect();
        let mut random = [0; SUFFIX_LEN];
        SystemRandom::new().fill(&mut random).map_err(|_| Denial::failed("there are no random numbers"))?;
        let letter = |byte: u8| {
            NAME_LETTERS.get(usize::from(byte) % NAME_LETTERS.len()).map_or('x', |letter| char::from(*letter))
        };
        let name = format!("{prefix}{}", random.map(letter).iter().collect::<String>());
        self.name = Some(name.clone());
        Ok(name)
    }

    fn finish(self) -> Verdict {
        let add = |path: String, value| Operation { op: "add", path, value: Some(value) };
        let mut operations = Vec::new();
        if let Some(name) = self.name {
            operations.push(add("/metadata/name".to_owned(), json!(name)));
        }
        let mut has_map = self.object.annotations.is_some();
        for (name, value) in self.annotations {
            if self.object.annotation(name) == value.as_deref() {
                continue;
            }
            let path = format!("/metadata/annotations/{}", name.replace('~', "~0").replace('/', "~1"));
            match value {
                Some(value) => {
                    if !has_map {
                        operations.push(add("/metadata/annotations".to_owned(), json!({})));
                        has_map = true;
                    }
                    operations.push(add(path, json!(value)));
                }
                None => operations.push(Operation { op: "remove", path, value: None }),
            }
        }
        if operations.is_empty() { Verdict::Allowed } else { Verdict::Patched(operations) }
    }
}
