//! The workers: take a key, observe, decide, act, tell.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use decant_shared::stop::Stop;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::act::Hands;
use crate::annotations::{LEFT_SECS, RATE_BYTES, SENT_BYTES, TOTAL_BYTES};
use crate::backoff::Backoff;
use crate::budget::{Budget, Writes};
use crate::cluster::{ApiError, Cluster, Part};
use crate::decide::{self, Action, Decision, Step};
use crate::events::{self, Event};
use crate::observe::Eyes;
use crate::observed::{Observed, Trouble};
use crate::policy::Policy;
use crate::poll::Pollers;
use crate::queue::Queue;
use crate::resource::{self, DataVolume, Key, Kind, Meta};
use crate::status::{may_wait, status_patch};

/// How many rounds there were.
#[derive(Debug, Default)]
pub struct Rounds {
    well: AtomicU64,
    badly: AtomicU64,
}

impl Rounds {
    /// Those without and those with an error.
    pub fn counts(&self) -> (u64, u64) {
        (self.well.load(Ordering::Relaxed), self.badly.load(Ordering::Relaxed))
    }
}

/// What all workers share.
pub struct Workshop {
    /// The API server.
    pub cluster: Arc<dyn Cluster>,
    /// Looks.
    pub eyes: Eyes,
    /// Acts.
    pub hands: Hands,
    /// Asks sources.
    pub pollers: Arc<Pollers>,
    /// Keys to look at.
    pub queue: Arc<Queue>,
    /// Bounds progress writes.
    pub budget: Budget,
    /// What the operator wants.
    pub policy: Arc<Policy>,
    /// For the metrics.
    pub rounds: Rounds,
    /// What went wrong with which key, and when to try again.
    pub troubles: Mutex<HashMap<Key, (Option<Trouble>, Backoff)>>,
}

impl Workshop {
    /// Starts `count` workers. They end on the stop token.
    pub fn start(self: &Arc<Self>, count: usize, stop: &Stop) -> std::io::Result<Vec<JoinHandle<()>>> {
        (0..count)
            .map(|number| {
                let (shop, stop) = (Arc::clone(self), stop.clone());
                Builder::new().name(format!("worker-{number}")).spawn(move || {
                    while let Some(key) = shop.queue.take(&stop) {
                        let again = shop.work(&key);
                        shop.queue.done(&key, again);
                    }
                })
            })
            .collect()
    }

    /// One round for one key; returns when to look again.
    pub fn work(&self, key: &Key) -> Option<Duration> {
        match self.round(key) {
            Ok(again) => again,
            Err(e) => {
                self.rounds.badly.fetch_add(1, Ordering::Relaxed);
                log::warn!("{key}: {e}");
                Some(self.trouble(key, None))
            }
        }
    }

    fn round(&self, key: &Key) -> Result<Option<Duration>, ApiError> {
        let now = OffsetDateTime::now_utc();
        let trouble = self.troubles().get(key).and_then(|(trouble, _)| trouble.clone());
        let mut seen = self.eyes.observe(key, &self.pollers.readings, trouble)?;
        let mut decision = decide::decide(&seen, now, &self.policy);
        // Not in every round, but always before something is read: the right may have been withdrawn since.
        if decision.step.makes_pod()
            && let Some(denied) = self.eyes.withdrawn(key, &seen)?
        {
            seen.permission = Some(denied);
            decision = decide::decide(&seen, now, &self.policy);
        }
        log::debug!("{key}: {:?}", decision.step);
        self.bookkeeping(key, &seen, &decision.step);
        self.tell_about_claim(&seen, &decision, now);
        let result = self.hands.carry_out(&decision.actions, &seen, now);
        let mut again = decision.again;
        match result {
            Ok(()) => {
                self.rounds.well.fetch_add(1, Ordering::Relaxed);
                self.troubles().remove(key);
                seen.trouble = None;
            }
            // Somebody else was faster: look again.
            Err(trouble) if trouble.error.is_conflict() => again = Some(Duration::from_millis(200)),
            Err(trouble) => {
                self.rounds.badly.fetch_add(1, Ordering::Relaxed);
                log::warn!("{key}: {:?}: {}", trouble.doing, trouble.error);
                again = Some(self.trouble(key, Some(trouble.clone())));
                seen.trouble = Some(trouble);
                // The actions are done with for now; what went wrong belongs into the status and onto the claim.
                decision = Decision { again, ..decide::decide(&seen, now, &self.policy) };
                self.tell_about_claim(&seen, &decision, now);
                decision.actions.retain(|action| matches!(action, Action::Annotate(_)));
                if let Err(e) = self.hands.carry_out(&decision.actions, &seen, now) {
                    log::debug!("{key}: {}", e.error);
                }
            }
        }
        let later = self.tell(key, &seen, &decision, now)?;
        Ok(later.into_iter().chain(again).min())
    }

    /// Who runs, who is asked for progress.
    fn bookkeeping(&self, key: &Key, seen: &Observed, step: &Step) {
        let runs = matches!(
            step,
            Step::NamePods
                | Step::MakeTargetPod
                | Step::WaitForTarget
                | Step::MakeSourcePod
                | Step::Copying
                | Step::Replace(..)
                | Step::Pause(_)
                | Step::PodLeaving(_)
        );
        if !runs && !matches!(step, Step::Queued) {
            for next in self.eyes.line.leaves(key) {
                self.queue.add(next, Duration::ZERO);
            }
        }
        match (&seen.source_pod, seen.owner_uid()) {
            (Some(pod), Some(uid)) if *step == Step::Copying => {
                let is_new = self.pollers.readings.follow(key, pod, &uid);
                // Asked for at once when it is new; again when its turn comes.
                let _ = is_new.then(|| self.pollers.queue.add(key.clone(), Duration::from_millis(500)));
            }
            _ if !runs => {
                self.pollers.readings.forget(key);
                self.budget.forget(key);
            }
            _ => {}
        }
    }

    /// Remembers a failure; returns when to try again.
    fn trouble(&self, key: &Key, trouble: Option<Trouble>) -> Duration {
        let (min, max) = self.policy.intervals.backoff;
        let mut troubles = self.troubles();
        let (last, backoff) =
            troubles.entry(key.clone()).or_insert_with(|| (None, Backoff::new(min, max, key.to_string())));
        *last = trouble.or(last.take());
        backoff.next()
    }

    /// Writes events and status, if they say something new. Returns when to try again what had to wait.
    fn tell(
        &self,
        key: &Key,
        seen: &Observed,
        decision: &Decision,
        now: OffsetDateTime,
    ) -> Result<Option<Duration>, ApiError> {
        let (Some(dv), Some(new)) = (&seen.data_volume, &decision.status) else { return Ok(None) };
        if dv.status == *new {
            return Ok(None);
        }
        if may_wait(&dv.status, new) {
            match self.budget.ask(key, Instant::now()) {
                Err(wait) => return Ok(Some(wait)),
                Ok(Writes::Both) => self.write_annotations(seen, dv),
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
                // The watch will bring it, too, but the next round may come first and would say the same again.
                if let Ok(view) = resource::view(result?) {
                    self.eyes.stores.data_volumes.put(view);
                }
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

    /// Numbers for programs; people read the Running condition. Best effort, like all progress.
    fn write_annotations(&self, seen: &Observed, dv: &DataVolume) {
        let Some(progress) = &seen.progress else { return };
        let numbers = [
            (SENT_BYTES, progress.sent_bytes),
            (TOTAL_BYTES, progress.total_bytes),
            (RATE_BYTES, progress.rate_bytes_per_sec),
            (LEFT_SECS, progress.left_secs()),
        ];
        let annotations: BTreeMap<&str, Value> = numbers
            .into_iter()
            .map(|(name, number)| (name, number.map_or(Value::Null, |number| number.to_string().into())))
            .collect();
        let patch = json!({ "metadata": { "annotations": annotations } });
        if let Err(e) = self.cluster.patch(Kind::DataVolume, &dv.metadata.key(), Part::Whole, &patch) {
            log::debug!("{}: progress annotations: {e}", dv.metadata.key());
        }
    }

    /// Events are for people: one that cannot be written changes nothing.
    fn report(&self, event: &Event, kind: Kind, about: &Meta, now: OffsetDateTime) {
        let time = now.format(&Rfc3339).unwrap_or_default();
        let object = events::object(event, kind, about, &time);
        match self.cluster.create(Kind::Event, &object) {
            Ok(_) => log::info!("{} {}: {}", about.key(), event.reason, event.message),
            Err(e) if e.already_exists() => {}
            Err(e) => log::debug!("{}: event {}: {e}", about.key(), event.reason),
        }
    }

    fn troubles(&self) -> MutexGuard<'_, HashMap<Key, (Option<Trouble>, Backoff)>> {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
