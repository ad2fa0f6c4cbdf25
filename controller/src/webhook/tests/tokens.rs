//! Tests of which users may write tokens, and what happens to other tokens.

use serde_json::{Value, json};
use time::Duration;

use super::{OWN, ask, asker, create, dv, gate, gives_token_for, golden, key, mutated, now, patched};
use crate::objects::annotations::{EXTENDED_TOKEN, PRE_POPULATED, TOKEN};
use crate::objects::{ClonedKind, Key, Kind, Uid};
use crate::token::grant::Grant;
use crate::webhook::gate::Gate;
use crate::webhook::review::Verdict;

#[test]
fn tokens_from_users_are_removed() {
    let forged = json!({TOKEN: "forged", EXTENDED_TOKEN: "forged"});
    let gate = gate(|stub| stub.grant("jane", "pods", "a"));
    let verdict = create(&gate, dv(&golden(), &forged));
    assert!(gives_token_for(&verdict, &Key::new("a", "golden"), &Key::new("b", "copy")));
    assert_eq!(patched(&verdict, EXTENDED_TOKEN), Some(None));
    for source in [json!({"pvc": {"namespace": "b", "name": "golden"}}), json!({"blank": {}}), json!({})] {
        let verdict = create(&gate, dv(&source, &forged));
        assert_eq!(patched(&verdict, TOKEN), Some(None), "{source}");
        assert_eq!(patched(&verdict, EXTENDED_TOKEN), Some(None), "{source}");
    }
}

#[test]
fn a_data_volume_that_is_filled_elsewhere_needs_no_token() {
    let verdict = create(&gate(|_| ()), dv(&golden(), &json!({PRE_POPULATED: "copy", TOKEN: "forged"})));
    assert_eq!(patched(&verdict, TOKEN), Some(None));
}

#[test]
fn a_generated_name_is_chosen_before_the_token_is_written() {
    let mut object = dv(&golden(), &json!({}));
    *object.pointer_mut("/metadata").unwrap() = json!({"generateName": "copy-"});
    let verdict = create(&gate(|stub| stub.grant("jane", "pods", "a")), object);
    let Verdict::Patched(operations) = &verdict else { panic!() };
    let name = operations
        .iter()
        .find(|op| op.path == "/metadata/name")
        .unwrap()
        .value
        .as_ref()
        .unwrap()
        .as_str()
        .unwrap();
    assert!(name.starts_with("copy-") && name.len() == 10, "{name}");
    assert!(gives_token_for(&verdict, &Key::new("a", "golden"), &Key::new("b", name)));
    assert!(operations.iter().any(|op| op.path == "/metadata/annotations"), "{operations:?}");
}

fn update(gate: &Gate, user: &str, new: &Value, old: &Value) -> Verdict {
    mutated(gate, &ask(user, "UPDATE", dv(&golden(), new), dv(&golden(), old)))
}

#[test]
fn users_cannot_change_tokens() {
    let gate = gate(|_| ());
    let old = json!({TOKEN: "ours"});
    assert_eq!(
        patched(&update(&gate, "jane", &json!({TOKEN: "hers"}), &old), TOKEN),
        Some(Some("ours".into()))
    );
    assert_eq!(patched(&update(&gate, "jane", &json!({}), &old), TOKEN), Some(Some("ours".into())));
    let added = json!({TOKEN: "ours", EXTENDED_TOKEN: "hers"});
    assert_eq!(patched(&update(&gate, "jane", &added, &old), EXTENDED_TOKEN), Some(None));
    assert_eq!(update(&gate, "jane", &old, &old), Verdict::Allowed);
}

#[test]
fn the_controller_itself_may_write_tokens() {
    let verdict = update(&gate(|_| ()), OWN, &json!({EXTENDED_TOKEN: "long"}), &json!({}));
    assert_eq!(verdict, Verdict::Allowed);
}

fn source() -> Key {
    Key::new("a", "golden")
}

fn target() -> Key {
    Key::new("b", "copy")
}

/// A short token of jane, written `ago`.
fn short(source_uid: Option<&str>, ago: Duration) -> Value {
    let uid = source_uid.map(Uid::from);
    let grant = Grant {
        source: &source(),
        source_kind: ClonedKind::Claim,
        source_uid: uid.as_ref(),
        target: &target(),
        asker: &asker("jane"),
    };
    json!({TOKEN: key().short(&grant, true, now() - ago)})
}

/// A long token of jane.
fn long(source_uid: Option<&str>) -> Value {
    let uid = source_uid.map(Uid::from);
    let grant = Grant {
        source: &source(),
        source_kind: ClonedKind::Claim,
        source_uid: uid.as_ref(),
        target: &target(),
        asker: &asker("jane"),
    };
    json!({EXTENDED_TOKEN: key().long(&grant, &Uid::from("u-1"), now())})
}

/// A source with the UID `s-1`, and these users may clone it.
fn with_source(users: &[&str]) -> Gate {
    gate(|stub| {
        stub.put(Kind::PersistentVolumeClaim, "a", "golden", json!({"metadata": {"uid": "s-1"}}));
        for user in users {
            stub.grant(user, "pods", "a");
        }
    })
}

#[test]
fn an_expired_token_is_renewed_by_a_user_with_permission() {
    let old = short(Some("s-1"), Duration::hours(1));
    let allowing = with_source(&["jane"]);
    assert!(gives_token_for(&update(&allowing, "jane", &old, &old), &source(), &target()));
    assert_eq!(update(&allowing, "joe", &old, &old), Verdict::Allowed);
    let good = long(Some("s-1"));
    assert_eq!(update(&allowing, "jane", &good, &good), Verdict::Allowed);
}

#[test]
fn a_token_for_a_source_that_was_replaced_is_renewed() {
    let old = long(Some("s-0"));
    assert!(gives_token_for(&update(&with_source(&["jane"]), "jane", &old, &old), &source(), &target()));
}

#[test]
fn a_token_without_its_users_right_is_renewed_by_a_user_who_may_clone() {
    for old in [long(Some("s-1")), long(None), short(Some("s-1"), Duration::ZERO)] {
        let joe_may = with_source(&["joe"]);
        assert!(gives_token_for(&update(&joe_may, "joe", &old, &old), &source(), &target()));
        assert_eq!(update(&joe_may, "jane", &old, &old), Verdict::Allowed);
        let both_may = with_source(&["joe", "jane"]);
        assert_eq!(update(&both_may, "joe", &old, &old), Verdict::Allowed);
    }
}

#[test]
fn a_token_of_a_previous_version_is_renewed_by_a_user_with_permission() {
    let grant = Grant {
        source: &source(),
        source_kind: ClonedKind::Claim,
        source_uid: None,
        target: &target(),
        asker: &asker("jane"),
    };
    let old = json!({EXTENDED_TOKEN: key().long_without_asker(&grant, &Uid::from("u-1"), now())});
    assert!(gives_token_for(&update(&with_source(&["jane"]), "jane", &old, &old), &source(), &target()));
}

#[test]
fn a_completed_data_volume_gets_no_token() {
    let mut done = dv(&golden(), &json!({}));
    done.as_object_mut().unwrap().insert("status".to_owned(), json!({"phase": "Succeeded"}));
    let review = ask("jane", "UPDATE", done.clone(), done);
    assert_eq!(mutated(&with_source(&["jane"]), &review), Verdict::Allowed);
}

#[test]
fn a_failed_renewal_does_not_deny_the_change() {
    let gate = gate(|stub| stub.is_down = true);
    assert_eq!(update(&gate, "jane", &json!({}), &json!({})), Verdict::Allowed);
}
