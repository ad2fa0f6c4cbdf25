//! Refusals that no DataVolume tells, because its status cannot be written or because there is none: they are in events, and on
//! PVCs that ask for a clone by themselves.

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

/// What is read of an event.
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
    /// Whether it is about the object as it is now: an event about an earlier state may be over.
    fn is_about(&self, meta: &Meta) -> bool {
        let Involved { namespace, name, uid, resource_version, .. } = &self.involved_object;
        (namespace, name, uid, resource_version)
            == (&meta.namespace, &meta.name, &meta.uid, &meta.resource_version)
    }
}

/// Why something fails, as an event or a PVC says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Untold {
    pub(super) reason: String,
    pub(super) message: String,
}

/// Warnings of the controller. Who may not see events sees none.
fn events(session: &Session, scope: &ListParams) -> Vec<Event> {
    let params = ListParams { fields: "type=Warning".to_owned(), ..scope.clone() };
    let found = list::<Event>(&session.cluster, Kind::Event, &params).map(|(events, _)| events);
    found.unwrap_or_default().into_iter().filter(|event| last_error::is_reason(&event.reason)).collect()
}

/// Those of `all` whose status cannot be written.
pub(super) fn unwritten(session: &Session, scope: &ListParams, all: &[DataVolume]) -> BTreeMap<Key, Untold> {
    unwritten_of(&events(session, scope), all)
}

fn unwritten_of(events: &[Event], all: &[DataVolume]) -> BTreeMap<Key, Untold> {
    let mut found = BTreeMap::new();
    for event in events.iter().filter(|event| event.reason == STATUS_REASON) {
        let dv =
            all.iter().find(|dv| event.involved_object.kind == "DataVolume" && event.is_about(&dv.metadata));
        found.extend(dv.map(|dv| {
            (dv.metadata.key(), Untold { reason: event.reason.clone(), message: event.message.clone() })
        }));
    }
    found
}

/// What fails for PVCs and pods that have no DataVolume, by kind and key.
pub(super) fn without_data_volume(
    session: &Session,
    scope: &ListParams,
    all: &[DataVolume],
    pods: &[Pod],
) -> BTreeMap<(&'static str, Key), Untold> {
    let claims = list::<Claim>(&session.cluster, Kind::PersistentVolumeClaim, scope);
    let claims = claims.map(|(claims, _)| claims).unwrap_or_default();
    without_data_volume_of(&events(session, scope), all, &claims, pods)
}

fn without_data_volume_of(
    events: &[Event],
    all: &[DataVolume],
    claims: &[Claim],
    pods: &[Pod],
) -> BTreeMap<(&'static str, Key), Untold> {
    let mut found = BTreeMap::new();
    let told = |key: &Key| all.iter().any(|dv| dv.metadata.key() == *key);
    let untold: Vec<&Claim> = claims.iter().filter(|claim| !told(&claim.metadata.key())).collect();
    for event in events {
        let Event { reason, message, involved_object } = event;
        let meta = match involved_object.kind.as_str() {
            "PersistentVolumeClaim" => {
                let claim = untold.iter().find(|claim| event.is_about(&claim.metadata));
                claim.map(|claim| ("PVC", &claim.metadata))
            }
            "Pod" => pods.iter().find(|pod| event.is_about(&pod.metadata)).map(|pod| ("pod", &pod.metadata)),
            _ => None,
        };
        found.extend(meta.map(|(kind, meta)| {
            ((kind, meta.key()), Untold { reason: reason.clone(), message: message.clone() })
        }));
    }
    for claim in untold {
        let text = |name| claim.metadata.annotation(name).unwrap_or_default();
        if text(CLONE_REQUEST).is_empty() || !text(CLONE_OF).is_empty() {
            continue;
        }
        let sides = [(RUNNING_REASON, RUNNING_MESSAGE), (SOURCE_RUNNING_REASON, SOURCE_RUNNING_MESSAGE)];
        for (reason, message) in sides.map(|(reason, message)| (text(reason), text(message))) {
            if last_error::is_reason(reason) {
                let untold = Untold { reason: reason.to_owned(), message: message.to_owned() };
                found.insert(("PVC", claim.metadata.key()), untold);
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
    fn a_status_that_cannot_be_written_counts_as_long_as_the_data_volume_did_not_change() {
        let all: [DataVolume; 1] = [read(json!({ "metadata": meta("copy", "5") }))];
        let found = |version| unwritten_of(&[event("DataVolume", "copy", version, "ErrWritingStatus")], &all);
        assert_eq!(found("5").len(), 1);
        assert!(found("4").is_empty());
        assert!(unwritten_of(&[event("DataVolume", "copy", "5", "ErrStartingPod")], &all).is_empty());
    }

    #[test]
    fn claims_and_pods_count_only_where_no_data_volume_tells() {
        let claims: [Claim; 1] = [read(json!({ "metadata": meta("copy", "5") }))];
        let pods: [Pod; 1] = [read(json!({ "metadata": meta("pod", "6") }))];
        let events = [
            event("PersistentVolumeClaim", "copy", "5", "ErrChangingClaim"),
            event("Pod", "pod", "6", "ErrDeletingPod"),
        ];
        let found = without_data_volume_of(&events, &[], &claims, &pods);
        assert_eq!(found.keys().map(|(kind, _)| *kind).collect::<Vec<_>>(), ["PVC", "pod"]);
        let all: [DataVolume; 1] = [read(json!({ "metadata": meta("copy", "1") }))];
        assert_eq!(without_data_volume_of(&events, &all, &claims, &[]).len(), 0);
    }

    #[test]
    fn a_claim_that_asks_by_itself_tells_by_its_annotations_until_it_is_cloned() {
        let claim = |done: bool| -> Claim {
            let mut claim = json!({ "metadata": meta("copy", "5") });
            claim["metadata"]["annotations"] = json!({
                CLONE_REQUEST: "n/golden", SOURCE_RUNNING_REASON: "ErrStartingPod", SOURCE_RUNNING_MESSAGE: "no" });
            if done {
                claim["metadata"]["annotations"][CLONE_OF] = "true".into();
            }
            read(claim)
        };
        assert_eq!(without_data_volume_of(&[], &[], &[claim(false)], &[]).len(), 1);
        assert!(without_data_volume_of(&[], &[], &[claim(true)], &[]).is_empty());
    }
}
