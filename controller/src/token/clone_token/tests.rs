use proptest::prelude::*;

use super::*;
use crate::objects::ClonedKind;
use crate::token::asker::Asker;
use crate::token::claims::LEEWAY;

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

fn source_uid() -> Uid {
    Uid::from("aaaaaaaa-2222-3333-4444-555555555555")
}

fn jane() -> Asker {
    Asker {
        username: "jane".to_owned(),
        uid: "7".to_owned(),
        groups: vec!["staff".to_owned()],
        extra: [("scopes".to_owned(), vec!["s".to_owned()])].into(),
    }
}

fn short_at(token: &str, now: OffsetDateTime) -> Result<(), TokenRefusal> {
    key().check_short(token, &source(), &target(), now).map(drop)
}

fn long_at(token: &str, now: OffsetDateTime) -> Result<(), TokenRefusal> {
    key().check_long(token, &source(), &target(), &uid(), now).map(drop)
}

/// A short token signed with `key` for a source that exists.
fn short_of(key: &TokenKey, source: &Key, target: &Key) -> String {
    let grant = Grant {
        source,
        source_kind: ClonedKind::Claim,
        source_uid: Some(&source_uid()),
        target,
        asker: &jane(),
    };
    key.short(&grant, false, noon())
}

fn short() -> String {
    short_of(&key(), &source(), &target())
}

fn long() -> String {
    let grant = Grant {
        source: &source(),
        source_kind: ClonedKind::Claim,
        source_uid: Some(&source_uid()),
        target: &target(),
        asker: &jane(),
    };
    key().long(&grant, &uid(), noon())
}

/// A long token from before the source exists.
fn provisional() -> String {
    let grant = Grant {
        source: &source(),
        source_kind: ClonedKind::Claim,
        source_uid: None,
        target: &target(),
        asker: &jane(),
    };
    key().long(&grant, &uid(), noon())
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
fn tokens_have_the_claims_of_the_contract() {
    let claims: serde_json::Value = serde_json::from_str(&body(&short())).unwrap();
    let expected = serde_json::json!({
        "iss": "cdi-apiserver", "iat": 1_800_000_000, "nbf": 1_800_000_000, "exp": 1_800_000_300,
        "operation": "Clone", "name": "golden", "namespace": "a",
        "resource": {"group": "", "version": "v1", "resource": "persistentvolumeclaims"},
        "params": {"targetNamespace": "b", "targetName": "copy", "sourceUid": source_uid().as_str()},
        "asker": {"username": "jane", "uid": "7", "groups": ["staff"], "extra": {"scopes": ["s"]}},
    });
    assert_eq!(claims, expected);
    let claims: serde_json::Value = serde_json::from_str(&body(&long())).unwrap();
    assert_eq!(claims.get("iss").unwrap(), "cdi-deployment");
    assert_eq!(claims.pointer("/params/uid").unwrap(), uid().as_str());
    assert_eq!(claims.pointer("/params/sourceUid").unwrap(), source_uid().as_str());
}

#[test]
fn the_header_is_the_one_that_is_compared() {
    assert_eq!(BASE64_URL_SAFE_NO_PAD.decode(HEADER).unwrap(), br#"{"alg":"HS256","typ":"JWT"}"#);
}

#[test]
fn a_token_is_valid_for_its_clone() {
    assert_eq!(short_at(&short(), noon()), Ok(()));
    assert_eq!(long_at(&long(), noon()), Ok(()));
}

#[test]
fn a_short_token_lasts_five_minutes_and_the_leeway() {
    assert_eq!(short_at(&short(), noon() + SHORT_LIFE + LEEWAY), Ok(()));
    let late = noon() + SHORT_LIFE + LEEWAY + Duration::SECOND;
    assert_eq!(short_at(&short(), late), Err(TokenRefusal::Expired));
}

#[test]
fn a_long_token_lasts_ten_years() {
    assert_eq!(long_at(&long(), noon() + LONG_LIFE), Ok(()));
    let late = noon() + LONG_LIFE + LEEWAY + Duration::SECOND;
    assert_eq!(long_at(&long(), late), Err(TokenRefusal::Expired));
}

#[test]
fn a_long_token_from_before_its_source_lasts_an_hour() {
    assert_eq!(long_at(&provisional(), noon() + Duration::hours(1) + LEEWAY), Ok(()));
    let late = noon() + Duration::hours(1) + LEEWAY + Duration::SECOND;
    assert_eq!(long_at(&provisional(), late), Err(TokenRefusal::Expired));
}

#[test]
fn a_token_keeps_the_user_the_source_and_whether_the_caller_was_proven() {
    let granted = key().check_short(&short(), &source(), &target(), noon()).unwrap();
    let expected = Granted {
        asker: jane(),
        source_kind: ClonedKind::Claim,
        source_uid: Some(source_uid()),
        written: noon(),
        caller_is_proven: false,
    };
    assert_eq!(granted, expected);
    let grant = Grant {
        source: &source(),
        source_kind: ClonedKind::Claim,
        source_uid: None,
        target: &target(),
        asker: &jane(),
    };
    let proven = key().short(&grant, true, noon());
    let granted = key().check_short(&proven, &source(), &target(), noon()).unwrap();
    assert_eq!((granted.source_uid, granted.caller_is_proven), (None, true));
    let granted = key().check_long(&long(), &source(), &target(), &uid(), noon()).unwrap();
    assert_eq!((granted.asker, granted.source_uid), (jane(), Some(source_uid())));
}

#[test]
fn a_token_of_a_previous_version_is_refused_with_its_reason() {
    let header = r#"{"alg":"HS256","typ":"JWT"}"#;
    for (token, is_long) in [(short(), false), (long(), true)] {
        let mut claims: serde_json::Value = serde_json::from_str(&body(&token)).unwrap();
        claims.as_object_mut().unwrap().remove("asker");
        claims.get_mut("params").unwrap().as_object_mut().unwrap().remove("sourceUid");
        let old = signed(&key(), header, &claims.to_string());
        let checked = if is_long { long_at(&old, noon()) } else { short_at(&old, noon()) };
        assert_eq!(checked, Err(TokenRefusal::WithoutAsker));
    }
}

#[test]
fn a_token_of_the_future_is_not_valid_yet() {
    assert_eq!(short_at(&short(), noon() - LEEWAY), Ok(()));
    assert_eq!(short_at(&short(), noon() - LEEWAY - Duration::SECOND), Err(TokenRefusal::NotYetValid));
    assert_eq!(long_at(&long(), noon() - Duration::hours(23)), Ok(()));
    assert_eq!(long_at(&long(), noon() - Duration::hours(25)), Err(TokenRefusal::NotYetValid));
}

#[test]
fn another_key_is_a_forgery() {
    let token = short_of(&TokenKey::new(&[8; 32]), &source(), &target());
    assert_eq!(short_at(&token, noon()), Err(TokenRefusal::Forged));
}

#[test]
fn other_algorithms_are_refused() {
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
            Err(TokenRefusal::Malformed),
            "{header}"
        );
    }
    let unsigned = format!("{HEADER}.{}.", BASE64_URL_SAFE_NO_PAD.encode(claims));
    assert_eq!(short_at(&unsigned, noon()), Err(TokenRefusal::Forged));
}

#[test]
fn parts_of_two_tokens_are_not_a_token() {
    let other = short_of(&key(), &source(), &Key::new("c", "copy"));
    let mut parts: Vec<&str> = short().leak().split('.').collect();
    parts[1] = other.leak().split('.').nth(1).unwrap();
    assert_eq!(
        key().check_short(&parts.join("."), &source(), &Key::new("c", "copy"), noon()).map(drop),
        Err(TokenRefusal::Forged)
    );
    parts.swap(1, 2);
    assert_eq!(short_at(&parts.join("."), noon()), Err(TokenRefusal::Forged));
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
fn a_token_is_refused_for_another_clone() {
    let check = |source: &Key, target: &Key| key().check_short(&short(), source, target, noon()).map(drop);
    assert_eq!(check(&Key::new("a", "secret"), &target()), Err(TokenRefusal::OtherSource));
    assert_eq!(check(&Key::new("z", "golden"), &target()), Err(TokenRefusal::OtherSource));
    assert_eq!(check(&source(), &Key::new("b", "other")), Err(TokenRefusal::OtherTarget));
    assert_eq!(check(&source(), &Key::new("c", "copy")), Err(TokenRefusal::OtherTarget));
    let other = Uid::from("99999999-2222-3333-4444-555555555555");
    let checked = key().check_long(&long(), &source(), &target(), &other, noon());
    assert_eq!(checked.map(drop), Err(TokenRefusal::OtherUid));
}

#[test]
fn short_and_long_tokens_do_not_replace_each_other() {
    assert_eq!(short_at(&long(), noon()), Err(TokenRefusal::OtherKind));
    assert_eq!(long_at(&short(), noon()), Err(TokenRefusal::OtherKind));
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
        ("\"username\":\"jane\",", ""),
        ("\"username\"", "\"admin\":true,\"username\""),
        ("\"groups\":[\"staff\"]", "\"groups\":\"staff\""),
    ] {
        let changed = good.replace(from, to);
        assert_ne!(changed, good, "{from}");
        assert!(short_at(&signed(&key(), header, &changed), noon()).is_err(), "{changed}");
    }
    assert_eq!(short_at(&signed(&key(), header, &good), noon()), Ok(()));
}

#[test]
fn a_token_that_is_too_long_is_refused() {
    let body = format!("{{\"x\":\"{}\"}}", "y".repeat(32 << 10));
    let token = signed(&key(), r#"{"alg":"HS256","typ":"JWT"}"#, &body);
    assert_eq!(short_at(&token, noon()), Err(TokenRefusal::Malformed));
    let longest = Key::new("n".repeat(63), "n".repeat(253));
    let mut asker = Asker { groups: vec!["g".repeat(60); 250], ..jane() };
    while asker.fits().is_ok() {
        asker.groups.push("g".to_owned());
    }
    asker.groups.pop();
    let grant = Grant {
        source: &longest,
        source_kind: ClonedKind::Claim,
        source_uid: Some(&uid()),
        target: &longest,
        asker: &asker,
    };
    let token = key().long(&grant, &uid(), noon());
    assert_eq!(key().check_long(&token, &longest, &longest, &uid(), noon()).map(drop), Ok(()));
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
