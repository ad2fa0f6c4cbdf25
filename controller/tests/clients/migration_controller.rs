//! The KubeVirt migration controller: offline migration of a stopped machine's disk to another storage class.
//!
//! Read in its sources: internal/controller/storagemig/vm.go (`createTargetDV`, `cleanTargetAnnotations`,
//! `isOfflineMigrationCompleted`), task.go (`deleteSourceDataVolumesAndPVCs`), cancel.go.

use decant_controller::objects::{Key, Kind};
use decant_controller_test_support::kubernetes::Kubernetes;
use decant_controller_test_support::running_cluster::{RunningCluster, last};
use serde_json::{Value, json};

use crate::disks::*;
use crate::kubevirt::VirtualMachine;

/// The migration of `disk1` to `disk1-mig`, with the policy to delete the source.
#[derive(Default)]
struct Migration {
    is_complete: bool,
}

fn source() -> Key {
    named("disk1")
}

fn destination() -> Key {
    named("disk1-mig")
}

impl Client for Migration {
    fn look(&mut self, kubernetes: &Kubernetes) {
        if self.is_complete
            || !matches!(phase(kubernetes, &destination()).as_str(), "Succeeded" | "WaitForFirstConsumer")
        {
            return;
        }
        assert_whole(
            kubernetes,
            &destination(),
            &format!("the source is about to be deleted: {:#?}", last(kubernetes)),
        );
        self.is_complete = true;
        if kubernetes.find(Kind::DataVolume, &source()).is_some() {
            kubernetes.user_delete(Kind::DataVolume, &source());
        } else {
            kubernetes.user_delete(Kind::PersistentVolumeClaim, &source());
        }
    }
}

/// The DataVolume that the migration creates: with labels and annotations of the PVC, except for those of CDI and of provisioners,
/// and with class and size only.
fn target(claim: &Value) -> Value {
    let removed = [
        "pv.kubernetes.io/bind-completed",
        "volume.beta.kubernetes.io/storage-provisioner",
        "pv.kubernetes.io/bound-by-controller",
        "volume.kubernetes.io/storage-provisioner",
    ];
    let mut annotations = claim["metadata"]["annotations"].as_object().cloned().unwrap_or_default();
    annotations.retain(|name, _| {
        !removed.contains(&name.as_str())
            && !name.starts_with("cdi.kubevirt.io")
            && !name.starts_with("volume.kubernetes.io/selected-node")
    });
    annotations.insert("cdi.kubevirt.io/allowClaimAdoption".to_owned(), "true".into());
    let mut labels = claim["metadata"]["labels"].as_object().cloned().unwrap_or_default();
    for (name, value) in [
        ("virtualmachinestoragemigration-uid", "migration1-uid"),
        ("virtualmachinestoragemigrationplan-name", "plan1-mig"),
        ("virtualmachinestoragemigrationplan-uid", "plan1-uid"),
    ] {
        labels.insert(format!("virtualmachinestoragemigration.kubevirt.io/{name}"), value.into());
    }
    json!({
        "metadata": { "namespace": NAMESPACE, "name": "disk1-mig", "labels": labels, "annotations": annotations },
        "spec": {
            "source": { "pvc": { "namespace": NAMESPACE, "name": "disk1" } },
            "storage": { "resources": { "requests": { "storage": "1Gi" } }, "storageClassName": NEW_CLASS },
        },
    })
}

/// A cluster in which Decant cloned `disk1`, so that it has all annotations of a complete clone.
fn with_cloned_disk(storage: Storage) -> RunningCluster {
    let kubernetes = storage.cluster(NAMESPACE);
    let data_volume = json!({
        "metadata": { "namespace": NAMESPACE, "name": "disk1" },
        "spec": { "source": { "pvc": { "namespace": NAMESPACE, "name": "golden" } }, "pvc": disk_on(OLD_CLASS) },
    });
    kubernetes.add(Kind::DataVolume, data_volume);
    let mut cluster = RunningCluster::new(kubernetes);
    cluster.settle();
    assert_whole(&cluster.kubernetes, &source(), "before the migration");
    cluster
}

fn begin(cluster: &RunningCluster) {
    let claim = cluster.kubernetes.find(Kind::PersistentVolumeClaim, &source()).unwrap();
    let target = target(&claim);
    assert_eq!(target["metadata"]["annotations"]["k8s.io/CloneOf"], "true", "{target:#}");
    cluster.kubernetes.add(Kind::DataVolume, target);
}

#[test]
fn a_migration_deletes_its_source_after_the_copy_is_whole() {
    for storage in ALL {
        let mut cluster = with_cloned_disk(storage);
        recommend_shared_devices(&cluster.kubernetes);
        begin(&cluster);
        let mut migration = Migration::default();
        settle(&mut cluster, &mut migration);
        assert!(migration.is_complete, "{storage:?}: {:#?}", last(&cluster.kubernetes));
        assert_eq!(
            class_and_modes(&cluster.kubernetes, &destination()),
            [NEW_CLASS, "ReadWriteMany", "Block"]
        );
        assert_whole(&cluster.kubernetes, &destination(), "after the migration");
        assert_eq!(cluster.kubernetes.find(Kind::PersistentVolumeClaim, &source()), None);
        // The machine is started again.
        let mut machine = VirtualMachine::with_claim(destination());
        settle(&mut cluster, &mut machine);
        VirtualMachine::assert_runs(&cluster.kubernetes, &format!("{storage:?}"));
    }
}

#[test]
fn a_migration_of_a_pvc_without_a_data_volume_deletes_its_source_after_the_copy_is_whole() {
    for storage in ALL {
        let mut cluster = with_cloned_disk(storage);
        // The PVC outlives its DataVolume.
        cluster.kubernetes.lock().change(Kind::PersistentVolumeClaim, &source(), |claim| {
            claim["metadata"]["ownerReferences"] = json!([]);
        });
        cluster.kubernetes.user_delete(Kind::DataVolume, &source());
        cluster.settle();
        begin(&cluster);
        let mut migration = Migration::default();
        settle(&mut cluster, &mut migration);
        assert!(migration.is_complete, "{storage:?}");
        assert_whole(&cluster.kubernetes, &destination(), "after the migration");
        assert_eq!(cluster.kubernetes.find(Kind::PersistentVolumeClaim, &source()), None);
    }
}

#[test]
fn a_migration_whose_copy_fails_keeps_its_source() {
    for storage in ALL {
        let mut cluster = with_cloned_disk(storage);
        cluster.kubernetes.lock().failure = Some("write /dev/x: no space left on device".to_owned());
        begin(&cluster);
        let mut migration = Migration::default();
        settle(&mut cluster, &mut migration);
        assert!(!migration.is_complete, "{storage:?}");
        assert_whole(&cluster.kubernetes, &source(), "the copy failed");
    }
}

#[test]
fn a_canceled_migration_keeps_its_source_and_leaves_nothing() {
    for storage in ALL {
        let mut cluster = with_cloned_disk(storage);
        cluster.kubernetes.lock().failure = Some("the network is down".to_owned());
        begin(&cluster);
        let mut migration = Migration::default();
        settle(&mut cluster, &mut migration);
        cluster.kubernetes.user_delete(Kind::DataVolume, &destination());
        settle(&mut cluster, &mut migration);
        assert!(!migration.is_complete, "{storage:?}");
        assert_whole(&cluster.kubernetes, &source(), "the migration was canceled");
        let left = |kind| cluster.kubernetes.all(kind).len();
        assert_eq!((left(Kind::Pod), left(Kind::PersistentVolumeClaim)), (0, 2), "{storage:?}");
    }
}
