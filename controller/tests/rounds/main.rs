//! Whole rounds of a worker, against a cluster in memory: from the objects that users, tools and administrators create to the
//! objects that the controller creates.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod class_defaults;
mod cluster_settings;
mod data_sources;
mod restores;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use decant_controller::api::cluster::{ApiError, Cluster, ListPage, ListParams, Part, Watch};
use decant_controller::certificates::pki::Pki;
use decant_controller::objects::{Claim, DataVolume, Key, Kind, Object, Pod, Uid, decode};
use decant_controller::policy::{Policy, Transfer};
use decant_controller::reconcile::reconciler::Reconciler;
use decant_controller::token::key::TokenKey;
use decant_controller::watch::store::{Store, StoreObject};
use decant_controller_test_support::running_cluster::reconciler;
use serde_json::{Value, json};
use time::OffsetDateTime;

/// Rounds after which nothing new follows.
const ROUNDS: usize = 8;

static PKI: LazyLock<Arc<Pki>> = LazyLock::new(|| {
    Arc::new(Pki::open(&MemoryCluster::default(), "decant", OffsetDateTime::now_utc()).unwrap())
});

/// A cluster in memory.
#[derive(Default)]
pub(crate) struct MemoryCluster {
    objects: Mutex<BTreeMap<(Kind, Key), Value>>,
    /// Kinds that the controller may not read.
    forbidden: BTreeSet<Kind>,
    pub(crate) asked: Mutex<Vec<(&'static str, Kind)>>,
    writes: AtomicUsize,
}

impl MemoryCluster {
    pub(crate) fn put(&self, kind: Kind, mut object: Value) -> Value {
        let version = self.writes.fetch_add(1, Ordering::Relaxed);
        object["metadata"]["resourceVersion"] = version.to_string().into();
        self.objects.lock().unwrap().insert((kind, key(&object)), object.clone());
        object
    }

    pub(crate) fn find(&self, kind: Kind, name: &Key) -> Option<Value> {
        self.objects.lock().unwrap().get(&(kind, name.clone())).cloned()
    }

    pub(crate) fn all(&self, kind: Kind) -> Vec<Value> {
        let objects = self.objects.lock().unwrap();
        objects.iter().filter(|((of, _), _)| *of == kind).map(|(_, object)| object.clone()).collect()
    }

    fn read(&self, verb: &'static str, kind: Kind) -> Result<(), ApiError> {
        self.asked.lock().unwrap().push((verb, kind));
        if !self.forbidden.contains(&kind) {
            return Ok(());
        }
        let message = format!("{} is forbidden", kind.plural());
        Err(ApiError { code: 403, reason: "Forbidden".to_owned(), message })
    }
}

fn key(object: &Value) -> Key {
    let text = |name: &str| object["metadata"][name].as_str().unwrap_or_default().to_owned();
    Key::new(text("namespace"), text("name"))
}

fn missing() -> ApiError {
    ApiError { code: 404, reason: "NotFound".to_owned(), message: "not there".to_owned() }
}

/// RFC 7396.
fn merge(into: &mut Value, patch: &Value) {
    let Some(members) = patch.as_object() else {
        *into = patch.clone();
        return;
    };
    if !into.is_object() {
        *into = json!({});
    }
    for (name, value) in members {
        if value.is_null() {
            into.as_object_mut().unwrap().remove(name);
        } else {
            merge(&mut into[name], value);
        }
    }
}

impl Cluster for MemoryCluster {
    fn get(&self, kind: Kind, name: &Key) -> Result<Object, ApiError> {
        self.read("get", kind)?;
        self.find(kind, name).map(Object::from).ok_or_else(missing)
    }

    fn list(&self, kind: Kind, _: &ListParams) -> Result<ListPage, ApiError> {
        self.read("list", kind)?;
        Ok(ListPage { items: self.all(kind).into_iter().map(Object::from).collect(), ..ListPage::default() })
    }

    fn watch(&self, _: Kind, _: &ListParams, _: &str) -> Result<Box<dyn Watch>, ApiError> {
        Err(missing())
    }

    fn create(&self, kind: Kind, object: &Value) -> Result<Object, ApiError> {
        let mut object = object.clone();
        if self.find(kind, &key(&object)).is_some() {
            let message = "it is there already".to_owned();
            return Err(ApiError { code: 409, reason: "AlreadyExists".to_owned(), message });
        }
        object["metadata"]["uid"] = format!("{}-uid", key(&object).name).into();
        object["metadata"]["creationTimestamp"] = "2026-01-01T12:00:00Z".into();
        Ok(self.put(kind, object).into())
    }

    fn patch(&self, kind: Kind, name: &Key, _: Part, patch: &Value) -> Result<Object, ApiError> {
        let mut object = self.find(kind, name).ok_or_else(missing)?;
        merge(&mut object, patch);
        Ok(self.put(kind, object).into())
    }

    fn replace(&self, kind: Kind, _: &Key, object: &Value) -> Result<Object, ApiError> {
        Ok(self.put(kind, object.clone()).into())
    }

    fn delete(&self, kind: Kind, name: &Key, _: &Uid, _: Option<u32>) -> Result<(), ApiError> {
        self.objects.lock().unwrap().remove(&(kind, name.clone()));
        Ok(())
    }

    fn pod_proxy(&self, _: &Key, _: u16, _: &str, _: Duration, _: usize) -> Result<String, ApiError> {
        Err(missing())
    }
}

/// A controller in a cluster in memory.
pub(crate) struct TestController {
    pub(crate) stub: Arc<MemoryCluster>,
    pub(crate) reconciler: Reconciler,
}

impl TestController {
    pub(crate) fn launch(objects: Vec<(Kind, Value)>, forbidden: &[Kind]) -> Self {
        let stub =
            MemoryCluster { forbidden: forbidden.iter().copied().collect(), ..MemoryCluster::default() };
        for (kind, object) in objects {
            stub.put(kind, object);
        }
        let stub = Arc::new(stub);
        let flags = Policy { transfer: Transfer::Network, ..Policy::default() };
        let keys = Arc::new(TokenKey::new(&[7; 32]));
        let reconciler = reconciler(stub.clone(), flags, keys, Arc::clone(&PKI));
        Self { stub, reconciler }
    }

    /// Rounds until nothing new follows, each with what the watches bring.
    pub(crate) fn settle(&self) {
        for _ in 0..ROUNDS {
            let stores = &self.reconciler.observer.stores;
            refresh::<DataVolume>(&self.stub, Kind::DataVolume, &stores.data_volumes);
            refresh::<Claim>(&self.stub, Kind::PersistentVolumeClaim, &stores.claims);
            refresh::<Pod>(&self.stub, Kind::Pod, &stores.pods);
            self.reconciler.work(&Key::new("n", "copy"));
        }
        assert_eq!(self.reconciler.rounds.panics(), 0);
    }

    pub(crate) fn data_volume(&self) -> Value {
        self.stub.find(Kind::DataVolume, &Key::new("n", "copy")).unwrap()
    }

    pub(crate) fn claim(&self) -> Option<Value> {
        self.stub.find(Kind::PersistentVolumeClaim, &Key::new("n", "copy"))
    }

    pub(crate) fn phase(&self) -> String {
        self.data_volume()["status"]["phase"].as_str().unwrap_or_default().to_owned()
    }

    /// What Kubernetes does once a volume is found.
    pub(crate) fn bind(&self, volume: &str) {
        let patch = json!({ "spec": { "volumeName": volume }, "status": { "phase": "Bound" } });
        self.stub.patch(Kind::PersistentVolumeClaim, &Key::new("n", "copy"), Part::Whole, &patch).unwrap();
    }

    pub(crate) fn pods(&self) -> usize {
        self.stub.all(Kind::Pod).len()
    }

    pub(crate) fn events(&self) -> BTreeSet<String> {
        let events = self.stub.all(Kind::Event);
        events.iter().map(|event| event["reason"].as_str().unwrap().to_owned()).collect()
    }
}

fn refresh<T: StoreObject>(stub: &MemoryCluster, kind: Kind, store: &Store<T>) {
    for key in store.keys() {
        store.remove(&key);
    }
    for object in stub.all(kind) {
        let read: T = decode(Object::from(object)).unwrap();
        if store.admits(&read) {
            store.put(read);
        }
    }
}

pub(crate) fn size() -> Value {
    json!({ "accessModes": ["ReadWriteOnce"], "volumeMode": "Block", "storageClassName": "c",
            "resources": { "requests": { "storage": "1Gi" } } })
}

pub(crate) fn data_volume(annotations: &Value) -> (Kind, Value) {
    let object = json!({
        "metadata": { "namespace": "n", "name": "copy", "uid": "dv-uid", "annotations": annotations },
        "spec": { "source": { "pvc": { "namespace": "n", "name": "golden" } }, "pvc": size() },
    });
    (Kind::DataVolume, object)
}

pub(crate) fn source() -> (Kind, Value) {
    let object = json!({
        "metadata": { "namespace": "n", "name": "golden", "uid": "golden-uid" },
        "spec": size(), "status": { "phase": "Bound", "capacity": { "storage": "1Gi" } },
    });
    (Kind::PersistentVolumeClaim, object)
}

pub(crate) fn volume(name: &str, created: &str) -> (Kind, Value) {
    let object = json!({
        "metadata": { "name": name, "creationTimestamp": created },
        "spec": { "capacity": { "storage": "1Gi" }, "accessModes": ["ReadWriteOnce"], "volumeMode": "Block",
                  "storageClassName": "c", "claimRef": { "namespace": "n", "name": "copy" } },
    });
    (Kind::PersistentVolume, object)
}

pub(crate) fn class(mode: &str) -> (Kind, Value) {
    let object =
        json!({ "metadata": { "name": "c" }, "provisioner": "disks.example", "volumeBindingMode": mode });
    (Kind::StorageClass, object)
}

pub(crate) fn driver() -> (Kind, Value) {
    (Kind::CsiDriver, json!({ "metadata": { "name": "disks.example" } }))
}

pub(crate) fn annotation<'o>(object: &'o Value, name: &str) -> &'o Value {
    &object["metadata"]["annotations"][name]
}
