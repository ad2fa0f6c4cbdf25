//! Restores, from the objects that a backup tool or an administrator makes to what the controller makes of them: whole rounds
//! of a worker, against a cluster in memory.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use decant_controller::api::cluster::{ApiError, Cluster, ListPage, ListParams, Part, Watch};
use decant_controller::certificates::pki::Pki;
use decant_controller::objects::{Claim, DataVolume, Key, Kind, Object, Pod, Uid, decode};
use decant_controller::pods::made::MadePods;
use decant_controller::policy::Policy;
use decant_controller::progress::poller::Pollers;
use decant_controller::progress::scraper::Scraper;
use decant_controller::progress::write_budget::WriteBudget;
use decant_controller::reconcile::act::Executor;
use decant_controller::reconcile::observe::Observer;
use decant_controller::reconcile::observe::drivers::Drivers;
use decant_controller::reconcile::permission::guarded::Guarded;
use decant_controller::reconcile::permission::judge::Judge;
use decant_controller::reconcile::reconciler::{Reconciler, Rounds};
use decant_controller::reconcile::scheduling::CloneScheduler;
use decant_controller::token::key::TokenKey;
use decant_controller::watch::queue::Queue;
use decant_controller::watch::store::{Store, StoreObject, Stores};
use serde_json::{Value, json};
use time::OffsetDateTime;

/// Rounds after which nothing new follows.
const ROUNDS: usize = 8;

static PKI: LazyLock<Arc<Pki>> = LazyLock::new(|| {
    Arc::new(Pki::open(&MemoryCluster::default(), "decant", OffsetDateTime::now_utc()).unwrap())
});

/// A cluster in memory.
#[derive(Default)]
struct MemoryCluster {
    objects: Mutex<BTreeMap<(Kind, Key), Value>>,
    /// Kinds that the controller may not read.
    forbidden: BTreeSet<Kind>,
    asked: Mutex<Vec<(&'static str, Kind)>>,
    writes: AtomicUsize,
}

impl MemoryCluster {
    fn put(&self, kind: Kind, mut object: Value) -> Value {
        let version = self.writes.fetch_add(1, Ordering::Relaxed);
        object["metadata"]["resourceVersion"] = version.to_string().into();
        self.objects.lock().unwrap().insert((kind, key(&object)), object.clone());
        object
    }

    fn find(&self, kind: Kind, name: &Key) -> Option<Value> {
        self.objects.lock().unwrap().get(&(kind, name.clone())).cloned()
    }

    fn all(&self, kind: Kind) -> Vec<Value> {
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
struct TestController {
    stub: Arc<MemoryCluster>,
    reconciler: Reconciler,
}

impl TestController {
    fn launch(objects: Vec<(Kind, Value)>, forbidden: &[Kind]) -> Self {
        let stub =
            MemoryCluster { forbidden: forbidden.iter().copied().collect(), ..MemoryCluster::default() };
        for (kind, object) in objects {
            stub.put(kind, object);
        }
        let (stub, policy) = (Arc::new(stub), Arc::new(Policy::default()));
        let cluster: Arc<dyn Cluster> = stub.clone();
        let keys = Arc::new(TokenKey::new(&[7; 32]));
        let made = Arc::new(MadePods::default());
        let scheduler = Arc::new(CloneScheduler::new(policy.scheduling.clone()));
        let scraper = Scraper::new(Arc::clone(&cluster), Arc::clone(&PKI), policy.intervals.scrape_limit);
        let reconciler = Reconciler {
            cluster: Arc::clone(&cluster),
            observer: Observer {
                cluster: Arc::clone(&cluster),
                stores: Arc::new(Stores::new(Arc::clone(&keys))),
                scheduler: Arc::clone(&scheduler),
                judge: Judge::new(
                    Arc::clone(&cluster),
                    Arc::clone(&keys),
                    Guarded::new(Arc::clone(&cluster), "decant".to_owned(), "cdi-api".to_owned()),
                ),
                keys: Arc::clone(&keys),
                pki: Arc::clone(&PKI),
                made: Arc::clone(&made),
                drivers: Drivers::default(),
                policy: Arc::clone(&policy),
            },
            executor: Executor::new(cluster, Arc::clone(&PKI), Arc::clone(&policy), keys, made, scheduler),
            pollers: Arc::new(Pollers::new(scraper, policy.intervals.clone(), Arc::new(|_| {}))),
            queue: Arc::new(Queue::default()),
            budget: WriteBudget::new(&policy.intervals),
            policy,
            rounds: Rounds::default(),
            unreadable: Arc::default(),
            last_errors: Mutex::default(),
        };
        Self { stub, reconciler }
    }

    /// Rounds until nothing new follows, each with what the watches bring.
    fn settle(&self) {
        for _ in 0..ROUNDS {
            let stores = &self.reconciler.observer.stores;
            refresh::<DataVolume>(&self.stub, Kind::DataVolume, &stores.data_volumes);
            refresh::<Claim>(&self.stub, Kind::PersistentVolumeClaim, &stores.claims);
            refresh::<Pod>(&self.stub, Kind::Pod, &stores.pods);
            self.reconciler.work(&Key::new("n", "copy"));
        }
        assert_eq!(self.reconciler.rounds.panics(), 0);
    }

    fn data_volume(&self) -> Value {
        self.stub.find(Kind::DataVolume, &Key::new("n", "copy")).unwrap()
    }

    fn claim(&self) -> Option<Value> {
        self.stub.find(Kind::PersistentVolumeClaim, &Key::new("n", "copy"))
    }

    fn phase(&self) -> String {
        self.data_volume()["status"]["phase"].as_str().unwrap_or_default().to_owned()
    }

    /// What Kubernetes does once a volume is found.
    fn bind(&self, volume: &str) {
        let patch = json!({ "spec": { "volumeName": volume }, "status": { "phase": "Bound" } });
        self.stub.patch(Kind::PersistentVolumeClaim, &Key::new("n", "copy"), Part::Whole, &patch).unwrap();
    }

    fn pods(&self) -> usize {
        self.stub.all(Kind::Pod).len()
    }

    fn events(&self) -> BTreeSet<String> {
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

fn size() -> Value {
    json!({ "accessModes": ["ReadWriteOnce"], "volumeMode": "Block", "storageClassName": "c",
            "resources": { "requests": { "storage": "1Gi" } } })
}

fn data_volume(annotations: &Value) -> (Kind, Value) {
    let object = json!({
        "metadata": { "namespace": "n", "name": "copy", "uid": "dv-uid", "annotations": annotations },
        "spec": { "source": { "pvc": { "namespace": "n", "name": "golden" } }, "pvc": size() },
    });
    (Kind::DataVolume, object)
}

fn source() -> (Kind, Value) {
    let object = json!({
        "metadata": { "namespace": "n", "name": "golden", "uid": "golden-uid" },
        "spec": size(), "status": { "phase": "Bound", "capacity": { "storage": "1Gi" } },
    });
    (Kind::PersistentVolumeClaim, object)
}

fn volume(name: &str, created: &str) -> (Kind, Value) {
    let object = json!({
        "metadata": { "name": name, "creationTimestamp": created },
        "spec": { "capacity": { "storage": "1Gi" }, "accessModes": ["ReadWriteOnce"], "volumeMode": "Block",
                  "storageClassName": "c", "claimRef": { "namespace": "n", "name": "copy" } },
    });
    (Kind::PersistentVolume, object)
}

fn class(mode: &str) -> (Kind, Value) {
    let object =
        json!({ "metadata": { "name": "c" }, "provisioner": "disks.example", "volumeBindingMode": mode });
    (Kind::StorageClass, object)
}

fn driver() -> (Kind, Value) {
    (Kind::CsiDriver, json!({ "metadata": { "name": "disks.example" } }))
}

const BEFORE: &str = "2026-01-01T11:00:00Z";
const CHECK_STATIC: &str = "cdi.kubevirt.io/storage.checkStaticVolume";
const POPULATED_FOR: &str = "cdi.kubevirt.io/storage.populatedFor";
const PRE_POPULATED: &str = "cdi.kubevirt.io/storage.prePopulated";
const CLONE_TYPE: &str = "cdi.kubevirt.io/cloneType";

fn annotation<'o>(object: &'o Value, name: &str) -> &'o Value {
    &object["metadata"]["annotations"][name]
}

#[test]
fn a_reserved_volume_is_bound_and_kept_with_or_without_the_source() {
    for with_source in [true, false] {
        let mut objects = vec![data_volume(&json!({ CHECK_STATIC: "" })), volume("restored", BEFORE)];
        objects.extend(with_source.then(source));
        let controller = TestController::launch(objects, &[]);
        controller.settle();
        let claim = controller.claim().unwrap();
        assert_eq!(claim["spec"]["volumeName"], "restored");
        assert_eq!(annotation(&claim, "k8s.io/CloneRequest"), &Value::Null);
        assert_eq!(controller.phase(), "Pending");

        controller.bind("restored");
        controller.settle();
        assert_eq!((controller.phase().as_str(), controller.pods()), ("Succeeded", 0));
        let (dv, claim) = (controller.data_volume(), controller.claim().unwrap());
        assert_eq!(dv["status"]["progress"], "N/A");
        assert_eq!(annotation(&dv, PRE_POPULATED), "copy");
        assert_eq!(annotation(&dv, CLONE_TYPE), &Value::Null);
        assert_eq!(annotation(&claim, POPULATED_FOR), "copy");
        let events = controller.events();
        assert!(events.contains("VolumeKept"), "{events:?}");
        assert!(!events.iter().any(|reason| reason.starts_with("Clone")), "{events:?}");
    }
}

#[test]
fn without_the_annotation_volumes_are_not_read_as_in_cdi() {
    let controller =
        TestController::launch(vec![data_volume(&json!({})), source(), volume("restored", BEFORE)], &[]);
    controller.settle();
    controller.bind("restored");
    controller.settle();
    assert_eq!(annotation(&controller.claim().unwrap(), "k8s.io/CloneRequest"), "n/golden");
    assert_eq!(controller.pods(), 1);
    let asked = controller.stub.asked.lock().unwrap();
    assert!(!asked.iter().any(|(_, kind)| *kind == Kind::PersistentVolume), "{asked:?}");
}

#[test]
fn a_volume_reserved_and_bound_after_the_check_is_not_overwritten() {
    let controller = TestController::launch(vec![data_volume(&json!({ CHECK_STATIC: "" })), source()], &[]);
    controller.settle();
    assert_eq!(annotation(&controller.claim().unwrap(), "k8s.io/CloneRequest"), "n/golden");
    let (kind, restored) = volume("restored", BEFORE);
    controller.stub.put(kind, restored);
    controller.bind("restored");
    controller.settle();
    assert_eq!((controller.phase().as_str(), controller.pods()), ("Succeeded", 0));
    let claim = controller.claim().unwrap();
    assert_eq!(annotation(&claim, "k8s.io/CloneRequest"), &Value::Null);
    assert!(claim["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty), "{claim:#}");
    assert_eq!(controller.data_volume()["status"]["progress"], "N/A");
}

#[test]
fn a_volume_reserved_before_the_claim_is_bound_is_waited_for() {
    let controller = TestController::launch(vec![data_volume(&json!({ CHECK_STATIC: "" })), source()], &[]);
    controller.settle();
    let (kind, restored) = volume("restored", "2026-01-01T12:30:00Z");
    controller.stub.put(kind, restored);
    controller.settle();
    assert_eq!((controller.phase().as_str(), controller.pods()), ("Pending", 0));
    controller.bind("restored");
    controller.settle();
    assert_eq!((controller.phase().as_str(), controller.pods()), ("Succeeded", 0));
}

#[test]
fn a_volume_provisioned_for_the_claim_is_filled() {
    let controller = TestController::launch(vec![data_volume(&json!({ CHECK_STATIC: "" })), source()], &[]);
    controller.settle();
    let mut made = volume("pvc-copy-uid", "2026-01-01T12:00:01Z").1;
    made["spec"]["claimRef"]["uid"] = "copy-uid".into();
    controller.stub.put(Kind::PersistentVolume, made);
    controller.bind("pvc-copy-uid");
    controller.settle();
    assert_eq!((controller.phase().as_str(), controller.pods()), ("CloneScheduled", 1));
    assert_eq!(annotation(&controller.data_volume(), CLONE_TYPE), "copy");
}

#[test]
fn without_the_right_to_read_volumes_nothing_is_cloned_and_a_hint_is_given() {
    let objects = vec![data_volume(&json!({ CHECK_STATIC: "" })), source(), volume("restored", BEFORE)];
    let controller = TestController::launch(objects, &[Kind::PersistentVolume]);
    controller.settle();
    assert_eq!((controller.claim(), controller.pods()), (None, 0));
    let bound = controller.data_volume()["status"]["conditions"][0].clone();
    assert_eq!(bound["reason"], "VolumeInTheWay");
    let message = bound["message"].as_str().unwrap();
    assert!(message.contains("persistentvolumes is forbidden"), "{message}");
    assert!(message.contains("Apply the controller's roles again"), "{message}");
}

#[test]
fn a_restored_claim_gets_its_data_volume_as_an_additional_owner() {
    let owner = json!({ "apiVersion": "v1", "kind": "ConfigMap", "name": "backup", "uid": "b" });
    let claim = json!({
        "metadata": { "namespace": "n", "name": "copy", "uid": "copy-uid", "ownerReferences": [owner],
                      "annotations": { POPULATED_FOR: "copy", "k8s.io/CloneRequest": "n/golden" } },
        "spec": size(), "status": { "phase": "Pending" },
    });
    let objects = vec![
        data_volume(&json!({ PRE_POPULATED: "copy" })),
        source(),
        (Kind::PersistentVolumeClaim, claim),
        class("WaitForFirstConsumer"),
    ];
    let controller = TestController::launch(objects, &[]);
    controller.settle();
    assert_eq!((controller.phase().as_str(), controller.pods()), ("Succeeded", 0));
    let owners = controller.claim().unwrap()["metadata"]["ownerReferences"].clone();
    assert_eq!(owners[0], owner);
    assert_eq!((&owners[1]["uid"], &owners[1]["controller"]), (&json!("dv-uid"), &json!(true)));
    assert!(
        !controller.events().iter().any(|reason| reason.starts_with("Clone")),
        "{:?}",
        controller.events()
    );
}

#[test]
fn a_data_volume_waits_for_its_restored_claim() {
    let controller =
        TestController::launch(vec![data_volume(&json!({ PRE_POPULATED: "copy" })), source()], &[]);
    controller.settle();
    assert_eq!((controller.claim(), controller.phase().as_str()), (None, "Pending"));
    controller.stub.put(
        Kind::PersistentVolumeClaim,
        json!({
            "metadata": { "namespace": "n", "name": "copy", "uid": "copy-uid", "annotations": { POPULATED_FOR: "copy" } },
            "spec": size(), "status": { "phase": "Bound" },
        }),
    );
    controller.settle();
    assert_eq!((controller.phase().as_str(), controller.pods()), ("Succeeded", 0));
}

/// A migration deletes its source in the phase `WaitForFirstConsumer`. `PendingPopulation` lets KubeVirt start the virtual machine,
/// whose pod then selects the node.
#[test]
fn on_csi_classes_the_clone_waits_for_a_consumer_in_a_phase_that_does_not_look_complete() {
    let waits = "WaitForFirstConsumer";
    for (annotations, driver, forbidden, phase) in [
        (json!({}), Some(driver()), None, "PendingPopulation"),
        (json!({}), None, None, waits),
        (json!({}), None, Some(Kind::CsiDriver), "PendingPopulation"),
        (json!({ "cdi.kubevirt.io/storage.usePopulator": "false" }), Some(driver()), None, waits),
        (json!({ "cdi.kubevirt.io/storage.usePopulator": "true" }), None, None, "Pending"),
        (
            json!({ "cdi.kubevirt.io/storage.usePopulator": "perhaps" }),
            Some(driver()),
            None,
            "PendingPopulation",
        ),
    ] {
        let mut objects = vec![data_volume(&annotations), source(), class(waits)];
        objects.extend(driver);
        let controller = TestController::launch(objects, &forbidden.into_iter().collect::<Vec<_>>());
        controller.settle();
        let what = format!("{annotations} {forbidden:?}");
        assert_eq!(controller.phase(), phase, "{what}");
        // A class without a CSI driver ignores data sources: the claim is bound first, by the clone itself.
        assert_eq!(controller.pods(), usize::from(phase == "Pending"), "{what}");
        let asked = controller.stub.asked.lock().unwrap();
        let drivers = asked.iter().filter(|(_, kind)| *kind == Kind::CsiDriver).count();
        assert!(drivers <= 1, "{drivers} questions: {what}");
    }
}
