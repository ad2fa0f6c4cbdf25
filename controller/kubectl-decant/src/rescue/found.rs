//! What is read about a stuck DataVolume, and what prevents its rescue.

use serde_json::Value;

use crate::ending::{Ending, Failure};
use crate::rescue::diagnosis;
use decant_controller::api::cluster::{ApiError, Cluster, ListParams};
use decant_controller::api::listing;
use decant_controller::objects;
use decant_controller::objects::clone_request::{self, Wanted};
use decant_controller::objects::{Claim, DataSource, DataVolume, Key, Kind, Meta, Object, Pod};

/// DataSources that are followed: one may point to another one.
const DATA_SOURCES_MAX: usize = 3;

/// A DataVolume with what belongs to it.
pub(super) struct StuckDataVolume {
    pub(super) data_volume: DataVolume,
    /// The whole object.
    pub(super) object: Value,
    /// The PVC of the same name.
    pub(super) target: Option<Claim>,
    /// The whole PVC.
    pub(super) target_object: Option<Value>,
    /// The PVC that is cloned.
    pub(super) source: Key,
    /// The same as it is read.
    pub(super) source_claim: Claim,
}

/// The metadata of any object.
pub(super) fn meta(object: &Object) -> Meta {
    objects::decode::<Claim>(object).map(|read| read.metadata).unwrap_or_default()
}

fn refused(message: impl Into<String>) -> Failure {
    Failure::new(Ending::Clone, message)
}

/// The object, if it exists.
pub(super) fn optional<T: serde::de::DeserializeOwned>(
    answer: Result<Object, ApiError>,
) -> Result<Option<T>, ApiError> {
    match answer {
        Ok(object) => Ok(objects::decode(object).ok()),
        Err(e) if e.is_not_found() => Ok(None),
        Err(e) => Err(e),
    }
}

impl StuckDataVolume {
    pub(super) fn read(cluster: &dyn Cluster, key: &Key) -> Result<Self, Failure> {
        let object = cluster.get(Kind::DataVolume, key)?;
        let data_volume: DataVolume = objects::decode(&object)
            .map_err(|e| Failure::new(Ending::Failed, format!("DataVolume {key} cannot be read: {e}")))?;
        check_phase(key, &data_volume)?;
        let source = source_of(cluster, &data_volume)?;
        let source_claim: Option<Claim> = optional(cluster.get(Kind::PersistentVolumeClaim, &source))?;
        let source_claim = source_claim.filter(|claim| !claim.metadata.is_deleting()).ok_or_else(|| {
            refused(format!("the source, PVC {source}, does not exist any more, so there is nothing to copy"))
        })?;
        let target_object = match cluster.get(Kind::PersistentVolumeClaim, key) {
            Ok(object) => Some(object),
            Err(e) if e.is_not_found() => None,
            Err(e) => return Err(e.into()),
        };
        Ok(Self {
            data_volume,
            object: object.value(),
            target: target_object.as_ref().and_then(|object| objects::decode(object).ok()),
            target_object: target_object.map(|object| object.value()),
            source,
            source_claim,
        })
    }

    /// The key of the DataVolume.
    pub(super) fn key(&self) -> Key {
        self.data_volume.metadata.key()
    }

    /// Refuses a rescue that would lose data, or would not end.
    pub(super) fn check(&self, cluster: &dyn Cluster) -> Result<(), Failure> {
        let key = self.key();
        if let Some(target) = self.target.as_ref().filter(|claim| !claim.spec.volume_name.is_empty()) {
            return Err(refused(format!(
                "PVC {key} has the volume {}, which may hold data: it is not deleted. If nothing needs it, delete the DataVolume and \
                 create it again",
                target.spec.volume_name
            )));
        }
        let users = users(cluster, &key)?;
        if !users.is_empty() {
            return Err(refused(format!(
                "PVC {key} is used by pod {}: stop the virtual machine or the workload first, for example with `virtctl stop`",
                users.join(", ")
            )));
        }
        if !self.source_claim.is_bound() {
            return Err(refused(format!(
                "the source, PVC {}, has no volume yet, so there is nothing to copy",
                self.source
            )));
        }
        Ok(())
    }
}

fn check_phase(key: &Key, dv: &DataVolume) -> Result<(), Failure> {
    let phase = dv.status.phase.to_string();
    if phase == "Succeeded" {
        return Err(refused(format!("DataVolume {key} has succeeded: its PVC holds the data")));
    }
    if dv.metadata.is_deleting() {
        return Err(refused(format!("DataVolume {key} is being deleted")));
    }
    if diagnosis::is_stuck(&phase) {
        return Ok(());
    }
    Err(refused(format!(
        "DataVolume {key} does not wait for a clone by a CSI driver or by a snapshot: its phase is {phase:?}. `kubectl decant doctor` \
         tells what a clone by Decant waits for"
    )))
}

/// The PVC that the DataVolume clones.
fn source_of(cluster: &dyn Cluster, dv: &DataVolume) -> Result<Key, Failure> {
    let mut wanted = clone_request::wanted(dv).map_err(|e| refused(e.to_string()))?;
    for _ in 0..DATA_SOURCES_MAX {
        let key = match wanted {
            Wanted::Claim(key) => return Ok(key),
            Wanted::Snapshot(key) => {
                return Err(refused(format!(
                    "its source is VolumeSnapshot {key}; only clones of PVCs can be rescued"
                )));
            }
            Wanted::NotOurs(kind) => {
                return Err(refused(format!(
                    "its source is a {kind}; Decant copies PVCs, so it cannot be rescued"
                )));
            }
            Wanted::DataSource(key) => key,
        };
        let source: Option<DataSource> = optional(cluster.get(Kind::DataSource, &key))?;
        let source = source
            .ok_or_else(|| refused(format!("its source, DataSource {key}, does not exist any more")))?;
        wanted =
            clone_request::resolve(&source).map_err(|why| refused(format!("DataSource {key}: {why}")))?;
    }
    Err(refused("its DataSource points to a chain of DataSources"))
}

/// Pods that use the PVC and have not ended.
fn users(cluster: &dyn Cluster, key: &Key) -> Result<Vec<String>, ApiError> {
    let params = ListParams { namespace: Some(key.namespace.clone()), ..ListParams::default() };
    let mut users = Vec::new();
    listing::list(cluster, Kind::Pod, &params, |object| {
        let Ok(pod) = objects::decode::<Pod>(object) else { return };
        let mut claims = pod.spec.volumes.iter().filter_map(|volume| volume.persistent_volume_claim.as_ref());
        if !pod.has_ended() && claims.any(|claim| claim.claim_name == key.name) {
            users.push(pod.metadata.name);
        }
    })?;
    Ok(users)
}
