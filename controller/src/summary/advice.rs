//! What to do about a clone that does not continue, by reason: the table of `docs/operations.md`.

use crate::reconcile::status::reasons::is_usual;

/// Advice for one reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Advice {
    /// The reason of a condition.
    pub reason: &'static str,
    /// What to do.
    pub helps: &'static str,
    /// Whether the clone does not continue until that is done.
    pub blocks: bool,
}

const fn helps(reason: &'static str, helps: &'static str) -> Advice {
    Advice { reason, helps, blocks: false }
}

const fn blocks(reason: &'static str, helps: &'static str) -> Advice {
    Advice { reason, helps, blocks: true }
}

/// All reasons with advice.
pub const ADVICE: [Advice; 37] = [
    helps("CloneWithoutSource", "create the source; the clone then continues automatically"),
    blocks(
        "CloneNotAllowed",
        "annotate the source with decant.dev/allow-clone-to, or clone as a user with the required right",
    ),
    blocks("CloneValidationFailed", "clone into a larger target with the content type of the source"),
    blocks("ErrIncompatiblePVC", "clone into a larger target with the content type of the source"),
    helps(
        "ErrCreatingClaim",
        "change the LimitRange, policy or webhook that refuses the PVC, or clone with another size; the controller retries",
    ),
    helps(
        "ErrChangingClaim",
        "let the controller change the PVC: change the policy, webhook or role that refuses it; the controller retries",
    ),
    helps(
        "ErrChangingDataVolume",
        "let the controller change the DataVolume: change the policy, webhook or role that refuses it; the controller retries",
    ),
    helps(
        "ErrCreatingSecret",
        "let the controller create Secrets in the namespace that the message names: change the policy, webhook or role that \
         refuses them; the controller retries",
    ),
    helps(
        "ErrDeletingPod",
        "let the controller delete its pods: change the policy, webhook or role that refuses it; the controller retries",
    ),
    helps(
        "ErrReadingObjects",
        "give the controller the rights that the message names (`kubectl decant doctor` shows all), or check the API server; the controller \
         retries",
    ),
    helps(
        "ErrWritingStatus",
        "let the controller write the status of DataVolumes: change the policy, webhook or role that refuses it; the controller retries",
    ),
    blocks("ErrClaimNotValid", "correct the DataVolume as the message says: delete it and create it again"),
    blocks("ErrResourceExists", "choose another name, or delete the PVC of this name"),
    blocks("ClaimLost", "the volume is gone: delete the DataVolume and create it again"),
    blocks(
        "CloneNotProven",
        "delete the PVC to clone it again; if its content is correct, let the DataVolume adopt it (docs/operations.md)",
    ),
    blocks(
        "VolumeInTheWay",
        "correct the volume or the DataVolume as the message says, or remove cdi.kubevirt.io/storage.checkStaticVolume to clone",
    ),
    helps(
        "ErrStartingPod",
        "follow the message, or delete the pod that has the name; the controller retries",
    ),
    helps("ErrExceededQuota", "raise the quota, or delete objects that use it; the controller retries"),
    helps("CloneSourceInUse", "stop the pods that the message names"),
    helps("UploadTargetInUse", "stop the pods that the message names"),
    helps("ImportPVCNotReady", "wait until the source is filled, or check the import that fills it"),
    blocks("SourceNotSupported", "clone from a PVC; Decant does not support other sources"),
    helps("ControllerFault", "report it with the controller's log; the controller retries"),
    helps("Queued", "wait; the message has the position in the queue"),
    helps(
        "Unschedulable",
        "free resources on a node; a clone whose source pod does not fit lets older clones go first after 15 s",
    ),
    helps("ImagePullFailed", "make the image available, or set --pull-secret of the controller"),
    helps("Error", "follow the message and see the logs of the pods; the pods restart automatically"),
    helps("CrashLoopBackOff", "see the logs of the pod; it restarts automatically"),
    helps(
        "CreateContainerConfigError",
        "correct what the message names; a pod with an unusable Secret can be deleted, the controller creates it again",
    ),
    helps(
        "CreateContainerError",
        "correct what the message names on the node of the pod; the kubelet retries",
    ),
    helps("RunContainerError", "correct what the message names on the node of the pod; the kubelet retries"),
    helps("Evicted", "free the resource of the node that the message names; the controller replaces the pod"),
    helps("Pending", "see `kubectl describe` of the PVC and of the pod"),
    helps("ContainerCreating", "see `kubectl describe` of the pod: a volume or a Secret cannot be mounted"),
    helps("PodInitializing", "see the logs of the init containers that were added to the pod"),
    helps("OOMKilled", "give the pods more memory with --pod-resources of the controller"),
    helps("WaitForFirstConsumer", "start a pod that uses the PVC, or clone with --immediate"),
];

/// Advice for an unknown reason: it comes from Kubernetes or a plugin of the node.
pub const GENERAL: &str =
    "follow the message; `kubectl describe` of the DataVolume, its PVC and its pods shows more";

/// Advice for `reason`. If both pods have a reason, for the first known one; usual reasons come last.
pub fn advice(reason: &str) -> Option<&'static Advice> {
    let known = || {
        let find = |reason| ADVICE.iter().find(|advice| advice.reason == reason);
        reason.split(" and ").filter_map(find)
    };
    known().find(|advice| !is_usual(advice.reason)).or_else(|| known().next())
}

/// Whether a clone with this reason does not continue without help.
pub fn is_blocked(reason: &str) -> bool {
    advice(reason).is_some_and(|advice| advice.blocks)
}
