//! Reasons that are in more than one place.

/// Other clones come first.
pub(super) const QUEUED: &str = "Queued";
/// A pod's container runs.
pub(super) const POD_RUNNING: &str = "Pod is running";
/// A container ended well.
pub(super) const COMPLETED: &str = "Completed";
/// What a finished clone says.
pub(super) const CLONE_COMPLETE: &str = "Clone Complete";
/// The controller itself failed.
pub const FAULT: &str = "ControllerFault";

/// Whether each clone says so for a while.
pub(crate) fn is_usual(reason: &str) -> bool {
    let is_one = |reason: &str| {
        matches!(
            reason,
            "" | "Pending" | "ContainerCreating" | "PodInitializing" | "Completed" | "Pod is running"
        )
    };
    reason.split(" and ").all(is_one)
}
