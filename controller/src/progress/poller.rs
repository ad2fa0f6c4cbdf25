//! Polling threads. They read the progress of running sources separately from the workers, so that a pod that does not
//! answer delays no phase (docs/migrate-from-cdi.md row 50).

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use decant_shared::process::panics;
use decant_shared::process::stop::Stop;

use crate::objects::annotations::{SOURCE_CONTAINER, TARGET_CONTAINER};
use crate::objects::{Key, Pod, Uid};
use crate::policy::{Intervals, SchedulingPolicy};
use crate::progress::bandwidth::Bandwidth;
use crate::progress::clone_progress::{Progress, updated};
use crate::progress::scraper::{ScrapeRoute, Scraper};
use crate::watch::queue::Queue;
use crate::watch::watcher::Wake;

/// The longest interval of polls. A pod that does not answer is polled less and less often, up to this interval.
const SILENT_POLL: Duration = Duration::from_secs(30);
/// The pause before the first poll of a pod, and before the second one if only that can give it its share.
pub const FIRST_POLL: Duration = Duration::from_millis(500);

/// How a poll of a source pod ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PollOutcome {
    /// The pod answered.
    Direct,
    /// The pod answered through the API server.
    Proxy,
    /// There was no answer.
    Failed,
}

impl PollOutcome {
    /// All outcomes.
    pub const ALL: [PollOutcome; 3] = [PollOutcome::Direct, PollOutcome::Proxy, PollOutcome::Failed];

    /// The name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            PollOutcome::Direct => "direct",
            PollOutcome::Proxy => "proxy",
            PollOutcome::Failed => "failed",
        }
    }
}

/// Counts of the outcomes.
#[derive(Debug, Default)]
pub struct PollOutcomes([AtomicU64; 3]);

impl PollOutcomes {
    /// How often `outcome` occurred so far.
    pub fn count(&self, outcome: PollOutcome) -> u64 {
        self.0[outcome as usize].load(Ordering::Relaxed)
    }

    fn add(&self, outcome: PollOutcome) {
        self.0[outcome as usize].fetch_add(1, Ordering::Relaxed);
    }
}

/// The last readings of all running clones.
#[derive(Default)]
pub struct Readings(Mutex<HashMap<Key, Followed>>);

struct Followed {
    pod: Arc<Pod>,
    owner_uid: Uid,
    progress: Option<Progress>,
    read_at: Instant,
    way: ScrapeRoute,
    failures: u32,
}

impl Readings {
    /// Polls `pod` for the clone `key` from now on. Returns whether the pod is new.
    pub fn follow(&self, key: &Key, pod: &Arc<Pod>, owner_uid: &Uid) -> bool {
        let mut map = self.lock();
        match map.get_mut(key) {
            Some(old) if old.pod.metadata.uid == pod.metadata.uid => {
                old.pod = Arc::clone(pod);
                false
            }
            old => {
                // The last reading of the previous pod is kept until the new one answers.
                let progress = old.and_then(|old| old.progress.clone());
                let followed = Followed {
                    pod: Arc::clone(pod),
                    owner_uid: owner_uid.clone(),
                    progress,
                    read_at: Instant::now(),
                    way: ScrapeRoute::first_to(pod),
                    failures: 0,
                };
                map.insert(key.clone(), followed);
                true
            }
        }
    }

    /// Forgets the clone `key`, which no longer runs.
    pub fn forget(&self, key: &Key) {
        self.lock().remove(key);
    }

    /// The last progress of the clone `key`.
    pub fn get(&self, key: &Key) -> Option<Progress> {
        self.lock().get(key)?.progress.clone()
    }

    /// The last progress of all clones, for the metrics page.
    pub fn all(&self) -> Vec<(Key, Progress)> {
        let map = self.lock();
        map.iter().filter_map(|(key, one)| Some((key.clone(), one.progress.clone()?))).collect()
    }

    /// How many clones are followed whose bytes do not cross the network.
    pub fn direct_len(&self) -> usize {
        self.lock().values().filter(|followed| followed.pod.is_direct()).count()
    }

    /// How many clones are followed.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether no clone is followed.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Followed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Interval of polling one clone. It grows with the number of running clones, because progress that cannot be written
/// need not be read.
pub fn poll_interval(running: usize, every: &Intervals) -> Duration {
    let per_sec = every.progress_writes_per_sec.max(1);
    let running = u32::try_from(running).unwrap_or(u32::MAX);
    every.poll.max(Duration::from_secs(1).saturating_mul(running) / per_sec)
}

/// The state that all polling threads share.
pub struct Pollers {
    /// The clones to poll, with their times.
    pub queue: Queue,
    /// The last readings.
    pub readings: Readings,
    /// Counts of the outcomes.
    pub outcomes: PollOutcomes,
    /// The bandwidth limits, which the polls carry.
    pub bandwidth: Bandwidth,
    scraper: Scraper,
    every: Intervals,
    wake: Wake,
}

impl Pollers {
    /// Pollers that are idle until [`Pollers::start`]. `wake` is called for each clone with a new reading.
    pub fn new(scraper: Scraper, every: Intervals, wake: Wake) -> Self {
        Self {
            queue: Queue::default(),
            readings: Readings::default(),
            outcomes: PollOutcomes::default(),
            bandwidth: Bandwidth::new(None, 0),
            scraper,
            every,
            wake,
        }
    }

    /// Shares the budget of `scheduling`.
    pub fn with_budget(self, scheduling: &SchedulingPolicy) -> Self {
        let clones_max = u64::try_from(scheduling.running_max).unwrap_or(u64::MAX);
        Self { bandwidth: Bandwidth::new(scheduling.bandwidth_budget, clones_max), ..self }
    }

    /// Starts `count` threads.
    pub fn start(self: &Arc<Self>, count: usize, stop: &Stop) -> std::io::Result<Vec<JoinHandle<()>>> {
        (0..count)
            .map(|number| {
                let pollers = Arc::clone(self);
                let stop = stop.clone();
                Builder::new().name(format!("poll-{number}")).spawn(move || {
                    while let Some(key) = pollers.queue.take(&stop) {
                        let again = pollers.poll_guarded(&key);
                        pollers.queue.done(&key, again);
                    }
                })
            })
            .collect()
    }

    /// Polls one source. An answer that causes a panic affects only the progress of its own clone.
    fn poll_guarded(&self, key: &Key) -> Option<Duration> {
        panics::catch(|| self.poll(key)).unwrap_or_else(|panic| {
            self.outcomes.add(PollOutcome::Failed);
            log::error!("{key}: progress: internal error in the controller: {panic}; please report it");
            Some(SILENT_POLL)
        })
    }

    /// Polls one source. Returns when to poll it again.
    fn poll(&self, key: &Key) -> Option<Duration> {
        let (pod, owner_uid, way) = {
            let map = self.readings.lock();
            let followed = map.get(key)?;
            (Arc::clone(&followed.pod), followed.owner_uid.clone(), followed.way)
        };
        let container = if pod.is_direct() { TARGET_CONTAINER } else { SOURCE_CONTAINER };
        let runs = pod.container_status(container).is_some_and(|status| status.state.running.is_some());
        let result = if runs {
            let order = self.bandwidth.order(key, Instant::now(), unix_millis());
            self.scraper.scrape(&pod, owner_uid.as_str(), order, way)
        } else {
            Err(String::new())
        };
        let interval = poll_interval(self.readings.len(), &self.every);
        let mut map = self.readings.lock();
        let followed = map.get_mut(key)?;
        match result {
            Ok((reading, way)) => {
                self.outcomes.add(if way == ScrapeRoute::Direct {
                    PollOutcome::Direct
                } else {
                    PollOutcome::Proxy
                });
                let is_learned =
                    self.bandwidth.answered(key, &pod.metadata.uid, reading.limit, Instant::now());
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
                Some(if is_learned { FIRST_POLL.min(interval) } else { interval })
            }
            Err(_) if !runs => Some(interval),
            Err(e) => {
                self.outcomes.add(PollOutcome::Failed);
                followed.failures = followed.failures.saturating_add(1);
                let failures = followed.failures;
                drop(map);
                log::debug!("{key}: cannot read the progress of the source: {e}");
                Some((interval * failures.min(30)).min(SILENT_POLL.max(interval)))
            }
        }
    }
}

/// The time in milliseconds since 1970.
fn unix_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Policy;

    #[test]
    fn few_clones_are_asked_every_two_seconds_and_many_less_often() {
        let every = Policy::default().intervals;
        assert_eq!(poll_interval(1, &every), Duration::from_secs(2));
        assert_eq!(poll_interval(40, &every), Duration::from_secs(2));
        assert_eq!(poll_interval(1000, &every), Duration::from_secs(50));
    }
}
