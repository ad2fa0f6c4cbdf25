//! A controller that dies between any two of its calls: the next one finishes the clone, and nothing is there twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use decant_controller::api::client::KubeCluster;
use decant_controller::api::cluster::{ApiError, Cluster, ListPage, ListParams, Part, Watch};
use decant_controller::objects::{Key, Kind, Object, Uid};
use decant_controller::policy::Policy;
use decant_controller::run::{RunSettings, run};
use decant_shared::process::stop::Stop;
use serde_json::{Value, json};

use crate::ground::{Ground, eventually};
use crate::kubelet::Kubelet;

/// Some seconds alone; this many clones share a machine with a busy API server.
const PATIENCE: Duration = Duration::from_secs(60);
/// Lives that are played at the same time.
const AT_ONCE: usize = 8;

/// Lets some calls through that change something; from then on nobody answers, and the process is told to end.
struct Mortal {
    inner: Arc<KubeCluster>,
    /// Changing calls so far.
    calls: AtomicUsize,
    /// The call that is its last.
    last: usize,
    /// Whether the last call still takes effect, without an answer.
    last_takes_effect: bool,
    death: Stop,
}

impl Mortal {
    fn change<T>(&self, call: impl FnOnce() -> Result<T, ApiError>) -> Result<T, ApiError> {
        let number = self.calls.fetch_add(1, Ordering::SeqCst);
        if number < self.last {
            return call();
        }
        if number == self.last && self.last_takes_effect {
            let _ = call();
        }
        self.death.cancel();
        Err(Self::dead())
    }

    fn look<T>(&self, call: impl FnOnce() -> Result<T, ApiError>) -> Result<T, ApiError> {
        if self.death.is_set() { Err(Self::dead()) } else { call() }
    }

    fn dead() -> ApiError {
        ApiError { code: 0, reason: "Dead".to_owned(), message: "the process is gone".to_owned() }
    }
}

impl Cluster for Mortal {
    fn get(&self, kind: Kind, key: &Key) -> Result<Object, ApiError> {
        self.look(|| self.inner.get(kind, key))
    }
    fn list(&self, kind: Kind, params: &ListParams) -> Result<ListPage, ApiError> {
        self.look(|| self.inner.list(kind, params))
    }
    fn watch(&self, kind: Kind, params: &ListParams, version: &str) -> Result<Box<dyn Watch>, ApiError> {
        self.look(|| self.inner.watch(kind, params, version))
    }
    fn create(&self, kind: Kind, object: &Value) -> Result<Object, ApiError> {
        self.change(|| self.inner.create(kind, object))
    }
    fn patch(&self, kind: Kind, key: &Key, part: Part, patch: &Value) -> Result<Object, ApiError> {
        self.change(|| self.inner.patch(kind, key, part, patch))
    }
    fn replace(&self, kind: Kind, key: &Key, object: &Value) -> Result<Object, ApiError> {
        self.change(|| self.inner.replace(kind, key, object))
    }
    fn delete(&self, kind: Kind, key: &Key, uid: &Uid, grace_secs: Option<u32>) -> Result<(), ApiError> {
        // No kubelet confirms that a pod has ended.
        self.change(|| self.inner.delete(kind, key, uid, grace_secs.or(Some(0))))
    }
    fn pod_proxy(&self, _: &Key, _: u16, _: &str, _: Duration, _: usize) -> Result<String, ApiError> {
        Err(Self::dead())
    }
}

struct Life {
    cluster: Arc<Mortal>,
    stop: Stop,
    thread: JoinHandle<()>,
}

impl Life {
    /// A controller for `ground` that dies at its changing call number `last`.
    fn start(ground: &Ground, last: usize, last_takes_effect: bool) -> Self {
        let stop = Stop::new();
        let cluster = Arc::new(Mortal {
            inner: Arc::clone(&ground.cluster),
            calls: AtomicUsize::new(0),
            last,
            last_takes_effect,
            death: stop.clone(),
        });
        let settings = RunSettings {
            namespace: ground.namespace.clone(),
            webhook_service: "cdi-api".to_owned(),
            watch_namespace: Some(ground.namespace.clone()),
            workers: 2,
            pollers: 1,
        };
        let mut policy = Policy::default();
        // No source answers here, and no pod lives on.
        policy.intervals.scrape_limit = Duration::from_millis(50);
        policy.intervals.wait = Duration::from_millis(300);
        policy.intervals.source_grace = Duration::from_secs(1);
        let (mortal, token): (Arc<dyn Cluster>, Stop) = (cluster.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            // A controller that dies says so.
            let _ = run(&mortal, policy, &settings, None, &token);
        });
        Self { cluster, stop, thread }
    }

    /// Ends it, if it still lives; returns how many changing calls it made.
    fn end(self) -> usize {
        self.stop.cancel();
        self.thread.join().unwrap();
        self.cluster.calls.load(Ordering::SeqCst)
    }
}

fn size(bytes: &str) -> Value {
    json!({ "accessModes": ["ReadWriteOnce"], "storageClassName": "none",
            "resources": { "requests": { "storage": bytes } } })
}

/// A source, and a DataVolume that clones it.
fn ask(ground: &Ground) {
    ask_with(ground, &json!({}));
}

fn ask_with(ground: &Ground, annotations: &Value) {
    let meta =
        |name: &str| json!({ "namespace": ground.namespace, "name": name, "annotations": annotations });
    let claim = json!({ "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": meta("golden"), "spec": size("1Gi") });
    ground.cluster.create(Kind::PersistentVolumeClaim, &claim).unwrap();
    let source = json!({ "pvc": { "namespace": ground.namespace, "name": "golden" } });
    let dv = json!({ "apiVersion": "cdi.kubevirt.io/v1beta1", "kind": "DataVolume", "metadata": meta("copy"),
                     "spec": { "source": source, "pvc": size("1Gi") } });
    ground.cluster.create(Kind::DataVolume, &dv).unwrap();
}

fn is_over(ground: &Ground) -> bool {
    let dv = ground.cluster.get(Kind::DataVolume, &ground.key("copy")).unwrap().value();
    let Ok(claim) = ground.cluster.get(Kind::PersistentVolumeClaim, &ground.key("copy")) else {
        return false;
    };
    let claim = claim.value();
    let held = claim["metadata"]["finalizers"].to_string().contains("cdi.kubevirt.io/cloneSource");
    let pods = ground.cluster.list(Kind::Pod, &ground.params()).unwrap().items;
    dv["status"]["phase"] == "Succeeded"
        && claim["metadata"]["annotations"]["k8s.io/CloneOf"] == "true"
        && !held
        && pods.is_empty()
}

/// A volume that is reserved for a DataVolume, which asks for it. It belongs to no namespace, so it is removed at the end.
struct Reserved<'g>(&'g Ground);

impl<'g> Reserved<'g> {
    fn new(ground: &'g Ground) -> Self {
        let volume = json!({
            "apiVersion": "v1", "kind": "PersistentVolume", "metadata": { "name": ground.namespace },
            "spec": {
                "capacity": { "storage": "1Gi" }, "accessModes": ["ReadWriteOnce"], "storageClassName": "none",
                "persistentVolumeReclaimPolicy": "Retain", "hostPath": { "path": "/var/tmp/nothing" },
                "claimRef": { "namespace": ground.namespace, "name": "copy" },
            },
        });
        ground.cluster.create(Kind::PersistentVolume, &volume).unwrap();
        ask_with(ground, &json!({ "cdi.kubevirt.io/storage.checkStaticVolume": "" }));
        Self(ground)
    }

    /// Whether the volume is kept, and the DataVolume told so.
    fn is_kept(&self) -> bool {
        let dv = self.0.cluster.get(Kind::DataVolume, &self.0.key("copy")).unwrap().value();
        let Ok(claim) = self.0.cluster.get(Kind::PersistentVolumeClaim, &self.0.key("copy")) else {
            return false;
        };
        let claim = claim.value();
        let annotations = &claim["metadata"]["annotations"];
        let pods = self.0.cluster.list(Kind::Pod, &self.0.params()).unwrap().items;
        assert!(pods.is_empty(), "a pod was made for a volume that is to be kept");
        dv["status"]["phase"] == "Succeeded"
            && dv["metadata"]["annotations"]["cdi.kubevirt.io/storage.prePopulated"] == "copy"
            && claim["spec"]["volumeName"] == *self.0.namespace
            && annotations["cdi.kubevirt.io/storage.populatedFor"] == "copy"
            && annotations.get("k8s.io/CloneRequest").is_none()
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        let key = Key::new("", &self.0.namespace);
        if let Ok(volume) = self.0.cluster.get(Kind::PersistentVolume, &key) {
            let _ = self.0.cluster.delete(
                Kind::PersistentVolume,
                &key,
                &crate::ground::uid(&volume.value()),
                None,
            );
        }
    }
}

#[test]
fn a_controller_that_dies_at_any_call_is_followed_by_one_that_keeps_a_reserved_volume() {
    for last in 0.. {
        let ground = Ground::new();
        let _kubelet = Kubelet::start(&ground);
        let reserved = Reserved::new(&ground);
        let first = Life::start(&ground, last, last % 2 == 0);
        eventually("death or the end", PATIENCE, || first.stop.is_set() || reserved.is_kept());
        let died = first.stop.is_set();
        first.end();
        let second = Life::start(&ground, usize::MAX, false);
        eventually(&format!("cut {last}: the volume is kept"), PATIENCE, || reserved.is_kept());
        second.end();
        if !died {
            println!("keeping a volume takes {last} changing calls");
            assert!(last > 4, "{last} calls are no whole life");
            break;
        }
    }
}

/// Which pods were ever made, by kind and name; events do not count.
fn a_whole_life() -> usize {
    let ground = Ground::new();
    let _kubelet = Kubelet::start(&ground);
    ask(&ground);
    let life = Life::start(&ground, usize::MAX, false);
    eventually("the clone is over", PATIENCE, || is_over(&ground));
    // What comes after the end belongs to the life, too.
    std::thread::sleep(Duration::from_millis(700));
    life.end()
}

/// Dies at the changing call `last`; the next controller finishes.
fn a_cut_life(last: usize, last_takes_effect: bool) {
    let ground = Ground::new();
    let _kubelet = Kubelet::start(&ground);
    ask(&ground);
    let first = Life::start(&ground, last, last_takes_effect);
    let what = format!("cut {last} (effect: {last_takes_effect})");
    eventually(&format!("{what}: death or the end"), PATIENCE, || first.stop.is_set() || is_over(&ground));
    first.end();
    let uid = |ground: &Ground| {
        let claim = ground.cluster.get(Kind::PersistentVolumeClaim, &ground.key("copy")).ok()?.value();
        claim["metadata"]["uid"].as_str().map(str::to_owned)
    };
    let before = uid(&ground);
    let second = Life::start(&ground, usize::MAX, false);
    eventually(&format!("{what}: the clone is over"), PATIENCE, || is_over(&ground));
    second.end();
    if before.is_some() {
        assert_eq!(uid(&ground), before, "{what}: the claim was made twice");
    }
    let claims = ground.cluster.list(Kind::PersistentVolumeClaim, &ground.params()).unwrap().items;
    assert_eq!(claims.len(), 2, "{what}: more claims than golden and copy");
}

#[test]
fn a_controller_that_dies_at_any_call_is_followed_by_one_that_finishes() {
    let calls = a_whole_life();
    assert!(calls > 15, "{calls} calls are no whole life");
    println!("a clone takes {calls} changing calls; each is the last one twice");
    let cuts: Vec<(usize, bool)> =
        (0..calls).flat_map(|last| [false, true].map(|effect| (last, effect))).collect();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some((last, effect)) = cuts.get(next.fetch_add(1, Ordering::SeqCst)) {
                    a_cut_life(*last, *effect);
                }
            });
        }
    });
}
