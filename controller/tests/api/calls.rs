//! Single calls.

use decant_controller::api::client::KubeCluster;
use decant_controller::api::cluster::{Cluster, ListParams, Part};
use decant_controller::api::counted::Counted;
use decant_controller::objects::{Kind, Uid};
use serde_json::json;

use crate::ground::{Ground, kubeconfig, uid, version};

#[test]
fn a_created_object_is_there() {
    let ground = Ground::new();
    let made = ground.cluster.create(Kind::Secret, &ground.secret("a")).unwrap().value();
    assert_eq!(uid(&ground.cluster.get(Kind::Secret, &ground.key("a")).unwrap().value()), uid(&made));
}

#[test]
fn a_second_object_of_the_name_already_exists() {
    let ground = Ground::new();
    ground.cluster.create(Kind::Secret, &ground.secret("a")).unwrap();
    let error = ground.cluster.create(Kind::Secret, &ground.secret("a")).unwrap_err();
    assert!(error.already_exists(), "{error:?}");
}

#[test]
fn an_object_that_is_not_there_is_not_found() {
    let ground = Ground::new();
    let error = ground.cluster.get(Kind::Secret, &ground.key("a")).unwrap_err();
    assert!(error.is_not_found() && error.message.contains("\"a\" not found"), "{error:?}");
}

#[test]
fn a_patch_changes_what_it_names_and_null_removes() {
    let ground = Ground::new();
    ground.cluster.create(Kind::Secret, &ground.secret("a")).unwrap();
    let patch = json!({ "metadata": { "annotations": { "x": "1" }, "labels": { "mine": null } } });
    let patched = ground.cluster.patch(Kind::Secret, &ground.key("a"), Part::Whole, &patch).unwrap().value();
    assert_eq!(patched["metadata"]["annotations"]["x"], "1");
    assert_eq!(patched["metadata"].get("labels"), None);
    assert_eq!(patched["data"]["a"], "MQ==");
}

#[test]
fn a_patch_of_an_older_version_is_a_conflict() {
    let ground = Ground::new();
    let made = ground.cluster.create(Kind::Secret, &ground.secret("a")).unwrap().value();
    let patch =
        |x: &str| json!({ "metadata": { "resourceVersion": version(&made), "annotations": { "x": x } } });
    let key = ground.key("a");
    ground.cluster.patch(Kind::Secret, &key, Part::Whole, &patch("1")).unwrap();
    let error = ground.cluster.patch(Kind::Secret, &key, Part::Whole, &patch("2")).unwrap_err();
    assert!(error.is_conflict() && !error.already_exists(), "{error:?}");
}

#[test]
fn a_status_is_patched_apart_from_the_rest() {
    let ground = Ground::new();
    let pod = ground.create_pod(&ground.pod("a", &json!({})));
    assert_ne!(pod["status"]["message"], "hello");
    let patch = json!({ "status": { "message": "hello" }, "metadata": { "labels": { "x": "1" } } });
    let key = ground.key("a");
    let whole = ground.cluster.patch(Kind::Pod, &key, Part::Whole, &patch).unwrap().value();
    assert_ne!(whole["status"]["message"], "hello");
    let status = ground.cluster.patch(Kind::Pod, &key, Part::Status, &patch).unwrap().value();
    assert_eq!(status["status"]["message"], "hello");
}

#[test]
fn a_replaced_object_must_be_of_the_current_version() {
    let ground = Ground::new();
    let made = ground.cluster.create(Kind::Secret, &ground.secret("a")).unwrap().value();
    let key = ground.key("a");
    let mut next = made.clone();
    next["stringData"] = json!({ "a": "2" });
    let replaced = ground.cluster.replace(Kind::Secret, &key, &next).unwrap().value();
    assert_eq!(replaced["data"]["a"], "Mg==");
    assert!(ground.cluster.replace(Kind::Secret, &key, &made).unwrap_err().is_conflict());
}

#[test]
fn a_delete_spares_an_object_with_another_uid() {
    let ground = Ground::new();
    ground.cluster.create(Kind::Secret, &ground.secret("a")).unwrap();
    let key = ground.key("a");
    ground.cluster.delete(Kind::Secret, &key, &Uid::from("another"), None).unwrap();
    assert!(ground.cluster.get(Kind::Secret, &key).is_ok());
}

#[test]
fn a_delete_removes_the_object_with_the_uid() {
    let ground = Ground::new();
    let made = ground.cluster.create(Kind::Secret, &ground.secret("a")).unwrap().value();
    let key = ground.key("a");
    ground.cluster.delete(Kind::Secret, &key, &uid(&made), None).unwrap();
    assert!(ground.cluster.get(Kind::Secret, &key).unwrap_err().is_not_found());
}

#[test]
fn deleting_what_is_gone_is_no_error() {
    let ground = Ground::new();
    ground.cluster.delete(Kind::Secret, &ground.key("a"), &Uid::from("any"), Some(0)).unwrap();
}

#[test]
fn a_pod_goes_at_once_without_grace() {
    let ground = Ground::new();
    let pod = ground.create_pod(&ground.pod("a", &json!({})));
    ground.cluster.delete(Kind::Pod, &ground.key("a"), &uid(&pod), Some(0)).unwrap();
    assert!(ground.cluster.get(Kind::Pod, &ground.key("a")).unwrap_err().is_not_found());
}

#[test]
fn pages_together_are_the_list() {
    let ground = Ground::new();
    let names: Vec<String> = (0..7).map(|number| format!("s{number}")).collect();
    for name in &names {
        ground.cluster.create(Kind::Secret, &ground.secret(name)).unwrap();
    }
    let mut params = ListParams { limit: 3, ..ground.labelled() };
    let (mut sizes, mut found) = (Vec::new(), Vec::new());
    loop {
        let page = ground.cluster.list(Kind::Secret, &params).unwrap();
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
fn a_field_selector_finds_the_one() {
    let ground = Ground::new();
    for name in ["a", "b"] {
        ground.cluster.create(Kind::Secret, &ground.secret(name)).unwrap();
    }
    let params = ListParams { fields: "metadata.name=b".to_owned(), ..ground.params() };
    let page = ground.cluster.list(Kind::Secret, &params).unwrap();
    assert_eq!(page.items.len(), 1);
    assert_eq!(page.items[0].value()["metadata"]["name"], "b");
}

#[test]
fn a_listed_object_comes_without_managed_fields() {
    let ground = Ground::new();
    let made = ground.cluster.create(Kind::Secret, &ground.secret("a")).unwrap();
    assert!(made.text().contains("managedFields"), "this server does not write them");
    let page = ground.cluster.list(Kind::Secret, &ground.labelled()).unwrap();
    assert_eq!(page.items[0].value()["metadata"].get("managedFields"), None);
}

#[test]
fn an_access_review_is_answered() {
    let ground = Ground::new();
    let attributes = json!({ "namespace": "default", "verb": "get", "resource": "pods" });
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": { "user": "nobody-in-particular", "resourceAttributes": attributes },
    });
    let answer = ground.cluster.create(Kind::SubjectAccessReview, &review).unwrap().value();
    assert_eq!(answer["status"]["allowed"], false);
}

#[test]
fn calls_are_counted_by_verb_resource_and_result() {
    let ground = Ground::new();
    let counted = Counted::new(KubeCluster::connect(Some(&kubeconfig())).unwrap());
    let key = ground.key("a");
    let _ = counted.get(Kind::Pod, &key);
    let _ = counted.get(Kind::Pod, &key);
    counted.list(Kind::Secret, &ground.params()).unwrap();
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
