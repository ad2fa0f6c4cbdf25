//! Observes claims that are filled before they are bound, and their primes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::api::cluster::{ApiError, ListParams};
use crate::api::listing;
use crate::objects;
use crate::objects::annotations::{CREATED_FOR, OWNED_BY_DATA_VOLUME, USE_POPULATOR};
use crate::objects::clone_request::{Invalid, Wanted};
use crate::objects::clone_source::PopulationRequest;
use crate::objects::{
    Claim, ClaimTemplate, ClonedObject, DataVolume, Key, Kind, PopulatorKind, PopulatorRef, Uid, Volume,
};
use crate::objects::{VolumeCloneSource, names};
use crate::pods::claim;
use crate::reconcile::observe::{ClaimUser, Look, Observer, truth};
use crate::reconcile::observed::{
    Flow, Observed, Origin, PopulatedClaim, Population, Prime, Provisioner, ProvisioningError,
};
use crate::reconcile::outcome::CloneOutcome;
use crate::reconcile::permission::check;
use crate::reconcile::population::prime;
use crate::reconcile::population::prime::PrimePurpose;
use crate::reconcile::population::record::{PopulatedVolume, records_prime};
use crate::reconcile::rules::populated::is_complete;

/// The provisioner of classes that create no volumes.
const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";

/// How long a prime may have no volume before the events about it are read.
const PROVISIONING: Duration = Duration::from_secs(5);
/// The reason for an event whose own one is no name.
const PROVISIONING_FAILED: &str = "ProvisioningFailed";

/// Where the data of a claim with a data source comes from.
pub(super) struct PopulatorOrigin {
    pub(super) origin: Origin,
    pub(super) settings: Vec<(&'static str, String)>,
}

impl From<Origin> for PopulatorOrigin {
    fn from(origin: Origin) -> Self {
        Self { origin, settings: Vec::new() }
    }
}

impl Observer {
    /// Where the data of `claim` comes from, according to its data source.
    pub(super) fn populator_origin(&self, claim: &Claim, populator: &PopulatorRef) -> PopulatorOrigin {
        let is_elsewhere = populator.key.namespace != claim.metadata.namespace;
        if is_elsewhere && populator.kind == PopulatorKind::CloneSource {
            return Origin::Invalid(Invalid {
                field: "spec.dataSourceRef.namespace",
                message: format!(
                    "the PVC names a CloneSource in namespace {}. Create the CloneSource in the namespace of the PVC; its field \
                     spec.source.namespace may name another namespace",
                    populator.key.namespace
                ),
            })
            .into();
        }
        let request = match populator.kind {
            PopulatorKind::CloneSource => {
                self.stores.clone_sources.get(&populator.key).map(|source| source.request())
            }
            PopulatorKind::VolumeCloneSource => {
                self.stores.volume_clone_sources.get(&populator.key).map(|source| source.request())
            }
        };
        // What is wrong with an object of another namespace stays secret.
        let withheld =
            || Origin::Withheld(check::denial_through_populator(populator, &claim.metadata.namespace)).into();
        match request {
            Some(Ok(PopulationRequest { wanted: Wanted::Claim(key), settings })) => {
                PopulatorOrigin { origin: Origin::Claim(key), settings }
            }
            Some(Ok(PopulationRequest { wanted: Wanted::Snapshot(key), settings })) => {
                PopulatorOrigin { origin: Origin::Snapshot(key), settings }
            }
            _ if is_elsewhere => withheld(),
            None => Origin::Unresolved(format!("{populator} doesn't exist")).into(),
            Some(Err(invalid)) => Origin::Invalid(Invalid {
                field: invalid.field,
                message: format!("{populator}: {}", invalid.message),
            })
            .into(),
            Some(Ok(PopulationRequest {
                wanted: Wanted::NotOurs(kind) | Wanted::DataSource(Key { name: kind, .. }),
                ..
            })) => Origin::NotOurs(kind).into(),
        }
    }

    /// Everything about the population of the target claim in `seen`, whose source is known.
    pub(super) fn population(
        &self,
        seen: &Observed,
        settings: Vec<(&'static str, String)>,
        look: &Look<'_>,
    ) -> Result<Option<Population>, ApiError> {
        let Some(claim) = seen.target.as_ref() else { return Ok(None) };
        let Some(populator) = claim.populator().filter(|_| seen.target_is_ours()) else { return Ok(None) };
        let mut population =
            Population { settings, own_source: self.own_source(claim, &populator), ..Population::default() };
        population.record = PopulatedVolume::of(&claim.metadata, &self.keys);
        if is_complete(seen, claim, &population) {
            return Ok(Some(population));
        }
        population.prime = self.prime(claim, seen);
        // A backup keeps the data source of a PVC, and its volume has the content already.
        let is_begun = population.record.is_some() || population.prime.ours().is_some();
        if seen.is_populated() && !is_begun {
            return Ok(None);
        }
        population.volume = self.volume_of(claim, population.record.as_ref(), seen)?;
        if let Some(prime) = self.holder(&population)? {
            population.prime = Prime::Ours { claim: prime, is_recorded: true };
        }
        let (leaving, users) =
            self.users_of_volume(&population)?.into_iter().partition::<Vec<_>, _>(|user| {
                population
                    .record
                    .as_ref()
                    .is_some_and(|record| user.leaves_clone_of.as_ref() == Some(&record.prime))
            });
        population.waits_for_own_pods = !leaving.is_empty();
        population.users = users.into_iter().map(|user| user.pod).collect();
        if let Some(prime) = population.prime.ours() {
            let key = prime.metadata.key();
            population.clone = Some(Box::new(self.observe(&key, look)?));
            population.provisioning_error = self.provisioning_error(prime)?;
        }
        if matches!(population.prime, Prime::Missing) && population.record.is_none() && !claim.is_bound() {
            population.provisioner = self.provisioner(claim)?;
        }
        Ok(Some(population))
    }

    /// The claim with the name of the prime. One that the target records counts wherever it is, because the source may
    /// be in another namespace now; any other one only in the namespace of the source.
    fn prime(&self, target: &Claim, seen: &Observed) -> Prime {
        let known = self.made.uids_of(&target.metadata.key());
        let candidates = self.stores.primes_of(target);
        let ours =
            candidates.iter().find(|prime| records_prime(&target.metadata, &prime.metadata, &self.keys));
        if let Some(claim) = ours {
            return Prime::Ours { claim: Arc::clone(claim), is_recorded: true };
        }
        let remembered = candidates.iter().find(|prime| known.contains(&prime.metadata.uid));
        if let Some(claim) = remembered {
            return Prime::Ours { claim: Arc::clone(claim), is_recorded: false };
        }
        // A prime that was not recorded must not outlive its target, whatever happened to the source.
        let is_stray =
            |prime: &Claim| target.metadata.is_deleting() && prime.populates() == Some(target.metadata.key());
        let in_the_way = candidates.into_iter().find(|prime| {
            is_stray(prime)
                || seen.source_key().is_some_and(|source| source.namespace == prime.metadata.namespace)
        });
        in_the_way.map_or(Prime::Missing, Prime::Foreign)
    }

    /// The volume in `record`, or the one that the filled claim is bound to.
    fn volume_of(
        &self,
        claim: &Claim,
        record: Option<&PopulatedVolume>,
        seen: &Observed,
    ) -> Result<Option<Arc<Volume>>, ApiError> {
        let bound_to =
            Some(&claim.spec.volume_name).filter(|name| !name.is_empty() && seen.outcome.is_some());
        match record.map(|record| &record.name).or(bound_to) {
            Some(name) => self.volume(name),
            None => Ok(None),
        }
    }

    /// The prime that still holds the complete volume. The store may not show it, because of what users did to it, but
    /// they can write neither the volume nor the name of the prime.
    fn holder(&self, population: &Population) -> Result<Option<Arc<Claim>>, ApiError> {
        let (Some(record), Some(volume)) = (&population.record, &population.volume) else { return Ok(None) };
        let Some(holder) = volume.spec.claim_ref.as_ref().filter(|holder| holder.uid == record.prime) else {
            return Ok(None);
        };
        if population.prime.claim().is_some_and(|prime| prime.metadata.uid == record.prime) {
            return Ok(None);
        }
        match self.cluster.get(Kind::PersistentVolumeClaim, &Key::new(&holder.namespace, &holder.name)) {
            Ok(object) => {
                let claim: Claim = objects::decode(object).map_err(|e| ApiError {
                    code: 500,
                    reason: "InternalError".to_owned(),
                    message: e.to_string(),
                })?;
                Ok((claim.metadata.uid == record.prime).then(|| Arc::new(claim)))
            }
            Err(e) if e.is_not_found() => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// The pods that use the volume of a prime that is gone.
    fn users_of_volume(&self, population: &Population) -> Result<Vec<ClaimUser>, ApiError> {
        let (Some(record), Some(volume)) = (&population.record, &population.volume) else {
            return Ok(Vec::new());
        };
        let holder = volume.spec.claim_ref.as_ref().filter(|holder| holder.uid == record.prime);
        let is_gone = population.prime.claim().is_none_or(|prime| prime.metadata.uid != record.prime);
        match holder.filter(|_| is_gone) {
            Some(holder) => {
                self.claim_users(&Key::new(&holder.namespace, &holder.name), false, &Observed::default())
            }
            None => Ok(Vec::new()),
        }
    }

    /// The VolumeCloneSource that this controller created for the DataVolume of `claim`.
    fn own_source(&self, claim: &Claim, populator: &PopulatorRef) -> Option<Arc<VolumeCloneSource>> {
        let made_for = claim.metadata.annotation(CREATED_FOR)?;
        if populator.kind != PopulatorKind::VolumeCloneSource
            || populator.key.name != names::volume_clone_source(&Uid::from(made_for))
        {
            return None;
        }
        let source = self.stores.volume_clone_sources.get(&populator.key)?;
        let owner = claim.metadata.key().to_string();
        (source.metadata.annotation(OWNED_BY_DATA_VOLUME) == Some(&owner)).then_some(source)
    }

    pub(super) fn volume(&self, name: &str) -> Result<Option<Arc<Volume>>, ApiError> {
        match self.cluster.get(Kind::PersistentVolume, &Key::new("", name)) {
            Ok(object) => Ok(objects::decode(object).ok().map(Arc::new)),
            Err(e) if e.is_not_found() => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// How the class of `claim` creates volumes.
    fn provisioner(&self, claim: &Claim) -> Result<Provisioner, ApiError> {
        let Some(name) = claim.spec.storage_class_name.as_deref() else {
            return Ok(Provisioner::Unusable(
                "the PVC has no storage class, and the cluster has no default class; name a class of a CSI driver".to_owned(),
            ));
        };
        let Some(class) = self.class_named(name)? else {
            return Ok(Provisioner::Unusable(format!(
                "there is no StorageClass {name:?}; create it, or create the PVC again with another class"
            )));
        };
        if class.provisioner == NO_PROVISIONER {
            return Ok(Provisioner::Unusable(format!(
                "StorageClass {name:?} creates no volumes ({NO_PROVISIONER}); a PVC can be filled before it is bound only if a CSI \
                 driver creates its volume. Use another class, or clone with a DataVolume"
            )));
        }
        if !self.drivers.has(&*self.cluster, &class.provisioner, Instant::now())? {
            return Ok(Provisioner::Unusable(format!(
                "the provisioner {:?} of StorageClass {name:?} has no CSIDriver object, so it may ignore the data source and bind the \
                 PVC to an empty volume. Use a class of a CSI driver, or clone with a DataVolume",
                class.provisioner
            )));
        }
        Ok(Provisioner::Csi)
    }

    /// The latest warning about a temporary PVC that has had no volume for a while. The user of the target may not be allowed to
    /// read the events in the namespace of the prime.
    pub(super) fn provisioning_error(&self, prime: &Claim) -> Result<Option<ProvisioningError>, ApiError> {
        let meta = &prime.metadata;
        let created = OffsetDateTime::parse(&meta.creation_timestamp, &Rfc3339);
        let is_late = created.is_ok_and(|created| OffsetDateTime::now_utc() - created >= PROVISIONING);
        if prime.is_bound() || meta.is_deleting() || !is_late {
            return Ok(None);
        }
        let params = ListParams {
            namespace: Some(meta.namespace.clone()),
            fields: format!("involvedObject.uid={},type=Warning", meta.uid),
            ..ListParams::default()
        };
        let mut latest: Option<(String, Value)> = None;
        listing::list(&*self.cluster, Kind::Event, &params, |item| {
            let event = item.value();
            let times = ["/lastTimestamp", "/eventTime", "/metadata/creationTimestamp"];
            let time = times.iter().find_map(|time| event.pointer(time)?.as_str());
            let time = time.unwrap_or_default().to_owned();
            if latest.as_ref().is_none_or(|(latest, _)| *latest <= time) {
                latest = Some((time, event));
            }
        })?;
        Ok(latest.map(|(_, event)| {
            let text = |field: &str| event[field].as_str().unwrap_or_default();
            let is_name = |text: &&str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric());
            let reason = Some(text("reason")).filter(is_name).unwrap_or(PROVISIONING_FAILED);
            // As in CDI.
            let message = format!("[{}] : {}", meta.name, text("message"));
            ProvisioningError { reason: reason.to_owned(), message }
        }))
    }

    /// The target of the prime `claim`, if this controller created the prime for it.
    pub(super) fn target_of(&self, claim: &Claim) -> Option<PopulatedClaim> {
        let target = self.stores.target_of(claim)?;
        let key = target.metadata.key();
        let is_ours = records_prime(&target.metadata, &claim.metadata, &self.keys);
        // Before it is recorded, it must not be filled.
        (is_ours && !target.metadata.is_deleting()).then(|| PopulatedClaim {
            data_volume: self
                .stores
                .data_volumes
                .get(&key)
                .filter(|dv| target.metadata.is_controlled_by(&dv.metadata.uid)),
            key,
            claim: target,
        })
    }

    /// The view of the prime `claim` with which its clone works, and where its data comes from.
    pub(super) fn prime_view(&self, claim: &Arc<Claim>, seen: &mut Observed) {
        seen.outcome = CloneOutcome::of(&claim.metadata, &self.keys);
        seen.populates = self.target_of(claim);
        let has_outcome = seen.outcome.is_some();
        let Some(populated) = &seen.populates else {
            seen.target = Some(Arc::new(prime::view(claim, None, has_outcome)));
            return;
        };
        let found = self.target_origin(populated.data_volume.as_ref(), Some(&populated.claim));
        seen.origin = found.origin;
        let nowhere = || ClonedObject::claim(Key::new(&claim.metadata.namespace, ""));
        let source = seen.cloned().unwrap_or_else(nowhere);
        let purpose = PrimePurpose { target: &populated.claim, source: &source, settings: &found.settings };
        seen.target = Some(Arc::new(prime::view(claim, Some(purpose), has_outcome)));
    }

    /// How the claim of the DataVolume in `seen` will be filled.
    pub(super) fn flow(&self, seen: &Observed) -> Result<Flow, ApiError> {
        let (Some(dv), Some(source)) = (&seen.data_volume, &seen.source) else { return Ok(Flow::Direct) };
        let wish = dv.metadata.annotation(USE_POPULATOR).and_then(truth);
        if wish == Some(false) {
            return Ok(Flow::Direct);
        }
        let Ok(spec) = claim::claim_spec(dv, source, &seen.class_defaults, &self.policy.now()) else {
            return Ok(Flow::Direct);
        };
        let Some(class) = &seen.class_defaults.class else { return Ok(Flow::Direct) };
        let is_csi = class.provisioner != NO_PROVISIONER
            && self.drivers.has(&*self.cluster, &class.provisioner, Instant::now())?;
        if is_csi && self.keeps_data_sources(dv, &spec)? { Ok(Flow::Populator) } else { Ok(Flow::Direct) }
    }

    /// Whether the API server keeps the data source of a claim. Kubernetes before 1.24 drops it unless the feature gate
    /// AnyVolumeDataSource is on, and the claim would then be bound to an empty volume. Nothing is created.
    fn keeps_data_sources(&self, dv: &DataVolume, spec: &ClaimTemplate) -> Result<bool, ApiError> {
        if let Some(known) = self.drivers.keeps_data_sources() {
            return Ok(known);
        }
        let object = claim::populated_claim(dv, &dv.metadata.key(), spec, &self.policy.now());
        let kept = match self.cluster.dry_run(Kind::PersistentVolumeClaim, &object) {
            Ok(answer) => objects::decode::<Claim>(answer).is_ok_and(|claim| claim.populator().is_some()),
            // A quota or a policy refuses the claim; its creation will show that.
            Err(e) if !e.is_temporary() => {
                log::debug!("cannot determine whether PVCs keep data sources: {e}");
                return Ok(true);
            }
            Err(e) => return Err(e),
        };
        self.drivers.note_data_sources(kept);
        Ok(kept)
    }
}
