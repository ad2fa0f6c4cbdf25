//! Why clones stand still and what helps: the table of `docs/operations.md`, for those who do not read it.

use crate::objects::reason::is_usual;

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
pub const ADVICE: [Advice; 37] = [
    helps("CloneWithoutSource", "make the source; the clone goes on by itself"),
    blocks(
        "CloneNotAllowed",
        "annotate the source with decant.dev/allow-clone-to, or clone as a user with the right",
    ),
    blocks("CloneValidationFailed", "clone into a larger target, with the source's kind of content"),
    blocks("ErrIncompatiblePVC", "clone into a larger target, with the source's kind of content"),
    helps(
        "ErrCreatingClaim",
        "change the LimitRange, policy or webhook that refuses the PVC, or clone with another size; it is tried again by itself",
    ),
    helps(
        "ErrChangingClaim",
        "let the controller change the PVC: change the policy, webhook or role that refuses it; it is tried again by itself",
    ),
    helps(
        "ErrChangingDataVolume",
        "let the controller change the DataVolume: change the policy, webhook or role that refuses it; it is tried again by itself",
    ),
    helps(
        "ErrCreatingSecret",
        "let the controller make Secrets in the namespace that the message names: change the policy, webhook or role that \
         refuses them; it is tried again by itself",
    ),
    helps(
        "ErrDeletingPod",
        "let the controller delete its pods: change the policy, webhook or role that refuses it; it is tried again by itself",
    ),
    helps(
        "ErrReadingObjects",
        "give the controller the rights that the message names (`kubectl decant doctor` shows all), or see to the API server; it is tried \
         again by itself",
    ),
    helps(
        "ErrWritingStatus",
        "let the controller write the status of DataVolumes: change the policy, webhook or role that refuses it; it is tried again by itself",
    ),
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
    helps("ImportPVCNotReady", "wait until the source is filled, or see to what fills it"),
    blocks("SourceNotSupported", "clone from a PVC; other sources are for other controllers"),
    helps("ControllerFault", "report it with the controller's log; it is tried again by itself"),
    helps("Queued", "wait; the message has its place"),
    helps(
        "Unschedulable",
        "make room on a node; a clone whose source finds none gives way to older ones after 15 s",
    ),
    helps("ImagePullFailed", "make the image available, or give the controller a --pull-secret"),
    helps(
        "Error",
        "do what the message says; the pods' logs have more. They are started again by themselves",
    ),
    helps("CrashLoopBackOff", "see the logs of the pod; it is started again by itself"),
    helps(
        "CreateContainerConfigError",
        "see to what the message names; a pod whose Secret cannot be used can be deleted, it is made again",
    ),
    helps("CreateContainerError", "see to what the message names on the pod's node; the kubelet tries again"),
    helps("RunContainerError", "see to what the message names on the pod's node; the kubelet tries again"),
    helps("Evicted", "give the node what the message says it lacks; the pod is replaced by itself"),
    helps("Pending", "see `kubectl describe` of the PVC and of the pod"),
    helps("ContainerCreating", "see `kubectl describe` of the pod: a volume or a Secret cannot be mounted"),
    helps("PodInitializing", "see the logs of the init containers that were added to the pod"),
    helps("OOMKilled", "give the pods more memory with the controller's --pod-resources"),
    helps("WaitForFirstConsumer", "start a pod that uses the PVC, or clone with --immediate"),
];

/// What helps where the reason is not known: it comes from Kubernetes or a plugin of the node.
pub const GENERAL: &str =
    "do what the message says; `kubectl describe` of the DataVolume, its PVC and its pods has more";

/// What helps against `reason`. Where both pods have one, against the first that is known; one that is usual comes last.
pub fn advice(reason: &str) -> Option<&'static Advice> {
    let known = || {
        let find = |reason| ADVICE.iter().find(|advice| advice.reason == reason);
        reason.split(" and ").filter_map(find)
    };
    known().find(|advice| !is_usual(advice.reason)).or_else(|| known().next())
}

/// Whether a clone with this reason stays where it is until somebody does something about it.
pub fn is_blocked(reason: &str) -> bool {
    advice(reason).is_some_and(|advice| advice.blocks)
}
