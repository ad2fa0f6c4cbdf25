//! Tokens: what the webhook found out about a user, written down so that the controller can rely on it
//! (contract 4.4; docs/decisions/0006-clone-tokens.md).
//!
//! A compact JSON Web Token with one algorithm. The short one is the webhook's: this source may be cloned to this
//! target. The long one is the controller's: the same, for exactly one object of the target's name. Neither takes
//! the place of the other.
//!
//! * `claims` is what a token says;
//! * `key` is who can write one;
//! * `seal` is the same for what is written on pods and claims.

mod claims;
mod key;
mod seal;

use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use time::{Duration, OffsetDateTime};

use crate::resource::{Key, Uid};
use claims::Claims;
pub use key::{KEY_SECRET, TokenKey};
pub use seal::Purpose;

/// How long the controller may take to see a new DataVolume.
const SHORT_LIFE: Duration = Duration::minutes(5);
/// Longer than any clone waits.
const LONG_LIFE: Duration = Duration::days(3650);
/// A long token is valid from this long ago, so that a clock that is set back does not take away what was given.
const LONG_BACKDATE: Duration = Duration::days(1);
/// How far the clocks of webhook and controller may be apart.
const LEEWAY: Duration = Duration::seconds(10);
/// Names are at most 253 characters each, so ours stay far below it.
const TOKEN_MAX_BYTES: usize = 4096;
/// `{"alg":"HS256","typ":"JWT"}`. It is compared and never parsed: nothing in a token chooses how it is checked.
const HEADER: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9";

/// Why a token is no permission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Not a token of ours by its form.
    Malformed,
    /// Not written with our key.
    Forged,
    /// A short token where a long one is needed, or the other way round.
    OtherKind,
    /// Its time is over.
    Expired,
    /// Its time has not begun.
    NotYetValid,
    /// For cloning from somewhere else.
    OtherSource,
    /// For cloning to somewhere else.
    OtherTarget,
    /// For another object of that name.
    OtherUid,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refusal::Malformed => "it is not a token",
            Refusal::Forged => "it was not written by this controller",
            Refusal::OtherKind => "it is not meant for this use",
            Refusal::Expired => "it has expired",
            Refusal::NotYetValid => "it is not valid yet",
            Refusal::OtherSource => "it is for another source",
            Refusal::OtherTarget => "it is for another target",
            Refusal::OtherUid => "it is for another object of the same name",
        })
    }
}

impl TokenKey {
    /// The webhook's token: `source` may be cloned to `target`. It lasts five minutes.
    pub fn short(&self, source: &Key, target: &Key, now: OffsetDateTime) -> String {
        self.write(&Claims::new(source, target, None, now, now + SHORT_LIFE))
    }

    /// The controller's token: `source` may be cloned to the object at `target` that has this `uid`. It lasts
    /// ten years.
    pub fn long(&self, source: &Key, target: &Key, uid: &Uid, now: OffsetDateTime) -> String {
        self.write(&Claims::new(source, target, Some(uid), now - LONG_BACKDATE, now + LONG_LIFE))
    }

    /// Whether `token` is a short token for `source` and `target` at the time `now`.
    pub fn check_short(
        &self,
        token: &str,
        source: &Key,
        target: &Key,
        now: OffsetDateTime,
    ) -> Result<(), Refusal> {
        self.read(token)?.check(source, target, None, now)
    }

    /// Whether `token` is a long token for `source`, `target` and `uid` at the time `now`.
    pub fn check_long(
        &self,
        token: &str,
        source: &Key,
        target: &Key,
        uid: &Uid,
        now: OffsetDateTime,
    ) -> Result<(), Refusal> {
        self.read(token)?.check(source, target, Some(uid), now)
    }

    fn write(&self, claims: &Claims) -> String {
        let body = BASE64_URL_SAFE_NO_PAD.encode(claims.to_json());
        let signed = format!("{HEADER}.{body}");
        let tag = BASE64_URL_SAFE_NO_PAD.encode(self.sign(signed.as_bytes()));
        format!("{signed}.{tag}")
    }

    /// The claims of `token`. They are looked at only when they are known to be ours.
    fn read(&self, token: &str) -> Result<Claims, Refusal> {
        if token.len() > TOKEN_MAX_BYTES {
            return Err(Refusal::Malformed);
        }
        let (signed, tag) = token.rsplit_once('.').ok_or(Refusal::Malformed)?;
        let (header, body) = signed.split_once('.').ok_or(Refusal::Malformed)?;
        if header != HEADER {
            return Err(Refusal::Malformed);
        }
        let decode = |text: &str| BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| Refusal::Malformed);
        if !self.has_signed(signed.as_bytes(), &decode(tag)?) {
            return Err(Refusal::Forged);
        }
        Claims::from_json(&decode(body)?).ok_or(Refusal::Malformed)
    }
}

#[cfg(test)]
mod tests;
