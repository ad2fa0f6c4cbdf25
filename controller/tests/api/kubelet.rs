//! A simulated cluster around a clone: volumes are bound, pods run and end. Nothing is copied.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use decant_controller::api::client::KubeCluster;
use decant_controller::api::cluster::{Cluster, Part};
use decant_controller::objects::{Key, Kind};
use decant_shared::process::stop::Stop;
use serde_json::{Value, json};

use crate::sandbox::Sandbox;

/// Between two polls.
const POLL_INTERVAL: Duration = Duration::from_millis(30);

/// Runs until dropped.
pub(crate) struct Kubelet {
    stop: Stop,
    thread: Option<JoinHandle<()>>,
}

impl Kubelet {
    pub(crate) fn start(sandbox: &Sandbox) -> Self {
        Self::over(&[sandbox])
    }

    /// Simulates several namespaces; the pods of a clone may be in two of them.
    pub(crate) fn over(sandboxes: &[&Sandbox]) -> Self {
        let (stop, cluster) = (Stop::new(), Arc::clone(&sandboxes[0].cluster));
        let params: Vec<_> = sandboxes.iter().map(|sandbox| sandbox.params()).collect();
        let token = stop.clone();
        let thread = std::thread::spawn(move || {
            while token.sleep(POLL_INTERVAL) {
                let list = |kind| -> Vec<Value> {
                    let lists = params.iter().filter_map(|params| cluster.list(kind, params).ok());
                    lists.flat_map(|page| page.items).map(|object| object.value()).collect()
                };
                for claim in list(Kind::PersistentVolumeClaim) {
                    bind(&cluster, &claim);
                }
                let pods = list(Kind::Pod);
                for pod in &pods {
                    advance(&cluster, pod, &pods);
                }
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        self.stop.cancel();
        let _ = self.thread.take().unwrap().join();
    }
}

fn key(object: &Value) -> Key {
    let text = |name: &str| object["metadata"][name].as_str().unwrap_or_default().to_owned();
    Key::new(text("namespace"), text("name"))
}

fn bind(cluster: &KubeCluster, claim: &Value) {
    if claim["status"]["phase"] != "Bound" {
        let capacity = &claim["spec"]["resources"]["requests"];
        let status = json!({ "status": { "phase": "Bound", "capacity": capacity } });
        let _ = cluster.patch(Kind::PersistentVolumeClaim, &key(claim), Part::Status, &status);
    }
}

/// Pending, Running, and for as long as both run: Succeeded, target first.
fn advance(cluster: &KubeCluster, pod: &Value, all: &[Value]) {
    let phase = pod["status"]["phase"].as_str().unwrap_or_default();
    if pod["metadata"]["deletionTimestamp"].is_string() {
        return;
    }
    let name = pod["spec"]["containers"][0]["name"].as_str().unwrap_or_default();
    let runs = |component: &str, phase: &str| {
        all.iter().any(|other| {
            other["metadata"]["labels"]["cdi.kubevirt.io"] == component && other["status"]["phase"] == phase
        })
    };
    let next = match (name, phase) {
        // As a kubelet, which mounts the keys first.
        (_, "Pending") if lacks_secret(cluster, pod) => return,
        (_, "Pending") => "Running",
        ("cdi-upload-server", "Running") if runs("cdi-clone-source", "Running") => "Succeeded",
        ("cdi-clone-source", "Running") if runs("cdi-upload-server", "Succeeded") => "Succeeded",
        _ => return,
    };
    let _ = cluster.patch(Kind::Pod, &key(pod), Part::Status, &status(name, next, "127.0.0.2"));
}

/// Whether a Secret that the pod cannot do without is not there.
fn lacks_secret(cluster: &KubeCluster, pod: &Value) -> bool {
    let namespace = pod["metadata"]["namespace"].as_str().unwrap_or_default();
    let volumes = pod["spec"]["volumes"].as_array().cloned().unwrap_or_default();
    let sources = volumes.iter().filter_map(|volume| volume["projected"]["sources"].as_array()).flatten();
    let needed = sources.filter(|source| source["secret"]["optional"] != true);
    needed
        .filter_map(|source| source["secret"]["name"].as_str())
        .any(|name| cluster.get(Kind::Secret, &Key::new(namespace, name)).is_err())
}

/// The status of a pod with one container.
pub(crate) fn status(container: &str, phase: &str, address: &str) -> Value {
    let state = match phase {
        "Succeeded" => {
            let message =
                if container == "cdi-upload-server" { r#"{"message":"Clone Complete"}"# } else { "" };
            json!({ "terminated": { "exitCode": 0, "reason": "Completed", "message": message,
                                    "finishedAt": "2026-01-01T00:00:00Z" } })
        }
        _ => json!({ "running": { "startedAt": "2026-01-01T00:00:00Z" } }),
    };
    json!({ "status": {
        "phase": phase, "podIP": address, "podIPs": [{ "ip": address }],
        "containerStatuses": [{
            "name": container, "ready": phase == "Running", "restartCount": 0, "image": "i", "imageID": "i",
            "state": state,
        }],
    } })
}
