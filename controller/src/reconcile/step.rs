//! The states of a clone: the rows of the tables in `docs/protocol.md` section 7. `rules` finds the row that applies.

use crate::objects::Key;
use crate::pods::role::Role;

/// Why a pod is replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplaceReason {
    /// Its phase is Failed: it was evicted, or its node is gone.
    Failed,
    /// It waited for a source until its deadline passed.
    Deadline,
    /// It sends to a target pod that is gone.
    OtherTarget,
    /// Its certificates were issued by an authority that no longer signs.
    OtherAuthority,
    /// It was created for a source claim that is gone; another claim has its name.
    OtherSource,
    /// It cannot use its keys. Its Secrets never change, so only a new pod gets other keys.
    UnusableKeys,
}

/// The state of a clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The key has nothing to do with clones.
    Nothing,
    /// The source is of a kind that Decant does not clone; the text names it.
    NotOurs(String),
    /// Pods of a claim that is gone still exist.
    RemoveOrphans,
    /// The claim or the DataVolume is being deleted: remove the objects that belong to it.
    CleanUp,
    /// The request cannot be carried out as it is written.
    Invalid(String),
    /// A claim that another tool filled is taken over as it is.
    Adopt,
    /// The claim was adopted, or another tool filled it.
    Adopted,
    /// A claim of this name belongs to another owner.
    Taken,
    /// A claim of this name is being deleted.
    ClaimLeaving,
    /// The reference to the source leads nowhere yet.
    Unresolved(String),
    /// The source claim does not exist.
    NoSource(Key),
    /// The source may not be cloned to here.
    Denied(String),
    /// The claim is marked as complete, but this controller completed no clone into it.
    Unproven,
    /// The webhook's token has to be replaced by a long-lived token before any other step.
    ExtendToken,
    /// The source does not fit the request.
    Unfit(String),
    /// The claim has to be created.
    MakeClaim,
    /// According to the DataVolume another tool fills its claim, which does not exist yet.
    AwaitClaim,
    /// The claim has to be created for a volume that is reserved for it.
    MakeKeptClaim,
    /// A volume turned out to be reserved for a claim that was created as the target of a clone: the volume is kept
    /// instead.
    ExpectVolume,
    /// The claim waits for the volume that is reserved for it.
    AwaitVolume,
    /// The claim is bound to the volume that was reserved for it, which is kept as it is.
    KeepVolume,
    /// A volume may hold content that has to be kept, so nothing is cloned; the text describes the reason and what to
    /// do.
    VolumeInTheWay(String),
    /// The claim lost its volume.
    Lost,
    /// The claim waits for its first consumer, which shall not be the clone.
    WaitForConsumer,
    /// Source and target claim do not fit.
    Incompatible(String),
    /// Another DataVolume or clone is still filling the source.
    SourceFilling,
    /// These pods may be writing to the source.
    SourceInUse(Vec<Key>),
    /// These pods, which do not belong to the clone, use the target.
    TargetInUse(Vec<Key>),
    /// The claim has no volume yet, and needs no pod to get one.
    WaitForVolume,
    /// The clone waits in the queue.
    Queued,
    /// The names of both pods have to be written on the claim before the pods are created.
    NamePods,
    /// The target pod has to be created.
    MakeTargetPod,
    /// The target pod is not ready.
    WaitForTarget,
    /// The source pod has to be created.
    MakeSourcePod,
    /// Both pods exist.
    Copying,
    /// No node has room for both pods, and older clones take precedence: the pods are deleted and the clone returns to
    /// the queue.
    GiveWay,
    /// The pod of a direct clone finds no node: it is deleted, and two pods clone.
    FallBack,
    /// A pod is useless and is replaced.
    Replace(Role, ReplaceReason),
    /// A useless pod is kept for a while, so that there is a pause between failing pods.
    Pause(Role),
    /// A pod is being deleted.
    PodLeaving(Role),
    /// A pod should be gone, but its node does not answer: its name is freed without waiting for the node. Only for source
    /// pods, which write nothing.
    Abandon(Role),
    /// The target succeeded, which is final and has to be recorded.
    TargetDone,
    /// The target succeeded; the source has not ended yet.
    WaitForSource,
    /// Both are done: the claim is marked.
    MarkDone,
    /// The claim is marked; pods and finalizer have to be removed.
    TidyUp,
    /// Nothing is left to do.
    Done,
    /// The claim cannot be filled before it is bound: its class creates no volumes, or would bind it empty.
    NoProvisioner(String),
    /// A claim with the name of the prime belongs to another owner.
    PrimeInTheWay(String),
    /// The prime has to be created.
    MakePrime,
    /// The prime has to be recorded on the claim.
    RecordPrime,
    /// The clone into the prime is not complete; the prime's own rounds drive it.
    Populating,
    /// The prime is useless and is replaced.
    ReplacePrime(PrimeFault),
    /// The prime is being deleted, and exists as long as a pod uses it.
    PrimeLeaving,
    /// The prime is complete, and its outcome has to be recorded on the claim.
    PrimeDone,
    /// The volume has to survive its prime.
    RetainVolume,
    /// The prime has to be deleted, so that no pod uses the volume when the claim gets it.
    ReleasePrime,
    /// The volume has to be handed over to the claim.
    HandOver,
    /// Kubernetes has yet to bind the claim to its volume.
    AwaitBinding,
    /// The volume has to get its reclaim policy back.
    RestorePolicy,
    /// The complete volume is gone before the claim was bound to it: the clone starts over.
    VolumeGone,
    /// The snapshot cannot be restored in this cluster; the text describes what is missing.
    CannotRestore(String),
    /// The snapshot cannot be restored yet.
    SnapshotNotReady(String),
    /// A snapshot of the source, which is in use, has to be taken.
    MakeSnapshot,
    /// That snapshot has to be recorded on the claim.
    RecordSnapshot,
    /// That snapshot is not ready to use yet; the text is its error, if it has one.
    TakingSnapshot(Option<String>),
    /// That snapshot is useless, and is deleted.
    ReplaceSnapshot(SnapshotFault),
    /// That snapshot is being deleted.
    SnapshotLeaving,
    /// A VolumeSnapshot with the name of that snapshot belongs to another owner.
    SnapshotInTheWay(String),
    /// The temporary PVC has to be restored from the snapshot.
    MakeRestored,
    /// The temporary PVC has to be recorded on the claim.
    RecordRestored,
    /// The temporary PVC has no volume yet.
    Restoring,
    /// The temporary PVC is useless and is replaced.
    ReplaceRestored(RestoreFault),
    /// The temporary PVC is being deleted, and exists as long as a pod uses it.
    RestoredLeaving,
    /// A claim with the name of the temporary PVC belongs to another owner.
    RestoredInTheWay(String),
}

/// Why the snapshot of a source in use is deleted before it is cloned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotFault {
    /// This controller has no record of creating it.
    Unproven,
    /// It was taken of a claim that is gone; the request names another one now.
    OtherSource,
    /// The user does not want it any more.
    Unwanted,
}

/// Why the temporary PVC that is restored from a snapshot is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestoreFault {
    /// This controller has no record of creating it.
    Unproven,
    /// It lost its volume.
    Lost,
    /// The snapshot from which it was restored is gone, and no pod reads it yet. Only for a snapshot of a source in use.
    SnapshotGone,
}

/// Why a prime is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PrimeFault {
    /// This controller has no record of creating it.
    Unproven,
    /// It lost its volume.
    Lost,
    /// The source is in another namespace now.
    OtherNamespace,
    /// The first consumer of the claim is on another node now.
    OtherNode,
    /// No volume can be created on the node of the first consumer; Kubernetes has to choose another node.
    NodeRefused,
}

impl Step {
    /// Whether it creates a pod.
    pub fn makes_pod(&self) -> bool {
        matches!(self, Step::MakeTargetPod | Step::MakeSourcePod)
    }

    /// Whether the clone counts as running: it has a slot of the scheduler, and its source is polled for progress.
    pub fn is_running(&self) -> bool {
        matches!(
            self,
            Step::NamePods
                | Step::MakeTargetPod
                | Step::WaitForTarget
                | Step::MakeSourcePod
                | Step::Copying
                | Step::FallBack
                | Step::Replace(..)
                | Step::Pause(_)
                | Step::PodLeaving(_)
                | Step::Abandon(_)
                | Step::MakeSnapshot
                | Step::RecordSnapshot
                | Step::TakingSnapshot(_)
                | Step::MakeRestored
                | Step::RecordRestored
                | Step::Restoring
        )
    }
}

/// Whether a clone may run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Slot {
    /// It may run, or runs already.
    #[default]
    Free,
    /// It has to wait.
    Queued {
        /// Its position; the first is 1.
        position: usize,
        /// How many clones wait.
        of: usize,
        /// The limit that it waits for, as text for people.
        limit: String,
    },
    /// It has to give up its pods, so that other clones find room.
    GiveWay,
}

/// What a decision does with the slot of its clone, before any other action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotAction {
    /// Take a slot, or enter the queue if none is free. Repeating it changes nothing.
    TakeSlot,
    /// Release the slot, or leave the queue.
    ReleaseSlot,
}
