//! The API server's checks of a pod's placement. A pod that fails one of them could never be created.

use std::collections::BTreeMap;
use std::fmt;

use crate::objects::label_syntax::{check_label_key, check_label_value, is_dns_label, is_dns_name};
use crate::objects::placement::{
    Affinity, NodeAffinity, NodeTerm, Placement, PodAffinity, PodTerm, Requirement, Toleration,
};

/// Terms of a required node affinity, and of other lists. Each is combined with each term of the operator.
const TERMS_MAX: usize = 64;
const LABEL_OPERATORS: [&str; 4] = ["In", "NotIn", "Exists", "DoesNotExist"];
const EFFECTS: [&str; 4] = ["", "NoSchedule", "PreferNoSchedule", "NoExecute"];
const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

/// A field that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WrongField {
    /// For example `tolerations[0].effect`.
    path: String,
    /// What is wrong with it.
    why: String,
}

impl fmt::Display for WrongField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.why)
    }
}

type FieldCheck = Result<(), WrongField>;

fn wrong(path: impl Into<String>, why: impl Into<String>) -> FieldCheck {
    Err(WrongField { path: path.into(), why: why.into() })
}

/// The error of a check of the syntax, as one of the field at `path`.
fn at(path: &str, result: Result<(), String>) -> FieldCheck {
    result.or_else(|why| wrong(path, why))
}

pub(super) fn placement(placement: &Placement) -> FieldCheck {
    labels("nodeSelector", &placement.node_selector)?;
    each("tolerations", &placement.tolerations, toleration)?;
    placement.affinity.as_ref().map_or(Ok(()), affinity)
}

fn labels(path: &str, labels: &BTreeMap<String, String>) -> FieldCheck {
    if labels.len() > TERMS_MAX {
        return wrong(path, format!("it has more than {TERMS_MAX} labels"));
    }
    for (key, value) in labels {
        at(path, check_label_key(key))?;
        at(&format!("{path}.{key}"), check_label_value(value))?;
    }
    Ok(())
}

/// Checks each item of a list, which must not be too long.
fn each<T>(path: &str, items: &[T], check: impl Fn(&str, &T) -> FieldCheck) -> FieldCheck {
    if items.len() > TERMS_MAX {
        return wrong(path, format!("it has more than {TERMS_MAX} items"));
    }
    items.iter().enumerate().try_for_each(|(index, item)| check(&format!("{path}[{index}]"), item))
}

fn one_of(path: &str, text: &str, known: &[&str]) -> FieldCheck {
    if known.contains(&text) {
        return Ok(());
    }
    let known: Vec<String> =
        known.iter().filter(|word| !word.is_empty()).map(|word| format!("{word:?}")).collect();
    wrong(path, format!("{text:?} is none of {}", known.join(", ")))
}

fn toleration(path: &str, toleration: &Toleration) -> FieldCheck {
    let field = |name: &str| format!("{path}.{name}");
    one_of(&field("operator"), &toleration.operator, &["", "Exists", "Equal"])?;
    one_of(&field("effect"), &toleration.effect, &EFFECTS)?;
    if toleration.key.is_empty() {
        if toleration.operator != "Exists" {
            return wrong(field("operator"), "without a key it has to be \"Exists\"");
        }
    } else {
        at(&field("key"), check_label_key(&toleration.key))?;
    }
    if toleration.operator == "Exists" && !toleration.value.is_empty() {
        return wrong(field("value"), "with the operator \"Exists\" there is no value");
    }
    at(&field("value"), check_label_value(&toleration.value))?;
    if toleration.toleration_seconds.is_some() && toleration.effect != "NoExecute" {
        return wrong(field("effect"), "with tolerationSeconds it has to be \"NoExecute\"");
    }
    Ok(())
}

fn affinity(affinity: &Affinity) -> FieldCheck {
    affinity.node_affinity.as_ref().map_or(Ok(()), node_affinity)?;
    for (name, pods) in
        [("podAffinity", &affinity.pod_affinity), ("podAntiAffinity", &affinity.pod_anti_affinity)]
    {
        pods.as_ref().map_or(Ok(()), |pods| pod_affinity(&format!("affinity.{name}"), pods))?;
    }
    Ok(())
}

fn node_affinity(affinity: &NodeAffinity) -> FieldCheck {
    const PATH: &str = "affinity.nodeAffinity";
    if let Some(required) = &affinity.required {
        let path = format!("{PATH}.{REQUIRED}.nodeSelectorTerms");
        if required.node_selector_terms.is_empty() {
            return wrong(path, "it has no term");
        }
        each(&path, &required.node_selector_terms, |path, term| {
            // Kubernetes: an empty term matches no node.
            if term.match_expressions.is_empty() && term.match_fields.is_empty() {
                return wrong(path, "an empty term matches no node");
            }
            node_term(path, term)
        })?;
    }
    each(&format!("{PATH}.{PREFERRED}"), &affinity.preferred, |path, preferred| {
        weight(path, preferred.weight)?;
        node_term(&format!("{path}.preference"), &preferred.preference)
    })
}

fn weight(path: &str, weight: i64) -> FieldCheck {
    if (1..=100).contains(&weight) {
        return Ok(());
    }
    wrong(format!("{path}.weight"), format!("{weight} is not between 1 and 100"))
}

fn node_term(path: &str, term: &NodeTerm) -> FieldCheck {
    each(
        &format!("{path}.matchExpressions"),
        &term.match_expressions,
        |path, requirement| match requirement.operator.as_str() {
            "Gt" | "Lt" => {
                at(&format!("{path}.key"), check_label_key(&requirement.key))?;
                match requirement.values.as_slice() {
                    [value] if value.parse::<i64>().is_ok() => Ok(()),
                    _ => wrong(format!("{path}.values"), "Gt and Lt need one value, which is a number"),
                }
            }
            _ => label_requirement(path, requirement),
        },
    )?;
    each(&format!("{path}.matchFields"), &term.match_fields, |path, requirement| {
        one_of(&format!("{path}.key"), &requirement.key, &["metadata.name"])?;
        one_of(&format!("{path}.operator"), &requirement.operator, &["In", "NotIn"])?;
        match requirement.values.as_slice() {
            [name] if is_dns_name(name) => Ok(()),
            _ => wrong(format!("{path}.values"), "it needs one value, which is the name of a node"),
        }
    })
}

fn label_requirement(path: &str, requirement: &Requirement) -> FieldCheck {
    at(&format!("{path}.key"), check_label_key(&requirement.key))?;
    one_of(&format!("{path}.operator"), &requirement.operator, &LABEL_OPERATORS)?;
    let needs_values = matches!(requirement.operator.as_str(), "In" | "NotIn");
    if needs_values == requirement.values.is_empty() {
        let need = if needs_values { "needs values" } else { "has no values" };
        return wrong(format!("{path}.values"), format!("the operator {:?} {need}", requirement.operator));
    }
    each(&format!("{path}.values"), &requirement.values, |path, value| at(path, check_label_value(value)))
}

fn pod_affinity(path: &str, affinity: &PodAffinity) -> FieldCheck {
    each(&format!("{path}.{REQUIRED}"), &affinity.required, pod_term)?;
    each(&format!("{path}.{PREFERRED}"), &affinity.preferred, |path, preferred| {
        weight(path, preferred.weight)?;
        pod_term(&format!("{path}.podAffinityTerm"), &preferred.pod_affinity_term)
    })
}

fn pod_term(path: &str, term: &PodTerm) -> FieldCheck {
    at(&format!("{path}.topologyKey"), check_label_key(&term.topology_key))?;
    each(&format!("{path}.namespaces"), &term.namespaces, |path, name| {
        if is_dns_label(name) {
            Ok(())
        } else {
            wrong(path, format!("{name:?} is not the name of a namespace"))
        }
    })?;
    let Some(selector) = &term.label_selector else { return Ok(()) };
    labels(&format!("{path}.labelSelector.matchLabels"), &selector.match_labels)?;
    let path = format!("{path}.labelSelector.matchExpressions");
    each(&path, &selector.match_expressions, label_requirement)
}
