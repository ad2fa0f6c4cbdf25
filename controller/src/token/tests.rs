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
        assert_eq!(short_at(&signed(&key(), header, &claims), noon()), Err(Refusal::Malformed), "{header}");
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
