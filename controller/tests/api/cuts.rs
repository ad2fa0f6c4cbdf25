//! A controller that dies between any two of its calls: the next one finishes the clone, and nothing is there twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use decant_controller::api::client::KubeCluster;
use decant_controller::api::cluster::{ApiError, Cluster, ListPage, ListParams, Part, Watch};
use decant_controller::objects::{Key, Kind, Object, Uid};
use decant_controller::policy::{Policy, Transfer};
use decant_controller::run::{RunSettings, run};
use decant_shared::process::stop::Stop;
use serde_json::{Value, json};

use crate::kubelet::Kubelet;
use crate::sandbox::{Sandbox, eventually};

/// Some seconds alone; this many clones share a machine with a busy API server.
const PATIENCE: Duration = Duration::from_secs(60);
/// Lives that are played at the same time.
const AT_ONCE: usize = 8;

/// Lets some changing calls through; then no call is answered, and the process is stopped.
struct DyingCluster {
    inner: Arc<KubeCluster>,
    /// Changing calls so far.
    calls: AtomicUsize,
    /// The call that is its last.
    last: usize,
    /// Whether the last call still takes effect, without an answer.
    last_takes_effect: bool,
    death: Stop,
}

impl DyingCluster {
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

    fn read<T>(&self, call: impl FnOnce() -> Result<T, ApiError>) -> Result<T, ApiError> {
        if self.death.is_set() { Err(Self::dead()) } else { call() }
    }

    fn dead() -> ApiError {
        ApiError { code: 0, reason: "Dead".to_owned(), message: "the process is gone".to_owned() }
    }
}

impl Cluster for DyingCluster {
    fn get(&self, kind: Kind, key: &Key) -> Result<Object, ApiError> {
        self.read(|| self.inner.get(kind, key))
    }
    fn list(&self, kind: Kind, params: &ListParams) -> Result<ListPage, ApiError> {
        self.read(|| self.inner.list(kind, params))
    }
    fn watch(&self, kind: Kind, params: &ListParams, version: &str) -> Result<Box<dyn Watch>, ApiError> {
        self.read(|| self.inner.watch(kind, params, version))
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

struct ControllerRun {
    cluster: Arc<DyingCluster>,
    stop: Stop,
    thread: JoinHandle<()>,
}

impl ControllerRun {
    /// A controller for `ground` that dies at its changing call number `last`.
    fn start(sandbox: &Sandbox, last: usize, last_takes_effect: bool) -> Self {
        let stop = Stop::new();
        let cluster = Arc::new(DyingCluster {
            inner: Arc::clone(&sandbox.cluster),
            calls: AtomicUsize::new(0),
            last,
            last_takes_effect,
            death: stop.clone(),
        });
        let settings = RunSettings {
            namespace: sandbox.namespace.clone(),
            webhook_service: "cdi-api".to_owned(),
            watch_namespace: Some(sandbox.namespace.clone()),
            workers: 2,
            pollers: 1,
        };
        let mut policy = Policy { transfer: Transfer::Network, ..Policy::default() };
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
fn ask(sandbox: &Sandbox) {
    ask_with(sandbox, &json!({}));
}

fn ask_with(sandbox: &Sandbox, annotations: &Value) {
    let meta =
        |name: &str| json!({ "namespace": sandbox.namespace, "name": name, "annotations": annotations });
    let claim = json!({ "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": meta("golden"), "spec": size("1Gi") });
    sandbox.cluster.create(Kind::PersistentVolumeClaim, &claim).unwrap();
    let source = json!({ "pvc": { "namespace": sandbox.namespace, "name": "golden" } });
    let dv = json!({ "apiVersion": "cdi.kubevirt.io/v1beta1", "kind": "DataVolume", "metadata": meta("copy"),
                     "spec": { "source": source, "pvc": size("1Gi") } });
    sandbox.cluster.create(Kind::DataVolume, &dv).unwrap();
}

fn is_complete(sandbox: &Sandbox) -> bool {
    let dv = sandbox.cluster.get(Kind::DataVolume, &sandbox.key("copy")).unwrap().value();
    let Ok(claim) = sandbox.cluster.get(Kind::PersistentVolumeClaim, &sandbox.key("copy")) else {
        return false;
    };
    let claim = claim.value();
    let held = claim["metadata"]["finalizers"].to_string().contains("cdi.kubevirt.io/cloneSource");
    let pods = sandbox.cluster.list(Kind::Pod, &sandbox.params()).unwrap().items;
    dv["status"]["phase"] == "Succeeded"
        && claim["metadata"]["annotations"]["k8s.io/CloneOf"] == "true"
        && !held
        && pods.is_empty()
}

/// A volume that is reserved for a DataVolume, which asks for it. It belongs to no namespace, so it is removed at the end.
struct Reserved<'g>(&'g Sandbox);

impl<'g> Reserved<'g> {
    fn new(sandbox: &'g Sandbox) -> Self {
        let volume = json!({
            "apiVersion": "v1", "kind": "PersistentVolume", "metadata": { "name": sandbox.namespace },
            "spec": {
                "capacity": { "storage": "1Gi" }, "accessModes": ["ReadWriteOnce"], "storageClassName": "none",
                "persistentVolumeReclaimPolicy": "Retain", "hostPath": { "path": "/var/tmp/nothing" },
                "claimRef": { "namespace": sandbox.namespace, "name": "copy" },
            },
        });
        sandbox.cluster.create(Kind::PersistentVolume, &volume).unwrap();
        ask_with(sandbox, &json!({ "cdi.kubevirt.io/storage.checkStaticVolume": "" }));
        Self(sandbox)
    }

    /// Whether the volume is kept, and the DataVolume reports it.
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
                &crate::sandbox::uid(&volume.value()),
                None,
            );
        }
    }
}

#[test]
fn a_reserved_volume_is_kept_after_a_controller_dies_at_any_call() {
    for last in 0.. {
        let sandbox = Sandbox::new();
        let _kubelet = Kubelet::start(&sandbox);
        let reserved = Reserved::new(&sandbox);
        let first = ControllerRun::start(&sandbox, last, last % 2 == 0);
        eventually("death or the end", PATIENCE, || first.stop.is_set() || reserved.is_kept());
        let died = first.stop.is_set();
        first.end();
        let second = ControllerRun::start(&sandbox, usize::MAX, false);
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
fn run_to_the_end() -> usize {
    let sandbox = Sandbox::new();
    let _kubelet = Kubelet::start(&sandbox);
    ask(&sandbox);
    let life = ControllerRun::start(&sandbox, usize::MAX, false);
    eventually("the clone is over", PATIENCE, || is_complete(&sandbox));
    // What comes after the end belongs to the life, too.
    std::thread::sleep(Duration::from_millis(700));
    life.end()
}

/// Dies at the changing call `last`; the next controller finishes.
fn run_cut_short(last: usize, last_takes_effect: bool) {
    let sandbox = Sandbox::new();
    let _kubelet = Kubelet::start(&sandbox);
    ask(&sandbox);
    let first = ControllerRun::start(&sandbox, last, last_takes_effect);
    let what = format!("cut {last} (effect: {last_takes_effect})");
    eventually(&format!("{what}: death or the end"), PATIENCE, || {
        first.stop.is_set() || is_complete(&sandbox)
    });
    first.end();
    let uid = |sandbox: &Sandbox| {
        let claim = sandbox.cluster.get(Kind::PersistentVolumeClaim, &sandbox.key("copy")).ok()?.value();
        claim["metadata"]["uid"].as_str().map(str::to_owned)
    };
    let before = uid(&sandbox);
    let second = ControllerRun::start(&sandbox, usize::MAX, false);
    eventually(&format!("{what}: the clone is over"), PATIENCE, || is_complete(&sandbox));
    second.end();
    if before.is_some() {
        assert_eq!(uid(&sandbox), before, "{what}: the claim was made twice");
    }
    let claims = sandbox.cluster.list(Kind::PersistentVolumeClaim, &sandbox.params()).unwrap().items;
    assert_eq!(claims.len(), 2, "{what}: more claims than golden and copy");
}

#[test]
fn a_clone_completes_after_a_controller_dies_at_any_call() {
    let calls = run_to_the_end();
    assert!(calls > 15, "{calls} calls are no whole life");
    println!("a clone takes {calls} changing calls; each is the last one twice");
    let cuts: Vec<(usize, bool)> =
        (0..calls).flat_map(|last| [false, true].map(|effect| (last, effect))).collect();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some((last, effect)) = cuts.get(next.fetch_add(1, Ordering::SeqCst)) {
                    run_cut_short(*last, *effect);
                }
            });
        }
    });
}
