//! The rows of the tables in `docs/states.md`.

use std::time::Duration;

use time::OffsetDateTime;

use super::{before, kept, running};
use crate::annotations::{CLONE_OF, CLONE_REQUEST, POPULATED_FOR, SOURCE_CONTAINER, TARGET_CONTAINER};
use crate::observed::{Observed, Origin};
use crate::permission::Permission;
use crate::policy::Policy;
use crate::reserved::Volumes;
use crate::resource::{Claim, Key};

/// One of the two pods of a clone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Reads and sends.
    Source,
    /// Receives and writes.
    Target,
}

impl Role {
    /// The name of its container.
    pub fn container(self) -> &'static str {
        match self {
            Role::Source => SOURCE_CONTAINER,
            Role::Target => TARGET_CONTAINER,
        }
    }
}

/// Why a pod is replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// Its phase is Failed: evicted, or its node went away.
    Failed,
    /// It waited for a source until its deadline.
    Deadline,
    /// It talks to a target pod that is gone.
    OtherTarget,
    /// Its certificates come from an authority that signs no more.
    OtherAuthority,
    /// It was made for a source claim that is gone; another one has its name.
    OtherSource,
    /// It cannot use its keys. Its Secrets are never changed, so only another pod gets others.
    UnusableKeys,
}

/// Where a clone stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing to do with clones.
    Nothing,
    /// The request asks for something that Decant does not do; the word says what.
    NotOurs(String),
    /// Pods of a claim that is gone are still there.
    RemoveOrphans,
    /// Claim or DataVolume are being deleted: remove what belongs to them.
    CleanUp,
    /// The request cannot be carried out as it is written.
    Invalid(String),
    /// A claim that somebody else filled is taken as it is.
    Adopt,
    /// The claim was adopted or filled by somebody else.
    Adopted,
    /// A claim of this name belongs to somebody else.
    Taken,
    /// A claim of this name is being deleted.
    ClaimLeaving,
    /// The reference to the source leads nowhere yet.
    Unresolved(String),
    /// The source claim does not exist.
    NoSource(Key),
    /// The source may not be cloned to here.
    Denied(String),
    /// The claim says that its clone is complete, and no clone of ours was.
    Unproven,
    /// The webhook's token has to be turned into one that lasts, before anything else.
    ExtendToken,
    /// The source does not fit what was asked for.
    Unfit(String),
    /// The claim has to be made.
    MakeClaim,
    /// The DataVolume says that another tool fills its claim, and the claim is not there yet.
    AwaitClaim,
    /// The claim has to be made for a volume that is reserved for it.
    MakeKeptClaim,
    /// A volume turned out to be reserved for a claim that was made to be cloned into: it is to be kept instead.
    ExpectVolume,
    /// The claim waits for the volume that is reserved for it.
    AwaitVolume,
    /// The claim has the volume that was reserved for it: that is kept as it is.
    KeepVolume,
    /// A volume may hold what is to be kept, so nothing is cloned; the word says why and what to do.
    VolumeInTheWay(String),
    /// The claim lost its volume.
    Lost,
    /// The claim waits for its first consumer, and that is not us.
    WaitForConsumer,
    /// Source and target claim do not fit.
    Incompatible(String),
    /// Something else still fills the source.
    SourceFilling,
    /// Somebody may be writing to the source.
    SourceInUse(Vec<Key>),
    /// Somebody else uses the target.
    TargetInUse(Vec<Key>),
    /// The claim has no volume yet, and needs no pod to get one.
    WaitForVolume,
    /// Other clones come first.
    Queued,
    /// The names of both pods have to be written down before they are made.
    NamePods,
    /// The target pod has to be made.
    MakeTargetPod,
    /// The target pod is not ready.
    WaitForTarget,
    /// The source pod has to be made.
    MakeSourcePod,
    /// Both pods are there.
    Copying,
    /// No node has room for both pods, and others were first: the pods go, the clone waits again.
    GiveWay,
    /// A pod is of no use any more.
    Replace(Role, Why),
    /// A pod of no use is kept for a moment, so that failing pods do not follow each other without a pause.
    Pause(Role),
    /// A pod is being deleted.
    PodLeaving(Role),
    /// The target succeeded: that is final and has to be written down.
    TargetDone,
    /// The target succeeded; the source has not ended yet.
    WaitForSource,
    /// Both are done: the claim is marked.
    MarkDone,
    /// Marked; pods and finalizer have to go.
    TidyUp,
    /// Nothing is left to do.
    Done,
}

/// Finds the row that holds.
pub(super) fn step(seen: &Observed, now: OffsetDateTime, policy: &Policy) -> Step {
    if let Some(step) = leaving(seen) {
        return step;
    }
    if let Origin::NotOurs(kind) = &seen.origin {
        return kept::of_any_source(seen, policy).unwrap_or_else(|| Step::NotOurs(kind.clone()));
    }
    // What a restore filled before its DataVolume is there asks for no clone, whatever else it says.
    let is_restored = seen.target_annotation(POPULATED_FOR).is_some()
        && seen.target_annotation(CLONE_OF).is_none()
        && seen.target_pod.is_none()
        && seen.source_pod.is_none();
    if seen.data_volume.is_none() && (seen.target_annotation(CLONE_REQUEST).is_none() || is_restored) {
        return if seen.orphans.is_empty() { Step::Nothing } else { Step::RemoveOrphans };
    }
    match &seen.target {
        None => before::step(seen, policy),
        Some(claim) if claim.metadata.is_deleting() => Step::ClaimLeaving,
        Some(_) if !seen.target_is_ours() => before::foreign(seen, policy),
        Some(claim) => kept::claimed(seen, claim).unwrap_or_else(|| ours(seen, claim, now, policy)),
    }
}

/// The claim is ours, and nothing in it is to be kept as far as it says.
fn ours(seen: &Observed, claim: &Claim, now: OffsetDateTime, policy: &Policy) -> Step {
    if seen.is_marked_done() {
        running::marked_done(seen, policy)
    } else if claim.status.phase == "Lost" {
        Step::Lost
    } else if claim.metadata.annotation(CLONE_REQUEST).is_none() {
        Step::Adopted
    } else {
        running::step(seen, now, policy)
    }
}

/// Deletion comes before everything else; what is ours has to go first.
fn leaving(seen: &Observed) -> Option<Step> {
    let dv_leaves = seen.data_volume.as_ref().is_some_and(|dv| dv.metadata.is_deleting());
    let claim_leaves = seen.target.as_ref().is_some_and(|claim| claim.metadata.is_deleting());
    if !(dv_leaves || claim_leaves && seen.target_is_ours()) {
        return None;
    }
    let held = seen.target.as_ref().is_some_and(|claim| running::is_held(claim));
    let left = seen.source_pod.is_some() || seen.target_pod.is_some() || !seen.orphans.is_empty() || held;
    if left {
        return Some(Step::CleanUp);
    }
    Some(if dv_leaves { Step::Nothing } else { Step::ClaimLeaving })
}

impl Step {
    /// Whether it makes a pod.
    pub fn makes_pod(&self) -> bool {
        matches!(self, Step::MakeTargetPod | Step::MakeSourcePod)
    }

    /// When to look again although nothing changed. Everything else is told by the watches; these are the
    /// things that no watch reports.
    pub(super) fn again(&self, policy: &Policy, seen: &Observed) -> Option<Duration> {
        let every = &policy.intervals;
        match self {
            Step::SourceInUse(_) | Step::TargetInUse(_) | Step::SourceFilling => Some(every.wait),
            Step::Unresolved(_) | Step::Denied(_) | Step::Taken | Step::Unproven => Some(every.wait * 5),
            // A token from before its source exists ends after a while, and its user's right may end before.
            Step::NoSource(_) if matches!(seen.permission, Some(Permission::Token(_))) => {
                Some(every.wait * 30)
            }
            // No watch tells of volumes.
            Step::NoSource(_) | Step::NotOurs(_) if seen.volumes != Volumes::NotAsked => {
                Some(every.wait * 15)
            }
            Step::VolumeInTheWay(_) => Some(every.wait * 5),
            // A claim can be enlarged without an event that names this key.
            Step::Unfit(_) | Step::Incompatible(_) | Step::WaitForConsumer | Step::WaitForVolume => {
                Some(every.wait * 5)
            }
            Step::WaitForTarget | Step::Copying | Step::WaitForSource => Some(every.wait * 5),
            Step::Pause(_) => Some(Duration::from_secs(1)),
            Step::PodLeaving(_) | Step::GiveWay | Step::ExtendToken | Step::CleanUp | Step::ClaimLeaving => {
                Some(every.wait)
            }
            Step::Queued => Some(queue_look(seen, every.wait)),
            _ => None,
        }
    }
}

/// Who is far behind in the queue needs no look every few seconds: the first ones are woken when a place is free.
fn queue_look(seen: &Observed, wait: Duration) -> Duration {
    match seen.turn {
        crate::observed::Turn::Wait { place, .. } => {
            wait * 5 + Duration::from_secs(u64::try_from(place / 20).unwrap_or(u64::MAX).min(600))
        }
        crate::observed::Turn::Now => wait,
    }
}
