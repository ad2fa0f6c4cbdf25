//! `AdmissionReview` (admission.k8s.io/v1): as much of it as is used.

use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::resource::{DataVolume, view};

/// What the API server asks about.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Request {
    /// To be repeated in the answer.
    pub(crate) uid: String,
    pub(crate) operation: String,
    pub(crate) namespace: String,
    pub(crate) user_info: UserInfo,
    /// As it is to be.
    pub(crate) object: Value,
    /// As it was.
    pub(crate) old_object: Value,
}

/// Who wants it. A SubjectAccessReview takes the same fields.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct UserInfo {
    #[serde(rename(serialize = "user"))]
    pub(crate) username: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) uid: String,
    pub(crate) groups: Vec<String>,
    pub(crate) extra: BTreeMap<String, Vec<String>>,
}

/// The answer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Verdict {
    /// As it is.
    Allowed,
    /// With these operations of a JSON patch (RFC 6902), of which there is at least one.
    Patched(Vec<Value>),
    /// Not at all.
    Denied(Denial),
}

/// Why not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Denial {
    pub(crate) code: u16,
    /// One word of Kubernetes that goes with the code.
    pub(crate) reason: &'static str,
    pub(crate) field: String,
    pub(crate) message: String,
}

impl Denial {
    /// Something is wrong with the object.
    pub(crate) fn invalid(field: impl Into<String>, message: impl Into<String>) -> Verdict {
        Self::verdict(422, "Invalid", field.into(), message.into())
    }

    /// The user may not do it.
    pub(crate) fn forbidden(field: impl Into<String>, message: impl Into<String>) -> Verdict {
        Self::verdict(403, "Forbidden", field.into(), message.into())
    }

    /// It cannot be found out now.
    pub(crate) fn failed(message: impl Into<String>) -> Verdict {
        Self::verdict(500, "InternalError", String::new(), message.into())
    }

    fn verdict(code: u16, reason: &'static str, field: String, message: String) -> Verdict {
        Verdict::Denied(Self { code, reason, field, message })
    }
}

/// Reads the body that the API server sent. The error is for its log.
pub(crate) fn parse(body: &[u8]) -> Result<Request, String> {
    let mut review: Value = serde_json::from_slice(body).map_err(|e| format!("not JSON: {e}"))?;
    if review["kind"] != "AdmissionReview" || review["apiVersion"] != "admission.k8s.io/v1" {
        return Err("not an AdmissionReview of admission.k8s.io/v1".to_owned());
    }
    let request: Request = view(review["request"].take()).map_err(|e| format!("no request in it: {e}"))?;
    if request.uid.is_empty() {
        return Err("the request has no uid".to_owned());
    }
    Ok(request)
}

/// The body that answers the request with this `uid`.
pub(crate) fn answer(uid: &str, verdict: &Verdict) -> String {
    let mut response = json!({"uid": uid, "allowed": !matches!(verdict, Verdict::Denied(_))});
    match verdict {
        Verdict::Allowed => {}
        Verdict::Patched(operations) => {
            response["patchType"] = json!("JSONPatch");
            response["patch"] = json!(BASE64_STANDARD.encode(Value::from(operations.clone()).to_string()));
        }
        Verdict::Denied(denial) => {
            let Denial { code, reason, field, message } = denial;
            let cause = json!({"reason": "FieldValueInvalid", "field": field, "message": message});
            let causes = if field.is_empty() { json!([]) } else { json!([cause]) };
            response["status"] = json!({
                "status": "Failure", "code": code, "reason": reason, "message": message,
                "details": {"causes": causes},
            });
        }
    }
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}).to_string()
}

impl Request {
    /// The DataVolume as it is to be, without what users do not decide.
    pub(crate) fn data_volume(&self) -> Result<DataVolume, Verdict> {
        let parts = json!({"metadata": self.object.get("metadata"), "spec": self.object.get("spec")});
        let mut dv: DataVolume = view(parts)
            .map_err(|e| Denial::invalid("spec", format!("the DataVolume cannot be read: {e}")))?;
        dv.metadata.namespace.clone_from(&self.namespace);
        Ok(dv)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn body(request: &Value) -> Vec<u8> {
        let review =
            json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request});
        review.to_string().into_bytes()
    }

    #[test]
    fn what_go_writes_as_null_is_not_there() {
        let object = json!({"metadata": {"name": "copy", "creationTimestamp": null}, "spec": {"pvc": null}});
        let request =
            json!({"uid": "1", "namespace": "b", "object": object, "oldObject": null, "options": null});
        let dv = parse(&body(&request)).unwrap().data_volume().unwrap();
        assert_eq!((dv.metadata.key().to_string().as_str(), dv.spec.pvc), ("b/copy", None));
    }

    #[test]
    fn the_namespace_is_the_requests_and_not_the_objects() {
        let request =
            json!({"uid": "1", "namespace": "b", "object": {"metadata": {"namespace": "a"}, "spec": {}}});
        assert_eq!(parse(&body(&request)).unwrap().data_volume().unwrap().metadata.namespace, "b");
    }

    #[test]
    fn an_object_of_another_shape_is_refused_with_a_reason() {
        let request = json!({"uid": "1", "object": {"spec": {"contentType": 5}}});
        let Verdict::Denied(denial) = parse(&body(&request)).unwrap().data_volume().unwrap_err() else {
            panic!()
        };
        assert!(
            denial.message.starts_with("the DataVolume cannot be read: spec.contentType"),
            "{}",
            denial.message
        );
    }

    #[test]
    fn other_bodies_are_refused() {
        for bad in [
            "",
            "[]",
            "{}",
            r#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1beta1","request":{"uid":"1"}}"#,
            r#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1"}"#,
            r#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{}}"#,
        ] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_denial_names_field_and_reason() {
        let said: Value = serde_json::from_str(&answer("7", &Denial::forbidden("spec.x", "no"))).unwrap();
        let response = &said["response"];
        assert_eq!((&response["uid"], &response["allowed"]), (&json!("7"), &json!(false)));
        assert_eq!(response["status"]["message"], "no");
        assert_eq!(response["status"]["details"]["causes"][0]["field"], "spec.x");
    }

    proptest! {
        #[test]
        fn no_body_panics(text: String, bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
            let request = json!({"uid": "1", "object": {"metadata": {"name": text}, "spec": {"source": {text.clone(): text}}}});
            let _ = parse(&body(&request)).map(|request| request.data_volume());
        }
    }
}
