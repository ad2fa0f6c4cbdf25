//! The queue of clones: how many may run, whose turn is next, who gives way when the nodes are full.
//!
//! A clone needs room for two pods. If many targets take the room that their sources need, none of them ever goes
//! on. So a clone whose pod finds no room counts as stuck; as long as one is, no other starts, and after a while the
//! younger half of those that are stuck give their pods up and wait again. How many ran without trouble is
//! remembered, and tried to exceed by one with each clone that ends.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::objects::Key;
use crate::policy::SchedulingPolicy;
use crate::reconcile::observed::Turn;

/// The scheduler tries again within some seconds after room became free; whoever is stuck for longer gives way.
const GIVE_WAY_AFTER: Duration = Duration::from_secs(15);
/// A pod that fits nowhere at all must not keep others from starting for ever.
const STUCK_MATTERS: Duration = Duration::from_secs(120);

/// A clone that wants to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingClone {
    /// When it was asked for; RFC 3339 in UTC sorts by time.
    pub since: String,
    /// The storage class of its target.
    pub class: String,
}

/// Who runs and who waits.
#[derive(Debug)]
pub struct CloneScheduler {
    policy: SchedulingPolicy,
    inner: Mutex<SchedulerState>,
}

#[derive(Debug, Default)]
struct SchedulerState {
    running: HashMap<Key, RunningClone>,
    waiting: HashMap<Key, PendingClone>,
    /// Their pods are on their way out.
    gave_way: HashSet<Key>,
    /// How many the nodes have room for, as far as that is known.
    room: Option<usize>,
}

#[derive(Debug)]
struct RunningClone {
    pending: PendingClone,
    /// Since when one of its pods finds no room.
    stuck: Option<Instant>,
}

impl CloneScheduler {
    /// An empty line.
    pub fn new(policy: SchedulingPolicy) -> Self {
        Self { policy, inner: Mutex::default() }
    }

    /// The clone `key` has pods: it runs, whatever the limits say. `stuck`: one of them finds no room on any node.
    /// Returns whether it has to give them up, so that others can go on.
    pub fn runs(&self, key: &Key, pending: PendingClone, stuck: bool, now: Instant) -> bool {
        let mut inner = self.lock();
        if stuck && inner.gave_way.contains(key) {
            return true;
        }
        inner.gave_way.remove(key);
        inner.waiting.remove(key);
        let before = inner.running.get(key).and_then(|runner| runner.stuck);
        let since = stuck.then(|| before.unwrap_or(now));
        inner.running.insert(key.clone(), RunningClone { pending, stuck: since });
        if since.is_some_and(|since| now.saturating_duration_since(since) >= GIVE_WAY_AFTER) {
            inner.make_room(now);
        }
        inner.gave_way.contains(key)
    }

    /// The clone `key` neither runs nor waits. Returns those whose turn it may be now.
    pub fn release(&self, key: &Key) -> Vec<Key> {
        let mut inner = self.lock();
        inner.waiting.remove(key);
        if inner.running.remove(key).is_none() {
            return Vec::new();
        }
        inner.room = inner.room.map(|room| room + 1).filter(|room| *room < self.policy.running_max);
        order(&inner).into_iter().take(self.policy.running_max).collect()
    }

    /// Whether the clone `key`, which has no pods, may start; if so it counts as running from now on.
    pub fn ask(&self, key: &Key, pending: PendingClone, now: Instant) -> Turn {
        let mut inner = self.lock();
        inner.gave_way.remove(key);
        if inner.running.contains_key(key) {
            return Turn::Now;
        }
        inner.waiting.insert(key.clone(), pending.clone());
        let mut in_class: HashMap<&str, usize> = HashMap::new();
        for runner in inner.running.values() {
            *in_class.entry(&runner.pending.class).or_default() += 1;
        }
        let running_max = self.policy.running_max.min(inner.room.unwrap_or(usize::MAX));
        let is_full = inner.running.values().any(|runner| {
            runner.stuck.is_some_and(|since| now.saturating_duration_since(since) < STUCK_MATTERS)
        });
        let mut free = if is_full { 0 } else { running_max.saturating_sub(inner.running.len()) };
        let order = order(&inner);
        let of = order.len();
        for (index, next) in order.iter().enumerate() {
            let class = inner.waiting.get(next).map_or("", |pending| &pending.class);
            let taken = in_class.entry(class).or_default();
            let starts = free > 0 && *taken < self.policy.running_max_per_class;
            if starts {
                free -= 1;
                *taken += 1;
            }
            if next == key {
                if starts {
                    break;
                }
                let no_room = is_full || running_max < self.policy.running_max;
                let limit = self.limit(inner.running.len(), &pending.class, no_room);
                return Turn::Wait { position: index + 1, of, limit };
            }
        }
        inner.waiting.remove(key);
        inner.running.insert(key.clone(), RunningClone { pending, stuck: None });
        Turn::Now
    }

    /// What a clone waits for, for people.
    fn limit(&self, running: usize, class: &str, no_room: bool) -> String {
        let SchedulingPolicy { running_max, running_max_per_class } = self.policy;
        if no_room {
            return format!("{running} clones run and the nodes have no room for the pods of more");
        }
        format!(
            "{running} clones run (limit {running_max}, {running_max_per_class} for storage class {class:?})"
        )
    }

    /// How many run and how many wait.
    pub fn counts(&self) -> (usize, usize) {
        let inner = self.lock();
        (inner.running.len(), inner.waiting.len())
    }

    fn lock(&self) -> MutexGuard<'_, SchedulerState> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SchedulerState {
    /// The younger half of those that are stuck gives way; the others get some more time.
    fn make_room(&mut self, now: Instant) {
        let stuck = self.running.iter().filter(|(_, runner)| runner.stuck.is_some());
        let mut stuck: Vec<(String, Key)> =
            stuck.map(|(key, runner)| (runner.pending.since.clone(), key.clone())).collect();
        stuck.sort_unstable();
        // The oldest always stays: one of them goes on.
        let stay = stuck.len().div_ceil(2);
        for (index, (_, key)) in stuck.into_iter().enumerate() {
            if index >= stay {
                self.running.remove(&key);
                self.gave_way.insert(key);
            } else if let Some(runner) = self.running.get_mut(&key) {
                runner.stuck = Some(now);
            }
        }
        self.room = Some(self.running.len().max(1));
    }
}

/// Namespaces take turns, beginning with the one that runs least; within a namespace the oldest is first.
fn order(inner: &SchedulerState) -> Vec<Key> {
    let mut load: BTreeMap<&str, usize> = BTreeMap::new();
    for key in inner.running.keys() {
        *load.entry(&key.namespace).or_default() += 1;
    }
    let mut waiting: Vec<(&Key, &PendingClone)> = inner.waiting.iter().collect();
    waiting.sort_by(|a, b| (&a.1.since, a.0).cmp(&(&b.1.since, b.0)));
    // Each gets the number that its namespace would have running with it: low numbers go first.
    let mut numbered: Vec<(usize, &str, &Key)> = waiting
        .into_iter()
        .map(|(key, pending)| {
            let count = load.entry(&key.namespace).or_default();
            *count += 1;
            (*count, pending.since.as_str(), key)
        })
        .collect();
    numbered.sort();
    numbered.into_iter().map(|(_, _, key)| key.clone()).collect()
}

#[cfg(test)]
mod tests;
