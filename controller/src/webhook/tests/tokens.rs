//! Who writes tokens, and what becomes of those that others write.

use serde_json::{Value, json};
use time::Duration;

use super::{OWN, ask, create, dv, gate, gives_token_for, golden, key, now, patched};
use crate::annotations::{EXTENDED_TOKEN, PRE_POPULATED, TOKEN};
use crate::resource::{Key, Uid};
use crate::webhook::Gate;
use crate::webhook::review::Verdict;

#[test]
fn what_users_write_as_tokens_goes() {
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
fn a_data_volume_that_is_filled_elsewhere_is_let_through_without_a_token() {
    let verdict = create(&gate(|_| ()), dv(&golden(), &json!({PRE_POPULATED: "copy", TOKEN: "forged"})));
    assert_eq!(patched(&verdict, TOKEN), Some(None));
}

#[test]
fn a_generated_name_is_chosen_before_the_token_is_written() {
    let mut object = dv(&golden(), &json!({}));
    object["metadata"] = json!({"generateName": "copy-"});
    let verdict = create(&gate(|stub| stub.grant("jane", "pods", "a")), object);
    let Verdict::Patched(operations) = &verdict else { panic!() };
    let name =
        operations.iter().find(|op| op["path"] == "/metadata/name").unwrap()["value"].as_str().unwrap();
    assert!(name.starts_with("copy-") && name.len() == 10, "{name}");
    assert!(gives_token_for(&verdict, &Key::new("a", "golden"), &Key::new("b", name)));
    assert!(operations.iter().any(|op| op["path"] == "/metadata/annotations"), "{operations:?}");
}

fn update(gate: &Gate, user: &str, new: &Value, old: &Value) -> Verdict {
    gate.mutate(&ask(user, "UPDATE", dv(&golden(), new), dv(&golden(), old)), now())
}

#[test]
fn users_do_not_change_tokens_later() {
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

#[test]
fn a_token_that_came_too_late_is_renewed_by_whoever_may_clone() {
    let (source, target) = (Key::new("a", "golden"), Key::new("b", "copy"));
    let old = json!({TOKEN: key().short(&source, &target, now() - Duration::hours(1))});
    let allowing = gate(|stub| stub.grant("jane", "pods", "a"));
    assert!(gives_token_for(&update(&allowing, "jane", &old, &old), &source, &target));
    assert_eq!(update(&allowing, "joe", &old, &old), Verdict::Allowed);
    let good = json!({EXTENDED_TOKEN: key().long(&source, &target, &Uid::from("u-1"), now())});
    assert_eq!(update(&allowing, "jane", &good, &good), Verdict::Allowed);
}

#[test]
fn a_renewal_that_cannot_be_decided_does_not_stand_in_the_way() {
    let gate = gate(|stub| stub.is_down = true);
    assert_eq!(update(&gate, "jane", &json!({}), &json!({})), Verdict::Allowed);
}
