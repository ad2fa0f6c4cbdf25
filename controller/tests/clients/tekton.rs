//! KubeVirt's Tekton tasks: a task creates a DataVolume that its pipeline contains, and waits for it.
//!
//! Read in its sources: modules/modify-data-object/pkg/dataobject/provider.go (`waitForSuccessDv`), operations.go.

use decant_controller::objects::Kind;
use decant_controller_test_support::kubernetes::Kubernetes;
use decant_controller_test_support::running_cluster::RunningCluster;
use serde_json::json;

use crate::disks::*;

/// The task `modify-data-object` with `waitForSuccess`.
#[derive(Debug, Default, PartialEq)]
struct Task {
    has_succeeded: bool,
    has_failed: bool,
}

impl Client for Task {
    fn look(&mut self, kubernetes: &Kubernetes) {
        if self.has_succeeded || self.has_failed {
            return;
        }
        let data_volume = View::of(kubernetes, &named("disk1")).unwrap();
        let is_bound = data_volume.condition("Bound")[0] == "True";
        self.has_succeeded = data_volume.phase() == "Succeeded" && is_bound;
        self.has_failed = data_volume.phase() == "Failed";
        if self.has_succeeded {
            assert_whole(kubernetes, &named("disk1"), "the task has succeeded");
        }
    }
}

#[test]
fn a_task_succeeds_when_its_disk_is_whole() {
    for storage in ALL {
        let kubernetes = storage.cluster(NAMESPACE);
        let data_volume = json!({
            "metadata": { "namespace": NAMESPACE, "name": "disk1",
                          "annotations": { "cdi.kubevirt.io/storage.bind.immediate.requested": "" } },
            "spec": { "source": { "pvc": { "namespace": NAMESPACE, "name": "golden" } }, "pvc": disk_on(NEW_CLASS) },
        });
        kubernetes.add(Kind::DataVolume, data_volume);
        let mut cluster = RunningCluster::new(kubernetes);
        cluster.kubernetes.lock().failure = Some("the network is down".to_owned());
        let mut task = Task::default();
        settle(&mut cluster, &mut task);
        assert_eq!(task, Task::default(), "a pod that fails is restarted, so the task waits: {storage:?}");
        cluster.kubernetes.lock().failure = None;
        settle(&mut cluster, &mut task);
        assert_eq!(task, Task { has_succeeded: true, has_failed: false }, "{storage:?}");
    }
}
