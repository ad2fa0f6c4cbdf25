//! What both webhooks decide, on a cluster in memory.

use std::sync::Arc;

use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};

use super::Gate;
use super::review::{Request, UserInfo, Verdict};
use super::stub::Stub;
use crate::annotations::{
    ALLOW_ADOPTION, ALLOW_CLONE_TO, EXTENDED_TOKEN, POPULATED_FOR, PRE_POPULATED, TOKEN,
};
use crate::resource::{Key, Kind, Uid};
use crate::token::TokenKey;

const OWN: &str = "system:serviceaccount:decant:decant";

fn now() -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap()
}

fn key() -> TokenKey {
    TokenKey::new(&[5; 32])
}

fn gate(change: impl FnOnce(&mut Stub)) -> Gate {
    gate_and_stub(change).0
}

fn gate_and_stub(change: impl FnOnce(&mut Stub)) -> (Gate, Arc<Stub>) {
    let mut stub = Stub::default();
    for namespace in ["a", "b", "z"] {
        stub.put(Kind::Namespace, "", namespace, json!({}));
    }
    change(&mut stub);
    let stub = Arc::new(stub);
    let cluster = Arc::clone(&stub);
    let gate = Gate { cluster, keys: Arc::new(key()), own_user: OWN.to_owned(), claim_adoption: false };
    (gate, stub)
}

fn dv(source: &Value, annotations: &Value) -> Value {
    json!({
        "metadata": {"name": "copy", "namespace": "b", "uid": "u-1", "annotations": annotations},
        "spec": {
            "source": source,
            "pvc": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
        },
    })
}

fn referring(name: &str) -> Value {
    let mut object = dv(&json!(null), &json!({}));
    object["spec"].as_object_mut().unwrap().remove("source");
    object["spec"]["sourceRef"] = json!({"kind": "DataSource", "namespace": "z", "name": name});
    object
}

fn golden() -> Value {
    json!({"pvc": {"namespace": "a", "name": "golden"}})
}

fn ask(user: &str, operation: &str, object: Value, old: Value) -> Request {
    Request {
        uid: "1".to_owned(),
        operation: operation.to_owned(),
        namespace: "b".to_owned(),
        user_info: UserInfo { username: user.to_owned(), ..UserInfo::default() },
        object,
        old_object: old,
    }
}

fn create(gate: &Gate, object: Value) -> Verdict {
    gate.mutate(&ask("jane", "CREATE", object, Value::Null), now())
}

/// The value that a patch gives the annotation `name`; `Some(None)` when it removes it.
fn patched(verdict: &Verdict, name: &str) -> Option<Option<String>> {
    let Verdict::Patched(operations) = verdict else { return None };
    let path = format!("/metadata/annotations/{}", name.replace('/', "~1"));
    let operation = operations.iter().find(|operation| operation["path"] == path)?;
    Some(operation.get("value").map(|value| value.as_str().unwrap().to_owned()))
}

/// Whether the verdict gives a token for exactly this clone.
fn gives_token_for(verdict: &Verdict, source: &Key, target: &Key) -> bool {
    let token = patched(verdict, TOKEN).flatten().unwrap_or_default();
    key().check_short(&token, source, target, now()) == Ok(())
}

fn message(verdict: &Verdict) -> &str {
    match verdict {
        Verdict::Denied(denial) => &denial.message,
        other => panic!("{other:?}"),
    }
}

const REFUSED: &str = "User jane has insufficient permissions in clone source namespace a";

#[test]
fn without_rights_a_clone_from_elsewhere_is_denied() {
    assert_eq!(message(&create(&gate(|_| ()), dv(&golden(), &json!({})))), REFUSED);
}

#[test]
fn either_right_gives_a_token() {
    for resource in ["datavolumes/source", "pods"] {
        let gate = gate(|stub| stub.grant("jane", resource, "a"));
        let verdict = create(&gate, dv(&golden(), &json!({})));
        assert!(gives_token_for(&verdict, &Key::new("a", "golden"), &Key::new("b", "copy")), "{resource}");
    }
}

#[test]
fn rights_elsewhere_or_of_others_do_not_count() {
    let gate = gate(|stub| {
        stub.grant("jane", "datavolumes/source", "b");
        stub.grant("jane", "datavolumes", "a");
        stub.grant("joe", "datavolumes/source", "a");
    });
    assert_eq!(message(&create(&gate, dv(&golden(), &json!({})))), REFUSED);
}

#[test]
fn the_question_names_user_groups_extra_and_claim() {
    let (gate, stub) = gate_and_stub(|_| ());
    let mut request = ask("jane", "CREATE", dv(&golden(), &json!({})), Value::Null);
    request.user_info = serde_json::from_value(json!({
        "username": "jane", "uid": "u", "groups": ["g"], "extra": {"scopes": ["s"]},
    }))
    .unwrap();
    gate.mutate(&request, now());
    let asked = stub.asked.lock().unwrap();
    let user = |attributes: Value| {
        json!({"user": "jane", "uid": "u", "groups": ["g"], "extra": {"scopes": ["s"]},
               "resourceAttributes": attributes})
    };
    assert_eq!(
        *asked,
        [
            user(json!({"verb": "create", "group": "cdi.kubevirt.io", "resource": "datavolumes",
                        "subresource": "source", "namespace": "a", "name": "golden"})),
            user(
                json!({"verb": "create", "group": "", "resource": "pods", "namespace": "a", "name": "golden"})
            ),
        ]
    );
}

#[test]
fn in_one_namespace_nobody_is_asked_about() {
    let (gate, stub) = gate_and_stub(|stub| stub.is_down = true);
    let verdict = create(&gate, dv(&json!({"pvc": {"namespace": "b", "name": "golden"}}), &json!({})));
    assert_eq!(verdict, Verdict::Allowed);
    assert!(stub.asked.lock().unwrap().is_empty());
}

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
fn the_owners_consent_is_enough_and_gives_no_token() {
    let gate = gate(|stub| {
        let claim = json!({"metadata": {"annotations": {ALLOW_CLONE_TO: "x, b"}}});
        stub.put(Kind::PersistentVolumeClaim, "a", "golden", claim);
    });
    assert_eq!(create(&gate, dv(&golden(), &json!({}))), Verdict::Allowed);
}

#[test]
fn a_source_namespace_that_does_not_exist_is_told_to_those_who_might_use_it() {
    let source = json!({"pvc": {"namespace": "nowhere", "name": "golden"}});
    let allowed = gate(|stub| stub.grant("jane", "pods", "nowhere"));
    assert_eq!(message(&create(&allowed, dv(&source, &json!({})))), "namespace \"nowhere\" not found");
    let verdict = create(&gate(|_| ()), dv(&source, &json!({})));
    assert!(message(&verdict).starts_with("User jane has insufficient permissions"));
}

#[test]
fn a_data_volume_that_is_filled_elsewhere_is_let_through_without_a_token() {
    let verdict = create(&gate(|_| ()), dv(&golden(), &json!({PRE_POPULATED: "copy", TOKEN: "forged"})));
    assert_eq!(patched(&verdict, TOKEN), Some(None));
}

#[test]
fn when_rights_cannot_be_asked_for_nobody_gets_in() {
    let verdict = create(&gate(|stub| stub.is_down = true), dv(&golden(), &json!({})));
    assert!(message(&verdict).starts_with("whether jane may clone is not known"));
}

#[test]
fn behind_a_data_source_it_is_the_claim_that_counts() {
    let pointing = |stub: &mut Stub| {
        let to_other = json!({"spec": {"source": {"dataSource": {"name": "two"}}}});
        stub.put(Kind::DataSource, "z", "one", to_other);
        stub.put(Kind::DataSource, "z", "two", json!({"spec": {"source": golden()}}));
    };
    for name in ["one", "two"] {
        let refusing = gate(|stub| {
            pointing(stub);
            stub.grant("jane", "datavolumes/source", "z");
        });
        assert_eq!(message(&create(&refusing, referring(name))), REFUSED, "{name}");
        let allowing = gate(|stub| {
            pointing(stub);
            stub.grant("jane", "datavolumes/source", "a");
        });
        let verdict = create(&allowing, referring(name));
        assert!(gives_token_for(&verdict, &Key::new("a", "golden"), &Key::new("b", "copy")), "{name}");
    }
}

#[test]
fn a_data_source_that_leads_nowhere_gives_no_token() {
    let gate = gate(|stub| {
        stub.put(Kind::DataSource, "z", "empty", json!({}));
        for (from, to) in [("one", "two"), ("two", "three"), ("three", "one")] {
            stub.put(Kind::DataSource, "z", from, json!({"spec": {"source": {"dataSource": {"name": to}}}}));
        }
    });
    for name in ["missing", "empty", "one"] {
        assert_eq!(create(&gate, referring(name)), Verdict::Allowed, "{name}");
    }
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

fn validated(gate: &Gate, object: Value) -> Verdict {
    gate.validate(&ask("jane", "CREATE", object, Value::Null))
}

#[test]
fn what_makes_no_sense_is_refused_with_field_and_message() {
    let Verdict::Denied(denial) = validated(&gate(|_| ()), dv(&json!({}), &json!({}))) else { panic!() };
    assert_eq!(
        (denial.field.as_str(), denial.message.as_str()),
        ("spec.source", "Missing Data volume source")
    );
}

#[test]
fn sources_of_others_are_none_of_our_business() {
    assert_eq!(validated(&gate(|_| ()), dv(&json!({"http": {"url": "x"}}), &json!({}))), Verdict::Allowed);
}

#[test]
fn a_foreign_claim_of_the_same_name_is_in_the_way() {
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
fn a_data_volume_or_a_policy_may_ask_for_adoption() {
    let with_claim = || gate(|stub| stub.put(Kind::PersistentVolumeClaim, "b", "copy", json!({})));
    let adopting = dv(&golden(), &json!({ALLOW_ADOPTION: "true"}));
    assert_eq!(validated(&with_claim(), adopting), Verdict::Allowed);
    let by_policy = Gate { claim_adoption: true, ..with_claim() };
    assert_eq!(validated(&by_policy, dv(&golden(), &json!({}))), Verdict::Allowed);
    let refusing = dv(&golden(), &json!({ALLOW_ADOPTION: "false"}));
    message(&validated(&by_policy, refusing));
}

#[test]
fn specs_stay_as_they_are_but_for_checkpoints() {
    let gate = gate(|_| ());
    let old = dv(&golden(), &json!({}));
    let verdict = |change: &dyn Fn(&mut Value)| {
        let mut new = old.clone();
        change(&mut new);
        gate.validate(&ask("jane", "UPDATE", new, old.clone()))
    };
    assert_eq!(verdict(&|new| new["metadata"]["labels"] = json!({"x": "y"})), Verdict::Allowed);
    assert_eq!(verdict(&|new| new["spec"]["checkpoints"] = json!([{}])), Verdict::Allowed);
    assert_eq!(verdict(&|new| new["spec"]["finalCheckpoint"] = json!(true)), Verdict::Allowed);
    let other_source = verdict(&|new| new["spec"]["source"]["pvc"]["name"] = json!("secret"));
    assert_eq!(message(&other_source), "Cannot update DataVolume Spec");
}

#[test]
fn what_was_made_before_the_webhook_can_still_be_changed() {
    let broken = json!({"metadata": {"name": "copy"}, "spec": {}});
    assert_eq!(gate(|_| ()).validate(&ask("jane", "UPDATE", broken.clone(), broken)), Verdict::Allowed);
}
