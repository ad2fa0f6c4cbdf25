//! Observes the snapshot of a clone, and the temporary PVC that is restored from it. Snapshots are not watched: their
//! definition may be missing, and few clones wait for one.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::api::cluster::{ApiError, ListParams};
use crate::api::listing;
use crate::objects;
use crate::objects::annotations::{CONTENT_TYPE, IMAGE_BYTES, IMAGE_CAPACITY};
use crate::objects::claim::{Amounts, ClaimSpec, Resources, VolumeMode};
use crate::objects::snapshot::{VolumeSnapshotContent, VolumeSnapshotStatus};
use crate::objects::{Claim, Key, Kind, Meta, StorageClass, VolumeSnapshot, names};
use crate::reconcile::observe::Observer;
use crate::reconcile::observed::{Observed, ObservedSnapshot, Origin, Restore, RestorePlan, Restored};
use crate::reconcile::population::record::records_restored;

/// The message without the definition of VolumeSnapshots.
const NO_DEFINITION: &str = "the cluster does not serve VolumeSnapshots (snapshot.storage.k8s.io/v1); install the CRDs and the snapshot \
    controller of CSI snapshots";
/// The reason of the API server for an object that does not exist. A kind that is not served has no reason.
const NOT_FOUND: &str = "NotFound";
/// The access mode if nothing tells which ones the class supports.
const ONE_NODE: &str = "ReadWriteOnce";

impl Observer {
    /// Observes the temporary PVC, and the snapshot if the clone in `seen` is not complete.
    pub(super) fn observe_snapshot(&self, seen: &mut Observed) -> Result<(), ApiError> {
        seen.restored = self.restored(seen)?;
        // Also if the request named a claim earlier, of which a snapshot was taken: it has to be deleted.
        self.observe_taken(seen)?;
        let Origin::Snapshot(key) = &seen.origin else { return Ok(()) };
        if seen.is_marked_done() && seen.outcome.is_some() {
            return Ok(());
        }
        let key = &key.clone();
        // The request named another source earlier: what was restored from it is deleted, unless pods read it already. As
        // with a PVC, a running clone ends with the source that it began with.
        let has_pods = seen.source_pod.is_some() || seen.target_pod.is_some();
        if let Restored::Ours { claim, .. } = &seen.restored
            && !has_pods
            && !(claim.metadata.namespace == key.namespace && is_restored_from(claim, &key.name))
        {
            seen.restored = Restored::Foreign(Arc::clone(claim));
        }
        let mut snapshot = ObservedSnapshot::default();
        let found = match self.cluster.get(Kind::VolumeSnapshot, key) {
            Ok(object) => Some(objects::decode::<VolumeSnapshot>(object).map_err(|e| unreadable(key, &e))?),
            Err(e) if e.is_not_found() && e.reason == NOT_FOUND => None,
            Err(e) if e.is_not_found() => {
                snapshot.restore = Restore::Impossible(NO_DEFINITION.to_owned());
                None
            }
            Err(e) => return Err(e),
        };
        let is_filled_by_prime = seen.target.as_ref().is_some_and(|claim| claim.populator().is_some());
        if let Some(found) = &found {
            snapshot.metadata = Some(found.metadata.clone());
            let is_restored = matches!(seen.restored, Restored::Ours { .. });
            // Once there is a prime, its own rounds restore the snapshot.
            let is_left_to_prime = is_filled_by_prime && self.has_prime_for(seen);
            if !is_restored && !is_left_to_prime {
                snapshot.restore = self.restore(found, seen)?;
            }
        }
        if let Restored::Ours { claim, .. } = &seen.restored {
            snapshot.error = self.provisioning_error(claim)?;
        }
        seen.source = source(seen, &snapshot).map(Arc::new);
        seen.snapshot = Some(snapshot);
        Ok(())
    }

    /// Whether a claim has the name of the prime of the target in `seen`.
    fn has_prime_for(&self, seen: &Observed) -> bool {
        seen.target.as_ref().is_some_and(|claim| !self.stores.primes_of(claim).is_empty())
    }

    /// The claim with the name of the temporary PVC. As for a prime, one that the target records counts wherever it is.
    fn restored(&self, seen: &Observed) -> Result<Restored, ApiError> {
        let Some(target) = seen.target.as_ref().filter(|claim| claim.populator().is_none()) else {
            return Ok(Restored::Missing);
        };
        let candidates = self.stores.restored_for(&target.metadata.uid);
        let known = self.made.uids_of(&target.metadata.key());
        let is_ours = |claim: &&Arc<Claim>| records_restored(&target.metadata, &claim.metadata, &self.keys);
        let recorded = candidates.iter().find(is_ours);
        let ours = recorded.or_else(|| candidates.iter().find(|claim| known.contains(&claim.metadata.uid)));
        if let Some(claim) = ours {
            let class = claim.spec.storage_class_name.as_deref().unwrap_or_default();
            let waits_for_consumer =
                !claim.is_bound() && self.class_named(class)?.is_some_and(|class| class.waits_for_consumer());
            let claim = Arc::clone(claim);
            return Ok(Restored::Ours { claim, is_recorded: recorded.is_some(), waits_for_consumer });
        }
        // One that was not recorded must not outlive its target, whatever happened to the source.
        let in_the_way = candidates.into_iter().find(|claim| {
            target.metadata.is_deleting() && claim.restored_for() == Some(target.metadata.key())
                || seen.source_key().is_some_and(|source| source.namespace == claim.metadata.namespace)
        });
        Ok(in_the_way.map_or(Restored::Missing, Restored::Foreign))
    }

    /// Whether and how `snapshot` can be restored.
    pub(super) fn restore(&self, snapshot: &VolumeSnapshot, seen: &Observed) -> Result<Restore, ApiError> {
        let key = snapshot.metadata.key();
        if snapshot.metadata.is_deleting() {
            return Ok(Restore::NotReady(format!("the VolumeSnapshot {key} is being deleted")));
        }
        let status = snapshot.status.clone().unwrap_or_default();
        let (Some(true), Some(name)) = (status.ready_to_use, &status.bound_volume_snapshot_content_name)
        else {
            return Ok(Restore::NotReady(not_ready(&key, &status)));
        };
        let content = match self.cluster.get(Kind::VolumeSnapshotContent, &Key::new("", name)) {
            Ok(object) => {
                objects::decode::<VolumeSnapshotContent>(object).map_err(|e| unreadable(&key, &e))?
            }
            Err(e) if e.is_not_found() => {
                let text =
                    format!("the VolumeSnapshotContent {name} of the VolumeSnapshot {key} doesn't exist");
                return Ok(Restore::NotReady(text));
            }
            Err(e) => return Err(e),
        };
        if content.spec.volume_snapshot_ref.uid != snapshot.metadata.uid {
            let text =
                format!("the VolumeSnapshotContent {name} belongs to another VolumeSnapshot than {key}");
            return Ok(Restore::NotReady(text));
        }
        let driver = &content.spec.driver;
        let taken_of = snapshot.spec.source.persistent_volume_claim_name.as_ref();
        let taken_of = taken_of.and_then(|name| self.stores.claims.get(&Key::new(&key.namespace, name)));
        let Some(class) = self.class_of_driver(driver, taken_of.as_deref(), seen)? else {
            return Ok(Restore::Impossible(format!(
                "no StorageClass has the provisioner {driver:?}, which took the VolumeSnapshot {key}; create one"
            )));
        };
        let access_modes = access_modes(&class, taken_of.as_deref(), seen);
        let size = status.restore_size.map(|size| size.0).filter(|size| size != "0");
        Ok(Restore::Ready(RestorePlan { class, size, mode: content.spec.source_volume_mode, access_modes }))
    }

    /// The class that restores snapshots of `driver`: that of the PVC of which the snapshot was taken, if it still
    /// exists; else that of the target, the default class, or the first one by name, as far as they have the driver.
    fn class_of_driver(
        &self,
        driver: &str,
        taken_of: Option<&Claim>,
        seen: &Observed,
    ) -> Result<Option<String>, ApiError> {
        let mut classes: Vec<StorageClass> = Vec::new();
        listing::list(&*self.cluster, Kind::StorageClass, &ListParams::default(), |item| {
            let class = objects::decode::<StorageClass>(&item).ok();
            classes.extend(class.filter(|class| class.provisioner == driver));
        })?;
        classes.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
        let named = |claim: Option<&Claim>| {
            let name = claim?.spec.storage_class_name.as_deref()?;
            classes.iter().find(|class| class.metadata.name == name)
        };
        let chosen = named(taken_of)
            .or_else(|| named(seen.target.as_deref()))
            .or_else(|| classes.iter().find(|class| class.is_default()))
            .or(classes.first());
        Ok(chosen.map(|class| class.metadata.name.clone()))
    }
}

/// Whether `claim` was restored from the VolumeSnapshot `name` of its namespace. Its data source cannot be changed.
pub(super) fn is_restored_from(claim: &Claim, name: &str) -> bool {
    let source = claim.spec.data_source.as_ref().or(claim.spec.data_source_ref.as_ref());
    source.is_some_and(|source| source.kind == Kind::VolumeSnapshot.name() && source.name == name)
}

/// The access modes that the class `class` is known to support.
fn access_modes(class: &str, taken_of: Option<&Claim>, seen: &Observed) -> Vec<String> {
    let of_class = |claim: &&Claim| claim.spec.storage_class_name.as_deref() == Some(class);
    let known = [taken_of, seen.target.as_deref()].into_iter().flatten().find(of_class);
    let modes = known.map(|claim| claim.spec.access_modes.clone()).unwrap_or_default();
    if modes.is_empty() { vec![ONE_NODE.to_owned()] } else { modes }
}

fn not_ready(key: &Key, status: &VolumeSnapshotStatus) -> String {
    match status.error.as_ref().and_then(|error| error.message.as_deref()) {
        Some(error) => format!("the VolumeSnapshot {key} is not ready to use: {error}"),
        None => format!("the VolumeSnapshot {key} is not ready to use"),
    }
}

/// The source claim of a clone of `snapshot`. Until it is restored, it has the properties of the snapshot. Annotations
/// of the temporary PVC do not count, because users of its namespace can write them.
pub(super) fn source(seen: &Observed, snapshot: &ObservedSnapshot) -> Option<Claim> {
    let annotations = match &seen.named_source {
        Some(named) => of_content(named),
        None => content_type(seen).map(|value| (CONTENT_TYPE.to_owned(), value)).into_iter().collect(),
    };
    if let Restored::Ours { claim, .. } = &seen.restored {
        let metadata = Meta { annotations, ..claim.metadata.clone() };
        return Some(Claim { metadata, ..Claim::clone(claim) });
    }
    let meta = snapshot.metadata.as_ref()?;
    let Restore::Ready(plan) = &snapshot.restore else { return None };
    Some(Claim {
        metadata: Meta {
            namespace: meta.namespace.clone(),
            name: seen.target.as_ref().map(|claim| names::restored(&claim.metadata.uid)).unwrap_or_default(),
            uid: meta.uid.clone(),
            labels: meta.labels.clone(),
            annotations,
            ..Meta::default()
        },
        spec: ClaimSpec {
            access_modes: plan.access_modes.clone(),
            storage_class_name: Some(plan.class.clone()),
            volume_mode: plan.mode.unwrap_or_else(|| wanted_mode(seen)),
            resources: Resources {
                requests: Amounts { storage: plan.size.clone().or_else(|| wanted_size(seen)) },
            },
            ..ClaimSpec::default()
        },
        ..Claim::default()
    })
}

/// The annotations of a source claim that describe its content. They also describe the content of a snapshot of it.
fn of_content(named: &Claim) -> BTreeMap<String, String> {
    let names = [CONTENT_TYPE, IMAGE_BYTES, IMAGE_CAPACITY].into_iter();
    names.filter_map(|name| Some((name.to_owned(), named.metadata.annotation(name)?.to_owned()))).collect()
}

/// The content of the target. A snapshot does not say what is on it.
fn content_type(seen: &Observed) -> Option<String> {
    match (&seen.target, &seen.data_volume) {
        (Some(claim), _) => claim.metadata.annotation(CONTENT_TYPE).map(str::to_owned),
        (None, Some(dv)) => Some(dv.spec.content_type.clone()),
        (None, None) => None,
    }
}

fn wanted_mode(seen: &Observed) -> VolumeMode {
    if let Some(named) = &seen.named_source {
        return named.spec.volume_mode;
    }
    if let Some(claim) = &seen.target {
        return claim.spec.volume_mode;
    }
    template(seen).map(objects::ClaimTemplate::mode).unwrap_or_default()
}

fn wanted_size(seen: &Observed) -> Option<String> {
    if let Some(named) = &seen.named_source {
        return named.requested();
    }
    match &seen.target {
        Some(claim) => claim.requested(),
        None => template(seen)?.requested().map(str::to_owned),
    }
}

/// The spec of the target in its DataVolume.
fn template(seen: &Observed) -> Option<&objects::ClaimTemplate> {
    let spec = &seen.data_volume.as_ref()?.spec;
    spec.pvc.as_ref().or(spec.storage.as_ref())?.good()
}

pub(super) fn unreadable(key: &Key, why: &dyn std::fmt::Display) -> ApiError {
    ApiError {
        code: 500,
        reason: "InternalError".to_owned(),
        message: format!("cannot read the VolumeSnapshot {key}: {why}"),
    }
}
