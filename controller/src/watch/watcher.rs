//! One thread for each kind. It lists, then watches, and wakes the keys that are affected.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use decant_shared::process::panics;
use decant_shared::process::stop::{STOP_TICK, Stop};

use crate::api::cluster::{ApiError, Cluster, ListParams, Watch, WatchEvent};
use crate::api::listing;
use crate::api::listing::PAGE_OBJECTS;
use crate::objects::annotations::{APP, APP_VALUE};
use crate::objects::{DECODE_LIMIT_BYTES, Key, Kind, Object, Unreadable, decode_within};
use crate::policy::Scope;
use crate::watch::backoff::Backoff;
use crate::watch::store::{IndexKey, Store, StoreObject, Stores};
use crate::watch::unreadable::{ObjectIdentity, Unreadables};

/// Shortest and longest pause before a failed watch is retried.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));

/// Called with each key that has to be reconciled.
pub type Wake = Arc<dyn Fn(Key) + Send + Sync>;

/// The running watches.
pub struct Watches {
    threads: Vec<JoinHandle<()>>,
    synced: Arc<AtomicUsize>,
}

impl Watches {
    /// Starts all watches, for `namespace` or for the whole cluster.
    pub fn start(
        cluster: &Arc<dyn Cluster>,
        stores: &Arc<Stores>,
        unreadable: &Arc<Unreadables>,
        namespace: Option<&str>,
        scope: Scope,
        wake: &Wake,
        stop: &Stop,
    ) -> std::io::Result<Self> {
        let mut watches = Self { threads: Vec::new(), synced: Arc::default() };
        let params =
            ListParams { namespace: namespace.map(str::to_owned), limit: PAGE_OBJECTS, ..Default::default() };
        let ours = ListParams { labels: format!("{APP}={APP_VALUE}"), ..params.clone() };
        let context = WatchContext {
            cluster: Arc::clone(cluster),
            stores: Arc::clone(stores),
            unreadable: Arc::clone(unreadable),
            wake: Arc::clone(wake),
            stop: stop.clone(),
        };
        // Their definitions need not exist beside CDI, and whatever they request is CDI's.
        if scope == Scope::All {
            watches.spawn("watch-datavolumes", Kind::DataVolume, &context, params.clone(), |s| {
                &s.data_volumes
            })?;
            watches.spawn("watch-datasources", Kind::DataSource, &context, params.clone(), |s| {
                &s.data_sources
            })?;
            watches.spawn("watch-vclonesources", Kind::VolumeCloneSource, &context, params.clone(), |s| {
                &s.volume_clone_sources
            })?;
        }
        watches
            .spawn("watch-claims", Kind::PersistentVolumeClaim, &context, params.clone(), |s| &s.claims)?;
        watches.spawn("watch-pods", Kind::Pod, &context, ours, |s| &s.pods)?;
        watches.spawn("watch-clonesources", Kind::CloneSource, &context, params, |s| &s.clone_sources)?;
        Ok(watches)
    }

    /// Whether all stores were filled once.
    pub fn all_synced(&self) -> bool {
        self.synced.load(Ordering::Acquire) == self.threads.len()
    }

    /// Waits for the threads; they end on the stop token.
    pub fn join(self) {
        for thread in self.threads {
            // A panic has already been printed.
            let _ = thread.join();
        }
    }

    fn spawn<T: StoreObject>(
        &mut self,
        name: &str,
        kind: Kind,
        context: &WatchContext,
        params: ListParams,
        store: fn(&Stores) -> &Store<T>,
    ) -> std::io::Result<()> {
        let synced = Arc::clone(&self.synced);
        let watcher = Watcher { kind, context: context.clone(), params, store };
        let thread = Builder::new().name(name.to_owned()).spawn(move || watcher.run(&synced))?;
        self.threads.push(thread);
        Ok(())
    }
}

/// The state that all watches share.
#[derive(Clone)]
struct WatchContext {
    cluster: Arc<dyn Cluster>,
    stores: Arc<Stores>,
    unreadable: Arc<Unreadables>,
    wake: Wake,
    stop: Stop,
}

struct Watcher<T: StoreObject> {
    kind: Kind,
    context: WatchContext,
    params: ListParams,
    store: fn(&Stores) -> &Store<T>,
}

impl<T: StoreObject> Watcher<T> {
    fn run(&self, synced: &AtomicUsize) {
        let mut backoff = Backoff::new(RETRY.0, RETRY.1, self.kind.name());
        let (mut version, mut is_first) = (String::new(), true);
        while !self.context.stop.is_set() {
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
                        log::warn!("{}", failure(self.kind, &e));
                        self.context.stop.sleep(backoff.next());
                    }
                }
            }
        }
    }

    /// Fills the store from a complete list; returns the version to watch from.
    fn list(&self) -> Result<String, ApiError> {
        let mut gone = self.store().keys();
        gone.extend(self.context.unreadable.keys(self.kind));
        let mut has_nameless = false;
        let version = listing::list(&*self.context.cluster, self.kind, &self.params, |object| {
            match self.put(&object).key {
                Some(key) => {
                    gone.remove(&key);
                }
                None => has_nameless = true,
            }
        })?;
        // An object without a readable name may be any of the missing ones.
        if !has_nameless {
            gone.iter().for_each(|key| self.remove(key));
        }
        Ok(version)
    }

    /// Watches until the stream ends; returns the version to resume from.
    fn follow(&self, mut version: String) -> Result<String, ApiError> {
        let mut watch = self.context.cluster.watch(self.kind, &self.params, &version)?;
        while !self.context.stop.is_set() {
            match next(&mut *watch) {
                Ok(None) => {}
                Ok(Some(WatchEvent::Applied(object))) => {
                    version = self.put(&object).version.unwrap_or(version);
                }
                Ok(Some(WatchEvent::Deleted(object))) => {
                    if let Some(identity) = ObjectIdentity::of(&object) {
                        self.remove(&identity.key());
                        version = Some(identity.metadata.resource_version)
                            .filter(|version| !version.is_empty())
                            .unwrap_or(version);
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

    /// Puts the object into the store. An object that cannot be read is in no store, and affects no other object.
    fn put(&self, object: &Object) -> StoredVersion {
        // A panic about this object must not prevent the next one from being read.
        let read = panics::catch(|| {
            let view = decode_within::<T>(object, DECODE_LIMIT_BYTES)?;
            let links = view.indexed_by();
            Ok((view, links))
        });
        match read.unwrap_or_else(|panic| Err(Unreadable { field: String::new(), why: panic.to_string() })) {
            // A foreign pod that only resembles a pod of a clone, or a pod of a clone whose seal no longer matches.
            Ok((view, _)) if !self.store().admits(&view) => {
                let key = view.meta().key();
                self.remove(&key);
                let version = view.meta().resource_version.clone();
                StoredVersion { key: Some(key), version: Some(version).filter(|version| !version.is_empty()) }
            }
            Ok((view, links)) => {
                let key = view.meta().key();
                let version = view.meta().resource_version.clone();
                // In this order, because the object must never seem to be gone.
                let before = self.store().put(view);
                self.context.unreadable.remove(self.kind, &key);
                self.wake_all(
                    &key,
                    links.into_iter().chain(before.map(|old| old.indexed_by()).unwrap_or_default()),
                );
                StoredVersion { key: Some(key), version: Some(version).filter(|version| !version.is_empty()) }
            }
            // An unreadable foreign object affects no clone.
            Err(_) if !self.store().admits_unread(object) => {
                let identity = ObjectIdentity::of(object);
                if let Some(identity) = &identity {
                    self.remove(&identity.key());
                }
                let version = identity.as_ref().map(|identity| identity.metadata.resource_version.clone());
                StoredVersion {
                    key: identity.map(|identity| identity.key()),
                    version: version.filter(|version| !version.is_empty()),
                }
            }
            Err(why) => self.set_aside(object, why),
        }
    }

    fn set_aside(&self, object: &Object, why: Unreadable) -> StoredVersion {
        let text = why.to_string();
        // Before it is removed from its store, because the object must never seem to be gone.
        let (key, is_news) = self.context.unreadable.put(self.kind, object, why);
        if is_news {
            let name = key.as_ref().map_or_else(|| "without a name".to_owned(), Key::to_string);
            log::warn!("{} {name} cannot be read and is left alone: {text}", self.kind.name());
        }
        if let Some(key) = &key {
            let before = self.store().remove(key);
            self.wake_all(key, before.map(|old| old.indexed_by()).unwrap_or_default().into_iter());
            // Workers report it, whatever its kind.
            (self.context.wake)(key.clone());
        }
        let version = ObjectIdentity::of(object).map(|identity| identity.metadata.resource_version);
        StoredVersion { key, version: version.filter(|version| !version.is_empty()) }
    }

    fn remove(&self, key: &Key) {
        let before = self.store().remove(key);
        self.wake_all(key, before.map(|old| old.indexed_by()).unwrap_or_default().into_iter());
        self.context.unreadable.remove(self.kind, key);
    }

    fn wake_all(&self, key: &Key, links: impl Iterator<Item = IndexKey>) {
        let keys = self.context.stores.affected_by(self.kind, key, links);
        for key in keys {
            (self.context.wake)(key);
        }
    }

    fn store(&self) -> &Store<T> {
        (self.store)(&self.context.stores)
    }
}

/// Why a watch failed, and what to do if the API server does not know the kind: Helm does not update
/// CustomResourceDefinitions, so a new version of the controller may find those of the previous one.
fn failure(kind: Kind, e: &ApiError) -> String {
    match kind {
        Kind::DataVolume | Kind::DataSource | Kind::VolumeCloneSource | Kind::CloneSource
            if e.is_not_found() =>
        {
            format!(
                "cannot watch {}.{}: the API server does not know them: install the CustomResourceDefinitions of this \
                 version (`kubectl apply -f controller/deploy/base/crds.yaml`; `helm upgrade` does not)",
                kind.plural(),
                kind.group()
            )
        }
        _ => format!("cannot watch {}: {e}", kind.plural()),
    }
}

fn next(watch: &mut dyn Watch) -> Result<Option<WatchEvent>, ApiError> {
    watch.next(STOP_TICK)
}

/// Key and version of an object that was stored or set aside.
struct StoredVersion {
    key: Option<Key>,
    version: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_definition_is_named_with_what_to_do() {
        let missing = ApiError { code: 404, reason: "NotFound".into(), message: "not found".into() };
        let text = failure(Kind::CloneSource, &missing);
        assert!(text.contains("clonesources.decant.dev") && text.contains("crds.yaml"), "{text}");
        assert!(!failure(Kind::Pod, &missing).contains("crds.yaml"));
        let forbidden = ApiError { code: 403, reason: "Forbidden".into(), message: "no right".into() };
        assert!(failure(Kind::CloneSource, &forbidden).contains("no right"));
    }
}
