//! Objects that cannot be read: their identity, the cause, and the clones that wait for them.
//!
//! Such an object is in no store: a view of its previous version could be outdated. It is not gone either. The clones
//! that need it wait: nothing is created, deleted or reported for them until the object can be read again or is
//! deleted. All other clones continue.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Deserialize;

use crate::objects::annotations::CLONE_REQUEST;
use crate::objects::clone_request::Wanted;
use crate::objects::{Key, Kind, Meta, Object, Uid, Unreadable, clone_request, decode, names};
use crate::watch::store::Stores;

/// The minimum that is read of an object: its identity.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ObjectIdentity {
    /// The part of its metadata that identifies it.
    pub metadata: ObjectIdentityMeta,
}

/// The identity of an object.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectIdentityMeta {
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// Distinguishes objects of the same name.
    pub uid: Uid,
    /// Changes with every write.
    pub resource_version: String,
}

impl ObjectIdentity {
    /// The identity of `object`; `None` if even that cannot be read.
    pub fn of(object: &Object) -> Option<Self> {
        decode::<Self>(object).ok().filter(|found| !found.metadata.name.is_empty())
    }

    /// Namespace and name.
    pub fn key(&self) -> Key {
        Key::new(&self.metadata.namespace, &self.metadata.name)
    }
}

/// An object that cannot be read, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadableObject {
    /// The kind of the object.
    pub kind: Kind,
    /// Enough of its metadata to report an event about it.
    pub meta: Meta,
    /// Why it cannot be read.
    pub why: Unreadable,
}

impl std::fmt::Display for UnreadableObject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} cannot be read: {}", self.kind.name(), self.meta.key(), self.why)
    }
}

/// All objects that cannot be read.
#[derive(Debug, Default)]
pub struct Unreadables(Mutex<UnreadableIndex>);

#[derive(Debug, Default)]
struct UnreadableIndex {
    odd: BTreeMap<(Kind, Key), Entry>,
    /// How many versions of objects could not be read so far, by kind, including objects without a readable name.
    versions: BTreeMap<Kind, u64>,
    /// The clones that wait, with the object that each waits for.
    waiting: BTreeMap<Key, (Kind, Key)>,
}

#[derive(Debug)]
struct Entry {
    odd: UnreadableObject,
    is_reported: bool,
}

impl Unreadables {
    /// Remembers that `object` cannot be read. Returns its key, if that can be read, and whether this is news: this
    /// version was not yet known to be unreadable.
    pub fn put(&self, kind: Kind, object: &Object, why: Unreadable) -> (Option<Key>, bool) {
        let identity = ObjectIdentity::of(object);
        let mut inner = self.lock();
        let Some(identity) = identity else {
            *inner.versions.entry(kind).or_default() += 1;
            return (None, true);
        };
        let key = identity.key();
        let ObjectIdentityMeta { namespace, name, uid, resource_version } = identity.metadata;
        let meta = Meta { namespace, name, uid, resource_version, ..Meta::default() };
        let at = (kind, key.clone());
        if inner.odd.get(&at).is_some_and(|entry| entry.odd.meta == meta) {
            return (Some(key), false);
        }
        *inner.versions.entry(kind).or_default() += 1;
        inner.odd.insert(at, Entry { odd: UnreadableObject { kind, meta, why }, is_reported: false });
        (Some(key), true)
    }

    /// Forgets an object that can be read again, or is gone. Returns whether it was unreadable.
    pub fn remove(&self, kind: Kind, key: &Key) -> bool {
        self.lock().odd.remove(&(kind, key.clone())).is_some()
    }

    /// The keys of all unreadable objects of `kind`.
    pub fn keys(&self, kind: Kind) -> Vec<Key> {
        let inner = self.lock();
        inner.odd.keys().filter(|(of, _)| *of == kind).map(|(_, key)| key.clone()).collect()
    }

    /// How many unreadable objects of `kind` there are now, and how many unreadable versions were seen.
    pub fn counts(&self, kind: Kind) -> (u64, u64) {
        let inner = self.lock();
        let now = inner.odd.keys().filter(|(of, _)| *of == kind).count();
        (u64::try_from(now).unwrap_or(u64::MAX), inner.versions.get(&kind).copied().unwrap_or_default())
    }

    /// The unreadable objects with `key` that have not been reported yet. From now on they count as reported.
    pub fn to_report(&self, key: &Key) -> Vec<UnreadableObject> {
        let mut inner = self.lock();
        let mut found = Vec::new();
        for kind in KINDS {
            if let Some(entry) = inner.odd.get_mut(&(kind, key.clone()))
                && !std::mem::replace(&mut entry.is_reported, true)
            {
                found.push(entry.odd.clone());
            }
        }
        found
    }

    /// The first unreadable object that an observation of the clone `key` needs, and whether it is news that
    /// the clone waits for it.
    pub fn in_the_way(&self, key: &Key, stores: &Stores) -> Option<(UnreadableObject, bool)> {
        {
            let mut inner = self.lock();
            if inner.odd.is_empty() {
                inner.waiting.clear();
                return None;
            }
        }
        // Called without the lock, because it uses the stores.
        let needed = needed(key, stores);
        let mut inner = self.lock();
        let found = needed.into_iter().find_map(|at| inner.odd.get(&at).map(|entry| (at, entry.odd.clone())));
        let Some((at, odd)) = found else {
            inner.waiting.remove(key);
            return None;
        };
        let before = inner.waiting.insert(key.clone(), at.clone());
        Some((odd, before != Some(at)))
    }

    fn lock(&self) -> MutexGuard<'_, UnreadableIndex> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The kinds that are watched.
pub const KINDS: [Kind; 6] = [
    Kind::DataVolume,
    Kind::PersistentVolumeClaim,
    Kind::Pod,
    Kind::DataSource,
    Kind::CloneSource,
    Kind::VolumeCloneSource,
];
/// The length of the chain of DataSources that is followed.
const CHAIN: usize = 3;

/// The objects that decide what happens to the clone `key`: its own DataVolume, claim and pods; its DataSources and
/// source claim; and the DataVolume that fills the source.
fn needed(key: &Key, stores: &Stores) -> Vec<(Kind, Key)> {
    let claim = stores.claims.get(key);
    let target_pod = Key::new(&key.namespace, names::target_pod(&key.name));
    let mut needed = vec![
        (Kind::DataVolume, key.clone()),
        (Kind::PersistentVolumeClaim, key.clone()),
        (Kind::Pod, target_pod),
    ];
    let mut next = match stores.data_volumes.get(key) {
        Some(dv) => clone_request::wanted(&dv).ok(),
        None => claim
            .as_ref()
            .and_then(|claim| claim.metadata.annotation(CLONE_REQUEST)?.parse().ok())
            .map(Wanted::Claim),
    };
    if let Some(claim) = &claim {
        let target = stores.target_of(claim);
        for claim in [Some(claim), target.as_ref()].into_iter().flatten() {
            needed.extend(claim.populator().map(|populator| (populator.kind.kind(), populator.key)));
        }
        let target = target.map(|target| target.metadata.key()).or_else(|| claim.populates());
        needed.extend(target.map(|key| (Kind::PersistentVolumeClaim, key)));
    }
    for _ in 0..CHAIN {
        match next.take() {
            Some(Wanted::DataSource(at)) => {
                next = stores.data_sources.get(&at).and_then(|source| clone_request::resolve(&source).ok());
                needed.push((Kind::DataSource, at));
            }
            Some(Wanted::Claim(source)) => {
                if let Some(claim) = &claim {
                    let name = names::source_pod(&claim.metadata.uid);
                    needed.push((Kind::Pod, Key::new(&source.namespace, name)));
                }
                needed.push((Kind::PersistentVolumeClaim, source.clone()));
                needed.push((Kind::DataVolume, source));
            }
            Some(Wanted::Snapshot(_) | Wanted::NotOurs(_)) | None => break,
        }
    }
    needed
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(version: &str) -> Object {
        json!({ "metadata": { "namespace": "n", "name": "a", "uid": "u", "resourceVersion": version }, "spec": 5 })
            .into()
    }

    fn why() -> Unreadable {
        Unreadable { field: "spec".to_owned(), why: "odd".to_owned() }
    }

    fn key(name: &str) -> Key {
        Key::new("n", name)
    }

    #[test]
    fn each_version_is_news_once_and_reported_once() {
        let odd = Unreadables::default();
        assert_eq!(odd.put(Kind::DataVolume, &object("1"), why()), (Some(key("a")), true));
        assert_eq!(odd.put(Kind::DataVolume, &object("1"), why()), (Some(key("a")), false));
        let reported = odd.to_report(&key("a"));
        assert_eq!(reported[0].to_string(), "DataVolume n/a cannot be read: spec: odd");
        assert!(odd.to_report(&key("a")).is_empty());
        assert!(odd.put(Kind::DataVolume, &object("2"), why()).1);
        assert_eq!(odd.to_report(&key("a")).len(), 1);
        assert_eq!(odd.counts(Kind::DataVolume), (1, 2));
    }

    #[test]
    fn an_object_without_a_name_that_can_be_read_is_counted_only() {
        let odd = Unreadables::default();
        let nameless = Object::from(json!({ "metadata": { "name": 5 } }));
        assert_eq!(odd.put(Kind::Pod, &nameless, why()), (None, true));
        assert_eq!(odd.counts(Kind::Pod), (0, 1));
    }

    #[test]
    fn whatever_a_clone_needs_stands_in_its_way_and_nothing_else() {
        let stores = Stores::new(std::sync::Arc::new(crate::token::key::TokenKey::new(&[7; 32])));
        let read = |value| decode::<crate::objects::DataVolume>(value).unwrap();
        stores.data_volumes.put(read(json!({
            "metadata": { "namespace": "n", "name": "dv" },
            "spec": { "sourceRef": { "kind": "DataSource", "name": "ds" } },
        })));
        let source = json!({ "metadata": { "namespace": "n", "name": "ds" },
                             "spec": { "source": { "pvc": { "namespace": "far", "name": "s" } } } });
        stores.data_sources.put(decode(source).unwrap());
        let target = json!({ "metadata": { "namespace": "n", "name": "dv", "uid": "c" } });
        stores.claims.put(decode(target).unwrap());
        for (kind, namespace, name) in [
            (Kind::DataVolume, "n", "dv"),
            (Kind::PersistentVolumeClaim, "n", "dv"),
            (Kind::Pod, "n", "cdi-upload-dv"),
            (Kind::DataSource, "n", "ds"),
            (Kind::PersistentVolumeClaim, "far", "s"),
            (Kind::DataVolume, "far", "s"),
            (Kind::Pod, "far", "c-source-pod"),
        ] {
            let odd = Unreadables::default();
            let object = Object::from(json!({ "metadata": { "namespace": namespace, "name": name } }));
            odd.put(kind, &object, why());
            let news = |odd: &Unreadables| odd.in_the_way(&key("dv"), &stores).map(|(_, is_news)| is_news);
            assert_eq!((news(&odd), news(&odd)), (Some(true), Some(false)), "{kind:?} {namespace}/{name}");
            assert!(odd.in_the_way(&key("other"), &stores).is_none(), "{kind:?} {namespace}/{name}");
            assert!(odd.remove(kind, &Key::new(namespace, name)));
            assert!(odd.in_the_way(&key("dv"), &stores).is_none());
        }
    }

    #[test]
    fn a_claim_that_asks_for_a_clone_by_itself_waits_for_its_source() {
        let stores = Stores::new(std::sync::Arc::new(crate::token::key::TokenKey::new(&[7; 32])));
        let target =
            json!({ "metadata": { "namespace": "n", "name": "c", "annotations": { CLONE_REQUEST: "m/s" } } });
        stores.claims.put(decode(target).unwrap());
        let odd = Unreadables::default();
        let source = Object::from(json!({ "metadata": { "namespace": "m", "name": "s" } }));
        odd.put(Kind::PersistentVolumeClaim, &source, why());
        assert!(odd.in_the_way(&key("c"), &stores).is_some());
    }
}
