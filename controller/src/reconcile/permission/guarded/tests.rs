use serde_json::json;

use super::*;
use crate::certificates::signer::Signer;
use crate::webhook::stub::Stub;

const SERVICE: &str = "cdi-api";

fn now() -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap()
}

/// A configuration as in `controller/deploy/webhook`, with the defaults that the API server adds.
fn configuration(path: &str, bundle: &str) -> Value {
    json!({
        "metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"},
        "webhooks": [{
            "name": "x.cdi.kubevirt.io",
            "failurePolicy": "Fail",
            "matchPolicy": "Equivalent",
            "namespaceSelector": {},
            "objectSelector": {},
            "clientConfig": {
                "service": {"namespace": "decant", "name": SERVICE, "path": path, "port": 443},
                "caBundle": BASE64_STANDARD.encode(bundle),
            },
            "rules": [{
                "apiGroups": ["cdi.kubevirt.io"], "apiVersions": ["v1beta1"], "scope": "*",
                "operations": ["CREATE", "UPDATE"], "resources": ["datavolumes"],
            }],
        }],
    })
}

/// A cluster with the webhook configured, after `change` has edited the configurations.
fn cluster(change: impl Fn(Kind, &mut Value)) -> Stub {
    let signer = Signer::new("webhook", OffsetDateTime::now_utc()).unwrap();
    let mut stub = Stub::default();
    stub.put(Kind::Secret, "decant", SIGNER_SECRET, json!({"data": signer.data()}));
    for (kind, name, path) in [
        (Kind::MutatingWebhookConfiguration, MUTATING, MUTATE_PATH),
        (Kind::ValidatingWebhookConfiguration, VALIDATING, VALIDATE_PATH),
    ] {
        let mut object = configuration(path, &signer.bundle_pem);
        change(kind, &mut object);
        stub.put(kind, "", name, object);
    }
    stub
}

fn checked(stub: Stub) -> Result<(), String> {
    Guarded::new(Arc::new(stub), "decant".to_owned(), SERVICE.to_owned()).check(now())
}

#[test]
fn what_is_deployed_guards_data_volumes() {
    assert_eq!(checked(cluster(|_, _| ())), Ok(()));
}

#[test]
fn what_says_the_same_in_other_words_guards_them_too() {
    let says = |pointer: &'static str, value: Value| {
        cluster(move |_, object| *object.pointer_mut(pointer).unwrap() = value.clone())
    };
    let rule = |operation: &str| json!({"apiGroups": ["*"], "apiVersions": ["*"], "operations": [operation], "resources": ["*"]});
    for stub in [
        says("/webhooks/0/rules", json!([rule("CREATE"), rule("UPDATE")])),
        says("/webhooks/0/rules", json!([rule("*")])),
        says("/webhooks/0/rules/0/scope", json!("Namespaced")),
        says("/webhooks/0/rules/0/resources", json!(["pods", "*/*"])),
        says("/webhooks/0/namespaceSelector", json!({"matchLabels": {}, "matchExpressions": []})),
        says("/webhooks/0/objectSelector", json!(null)),
        says("/webhooks/0/clientConfig/service/port", json!(null)),
    ] {
        assert_eq!(checked(stub), Ok(()));
    }
}

#[test]
fn each_gap_in_either_configuration_is_found_and_named() {
    for (pointer, value, complaint) in [
        ("/webhooks", json!([]), "has no webhook"),
        ("/webhooks/0/failurePolicy", json!("Ignore"), "another failurePolicy than Fail"),
        ("/webhooks/0/namespaceSelector", json!({"matchLabels": {"a": "b"}}), "a namespaceSelector"),
        (
            "/webhooks/0/namespaceSelector",
            json!({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}),
            "a namespaceSelector",
        ),
        ("/webhooks/0/objectSelector", json!({"matchLabels": {"a": "b"}}), "an objectSelector"),
        ("/webhooks/0/clientConfig/service/name", json!("other"), "does not lead to"),
        ("/webhooks/0/clientConfig/service/namespace", json!("other"), "does not lead to"),
        ("/webhooks/0/clientConfig/service/path", json!("/"), "does not lead to"),
        ("/webhooks/0/clientConfig/service/port", json!(8443), "does not lead to"),
        ("/webhooks/0/clientConfig", json!({"url": "https://elsewhere"}), "does not lead to"),
        ("/webhooks/0/clientConfig/caBundle", json!("QQ=="), "does not carry the authority"),
        ("/webhooks/0/clientConfig/caBundle", json!(null), "does not carry the authority"),
        ("/webhooks/0/rules", json!([]), "no rule for CREATE"),
        ("/webhooks/0/rules/0/operations", json!(["CREATE"]), "no rule for UPDATE"),
        ("/webhooks/0/rules/0/resources", json!(["datavolumes/status"]), "no rule for CREATE"),
        ("/webhooks/0/rules/0/apiGroups", json!(["other"]), "no rule for CREATE"),
        ("/webhooks/0/rules/0/apiVersions", json!(["v1"]), "no rule for CREATE"),
        ("/webhooks/0/rules/0/scope", json!("Cluster"), "no rule for CREATE"),
        ("/webhooks/0/rules", json!("x"), "cannot be understood"),
        ("/metadata/creationTimestamp", json!("x"), "does not say when it was made"),
    ] {
        for broken in [Kind::MutatingWebhookConfiguration, Kind::ValidatingWebhookConfiguration] {
            let why = checked(cluster(|kind, object| {
                if kind == broken {
                    *object.pointer_mut(pointer).unwrap() = value.clone();
                }
            }))
            .unwrap_err();
            assert!(why.starts_with(broken.name()) && why.contains(complaint), "{pointer}: {why}");
        }
    }
    let conditions = cluster(|_, object| {
        let hook = object.pointer_mut("/webhooks/0").unwrap().as_object_mut().unwrap();
        hook.insert("matchConditions".to_owned(), json!([{"name": "x", "expression": "false"}]));
    });
    assert!(checked(conditions).unwrap_err().contains("has matchConditions"));
}

#[test]
fn a_configuration_or_an_authority_that_is_missing_is_named() {
    for (kind, namespace, name) in [
        (Kind::MutatingWebhookConfiguration, "", MUTATING),
        (Kind::ValidatingWebhookConfiguration, "", VALIDATING),
        (Kind::Secret, "decant", SIGNER_SECRET),
    ] {
        let mut stub = cluster(|_, _| ());
        stub.objects.remove(&(kind, Key::new(namespace, name)));
        let why = checked(stub).unwrap_err();
        assert!(why.contains(name), "{why}");
    }
}

#[test]
fn a_token_from_before_the_configurations_does_not_count() {
    let guarded = Guarded::new(
        Arc::new(cluster(|_, object| {
            *object.pointer_mut("/metadata/creationTimestamp").unwrap() = json!("2027-01-15T08:00:00Z");
        })),
        "decant".to_owned(),
        SERVICE.to_owned(),
    );
    // 2027-01-15T08:00:00Z is `now`.
    assert_eq!(guarded.check(now()), Ok(()));
    let before = guarded.check(now() - time::Duration::minutes(1)).unwrap_err();
    assert_eq!(before, "its configurations are younger than the token");
}

#[test]
fn many_tokens_at_once_cost_one_look() {
    let stub = Arc::new(cluster(|_, _| ()));
    let guarded = Guarded::new(stub.clone(), "decant".to_owned(), SERVICE.to_owned());
    for _ in 0..100 {
        assert_eq!(guarded.check(now()), Ok(()));
    }
    assert_eq!(*stub.gets.lock().unwrap(), 3);
}
