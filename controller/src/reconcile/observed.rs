//! The observation of everything that belongs to one key: the input of `decide`.

use std::sync::Arc;

use decant_shared::protocol::units::Rate;

use crate::objects::annotations::{
    BANDWIDTH_LIMIT, CLONE_OF, CLONE_REQUEST, CREATED_FOR, POPULATED_FOR, SNAPSHOT_TIME, SOURCE_IN_USE,
    TARGET_CONTAINER,
};
use crate::objects::claim::VolumeMode;
use crate::objects::clone_request::Invalid;
use crate::objects::{
    Claim, ClonedObject, DataSource, DataVolume, Key, Meta, Pod, StorageClass, Uid, Volume,
    VolumeCloneSource, VolumeSnapshot, names,
};
use crate::pods::class_defaults::ClassDefaults;
use crate::pods::role::Role;
use crate::pods::termination::{TargetMessage, target_message};
use crate::policy::SourceInUse;
use crate::progress::bandwidth::LimitWish;
use crate::progress::clone_progress::Progress;
use crate::reconcile::last_error::{FailedAction, LastError};
use crate::reconcile::outcome::CloneOutcome;
use crate::reconcile::permission::check::Permission;
use crate::reconcile::population::record::PopulatedVolume;
use crate::reconcile::reserved_volumes::Volumes;
use crate::reconcile::step::Slot;

/// One key, observed once. Nothing in it changes while a decision is made.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// The DataVolume of this key.
    pub data_volume: Option<Arc<DataVolume>>,
    /// The claim of the same key.
    pub target: Option<Arc<Claim>>,
    /// The outcome of the clone into the claim, once it is recorded.
    pub outcome: Option<CloneOutcome>,
    /// The authorities that sign certificates now.
    pub authority: String,
    /// Where the data comes from.
    pub origin: Origin,
    /// The DataSource that the DataVolume names. It may point to another one.
    pub data_source: Option<Arc<DataSource>>,
    /// The source claim. Of a snapshot it is the temporary PVC that is restored from it or, before that exists, a PVC
    /// with the properties of the snapshot.
    pub source: Option<Arc<Claim>>,
    /// The snapshot that is cloned, if the source is one.
    pub snapshot: Option<ObservedSnapshot>,
    /// The temporary PVC that is restored from a snapshot for the clone into the target claim.
    pub restored: Restored,
    /// The claim that the request names. `source` differs from it while a snapshot of it is cloned.
    pub named_source: Option<Arc<Claim>>,
    /// The snapshot that this controller takes of the named source, because the source is in use.
    pub taken: TakenSnapshot,
    /// The UID of the claim that the recorded snapshot was taken of.
    pub taken_of: Option<Uid>,
    /// Whether a snapshot is cloned while the source is in use.
    pub wants_snapshot: bool,
    /// How a snapshot of the source can be taken. Determined only if one is wanted, and the source is in use.
    pub snapshot_choice: SnapshotChoice,
    /// Whether another DataVolume or clone is still filling the source.
    pub source_is_filling: bool,
    /// Pods that may write to the source, except pods of this clone.
    pub source_writers: Vec<Key>,
    /// Pods that use the target, except pods of this clone.
    pub target_users: Vec<Key>,
    /// The target pod of this claim.
    pub target_pod: Option<Arc<Pod>>,
    /// The source pod of this claim.
    pub source_pod: Option<Arc<Pod>>,
    /// Useless pods to delete: source pods of an earlier claim of this name, and pods with a seal of this clone that
    /// this controller has no record of creating.
    pub orphans: Vec<Arc<Pod>>,
    /// The roles of pods of this clone that are not recorded on the claim yet.
    pub unrecorded: Vec<Role>,
    /// Whether the next pod of this clone has to wait, because many were created recently.
    pub makes_pause: bool,
    /// Why no pod can mount both volumes, as far as known. Determined only before the target pod is created.
    pub placement_obstacle: Option<String>,
    /// The target's storage class, if it exists.
    pub class: Option<Arc<StorageClass>>,
    /// The class of the claim to be created and its StorageProfile. Determined only if there is a source and no target.
    pub class_defaults: ClassDefaults,
    /// Whether CDI's clients expect the target to stay unbound until it is complete, because CDI would fill it unbound.
    /// Determined only when the class waits for a consumer.
    pub is_filled_unbound: bool,
    /// Volumes that are reserved for the target. Listed only when the DataVolume asks for it.
    pub volumes: Volumes,
    /// Whether the source may be cloned into this namespace. Determined only when there is a source.
    pub permission: Option<Permission>,
    /// Whether the clone may run, according to the scheduler.
    pub slot: Slot,
    /// The progress that the source reports.
    pub progress: Option<Progress>,
    /// The current failure, if it has lasted long enough to be reported.
    pub last_error: Option<LastError>,
    /// How the target claim is filled, if it does not exist yet.
    pub flow: Flow,
    /// How the target claim is filled before it is bound, if it asks for that.
    pub population: Option<Population>,
    /// The claim that gets the volume of the target claim, if the target claim is a prime.
    pub populates: Option<PopulatedClaim>,
}

/// A snapshot, as observed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ObservedSnapshot {
    /// Its metadata; `None` if it does not exist.
    pub metadata: Option<Meta>,
    /// Whether it can be restored, and how.
    pub restore: Restore,
    /// What prevents the temporary PVC from getting a volume.
    pub error: Option<ProvisioningError>,
    /// When it was taken, if that is known; RFC 3339.
    pub taken_at: Option<String>,
}

/// The VolumeSnapshot with the name of the one that is taken of a source in use.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum TakenSnapshot {
    /// There is none.
    #[default]
    Missing,
    /// This controller created it.
    Ours {
        /// The VolumeSnapshot.
        snapshot: Arc<VolumeSnapshot>,
        /// Whether the target records it.
        is_recorded: bool,
    },
    /// This controller has no record of creating it.
    Foreign(Arc<VolumeSnapshot>),
}

impl TakenSnapshot {
    /// The snapshot that is removed with its target: one that this controller created, or may have created.
    pub fn removable(&self, target: &Claim) -> Option<&VolumeSnapshot> {
        let snapshot = match self {
            TakenSnapshot::Ours { snapshot, .. } => snapshot,
            TakenSnapshot::Foreign(snapshot) if snapshot.taken_for() == Some(target.metadata.key()) => {
                snapshot
            }
            TakenSnapshot::Foreign(_) | TakenSnapshot::Missing => return None,
        };
        (!snapshot.metadata.is_deleting()).then_some(snapshot.as_ref())
    }
}

/// How a snapshot of a source in use can be taken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum SnapshotChoice {
    /// Not determined, because it does not matter now.
    #[default]
    Unseen,
    /// With this VolumeSnapshotClass.
    Class(String),
    /// Not in this cluster; the text describes what is missing.
    Impossible(String),
}

/// Whether a snapshot can be restored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Restore {
    /// Not determined, because it does not matter now.
    #[default]
    Unseen,
    /// Not yet; the text says why.
    NotReady(String),
    /// Not in this cluster; the text describes what is missing and what to do.
    Impossible(String),
    /// It can be restored like this.
    Ready(RestorePlan),
}

/// How a snapshot is restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestorePlan {
    /// The storage class.
    pub class: String,
    /// The size, as a quantity; `None` for the size of the target.
    pub size: Option<String>,
    /// The mode of the volume that the snapshot was taken of; `None` for that of the target.
    pub mode: Option<VolumeMode>,
    /// The access modes.
    pub access_modes: Vec<String>,
}

/// The claim with the name of the temporary PVC that is restored from a snapshot.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Restored {
    /// There is none.
    #[default]
    Missing,
    /// This controller created it.
    Ours {
        /// The PVC.
        claim: Arc<Claim>,
        /// Whether the target records it.
        is_recorded: bool,
        /// Whether it gets its volume once a pod uses it.
        waits_for_consumer: bool,
    },
    /// This controller has no record of creating it.
    Foreign(Arc<Claim>),
}

impl Restored {
    /// The PVC that is removed with its target: one that this controller created, or may have created.
    pub fn removable(&self, target: &Claim) -> Option<&Claim> {
        let claim = match self {
            Restored::Ours { claim, .. } => claim,
            Restored::Foreign(claim) if claim.restored_for() == Some(target.metadata.key()) => claim,
            Restored::Foreign(_) | Restored::Missing => return None,
        };
        (!claim.metadata.is_deleting()).then_some(claim.as_ref())
    }
}

/// How a DataVolume's claim is filled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Flow {
    /// The clone writes to the claim, which is bound first.
    #[default]
    Direct,
    /// The clone writes to a prime, whose volume is then handed over to the claim.
    Populator,
}

/// A target PVC that is filled before it is bound, as observed.
#[derive(Debug, Clone, Default)]
pub struct Population {
    /// The prime PVC.
    pub prime: Prime,
    /// The clone into the prime PVC, if the prime is this controller's.
    pub clone: Option<Box<Observed>>,
    /// The complete volume, as the controller recorded it on the target.
    pub record: Option<PopulatedVolume>,
    /// The volume of `record`, or the one that the target is bound to; `None` if it is gone.
    pub volume: Option<Arc<Volume>>,
    /// Pods that still use the volume although the prime is gone: users can remove the protection of the prime.
    pub users: Vec<Key>,
    /// Pods of the clone still use it, too, but are being deleted: newer kubelets remove the prime's protection earlier than they
    /// remove the pods.
    pub waits_for_own_pods: bool,
    /// How the target's class creates volumes.
    pub provisioner: Provisioner,
    /// What prevents the prime from getting a volume.
    pub provisioning_error: Option<ProvisioningError>,
    /// The VolumeCloneSource that the controller created for the DataVolume of the target.
    pub own_source: Option<Arc<VolumeCloneSource>>,
    /// The settings of the data source, as annotations of a PVC.
    pub settings: Vec<(&'static str, String)>,
}

/// What an event about the prime PVC reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvisioningError {
    /// Its reason.
    pub reason: String,
    /// Its message, after the name of the prime.
    pub message: String,
}

/// The PVC with the name of the prime.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Prime {
    /// There is none.
    #[default]
    Missing,
    /// This controller created it.
    Ours {
        /// The PVC.
        claim: Arc<Claim>,
        /// Whether the target records it.
        is_recorded: bool,
    },
    /// This controller has no record of creating it.
    Foreign(Arc<Claim>),
}

impl Prime {
    /// The PVC, whether or not this controller created it.
    pub fn claim(&self) -> Option<&Arc<Claim>> {
        match self {
            Prime::Missing => None,
            Prime::Ours { claim, .. } | Prime::Foreign(claim) => Some(claim),
        }
    }

    /// The PVC that this controller created.
    pub fn ours(&self) -> Option<&Arc<Claim>> {
        match self {
            Prime::Ours { claim, .. } => Some(claim),
            Prime::Missing | Prime::Foreign(_) => None,
        }
    }
}

/// How the storage class of a target creates volumes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Provisioner {
    /// Not determined, because it does not matter now.
    #[default]
    Unseen,
    /// A CSI driver, which leaves PVCs with a data source of another controller alone.
    Csi,
    /// None that this works with; the text describes what is missing and what to do.
    Unusable(String),
}

/// The target of a prime PVC.
#[derive(Debug, Clone)]
pub struct PopulatedClaim {
    /// Namespace and name.
    pub key: Key,
    /// The target.
    pub claim: Arc<Claim>,
    /// The DataVolume that controls it.
    pub data_volume: Option<Arc<DataVolume>>,
}

/// Where the data comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Origin {
    /// None: there is neither a DataVolume nor a claim that requests a clone.
    #[default]
    None,
    /// This claim.
    Claim(Key),
    /// This VolumeSnapshot.
    Snapshot(Key),
    /// A DataSource that does not exist, or does not point to a claim yet.
    Unresolved(String),
    /// A DataSource of another namespace that does not lead to a claim. The reason stays secret: the user gets the same
    /// message as users who may not clone what it refers to.
    Withheld(String),
    /// A kind of source that Decant does not clone.
    NotOurs(String),
    /// The request cannot be understood.
    Invalid(Invalid),
}

impl Observed {
    /// The failure to create the claim, if that is the current failure.
    pub fn claim_error(&self) -> Option<&LastError> {
        self.last_error
            .as_ref()
            .filter(|last_error| last_error.failed_action == FailedAction::MakeClaim && self.target.is_none())
    }

    /// Any other failure.
    pub fn other_error(&self) -> Option<&LastError> {
        self.last_error.as_ref().filter(|_| self.claim_error().is_none())
    }

    /// The pod that reports the progress: the source pod, or that of a direct clone.
    pub fn progress_pod(&self) -> Option<&Arc<Pod>> {
        self.source_pod.as_ref().or(self.target_pod.as_ref().filter(|pod| pod.is_direct()))
    }

    /// The bandwidth limit that the user wishes: the annotation of the DataVolume, or else of the target claim.
    pub fn limit_wish(&self) -> LimitWish {
        let populated = self.populates.as_ref().and_then(|populated| populated.data_volume.as_ref());
        let data_volume = self.data_volume.as_ref().or(populated);
        let text = data_volume
            .and_then(|dv| dv.metadata.annotation(BANDWIDTH_LIMIT))
            .or_else(|| self.target_annotation(BANDWIDTH_LIMIT));
        match text.map(str::parse::<Rate>) {
            None => LimitWish::Limit(None),
            Some(Ok(limit)) => LimitWish::Limit(Some(limit)),
            Some(Err(e)) => LimitWish::Wrong(format!("{:?} is {e}", text.unwrap_or_default())),
        }
    }

    /// What the user of the clone wants to happen while the source is in use, if that is specified: the annotation of the
    /// DataVolume, or else of the target claim.
    pub fn source_in_use_wish(&self) -> Option<SourceInUse> {
        let populated = self.populates.as_ref().and_then(|populated| populated.data_volume.as_ref());
        let data_volume = self.data_volume.as_ref().or(populated);
        let text = data_volume
            .and_then(|dv| dv.metadata.annotation(SOURCE_IN_USE))
            .or_else(|| self.target_annotation(SOURCE_IN_USE));
        match text {
            Some("snapshot") => Some(SourceInUse::Snapshot),
            Some("wait") => Some(SourceInUse::Wait),
            _ => None,
        }
    }

    /// Whether the target claim is filled through a prime that exists.
    pub fn has_prime(&self) -> bool {
        self.population.as_ref().is_some_and(|population| population.prime != Prime::Missing)
    }

    /// The key of the source claim or snapshot, where there is one.
    pub fn source_key(&self) -> Option<&Key> {
        match &self.origin {
            Origin::Claim(key) | Origin::Snapshot(key) => Some(key),
            _ => None,
        }
    }

    /// The source claim or snapshot, where there is one.
    pub fn cloned(&self) -> Option<ClonedObject> {
        match &self.origin {
            Origin::Claim(key) => Some(ClonedObject::claim(key.clone())),
            Origin::Snapshot(key) => Some(ClonedObject::snapshot(key.clone())),
            _ => None,
        }
    }

    /// The temporary PVC that is left of a snapshot's clone, and is not being deleted.
    pub fn left_restored(&self) -> Option<&Claim> {
        self.restored.removable(self.target.as_deref()?)
    }

    /// The snapshot of a source in use that is left of a clone, and is not being deleted.
    pub fn left_taken(&self) -> Option<&VolumeSnapshot> {
        self.taken.removable(self.target.as_deref()?)
    }

    /// Whether the recorded snapshot was taken of another claim than the one that the request names now.
    pub fn is_taken_of_other(&self) -> bool {
        let named = self.named_source.as_ref().map(|claim| &claim.metadata.uid);
        named.zip(self.taken_of.as_ref()).is_some_and(|(named, taken_of)| named != taken_of)
    }

    /// The snapshot that is restored as the source, whether the request names it or this controller takes it.
    pub fn restored_snapshot(&self) -> Option<Key> {
        match (&self.origin, &self.snapshot) {
            (Origin::Snapshot(key), _) => Some(key.clone()),
            (Origin::Claim(source), Some(_)) => {
                let target = self.target.as_ref()?;
                Some(Key::new(&source.namespace, names::source_snapshot(&target.metadata.uid)))
            }
            _ => None,
        }
    }

    /// When the snapshot was taken that is cloned because the source is in use: of this clone, or of the clone into its
    /// prime. `None` if the source itself is cloned, or the snapshot is not ready.
    pub fn snapshot_time(&self) -> Option<String> {
        if let Some(outcome) = &self.outcome {
            return outcome.snapshot_time.clone();
        }
        let own = self.snapshot.as_ref().filter(|_| matches!(self.origin, Origin::Claim(_)));
        match own {
            Some(ObservedSnapshot { taken_at: Some(time), .. }) => Some(time.clone()),
            // The snapshot is gone, but not what was restored from it.
            Some(_) if matches!(self.restored, Restored::Ours { .. }) => {
                Some(self.target_annotation(SNAPSHOT_TIME).unwrap_or("an unknown time").to_owned())
            }
            _ => self.population.as_ref()?.clone.as_ref()?.snapshot_time(),
        }
    }

    /// The outcome of the clone: the recorded outcome, or the one that the target pod reports. Annotations that users
    /// can write do not count.
    pub fn reported_outcome(&self) -> Option<CloneOutcome> {
        let reported = || {
            let pod = self.target_pod.as_deref().filter(|pod| pod.ended_well(TARGET_CONTAINER))?;
            match target_message(pod) {
                TargetMessage::Done { digest, not_kept, .. } => {
                    Some(CloneOutcome { digest, not_kept, snapshot_time: self.snapshot_time() })
                }
                TargetMessage::DeadlinePassed => None,
            }
        };
        self.outcome.clone().or_else(reported)
    }

    /// The digest that source and target agree on.
    pub fn digest(&self) -> Option<String> {
        self.reported_outcome()?.digest
    }

    /// The attributes that the target could not keep.
    pub fn not_kept(&self) -> Option<String> {
        self.reported_outcome()?.not_kept
    }

    /// Whether the claim has CDI's mark of a complete clone. The mark alone proves nothing, because users can write it.
    pub fn is_marked_done(&self) -> bool {
        self.target_annotation(CLONE_OF).is_some()
    }

    /// An annotation of the target claim.
    pub fn target_annotation(&self, name: &str) -> Option<&str> {
        self.target.as_ref().and_then(|claim| claim.metadata.annotation(name))
    }

    /// Whether the target claim is annotated as filled for this DataVolume: a restore filled it, or the volume was
    /// reserved for it. The annotation is trusted, because a user who can write it can also write to the volume, but it
    /// proves nothing about a clone. It does not count on a claim that was created as the target of a clone.
    pub fn is_populated(&self) -> bool {
        let (Some(dv), Some(claim)) = (&self.data_volume, &self.target) else { return false };
        let meta = &claim.metadata;
        let is_to_be_cloned = meta.annotation(CREATED_FOR) == Some(dv.metadata.uid.as_str())
            && (meta.annotation(CLONE_REQUEST).is_some() || claim.populator().is_some());
        meta.annotation(POPULATED_FOR) == Some(&dv.metadata.name) && !is_to_be_cloned
    }

    /// Whether the target claim was created for this DataVolume, or is cloned into without a DataVolume.
    pub fn target_is_ours(&self) -> bool {
        match (&self.data_volume, &self.target) {
            (Some(dv), Some(claim)) => claim.metadata.is_controlled_by(&dv.metadata.uid),
            (None, Some(_)) => true,
            (_, None) => false,
        }
    }

    /// The UID under which the source reports its progress (docs/protocol.md section 1.4, `OWNER_UID`).
    pub fn owner_uid(&self) -> Option<Uid> {
        let claim = self.target.as_ref()?;
        if let Some(populated) = &self.populates {
            return Some(populated.claim.metadata.uid.clone());
        }
        if let Some(dv) = &self.data_volume {
            return Some(dv.metadata.uid.clone());
        }
        let annotated = claim.metadata.annotation(crate::objects::annotations::OWNER_UID).map(Uid::from);
        Some(annotated.unwrap_or_else(|| claim.metadata.uid.clone()))
    }
}
