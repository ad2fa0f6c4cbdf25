//! The status of DataSources, which KubeVirt and others read: what they lead to, and whether that is ready (docs/protocol.md
//! section 4.12).

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;
use std::time::{Duration, Instant};

use decant_shared::process::stop::Stop;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::api::cluster::{Cluster, Part};
use crate::objects::clone_request::{Wanted, resolve};
use crate::objects::data_source::{DataSourceStatus, DataSourceTarget};
use crate::objects::data_volume::{ClaimSource, DataVolumeCondition};
use crate::objects::{
    self, ConditionStatus, ConditionType, DataSource, DataVolumePhase, Key, Kind, VolumeSnapshot,
};
use crate::watch::store::Stores;

/// Interval between two looks at all DataSources. They are in memory; only changes are written.
const LOOK: Duration = Duration::from_secs(2);

/// How long the state of a ready snapshot is kept before it is read again. No watch reports snapshots, but a ready one stays
/// ready until it is deleted.
const READY_LIFE: Duration = Duration::from_secs(60);
/// How long any other state of a snapshot is kept.
const UNREADY_LIFE: Duration = Duration::from_secs(10);

/// The state of a snapshot that a DataSource leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotState {
    /// It can be restored.
    Ready,
    /// It exists, and cannot be restored yet.
    NotReady,
    /// It does not exist.
    Missing,
    /// It cannot be read.
    Unknown,
}

/// The states of snapshots and when each was read. Each is read again only when it is too old.
#[derive(Debug, Default)]
struct SnapshotStates(BTreeMap<Key, (SnapshotState, Instant)>);

impl SnapshotStates {
    fn of(&mut self, cluster: &dyn Cluster, key: &Key, now: Instant) -> SnapshotState {
        let life = |state| if state == SnapshotState::Ready { READY_LIFE } else { UNREADY_LIFE };
        if let Some((state, read)) = self.0.get(key)
            && now.saturating_duration_since(*read) < life(*state)
        {
            return *state;
        }
        let unknown = |why: &dyn Display| {
            log::debug!("cannot read VolumeSnapshot {key}: {why}");
            SnapshotState::Unknown
        };
        let state = match cluster.get(Kind::VolumeSnapshot, key).map(objects::decode::<VolumeSnapshot>) {
            Ok(Ok(snapshot)) if snapshot.is_ready() => SnapshotState::Ready,
            Ok(Ok(_)) => SnapshotState::NotReady,
            Err(e) if e.is_not_found() => SnapshotState::Missing,
            Ok(Err(e)) => unknown(&e),
            Err(e) => unknown(&e),
        };
        self.0.retain(|_, (_, read)| now.saturating_duration_since(*read) < 2 * READY_LIFE);
        self.0.insert(key.clone(), (state, now));
        state
    }
}

/// Keeps the status of all watched DataSources current.
pub struct DataSourceReporter {
    cluster: Arc<dyn Cluster>,
    stores: Arc<Stores>,
    /// The last failure of each status, so that each is logged once.
    failures: BTreeMap<Key, String>,
    snapshots: SnapshotStates,
}

impl DataSourceReporter {
    /// A reporter of the DataSources in `stores`.
    pub fn new(cluster: Arc<dyn Cluster>, stores: Arc<Stores>) -> Self {
        Self { cluster, stores, failures: BTreeMap::new(), snapshots: SnapshotStates::default() }
    }

    /// Reports until the stop.
    pub fn run(mut self, stop: &Stop) {
        loop {
            self.report(OffsetDateTime::now_utc());
            if !stop.sleep(LOOK) {
                return;
            }
        }
    }

    /// Writes each status that has changed.
    pub fn report(&mut self, now: OffsetDateTime) {
        for source in self.stores.data_sources.all() {
            let key = source.metadata.key();
            let cluster = &*self.cluster;
            let snapshots = &mut self.snapshots;
            let new = status(&source, &self.stores, |key| snapshots.of(cluster, key, Instant::now()))
                .filter(|_| !source.metadata.is_deleting());
            let Some(patch) = new.and_then(|new| patch(&source.status, &new, now)) else { continue };
            match self.cluster.patch(Kind::DataSource, &key, Part::Status, &patch) {
                Ok(_) => drop(self.failures.remove(&key)),
                Err(e) if e.is_not_found() => {}
                Err(e) => {
                    let text = e.to_string();
                    if self.failures.get(&key) != Some(&text) {
                        log::warn!("cannot write the status of DataSource {key}: {text}");
                        self.failures.insert(key, text);
                    }
                }
            }
        }
        let stores = &self.stores;
        self.failures.retain(|key, _| stores.data_sources.get(key).is_some());
    }
}

/// The status of `source`; `None` if it leads to a snapshot that cannot be read, or to a kind that Decant does not clone.
/// `state_of` is called if it leads to a snapshot of its namespace. The reasons are CDI's.
pub fn status(
    source: &DataSource,
    stores: &Stores,
    state_of: impl FnOnce(&Key) -> SnapshotState,
) -> Option<DataSourceStatus> {
    let mut wanted = resolve(source);
    if let Ok(Wanted::DataSource(next)) = &wanted {
        if *next == source.metadata.key() {
            return Some(not_ready("SelfReference", "DataSource cannot self-reference"));
        }
        let Some(found) = stores.data_sources.get(next) else {
            return Some(not_ready("NotFound", &format!("DataSource {next} not found")));
        };
        wanted = resolve(&found);
    }
    match wanted {
        Ok(Wanted::Claim(claim)) => Some(of_claim(&claim, source, stores)),
        Ok(Wanted::Snapshot(snapshot)) => of_snapshot(&snapshot, source, state_of),
        Ok(Wanted::NotOurs(_)) => None,
        // This includes longer circles.
        Ok(Wanted::DataSource(_)) => Some(not_ready(
            "MaxReferenceDepthReached",
            "DataSource reference chain exceeds maximum depth of 1",
        )),
        Err(_) if source.spec.source.data_source.is_some() => Some(not_ready(
            "CrossNamespaceReference",
            "DataSource cannot reference a DataSource in another namespace",
        )),
        Err(_) => Some(not_ready("NoSource", "No source PVC set")),
    }
}

/// The status of a DataSource that leads to `claim`. The state of another namespace stays secret: the author of a DataSource
/// need not have a right there.
fn of_claim(claim: &Key, source: &DataSource, stores: &Stores) -> DataSourceStatus {
    if claim.namespace != source.metadata.namespace {
        let message = format!("PVC {claim} is in another namespace, so its state is not reported");
        return leads_to_claim(claim, condition(ConditionStatus::Unknown, "OtherNamespace", &message));
    }
    if stores.claims.get(claim).is_none() {
        return not_ready("NotFound", "PVC not found");
    }
    match stores.data_volumes.get(claim).map(|dv| dv.status.phase.clone()) {
        Some(phase) if phase != DataVolumePhase::Succeeded => {
            let reason = if phase.as_str().is_empty() { "Pending" } else { phase.as_str() };
            not_ready(reason, &format!("Import DataVolume phase {}", phase.as_str()))
        }
        _ => leads_to_claim(claim, ready()),
    }
}

/// The status of a DataSource that leads to `snapshot`; `None` if the snapshot cannot be read.
fn of_snapshot(
    snapshot: &Key,
    source: &DataSource,
    state_of: impl FnOnce(&Key) -> SnapshotState,
) -> Option<DataSourceStatus> {
    if snapshot.namespace != source.metadata.namespace {
        let message =
            format!("VolumeSnapshot {snapshot} is in another namespace, so its state is not reported");
        let condition = condition(ConditionStatus::Unknown, "OtherNamespace", &message);
        return Some(leads_to_snapshot(snapshot, condition));
    }
    match state_of(snapshot) {
        SnapshotState::Ready => Some(leads_to_snapshot(snapshot, ready())),
        SnapshotState::NotReady => Some(not_ready("SnapshotNotReady", "Snapshot phase is not ready")),
        SnapshotState::Missing => Some(not_ready("NotFound", "Snapshot not found")),
        SnapshotState::Unknown => None,
    }
}

fn ready() -> DataVolumeCondition {
    condition(ConditionStatus::True, "Ready", "DataSource is ready to be consumed")
}

fn reference(key: &Key) -> ClaimSource {
    ClaimSource { namespace: key.namespace.clone(), name: key.name.clone() }
}

fn leads_to_claim(claim: &Key, condition: DataVolumeCondition) -> DataSourceStatus {
    let source = DataSourceTarget { pvc: Some(reference(claim)), ..DataSourceTarget::default() };
    DataSourceStatus { source, conditions: vec![condition] }
}

fn leads_to_snapshot(snapshot: &Key, condition: DataVolumeCondition) -> DataSourceStatus {
    let source = DataSourceTarget { snapshot: Some(reference(snapshot)), ..DataSourceTarget::default() };
    DataSourceStatus { source, conditions: vec![condition] }
}

fn not_ready(reason: &str, message: &str) -> DataSourceStatus {
    let condition = condition(ConditionStatus::False, reason, message);
    DataSourceStatus { source: DataSourceTarget::default(), conditions: vec![condition] }
}

fn condition(status: ConditionStatus, reason: &str, message: &str) -> DataVolumeCondition {
    DataVolumeCondition {
        kind: ConditionType::Ready,
        status,
        reason: reason.to_owned(),
        message: message.to_owned(),
        ..DataVolumeCondition::default()
    }
}

/// The patch from `old` to `new`; `None` if both say the same. An unchanged condition keeps its time.
fn patch(old: &DataSourceStatus, new: &DataSourceStatus, now: OffsetDateTime) -> Option<Value> {
    let now = now.replace_nanosecond(0).unwrap_or(now).format(&Rfc3339).unwrap_or_default();
    let mut is_news = old.source != new.source || old.conditions.len() != new.conditions.len();
    let mut conditions = new.conditions.clone();
    for condition in &mut conditions {
        let before = old.conditions.iter().find(|before| before.kind == condition.kind);
        let same_status = before.filter(|before| before.status == condition.status);
        let is_same = same_status
            .is_some_and(|before| before.reason == condition.reason && before.message == condition.message);
        is_news |= !is_same;
        condition.last_transition_time =
            same_status.map_or_else(|| now.clone(), |before| before.last_transition_time.clone());
        condition.last_heartbeat_time.clone_from(&now);
    }
    let object = |named: &Option<ClaimSource>| {
        named.as_ref().map(|named| json!({ "namespace": named.namespace, "name": named.name }))
    };
    // Null removes what an earlier status led to.
    let source = json!({
        "pvc": object(&new.source.pvc), "snapshot": object(&new.source.snapshot), "dataSource": null,
    });
    is_news.then(|| json!({ "status": { "source": source, "conditions": conditions } }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::key::TokenKey;

    fn read<T: serde::de::DeserializeOwned>(object: Value) -> T {
        serde_json::from_value(object).unwrap()
    }

    fn data_source(name: &str, source: &Value) -> DataSource {
        read(json!({ "metadata": { "namespace": "n", "name": name }, "spec": { "source": source } }))
    }

    fn stores() -> Stores {
        let stores = Stores::new(Arc::new(TokenKey::new(&[5; 32])));
        let named = |name: &str| json!({ "namespace": "n", "name": name });
        for claim in ["golden", "imported", "importing"] {
            stores.claims.put(read(json!({ "metadata": named(claim) })));
        }
        for (dv, phase) in
            [("imported", "Succeeded"), ("importing", "ImportInProgress"), ("early", "Succeeded")]
        {
            stores.data_volumes.put(read(json!({ "metadata": named(dv), "status": { "phase": phase } })));
        }
        let to = |name: &str| json!({ "dataSource": { "name": name } });
        for (name, source) in [
            ("plain", json!({ "pvc": { "name": "golden" } })),
            ("snap", json!({ "snapshot": { "name": "s" } })),
            ("one", to("plain")),
            ("self", to("self")),
            ("ping", to("pong")),
            ("pong", to("ping")),
        ] {
            stores.data_sources.put(data_source(name, &source));
        }
        stores
    }

    #[test]
    fn the_status_says_what_a_data_source_leads_to_and_why_it_is_not_ready() {
        let stores = stores();
        let pvc = |name: &str| json!({ "pvc": { "name": name } });
        let to = |name: &str| json!({ "dataSource": { "name": name } });
        for (source, name, status, reason) in [
            (pvc("golden"), "golden", "True", "Ready"),
            (pvc("imported"), "imported", "True", "Ready"),
            (pvc("importing"), "", "False", "ImportInProgress"),
            (pvc("early"), "", "False", "NotFound"),
            (pvc("gone"), "", "False", "NotFound"),
            (to("plain"), "golden", "True", "Ready"),
            (to("one"), "", "False", "MaxReferenceDepthReached"),
            (to("ping"), "", "False", "MaxReferenceDepthReached"),
            (to("x"), "", "False", "SelfReference"),
            (to("gone"), "", "False", "NotFound"),
            (
                json!({ "dataSource": { "namespace": "m", "name": "plain" } }),
                "",
                "False",
                "CrossNamespaceReference",
            ),
            (json!({}), "", "False", "NoSource"),
        ] {
            let found =
                super::status(&data_source("x", &source), &stores, |_| SnapshotState::Unknown).unwrap();
            let led_to = found.source.pvc.map(|pvc| pvc.name).unwrap_or_default();
            let [ready] = <[DataVolumeCondition; 1]>::try_from(found.conditions).unwrap();
            let said = (led_to.as_str(), ready.status.as_str(), ready.reason.as_str());
            assert_eq!(said, (name, status, reason), "{source}");
        }
        for snapshot in [json!({ "snapshot": { "name": "s" } }), to("snap")] {
            let source = data_source("x", &snapshot);
            let status = |state| {
                super::status(&source, &stores, |key| {
                    assert_eq!(*key, Key::new("n", "s"));
                    state
                })
            };
            assert_eq!(status(SnapshotState::Unknown), None, "the status stays as it is");
            for (state, name, said, reason) in [
                (SnapshotState::Ready, "s", "True", "Ready"),
                (SnapshotState::NotReady, "", "False", "SnapshotNotReady"),
                (SnapshotState::Missing, "", "False", "NotFound"),
            ] {
                let found = status(state).unwrap();
                let led_to = found.source.snapshot.map(|snapshot| snapshot.name).unwrap_or_default();
                let ready = &found.conditions[0];
                assert_eq!(
                    (led_to.as_str(), ready.status.as_str(), ready.reason.as_str()),
                    (name, said, reason)
                );
            }
        }
    }

    #[test]
    fn the_state_of_another_namespace_is_not_reported() {
        let stores = stores();
        let known = |name: &str| json!({ "pvc": { "namespace": "m", "name": name } });
        stores.claims.put(read(json!({ "metadata": { "namespace": "m", "name": "golden" } })));
        for name in ["golden", "gone"] {
            let found =
                super::status(&data_source("x", &known(name)), &stores, |_| SnapshotState::Unknown).unwrap();
            assert_eq!(found.source.pvc.unwrap().namespace, "m");
            assert_eq!(
                (found.conditions[0].status.as_str(), found.conditions[0].reason.as_str()),
                ("Unknown", "OtherNamespace")
            );
        }
        let snapshot = data_source("x", &json!({ "snapshot": { "namespace": "m", "name": "s" } }));
        let found = super::status(&snapshot, &stores, |_| panic!("it is not even read")).unwrap();
        assert_eq!(found.source.snapshot.unwrap().namespace, "m");
        assert_eq!(found.conditions[0].status.as_str(), "Unknown");
    }

    #[test]
    fn only_news_are_written_and_the_time_of_the_status_is_kept() {
        let now = OffsetDateTime::parse("2026-01-01T12:00:00Z", &Rfc3339).unwrap();
        let ready = leads_to_claim(&Key::new("n", "golden"), condition(ConditionStatus::True, "Ready", "m"));
        let first = patch(&DataSourceStatus::default(), &ready, now).unwrap();
        assert_eq!(first["status"]["source"]["pvc"], json!({ "namespace": "n", "name": "golden" }));
        assert_eq!(first["status"]["conditions"][0]["lastTransitionTime"], "2026-01-01T12:00:00Z");
        let written: DataSourceStatus = read(first["status"].clone());
        assert_eq!(patch(&written, &ready, now), None);
        let other = leads_to_claim(&Key::new("n", "other"), condition(ConditionStatus::True, "Ready", "new"));
        let later = patch(&written, &other, now + Duration::from_secs(60)).unwrap();
        let ready = &later["status"]["conditions"][0];
        assert_eq!(
            (&ready["lastTransitionTime"], &ready["lastHeartbeatTime"]),
            (&json!("2026-01-01T12:00:00Z"), &json!("2026-01-01T12:01:00Z"))
        );
        let gone = patch(&written, &not_ready("NotFound", "PVC not found"), now).unwrap();
        assert_eq!(gone["status"]["source"], json!({ "pvc": null, "snapshot": null, "dataSource": null }));
    }
}
