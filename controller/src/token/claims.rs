//! What a token says, typed. A claim that is missing, unknown, twice there or of another type makes it no token.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::objects::{Key, Uid};
use crate::token::asker::Asker;
use crate::token::grant::{Grant, Granted, TokenRefusal};

/// How far the clocks of webhook and controller may be apart.
pub(super) const LEEWAY: time::Duration = time::Duration::seconds(10);
/// Who writes short tokens.
const ISSUER_SHORT: &str = "cdi-apiserver";
/// Who writes long tokens.
const ISSUER_LONG: &str = "cdi-deployment";
/// The only operation there is.
const OPERATION: &str = "Clone";

/// The claims of contract 4.4, and ours: `asker`, `callerIsProven`, `params.sourceUid`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Claims {
    iss: String,
    /// Seconds since 1970, as all times here.
    iat: i64,
    nbf: i64,
    exp: i64,
    operation: String,
    /// Of the source.
    name: String,
    /// Of the source.
    namespace: String,
    resource: Resource,
    params: Params,
    /// Who asked. Versions up to 0.1.0 did not write it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    asker: Option<Asker>,
    /// In short tokens only: whether the webhook knew that it was the API server that asked.
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
    /// Of the target; in long tokens only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    uid: Option<Uid>,
    /// Of the source, if it was there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source_uid: Option<Uid>,
}

/// From when until when.
pub(super) struct Validity {
    pub(super) from: OffsetDateTime,
    pub(super) until: OffsetDateTime,
}

impl Resource {
    fn claims() -> Self {
        Self { group: String::new(), version: "v1".to_owned(), resource: "persistentvolumeclaims".to_owned() }
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
            resource: Resource::claims(),
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

    /// As the middle part of a token, before its encoding.
    pub(super) fn to_json(&self) -> Vec<u8> {
        // Only maps with odd keys and failing writers can make this fail; an empty body is refused by everyone.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// The claims in the middle part of a token, if that is what they are.
    pub(super) fn from_json(json: &[u8]) -> Option<Self> {
        serde_json::from_slice(json).ok()
    }

    /// What they grant for cloning something called `source` to `target`: as a long token for the target `uid`, or,
    /// without one, as a short token. Which source of that name it is, is for the caller to compare.
    pub(super) fn check(
        self,
        source: &Key,
        target: &Key,
        uid: Option<&Uid>,
        now: OffsetDateTime,
    ) -> Result<Granted, TokenRefusal> {
        let issuer = if uid.is_some() { ISSUER_LONG } else { ISSUER_SHORT };
        let is_for_clones = self.operation == OPERATION && self.resource == Resource::claims();
        if self.iss != issuer || !is_for_clones || self.params.uid.is_some() != uid.is_some() {
            return Err(TokenRefusal::OtherKind);
        }
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
            source_uid: self.params.source_uid,
            written,
            caller_is_proven: self.caller_is_proven,
        })
    }
}
