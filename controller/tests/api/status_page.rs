//! The status page of a controller that acts.

use std::process::{Child, Command};
use std::time::Duration;

use decant_controller::api::cluster::Cluster;
use decant_controller::objects::Kind;
use decant_test_support::net::Closed;
use serde_json::json;

use crate::kubelet::Kubelet;
use crate::sandbox::{Sandbox, eventually, kubeconfig};

/// Killed when dropped.
struct Controller(Child);

impl Drop for Controller {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_status_page_lists_a_clone_as_running_and_then_as_finished() {
    let sandbox = Sandbox::new();
    let namespace = &sandbox.namespace;
    let port = Closed::new();
    let address = port.address();
    let child = Command::new(env!("CARGO_BIN_EXE_controller"))
        .args(["run", "--status-page", "--namespace", namespace, "--watch-namespace", namespace])
        // The kubelet of this test runs source and target.
        .args(["--transfer", "network"])
        .args(["--listen", &address.to_string(), "--log-level", "warn", "--kubeconfig"])
        .arg(kubeconfig())
        .spawn()
        .unwrap();
    let _controller = Controller(child);
    let page = || {
        let answer = ureq::get(format!("http://{address}/status")).call();
        answer.and_then(|mut answer| answer.body_mut().read_to_string()).unwrap_or_default()
    };
    eventually("it acts", Duration::from_secs(60), || page().contains("No running or waiting clones"));

    let volume = json!({ "accessModes": ["ReadWriteOnce"], "volumeMode": "Block", "storageClassName": "none",
                         "resources": { "requests": { "storage": "1Gi" } } });
    let dv = json!({ "apiVersion": "cdi.kubevirt.io/v1beta1", "kind": "DataVolume",
                     "metadata": { "namespace": namespace, "name": "copy" },
                     "spec": { "source": { "pvc": { "namespace": namespace, "name": "golden" } }, "pvc": volume } });
    sandbox.cluster.create(Kind::DataVolume, &dv).unwrap();
    let waits = |page: &str| page.contains("CloneWithoutSource: The source pvc golden doesn&#39;t exist");
    eventually("it waits for its source", Duration::from_secs(30), || waits(&page()));
    let claim = json!({ "apiVersion": "v1", "kind": "PersistentVolumeClaim",
                        "metadata": { "namespace": namespace, "name": "golden" }, "spec": volume });
    sandbox.cluster.create(Kind::PersistentVolumeClaim, &claim).unwrap();
    let _kubelet = Kubelet::start(&sandbox);
    eventually("it is done", Duration::from_secs(60), || {
        let page = page();
        page.contains("Ended last")
            && page.contains("100.00 %")
            && page.contains("No running or waiting clones")
    });
}
