//! Failures of a clone: their reasons and messages in conditions and events, and when they are reported.
//!
//! Every action that can fail has a [`FailedAction`], and every `FailedAction` has a reason and a message, so that no
//! refusal appears only in the log.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::api::cluster::ApiError;
use crate::objects::{Key, Reason};
use crate::pods::role::Role;
use crate::watch::backoff::Backoff;

/// Shorter refusals are not reported: a new namespace refuses pods until it has its service account.
const REFUSED: Duration = Duration::from_secs(1);
/// Shorter conflicts and outages are not reported: a busy server or a restarting webhook usually recovers within this
/// time.
const BUSY: Duration = Duration::from_secs(10);
/// The short pause after a conflict: another client changed the object, and the watch brings the change.
const AFTER_CONFLICT: Duration = Duration::from_millis(200);
/// A message that differs in each attempt, for example because it contains a time, changes the condition at most this
/// often, because each change wakes the clone again.
const SAME_WORDS: Duration = Duration::from_secs(30);
/// Longest message. A webhook's message can have any length, but the annotations of an object have 256 KiB in total,
/// and an event has 1 KiB.
const MESSAGE_CHARS: usize = 800;

/// Something that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastError {
    /// The action that failed.
    pub failed_action: FailedAction,
    /// The answer of the API server.
    pub error: ApiError,
}

/// What the controller tried for a clone: one variant for each kind of action, one for the observation, and one for the
/// status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FailedAction {
    /// Creating the target claim.
    MakeClaim,
    /// Changing this claim: its annotations, finalizers or owner.
    ChangeClaim(Key),
    /// Changing the DataVolume's labels or annotations.
    ChangeDataVolume,
    /// Creating a pod.
    MakePod {
        /// Which of the two.
        role: Role,
        /// Its key.
        pod: Key,
    },
    /// Creating a Secret with keys of a pod.
    MakeSecret {
        /// Which of the two.
        role: Role,
        /// The pod's key.
        pod: Key,
    },
    /// Deleting these pods.
    DeletePods(Vec<Key>),
    /// Creating the prime claim, or the one that is restored from a snapshot.
    MakePrime,
    /// Deleting one of them.
    DeletePrime,
    /// Taking a snapshot of the source, which is in use.
    MakeSnapshot,
    /// Deleting that snapshot.
    DeleteSnapshot,
    /// Creating or deleting the VolumeCloneSource of a DataVolume.
    ChangeCloneSource,
    /// Changing the volume of this name.
    ChangeVolume(String),
    /// Reading the objects that a decision needs.
    Look,
    /// Writing the DataVolume's status.
    WriteStatus,
}

impl FailedAction {
    /// The role of the pod that it is about.
    pub fn side(&self) -> Option<Role> {
        match self {
            FailedAction::MakePod { role, .. } | FailedAction::MakeSecret { role, .. } => Some(*role),
            FailedAction::MakeClaim
            | FailedAction::ChangeClaim(_)
            | FailedAction::ChangeDataVolume
            | FailedAction::DeletePods(_)
            | FailedAction::MakePrime
            | FailedAction::DeletePrime
            | FailedAction::MakeSnapshot
            | FailedAction::DeleteSnapshot
            | FailedAction::ChangeCloneSource
            | FailedAction::ChangeVolume(_)
            | FailedAction::Look
            | FailedAction::WriteStatus => None,
        }
    }
}

/// Every reason of a [`LastError`].
const REASONS: [Reason; 15] = [
    Reason::ErrTakingSnapshot,
    Reason::ErrDeletingSnapshot,
    Reason::ErrCreatingPrime,
    Reason::ErrDeletingPrime,
    Reason::ErrChangingVolume,
    Reason::ErrChangingCloneSource,
    Reason::ErrExceededQuota,
    Reason::ErrCreatingClaim,
    Reason::ErrChangingClaim,
    Reason::ErrChangingDataVolume,
    Reason::ErrStartingPod,
    Reason::ErrCreatingSecret,
    Reason::ErrDeletingPod,
    Reason::ErrReadingObjects,
    Reason::ErrWritingStatus,
];

/// The reason of a status that cannot be written. Only an event has it.
pub const STATUS_REASON: &str = Reason::ErrWritingStatus.as_str();

/// Whether `reason` is that of a failure.
pub fn is_reason(reason: &str) -> bool {
    REASONS.iter().any(|known| known.is(reason))
}

impl LastError {
    /// The reason of the condition and the event.
    pub fn reason(&self) -> Reason {
        match self.failed_action {
            FailedAction::MakeClaim
            | FailedAction::MakePrime
            | FailedAction::MakeSnapshot
            | FailedAction::MakePod { .. }
            | FailedAction::MakeSecret { .. }
                if self.error.exceeds_quota() =>
            {
                Reason::ErrExceededQuota
            }
            FailedAction::MakeClaim => Reason::ErrCreatingClaim,
            FailedAction::ChangeClaim(_) => Reason::ErrChangingClaim,
            FailedAction::ChangeDataVolume => Reason::ErrChangingDataVolume,
            FailedAction::MakePod { .. } => Reason::ErrStartingPod,
            FailedAction::MakeSecret { .. } => Reason::ErrCreatingSecret,
            FailedAction::DeletePods(_) => Reason::ErrDeletingPod,
            FailedAction::MakePrime => Reason::ErrCreatingPrime,
            FailedAction::DeletePrime => Reason::ErrDeletingPrime,
            FailedAction::MakeSnapshot => Reason::ErrTakingSnapshot,
            FailedAction::DeleteSnapshot => Reason::ErrDeletingSnapshot,
            FailedAction::ChangeCloneSource => Reason::ErrChangingCloneSource,
            FailedAction::ChangeVolume(_) => Reason::ErrChangingVolume,
            FailedAction::Look => Reason::ErrReadingObjects,
            FailedAction::WriteStatus => Reason::ErrWritingStatus,
        }
    }

    /// What failed, and the API server's message.
    pub fn message(&self) -> String {
        let error = &self.error;
        let text = match &self.failed_action {
            // CDI reports only the API server's message.
            FailedAction::MakeClaim if !error.message.is_empty() => error.message.clone(),
            FailedAction::MakeClaim => format!("the PVC cannot be made: {error}"),
            FailedAction::ChangeClaim(claim) => format!("PVC {claim} cannot be changed: {error}"),
            FailedAction::ChangeDataVolume => {
                format!("labels or annotations of the DataVolume cannot be changed: {error}")
            }
            FailedAction::MakePod { pod, .. } => {
                format!("Error starting pod '{}' in namespace '{}': {error}", pod.name, pod.namespace)
            }
            FailedAction::MakeSecret { pod, .. } => {
                format!(
                    "the Secret with the keys of pod '{}' in namespace '{}' cannot be made: {error}",
                    pod.name, pod.namespace
                )
            }
            FailedAction::DeletePods(pods) => {
                let names: Vec<String> = pods.iter().map(ToString::to_string).collect();
                format!("pod {} cannot be deleted: {error}", names.join(", "))
            }
            FailedAction::MakePrime => format!("the temporary PVC of the clone cannot be created: {error}"),
            FailedAction::DeletePrime => format!("the temporary PVC of the clone cannot be deleted: {error}"),
            FailedAction::MakeSnapshot => format!("no snapshot of the source can be taken: {error}"),
            FailedAction::DeleteSnapshot => format!("the snapshot of the source cannot be deleted: {error}"),
            FailedAction::ChangeCloneSource => {
                format!("the VolumeCloneSource of the DataVolume cannot be created or deleted: {error}")
            }
            FailedAction::ChangeVolume(name) => format!("volume {name} cannot be changed: {error}"),
            FailedAction::Look => format!("what the clone needs cannot be read: {error}"),
            FailedAction::WriteStatus => format!("the status of the DataVolume cannot be written: {error}"),
        };
        text.chars().take(MESSAGE_CHARS).collect()
    }

    /// How long the failure has to last before it is reported.
    fn patience(&self) -> Duration {
        let error = &self.error;
        let is_refusal = (400..500).contains(&error.code) && !matches!(error.code, 408 | 429);
        if is_refusal && !error.is_conflict() { REFUSED } else { BUSY }
    }
}

impl std::fmt::Display for LastError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.reason().as_str(), self.message())
    }
}

/// The current failures of each clone, since when they last, and when to retry.
#[derive(Debug, Default)]
pub struct LastErrors(HashMap<Key, Row>);

/// Failures in a row.
#[derive(Debug)]
struct Row {
    backoff: Backoff,
    /// The failure of an observation or of an action.
    acting: Option<Failing>,
    /// The failure to write the status, which every round tries, even if actions fail.
    writing: Option<Failing>,
}

#[derive(Debug)]
struct Failing {
    last_error: LastError,
    since: Instant,
    worded: Instant,
    is_told: bool,
}

/// What to do after a failure.
#[derive(Debug, PartialEq, Eq)]
pub struct Failed {
    /// When to retry.
    pub again: Duration,
    /// The failure to report, once it has lasted long enough.
    pub told: Option<LastError>,
}

impl LastErrors {
    /// The current failure of `key`, if it was reported.
    pub fn told(&self, key: &Key) -> Option<LastError> {
        let failing = self.0.get(key)?.acting.as_ref()?;
        failing.is_told.then(|| failing.last_error.clone())
    }

    /// Remembers a failure. `range` is the shortest and the longest pause.
    pub fn failed(
        &mut self,
        key: &Key,
        last_error: LastError,
        now: Instant,
        range: (Duration, Duration),
    ) -> Failed {
        let row = self.row(key, range);
        let is_conflict = last_error.error.is_conflict();
        let place = if last_error.failed_action == FailedAction::WriteStatus {
            &mut row.writing
        } else {
            &mut row.acting
        };
        let failing = match place.take() {
            Some(before) if before.last_error.failed_action == last_error.failed_action => {
                before.again(last_error, now)
            }
            _ => Failing { last_error, since: now, worded: now, is_told: false },
        };
        let told = failing.is_told.then(|| failing.last_error.clone());
        let is_fresh = now.saturating_duration_since(failing.since) < REFUSED;
        *place = Some(failing);
        let again = if is_conflict && is_fresh { AFTER_CONFLICT } else { row.backoff.next() };
        Failed { again, told }
    }

    /// Remembers a failure without a message. Returns when to retry.
    pub fn pause(&mut self, key: &Key, range: (Duration, Duration)) -> Duration {
        self.row(key, range).backoff.next()
    }

    /// Forgets the failure of an observation or action, after all actions of a round succeeded. Returns whether it had
    /// been reported.
    pub fn acted(&mut self, key: &Key) -> bool {
        let was_told = self.told(key).is_some();
        self.over(key, |row| row.acting = None);
        was_told
    }

    /// Forgets the failure to write the status, after the status was written or needed no change.
    pub fn written(&mut self, key: &Key) {
        self.over(key, |row| row.writing = None);
    }

    fn over(&mut self, key: &Key, clear: impl FnOnce(&mut Row)) {
        let Some(row) = self.0.get_mut(key) else { return };
        clear(row);
        if row.acting.is_none() && row.writing.is_none() {
            self.0.remove(key);
        }
    }

    fn row(&mut self, key: &Key, (min, max): (Duration, Duration)) -> &mut Row {
        self.0.entry(key.clone()).or_insert_with(|| Row {
            backoff: Backoff::new(min, max, key.to_string()),
            acting: None,
            writing: None,
        })
    }
}

impl Failing {
    /// The state after one more failure in a row.
    fn again(mut self, last_error: LastError, now: Instant) -> Self {
        self.is_told |= now.saturating_duration_since(self.since) >= last_error.patience();
        let is_other = (self.last_error.error.code, &self.last_error.error.reason)
            != (last_error.error.code, &last_error.error.reason);
        if is_other || now.saturating_duration_since(self.worded) >= SAME_WORDS {
            self.last_error = last_error;
            self.worded = now;
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANGE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

    fn refusal(message: &str) -> LastError {
        let error = ApiError { code: 403, reason: "Forbidden".to_owned(), message: message.to_owned() };
        LastError { failed_action: FailedAction::MakeClaim, error }
    }

    fn conflict() -> LastError {
        let error = ApiError { code: 409, reason: "Conflict".to_owned(), message: "changed".to_owned() };
        LastError { failed_action: FailedAction::ChangeClaim(key()), error }
    }

    fn key() -> Key {
        Key::new("n", "copy")
    }

    /// Whether each of the failures at these seconds is reported.
    fn told(last_error: &LastError, at_secs: &[u64]) -> Vec<bool> {
        let (mut last_errors, begin) = (LastErrors::default(), Instant::now());
        let fail = |secs: &u64| {
            let at = begin + Duration::from_secs(*secs);
            let failed = last_errors.failed(&key(), last_error.clone(), at, RANGE);
            assert_eq!(failed.told, last_errors.told(&key()));
            failed.told.is_some()
        };
        at_secs.iter().map(fail).collect()
    }

    #[test]
    fn a_single_failure_is_never_reported() {
        assert_eq!(told(&refusal("no"), &[0]), [false]);
        let mut last_errors = LastErrors::default();
        let begin = Instant::now();
        for secs in [0, 5, 10, 15] {
            let failed = last_errors.failed(&key(), refusal("no"), begin + Duration::from_secs(secs), RANGE);
            assert_eq!(failed.told, None);
            assert!(!last_errors.acted(&key()));
        }
    }

    #[test]
    fn a_refusal_is_reported_with_the_first_attempt_after_a_second_and_stays_reported() {
        assert_eq!(told(&refusal("no"), &[0, 0, 1, 2, 60]), [false, false, true, true, true]);
    }

    #[test]
    fn a_conflict_or_a_busy_server_is_reported_when_it_lasts() {
        assert_eq!(told(&conflict(), &[0, 1, 9, 10]), [false, false, false, true]);
        for code in [0, 408, 429, 500, 503] {
            let mut busy = refusal("later");
            busy.error.code = code;
            assert_eq!(told(&busy, &[0, 9, 10]), [false, false, true], "{code}");
        }
    }

    #[test]
    fn a_conflict_is_retried_immediately_but_only_for_a_while() {
        let (mut last_errors, begin) = (LastErrors::default(), Instant::now());
        let mut again = |millis| {
            last_errors.failed(&key(), conflict(), begin + Duration::from_millis(millis), RANGE).again
        };
        assert_eq!((again(0), again(200)), (AFTER_CONFLICT, AFTER_CONFLICT));
        assert!(again(1200) >= Duration::from_millis(500));
    }

    #[test]
    fn a_success_ends_the_failure_and_resets_the_pauses() {
        let (mut last_errors, now) = (LastErrors::default(), Instant::now());
        let first = last_errors.failed(&key(), refusal("no"), now, RANGE).again;
        last_errors.failed(&key(), refusal("no"), now + REFUSED, RANGE);
        assert!(last_errors.acted(&key()));
        assert_eq!(last_errors.told(&key()), None);
        assert_eq!(last_errors.failed(&key(), refusal("no"), now, RANGE).again, first);
    }

    #[test]
    fn the_failure_of_another_action_is_counted_on_its_own() {
        let (mut last_errors, now) = (LastErrors::default(), Instant::now());
        last_errors.failed(&key(), refusal("no"), now, RANGE);
        last_errors.failed(&key(), refusal("no"), now + REFUSED, RANGE);
        assert_eq!(last_errors.failed(&key(), conflict(), now + REFUSED, RANGE).told, None);
        assert_eq!(last_errors.told(&key()), None);
    }

    #[test]
    fn a_status_that_cannot_be_written_hides_no_failed_action() {
        let (mut last_errors, now) = (LastErrors::default(), Instant::now());
        let status = LastError { failed_action: FailedAction::WriteStatus, ..refusal("no status") };
        for secs in 0..3 {
            let at = now + Duration::from_secs(secs);
            last_errors.failed(&key(), refusal("no"), at, RANGE);
            last_errors.failed(&key(), status.clone(), at, RANGE);
        }
        assert_eq!(last_errors.told(&key()), Some(refusal("no")));
        assert!(last_errors.acted(&key()));
        assert_eq!(last_errors.failed(&key(), status.clone(), now + BUSY, RANGE).told, Some(status));
    }

    #[test]
    fn messages_that_differ_in_each_attempt_change_the_condition_at_most_twice_a_minute() {
        let (mut last_errors, now) = (LastErrors::default(), Instant::now());
        let mut said = |secs: u64| {
            let last_error = refusal(&format!("no, it is {secs}"));
            last_errors
                .failed(&key(), last_error, now + Duration::from_secs(secs), RANGE)
                .told
                .map(|told| told.error.message)
        };
        said(0);
        assert_eq!(said(29).as_deref(), Some("no, it is 0"));
        assert_eq!(said(30).as_deref(), Some("no, it is 30"));
    }

    #[test]
    fn a_long_answer_is_cut() {
        assert_eq!(refusal(&"\u{e4}".repeat(100_000)).message().chars().count(), MESSAGE_CHARS);
    }
}
