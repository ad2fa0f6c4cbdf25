//! forklift: it creates DataVolumes to import disks, and clones no PVC. Its DataVolumes must not look complete to it.
//!
//! Read in its sources: pkg/controller/plan/migration.go (`updateCopyProgress`), pkg/controller/plan/kubevirt.go
//! (`dataVolumes`, `PercentComplete`), pkg/controller/plan/adapter/ocp/builder.go (`createDataVolumeSpec`),
//! pkg/controller/plan/adapter/vsphere/builder.go (`DataVolumes`).

use decant_controller::objects::Kind;
use decant_controller::objects::data_volume::ReportedProgress;
use decant_controller_test_support::kubernetes::Kubernetes;
use decant_controller_test_support::running_cluster::RunningCluster;
use serde_json::{Value, json};

use crate::disks::*;

/// The step of a migration plan that transfers one disk.
#[derive(Debug, Default, PartialEq)]
struct TransferStep {
    is_complete: bool,
    reason: String,
}

impl TransferStep {
    /// What forklift concludes from the phase. A phase that it does not know counts neither as pending nor as running. Then it takes
    /// the step for complete, because it also compares the number of complete disks, 0, with that of PVCs without a DataVolume, 0.
    fn of(data_volume: &View) -> Self {
        let [bound, bound_reason, bound_message] = data_volume.condition("Bound");
        match data_volume.phase() {
            "Pending" | "ImportScheduled" => {
                let [_, reason, message] = match bound {
                    "True" => data_volume.condition("Running"),
                    _ => [bound, bound_reason, bound_message],
                };
                Self { is_complete: false, reason: format!("{reason}; {message}") }
            }
            "ImportInProgress" | "Paused" => Self::default(),
            _ => Self { is_complete: true, ..Self::default() },
        }
    }
}

impl Client for TransferStep {
    fn look(&mut self, kubernetes: &Kubernetes) {
        let data_volume = View::of(kubernetes, &named("plan1-disk")).unwrap();
        // Before a controller has seen it.
        if !data_volume.condition("Bound")[0].is_empty() {
            let is_complete = self.is_complete;
            *self = Self::of(&data_volume);
            self.is_complete |= is_complete;
        }
    }
}

/// A disk of a plan. The annotation of a warm migration whose storage copied the disk before is only on the second source.
fn disk(source: &Value, annotations: &Value) -> Value {
    let mut data_volume = json!({
        "metadata": {
            "namespace": NAMESPACE, "name": "plan1-disk",
            "labels": { "plan": "plan1-uid", "migration": "migration1-uid", "vmID": "vm-7" },
            "annotations": { "cdi.kubevirt.io/storage.bind.immediate.requested": "true",
                             "cdi.kubevirt.io/storage.deleteAfterCompletion": "false",
                             "forklift.konveyor.io/disk-source": "vms/golden" },
        },
        "spec": {
            "source": source,
            "storage": { "resources": { "requests": { "storage": "1Gi" } }, "storageClassName": NEW_CLASS },
        },
    });
    for (name, value) in annotations.as_object().unwrap() {
        data_volume["metadata"]["annotations"][name] = value.clone();
    }
    data_volume
}

#[test]
fn an_import_that_nothing_serves_is_pending_and_says_why() {
    let http = json!({ "http": { "url": "https://export.example/disk.img.gz", "certConfigMap": "ca",
                                 "secretExtraHeaders": ["token"] } });
    let vddk = json!({ "vddk": { "backingFile": "[store] vm/disk.vmdk", "uuid": "u", "url": "https://vcenter.example",
                                 "secretRef": "s", "thumbprint": "t" } });
    let blank = json!({ "blank": {} });
    for storage in ALL {
        for (kind, source) in [("http", &http), ("vddk", &vddk), ("blank", &blank)] {
            let kubernetes = storage.cluster(NAMESPACE);
            kubernetes.add(Kind::DataVolume, disk(source, &json!({})));
            let mut cluster = RunningCluster::new(kubernetes);
            let mut step = TransferStep::default();
            settle(&mut cluster, &mut step);
            assert!(!step.is_complete, "{kind} {storage:?}");
            let expected = format!(
                "SourceNotSupported; Decant clones PVCs and snapshots; it leaves a DataVolume with source {kind} alone"
            );
            assert_eq!(step.reason, expected);
            assert_eq!(cluster.kubernetes.find(Kind::PersistentVolumeClaim, &named("plan1-disk")), None);
        }
    }
}

#[test]
fn a_disk_that_the_storage_copied_before_is_not_complete_before_its_last_part_is_imported() {
    let vddk = json!({ "vddk": { "backingFile": "[store] vm/disk.vmdk", "uuid": "u", "url": "https://vcenter.example",
                                 "secretRef": "s", "thumbprint": "t" } });
    let adopts = json!({ "cdi.kubevirt.io/allowClaimAdoption": "true", "cdi.kubevirt.io/storage.prePopulated": "true" });
    for storage in ALL {
        let kubernetes = storage.empty_cluster();
        let metadata = json!({ "namespace": NAMESPACE, "name": "plan1-disk" });
        kubernetes.add_filled(&metadata, disk_on(NEW_CLASS), "most of the disk");
        kubernetes.add(Kind::DataVolume, disk(&vddk, &adopts));
        let mut cluster = RunningCluster::new(kubernetes);
        let mut step = TransferStep::default();
        settle(&mut cluster, &mut step);
        assert_eq!(step, TransferStep::default(), "{storage:?}");
        let claim = cluster.kubernetes.find(Kind::PersistentVolumeClaim, &named("plan1-disk")).unwrap();
        assert_eq!(claim["metadata"]["ownerReferences"], Value::Null, "forklift waits for an owner");
    }
}

/// The percentage that forklift shows: a number before `%`, and 0 for anything else.
fn percent_complete(progress: &str) -> f64 {
    progress.strip_suffix('%').and_then(|number| number.parse::<f64>().ok()).unwrap_or(0.0)
}

#[test]
fn every_progress_is_a_number() {
    for hundredths in 0..=10_000_u32 {
        let percent = f64::from(hundredths) / 100.0;
        let progress = ReportedProgress::default().raised_to(Some(percent));
        assert!((percent_complete(progress.as_str()) - percent).abs() < 1e-9, "{progress:?}");
    }
    assert!(percent_complete(ReportedProgress::unknown().as_str()).abs() < 1e-9);
    assert!((percent_complete(ReportedProgress::complete().as_str()) - 100.0).abs() < 1e-9);
}
