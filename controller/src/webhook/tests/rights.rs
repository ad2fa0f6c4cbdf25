//! Who may clone from where.

use serde_json::{Value, json};

use super::{
    body, create, dv, gate, gate_and_stub, gives_token_for, golden, key, message, mutated, now, patched,
};
use crate::objects::annotations::{ALLOW_CLONE_TO, TOKEN};
use crate::objects::{Key, Kind, Uid};
use crate::webhook::callers::Caller;
use crate::webhook::review::{Verdict, parse};
use crate::webhook::stub::Stub;

const REFUSED: &str = "User jane has insufficient permissions in clone source namespace a";

/// A DataVolume whose source is the DataSource `name` of another namespace.
fn referring(name: &str) -> Value {
    json!({
        "metadata": {"name": "copy", "namespace": "b"},
        "spec": {
            "sourceRef": {"kind": "DataSource", "namespace": "z", "name": name},
            "pvc": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
        },
    })
}

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
    let who = json!({"username": "jane", "uid": "u", "groups": ["g"], "extra": {"scopes": ["s"]}});
    let request = json!({"uid": "1", "operation": "CREATE", "namespace": "b", "userInfo": who,
                         "object": dv(&golden(), &json!({}))});
    mutated(&gate, &body(&request));
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
fn when_rights_cannot_be_asked_for_nobody_gets_in() {
    let verdict = create(&gate(|stub| stub.is_down = true), dv(&golden(), &json!({})));
    assert!(message(&verdict).starts_with("cannot check whether jane may clone"));
}

fn pointing(stub: &mut Stub) {
    let to_other = json!({"spec": {"source": {"dataSource": {"name": "two"}}}});
    stub.put(Kind::DataSource, "z", "one", to_other);
    stub.put(Kind::DataSource, "z", "two", json!({"spec": {"source": golden()}}));
}

#[test]
fn behind_a_data_source_it_is_the_claim_that_counts() {
    for name in ["one", "two"] {
        let refusing = gate(|stub| {
            pointing(stub);
            stub.grant("jane", "datavolumes/source", "z");
        });
        assert!(message(&create(&refusing, referring(name))).contains("insufficient permissions"), "{name}");
        let allowing = gate(|stub| {
            pointing(stub);
            stub.grant("jane", "datavolumes/source", "a");
        });
        let verdict = create(&allowing, referring(name));
        assert!(gives_token_for(&verdict, &Key::new("a", "golden"), &Key::new("b", "copy")), "{name}");
    }
}

#[test]
fn without_rights_a_data_source_elsewhere_is_neither_confirmed_nor_followed() {
    let stub = |stub: &mut Stub| {
        pointing(stub);
        stub.put(Kind::DataSource, "z", "snapshot", json!({"spec": {"source": {"snapshot": {"name": "s"}}}}));
        stub.put(Kind::DataSource, "z", "empty", json!({}));
    };
    for name in ["one", "two", "snapshot", "empty", "missing"] {
        let expected = format!(
            "User jane has insufficient permissions in clone source namespace z, or in the one that DataSource z/{name} \
             refers to"
        );
        assert_eq!(message(&create(&gate(stub), referring(name))), expected);
    }
}

#[test]
fn without_rights_claims_and_namespaces_are_not_confirmed() {
    let gate = gate(|stub| stub.put(Kind::PersistentVolumeClaim, "a", "golden", json!({})));
    for (namespace, name) in [("a", "golden"), ("a", "missing"), ("nowhere", "golden")] {
        let source = json!({"pvc": {"namespace": namespace, "name": name}});
        let expected =
            format!("User jane has insufficient permissions in clone source namespace {namespace}");
        assert_eq!(message(&create(&gate, dv(&source, &json!({})))), expected);
    }
}

#[test]
fn the_token_names_who_asked_and_to_a_proven_caller_the_source_that_is_there() {
    for (source_uid, caller, told) in [
        (None, Caller::Proven, None),
        (Some("s-1"), Caller::Proven, Some("s-1")),
        (None, Caller::Unknown, None),
        (Some("s-1"), Caller::Unknown, None),
    ] {
        let gate = gate(|stub| {
            stub.grant("jane", "pods", "a");
            if let Some(uid) = source_uid {
                stub.put(Kind::PersistentVolumeClaim, "a", "golden", json!({"metadata": {"uid": uid}}));
            }
        });
        let who = json!({"username": "jane", "uid": "u", "groups": ["g"], "extra": {"scopes": ["s"]}});
        let request = json!({"uid": "1", "operation": "CREATE", "namespace": "b", "userInfo": who,
                             "object": dv(&golden(), &json!({}))});
        let verdict = gate.mutate(&parse(&body(&request)).unwrap(), caller, now());
        let token = patched(&verdict, TOKEN).flatten().unwrap();
        let granted =
            key().check_short(&token, &Key::new("a", "golden"), &Key::new("b", "copy"), now()).unwrap();
        assert_eq!(serde_json::to_value(&granted.asker).unwrap(), who);
        assert_eq!(granted.source_uid, told.map(Uid::from));
        assert_eq!(granted.caller_is_proven, caller.is_proven());
    }
}

#[test]
fn who_has_more_groups_than_a_token_holds_is_told_so() {
    let gate = gate(|stub| stub.grant("jane", "pods", "a"));
    let groups: Vec<String> = (0..1000).map(|n| format!("oidc:department-{n:04}")).collect();
    let create_with = |source: Value| {
        let request = json!({"uid": "1", "operation": "CREATE", "namespace": "b",
                             "userInfo": {"username": "jane", "groups": groups},
                             "object": dv(&source, &json!({}))});
        mutated(&gate, &body(&request))
    };
    assert!(message(&create_with(golden())).contains("take 23"), "{}", message(&create_with(golden())));
    // Where no token is needed it does not matter.
    assert_eq!(create_with(json!({"pvc": {"namespace": "b", "name": "x"}})), Verdict::Allowed);
}

#[test]
fn a_data_source_that_leads_nowhere_gives_no_token() {
    let gate = gate(|stub| {
        stub.grant("jane", "datavolumes/source", "z");
        stub.put(Kind::DataSource, "z", "empty", json!({}));
        for (from, to) in [("one", "two"), ("two", "three"), ("three", "one")] {
            stub.put(Kind::DataSource, "z", from, json!({"spec": {"source": {"dataSource": {"name": to}}}}));
        }
    });
    for name in ["missing", "empty", "one"] {
        assert_eq!(create(&gate, referring(name)), Verdict::Allowed, "{name}");
    }
}
