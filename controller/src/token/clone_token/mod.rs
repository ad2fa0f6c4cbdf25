//! Clone tokens: writing and checking them.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use time::{Duration, OffsetDateTime};

use crate::objects::{Key, Uid};
use crate::token::claims::{Claims, Validity};
use crate::token::grant::{Grant, Granted, TokenRefusal};
use crate::token::key::TokenKey;

/// The controller must have seen a new DataVolume after this time.
const SHORT_LIFE: Duration = Duration::minutes(5);
/// Longer than any clone waits. The user's right is checked again before the source is read.
const LONG_LIFE: Duration = Duration::days(3650);
/// The lifetime of a long token whose source does not exist yet, for tools that create both at about the same time. An
/// object of this name that is created later may not be the one that the user meant.
const PROVISIONAL_LIFE: Duration = Duration::hours(1);
/// A long token is backdated by this, so that a clock that is set back does not revoke it.
const LONG_BACKDATE: Duration = Duration::days(1);
/// A token is shorter: names have at most 253 characters each, and the user at most 16 KiB.
const TOKEN_MAX_BYTES: usize = 32 << 10;
/// `{"alg":"HS256","typ":"JWT"}`. It is compared and never parsed, so that a token cannot choose how it is verified.
const HEADER: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9";

impl TokenKey {
    /// The token of the webhook: `grant` for any object with the name of the target. Valid for five minutes.
    pub fn short(&self, grant: &Grant<'_>, caller_is_proven: bool, now: OffsetDateTime) -> String {
        let validity = Validity { from: now, until: now + SHORT_LIFE };
        self.write(&Claims::short(grant, caller_is_proven, &validity))
    }

    /// The token of the controller: `grant` for the target with this `uid`. Valid for ten years, without the UID of a
    /// source for an hour.
    pub fn long(&self, grant: &Grant<'_>, uid: &Uid, now: OffsetDateTime) -> String {
        let life = if grant.source_uid.is_some() { LONG_LIFE } else { PROVISIONAL_LIFE };
        let validity = Validity { from: now - LONG_BACKDATE, until: now + life };
        self.write(&Claims::long(grant, uid, &validity))
    }

    /// A long token as versions up to 0.1.0 wrote it.
    #[cfg(test)]
    pub(crate) fn long_without_asker(&self, grant: &Grant<'_>, uid: &Uid, now: OffsetDateTime) -> String {
        let validity = Validity { from: now - LONG_BACKDATE, until: now + LONG_LIFE };
        self.write(&Claims::long(&Grant { source_uid: None, ..*grant }, uid, &validity).without_asker())
    }

    /// What `token` grants, if it is a short token for `source` and `target` at the time `now`.
    pub fn check_short(
        &self,
        token: &str,
        source: &Key,
        target: &Key,
        now: OffsetDateTime,
    ) -> Result<Granted, TokenRefusal> {
        self.read(token)?.check(source, target, None, now)
    }

    /// What `token` grants, if it is a long token for `source`, `target` and `uid` at the time `now`.
    pub fn check_long(
        &self,
        token: &str,
        source: &Key,
        target: &Key,
        uid: &Uid,
        now: OffsetDateTime,
    ) -> Result<Granted, TokenRefusal> {
        self.read(token)?.check(source, target, Some(uid), now)
    }

    fn write(&self, claims: &Claims) -> String {
        let body = BASE64_URL_SAFE_NO_PAD.encode(claims.to_json());
        let signed = format!("{HEADER}.{body}");
        let tag = BASE64_URL_SAFE_NO_PAD.encode(self.sign(signed.as_bytes()));
        format!("{signed}.{tag}")
    }

    /// The claims of `token`. They are parsed only after the signature is verified.
    fn read(&self, token: &str) -> Result<Claims, TokenRefusal> {
        if token.len() > TOKEN_MAX_BYTES {
            return Err(TokenRefusal::Malformed);
        }
        let (signed, tag) = token.rsplit_once('.').ok_or(TokenRefusal::Malformed)?;
        let (header, body) = signed.split_once('.').ok_or(TokenRefusal::Malformed)?;
        if header != HEADER {
            return Err(TokenRefusal::Malformed);
        }
        let decode = |text: &str| BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| TokenRefusal::Malformed);
        if !self.has_signed(signed.as_bytes(), &decode(tag)?) {
            return Err(TokenRefusal::Forged);
        }
        Claims::from_json(&decode(body)?).ok_or(TokenRefusal::Malformed)
    }
}

#[cfg(test)]
mod tests;
