//! What the watches know, by key: small views, never whole objects.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::annotations::{CLONE_REQUEST, OWNER_REF};
use crate::request::{Wanted, wanted};
use crate::resource::{Claim, DataSource, DataVolume, Key, Meta, Pod};

/// A kind of view that a store keeps.
pub trait View: serde::de::DeserializeOwned + Send + Sync + 'static {
    /// Its metadata.
    fn meta(&self) -> &Meta;
    /// The keys that look at it: they are woken when it changes.
    fn looked_at_by(&self) -> Option<Link>;
}

/// What a view points to, so that the way back can be found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Link {
    /// It is cloned from this claim.
    From(Key),
    /// It refers to this DataSource.
    Through(Key),
    /// It belongs to the clone of this key.
    Of(Key),
}

/// Views of one kind.
#[derive(Debug)]
pub struct Store<T>(Mutex<Inner<T>>);

#[derive(Debug)]
struct Inner<T> {
    views: HashMap<Key, Arc<T>>,
    /// From what is pointed to, to those that point.
    back: BTreeMap<Link, BTreeSet<Key>>,
}

impl<T> Default for Store<T> {
    fn default() -> Self {
        Self(Mutex::new(Inner { views: HashMap::new(), back: BTreeMap::new() }))
    }
}

impl<T: View> Store<T> {
    /// The view of `key`.
    pub fn get(&self, key: &Key) -> Option<Arc<T>> {
        self.lock().views.get(key).cloned()
    }

    /// Who points to `link`.
    pub fn pointing_to(&self, link: &Link) -> Vec<Key> {
        self.lock().back.get(link).into_iter().flatten().cloned().collect()
    }

    /// All views.
    pub fn all(&self) -> Vec<Arc<T>> {
        self.lock().views.values().cloned().collect()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.lock().views.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds or replaces a view; returns the one before.
    pub fn put(&self, view: T) -> Option<Arc<T>> {
        let key = view.meta().key();
        let mut inner = self.lock();
        let before = inner.take(&key);
        if let Some(link) = view.looked_at_by() {
            inner.back.entry(link).or_default().insert(key.clone());
        }
        inner.views.insert(key, Arc::new(view));
        before
    }

    /// Removes the view of `key` and returns it.
    pub fn remove(&self, key: &Key) -> Option<Arc<T>> {
        self.lock().take(key)
    }

    /// The keys of all views.
    pub fn keys(&self) -> BTreeSet<Key> {
        self.lock().views.keys().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: View> Inner<T> {
    fn take(&mut self, key: &Key) -> Option<Arc<T>> {
        let view = self.views.remove(key)?;
        if let Some(link) = view.looked_at_by()
            && let Some(keys) = self.back.get_mut(&link)
        {
            keys.remove(key);
            if keys.is_empty() {
                self.back.remove(&link);
            }
        }
        Some(view)
    }
}

/// All stores.
#[derive(Debug, Default)]
pub struct Stores {
    /// All DataVolumes.
    pub data_volumes: Store<DataVolume>,
    /// All claims.
    pub claims: Store<Claim>,
    /// Pods of clones.
    pub pods: Store<Pod>,
    /// All DataSources.
    pub data_sources: Store<DataSource>,
}

impl Stores {
    /// Keys of all clones whose source is the claim `source`.
    pub fn clones_of(&self, source: &Key) -> BTreeSet<Key> {
        let link = Link::From(source.clone());
        let mut keys: BTreeSet<Key> = self.data_volumes.pointing_to(&link).into_iter().collect();
        keys.extend(self.claims.pointing_to(&link));
        keys
    }

    /// The pods of the clone `key`.
    pub fn pods_of(&self, key: &Key) -> Vec<Arc<Pod>> {
        let keys = self.pods.pointing_to(&Link::Of(key.clone()));
        keys.iter().filter_map(|key| self.pods.get(key)).collect()
    }
}

impl View for DataVolume {
    fn meta(&self) -> &Meta {
        &self.metadata
    }

    fn looked_at_by(&self) -> Option<Link> {
        match wanted(self).ok()? {
            Wanted::Claim(key) => Some(Link::From(key)),
            Wanted::DataSource(key) => Some(Link::Through(key)),
            Wanted::NotOurs(_) => None,
        }
    }
}

impl View for Claim {
    fn meta(&self) -> &Meta {
        &self.metadata
    }

    fn looked_at_by(&self) -> Option<Link> {
        self.metadata.annotation(CLONE_REQUEST)?.parse().ok().map(Link::From)
    }
}

impl View for DataSource {
    fn meta(&self) -> &Meta {
        &self.metadata
    }

    fn looked_at_by(&self) -> Option<Link> {
        None
    }
}

impl View for Pod {
    fn meta(&self) -> &Meta {
        &self.metadata
    }

    fn looked_at_by(&self) -> Option<Link> {
        if let Some(owner) = self.metadata.annotation(OWNER_REF) {
            return owner.parse().ok().map(Link::Of);
        }
        let owner = self.metadata.controller().filter(|owner| owner.kind == "PersistentVolumeClaim")?;
        Some(Link::Of(Key::new(&self.metadata.namespace, &owner.name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn data_volume(source: &str) -> DataVolume {
        serde_json::from_value(json!({
            "metadata": { "namespace": "n", "name": "dv" },
            "spec": { "source": { "pvc": { "namespace": "n", "name": source } } },
        }))
        .unwrap()
    }

    #[test]
    fn a_source_finds_its_clones_also_after_they_changed_or_went() {
        let stores = Stores::default();
        let dv = Key::new("n", "dv");
        stores.data_volumes.put(data_volume("a"));
        assert!(stores.clones_of(&Key::new("n", "a")).contains(&dv));
        stores.data_volumes.put(data_volume("b"));
        assert!(stores.clones_of(&Key::new("n", "a")).is_empty());
        stores.data_volumes.remove(&dv);
        assert!(stores.clones_of(&Key::new("n", "b")).is_empty());
    }

    #[test]
    fn pods_are_found_by_their_claim_wherever_they_run() {
        let stores = Stores::default();
        let source =
            json!({ "metadata": { "namespace": "far", "name": "s", "annotations": { OWNER_REF: "n/c" } } });
        let target = json!({ "metadata": { "namespace": "n", "name": "t", "ownerReferences": [
            { "kind": "PersistentVolumeClaim", "name": "c", "controller": true } ] } });
        for pod in [source, target] {
            stores.pods.put(serde_json::from_value(pod).unwrap());
        }
        assert_eq!(stores.pods_of(&Key::new("n", "c")).len(), 2);
    }
}
