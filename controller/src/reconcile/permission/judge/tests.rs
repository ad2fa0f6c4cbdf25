use serde_json::json;
use time::OffsetDateTime;

use super::*;
use crate::objects::{ClonedKind, Kind, Uid};
use crate::reconcile::permission::check::TargetKind;
use crate::webhook::stub::Stub;

fn now() -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap()
}

fn keys() -> TokenKey {
    TokenKey::new(&[3; 32])
}

fn judge(change: impl FnOnce(&mut Stub)) -> (Judge, Arc<Stub>) {
    let mut stub = Stub::default();
    change(&mut stub);
    let stub = Arc::new(stub);
    let guarded = Guarded::new(stub.clone(), "decant".to_owned(), "cdi-api".to_owned());
    (Judge::new(stub.clone(), Arc::new(keys()), guarded), stub)
}

/// A service account with all its attributes.
fn asker() -> Asker {
    Asker {
        username: "system:serviceaccount:b:ci".to_owned(),
        uid: "7".to_owned(),
        groups: vec!["system:serviceaccounts".to_owned()],
        extra: [("scopes".to_owned(), vec!["s".to_owned()])].into(),
    }
}

struct Tokens {
    short: Option<String>,
    long: Option<String>,
}

const SOURCE_UID: &str = "s-1";

/// Tokens for a source with this UID.
fn short(source_uid: Option<&str>, caller_is_proven: bool) -> Tokens {
    let uid = source_uid.map(Uid::from);
    let grant = Grant {
        source: &Key::new("a", "golden"),
        source_kind: ClonedKind::Claim,
        source_uid: uid.as_ref(),
        target: &Key::new("b", "copy"),
        asker: &asker(),
    };
    Tokens { short: Some(keys().short(&grant, caller_is_proven, now())), long: None }
}

fn long(source_uid: Option<&str>) -> Tokens {
    let uid = source_uid.map(Uid::from);
    let grant = Grant {
        source: &Key::new("a", "golden"),
        source_kind: ClonedKind::Claim,
        source_uid: uid.as_ref(),
        target: &Key::new("b", "copy"),
        asker: &asker(),
    };
    Tokens { short: None, long: Some(keys().long(&grant, &Uid::from("u-1"), now())) }
}

fn said(judge: &Judge, tokens: &Tokens, source_uid: Option<&str>) -> Permission {
    let (source, target, uid) = (Key::new("a", "golden"), Key::new("b", "copy"), Uid::from("u-1"));
    let source_uid = source_uid.map(Uid::from);
    let ask = Ask {
        source: &source,
        source_kind: ClonedKind::Claim,
        source_uid: source_uid.as_ref(),
        through: None,
        target: &target,
        target_uid: &uid,
        target_kind: TargetKind::DataVolume,
        consent: None,
        short_token: tokens.short.as_deref(),
        long_token: tokens.long.as_deref(),
        now: now(),
    };
    judge.permission(&ask).unwrap()
}

fn permitted(stub: &mut Stub) {
    stub.grant(&asker().username, "datavolumes/source", "a");
}

/// The UID of the source in the long token that replaces another token.
fn extended(permission: &Permission) -> Option<Uid> {
    let Permission::ExtendToken(token) = permission else { panic!("{permission:?}") };
    let granted = keys()
        .check_long(token, &Key::new("a", "golden"), &Key::new("b", "copy"), &Uid::from("u-1"), now())
        .unwrap();
    assert_eq!(granted.asker, asker());
    granted.source_uid
}

fn denied(permission: &Permission) -> &str {
    match permission {
        Permission::Denied(why) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_token_of_a_proven_caller_for_this_source_becomes_a_long_one_without_a_question() {
    let (judge, stub) = judge(|_| ());
    let permission = said(&judge, &short(Some(SOURCE_UID), true), Some(SOURCE_UID));
    assert_eq!(extended(&permission), Some(Uid::from(SOURCE_UID)));
    assert_eq!((stub.asked.lock().unwrap().len(), *stub.gets.lock().unwrap()), (0, 0));
}

#[test]
fn a_token_of_an_unproven_caller_does_not_count_where_users_could_have_written_it() {
    let (judge, _) = judge(permitted);
    let permission = said(&judge, &short(Some(SOURCE_UID), false), Some(SOURCE_UID));
    let why = denied(&permission);
    assert!(
        why.contains("users could have written it themselves: Secret decant/cdi-apiserver-signer"),
        "{why}"
    );
    assert!(why.contains("apply controller/deploy/webhook"), "{why}");
}

#[test]
fn before_a_token_is_bound_to_a_source_its_user_is_asked_about_again() {
    for tokens in [short(None, true), long(None)] {
        let (may, _) = judge(permitted);
        assert_eq!(extended(&said(&may, &tokens, Some(SOURCE_UID))), Some(Uid::from(SOURCE_UID)));
        let (may_not, stub) = judge(|_| ());
        let permission = said(&may_not, &tokens, Some(SOURCE_UID));
        assert!(denied(&permission).contains("user system:serviceaccount:b:ci, who asked for it"));
        let asked = stub.asked.lock().unwrap();
        let user = asked.first().unwrap();
        assert_eq!(user.pointer("/user"), Some(&json!("system:serviceaccount:b:ci")));
        assert_eq!(user.pointer("/uid"), Some(&json!("7")));
        assert_eq!(user.pointer("/groups/0"), Some(&json!("system:serviceaccounts")));
        assert_eq!(user.pointer("/extra/scopes/0"), Some(&json!("s")));
    }
}

#[test]
fn while_there_is_no_source_a_token_is_worth_what_its_user_may_now() {
    let (may, _) = judge(permitted);
    assert_eq!(extended(&said(&may, &short(None, true), None)), None);
    assert_eq!(said(&may, &long(None), None), Permission::Token(asker()));
    let (may_not, _) = judge(|_| ());
    let (without, with) = (said(&may_not, &long(None), None), said(&may_not, &long(None), Some(SOURCE_UID)));
    assert_eq!(denied(&without), denied(&with), "it tells whether the source is there");
}

#[test]
fn a_question_that_gets_no_answer_is_an_error_and_no_permission() {
    let (judge, _) = judge(|stub| {
        permitted(stub);
        stub.is_down = true;
    });
    assert!(judge.may_clone(&asker(), &Key::new("a", "golden"), ClonedKind::Claim).is_err());
}

/// The request of a claim in namespace `b` that a CloneSource fills.
fn claim_ask<'a>(source: &'a Key, target: &'a Key, uid: &'a Uid, source_uid: Option<&'a Uid>) -> Ask<'a> {
    Ask {
        source,
        source_kind: ClonedKind::Claim,
        source_uid,
        through: None,
        target,
        target_uid: uid,
        target_kind: TargetKind::CloneSource,
        consent: None,
        short_token: None,
        long_token: None,
        now: now(),
    }
}

fn granting(stub: &mut Stub) {
    stub.served.push(Kind::ReferenceGrant);
    let spec = json!({
        "from": [{ "group": "decant.dev", "kind": "CloneSource", "namespace": "b" }],
        "to": [{ "group": "", "kind": "PersistentVolumeClaim", "name": "golden" }],
    });
    stub.put(Kind::ReferenceGrant, "a", "clones", json!({ "spec": spec }));
}

#[test]
fn a_reference_grant_allows_a_clone_source_whether_or_not_the_source_exists() {
    let (judge, _) = judge(granting);
    let (source, target, uid) = (Key::new("a", "golden"), Key::new("b", "copy"), Uid::from("u-1"));
    for source_uid in [None, Some(&Uid::from(SOURCE_UID))] {
        let ask = claim_ask(&source, &target, &uid, source_uid);
        assert_eq!(judge.permission(&ask), Ok(Permission::Granted));
        assert!(Permission::Granted.is_given());
    }
    let elsewhere = Key::new("c", "copy");
    let ask = claim_ask(&source, &elsewhere, &uid, None);
    assert!(matches!(judge.permission(&ask), Ok(Permission::Denied(_))));
}

#[test]
fn a_reference_grant_counts_only_for_clone_sources_and_only_if_nothing_else_allows_the_clone() {
    let (judge, stub) = judge(granting);
    let (source, target, uid) = (Key::new("a", "golden"), Key::new("b", "copy"), Uid::from("u-1"));
    for target_kind in [TargetKind::DataVolume, TargetKind::Claim] {
        let ask = Ask { target_kind, ..claim_ask(&source, &target, &uid, None) };
        assert!(matches!(judge.permission(&ask), Ok(Permission::Denied(_))), "{target_kind:?}");
    }
    let consented = Ask { consent: Some("b"), ..claim_ask(&source, &target, &uid, None) };
    assert_eq!(judge.permission(&consented), Ok(Permission::Consent));
    let near = Key::new("a", "copy");
    assert_eq!(judge.permission(&claim_ask(&source, &near, &uid, None)), Ok(Permission::SameNamespace));
    assert!(stub.listed.lock().unwrap().is_empty());
}

#[test]
fn before_a_pod_is_created_the_reference_grants_are_listed_again() {
    let (judge, stub) = judge(granting);
    let (source, target, uid) = (Key::new("a", "golden"), Key::new("b", "copy"), Uid::from("u-1"));
    let ask = claim_ask(&source, &target, &uid, None);
    assert_eq!(judge.permission(&ask), Ok(Permission::Granted));
    assert_eq!(judge.permission(&ask), Ok(Permission::Granted));
    assert_eq!(stub.listed.lock().unwrap().len(), 1);
    assert_eq!(judge.withdrawn(&ask), Ok(None));
    assert_eq!(stub.listed.lock().unwrap().len(), 2);
    let (without, _) = self::judge(|stub| stub.served.push(Kind::ReferenceGrant));
    let denied = without.withdrawn(&ask).unwrap().unwrap();
    assert!(self::denied(&denied).contains("ReferenceGrant"));
}
