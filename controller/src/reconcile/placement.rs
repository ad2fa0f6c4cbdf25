//! Whether one pod can mount both volumes of a clone, as far as the controller knows.
//!
//! The scheduler decides what is not known here: attached volumes of which no pod is visible, topologies of classes. A
//! direct pod that finds no node is replaced by two pods, so a wrong answer costs time, not the clone.

use std::collections::BTreeSet;

use crate::objects::volume::{NodeRequirement, NodeSelectorTerm};

/// The field of a node that a volume can select.
const NODE_NAME: &str = "metadata.name";
/// The label with the name of the node.
const HOST_NAME: &str = "kubernetes.io/hostname";

/// Where the volume of a claim can be mounted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VolumePlacement {
    /// The name of the claim, for messages.
    pub claim: String,
    /// The access modes of the claim.
    pub access_modes: Vec<String>,
    /// The node affinity of the volume: one of these terms must match. Empty if the volume can be on any node, or is not
    /// known.
    pub terms: Vec<NodeSelectorTerm>,
    /// The node that Kubernetes selected for a volume that does not exist yet.
    pub selected_node: Option<String>,
    /// Whether other pods use the claim.
    pub is_used: bool,
    /// The nodes of these pods.
    pub used_on: BTreeSet<String>,
}

impl VolumePlacement {
    /// Whether one pod at most can use the volume.
    fn is_for_one_pod(&self) -> bool {
        self.access_modes.iter().any(|mode| mode == "ReadWriteOncePod")
    }

    /// Whether one node at most can mount the volume.
    fn is_for_one_node(&self) -> bool {
        !self.access_modes.iter().any(|mode| mode == "ReadWriteMany" || mode == "ReadOnlyMany")
    }

    /// The node on which the volume is, or will be; `None` if no node is known.
    fn node(&self) -> Option<&str> {
        let used_on = self.used_on.first().filter(|_| self.is_for_one_node());
        used_on.or(self.selected_node.as_ref()).map(String::as_str)
    }
}

/// Why no pod can mount both volumes; `None` if nothing is known that prevents it.
pub fn obstacle(source: &VolumePlacement, target: &VolumePlacement) -> Option<String> {
    for placement in [source, target] {
        if placement.is_for_one_pod() && placement.is_used {
            return Some(format!("PVC {} is used by another pod, and only one can use it", placement.claim));
        }
    }
    let nodes: Vec<&str> = [source.node(), target.node()].into_iter().flatten().collect();
    if let [first, second] = nodes[..]
        && first != second
    {
        return Some(format!(
            "PVC {} is on node {first} and PVC {} on node {second}",
            source.claim, target.claim
        ));
    }
    let node = nodes.first().copied();
    let has_common_node = alternatives(source).iter().any(|of_source| {
        alternatives(target).iter().any(|of_target| is_satisfiable(of_source, of_target, node))
    });
    (!has_common_node).then(|| match node {
        Some(node) => {
            format!(
                "the volumes of PVC {} and PVC {} cannot both be on node {node}",
                source.claim, target.claim
            )
        }
        None => format!("no node can have the volumes of PVC {} and PVC {}", source.claim, target.claim),
    })
}

/// The terms of the volume's node affinity; one without requirements if it has none.
fn alternatives(placement: &VolumePlacement) -> Vec<NodeSelectorTerm> {
    if placement.terms.is_empty() { vec![NodeSelectorTerm::default()] } else { placement.terms.clone() }
}

/// Whether a node can match both terms and, if `node` is given, have this name. The label with the name of the node is
/// expected to have the same value, which holds on most clusters.
fn is_satisfiable(first: &NodeSelectorTerm, second: &NodeSelectorTerm, node: Option<&str>) -> bool {
    let named = |key: &str| {
        let values = node.map(|node| vec![node.to_owned()])?;
        Some(NodeRequirement { key: key.to_owned(), operator: "In".to_owned(), values })
    };
    let fields = [first, second].into_iter().flat_map(|term| term.match_fields.iter().cloned());
    let labels = [first, second].into_iter().flat_map(|term| term.match_expressions.iter().cloned());
    has_value(&fields.chain(named(NODE_NAME)).collect::<Vec<_>>())
        && has_value(&labels.chain(named(HOST_NAME)).collect::<Vec<_>>())
}

/// Whether every key can have a value that meets all its requirements.
fn has_value(requirements: &[NodeRequirement]) -> bool {
    let keys: BTreeSet<&str> = requirements.iter().map(|requirement| requirement.key.as_str()).collect();
    keys.into_iter().all(|key| {
        let of_key: Vec<&NodeRequirement> =
            requirements.iter().filter(|requirement| requirement.key == key).collect();
        let allowed = of_key.iter().find(|requirement| requirement.operator == "In");
        match allowed {
            Some(one) => {
                one.values.iter().any(|value| of_key.iter().all(|requirement| allows(requirement, value)))
            }
            // Any value, or none.
            None => {
                let is = |operator: &str| of_key.iter().any(|requirement| requirement.operator == operator);
                !(is("DoesNotExist") && (is("Exists") || is("Gt") || is("Lt")))
            }
        }
    })
}

/// Whether the requirement admits this value of its key. An operator that is not known admits every value.
fn allows(requirement: &NodeRequirement, value: &str) -> bool {
    let has = || requirement.values.iter().any(|known| known == value);
    let compared = || {
        let bound: i64 = requirement.values.first()?.parse().ok()?;
        Some(value.parse::<i64>().ok()?.cmp(&bound))
    };
    match requirement.operator.as_str() {
        "In" => has(),
        "NotIn" => !has(),
        "DoesNotExist" => false,
        "Gt" => compared() == Some(std::cmp::Ordering::Greater),
        "Lt" => compared() == Some(std::cmp::Ordering::Less),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// A volume with these access modes, terms of its node affinity, node and nodes of other users.
    fn volume(
        claim: &str,
        modes: &[&str],
        terms: &Value,
        selected: Option<&str>,
        used_on: &[&str],
    ) -> VolumePlacement {
        VolumePlacement {
            claim: claim.to_owned(),
            access_modes: modes.iter().map(|mode| (*mode).to_owned()).collect(),
            terms: serde_json::from_value(terms.clone()).unwrap(),
            selected_node: selected.map(str::to_owned),
            is_used: !used_on.is_empty(),
            used_on: used_on.iter().filter(|node| !node.is_empty()).map(|node| (*node).to_owned()).collect(),
        }
    }

    fn on(key: &str, operator: &str, values: &[&str]) -> Value {
        json!([{ "matchExpressions": [{ "key": key, "operator": operator, "values": values }] }])
    }

    const ONCE: [&str; 1] = ["ReadWriteOnce"];
    const MANY: [&str; 1] = ["ReadWriteMany"];

    #[test]
    fn node_affinities_have_to_have_a_node_in_common() {
        let zone = "topology.kubernetes.io/zone";
        let host = HOST_NAME;
        let both = json!([
            { "matchExpressions": [{ "key": zone, "operator": "In", "values": ["b"] }] },
            { "matchExpressions": [{ "key": zone, "operator": "In", "values": ["a"] },
                                   { "key": "disk", "operator": "Exists" }] },
        ]);
        let name = |node: &str| json!([{ "matchFields": [{ "key": NODE_NAME, "operator": "In", "values": [node] }] }]);
        for (source, target, is_possible) in [
            (json!([]), json!([]), true),
            (json!([]), on(host, "In", &["n1"]), true),
            (on(host, "In", &["n1"]), on(host, "In", &["n1"]), true),
            (on(host, "In", &["n1"]), on(host, "In", &["n2"]), false),
            (on(host, "In", &["n1", "n2"]), on(host, "In", &["n2", "n3"]), true),
            (on(zone, "In", &["a"]), on(host, "In", &["n1"]), true),
            (on(zone, "In", &["a"]), both.clone(), true),
            (on(zone, "In", &["c"]), both, false),
            (on(zone, "In", &["a"]), on(zone, "NotIn", &["a"]), false),
            (on(zone, "In", &["a", "b"]), on(zone, "NotIn", &["a"]), true),
            (on(zone, "NotIn", &["a"]), on(zone, "NotIn", &["b"]), true),
            (on(zone, "In", &["a"]), on(zone, "DoesNotExist", &[]), false),
            (on(zone, "Exists", &[]), on(zone, "DoesNotExist", &[]), false),
            (on(zone, "In", &["a"]), on(zone, "Exists", &[]), true),
            (on("rack", "In", &["3"]), on("rack", "Gt", &["2"]), true),
            (on("rack", "In", &["3"]), on("rack", "Lt", &["3"]), false),
            (on("rack", "In", &["x"]), on("rack", "Gt", &["2"]), false),
            (on(zone, "In", &["a"]), on(zone, "Resembles", &["b"]), true),
            (name("n1"), name("n1"), true),
            (name("n1"), name("n2"), false),
        ] {
            let found = obstacle(
                &volume("golden", &MANY, &source, None, &[]),
                &volume("copy", &MANY, &target, None, &[]),
            );
            assert_eq!(found.is_none(), is_possible, "{source} {target}: {found:?}");
        }
    }

    #[test]
    fn access_modes_the_selected_node_and_other_users_bind_a_volume_to_a_node() {
        let n1 = on(HOST_NAME, "In", &["n1"]);
        let zone = on("topology.kubernetes.io/zone", "In", &["a"]);
        let none = json!([]);
        let source =
            |modes: &[&str], terms: &Value, used_on: &[&str]| volume("golden", modes, terms, None, used_on);
        let target = |terms: &Value, selected: Option<&str>| volume("copy", &ONCE, terms, selected, &[]);
        for (source, target, expected) in [
            (source(&ONCE, &none, &[]), target(&none, None), None),
            (source(&ONCE, &none, &["n1"]), target(&none, None), None),
            (source(&ONCE, &none, &["n1"]), target(&none, Some("n1")), None),
            (
                source(&ONCE, &none, &["n1"]),
                target(&none, Some("n2")),
                Some("PVC golden is on node n1 and PVC copy on node n2"),
            ),
            (source(&MANY, &none, &["n1"]), target(&none, Some("n2")), None),
            (source(&["ReadOnlyMany"], &none, &["n1", "n3"]), target(&none, Some("n2")), None),
            (source(&["ReadWriteOnce", "ReadOnlyMany"], &none, &["n1"]), target(&none, Some("n2")), None),
            (source(&ONCE, &n1, &[]), target(&none, Some("n1")), None),
            (
                source(&ONCE, &n1, &[]),
                target(&none, Some("n2")),
                Some("the volumes of PVC golden and PVC copy cannot both be on node n2"),
            ),
            (
                source(&ONCE, &none, &["n2"]),
                target(&n1, None),
                Some("the volumes of PVC golden and PVC copy cannot both be on node n2"),
            ),
            // The labels of that node are not known.
            (source(&ONCE, &none, &["n2"]), target(&zone, None), None),
            (
                source(&ONCE, &n1, &[]),
                target(&on(HOST_NAME, "In", &["n2"]), None),
                Some("no node can have the volumes of PVC golden and PVC copy"),
            ),
            (source(&["ReadWriteOncePod"], &none, &[]), target(&none, None), None),
            (
                source(&["ReadWriteOncePod"], &none, &["n1"]),
                target(&none, None),
                Some("PVC golden is used by another pod, and only one can use it"),
            ),
            (
                source(&["ReadWriteOncePod"], &none, &[""]),
                target(&none, None),
                Some("PVC golden is used by another pod, and only one can use it"),
            ),
        ] {
            assert_eq!(obstacle(&source, &target).as_deref(), expected, "{source:?} {target:?}");
        }
    }
}
