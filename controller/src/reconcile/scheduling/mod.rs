//! The scheduler of clones: how many may run, which one is next, and which ones release their slots when the nodes are
//! full.
//!
//! A clone needs room for two pods. If many target pods take the room that their sources need, none of these clones
//! makes progress. So a clone with a pod that fits on no node counts as stuck. As long as a clone is stuck, no other
//! clone starts, and after a while the younger half of the stuck clones give up their pods and return to the queue. The
//! scheduler remembers how many clones the nodes had room for, and tries one more each time a clone ends.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::objects::Key;
use crate::policy::SchedulingPolicy;
use crate::reconcile::observed::Observed;
use crate::reconcile::step::Slot;

/// A stuck clone gives way after this time. The scheduler of Kubernetes retries within some seconds after room becomes
/// free.
const GIVE_WAY_AFTER: Duration = Duration::from_secs(15);
/// A stuck clone prevents others from starting only for this long, because its pod may never fit on any node.
const STUCK_MATTERS: Duration = Duration::from_secs(120);

/// A clone that asks for a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotRequest {
    /// When the clone was requested; RFC 3339 in UTC sorts by time.
    pub since: String,
    /// The storage class of its target.
    pub class: String,
    /// Whether it has pods that are not being deleted. Then it counts as running, whatever the limits.
    pub has_pods: bool,
    /// Whether one of these pods fits on no node.
    pub is_stuck: bool,
}

impl SlotRequest {
    /// The request of the observed clone; `None` without a target claim.
    pub fn of(seen: &Observed) -> Option<Self> {
        let claim = seen.target.as_ref()?;
        let about = seen.data_volume.as_ref().map_or(&claim.metadata, |dv| &dv.metadata);
        let pods = || {
            let both = [&seen.target_pod, &seen.source_pod].into_iter().flatten();
            both.filter(|pod| !pod.metadata.is_deleting())
        };
        Some(Self {
            since: about.creation_timestamp.clone(),
            class: claim.spec.storage_class_name.clone().unwrap_or_default(),
            has_pods: pods().next().is_some(),
            is_stuck: pods().any(|pod| pod.finds_no_room()),
        })
    }
}

/// Which clones run and which ones wait.
#[derive(Debug)]
pub struct CloneScheduler {
    policy: SchedulingPolicy,
    state: Mutex<SchedulerState>,
}

#[derive(Debug, Default)]
struct SchedulerState {
    running: HashMap<Key, RunningClone>,
    queued: HashMap<Key, QueuedClone>,
    /// Clones whose pods are to be deleted.
    gave_way: HashSet<Key>,
    /// How many clones the nodes have room for, if known.
    room: Option<usize>,
}

#[derive(Debug)]
struct RunningClone {
    since: String,
    class: String,
    /// Since when a pod of the clone fits on no node.
    stuck: Option<Instant>,
}

#[derive(Debug, Clone)]
struct QueuedClone {
    since: String,
    class: String,
}

impl CloneScheduler {
    /// A scheduler with no clones.
    pub fn new(policy: SchedulingPolicy) -> Self {
        Self { policy, state: Mutex::default() }
    }

    /// What [`CloneScheduler::take`] would return now. Changes nothing.
    pub fn peek(&self, key: &Key, request: &SlotRequest, now: Instant) -> Slot {
        let state = self.lock();
        if request.has_pods {
            return if request.is_stuck && state.gave_way.contains(key) { Slot::GiveWay } else { Slot::Free };
        }
        self.slot(&state, key, request, now)
    }

    /// Counts the clone `key` as running, or queues it, in one step. A clone with pods runs, whatever the limits, but
    /// may have to give them up. A clone without pods needs a free slot.
    pub fn take(&self, key: &Key, request: &SlotRequest, now: Instant) -> Slot {
        let mut state = self.lock();
        if request.has_pods {
            return state.keep_running(key, request, now);
        }
        state.gave_way.remove(key);
        let slot = self.slot(&state, key, request, now);
        let SlotRequest { since, class, .. } = request.clone();
        if slot != Slot::Free {
            state.queued.insert(key.clone(), QueuedClone { since, class });
            return slot;
        }
        state.queued.remove(key);
        state.running.entry(key.clone()).or_insert(RunningClone { since, class, stuck: None });
        slot
    }

    /// Removes the clone `key`, which no longer runs or waits. Returns the clones that may start now.
    pub fn release(&self, key: &Key) -> Vec<Key> {
        let mut state = self.lock();
        state.queued.remove(key);
        if state.running.remove(key).is_none() {
            return Vec::new();
        }
        state.room = state.room.map(|room| room + 1).filter(|room| *room < self.policy.running_max);
        state.order(None).into_iter().take(self.policy.running_max).map(|next| next.key.clone()).collect()
    }

    /// How many clones run and how many wait.
    pub fn counts(&self) -> (usize, usize) {
        let state = self.lock();
        (state.running.len(), state.queued.len())
    }

    /// Whether the clone `key`, which has no pods, may start: the free slots go to the queue in its order.
    fn slot(&self, state: &SchedulerState, key: &Key, request: &SlotRequest, now: Instant) -> Slot {
        if state.running.contains_key(key) {
            return Slot::Free;
        }
        let mut in_class: HashMap<&str, usize> = HashMap::new();
        for clone in state.running.values() {
            *in_class.entry(&clone.class).or_default() += 1;
        }
        let running_max = self.policy.running_max.min(state.room.unwrap_or(usize::MAX));
        let is_full = state.running.values().any(|clone| {
            clone.stuck.is_some_and(|since| now.saturating_duration_since(since) < STUCK_MATTERS)
        });
        let mut free = if is_full { 0 } else { running_max.saturating_sub(state.running.len()) };
        let order = state.order(Some(Candidate { key, since: &request.since, class: &request.class }));
        for (index, next) in order.iter().enumerate() {
            let taken = in_class.entry(next.class).or_default();
            let starts = free > 0 && *taken < self.policy.running_max_per_class;
            if starts {
                free -= 1;
                *taken += 1;
            }
            if next.key == key {
                if starts {
                    break;
                }
                let no_room = is_full || running_max < self.policy.running_max;
                let limit = self.limit(state.running.len(), &request.class, no_room);
                return Slot::Queued { position: index + 1, of: order.len(), limit };
            }
        }
        Slot::Free
    }

    /// The limit that a clone waits for, as text for people.
    fn limit(&self, running: usize, class: &str, no_room: bool) -> String {
        let SchedulingPolicy { running_max, running_max_per_class, .. } = self.policy;
        if no_room {
            return format!("{running} clones run and the nodes have no room for the pods of more");
        }
        format!(
            "{running} clones run (limit {running_max}, {running_max_per_class} for storage class {class:?})"
        )
    }

    fn lock(&self) -> MutexGuard<'_, SchedulerState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A waiting clone while the order of the queue is computed.
struct Candidate<'s> {
    key: &'s Key,
    since: &'s str,
    class: &'s str,
}

impl SchedulerState {
    /// Counts a clone with pods as running, unless it has to give way.
    fn keep_running(&mut self, key: &Key, request: &SlotRequest, now: Instant) -> Slot {
        if request.is_stuck && self.gave_way.contains(key) {
            return Slot::GiveWay;
        }
        self.gave_way.remove(key);
        self.queued.remove(key);
        let earlier = self.running.get(key).and_then(|clone| clone.stuck);
        let stuck = request.is_stuck.then(|| earlier.unwrap_or(now));
        let SlotRequest { since, class, .. } = request.clone();
        self.running.insert(key.clone(), RunningClone { since, class, stuck });
        if stuck.is_some_and(|since| now.saturating_duration_since(since) >= GIVE_WAY_AFTER) {
            self.make_room(now);
        }
        if self.gave_way.contains(key) { Slot::GiveWay } else { Slot::Free }
    }

    /// Makes the younger half of the stuck clones give way; the others get more time.
    fn make_room(&mut self, now: Instant) {
        let stuck = self.running.iter().filter(|(_, clone)| clone.stuck.is_some());
        let mut stuck: Vec<(String, Key)> =
            stuck.map(|(key, clone)| (clone.since.clone(), key.clone())).collect();
        stuck.sort_unstable();
        // The oldest one always keeps its pods, so that at least one makes progress.
        let stay = stuck.len().div_ceil(2);
        for (index, (_, key)) in stuck.into_iter().enumerate() {
            if index >= stay {
                self.running.remove(&key);
                self.gave_way.insert(key);
            } else if let Some(clone) = self.running.get_mut(&key) {
                clone.stuck = Some(now);
            }
        }
        self.room = Some(self.running.len().max(1));
    }

    /// The queue in its order, with `candidate` as if it were queued. Namespaces take turns, and the one with the
    /// fewest running clones is first; within a namespace the oldest clone is first.
    fn order<'s>(&'s self, candidate: Option<Candidate<'s>>) -> Vec<Candidate<'s>> {
        let mut load: BTreeMap<&str, usize> = BTreeMap::new();
        for key in self.running.keys() {
            *load.entry(&key.namespace).or_default() += 1;
        }
        let asks = candidate.as_ref().map(|candidate| candidate.key);
        let queued = self.queued.iter().filter(|(key, _)| Some(*key) != asks);
        let mut waiting: Vec<Candidate<'s>> =
            queued.map(|(key, clone)| Candidate { key, since: &clone.since, class: &clone.class }).collect();
        waiting.extend(candidate);
        waiting.sort_by(|a, b| (a.since, a.key).cmp(&(b.since, b.key)));
        // The sort key: how many clones of its namespace would run if this one started. The lowest goes first.
        let mut numbered: Vec<(usize, Candidate<'s>)> = waiting
            .into_iter()
            .map(|next| {
                let count = load.entry(&next.key.namespace).or_default();
                *count += 1;
                (*count, next)
            })
            .collect();
        numbered.sort_by(|(a, one), (b, other)| (a, one.since, one.key).cmp(&(b, other.since, other.key)));
        numbered.into_iter().map(|(_, next)| next).collect()
    }
}

#[cfg(test)]
mod tests;
