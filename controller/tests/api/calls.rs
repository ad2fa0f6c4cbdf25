//! Single calls.

use decant_controller::api::client::KubeCluster;
use decant_controller::api::cluster::{Cluster, ListParams, Part};
use decant_controller::api::counted::Counted;
use decant_controller::objects::{Kind, Uid};
use serde_json::json;

use crate::sandbox::{Sandbox, kubeconfig, uid, version};

#[test]
fn a_created_object_can_be_read() {
    let sandbox = Sandbox::new();
    let made = sandbox.cluster.create(Kind::Secret, &sandbox.secret("a")).unwrap().value();
    assert_eq!(uid(&sandbox.cluster.get(Kind::Secret, &sandbox.key("a")).unwrap().value()), uid(&made));
}

#[test]
fn creating_an_existing_name_is_already_exists() {
    let sandbox = Sandbox::new();
    sandbox.cluster.create(Kind::Secret, &sandbox.secret("a")).unwrap();
    let error = sandbox.cluster.create(Kind::Secret, &sandbox.secret("a")).unwrap_err();
    assert!(error.already_exists(), "{error:?}");
}

#[test]
fn a_missing_object_is_not_found() {
    let sandbox = Sandbox::new();
    let error = sandbox.cluster.get(Kind::Secret, &sandbox.key("a")).unwrap_err();
    assert!(error.is_not_found() && error.message.contains("\"a\" not found"), "{error:?}");
}

#[test]
fn a_patch_sets_fields_and_null_removes_them() {
    let sandbox = Sandbox::new();
    sandbox.cluster.create(Kind::Secret, &sandbox.secret("a")).unwrap();
    let patch = json!({ "metadata": { "annotations": { "x": "1" }, "labels": { "mine": null } } });
    let patched =
        sandbox.cluster.patch(Kind::Secret, &sandbox.key("a"), Part::Whole, &patch).unwrap().value();
    assert_eq!(patched["metadata"]["annotations"]["x"], "1");
    assert_eq!(patched["metadata"].get("labels"), None);
    assert_eq!(patched["data"]["a"], "MQ==");
}

#[test]
fn a_patch_of_an_older_version_is_a_conflict() {
    let sandbox = Sandbox::new();
    let made = sandbox.cluster.create(Kind::Secret, &sandbox.secret("a")).unwrap().value();
    let patch =
        |x: &str| json!({ "metadata": { "resourceVersion": version(&made), "annotations": { "x": x } } });
    let key = sandbox.key("a");
    sandbox.cluster.patch(Kind::Secret, &key, Part::Whole, &patch("1")).unwrap();
    let error = sandbox.cluster.patch(Kind::Secret, &key, Part::Whole, &patch("2")).unwrap_err();
    assert!(error.is_conflict() && !error.already_exists(), "{error:?}");
}

#[test]
fn a_status_patch_changes_only_the_status() {
    let sandbox = Sandbox::new();
    let pod = sandbox.create_pod(&sandbox.pod("a", &json!({})));
    assert_ne!(pod["status"]["message"], "hello");
    let patch = json!({ "status": { "message": "hello" }, "metadata": { "labels": { "x": "1" } } });
    let key = sandbox.key("a");
    let whole = sandbox.cluster.patch(Kind::Pod, &key, Part::Whole, &patch).unwrap().value();
    assert_ne!(whole["status"]["message"], "hello");
    let status = sandbox.cluster.patch(Kind::Pod, &key, Part::Status, &patch).unwrap().value();
    assert_eq!(status["status"]["message"], "hello");
}

#[test]
fn replacing_an_outdated_object_is_a_conflict() {
    let sandbox = Sandbox::new();
    let made = sandbox.cluster.create(Kind::Secret, &sandbox.secret("a")).unwrap().value();
    let key = sandbox.key("a");
    let mut next = made.clone();
    next["stringData"] = json!({ "a": "2" });
    let replaced = sandbox.cluster.replace(Kind::Secret, &key, &next).unwrap().value();
    assert_eq!(replaced["data"]["a"], "Mg==");
    assert!(sandbox.cluster.replace(Kind::Secret, &key, &made).unwrap_err().is_conflict());
}

#[test]
fn a_delete_keeps_an_object_with_another_uid() {
    let sandbox = Sandbox::new();
    sandbox.cluster.create(Kind::Secret, &sandbox.secret("a")).unwrap();
    let key = sandbox.key("a");
    sandbox.cluster.delete(Kind::Secret, &key, &Uid::from("another"), None).unwrap();
    assert!(sandbox.cluster.get(Kind::Secret, &key).is_ok());
}

#[test]
fn a_delete_removes_the_object_with_its_uid() {
    let sandbox = Sandbox::new();
    let made = sandbox.cluster.create(Kind::Secret, &sandbox.secret("a")).unwrap().value();
    let key = sandbox.key("a");
    sandbox.cluster.delete(Kind::Secret, &key, &uid(&made), None).unwrap();
    assert!(sandbox.cluster.get(Kind::Secret, &key).unwrap_err().is_not_found());
}

#[test]
fn deleting_a_missing_object_succeeds() {
    let sandbox = Sandbox::new();
    sandbox.cluster.delete(Kind::Secret, &sandbox.key("a"), &Uid::from("any"), Some(0)).unwrap();
}

#[test]
fn a_pod_deleted_without_grace_is_removed_immediately() {
    let sandbox = Sandbox::new();
    let pod = sandbox.create_pod(&sandbox.pod("a", &json!({})));
    sandbox.cluster.delete(Kind::Pod, &sandbox.key("a"), &uid(&pod), Some(0)).unwrap();
    assert!(sandbox.cluster.get(Kind::Pod, &sandbox.key("a")).unwrap_err().is_not_found());
}

#[test]
fn the_pages_of_a_list_add_up_to_the_list() {
    let sandbox = Sandbox::new();
    let names: Vec<String> = (0..7).map(|number| format!("s{number}")).collect();
    for name in &names {
        sandbox.cluster.create(Kind::Secret, &sandbox.secret(name)).unwrap();
    }
    let mut params = ListParams { limit: 3, ..sandbox.labelled() };
    let (mut sizes, mut found) = (Vec::new(), Vec::new());
    loop {
        let page = sandbox.cluster.list(Kind::Secret, &params).unwrap();
        sizes.push(page.items.len());
        found.extend(
            page.items.iter().map(|item| item.value()["metadata"]["name"].as_str().unwrap().to_owned()),
        );
        if page.next.is_empty() {
            break;
        }
        params.next = page.next;
    }
    assert_eq!((sizes, found), (vec![3, 3, 1], names));
}

#[test]
fn a_field_selector_finds_one_object() {
    let sandbox = Sandbox::new();
    for name in ["a", "b"] {
        sandbox.cluster.create(Kind::Secret, &sandbox.secret(name)).unwrap();
    }
    let params = ListParams { fields: "metadata.name=b".to_owned(), ..sandbox.params() };
    let page = sandbox.cluster.list(Kind::Secret, &params).unwrap();
    assert_eq!(page.items.len(), 1);
    assert_eq!(page.items[0].value()["metadata"]["name"], "b");
}

#[test]
fn listed_objects_have_no_managed_fields() {
    let sandbox = Sandbox::new();
    let made = sandbox.cluster.create(Kind::Secret, &sandbox.secret("a")).unwrap();
    assert!(made.text().contains("managedFields"), "this server does not write them");
    let page = sandbox.cluster.list(Kind::Secret, &sandbox.labelled()).unwrap();
    assert_eq!(page.items[0].value()["metadata"].get("managedFields"), None);
}

#[test]
fn an_access_review_is_answered() {
    let sandbox = Sandbox::new();
    let attributes = json!({ "namespace": "default", "verb": "get", "resource": "pods" });
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": { "user": "nobody-in-particular", "resourceAttributes": attributes },
    });
    let answer = sandbox.cluster.create(Kind::SubjectAccessReview, &review).unwrap().value();
    assert_eq!(answer["status"]["allowed"], false);
}

#[test]
fn calls_are_counted_by_verb_resource_and_result() {
    let sandbox = Sandbox::new();
    let counted = Counted::new(KubeCluster::connect(Some(&kubeconfig())).unwrap());
    let key = sandbox.key("a");
    let _ = counted.get(Kind::Pod, &key);
    let _ = counted.get(Kind::Pod, &key);
    counted.list(Kind::Secret, &sandbox.params()).unwrap();
    let _ = counted.patch(Kind::Pod, &key, Part::Status, &json!({}));
    let calls: Vec<_> = counted
        .calls()
        .into_iter()
        .map(|(call, count)| (call.verb, call.resource(), call.code, count))
        .collect();
    let expected = [
        ("get", "pods".to_owned(), 404, 2),
        ("list", "secrets".to_owned(), 200, 1),
        ("patch", "pods/status".to_owned(), 404, 1),
    ];
    assert_eq!(calls, expected);
}
