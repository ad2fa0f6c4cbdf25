//! Everything that belongs to one key at one moment: the input of `decide`.

use std::sync::Arc;

use crate::objects::annotations::{CLONE_OF, CLONE_REQUEST, CREATED_FOR, POPULATED_FOR, TARGET_CONTAINER};
use crate::objects::clone_request::Invalid;
use crate::objects::{Claim, DataVolume, Key, Pod, StorageClass, Uid};
use crate::pods::role::Role;
use crate::pods::termination::{TargetMessage, target_message};
use crate::progress::clone_progress::Progress;
use crate::reconcile::last_error::{FailedAction, LastError};
use crate::reconcile::outcome::CloneOutcome;
use crate::reconcile::permission::check::Permission;
use crate::reconcile::reserved_volumes::Volumes;
use crate::reconcile::step::Slot;

/// One key, observed once. Nothing in it changes while a decision is made.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// The DataVolume of this key.
    pub data_volume: Option<Arc<DataVolume>>,
    /// The claim of the same key.
    pub target: Option<Arc<Claim>>,
    /// What the clone into the claim ended with, if it has.
    pub outcome: Option<CloneOutcome>,
    /// Which authorities sign certificates now.
    pub authority: String,
    /// Where the data comes from.
    pub origin: Origin,
    /// The claim that is the source.
    pub source: Option<Arc<Claim>>,
    /// Whether something else still fills the source.
    pub source_is_filling: bool,
    /// Pods that may write to the source, other than ours.
    pub source_writers: Vec<Key>,
    /// Pods other than ours that use the target.
    pub target_users: Vec<Key>,
    /// The target pod of this claim.
    pub target_pod: Option<Arc<Pod>>,
    /// The source pod of this claim.
    pub source_pod: Option<Arc<Pod>>,
    /// Useless pods that are to be deleted: source pods of a claim of this name that is gone, and pods with a seal of this clone
    /// that this controller did not create, as far as it knows.
    pub orphans: Vec<Arc<Pod>>,
    /// Pods of this clone that are not recorded on the claim yet.
    pub unrecorded: Vec<Role>,
    /// Whether the next pod of this clone has to wait, because many were created already.
    pub makes_pause: bool,
    /// The target's storage class, if it exists.
    pub class: Option<Arc<StorageClass>>,
    /// Whether CDI's clients expect the target to stay unbound until it is complete, because CDI would fill it that way. Asked only
    /// when the class waits for a consumer.
    pub is_filled_unbound: bool,
    /// Volumes that are reserved for the target. Looked for only when the DataVolume asks for it.
    pub volumes: Volumes,
    /// Whether the source may be cloned to here. Asked only when there is a source.
    pub permission: Option<Permission>,
    /// Whether the clone may run, as the scheduler sees it at this moment.
    pub slot: Slot,
    /// How far the source is, as it reports.
    pub progress: Option<Progress>,
    /// What has failed for a while and still does.
    pub last_error: Option<LastError>,
}

/// Where the data comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Origin {
    /// Neither a DataVolume nor a claim that asks for a clone.
    #[default]
    None,
    /// This claim.
    Claim(Key),
    /// A DataSource that is not there, or does not point to a claim yet.
    Unresolved(String),
    /// A DataSource of another namespace that does not lead to a claim. The reason stays secret: the user gets this sentence, like
    /// all users who may not clone what it refers to.
    Withheld(String),
    /// Something that Decant does not do: the kind of source.
    NotOurs(String),
    /// The request cannot be understood.
    Invalid(Invalid),
}

impl Observed {
    /// Why there is no claim, if making it fails.
    pub fn claim_error(&self) -> Option<&LastError> {
        self.last_error
            .as_ref()
            .filter(|last_error| last_error.failed_action == FailedAction::MakeClaim && self.target.is_none())
    }

    /// Any other failure.
    pub fn other_error(&self) -> Option<&LastError> {
        self.last_error.as_ref().filter(|_| self.claim_error().is_none())
    }

    /// The source claim's key, where there is one.
    pub fn source_key(&self) -> Option<&Key> {
        match &self.origin {
            Origin::Claim(key) => Some(key),
            _ => None,
        }
    }

    /// What the clone ended with: as it was recorded, or as the target pod reports it. Annotations that users can write
    /// do not count.
    pub fn reported_outcome(&self) -> Option<CloneOutcome> {
        let reported = || {
            let pod = self.target_pod.as_deref().filter(|pod| pod.ended_well(TARGET_CONTAINER))?;
            match target_message(pod) {
                TargetMessage::Done { digest, not_kept, .. } => Some(CloneOutcome { digest, not_kept }),
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

    /// Whether the claim carries CDI's mark of a clone that is complete. By itself that proves nothing: users can write it.
    pub fn is_marked_done(&self) -> bool {
        self.target_annotation(CLONE_OF).is_some()
    }

    /// An annotation of the target claim.
    pub fn target_annotation(&self, name: &str) -> Option<&str> {
        self.target.as_ref().and_then(|claim| claim.metadata.annotation(name))
    }

    /// Whether the target claim is annotated as filled for this DataVolume: a restore did it, or the volume was reserved for
    /// it. Who may write that may write to the volume as well, so it is believed; it proves nothing about a clone. On a claim
    /// that was made to be cloned into it is not meant for this.
    pub fn is_populated(&self) -> bool {
        let (Some(dv), Some(claim)) = (&self.data_volume, &self.target) else { return false };
        let meta = &claim.metadata;
        let is_to_be_cloned = meta.annotation(CREATED_FOR) == Some(dv.metadata.uid.as_str())
            && meta.annotation(CLONE_REQUEST).is_some();
        meta.annotation(POPULATED_FOR) == Some(&dv.metadata.name) && !is_to_be_cloned
    }

    /// Whether the target claim was made for this DataVolume, or needs none.
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
        if let Some(dv) = &self.data_volume {
            return Some(dv.metadata.uid.clone());
        }
        let annotated = claim.metadata.annotation(crate::objects::annotations::OWNER_UID).map(Uid::from);
        Some(annotated.unwrap_or_else(|| claim.metadata.uid.clone()))
    }
}
