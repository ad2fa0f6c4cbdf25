//! What the user of a clone may choose for its pods: where they run, and further labels and annotations
//! (docs/protocol.md section 3.12).

use std::collections::BTreeMap;

use crate::objects::annotations::{PLACEMENT, POD_ANNOTATIONS, POD_LABELS};
use crate::objects::clone_request::Invalid;
use crate::objects::label_syntax::{check_label_key, check_label_value, is_within};
use crate::objects::placement::{Placement, TEXT_LIMIT_BYTES};
use crate::objects::{Meta, decode_within};

/// Domains, including subdomains, whose labels and annotations no user chooses: Kubernetes acts on them, or the controller
/// recognizes its objects by them.
const RESERVED_DOMAINS: [&str; 4] = ["kubernetes.io", "k8s.io", "decant.dev", "cdi.kubevirt.io"];
/// Labels that the controller sets. CDI's Services select pods by the second.
const RESERVED_LABELS: [&str; 2] = ["app", "service"];

/// What the user of a clone chose for its pods.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PodSettings {
    /// Where they run.
    pub placement: Placement,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
}

impl PodSettings {
    /// The settings in the annotations of a claim or DataVolume. The error names the annotation, and what is wrong in it.
    pub fn of(meta: &Meta) -> Result<Self, Invalid> {
        Ok(Self {
            placement: Placement::of(meta)?,
            labels: texts(meta, POD_LABELS, check_labels)?,
            annotations: texts(meta, POD_ANNOTATIONS, check_annotations)?,
        })
    }

    /// What of it counts for pods in another namespace than that of the PVC that asks for the clone: policies, Services
    /// and webhooks of that namespace select pods by their labels and annotations (docs/security.md).
    #[must_use]
    pub fn elsewhere(&self) -> Self {
        Self { placement: self.placement.elsewhere(), ..Self::default() }
    }
}

/// The names and values in an annotation, which is a JSON object of strings.
fn texts(
    meta: &Meta,
    name: &str,
    check: impl Fn(&BTreeMap<String, String>) -> Result<(), String>,
) -> Result<BTreeMap<String, String>, Invalid> {
    let Some(text) = meta.annotation(name) else { return Ok(BTreeMap::new()) };
    let invalid = |why: String| Invalid { field: "metadata.annotations", message: format!("{name}: {why}") };
    if text.len() > TEXT_LIMIT_BYTES {
        return Err(invalid(format!("it is longer than {} KiB", TEXT_LIMIT_BYTES >> 10)));
    }
    let texts = decode_within(text, 16 * TEXT_LIMIT_BYTES).map_err(|e| invalid(e.to_string()))?;
    check(&texts).map_err(invalid)?;
    Ok(texts)
}

/// Checks labels that a user chose for pods.
pub fn check_labels(labels: &BTreeMap<String, String>) -> Result<(), String> {
    for (key, value) in labels {
        if RESERVED_LABELS.contains(&key.as_str()) {
            return Err(format!("{key:?} is a label of the controller"));
        }
        check_key(key)?;
        check_label_value(value).map_err(|why| format!("{key}: {why}"))?;
    }
    Ok(())
}

/// Checks annotations that a user chose for pods.
pub fn check_annotations(annotations: &BTreeMap<String, String>) -> Result<(), String> {
    annotations.keys().try_for_each(|key| check_key(key))
}

fn check_key(key: &str) -> Result<(), String> {
    check_label_key(key)?;
    if is_within(key, &RESERVED_DOMAINS) {
        return Err(format!(
            "{key:?} is reserved: keys of {} and their subdomains cannot be chosen",
            RESERVED_DOMAINS.join(", ")
        ));
    }
    Ok(())
}

/// The settings that a CloneSource has as fields, as annotations of a claim. The error names the field.
pub(super) fn as_annotations(
    placement: Option<&Placement>,
    labels: &BTreeMap<String, String>,
    annotations: &BTreeMap<String, String>,
) -> Result<Vec<(&'static str, String)>, Invalid> {
    let invalid =
        |field: &'static str| move |why: String| Invalid { field, message: format!("{field}: {why}") };
    let mut settings = Vec::new();
    if let Some(placement) = placement {
        placement
            .check()
            .map_err(|why| Invalid { field: "spec.placement", message: format!("spec.placement.{why}") })?;
        settings.push((PLACEMENT, placement.text()));
    }
    check_labels(labels).map_err(invalid("spec.podLabels"))?;
    check_annotations(annotations).map_err(invalid("spec.podAnnotations"))?;
    for (name, texts) in [(POD_LABELS, labels), (POD_ANNOTATIONS, annotations)] {
        if !texts.is_empty() {
            // A map of strings cannot fail.
            settings.push((name, serde_json::to_string(texts).unwrap_or_default()));
        }
    }
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn settings(annotations: &Value) -> Result<PodSettings, String> {
        let meta: Meta = serde_json::from_value(json!({ "annotations": annotations })).unwrap();
        PodSettings::of(&meta).map_err(|invalid| invalid.message)
    }

    #[test]
    fn labels_and_annotations_of_the_user_are_read() {
        let read = settings(&json!({
            POD_LABELS: r#"{"team":"storage","istio.io/dataplane-mode":"ambient"}"#,
            POD_ANNOTATIONS: r#"{"example.com/list":"a, b"}"#,
        }))
        .unwrap();
        assert_eq!(read.labels["istio.io/dataplane-mode"], "ambient");
        assert_eq!(read.annotations["example.com/list"], "a, b");
        assert_eq!(settings(&json!({})), Ok(PodSettings::default()));
    }

    #[test]
    fn a_wrong_value_is_named_with_its_annotation() {
        for (name, value, word) in [
            (POD_LABELS, "team=storage", "line 1"),
            (POD_LABELS, r#"{"team":5}"#, "team"),
            (POD_LABELS, r#"{"team":"a b"}"#, "team"),
            (POD_LABELS, r#"{"-x":"a"}"#, "-x"),
            (POD_LABELS, r#"{"app":"x"}"#, "app"),
            (POD_LABELS, r#"{"service":"x"}"#, "service"),
            (POD_LABELS, r#"{"cdi.kubevirt.io":"cdi-upload-server"}"#, "reserved"),
            (POD_LABELS, r#"{"prometheus.cdi.kubevirt.io":"true"}"#, "reserved"),
            (POD_LABELS, r#"{"pod-security.kubernetes.io/enforce":"privileged"}"#, "reserved"),
            (POD_ANNOTATIONS, r#"{"decant.dev/proof":"x"}"#, "reserved"),
            (
                POD_ANNOTATIONS,
                r#"{"container.apparmor.security.beta.kubernetes.io/c":"unconfined"}"#,
                "reserved",
            ),
            (POD_ANNOTATIONS, r#"{"x.k8s.io/a":"b"}"#, "reserved"),
            (POD_ANNOTATIONS, "[]", "map"),
        ] {
            let why = settings(&json!({ name: value })).unwrap_err();
            assert!(why.starts_with(name) && why.contains(word), "{value}: {why}");
        }
        let long = format!(r#"{{"a":"{}"}}"#, "x".repeat(TEXT_LIMIT_BYTES));
        assert!(settings(&json!({ POD_ANNOTATIONS: long })).unwrap_err().contains("longer"));
    }

    #[test]
    fn pods_in_another_namespace_get_no_labels_and_annotations() {
        let read = settings(&json!({
            POD_LABELS: r#"{"team":"storage"}"#, POD_ANNOTATIONS: r#"{"a":"b"}"#,
            PLACEMENT: r#"{"nodeSelector":{"disk":"ssd"}}"#,
        }))
        .unwrap()
        .elsewhere();
        assert!(read.labels.is_empty() && read.annotations.is_empty());
        assert_eq!(read.placement.node_selector["disk"], "ssd");
    }
}
