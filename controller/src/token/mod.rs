//! Tokens: what the webhook found out about a user, written down so that the controller can rely on it
//! (contract 4.4; docs/decisions/0006-clone-tokens.md).
//!
//! A compact JSON Web Token with one algorithm. The short one is the webhook's: this source may be cloned to this
//! target. The long one is the controller's: the same, for exactly one object of the target's name. Neither takes
//! the place of the other.
//!
//! * `claims` is what a token says;
//! * `key` is who can write one.

mod claims;
mod key;

use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use time::{Duration, OffsetDateTime};

use crate::resource::{Key, Uid};
use claims::Claims;
pub use key::{KEY_SECRET, TokenKey};

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
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn source() -> Key {
        Key::new("a", "golden")
    }

    fn target() -> Key {
        Key::new("b", "copy")
    }

    fn uid() -> Uid {
        Uid::from("11111111-2222-3333-4444-555555555555")
    }

    fn noon() -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap()
    }

    fn key() -> TokenKey {
        TokenKey::new(&[7; 32])
    }

    fn short_at(token: &str, now: OffsetDateTime) -> Result<(), Refusal> {
        key().check_short(token, &source(), &target(), now)
    }

    fn long_at(token: &str, now: OffsetDateTime) -> Result<(), Refusal> {
        key().check_long(token, &source(), &target(), &uid(), now)
    }

    fn short() -> String {
        key().short(&source(), &target(), noon())
    }

    fn long() -> String {
        key().long(&source(), &target(), &uid(), noon())
    }

    /// `body` as a token that was signed with `header` by `key`.
    fn signed(key: &TokenKey, header: &str, body: &str) -> String {
        let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        let head = format!("{}.{}", encode(header.as_bytes()), encode(body.as_bytes()));
        format!("{head}.{}", encode(key.sign(head.as_bytes()).as_ref()))
    }

    fn body(token: &str) -> String {
        let part = token.split('.').nth(1).unwrap();
        String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
    }

    #[test]
    fn tokens_say_what_the_contract_says() {
        let claims: serde_json::Value = serde_json::from_str(&body(&short())).unwrap();
        let expected = serde_json::json!({
            "iss": "cdi-apiserver", "iat": 1_800_000_000, "nbf": 1_800_000_000, "exp": 1_800_000_300,
            "operation": "Clone", "name": "golden", "namespace": "a",
            "resource": {"group": "", "version": "v1", "resource": "persistentvolumeclaims"},
            "params": {"targetNamespace": "b", "targetName": "copy"},
        });
        assert_eq!(claims, expected);
        let claims: serde_json::Value = serde_json::from_str(&body(&long())).unwrap();
        assert_eq!(claims["iss"], "cdi-deployment");
        assert_eq!(claims["params"]["uid"], uid().as_str());
    }

    #[test]
    fn the_header_is_the_one_that_is_compared() {
        assert_eq!(BASE64_URL_SAFE_NO_PAD.decode(HEADER).unwrap(), br#"{"alg":"HS256","typ":"JWT"}"#);
    }

    #[test]
    fn a_token_is_good_for_what_it_was_written_for() {
        assert_eq!(short_at(&short(), noon()), Ok(()));
        assert_eq!(long_at(&long(), noon()), Ok(()));
    }

    #[test]
    fn a_short_token_lasts_five_minutes_and_the_leeway() {
        assert_eq!(short_at(&short(), noon() + SHORT_LIFE + LEEWAY), Ok(()));
        let late = noon() + SHORT_LIFE + LEEWAY + Duration::SECOND;
        assert_eq!(short_at(&short(), late), Err(Refusal::Expired));
    }

    #[test]
    fn a_long_token_lasts_ten_years() {
        assert_eq!(long_at(&long(), noon() + LONG_LIFE), Ok(()));
        let late = noon() + LONG_LIFE + LEEWAY + Duration::SECOND;
        assert_eq!(long_at(&long(), late), Err(Refusal::Expired));
    }

    #[test]
    fn a_token_of_the_future_is_not_valid_yet() {
        assert_eq!(short_at(&short(), noon() - LEEWAY), Ok(()));
        assert_eq!(short_at(&short(), noon() - LEEWAY - Duration::SECOND), Err(Refusal::NotYetValid));
        assert_eq!(long_at(&long(), noon() - Duration::hours(23)), Ok(()));
        assert_eq!(long_at(&long(), noon() - Duration::hours(25)), Err(Refusal::NotYetValid));
    }

    #[test]
    fn another_key_is_a_forgery() {
        let token = TokenKey::new(&[8; 32]).short(&source(), &target(), noon());
        assert_eq!(short_at(&token, noon()), Err(Refusal::Forged));
    }

    #[test]
    fn no_other_algorithm_is_known() {
        let claims = body(&short());
        for header in [
            r#"{"alg":"none"}"#,
            r#"{"alg":"none","typ":"JWT"}"#,
            r#"{"alg":"HS512","typ":"JWT"}"#,
            r#"{"alg":"PS256","typ":"JWT"}"#,
            r#"{"typ":"JWT","alg":"HS256"}"#,
            r#"{"alg":"HS256","typ":"JWT","kid":"../../etc"}"#,
            r#"{"alg":"HS256","typ":"JWT","jwk":{}}"#,
        ] {
            assert_eq!(
                short_at(&signed(&key(), header, &claims), noon()),
                Err(Refusal::Malformed),
                "{header}"
            );
        }
        let unsigned = format!("{HEADER}.{}.", BASE64_URL_SAFE_NO_PAD.encode(claims));
        assert_eq!(short_at(&unsigned, noon()), Err(Refusal::Forged));
    }

    #[test]
    fn parts_of_two_tokens_do_not_make_a_third() {
        let other = key().short(&source(), &Key::new("c", "copy"), noon());
        let mut parts: Vec<&str> = short().leak().split('.').collect();
        parts[1] = other.leak().split('.').nth(1).unwrap();
        assert_eq!(
            key().check_short(&parts.join("."), &source(), &Key::new("c", "copy"), noon()),
            Err(Refusal::Forged)
        );
        parts.swap(1, 2);
        assert_eq!(short_at(&parts.join("."), noon()), Err(Refusal::Forged));
    }

    #[test]
    fn every_truncation_is_refused() {
        for token in [short(), long()] {
            for len in 0..token.len() {
                assert!(key().read(&token[..len]).is_err(), "{len} of {}", token.len());
            }
        }
    }

    #[test]
    fn every_changed_character_is_refused() {
        let token = short();
        for at in 0..token.len() {
            let mut bytes = token.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            assert!(key().read(&changed).is_err(), "character {at}");
        }
    }

    #[test]
    fn a_token_cannot_be_borrowed() {
        let check = |source: &Key, target: &Key| key().check_short(&short(), source, target, noon());
        assert_eq!(check(&Key::new("a", "secret"), &target()), Err(Refusal::OtherSource));
        assert_eq!(check(&Key::new("z", "golden"), &target()), Err(Refusal::OtherSource));
        assert_eq!(check(&source(), &Key::new("b", "other")), Err(Refusal::OtherTarget));
        assert_eq!(check(&source(), &Key::new("c", "copy")), Err(Refusal::OtherTarget));
        let other = Uid::from("99999999-2222-3333-4444-555555555555");
        assert_eq!(key().check_long(&long(), &source(), &target(), &other, noon()), Err(Refusal::OtherUid));
    }

    #[test]
    fn the_two_kinds_do_not_take_each_others_place() {
        assert_eq!(short_at(&long(), noon()), Err(Refusal::OtherKind));
        assert_eq!(long_at(&short(), noon()), Err(Refusal::OtherKind));
    }

    #[test]
    fn a_signed_body_of_another_shape_is_refused() {
        let header = r#"{"alg":"HS256","typ":"JWT"}"#;
        let good = body(&short());
        for (from, to) in [
            ("\"Clone\"", "\"Upload\""),
            ("persistentvolumeclaims", "secrets"),
            ("\"exp\":1800000300", "\"exp\":\"1800000300\""),
            ("\"exp\":1800000300,", ""),
            ("{\"iss\"", "{\"admin\":true,\"iss\""),
            ("{\"iss\"", "{\"iss\":\"cdi-apiserver\",\"iss\""),
            ("\"targetName\"", "\"uid\":\"\",\"targetName\""),
        ] {
            let changed = good.replace(from, to);
            assert_ne!(changed, good, "{from}");
            assert!(short_at(&signed(&key(), header, &changed), noon()).is_err(), "{changed}");
        }
        assert_eq!(short_at(&signed(&key(), header, &good), noon()), Ok(()));
    }

    #[test]
    fn a_token_that_is_too_long_is_not_looked_at() {
        let body = format!("{{\"x\":\"{}\"}}", "y".repeat(4096));
        let token = signed(&key(), r#"{"alg":"HS256","typ":"JWT"}"#, &body);
        assert_eq!(short_at(&token, noon()), Err(Refusal::Malformed));
        let longest = Key::new("n".repeat(63), "n".repeat(253));
        let token = key().long(&longest, &longest, &uid(), noon());
        assert_eq!(key().check_long(&token, &longest, &longest, &uid(), noon()), Ok(()));
    }

    proptest! {
        #[test]
        fn no_text_panics_or_passes(text: String, near in "[A-Za-z0-9_=-]{0,60}(\\.[A-Za-z0-9_=-]{0,60}){0,4}") {
            prop_assert!(short_at(&text, noon()).is_err());
            prop_assert!(long_at(&near, noon()).is_err());
            let with_header = format!("{HEADER}.{near}");
            prop_assert!(short_at(&with_header, noon()).is_err());
        }

        #[test]
        fn no_signed_body_panics(body: String) {
            let _ = short_at(&signed(&key(), r#"{"alg":"HS256","typ":"JWT"}"#, &body), noon());
        }
    }
}
