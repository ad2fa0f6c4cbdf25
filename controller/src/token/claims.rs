//! The claims of a token. A claim that is missing, unknown, repeated or of another type makes the token invalid.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::objects::{ClonedKind, Key, Uid};
use crate::token::asker::Asker;
use crate::token::grant::{Grant, Granted, TokenRefusal};

/// The maximum difference between the clocks of webhook and controller.
pub(super) const LEEWAY: time::Duration = time::Duration::seconds(10);
/// The issuer of short tokens.
const ISSUER_SHORT: &str = "cdi-apiserver";
/// The issuer of long tokens.
const ISSUER_LONG: &str = "cdi-deployment";
/// The only operation.
const OPERATION: &str = "Clone";

/// The claims of docs/protocol.md section 4.4, with the additions of Decant: `asker`, `callerIsProven`,
/// `params.sourceUid`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Claims {
    iss: String,
    /// Seconds since 1970, as all times of a token.
    iat: i64,
    nbf: i64,
    exp: i64,
    operation: String,
    /// The name of the source.
    name: String,
    /// The namespace of the source.
    namespace: String,
    resource: Resource,
    params: Params,
    /// The user. Versions up to 0.1.0 did not write it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    asker: Option<Asker>,
    /// In short tokens only: whether the API server had authenticated itself to the webhook.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    caller_is_proven: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Resource {
    group: String,
    version: String,
    resource: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Params {
    target_namespace: String,
    target_name: String,
    /// The UID of the target; in long tokens only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    uid: Option<Uid>,
    /// The UID of the source, if it existed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source_uid: Option<Uid>,
}

/// The time during which a token is valid.
pub(super) struct Validity {
    pub(super) from: OffsetDateTime,
    pub(super) until: OffsetDateTime,
}

impl Resource {
    fn of(kind: ClonedKind) -> Self {
        let kind = kind.kind();
        Self {
            group: kind.group().to_owned(),
            version: kind.version().to_owned(),
            resource: kind.plural().to_owned(),
        }
    }

    /// The kind that it names, if that can be cloned.
    fn kind(&self) -> Option<ClonedKind> {
        [ClonedKind::Claim, ClonedKind::Snapshot].into_iter().find(|kind| *self == Self::of(*kind))
    }
}

impl Claims {
    /// Claims of a short token.
    pub(super) fn short(grant: &Grant<'_>, caller_is_proven: bool, validity: &Validity) -> Self {
        Self { caller_is_proven, ..Self::new(ISSUER_SHORT, grant, None, validity) }
    }

    /// Claims of a long token, for the target `uid`.
    pub(super) fn long(grant: &Grant<'_>, uid: &Uid, validity: &Validity) -> Self {
        Self::new(ISSUER_LONG, grant, Some(uid), validity)
    }

    fn new(issuer: &str, grant: &Grant<'_>, uid: Option<&Uid>, validity: &Validity) -> Self {
        let from_secs = validity.from.unix_timestamp();
        Self {
            iss: issuer.to_owned(),
            iat: from_secs,
            nbf: from_secs,
            exp: validity.until.unix_timestamp(),
            operation: OPERATION.to_owned(),
            name: grant.source.name.clone(),
            namespace: grant.source.namespace.clone(),
            resource: Resource::of(grant.source_kind),
            params: Params {
                target_namespace: grant.target.namespace.clone(),
                target_name: grant.target.name.clone(),
                uid: uid.cloned(),
                source_uid: grant.source_uid.cloned(),
            },
            asker: Some(grant.asker.clone()),
            caller_is_proven: false,
        }
    }

    #[cfg(test)]
    pub(super) fn without_asker(self) -> Self {
        Self { asker: None, ..self }
    }

    /// The middle part of a token, before encoding.
    pub(super) fn to_json(&self) -> Vec<u8> {
        // Serializing these types cannot fail; an empty body would be refused.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// The claims in the middle part of a token, if it has claims.
    pub(super) fn from_json(json: &[u8]) -> Option<Self> {
        serde_json::from_slice(json).ok()
    }

    /// What the claims grant for a clone of `source` to `target`: as a long token for the target `uid`, or, without
    /// `uid`, as a short token. The caller compares kind and UID of the source.
    pub(super) fn check(
        self,
        source: &Key,
        target: &Key,
        uid: Option<&Uid>,
        now: OffsetDateTime,
    ) -> Result<Granted, TokenRefusal> {
        let issuer = if uid.is_some() { ISSUER_LONG } else { ISSUER_SHORT };
        let is_for_clones = self.operation == OPERATION;
        if self.iss != issuer || !is_for_clones || self.params.uid.is_some() != uid.is_some() {
            return Err(TokenRefusal::OtherKind);
        }
        let Some(source_kind) = self.resource.kind() else { return Err(TokenRefusal::OtherKind) };
        let Some(asker) = self.asker else { return Err(TokenRefusal::WithoutAsker) };
        if now.unix_timestamp() > self.exp.saturating_add(LEEWAY.whole_seconds()) {
            return Err(TokenRefusal::Expired);
        }
        if now.unix_timestamp() < self.nbf.saturating_sub(LEEWAY.whole_seconds()) {
            return Err(TokenRefusal::NotYetValid);
        }
        if self.namespace != source.namespace || self.name != source.name {
            return Err(TokenRefusal::OtherSource);
        }
        if self.params.target_namespace != target.namespace || self.params.target_name != target.name {
            return Err(TokenRefusal::OtherTarget);
        }
        if self.params.uid.as_ref() != uid {
            return Err(TokenRefusal::OtherUid);
        }
        let written = OffsetDateTime::from_unix_timestamp(self.iat).map_err(|_| TokenRefusal::Malformed)?;
        Ok(Granted {
            asker,
            source_kind,
            source_uid: self.params.source_uid,
            written,
            caller_is_proven: self.caller_is_proven,
        })
    }
}
