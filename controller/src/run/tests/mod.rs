//! Tests of which requests get a clone, from the annotations to the pods: whole rounds on a cluster in memory.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::{Value, json};

mod beside;
mod refusals;
mod sidecars;

use super::*;
use crate::api::cluster::{ApiError, ListPage, ListParams, Part, Watch};
use crate::objects::annotations::{EXTENDED_TOKEN, TOKEN};
use crate::objects::{Kind, Object, Uid, decode};
use crate::token::asker::Asker;
use crate::token::grant::Grant;

/// A cluster in memory that stores objects. Names are unique, and nothing acts on the objects.
#[derive(Default)]
struct Kept {
    objects: Mutex<BTreeMap<(Kind, Key), Value>>,
    /// Whether all users may clone everything.
    allows: AtomicBool,
    /// The number of checks of rights.
    asked: AtomicUsize,
    made: AtomicUsize,
    /// The writes that are refused.
    refuses: Mutex<Vec<Refusal>>,
}

/// A write that is refused.
#[derive(Debug, Clone)]
struct Refusal {
    verb: &'static str,
    kind: Kind,
    part: Part,
    namespace: &'static str,
    error: ApiError,
}

fn failure(code: u16, reason: &str) -> ApiError {
    ApiError { code, reason: reason.to_owned(), message: reason.to_owned() }
}

fn merge(into: &mut Value, patch: &Value) {
    let (Value::Object(into), Value::Object(patch)) = (into, patch) else { panic!("no objects") };
    for (name, value) in patch {
        match (into.get_mut(name), value) {
            (_, Value::Null) => drop(into.remove(name)),
            (Some(old @ Value::Object(_)), Value::Object(_)) => merge(old, value),
            _ => drop(into.insert(name.clone(), value.clone())),
        }
    }
}

impl Kept {
    fn objects(&self) -> std::sync::MutexGuard<'_, BTreeMap<(Kind, Key), Value>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refused(&self, verb: &str, kind: Kind, part: Part, namespace: &str) -> Result<(), ApiError> {
        let refuses = self.refuses.lock().unwrap_or_else(PoisonError::into_inner);
        let refusal = refuses.iter().find(|refusal| {
            (refusal.verb, refusal.kind, refusal.part, refusal.namespace) == (verb, kind, part, namespace)
        });
        refusal.map_or(Ok(()), |refusal| Err(refusal.error.clone()))
    }

    fn of(&self, kind: Kind) -> Vec<Value> {
        self.objects()
            .iter()
            .filter(|((found, _), _)| *found == kind)
            .map(|(_, object)| object.clone())
            .collect()
    }

    fn names_of(&self, kind: Kind) -> Vec<String> {
        let objects = self.objects();
        let keys = objects.keys().filter(|(found, _)| *found == kind);
        keys.map(|(_, key)| key.to_string()).collect()
    }
}

impl Cluster for Kept {
    fn get(&self, kind: Kind, key: &Key) -> Result<Object, ApiError> {
        self.refused("get", kind, Part::Whole, &key.namespace)?;
        self.objects()
            .get(&(kind, key.clone()))
            .cloned()
            .map(Object::from)
            .ok_or_else(|| failure(404, "NotFound"))
    }

    fn create(&self, kind: Kind, object: &Value) -> Result<Object, ApiError> {
        if kind == Kind::SubjectAccessReview {
            self.asked.fetch_add(1, Ordering::SeqCst);
            return Ok(json!({"status": {"allowed": self.allows.load(Ordering::SeqCst)}}).into());
        }
        let text = |name: &str| {
            let value = object.pointer(&format!("/metadata/{name}")).and_then(Value::as_str);
            value.unwrap_or_default().to_owned()
        };
        let key = Key::new(text("namespace"), text("name"));
        self.refused("create", kind, Part::Whole, &key.namespace)?;
        let mut objects = self.objects();
        if objects.contains_key(&(kind, key.clone())) {
            return Err(failure(409, "AlreadyExists"));
        }
        let mut object = object.clone();
        let number = self.made.fetch_add(1, Ordering::SeqCst);
        let metadata = object.get_mut("metadata").unwrap().as_object_mut().unwrap();
        metadata.entry("uid").or_insert_with(|| json!(format!("uid-{number}")));
        objects.insert((kind, key), object.clone());
        Ok(object.into())
    }

    fn list(&self, _: Kind, _: &ListParams) -> Result<ListPage, ApiError> {
        Ok(ListPage::default())
    }

    fn watch(&self, _: Kind, _: &ListParams, _: &str) -> Result<Box<dyn Watch>, ApiError> {
        panic!("not expected")
    }

    fn patch(&self, kind: Kind, key: &Key, part: Part, patch: &Value) -> Result<Object, ApiError> {
        self.refused("patch", kind, part, &key.namespace)?;
        let mut objects = self.objects();
        let object = objects.get_mut(&(kind, key.clone())).ok_or_else(|| failure(404, "NotFound"))?;
        merge(object, patch);
        Ok(object.clone().into())
    }

    fn replace(&self, _: Kind, _: &Key, _: &Value) -> Result<Object, ApiError> {
        panic!("not expected")
    }

    fn delete(&self, kind: Kind, key: &Key, _: &Uid, _: Option<u32>) -> Result<(), ApiError> {
        self.refused("delete", kind, Part::Whole, &key.namespace)?;
        self.objects().remove(&(kind, key.clone()));
        Ok(())
    }

    fn pod_proxy(&self, _: &Key, _: u16, _: &str, _: Duration, _: usize) -> Result<String, ApiError> {
        Err(failure(503, "ServiceUnavailable"))
    }
}

/// A controller that performs one round at a time.
struct Bench {
    cluster: Arc<Kept>,
    reconciler: Reconciler,
    keys: Arc<TokenKey>,
}

const OWN: &str = "decant-system";

fn copy() -> Key {
    Key::new("b", "copy")
}

fn golden() -> Key {
    Key::new("a", "golden")
}

fn size() -> Value {
    json!({"accessModes": ["ReadWriteOnce"], "volumeMode": "Block", "storageClassName": "none",
           "resources": {"requests": {"storage": "1Gi"}}})
}

impl Bench {
    fn new() -> Self {
        Self::with_scope(Scope::All)
    }

    fn with_scope(scope: Scope) -> Self {
        let kept = Arc::new(Kept::default());
        let cluster: Arc<dyn Cluster> = kept.clone();
        let policy = Arc::new(LivePolicy::new(Policy { scope, ..Policy::default() }));
        let now = OffsetDateTime::now_utc();
        let pki = Arc::new(Pki::open(&*cluster, OWN, now).unwrap());
        let keys = Arc::new(TokenKey::new(&[9; 32]));
        let guarded = Guarded::new(Arc::clone(&cluster), OWN.to_owned(), "cdi-api".to_owned());
        let judge = Judge::new(Arc::clone(&cluster), Arc::clone(&keys), guarded);
        let wake: Wake = Arc::new(|_| ());
        let known = WatchedObjects {
            stores: Arc::new(Stores::new(Arc::clone(&keys))),
            unreadable: Arc::default(),
            queue: Arc::default(),
            wake,
        };
        let reconciler =
            build_reconciler(&cluster, policy, &pki, known, Seal { keys: Arc::clone(&keys), judge });
        Self { cluster: kept, reconciler, keys }
    }

    fn put(&self, kind: Kind, key: &Key, mut object: Value) {
        merge(&mut object, &json!({"metadata": {"namespace": key.namespace, "name": key.name}}));
        self.cluster.objects().insert((kind, key.clone()), object);
    }

    fn source(&self, uid: &str) {
        let object = json!({"metadata": {"uid": uid}, "spec": size(), "status": {"phase": "Bound"}});
        self.put(Kind::PersistentVolumeClaim, &golden(), object);
    }

    fn data_volume(&self, source: &Value, annotations: &Value) {
        let mut spec = json!({"pvc": size()});
        merge(&mut spec, source);
        let object = json!({"metadata": {"uid": "dv-1", "annotations": annotations}, "spec": spec});
        self.put(Kind::DataVolume, &copy(), object);
    }

    /// Passes all objects to the controller, as watches do, and lets it perform one round.
    fn round(&self) {
        let stores = &self.reconciler.observer.stores;
        for key in stores.pods.keys() {
            stores.pods.remove(&key);
        }
        for key in stores.claims.keys() {
            stores.claims.remove(&key);
        }
        for ((kind, _), object) in &*self.cluster.objects() {
            match kind {
                // Nothing watches them.
                Kind::DataVolume | Kind::DataSource if self.reconciler.policy.now().scope != Scope::All => {}
                Kind::CloneSource => drop(stores.clone_sources.put(decode(object.clone()).unwrap())),
                Kind::DataVolume => drop(stores.data_volumes.put(decode(object.clone()).unwrap())),
                Kind::DataSource => drop(stores.data_sources.put(decode(object.clone()).unwrap())),
                Kind::PersistentVolumeClaim => drop(stores.claims.put(decode(object.clone()).unwrap())),
                Kind::Pod => drop(stores.pods.put(decode(object.clone()).unwrap())),
                _ => {}
            }
        }
        self.reconciler.work(&copy());
    }

    fn rounds(&self, count: usize) {
        for _ in 0..count {
            self.round();
        }
    }

    fn set(&self, kind: Kind, key: &Key, patch: &Value) {
        self.cluster.patch(kind, key, Part::Whole, patch).unwrap();
    }

    fn annotation(&self, kind: Kind, name: &str) -> Option<String> {
        let object = self.cluster.get(kind, &copy()).ok()?.value();
        Some(object.get("metadata")?.get("annotations")?.get(name)?.as_str()?.to_owned())
    }

    /// Reason and message of a condition of the DataVolume.
    fn condition(&self, kind: &str) -> (String, String) {
        let object = self.cluster.get(Kind::DataVolume, &copy()).unwrap();
        let dv: crate::objects::DataVolume = decode(object).unwrap();
        dv.status.condition(kind).map(|c| (c.reason.clone(), c.message.clone())).unwrap_or_default()
    }

    /// Type, reason and message of all events.
    fn events(&self) -> Vec<(String, String, String)> {
        let text = |event: &Value, name: &str| event.get(name).unwrap().as_str().unwrap().to_owned();
        let mut events: Vec<_> = self
            .cluster
            .of(Kind::Event)
            .iter()
            .map(|event| (text(event, "type"), text(event, "reason"), text(event, "message")))
            .collect();
        events.sort();
        events
    }

    fn short_token(&self, source_uid: Option<&str>) -> Value {
        let uid = source_uid.map(Uid::from);
        let asker = Asker { username: "system:serviceaccount:b:ci".to_owned(), ..Asker::default() };
        let grant = Grant { source: &golden(), source_uid: uid.as_ref(), target: &copy(), asker: &asker };
        json!({TOKEN: self.keys.short(&grant, true, OffsetDateTime::now_utc())})
    }

    /// Binds the target's claim.
    fn bind(&self) {
        self.set(Kind::PersistentVolumeClaim, &copy(), &json!({"status": {"phase": "Bound"}}));
    }

    /// Binds the target's claim, and makes its pod ready.
    fn kubelet(&self) {
        self.bind();
        for object in self.cluster.of(Kind::Pod) {
            let pod: crate::objects::Pod = decode(object).unwrap();
            let status = json!({"phase": "Running", "podIP": "10.0.0.1", "containerStatuses": [
                {"name": "cdi-upload-server", "ready": true, "state": {"running": {}}}]});
            self.set(Kind::Pod, &pod.metadata.key(), &json!({"status": status}));
        }
    }
}

fn from_golden() -> Value {
    json!({"source": {"pvc": {"namespace": "a", "name": "golden"}}})
}

fn from_images() -> Value {
    json!({"sourceRef": {"kind": "DataSource", "namespace": "z", "name": "images"}})
}

#[test]
fn a_clone_with_a_token_gets_its_pods_and_the_token_its_source() {
    let bench = Bench::new();
    bench.cluster.allows.store(true, Ordering::SeqCst);
    bench.source("s-1");
    bench.data_volume(&from_golden(), &bench.short_token(Some("s-1")));
    bench.rounds(2);
    bench.bind();
    bench.rounds(3);
    let long = bench.annotation(Kind::DataVolume, EXTENDED_TOKEN).unwrap();
    let now = OffsetDateTime::now_utc();
    let granted = bench.keys.check_long(&long, &golden(), &copy(), &Uid::from("dv-1"), now).unwrap();
    assert_eq!(granted.source_uid, Some(Uid::from("s-1")));
    bench.kubelet();
    bench.rounds(2);
    assert_eq!(bench.cluster.names_of(Kind::Pod).len(), 2, "{:?}", bench.cluster.names_of(Kind::Pod));
}

#[test]
fn a_right_is_asked_for_again_before_each_pod_and_not_in_each_round() {
    let bench = Bench::new();
    bench.cluster.allows.store(true, Ordering::SeqCst);
    bench.source("s-1");
    bench.data_volume(&from_golden(), &bench.short_token(Some("s-1")));
    bench.rounds(2);
    bench.bind();
    bench.rounds(3);
    let asked = bench.cluster.asked.load(Ordering::SeqCst);
    assert_eq!(asked, 1, "for the target pod");
    bench.rounds(20);
    assert_eq!(bench.cluster.asked.load(Ordering::SeqCst), asked, "in rounds that make no pod");
    bench.kubelet();
    bench.rounds(1);
    assert_eq!(bench.cluster.asked.load(Ordering::SeqCst), asked + 1, "for the source pod");
    bench.rounds(20);
    assert_eq!(bench.cluster.asked.load(Ordering::SeqCst), asked + 1, "while it is cloned");
}

#[test]
fn a_right_that_was_withdrawn_before_the_source_pod_is_made_ends_the_clone_with_a_condition_and_an_event() {
    let bench = Bench::new();
    bench.cluster.allows.store(true, Ordering::SeqCst);
    bench.source("s-1");
    bench.data_volume(&from_golden(), &bench.short_token(Some("s-1")));
    bench.rounds(2);
    bench.bind();
    bench.rounds(3);
    assert_eq!(bench.cluster.names_of(Kind::Pod), ["b/cdi-upload-copy"]);
    bench.kubelet();
    bench.cluster.allows.store(false, Ordering::SeqCst);
    bench.rounds(3);
    assert!(bench.cluster.names_of(Kind::Pod).is_empty(), "{:?}", bench.cluster.names_of(Kind::Pod));
    let (reason, message) = bench.condition("Running");
    assert_eq!(reason, "CloneNotAllowed");
    assert!(
        message.contains("user system:serviceaccount:b:ci, who asked for it, may not clone it now"),
        "{message}"
    );
    assert!(bench.events().iter().any(|(kind, reason, _)| kind == "Warning" && reason == "CloneNotAllowed"));
    // With the right, the clone continues.
    bench.cluster.allows.store(true, Ordering::SeqCst);
    bench.rounds(2);
    bench.kubelet();
    bench.rounds(2);
    assert_eq!(bench.cluster.names_of(Kind::Pod).len(), 2);
}

#[test]
fn a_token_does_not_outlive_the_claim_that_it_was_given_for() {
    let bench = Bench::new();
    bench.cluster.allows.store(true, Ordering::SeqCst);
    bench.source("s-1");
    bench.data_volume(&from_golden(), &bench.short_token(Some("s-1")));
    bench.round();
    assert!(bench.annotation(Kind::DataVolume, EXTENDED_TOKEN).is_some());
    bench.source("s-2");
    bench.rounds(5);
    assert_eq!(bench.condition("Bound").0, "CloneNotAllowed");
    assert_eq!(bench.cluster.names_of(Kind::PersistentVolumeClaim), ["a/golden"]);
}

#[test]
fn a_token_from_before_its_source_is_bound_to_it_only_if_the_right_is_still_there() {
    for is_allowed in [true, false] {
        let bench = Bench::new();
        bench.cluster.allows.store(true, Ordering::SeqCst);
        bench.data_volume(&from_golden(), &bench.short_token(None));
        bench.rounds(2);
        let provisional = bench.annotation(Kind::DataVolume, EXTENDED_TOKEN).unwrap();
        assert_eq!(bench.condition("Bound").0, "CloneWithoutSource");
        bench.source("s-1");
        bench.cluster.allows.store(is_allowed, Ordering::SeqCst);
        bench.rounds(2);
        let long = bench.annotation(Kind::DataVolume, EXTENDED_TOKEN).unwrap();
        assert_eq!(long != provisional, is_allowed);
        let claims = bench.cluster.names_of(Kind::PersistentVolumeClaim);
        assert_eq!(claims.contains(&"b/copy".to_owned()), is_allowed, "{claims:?}");
        assert_eq!(bench.condition("Bound").0 == "CloneNotAllowed", !is_allowed);
    }
}

#[test]
fn a_claim_without_a_data_volume_gets_nothing_by_a_short_token() {
    let bench = Bench::new();
    bench.cluster.allows.store(true, Ordering::SeqCst);
    bench.source("s-1");
    let mut annotations = bench.short_token(Some("s-1"));
    merge(&mut annotations, &json!({"k8s.io/CloneRequest": "a/golden"}));
    let object = json!({"metadata": {"uid": "c-1", "annotations": annotations}, "spec": size(), "status": {"phase": "Bound"}});
    bench.put(Kind::PersistentVolumeClaim, &copy(), object);
    bench.rounds(5);
    assert!(bench.cluster.names_of(Kind::Pod).is_empty());
    assert_eq!(bench.annotation(Kind::PersistentVolumeClaim, EXTENDED_TOKEN), None);
    assert!(bench.events().iter().any(|(_, reason, _)| reason == "CloneNotAllowed"), "{:?}", bench.events());
}

/// What a user sees about `copy`.
#[derive(Debug, PartialEq)]
struct Told {
    on_claim: Option<String>,
    reason: String,
    message: String,
    events: Vec<(String, String, String)>,
}

/// What a user sees about `copy`, which has no permission.
fn told_without_permission(prepare: impl Fn(&Bench)) -> Told {
    let bench = Bench::new();
    prepare(&bench);
    bench.rounds(3);
    assert!(bench.cluster.names_of(Kind::Pod).is_empty());
    let has_data_volume = bench.cluster.get(Kind::DataVolume, &copy()).is_ok();
    let (reason, message) = if has_data_volume { bench.condition("Bound") } else { Default::default() };
    Told {
        on_claim: bench.annotation(Kind::PersistentVolumeClaim, crate::objects::annotations::RUNNING_MESSAGE),
        reason,
        message,
        events: bench.events(),
    }
}

#[test]
fn without_permission_a_claim_does_not_learn_whether_its_source_exists() {
    let bare = |bench: &Bench| {
        let annotations = json!({"k8s.io/CloneRequest": "a/golden"});
        let object = json!({"metadata": {"uid": "c-1", "annotations": annotations}, "spec": size(), "status": {"phase": "Bound"}});
        bench.put(Kind::PersistentVolumeClaim, &copy(), object);
    };
    let without = told_without_permission(bare);
    let with = told_without_permission(|bench| {
        bare(bench);
        bench.source("s-1");
    });
    assert_eq!(without, with);
    assert!(with.on_claim.unwrap().contains("Nothing allows cloning claim a/golden into namespace b"));
}

#[test]
fn without_permission_a_data_volume_does_not_learn_what_exists() {
    let direct = |bench: &Bench| bench.data_volume(&from_golden(), &json!({}));
    let without = told_without_permission(direct);
    let with = told_without_permission(|bench| {
        direct(bench);
        bench.source("s-1");
    });
    assert_eq!(without, with);
    assert_eq!(with.reason, "CloneNotAllowed");

    let images = Key::new("z", "images");
    let seen: Vec<_> = [
        None,
        Some(json!({"pvc": {"namespace": "a", "name": "golden"}})),
        Some(json!({"pvc": {"namespace": "a", "name": "missing"}})),
        Some(json!({"snapshot": {"namespace": "a", "name": "s"}})),
        Some(json!({"dataSource": {"name": "images"}})),
        Some(json!({})),
    ]
    .into_iter()
    .map(|source| {
        told_without_permission(|bench| {
            bench.data_volume(&from_images(), &json!({}));
            bench.source("s-1");
            if let Some(source) = &source {
                bench.put(Kind::DataSource, &images, json!({"spec": {"source": source}}));
            }
        })
    })
    .collect();
    for other in &seen {
        assert_eq!(seen.first(), Some(other));
        assert!(!other.message.contains("golden"), "{}", other.message);
    }
    assert_eq!(seen.first().unwrap().reason, "CloneNotAllowed");
}
