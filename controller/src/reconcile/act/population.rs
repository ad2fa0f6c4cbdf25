//! The calls that fill a claim before it is bound (docs/protocol.md section 7.6). Each can be repeated, and each that
//! concerns a volume requires the version of the volume that was observed.

use std::time::Instant;

use serde_json::{Value, json};

use crate::api::cluster::{ApiError, Part};
use crate::objects;
use crate::objects::annotations::{
    CLONE_OF, CLONE_PHASE, DIGEST, LEFT_SECS, LIMIT_BYTES, NOT_KEPT, OUTCOME, OWNED_BY_DATA_VOLUME,
    POD_PHASE, POPULATED_VOLUME, POPULATOR_PROGRESS, PRIME, RATE_BYTES, RECLAIM_POLICY, RESTORED,
    SELECTED_NODE, SENT_BYTES, SNAPSHOT_TIME, SOURCE_SNAPSHOT, TOTAL_BYTES, TRANSFER_PHASE,
};
use crate::objects::{Claim, DataVolumePhase, Key, Kind, PopulatorKind, Uid, Volume, VolumeSnapshot, names};
use crate::pods::claim;
use crate::reconcile::act::{Executor, created, impossible, members};
use crate::reconcile::observed::{Observed, Population, Restored, SnapshotChoice};
use crate::reconcile::outcome::CloneOutcome;
use crate::reconcile::population::prime::{self, PrimePurpose};
use crate::reconcile::population::record::{
    PopulatedVolume, SNAPSHOT_INTENT, SnapshotRecord, prime_annotation, restored_annotation,
};
use crate::reconcile::population::{restored, source_snapshot};
use crate::reconcile::rules::populated::{RETAIN, removable_prime};

/// The reclaim policies of Kubernetes.
const POLICIES: [&str; 3] = [DELETE, RETAIN, "Recycle"];
/// The reclaim policy under which a volume is deleted after its claim.
const DELETE: &str = "Delete";

impl Executor {
    /// Creates the VolumeCloneSource that the claim of the DataVolume names. It is in the namespace of the source.
    pub(super) fn make_clone_source(&self, seen: &Observed) -> Result<(), ApiError> {
        let (Some(dv), Some(source)) = (&seen.data_volume, seen.cloned()) else { return Ok(()) };
        let namespace = &source.key.namespace;
        let meta = &dv.metadata;
        let mut metadata = members(json!({
            "name": names::volume_clone_source(&meta.uid), "namespace": namespace,
            // In another namespace it cannot have an owner; the annotation tells whose it is.
            "annotations": { OWNED_BY_DATA_VOLUME: meta.key().to_string() },
        }));
        if *namespace == meta.namespace {
            metadata.insert("ownerReferences".to_owned(), json!([claim::owner(dv)]));
        }
        let preallocation = dv.spec.preallocation.unwrap_or(self.policy.now().preallocation);
        let kind = source.kind.kind();
        // Without a group, as CDI writes it for PVCs.
        let group = Some(kind.group()).filter(|group| !group.is_empty());
        let mut object = members(json!({ "kind": kind.name(), "name": source.key.name }));
        object.extend(group.map(|group| ("apiGroup".to_owned(), group.into())));
        let mut spec = members(json!({
            "source": object,
            "preallocation": preallocation,
        }));
        if !dv.spec.priority_class_name.is_empty() {
            spec.insert("priorityClassName".to_owned(), dv.spec.priority_class_name.as_str().into());
        }
        let object = json!({
            "apiVersion": Kind::VolumeCloneSource.api_version(), "kind": Kind::VolumeCloneSource.name(),
            "metadata": metadata, "spec": spec,
        });
        created(self.cluster.create(Kind::VolumeCloneSource, &object)).map(drop)
    }

    pub(super) fn delete_clone_source(&self, seen: &Observed) -> Result<(), ApiError> {
        let own = seen.population.as_ref().and_then(|population| population.own_source.as_ref());
        let Some(own) = own else { return Ok(()) };
        self.cluster.delete(Kind::VolumeCloneSource, &own.metadata.key(), &own.metadata.uid, None)
    }

    /// Adds or removes the finalizer of the population. What follows an addition would outlive a claim that is gone.
    pub(super) fn hold_population(&self, seen: &Observed, hold: bool) -> Result<(), ApiError> {
        let Some(claim) = &seen.target else { return Ok(()) };
        self.set_finalizer(seen, claim.population_finalizer(), hold)?;
        if !hold {
            return Ok(());
        }
        match self.current(claim)? {
            Some(now) if now.is_held_for_population() && !now.metadata.is_deleting() => Ok(()),
            _ => Err(leaves(claim)),
        }
    }

    /// Creates the prime and records it on the target. If this process ends between the two calls, the next controller
    /// replaces the prime, which is still empty.
    pub(super) fn make_prime(&self, seen: &Observed) -> Result<(), ApiError> {
        let (Some(target), Some(source), Some(population)) = (&seen.target, seen.cloned(), &seen.population)
        else {
            return Ok(());
        };
        let purpose = PrimePurpose { target, source: &source, settings: &population.settings };
        let kind = target.populator().map_or(PopulatorKind::CloneSource, |populator| populator.kind);
        let object = prime::object(&purpose, kind);
        let Some(object) = created(self.cluster.create(Kind::PersistentVolumeClaim, &object))? else {
            // The next observation shows whose it is.
            return Ok(());
        };
        let prime: Claim = objects::decode(object).map_err(impossible)?;
        self.made.note(&target.metadata.key(), &prime.metadata.uid, Instant::now());
        self.record_prime(seen, &prime)
    }

    pub(super) fn record_prime(&self, seen: &Observed, prime: &Claim) -> Result<(), ApiError> {
        let Some(target) = &seen.target else { return Ok(()) };
        let record = prime_annotation(&target.metadata, &prime.metadata, &self.seal);
        // What an earlier clone reported, or another PVC whose annotations were copied, does not apply to this one.
        let annotations = json!({
            PRIME: record, POPULATOR_PROGRESS: "N/A", DIGEST: null, NOT_KEPT: null, SENT_BYTES: null, TOTAL_BYTES: null,
            RATE_BYTES: null, LIMIT_BYTES: null, LEFT_SECS: null, TRANSFER_PHASE: null, SNAPSHOT_TIME: null,
        });
        self.patch_claim(seen, members(json!({ "annotations": annotations })))
    }

    pub(super) fn delete_prime(&self, seen: &Observed) -> Result<(), ApiError> {
        let (Some(population), Some(target)) = (&seen.population, &seen.target) else { return Ok(()) };
        let Some(prime) = removable_prime(population, target) else { return Ok(()) };
        self.cluster.delete(Kind::PersistentVolumeClaim, &prime.metadata.key(), &prime.metadata.uid, None)
    }

    /// Restores the snapshot to a temporary PVC and records it on the target. The target must be held: what follows would
    /// outlive a claim that is gone. If this process ends between the calls, the next controller replaces the PVC.
    pub(super) fn make_restored(&self, seen: &Observed) -> Result<(), ApiError> {
        let (Some(target), Some(source), Some(snapshot)) =
            (&seen.target, &seen.source, seen.restored_snapshot())
        else {
            return Ok(());
        };
        self.require_held(target)?;
        let object = restored::object(target, &snapshot, source);
        let Some(object) = created(self.cluster.create(Kind::PersistentVolumeClaim, &object))? else {
            // The next observation shows whose it is.
            return Ok(());
        };
        let restored: Claim = objects::decode(object).map_err(impossible)?;
        self.made.note(&target.metadata.key(), &restored.metadata.uid, Instant::now());
        self.record_restored(seen, &restored)
    }

    /// The target as it is now. Fails unless it has the finalizer: what is created next could outlive a claim without it.
    fn require_held(&self, target: &Claim) -> Result<Claim, ApiError> {
        let now = self.current(target)?.filter(|now| now.is_held() && !now.metadata.is_deleting());
        now.ok_or_else(|| leaves(target))
    }

    /// Takes a snapshot of the source, which is in use, and records it on the target. The target is annotated first that a
    /// snapshot may exist, because no watch reports snapshots. If this process ends between the calls, the next controller
    /// replaces the snapshot.
    pub(super) fn make_snapshot(&self, seen: &Observed) -> Result<(), ApiError> {
        let (Some(target), Some(source), SnapshotChoice::Class(class)) =
            (&seen.target, &seen.named_source, &seen.snapshot_choice)
        else {
            return Ok(());
        };
        let now = self.require_held(target)?;
        // The target may already have a record that the watch has not brought yet. It must not be overwritten.
        if now.metadata.annotation(SOURCE_SNAPSHOT).is_none() {
            self.patch_claim(seen, members(json!({ "annotations": { SOURCE_SNAPSHOT: SNAPSHOT_INTENT } })))?;
        }
        let object = source_snapshot::object(target, source, class);
        let Some(object) = created(self.cluster.create(Kind::VolumeSnapshot, &object))? else {
            // The next observation shows whose it is.
            return Ok(());
        };
        let snapshot: VolumeSnapshot = objects::decode(object).map_err(impossible)?;
        self.made.note(&target.metadata.key(), &snapshot.metadata.uid, Instant::now());
        self.record_snapshot(seen, &snapshot)
    }

    pub(super) fn record_snapshot(&self, seen: &Observed, snapshot: &VolumeSnapshot) -> Result<(), ApiError> {
        let (Some(target), Some(source)) = (&seen.target, &seen.named_source) else { return Ok(()) };
        let record = SnapshotRecord {
            namespace: snapshot.metadata.namespace.clone(),
            uid: snapshot.metadata.uid.clone(),
            source: source.metadata.uid.clone(),
        };
        let record = record.annotation(&target.metadata, &self.seal);
        self.patch_claim(seen, members(json!({ "annotations": { SOURCE_SNAPSHOT: record } })))
    }

    pub(super) fn delete_snapshot(&self, seen: &Observed) -> Result<(), ApiError> {
        let Some(snapshot) = seen.left_taken() else { return Ok(()) };
        let meta = &snapshot.metadata;
        self.cluster.delete(Kind::VolumeSnapshot, &meta.key(), &meta.uid, None)
    }

    pub(super) fn record_restored(&self, seen: &Observed, restored: &Claim) -> Result<(), ApiError> {
        let Some(target) = &seen.target else { return Ok(()) };
        let record = restored_annotation(&target.metadata, &restored.metadata, &self.seal);
        self.patch_claim(seen, members(json!({ "annotations": { RESTORED: record } })))
    }

    /// Deletes the temporary PVC with its volume. A class with the reclaim policy `Retain` would keep the volume forever.
    pub(super) fn delete_restored(&self, seen: &Observed) -> Result<(), ApiError> {
        let Some(restored) = seen.left_restored() else { return Ok(()) };
        let meta = &restored.metadata;
        if matches!(seen.restored, Restored::Ours { .. }) && restored.is_bound() {
            self.let_volume_go(restored)?;
        }
        self.cluster.delete(Kind::PersistentVolumeClaim, &meta.key(), &meta.uid, None)
    }

    /// Lets the volume of `claim`, which this controller created, be deleted with the claim.
    fn let_volume_go(&self, claim: &Claim) -> Result<(), ApiError> {
        let key = Key::new("", &claim.spec.volume_name);
        let volume: Volume = match self.cluster.get(Kind::PersistentVolume, &key) {
            Ok(object) => objects::decode(object).map_err(impossible)?,
            Err(e) if e.is_not_found() => return Ok(()),
            Err(e) => return Err(e),
        };
        let is_held = volume.spec.claim_ref.as_ref().is_some_and(|holder| holder.uid == claim.metadata.uid);
        if !is_held || volume.spec.persistent_volume_reclaim_policy == DELETE {
            return Ok(());
        }
        let patch = json!({
            "metadata": { "resourceVersion": volume.metadata.resource_version },
            "spec": { "persistentVolumeReclaimPolicy": DELETE },
        });
        self.cluster.patch(Kind::PersistentVolume, &key, Part::Whole, &patch).map(drop)
    }

    /// Records on the target the outcome of the clone and the volume that holds it, in one call.
    pub(super) fn record_population(&self, seen: &Observed, outcome: &CloneOutcome) -> Result<(), ApiError> {
        let prime = seen.population.as_ref().and_then(|population| population.prime.ours());
        let (Some(target), Some(prime)) = (&seen.target, prime) else { return Ok(()) };
        let volume = PopulatedVolume {
            name: prime.spec.volume_name.clone(),
            prime: prime.metadata.uid.clone(),
            is_handed_over: false,
        };
        let mut annotations = outcome.annotations(&target.metadata, &self.seal);
        annotations.extend(volume.annotation(&target.metadata, &self.seal));
        let capacity = prime.status.capacity.storage.as_deref();
        annotations.extend(self.image_record(seen.source.as_deref(), target, capacity, outcome));
        self.patch_claim(seen, members(json!({ "annotations": annotations })))
    }

    pub(super) fn mark_populated(&self, seen: &Observed) -> Result<(), ApiError> {
        let Some(target) = &seen.target else { return Ok(()) };
        let record = seen.population.as_ref().and_then(|population| population.record.as_ref());
        let volume = PopulatedVolume {
            name: target.spec.volume_name.clone(),
            // Without a record, a user removed it.
            prime: record.map_or_else(|| Uid::from("-"), |record| record.prime.clone()),
            is_handed_over: true,
        };
        let mut annotations = volume.annotation(&target.metadata, &self.seal);
        annotations.extend(members(json!({
            CLONE_OF: "true", CLONE_PHASE: DataVolumePhase::Succeeded.as_str(), POPULATOR_PROGRESS: "100.0%",
        })));
        self.patch_claim(seen, members(json!({ "annotations": annotations })))
    }

    pub(super) fn forget_population(&self, seen: &Observed) -> Result<(), ApiError> {
        let annotations = json!({
            PRIME: null, POPULATED_VOLUME: null, OUTCOME: null, DIGEST: null, NOT_KEPT: null, POD_PHASE: null,
            SNAPSHOT_TIME: null,
        });
        self.patch_claim(seen, members(json!({ "annotations": annotations })))
    }

    pub(super) fn forget_node(&self, seen: &Observed) -> Result<(), ApiError> {
        self.patch_claim(seen, members(json!({ "annotations": { SELECTED_NODE: null } })))
    }

    pub(super) fn retain_volume(&self, seen: &Observed) -> Result<(), ApiError> {
        self.patch_volume(seen, |volume, _| {
            let policy = &volume.spec.persistent_volume_reclaim_policy;
            // A text that is no policy was not written by this controller.
            let earlier = volume.metadata.annotation(RECLAIM_POLICY).filter(|text| POLICIES.contains(text));
            let earlier = earlier.unwrap_or(policy);
            json!({
                "metadata": { "annotations": { RECLAIM_POLICY: earlier } },
                "spec": { "persistentVolumeReclaimPolicy": RETAIN },
            })
        })
    }

    pub(super) fn hand_over_volume(&self, seen: &Observed) -> Result<(), ApiError> {
        self.patch_volume(seen, |_, target| {
            let meta = &target.metadata;
            json!({ "spec": { "claimRef": {
                "apiVersion": "v1", "kind": Kind::PersistentVolumeClaim.name(), "namespace": meta.namespace,
                "name": meta.name, "uid": meta.uid, "resourceVersion": null,
            } } })
        })
    }

    pub(super) fn restore_policy(&self, seen: &Observed) -> Result<(), ApiError> {
        self.patch_volume(seen, |volume, _| {
            let annotations = json!({ RECLAIM_POLICY: null });
            match volume.metadata.annotation(RECLAIM_POLICY).filter(|text| POLICIES.contains(text)) {
                Some(policy) => json!({
                    "metadata": { "annotations": annotations },
                    "spec": { "persistentVolumeReclaimPolicy": policy },
                }),
                // Another text was not written by this controller; then the volume stays as it is.
                None => json!({ "metadata": { "annotations": annotations } }),
            }
        })
    }

    fn patch_volume(
        &self,
        seen: &Observed,
        patch: impl FnOnce(&Volume, &Claim) -> Value,
    ) -> Result<(), ApiError> {
        let Some(Population { volume: Some(volume), .. }) = &seen.population else { return Ok(()) };
        let Some(target) = &seen.target else { return Ok(()) };
        let mut patch = members(patch(volume, target));
        let metadata = patch.entry("metadata").or_insert_with(|| json!({}));
        if let Some(metadata) = metadata.as_object_mut() {
            // It fails if the volume has changed since it was read.
            let version = volume.metadata.resource_version.as_str();
            metadata.insert("resourceVersion".to_owned(), version.into());
        }
        let patch = Value::Object(patch);
        let key = Key::new("", &volume.metadata.name);
        self.cluster.patch(Kind::PersistentVolume, &key, Part::Whole, &patch).map(drop)
    }
}

/// The failure to act for a claim that does not wait for what it needs any more.
fn leaves(claim: &Claim) -> ApiError {
    ApiError {
        code: 409,
        reason: "Conflict".to_owned(),
        message: format!("PVC {} is gone or is being deleted", claim.metadata.key()),
    }
}
