//! Tests of the denials of the validating webhook.

use serde_json::{Value, json};

use super::{ask, dv, gate, golden, message};
use crate::objects::Kind;
use crate::objects::annotations::{ALLOW_ADOPTION, POPULATED_FOR};
use crate::webhook::gate::Gate;
use crate::webhook::review::{Verdict, parse};

fn asked(gate: &Gate, review: &[u8]) -> Verdict {
    gate.validate(&parse(review).unwrap())
}

fn validated(gate: &Gate, object: Value) -> Verdict {
    asked(gate, &ask("jane", "CREATE", object, Value::Null))
}

#[test]
fn an_invalid_data_volume_is_denied_with_field_and_message() {
    let Verdict::Denied(denial) = validated(&gate(|_| ()), dv(&json!({}), &json!({}))) else { panic!() };
    assert_eq!(
        (denial.field.as_str(), denial.message.as_str()),
        ("spec.source", "Missing Data volume source")
    );
}

#[test]
fn other_sources_are_allowed() {
    assert_eq!(validated(&gate(|_| ()), dv(&json!({"http": {"url": "x"}}), &json!({}))), Verdict::Allowed);
}

#[test]
fn a_foreign_claim_with_the_same_name_is_denied() {
    let taken = "Destination PVC b/copy already exists";
    let owner = |kind: &str, name: &str| json!({"kind": kind, "name": name, "controller": true});
    let owned = |owner: Value| json!({"metadata": {"ownerReferences": [owner]}});
    let annotated = |name: &str, value: &str| json!({"metadata": {"annotations": {name: value}}});
    let table = [
        (json!({}), false),
        (annotated(POPULATED_FOR, "copy"), true),
        (annotated(POPULATED_FOR, "other"), false),
        (annotated(ALLOW_ADOPTION, "true"), true),
        (annotated(ALLOW_ADOPTION, "false"), false),
        (owned(owner("DataVolume", "copy")), true),
        (owned(owner("DataVolume", "other")), false),
        (owned(owner("StatefulSet", "copy")), false),
    ];
    for (claim, is_fine) in table {
        let gate = gate(|stub| stub.put(Kind::PersistentVolumeClaim, "b", "copy", claim.clone()));
        let verdict = validated(&gate, dv(&golden(), &json!({})));
        if is_fine {
            assert_eq!(verdict, Verdict::Allowed, "{claim}");
        } else {
            assert_eq!(message(&verdict), taken, "{claim}");
        }
    }
}

#[test]
fn the_operator_may_allow_adoption_and_the_data_volume_may_forbid_it() {
    let with_claim = || gate(|stub| stub.put(Kind::PersistentVolumeClaim, "b", "copy", json!({})));
    let adopting = dv(&golden(), &json!({ALLOW_ADOPTION: "true"}));
    assert_eq!(message(&validated(&with_claim(), adopting)), "Destination PVC b/copy already exists");
    let by_policy = Gate { claim_adoption: true, ..with_claim() };
    assert_eq!(validated(&by_policy, dv(&golden(), &json!({}))), Verdict::Allowed);
    let refusing = dv(&golden(), &json!({ALLOW_ADOPTION: "false"}));
    message(&validated(&by_policy, refusing));
}

#[test]
fn only_checkpoints_of_a_spec_may_change() {
    let gate = gate(|_| ());
    let old = dv(&golden(), &json!({}));
    let verdict = |parent: &str, name: &str, value: Value| {
        let mut new = old.clone();
        new.pointer_mut(parent).unwrap().as_object_mut().unwrap().insert(name.to_owned(), value);
        asked(&gate, &ask("jane", "UPDATE", new, old.clone()))
    };
    assert_eq!(verdict("/metadata", "labels", json!({"x": "y"})), Verdict::Allowed);
    assert_eq!(verdict("/spec", "checkpoints", json!([{}])), Verdict::Allowed);
    assert_eq!(verdict("/spec", "finalCheckpoint", json!(true)), Verdict::Allowed);
    let other_source = verdict("/spec/source/pvc", "name", json!("secret"));
    assert_eq!(message(&other_source), "Cannot update DataVolume Spec");
}

#[test]
fn data_volumes_older_than_the_webhook_can_be_changed() {
    let broken = json!({"metadata": {"name": "copy"}, "spec": {}});
    assert_eq!(asked(&gate(|_| ()), &ask("jane", "UPDATE", broken.clone(), broken)), Verdict::Allowed);
}
