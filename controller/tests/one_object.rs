//! One object affects no others, whatever it contains and whatever fails while it is processed.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use decant_controller::api::cluster::{ApiError, Cluster, ListPage, ListParams, Part, Watch, WatchEvent};
use decant_controller::certificates::pki::Pki;
use decant_controller::objects::{Key, Kind, Object, Uid};
use decant_controller::pods::identity::PodIdentity;
use decant_controller::pods::role::Role;
use decant_controller::policy::{Policy, Scope};
use decant_controller::reconcile::reconciler::Reconciler;
use decant_controller::token::key::TokenKey;
use decant_controller::watch::unreadable::ObjectIdentity;
use decant_controller::watch::watcher::{Wake, Watches};
use decant_controller_test_support::running_cluster::reconciler;
use decant_shared::process::stop::Stop;
use serde_json::{Value, json};
use time::OffsetDateTime;

const PATIENCE: Duration = Duration::from_secs(20);

/// A cluster with lists that are given, watches that the test feeds, and a record of what was asked of it.
#[derive(Default)]
struct StubCluster {
    lists: BTreeMap<Kind, Vec<String>>,
    feeds: Mutex<BTreeMap<Kind, Receiver<WatchEvent>>>,
    /// Everything but reading: verb, kind, body.
    done: Mutex<Vec<(&'static str, Kind, Value)>>,
    /// The name of a claim at which this program has a fault.
    fault: Option<&'static str>,
}

impl StubCluster {
    fn record(&self, verb: &'static str, kind: Kind, body: Value) {
        self.done.lock().unwrap().push((verb, kind, body));
    }

    fn events(&self) -> Vec<(String, String, String)> {
        let text = |value: &Value, at: &str| value.pointer(at).unwrap().as_str().unwrap().to_owned();
        let done = self.done.lock().unwrap();
        let events = done.iter().filter(|(_, kind, _)| *kind == Kind::Event);
        events
            .map(|(_, _, e)| (text(e, "/involvedObject/name"), text(e, "/reason"), text(e, "/message")))
            .collect()
    }

    fn other_calls(&self) -> Vec<(&'static str, Kind)> {
        let done = self.done.lock().unwrap();
        done.iter()
            .filter(|(_, kind, _)| *kind != Kind::Event)
            .map(|(verb, kind, _)| (*verb, *kind))
            .collect()
    }
}

fn missing() -> ApiError {
    ApiError { code: 404, reason: "NotFound".to_owned(), message: "not there".to_owned() }
}

struct Feed(Option<Receiver<WatchEvent>>);

impl Watch for Feed {
    fn next(&mut self, limit: Duration) -> Result<Option<WatchEvent>, ApiError> {
        let Some(feed) = &self.0 else {
            std::thread::sleep(limit);
            return Ok(None);
        };
        match feed.recv_timeout(limit) {
            Ok(event) => Ok(Some(event)),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => Ok(None),
        }
    }
}

impl Cluster for StubCluster {
    fn get(&self, _: Kind, _: &Key) -> Result<Object, ApiError> {
        Err(missing())
    }

    fn list(&self, kind: Kind, _: &ListParams) -> Result<ListPage, ApiError> {
        let texts = self.lists.get(&kind).cloned().unwrap_or_default();
        let items = texts.into_iter().map(|text| Object::try_from(text.into_bytes()).unwrap()).collect();
        Ok(ListPage { items, resource_version: "1".to_owned(), next: String::new() })
    }

    fn watch(&self, kind: Kind, _: &ListParams, _: &str) -> Result<Box<dyn Watch>, ApiError> {
        Ok(Box::new(Feed(self.feeds.lock().unwrap().remove(&kind))))
    }

    fn create(&self, kind: Kind, object: &Value) -> Result<Object, ApiError> {
        let name = object.pointer("/metadata/name").and_then(Value::as_str);
        assert!(kind != Kind::PersistentVolumeClaim || name != self.fault, "a fault at {name:?}");
        self.record("create", kind, object.clone());
        Ok(object.clone().into())
    }

    fn patch(&self, kind: Kind, key: &Key, _: Part, patch: &Value) -> Result<Object, ApiError> {
        self.record("patch", kind, patch.clone());
        let texts = self.lists.get(&kind).into_iter().flatten();
        let mut objects = texts.filter_map(|text| Object::try_from(text.clone().into_bytes()).ok());
        objects
            .find(|object| ObjectIdentity::of(object).is_some_and(|found| found.key() == *key))
            .ok_or_else(missing)
    }

    fn replace(&self, kind: Kind, _: &Key, object: &Value) -> Result<Object, ApiError> {
        self.record("replace", kind, object.clone());
        Ok(object.clone().into())
    }

    fn delete(&self, kind: Kind, key: &Key, _: &Uid, _: Option<u32>) -> Result<(), ApiError> {
        self.record("delete", kind, json!(key.to_string()));
        Ok(())
    }

    fn pod_proxy(&self, _: &Key, _: u16, _: &str, _: Duration, _: usize) -> Result<String, ApiError> {
        Err(missing())
    }
}

/// A controller with a stub cluster.
struct TestController {
    stub: Arc<StubCluster>,
    reconciler: Arc<Reconciler>,
    stop: Stop,
    watches: Option<Watches>,
}

impl TestController {
    fn launch(mut stub: StubCluster, fed: &[Kind]) -> (Self, BTreeMap<Kind, Sender<WatchEvent>>) {
        let mut senders = BTreeMap::new();
        for kind in fed {
            let (sender, receiver) = channel();
            senders.insert(*kind, sender);
            stub.feeds.get_mut().unwrap().insert(*kind, receiver);
        }
        let stub = Arc::new(stub);
        let cluster: Arc<dyn Cluster> = stub.clone();
        // Calls for its Secrets are not recorded.
        let pki = Pki::open(&StubCluster::default(), "decant", OffsetDateTime::now_utc()).unwrap();
        let keys = Arc::new(token_key());
        let reconciler = Arc::new(reconciler(Arc::clone(&cluster), Policy::default(), keys, Arc::new(pki)));
        let stores = &reconciler.observer.stores;
        let unreadable = &reconciler.unreadable;
        let queue = Arc::clone(&reconciler.queue);
        let wake: Wake = Arc::new(move |key| queue.add(key, Duration::ZERO));
        let stop = Stop::new();
        let watches = Watches::start(&cluster, stores, unreadable, None, Scope::All, &wake, &stop).unwrap();
        let controller = Self { stub, reconciler, stop, watches: Some(watches) };
        controller
            .until("all lists are read", || controller.watches.as_ref().is_some_and(Watches::all_synced));
        (controller, senders)
    }

    fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so() {
            assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}; done: {:?}", self.stub.done);
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for TestController {
    fn drop(&mut self) {
        self.stop.cancel();
        self.watches.take().into_iter().for_each(Watches::join);
    }
}

/// The key of the pods' identities.
fn token_key() -> TokenKey {
    TokenKey::new(&[7; 32])
}

fn key(name: &str) -> Key {
    Key::new("n", name)
}

fn nested(levels: usize) -> String {
    format!("{}1{}", r#"{"a":"#.repeat(levels), "}".repeat(levels))
}

fn data_volume(name: &str, rest: &str) -> String {
    format!(
        r#"{{"metadata":{{"namespace":"n","name":"{name}","uid":"{name}-uid","resourceVersion":"3"}},"spec":{{"source":{{"pvc":{{"namespace":"n","name":"golden"}}}},"storage":{{}}{rest}}}}}"#
    )
}

fn golden() -> String {
    json!({ "metadata": { "namespace": "n", "name": "golden", "uid": "golden-uid" },
            "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } },
            "status": { "phase": "Bound", "capacity": { "storage": "1Gi" } } })
    .to_string()
}

fn lists(data_volumes: Vec<String>) -> BTreeMap<Kind, Vec<String>> {
    BTreeMap::from([(Kind::DataVolume, data_volumes), (Kind::PersistentVolumeClaim, vec![golden()])])
}

#[test]
fn an_unreadable_object_is_dropped_and_reported_with_field_and_reason() {
    let odd = vec![
        data_volume("one", ""),
        data_volume("odd", r#","contentType":{"x":1}"#),
        data_volume("deep", &format!(r#","x":{}"#, nested(10_000))),
        "7".to_owned(),
        data_volume("two", ""),
    ];
    let (controller, _feeds) =
        TestController::launch(StubCluster { lists: lists(odd), ..StubCluster::default() }, &[]);
    let stores = &controller.reconciler.observer.stores;
    let names: Vec<String> = stores.data_volumes.keys().into_iter().map(|key| key.name).collect();
    assert_eq!(names, ["deep", "one", "two"]);
    // Two versions of the object with a name; the other has none.
    assert_eq!(controller.reconciler.unreadable.counts(Kind::DataVolume), (1, 2));
    for _ in 0..2 {
        controller.reconciler.work(&key("odd"));
    }
    let events = controller.stub.events();
    let said: Vec<_> = events.iter().filter(|(_, reason, _)| reason == "ObjectUnreadable").collect();
    assert_eq!(said.len(), 1, "{events:?}");
    assert!(said[0].0 == "odd" && said[0].2.contains("spec.contentType: invalid type: map"), "{said:?}");
    // The others are cloned.
    for name in ["one", "deep"] {
        controller.reconciler.work(&key(name));
    }
    assert_eq!(
        controller
            .stub
            .other_calls()
            .iter()
            .filter(|deed| **deed == ("create", Kind::PersistentVolumeClaim))
            .count(),
        2
    );
}

/// A claim that cannot be read any more looks as if it were gone; then its pods would be removed and it would be made
/// a second time.
#[test]
fn a_clone_with_an_unreadable_object_waits_and_nothing_is_deleted() {
    let claim = |annotations: Value| {
        json!({
            "metadata": { "namespace": "n", "name": "copy", "uid": "copy-claim", "resourceVersion": "4",
                "annotations": annotations,
                "ownerReferences": [{ "kind": "DataVolume", "name": "copy", "uid": "copy-uid", "controller": true }] },
            "status": { "phase": "Bound" },
        })
    };
    let identity = PodIdentity {
        role: Role::Source,
        pod: key("copy-claim-source-pod"),
        clone: key("copy"),
        target_claim: Uid::from("copy-claim"),
        source_claim: Uid::from("golden-uid"),
        target_pod: Some(Uid::from("t")),
        authority: "1-2".to_owned(),
        keys: "k".to_owned(),
    };
    let source_pod = json!({ "metadata": { "namespace": "n", "name": "copy-claim-source-pod", "uid": "p",
        "labels": { "app": "containerized-data-importer", "cdi.kubevirt.io": "cdi-clone-source" },
        "annotations": identity.annotations(&token_key()) } });
    for kind in [Kind::PersistentVolumeClaim, Kind::DataVolume] {
        let mut lists = lists(vec![data_volume("copy", "")]);
        let marked = claim(json!({ "k8s.io/CloneRequest": "n/golden" }));
        lists.get_mut(&Kind::PersistentVolumeClaim).unwrap().push(marked.to_string());
        lists.insert(Kind::Pod, vec![source_pod.to_string()]);
        let (controller, feeds) =
            TestController::launch(StubCluster { lists, ..StubCluster::default() }, &[kind]);
        let odd = match kind {
            Kind::DataVolume => data_volume("copy", r#","preallocation":"x""#),
            _ => claim(json!("no map")).to_string(),
        };
        let change = WatchEvent::Applied(Object::try_from(odd.into_bytes()).unwrap());
        feeds[&kind].send(change).unwrap();
        controller.until("it is set aside", || controller.reconciler.unreadable.counts(kind).0 == 1);
        assert!(controller.reconciler.work(&key("copy")).is_some(), "it is looked at again");
        assert_eq!(controller.stub.other_calls(), [], "{kind:?}");
        let reasons: Vec<String> =
            controller.stub.events().into_iter().map(|(_, reason, _)| reason).collect();
        assert!(reasons.contains(&"ObjectUnreadable".to_owned()), "{reasons:?}");

        let good = match kind {
            Kind::DataVolume => data_volume("copy", ""),
            _ => marked.to_string(),
        };
        feeds[&kind].send(WatchEvent::Applied(Object::try_from(good.into_bytes()).unwrap())).unwrap();
        controller.until("it is read again", || controller.reconciler.unreadable.counts(kind).0 == 0);
        controller.reconciler.work(&key("copy"));
        assert!(!controller.stub.other_calls().is_empty(), "the clone makes no progress");
    }
}

#[test]
fn a_deleted_unreadable_object_does_not_block_a_clone() {
    let stub = StubCluster {
        lists: lists(vec![data_volume("odd", r#","contentType":1"#)]),
        ..StubCluster::default()
    };
    let (controller, feeds) = TestController::launch(stub, &[Kind::DataVolume]);
    assert_eq!(controller.reconciler.unreadable.counts(Kind::DataVolume).0, 1);
    let gone = Object::try_from(data_volume("odd", r#","contentType":1"#).into_bytes()).unwrap();
    feeds[&Kind::DataVolume].send(WatchEvent::Deleted(gone)).unwrap();
    controller.until("it is forgotten", || controller.reconciler.unreadable.counts(Kind::DataVolume).0 == 0);
}

#[test]
fn a_clone_reports_that_it_waits_for_an_unreadable_source() {
    let mut lists = lists(vec![data_volume("copy", "")]);
    lists.insert(Kind::PersistentVolumeClaim, vec![golden().replace("\"Bound\"", "5")]);
    let (controller, _feeds) = TestController::launch(StubCluster { lists, ..StubCluster::default() }, &[]);
    controller.reconciler.work(&key("copy"));
    controller.reconciler.work(&key("copy"));
    assert_eq!(controller.stub.other_calls(), []);
    let events = controller.stub.events();
    let said: Vec<_> = events.iter().filter(|(_, reason, _)| reason == "WaitsForUnreadable").collect();
    assert_eq!(said.len(), 1, "{events:?}");
    assert!(said[0].2.contains("PersistentVolumeClaim n/golden cannot be read: status.phase"), "{said:?}");
}

#[test]
fn a_panic_for_one_key_is_counted_reported_and_retried() {
    let stub = StubCluster {
        lists: lists(vec![data_volume("bad", ""), data_volume("good", "")]),
        fault: Some("bad"),
        ..StubCluster::default()
    };
    let (controller, _feeds) = TestController::launch(stub, &[]);
    // One thread: it has to survive.
    let workers = controller.reconciler.start(1, &controller.stop).unwrap();
    controller.until("the fault was met twice", || controller.reconciler.rounds.panics() >= 2);
    let made = || {
        let done = controller.stub.done.lock().unwrap();
        done.iter().any(|(verb, kind, body)| {
            *verb == "create" && *kind == Kind::PersistentVolumeClaim && body["metadata"]["name"] == "good"
        })
    };
    controller.until("the other clone got its claim", made);
    let events = controller.stub.events();
    let said: Vec<_> = events.iter().filter(|(_, reason, _)| reason == "ControllerFault").collect();
    assert!(said.iter().all(|(name, _, text)| name == "bad" && text.contains("a fault at")), "{events:?}");
    let condition = json!({ "type": "Ready", "status": "False", "reason": "ControllerFault" });
    let told = controller.stub.done.lock().unwrap().iter().any(|(verb, kind, body)| {
        let conditions =
            body.pointer("/status/conditions").and_then(Value::as_array).cloned().unwrap_or_default();
        let is_it =
            |c: &Value| condition.as_object().unwrap().iter().all(|(name, value)| c.get(name) == Some(value));
        *verb == "patch" && *kind == Kind::DataVolume && conditions.iter().any(is_it)
    });
    assert!(told, "{:?}", controller.stub.done);
    assert!(!said.is_empty() && workers.iter().all(|worker| !worker.is_finished()));
    controller.stop.cancel();
    workers.into_iter().for_each(|worker| worker.join().unwrap());
}
