//! KubeVirt: disks of virtual machines from `dataVolumeTemplates`, and restores of its snapshots.
//!
//! Read in its sources: pkg/storage/types/dv.go, pkg/storage/types/pvc.go, pkg/virt-controller/watch/vm/vm.go (`handleDataVolumes`),
//! pkg/virt-controller/watch/vmi/datavolumes.go (`areDataVolumesReady`), pkg/storage/snapshot/restore.go.

use std::collections::BTreeSet;
use std::time::Duration;

use decant_controller::objects::{Key, Kind};
use decant_controller_test_support::kubernetes::{Content, Kubernetes};
use decant_controller_test_support::running_cluster::{RunningCluster, last};
use serde_json::{Value, json};

use crate::disks::*;

/// The pod that runs the guest.
const LAUNCHER: &str = "virt-launcher-vm1";
/// The pod that only lets the PVC be bound: it mounts the volume and ends, and no guest runs in it.
const BINDER: &str = "virt-launcher-vm1-binder";

/// KubeVirt's controllers of one virtual machine with one disk.
pub(crate) struct VirtualMachine {
    disk: Key,
    /// Whether the machine's instance is created. If the disk is a template, only a DataVolume that may be used allows it.
    has_instance: bool,
    /// What the machine's status and events said about the disk.
    pub(crate) told: BTreeSet<&'static str>,
}

impl VirtualMachine {
    /// A machine whose disk is created from a template.
    pub(crate) fn with_template(disk: Key) -> Self {
        Self { disk, has_instance: false, told: BTreeSet::new() }
    }

    /// A machine that uses a PVC.
    pub(crate) fn with_claim(disk: Key) -> Self {
        Self { disk, has_instance: true, told: BTreeSet::new() }
    }

    /// The controller of virtual machines: whether the instance may be created, and what the user sees.
    fn check_template(&mut self, data_volume: &View) {
        match data_volume.phase() {
            "Succeeded" | "WaitForFirstConsumer" | "PendingPopulation" => self.has_instance = true,
            "Failed" => {
                self.told.insert("FailedDataVolumeImport");
            }
            "Pending" => {
                let [status, reason, _] = data_volume.condition("Bound");
                if status != "True" && reason == "ErrExceededQuota" {
                    self.told.insert("exceeds quota limits");
                }
            }
            _ => {}
        }
        let [status, reason, _] = data_volume.condition("Running");
        let is_error = status == "False" && matches!(reason, "Error" | "ImagePullFailed");
        if data_volume.phase() == "Failed" || is_error {
            self.told.insert("DataVolumeError");
        }
    }

    /// The controller of instances: a disk that is complete, or gets complete before its PVC is bound, is given to the guest. For a
    /// disk that waits for its first consumer, a pod without the guest is that consumer.
    fn start(&self, kubernetes: &Kubernetes, claim: &Value) {
        let owners = claim["metadata"]["ownerReferences"].as_array().cloned().unwrap_or_default();
        let owner = owners.iter().find(|owner| owner["controller"] == true && owner["kind"] == "DataVolume");
        let phase = owner.map(|owner| phase(kubernetes, &named(owner["name"].as_str().unwrap())));
        let is_usable =
            phase.as_deref().is_none_or(|phase| matches!(phase, "Succeeded" | "PendingPopulation"));
        if is_usable {
            self.add_pod(kubernetes, LAUNCHER);
        } else if phase.as_deref() == Some("WaitForFirstConsumer") {
            self.add_pod(kubernetes, BINDER);
        }
        let binder = kubernetes.find(Kind::Pod, &named(BINDER));
        match binder.as_ref().and_then(|pod| pod["status"]["phase"].as_str()) {
            Some("Running") => kubernetes.lock().change(Kind::Pod, &named(BINDER), |pod| {
                pod["status"]["phase"] = "Succeeded".into();
            }),
            Some("Succeeded") if phase.as_deref() != Some("WaitForFirstConsumer") => {
                kubernetes.user_delete(Kind::Pod, &named(BINDER));
            }
            _ => {}
        }
    }

    fn add_pod(&self, kubernetes: &Kubernetes, name: &str) {
        if kubernetes.find(Kind::Pod, &named(name)).is_some() {
            return;
        }
        let pod = json!({
            "metadata": { "namespace": NAMESPACE, "name": name },
            "spec": { "containers": [{ "name": "compute", "volumeDevices": [{ "name": "disk" }] }],
                      "volumes": [{ "name": "disk", "persistentVolumeClaim": { "claimName": self.disk.name } }] },
        });
        kubernetes.add(Kind::Pod, pod);
    }

    /// What the guest found on its disk when it started; `None` if it did not start.
    pub(crate) fn found(kubernetes: &Kubernetes) -> Option<Content> {
        let opened = kubernetes.lock().opened.clone();
        let (_, found) = opened.into_iter().find(|(pod, _)| *pod == named(LAUNCHER))?;
        found.into_iter().next()
    }

    /// The guest runs, and found everything on its disk when it started.
    pub(crate) fn assert_runs(kubernetes: &Kubernetes, what: &str) {
        let found = Self::found(kubernetes);
        assert_eq!(found, Some(Content::Whole(DATA.to_owned())), "{what}: {:#?}", last(kubernetes));
    }
}

impl Client for VirtualMachine {
    fn look(&mut self, kubernetes: &Kubernetes) {
        if let Some(data_volume) = View::of(kubernetes, &self.disk) {
            self.check_template(&data_volume);
        }
        let claim = kubernetes.find(Kind::PersistentVolumeClaim, &self.disk);
        if let Some(claim) = claim.filter(|_| self.has_instance) {
            self.start(kubernetes, &claim);
        }
    }
}

/// The DataVolume that KubeVirt makes of a template. A reference to a DataSource is replaced by its source.
fn of_template(kubernetes: &Kubernetes) -> Value {
    let mut owner = add_owner(kubernetes, "VirtualMachine", "vm1");
    owner["apiVersion"] = "kubevirt.io/v1".into();
    owner["controller"] = true.into();
    json!({
        "metadata": {
            "namespace": NAMESPACE, "name": "disk1",
            "labels": { "kubevirt.io/created-by": owner["uid"] },
            "annotations": { "cdi.kubevirt.io/allowClaimAdoption": "true" },
            "ownerReferences": [owner],
        },
        "spec": {
            "source": { "pvc": { "namespace": NAMESPACE, "name": "golden" } },
            "storage": { "storageClassName": NEW_CLASS, "resources": { "requests": { "storage": "1Gi" } } },
        },
    })
}

/// A cluster in which the machine was created.
fn created(storage: Storage, change: impl Fn(Value) -> Value) -> (RunningCluster, VirtualMachine) {
    let kubernetes = storage.cluster(NAMESPACE);
    let data_volume = change(of_template(&kubernetes));
    kubernetes.add(Kind::DataVolume, data_volume);
    (RunningCluster::new(kubernetes), VirtualMachine::with_template(named("disk1")))
}

#[test]
fn a_virtual_machine_starts_on_a_whole_disk() {
    for storage in ALL {
        for change in [|same| same, without_populator] {
            let (mut cluster, mut machine) = created(storage, change);
            settle(&mut cluster, &mut machine);
            VirtualMachine::assert_runs(&cluster.kubernetes, &format!("{storage:?}"));
            assert_eq!(phase(&cluster.kubernetes, &named("disk1")), "Succeeded");
            assert_eq!(machine.told, BTreeSet::new(), "{storage:?}");
        }
    }
}

#[test]
fn a_template_without_a_class_uses_the_default_class_for_virtual_machines() {
    for storage in ALL {
        let kubernetes = storage.cluster(NAMESPACE);
        for (class, mark) in [
            (OLD_CLASS, "storageclass.kubernetes.io/is-default-class"),
            (NEW_CLASS, "storageclass.kubevirt.io/is-default-virt-class"),
        ] {
            kubernetes.lock().change(Kind::StorageClass, &Key::new("", class), |class| {
                class["metadata"]["annotations"] = json!({ mark: "true" });
            });
        }
        recommend_shared_devices(&kubernetes);
        let mut data_volume = of_template(&kubernetes);
        data_volume["spec"]["storage"].as_object_mut().unwrap().remove("storageClassName");
        kubernetes.add(Kind::DataVolume, data_volume);
        let mut cluster = RunningCluster::new(kubernetes);
        let mut machine = VirtualMachine::with_template(named("disk1"));
        settle(&mut cluster, &mut machine);
        VirtualMachine::assert_runs(&cluster.kubernetes, &format!("{storage:?}"));
        assert_eq!(
            class_and_modes(&cluster.kubernetes, &named("disk1")),
            [NEW_CLASS, "ReadWriteMany", "Block"]
        );
    }
}

/// What KubeVirt puts in place of a reference to a DataSource. If it refers to another one, only the status counts.
fn resolved(kubernetes: &Kubernetes, name: &str) -> Value {
    let data_source = kubernetes.find(Kind::DataSource, &named(name)).unwrap();
    let is_chained = !data_source["spec"]["source"]["dataSource"].is_null();
    let mut source = data_source[if is_chained { "status" } else { "spec" }]["source"]["pvc"].clone();
    if source["namespace"].is_null() {
        source["namespace"] = NAMESPACE.into();
    }
    json!({ "pvc": source })
}

#[test]
fn a_template_that_refers_to_a_data_source_is_cloned_from_what_it_leads_to() {
    for name in ["linux", "linux-1"] {
        for storage in ALL {
            let kubernetes = storage.cluster(NAMESPACE);
            for (name, source) in [
                ("linux", json!({ "dataSource": { "name": "linux-1" } })),
                ("linux-1", json!({ "pvc": { "name": "golden" } })),
            ] {
                let metadata = json!({ "namespace": NAMESPACE, "name": name });
                kubernetes
                    .add(Kind::DataSource, json!({ "metadata": metadata, "spec": { "source": source } }));
            }
            let mut cluster = RunningCluster::new(kubernetes);
            cluster.report_data_sources();
            let mut data_volume = of_template(&cluster.kubernetes);
            data_volume["spec"]["source"] = resolved(&cluster.kubernetes, name);
            cluster.kubernetes.add(Kind::DataVolume, data_volume);
            let mut machine = VirtualMachine::with_template(named("disk1"));
            settle(&mut cluster, &mut machine);
            VirtualMachine::assert_runs(&cluster.kubernetes, &format!("{storage:?}"));
        }
    }
}

/// A virtual machine with `inferFromVolume` reads its size from these labels of the DataVolume.
#[test]
fn a_data_volume_that_refers_to_a_data_source_gets_its_instancetype_labels() {
    const LABEL: &str = "instancetype.kubevirt.io/default-instancetype";
    for storage in ALL {
        let kubernetes = storage.cluster(NAMESPACE);
        kubernetes.add(
            Kind::DataSource,
            json!({ "metadata": { "namespace": NAMESPACE, "name": "linux", "labels": { LABEL: "u1.medium" } },
                    "spec": { "source": { "pvc": { "name": "golden" } } } }),
        );
        let mut cluster = RunningCluster::new(kubernetes);
        let mut data_volume = of_template(&cluster.kubernetes);
        data_volume["spec"].as_object_mut().unwrap().remove("source");
        data_volume["spec"]["sourceRef"] = json!({ "kind": "DataSource", "name": "linux" });
        cluster.kubernetes.add(Kind::DataVolume, data_volume);
        let mut machine = VirtualMachine::with_template(named("disk1"));
        settle(&mut cluster, &mut machine);
        let found = cluster.kubernetes.find(Kind::DataVolume, &named("disk1")).unwrap();
        assert_eq!(found["metadata"]["labels"][LABEL], "u1.medium", "{storage:?}: {found:#}");
    }
}

#[test]
fn a_virtual_machine_shows_that_its_clone_fails_and_starts_when_it_succeeds() {
    for storage in ALL {
        let (mut cluster, mut machine) = created(storage, |same| same);
        cluster.kubernetes.lock().failure = Some("write /dev/x: input/output error".to_owned());
        settle(&mut cluster, &mut machine);
        assert_eq!(machine.told, BTreeSet::from(["DataVolumeError"]), "{storage:?}");
        assert_eq!(VirtualMachine::found(&cluster.kubernetes), None, "{storage:?}");
        let view = View::of(&cluster.kubernetes, &named("disk1")).unwrap();
        assert!(
            view.condition("Running")[2].contains("input/output error"),
            "{:?}",
            view.condition("Running")
        );

        cluster.kubernetes.lock().failure = None;
        settle(&mut cluster, &mut machine);
        VirtualMachine::assert_runs(&cluster.kubernetes, &format!("{storage:?}"));
    }
}

/// A refusal is reported when it has lasted this long.
const REPORTED_AFTER: Duration = Duration::from_secs(2);

#[test]
fn a_virtual_machine_shows_that_its_disk_exceeds_the_quota() {
    let mut all = ALL.map(|storage| (storage, created(storage, |same| same)));
    for (_, (cluster, machine)) in &mut all {
        cluster.kubernetes.lock().full.push(NAMESPACE.to_owned());
        settle(cluster, machine);
    }
    std::thread::sleep(REPORTED_AFTER);
    for (storage, (cluster, machine)) in &mut all {
        settle(cluster, machine);
        assert_eq!(machine.told, BTreeSet::from(["exceeds quota limits"]), "{storage:?}");
        cluster.kubernetes.lock().full.clear();
        settle(cluster, machine);
        VirtualMachine::assert_runs(&cluster.kubernetes, &format!("{storage:?}"));
    }
}

#[test]
fn a_virtual_machine_shows_that_the_volume_of_its_disk_is_lost() {
    for storage in ALL.into_iter().filter(|storage| !storage.is_csi) {
        let (mut cluster, mut machine) = created(storage, |same| same);
        cluster.kubernetes.lock().failure = Some("write /dev/x: input/output error".to_owned());
        settle(&mut cluster, &mut machine);
        let claim = cluster.kubernetes.find(Kind::PersistentVolumeClaim, &named("disk1")).unwrap();
        let volume = Key::new("", claim["spec"]["volumeName"].as_str().unwrap());
        cluster.kubernetes.user_delete(Kind::PersistentVolume, &volume);
        settle(&mut cluster, &mut machine);
        assert_eq!(phase(&cluster.kubernetes, &named("disk1")), "Failed");
        assert_eq!(machine.told, BTreeSet::from(["DataVolumeError", "FailedDataVolumeImport"]));
        assert_eq!(VirtualMachine::found(&cluster.kubernetes), None);
    }
}

#[test]
fn a_virtual_machine_waits_for_a_source_that_is_created_later() {
    for storage in ALL {
        let kubernetes = storage.empty_cluster();
        let data_volume = of_template(&kubernetes);
        kubernetes.add(Kind::DataVolume, data_volume);
        let (mut cluster, mut machine) =
            (RunningCluster::new(kubernetes), VirtualMachine::with_template(named("disk1")));
        settle(&mut cluster, &mut machine);
        assert_eq!((machine.has_instance, phase(&cluster.kubernetes, &named("disk1")).as_str()), (false, ""));
        let metadata = json!({ "namespace": NAMESPACE, "name": "golden" });
        cluster.kubernetes.add_filled(&metadata, disk_on(OLD_CLASS), DATA);
        settle(&mut cluster, &mut machine);
        VirtualMachine::assert_runs(&cluster.kubernetes, &format!("{storage:?}"));
    }
}

/// The PVC that KubeVirt creates from a snapshot of `claim`, and the DataVolume that takes it over.
fn restored(claim: &Value, data_volume: &Value) -> (Value, Value) {
    let removed = [
        "pv.kubernetes.io",
        "volume.beta.kubernetes.io",
        "cdi.kubevirt.io",
        "volume.kubernetes.io",
        "k8s.io/Clone",
    ];
    let is_kept = |name: &str| {
        name == "cdi.kubevirt.io/storage.contentType"
            || !removed.iter().any(|prefix| name.starts_with(prefix))
    };
    let mut annotations = json!({ "restore.kubevirt.io/name": "restore1", "restore.kubevirt.io/lastRestoreUID": "restore1-uid",
                                  "cdi.kubevirt.io/storage.populatedFor": "disk2" });
    for (name, value) in claim["metadata"]["annotations"].as_object().unwrap() {
        if is_kept(name) {
            annotations[name] = value.clone();
        }
    }
    let mut spec = claim["spec"].clone();
    let snapshot =
        json!({ "apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "snapshot1" });
    spec["dataSource"] = snapshot.clone();
    spec["dataSourceRef"] = snapshot;
    spec.as_object_mut().unwrap().remove("volumeName");
    let claim = json!({ "metadata": { "namespace": NAMESPACE, "name": "disk2", "labels": claim["metadata"]["labels"],
                                      "annotations": annotations }, "spec": spec });
    let data_volume = json!({
        "metadata": { "namespace": NAMESPACE, "name": "disk2", "annotations": {
            "cdi.kubevirt.io/allowClaimAdoption": "true", "restore.kubevirt.io/name": "restore1",
            "cdi.kubevirt.io/storage.prePopulated": "true" } },
        "spec": data_volume["spec"],
    });
    (claim, data_volume)
}

/// KubeVirt's controller of restores.
struct Restore {
    is_complete: bool,
}

impl Client for Restore {
    fn look(&mut self, kubernetes: &Kubernetes) {
        let phase = phase(kubernetes, &named("disk2"));
        self.is_complete =
            matches!(phase.as_str(), "Succeeded" | "WaitForFirstConsumer" | "PendingPopulation");
    }
}

#[test]
fn a_restored_snapshot_is_used_as_it_is() {
    for storage in ALL.into_iter().filter(|storage| storage.is_csi) {
        let (mut cluster, mut machine) = created(storage, |same| same);
        settle(&mut cluster, &mut machine);
        let kubernetes = &cluster.kubernetes;
        let claim = kubernetes.find(Kind::PersistentVolumeClaim, &named("disk1")).unwrap();
        let data_volume = kubernetes.find(Kind::DataVolume, &named("disk1")).unwrap();
        let (claim, data_volume) = restored(&claim, &data_volume);
        // What the guest wrote since the clone.
        let content = Content::Whole("data of the guest".to_owned());
        let claim = kubernetes.add(Kind::PersistentVolumeClaim, claim);
        let pods = kubernetes.all(Kind::Pod).len();
        let mut restore = Restore { is_complete: false };
        kubernetes.add(Kind::DataVolume, data_volume);
        settle(&mut cluster, &mut restore);
        // The claim is unbound as long as the class waits for a pod; the restore does not wait for that.
        assert!(restore.is_complete, "{storage:?}");

        let kubernetes = &cluster.kubernetes;
        kubernetes.lock().content.insert("restored".to_owned(), content.clone());
        let holder = json!({ "namespace": NAMESPACE, "name": "disk2", "uid": claim["metadata"]["uid"] });
        let volume = json!({ "metadata": { "name": "restored" }, "spec": { "claimRef": holder } });
        kubernetes.add(Kind::PersistentVolume, volume);
        settle(&mut cluster, &mut restore);
        assert!(restore.is_complete, "{storage:?}");
        assert_eq!(cluster.kubernetes.content_of(&named("disk2")), Some(content));
        assert_eq!(cluster.kubernetes.all(Kind::Pod).len(), pods, "nothing is cloned");
    }
}
