//! The objects that a PVC can name as its data source (`spec.dataSourceRef`), so that a clone fills it before it is
//! bound: [`CloneSource`], and CDI's [`VolumeCloneSource`] (docs/protocol.md section 3.6).

use std::collections::BTreeMap;

use serde::Deserialize;

use decant_shared::protocol::stream_id::STREAMS_LIMIT;
use decant_shared::protocol::units::Rate;

use crate::objects::annotations::{
    BANDWIDTH_LIMIT, PREALLOCATION_REQUESTED, PRIORITY_CLASS, READBACK, SOURCE_IN_USE, STREAMS, TRANSFER,
    VERIFY,
};
use crate::objects::clone_request::{Invalid, Wanted};
use crate::objects::placement::Placement;
use crate::objects::{Checked, Key, Kind, Meta, pod_settings};

/// The kind of object that a PVC names as its data source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PopulatorKind {
    /// Decant's own, in the namespace of the PVC. Its source may be in another namespace.
    CloneSource,
    /// CDI's, in the namespace of its source.
    VolumeCloneSource,
}

impl PopulatorKind {
    /// The kind of the API.
    pub fn kind(self) -> Kind {
        match self {
            Self::CloneSource => Kind::CloneSource,
            Self::VolumeCloneSource => Kind::VolumeCloneSource,
        }
    }
}

/// The data source of a PVC.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PopulatorRef {
    /// Its kind.
    pub kind: PopulatorKind,
    /// Its namespace and name.
    pub key: Key,
}

impl std::fmt::Display for PopulatorRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.kind.kind().name(), self.key)
    }
}

const CLAIM: &str = "PersistentVolumeClaim";
const SNAPSHOT: &str = "VolumeSnapshot";

/// What is read of a CloneSource.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct CloneSource {
    /// Metadata.
    pub metadata: Meta,
    /// The source and the settings; `None` if there is no spec.
    pub spec: Option<Checked<CloneSourceSpec>>,
}

/// The spec of a CloneSource.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CloneSourceSpec {
    /// What to clone.
    pub source: CloneSourceObject,
    /// How the content is verified: `digest` by default, `readback` to read everything back from the target's disk.
    pub verify: Option<String>,
    /// Limit of the bytes on the wire, such as `50MiB/s`.
    pub bandwidth_limit: Option<String>,
    /// Number of connections for a large volume.
    pub streams: Option<usize>,
    /// How the bytes travel: `auto`, `direct` or `network`.
    pub transfer: Option<String>,
    /// What happens while pods may write to the source: `wait` or `snapshot`.
    pub source_in_use: Option<String>,
    /// Whether the target's space is allocated in advance.
    pub preallocation: Option<bool>,
    /// Priority class of the pods.
    pub priority_class_name: Option<String>,
    /// Where the pods run.
    pub placement: Option<Placement>,
    /// Further labels of the pods.
    pub pod_labels: BTreeMap<String, String>,
    /// Further annotations of the pods.
    pub pod_annotations: BTreeMap<String, String>,
}

/// The object that a CloneSource points to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct CloneSourceObject {
    /// `PersistentVolumeClaim`, which is the default, or `VolumeSnapshot`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its namespace; empty for the namespace of the CloneSource.
    pub namespace: String,
}

/// What is read of CDI's VolumeCloneSource.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct VolumeCloneSource {
    /// Metadata.
    pub metadata: Meta,
    /// The source; `None` if there is no spec.
    pub spec: Option<Checked<VolumeCloneSourceSpec>>,
}

/// The spec of a VolumeCloneSource.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeCloneSourceSpec {
    /// What to clone, in the namespace of the VolumeCloneSource.
    pub source: VolumeCloneSourceObject,
    /// Whether the target's space is allocated in advance.
    pub preallocation: Option<bool>,
    /// Priority class of the pods.
    pub priority_class_name: Option<String>,
}

/// The object that a VolumeCloneSource points to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeCloneSourceObject {
    /// Its API group; empty for PVCs, `snapshot.storage.k8s.io` for VolumeSnapshots.
    pub api_group: Option<String>,
    /// `PersistentVolumeClaim` or `VolumeSnapshot`.
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// What a data source requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PopulationRequest {
    /// The source.
    pub wanted: Wanted,
    /// Settings, as annotations of a PVC.
    pub settings: Vec<(&'static str, String)>,
}

fn invalid<T>(field: &'static str, message: impl Into<String>) -> Result<T, Invalid> {
    Err(Invalid { field, message: message.into() })
}

fn readable<T>(spec: Option<&Checked<T>>) -> Result<&T, Invalid> {
    match spec {
        None => invalid("spec", "spec is missing"),
        Some(Checked(Ok(spec))) => Ok(spec),
        Some(Checked(Err(e))) => invalid("spec", format!("spec.{}: {}", e.field, e.why)),
    }
}

fn object(kind: &str, group: &str, key: Key) -> Result<Wanted, Invalid> {
    if key.name.is_empty() {
        return invalid("spec.source.name", "spec.source.name is missing");
    }
    match (group, kind) {
        ("", CLAIM | "") => Ok(Wanted::Claim(key)),
        (group, SNAPSHOT) if group == Kind::VolumeSnapshot.group() => Ok(Wanted::Snapshot(key)),
        (_, other) => Ok(Wanted::NotOurs(other.to_owned())),
    }
}

impl CloneSource {
    /// What it requests. The error names the field that is wrong.
    pub fn request(&self) -> Result<PopulationRequest, Invalid> {
        let spec = readable(self.spec.as_ref())?;
        let CloneSourceObject { kind, name, namespace } = &spec.source;
        let namespace = if namespace.is_empty() { &self.metadata.namespace } else { namespace };
        // The kind alone is unambiguous.
        let group = if kind == SNAPSHOT { Kind::VolumeSnapshot.group() } else { "" };
        let wanted = object(kind, group, Key::new(namespace, name))?;
        let mut settings = settings(spec.preallocation, spec.priority_class_name.as_ref());
        match spec.verify.as_deref() {
            None | Some("" | "digest") => {}
            Some(READBACK) => settings.push((VERIFY, READBACK.to_owned())),
            Some(other) => {
                return invalid(
                    "spec.verify",
                    format!("spec.verify: {other:?} is neither \"digest\" nor {READBACK:?}"),
                );
            }
        }
        if let Some(limit) = spec.bandwidth_limit.as_ref().filter(|limit| !limit.is_empty()) {
            if let Err(e) = limit.parse::<Rate>() {
                return invalid("spec.bandwidthLimit", format!("spec.bandwidthLimit: {e}"));
            }
            settings.push((BANDWIDTH_LIMIT, limit.clone()));
        }
        if let Some(streams) = spec.streams {
            if !(1..=STREAMS_LIMIT).contains(&streams) {
                let text =
                    format!("spec.streams: {streams} is no number of connections from 1 to {STREAMS_LIMIT}");
                return invalid("spec.streams", text);
            }
            settings.push((STREAMS, streams.to_string()));
        }
        match spec.transfer.as_deref() {
            None | Some("" | "auto") => {}
            Some(how @ ("direct" | "network")) => settings.push((TRANSFER, how.to_owned())),
            Some(other) => {
                let text =
                    format!("spec.transfer: {other:?} is none of \"auto\", \"direct\" and \"network\"");
                return invalid("spec.transfer", text);
            }
        }
        match spec.source_in_use.as_deref() {
            None | Some("") => {}
            Some(what @ ("wait" | "snapshot")) => settings.push((SOURCE_IN_USE, what.to_owned())),
            Some(other) => {
                let text = format!("spec.sourceInUse: {other:?} is neither \"wait\" nor \"snapshot\"");
                return invalid("spec.sourceInUse", text);
            }
        }
        let placement = spec.placement.as_ref();
        settings.extend(pod_settings::as_annotations(placement, &spec.pod_labels, &spec.pod_annotations)?);
        Ok(PopulationRequest { wanted, settings })
    }
}

impl VolumeCloneSource {
    /// What it requests. The error names the field that is wrong.
    pub fn request(&self) -> Result<PopulationRequest, Invalid> {
        let spec = readable(self.spec.as_ref())?;
        let VolumeCloneSourceObject { api_group, kind, name } = &spec.source;
        let key = Key::new(&self.metadata.namespace, name);
        let wanted = object(kind, api_group.as_deref().unwrap_or_default(), key)?;
        let settings = settings(spec.preallocation, spec.priority_class_name.as_ref());
        Ok(PopulationRequest { wanted, settings })
    }
}

fn settings(preallocation: Option<bool>, priority_class: Option<&String>) -> Vec<(&'static str, String)> {
    let preallocation = preallocation.map(|is_wanted| (PREALLOCATION_REQUESTED, is_wanted.to_string()));
    let priority = priority_class.filter(|name| !name.is_empty()).map(|name| (PRIORITY_CLASS, name.clone()));
    preallocation.into_iter().chain(priority).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::annotations::{PLACEMENT, POD_ANNOTATIONS, POD_LABELS};
    use serde_json::{Value, json};

    fn clone_source(spec: &Value) -> CloneSource {
        serde_json::from_value(json!({ "metadata": { "namespace": "n", "name": "c" }, "spec": spec }))
            .unwrap()
    }

    #[test]
    fn a_clone_source_without_a_namespace_means_its_own() {
        let request = clone_source(&json!({ "source": { "name": "golden" } })).request().unwrap();
        assert_eq!(request.wanted, Wanted::Claim(Key::new("n", "golden")));
        assert!(request.settings.is_empty());
        let source =
            json!({ "source": { "kind": "PersistentVolumeClaim", "name": "golden", "namespace": "m" } });
        let request = clone_source(&source).request().unwrap();
        assert_eq!(request.wanted, Wanted::Claim(Key::new("m", "golden")));
        let source = json!({ "source": { "kind": "VolumeSnapshot", "name": "golden" } });
        let request = clone_source(&source).request().unwrap();
        assert_eq!(request.wanted, Wanted::Snapshot(Key::new("n", "golden")));
    }

    #[test]
    fn settings_of_a_clone_source_become_those_of_the_clone() {
        let spec = json!({
            "source": { "name": "golden" }, "verify": "readback", "bandwidthLimit": "50MiB/s", "streams": 4,
            "transfer": "network", "sourceInUse": "snapshot", "preallocation": true, "priorityClassName": "low",
            "placement": { "nodeSelector": { "disk": "ssd" } }, "podLabels": { "team": "a" }, "podAnnotations": { "x": "y" },
        });
        let settings = clone_source(&spec).request().unwrap().settings;
        let expected = [
            (PREALLOCATION_REQUESTED, "true"),
            (PRIORITY_CLASS, "low"),
            (VERIFY, "readback"),
            (BANDWIDTH_LIMIT, "50MiB/s"),
            (STREAMS, "4"),
            (TRANSFER, "network"),
            (SOURCE_IN_USE, "snapshot"),
            (PLACEMENT, r#"{"nodeSelector":{"disk":"ssd"}}"#),
            (POD_LABELS, r#"{"team":"a"}"#),
            (POD_ANNOTATIONS, r#"{"x":"y"}"#),
        ];
        assert_eq!(settings, expected.map(|(name, value)| (name, value.to_owned())));
    }

    #[test]
    fn a_field_with_a_wrong_value_is_named() {
        for (spec, field) in [
            (json!({}), "spec.source.name"),
            (json!({ "source": { "name": "g" }, "verify": "twice" }), "spec.verify"),
            (json!({ "source": { "name": "g" }, "bandwidthLimit": "fast" }), "spec.bandwidthLimit"),
            (json!({ "source": { "name": "g" }, "streams": 9 }), "spec.streams"),
            (json!({ "source": { "name": "g" }, "transfer": "pigeon" }), "spec.transfer"),
            (json!({ "source": { "name": "g" }, "sourceInUse": "ignore" }), "spec.sourceInUse"),
            (json!({ "source": { "name": "g" }, "streams": "many" }), "spec"),
            (
                json!({ "source": { "name": "g" }, "placement": { "tolerations": [{ "effect": "Never" }] } }),
                "spec.placement",
            ),
            (json!({ "source": { "name": "g" }, "placement": { "nodes": ["a"] } }), "spec"),
            (json!({ "source": { "name": "g" }, "podLabels": { "app": "x" } }), "spec.podLabels"),
            (
                json!({ "source": { "name": "g" }, "podAnnotations": { "decant.dev/x": "y" } }),
                "spec.podAnnotations",
            ),
        ] {
            assert_eq!(clone_source(&spec).request().unwrap_err().field, field, "{spec}");
        }
        assert_eq!(CloneSource::default().request().unwrap_err().field, "spec");
    }

    #[test]
    fn a_volume_clone_source_names_a_source_in_its_own_namespace() {
        let request = |source: Value| {
            let object = json!({ "metadata": { "namespace": "n" }, "spec": { "source": source } });
            serde_json::from_value::<VolumeCloneSource>(object).unwrap().request().unwrap().wanted
        };
        let claim = request(json!({ "kind": "PersistentVolumeClaim", "name": "golden" }));
        assert_eq!(claim, Wanted::Claim(Key::new("n", "golden")));
        let group = "snapshot.storage.k8s.io";
        let snapshot = request(json!({ "apiGroup": group, "kind": "VolumeSnapshot", "name": "s" }));
        assert_eq!(snapshot, Wanted::Snapshot(Key::new("n", "s")));
        let groupless = request(json!({ "kind": "VolumeSnapshot", "name": "s" }));
        assert_eq!(groupless, Wanted::NotOurs("VolumeSnapshot".to_owned()));
    }
}
