//! The workers: take a key, observe, decide, act, report.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use decant_shared::process::panics::{self, Panic};
use decant_shared::process::stop::Stop;
use decant_shared::protocol::progress::Phase;
use decant_shared::protocol::units::Rate;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::api::cluster::{ApiError, Cluster, Part};
use crate::cluster_settings::LivePolicy;
use crate::objects::annotations::{
    CLONE_REQUEST, LEFT_SECS, LIMIT_BYTES, POPULATOR_PROGRESS, RATE_BYTES, SENT_BYTES, TOTAL_BYTES,
    TRANSFER_MODE, TRANSFER_PHASE,
};
use crate::objects::data_volume::{DataVolumeStatus, ReportedProgress};
use crate::objects::{Claim, DECODE_LIMIT_BYTES, Key, Kind, Meta, Object, decode_within};
use crate::policy::Scope;
use crate::progress::bandwidth::LimitWish;
use crate::progress::clone_progress::Progress;
use crate::progress::poller::{FIRST_POLL, Pollers};
use crate::progress::write_budget::{WriteBudget, Writes};
use crate::reconcile::act::Executor;
use crate::reconcile::actions::Action;
use crate::reconcile::decide::Decision;
use crate::reconcile::events::Event;
use crate::reconcile::last_error::{Failed, FailedAction, LastError, LastErrors};
use crate::reconcile::observe::{Look, Observer, is_for_clone_source};
use crate::reconcile::observed::Observed;
use crate::reconcile::status::conditions::{with_fault, with_last_error};
use crate::reconcile::status::{may_wait, status_patch, with_times};
use crate::reconcile::step::SlotAction;
use crate::reconcile::step::Step;
use crate::reconcile::transfer;
use crate::reconcile::{decide, events};
use crate::watch::queue::Queue;
use crate::watch::unreadable::{UnreadableObject, Unreadables};

/// A clone that waits for an unreadable object is observed again after this many usual waits. The watch reports changes
/// of the clone's own objects; these observations notice changes of the objects that they refer to.
const UNREADABLE_LOOKS: u32 = 5;
/// The pause until the status is checked again, after an action that had failed for a while succeeded.
const AFTER_LAST_ERROR: Duration = Duration::from_millis(500);

/// Counts of rounds.
#[derive(Debug, Default)]
pub struct Rounds {
    well: AtomicU64,
    badly: AtomicU64,
    panicked: AtomicU64,
}

impl Rounds {
    /// The number of rounds without and with an error.
    pub fn counts(&self) -> (u64, u64) {
        (self.well.load(Ordering::Relaxed), self.badly.load(Ordering::Relaxed))
    }

    /// The number of rounds that a panic ended.
    pub fn panics(&self) -> u64 {
        self.panicked.load(Ordering::Relaxed)
    }
}

/// The state that all workers share.
pub struct Reconciler {
    /// The API server.
    pub cluster: Arc<dyn Cluster>,
    /// Observes.
    pub observer: Observer,
    /// Acts.
    pub executor: Executor,
    /// Polls the sources.
    pub pollers: Arc<Pollers>,
    /// Keys to reconcile.
    pub queue: Arc<Queue>,
    /// Bounds progress writes.
    pub budget: WriteBudget,
    /// The settings of the operator.
    pub policy: Arc<LivePolicy>,
    /// For the metrics.
    pub rounds: Rounds,
    /// Objects that cannot be read, which block some keys.
    pub unreadable: Arc<Unreadables>,
    /// The current failures of each key, and when to retry.
    pub last_errors: Mutex<LastErrors>,
}

impl Reconciler {
    /// Starts `count` workers. They end on the stop token.
    pub fn start(self: &Arc<Self>, count: usize, stop: &Stop) -> std::io::Result<Vec<JoinHandle<()>>> {
        (0..count)
            .map(|number| {
                let reconciler = Arc::clone(self);
                let stop = stop.clone();
                Builder::new().name(format!("worker-{number}")).spawn(move || {
                    while let Some(key) = reconciler.queue.take(&stop) {
                        let again = reconciler.work(&key);
                        reconciler.queue.done(&key, again);
                    }
                })
            })
            .collect()
    }

    /// One round for one key. Returns when to observe it again. A panic is a fault of this program that this key
    /// triggered: it is reported and retried like any failure, and does not affect other keys.
    pub fn work(&self, key: &Key) -> Option<Duration> {
        match panics::catch(|| self.round(key)) {
            Ok(Ok(again)) => again,
            Ok(Err(last_error)) => {
                self.rounds.badly.fetch_add(1, Ordering::Relaxed);
                log::warn!("{key}: {last_error}");
                let failed = self.failed(key, last_error);
                if let Some(last_error) = failed.told {
                    self.tell_of_last_error(key, &last_error);
                }
                Some(failed.again)
            }
            Err(panic) => {
                self.rounds.panicked.fetch_add(1, Ordering::Relaxed);
                log::error!("{key}: internal error in the controller: {panic}; please report it");
                // The report may trigger the same fault.
                if let Err(again) = panics::catch(|| self.tell_of_panic(key, &panic)) {
                    log::error!("{key}: cannot report the fault: {again}");
                }
                Some(self.last_errors().pause(key, self.policy.now().intervals.backoff))
            }
        }
    }

    fn round(&self, key: &Key) -> Result<Option<Duration>, LastError> {
        for odd in self.unreadable.to_report(key) {
            let event = events::unreadable(&odd);
            self.report(&event, odd.kind, &odd.meta, OffsetDateTime::now_utc());
        }
        let now = OffsetDateTime::now_utc();
        if let Some((odd, is_news)) = self.unreadable.in_the_way(key, &self.observer.stores) {
            if odd.meta.namespace != key.namespace && self.deny(key, now)? {
                return Ok(Some(self.policy.now().intervals.wait * UNREADABLE_LOOKS));
            }
            return Ok(Some(self.wait_for(key, &odd, is_news)));
        }
        let mut seen = self.observe(key)?;
        // An object that became unreadable during the observation seemed to be gone.
        if let Some((odd, is_news)) = self.unreadable.in_the_way(key, &self.observer.stores) {
            return Ok(Some(self.wait_for(key, &odd, is_news)));
        }
        let decision = self.settled(key, &mut seen, now)?;
        log::debug!("{key}: {:?}", decision.step);
        self.follow_progress(key, &seen, &decision.step);
        self.note_limits(key, &seen);
        self.tell_about_claim(&seen, &decision, now);
        let Acted { failed, told, again } = self.act(key, &seen, &decision, now);
        let report = if told == seen.last_error {
            decision
        } else {
            // Status and events report the current failure, with the rest of the observation unchanged.
            seen.last_error = told;
            decide::decide(&seen, now, &self.policy.now())
        };
        if let Some(failed) = &failed {
            self.tell_of_failure(key, &seen, &report, failed, now);
        }
        // A DataVolume that has Succeeded has its digest. If an action failed, the phase is left to the retry, which first
        // writes the digest. A status that reports the failure is written anyway.
        let later = if failed.is_some() && seen.last_error.is_none() && report.completes(&seen) {
            None
        } else {
            let later = self.tell(key, &seen, &report, now)?;
            self.last_errors().written(key);
            later
        };
        // The round of a prime is the cause of most that its target reports.
        if let Some(populated) = &seen.populates {
            self.queue.add(populated.key.clone(), Duration::ZERO);
        }
        Ok(later.into_iter().chain(again).min())
    }

    fn observe(&self, key: &Key) -> Result<Observed, LastError> {
        let last_errors = |key: &Key| self.last_errors().told(key);
        let look = Look { readings: &self.pollers.readings, last_errors: &last_errors };
        self.observer.observe(key, &look).map_err(looking)
    }

    /// The decision about `seen`, once the scheduler agrees with it and, before a pod is created, the permission is
    /// checked again. If they disagree, `seen` is updated with their answer and the decision is repeated.
    fn settled(&self, key: &Key, seen: &mut Observed, now: OffsetDateTime) -> Result<Decision, LastError> {
        let mut decision = decide::decide(seen, now, &self.policy.now());
        if decision.slot == SlotAction::TakeSlot {
            let slot = self.executor.take_slot(key, seen);
            if slot != seen.slot {
                seen.slot = slot;
                decision = decide::decide(seen, now, &self.policy.now());
            }
        }
        // Not checked in every round, but always before a pod is created: the right may have been withdrawn since.
        if decision.step.makes_pod()
            && let Some(denied) = self.observer.withdrawn(key, seen).map_err(looking)?
        {
            seen.permission = Some(denied);
            decision = decide::decide(seen, now, &self.policy.now());
        }
        if decision.step == Step::MakeTargetPod {
            seen.placement_obstacle = self.observer.placement_obstacle(seen).map_err(looking)?;
            if let Some(why) = &seen.placement_obstacle {
                log::info!("{key}: two pods clone over the network: {why}");
            }
        }
        if decision.slot == SlotAction::ReleaseSlot {
            for next in self.executor.release_slot(key) {
                self.queue.add(next, Duration::ZERO);
            }
        }
        Ok(decision)
    }

    /// Carries `decision` out, and remembers failures.
    fn act(&self, key: &Key, seen: &Observed, decision: &Decision, now: OffsetDateTime) -> Acted {
        let Err(last_error) = self.executor.carry_out(&decision.actions, seen, now) else {
            self.rounds.well.fetch_add(1, Ordering::Relaxed);
            // By then the watch has brought the change, and the next round corrects the status.
            let soon = self.last_errors().acted(key).then_some(AFTER_LAST_ERROR);
            let again = decision.again.into_iter().chain(soon).min();
            return Acted { failed: None, told: None, again };
        };
        if last_error.error.is_conflict() {
            log::debug!("{key}: {last_error}");
        } else {
            self.rounds.badly.fetch_add(1, Ordering::Relaxed);
            log::warn!("{key}: {last_error}");
        }
        let failed = FailedRound {
            action: last_error.failed_action.clone(),
            is_conflict: last_error.error.is_conflict(),
        };
        let remembered = self.failed(key, last_error);
        // A clone that does not depend on the failed action is observed as often as any other.
        let is_independent =
            matches!(failed.action, FailedAction::DeletePods(_) | FailedAction::MakeSecret { .. })
                && matches!(
                    decision.step,
                    Step::WaitForTarget | Step::Copying | Step::WaitForSource | Step::Pause(_)
                );
        let again = decision.again.filter(|_| is_independent).into_iter().chain([remembered.again]).min();
        Acted { failed: Some(failed), told: remembered.told, again }
    }

    /// Reports about claim and pods what failed in this round, and still writes the annotations of the claim.
    fn tell_of_failure(
        &self,
        key: &Key,
        seen: &Observed,
        report: &Decision,
        failed: &FailedRound,
        now: OffsetDateTime,
    ) {
        self.tell_about_claim(seen, report, now);
        self.tell_about_pods(seen, now);
        if failed.is_conflict || matches!(failed.action, FailedAction::ChangeClaim(_)) {
            return;
        }
        let is_annotation = |action: &&Action| matches!(action, Action::Annotate(_) | Action::RecordPod(_));
        let annotations: Vec<Action> = report.actions.iter().filter(is_annotation).cloned().collect();
        if let Err(last_error) = self.executor.carry_out(&annotations, seen, now) {
            log::debug!("{key}: {last_error}");
        }
    }

    /// Reports a missing permission and does nothing else, because a clone without permission must not reveal the state
    /// of another namespace. Returns whether the permission is missing.
    fn deny(&self, key: &Key, now: OffsetDateTime) -> Result<bool, LastError> {
        let look = Look { readings: &self.pollers.readings, last_errors: &|_| None };
        let seen = self.observer.observe(key, &look).map_err(looking)?;
        let decision = decide::decide(&seen, now, &self.policy.now());
        let is_denied = matches!(decision.step, Step::Denied(_));
        if is_denied {
            self.tell_about_claim(&seen, &decision, now);
            self.tell(key, &seen, &decision, now)?;
        }
        Ok(is_denied)
    }

    /// Reports that `key` waits, and does nothing else as long as `odd` cannot be read: `odd` may have changed in any
    /// way.
    fn wait_for(&self, key: &Key, odd: &UnreadableObject, is_news: bool) -> Duration {
        log::debug!("{key} waits: {odd}");
        if is_news && let Some((kind, about)) = self.about(key) {
            self.report(&events::waits_for_unreadable(odd, key), kind, &about, OffsetDateTime::now_utc());
        }
        self.policy.now().intervals.wait * UNREADABLE_LOOKS
    }

    /// The object that users check for `key`: the DataVolume, or a claim that requests a clone without a DataVolume.
    fn about(&self, key: &Key) -> Option<(Kind, Meta)> {
        let stores = &self.observer.stores;
        if let Some(dv) = stores.data_volumes.get(key) {
            return Some((Kind::DataVolume, dv.metadata.clone()));
        }
        let is_clone = |claim: &Claim| match self.policy.now().scope {
            Scope::All => claim.metadata.annotation(CLONE_REQUEST).is_some() || claim.populator().is_some(),
            Scope::CloneSources => is_for_clone_source(claim),
        };
        let claim = stores.claims.get(key).filter(|claim| is_clone(claim))?;
        Some((Kind::PersistentVolumeClaim, claim.metadata.clone()))
    }

    /// Reports a fault of the controller as event and condition.
    fn tell_of_panic(&self, key: &Key, panic: &Panic) {
        let event = events::controller_fault(panic);
        self.tell_besides(key, &event, |old| Some(with_fault(old, &panic.to_string())));
    }

    /// Reports a failure as event and condition when there is no decision.
    fn tell_of_last_error(&self, key: &Key, last_error: &LastError) {
        self.tell_besides(key, &events::of_trouble(last_error), |old| {
            // A status that cannot be written is not retried here.
            (last_error.failed_action != FailedAction::WriteStatus).then(|| with_last_error(old, last_error))
        });
    }

    fn tell_besides(
        &self,
        key: &Key,
        event: &Event,
        new: impl FnOnce(&DataVolumeStatus) -> Option<DataVolumeStatus>,
    ) {
        let Some((kind, about)) = self.about(key) else { return };
        let now = OffsetDateTime::now_utc();
        self.report(event, kind, &about, now);
        let Some(dv) = self.observer.stores.data_volumes.get(key) else { return };
        let Some(new) = new(&dv.status).map(|new| with_times(new, &dv.status, now)) else { return };
        if new == dv.status {
            return;
        }
        match self.cluster.patch(Kind::DataVolume, key, Part::Status, &status_patch(&dv.status, &new)) {
            Err(e) if e.is_not_found() => {}
            Err(e) => log::debug!("{key}: status: {e}"),
            Ok(object) => self.remember(&object),
        }
    }

    /// Reports events about the pods, if DataVolume and claim are gone.
    fn tell_about_pods(&self, seen: &Observed, now: OffsetDateTime) {
        let Some(last_error) =
            seen.last_error.as_ref().filter(|_| seen.data_volume.is_none() && seen.target.is_none())
        else {
            return;
        };
        for pod in seen.orphans.iter().filter(|pod| !pod.metadata.is_deleting()) {
            self.report(&events::of_trouble(last_error), Kind::Pod, &pod.metadata, now);
        }
    }

    /// Stores a written object. The watch brings it later, but an earlier round would report the same change again.
    fn remember(&self, object: &Object) {
        if let Ok(view) = decode_within(object, DECODE_LIMIT_BYTES) {
            self.observer.stores.data_volumes.put(view);
        }
    }

    /// Starts or ends the polling of the source of `key`.
    fn follow_progress(&self, key: &Key, seen: &Observed, step: &Step) {
        if !step.is_running() {
            self.pollers.readings.forget(key);
            self.pollers.bandwidth.forget(key);
            if *step != Step::Populating {
                self.budget.forget(key);
            }
        } else if *step == Step::Copying
            && let (Some(pod), Some(uid)) = (seen.progress_pod(), seen.owner_uid())
        {
            self.pollers.bandwidth.follow(key, &pod.metadata.uid, Instant::now());
            if self.pollers.readings.follow(key, pod, &uid) {
                // A new source is polled soon; afterwards at the usual interval.
                self.pollers.queue.add(key.clone(), FIRST_POLL);
            }
        }
    }

    /// Notes the bandwidth limit that the user wishes for the clone `key`, or for the clone into its prime. A pod whose
    /// limit changes is polled at once. A wrong limit is reported.
    fn note_limits(&self, key: &Key, seen: &Observed) {
        let into_prime = seen.population.as_ref().and_then(|population| population.clone.as_deref());
        let into_prime = into_prime.and_then(|clone| Some((clone.target.as_ref()?.metadata.key(), clone)));
        for (clone, seen) in std::iter::once((key.clone(), seen)).chain(into_prime) {
            let wish = seen.limit_wish();
            let news = self.pollers.bandwidth.wish(&clone, &wish);
            if news.is_changed {
                self.pollers.queue.add(clone.clone(), Duration::ZERO);
            }
            let populated = seen.populates.as_ref().map_or(&clone, |populated| &populated.key);
            if let (true, LimitWish::Wrong(why)) = (news.is_wrong, &wish)
                && let Some((kind, about)) = self.about(populated)
            {
                self.report(&events::limit_not_valid(why), kind, &about, OffsetDateTime::now_utc());
            }
        }
    }

    /// Remembers a failure.
    fn failed(&self, key: &Key, last_error: LastError) -> Failed {
        self.last_errors().failed(key, last_error, Instant::now(), self.policy.now().intervals.backoff)
    }

    /// Writes events and status, if they changed. Returns when to retry a write that was deferred.
    fn tell(
        &self,
        key: &Key,
        seen: &Observed,
        decision: &Decision,
        now: OffsetDateTime,
    ) -> Result<Option<Duration>, LastError> {
        let (Some(dv), Some(new)) = (&seen.data_volume, &decision.status) else {
            return Ok(self.tell_progress_of_claim(key, seen, &decision.step));
        };
        if dv.status == *new {
            return Ok(None);
        }
        if may_wait(&dv.status, new) {
            match self.budget.ask(key, Instant::now()) {
                Err(wait) => return Ok(Some(wait)),
                Ok(Writes::Both) => {
                    self.write_progress(Kind::DataVolume, &dv.metadata, seen);
                    self.write_populator_progress(seen);
                }
                Ok(Writes::One) => {}
            }
        }
        for event in &decision.events {
            self.report(event, Kind::DataVolume, &dv.metadata, now);
        }
        let patch = status_patch(&dv.status, new);
        match self.cluster.patch(Kind::DataVolume, key, Part::Status, &patch) {
            Err(e) if e.is_not_found() => {}
            result => {
                let written =
                    result.map_err(|error| LastError { failed_action: FailedAction::WriteStatus, error })?;
                self.remember(&written);
            }
        }
        Ok(None)
    }

    fn tell_about_claim(&self, seen: &Observed, decision: &Decision, now: OffsetDateTime) {
        let Some(claim) = &seen.target else { return };
        for event in &decision.claim_events {
            self.report(event, Kind::PersistentVolumeClaim, &claim.metadata, now);
        }
    }

    /// Writes the progress of a claim that is filled before it is bound, and has no DataVolume. Returns when to retry a
    /// write that was deferred.
    fn tell_progress_of_claim(&self, key: &Key, seen: &Observed, step: &Step) -> Option<Duration> {
        let progress = seen.progress.as_ref().filter(|_| *step == Step::Populating)?;
        let text = populator_progress(seen, progress);
        if seen.population.is_none() || seen.target_annotation(POPULATOR_PROGRESS) == Some(&text) {
            return None;
        }
        match self.budget.ask(key, Instant::now()) {
            Err(wait) => Some(wait),
            Ok(Writes::One) => {
                self.write_populator_progress(seen);
                None
            }
            Ok(Writes::Both) => {
                self.write_populator_progress(seen);
                if let Some(claim) = &seen.target {
                    self.write_progress(Kind::PersistentVolumeClaim, &claim.metadata, seen);
                }
                None
            }
        }
    }

    /// Writes CDI's annotation about the progress of a claim that is filled before it is bound.
    fn write_populator_progress(&self, seen: &Observed) {
        let (Some(claim), Some(progress)) = (&seen.target, &seen.progress) else { return };
        if seen.population.is_none() {
            return;
        }
        let patch = json!({ "metadata": {
            "uid": claim.metadata.uid, "annotations": { POPULATOR_PROGRESS: populator_progress(seen, progress) },
        } });
        let key = claim.metadata.key();
        if let Err(e) = self.cluster.patch(Kind::PersistentVolumeClaim, &key, Part::Whole, &patch) {
            log::debug!("{key}: progress annotation: {e}");
        }
    }

    /// Writes the progress annotations, which are for programs; people read the Running condition. Best effort, like
    /// all progress.
    fn write_progress(&self, kind: Kind, about: &Meta, seen: &Observed) {
        let Some(progress) = &seen.progress else { return };
        let numbers = [
            (SENT_BYTES, progress.sent_bytes),
            (TOTAL_BYTES, progress.total_bytes),
            (RATE_BYTES, progress.rate_bytes_per_sec),
            (LIMIT_BYTES, progress.limit.map(|Rate(bytes_per_sec)| bytes_per_sec)),
            (LEFT_SECS, progress.left_secs()),
        ];
        let mut annotations: BTreeMap<&str, Value> = numbers
            .into_iter()
            .map(|(name, number)| (name, number.map_or(Value::Null, |number| number.to_string().into())))
            .collect();
        annotations.insert(TRANSFER_PHASE, json!(progress.phase.map(Phase::name)));
        if kind == Kind::DataVolume
            && let Some(mode) = transfer::of_clone(seen)
        {
            annotations.insert(TRANSFER_MODE, mode.as_str().into());
        }
        let patch = json!({ "metadata": { "annotations": annotations } });
        if let Err(e) = self.cluster.patch(kind, &about.key(), Part::Whole, &patch) {
            log::debug!("{}: progress annotations: {e}", about.key());
        }
    }

    /// Writes an event. Events are for people, so a failure to write one is only logged.
    fn report(&self, event: &Event, kind: Kind, about: &Meta, now: OffsetDateTime) {
        let time = now.format(&Rfc3339).unwrap_or_default();
        let object = events::object(event, kind, about, &time);
        match self.cluster.create(Kind::Event, &object) {
            Ok(_) => log::info!("{} {}: {}", about.key(), event.reason, event.message),
            Err(e) if e.already_exists() => {}
            Err(e) => log::debug!("{}: event {}: {e}", about.key(), event.reason),
        }
    }

    fn last_errors(&self) -> MutexGuard<'_, LastErrors> {
        self.last_errors.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The result of the actions of a round.
struct Acted {
    /// The action that failed, if one did.
    failed: Option<FailedRound>,
    /// The failure, once it has lasted long enough to be reported.
    told: Option<LastError>,
    /// When to observe again.
    again: Option<Duration>,
}

/// An action that failed in this round.
struct FailedRound {
    action: FailedAction,
    is_conflict: bool,
}

/// The progress of a claim that is filled before it is bound, as CDI writes it. It does not fall; the creation of a
/// prime resets it.
fn populator_progress(seen: &Observed, progress: &Progress) -> String {
    let earlier = seen.target_annotation(POPULATOR_PROGRESS).unwrap_or_default();
    ReportedProgress::from(earlier).raised_to(Some(progress.percent)).as_str().to_owned()
}

/// An observation that failed.
fn looking(error: ApiError) -> LastError {
    LastError { failed_action: FailedAction::Look, error }
}
