use serde_json::{Value, json};

use super::*;

fn read(value: &Value) -> Result<Placement, String> {
    Placement::read(&value.to_string()).map_err(|invalid| invalid.message)
}

/// A node affinity that requires these labels.
fn required(terms: &Value) -> Value {
    json!({ "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": terms } } })
}

fn exists(key: &str) -> Value {
    json!({ "matchExpressions": [{ "key": key, "operator": "Exists" }] })
}

fn everything() -> Value {
    json!({
        "nodeSelector": { "topology.kubernetes.io/zone": "a" },
        "tolerations": [
            { "operator": "Exists" },
            { "key": "gpu", "operator": "Equal", "value": "x", "effect": "NoExecute", "tolerationSeconds": 5 },
        ],
        "affinity": {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": [{
                    "matchExpressions": [
                        { "key": "disk", "operator": "In", "values": ["ssd", "nvme"] },
                        { "key": "size", "operator": "Gt", "values": ["5"] },
                    ],
                    "matchFields": [{ "key": "metadata.name", "operator": "NotIn", "values": ["node-1"] }],
                }] },
                "preferredDuringSchedulingIgnoredDuringExecution": [{ "weight": 5, "preference": exists("fast") }],
            },
            "podAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": [{
                "labelSelector": { "matchLabels": { "app": "db" } }, "topologyKey": "kubernetes.io/hostname",
            }] },
            "podAntiAffinity": { "preferredDuringSchedulingIgnoredDuringExecution": [{
                "weight": 100,
                "podAffinityTerm": { "namespaces": ["team"], "topologyKey": "zone", "labelSelector": {
                    "matchExpressions": [{ "key": "app", "operator": "NotIn", "values": ["a"] }] } },
            }] },
        },
    })
}

#[test]
fn every_field_is_read_and_written_again() {
    let placement = read(&everything()).unwrap();
    let again: Value = serde_json::from_str(&placement.text()).unwrap();
    assert_eq!(again, everything());
    assert_eq!(read(&json!({})), Ok(Placement::default()));
    assert_eq!(Placement::default().text(), "{}");
}

#[test]
fn a_wrong_value_is_named_with_its_path() {
    let expression =
        |expression: Value| json!({ "affinity": required(&json!([{ "matchExpressions": [expression] }])) });
    for (value, path) in [
        (json!({ "nodeSelectors": {} }), "nodeSelectors"),
        (json!({ "nodeSelector": { "a": 5 } }), "nodeSelector.a"),
        (json!({ "nodeSelector": { "a": "b c" } }), "nodeSelector.a"),
        (json!({ "nodeSelector": { "a b": "c" } }), "nodeSelector"),
        (json!({ "tolerations": {} }), "tolerations"),
        (json!({ "tolerations": [{}] }), "tolerations[0].operator"),
        (json!({ "tolerations": [{ "key": "a", "operator": "In" }] }), "tolerations[0].operator"),
        (json!({ "tolerations": [{ "key": "a", "effect": "Never" }] }), "tolerations[0].effect"),
        (
            json!({ "tolerations": [{ "key": "a", "operator": "Exists", "value": "b" }] }),
            "tolerations[0].value",
        ),
        (json!({ "tolerations": [{ "key": "a", "tolerationSeconds": 5 }] }), "tolerations[0].effect"),
        (json!({ "affinity": { "nodeAffinity": { "required": [] } } }), "required"),
        (json!({ "affinity": required(&json!([])) }), "nodeSelectorTerms"),
        (json!({ "affinity": required(&json!([{}])) }), "nodeSelectorTerms[0]"),
        (expression(json!({ "key": "a", "operator": "Is" })), "matchExpressions[0].operator"),
        (expression(json!({ "key": "a", "operator": "In" })), "matchExpressions[0].values"),
        (
            expression(json!({ "key": "a", "operator": "Exists", "values": ["b"] })),
            "matchExpressions[0].values",
        ),
        (expression(json!({ "key": "a", "operator": "Gt", "values": ["b"] })), "matchExpressions[0].values"),
        (
            json!({ "affinity": required(&json!([{ "matchFields": [{ "key": "spec", "operator": "In", "values": ["a"] }] }])) }),
            "matchFields[0].key",
        ),
        (
            json!({ "affinity": { "nodeAffinity": { "preferredDuringSchedulingIgnoredDuringExecution": [{ "weight": 0 }] } } }),
            "weight",
        ),
        (
            json!({ "affinity": { "podAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": [{}] } } }),
            "podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey",
        ),
        (
            json!({ "affinity": { "podAntiAffinity": { "requiredDuringSchedulingIgnoredDuringExecution":
                [{ "topologyKey": "a", "namespaces": ["A"] }] } } }),
            "namespaces[0]",
        ),
    ] {
        let why = read(&value).unwrap_err();
        assert!(why.starts_with("decant.dev/placement: ") && why.contains(path), "{value}: {why}");
    }
    assert!(Placement::read("disk=ssd").is_err());
    assert!(Placement::read(&" ".repeat(TEXT_LIMIT_BYTES + 1)).unwrap_err().message.contains("longer"));
}

#[test]
fn elsewhere_only_the_choice_of_nodes_counts() {
    let elsewhere = read(&everything()).unwrap().elsewhere();
    let text: Value = serde_json::from_str(&elsewhere.text()).unwrap();
    let mut expected = everything();
    expected.as_object_mut().unwrap().remove("tolerations");
    let affinity = expected["affinity"].as_object_mut().unwrap();
    affinity.remove("podAffinity");
    affinity.remove("podAntiAffinity");
    assert_eq!(text, expected);
}

#[test]
fn the_clones_labels_and_tolerations_replace_the_operators_of_the_same_key() {
    let labels = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect::<BTreeMap<_, _>>()
    };
    let merged = node_selector(&labels(&[("a", "1"), ("b", "1")]), &labels(&[("b", "2"), ("c", "2")]));
    assert_eq!(merged, labels(&[("a", "1"), ("b", "2"), ("c", "2")]));
    let operators = json!([
        { "key": "gpu", "operator": "Exists" },
        { "key": "gpu", "value": "x", "effect": "NoSchedule" },
        { "key": "spot", "operator": "Exists", "effect": "NoSchedule" },
    ]);
    let own =
        read(&json!({ "tolerations": [{ "key": "gpu", "value": "y", "effect": "NoSchedule" }] })).unwrap();
    let merged = tolerations(&operators, &own.tolerations);
    let own = json!({ "key": "gpu", "value": "y", "effect": "NoSchedule" });
    assert_eq!(merged, [operators[0].clone(), operators[2].clone(), own]);
}

#[test]
fn a_node_has_to_satisfy_one_term_of_each_side() {
    let parts = [
        required(&json!([exists("a"), exists("b")])),
        json!({}),
        required(&json!([exists("c"), exists("d")])),
    ];
    let merged = Value::from(affinity(&parts));
    let both = |one: &str, other: &str| json!({ "matchExpressions": [{ "key": one, "operator": "Exists" }, { "key": other, "operator": "Exists" }] });
    assert_eq!(merged, required(&json!([both("a", "c"), both("a", "d"), both("b", "c"), both("b", "d")])));
}

#[test]
fn a_term_that_matches_no_node_still_matches_none_together_with_another() {
    let merged = affinity(&[required(&json!([{}])), required(&json!([exists("a")]))]);
    assert_eq!(Value::from(merged), required(&json!([{}])));
    let merged = affinity(&[required(&json!([{}, exists("b")])), required(&json!([exists("a")]))]);
    let terms =
        &merged["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"];
    assert_eq!(terms.as_array().unwrap().len(), 1);
}

#[test]
fn affinities_to_pods_and_preferences_are_all_kept() {
    let pods = |key: &str| {
        json!({ "podAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": [{ "topologyKey": key }],
                                 "preferredDuringSchedulingIgnoredDuringExecution": [{ "weight": 1 }] } })
    };
    let merged = affinity(&[pods("a"), pods("b")]);
    let terms = &merged["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    assert_eq!(*terms, json!([{ "topologyKey": "a" }, { "topologyKey": "b" }]));
    assert_eq!(
        merged["podAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"].as_array().unwrap().len(),
        2
    );
    assert_eq!(merged.len(), 1);
    assert!(affinity(&[Value::Null, json!({})]).is_empty());
}
