//! Observes everything that belongs to one key. It reads the stores, and asks the API server only for objects that are
//! not watched. Observing changes nothing in the cluster or in the scheduler.

mod class_defaults;
pub mod drivers;
mod population;
mod snapshot;
mod source_snapshot;
pub(crate) mod uses;
pub(crate) mod volumes;

use std::sync::Arc;
use std::time::Instant;

use time::OffsetDateTime;

use crate::api::cluster::{ApiError, Cluster, ListParams};
use crate::api::listing;
use crate::certificates::pki::Pki;
use crate::cluster_settings::LivePolicy;
use crate::objects;
use crate::objects::annotations::{
    ALLOW_CLONE_TO, CLONE_OF, CLONE_REQUEST, EXTENDED_TOKEN, POPULATED_FOR, SELECTED_NODE, TOKEN,
    USE_POPULATOR,
};
use crate::objects::clone_request::{Invalid, Wanted};
use crate::objects::names::NameStyle;
use crate::objects::pod_settings::PodSettings;
use crate::objects::{
    Claim, ClonedKind, ClonedObject, DataSource, DataVolume, DataVolumePhase, Key, Kind, Pod, PopulatorKind,
    StorageClass, Uid, clone_request,
};
use crate::pods::identity::PodIdentity;
use crate::pods::made;
use crate::pods::made::MadePods;
use crate::pods::role::Role;
use crate::policy::{Policy, Scope, Transfer};
use crate::progress::poller::Readings;
use crate::reconcile::last_error::LastError;
use crate::reconcile::observe::drivers::Drivers;
use crate::reconcile::observe::population::PopulatorOrigin;
use crate::reconcile::observe::uses::uses;
use crate::reconcile::observe::volumes::volumes;
use crate::reconcile::observed::{Observed, Origin, Restored};
use crate::reconcile::outcome::CloneOutcome;
use crate::reconcile::permission::check;
use crate::reconcile::permission::check::{Ask, Permission, TargetKind, Through};
use crate::reconcile::permission::judge::Judge;
use crate::reconcile::placement;
use crate::reconcile::placement::VolumePlacement;
use crate::reconcile::scheduling::{CloneScheduler, SlotRequest};
use crate::reconcile::transfer;
use crate::reconcile::transfer::TransferMode;
use crate::token::key::TokenKey;
use crate::watch::store::Stores;
use crate::watch::unreadable::ObjectIdentity;

/// Pods in one page of a list.
const PAGE_PODS: u32 = 250;

/// Observes clones.
pub struct Observer {
    /// The API server.
    pub cluster: Arc<dyn Cluster>,
    /// The objects that the watches deliver.
    pub stores: Arc<Stores>,
    /// Which clones run and which ones wait. Only read here.
    pub scheduler: Arc<CloneScheduler>,
    /// Decides what may be cloned.
    pub judge: Judge,
    /// The key that checks seals.
    pub keys: Arc<TokenKey>,
    /// The authorities that sign certificates.
    pub pki: Arc<Pki>,
    /// The pods that this process created.
    pub made: Arc<MadePods>,
    /// The CSI drivers of the cluster.
    pub drivers: Drivers,
    /// The settings of the operator.
    pub policy: Arc<LivePolicy>,
}

/// What a round knows besides the objects of the cluster.
pub struct Look<'a> {
    /// The progress of the clones that run.
    pub readings: &'a Readings,
    /// The current failure of a key.
    pub last_errors: &'a dyn Fn(&Key) -> Option<LastError>,
}

impl Observer {
    /// Everything about `key`.
    pub fn observe(&self, key: &Key, look: &Look<'_>) -> Result<Observed, ApiError> {
        let mut seen = Observed {
            data_volume: self.stores.data_volumes.get(key),
            target: self.stores.claims.get(key),
            progress: look.readings.get(key),
            authority: self.pki.authority(),
            last_error: (look.last_errors)(key),
            ..Observed::default()
        };
        // CDI's controllers serve it.
        if self.policy.now().scope == Scope::CloneSources {
            seen.target = seen.target.filter(|claim| is_for_clone_source(claim));
        }
        let mut settings = Vec::new();
        let is_prime =
            |claim: &Arc<Claim>| claim.populates().is_some() || self.stores.target_of(claim).is_some();
        if let Some(prime) = seen.target.clone().filter(is_prime) {
            // A DataVolume of this name did not create it.
            seen.data_volume = None;
            self.prime_view(&prime, &mut seen);
        } else {
            seen.outcome =
                seen.target.as_ref().and_then(|claim| CloneOutcome::of(&claim.metadata, &self.keys));
            let found = self.target_origin(seen.data_volume.as_ref(), seen.target.as_ref());
            (seen.origin, settings) = (found.origin, found.settings);
            seen.data_source = seen.data_volume.as_ref().and_then(|dv| self.named_data_source(dv));
        }
        self.pods(key, &mut seen);
        seen.makes_pause = !self.made.may_make(key, Instant::now());
        if let Origin::Claim(source) = &seen.origin {
            seen.source = self.stores.claims.get(source);
            seen.named_source.clone_from(&seen.source);
        }
        self.observe_snapshot(&mut seen)?;
        seen.permission = ask(key, &seen).map(|ask| self.judge.permission(&ask)).transpose()?;
        if let Some(source) = &seen.source {
            seen.source_is_filling = self.is_filling(source);
        }
        seen.volumes = volumes(&*self.cluster, key, &seen)?;
        if is_open(&seen)
            && let Some(request) = SlotRequest::of(&seen)
        {
            seen.slot = self.scheduler.peek(key, &request, Instant::now());
        }
        if wants_pods(&seen, &self.policy.now()) {
            self.users_before_pods(key, &mut seen)?;
        }
        seen.population = self.population(&seen, settings, look)?;
        // Once there is a prime, the class of the target no longer matters.
        if !seen.has_prime() {
            seen.class = self.class(&seen)?;
        }
        if let Some(clone) = seen.population.as_ref().and_then(|population| population.clone.as_ref()) {
            seen.progress.clone_from(&clone.progress);
        }
        if seen.target.is_none() {
            seen.class_defaults = self.class_defaults(&seen)?;
            seen.flow = self.flow(&seen)?;
        } else if seen.population.is_none() {
            seen.is_filled_unbound = self.is_filled_unbound(&seen)?;
        }
        Ok(seen)
    }

    /// Checked before a pod is created: the denial, if the user whose token allows the clone has lost the right since, or
    /// the ReferenceGrant that allowed it is gone.
    pub fn withdrawn(&self, key: &Key, seen: &Observed) -> Result<Option<Permission>, ApiError> {
        let Some(ask) = ask(key, seen) else { return Ok(None) };
        match &seen.permission {
            Some(Permission::Granted) => self.judge.withdrawn(&ask),
            Some(Permission::Token(asker))
                if !self.judge.may_clone(asker, ask.source, ask.source_kind)? =>
            {
                Ok(Some(Permission::Denied(check::revoked(&ask, asker))))
            }
            _ => Ok(None),
        }
    }

    /// Finds the pods of the clone, and useless pods: those of an earlier claim of this name, in the namespace of an
    /// earlier source, or with a seal that was copied from a pod that this controller created. The store has only pods
    /// with a valid seal.
    fn pods(&self, key: &Key, seen: &mut Observed) {
        let claim = seen.target.clone();
        for pod in self.stores.pods_of(key) {
            let Some(identity) = PodIdentity::said(&pod.metadata) else { continue };
            let of = claim.as_ref().filter(|claim| claim.metadata.uid == identity.target_claim);
            let origin = of.map_or(made::Provenance::Unknown, |claim| {
                self.made.provenance(identity.role, &pod.metadata, &claim.metadata, &self.keys)
            });
            let is_in_place = identity.role == Role::Target
                || seen.source_key().is_none_or(|source| source.namespace == pod.metadata.namespace);
            if origin == made::Provenance::Unknown || !is_in_place {
                // A target pod of an earlier claim is deleted with its claim.
                if identity.role == Role::Source || of.is_some() {
                    seen.orphans.push(pod);
                }
                continue;
            }
            if origin == made::Provenance::Remembered {
                seen.unrecorded.push(identity.role);
            }
            match identity.role {
                Role::Target => seen.target_pod = Some(pod),
                Role::Source => seen.source_pod = Some(pod),
            }
        }
    }

    /// Where the data of the DataVolume comes from or, without a DataVolume, of the claim.
    fn target_origin(
        &self,
        data_volume: Option<&Arc<DataVolume>>,
        target: Option<&Arc<Claim>>,
    ) -> PopulatorOrigin {
        let found = self.written_origin(data_volume, target);
        // A claim has its own settings, or those of its DataVolume, which may have been changed since.
        let is_own = |claim: &&Arc<Claim>| {
            data_volume.is_none_or(|dv| claim.metadata.is_controlled_by(&dv.metadata.uid))
        };
        match target.filter(is_own).map(|claim| PodSettings::of(&claim.metadata)) {
            Some(Err(invalid)) if matches!(found.origin, Origin::Claim(_)) => Origin::Invalid(invalid).into(),
            _ => found,
        }
    }

    fn written_origin(
        &self,
        data_volume: Option<&Arc<DataVolume>>,
        target: Option<&Arc<Claim>>,
    ) -> PopulatorOrigin {
        let Some(dv) = data_volume else {
            let Some(claim) = target else { return Origin::None.into() };
            if let Some(populator) = claim.populator() {
                return self.populator_origin(claim, &populator);
            }
            // A claim may request a clone without a DataVolume.
            let request = claim.metadata.annotation(CLONE_REQUEST).and_then(|text| text.parse().ok());
            return match request {
                Some(ClonedObject { kind: ClonedKind::Claim, key }) => Origin::Claim(key).into(),
                Some(ClonedObject { kind: ClonedKind::Snapshot, key }) => Origin::Snapshot(key).into(),
                None => Origin::None.into(),
            };
        };
        self.origin(dv).into()
    }

    fn named_data_source(&self, dv: &DataVolume) -> Option<Arc<DataSource>> {
        match clone_request::wanted(dv) {
            Ok(Wanted::DataSource(key)) => self.stores.data_sources.get(&key),
            _ => None,
        }
    }

    fn origin(&self, dv: &DataVolume) -> Origin {
        match clone_request::wanted(dv) {
            Ok(Wanted::NotOurs(kind)) => Origin::NotOurs(kind),
            Err(e) => Origin::Invalid(e),
            Ok(wanted) => match clone_request::validate(dv) {
                Err(e) => Origin::Invalid(e),
                Ok(()) => self.resolve(dv, wanted),
            },
        }
    }

    /// The origin that `wanted` leads to. What is wrong with a DataSource of another namespace stays secret.
    fn resolve(&self, dv: &DataVolume, wanted: Wanted) -> Origin {
        let through = elsewhere(&wanted, &dv.metadata.namespace);
        match (self.follow(dv, wanted), through) {
            (origin @ (Origin::Claim(_) | Origin::Snapshot(_)), _) => origin,
            (_, Some(key)) => Origin::Withheld(check::denial_through(&key, &dv.metadata.namespace)),
            (origin, None) => origin,
        }
    }

    /// Follows DataSources: at most two, and only within their namespace.
    fn follow(&self, dv: &DataVolume, mut wanted: Wanted) -> Origin {
        for _ in 0..3 {
            let key = match wanted {
                Wanted::Claim(key) => return Origin::Claim(key),
                Wanted::Snapshot(key) => return Origin::Snapshot(key),
                Wanted::NotOurs(kind) => return Origin::NotOurs(kind),
                Wanted::DataSource(key) => key,
            };
            let Some(source) = self.stores.data_sources.get(&key) else {
                return Origin::Unresolved(format!("DataSource {key} doesn't exist"));
            };
            wanted = match clone_request::resolve(&source) {
                Ok(next) => next,
                Err(why) => return Origin::Unresolved(format!("DataSource {key}: {why}")),
            };
        }
        Origin::Invalid(Invalid {
            field: "spec.sourceRef",
            message: format!("the DataSource of {} points to a chain of DataSources", dv.metadata.key()),
        })
    }

    /// Whether another DataVolume or another clone is still filling the claim.
    fn is_filling(&self, source: &Claim) -> bool {
        let key = source.metadata.key();
        let by_data_volume = self.stores.data_volumes.get(&key).is_some_and(|dv| {
            source.metadata.is_controlled_by(&dv.metadata.uid)
                && dv.status.phase != DataVolumePhase::Succeeded
        });
        let meta = &source.metadata;
        let is_whole = meta.annotation(CLONE_OF).is_some() || meta.annotation(POPULATED_FOR).is_some();
        by_data_volume || meta.annotation(CLONE_REQUEST).is_some() && !is_whole
    }

    /// Finds the other pods that prevent this clone from getting its pods.
    fn users_before_pods(&self, key: &Key, seen: &mut Observed) -> Result<(), ApiError> {
        let is_restored = seen.snapshot.is_none() || matches!(seen.restored, Restored::Ours { .. });
        let source = seen.source.as_ref().map(|source| source.metadata.key()).filter(|_| is_restored);
        if let Some(source) = source.filter(|_| seen.source_pod.is_none()) {
            seen.source_writers = self.users(&source, true, seen)?;
        }
        let may_take = seen.wants_snapshot && seen.snapshot.is_none() && !seen.source_writers.is_empty();
        if let Some(source) = seen.named_source.clone().filter(|_| may_take) {
            seen.snapshot_choice = self.snapshot_choice(&source)?;
        }
        if seen.target_pod.is_none() {
            seen.target_users = self.users(key, false, seen)?;
        }
        Ok(())
    }

    /// Whether this controller created `pod` for the clone in `seen`.
    fn is_of_clone(&self, pod: &Pod, seen: &Observed) -> bool {
        let (Some(claim), Some(identity)) = (&seen.target, PodIdentity::of(&pod.metadata, &self.keys)) else {
            return false;
        };
        identity.target_claim == claim.metadata.uid
            && self.made.provenance(identity.role, &pod.metadata, &claim.metadata, &self.keys)
                != made::Provenance::Unknown
    }

    /// Why no pod can mount both volumes of the clone in `seen`, as far as known; `None` if its bytes have to travel in
    /// one way.
    pub fn placement_obstacle(&self, seen: &Observed) -> Result<Option<String>, ApiError> {
        let (Some(source), Some(target)) = (&seen.source, &seen.target) else { return Ok(None) };
        let policy = self.policy.now();
        if transfer::wish(seen, &policy) != Transfer::Auto
            || transfer::mode(seen, &policy) != TransferMode::Direct
        {
            return Ok(None);
        }
        let users = self.claim_users(&source.metadata.key(), false, seen)?;
        let source = VolumePlacement {
            is_used: !users.is_empty(),
            used_on: users.into_iter().map(|user| user.node).filter(|node| !node.is_empty()).collect(),
            ..self.placement(source)?
        };
        // No other pod uses the target, or there would be no pod to create now.
        Ok(placement::obstacle(&source, &self.placement(target)?))
    }

    /// Where the volume of `claim` can be mounted, without other users of it.
    fn placement(&self, claim: &Claim) -> Result<VolumePlacement, ApiError> {
        let mut found = VolumePlacement {
            claim: claim.metadata.name.clone(),
            access_modes: claim.spec.access_modes.clone(),
            ..VolumePlacement::default()
        };
        if claim.is_bound() {
            let volume = match self.volume(&claim.spec.volume_name) {
                // A controller without rights to volumes lets the scheduler decide.
                Err(e) if e.is_forbidden() => None,
                volume => volume?,
            };
            let affinity = volume.map(|volume| volume.spec.node_affinity.required.clone());
            found.terms = affinity.map(|required| required.node_selector_terms).unwrap_or_default();
        } else {
            found.selected_node = claim.metadata.annotation(SELECTED_NODE).map(str::to_owned);
        }
        Ok(found)
    }

    fn class(&self, seen: &Observed) -> Result<Option<Arc<StorageClass>>, ApiError> {
        let Some(claim) = seen.target.as_ref().filter(|claim| !claim.is_bound()) else { return Ok(None) };
        self.class_named(claim.spec.storage_class_name.as_deref().unwrap_or_default())
    }

    /// Whether CDI would fill the target before it is bound: on classes of CSI drivers, unless the DataVolume says
    /// otherwise.
    fn is_filled_unbound(&self, seen: &Observed) -> Result<bool, ApiError> {
        let (Some(dv), Some(class)) = (&seen.data_volume, &seen.class) else { return Ok(false) };
        if !class.waits_for_consumer() {
            return Ok(false);
        }
        match dv.metadata.annotation(USE_POPULATOR).and_then(truth) {
            Some(is_wanted) => Ok(is_wanted),
            None => self.drivers.has(&*self.cluster, &class.provisioner, Instant::now()),
        }
    }

    /// Other pods that use the claim `key`; with `writers`, only those that may write to it. The watch may not have
    /// brought a pod of the clone in `seen` yet that another round created.
    fn users(&self, key: &Key, writers: bool, seen: &Observed) -> Result<Vec<Key>, ApiError> {
        Ok(self.claim_users(key, writers, seen)?.into_iter().map(|user| user.pod).collect())
    }

    /// The same with their nodes.
    fn claim_users(&self, key: &Key, writers: bool, seen: &Observed) -> Result<Vec<ClaimUser>, ApiError> {
        let params =
            ListParams { namespace: Some(key.namespace.clone()), limit: PAGE_PODS, ..ListParams::default() };
        let mut users = Vec::new();
        listing::list(&*self.cluster, Kind::Pod, &params, |item| {
            match objects::decode::<Pod>(&item) {
                Ok(pod) if uses(&pod, &key.name, writers) && !self.is_of_clone(&pod, seen) => {
                    let leaves = pod.metadata.is_deleting() && !pod.overstays(OffsetDateTime::now_utc());
                    let identity = PodIdentity::of(&pod.metadata, &self.keys).filter(|_| leaves);
                    let leaves_clone_of = identity.map(|identity| identity.target_claim);
                    let (pod, node) = (pod.metadata.key(), pod.spec.node_name);
                    users.push(ClaimUser { pod, node, leaves_clone_of });
                }
                Ok(_) => {}
                // A pod that cannot be read may use any claim.
                Err(_) => {
                    let pod = ObjectIdentity::of(&item).map(|pod| pod.key());
                    users.extend(pod.map(|pod| ClaimUser {
                        pod,
                        node: String::new(),
                        leaves_clone_of: None,
                    }));
                }
            }
        })?;
        Ok(users)
    }
}

/// A pod that uses a claim.
struct ClaimUser {
    pod: Key,
    /// Its node; empty as long as it has none.
    node: String,
    /// The target of its clone, if it is a pod of this controller that is being deleted in time.
    leaves_clone_of: Option<Uid>,
}

/// Parses a boolean annotation, with the values that CDI accepts.
fn truth(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// The request for permission of `seen`, if its source is known.
fn ask<'a>(key: &'a Key, seen: &'a Observed) -> Option<Ask<'a>> {
    // The clone into a prime is made for its target.
    let (key, data_volume, claim) = match &seen.populates {
        Some(populated) => (&populated.key, &populated.data_volume, Some(&populated.claim)),
        None => (key, &seen.data_volume, seen.target.as_ref()),
    };
    let (target, target_kind) = match (data_volume, claim) {
        (Some(dv), _) => (&dv.metadata, TargetKind::DataVolume),
        (None, Some(claim)) => (&claim.metadata, kind_of(claim)),
        (None, None) => return None,
    };
    let through = match data_volume {
        Some(dv) => {
            let wanted = clone_request::wanted(dv).ok();
            wanted.and_then(|wanted| elsewhere(&wanted, &key.namespace)).map(Through::DataSource)
        }
        None => claim
            .and_then(|claim| claim.populator())
            .filter(|populator| populator.key.namespace != key.namespace)
            .map(Through::Populator),
    };
    // What its owner allows is written on a snapshot itself, not on the PVC that is restored from it.
    let is_snapshot = matches!(seen.origin, Origin::Snapshot(_));
    let source = if is_snapshot {
        seen.snapshot.as_ref().and_then(|snapshot| snapshot.metadata.as_ref())
    } else {
        seen.named_source.as_ref().map(|source| &source.metadata)
    };
    Some(Ask {
        source: seen.source_key()?,
        source_kind: if is_snapshot { ClonedKind::Snapshot } else { ClonedKind::Claim },
        source_uid: source.map(|source| &source.uid),
        through,
        target: key,
        target_uid: &target.uid,
        target_kind,
        consent: source.and_then(|source| source.annotation(ALLOW_CLONE_TO)),
        short_token: target.annotation(TOKEN),
        long_token: target.annotation(EXTENDED_TOKEN),
        now: OffsetDateTime::now_utc(),
    })
}

/// What the author of a claim without a DataVolume can use as a permission.
fn kind_of(claim: &Claim) -> TargetKind {
    let populator = claim.populator().map(|populator| populator.kind);
    if populator == Some(PopulatorKind::CloneSource) { TargetKind::CloneSource } else { TargetKind::Claim }
}

/// Whether a CloneSource fills the claim, or the claim is the prime of such a claim.
pub(crate) fn is_for_clone_source(claim: &Claim) -> bool {
    let filled = claim.populator().is_some_and(|populator| populator.kind == PopulatorKind::CloneSource);
    filled || claim.style() == NameStyle::Decant
}

/// The DataSource in `wanted`, if its namespace is not `namespace`.
fn elsewhere(wanted: &Wanted, namespace: &str) -> Option<Key> {
    match wanted {
        Wanted::DataSource(key) if key.namespace != namespace => Some(key.clone()),
        _ => None,
    }
}

/// Whether the clone of `seen` is not complete.
fn is_open(seen: &Observed) -> bool {
    let asks = seen.target_annotation(CLONE_REQUEST).is_some() && !seen.is_populated();
    let is_filled_by_prime = seen.target.as_ref().is_some_and(|claim| claim.populator().is_some());
    asks && !is_filled_by_prime && seen.target_is_ours() && !seen.is_marked_done() && seen.outcome.is_none()
}

/// Whether the clone of `seen` still needs a pod.
fn wants_pods(seen: &Observed, policy: &Policy) -> bool {
    let is_direct = transfer::mode(seen, policy) == TransferMode::Direct;
    let missing = seen.target_pod.is_none() || seen.source_pod.is_none() && !is_direct;
    is_open(seen) && missing && seen.source.is_some()
}
