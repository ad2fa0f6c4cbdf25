//! The prime PVC: the object to create, and the view of it that the clone works with.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::objects::annotations::{
    APP, APP_VALUE, BANDWIDTH_LIMIT, BIND_IMMEDIATE, CLONE_OF, CLONE_REQUEST, CONTENT_TYPE, DIGEST, NOT_KEPT,
    OUTCOME, OWNED_BY_UID, OWNER_UID, PERMISSIVE_CLONE, PLACEMENT, POD_ANNOTATIONS, POD_LABELS, POD_PHASE,
    POD_READY, POD_RESTARTS, POPULATES, POPULATOR_KIND, PREALLOCATION_APPLIED, PREALLOCATION_REQUESTED,
    PRIORITY_CLASS, REPLACED_PODS, RESTORED, RUNNING, RUNNING_MESSAGE, RUNNING_REASON, SELECTED_NODE,
    SERVICE_ACCOUNT, SNAPSHOT_TIME, SOURCE_IN_USE, SOURCE_POD, SOURCE_POD_NAME, SOURCE_RUNNING,
    SOURCE_RUNNING_MESSAGE, SOURCE_RUNNING_REASON, SOURCE_SNAPSHOT, STREAMS, TARGET_POD, TRANSFER,
    TRANSFER_FALLBACK, TRANSFER_MODE, UPLOAD_CLIENT_NAME, UPLOAD_POD_NAME, VERIFY,
};
use crate::objects::claim::VolumeMode;
use crate::objects::placement::Placement;
use crate::objects::{Claim, ClonedObject, Kind, PopulatorKind, names};

/// What the controller itself writes on a prime. Users of the source's namespace can change these: the sealed ones
/// count only with their seal, and the others only describe.
const STATE: [&str; 25] = [
    SOURCE_SNAPSHOT,
    SNAPSHOT_TIME,
    TRANSFER_MODE,
    TRANSFER_FALLBACK,
    POD_PHASE,
    POD_READY,
    POD_RESTARTS,
    UPLOAD_POD_NAME,
    UPLOAD_CLIENT_NAME,
    SOURCE_POD_NAME,
    RUNNING,
    RUNNING_MESSAGE,
    RUNNING_REASON,
    SOURCE_RUNNING,
    SOURCE_RUNNING_MESSAGE,
    SOURCE_RUNNING_REASON,
    PREALLOCATION_APPLIED,
    TARGET_POD,
    SOURCE_POD,
    OUTCOME,
    DIGEST,
    NOT_KEPT,
    REPLACED_PODS,
    SELECTED_NODE,
    RESTORED,
];

/// Settings of the clone that the target may have as annotations.
const SETTINGS: [&str; 10] = [
    SOURCE_IN_USE,
    PLACEMENT,
    PREALLOCATION_REQUESTED,
    CONTENT_TYPE,
    PERMISSIVE_CLONE,
    PRIORITY_CLASS,
    BANDWIDTH_LIMIT,
    STREAMS,
    VERIFY,
    TRANSFER,
];

/// Settings that decide about pods in the namespace of the target. They count only if the prime is in the same
/// namespace, because the pods run in the namespace of the prime.
const LOCAL_SETTINGS: [&str; 8] = [
    SERVICE_ACCOUNT,
    POD_LABELS,
    POD_ANNOTATIONS,
    "k8s.v1.cni.cncf.io/networks",
    "v1.multus-cni.io/default-network",
    "sidecar.istio.io/inject",
    "linkerd.io/inject",
    "consul.hashicorp.com/connect-inject",
];

/// What a prime is filled for.
#[derive(Debug, Clone, Copy)]
pub struct PrimePurpose<'a> {
    /// The target, which gets the volume.
    pub target: &'a Claim,
    /// The source.
    pub source: &'a ClonedObject,
    /// The settings of the data source.
    pub settings: &'a [(&'static str, String)],
}

impl PrimePurpose<'_> {
    /// The annotations that direct the clone.
    fn annotations(&self) -> BTreeMap<String, String> {
        let target = &self.target.metadata;
        let is_local = target.namespace == self.source.key.namespace;
        let local = LOCAL_SETTINGS.iter().filter(|_| is_local);
        let own = SETTINGS.iter().chain(local);
        let mut all: BTreeMap<String, String> =
            own.filter_map(|name| Some(((*name).to_owned(), target.annotation(name)?.to_owned()))).collect();
        // How the bytes travel is decided for a PVC; everything else for its source.
        let has_wish = all.contains_key(TRANSFER);
        let settings = self.settings.iter().filter(|(name, _)| !(has_wish && *name == TRANSFER));
        all.extend(settings.map(|(name, value)| ((*name).to_owned(), value.clone())));
        if !is_local {
            keep_what_counts_elsewhere(&mut all);
        }
        all.insert(CLONE_REQUEST.to_owned(), self.source.to_string());
        all.insert(OWNER_UID.to_owned(), target.uid.to_string());
        // The target waits for its first consumer; the prime is never used by one.
        all.insert(BIND_IMMEDIATE.to_owned(), String::new());
        all
    }
}

/// Reduces the settings of pods to what counts in the namespace of the source, if the target is in another one.
fn keep_what_counts_elsewhere(settings: &mut BTreeMap<String, String>) {
    for name in [POD_LABELS, POD_ANNOTATIONS] {
        settings.remove(name);
    }
    if let Some(text) = settings.remove(PLACEMENT)
        && let Ok(placement) = Placement::read(&text)
    {
        settings.insert(PLACEMENT.to_owned(), placement.elsewhere().text());
    }
}

/// The PVC that the clone works with: `prime` with trusted annotations only. Without a purpose, no clone is requested.
pub fn view(prime: &Claim, purpose: Option<PrimePurpose<'_>>, has_outcome: bool) -> Claim {
    let mut view = prime.clone();
    view.metadata.annotations.retain(|name, _| STATE.contains(&name.as_str()));
    if has_outcome && let Some(mark) = prime.metadata.annotation(CLONE_OF) {
        view.metadata.annotations.insert(CLONE_OF.to_owned(), mark.to_owned());
    }
    if let Some(purpose) = purpose {
        view.metadata.annotations.extend(purpose.annotations());
    }
    view
}

/// The prime to create.
pub fn object(purpose: &PrimePurpose<'_>, kind: PopulatorKind) -> Value {
    let target = &purpose.target.metadata;
    let spec = &purpose.target.spec;
    let node = target.annotation(SELECTED_NODE).map(|node| (SELECTED_NODE, node.to_owned()));
    let always = [(POPULATES, target.key().to_string()), (POD_RESTARTS, "0".to_owned())];
    let mut annotations: Map<String, Value> =
        always.into_iter().chain(node).map(|(name, value)| (name.to_owned(), value.into())).collect();
    // CDI's controllers would act on a PVC with these.
    if kind == PopulatorKind::VolumeCloneSource {
        annotations.extend(purpose.annotations().into_iter().map(|(name, value)| (name, value.into())));
        for (name, value) in [
            (POPULATOR_KIND, kind.kind().name().to_owned()),
            ("cdi.kubevirt.io/events.source.kind", Kind::PersistentVolumeClaim.name().to_owned()),
            ("cdi.kubevirt.io/events.source", target.key().to_string()),
        ] {
            annotations.insert(name.to_owned(), value.into());
        }
    }
    let filling_alert = (spec.volume_mode == VolumeMode::Filesystem)
        .then(|| ("alerts.k8s.io/KubePersistentVolumeFillingUp", "disabled".to_owned()));
    let always = [
        (APP, APP_VALUE.to_owned()),
        ("app.kubernetes.io/managed-by", "cdi-controller".to_owned()),
        (OWNED_BY_UID, target.uid.to_string()),
        ("velero.io/exclude-from-backup", "true".to_owned()),
    ];
    let labels: BTreeMap<&str, String> = always.into_iter().chain(filling_alert).collect();
    let mode = spec.volume_mode;
    json!({
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": names::prime(kind, &target.uid),
            "namespace": purpose.source.key.namespace,
            "labels": labels,
            "annotations": annotations,
        },
        "spec": {
            "accessModes": spec.access_modes,
            "storageClassName": spec.storage_class_name,
            "volumeMode": mode,
            "resources": { "requests": { "storage": spec.resources.requests.storage } },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::Key;

    fn target(annotations: &Value) -> Claim {
        serde_json::from_value(json!({
            "metadata": { "namespace": "t", "name": "data", "uid": "1", "annotations": annotations },
            "spec": { "accessModes": ["ReadWriteOnce"], "storageClassName": "c", "volumeMode": "Block",
                      "resources": { "requests": { "storage": "1Gi" } } },
        }))
        .unwrap()
    }

    fn prime(annotations: &Value) -> Claim {
        serde_json::from_value(json!({
            "metadata": { "namespace": "s", "name": "tmp-pvc-1", "uid": "2", "annotations": annotations },
        }))
        .unwrap()
    }

    #[test]
    fn a_prime_has_the_class_size_modes_and_node_of_its_target() {
        let target = target(&json!({ SELECTED_NODE: "node1" }));
        let source = ClonedObject::claim(Key::new("s", "golden"));
        let purpose =
            PrimePurpose { target: &target, source: &source, settings: &[(STREAMS, "4".to_owned())] };
        let own = object(&purpose, PopulatorKind::CloneSource);
        assert_eq!(own["metadata"]["name"], "decant-prime-1");
        let node_and_target = json!({ SELECTED_NODE: "node1", POPULATES: "t/data", POD_RESTARTS: "0" });
        assert_eq!(
            own["metadata"]["annotations"], node_and_target,
            "nothing that a controller of CDI acts on"
        );
        let object = object(&purpose, PopulatorKind::VolumeCloneSource);
        assert_eq!(object["metadata"]["namespace"], "s");
        assert_eq!(object["metadata"]["name"], "tmp-pvc-1");
        assert_eq!(object["metadata"]["annotations"][SELECTED_NODE], "node1");
        assert_eq!(object["metadata"]["annotations"][CLONE_REQUEST], "s/golden");
        assert_eq!(object["metadata"]["annotations"][STREAMS], "4");
        assert_eq!(object["metadata"]["annotations"][POPULATES], "t/data");
        assert_eq!(object["spec"]["volumeMode"], "Block");
        assert_eq!(object["spec"]["resources"]["requests"]["storage"], "1Gi");
        assert!(object["spec"].get("dataSource").is_none());
        assert!(object["metadata"].get("ownerReferences").is_none());
    }

    #[test]
    fn how_the_bytes_travel_is_what_the_target_says_and_else_its_source() {
        let source = ClonedObject::claim(Key::new("s", "golden"));
        let settings = [(TRANSFER, "direct".to_owned())];
        for (annotations, expected) in [(json!({ TRANSFER: "network" }), "network"), (json!({}), "direct")] {
            let target = target(&annotations);
            let purpose = PrimePurpose { target: &target, source: &source, settings: &settings };
            let seen = view(&prime(&json!({ TRANSFER: "auto" })), Some(purpose), false).metadata;
            assert_eq!(seen.annotation(TRANSFER), Some(expected), "{annotations}");
        }
    }

    #[test]
    fn pods_in_the_namespace_of_the_source_are_placed_only_by_a_choice_of_nodes() {
        let chosen = r#"{"nodeSelector":{"disk":"ssd"},"tolerations":[{"operator":"Exists"}]}"#;
        let labels = r#"{"team":"a"}"#;
        let [annotated, plain] =
            [target(&json!({ PLACEMENT: chosen, POD_LABELS: labels })), target(&json!({}))];
        let settings = [PLACEMENT, POD_LABELS]
            .map(|name| (name, if name == PLACEMENT { chosen } else { labels }.to_owned()));
        for (target, settings) in [(&annotated, &[][..]), (&plain, &settings)] {
            let seen = |namespace: &str| {
                let source = ClonedObject::claim(Key::new(namespace, "golden"));
                view(&prime(&json!({})), Some(PrimePurpose { target, source: &source, settings }), false)
                    .metadata
            };
            let here = seen("t");
            assert_eq!(
                (here.annotation(PLACEMENT), here.annotation(POD_LABELS)),
                (Some(chosen), Some(labels))
            );
            let elsewhere = seen("s");
            assert_eq!(elsewhere.annotation(PLACEMENT), Some(r#"{"nodeSelector":{"disk":"ssd"}}"#));
            assert_eq!(elsewhere.annotation(POD_LABELS), None);
        }
    }

    #[test]
    fn what_users_wrote_on_a_prime_directs_no_clone() {
        let evil = prime(&json!({
            CLONE_REQUEST: "secret/vault", VERIFY: "never", CLONE_OF: "true", SERVICE_ACCOUNT: "admin", DIGEST: "x",
        }));
        let (target, source) = (
            target(&json!({ SERVICE_ACCOUNT: "root", VERIFY: "readback" })),
            ClonedObject::claim(Key::new("s", "golden")),
        );
        let purpose = PrimePurpose { target: &target, source: &source, settings: &[] };
        let seen = view(&evil, Some(purpose), false).metadata;
        assert_eq!(seen.annotation(CLONE_REQUEST), Some("s/golden"));
        assert_eq!(seen.annotation(VERIFY), Some("readback"));
        assert_eq!(seen.annotation(CLONE_OF), None, "the mark counts only with a sealed outcome");
        assert_eq!(seen.annotation(SERVICE_ACCOUNT), None, "the target is in another namespace");
        let unused = view(&evil, None, false).metadata;
        assert_eq!(unused.annotation(CLONE_REQUEST), None);
    }
}
