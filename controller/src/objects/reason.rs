//! The reasons of conditions and events (docs/protocol.md section 4.7).
//!
//! A condition can have a reason that is not listed here: Kubernetes has more, and the reasons of both pods are joined.

/// A reason that this program writes, or knows from Kubernetes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The claim has a volume.
    Bound,
    /// The claim has no volume yet, or the pods do not run yet.
    Pending,
    /// There is no claim.
    NotFound,
    /// The claim lost its volume.
    ClaimLost,
    /// An event: the claim lost its volume.
    ErrClaimLost,
    /// The DataVolume is not valid.
    ErrClaimNotValid,
    /// A claim of this name belongs to another owner.
    ErrResourceExists,
    /// The source is not a claim.
    SourceNotSupported,
    /// The source does not exist.
    CloneWithoutSource,
    /// The source does not fit the request.
    CloneValidationFailed,
    /// The source may not be cloned to here.
    CloneNotAllowed,
    /// The claim is marked as complete, but this controller completed no clone into it.
    CloneNotProven,
    /// A volume may hold content that has to be kept.
    VolumeInTheWay,
    /// The class creates no volume that a clone could fill.
    NoProvisioner,
    /// A claim with the name of the prime belongs to another owner.
    PrimeInTheWay,
    /// The prime claim is useless and is replaced.
    PrimeReplaced,
    /// The complete volume is gone before the claim was bound to it.
    VolumeGone,
    /// The snapshot cannot be restored yet.
    SnapshotNotReady,
    /// The snapshot cannot be restored in this cluster.
    CannotRestore,
    /// A claim with the name of the temporary PVC of a snapshot belongs to another owner.
    RestoredInTheWay,
    /// The temporary PVC of a snapshot is useless and is replaced.
    RestoredReplaced,
    /// A snapshot of the source, which is in use, is being taken.
    TakingSnapshot,
    /// A VolumeSnapshot with the name of that snapshot belongs to another owner.
    SnapshotInTheWay,
    /// That snapshot is useless, and is deleted.
    SnapshotReplaced,
    /// An event: a snapshot of the source, which is in use, is cloned.
    SourceSnapshotCloned,
    /// That snapshot cannot be created.
    ErrTakingSnapshot,
    /// That snapshot cannot be deleted.
    ErrDeletingSnapshot,
    /// The volume is handed over to the claim.
    RebindInProgress,
    /// The prime claim cannot be created.
    ErrCreatingPrime,
    /// The prime claim cannot be deleted.
    ErrDeletingPrime,
    /// A volume cannot be changed.
    ErrChangingVolume,
    /// A VolumeCloneSource cannot be created or deleted.
    ErrChangingCloneSource,
    /// Bytes are on their way.
    TransferRunning,
    /// The controller itself failed.
    ControllerFault,
    /// The clone waits in the queue.
    Queued,
    /// A pod's container runs.
    PodRunning,
    /// A container ended with exit code 0.
    Completed,
    /// A pod may write to the source.
    CloneSourceInUse,
    /// A pod uses the target.
    UploadTargetInUse,
    /// The source is still being filled.
    ImportPvcNotReady,
    /// Source and target claim do not fit.
    ErrIncompatiblePvc,
    /// A pod should be gone, and its node does not answer.
    NodeNotResponding,
    /// An image cannot be pulled.
    ImagePullFailed,
    /// A container failed.
    Error,
    /// A quota does not allow the object.
    ErrExceededQuota,
    /// The claim cannot be created.
    ErrCreatingClaim,
    /// The claim cannot be changed.
    ErrChangingClaim,
    /// The DataVolume cannot be changed.
    ErrChangingDataVolume,
    /// A pod cannot be created.
    ErrStartingPod,
    /// A Secret cannot be created.
    ErrCreatingSecret,
    /// A pod cannot be deleted.
    ErrDeletingPod,
    /// An object cannot be read.
    ErrReadingObjects,
    /// The status of the DataVolume cannot be written.
    ErrWritingStatus,
    /// An event: the clone is complete.
    CloneSucceeded,
    /// An event: source and target agree on the digest.
    CloneVerified,
    /// An event: the target lost attributes of files.
    AttributesNotKept,
    /// An event: how the bytes travel, where that changed or nothing else reports it.
    CloneTransfer,
    /// An event: a reserved volume is kept.
    VolumeKept,
    /// An event: the bandwidth limit of a running clone was changed to something that is not a limit.
    BandwidthLimitNotValid,
    /// An event: an object cannot be decoded.
    ObjectUnreadable,
    /// An event: the clone waits for an object that cannot be decoded.
    WaitsForUnreadable,
    /// Of Kubernetes: the container is being created.
    ContainerCreating,
    /// Of Kubernetes: init containers run.
    PodInitializing,
    /// Of Kubernetes: the pause before the next start.
    CrashLoopBackOff,
}

impl Reason {
    /// The text in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Reason::Bound => "Bound",
            Reason::Pending => "Pending",
            Reason::NotFound => "NotFound",
            Reason::ClaimLost => "ClaimLost",
            Reason::ErrClaimLost => "ErrClaimLost",
            Reason::ErrClaimNotValid => "ErrClaimNotValid",
            Reason::ErrResourceExists => "ErrResourceExists",
            Reason::SourceNotSupported => "SourceNotSupported",
            Reason::CloneWithoutSource => "CloneWithoutSource",
            Reason::CloneValidationFailed => "CloneValidationFailed",
            Reason::CloneNotAllowed => "CloneNotAllowed",
            Reason::CloneNotProven => "CloneNotProven",
            Reason::VolumeInTheWay => "VolumeInTheWay",
            Reason::NoProvisioner => "NoProvisioner",
            Reason::PrimeInTheWay => "PrimeInTheWay",
            Reason::PrimeReplaced => "PrimeReplaced",
            Reason::VolumeGone => "VolumeGone",
            Reason::SnapshotNotReady => "SnapshotNotReady",
            Reason::CannotRestore => "CannotRestore",
            Reason::RestoredInTheWay => "RestoredInTheWay",
            Reason::RestoredReplaced => "RestoredReplaced",
            Reason::TakingSnapshot => "TakingSnapshot",
            Reason::SnapshotInTheWay => "SnapshotInTheWay",
            Reason::SnapshotReplaced => "SnapshotReplaced",
            Reason::SourceSnapshotCloned => "SourceSnapshotCloned",
            Reason::ErrTakingSnapshot => "ErrTakingSnapshot",
            Reason::ErrDeletingSnapshot => "ErrDeletingSnapshot",
            Reason::RebindInProgress => "RebindInProgress",
            Reason::ErrCreatingPrime => "ErrCreatingPrime",
            Reason::ErrDeletingPrime => "ErrDeletingPrime",
            Reason::ErrChangingVolume => "ErrChangingVolume",
            Reason::ErrChangingCloneSource => "ErrChangingCloneSource",
            Reason::TransferRunning => "TransferRunning",
            Reason::ControllerFault => "ControllerFault",
            Reason::Queued => "Queued",
            Reason::PodRunning => "Pod is running",
            Reason::Completed => "Completed",
            Reason::CloneSourceInUse => "CloneSourceInUse",
            Reason::UploadTargetInUse => "UploadTargetInUse",
            Reason::ImportPvcNotReady => "ImportPVCNotReady",
            Reason::ErrIncompatiblePvc => "ErrIncompatiblePVC",
            Reason::NodeNotResponding => "NodeNotResponding",
            Reason::ImagePullFailed => "ImagePullFailed",
            Reason::Error => "Error",
            Reason::ErrExceededQuota => "ErrExceededQuota",
            Reason::ErrCreatingClaim => "ErrCreatingClaim",
            Reason::ErrChangingClaim => "ErrChangingClaim",
            Reason::ErrChangingDataVolume => "ErrChangingDataVolume",
            Reason::ErrStartingPod => "ErrStartingPod",
            Reason::ErrCreatingSecret => "ErrCreatingSecret",
            Reason::ErrDeletingPod => "ErrDeletingPod",
            Reason::ErrReadingObjects => "ErrReadingObjects",
            Reason::ErrWritingStatus => "ErrWritingStatus",
            Reason::CloneSucceeded => "CloneSucceeded",
            Reason::CloneVerified => "CloneVerified",
            Reason::AttributesNotKept => "AttributesNotKept",
            Reason::CloneTransfer => "CloneTransfer",
            Reason::VolumeKept => "VolumeKept",
            Reason::BandwidthLimitNotValid => "BandwidthLimitNotValid",
            Reason::ObjectUnreadable => "ObjectUnreadable",
            Reason::WaitsForUnreadable => "WaitsForUnreadable",
            Reason::ContainerCreating => "ContainerCreating",
            Reason::PodInitializing => "PodInitializing",
            Reason::CrashLoopBackOff => "CrashLoopBackOff",
        }
    }

    /// Whether `text` is this reason.
    pub fn is(self, text: &str) -> bool {
        self.as_str() == text
    }
}

impl From<Reason> for String {
    fn from(reason: Reason) -> Self {
        reason.as_str().to_owned()
    }
}

/// Reasons that every clone has for a while.
const USUAL: [Reason; 5] = [
    Reason::Pending,
    Reason::ContainerCreating,
    Reason::PodInitializing,
    Reason::Completed,
    Reason::PodRunning,
];

/// Whether `text` is a reason that every clone has for a while.
pub(crate) fn is_usual(text: &str) -> bool {
    let is_one = |text: &str| text.is_empty() || USUAL.iter().any(|reason| reason.is(text));
    text.split(" and ").all(is_one)
}
