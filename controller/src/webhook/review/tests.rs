use proptest::prelude::*;
use serde_json::json;

use super::*;

fn body(request: &Value) -> Vec<u8> {
    let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request});
    review.to_string().into_bytes()
}

fn data_volume(request: &Value) -> Result<DataVolume, Verdict> {
    parse(&body(request)).unwrap().data_volume()
}

#[test]
fn null_means_missing() {
    let object = json!({
        "metadata": {"name": "copy", "creationTimestamp": null, "annotations": null, "generateName": null},
        "spec": {"pvc": null, "sourceRef": {"kind": "DataSource", "name": "x", "namespace": null}},
        "status": null,
    });
    let request = json!({"uid": "1", "namespace": "b", "object": object, "oldObject": null, "options": null,
                         "userInfo": {"username": "jane", "groups": null, "extra": {"a": null}}});
    let dv = data_volume(&request).unwrap();
    assert_eq!((dv.metadata.key().to_string().as_str(), dv.spec.pvc), ("b/copy", None));
}

#[test]
fn the_namespace_comes_from_the_request() {
    let request =
        json!({"uid": "1", "namespace": "b", "object": {"metadata": {"namespace": "a"}, "spec": {}}});
    assert_eq!(data_volume(&request).unwrap().metadata.namespace, "b");
}

#[test]
fn an_object_with_wrong_types_is_denied_with_a_reason() {
    for object in [
        json!("x"),
        json!([]),
        json!({"metadata": "x"}),
        json!({"metadata": {"annotations": []}}),
        json!({"metadata": {"annotations": {TOKEN: 5}}}),
        json!({"spec": []}),
        json!({"spec": {"source": "golden"}}),
        json!({"spec": {"storage": [1]}}),
        json!({"spec": {"sourceRef": "x"}}),
    ] {
        let request = json!({"uid": "1", "object": object});
        let Err(Verdict::Denied(denial)) = data_volume(&request) else { panic!("{object}") };
        assert!(denial.message.starts_with("cannot read the DataVolume"), "{}", denial.message);
    }
}

#[test]
fn only_used_fields_are_kept() {
    let request = json!({"uid": "1", "object": {
        "metadata": {"name": "copy", "annotations": {TOKEN: "t", "other": {"not": "text"}}, "managedFields": [{}]},
        "spec": {"more": [{}]},
    }});
    let body = body(&request);
    let reviewed = parse(&body).unwrap().reviewed().unwrap();
    assert_eq!(reviewed.annotations.unwrap(), BTreeMap::from([(TOKEN, "t".to_owned())]));
}

#[test]
fn the_depth_of_unused_fields_does_not_matter() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let review = format!(
        r#"{{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","x":{deep},"request":{{"uid":"1","options":{deep},
           "object":{{"metadata":{{"name":"copy","managedFields":{deep}}},"spec":{{"source":{{"x":{deep}}},"y":{deep}}}}}}}}}"#
    );
    let dv = parse(review.as_bytes()).unwrap().data_volume().unwrap();
    assert_eq!(dv.metadata.name, "copy");
}

#[test]
fn other_bodies_are_refused() {
    for bad in [
        "",
        "[]",
        "{}",
        r#"["AdmissionReview","admission.k8s.io/v1",{"uid":"1"}]"#,
        r#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1beta1","request":{"uid":"1"}}"#,
        r#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1"}"#,
        r#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{}}"#,
        r#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":["1"]}"#,
        r#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":"1","userInfo":[]}}"#,
    ] {
        assert!(parse(bad.as_bytes()).is_err(), "{bad}");
    }
    let groups = vec!["g"; 20_000];
    let request = json!({"uid": "1", "userInfo": {"username": "jane", "groups": groups}});
    assert!(parse(&body(&request)).unwrap_err().starts_with("userInfo has 80"));
}

#[test]
fn a_denial_names_field_and_reason() {
    let said: Value = serde_json::from_str(&answer("7", &Denial::forbidden("spec.x", "no"))).unwrap();
    let cause = json!({"reason": "FieldValueInvalid", "field": "spec.x", "message": "no"});
    let status = json!({"status": "Failure", "code": 403, "reason": "Forbidden", "message": "no",
                        "details": {"causes": [cause]}});
    let response = json!({"uid": "7", "allowed": false, "status": status});
    assert_eq!(
        said,
        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})
    );
}

#[test]
fn a_patch_is_a_json_patch() {
    let operation = Operation { op: "add", path: "/a".to_owned(), value: Some(json!("b")) };
    let said: Value = serde_json::from_str(&answer("7", &Verdict::Patched(vec![operation]))).unwrap();
    let patch = BASE64_STANDARD.encode(r#"[{"op":"add","path":"/a","value":"b"}]"#);
    let response = json!({"uid": "7", "allowed": true, "patchType": "JSONPatch", "patch": patch});
    assert_eq!(said.get("response"), Some(&response));
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&bytes);
    }
}
