//! Velero with KubeVirt's plugin: backups and restores of DataVolumes and their PVCs.
//!
//! Read in the plugin's sources: pkg/plugin/dv_backup_item_action.go, pkg/plugin/pvc_restore_item_action.go.

use decant_controller::objects::Kind;
use decant_controller_test_support::kubernetes::{Content, Kubernetes};
use decant_controller_test_support::running_cluster::{RunningCluster, last};
use serde_json::{Value, json};

use crate::disks::*;
use crate::kubevirt::VirtualMachine;

const IN_PROGRESS: &str = "kvp.kubevirt.io/storage.inprogress";

/// What is in a backup. The PVC of a DataVolume that is not complete is skipped when it is restored.
struct Backup {
    data_volume: Value,
    claim: Option<Value>,
}

/// A restored object keeps its metadata, except for what identifies the previous one, and has no status.
fn without_identity(mut object: Value) -> Value {
    let metadata = object["metadata"].as_object_mut().unwrap();
    for field in ["uid", "resourceVersion", "generation", "creationTimestamp", "ownerReferences"] {
        metadata.remove(field);
    }
    object.as_object_mut().unwrap().remove("status");
    object
}

impl Backup {
    /// The plugin marks both objects by the phase of the DataVolume.
    fn of(kubernetes: &Kubernetes) -> Self {
        let mut data_volume = kubernetes.find(Kind::DataVolume, &named("disk1")).unwrap();
        let mut claim = kubernetes.find(Kind::PersistentVolumeClaim, &named("disk1")).unwrap();
        if data_volume["status"]["phase"] == "Succeeded" {
            data_volume["metadata"]["annotations"]["cdi.kubevirt.io/storage.prePopulated"] = "disk1".into();
            claim["metadata"]["annotations"]["cdi.kubevirt.io/storage.populatedFor"] = "disk1".into();
        } else {
            claim["metadata"]["annotations"][IN_PROGRESS] = "disk1".into();
        }
        let is_restored = claim["metadata"]["annotations"][IN_PROGRESS].is_null();
        Self {
            data_volume: without_identity(data_volume),
            claim: is_restored.then(|| without_identity(claim)),
        }
    }
}

/// How Velero restores the content of a volume.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Volume {
    /// A CSI snapshot is the PVC's data source.
    Snapshot,
    /// Velero restores the PersistentVolume and binds the PVC to it. The PVC keeps its data source.
    Whole,
}

/// What is restored: the data, and what was written since the clone.
const RESTORED: &str = "data of the guest";

/// Restores the PVC with its content into a new cluster.
fn restore_claim(kubernetes: &Kubernetes, claim: &Value, how: Volume) {
    kubernetes.lock().content.insert("restored".to_owned(), Content::Whole(RESTORED.to_owned()));
    let mut claim = claim.clone();
    claim["spec"].as_object_mut().unwrap().remove("volumeName");
    match how {
        Volume::Snapshot => {
            let snapshot =
                json!({ "apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "backup1" });
            claim["spec"]["dataSource"] = snapshot.clone();
            claim["spec"]["dataSourceRef"] = snapshot;
        }
        Volume::Whole => claim["spec"]["volumeName"] = "restored".into(),
    }
    let claim = kubernetes.add(Kind::PersistentVolumeClaim, claim);
    let holder = json!({ "namespace": NAMESPACE, "name": "disk1", "uid": claim["metadata"]["uid"] });
    let volume = json!({ "metadata": { "name": "restored" }, "spec": { "claimRef": holder } });
    kubernetes.add(Kind::PersistentVolume, volume);
}

/// A cluster with the clone that is backed up. It needs no consumer.
fn cloning(storage: Storage) -> RunningCluster {
    cloning_with(storage, &json!({ "cdi.kubevirt.io/storage.bind.immediate.requested": "" }))
}

fn cloning_with(storage: Storage, annotations: &Value) -> RunningCluster {
    let kubernetes = storage.cluster(NAMESPACE);
    let data_volume = json!({
        "metadata": { "namespace": NAMESPACE, "name": "disk1", "annotations": annotations },
        "spec": { "source": { "pvc": { "namespace": NAMESPACE, "name": "golden" } }, "pvc": disk_on(NEW_CLASS) },
    });
    kubernetes.add(Kind::DataVolume, data_volume);
    RunningCluster::new(kubernetes)
}

#[test]
fn a_restored_disk_is_used_as_it_is_whichever_object_comes_first() {
    for storage in ALL {
        let mut cluster = cloning(storage);
        cluster.settle();
        assert_eq!(phase(&cluster.kubernetes, &named("disk1")), "Succeeded");
        let backup = Backup::of(&cluster.kubernetes);
        let claim = backup.claim.expect("a complete disk is restored");
        for how in [Volume::Snapshot, Volume::Whole] {
            for data_volume_first in [true, false] {
                let what = format!("{storage:?} {how:?} {data_volume_first}");
                // The source exists as well, so that a clone would be possible.
                let kubernetes = storage.cluster(NAMESPACE);
                kubernetes.count_uids_from(1000);
                let mut cluster = RunningCluster::new(kubernetes);
                let mut machine = VirtualMachine::with_template(named("disk1"));
                if data_volume_first {
                    cluster.kubernetes.add(Kind::DataVolume, backup.data_volume.clone());
                    settle(&mut cluster, &mut machine);
                    assert_eq!(phase(&cluster.kubernetes, &named("disk1")), "Pending", "{what}");
                }
                restore_claim(&cluster.kubernetes, &claim, how);
                settle(&mut cluster, &mut machine);
                if !data_volume_first {
                    cluster.kubernetes.add(Kind::DataVolume, backup.data_volume.clone());
                    settle(&mut cluster, &mut machine);
                }
                assert_eq!(
                    phase(&cluster.kubernetes, &named("disk1")),
                    "Succeeded",
                    "{what}: {:#?}",
                    last(&cluster.kubernetes)
                );
                let found = VirtualMachine::found(&cluster.kubernetes);
                assert_eq!(found, Some(Content::Whole(RESTORED.to_owned())), "{what}");
                assert_eq!(cluster.kubernetes.content_of(&named("disk1")), found, "{what}");
            }
        }
    }
}

#[test]
fn a_disk_that_was_backed_up_before_it_was_complete_is_cloned_again() {
    for storage in ALL {
        let mut cluster = cloning(storage);
        cluster.kubernetes.lock().failure = Some("the network is down".to_owned());
        cluster.settle();
        let backup = Backup::of(&cluster.kubernetes);
        assert_eq!(backup.claim, None, "{storage:?}");

        let kubernetes = storage.cluster(NAMESPACE);
        kubernetes.add(Kind::DataVolume, backup.data_volume);
        let mut cluster = RunningCluster::new(kubernetes);
        let mut machine = VirtualMachine::with_template(named("disk1"));
        settle(&mut cluster, &mut machine);
        VirtualMachine::assert_runs(&cluster.kubernetes, &format!("{storage:?}"));
    }
}

#[test]
fn the_mark_of_a_restore_does_not_complete_a_clone_that_waits_or_runs() {
    for storage in ALL {
        for mut cluster in [cloning(storage), cloning_with(storage, &json!({}))] {
            cluster.kubernetes.lock().failure = Some("the network is down".to_owned());
            cluster.settle();
            cluster.kubernetes.lock().change(Kind::PersistentVolumeClaim, &named("disk1"), |claim| {
                claim["metadata"]["annotations"]["cdi.kubevirt.io/storage.populatedFor"] = "disk1".into();
            });
            let mut machine = VirtualMachine::with_template(named("disk1"));
            settle(&mut cluster, &mut machine);
            assert_eq!(VirtualMachine::found(&cluster.kubernetes), None, "{storage:?}");
            cluster.kubernetes.lock().failure = None;
            settle(&mut cluster, &mut machine);
            VirtualMachine::assert_runs(&cluster.kubernetes, &format!("{storage:?}"));
        }
    }
}
