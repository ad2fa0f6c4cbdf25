//! The queue of clones: how many may run, whose turn is next.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::observed::Turn;
use crate::policy::AdmissionPolicy;
use crate::resource::Key;

/// A clone that wants to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiter {
    /// When it was asked for; RFC 3339 in UTC sorts by time.
    pub since: String,
    /// The storage class of its target.
    pub class: String,
}

/// Who runs and who waits.
#[derive(Debug)]
pub struct Line {
    policy: AdmissionPolicy,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// With their storage class.
    running: HashMap<Key, String>,
    waiting: HashMap<Key, Waiter>,
}

impl Line {
    /// An empty line.
    pub fn new(policy: AdmissionPolicy) -> Self {
        Self { policy, inner: Mutex::default() }
    }

    /// The clone `key` has pods: it runs, whatever the limits say.
    pub fn runs(&self, key: &Key, class: &str) {
        let mut inner = self.lock();
        inner.waiting.remove(key);
        inner.running.insert(key.clone(), class.to_owned());
    }

    /// The clone `key` neither runs nor waits. Returns those whose turn it may be now.
    pub fn leaves(&self, key: &Key) -> Vec<Key> {
        let mut inner = self.lock();
        inner.waiting.remove(key);
        if inner.running.remove(key).is_none() {
            return Vec::new();
        }
        order(&inner).into_iter().take(self.policy.running_max).collect()
    }

    /// Whether the clone `key` may start; if so it counts as running from now on.
    pub fn ask(&self, key: &Key, waiter: Waiter) -> Turn {
        let mut inner = self.lock();
        if inner.running.contains_key(key) {
            return Turn::Now;
        }
        let class = waiter.class.clone();
        inner.waiting.insert(key.clone(), waiter);
        let mut in_class: HashMap<&str, usize> = HashMap::new();
        for class in inner.running.values() {
            *in_class.entry(class).or_default() += 1;
        }
        let mut free = self.policy.running_max.saturating_sub(inner.running.len());
        let order = order(&inner);
        let of = order.len();
        for (index, next) in order.iter().enumerate() {
            let class = inner.waiting.get(next).map_or("", |waiter| &waiter.class);
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
                let limit = format!(
                    "{} clones run (limit {}, {} for storage class {class:?})",
                    inner.running.len(),
                    self.policy.running_max,
                    self.policy.running_max_per_class,
                );
                return Turn::Wait { place: index + 1, of, limit };
            }
        }
        inner.waiting.remove(key);
        inner.running.insert(key.clone(), class);
        Turn::Now
    }

    /// How many run and how many wait.
    pub fn counts(&self) -> (usize, usize) {
        let inner = self.lock();
        (inner.running.len(), inner.waiting.len())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Namespaces take turns, beginning with the one that runs least; within a namespace the oldest is first.
fn order(inner: &Inner) -> Vec<Key> {
    let mut load: BTreeMap<&str, usize> = BTreeMap::new();
    for key in inner.running.keys() {
        *load.entry(&key.namespace).or_default() += 1;
    }
    let mut waiting: Vec<(&Key, &Waiter)> = inner.waiting.iter().collect();
    waiting.sort_by(|a, b| (&a.1.since, a.0).cmp(&(&b.1.since, b.0)));
    // Each gets the number that its namespace would have running with it: low numbers go first.
    let mut numbered: Vec<(usize, &str, &Key)> = waiting
        .into_iter()
        .map(|(key, waiter)| {
            let count = load.entry(&key.namespace).or_default();
            *count += 1;
            (*count, waiter.since.as_str(), key)
        })
        .collect();
    numbered.sort();
    numbered.into_iter().map(|(_, _, key)| key.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(running_max: usize, running_max_per_class: usize) -> Line {
        Line::new(AdmissionPolicy { running_max, running_max_per_class })
    }

    fn ask(line: &Line, namespace: &str, name: &str, since: &str, class: &str) -> Turn {
        let waiter = Waiter { since: since.to_owned(), class: class.to_owned() };
        line.ask(&Key::new(namespace, name), waiter)
    }

    #[test]
    fn no_more_run_than_allowed_and_the_next_starts_when_one_leaves() {
        let line = line(1, 9);
        assert_eq!(ask(&line, "a", "1", "1", ""), Turn::Now);
        assert!(matches!(ask(&line, "a", "2", "2", ""), Turn::Wait { place: 1, of: 1, .. }));
        assert!(matches!(ask(&line, "a", "3", "3", ""), Turn::Wait { place: 2, of: 2, .. }));
        assert_eq!(line.leaves(&Key::new("a", "1")), [Key::new("a", "2")]);
        assert!(matches!(ask(&line, "a", "3", "3", ""), Turn::Wait { .. }));
        assert_eq!(ask(&line, "a", "2", "2", ""), Turn::Now);
    }

    #[test]
    fn a_full_class_does_not_hold_up_another() {
        let line = line(9, 1);
        assert_eq!(ask(&line, "a", "1", "1", "slow"), Turn::Now);
        assert!(matches!(ask(&line, "a", "2", "2", "slow"), Turn::Wait { .. }));
        assert_eq!(ask(&line, "a", "3", "3", "fast"), Turn::Now);
    }

    #[test]
    fn a_namespace_with_many_does_not_keep_others_waiting() {
        let line = line(2, 9);
        assert_eq!(ask(&line, "many", "0", "0", ""), Turn::Now);
        assert_eq!(ask(&line, "many", "1", "1", ""), Turn::Now);
        for name in 2..9 {
            assert!(matches!(ask(&line, "many", &name.to_string(), "2", ""), Turn::Wait { .. }));
        }
        assert!(matches!(ask(&line, "few", "late", "9", ""), Turn::Wait { place: 1, .. }));
    }

    #[test]
    fn a_clone_with_pods_runs_whatever_the_limit() {
        let line = line(1, 1);
        line.runs(&Key::new("a", "1"), "c");
        line.runs(&Key::new("a", "2"), "c");
        assert_eq!(line.counts(), (2, 0));
        assert_eq!(ask(&line, "a", "2", "2", "c"), Turn::Now);
    }
}
