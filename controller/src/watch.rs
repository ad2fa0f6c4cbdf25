//! One thread for each kind: lists, then watches, and wakes the keys that have to look.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use decant_shared::stop::{STOP_TICK, Stop};
use serde_json::Value;

use crate::annotations::{APP, APP_VALUE};
use crate::backoff::Backoff;
use crate::cluster::{ApiError, Cluster, ListParams, Watch, WatchEvent};
use crate::resource::{self, Key, Kind};
use crate::store::{Link, Store, Stores, View};

/// Objects in one page of a list: some hundred kilobytes, parsed and dropped before the next.
const PAGE_OBJECTS: u32 = 500;
/// Between two tries of a watch that cannot be had.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));

/// Is told which keys have to be looked at.
pub type Wake = Arc<dyn Fn(Key) + Send + Sync>;

/// The running watches.
pub struct Watches {
    threads: Vec<JoinHandle<()>>,
    synced: Arc<AtomicUsize>,
}

impl Watches {
    /// Starts all of them, for `namespace` or for the whole cluster.
    pub fn start(
        cluster: &Arc<dyn Cluster>,
        stores: &Arc<Stores>,
        namespace: Option<&str>,
        wake: &Wake,
        stop: &Stop,
    ) -> std::io::Result<Self> {
        let mut watches = Self { threads: Vec::new(), synced: Arc::default() };
        let params =
            ListParams { namespace: namespace.map(str::to_owned), limit: PAGE_OBJECTS, ..Default::default() };
        let ours = ListParams { labels: format!("{APP}={APP_VALUE}"), ..params.clone() };
        let base = |kind| (kind, Arc::clone(cluster), Arc::clone(stores), Arc::clone(wake), stop.clone());
        watches.spawn("watch-datavolumes", base(Kind::DataVolume), params.clone(), |s| &s.data_volumes)?;
        watches.spawn("watch-claims", base(Kind::PersistentVolumeClaim), params.clone(), |s| &s.claims)?;
        watches.spawn("watch-pods", base(Kind::Pod), ours, |s| &s.pods)?;
        watches.spawn("watch-datasources", base(Kind::DataSource), params, |s| &s.data_sources)?;
        Ok(watches)
    }

    /// Whether all stores were filled once.
    pub fn all_synced(&self) -> bool {
        self.synced.load(Ordering::Acquire) == self.threads.len()
    }

    /// Waits for the threads; they end on the stop token.
    pub fn join(self) {
        for thread in self.threads {
            // A panic has been printed already.
            let _ = thread.join();
        }
    }

    fn spawn<T: View>(
        &mut self,
        name: &str,
        (kind, cluster, stores, wake, stop): (Kind, Arc<dyn Cluster>, Arc<Stores>, Wake, Stop),
        params: ListParams,
        store: fn(&Stores) -> &Store<T>,
    ) -> std::io::Result<()> {
        let synced = Arc::clone(&self.synced);
        let thread = Builder::new().name(name.to_owned()).spawn(move || {
            let watcher = Watcher { kind, cluster, stores, wake, stop, params, store };
            watcher.run(&synced);
        })?;
        self.threads.push(thread);
        Ok(())
    }
}

struct Watcher<T: View> {
    kind: Kind,
    cluster: Arc<dyn Cluster>,
    stores: Arc<Stores>,
    wake: Wake,
    stop: Stop,
    params: ListParams,
    store: fn(&Stores) -> &Store<T>,
}

impl<T: View> Watcher<T> {
    fn run(&self, synced: &AtomicUsize) {
        let mut backoff = Backoff::new(RETRY.0, RETRY.1, self.kind.name());
        let (mut version, mut is_first) = (String::new(), true);
        while !self.stop.is_set() {
            let result = if version.is_empty() { self.list() } else { self.follow(version.clone()) };
            match result {
                Ok(at) => {
                    version = at;
                    backoff.reset();
                    if std::mem::take(&mut is_first) {
                        synced.fetch_add(1, Ordering::AcqRel);
                    }
                }
                Err(e) => {
                    version.clear();
                    if !e.is_expired() {
                        log::warn!("{}: {e}", self.kind.plural());
                        self.stop.sleep(backoff.next());
                    }
                }
            }
        }
    }

    /// Fills the store anew; returns from where to watch.
    fn list(&self) -> Result<String, ApiError> {
        let mut params = self.params.clone();
        let mut gone = self.store().keys();
        loop {
            let page = self.cluster.list(self.kind, &params)?;
            for item in page.items {
                if let Some(key) = self.put(item) {
                    gone.remove(&key);
                }
            }
            if page.next.is_empty() {
                for key in gone {
                    self.remove(&key);
                }
                return Ok(page.resource_version);
            }
            params.next = page.next;
        }
    }

    /// Watches until the stream ends; returns from where to go on.
    fn follow(&self, mut version: String) -> Result<String, ApiError> {
        let mut watch = self.cluster.watch(self.kind, &self.params, &version)?;
        while !self.stop.is_set() {
            match next(&mut *watch) {
                Ok(None) => {}
                Ok(Some(WatchEvent::Applied(object))) => {
                    version = resource_version(&object).unwrap_or(version);
                    self.put(object);
                }
                Ok(Some(WatchEvent::Deleted(object))) => {
                    version = resource_version(&object).unwrap_or(version);
                    if let Ok(view) = resource::view::<T>(object) {
                        self.remove(&view.meta().key());
                    }
                }
                Ok(Some(WatchEvent::Bookmark(at))) => version = at,
                Ok(Some(WatchEvent::Failed(e))) => return Err(e),
                // Streams end every few minutes; nothing is lost.
                Err(e) => {
                    log::debug!("{}: {e}", self.kind.plural());
                    return Ok(version);
                }
            }
        }
        Ok(version)
    }

    fn put(&self, object: Value) -> Option<Key> {
        match resource::view::<T>(object) {
            // Somebody else's object that only looks like one of ours, also one that was ours before it was changed.
            Ok(view) if !self.store().admits(&view) => {
                self.remove(&view.meta().key());
                None
            }
            Ok(view) => {
                let key = view.meta().key();
                let links = view.looked_at_by();
                let before = self.store().put(view);
                self.wake_all(&key, links.into_iter().chain(before.and_then(|old| old.looked_at_by())));
                Some(key)
            }
            // One odd object must not hide all others.
            Err(e) => {
                log::warn!("{} cannot be read and is left alone: {e}", self.kind.name());
                None
            }
        }
    }

    fn remove(&self, key: &Key) {
        let before = self.store().remove(key);
        self.wake_all(key, before.and_then(|old| old.looked_at_by()).into_iter());
    }

    fn wake_all(&self, key: &Key, links: impl Iterator<Item = Link>) {
        let mut keys = BTreeSet::new();
        match self.kind {
            Kind::Pod => keys.extend(links.filter_map(|link| match link {
                Link::Of(key) => Some(key),
                _ => None,
            })),
            Kind::DataSource => {
                keys.extend(self.stores.data_volumes.pointing_to(&Link::Through(key.clone())));
            }
            _ => {
                keys.insert(key.clone());
                keys.extend(self.stores.clones_of(key));
            }
        }
        for key in keys {
            (self.wake)(key);
        }
    }

    fn store(&self) -> &Store<T> {
        (self.store)(&self.stores)
    }
}

fn next(watch: &mut dyn Watch) -> Result<Option<WatchEvent>, ApiError> {
    watch.next(STOP_TICK)
}

fn resource_version(object: &Value) -> Option<String> {
    object["metadata"]["resourceVersion"].as_str().map(str::to_owned)
}
