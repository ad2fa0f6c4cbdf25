//! Carries decisions out as API calls, in order. Each call can be repeated: if a controller ends between two of them,
//! the next controller finishes the work.

pub(crate) mod keys;
mod population;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use crate::api::cluster::{ApiError, Cluster, Part};
use crate::certificates::pki::Pki;
use crate::cluster_settings::LivePolicy;
use crate::objects;
use crate::objects::annotations::{
    CLONE_REQUEST, CLONE_SOURCE_FINALIZER, CLONE_TYPE, EXTENDED_TOKEN, POPULATED_FOR, PRE_POPULATED,
    VOLUME_LIST,
};
use crate::objects::{Claim, Key, Kind, Meta, Object, OwnerReference, Pod, names};
use crate::pods::clone_pods::ClonePods;
use crate::pods::identity::PodIdentity;
use crate::pods::image_size::CompleteClone;
use crate::pods::made::MadePods;
use crate::pods::role::Role;
use crate::pods::{claim, direct, made, source, target};
use crate::reconcile::act::keys::Keyed;
use crate::reconcile::actions::Action;
use crate::reconcile::last_error::{FailedAction, LastError};
use crate::reconcile::observed::{Flow, Observed, Restored, TakenSnapshot};
use crate::reconcile::outcome::CloneOutcome;
use crate::reconcile::permission::check::Permission;
use crate::reconcile::reserved_volumes::Volumes;
use crate::reconcile::scheduling::{CloneScheduler, SlotRequest};
use crate::reconcile::step::Slot;
use crate::reconcile::transfer::TransferMode;
use crate::reconcile::{compatibility, reserved_volumes, transfer};
use crate::token::key::TokenKey;

/// Carries actions out.
pub struct Executor {
    cluster: Arc<dyn Cluster>,
    pki: Arc<Pki>,
    policy: Arc<LivePolicy>,
    /// The key that seals the identities of pods and the outcomes of clones.
    seal: Arc<TokenKey>,
    /// The pods that this process created.
    made: Arc<MadePods>,
    /// Where slots are taken and released.
    scheduler: Arc<CloneScheduler>,
    keyed: Mutex<Keyed>,
}

impl Executor {
    /// An executor that acts on `cluster`.
    pub fn new(
        cluster: Arc<dyn Cluster>,
        pki: Arc<Pki>,
        policy: Arc<LivePolicy>,
        seal: Arc<TokenKey>,
        made: Arc<MadePods>,
        scheduler: Arc<CloneScheduler>,
    ) -> Self {
        Self { cluster, pki, policy, seal, made, scheduler, keyed: Mutex::default() }
    }

    /// Takes a slot for the clone `key`, or queues it, in one step. The result may differ from the slot in `seen`,
    /// because another clone may have taken the last slot meanwhile.
    pub fn take_slot(&self, key: &Key, seen: &Observed) -> Slot {
        SlotRequest::of(seen).map_or(Slot::Free, |request| self.scheduler.take(key, &request, Instant::now()))
    }

    /// Releases the slot of the clone `key`, or its position in the queue. Returns the clones that may start now.
    pub fn release_slot(&self, key: &Key) -> Vec<Key> {
        self.scheduler.release(key)
    }

    /// The authorities that sign the certificates.
    pub fn pki(&self) -> &Pki {
        &self.pki
    }

    /// Carries `actions` out in order. A failure stops at that action, unless the others do not depend on it. Returns
    /// the first failure.
    pub fn carry_out(
        &self,
        actions: &[Action],
        seen: &Observed,
        now: OffsetDateTime,
    ) -> Result<(), LastError> {
        // A pod that was just created is not in `seen`.
        let mut made: HashMap<Role, Pod> = HashMap::new();
        let mut first = Ok(());
        for action in actions {
            let Err(error) = self.one(action, seen, &mut made, now) else { continue };
            let last_error = LastError { failed_action: failed_action(action, seen), error };
            first = first.and(Err(last_error));
            if !stands_alone(action) {
                break;
            }
        }
        first
    }

    fn one(
        &self,
        action: &Action,
        seen: &Observed,
        made: &mut HashMap<Role, Pod>,
        now: OffsetDateTime,
    ) -> Result<(), ApiError> {
        match action {
            Action::MakeClaim => self.make_claim(seen),
            Action::AdoptClaim => {
                let (Some(dv), Some(claim)) = (&seen.data_volume, &seen.target) else { return Ok(()) };
                // The patch replaces the list as a whole, so it contains the other owners as well.
                let mut owners: Vec<Value> = claim.metadata.owner_references.iter().map(owner).collect();
                owners.push(claim::owner(dv));
                let patch = json!({
                    "resourceVersion": claim.metadata.resource_version,
                    "ownerReferences": owners,
                });
                self.patch_claim(seen, members(patch))
            }
            Action::MakeKeptClaim => self.make_kept_claim(seen),
            Action::ExpectVolume => {
                let Volumes::Reserved(volumes) = &seen.volumes else { return Ok(()) };
                let names: Vec<&String> = volumes.iter().map(|volume| &volume.metadata.name).collect();
                let annotations = json!({
                    VOLUME_LIST: json!(names).to_string(), CLONE_REQUEST: null, CLONE_TYPE: null,
                });
                self.patch_claim(seen, members(json!({ "annotations": annotations })))
            }
            Action::KeepVolume => {
                let name = seen.target.as_ref().map_or("", |claim| &claim.metadata.name);
                let annotations = json!({
                    POPULATED_FOR: name, VOLUME_LIST: null, CLONE_REQUEST: null, CLONE_TYPE: null,
                });
                self.patch_claim(seen, members(json!({ "annotations": annotations })))
            }
            Action::Label(labels) => self.patch_data_volume(seen, &json!({ "labels": labels })),
            Action::SayPrePopulated => {
                let name = seen.target.as_ref().map_or("", |claim| &claim.metadata.name);
                self.patch_data_volume(seen, &json!({ "annotations": { PRE_POPULATED: name } }))
            }
            Action::Tell(annotations) => self.patch_data_volume(seen, &json!({ "annotations": annotations })),
            Action::RecordPod(role) => {
                let (Some(claim), Some(pod)) = (&seen.target, pod_of(*role, seen)) else { return Ok(()) };
                let record = made::record(*role, &pod.metadata.uid, &claim.metadata.uid, &self.seal);
                self.patch_claim(seen, members(json!({ "annotations": { made::annotation(*role): record } })))
            }
            Action::Record(outcome) => {
                let Some(claim) = &seen.target else { return Ok(()) };
                let mut annotations = outcome.annotations(&claim.metadata, &self.seal);
                // The target of a prime gets the record, not the prime.
                if seen.populates.is_none() {
                    let capacity = claim.status.capacity.storage.as_deref();
                    annotations.extend(self.image_record(seen.source.as_deref(), claim, capacity, outcome));
                }
                self.patch_claim(seen, members(json!({ "annotations": annotations })))
            }
            Action::KeepToken => self.keep_token(seen),
            Action::Annotate(annotations) => {
                self.patch_claim(seen, members(json!({ "annotations": annotations })))
            }
            Action::Hold(hold) => {
                let finalizer =
                    seen.target.as_ref().map_or(CLONE_SOURCE_FINALIZER, |claim| claim.clone_finalizer());
                self.set_finalizer(seen, finalizer, *hold)
            }
            Action::MakePod(role) => {
                let pod = self.make_pod(*role, seen, now)?;
                made.extend(pod.map(|pod| (*role, pod)));
                Ok(())
            }
            Action::MakeSecret(role) => {
                let known = match role {
                    Role::Source => seen.source_pod.as_deref(),
                    Role::Target => seen.target_pod.as_deref(),
                };
                match made.get(role).or(known) {
                    Some(pod) => self.make_secret(*role, pod, seen, now),
                    None => Ok(()),
                }
            }
            Action::DeletePod(role) => {
                let pod = match role {
                    Role::Source => &seen.source_pod,
                    Role::Target => &seen.target_pod,
                };
                pod.as_ref().map_or(Ok(()), |pod| self.delete(&pod.metadata))
            }
            Action::AbandonPod(role) => pod_of(*role, seen).map_or(Ok(()), |pod| {
                self.cluster.delete(Kind::Pod, &pod.metadata.key(), &pod.metadata.uid, Some(0))
            }),
            Action::DeleteOrphans => {
                let orphans = seen.orphans.iter().filter(|pod| !pod.metadata.is_deleting());
                // A pod that cannot be deleted does not prevent the deletion of the others.
                let results: Vec<_> = orphans.map(|pod| self.delete(&pod.metadata)).collect();
                results.into_iter().collect()
            }
            Action::MakeCloneSource => self.make_clone_source(seen),
            Action::DeleteCloneSource => self.delete_clone_source(seen),
            Action::HoldPopulation(hold) => self.hold_population(seen, *hold),
            Action::MakePrime => self.make_prime(seen),
            Action::RecordPrime => {
                let prime = seen.population.as_ref().and_then(|population| population.prime.ours());
                prime.map_or(Ok(()), |prime| self.record_prime(seen, prime))
            }
            Action::DeletePrime => self.delete_prime(seen),
            Action::MakeSnapshot => self.make_snapshot(seen),
            Action::RecordSnapshot => match &seen.taken {
                TakenSnapshot::Ours { snapshot, .. } => self.record_snapshot(seen, snapshot),
                TakenSnapshot::Missing | TakenSnapshot::Foreign(_) => Ok(()),
            },
            Action::DeleteSnapshot => self.delete_snapshot(seen),
            Action::MakeRestored => self.make_restored(seen),
            Action::RecordRestored => match &seen.restored {
                Restored::Ours { claim, .. } => self.record_restored(seen, claim),
                Restored::Missing | Restored::Foreign(_) => Ok(()),
            },
            Action::DeleteRestored => self.delete_restored(seen),
            Action::RecordPopulation(outcome) => self.record_population(seen, outcome),
            Action::ForgetPopulation => self.forget_population(seen),
            Action::ForgetNode => self.forget_node(seen),
            Action::RetainVolume => self.retain_volume(seen),
            Action::HandOverVolume => self.hand_over_volume(seen),
            Action::RestorePolicy => self.restore_policy(seen),
            Action::MarkPopulated => self.mark_populated(seen),
        }
    }

    fn make_claim(&self, seen: &Observed) -> Result<(), ApiError> {
        let (Some(dv), Some(source), Some(cloned)) = (&seen.data_volume, &seen.source, seen.cloned()) else {
            return Ok(());
        };
        let policy = self.policy.now();
        let spec = claim::claim_spec(dv, source, &seen.class_defaults, &policy).map_err(impossible)?;
        let claim = match seen.flow {
            Flow::Direct => claim::new_claim(dv, &cloned, &spec, &policy),
            Flow::Populator => claim::populated_claim(dv, &cloned.key, &spec, &policy),
        };
        created(self.cluster.create(Kind::PersistentVolumeClaim, &claim)).map(drop)
    }

    /// The annotations that record the size of the image that `outcome` left on the volume of `target`.
    fn image_record(
        &self,
        source: Option<&Claim>,
        target: &Claim,
        capacity: Option<&str>,
        outcome: &CloneOutcome,
    ) -> Map<String, Value> {
        let overhead = compatibility::overhead(target, &self.policy.now());
        let digest = outcome.digest.as_deref();
        CompleteClone { source, target, capacity, overhead, digest }.record()
    }

    fn make_kept_claim(&self, seen: &Observed) -> Result<(), ApiError> {
        let (Some(dv), Volumes::Reserved(volumes)) = (&seen.data_volume, &seen.volumes) else {
            return Ok(());
        };
        let policy = self.policy.now();
        let spec = reserved_volumes::claim_spec(dv, volumes, &policy).map_err(impossible)?;
        let claim = claim::kept_claim(dv, &spec, &policy);
        created(self.cluster.create(Kind::PersistentVolumeClaim, &claim)).map(drop)
    }

    fn keep_token(&self, seen: &Observed) -> Result<(), ApiError> {
        let Some(Permission::ExtendToken(token)) = &seen.permission else { return Ok(()) };
        // The round of the target writes it.
        if seen.populates.is_some() {
            return Ok(());
        }
        let metadata = json!({ "annotations": { EXTENDED_TOKEN: token } });
        match &seen.data_volume {
            Some(_) => self.patch_data_volume(seen, &metadata),
            None => self.patch_claim(seen, members(metadata)),
        }
    }

    fn patch_data_volume(&self, seen: &Observed, metadata: &Value) -> Result<(), ApiError> {
        let Some(dv) = &seen.data_volume else { return Ok(()) };
        let patch = json!({ "metadata": metadata });
        self.cluster.patch(Kind::DataVolume, &dv.metadata.key(), Part::Whole, &patch).map(drop)
    }

    fn patch_claim(&self, seen: &Observed, mut metadata: Map<String, Value>) -> Result<(), ApiError> {
        let Some(claim) = &seen.target else { return Ok(()) };
        // The UID prevents a change of another claim of the same name.
        metadata.insert("uid".to_owned(), claim.metadata.uid.as_str().into());
        let patch = json!({ "metadata": metadata });
        let key = claim.metadata.key();
        match self.cluster.patch(Kind::PersistentVolumeClaim, &key, Part::Whole, &patch) {
            Err(e) if e.is_not_found() => Ok(()),
            result => result.map(drop),
        }
    }

    /// Adds or removes the finalizer. A patch replaces the list as a whole, so the claim is read again, and the patch
    /// requires the version that was read. A claim that is gone needs no finalizer.
    fn set_finalizer(&self, seen: &Observed, finalizer: &str, is_wanted: bool) -> Result<(), ApiError> {
        let Some(claim) = &seen.target else { return Ok(()) };
        let Some(now) = self.current(claim)? else { return Ok(()) };
        let mut finalizers = now.metadata.finalizers;
        let before = finalizers.len();
        finalizers.retain(|name| name != finalizer);
        if is_wanted {
            finalizers.push(finalizer.to_owned());
        }
        if finalizers.len() == before {
            return Ok(());
        }
        self.patch_claim(
            seen,
            members(json!({
                "resourceVersion": now.metadata.resource_version,
                "finalizers": finalizers,
            })),
        )
    }

    /// The claim as it is now; `None` if it is gone.
    fn current(&self, claim: &Claim) -> Result<Option<Claim>, ApiError> {
        match self.cluster.get(Kind::PersistentVolumeClaim, &claim.metadata.key()) {
            Ok(object) => {
                let now: Claim = objects::decode(object).map_err(impossible)?;
                Ok(Some(now).filter(|now| now.metadata.uid == claim.metadata.uid))
            }
            Err(e) if e.is_not_found() => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Creates the pod, or finds the existing one.
    fn make_pod(&self, role: Role, seen: &Observed, now: OffsetDateTime) -> Result<Option<Pod>, ApiError> {
        let (Some(target), Some(source), Some(owner_uid)) = (&seen.target, &seen.source, seen.owner_uid())
        else {
            return Ok(None);
        };
        let policy = self.policy.now();
        let authority = self.pki.authority();
        let nonce = keys::nonce().map_err(impossible)?;
        let clone = ClonePods {
            target,
            source,
            owner_uid: &owner_uid,
            policy: &policy.pods,
            authority: &authority,
            seal: &self.seal,
            nonce: &nonce,
        };
        let object = match role {
            Role::Target if transfer::mode(seen, &policy) == TransferMode::Direct => {
                direct::direct_pod(&clone, compatibility::overhead(target, &policy))
            }
            Role::Target => {
                let deadline = now + policy.pods.target_deadline;
                target::target_pod(&clone, compatibility::overhead(target, &policy), deadline)
            }
            Role::Source => {
                let Some(pod) = &seen.target_pod else { return Ok(None) };
                source::source_pod(&clone, pod, &self.pki.server_bundle_pem())
            }
        };
        let Some(pod) = created(self.cluster.create(Kind::Pod, &object))? else {
            let key = match role {
                Role::Target => {
                    Key::new(&target.metadata.namespace, names::target_pod(&target.metadata.name))
                }
                Role::Source => Key::new(&source.metadata.namespace, names::source_pod(&target.metadata.uid)),
            };
            return self.found(role, &key, target).map(Some);
        };
        let pod: Pod = objects::decode(pod).map_err(impossible)?;
        self.made.note(&target.metadata.key(), &pod.metadata.uid, Instant::now());
        Ok(Some(pod))
    }

    /// The existing pod of that name, if this controller just created it. Only its seal shows that; any other pod is in
    /// the way.
    fn found(&self, role: Role, key: &Key, claim: &Claim) -> Result<Pod, ApiError> {
        let pod: Pod = objects::decode(self.cluster.get(Kind::Pod, key)?).map_err(impossible)?;
        let why = match PodIdentity::of(&pod.metadata, &self.seal) {
            Some(identity) if identity.role == role && identity.target_claim == claim.metadata.uid => {
                let origin = self.made.provenance(role, &pod.metadata, &claim.metadata, &self.seal);
                if origin != made::Provenance::Unknown {
                    return Ok(pod);
                }
                "it has a copied seal of a pod of this clone and will be deleted"
            }
            Some(_) => "it belongs to an earlier claim of this name and will be deleted",
            None => {
                "this controller did not make it, so it is left alone and nothing is sent to it; delete it, or clone into a \
                 claim of another name"
            }
        };
        Err(ApiError {
            code: 409,
            reason: "AlreadyExists".to_owned(),
            message: format!("pod {key} is in the way: {why}"),
        })
    }

    fn delete(&self, pod: &Meta) -> Result<(), ApiError> {
        self.cluster.delete(Kind::Pod, &pod.key(), &pod.uid, None)
    }
}

fn pod_of(role: Role, seen: &Observed) -> Option<&Arc<Pod>> {
    match role {
        Role::Source => seen.source_pod.as_ref(),
        Role::Target => seen.target_pod.as_ref(),
    }
}

/// An owner of a claim that does not control it.
fn owner(owner: &OwnerReference) -> Value {
    let mut reference = members(json!({
        "apiVersion": owner.api_version, "kind": owner.kind, "name": owner.name, "uid": owner.uid,
    }));
    if owner.block_owner_deletion {
        reference.insert("blockOwnerDeletion".to_owned(), true.into());
    }
    reference.into()
}

fn members(object: Value) -> Map<String, Value> {
    match object {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

/// The created object; `None` if it already existed.
fn created(result: Result<Object, ApiError>) -> Result<Option<Object>, ApiError> {
    match result {
        Ok(object) => Ok(Some(object)),
        Err(e) if e.already_exists() => Ok(None),
        Err(e) => Err(e),
    }
}

/// A failure of this program, which the user sees like a refusal of the API server.
fn impossible(why: impl std::fmt::Display) -> ApiError {
    ApiError { code: 500, reason: "InternalError".to_owned(), message: why.to_string() }
}

/// Whether later actions can be carried out although this one failed: a refusal in one namespace must not stop the work
/// in the other.
fn stands_alone(action: &Action) -> bool {
    matches!(
        action,
        Action::DeletePod(_) | Action::AbandonPod(_) | Action::DeleteOrphans | Action::MakeSecret(_)
    )
}

/// The [`FailedAction`] of `action`. Each action has one, so that each failure is reported.
fn failed_action(action: &Action, seen: &Observed) -> FailedAction {
    // Such actions are decided only for a claim that exists, so the empty key is never used.
    let claim = || seen.target.as_ref().map_or_else(|| Key::new("", ""), |claim| claim.metadata.key());
    match action {
        Action::MakeClaim | Action::MakeKeptClaim => FailedAction::MakeClaim,
        Action::AdoptClaim
        | Action::ExpectVolume
        | Action::KeepVolume
        | Action::Record(_)
        | Action::RecordPod(_)
        | Action::Annotate(_)
        | Action::Hold(_)
        | Action::HoldPopulation(_)
        | Action::RecordPrime
        | Action::RecordRestored
        | Action::RecordSnapshot
        | Action::RecordPopulation(_)
        | Action::ForgetPopulation
        | Action::ForgetNode
        | Action::MarkPopulated => FailedAction::ChangeClaim(claim()),
        Action::MakePrime | Action::MakeRestored => FailedAction::MakePrime,
        Action::DeletePrime | Action::DeleteRestored => FailedAction::DeletePrime,
        Action::MakeSnapshot => FailedAction::MakeSnapshot,
        Action::DeleteSnapshot => FailedAction::DeleteSnapshot,
        Action::MakeCloneSource | Action::DeleteCloneSource => FailedAction::ChangeCloneSource,
        Action::RetainVolume | Action::HandOverVolume | Action::RestorePolicy => FailedAction::ChangeVolume(
            seen.population
                .as_ref()
                .and_then(|population| population.volume.as_ref())
                .map(|volume| volume.metadata.name.clone())
                .unwrap_or_default(),
        ),
        Action::KeepToken if seen.data_volume.is_none() => FailedAction::ChangeClaim(claim()),
        Action::KeepToken | Action::Label(_) | Action::SayPrePopulated | Action::Tell(_) => {
            FailedAction::ChangeDataVolume
        }
        Action::MakePod(role) => FailedAction::MakePod { role: *role, pod: pod_key(*role, seen) },
        Action::MakeSecret(role) => FailedAction::MakeSecret { role: *role, pod: pod_key(*role, seen) },
        Action::DeletePod(role) | Action::AbandonPod(role) => {
            FailedAction::DeletePods(vec![pod_key(*role, seen)])
        }
        Action::DeleteOrphans => {
            let orphans = seen.orphans.iter().filter(|pod| !pod.metadata.is_deleting());
            FailedAction::DeletePods(orphans.map(|pod| pod.metadata.key()).collect())
        }
    }
}

/// The key of the pod of `role`, whether or not it exists yet.
fn pod_key(role: Role, seen: &Observed) -> Key {
    if let Some(pod) = pod_of(role, seen) {
        return pod.metadata.key();
    }
    let Some(claim) = &seen.target else { return Key::new("", "") };
    let Meta { namespace, name, uid, .. } = &claim.metadata;
    match role {
        Role::Target => Key::new(namespace, names::target_pod(name)),
        Role::Source => {
            let source = seen.source_key().map_or(namespace, |source| &source.namespace);
            Key::new(source, names::source_pod(uid))
        }
    }
}
