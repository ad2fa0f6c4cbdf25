//! Tests of which users may clone from which namespaces.

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
fn a_clone_from_another_namespace_needs_a_right() {
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
fn rights_in_other_namespaces_or_of_other_users_do_not_count() {
    let gate = gate(|stub| {
        stub.grant("jane", "datavolumes/source", "b");
        stub.grant("jane", "datavolumes", "a");
        stub.grant("joe", "datavolumes/source", "a");
    });
    assert_eq!(message(&create(&gate, dv(&golden(), &json!({})))), REFUSED);
}

#[test]
fn the_review_names_user_groups_extra_and_claim() {
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
fn within_one_namespace_no_right_is_asked_about() {
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
fn a_missing_source_namespace_is_reported_only_to_users_with_the_right() {
    let source = json!({"pvc": {"namespace": "nowhere", "name": "golden"}});
    let allowed = gate(|stub| stub.grant("jane", "pods", "nowhere"));
    assert_eq!(message(&create(&allowed, dv(&source, &json!({})))), "namespace \"nowhere\" not found");
    let verdict = create(&gate(|_| ()), dv(&source, &json!({})));
    assert!(message(&verdict).starts_with("User jane has insufficient permissions"));
}

#[test]
fn without_an_answer_about_rights_access_is_denied() {
    let verdict = create(&gate(|stub| stub.is_down = true), dv(&golden(), &json!({})));
    assert!(message(&verdict).starts_with("cannot check whether jane may clone"));
}

fn pointing(stub: &mut Stub) {
    let to_other = json!({"spec": {"source": {"dataSource": {"name": "two"}}}});
    stub.put(Kind::DataSource, "z", "one", to_other);
    stub.put(Kind::DataSource, "z", "two", json!({"spec": {"source": golden()}}));
}

#[test]
fn the_claim_of_a_data_source_counts() {
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
fn a_foreign_data_source_is_not_revealed_or_resolved_without_rights() {
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
fn claims_and_namespaces_are_not_revealed_without_rights() {
    let gate = gate(|stub| stub.put(Kind::PersistentVolumeClaim, "a", "golden", json!({})));
    for (namespace, name) in [("a", "golden"), ("a", "missing"), ("nowhere", "golden")] {
        let source = json!({"pvc": {"namespace": namespace, "name": name}});
        let expected =
            format!("User jane has insufficient permissions in clone source namespace {namespace}");
        assert_eq!(message(&create(&gate, dv(&source, &json!({})))), expected);
    }
}

#[test]
fn the_token_has_the_user_and_for_a_proven_caller_the_uid_of_the_source() {
    for (source_uid, caller, expected) in [
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
        assert_eq!(granted.source_uid, expected.map(Uid::from));
        assert_eq!(granted.caller_is_proven, caller.is_proven());
    }
}

#[test]
fn a_user_with_too_many_groups_gets_an_error() {
    let gate = gate(|stub| stub.grant("jane", "pods", "a"));
    let groups: Vec<String> = (0..1000).map(|n| format!("oidc:department-{n:04}")).collect();
    let create_with = |source: Value| {
        let request = json!({"uid": "1", "operation": "CREATE", "namespace": "b",
                             "userInfo": {"username": "jane", "groups": groups},
                             "object": dv(&source, &json!({}))});
        mutated(&gate, &body(&request))
    };
    assert!(message(&create_with(golden())).contains("take 23"), "{}", message(&create_with(golden())));
    // If no token is needed, the size does not matter.
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
