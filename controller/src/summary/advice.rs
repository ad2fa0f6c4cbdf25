//! What to do about a clone that does not continue, by reason: the table of `docs/operations.md`.

use crate::objects::reason::is_usual;

/// Advice for one reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Advice {
    /// The reason of a condition.
    pub reason: &'static str,
    /// What it means, for the table in `docs/operations.md`.
    pub means: &'static str,
    /// What to do.
    pub helps: &'static str,
    /// Whether the clone does not continue until that is done.
    pub blocks: bool,
}

const fn helps(reason: &'static str, means: &'static str, helps: &'static str) -> Advice {
    Advice { reason, means, helps, blocks: false }
}

const fn blocks(reason: &'static str, means: &'static str, helps: &'static str) -> Advice {
    Advice { reason, means, helps, blocks: true }
}

/// All reasons with advice.
pub const ADVICE: [Advice; 57] = [
    helps(
        "CloneWithoutSource",
        "the source PVC, VolumeSnapshot or DataSource does not exist",
        "create the source; the clone then continues automatically",
    ),
    blocks(
        "CloneNotAllowed",
        "the source is in another namespace, and there is neither consent nor a right",
        "annotate the source with decant.dev/allow-clone-to, or clone as a user with the required right; for a CloneSource, a \
         ReferenceGrant helps too",
    ),
    blocks(
        "CloneValidationFailed",
        "the target is too small, or has another content type",
        "clone into a larger target with the content type of the source",
    ),
    blocks(
        "ErrIncompatiblePVC",
        "the target PVC is too small, or has another content type",
        "clone into a larger target with the content type of the source",
    ),
    helps(
        "ErrCreatingClaim",
        "a LimitRange, policy or webhook refuses the target PVC",
        "change the LimitRange, policy or webhook that refuses the PVC, or clone with another size; the controller retries",
    ),
    helps(
        "ErrChangingClaim",
        "the target PVC cannot be changed; if the clone succeeded, its pods or its finalizer still exist",
        "let the controller change the PVC: change the policy, webhook or role that refuses it; the controller retries",
    ),
    helps(
        "ErrChangingDataVolume",
        "labels or annotations of the DataVolume cannot be changed",
        "let the controller change the DataVolume: change the policy, webhook or role that refuses it; the controller retries",
    ),
    helps(
        "ErrCreatingSecret",
        "a Secret with the keys of a pod was refused in the namespace that the message names",
        "let the controller create Secrets in the namespace that the message names: change the policy, webhook or role that \
         refuses them; the controller retries",
    ),
    helps(
        "ErrDeletingPod",
        "a pod that is of no use cannot be deleted",
        "let the controller delete its pods: change the policy, webhook or role that refuses it; the controller retries",
    ),
    helps(
        "ErrReadingObjects",
        "the controller cannot read what the clone needs",
        "give the controller the rights that the message names (`kubectl decant doctor` shows all), or check the API server; the controller \
         retries",
    ),
    helps(
        "ErrWritingStatus",
        "the status of the DataVolume cannot be written; only an event reports it",
        "let the controller write the status of DataVolumes: change the policy, webhook or role that refuses it; the controller retries",
    ),
    blocks(
        "ErrClaimNotValid",
        "the DataVolume, or a setting of the PVC or CloneSource, cannot be carried out as it is written",
        "correct the DataVolume, PVC or CloneSource as the message says: delete it and create it again",
    ),
    blocks(
        "ErrResourceExists",
        "a PVC of that name belongs to another owner",
        "choose another name, or delete the PVC of this name",
    ),
    blocks(
        "ClaimLost",
        "the target PVC lost its volume",
        "the volume is gone: delete the DataVolume and create it again",
    ),
    blocks(
        "CloneNotProven",
        "the PVC has the annotation `k8s.io/CloneOf`, but this controller completed no clone into it",
        "delete the PVC to clone it again; if its content is correct, let the DataVolume adopt it (docs/operations.md)",
    ),
    blocks(
        "VolumeInTheWay",
        "the DataVolume has `cdi.kubevirt.io/storage.checkStaticVolume`, and a volume may hold data to be kept",
        "correct the volume or the DataVolume as the message says, or remove cdi.kubevirt.io/storage.checkStaticVolume to clone",
    ),
    blocks(
        "NoProvisioner",
        "a PVC with a data source has a storage class that does not create its volumes with a CSI driver",
        "create the PVC again with a class of a CSI driver, or clone with a DataVolume",
    ),
    blocks(
        "PrimeInTheWay",
        "another owner has a PVC with the name of the clone's temporary PVC: a user, or a second populator",
        "delete the PVC that the message names, or remove the other populator",
    ),
    helps(
        "PrimeReplaced",
        "the temporary PVC of the clone is of no use, for the reason in the message",
        "nothing: the controller creates it again, and the clone starts over",
    ),
    helps(
        "SnapshotNotReady",
        "the source snapshot is not ready to use, or is being deleted",
        "wait until the snapshot is ready; if the message has an error, correct its cause or take another snapshot",
    ),
    blocks(
        "CannotRestore",
        "the cluster serves no VolumeSnapshots, or no StorageClass has the driver that took the snapshot",
        "install the CRDs and the controller of CSI snapshots, or create a StorageClass of the driver that the message names",
    ),
    helps(
        "TakingSnapshot",
        "usual for a source in use with `decant.dev/source-in-use: snapshot`: a snapshot of it is being taken",
        "wait; if it takes long, see the VolumeSnapshot that the controller created, and the log of the snapshot controller",
    ),
    blocks(
        "SnapshotInTheWay",
        "another owner has a VolumeSnapshot with the name of the one that the clone takes of its source",
        "delete the VolumeSnapshot that the message names",
    ),
    helps(
        "SnapshotReplaced",
        "the snapshot of the source is of no use, for the reason in the message",
        "nothing: the controller deletes it, and the clone continues",
    ),
    helps(
        "ErrTakingSnapshot",
        "a quota, policy or webhook refuses the VolumeSnapshot in the namespace of the source",
        "let the controller create VolumeSnapshots: change the policy, webhook or role that refuses it; the controller retries",
    ),
    helps(
        "ErrDeletingSnapshot",
        "the snapshot of the source cannot be deleted",
        "let the controller delete its VolumeSnapshots: change the policy, webhook or role that refuses it; the controller retries",
    ),
    blocks(
        "RestoredInTheWay",
        "another owner has a PVC with the name of the temporary PVC that the clone restores from its snapshot",
        "delete the PVC that the message names",
    ),
    helps(
        "RestoredReplaced",
        "the temporary PVC that was restored from the snapshot is of no use, for the reason in the message",
        "nothing: the controller restores it again",
    ),
    helps(
        "VolumeGone",
        "the complete volume was deleted, or taken by another PVC, before the target was bound to it",
        "nothing: the clone starts over; find out who deleted the volume",
    ),
    helps(
        "RebindInProgress",
        "usual at the end: the complete volume is handed over to the target PVC",
        "wait; if it takes long, a pod may still use the temporary PVC: see `kubectl describe` of both PVCs",
    ),
    helps(
        "ErrCreatingPrime",
        "a LimitRange, policy or webhook refuses the temporary PVC in the namespace of the source",
        "change the LimitRange, policy or webhook that refuses the PVC; the controller retries",
    ),
    helps(
        "ErrDeletingPrime",
        "the temporary PVC cannot be deleted",
        "let the controller delete its PVCs: change the policy, webhook or role that refuses it; the controller retries",
    ),
    helps(
        "ErrChangingVolume",
        "the volume of the clone cannot be changed",
        "let the controller change PersistentVolumes: change the policy, webhook or role that refuses it; the controller retries",
    ),
    helps(
        "ErrChangingCloneSource",
        "the VolumeCloneSource of the DataVolume cannot be created or deleted",
        "let the controller change VolumeCloneSources: change the policy, webhook or role that refuses it; the controller retries",
    ),
    helps(
        "ErrStartingPod",
        "a pod was refused in the namespace that the message names, or a foreign pod has its name",
        "follow the message, or delete the pod that has the name; the controller retries",
    ),
    helps(
        "ErrExceededQuota",
        "a quota, which the message names, refuses a PVC, pod or Secret",
        "raise the quota, or delete objects that use it; the controller retries",
    ),
    helps(
        "CloneSourceInUse",
        "the pods that the message names may write to the source",
        "stop the pods that the message names, or set decant.dev/source-in-use=snapshot to clone a crash-consistent snapshot",
    ),
    helps(
        "UploadTargetInUse",
        "the pods that the message names use the target PVC",
        "stop the pods that the message names",
    ),
    helps(
        "ImportPVCNotReady",
        "the source is still being filled",
        "wait until the source is filled, or check the import that fills it",
    ),
    blocks(
        "SourceNotSupported",
        "the source is not a PVC or VolumeSnapshot, or the DataSource does not lead to one",
        "clone from a PVC or a VolumeSnapshot; Decant does not support other sources",
    ),
    helps(
        "ControllerFault",
        "a fault in the controller, which the message names",
        "report it with the controller's log; the controller retries",
    ),
    helps(
        "Queued",
        "the limit of running clones is reached, or no node has room",
        "wait; the message has the position in the queue",
    ),
    helps(
        "Unschedulable",
        "no node has fitted a pod for 10 s",
        "free resources on a node; a clone whose source pod does not fit lets older clones go first after 15 s",
    ),
    helps(
        "NodeNotResponding",
        "a pod of the clone should be gone, but its node does not answer",
        "repair the node; if it does not return, delete its Node object, or taint it with node.kubernetes.io/out-of-service \
         once it is powered off",
    ),
    helps(
        "ImagePullFailed",
        "the image that the message names cannot be pulled",
        "make the image available, or set --pull-secret of the controller",
    ),
    helps(
        "Error",
        "the container of a pod exited with an error and is restarted",
        "follow the message and see the logs of the pods; the pods restart automatically",
    ),
    helps(
        "CrashLoopBackOff",
        "the container of a pod exits repeatedly and is restarted after a pause",
        "see the logs of the pod; it restarts automatically",
    ),
    helps(
        "CreateContainerConfigError",
        "the kubelet cannot start a container: a Secret or a setting is missing",
        "correct what the message names; a pod with an unusable Secret can be deleted, the controller creates it again",
    ),
    helps(
        "CreateContainerError",
        "the kubelet cannot create a container",
        "correct what the message names on the node of the pod; the kubelet retries",
    ),
    helps(
        "RunContainerError",
        "the kubelet cannot run a container",
        "correct what the message names on the node of the pod; the kubelet retries",
    ),
    helps(
        "Evicted",
        "a node ran out of the resource that the message names",
        "free the resource of the node that the message names; the controller replaces the pod",
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
        "give the pods more memory with --pod-resources of the controller",
    ),
    helps(
        "WaitForFirstConsumer",
        "the phase: the storage class, not of a CSI driver, waits for a pod that uses the PVC",
        "start a pod that uses the PVC, or clone with --immediate",
    ),
    helps(
        "PendingPopulation",
        "the storage class waits for a pod that uses the PVC; the clone starts then, and the pod starts when the clone is complete",
        "start a pod that uses the PVC, or clone with --immediate",
    ),
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
