//! Polling threads: they ask running sources how far they are, apart from the workers, so that a pod that does not
//! answer delays nobody's phase (contract 8, #50).

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use decant_shared::stop::Stop;

use crate::annotations::SOURCE_CONTAINER;
use crate::policy::Intervals;
use crate::queue::Queue;
use crate::resource::{Key, Pod, Uid};
use crate::scrape::{Reading, Scraper, Way};
use crate::watch::Wake;

/// A pod that cannot be asked is asked less and less often, down to this.
const SILENT_POLL: Duration = Duration::from_secs(30);
/// How much a new rate counts against the ones before.
const RATE_WEIGHT: f64 = 0.3;

/// How far a clone is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Progress {
    /// 0 to 100; never falls.
    pub percent: f64,
    /// Logical bytes handed to the target.
    pub sent_bytes: Option<u64>,
    /// Logical bytes of the whole.
    pub total_bytes: Option<u64>,
    /// Smoothed.
    pub rate_bytes_per_sec: Option<u64>,
}

impl Progress {
    /// Seconds until everything is sent, if it goes on like this.
    pub fn left_secs(&self) -> Option<u64> {
        let left_bytes = self.total_bytes?.checked_sub(self.sent_bytes?)?;
        let rate = self.rate_bytes_per_sec.filter(|rate| *rate > 0)?;
        Some(left_bytes.div_ceil(rate))
    }
}

/// What is known about the progress of all running clones.
#[derive(Default)]
pub struct Readings(Mutex<HashMap<Key, Followed>>);

struct Followed {
    pod: Arc<Pod>,
    owner_uid: Uid,
    progress: Option<Progress>,
    read_at: Instant,
    way: Way,
    failures: u32,
}

impl Readings {
    /// Asks `pod` for the clone `key` from now on. Returns whether that is new.
    pub fn follow(&self, key: &Key, pod: &Arc<Pod>, owner_uid: &Uid) -> bool {
        let mut map = self.lock();
        match map.get_mut(key) {
            Some(old) if old.pod.metadata.uid == pod.metadata.uid => {
                old.pod = Arc::clone(pod);
                false
            }
            old => {
                // Another pod starts again at zero; what was seen before still stands.
                let progress = old.and_then(|old| old.progress.clone());
                let followed = Followed {
                    pod: Arc::clone(pod),
                    owner_uid: owner_uid.clone(),
                    progress,
                    read_at: Instant::now(),
                    way: Way::Direct,
                    failures: 0,
                };
                map.insert(key.clone(), followed);
                true
            }
        }
    }

    /// The clone `key` does not run any more.
    pub fn forget(&self, key: &Key) {
        self.lock().remove(key);
    }

    /// The last news of the clone `key`.
    pub fn get(&self, key: &Key) -> Option<Progress> {
        self.lock().get(key)?.progress.clone()
    }

    /// All news, for the metrics page.
    pub fn all(&self) -> Vec<(Key, Progress)> {
        let map = self.lock();
        map.iter().filter_map(|(key, one)| Some((key.clone(), one.progress.clone()?))).collect()
    }

    /// How many clones are followed.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Followed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Between two looks at one clone: what cannot be written need not be read.
pub fn poll_interval(running: usize, every: &Intervals) -> Duration {
    let per_sec = every.progress_writes_per_sec.max(1);
    let running = u32::try_from(running).unwrap_or(u32::MAX);
    every.poll.max(Duration::from_secs(1).saturating_mul(running) / per_sec)
}

/// What a new reading makes of what was known.
fn updated(before: Option<&Progress>, new: Reading, since: Duration) -> Progress {
    let percent = before.map_or(0.0, |before| before.percent).max(new.percent);
    let grown = match (before.and_then(|before| before.sent_bytes), new.sent_bytes) {
        (Some(old), Some(new)) => new.checked_sub(old),
        _ => None,
    };
    // A restarted source counts from zero: no rate until there are two readings of it.
    let now_rate = grown.filter(|_| !since.is_zero()).map(|bytes| {
        #[allow(clippy::cast_precision_loss)] // A rate for people.
        let bytes = bytes as f64;
        bytes / since.as_secs_f64()
    });
    let old_rate = before.and_then(|before| before.rate_bytes_per_sec);
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let rate = match (old_rate, now_rate) {
        (Some(old), Some(now)) => Some((old as f64 * (1.0 - RATE_WEIGHT) + now * RATE_WEIGHT) as u64),
        (None, Some(now)) => Some(now as u64),
        (_, None) => None,
    };
    Progress { percent, sent_bytes: new.sent_bytes, total_bytes: new.total_bytes, rate_bytes_per_sec: rate }
}

/// How a question to a source pod ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The pod answered.
    Direct,
    /// The API server brought the answer.
    Proxy,
    /// No news.
    Failed,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Outcome; 3] = [Outcome::Direct, Outcome::Proxy, Outcome::Failed];

    /// In metrics.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Direct => "direct",
            Outcome::Proxy => "proxy",
            Outcome::Failed => "failed",
        }
    }
}

/// How often each outcome was.
#[derive(Debug, Default)]
pub struct Outcomes([AtomicU64; 3]);

impl Outcomes {
    /// How often `outcome` was so far.
    pub fn count(&self, outcome: Outcome) -> u64 {
        self.0[outcome as usize].load(Ordering::Relaxed)
    }

    fn add(&self, outcome: Outcome) {
        self.0[outcome as usize].fetch_add(1, Ordering::Relaxed);
    }
}

/// What the polling threads share.
pub struct Pollers {
    /// When to ask whom.
    pub queue: Queue,
    /// What they said.
    pub readings: Readings,
    /// How it went.
    pub outcomes: Outcomes,
    scraper: Scraper,
    every: Intervals,
    wake: Wake,
}

impl Pollers {
    /// Nothing is asked before [`Pollers::start`]. `wake` is called for each clone with news.
    pub fn new(scraper: Scraper, every: Intervals, wake: Wake) -> Self {
        Self {
            queue: Queue::default(),
            readings: Readings::default(),
            outcomes: Outcomes::default(),
            scraper,
            every,
            wake,
        }
    }

    /// Starts `count` threads.
    pub fn start(self: &Arc<Self>, count: usize, stop: &Stop) -> std::io::Result<Vec<JoinHandle<()>>> {
        (0..count)
            .map(|number| {
                let (pollers, stop) = (Arc::clone(self), stop.clone());
                Builder::new().name(format!("poll-{number}")).spawn(move || {
                    while let Some(key) = pollers.queue.take(&stop) {
                        let again = pollers.poll(&key);
                        pollers.queue.done(&key, again);
                    }
                })
            })
            .collect()
    }

    /// Asks one source; returns when to ask again.
    fn poll(&self, key: &Key) -> Option<Duration> {
        let (pod, owner_uid, way) = {
            let map = self.readings.lock();
            let followed = map.get(key)?;
            (Arc::clone(&followed.pod), followed.owner_uid.clone(), followed.way)
        };
        let runs =
            pod.container_status(SOURCE_CONTAINER).is_some_and(|status| status.state.running.is_some());
        let result =
            if runs { self.scraper.scrape(&pod, owner_uid.as_str(), way) } else { Err(String::new()) };
        let interval = poll_interval(self.readings.len(), &self.every);
        let mut map = self.readings.lock();
        let followed = map.get_mut(key)?;
        match result {
            Ok((reading, way)) => {
                self.outcomes.add(if way == Way::Direct { Outcome::Direct } else { Outcome::Proxy });
                let new = updated(followed.progress.as_ref(), reading, followed.read_at.elapsed());
                followed.way = way;
                followed.failures = 0;
                followed.read_at = Instant::now();
                let has_news = followed.progress.as_ref() != Some(&new);
                followed.progress = Some(new);
                drop(map);
                if has_news {
                    (self.wake)(key.clone());
                }
                Some(interval)
            }
            Err(_) if !runs => Some(interval),
            Err(e) => {
                self.outcomes.add(Outcome::Failed);
                followed.failures = followed.failures.saturating_add(1);
                let failures = followed.failures;
                drop(map);
                log::debug!("{key}: no news: {e}");
                Some((interval * failures.min(30)).min(SILENT_POLL.max(interval)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Policy;

    fn reading(percent: f64, sent: u64) -> Reading {
        Reading { percent, sent_bytes: Some(sent), total_bytes: Some(1000) }
    }

    #[test]
    fn few_clones_are_asked_every_two_seconds_and_many_less_often() {
        let every = Policy::default().intervals;
        assert_eq!(poll_interval(1, &every), Duration::from_secs(2));
        assert_eq!(poll_interval(40, &every), Duration::from_secs(2));
        assert_eq!(poll_interval(1000, &every), Duration::from_secs(50));
    }

    #[test]
    fn progress_never_falls_and_a_restart_has_no_rate() {
        let first = updated(None, reading(50.0, 500), Duration::from_secs(1));
        assert_eq!(first.rate_bytes_per_sec, None);
        let second = updated(Some(&first), reading(60.0, 600), Duration::from_secs(1));
        assert_eq!((second.rate_bytes_per_sec, second.left_secs()), (Some(100), Some(4)));
        let restarted = updated(Some(&second), reading(1.0, 10), Duration::from_secs(1));
        assert_eq!((restarted.percent, restarted.rate_bytes_per_sec), (60.0, None));
    }
}
