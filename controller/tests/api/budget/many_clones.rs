//! Many DataVolumes in one namespace, with their claims and pods, made as the controller would have made them.

use std::sync::atomic::{AtomicUsize, Ordering};

use decant_controller::api::cluster::{Cluster, Part};
use decant_controller::objects::{Kind, Uid, names};
use decant_controller::pods::identity::PodIdentity;
use decant_controller::pods::made;
use decant_controller::pods::role::Role;
use decant_controller::token::key::TokenKey;
use serde_json::{Value, json};

use super::pages::Pages;
use crate::kubelet::status;
use crate::sandbox::{Sandbox, uid};

/// Threads that make objects.
const MAKERS: usize = 8;

pub(crate) struct ManyClones;

impl ManyClones {
    /// `all` DataVolumes; the first `running` run, the others are done.
    pub(crate) fn new(sandbox: &Sandbox, pages: &Pages, all: usize, running: usize) -> Self {
        make_golden(sandbox);
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..MAKERS {
                scope.spawn(|| {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= all {
                            return;
                        }
                        if let Some(page) = make(sandbox, pages.port, number, number < running) {
                            pages.add(page.host, page.owner);
                        }
                    }
                });
            }
        });
        Self
    }

    /// The DataVolume and the target pod of a running clone.
    pub(crate) fn names(&self, number: usize) -> (String, String) {
        let name = format!("clone-{number}");
        let pod = names::target_pod(&name);
        (name, pod)
    }
}

/// The clone that a source pod's metrics page is about.
pub(crate) struct Page {
    /// The name in its certificate.
    pub(crate) host: String,
    /// The UID of its clone's DataVolume.
    pub(crate) owner: String,
}

/// The source of all clones.
pub(crate) fn make_golden(sandbox: &Sandbox) {
    let golden = json!({ "apiVersion": "v1", "kind": "PersistentVolumeClaim",
                         "metadata": { "namespace": sandbox.namespace, "name": "golden" }, "spec": spec() });
    sandbox.cluster.create(Kind::PersistentVolumeClaim, &golden).unwrap();
    bind(sandbox, "golden");
}

fn spec() -> Value {
    json!({ "accessModes": ["ReadWriteOnce"], "storageClassName": "none",
            "resources": { "requests": { "storage": "10Gi" } } })
}

fn bind(sandbox: &Sandbox, name: &str) {
    let status = json!({ "status": { "phase": "Bound", "capacity": { "storage": "10Gi" } } });
    sandbox.cluster.patch(Kind::PersistentVolumeClaim, &sandbox.key(name), Part::Status, &status).unwrap();
}

/// The clone of this number; if it runs, the page that its source pod has to have on `port`.
pub(crate) fn make(sandbox: &Sandbox, port: u16, number: usize, runs: bool) -> Option<Page> {
    let (namespace, name) = (&sandbox.namespace, format!("clone-{number}"));
    let dv = sandbox
        .cluster
        .create(
            Kind::DataVolume,
            &json!({
                "apiVersion": "cdi.kubevirt.io/v1beta1", "kind": "DataVolume",
                "metadata": { "namespace": namespace, "name": name },
                "spec": { "source": { "pvc": { "namespace": namespace, "name": "golden" } }, "pvc": spec() },
            }),
        )
        .unwrap()
        .value();
    let phase = if runs { "CloneInProgress" } else { "Succeeded" };
    let progress = if runs { "0.00%" } else { "100.0%" };
    let output =
        json!({ "status": { "phase": phase, "progress": progress, "claimName": name, "restartCount": 0 } });
    sandbox.cluster.patch(Kind::DataVolume, &sandbox.key(&name), Part::Status, &output).unwrap();
    let dv_uid = uid(&dv);
    let claim = sandbox
        .cluster
        .create(Kind::PersistentVolumeClaim, &claim(namespace, &name, &dv_uid, runs))
        .unwrap()
        .value();
    bind(sandbox, &name);
    runs.then(|| {
        let claim_uid = uid(&claim);
        let target = make_target(sandbox, &name, &claim_uid);
        let source = make_source(sandbox, port, number, (&name, &claim_uid), &target);
        record(sandbox, &name, &claim_uid, [(Role::Target, target), (Role::Source, source)]);
        let host = names::metrics_host(&names::source_pod(&claim_uid));
        Page { host, owner: dv_uid.to_string() }
    })
}

fn claim(namespace: &str, name: &str, owner: &Uid, runs: bool) -> Value {
    let mut annotations = json!({
        "k8s.io/CloneRequest": format!("{namespace}/golden"),
        "cdi.kubevirt.io/createdForDataVolume": owner,
    });
    if !runs {
        annotations["k8s.io/CloneOf"] = "true".into();
    }
    let owner = json!({ "apiVersion": "cdi.kubevirt.io/v1beta1", "kind": "DataVolume", "name": name, "uid": owner,
                        "controller": true, "blockOwnerDeletion": true });
    json!({ "apiVersion": "v1", "kind": "PersistentVolumeClaim", "spec": spec(),
            "metadata": { "namespace": namespace, "name": name, "annotations": annotations, "ownerReferences": [owner] } })
}

fn make_pod(sandbox: &Sandbox, name: &str, metadata: &Value, container: &Value, address: &str) -> Uid {
    let mut pod = sandbox.pod(name, metadata);
    pod["spec"]["containers"] = json!([container]);
    let made = sandbox.create_pod(&pod);
    let container = container["name"].as_str().unwrap();
    let running = status(container, "Running", address);
    sandbox.cluster.patch(Kind::Pod, &sandbox.key(name), Part::Status, &running).unwrap();
    uid(&made)
}

/// The annotations by which the controller knows a pod as its own.
fn identity(
    sandbox: &Sandbox,
    role: Role,
    pod: &str,
    (name, claim): (&str, &Uid),
    target: Option<&Uid>,
) -> Value {
    let identity = PodIdentity {
        role,
        pod: sandbox.key(pod),
        clone: sandbox.key(name),
        target_claim: claim.clone(),
        source_claim: uid(&sandbox
            .cluster
            .get(Kind::PersistentVolumeClaim, &sandbox.key("golden"))
            .unwrap()
            .value()),
        target_pod: target.cloned(),
        authority: "1-2".to_owned(),
        keys: format!("{pod}-keys"),
    };
    json!(identity.annotations(&TokenKey::load(&*sandbox.cluster, &sandbox.namespace).unwrap()))
}

fn make_target(sandbox: &Sandbox, name: &str, claim: &Uid) -> Uid {
    let pod = names::target_pod(name);
    let owner = json!({ "apiVersion": "v1", "kind": "PersistentVolumeClaim", "name": name, "uid": claim,
                        "controller": true, "blockOwnerDeletion": true });
    let metadata = json!({
        "labels": { "app": "containerized-data-importer", "cdi.kubevirt.io": "cdi-upload-server" },
        "annotations": identity(sandbox, Role::Target, &pod, (name, claim), None),
        "ownerReferences": [owner],
    });
    let container = json!({ "name": "cdi-upload-server", "image": "none" });
    make_pod(sandbox, &pod, &metadata, &container, "127.0.0.1")
}

/// Writes on the claim which pods were made.
fn record(sandbox: &Sandbox, name: &str, claim: &Uid, pods: [(Role, Uid); 2]) {
    let key = TokenKey::load(&*sandbox.cluster, &sandbox.namespace).unwrap();
    let records = pods.map(|(role, pod)| (made::annotation(role), made::record(role, &pod, claim, &key)));
    let patch = json!({ "metadata": { "annotations": std::collections::BTreeMap::from(records) } });
    sandbox.cluster.patch(Kind::PersistentVolumeClaim, &sandbox.key(name), Part::Whole, &patch).unwrap();
}

fn make_source(
    sandbox: &Sandbox,
    port: u16,
    number: usize,
    (name, claim): (&str, &Uid),
    target: &Uid,
) -> Uid {
    let pod = names::source_pod(claim);
    let metadata = json!({
        "labels": { "app": "containerized-data-importer", "cdi.kubevirt.io": "cdi-clone-source" },
        "annotations": identity(sandbox, Role::Source, &pod, (name, claim), Some(target)),
    });
    let ports = json!([{ "name": "metrics", "containerPort": port }]);
    let container = json!({ "name": "cdi-clone-source", "image": "none", "ports": ports });
    let address = format!("127.1.{}.{}", number / 250, number % 250 + 1);
    make_pod(sandbox, &pod, &metadata, &container, &address)
}
