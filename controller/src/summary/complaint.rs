//! Finds the clones that need help, for `kubectl decant doctor`.

use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use crate::objects::reason::is_usual;
use crate::objects::{ConditionType, DataVolume, DataVolumePhase, Reason};
use crate::summary::advice::{GENERAL, advice};
use crate::summary::clone_summary::{CloneState, CloneSummary};

/// A usual state, such as a starting pod, becomes a complaint only after this time.
const GRACE: Duration = Duration::seconds(60);

/// Why a clone needs help.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// What is wrong, with the message of the component that refused.
    pub found: String,
    /// What to do.
    pub helps: &'static str,
}

impl Complaint {
    /// What is wrong with the clone of `dv`, which `seen` summarizes: it does not continue, or something fails although
    /// it runs or is complete. `None` if nothing is wrong, or if it is queued.
    pub fn of(dv: &DataVolume, seen: &CloneSummary, now: OffsetDateTime) -> Option<Self> {
        Self::about(seen, since(dv), now)
    }

    /// The same about the clone of a PVC without a DataVolume.
    pub fn of_claim(seen: &CloneSummary, now: OffsetDateTime) -> Option<Self> {
        Self::about(seen, &seen.created, now)
    }

    /// `since` is the time since which nothing about the clone has changed.
    fn about(seen: &CloneSummary, since: &str, now: OffsetDateTime) -> Option<Self> {
        let helps = advice(&seen.reason).map_or(GENERAL, |advice| advice.helps);
        let complaint = |found: String| Some(Self { found, helps });
        match seen.state {
            CloneState::Succeeded | CloneState::Running if seen.reason.is_empty() => None,
            CloneState::Failed => complaint(format!("failed: {}", seen.why())),
            CloneState::Waiting if seen.phase.is_empty() && seen.reason.is_empty() => {
                let helps = "start a controller that watches this namespace";
                is_old(&seen.created, now)
                    .then(|| Self { found: "no controller has processed it yet".to_owned(), helps })
            }
            CloneState::Waiting if waits_for_its_turn(&seen.reason) => None,
            CloneState::Waiting if is_usual(&seen.reason) => {
                let why = if seen.why().is_empty() { seen.phase.clone() } else { seen.why() };
                if is_old(since, now) { complaint(format!("{why} (since {since})")) } else { None }
            }
            CloneState::Succeeded | CloneState::Running | CloneState::Waiting => complaint(seen.why()),
        }
    }
}

/// Whether nothing is wrong with a clone that waits for this reason, however long it waits.
fn waits_for_its_turn(reason: &str) -> bool {
    Reason::Queued.is(reason)
        || [DataVolumePhase::WaitForFirstConsumer, DataVolumePhase::PendingPopulation]
            .iter()
            .any(|phase| phase.as_str() == reason)
}

/// Since when the conditions of `dv` about its PVC and pods are unchanged; RFC 3339, empty without conditions.
fn since(dv: &DataVolume) -> &str {
    let times = [ConditionType::Bound, ConditionType::Running]
        .map(|kind| dv.status.condition(kind).map_or("", |condition| &condition.last_heartbeat_time));
    // Times in UTC sort as text.
    times.into_iter().max().unwrap_or_default()
}

/// Whether `time` is longer ago than a clone usually takes to start.
pub fn is_old(time: &str, now: OffsetDateTime) -> bool {
    OffsetDateTime::parse(time, &Rfc3339).is_ok_and(|time| now - time > GRACE)
}
