//! Combines the placement of one clone with that of the operator and of the controller (docs/protocol.md section 3.12).
//!
//! It works on JSON, because the operator's part comes from flags and may have fields that are not known here.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::objects::placement::Toleration;

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

/// The node selector of the operator, with the labels of the clone, which replace those of the same key.
pub fn node_selector(
    operators: &BTreeMap<String, String>,
    clones: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let mut all = operators.clone();
    all.extend(clones.clone());
    all
}

/// The tolerations of the operator, and those of the clone, which replace those of the same key and effect.
pub fn tolerations(operators: &Value, clones: &[Toleration]) -> Vec<Value> {
    let text = |toleration: &Value, field: &str| {
        toleration.get(field).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let is_replaced = |operators: &Value| {
        clones.iter().any(|own| text(operators, "key") == own.key && text(operators, "effect") == own.effect)
    };
    let kept = operators.as_array().into_iter().flatten().filter(|toleration| !is_replaced(toleration));
    kept.cloned().chain(clones.iter().map(|own| json!(own))).collect()
}

/// The affinity of a pod for which all of `parts` apply.
pub fn affinity(parts: &[Value]) -> Map<String, Value> {
    let mut all = Map::new();
    let nodes = node_affinity(parts);
    if !nodes.is_empty() {
        all.insert("nodeAffinity".to_owned(), nodes.into());
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        let mut pods = Map::new();
        for list in [REQUIRED, PREFERRED] {
            let terms = listed(parts, &format!("/{kind}/{list}"));
            if !terms.is_empty() {
                pods.insert(list.to_owned(), terms.into());
            }
        }
        if !pods.is_empty() {
            all.insert(kind.to_owned(), pods.into());
        }
    }
    all
}

/// The items of the lists at `path` of all parts.
fn listed(parts: &[Value], path: &str) -> Vec<Value> {
    parts.iter().filter_map(|part| part.pointer(path)?.as_array()).flatten().cloned().collect()
}

fn node_affinity(parts: &[Value]) -> Map<String, Value> {
    let path = format!("/nodeAffinity/{REQUIRED}/nodeSelectorTerms");
    let required = parts.iter().filter_map(|part| part.pointer(&path)?.as_array().cloned());
    let mut nodes = Map::new();
    if let Some(terms) = required.reduce(|one, other| both(&one, &other)) {
        nodes.insert(REQUIRED.to_owned(), json!({ "nodeSelectorTerms": terms }));
    }
    let preferred = listed(parts, &format!("/nodeAffinity/{PREFERRED}"));
    if !preferred.is_empty() {
        nodes.insert(PREFERRED.to_owned(), preferred.into());
    }
    nodes
}

/// Terms of which one applies if one of `one` and one of `other` apply: each term with each.
fn both(one: &[Value], other: &[Value]) -> Vec<Value> {
    let pairs = one.iter().flat_map(|first| other.iter().map(move |second| term_of_both(first, second)));
    let terms: Vec<Value> = pairs.flatten().collect();
    // There has to be a term; an empty one matches no node.
    if terms.is_empty() { vec![json!({})] } else { terms }
}

/// A term with the requirements of both; `None` if one of them is empty and therefore matches no node.
fn term_of_both(first: &Value, second: &Value) -> Option<Value> {
    let requirements =
        |term: &Value, field: &str| term.get(field).and_then(Value::as_array).cloned().unwrap_or_default();
    let fields = ["matchExpressions", "matchFields"];
    let is_empty = |term: &Value| fields.iter().all(|field| requirements(term, field).is_empty());
    if is_empty(first) || is_empty(second) {
        return None;
    }
    let lists = fields.iter().filter_map(|field| {
        let all = [requirements(first, field), requirements(second, field)].concat();
        (!all.is_empty()).then(|| ((*field).to_owned(), Value::from(all)))
    });
    Some(lists.collect::<Map<_, _>>().into())
}
