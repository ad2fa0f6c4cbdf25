//! The webhooks answer every review, whatever it contains.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::{gate, golden, now};
use crate::webhook::callers::Caller;
use crate::webhook::gate::{Gate, Question};

/// Names of fields that are read, so that generated values are read as well.
const NAMES: [&str; 24] = [
    "metadata",
    "spec",
    "status",
    "phase",
    "name",
    "generateName",
    "namespace",
    "uid",
    "annotations",
    "deletionTimestamp",
    "source",
    "pvc",
    "http",
    "sourceRef",
    "kind",
    "storage",
    "resources",
    "requests",
    "accessModes",
    "storageClassName",
    "checkpoints",
    "cdi.kubevirt.io/storage.clone.token",
    "cdi.kubevirt.io/storage.extended.clone.token",
    "decant.dev/streams",
];

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
        prop::sample::select(vec!["DataSource", "golden", "a", "b", "1Gi", "-1", "ReadWriteOnce"])
            .prop_map(Value::from),
        Just(golden()),
    ];
    leaf.prop_recursive(6, 48, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((prop::sample::select(NAMES.to_vec()), inner), 0..6).prop_map(|members| {
                Value::Object(members.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())
            }),
        ]
    })
}

/// An object with generated parts in place of those of a DataVolume.
fn object() -> impl Strategy<Value = Value> {
    let part = || prop_oneof![1 => Just(None), 9 => any_json().prop_map(Some)];
    (part(), part(), part(), part()).prop_map(|(metadata, spec, status, annotations)| {
        let mut object = Map::new();
        for (name, value) in [("metadata", metadata), ("spec", spec), ("status", status)] {
            object.extend(value.map(|value| (name.to_owned(), value)));
        }
        if let (Some(Value::Object(metadata)), Some(annotations)) = (object.get_mut("metadata"), annotations)
        {
            metadata.insert("annotations".to_owned(), annotations);
        }
        Value::Object(object)
    })
}

fn open_gate() -> Gate {
    gate(|stub| stub.grant("jane", "pods", "a"))
}

proptest! {
    #[test]
    fn every_review_is_answered(
        operation in prop::sample::select(vec!["CREATE", "UPDATE", "DELETE", ""]),
        new in prop_oneof![object(), any_json()],
        old in prop_oneof![object(), any_json()],
        user in prop_oneof![Just(json!({"username": "jane"})), any_json()],
    ) {
        let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
            "uid": "1", "operation": operation, "namespace": "b", "userInfo": user, "object": new, "oldObject": old,
        }});
        let gate = open_gate();
        for question in [Question::Mutate, Question::Validate] {
            let answer = gate.answer(question, review.to_string().as_bytes(), Caller::Unknown, now());
            if let Ok(answer) = answer {
                let answer: Value = serde_json::from_str(&answer).unwrap();
                prop_assert_eq!(answer.pointer("/response/uid"), Some(&json!("1")));
            }
        }
    }

    #[test]
    fn any_other_json_is_answered_or_refused(review in any_json()) {
        for question in [Question::Mutate, Question::Validate] {
            let _ = open_gate().answer(question, review.to_string().as_bytes(), Caller::Proven, now());
        }
    }
}
