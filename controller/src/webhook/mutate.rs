//! The mutating webhook: issues tokens to users who may clone, and protects tokens against changes.

use ring::rand::{SecureRandom, SystemRandom};
use serde_json::json;
use time::OffsetDateTime;

use crate::api::cluster::ApiError;
use crate::objects::annotations::{CHECK_STATIC, EXTENDED_TOKEN, PRE_POPULATED, TOKEN};
use crate::objects::clone_request::wanted;
use crate::objects::{ClonedObject, DataVolume, Key, Uid};
use crate::reconcile::permission::check::{Ask, Finding, Permission, TargetKind, check};
use crate::reconcile::permission::rights;
use crate::token::grant::Grant;
use crate::webhook::authorize::Authority;
use crate::webhook::callers::Caller;
use crate::webhook::gate::Gate;
use crate::webhook::review::{Denial, Operation, Request, Reviewed, Verdict};

/// The field of a denial, also for a DataSource (docs/protocol.md section 4.4).
const FIELD: &str = "spec.source.PVC.namespace";
/// The letters of generated names (k8s.io/apimachinery, `rand.String`): without vowels, to avoid words.
const NAME_LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
/// The number of letters that Kubernetes appends.
const SUFFIX_LEN: usize = 5;
/// Kubernetes cuts a `generateName` to this length, so that the name fits into a label.
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

    /// Removes tokens that the user wrote; adds a token if the user may clone from another namespace.
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
        // The validating webhook reports the problem with a better message.
        let Ok(wanted) = wanted(&dv) else { return Ok(edit.finish()) };
        let user = &request.asker;
        let unknown = |e| Denial::failed(format!("cannot check whether {} may clone: {e}", user.username));
        match self.authorize(user, &wanted, &request.namespace).map_err(unknown)? {
            Authority::NoneNeeded => {}
            Authority::Given(source) => {
                user.fits().map_err(|why| Denial::invalid(FIELD, why))?;
                let name = match dv.metadata.name.as_str() {
                    "" => edit.choose_name()?,
                    name => name.to_owned(),
                };
                let target = Key::new(&request.namespace, name);
                let source_uid = self.visible_uid(&source, caller).map_err(unknown)?;
                let grant = Grant {
                    source: &source.key,
                    source_kind: source.kind,
                    source_uid: source_uid.as_ref(),
                    target: &target,
                    asker: user,
                };
                edit.annotation(TOKEN, Some(&self.keys.short(&grant, caller.is_proven(), now)));
            }
            // Its claim already exists; nothing is cloned without a token.
            Authority::NoNamespace(_) | Authority::Missing(_) if is_filled_elsewhere(&dv) => {}
            Authority::NoNamespace(namespace) => {
                return Err(Denial::invalid(FIELD, format!("namespace {namespace:?} not found")));
            }
            Authority::Missing(message) => return Err(Denial::forbidden(FIELD, message)),
        }
        Ok(edit.finish())
    }

    /// The UID of the source for a token that `caller` can read. An unknown caller may have forged the user, so the
    /// token must not reveal whether the claim exists; the controller adds the UID after it has checked the right
    /// again.
    fn visible_uid(&self, source: &ClonedObject, caller: Caller) -> Result<Option<Uid>, ApiError> {
        if caller.is_proven() { self.source_uid(source) } else { Ok(None) }
    }

    /// Users cannot change tokens. But if no token is valid any more, any change by a user who may clone adds a new
    /// one: so a DataVolume that was created while the controller was unavailable is not lost (docs/migrate-from-cdi.md
    /// row 56).
    fn guard(&self, request: &Request<'_>, caller: Caller, now: OffsetDateTime) -> Result<Verdict, Verdict> {
        let object = request.reviewed()?;
        let old = request.reviewed_before();
        let mut edit = Edit::of(&object);
        for name in [TOKEN, EXTENDED_TOKEN] {
            edit.annotation(name, old.annotation(name));
        }
        if let Some(token) = self.fresh_token(request, &old, caller, now) {
            edit.annotation(TOKEN, Some(&token));
        }
        Ok(edit.finish())
    }

    /// A new short token for a DataVolume that needs one: it has no valid token, or its user may not clone any more and
    /// the user who changes it may. On any failure the tokens stay as they are.
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
        let source = self.source_object(&wanted).ok()??;
        let target = dv.metadata.key();
        if source.key.namespace == target.namespace {
            return None;
        }
        let source_uid = self.source_uid(&source).ok()?;
        let known = check(
            &Ask {
                source: &source.key,
                source_kind: source.kind,
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
            // The controller may refuse this token. It is replaced: the webhook configurations may be correct by now.
            Finding::Extend(extension) if extension.unproven_since.is_some() => None,
            Finding::Extend(extension) => Some(extension.asker),
        };
        if let Some(asker) = asker
            && rights::may_clone(&*self.cluster, &asker, &source.key, source.kind).ok()?
        {
            return None;
        }
        match self.authorize(&request.asker, &wanted, &request.namespace) {
            Ok(Authority::Given(source)) if request.asker.fits().is_ok() => {
                let grant = Grant {
                    source: &source.key,
                    source_kind: source.kind,
                    source_uid: source_uid.as_ref().filter(|_| caller.is_proven()),
                    target: &target,
                    asker: &request.asker,
                };
                Some(self.keys.short(&grant, caller.is_proven(), now))
            }
            _ => None,
        }
    }
}

/// docs/protocol.md section 4.4, "exempt".
fn is_filled_elsewhere(dv: &DataVolume) -> bool {
    [PRE_POPULATED, CHECK_STATIC].iter().any(|name| dv.metadata.annotation(name).is_some())
}

/// Collects changes to an object and writes only those that change something.
struct Edit<'o> {
    object: &'o Reviewed<'o>,
    /// The last change of each annotation.
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

    /// Chooses the name of an object with a `generateName`: a token is for one name, and the API server chooses it only
    /// after the webhook.
    fn choose_name(&mut self) -> Result<String, Verdict> {
        let prefix: String = self.object.generate_name.chars().take(PREFIX_MAX_LEN).collect();
        let mut random = [0; SUFFIX_LEN];
        SystemRandom::new()
            .fill(&mut random)
            .map_err(|_| Denial::failed("cannot generate random numbers"))?;
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
