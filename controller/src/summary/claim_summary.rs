//! The summary of a clone that has no DataVolume: a PVC whose data source is filled by Decant. Its annotations tell what
//! a DataVolume's status would.

use crate::objects::annotations::{
    BANDWIDTH_LIMIT, CLONE_ERROR, CLONE_OF, CLONE_PHASE, DIGEST, LEFT_SECS, LIMIT_BYTES, POD_RESTARTS,
    POPULATOR_PROGRESS, RATE_BYTES, RUNNING, RUNNING_MESSAGE, RUNNING_REASON, SELECTED_NODE, SENT_BYTES,
    SNAPSHOT_TIME, SOURCE_RUNNING, SOURCE_RUNNING_MESSAGE, SOURCE_RUNNING_REASON, TOTAL_BYTES,
    TRANSFER_PHASE,
};
use crate::objects::data_volume::ReportedProgress;
use crate::objects::{Claim, ClaimPhase, DataVolumePhase, Kind, PopulatorKind, Reason};
use crate::progress::clone_progress::target_activity;
use crate::progress::page::phase_named;
use crate::reconcile::last_error;
use crate::reconcile::transfer::TransferMode;
use crate::summary::clone_summary::{CloneState, CloneSummary, transfer_of};

/// [`CLONE_PHASE`] while data is copied.
const COPYING: &str = "HostClone";
/// [`CLONE_PHASE`] of a clone that waits.
const PENDING: &str = "Pending";

/// Whether `claim` is a clone of its own: its data source is filled before it is bound, and no DataVolume reports that.
/// A DataVolume whose PVC a CloneSource fills is one of CDI (external population) and does not report it either.
pub fn is_clone(claim: &Claim) -> bool {
    match claim.populator().map(|populator| populator.kind) {
        Some(PopulatorKind::CloneSource) => true,
        Some(PopulatorKind::VolumeCloneSource) => !is_of_data_volume(claim),
        None => false,
    }
}

fn is_of_data_volume(claim: &Claim) -> bool {
    claim.metadata.controller().is_some_and(|owner| owner.kind == Kind::DataVolume.name())
}

impl CloneState {
    /// The state of the clone that fills `claim`.
    pub fn of_claim(claim: &Claim) -> Self {
        let text = |name| claim.metadata.annotation(name).unwrap_or_default();
        if claim.status.phase == ClaimPhase::Lost {
            return CloneState::Failed;
        }
        let is_marked =
            text(CLONE_PHASE) == DataVolumePhase::Succeeded.as_str() || !text(CLONE_OF).is_empty();
        if claim.is_bound() && is_marked {
            return CloneState::Succeeded;
        }
        let has_one_pod = transfer_of(&claim.metadata) == Some(TransferMode::Direct.as_str());
        let pods_run = text(RUNNING) == "true" && (has_one_pod || text(SOURCE_RUNNING) == "true");
        let runs = pods_run && text(CLONE_PHASE) == COPYING;
        if runs { CloneState::Running } else { CloneState::Waiting }
    }
}

impl CloneSummary {
    /// The summary of the clone that fills `claim`; `None` if it is not a clone, or a DataVolume reports it.
    pub fn of_claim(claim: &Claim) -> Option<Self> {
        let populator = claim.populator().filter(|_| is_clone(claim))?;
        let state = CloneState::of_claim(claim);
        let text = |name| claim.metadata.annotation(name).unwrap_or_default();
        let number = |name| text(name).parse::<u64>().ok();
        let runs = state == CloneState::Running;
        let ClaimReason { reason, message } = why(claim, state);
        let percent = match state {
            CloneState::Succeeded => Some(100.0),
            _ => ReportedProgress::from(text(POPULATOR_PROGRESS)).percent(),
        };
        Some(Self {
            kind: Kind::PersistentVolumeClaim.name(),
            namespace: claim.metadata.namespace.clone(),
            name: claim.metadata.name.clone(),
            source: populator.to_string(),
            state,
            phase: text(CLONE_PHASE).to_owned(),
            percent,
            sent_bytes: number(if state == CloneState::Succeeded { TOTAL_BYTES } else { SENT_BYTES }),
            total_bytes: number(TOTAL_BYTES),
            rate_bytes_per_second: number(RATE_BYTES).filter(|_| runs),
            left_secs: number(LEFT_SECS).filter(|_| runs),
            bandwidth_limit: claim.metadata.annotation(BANDWIDTH_LIMIT).map(str::to_owned),
            limit_bytes_per_second: number(LIMIT_BYTES).filter(|_| runs),
            reason,
            message,
            restarts: text(POD_RESTARTS).parse().unwrap_or_default(),
            created: claim.metadata.creation_timestamp.clone(),
            // A PVC does not tell when it was bound.
            ended: String::new(),
            transfer: transfer_of(&claim.metadata),
            snapshot_time: claim.metadata.annotation(SNAPSHOT_TIME).map(str::to_owned),
            digest: claim.metadata.annotation(DIGEST).map(str::to_owned),
        })
    }
}

/// Why a clone waits or failed.
#[derive(Default)]
struct ClaimReason {
    reason: String,
    message: String,
}

fn why(claim: &Claim, state: CloneState) -> ClaimReason {
    let text = |name| claim.metadata.annotation(name).unwrap_or_default();
    let said =
        |reason: &str, message: &str| ClaimReason { reason: reason.to_owned(), message: message.to_owned() };
    let sides = [(RUNNING_REASON, RUNNING_MESSAGE), (SOURCE_RUNNING_REASON, SOURCE_RUNNING_MESSAGE)]
        .map(|(reason, message)| (text(reason), text(message)));
    let failing = sides.iter().find(|(reason, _)| last_error::is_reason(reason));
    match state {
        CloneState::Running => match failing {
            Some((reason, message)) => said(reason, message),
            None => said("", target_activity(phase_named(text(TRANSFER_PHASE))).unwrap_or_default()),
        },
        CloneState::Succeeded => {
            failing.map_or_else(ClaimReason::default, |(reason, message)| said(reason, message))
        }
        CloneState::Failed => said(Reason::ClaimLost.as_str(), "the PVC lost its volume"),
        CloneState::Waiting => {
            let is_shown = |reason: &str| !reason.is_empty() && !Reason::Completed.is(reason);
            let runs = |name| text(name) == "true";
            let [target, source] = sides;
            let known = match (is_shown(target.0), is_shown(source.0)) {
                (true, _) if !runs(RUNNING) => Some(target),
                (_, true) if !runs(SOURCE_RUNNING) => Some(source),
                _ => None,
            };
            let waits_for_consumer = text(CLONE_PHASE) == PENDING && text(SELECTED_NODE).is_empty();
            match known {
                // Then the other annotations may still tell what it waited for earlier.
                _ if waits_for_consumer && text(CLONE_ERROR).is_empty() => said(
                    DataVolumePhase::PendingPopulation.as_str(),
                    &format!("no pod uses PVC {} yet", claim.metadata.name),
                ),
                Some((reason, message)) => said(reason, message),
                None => said("", text(CLONE_ERROR)),
            }
        }
    }
}
