//! `AdmissionReview` (admission.k8s.io/v1): the fields that are used.
//!
//! Other fields are skipped without parsing, whatever their depth and size. Both objects stay text in the body until a
//! part of them is needed.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::objects::annotations::{
    ALLOW_ADOPTION, BANDWIDTH_LIMIT, CHECK_STATIC, EXTENDED_TOKEN, PRE_POPULATED, STREAMS, TOKEN, VERIFY,
};
use crate::objects::data_volume::DataVolumeSpec;
use crate::objects::{DECODE_LIMIT_BYTES, DataVolume, Meta, Uid, Unreadable, decode_within};
use crate::token::asker::Asker;
use crate::webhook::excerpt::excerpt;
use crate::webhook::strict::Strict;

const API_VERSION: &str = "admission.k8s.io/v1";
const KIND: &str = "AdmissionReview";
/// Enough for some thousand groups. Parsed, it takes up to eight times as much memory.
const USER_INFO_MAX_BYTES: usize = 64 << 10;
/// The annotations that are used; all others are skipped.
const READ: [&str; 8] =
    [TOKEN, EXTENDED_TOKEN, PRE_POPULATED, CHECK_STATIC, ALLOW_ADOPTION, BANDWIDTH_LIMIT, STREAMS, VERIFY];

/// The request of the API server.
#[derive(Debug, Default)]
pub(super) struct Request<'b> {
    /// Repeated in the response.
    pub(super) uid: String,
    pub(super) operation: String,
    pub(super) namespace: String,
    /// The user.
    pub(super) asker: Asker,
    /// The new object.
    pub(super) object: Option<&'b RawValue>,
    /// The previous object.
    pub(super) old_object: Option<&'b RawValue>,
}

/// The fields of a DataVolume in a review that are used.
#[derive(Debug, Default)]
pub(super) struct Reviewed<'b> {
    pub(super) name: String,
    pub(super) generate_name: String,
    pub(super) uid: String,
    pub(super) is_deleting: bool,
    /// The annotations that are used; `None` without a map of annotations.
    pub(super) annotations: Option<BTreeMap<&'static str, String>>,
    pub(super) spec: Option<&'b RawValue>,
    pub(super) phase: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawReview<'b> {
    kind: Option<String>,
    api_version: Option<String>,
    #[serde(borrow)]
    request: Option<Strict<RawRequest<'b>>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawRequest<'b> {
    uid: Option<String>,
    operation: Option<String>,
    namespace: Option<String>,
    #[serde(borrow)]
    user_info: Option<&'b RawValue>,
    #[serde(borrow)]
    object: Option<&'b RawValue>,
    #[serde(borrow)]
    old_object: Option<&'b RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct UserInfo {
    username: Option<String>,
    uid: Option<String>,
    groups: Option<Vec<String>>,
    extra: Option<BTreeMap<String, Option<Vec<String>>>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawObject<'b> {
    #[serde(borrow)]
    metadata: Option<&'b RawValue>,
    #[serde(borrow)]
    spec: Option<&'b RawValue>,
    #[serde(borrow)]
    status: Option<&'b RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawMeta {
    name: Option<String>,
    generate_name: Option<String>,
    uid: Option<String>,
    deletion_timestamp: Option<IgnoredAny>,
    annotations: Option<KnownAnnotations>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawStatus {
    phase: Option<String>,
}

struct KnownAnnotations(BTreeMap<&'static str, String>);

impl<'de> Deserialize<'de> for KnownAnnotations {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(AnnotationsVisitor).map(KnownAnnotations)
    }
}

struct AnnotationsVisitor;

impl<'de> Visitor<'de> for AnnotationsVisitor {
    type Value = BTreeMap<&'static str, String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("annotations")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut kept = BTreeMap::new();
        while let Some(name) = entries.next_key::<String>()? {
            match READ.into_iter().find(|read| *read == name) {
                Some(read) => kept.extend(entries.next_value::<Option<String>>()?.map(|text| (read, text))),
                None => drop(entries.next_value::<IgnoredAny>()?),
            }
        }
        Ok(kept)
    }
}

/// The decision.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Verdict {
    /// Allowed unchanged.
    Allowed,
    /// Allowed with these operations, at least one.
    Patched(Vec<Operation>),
    /// Denied.
    Denied(Denial),
}

/// An operation of a JSON patch (RFC 6902).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Operation {
    pub(super) op: &'static str,
    pub(super) path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) value: Option<Value>,
}

/// The reason of a denial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Denial {
    pub(super) code: u16,
    /// The reason of Kubernetes for the code.
    pub(super) reason: &'static str,
    pub(super) field: String,
    pub(super) message: String,
}

impl Denial {
    /// The object is invalid.
    pub(super) fn invalid(field: impl Into<String>, message: impl Into<String>) -> Verdict {
        Self::verdict(422, "Invalid", field.into(), message.into())
    }

    /// The user lacks the right.
    pub(super) fn forbidden(field: impl Into<String>, message: impl Into<String>) -> Verdict {
        Self::verdict(403, "Forbidden", field.into(), message.into())
    }

    /// The decision is not possible now.
    pub(super) fn failed(message: impl Into<String>) -> Verdict {
        Self::verdict(500, "InternalError", String::new(), message.into())
    }

    fn verdict(code: u16, reason: &'static str, field: String, message: String) -> Verdict {
        Verdict::Denied(Self { code, reason, field, message })
    }
}

/// Parses the request. The error is for the log of the API server.
pub(super) fn parse(body: &[u8]) -> Result<Request<'_>, String> {
    let bad = |what: &str, e: &serde_json::Error| format!("{what}: {}", excerpt(&e.to_string()));
    let Strict(review) =
        serde_json::from_slice::<Strict<RawReview<'_>>>(body).map_err(|e| bad("not a review", &e))?;
    if review.kind.as_deref() != Some(KIND) || review.api_version.as_deref() != Some(API_VERSION) {
        return Err(format!("not an {KIND} of {API_VERSION}"));
    }
    let Some(Strict(request)) = review.request else { return Err("the review has no request".to_owned()) };
    let uid = request.uid.unwrap_or_default();
    if uid.is_empty() {
        return Err("the request has no uid".to_owned());
    }
    let user = request.user_info.map_or("{}", RawValue::get);
    if user.len() > USER_INFO_MAX_BYTES {
        return Err(format!("userInfo has {} bytes, more than {USER_INFO_MAX_BYTES}", user.len()));
    }
    let Strict(user) =
        serde_json::from_str::<Strict<UserInfo>>(user).map_err(|e| bad("cannot read userInfo", &e))?;
    let extra = user.extra.unwrap_or_default();
    Ok(Request {
        uid,
        operation: request.operation.unwrap_or_default(),
        namespace: request.namespace.unwrap_or_default(),
        asker: Asker {
            username: user.username.unwrap_or_default(),
            uid: user.uid.unwrap_or_default(),
            groups: user.groups.unwrap_or_default(),
            extra: extra.into_iter().map(|(name, values)| (name, values.unwrap_or_default())).collect(),
        },
        object: request.object,
        old_object: request.old_object,
    })
}

impl<'b> Request<'b> {
    /// The new object; a denial if it cannot be read.
    pub(super) fn reviewed(&self) -> Result<Reviewed<'b>, Verdict> {
        reviewed(self.object).map_err(unreadable)
    }

    /// The previous object; empty if there is none or it cannot be read.
    pub(super) fn reviewed_before(&self) -> Reviewed<'b> {
        reviewed(self.old_object).unwrap_or_default()
    }

    /// The new DataVolume, without fields that users do not set.
    pub(super) fn data_volume(&self) -> Result<DataVolume, Verdict> {
        let object = self.reviewed()?;
        let spec: DataVolumeSpec = match object.spec {
            Some(spec) => decode_within(spec, DECODE_LIMIT_BYTES)
                .map_err(|e| unreadable(Unreadable { field: joined("spec", &e.field), ..e }.to_string()))?,
            None => DataVolumeSpec::default(),
        };
        for (part, why) in [
            ("source", spec.source.as_ref().and_then(|part| part.0.as_ref().err())),
            ("sourceRef", spec.source_ref.as_ref().and_then(|part| part.0.as_ref().err())),
            ("pvc", spec.pvc.as_ref().and_then(|part| part.0.as_ref().err())),
            ("storage", spec.storage.as_ref().and_then(|part| part.0.as_ref().err())),
        ] {
            if let Some(e) = why {
                let field = joined(&format!("spec.{part}"), &e.field);
                return Err(unreadable(Unreadable { field, why: e.why.clone() }.to_string()));
            }
        }
        let annotations = object.annotations.unwrap_or_default();
        Ok(DataVolume {
            metadata: Meta {
                name: object.name,
                namespace: self.namespace.clone(),
                uid: Uid(object.uid),
                deletion_timestamp: object.is_deleting.then(String::new),
                annotations: annotations.into_iter().map(|(name, text)| (name.to_owned(), text)).collect(),
                ..Meta::default()
            },
            spec,
            ..DataVolume::default()
        })
    }
}

impl Reviewed<'_> {
    /// The annotation `name`, which must be in [`READ`].
    pub(super) fn annotation(&self, name: &str) -> Option<&str> {
        self.annotations.as_ref()?.get(name).map(String::as_str)
    }
}

fn reviewed(object: Option<&RawValue>) -> Result<Reviewed<'_>, String> {
    let text = |e: serde_json::Error| e.to_string();
    let Some(object) = object else { return Ok(Reviewed::default()) };
    let Strict(object) = serde_json::from_str::<Strict<RawObject<'_>>>(object.get()).map_err(text)?;
    let Strict(meta) = match object.metadata {
        Some(meta) => serde_json::from_str::<Strict<RawMeta>>(meta.get()).map_err(text)?,
        None => Strict::default(),
    };
    // Only the controller writes it; an invalid status is ignored.
    let status = object.status.and_then(|raw| serde_json::from_str::<RawStatus>(raw.get()).ok());
    Ok(Reviewed {
        name: meta.name.unwrap_or_default(),
        generate_name: meta.generate_name.unwrap_or_default(),
        uid: meta.uid.unwrap_or_default(),
        is_deleting: meta.deletion_timestamp.is_some(),
        annotations: meta.annotations.map(|KnownAnnotations(kept)| kept),
        spec: object.spec,
        phase: status.unwrap_or_default().phase.unwrap_or_default(),
    })
}

/// `field` of the part `part`.
fn joined(part: &str, field: &str) -> String {
    if field.is_empty() { part.to_owned() } else { format!("{part}.{field}") }
}

fn unreadable(why: impl AsRef<str>) -> Verdict {
    Denial::invalid("spec", format!("cannot read the DataVolume: {}", excerpt(why.as_ref())))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ReviewAnswer<'a> {
    api_version: &'static str,
    kind: &'static str,
    response: Response<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Response<'a> {
    uid: &'a str,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<ReviewStatus<'a>>,
}

#[derive(Serialize)]
struct ReviewStatus<'a> {
    status: &'static str,
    code: u16,
    reason: &'static str,
    message: &'a str,
    details: Details<'a>,
}

#[derive(Serialize)]
struct Details<'a> {
    causes: Vec<Cause<'a>>,
}

#[derive(Serialize)]
struct Cause<'a> {
    reason: &'static str,
    field: &'a str,
    message: &'a str,
}

/// The response body for the request with this `uid`.
pub(super) fn answer(uid: &str, verdict: &Verdict) -> String {
    let mut response = Response { uid, allowed: true, patch_type: None, patch: None, status: None };
    match verdict {
        Verdict::Allowed => {}
        Verdict::Patched(operations) => {
            response.patch_type = Some("JSONPatch");
            // Serializing strings cannot fail.
            let patch = serde_json::to_string(operations).unwrap_or_default();
            response.patch = Some(BASE64_STANDARD.encode(patch));
        }
        Verdict::Denied(Denial { code, reason, field, message }) => {
            let cause = Cause { reason: "FieldValueInvalid", field, message };
            response.allowed = false;
            response.status = Some(ReviewStatus {
                status: "Failure",
                code: *code,
                reason,
                message,
                details: Details { causes: if field.is_empty() { Vec::new() } else { vec![cause] } },
            });
        }
    }
    serde_json::to_string(&ReviewAnswer { api_version: API_VERSION, kind: KIND, response })
        .unwrap_or_default()
}

#[cfg(test)]
mod tests;
