//! Which clones need a person: what `kubectl decant doctor` tells of them.

use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use crate::objects::reason::is_usual;
use crate::objects::{ConditionType, DataVolume};
use crate::summary::advice::{GENERAL, advice};
use crate::summary::clone_summary::{CloneState, CloneSummary};

/// What begins does not have to be anywhere yet.
const GRACE: Duration = Duration::seconds(60);

/// Why a clone needs a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// What is wrong, with the words of whatever refused.
    pub found: String,
    /// What helps.
    pub helps: &'static str,
}

impl Complaint {
    /// What is wrong with the clone of `dv`, which stands as `seen`: it stands still, or something fails although it runs or is
    /// complete. `None` when all is well, or when it waits its turn.
    pub fn of(dv: &DataVolume, seen: &CloneSummary, now: OffsetDateTime) -> Option<Self> {
        let helps = advice(&seen.reason).map_or(GENERAL, |advice| advice.helps);
        let told = |found: String| Some(Self { found, helps });
        match seen.state {
            CloneState::Succeeded | CloneState::Running if seen.reason.is_empty() => None,
            CloneState::Failed => told(format!("failed: {}", seen.why())),
            CloneState::Waiting if seen.phase.is_empty() && seen.reason.is_empty() => {
                let helps = "no controller acts, or it watches another namespace";
                is_old(&seen.created, now)
                    .then(|| Self { found: "no controller has looked at it yet".to_owned(), helps })
            }
            CloneState::Waiting if matches!(seen.reason.as_str(), "Queued" | "WaitForFirstConsumer") => None,
            CloneState::Waiting if is_usual(&seen.reason) => {
                let since = since(dv);
                let why = if seen.why().is_empty() { seen.phase.clone() } else { seen.why() };
                if is_old(since, now) { told(format!("{why} (since {since})")) } else { None }
            }
            CloneState::Succeeded | CloneState::Running | CloneState::Waiting => told(seen.why()),
        }
    }
}

/// Since when `dv` says what it says about claim and pods; RFC 3339, empty if it says nothing.
fn since(dv: &DataVolume) -> &str {
    let times = [ConditionType::Bound, ConditionType::Running]
        .map(|kind| dv.status.condition(kind).map_or("", |condition| &condition.last_heartbeat_time));
    // Times in UTC sort as text.
    times.into_iter().max().unwrap_or_default()
}

/// Whether this was long enough ago to be no beginning.
pub fn is_old(time: &str, now: OffsetDateTime) -> bool {
    OffsetDateTime::parse(time, &Rfc3339).is_ok_and(|time| now - time > GRACE)
}
