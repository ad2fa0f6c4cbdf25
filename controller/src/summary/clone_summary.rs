//! The summary of a clone from its DataVolume, which `kubectl decant` and the status page show.

use decant_shared::protocol::units::{Bytes, Rate};
use serde::Serialize;

use crate::objects::annotations::{
    BANDWIDTH_LIMIT, DIGEST, LEFT_SECS, LIMIT_BYTES, RATE_BYTES, SENT_BYTES, SNAPSHOT_TIME, TOTAL_BYTES,
    TRANSFER_MODE, TRANSFER_PHASE,
};
use crate::objects::clone_request::{Wanted, wanted};
use crate::objects::data_volume::higher_percent;
use crate::objects::{
    ClonedObject, ConditionStatus, ConditionType, DataVolume, DataVolumePhase, Key, Kind, Meta, Reason,
};
use crate::progress::clone_progress::{Progress, amounts, target_activity};
use crate::progress::page::phase_named;
use crate::reconcile::last_error;
use crate::reconcile::transfer::TransferMode;

/// The state of a clone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum CloneState {
    /// Data is being copied.
    Running,
    /// Something has to happen first; the reason names it.
    Waiting,
    /// It will not continue.
    Failed,
    /// It is complete.
    Succeeded,
}

impl CloneState {
    /// The state of `dv`.
    pub fn of(dv: &DataVolume) -> Self {
        let running = dv.status.condition(ConditionType::Running);
        match dv.status.phase {
            DataVolumePhase::Succeeded => CloneState::Succeeded,
            DataVolumePhase::Failed => CloneState::Failed,
            _ if running.is_some_and(|running| running.status == ConditionStatus::True) => {
                CloneState::Running
            }
            _ => CloneState::Waiting,
        }
    }

    /// Whether the state will not change any more.
    pub fn is_final(self) -> bool {
        matches!(self, CloneState::Failed | CloneState::Succeeded)
    }
}

/// The summary of a clone.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CloneSummary {
    /// `DataVolume`, or `PersistentVolumeClaim` for a PVC that is filled without a DataVolume.
    pub kind: &'static str,
    /// The namespace of the DataVolume or PVC.
    pub namespace: String,
    /// The name of the DataVolume or PVC.
    pub name: String,
    /// The source: `namespace/name` of a PVC or of a DataSource; empty if it cannot be read. For a PVC, kind and name of
    /// its data source.
    pub source: String,
    /// The state.
    pub state: CloneState,
    /// The phase of the DataVolume; for a PVC, its annotation `cdi.kubevirt.io/clonePhase`.
    pub phase: String,
    /// 0 to 100; `None` while it is unknown.
    pub percent: Option<f64>,
    /// Logical bytes that the target has received.
    pub sent_bytes: Option<u64>,
    /// Logical bytes of the whole volume.
    pub total_bytes: Option<u64>,
    /// The smoothed rate.
    pub rate_bytes_per_second: Option<u64>,
    /// The remaining time at this rate.
    pub left_secs: Option<u64>,
    /// The bandwidth limit that the user wishes, as written.
    pub bandwidth_limit: Option<String>,
    /// The bandwidth limit in force: that of the user, or the share of the budget for all clones.
    pub limit_bytes_per_second: Option<u64>,
    /// Why it does not run, or what fails although it runs or succeeded; empty if nothing fails.
    pub reason: String,
    /// The same for people; for a running clone, also what the target does at the end.
    pub message: String,
    /// How often its pods were restarted or replaced.
    pub restarts: i64,
    /// When the DataVolume or PVC was created; RFC 3339.
    pub created: String,
    /// When the DataVolume succeeded or failed; RFC 3339, empty before. Always empty for a PVC.
    pub ended: String,
    /// How the bytes travel: `direct` within one pod, `network` between two pods; `None` while it is unknown.
    pub transfer: Option<&'static str>,
    /// When the snapshot was taken that is cloned because the source is in use; RFC 3339.
    pub snapshot_time: Option<String>,
    /// The digest of the content, once source and target agree on it.
    pub digest: Option<String>,
}

impl CloneSummary {
    /// The summary of `dv`; `None` if it does not request a clone of a PVC.
    pub fn of(dv: &DataVolume) -> Option<Self> {
        let source = match wanted(dv) {
            Ok(Wanted::NotOurs(_)) => return None,
            Ok(Wanted::Claim(key) | Wanted::DataSource(key)) => key.to_string(),
            Ok(Wanted::Snapshot(key)) => ClonedObject::snapshot(key).to_string(),
            Err(_) => String::new(),
        };
        let state = CloneState::of(dv);
        let number = |name| dv.metadata.annotation(name).and_then(|text| text.parse::<u64>().ok());
        let runs = state == CloneState::Running;
        let (reason, message) = why(dv, state);
        Some(Self {
            kind: Kind::DataVolume.name(),
            namespace: dv.metadata.namespace.clone(),
            name: dv.metadata.name.clone(),
            source,
            state,
            phase: dv.status.phase.to_string(),
            percent: dv.status.progress.percent(),
            sent_bytes: number(if state == CloneState::Succeeded { TOTAL_BYTES } else { SENT_BYTES }),
            total_bytes: number(TOTAL_BYTES),
            rate_bytes_per_second: number(RATE_BYTES).filter(|_| runs),
            left_secs: number(LEFT_SECS).filter(|_| runs),
            bandwidth_limit: dv.metadata.annotation(BANDWIDTH_LIMIT).map(str::to_owned),
            limit_bytes_per_second: number(LIMIT_BYTES).filter(|_| runs),
            reason,
            message,
            restarts: dv.status.restart_count,
            created: dv.metadata.creation_timestamp.clone(),
            ended: ended(dv).to_owned(),
            transfer: transfer_of(&dv.metadata),
            snapshot_time: dv.metadata.annotation(SNAPSHOT_TIME).map(str::to_owned),
            digest: dv.metadata.annotation(DIGEST).map(str::to_owned),
        })
    }

    /// Adds newer progress that the source has reported since the DataVolume was written.
    pub fn with(mut self, news: Option<&Progress>) -> Self {
        if let Some(news) = news.filter(|_| self.state == CloneState::Running) {
            self.percent = higher_percent(self.percent, Some(news.percent));
            if self.reason.is_empty() {
                self.message = target_activity(news.phase).unwrap_or_default().to_owned();
            }
            self.sent_bytes = news.sent_bytes;
            self.total_bytes = news.total_bytes;
            self.rate_bytes_per_second = news.rate_bytes_per_sec;
            self.left_secs = news.left_secs();
            self.limit_bytes_per_second = news.limit.map(|Rate(bytes_per_sec)| bytes_per_sec);
        }
        self
    }

    /// Namespace and name.
    pub fn key(&self) -> Key {
        Key::new(&self.namespace, &self.name)
    }

    /// Whether a PVC without a DataVolume reports the clone.
    pub fn is_claim(&self) -> bool {
        self.kind == Kind::PersistentVolumeClaim.name()
    }

    /// The name in lists: a PVC is marked as one.
    pub fn shown_name(&self) -> String {
        if self.is_claim() { format!("pvc/{}", self.name) } else { self.name.clone() }
    }

    /// `12.34 %`, or a dash while it is unknown. Rounded down: only a clone that succeeded has 100.
    pub fn percent_text(&self) -> String {
        self.percent
            .map_or_else(|| "-".to_owned(), |percent| format!("{:.2} %", (percent * 100.0).floor() / 100.0))
    }

    /// `1.20 GiB of 8.00 GiB, 210.0 MiB/s, 33s left, limit 300.0 MiB/s, in one pod`, and the time of a snapshot that is
    /// cloned because the source is in use; empty while they are unknown.
    pub fn amounts(&self) -> String {
        let amounts = if self.state == CloneState::Succeeded {
            self.total_bytes.map(|total| Bytes(total).to_string()).unwrap_or_default()
        } else {
            let amounts =
                amounts(self.sent_bytes, self.total_bytes, self.rate_bytes_per_second, self.left_secs);
            match self.limit_bytes_per_second {
                Some(limit) if !amounts.is_empty() => format!("{amounts}, limit {}", Rate(limit)),
                _ => amounts,
            }
        };
        let amounts = match self.transfer.and_then(TransferMode::of) {
            Some(mode) if !amounts.is_empty() => format!("{amounts}, {}", mode.shown()),
            _ => amounts,
        };
        match &self.snapshot_time {
            Some(time) if !amounts.is_empty() => format!("{amounts}, from a snapshot of {time}"),
            _ => amounts,
        }
    }

    /// Why it does not run, starting with the reason; for a running clone, a note.
    pub fn why(&self) -> String {
        match (self.reason.as_str(), self.message.as_str()) {
            ("", text) | (text, "") => text.to_owned(),
            (reason, message) => format!("{reason}: {message}"),
        }
    }
}

/// How the bytes travel, as an object reports it. Users can write the annotation.
pub(super) fn transfer_of(meta: &Meta) -> Option<&'static str> {
    meta.annotation(TRANSFER_MODE).and_then(TransferMode::of).map(TransferMode::as_str)
}

/// When `dv` succeeded or failed; empty until then.
pub(crate) fn ended(dv: &DataVolume) -> &str {
    let ready = dv.status.condition(ConditionType::Ready).filter(|_| CloneState::of(dv).is_final());
    ready.map_or("", |ready| &ready.last_transition_time)
}

/// Reasons of the Bound condition that explain nothing.
const HARMLESS: [Reason; 3] = [Reason::Bound, Reason::Pending, Reason::NotFound];

/// Reason and message for a clone that waits or failed; a problem of its claim comes first, because nothing continues
/// without the claim. For a clone that runs or succeeded, any other failure.
fn why(dv: &DataVolume, state: CloneState) -> (String, String) {
    let said = |kind: ConditionType| {
        dv.status.condition(kind).map(|c| (c.reason.clone(), c.message.clone())).unwrap_or_default()
    };
    let (bound, running, ready) =
        (said(ConditionType::Bound), said(ConditionType::Running), said(ConditionType::Ready));
    match state {
        _ if Reason::ControllerFault.is(&ready.0) => ready,
        CloneState::Running if last_error::is_reason(&running.0) => running,
        CloneState::Running => {
            let phase = dv.metadata.annotation(TRANSFER_PHASE).and_then(phase_named);
            (String::new(), target_activity(phase).unwrap_or_default().to_owned())
        }
        CloneState::Succeeded if last_error::is_reason(&running.0) => running,
        CloneState::Succeeded => Default::default(),
        CloneState::Waiting | CloneState::Failed => match dv.status.phase {
            DataVolumePhase::WaitForFirstConsumer | DataVolumePhase::PendingPopulation
                if running.0.is_empty() =>
            {
                (dv.status.phase.to_string(), format!("no pod uses PVC {} yet", dv.status.claim_name))
            }
            _ if !bound.0.is_empty() && !HARMLESS.iter().any(|reason| reason.is(&bound.0)) => bound,
            _ if !running.0.is_empty() && !Reason::Completed.is(&running.0) => running,
            _ if Reason::Pending.is(&bound.0) => bound,
            _ => Default::default(),
        },
    }
}
