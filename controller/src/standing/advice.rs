//! Why clones stand still and what helps: the table of `docs/operations.md`, for those who do not read it.

/// What a reason means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Advice {
    /// As it stands in a condition.
    pub reason: &'static str,
    /// What helps.
    pub helps: &'static str,
    /// Whether the clone stays where it is until somebody does that.
    pub blocks: bool,
}

const fn helps(reason: &'static str, helps: &'static str) -> Advice {
    Advice { reason, helps, blocks: false }
}

const fn blocks(reason: &'static str, helps: &'static str) -> Advice {
    Advice { reason, helps, blocks: true }
}

/// Everything that can be in the way of a clone.
pub const ADVICE: [Advice; 18] = [
    helps("CloneWithoutSource", "make the source; the clone goes on by itself"),
    blocks(
        "CloneNotAllowed",
        "annotate the source with decant.dev/allow-clone-to, or clone as a user with the right",
    ),
    blocks("CloneValidationFailed", "clone into a larger target, with the source's kind of content"),
    blocks("ErrIncompatiblePVC", "clone into a larger target, with the source's kind of content"),
    blocks("ErrClaimNotValid", "correct the DataVolume as the message says: delete it and make it anew"),
    blocks("ErrResourceExists", "choose another name, or delete the PVC of this name"),
    blocks("ClaimLost", "the volume is gone: delete the DataVolume and make it anew"),
    blocks(
        "CloneNotProven",
        "delete the PVC to have it cloned; if its content is right, let the DataVolume adopt it as docs/operations.md says",
    ),
    blocks(
        "VolumeInTheWay",
        "correct the volume or the DataVolume as the message says, or remove cdi.kubevirt.io/storage.checkStaticVolume to clone",
    ),
    helps(
        "ErrStartingPod",
        "do what the message says, or delete the pod that is in the way; it is tried again by itself",
    ),
    helps("ErrExceededQuota", "raise the quota, or delete what uses it up; it is tried again by itself"),
    helps("CloneSourceInUse", "end the pods that the message names"),
    helps("UploadTargetInUse", "end the pods that the message names"),
    helps("Queued", "wait; the message has its place"),
    helps(
        "Unschedulable",
        "make room on a node; a clone whose source finds none gives way to older ones after 15 s",
    ),
    helps("ImagePullFailed", "make the image available, or give the controller a --pull-secret"),
    helps("OOMKilled", "give the pods more memory with the controller's --pod-resources"),
    helps("WaitForFirstConsumer", "start a pod that uses the PVC, or clone with --immediate"),
];

/// What helps against `reason`.
pub fn advice(reason: &str) -> Option<&'static Advice> {
    ADVICE.iter().find(|advice| advice.reason == reason)
}

/// Whether a clone with this reason stays where it is until somebody does something about it.
pub fn is_blocked(reason: &str) -> bool {
    advice(reason).is_some_and(|advice| advice.blocks)
}
