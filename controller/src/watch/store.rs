//! The stores that the watches fill, by key: small views, never whole objects.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Deserialize;

use crate::objects::annotations::{CLONE_REQUEST, RESTORED};
use crate::objects::clone_request::{Wanted, wanted};
use crate::objects::{
    Claim, CloneSource, DataSource, DataVolume, Key, Kind, Meta, Object, Pod, PopulatorKind, PopulatorRef,
    Uid, VolumeCloneSource, decode, names,
};
use crate::pods::identity::PodIdentity;
use crate::token::key::TokenKey;

/// A kind of view that a store keeps.
pub trait StoreObject: serde::de::DeserializeOwned + Send + Sync + 'static {
    /// Its metadata.
    fn meta(&self) -> &Meta;
    /// What the view refers to. Its key is found by that, and is woken when the other object changes.
    fn indexed_by(&self) -> Vec<IndexKey>;
}

/// What a view refers to, for the reverse lookup.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum IndexKey {
    /// It is cloned from this claim.
    From(Key),
    /// It refers to this DataSource.
    Through(Key),
    /// It belongs to the clone of this key.
    Of(Key),
    /// This object fills it before it is bound.
    FilledBy(PopulatorRef),
    /// It is a claim of this name, which only primes have, or its prime has this name. Names cannot be changed. The same
    /// for the PVCs that are restored from snapshots.
    Prime(String),
}

/// An object of which only the metadata is read.
#[derive(Deserialize)]
struct Headed {
    metadata: Meta,
}

/// Whether a view may be kept.
type Admits<T> = Box<dyn Fn(&T) -> bool + Send + Sync>;

/// Views of one kind.
pub struct Store<T> {
    inner: Mutex<StoreState<T>>,
    /// `None` admits all.
    admits: Option<Admits<T>>,
    /// Like `admits`, for an object that cannot be read as a view: its metadata alone decides.
    admits_unread: Option<Admits<Meta>>,
}

#[derive(Debug)]
struct StoreState<T> {
    views: HashMap<Key, Arc<T>>,
    /// The keys of the views that refer to something.
    back: BTreeMap<IndexKey, BTreeSet<Key>>,
}

impl<T> Default for Store<T> {
    fn default() -> Self {
        let inner = Mutex::new(StoreState { views: HashMap::new(), back: BTreeMap::new() });
        Self { inner, admits: None, admits_unread: None }
    }
}

impl<T: StoreObject> Store<T> {
    /// A store that keeps only objects whose metadata `admits` accepts.
    fn guarded(admits: impl Fn(&Meta) -> bool + Send + Sync + 'static) -> Self {
        let admits = Arc::new(admits);
        let of_unread = Arc::clone(&admits);
        Self {
            admits: Some(Box::new(move |view: &T| admits(view.meta()))),
            admits_unread: Some(Box::new(move |meta| of_unread(meta))),
            ..Self::default()
        }
    }

    /// Whether an object that cannot be read would be kept. Its metadata decides, whatever its size; an object with
    /// unreadable metadata is not kept.
    pub fn admits_unread(&self, object: &Object) -> bool {
        self.admits_unread
            .as_ref()
            .is_none_or(|admits| decode::<Headed>(object).is_ok_and(|headed| admits(&headed.metadata)))
    }

    /// Whether `view` may be kept; otherwise it is treated as if it did not exist.
    pub fn admits(&self, view: &T) -> bool {
        self.admits.as_ref().is_none_or(|admits| admits(view))
    }

    /// The view of `key`.
    pub fn get(&self, key: &Key) -> Option<Arc<T>> {
        self.lock().views.get(key).cloned()
    }

    /// The keys of the views that refer to `link`.
    pub fn pointing_to(&self, link: &IndexKey) -> Vec<Key> {
        self.lock().back.get(link).into_iter().flatten().cloned().collect()
    }

    /// All views.
    pub fn all(&self) -> Vec<Arc<T>> {
        self.lock().views.values().cloned().collect()
    }

    /// The number of views.
    pub fn len(&self) -> usize {
        self.lock().views.len()
    }

    /// Whether the store has no views.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds or replaces a view; returns the previous one.
    pub fn put(&self, view: T) -> Option<Arc<T>> {
        let key = view.meta().key();
        let mut inner = self.lock();
        let before = inner.take(&key);
        for link in view.indexed_by() {
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

    fn lock(&self) -> MutexGuard<'_, StoreState<T>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: StoreObject> StoreState<T> {
    fn take(&mut self, key: &Key) -> Option<Arc<T>> {
        let view = self.views.remove(key)?;
        for link in view.indexed_by() {
            let Some(keys) = self.back.get_mut(&link) else { continue };
            keys.remove(key);
            if keys.is_empty() {
                self.back.remove(&link);
            }
        }
        Some(view)
    }
}

/// All stores.
pub struct Stores {
    /// All DataVolumes.
    pub data_volumes: Store<DataVolume>,
    /// All claims.
    pub claims: Store<Claim>,
    /// Pods of clones that have the controller's seal. Other pods are never kept or counted.
    pub pods: Store<Pod>,
    /// All DataSources.
    pub data_sources: Store<DataSource>,
    /// All CloneSources.
    pub clone_sources: Store<CloneSource>,
    /// All VolumeCloneSources.
    pub volume_clone_sources: Store<VolumeCloneSource>,
}

impl Stores {
    /// Empty stores that recognize pods of clones by seals of `key`.
    pub fn new(key: Arc<TokenKey>) -> Self {
        Self {
            data_volumes: Store::default(),
            claims: Store::default(),
            pods: Store::guarded(move |pod| PodIdentity::of(pod, &key).is_some()),
            data_sources: Store::default(),
            clone_sources: Store::default(),
            volume_clone_sources: Store::default(),
        }
    }

    /// Keys of all clones whose source is the claim `source`.
    pub fn clones_of(&self, source: &Key) -> BTreeSet<Key> {
        let link = IndexKey::From(source.clone());
        let mut keys: BTreeSet<Key> = self.data_volumes.pointing_to(&link).into_iter().collect();
        keys.extend(self.claims.pointing_to(&link));
        for (kind, sources) in [
            (PopulatorKind::CloneSource, self.clone_sources.pointing_to(&link)),
            (PopulatorKind::VolumeCloneSource, self.volume_clone_sources.pointing_to(&link)),
        ] {
            keys.extend(sources.into_iter().flat_map(|key| self.filled_by(kind, key)));
        }
        keys
    }

    /// Keys of the claims that the object `key` fills.
    pub fn filled_by(&self, kind: PopulatorKind, key: Key) -> Vec<Key> {
        self.claims.pointing_to(&IndexKey::FilledBy(PopulatorRef { kind, key }))
    }

    /// The claims with the name of the prime of the claim `target`, in any namespace.
    pub fn primes_of(&self, target: &Claim) -> Vec<Arc<Claim>> {
        let Some(name) = target.prime_name() else { return Vec::new() };
        let keys = self.claims.pointing_to(&IndexKey::Prime(name.clone()));
        keys.iter().filter(|key| key.name == name).filter_map(|key| self.claims.get(key)).collect()
    }

    /// The claims with the name of the PVC that is restored from a snapshot for the claim with `uid`, in any namespace.
    pub fn restored_for(&self, uid: &Uid) -> Vec<Arc<Claim>> {
        let name = names::restored(uid);
        let keys = self.claims.pointing_to(&IndexKey::Prime(name.clone()));
        keys.iter().filter(|key| key.name == name).filter_map(|key| self.claims.get(key)).collect()
    }

    /// The claim whose prime has the name of `prime`.
    pub fn target_of(&self, prime: &Claim) -> Option<Arc<Claim>> {
        let name = &prime.metadata.name;
        let keys = self.claims.pointing_to(&IndexKey::Prime(name.clone()));
        let mut claims = keys.iter().filter_map(|key| self.claims.get(key));
        claims.find(|claim| claim.prime_name().as_ref() == Some(name))
    }

    /// The keys to reconcile after the object `key` of `kind` changed. `links` is what it refers to, and referred to
    /// before.
    pub fn affected_by(
        &self,
        kind: Kind,
        key: &Key,
        links: impl IntoIterator<Item = IndexKey>,
    ) -> BTreeSet<Key> {
        let links = links.into_iter();
        let mut keys: BTreeSet<Key> = match kind {
            Kind::Pod => {
                let clones = links.filter_map(|link| match link {
                    IndexKey::Of(key) => Some(key),
                    _ => None,
                });
                return clones.collect();
            }
            Kind::DataSource => {
                self.data_volumes.pointing_to(&IndexKey::Through(key.clone())).into_iter().collect()
            }
            Kind::CloneSource => {
                self.filled_by(PopulatorKind::CloneSource, key.clone()).into_iter().collect()
            }
            Kind::VolumeCloneSource => {
                self.filled_by(PopulatorKind::VolumeCloneSource, key.clone()).into_iter().collect()
            }
            _ => {
                let mut keys = self.clones_of(key);
                keys.insert(key.clone());
                // The target of a prime.
                let is_prime = |link: &IndexKey| matches!(link, IndexKey::Prime(_));
                keys.extend(links.filter(is_prime).flat_map(|link| self.claims.pointing_to(&link)));
                keys
            }
        };
        // What a target asks for decides about its prime.
        let targets: Vec<Arc<Claim>> = keys.iter().filter_map(|key| self.claims.get(key)).collect();
        for target in targets.iter().filter(|claim| claim.populator().is_some()) {
            keys.extend(self.primes_of(target).iter().map(|prime| prime.metadata.key()));
        }
        keys
    }

    /// The pods of the clone `key`.
    pub fn pods_of(&self, key: &Key) -> Vec<Arc<Pod>> {
        let keys = self.pods.pointing_to(&IndexKey::Of(key.clone()));
        keys.iter().filter_map(|key| self.pods.get(key)).collect()
    }
}

impl StoreObject for DataVolume {
    fn meta(&self) -> &Meta {
        &self.metadata
    }

    fn indexed_by(&self) -> Vec<IndexKey> {
        match wanted(self) {
            Ok(Wanted::Claim(key)) => vec![IndexKey::From(key)],
            Ok(Wanted::DataSource(key)) => vec![IndexKey::Through(key)],
            // No watch reports snapshots.
            Ok(Wanted::Snapshot(_) | Wanted::NotOurs(_)) | Err(_) => Vec::new(),
        }
    }
}

impl StoreObject for Claim {
    fn meta(&self) -> &Meta {
        &self.metadata
    }

    fn indexed_by(&self) -> Vec<IndexKey> {
        if let Some(populator) = self.populator() {
            let populator_kind = populator.kind;
            return vec![
                IndexKey::FilledBy(populator),
                IndexKey::Prime(names::prime(populator_kind, &self.metadata.uid)),
            ];
        }
        let name = &self.metadata.name;
        let is_temporary = names::may_be_prime(name) || names::may_be_restored(name);
        let prime = is_temporary.then(|| IndexKey::Prime(name.clone()));
        let is_recorded = self.metadata.annotation(RESTORED).is_some();
        let restored = is_recorded.then(|| IndexKey::Prime(names::restored(&self.metadata.uid)));
        let source = self.metadata.annotation(CLONE_REQUEST).filter(|_| self.populates().is_none());
        let source = source.and_then(|text| text.parse().ok()).map(IndexKey::From);
        prime.into_iter().chain(restored).chain(source).collect()
    }
}

impl StoreObject for CloneSource {
    fn meta(&self) -> &Meta {
        &self.metadata
    }

    fn indexed_by(&self) -> Vec<IndexKey> {
        source_of(self.request().ok().map(|request| request.wanted))
    }
}

impl StoreObject for VolumeCloneSource {
    fn meta(&self) -> &Meta {
        &self.metadata
    }

    fn indexed_by(&self) -> Vec<IndexKey> {
        source_of(self.request().ok().map(|request| request.wanted))
    }
}

fn source_of(wanted: Option<Wanted>) -> Vec<IndexKey> {
    match wanted {
        Some(Wanted::Claim(key)) => vec![IndexKey::From(key)],
        Some(Wanted::Snapshot(_) | Wanted::DataSource(_) | Wanted::NotOurs(_)) | None => Vec::new(),
    }
}

impl StoreObject for DataSource {
    fn meta(&self) -> &Meta {
        &self.metadata
    }

    fn indexed_by(&self) -> Vec<IndexKey> {
        Vec::new()
    }
}

impl StoreObject for Pod {
    fn meta(&self) -> &Meta {
        &self.metadata
    }

    fn indexed_by(&self) -> Vec<IndexKey> {
        PodIdentity::said(&self.metadata).map(|identity| IndexKey::Of(identity.clone)).into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pods::identity::sealed_pod;
    use crate::pods::role::Role;
    use serde_json::json;

    fn stores() -> Stores {
        Stores::new(Arc::new(TokenKey::new(&[5; 32])))
    }

    fn data_volume(source: &str) -> DataVolume {
        serde_json::from_value(json!({
            "metadata": { "namespace": "n", "name": "dv" },
            "spec": { "source": { "pvc": { "namespace": "n", "name": source } } },
        }))
        .unwrap()
    }

    #[test]
    fn a_source_finds_its_clones_also_after_they_changed_or_went() {
        let stores = stores();
        let dv = Key::new("n", "dv");
        stores.data_volumes.put(data_volume("a"));
        assert!(stores.clones_of(&Key::new("n", "a")).contains(&dv));
        stores.data_volumes.put(data_volume("b"));
        assert!(stores.clones_of(&Key::new("n", "a")).is_empty());
        stores.data_volumes.remove(&dv);
        assert!(stores.clones_of(&Key::new("n", "b")).is_empty());
    }

    #[test]
    fn sealed_pods_are_found_by_their_claim_wherever_they_run() {
        let (stores, key) = (stores(), TokenKey::new(&[5; 32]));
        for (role, namespace) in [(Role::Source, "far"), (Role::Target, "n")] {
            let pod = sealed_pod(role, namespace, "1", &key);
            assert!(stores.pods.admits(&pod));
            stores.pods.put(pod);
        }
        assert_eq!(stores.pods_of(&Key::new("n", "c")).len(), 2);
    }

    #[test]
    fn a_pod_that_cannot_be_read_counts_only_if_its_seal_fits() {
        let (stores, key) = (stores(), TokenKey::new(&[5; 32]));
        let pod = sealed_pod(Role::Source, "far", "1", &key).metadata;
        let object = |annotations: &BTreeMap<String, String>| {
            Object::from(json!({
                "metadata": { "namespace": pod.namespace, "name": pod.name, "labels": pod.labels, "annotations": annotations },
                "spec": 5,
            }))
        };
        assert!(stores.pods.admits_unread(&object(&pod.annotations)));
        assert!(!stores.pods.admits_unread(&object(&BTreeMap::new())));
    }

    #[test]
    fn a_pod_that_only_says_that_it_belongs_to_a_clone_is_not_admitted() {
        let (stores, key) = (stores(), TokenKey::new(&[5; 32]));
        let mut elsewhere = sealed_pod(Role::Source, "far", "1", &key);
        elsewhere.metadata.namespace = "x".to_owned();
        let mut of_another_claim = sealed_pod(Role::Target, "n", "1", &key);
        of_another_claim
            .metadata
            .annotations
            .insert(crate::objects::annotations::TARGET_CLAIM_UID.to_owned(), "2".to_owned());
        let labels_alone: Pod = serde_json::from_value(json!({ "metadata": {
            "namespace": "x", "name": "evil",
            "labels": { "app": "containerized-data-importer", "cdi.kubevirt.io": "cdi-upload-server" },
            "annotations": { "cdi.kubevirt.io/storage.ownerRef": "n/c" },
            "ownerReferences": [{ "kind": "PersistentVolumeClaim", "name": "c", "uid": "1", "controller": true }],
        } }))
        .unwrap();
        for stranger in [elsewhere, of_another_claim, labels_alone] {
            assert!(!stores.pods.admits(&stranger), "{:?}", stranger.metadata);
        }
    }
}
