//! A namespace for one test.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use decant_controller::api::client::KubeCluster;
use decant_controller::api::cluster::{ApiError, Cluster, ListParams};
use decant_controller::objects::{Key, Kind, Uid};
use serde_json::{Value, json};

/// For what a cluster does by itself within a second or two.
const PATIENCE: Duration = Duration::from_secs(20);

/// A namespace of its own on the cluster, removed at the end.
pub(crate) struct Sandbox {
    pub(crate) cluster: Arc<KubeCluster>,
    pub(crate) namespace: String,
    uid: Uid,
}

impl Sandbox {
    pub(crate) fn new() -> Self {
        let cluster = Arc::new(KubeCluster::connect(Some(&kubeconfig())).unwrap());
        let nanos = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
        let namespace = format!("api-{:x}-{nanos:x}", std::process::id());
        let object = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace } });
        let made = cluster.create(Kind::Namespace, &object).unwrap().value();
        let uid = uid(&made);
        Self { cluster, namespace, uid }
    }

    pub(crate) fn key(&self, name: &str) -> Key {
        Key::new(&self.namespace, name)
    }

    pub(crate) fn params(&self) -> ListParams {
        ListParams { namespace: Some(self.namespace.clone()), ..ListParams::default() }
    }

    /// Objects of the test, without what the cluster puts into every namespace.
    pub(crate) fn labelled(&self) -> ListParams {
        ListParams { labels: "mine=yes".to_owned(), ..self.params() }
    }

    pub(crate) fn secret(&self, name: &str) -> Value {
        let metadata = json!({ "namespace": self.namespace, "name": name, "labels": { "mine": "yes" } });
        json!({ "apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": { "a": "1" } })
    }

    /// A pod that no scheduler looks at.
    pub(crate) fn pod(&self, name: &str, metadata: &Value) -> Value {
        let mut pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": metadata,
            "spec": {
                "schedulerName": "nobody",
                "automountServiceAccountToken": false,
                "containers": [{ "name": "c", "image": "none" }],
            },
        });
        pod["metadata"]["namespace"] = self.namespace.as_str().into();
        pod["metadata"]["name"] = name.into();
        pod
    }

    /// A PVC that the CloneSource `golden` fills. Old API servers know only `dataSource`; newer ones drop it from such a PVC and use
    /// `dataSourceRef`.
    pub(crate) fn populated_claim(&self, name: &str, annotations: &Value) -> Value {
        let source = json!({ "apiGroup": "decant.dev", "kind": "CloneSource", "name": "golden" });
        json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": { "namespace": self.namespace, "name": name, "annotations": annotations },
            "spec": { "accessModes": ["ReadWriteOnce"], "storageClassName": "none",
                      "resources": { "requests": { "storage": "8Gi" } },
                      "dataSource": source, "dataSourceRef": source },
        })
    }

    /// Creates a pod; a new namespace gets its service account only after a moment.
    pub(crate) fn create_pod(&self, pod: &Value) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.cluster.create(Kind::Pod, pod) {
                Err(ApiError { code: 403, message, .. })
                    if message.contains("serviceaccount") && Instant::now() < deadline =>
                {
                    std::thread::sleep(Duration::from_millis(100));
                }
                result => return result.unwrap().value(),
            }
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = self.cluster.delete(Kind::Namespace, &Key::new("", &self.namespace), &self.uid, None);
    }
}

/// The kubeconfig of the cluster.
pub(crate) fn kubeconfig() -> PathBuf {
    std::env::var_os("DECANT_API_KUBECONFIG")
        .expect("DECANT_API_KUBECONFIG names no API server: scripts/cluster.sh api up")
        .into()
}

pub(crate) fn uid(object: &Value) -> Uid {
    Uid(object["metadata"]["uid"].as_str().unwrap().to_owned())
}

pub(crate) fn version(object: &Value) -> String {
    object["metadata"]["resourceVersion"].as_str().unwrap().to_owned()
}

/// Waits until `holds`, and fails with `what` when it does not come.
pub(crate) fn eventually(
    what: &str,
    limit: Duration,
    mut assert_within_budget: impl FnMut() -> bool,
) -> Duration {
    let begun = Instant::now();
    while !assert_within_budget() {
        assert!(begun.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
    begun.elapsed()
}
