//! Errors that no DataVolume reports, because its status cannot be written or because there is no DataVolume. They are
//! in events, and in annotations of PVCs that request a clone themselves.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::session::{Session, list};
use decant_controller::api::cluster::ListParams;
use decant_controller::objects::annotations::{
    CLONE_OF, CLONE_REQUEST, RUNNING_MESSAGE, RUNNING_REASON, SOURCE_RUNNING_MESSAGE, SOURCE_RUNNING_REASON,
};
use decant_controller::objects::{Claim, DataVolume, Key, Kind, Meta, Pod, Uid};
use decant_controller::reconcile::last_error;
use decant_controller::reconcile::last_error::STATUS_REASON;

/// The fields of an event that are used.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Event {
    reason: String,
    message: String,
    involved_object: Involved,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Involved {
    kind: String,
    namespace: String,
    name: String,
    uid: Uid,
    resource_version: String,
}

impl Event {
    /// Whether the event is about the current version of the object: one about an earlier version may be outdated.
    fn is_about(&self, meta: &Meta) -> bool {
        let Involved { namespace, name, uid, resource_version, .. } = &self.involved_object;
        (namespace, name, uid, resource_version)
            == (&meta.namespace, &meta.name, &meta.uid, &meta.resource_version)
    }
}

/// An error from an event or a PVC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UnreportedError {
    pub(super) reason: String,
    pub(super) message: String,
}

/// Warnings of the controller; none for users who may not read events.
fn events(session: &Session, scope: &ListParams) -> Vec<Event> {
    let params = ListParams { fields: "type=Warning".to_owned(), ..scope.clone() };
    let found = list::<Event>(&session.cluster, Kind::Event, &params).map(|(events, _)| events);
    found.unwrap_or_default().into_iter().filter(|event| last_error::is_reason(&event.reason)).collect()
}

/// Errors of DataVolumes whose status cannot be written.
pub(super) fn status_errors(
    session: &Session,
    scope: &ListParams,
    all: &[DataVolume],
) -> BTreeMap<Key, UnreportedError> {
    status_errors_of(&events(session, scope), all)
}

fn status_errors_of(events: &[Event], all: &[DataVolume]) -> BTreeMap<Key, UnreportedError> {
    let mut found = BTreeMap::new();
    for event in events.iter().filter(|event| event.reason == STATUS_REASON) {
        let dv =
            all.iter().find(|dv| event.involved_object.kind == "DataVolume" && event.is_about(&dv.metadata));
        found.extend(dv.map(|dv| {
            (
                dv.metadata.key(),
                UnreportedError { reason: event.reason.clone(), message: event.message.clone() },
            )
        }));
    }
    found
}

/// Errors of PVCs and pods without a DataVolume.
pub(super) fn errors_without_data_volume(
    session: &Session,
    scope: &ListParams,
    all: &[DataVolume],
    claims: &[Claim],
    pods: &[Pod],
) -> BTreeMap<(&'static str, Key), UnreportedError> {
    errors_without_data_volume_of(&events(session, scope), all, claims, pods)
}

fn errors_without_data_volume_of(
    events: &[Event],
    all: &[DataVolume],
    claims: &[Claim],
    pods: &[Pod],
) -> BTreeMap<(&'static str, Key), UnreportedError> {
    let mut found = BTreeMap::new();
    let has_data_volume = |key: &Key| all.iter().any(|dv| dv.metadata.key() == *key);
    let alone: Vec<&Claim> = claims.iter().filter(|claim| !has_data_volume(&claim.metadata.key())).collect();
    for event in events {
        let Event { reason, message, involved_object } = event;
        let meta = match involved_object.kind.as_str() {
            "PersistentVolumeClaim" => {
                let claim = alone.iter().find(|claim| event.is_about(&claim.metadata));
                claim.map(|claim| ("PVC", &claim.metadata))
            }
            "Pod" => pods.iter().find(|pod| event.is_about(&pod.metadata)).map(|pod| ("pod", &pod.metadata)),
            _ => None,
        };
        found.extend(meta.map(|(kind, meta)| {
            ((kind, meta.key()), UnreportedError { reason: reason.clone(), message: message.clone() })
        }));
    }
    for claim in alone {
        let text = |name| claim.metadata.annotation(name).unwrap_or_default();
        // A temporary PVC reports its errors on the PVC that it fills.
        let is_prime = claim.populates().is_some();
        if text(CLONE_REQUEST).is_empty() || !text(CLONE_OF).is_empty() || is_prime {
            continue;
        }
        let sides = [(RUNNING_REASON, RUNNING_MESSAGE), (SOURCE_RUNNING_REASON, SOURCE_RUNNING_MESSAGE)];
        for (reason, message) in sides.map(|(reason, message)| (text(reason), text(message))) {
            if last_error::is_reason(reason) {
                let error = UnreportedError { reason: reason.to_owned(), message: message.to_owned() };
                found.insert(("PVC", claim.metadata.key()), error);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::de::DeserializeOwned;
    use serde_json::{Value, json};

    fn read<T: DeserializeOwned>(value: Value) -> T {
        serde_json::from_value(value).unwrap()
    }

    fn meta(name: &str, version: &str) -> Value {
        json!({ "namespace": "n", "name": name, "uid": format!("{name}-uid"), "resourceVersion": version })
    }

    fn event(kind: &str, name: &str, version: &str, reason: &str) -> Event {
        let mut involved = meta(name, version);
        involved["kind"] = kind.into();
        read(json!({ "involvedObject": involved, "reason": reason, "message": "no" }))
    }

    #[test]
    fn a_status_error_counts_until_the_data_volume_changes() {
        let all: [DataVolume; 1] = [read(json!({ "metadata": meta("copy", "5") }))];
        let found =
            |version| status_errors_of(&[event("DataVolume", "copy", version, "ErrWritingStatus")], &all);
        assert_eq!(found("5").len(), 1);
        assert!(found("4").is_empty());
        assert!(status_errors_of(&[event("DataVolume", "copy", "5", "ErrStartingPod")], &all).is_empty());
    }

    #[test]
    fn claims_and_pods_count_only_without_a_data_volume() {
        let claims: [Claim; 1] = [read(json!({ "metadata": meta("copy", "5") }))];
        let pods: [Pod; 1] = [read(json!({ "metadata": meta("pod", "6") }))];
        let events = [
            event("PersistentVolumeClaim", "copy", "5", "ErrChangingClaim"),
            event("Pod", "pod", "6", "ErrDeletingPod"),
        ];
        let found = errors_without_data_volume_of(&events, &[], &claims, &pods);
        assert_eq!(found.keys().map(|(kind, _)| *kind).collect::<Vec<_>>(), ["PVC", "pod"]);
        let all: [DataVolume; 1] = [read(json!({ "metadata": meta("copy", "1") }))];
        assert_eq!(errors_without_data_volume_of(&events, &all, &claims, &[]).len(), 0);
    }

    #[test]
    fn annotations_of_a_claim_count_until_it_is_cloned() {
        let claim = |done: bool| -> Claim {
            let mut claim = json!({ "metadata": meta("copy", "5") });
            claim["metadata"]["annotations"] = json!({
                CLONE_REQUEST: "n/golden", SOURCE_RUNNING_REASON: "ErrStartingPod", SOURCE_RUNNING_MESSAGE: "no" });
            if done {
                claim["metadata"]["annotations"][CLONE_OF] = "true".into();
            }
            read(claim)
        };
        assert_eq!(errors_without_data_volume_of(&[], &[], &[claim(false)], &[]).len(), 1);
        assert!(errors_without_data_volume_of(&[], &[], &[claim(true)], &[]).is_empty());
    }
}
