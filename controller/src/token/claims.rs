//! What a token says, typed. A claim that is missing, unknown, twice there or of another type makes it no token.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{LEEWAY, Refusal};
use crate::resource::{Key, Uid};

/// Who writes short tokens.
const ISSUER_SHORT: &str = "cdi-apiserver";
/// Who writes long tokens.
const ISSUER_LONG: &str = "cdi-deployment";
/// The only operation there is.
const OPERATION: &str = "Clone";

/// The claims of contract 4.4.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
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
    /// In long tokens only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    uid: Option<Uid>,
}

impl Resource {
    fn claims() -> Self {
        Self { group: String::new(), version: "v1".to_owned(), resource: "persistentvolumeclaims".to_owned() }
    }
}

impl Claims {
    /// Claims of a long token when there is a `uid`, else of a short one.
    pub(super) fn new(
        source: &Key,
        target: &Key,
        uid: Option<&Uid>,
        from: OffsetDateTime,
        until: OffsetDateTime,
    ) -> Self {
        let from_secs = from.unix_timestamp();
        Self {
            iss: if uid.is_some() { ISSUER_LONG } else { ISSUER_SHORT }.to_owned(),
            iat: from_secs,
            nbf: from_secs,
            exp: until.unix_timestamp(),
            operation: OPERATION.to_owned(),
            name: source.name.clone(),
            namespace: source.namespace.clone(),
            resource: Resource::claims(),
            params: Params {
                target_namespace: target.namespace.clone(),
                target_name: target.name.clone(),
                uid: uid.cloned(),
            },
        }
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

    /// Whether they allow to clone `source` to `target`: as a long token for `uid`, or, without one, as a short
    /// token.
    pub(super) fn check(
        &self,
        source: &Key,
        target: &Key,
        uid: Option<&Uid>,
        now: OffsetDateTime,
    ) -> Result<(), Refusal> {
        let issuer = if uid.is_some() { ISSUER_LONG } else { ISSUER_SHORT };
        let is_for_clones = self.operation == OPERATION && self.resource == Resource::claims();
        if self.iss != issuer || !is_for_clones || self.params.uid.is_some() != uid.is_some() {
            return Err(Refusal::OtherKind);
        }
        if now.unix_timestamp() > self.exp.saturating_add(LEEWAY.whole_seconds()) {
            return Err(Refusal::Expired);
        }
        if now.unix_timestamp() < self.nbf.saturating_sub(LEEWAY.whole_seconds()) {
            return Err(Refusal::NotYetValid);
        }
        if self.namespace != source.namespace || self.name != source.name {
            return Err(Refusal::OtherSource);
        }
        if self.params.target_namespace != target.namespace || self.params.target_name != target.name {
            return Err(Refusal::OtherTarget);
        }
        if self.params.uid.as_ref() != uid {
            return Err(Refusal::OtherUid);
        }
        Ok(())
    }
}
