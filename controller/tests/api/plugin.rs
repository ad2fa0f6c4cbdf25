//! `kubectl decant` at an API server where the test plays the controller and the cluster.

mod cleanup;
mod clone;
mod doctor;
mod status;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use decant_controller::api::cluster::{Cluster, Part};
use decant_controller::objects::Kind;
use serde_json::{Value, json};

use crate::sandbox::{Sandbox, kubeconfig};

/// How a run of the plugin ended.
pub(crate) struct PluginOutput {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl PluginOutput {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {} {}", self.out, self.err))
    }
}

/// The built plugin, a program of another package: next to the controller.
pub(crate) fn program() -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_controller")).with_file_name("kubectl-decant");
    assert!(path.exists(), "{} is missing: build it with `cargo build -p kubectl-decant`", path.display());
    path
}

fn command(sandbox: &Sandbox, args: &[&str]) -> Command {
    command_with(sandbox, &kubeconfig(), args)
}

fn command_with(sandbox: &Sandbox, kubeconfig: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(program());
    command.args(["-n", &sandbox.namespace, "--kubeconfig"]).arg(kubeconfig).args(args);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn end(child: Child) -> PluginOutput {
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    // Nothing but an exit code or a signal ends a process.
    let code = output.status.code().unwrap_or(-1);
    PluginOutput { code, out: text(output.stdout), err: text(output.stderr) }
}

pub(crate) fn plugin(sandbox: &Sandbox, args: &[&str]) -> PluginOutput {
    end(command(sandbox, args).spawn().unwrap())
}

/// The same with an answer on standard input.
fn plugin_answered(sandbox: &Sandbox, args: &[&str], answer: &str) -> PluginOutput {
    let mut child = command(sandbox, args).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(answer.as_bytes()).unwrap();
    end(child)
}

/// SIGINT.
fn interrupt(child: &Child) {
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
}

/// A kubeconfig with which everything is asked as `user`.
fn as_user(directory: &tempfile::TempDir, user: &str) -> PathBuf {
    let text = std::fs::read_to_string(kubeconfig()).unwrap();
    let path = directory.path().join("kubeconfig");
    std::fs::write(&path, text.replacen("user: {client", &format!("user: {{as: {user}, client"), 1)).unwrap();
    path
}

fn make_claim(sandbox: &Sandbox, name: &str, annotations: &Value) -> Value {
    let claim = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": { "namespace": sandbox.namespace, "name": name, "annotations": annotations },
        "spec": { "accessModes": ["ReadWriteOnce"], "volumeMode": "Block", "storageClassName": "none", "resources": { "requests": { "storage": "8Gi" } } },
    });
    sandbox.cluster.create(Kind::PersistentVolumeClaim, &claim).unwrap().value()
}

/// A PVC that a CloneSource fills.
fn make_populated_claim(sandbox: &Sandbox, name: &str, annotations: &Value) -> Value {
    let claim = sandbox.populated_claim(name, annotations);
    sandbox.cluster.create(Kind::PersistentVolumeClaim, &claim).unwrap().value()
}

/// Writes what the controller writes on such a PVC; `phase` is that of the PVC itself.
fn write_population(sandbox: &Sandbox, name: &str, annotations: &Value, phase: &str) {
    let patch = json!({ "metadata": { "annotations": annotations } });
    sandbox.cluster.patch(Kind::PersistentVolumeClaim, &sandbox.key(name), Part::Whole, &patch).unwrap();
    let patch = json!({ "status": { "phase": phase } });
    sandbox.cluster.patch(Kind::PersistentVolumeClaim, &sandbox.key(name), Part::Status, &patch).unwrap();
}

fn populating(percent: &str) -> Value {
    json!({ "cdi.kubevirt.io/clonePhase": "HostClone", "cdi.kubevirt.io/storage.populator.progress": percent,
            "cdi.kubevirt.io/storage.condition.running": "true", "cdi.kubevirt.io/storage.condition.source.running": "true" })
}

fn populated() -> Value {
    json!({ "cdi.kubevirt.io/clonePhase": "Succeeded", "cdi.kubevirt.io/storage.populator.progress": "100.0%",
            "k8s.io/CloneOf": "true", "decant.dev/digest": "sha256:00" })
}

fn make_data_volume(sandbox: &Sandbox, name: &str) -> Value {
    let dv = json!({
        "apiVersion": "cdi.kubevirt.io/v1beta1", "kind": "DataVolume",
        "metadata": { "namespace": sandbox.namespace, "name": name },
        "spec": { "source": { "pvc": { "namespace": sandbox.namespace, "name": "golden" } }, "storage": {} },
    });
    sandbox.cluster.create(Kind::DataVolume, &dv).unwrap().value()
}

/// Writes a DataVolume's status as the controller would.
fn write_status(sandbox: &Sandbox, name: &str, status: &Value) {
    let patch = json!({ "status": status });
    sandbox.cluster.patch(Kind::DataVolume, &sandbox.key(name), Part::Status, &patch).unwrap();
}

fn running(percent: &str) -> Value {
    json!({ "phase": "CloneInProgress", "progress": percent,
            "conditions": [{ "type": "Running", "status": "True", "reason": "Pod is running" }] })
}

fn succeeded() -> Value {
    let at = "2026-01-01T00:00:00Z";
    json!({ "phase": "Succeeded", "progress": "100.0%",
            "conditions": [{ "type": "Ready", "status": "True", "lastTransitionTime": at },
                           { "type": "Running", "status": "False", "reason": "Completed", "message": "Clone Complete" }] })
}

/// Until the plugin, which was just started, has its watch.
fn wait_for_the_watch() {
    std::thread::sleep(Duration::from_millis(1500));
}
