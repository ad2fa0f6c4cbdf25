//! Harvester: disks of machines from images, moving a volume to another class, and images from volumes.
//!
//! Read in its sources: pkg/controller/master/virtualmachine/vm_controller.go (`createDataVolume`), pkg/image/cdi/cdi.go (`Check`,
//! `initializeExportFromVolume`), pkg/image/cdi/common.go (`GenerateDVAnnotations`), pkg/api/volume/handler.go (`dataMigration`),
//! pkg/controller/master/pvc/pvc_controller.go.

use decant_controller::objects::data_volume::ReportedProgress;
use decant_controller::objects::{Key, Kind};
use decant_controller_test_support::kubernetes::Kubernetes;
use decant_controller_test_support::running_cluster::{RunningCluster, last};
use serde_json::{Value, json};

use crate::disks::*;
use crate::kubevirt::VirtualMachine;

/// A DataVolume with class and size only. On a class that waits for a consumer, all but `dataMigration` ask for immediate binding.
fn data_volume(name: &str, source: &Key, annotations: &Value) -> Value {
    json!({
        "metadata": { "namespace": NAMESPACE, "name": name, "annotations": annotations },
        "spec": {
            "source": { "pvc": { "namespace": source.namespace, "name": source.name } },
            "storage": { "storageClassName": NEW_CLASS, "resources": { "requests": { "storage": "1Gi" } } },
        },
    })
}

fn immediate(storage: Storage) -> Value {
    if storage.waits {
        json!({ "cdi.kubevirt.io/storage.bind.immediate.requested": "true" })
    } else {
        json!({})
    }
}

#[test]
fn a_disk_from_an_image_of_another_namespace_is_whole_when_the_machine_starts() {
    for storage in ALL {
        let kubernetes = storage.cluster("images");
        let image = Key::new("images", "golden");
        kubernetes.add(Kind::DataVolume, data_volume("disk1", &image, &immediate(storage)));
        let mut cluster = RunningCluster::new(kubernetes);
        let mut machine = VirtualMachine::with_claim(named("disk1"));
        settle(&mut cluster, &mut machine);
        VirtualMachine::assert_runs(&cluster.kubernetes, &format!("{storage:?}"));
        // Harvester's list of volumes recognizes a DataVolume's PVC by this annotation.
        let claim = cluster.kubernetes.find(Kind::PersistentVolumeClaim, &named("disk1")).unwrap();
        assert!(
            claim["metadata"]["annotations"]["cdi.kubevirt.io/createdForDataVolume"].is_string(),
            "{claim:#}"
        );
    }
}

#[test]
fn a_volume_that_is_moved_has_the_modes_of_its_class_or_its_source_and_is_whole_when_the_machine_starts() {
    for storage in ALL {
        for (has_profile, mode) in [(true, "ReadWriteMany"), (false, "ReadWriteOnce")] {
            let kubernetes = storage.cluster(NAMESPACE);
            if has_profile {
                recommend_shared_devices(&kubernetes);
            }
            kubernetes.add(Kind::DataVolume, data_volume("disk1", &named("golden"), &json!({})));
            let mut cluster = RunningCluster::new(kubernetes);
            cluster.settle();
            assert_eq!(class_and_modes(&cluster.kubernetes, &named("disk1")), [NEW_CLASS, mode, "Block"]);
            let mut machine = VirtualMachine::with_claim(named("disk1"));
            settle(&mut cluster, &mut machine);
            VirtualMachine::assert_runs(&cluster.kubernetes, &format!("{storage:?}"));
        }
    }
}

/// The percentage that Harvester shows: the digits before the first point. Text without a point is an error, except for `N/A` and an
/// empty text.
fn shown(progress: &str) -> Option<u32> {
    if progress.is_empty() || progress == "N/A" {
        return None;
    }
    Some(progress.split('.').next().unwrap().parse().unwrap_or_else(|e| panic!("{progress:?}: {e}")))
}

/// Harvester's controller of an image that is exported from a volume.
#[derive(Default)]
struct ImageExport {
    shown: Vec<u32>,
    is_imported: bool,
}

impl Client for ImageExport {
    fn look(&mut self, kubernetes: &Kubernetes) {
        let Some(data_volume) = View::of(kubernetes, &named("image1")) else { return };
        self.shown.extend(shown(data_volume.progress()));
        if data_volume.phase() == "Succeeded" {
            assert_whole(kubernetes, &named("image1"), "the image is about to be offered");
            self.is_imported = true;
        }
    }
}

#[test]
fn an_image_that_is_exported_from_a_volume_is_imported_when_it_is_whole() {
    for storage in ALL {
        let kubernetes = storage.cluster(NAMESPACE);
        let owner = add_owner(&kubernetes, "VirtualMachineImage", "image1");
        let mut image = data_volume("image1", &named("golden"), &immediate(storage));
        image["metadata"]["ownerReferences"] = json!([owner]);
        kubernetes.add(Kind::DataVolume, image);
        let mut cluster = RunningCluster::new(kubernetes);
        let mut export = ImageExport::default();
        settle(&mut cluster, &mut export);
        assert!(export.is_imported, "{storage:?}: {:#?}", last(&cluster.kubernetes));
        assert_eq!(export.shown.last(), Some(&100), "{storage:?}");
    }
}

#[test]
fn every_progress_can_be_shown() {
    for hundredths in 0..=10_000_u32 {
        let percent = f64::from(hundredths) / 100.0;
        let progress = ReportedProgress::default().raised_to(Some(percent));
        assert_eq!(shown(progress.as_str()), Some(hundredths / 100), "{progress:?}");
    }
    assert_eq!(shown(ReportedProgress::unknown().as_str()), None);
    assert_eq!(shown(ReportedProgress::complete().as_str()), Some(100));
}

/// Harvester deletes the DataVolume of a PVC that is being deleted, before the PVC is gone.
struct VolumeRemoval;

impl Client for VolumeRemoval {
    fn look(&mut self, kubernetes: &Kubernetes) {
        const FINALIZER: &str = "wrangler.cattle.io/pvc-remove";
        let Some(claim) = kubernetes.find(Kind::PersistentVolumeClaim, &named("disk1")) else { return };
        if claim["metadata"]["deletionTimestamp"].is_null() {
            return;
        }
        if claim["metadata"]["annotations"]["cdi.kubevirt.io/createdForDataVolume"].is_string() {
            kubernetes.user_delete(Kind::DataVolume, &named("disk1"));
        }
        kubernetes.lock().change(Kind::PersistentVolumeClaim, &named("disk1"), |claim| {
            claim["metadata"]["finalizers"].as_array_mut().unwrap().retain(|name| name != FINALIZER);
        });
    }
}

#[test]
fn a_volume_that_is_deleted_takes_its_data_volume_along_and_is_not_cloned_again() {
    for storage in ALL {
        let kubernetes = storage.cluster(NAMESPACE);
        kubernetes.add(Kind::DataVolume, data_volume("disk1", &named("golden"), &immediate(storage)));
        let mut cluster = RunningCluster::new(kubernetes);
        cluster.settle();
        assert_whole(&cluster.kubernetes, &named("disk1"), "cloned");
        cluster.kubernetes.lock().change(Kind::PersistentVolumeClaim, &named("disk1"), |claim| {
            claim["metadata"]["finalizers"]
                .as_array_mut()
                .unwrap()
                .push("wrangler.cattle.io/pvc-remove".into());
        });
        cluster.kubernetes.user_delete(Kind::PersistentVolumeClaim, &named("disk1"));
        settle(&mut cluster, &mut VolumeRemoval);
        let left = |kind| cluster.kubernetes.find(kind, &named("disk1"));
        assert_eq!((left(Kind::DataVolume), left(Kind::PersistentVolumeClaim)), (None, None), "{storage:?}");
        assert_eq!(cluster.kubernetes.all(Kind::Pod).len(), 0);
    }
}
