//! Why clones stand still and what helps: the table of `docs/operations.md`, for those who do not read it.

use crate::objects::reason::is_usual;

/// What a reason means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Advice {
    /// As it stands in a condition.
    pub reason: &'static str,
    /// What it means, for the table in `docs/operations.md`.
    pub means: &'static str,
    /// What helps.
    pub helps: &'static str,
    /// Whether the clone stays where it is until somebody does that.
    pub blocks: bool,
}

const fn helps(reason: &'static str, means: &'static str, helps: &'static str) -> Advice {
    Advice { reason, means, helps, blocks: false }
}

const fn blocks(reason: &'static str, means: &'static str, helps: &'static str) -> Advice {
    Advice { reason, means, helps, blocks: true }
}

/// Everything that can be in the way of a clone.
pub const ADVICE: [Advice; 37] = [
    helps(
        "CloneWithoutSource",
        "the source PVC or DataSource does not exist",
        "make the source; the clone goes on by itself",
    ),
    blocks(
        "CloneNotAllowed",
        "the source is in another namespace, and there is neither consent nor a right",
        "annotate the source with decant.dev/allow-clone-to, or clone as a user with the right",
    ),
    blocks(
        "CloneValidationFailed",
        "the target is too small, or has another content type",
        "clone into a larger target, with the source's kind of content",
    ),
    blocks(
        "ErrIncompatiblePVC",
        "the target PVC is too small, or has another content type",
        "clone into a larger target, with the source's kind of content",
    ),
    helps(
        "ErrCreatingClaim",
        "a LimitRange, policy or webhook refuses the target PVC",
        "change the LimitRange, policy or webhook that refuses the PVC, or clone with another size; it is tried again by itself",
    ),
    helps(
        "ErrChangingClaim",
        "the target PVC cannot be changed; if the clone succeeded, its pods or its finalizer still exist",
        "let the controller change the PVC: change the policy, webhook or role that refuses it; it is tried again by itself",
    ),
    helps(
        "ErrChangingDataVolume",
        "labels or annotations of the DataVolume cannot be changed",
        "let the controller change the DataVolume: change the policy, webhook or role that refuses it; it is tried again by itself",
    ),
    helps(
        "ErrCreatingSecret",
        "a Secret with the keys of a pod was refused in the namespace that the message names",
        "let the controller make Secrets in the namespace that the message names: change the policy, webhook or role that \
         refuses them; it is tried again by itself",
    ),
    helps(
        "ErrDeletingPod",
        "a pod that is of no use cannot be deleted",
        "let the controller delete its pods: change the policy, webhook or role that refuses it; it is tried again by itself",
    ),
    helps(
        "ErrReadingObjects",
        "the controller cannot read what the clone needs",
        "give the controller the rights that the message names (`kubectl decant doctor` shows all), or see to the API server; it is tried \
         again by itself",
    ),
    helps(
        "ErrWritingStatus",
        "the status of the DataVolume cannot be written; only an event reports it",
        "let the controller write the status of DataVolumes: change the policy, webhook or role that refuses it; it is tried again by itself",
    ),
    blocks(
        "ErrClaimNotValid",
        "the DataVolume cannot be carried out as it is written",
        "correct the DataVolume as the message says: delete it and make it anew",
    ),
    blocks(
        "ErrResourceExists",
        "a PVC of that name belongs to another owner",
        "choose another name, or delete the PVC of this name",
    ),
    blocks(
        "ClaimLost",
        "the target PVC lost its volume",
        "the volume is gone: delete the DataVolume and make it anew",
    ),
    blocks(
        "CloneNotProven",
        "the PVC has the annotation `k8s.io/CloneOf`, but this controller completed no clone into it",
        "delete the PVC to have it cloned; if its content is right, let the DataVolume adopt it as docs/operations.md says",
    ),
    blocks(
        "VolumeInTheWay",
        "the DataVolume has `cdi.kubevirt.io/storage.checkStaticVolume`, and a volume may hold data to be kept",
        "correct the volume or the DataVolume as the message says, or remove cdi.kubevirt.io/storage.checkStaticVolume to clone",
    ),
    helps(
        "ErrStartingPod",
        "a pod was refused in the namespace that the message names, or a foreign pod has its name",
        "do what the message says, or delete the pod that is in the way; it is tried again by itself",
    ),
    helps(
        "ErrExceededQuota",
        "a quota, which the message names, refuses a PVC, pod or Secret",
        "raise the quota, or delete what uses it up; it is tried again by itself",
    ),
    helps(
        "CloneSourceInUse",
        "the pods that the message names may write to the source",
        "end the pods that the message names",
    ),
    helps(
        "UploadTargetInUse",
        "the pods that the message names use the target PVC",
        "end the pods that the message names",
    ),
    helps(
        "ImportPVCNotReady",
        "the source is still being filled",
        "wait until the source is filled, or see to what fills it",
    ),
    blocks(
        "SourceNotSupported",
        "the source is not a PVC, or the DataSource does not lead to one",
        "clone from a PVC; other sources are for other controllers",
    ),
    helps(
        "ControllerFault",
        "a fault in the controller, which the message names",
        "report it with the controller's log; it is tried again by itself",
    ),
    helps(
        "Queued",
        "the limit of running clones is reached, or no node has room",
        "wait; the message has its place",
    ),
    helps(
        "Unschedulable",
        "no node has fitted a pod for 10 s",
        "make room on a node; a clone whose source finds none gives way to older ones after 15 s",
    ),
    helps(
        "ImagePullFailed",
        "the image that the message names cannot be pulled",
        "make the image available, or give the controller a --pull-secret",
    ),
    helps(
        "Error",
        "the container of a pod exited with an error and is restarted",
        "do what the message says; the pods' logs have more. They are started again by themselves",
    ),
    helps(
        "CrashLoopBackOff",
        "the container of a pod exits repeatedly and is restarted after a pause",
        "see the logs of the pod; it is started again by itself",
    ),
    helps(
        "CreateContainerConfigError",
        "the kubelet cannot start a container: a Secret or a setting is missing",
        "see to what the message names; a pod whose Secret cannot be used can be deleted, it is made again",
    ),
    helps(
        "CreateContainerError",
        "the kubelet cannot create a container",
        "see to what the message names on the pod's node; the kubelet tries again",
    ),
    helps(
        "RunContainerError",
        "the kubelet cannot run a container",
        "see to what the message names on the pod's node; the kubelet tries again",
    ),
    helps(
        "Evicted",
        "a node ran out of the resource that the message names",
        "give the node what the message says it lacks; the pod is replaced by itself",
    ),
    helps(
        "Pending",
        "usual at the beginning; `kubectl decant doctor` reports it after a minute: a PVC or a pod waits",
        "see `kubectl describe` of the PVC and of the pod",
    ),
    helps(
        "ContainerCreating",
        "usual at the beginning; `kubectl decant doctor` reports it after a minute: a volume or a Secret cannot be mounted",
        "see `kubectl describe` of the pod: a volume or a Secret cannot be mounted",
    ),
    helps(
        "PodInitializing",
        "usual at the beginning; `kubectl decant doctor` reports it after a minute: an added init container runs",
        "see the logs of the init containers that were added to the pod",
    ),
    helps(
        "OOMKilled",
        "a pod used more memory than its limit",
        "give the pods more memory with the controller's --pod-resources",
    ),
    helps(
        "WaitForFirstConsumer",
        "the phase: the storage class, not of a CSI driver, waits for a pod that uses the PVC",
        "start a pod that uses the PVC, or clone with --immediate",
    ),
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
