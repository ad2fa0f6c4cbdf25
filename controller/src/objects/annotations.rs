//! Annotations, labels and finalizers (docs/protocol.md sections 3.3 to 3.11). CDI's own keep CDI's names.

/// Labels of a source claim that its clones' DataVolumes get (KubeVirt chooses a machine's size by them).
pub const INSTANCETYPE_LABELS: [&str; 4] = [
    "instancetype.kubevirt.io/default-instancetype",
    "instancetype.kubevirt.io/default-instancetype-kind",
    "instancetype.kubevirt.io/default-preference",
    "instancetype.kubevirt.io/default-preference-kind",
];
/// Label on a DataVolume: KubeVirt's migration controller created it, to move the disk of a virtual machine to another class.
pub const STORAGE_MIGRATION: &str =
    "virtualmachinestoragemigration.kubevirt.io/virtualmachinestoragemigration-uid";
/// On a claim: `<namespace>/<name>` of the source; makes it a clone.
pub const CLONE_REQUEST: &str = "k8s.io/CloneRequest";
/// On a claim: the clone is done.
pub const CLONE_OF: &str = "k8s.io/CloneOf";
/// On a claim: phase of the target pod.
pub const POD_PHASE: &str = "cdi.kubevirt.io/storage.pod.phase";
/// On a claim: whether the target pod is ready.
pub const POD_READY: &str = "cdi.kubevirt.io/storage.pod.ready";
/// On a claim: the highest restart count of both pods.
pub const POD_RESTARTS: &str = "cdi.kubevirt.io/storage.pod.restarts";
/// On a claim: name of the target pod.
pub const UPLOAD_POD_NAME: &str = "cdi.kubevirt.io/storage.uploadPodName";
/// On a claim: the sender's name that the target accepts.
pub const UPLOAD_CLIENT_NAME: &str = "cdi.kubevirt.io/uploadClientName";
/// On a claim: name of the source pod.
pub const SOURCE_POD_NAME: &str = "cdi.kubevirt.io/storage.sourceClonePodName";
/// On a claim: `true` while the target container runs.
pub const RUNNING: &str = "cdi.kubevirt.io/storage.condition.running";
/// On a claim: why the target runs or not, for people.
pub const RUNNING_MESSAGE: &str = "cdi.kubevirt.io/storage.condition.running.message";
/// On a claim: the reason why the target runs or not.
pub const RUNNING_REASON: &str = "cdi.kubevirt.io/storage.condition.running.reason";
/// On a claim: `true` while the source container runs.
pub const SOURCE_RUNNING: &str = "cdi.kubevirt.io/storage.condition.source.running";
/// On a claim: why the source runs or not, for people.
pub const SOURCE_RUNNING_MESSAGE: &str = "cdi.kubevirt.io/storage.condition.source.running.message";
/// On a claim: the reason why the source runs or not.
pub const SOURCE_RUNNING_REASON: &str = "cdi.kubevirt.io/storage.condition.source.running.reason";
/// On a claim: `true` if preallocation is wanted.
pub const PREALLOCATION_REQUESTED: &str = "cdi.kubevirt.io/storage.preallocation.requested";
/// On a claim: `true` once preallocation was done.
pub const PREALLOCATION_APPLIED: &str = "cdi.kubevirt.io/storage.preallocation";
/// On a claim: `kubevirt` or `archive`.
pub const CONTENT_TYPE: &str = "cdi.kubevirt.io/storage.contentType";
/// On a DataVolume: the webhook's permission, short-lived.
pub const TOKEN: &str = "cdi.kubevirt.io/storage.clone.token";
/// On a DataVolume or claim: the controller's permission, bound to a UID.
pub const EXTENDED_TOKEN: &str = "cdi.kubevirt.io/storage.extended.clone.token";
/// On a DataVolume or claim: sizes are not compared.
pub const PERMISSIVE_CLONE: &str = "cdi.kubevirt.io/permissiveClone";
/// On a claim and its DataVolume: how it is cloned; always [`COPY`] here.
pub const CLONE_TYPE: &str = "cdi.kubevirt.io/cloneType";
/// The host-assisted clone.
pub const COPY: &str = "copy";
/// On a DataVolume or claim: `false` asks for the direct flow, `true` for the populator flow.
pub const USE_POPULATOR: &str = "cdi.kubevirt.io/storage.usePopulator";
/// On a claim: UID of the DataVolume it was made for.
pub const CREATED_FOR: &str = "cdi.kubevirt.io/createdForDataVolume";
/// On a claim: a DataVolume of its name may take it over. On a DataVolume only `false` counts: it takes nothing over.
pub const ALLOW_ADOPTION: &str = "cdi.kubevirt.io/allowClaimAdoption";
/// On a claim: name of the DataVolume for which another tool filled it.
pub const POPULATED_FOR: &str = "cdi.kubevirt.io/storage.populatedFor";
/// On a DataVolume: another tool filled its claim.
pub const PRE_POPULATED: &str = "cdi.kubevirt.io/storage.prePopulated";
/// On a DataVolume: a volume reserved for it may exist already.
pub const CHECK_STATIC: &str = "cdi.kubevirt.io/storage.checkStaticVolume";
/// On a claim that was made for reserved volumes: a JSON list of the names of the volumes that it may be bound to.
pub const VOLUME_LIST: &str = "cdi.kubevirt.io/storage.persistentVolumeList";
/// On a DataVolume or claim: presence means that no consumer is waited for.
pub const BIND_IMMEDIATE: &str = "cdi.kubevirt.io/storage.bind.immediate.requested";
/// On a DataVolume or claim: `true` keeps the pods.
pub const RETAIN_PODS: &str = "cdi.kubevirt.io/storage.pod.retainAfterCompletion";
/// On a claim: priority class of the pods.
pub const PRIORITY_CLASS: &str = "cdi.kubevirt.io/storage.pod.priorityclassname";
/// On a claim: service account of the target pod.
pub const SERVICE_ACCOUNT: &str = "cdi.kubevirt.io/storage.pod.serviceAccountName";
/// On a claim: the UID that the source's metrics carry when no DataVolume controls the claim.
pub const OWNER_UID: &str = "cdi.kubevirt.io/ownerUID";
/// On both pods: `<namespace>/<name>` of the target claim. CDI has it on the source pod alone.
pub const OWNER_REF: &str = "cdi.kubevirt.io/storage.ownerRef";
/// On a source pod and its Secret.
pub const CREATED_BY_CONTROLLER: &str = "cdi.kubevirt.io/storage.createdByController";
/// On a target pod and its Secret.
pub const CREATED_BY_UPLOAD_CONTROLLER: &str = "cdi.kubevirt.io/storage.createdByUploadController";
/// Label of a source pod: its own name.
pub const CLONE_UNIQUE_ID: &str = "cdi.kubevirt.io/storage.clone.cloneUniqeId";
/// Label of a source pod: UID of the source claim.
pub const SOURCE_POD_OF: &str = "cdi.kubevirt.io/hostAssistedSourcePodCloneSource";
/// Label of a target pod: UID of the target claim.
pub const UPLOAD_TARGET: &str = "cdi.kubevirt.io/uploadTarget";
/// Label of pods whose metrics may be scraped; the value is `true`.
pub const PROMETHEUS: &str = "prometheus.cdi.kubevirt.io";
/// Label that names the part of CDI that an object belongs to.
pub const COMPONENT: &str = "cdi.kubevirt.io";
/// Value of [`COMPONENT`] on source pods.
pub const COMPONENT_SOURCE: &str = "cdi-clone-source";
/// Value of [`COMPONENT`] on target pods.
pub const COMPONENT_TARGET: &str = "cdi-upload-server";
/// Label that all objects of a clone have.
pub const APP: &str = "app";
/// Value of [`APP`].
pub const APP_VALUE: &str = "containerized-data-importer";
/// Finalizer on a target claim; it exists before the source pod does.
pub const CLONE_SOURCE_FINALIZER: &str = "cdi.kubevirt.io/cloneSource";
/// Name of the source pod's container.
pub const SOURCE_CONTAINER: &str = "cdi-clone-source";
/// Name of the target pod's container.
pub const TARGET_CONTAINER: &str = "cdi-upload-server";

/// On a source PVC, by its owner: comma-separated namespaces into which it may be cloned; `*` for all.
pub const ALLOW_CLONE_TO: &str = "decant.dev/allow-clone-to";
/// On both pods: UID of the PVC that the clone writes.
pub const TARGET_CLAIM_UID: &str = "decant.dev/target-claim-uid";
/// On both pods: UID of the PVC that the clone reads.
pub const SOURCE_CLAIM_UID: &str = "decant.dev/source-claim-uid";
/// On both pods: name of the Secret with their first keys; those of renewed keys end in `-1`, `-2` and so on.
pub const KEYS: &str = "decant.dev/keys";
/// On both pods: the controller's seal over the annotations that say to which clone they belong; a pod without it is
/// not a clone pod.
pub const PROOF: &str = "decant.dev/proof";
/// On a PVC: UID of the target pod that the controller created, with a seal.
pub const TARGET_POD: &str = "decant.dev/target-pod";
/// On a PVC: UID of the source pod that the controller created, with a seal.
pub const SOURCE_POD: &str = "decant.dev/source-pod";
/// On a PVC: the controller's seal over the outcome of its clone; without it, phase and digest on the PVC do not count.
pub const OUTCOME: &str = "decant.dev/outcome";
/// On a source pod: UID of the target pod to which it sends.
pub const TARGET_POD_UID: &str = "decant.dev/target-pod-uid";
/// On a DataVolume or PVC, by its user: limit of the bytes on the wire, such as `50MiB/s`; a change applies to a running
/// clone.
pub const BANDWIDTH_LIMIT: &str = "decant.dev/bandwidth-limit";
/// On a DataVolume or PVC, by its user: number of connections for a large volume, 1 to 8.
pub const STREAMS: &str = "decant.dev/streams";
/// On a PVC and its DataVolume: the digest that source and target both computed.
pub const DIGEST: &str = "decant.dev/digest";
/// On a PVC: attributes that the target could not keep, counted by kind.
pub const NOT_KEPT: &str = "decant.dev/not-kept";
/// On a DataVolume or PVC, by its user: `readback` makes the target read everything back from its disk.
pub const VERIFY: &str = "decant.dev/verify";
/// The only value of [`VERIFY`].
pub const READBACK: &str = "readback";
/// On a DataVolume or PVC, by its user: how the bytes travel, `auto`, `direct` or `network`.
pub const TRANSFER: &str = "decant.dev/transfer";
/// On a DataVolume or PVC, by its user: where the pods run, as JSON with `nodeSelector`, `tolerations` and `affinity`.
pub const PLACEMENT: &str = "decant.dev/placement";
/// On a DataVolume or PVC, by its user: further labels of the pods, as a JSON object.
pub const POD_LABELS: &str = "decant.dev/pod-labels";
/// On a DataVolume or PVC, by its user: further annotations of the pods, as a JSON object.
pub const POD_ANNOTATIONS: &str = "decant.dev/pod-annotations";
/// On a DataVolume or PVC: how the bytes of its clone travel, `direct` or `network`.
pub const TRANSFER_MODE: &str = "decant.dev/transfer-mode";
/// On a PVC: a direct clone found no node, or lost it, so two pods clone.
pub const TRANSFER_FALLBACK: &str = "decant.dev/transfer-fallback";
/// On a PVC whose `dataSourceRef` names a VolumeCloneSource: the namespace of the VolumeCloneSource, if it is another.
pub const DATA_SOURCE_NAMESPACE: &str = "cdi.kubevirt.io/dataSourceNamespace";
/// On a PVC, by the scheduler: the node of its first consumer.
pub const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
/// On a prime PVC of a CloneSource: finalizer; it exists before the source pod does.
pub const OWN_CLONE_FINALIZER: &str = "decant.dev/clone-source";
/// On a PVC that a CloneSource fills before it is bound: finalizer; it exists before the prime PVC does.
pub const OWN_POPULATOR_FINALIZER: &str = "decant.dev/populator";
/// On both pods and their Secrets: label, `source` or `target`.
pub const ROLE: &str = "decant.dev/role";
/// Finalizer on a PVC that a VolumeCloneSource fills before it is bound. It exists before the prime PVC does.
pub const POPULATOR_FINALIZER: &str = "cdi.kubevirt.io/clonePopulator";
/// On a prime PVC: `<namespace>/<name>` of the PVC that gets its volume.
pub const POPULATES: &str = "decant.dev/populates";
/// On a PVC that is filled before it is bound: UID of the prime PVC that the controller created, with a seal.
pub const PRIME: &str = "decant.dev/prime";
/// On a PVC that is filled before it is bound: name of the complete volume, with a seal.
pub const POPULATED_VOLUME: &str = "decant.dev/populated-volume";
/// On a PVC that a snapshot is cloned into: namespace and UID of the temporary PVC that is restored from the snapshot, with
/// a seal.
pub const RESTORED: &str = "decant.dev/restored";
/// On a temporary PVC that is restored from a snapshot: `<namespace>/<name>` of the PVC that it is cloned into.
pub const RESTORED_FOR: &str = "decant.dev/restored-for";
/// On a DataVolume or PVC, by its user: what happens while pods may write to the source, `wait` or `snapshot`.
pub const SOURCE_IN_USE: &str = "decant.dev/source-in-use";
/// On a PVC whose source is in use: namespace and UID of the VolumeSnapshot that the controller took of the source, and UID of the
/// source, with a seal. Without a seal, such a VolumeSnapshot may exist.
pub const SOURCE_SNAPSHOT: &str = "decant.dev/source-snapshot";
/// On a VolumeSnapshot of a source that is in use: `<namespace>/<name>` of the PVC that it is cloned into.
pub const SNAPSHOT_FOR: &str = "decant.dev/snapshot-for";
/// On a PVC and its DataVolume: when the snapshot was taken that is cloned because the source is in use; RFC 3339.
pub const SNAPSHOT_TIME: &str = "decant.dev/snapshot-time";
/// On a volume that is handed over to another PVC: its reclaim policy before and after.
pub const RECLAIM_POLICY: &str = "decant.dev/reclaim-policy";
/// On a PVC that is filled before it is bound: what its clone does, in CDI's terms.
pub const CLONE_PHASE: &str = "cdi.kubevirt.io/clonePhase";
/// On a PVC that is filled before it is bound: percentage of its clone.
pub const POPULATOR_PROGRESS: &str = "cdi.kubevirt.io/storage.populator.progress";
/// On a PVC that is filled before it is bound: why its clone cannot continue.
pub const CLONE_ERROR: &str = "cdi.kubevirt.io/cloneError";
/// Label of a prime PVC: UID of the PVC that gets its volume.
pub const OWNED_BY_UID: &str = "cdi.kubevirt.io/OwnedByUID";
/// On a prime PVC: the kind of its populator.
pub const POPULATOR_KIND: &str = "cdi.kubevirt.io/storage.populator.kind";
/// On a VolumeCloneSource in another namespace: `<namespace>/<name>` of its DataVolume.
pub const OWNED_BY_DATA_VOLUME: &str = "cdi.kubevirt.io/ownedByDataVolume";
/// On a PVC with a disk image in its filesystem: the size of the image in bytes. The name is CDI's.
pub const IMAGE_BYTES: &str = "cdi.Kubervirt.io/virtualSize";
/// On a PVC with a disk image in its filesystem: the capacity that its volume had when the image was measured.
pub const IMAGE_CAPACITY: &str = "cdi.Kubervirt.io/sourceCapacity";
/// On a StorageProfile: the smallest size of a claim of its storage class.
pub const MINIMUM_CLAIM_SIZE: &str = "cdi.kubevirt.io/minimumSupportedPvcSize";
/// On both pods: the authority that issued their certificates.
pub const AUTHORITY: &str = "decant.dev/authority";
/// On a PVC: number of pods that were replaced because they failed or vanished.
pub const REPLACED_PODS: &str = "decant.dev/replaced-pods";
/// On a DataVolume: logical bytes of the clone that are done.
pub const SENT_BYTES: &str = "decant.dev/sent-bytes";
/// On a DataVolume: logical bytes of the whole clone.
pub const TOTAL_BYTES: &str = "decant.dev/total-bytes";
/// On a DataVolume: the current rate.
pub const RATE_BYTES: &str = "decant.dev/rate-bytes-per-second";
/// On a DataVolume: the bandwidth limit in force, if there is one.
pub const LIMIT_BYTES: &str = "decant.dev/limit-bytes-per-second";
/// On a DataVolume: estimated seconds until the clone is done.
pub const LEFT_SECS: &str = "decant.dev/left-secs";
/// On a DataVolume: what the transfer does now, as the source's metrics name it: `copy`, `sync`, `verify` and others.
pub const TRANSFER_PHASE: &str = "decant.dev/transfer-phase";
