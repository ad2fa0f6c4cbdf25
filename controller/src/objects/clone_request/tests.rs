use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};

fn data_volume(spec: &Value) -> DataVolume {
    let object = json!({ "metadata": { "name": "dv", "namespace": "ns", "uid": "u" }, "spec": spec });
    serde_json::from_value(object).unwrap()
}

fn claim(size: &Value) -> Value {
    json!({ "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": size } } })
}

fn source() -> Value {
    json!({ "pvc": { "namespace": "a", "name": "s" } })
}

#[test]
fn a_good_request_names_its_source() {
    let dv = data_volume(&json!({ "source": source(), "pvc": claim(&json!("1Gi")) }));
    assert_eq!(validate(&dv), Ok(()));
    assert_eq!(wanted(&dv), Ok(Wanted::Claim(Key::new("a", "s"))));
}

#[test]
fn bad_requests_get_the_texts_of_the_contract() {
    let good = claim(&json!("1Gi"));
    for (spec, text) in [
        (json!({ "source": source() }), "Missing Data volume PVC"),
        (json!({ "source": source(), "pvc": good, "storage": {} }), "Duplicate storage definition"),
        (json!({ "pvc": good }), "either Source or SourceRef"),
        (json!({ "source": {}, "pvc": good }), "Missing Data volume source"),
        (json!({ "source": { "pvc": {}, "http": {} }, "pvc": good }), "Multiple Data volume sources"),
        (json!({ "source": { "pvc": { "name": "x" } }, "pvc": good }), "source PVC is not valid"),
        (
            json!({ "source": source(), "pvc": claim(&json!("0")) }),
            "PVC size can't be equal or less than zero",
        ),
        (json!({ "source": source(), "pvc": claim(&json!("-1Gi")) }), "PVC size can't be equal or less"),
        (json!({ "source": source(), "pvc": claim(&json!(1000)) }), "PVC size should be at least 1MiB"),
        (json!({ "source": source(), "pvc": claim(&json!("ten")) }), "\"ten\" is not a quantity"),
        (json!({ "source": source(), "pvc": { "accessModes": ["ReadWriteOnce"] } }), "PVC size is missing"),
        (json!({ "source": source(), "pvc": { "resources": good["resources"] } }), "at least 1 access mode"),
        (
            json!({ "sourceRef": { "kind": "Pod", "name": "x" }, "pvc": good }),
            "Unsupported sourceRef kind Pod",
        ),
    ] {
        let error = validate(&data_volume(&spec)).unwrap_err().to_string();
        assert!(error.contains(text), "{spec}: {error}");
    }
}

#[test]
fn parts_of_another_type_are_refused_by_name() {
    let storage = |storage: Value| json!({ "source": source(), "storage": storage });
    let pvc = |pvc: Value| json!({ "source": source(), "pvc": pvc });
    for (spec, text) in [
        (json!({ "source": "golden", "storage": {} }), "spec.source: invalid type: string"),
        (json!({ "source": [], "storage": {} }), "spec.source: invalid type: sequence"),
        (
            json!({ "source": { "pvc": "golden" }, "storage": {} }),
            "source PVC is not valid: invalid type: string",
        ),
        (
            json!({ "source": { "pvc": { "namespace": 5, "name": "x" } }, "storage": {} }),
            "namespace: invalid type: integer",
        ),
        (
            json!({ "sourceRef": { "kind": [] }, "storage": {} }),
            "spec.sourceRef.kind: invalid type: sequence",
        ),
        (json!({ "source": source(), "storage": "10Gi" }), "spec.storage: invalid type: string"),
        (storage(json!({ "resources": "x" })), "spec.storage.resources: invalid type: string"),
        (
            storage(json!({ "resources": { "requests": [1] } })),
            "spec.storage.resources.requests: invalid type: sequence",
        ),
        (
            storage(json!({ "resources": { "requests": { "storage": [] } } })),
            "spec.storage.resources.requests.storage",
        ),
        (
            storage(json!({ "accessModes": "ReadWriteOnce" })),
            "spec.storage.accessModes: invalid type: string",
        ),
        (storage(json!({ "volumeMode": 7 })), "spec.storage.volumeMode"),
        (pvc(json!({ "volumeMode": "block" })), "spec.pvc.volumeMode: unknown variant `block`"),
        (pvc(json!({ "storageClassName": [] })), "spec.pvc.storageClassName: invalid type: sequence"),
        (pvc(json!({ "accessModes": [7] })), "spec.pvc.accessModes[0]: invalid type: integer"),
    ] {
        let error = validate(&data_volume(&spec)).unwrap_err().to_string();
        assert!(error.contains(text), "{spec}: {error}");
    }
}

#[test]
fn annotations_that_cannot_be_meant_are_refused_with_their_name() {
    for (name, value, is_good) in [
        ("decant.dev/bandwidth-limit", "50MiB/s", true),
        ("decant.dev/bandwidth-limit", "fast", false),
        ("decant.dev/streams", "4", true),
        ("decant.dev/streams", "0", false),
        ("decant.dev/streams", "9", false),
        ("decant.dev/streams", "many", false),
        ("decant.dev/transfer", "direct", true),
        ("decant.dev/transfer", "pigeon", false),
        ("decant.dev/verify", "readback", true),
        ("decant.dev/verify", "yes", false),
    ] {
        let mut dv = data_volume(&json!({ "source": source(), "pvc": claim(&json!("1Gi")) }));
        dv.metadata.annotations.insert(name.to_owned(), value.to_owned());
        let outcome = validate(&dv).map_err(|e| e.to_string());
        assert_eq!(outcome.is_ok(), is_good, "{name}");
        assert!(outcome.err().is_none_or(|error| error.contains(name)), "{name}");
    }
}

#[test]
fn storage_needs_no_size_and_other_sources_are_not_ours() {
    assert_eq!(validate(&data_volume(&json!({ "source": source(), "storage": {} }))), Ok(()));
    let http = data_volume(&json!({ "source": { "http": {}, "pvc": null }, "pvc": claim(&json!("1Gi")) }));
    assert_eq!(wanted(&http), Ok(Wanted::NotOurs("http".to_owned())));
    let source = json!({ "snapshot": { "namespace": "a", "name": "s" } });
    let snapshot = data_volume(&json!({ "source": source, "storage": {} }));
    assert_eq!(wanted(&snapshot), Ok(Wanted::Snapshot(Key::new("a", "s"))));
    assert_eq!(validate(&snapshot), Ok(()));
    for source in [json!({ "snapshot": { "name": "s" } }), json!({ "snapshot": {}, "pvc": {} })] {
        assert!(wanted(&data_volume(&json!({ "source": source, "storage": {} }))).is_err());
    }
}

#[test]
fn parts_of_another_type_are_refused_with_their_field() {
    for (spec, field) in [
        (json!({ "source": source(), "storage": { "resources": "x" } }), "spec.storage"),
        (json!({ "source": source(), "storage": { "resources": { "requests": [] } } }), "spec.storage"),
        (json!({ "source": source(), "storage": { "accessModes": { "a": 1 } } }), "spec.storage"),
        (json!({ "source": source(), "pvc": { "storageClassName": 5 } }), "spec.pvc"),
        (json!({ "source": source(), "pvc": claim(&json!({ "a": 1 })) }), "spec.pvc"),
    ] {
        let error = validate(&data_volume(&spec)).unwrap_err();
        assert_eq!(error.field, field, "{spec}");
        assert!(error.message.starts_with(field) && error.message.contains("invalid type"), "{error}");
    }
}

#[test]
fn what_is_not_read_may_be_deep_and_null_is_as_good_as_missing() {
    let deep = format!("{}{}", "[".repeat(1000), "]".repeat(1000));
    let text = format!(
        r#"{{"metadata":{{"name":"dv"}},"spec":{{"source":{{"http":null,"pvc":{{"namespace":"a","name":"s","x":{deep}}}}},
            "storage":{{"accessModes":null,"resources":{{"requests":null}},"unknown":{deep}}}}}}}"#
    );
    assert_eq!(validate(&serde_json::from_str(&text).unwrap()), Ok(()));
}

proptest! {
    #[test]
    fn no_spec_makes_it_panic(
        source in proptest::option::of("[a-z]{0,5}"),
        size in ".{0,12}",
        modes in prop::collection::vec(".{0,5}", 0..3),
    ) {
        let spec = json!({
            "source": source.map(|kind| json!({ kind: {} })),
            "pvc": { "accessModes": modes, "resources": { "requests": { "storage": size } } },
        });
        let _ = validate(&data_volume(&spec));
    }
}
