//! The states of a clone: the rows of the tables in `docs/protocol.md` section 7. `rules` finds the one that holds.

use crate::objects::Key;
use crate::pods::role::Role;

/// Why a pod is replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplaceReason {
    /// Its phase is Failed: evicted, or its node went away.
    Failed,
    /// It waited for a source until its deadline.
    Deadline,
    /// It sends to a target pod that is gone.
    OtherTarget,
    /// Its certificates come from an authority that does not sign any more.
    OtherAuthority,
    /// It was created for a source claim that is gone; another claim has its name.
    OtherSource,
    /// It cannot use its keys. Its Secrets are never changed, so only a new pod gets others.
    UnusableKeys,
}

/// The state of a clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing to do with clones.
    Nothing,
    /// The request asks for something that Decant does not do; the text names it.
    NotOurs(String),
    /// Pods of a claim that is gone are still there.
    RemoveOrphans,
    /// Claim or DataVolume are being deleted: remove what belongs to them.
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
    /// The claim is marked as complete, and this controller completed no clone into it.
    Unproven,
    /// The webhook's token has to be replaced by one that lasts, before any other step.
    ExtendToken,
    /// The source does not fit what was asked for.
    Unfit(String),
    /// The claim has to be made.
    MakeClaim,
    /// According to the DataVolume another tool fills its claim, which does not exist yet.
    AwaitClaim,
    /// The claim has to be made for a volume that is reserved for it.
    MakeKeptClaim,
    /// A volume turned out to be reserved for a claim that was made to be cloned into: it is to be kept instead.
    ExpectVolume,
    /// The claim waits for the volume that is reserved for it.
    AwaitVolume,
    /// The claim has the volume that was reserved for it: that is kept as it is.
    KeepVolume,
    /// A volume may hold content that has to be kept, so nothing is cloned; the text has the reason and what to do.
    VolumeInTheWay(String),
    /// The claim lost its volume.
    Lost,
    /// The claim waits for its first consumer, and that is not us.
    WaitForConsumer,
    /// Source and target claim do not fit.
    Incompatible(String),
    /// Something else still fills the source.
    SourceFilling,
    /// These pods may be writing to the source.
    SourceInUse(Vec<Key>),
    /// These pods of others use the target.
    TargetInUse(Vec<Key>),
    /// The claim has no volume yet, and needs no pod to get one.
    WaitForVolume,
    /// Other clones come first.
    Queued,
    /// The names of both pods have to be written on the claim before the pods are created.
    NamePods,
    /// The target pod has to be made.
    MakeTargetPod,
    /// The target pod is not ready.
    WaitForTarget,
    /// The source pod has to be made.
    MakeSourcePod,
    /// Both pods are there.
    Copying,
    /// No node has room for both pods, and older clones come first: the pods are deleted and the clone returns to the queue.
    GiveWay,
    /// A pod is useless and is replaced.
    Replace(Role, ReplaceReason),
    /// A useless pod is kept for a moment, so that failing pods do not follow each other without a pause.
    Pause(Role),
    /// A pod is being deleted.
    PodLeaving(Role),
    /// The target succeeded: that is final and has to be recorded.
    TargetDone,
    /// The target succeeded; the source has not ended yet.
    WaitForSource,
    /// Both are done: the claim is marked.
    MarkDone,
    /// The claim is marked; pods and finalizer have to be removed.
    TidyUp,
    /// Nothing is left to do.
    Done,
}

impl Step {
    /// Whether it makes a pod.
    pub fn makes_pod(&self) -> bool {
        matches!(self, Step::MakeTargetPod | Step::MakeSourcePod)
    }

    /// Whether the clone counts as running: it has a slot of the scheduler, and its source is asked for its progress.
    pub fn is_running(&self) -> bool {
        matches!(
            self,
            Step::NamePods
                | Step::MakeTargetPod
                | Step::WaitForTarget
                | Step::MakeSourcePod
                | Step::Copying
                | Step::Replace(..)
                | Step::Pause(_)
                | Step::PodLeaving(_)
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
    /// It has to give its pods up, so that others find room.
    GiveWay,
}

/// What a decision does with the slot of its clone, before any other action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotAction {
    /// Take a slot, or enter the queue if none is free. Repeating it changes nothing.
    TakeSlot,
    /// Give the slot up, or leave the queue.
    ReleaseSlot,
}
