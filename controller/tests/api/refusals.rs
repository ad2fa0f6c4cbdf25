//! Refusals of a real API server, in the namespace of the source or of the target, and how they are reported: in the condition,
//! by a Warning event, in `kubectl decant status` and `doctor`; they end as soon as nothing is refused any more.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use decant_controller::api::client::KubeCluster;
use decant_controller::api::cluster::{ApiError, Cluster, ListPage, ListParams, Part, Watch, WatchEvent};
use decant_controller::objects::{Key, Kind, Object, Uid};
use decant_controller::policy::{Policy, Transfer};
use decant_controller::run::{RunSettings, run};
use decant_shared::process::stop::Stop;
use serde_json::{Value, json};

use crate::kubelet::Kubelet;
use crate::plugin::plugin;
use crate::sandbox::{Sandbox, eventually, kubeconfig};

/// Webhooks that do not answer are reported after ten seconds, with the next attempt.
const PATIENCE: Duration = Duration::from_secs(60);

/// A cluster with two namespaces: other tests have controllers of their own.
struct FilteredCluster {
    inner: Arc<KubeCluster>,
    namespaces: [String; 2],
}

impl FilteredCluster {
    fn admits(&self, object: &Object) -> bool {
        let namespace = object.value()["metadata"]["namespace"].as_str().unwrap_or_default().to_owned();
        namespace.is_empty() || self.namespaces.contains(&namespace)
    }
}

struct FilteredWatch {
    inner: Box<dyn Watch>,
    namespaces: [String; 2],
}

impl Watch for FilteredWatch {
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

impl Cluster for FilteredCluster {
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
        Ok(Box::new(FilteredWatch { inner, namespaces: self.namespaces.clone() }))
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
struct RefusingObject {
    kind: &'static str,
    namespace: Option<String>,
    name: String,
}

impl RefusingObject {
    fn new(kind: &'static str, object: &Value) -> Self {
        kubectl(&["create", "-f", "-"], object);
        let text = |name: &str| object["metadata"][name].as_str().map(str::to_owned);
        Self { kind, namespace: text("namespace"), name: text("name").unwrap() }
    }

    /// No controller computes the quota's status there, so the test does.
    fn quota(sandbox: &Sandbox, resource: &str) -> Self {
        let metadata = json!({ "namespace": sandbox.namespace, "name": "none" });
        let mut quota = json!({ "apiVersion": "v1", "kind": "ResourceQuota", "metadata": metadata, "spec": { "hard": { resource: "0" } } });
        let refusing_object = Self::new("resourcequota", &quota);
        quota["status"] = json!({ "hard": { resource: "0" }, "used": { resource: "0" } });
        let path = format!("/api/v1/namespaces/{}/resourcequotas/none/status", sandbox.namespace);
        kubectl(&["replace", "--raw", &path, "-f", "-"], &quota);
        refusing_object
    }

    fn limits(sandbox: &Sandbox, limit: &Value) -> Self {
        let metadata = json!({ "namespace": sandbox.namespace, "name": "small" });
        let object = json!({ "apiVersion": "v1", "kind": "LimitRange", "metadata": metadata, "spec": { "limits": [limit] } });
        Self::new("limitrange", &object)
    }

    /// A webhook without a server: the requests that it should review are refused.
    fn webhook(sandbox: &Sandbox, operation: &str, group: &str, resource: &str) -> Self {
        let namespace = &sandbox.namespace;
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

impl Drop for RefusingObject {
    fn drop(&mut self) {
        let mut args = vec!["delete", self.kind, &self.name, "--ignore-not-found"];
        args.extend(self.namespace.iter().flat_map(|namespace| ["-n", namespace.as_str()]));
        kubectl(&args, &Value::Null);
    }
}

/// A clone from one namespace into another, a controller that carries it out, and a simulated cluster around it.
struct CrossNamespaceClone {
    source: Sandbox,
    target: Sandbox,
    /// Where the controller keeps its own Secrets.
    own: Sandbox,
    stop: Stop,
    thread: Option<JoinHandle<()>>,
    _kubelet: Kubelet,
}

impl CrossNamespaceClone {
    fn new() -> Self {
        let (source, target, own) = (Sandbox::new(), Sandbox::new(), Sandbox::new());
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
        let cluster: Arc<dyn Cluster> = Arc::new(FilteredCluster {
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
        let mut policy = Policy { transfer: Transfer::Network, ..Policy::default() };
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

    fn has_warning(&self, reason: &str, expected_text: &str) -> bool {
        let events = self.target.cluster.list(Kind::Event, &self.target.params()).unwrap().items;
        events.iter().map(Object::value).any(|event| {
            event["type"] == "Warning"
                && event["reason"] == reason
                && event["involvedObject"]["kind"] == "DataVolume"
                && event["message"].as_str().is_some_and(|text| text.contains(expected_text))
        })
    }

    /// The output of `kubectl decant` about the clone.
    fn plugin_output(&self, args: &[&str]) -> String {
        let output = plugin(&self.target, args);
        let name = format!("{}/copy", self.target.namespace);
        let lines: Vec<&str> = output.out.lines().collect();
        let at = lines.iter().position(|line| line.contains(&name) || line.starts_with("copy "));
        at.map_or(String::new(), |at| lines[at..lines.len().min(at + 2)].join("\n"))
    }

    /// Waits until condition and event report it, checks the output for users, and returns the condition.
    fn assert_reported(&self, condition: &str, reason: &str, expected_text: &str) -> Value {
        let begun = Instant::now();
        eventually(&format!("{reason}: {expected_text}"), PATIENCE, || {
            let condition = self.condition(condition);
            if begun.elapsed() > PATIENCE - Duration::from_secs(1) {
                eprintln!("{:#}", self.dv()["status"]);
            }
            condition["reason"] == reason
                && condition["message"].as_str().is_some_and(|text| text.contains(expected_text))
        });
        assert!(self.has_warning(reason, expected_text), "no Warning event");
        let status = self.plugin_output(&["status"]);
        assert!(status.contains(reason) && status.contains(expected_text), "{status}");
        let doctor = self.plugin_output(&["doctor", "--controller-namespace", &self.target.namespace]);
        assert!(
            doctor.starts_with("FAIL") && doctor.contains(expected_text) && doctor.lines().count() == 2,
            "{doctor}"
        );
        self.condition(condition)
    }

    /// Waits until the clone is complete and nothing of it is left.
    fn wait_until_complete(&self) {
        eventually("the clone is over", PATIENCE, || {
            let pods = [&self.source, &self.target]
                .iter()
                .map(|sandbox| sandbox.cluster.list(Kind::Pod, &sandbox.params()).unwrap().items.len())
                .sum::<usize>();
            self.dv()["status"]["phase"] == "Succeeded" && pods == 0
        });
        eventually("nothing is told any more", PATIENCE, || {
            self.condition("Running")["reason"] == "Completed"
        });
    }
}

impl Drop for CrossNamespaceClone {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A clone while `refuser` refuses, and after it is gone.
fn refused_until_allowed(
    refusing_object: impl Fn(&CrossNamespaceClone) -> RefusingObject,
    condition: &str,
    reason: &str,
    expected_text: &str,
) {
    let mut clone_setup = CrossNamespaceClone::new();
    let refusing_object = refusing_object(&clone_setup);
    clone_setup.start();
    let told = clone_setup.assert_reported(condition, reason, expected_text);
    assert_eq!(told["status"], "False");
    drop(refusing_object);
    clone_setup.wait_until_complete();
}

#[test]
fn a_quota_in_the_source_namespace_is_reported_until_raised() {
    refused_until_allowed(
        |clone_setup| RefusingObject::quota(&clone_setup.source, "pods"),
        "Running",
        "ErrExceededQuota",
        "exceeded quota: none",
    );
}

#[test]
fn a_quota_in_the_target_namespace_is_reported_until_raised() {
    refused_until_allowed(
        |clone_setup| RefusingObject::quota(&clone_setup.target, "pods"),
        "Running",
        "ErrExceededQuota",
        "exceeded quota: none",
    );
}

#[test]
fn a_limit_range_in_the_source_namespace_is_reported_until_removed() {
    let limit = json!({ "type": "Container", "max": { "memory": "1Mi" } });
    refused_until_allowed(
        |clone_setup| RefusingObject::limits(&clone_setup.source, &limit),
        "Running",
        "ErrStartingPod",
        "maximum memory usage per Container is 1Mi",
    );
}

#[test]
fn a_limit_range_that_refuses_the_claim_is_reported_until_removed() {
    let limit = json!({ "type": "PersistentVolumeClaim", "max": { "storage": "1Mi" } });
    refused_until_allowed(
        |clone_setup| RefusingObject::limits(&clone_setup.target, &limit),
        "Bound",
        "ErrCreatingClaim",
        "maximum storage usage per PersistentVolumeClaim is 1Mi",
    );
}

#[test]
fn a_quota_for_secrets_in_either_namespace_is_reported_until_raised() {
    for of_source in [true, false] {
        refused_until_allowed(
            |clone_setup| {
                RefusingObject::quota(
                    if of_source { &clone_setup.source } else { &clone_setup.target },
                    "count/secrets",
                )
            },
            "Running",
            "ErrExceededQuota",
            "the Secret with the keys of pod",
        );
    }
}

#[test]
fn an_unreachable_webhook_of_the_source_namespace_is_reported_until_removed() {
    refused_until_allowed(
        |clone_setup| RefusingObject::webhook(&clone_setup.source, "CREATE", "", "pods"),
        "Running",
        "ErrStartingPod",
        "failed calling webhook",
    );
}

#[test]
fn a_webhook_that_refuses_claim_updates_is_reported_until_removed() {
    refused_until_allowed(
        |clone_setup| RefusingObject::webhook(&clone_setup.target, "UPDATE", "", "persistentvolumeclaims"),
        "Running",
        "ErrChangingClaim",
        "failed calling webhook",
    );
}

#[test]
fn a_webhook_that_refuses_pod_deletion_is_reported_and_the_clone_completes() {
    let mut clone_setup = CrossNamespaceClone::new();
    let refusing_object = RefusingObject::webhook(&clone_setup.source, "DELETE", "", "pods");
    clone_setup.start();
    clone_setup.assert_reported("Running", "ErrDeletingPod", "failed calling webhook");
    assert_eq!(clone_setup.condition("Ready")["status"], "True");
    assert_eq!(clone_setup.dv()["status"]["phase"], "Succeeded");
    drop(refusing_object);
    clone_setup.wait_until_complete();
}

#[test]
fn a_webhook_that_refuses_status_updates_is_reported_by_event_and_plugin() {
    let mut clone_setup = CrossNamespaceClone::new();
    let refusing_object =
        RefusingObject::webhook(&clone_setup.target, "UPDATE", "cdi.kubevirt.io", "datavolumes/status");
    clone_setup.start();
    eventually("an event tells it", PATIENCE, || {
        clone_setup.has_warning("ErrWritingStatus", "failed calling webhook")
    });
    let status = clone_setup.plugin_output(&["status"]);
    assert!(status.contains("ErrWritingStatus"), "{status}");
    let doctor =
        clone_setup.plugin_output(&["doctor", "--controller-namespace", &clone_setup.target.namespace]);
    assert!(doctor.contains("ErrWritingStatus") && doctor.contains("failed calling webhook"), "{doctor}");
    drop(refusing_object);
    clone_setup.wait_until_complete();
    let doctor =
        clone_setup.plugin_output(&["doctor", "--controller-namespace", &clone_setup.target.namespace]);
    assert!(!doctor.contains("ErrWritingStatus"), "{doctor}");
}

#[test]
fn a_clone_without_obstacles_emits_no_warning_event() {
    let mut clone_setup = CrossNamespaceClone::new();
    clone_setup.start();
    clone_setup.wait_until_complete();
    for sandbox in [&clone_setup.source, &clone_setup.target] {
        let events = sandbox.cluster.list(Kind::Event, &sandbox.params()).unwrap().items;
        let events: Vec<Value> = events.iter().map(Object::value).collect();
        let warnings: Vec<&Value> = events.iter().filter(|event| event["type"] == "Warning").collect();
        assert!(warnings.is_empty(), "{warnings:#?}");
    }
}
