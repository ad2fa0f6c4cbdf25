//! Refusals of a real API server, in the namespace of the source or of the target, and what becomes of them: told in the condition,
//! by a Warning event, in `kubectl decant status` and `doctor`; over as soon as nothing refuses any more.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use decant_controller::api::client::KubeCluster;
use decant_controller::api::cluster::{ApiError, Cluster, ListPage, ListParams, Part, Watch, WatchEvent};
use decant_controller::objects::{Key, Kind, Object, Uid};
use decant_controller::policy::Policy;
use decant_controller::run::{RunSettings, run};
use decant_shared::process::stop::Stop;
use serde_json::{Value, json};

use crate::ground::{Ground, eventually, kubeconfig};
use crate::kubelet::Kubelet;
use crate::plugin::plugin;

/// Webhooks that do not answer are told after ten seconds, with the next attempt.
const PATIENCE: Duration = Duration::from_secs(60);

/// A cluster with two namespaces: other tests have controllers of their own.
struct Fenced {
    inner: Arc<KubeCluster>,
    namespaces: [String; 2],
}

impl Fenced {
    fn admits(&self, object: &Object) -> bool {
        let namespace = object.value()["metadata"]["namespace"].as_str().unwrap_or_default().to_owned();
        namespace.is_empty() || self.namespaces.contains(&namespace)
    }
}

struct FencedWatch {
    inner: Box<dyn Watch>,
    namespaces: [String; 2],
}

impl Watch for FencedWatch {
    fn next(&mut self, limit: Duration) -> Result<Option<WatchEvent>, ApiError> {
        let event = self.inner.next(limit)?;
        Ok(event.filter(|event| match event {
            WatchEvent::Applied(object) | WatchEvent::Deleted(object) => {
                let value = object.value();
                let namespace = value["metadata"]["namespace"].as_str().unwrap_or_default();
                namespace.is_empty() || self.namespaces.iter().any(|ours| ours == namespace)
            }
            WatchEvent::Bookmark(_) | WatchEvent::Failed(_) => true,
        }))
    }
}

impl Cluster for Fenced {
    fn get(&self, kind: Kind, key: &Key) -> Result<Object, ApiError> {
        self.inner.get(kind, key)
    }
    fn list(&self, kind: Kind, params: &ListParams) -> Result<ListPage, ApiError> {
        let mut page = self.inner.list(kind, params)?;
        page.items.retain(|object| self.admits(object));
        Ok(page)
    }
    fn watch(&self, kind: Kind, params: &ListParams, version: &str) -> Result<Box<dyn Watch>, ApiError> {
        let inner = self.inner.watch(kind, params, version)?;
        Ok(Box::new(FencedWatch { inner, namespaces: self.namespaces.clone() }))
    }
    fn create(&self, kind: Kind, object: &Value) -> Result<Object, ApiError> {
        self.inner.create(kind, object)
    }
    fn patch(&self, kind: Kind, key: &Key, part: Part, patch: &Value) -> Result<Object, ApiError> {
        self.inner.patch(kind, key, part, patch)
    }
    fn replace(&self, kind: Kind, key: &Key, object: &Value) -> Result<Object, ApiError> {
        self.inner.replace(kind, key, object)
    }
    fn delete(&self, kind: Kind, key: &Key, uid: &Uid, grace_secs: Option<u32>) -> Result<(), ApiError> {
        // No kubelet confirms that a pod has ended.
        self.inner.delete(kind, key, uid, grace_secs.or(Some(0)))
    }
    fn pod_proxy(&self, _: &Key, _: u16, _: &str, _: Duration, _: usize) -> Result<String, ApiError> {
        Err(ApiError { code: 503, reason: "Silent".to_owned(), message: "no source answers".to_owned() })
    }
}

fn kubectl(args: &[&str], input: &Value) {
    let mut child = Command::new("kubectl")
        .arg("--kubeconfig")
        .arg(kubeconfig())
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("kubectl is not in PATH: scripts/cluster.sh env");
    child.stdin.take().unwrap().write_all(input.to_string().as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "kubectl {args:?}");
}

/// An object that refuses something; deleted when dropped.
struct Refuser {
    kind: &'static str,
    namespace: Option<String>,
    name: String,
}

impl Refuser {
    fn new(kind: &'static str, object: &Value) -> Self {
        kubectl(&["create", "-f", "-"], object);
        let text = |name: &str| object["metadata"][name].as_str().map(str::to_owned);
        Self { kind, namespace: text("namespace"), name: text("name").unwrap() }
    }

    /// Nobody computes the quota's status there, so the test does.
    fn quota(ground: &Ground, resource: &str) -> Self {
        let metadata = json!({ "namespace": ground.namespace, "name": "none" });
        let mut quota = json!({ "apiVersion": "v1", "kind": "ResourceQuota", "metadata": metadata, "spec": { "hard": { resource: "0" } } });
        let refuser = Self::new("resourcequota", &quota);
        quota["status"] = json!({ "hard": { resource: "0" }, "used": { resource: "0" } });
        let path = format!("/api/v1/namespaces/{}/resourcequotas/none/status", ground.namespace);
        kubectl(&["replace", "--raw", &path, "-f", "-"], &quota);
        refuser
    }

    fn limits(ground: &Ground, limit: &Value) -> Self {
        let metadata = json!({ "namespace": ground.namespace, "name": "small" });
        let object = json!({ "apiVersion": "v1", "kind": "LimitRange", "metadata": metadata, "spec": { "limits": [limit] } });
        Self::new("limitrange", &object)
    }

    /// A webhook without a server: what it should look at is refused.
    fn webhook(ground: &Ground, operation: &str, group: &str, resource: &str) -> Self {
        let namespace = &ground.namespace;
        kubectl(
            &["label", "--overwrite", "namespace", namespace, &format!("decant-test={namespace}")],
            &Value::Null,
        );
        let rule = json!({ "operations": [operation], "apiGroups": [group], "apiVersions": ["*"], "resources": [resource] });
        let webhook = json!({
            "name": "away.example.com", "clientConfig": { "url": "https://127.0.0.1:1/" }, "failurePolicy": "Fail",
            "sideEffects": "None", "admissionReviewVersions": ["v1"], "timeoutSeconds": 1, "rules": [rule],
            "namespaceSelector": { "matchLabels": { "decant-test": namespace } },
        });
        let object = json!({ "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
                             "metadata": { "name": format!("away-{namespace}") }, "webhooks": [webhook] });
        Self::new("validatingwebhookconfiguration", &object)
    }
}

impl Drop for Refuser {
    fn drop(&mut self) {
        let mut args = vec!["delete", self.kind, &self.name, "--ignore-not-found"];
        args.extend(self.namespace.iter().flat_map(|namespace| ["-n", namespace.as_str()]));
        kubectl(&args, &Value::Null);
    }
}

/// A clone from one namespace into another, a controller that carries it out, and what plays the cluster around it.
struct Scene {
    source: Ground,
    target: Ground,
    /// Where the controller keeps its own Secrets.
    own: Ground,
    stop: Stop,
    thread: Option<JoinHandle<()>>,
    _kubelet: Kubelet,
}

impl Scene {
    fn new() -> Self {
        let (source, target, own) = (Ground::new(), Ground::new(), Ground::new());
        let size = json!({ "accessModes": ["ReadWriteOnce"], "volumeMode": "Block", "storageClassName": "none",
                           "resources": { "requests": { "storage": "1Gi" } } });
        let consent = json!({ "decant.dev/allow-clone-to": target.namespace });
        let golden = json!({ "apiVersion": "v1", "kind": "PersistentVolumeClaim", "spec": size,
            "metadata": { "namespace": source.namespace, "name": "golden", "annotations": consent } });
        source.cluster.create(Kind::PersistentVolumeClaim, &golden).unwrap();
        let dv = json!({ "apiVersion": "cdi.kubevirt.io/v1beta1", "kind": "DataVolume",
            "metadata": { "namespace": target.namespace, "name": "copy" },
            "spec": { "source": { "pvc": { "namespace": source.namespace, "name": "golden" } }, "pvc": size } });
        target.cluster.create(Kind::DataVolume, &dv).unwrap();
        let kubelet = Kubelet::over(&[&source, &target]);
        Self { source, target, own, stop: Stop::new(), thread: None, _kubelet: kubelet }
    }

    fn start(&mut self) {
        let cluster: Arc<dyn Cluster> = Arc::new(Fenced {
            inner: Arc::clone(&self.target.cluster),
            namespaces: [self.source.namespace.clone(), self.target.namespace.clone()],
        });
        let settings = RunSettings {
            namespace: self.own.namespace.clone(),
            webhook_service: "cdi-api".to_owned(),
            watch_namespace: None,
            workers: 2,
            pollers: 1,
        };
        let mut policy = Policy::default();
        policy.intervals.scrape_limit = Duration::from_millis(50);
        policy.intervals.wait = Duration::from_millis(300);
        policy.intervals.backoff.1 = Duration::from_secs(2);
        let token = self.stop.clone();
        self.thread =
            Some(std::thread::spawn(move || run(&cluster, policy, &settings, None, &token).unwrap()));
    }

    fn dv(&self) -> Value {
        self.target.cluster.get(Kind::DataVolume, &self.target.key("copy")).unwrap().value()
    }

    fn condition(&self, kind: &str) -> Value {
        let dv = self.dv();
        let conditions = dv["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.into_iter().find(|condition| condition["type"] == kind).unwrap_or_default()
    }

    fn has_warning(&self, reason: &str, words: &str) -> bool {
        let events = self.target.cluster.list(Kind::Event, &self.target.params()).unwrap().items;
        events.iter().map(Object::value).any(|event| {
            event["type"] == "Warning"
                && event["reason"] == reason
                && event["involvedObject"]["kind"] == "DataVolume"
                && event["message"].as_str().is_some_and(|text| text.contains(words))
        })
    }

    /// What `kubectl decant` says about the clone.
    fn plugin_says(&self, args: &[&str]) -> String {
        let said = plugin(&self.target, args);
        let name = format!("{}/copy", self.target.namespace);
        let lines: Vec<&str> = said.out.lines().collect();
        let at = lines.iter().position(|line| line.contains(&name) || line.starts_with("copy "));
        at.map_or(String::new(), |at| lines[at..lines.len().min(at + 2)].join("\n"))
    }

    /// Waits until condition and event tell it, looks at what people are told, and returns the condition.
    fn tells(&self, condition: &str, reason: &str, words: &str) -> Value {
        let begun = Instant::now();
        eventually(&format!("{reason}: {words}"), PATIENCE, || {
            let condition = self.condition(condition);
            if begun.elapsed() > PATIENCE - Duration::from_secs(1) {
                eprintln!("{:#}", self.dv()["status"]);
            }
            condition["reason"] == reason
                && condition["message"].as_str().is_some_and(|text| text.contains(words))
        });
        assert!(self.has_warning(reason, words), "no Warning event");
        let status = self.plugin_says(&["status"]);
        assert!(status.contains(reason) && status.contains(words), "{status}");
        let doctor = self.plugin_says(&["doctor", "--controller-namespace", &self.target.namespace]);
        assert!(
            doctor.starts_with("FAIL") && doctor.contains(words) && doctor.lines().count() == 2,
            "{doctor}"
        );
        self.condition(condition)
    }

    /// Waits until the clone is complete and nothing of it is left.
    fn ends(&self) {
        eventually("the clone is over", PATIENCE, || {
            let pods = [&self.source, &self.target]
                .iter()
                .map(|ground| ground.cluster.list(Kind::Pod, &ground.params()).unwrap().items.len())
                .sum::<usize>();
            self.dv()["status"]["phase"] == "Succeeded" && pods == 0
        });
        eventually("nothing is told any more", PATIENCE, || {
            self.condition("Running")["reason"] == "Completed"
        });
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A clone while `refuser` refuses, and after it is gone.
fn refused_until_allowed(refuser: impl Fn(&Scene) -> Refuser, condition: &str, reason: &str, words: &str) {
    let mut scene = Scene::new();
    let refuser = refuser(&scene);
    scene.start();
    let told = scene.tells(condition, reason, words);
    assert_eq!(told["status"], "False");
    drop(refuser);
    scene.ends();
}

#[test]
fn a_quota_in_the_source_namespace_is_told_until_it_is_raised() {
    refused_until_allowed(
        |scene| Refuser::quota(&scene.source, "pods"),
        "Running",
        "ErrExceededQuota",
        "exceeded quota: none",
    );
}

#[test]
fn a_quota_in_the_target_namespace_is_told_until_it_is_raised() {
    refused_until_allowed(
        |scene| Refuser::quota(&scene.target, "pods"),
        "Running",
        "ErrExceededQuota",
        "exceeded quota: none",
    );
}

#[test]
fn a_limit_range_in_the_source_namespace_is_told_until_it_is_gone() {
    let limit = json!({ "type": "Container", "max": { "memory": "1Mi" } });
    refused_until_allowed(
        |scene| Refuser::limits(&scene.source, &limit),
        "Running",
        "ErrStartingPod",
        "maximum memory usage per Container is 1Mi",
    );
}

#[test]
fn a_limit_range_in_the_target_namespace_that_refuses_the_claim_is_told_until_it_is_gone() {
    let limit = json!({ "type": "PersistentVolumeClaim", "max": { "storage": "1Mi" } });
    refused_until_allowed(
        |scene| Refuser::limits(&scene.target, &limit),
        "Bound",
        "ErrCreatingClaim",
        "maximum storage usage per PersistentVolumeClaim is 1Mi",
    );
}

#[test]
fn a_quota_for_secrets_in_either_namespace_is_told_until_it_is_raised() {
    for of_source in [true, false] {
        refused_until_allowed(
            |scene| Refuser::quota(if of_source { &scene.source } else { &scene.target }, "count/secrets"),
            "Running",
            "ErrExceededQuota",
            "the Secret with the keys of pod",
        );
    }
}

#[test]
fn a_webhook_of_the_source_namespace_that_does_not_answer_is_told_until_it_is_gone() {
    refused_until_allowed(
        |scene| Refuser::webhook(&scene.source, "CREATE", "", "pods"),
        "Running",
        "ErrStartingPod",
        "failed calling webhook",
    );
}

#[test]
fn a_claim_that_a_webhook_keeps_from_being_changed_is_told_until_it_is_gone() {
    refused_until_allowed(
        |scene| Refuser::webhook(&scene.target, "UPDATE", "", "persistentvolumeclaims"),
        "Running",
        "ErrChangingClaim",
        "failed calling webhook",
    );
}

#[test]
fn a_source_pod_that_a_webhook_keeps_from_being_deleted_is_told_and_the_clone_is_complete() {
    let mut scene = Scene::new();
    let refuser = Refuser::webhook(&scene.source, "DELETE", "", "pods");
    scene.start();
    scene.tells("Running", "ErrDeletingPod", "failed calling webhook");
    assert_eq!(scene.condition("Ready")["status"], "True");
    assert_eq!(scene.dv()["status"]["phase"], "Succeeded");
    drop(refuser);
    scene.ends();
}

#[test]
fn a_status_that_a_webhook_refuses_is_told_by_an_event_and_by_the_plugin() {
    let mut scene = Scene::new();
    let refuser = Refuser::webhook(&scene.target, "UPDATE", "cdi.kubevirt.io", "datavolumes/status");
    scene.start();
    eventually("an event tells it", PATIENCE, || {
        scene.has_warning("ErrWritingStatus", "failed calling webhook")
    });
    let status = scene.plugin_says(&["status"]);
    assert!(status.contains("ErrWritingStatus"), "{status}");
    let doctor = scene.plugin_says(&["doctor", "--controller-namespace", &scene.target.namespace]);
    assert!(doctor.contains("ErrWritingStatus") && doctor.contains("failed calling webhook"), "{doctor}");
    drop(refuser);
    scene.ends();
    let doctor = scene.plugin_says(&["doctor", "--controller-namespace", &scene.target.namespace]);
    assert!(!doctor.contains("ErrWritingStatus"), "{doctor}");
}

#[test]
fn a_clone_without_obstacles_makes_no_warning_event() {
    let mut scene = Scene::new();
    scene.start();
    scene.ends();
    for ground in [&scene.source, &scene.target] {
        let events = ground.cluster.list(Kind::Event, &ground.params()).unwrap().items;
        let events: Vec<Value> = events.iter().map(Object::value).collect();
        let warnings: Vec<&Value> = events.iter().filter(|event| event["type"] == "Warning").collect();
        assert!(warnings.is_empty(), "{warnings:#?}");
    }
}
