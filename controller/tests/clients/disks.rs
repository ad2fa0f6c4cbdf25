//! The storage of the tests, the disks on it, and how a client runs beside the controller.

use std::cell::RefCell;

use decant_controller::objects::{Key, Kind};
use decant_controller_test_support::kubernetes::{Content, Kubernetes};
use decant_controller_test_support::running_cluster::{RunningCluster, last};
use serde_json::{Value, json};

/// What is on the disk that is cloned.
pub(crate) const DATA: &str = "data of golden";
/// The class of the disk that is cloned. It binds at once.
pub(crate) const OLD_CLASS: &str = "old";
/// The class that the clones are on.
pub(crate) const NEW_CLASS: &str = "new";
const USE_POPULATOR: &str = "cdi.kubevirt.io/storage.usePopulator";

/// The storage that a clone is on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Storage {
    /// Whether the class waits for the first consumer.
    pub(crate) waits: bool,
    /// Whether its provisioner is a CSI driver. Then a clone is complete before its PVC is bound; otherwise the PVC is bound first.
    pub(crate) is_csi: bool,
}

/// Every kind of storage.
pub(crate) const ALL: [Storage; 4] = [
    Storage { waits: false, is_csi: true },
    Storage { waits: true, is_csi: true },
    Storage { waits: false, is_csi: false },
    Storage { waits: true, is_csi: false },
];

/// The namespace of the virtual machines.
pub(crate) const NAMESPACE: &str = "vms";

pub(crate) fn named(name: &str) -> Key {
    Key::new(NAMESPACE, name)
}

/// The spec of a disk on the class `class`.
pub(crate) fn disk_on(class: &str) -> Value {
    json!({ "accessModes": ["ReadWriteOnce"], "volumeMode": "Block", "storageClassName": class,
            "resources": { "requests": { "storage": "1Gi" } } })
}

impl Storage {
    /// A cluster with this storage and the disk `golden` in `namespace`.
    pub(crate) fn cluster(self, namespace: &str) -> Kubernetes {
        let kubernetes = self.empty_cluster();
        let metadata = json!({ "namespace": namespace, "name": "golden",
                               "annotations": { "decant.dev/allow-clone-to": NAMESPACE } });
        kubernetes.add_filled(&metadata, disk_on(OLD_CLASS), DATA);
        kubernetes
    }

    /// A cluster with this storage and without disks.
    pub(crate) fn empty_cluster(self) -> Kubernetes {
        let kubernetes = Kubernetes::default();
        kubernetes.add_class(OLD_CLASS, false, "Delete");
        kubernetes.add_class(NEW_CLASS, self.waits, "Delete");
        if self.is_csi {
            kubernetes.add_driver();
        }
        kubernetes
    }
}

/// Lets a DataVolume be filled after its PVC is bound, on CSI drivers too.
pub(crate) fn without_populator(mut data_volume: Value) -> Value {
    data_volume["metadata"]["annotations"][USE_POPULATOR] = "false".into();
    data_volume
}

/// Recommends to share devices on the class of the clones, as an administrator does for a class that can.
pub(crate) fn recommend_shared_devices(kubernetes: &Kubernetes) {
    let sets = json!([{ "accessModes": ["ReadWriteMany"], "volumeMode": "Block" }]);
    let profile = json!({ "metadata": { "name": NEW_CLASS }, "spec": { "claimPropertySets": sets } });
    kubernetes.add(Kind::StorageProfile, profile);
}

/// Class, first access mode and volume mode of a PVC.
pub(crate) fn class_and_modes(kubernetes: &Kubernetes, claim: &Key) -> [String; 3] {
    let claim = kubernetes.find(Kind::PersistentVolumeClaim, claim).unwrap();
    ["/spec/storageClassName", "/spec/accessModes/0", "/spec/volumeMode"]
        .map(|pointer| claim.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned())
}

/// Something that owns DataVolumes. The model has none of the clients' own kinds, so a ConfigMap takes their place.
pub(crate) fn add_owner(kubernetes: &Kubernetes, kind: &str, name: &str) -> Value {
    let object =
        kubernetes.add(Kind::ConfigMap, json!({ "metadata": { "namespace": NAMESPACE, "name": name } }));
    json!({ "kind": kind, "name": name, "uid": object["metadata"]["uid"], "blockOwnerDeletion": true })
}

/// What a client does between two changes of the cluster.
pub(crate) trait Client {
    /// Reads what changed, and acts.
    fn look(&mut self, kubernetes: &Kubernetes);
}

/// Runs the controller, Kubernetes and the client until nothing more happens.
pub(crate) fn settle(cluster: &mut RunningCluster, client: &mut impl Client) {
    settle_until(cluster, client, |_| false);
}

/// The same, at most until `is_reached`.
pub(crate) fn settle_until(
    cluster: &mut RunningCluster,
    client: &mut impl Client,
    is_reached: impl Fn(&Kubernetes) -> bool,
) {
    let client = RefCell::new(client);
    cluster.settle_until(|kubernetes| {
        client.borrow_mut().look(kubernetes);
        is_reached(kubernetes)
    });
    assert_no_violation(cluster);
}

pub(crate) fn assert_no_violation(cluster: &RunningCluster) {
    let violations = cluster.kubernetes.lock().violations.clone();
    assert_eq!(violations, [""; 0], "{:#?}", last(&cluster.kubernetes));
}

/// A DataVolume as its clients read it.
pub(crate) struct View(Value);

impl View {
    /// The DataVolume of this name; `None` if there is none.
    pub(crate) fn of(kubernetes: &Kubernetes, name: &Key) -> Option<Self> {
        kubernetes.find(Kind::DataVolume, name).map(Self)
    }

    fn text(&self, pointer: &str) -> &str {
        self.0.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    pub(crate) fn phase(&self) -> &str {
        self.text("/status/phase")
    }

    pub(crate) fn progress(&self) -> &str {
        self.text("/status/progress")
    }

    /// Status, reason and message of a condition.
    pub(crate) fn condition(&self, kind: &str) -> [&str; 3] {
        let conditions = self.0["status"]["conditions"].as_array();
        let found = conditions.and_then(|all| all.iter().find(|condition| condition["type"] == kind));
        ["status", "reason", "message"]
            .map(|field| found.and_then(|found| found[field].as_str()).unwrap_or_default())
    }
}

/// The phase of a DataVolume.
pub(crate) fn phase(kubernetes: &Kubernetes, name: &Key) -> String {
    View::of(kubernetes, name).map(|view| view.phase().to_owned()).unwrap_or_default()
}

/// Whether the PVC is bound to a volume that has all data.
pub(crate) fn is_whole(kubernetes: &Kubernetes, claim: &Key) -> bool {
    kubernetes.content_of(claim) == Some(Content::Whole(DATA.to_owned()))
}

pub(crate) fn assert_whole(kubernetes: &Kubernetes, claim: &Key, what: &str) {
    assert!(is_whole(kubernetes, claim), "{what}: {claim} has {:?}", kubernetes.content_of(claim));
}
