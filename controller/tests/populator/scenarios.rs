//! The populations of the tests, and what holds when they have ended.

use decant_controller::objects::{Key, Kind};
use decant_controller::policy::Transfer;
use decant_controller_test_support::kubernetes::{Content, Kubernetes, NODE, PROVISIONER, State, key, uid};
use decant_controller_test_support::running_cluster::{RunningCluster, last};
use serde_json::{Value, json};

pub(crate) const RECLAIM_POLICY: &str = "decant.dev/reclaim-policy";
/// What is on the source.
pub(crate) const DATA: &str = "data of golden";

/// Who asks for the population.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asker {
    /// A PVC that names a CloneSource.
    Claim,
    /// A DataVolume.
    DataVolume,
}

/// A population.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scenario {
    pub(crate) asker: Asker,
    /// Whether the class waits for the first consumer.
    pub(crate) waits: bool,
    /// Whether the source is in another namespace.
    pub(crate) is_across: bool,
    /// Whether the source is a snapshot, which holds other data than its PVC does now.
    pub(crate) is_snapshot: bool,
    /// Whether a pod uses the source, so that a snapshot of it is taken.
    pub(crate) is_in_use: bool,
    /// The reclaim policy of the class.
    pub(crate) policy: &'static str,
    /// In one pod where it can, or over the network.
    pub(crate) transfer: Transfer,
}

/// Populations in which each pair of asker, binding, namespaces and policy occurs, and snapshots and direct clones with
/// both askers. Tests repeat each of them for each of its calls, so every further one costs seconds.
pub(crate) fn all() -> Vec<Scenario> {
    let mut all = Vec::new();
    for (asker, waits, is_across, policy) in [
        (Asker::Claim, false, false, "Delete"),
        (Asker::Claim, true, true, "Retain"),
        (Asker::DataVolume, false, true, "Delete"),
        (Asker::DataVolume, true, false, "Retain"),
    ] {
        all.push(Scenario { asker, waits, is_across, policy, ..ACROSS });
    }
    all.extend([
        Scenario { policy: "Retain", ..SNAPSHOT },
        Scenario { asker: Asker::DataVolume, waits: true, ..SNAPSHOT },
        Scenario { policy: "Retain", ..IN_USE },
        Scenario { asker: Asker::DataVolume, waits: true, is_across: false, ..IN_USE },
        Scenario { transfer: Transfer::Auto, ..ACROSS },
        Scenario {
            asker: Asker::DataVolume,
            waits: true,
            is_across: false,
            transfer: Transfer::Auto,
            ..ACROSS
        },
    ]);
    all
}

pub(crate) const ACROSS: Scenario = Scenario {
    asker: Asker::Claim,
    waits: false,
    is_across: true,
    is_snapshot: false,
    is_in_use: false,
    policy: "Delete",
    transfer: Transfer::Network,
};

pub(crate) const SNAPSHOT: Scenario = Scenario { is_snapshot: true, ..ACROSS };

pub(crate) const IN_USE: Scenario = Scenario { is_in_use: true, ..ACROSS };

pub(crate) fn target() -> Key {
    Key::new("t", "copy")
}

pub(crate) fn size() -> Value {
    json!({ "accessModes": ["ReadWriteOnce"], "volumeMode": "Block", "storageClassName": "disks",
            "resources": { "requests": { "storage": "1Gi" } } })
}

impl Scenario {
    pub(crate) fn source_namespace(self) -> &'static str {
        if self.is_across { "s" } else { "t" }
    }

    /// A cluster with the source and without the target.
    pub(crate) fn cluster(self) -> Kubernetes {
        let kubernetes = Kubernetes::default();
        kubernetes.add_class("disks", self.waits, self.policy);
        kubernetes.add_driver();
        let metadata = json!({ "namespace": self.source_namespace(), "name": "golden",
                               "annotations": { "decant.dev/allow-clone-to": "t" } });
        kubernetes.add_filled(&metadata, size(), if self.is_snapshot { "newer data" } else { DATA });
        if self.is_snapshot {
            self.take_snapshot(&kubernetes);
        }
        if self.is_in_use {
            self.use_source(&kubernetes);
        }
        kubernetes
    }

    /// A pod that uses the source, and a class of snapshots.
    fn use_source(self, kubernetes: &Kubernetes) {
        let class = json!({ "metadata": { "name": "snapshots" }, "driver": PROVISIONER });
        kubernetes.add(Kind::VolumeSnapshotClass, class);
        let volumes = json!([{ "name": "v", "persistentVolumeClaim": { "claimName": "golden" } }]);
        let containers =
            json!([{ "name": "vm", "volumeDevices": [{ "name": "v", "devicePath": "/dev/v" }] }]);
        kubernetes.add(
            Kind::Pod,
            json!({ "metadata": { "namespace": self.source_namespace(), "name": "vm" }, "status": { "phase": "Running" },
                    "spec": { "nodeName": NODE, "volumes": volumes, "containers": containers } }),
        );
    }

    /// The snapshot of the source, which is older than what the source holds now.
    fn take_snapshot(self, kubernetes: &Kubernetes) {
        let snapshot = kubernetes.add(
            Kind::VolumeSnapshot,
            json!({ "metadata": { "namespace": self.source_namespace(), "name": "golden",
                                  "annotations": { "decant.dev/allow-clone-to": "t" } },
                    "spec": { "source": { "persistentVolumeClaimName": "golden" } },
                    "status": { "readyToUse": true, "restoreSize": "1Gi", "boundVolumeSnapshotContentName": "content" } }),
        );
        kubernetes.add(
            Kind::VolumeSnapshotContent,
            json!({ "metadata": { "name": "content" },
                    "spec": { "driver": PROVISIONER, "sourceVolumeMode": "Block",
                              "volumeSnapshotRef": { "uid": uid(&snapshot) } } }),
        );
        let held = Content::Whole(DATA.to_owned());
        kubernetes.lock().snapshots.insert(Key::new(self.source_namespace(), "golden"), held);
    }

    /// Creates what asks for the population.
    pub(crate) fn ask(self, kubernetes: &Kubernetes) {
        let ask = |state: &mut State| self.ask_in(state);
        ask(&mut kubernetes.lock());
    }

    pub(crate) fn ask_in(self, state: &mut State) {
        let node = if self.waits { json!({ "volume.kubernetes.io/selected-node": NODE }) } else { json!({}) };
        match self.asker {
            Asker::Claim => {
                let kind = if self.is_snapshot { "VolumeSnapshot" } else { "PersistentVolumeClaim" };
                let what = if self.is_in_use { "snapshot" } else { "wait" };
                let source = json!({ "metadata": { "namespace": "t", "name": "from" }, "spec": { "source": {
                    "kind": kind, "name": "golden", "namespace": self.source_namespace() }, "sourceInUse": what } });
                // It may exist from an earlier population.
                drop(state.add(Kind::CloneSource, source));
                let mut spec = size();
                spec["dataSourceRef"] =
                    json!({ "apiGroup": "decant.dev", "kind": "CloneSource", "name": "from" });
                let claim = json!({ "metadata": { "namespace": "t", "name": "copy", "annotations": node }, "spec": spec });
                state.add(Kind::PersistentVolumeClaim, claim).unwrap();
            }
            Asker::DataVolume => {
                let kind = if self.is_snapshot { "snapshot" } else { "pvc" };
                let annotations = if self.is_in_use {
                    json!({ "decant.dev/source-in-use": "snapshot" })
                } else {
                    json!({})
                };
                let dv = json!({ "metadata": { "namespace": "t", "name": "copy", "annotations": annotations }, "spec": {
                    "source": { kind: { "namespace": self.source_namespace(), "name": "golden" } }, "pvc": size() } });
                state.add(Kind::DataVolume, dv).unwrap();
            }
        }
    }

    /// A cluster in which the population was asked for, with a controller.
    pub(crate) fn world(self) -> RunningCluster {
        let kubernetes = self.cluster();
        self.ask(&kubernetes);
        RunningCluster::with_transfer(kubernetes, self.transfer)
    }

    /// Runs everything to its end. The consumer of a DataVolume's PVC is scheduled when the PVC exists.
    pub(crate) fn run(self, world: &mut RunningCluster) {
        if self.waits && self.asker == Asker::DataVolume {
            world
                .settle_until(|kubernetes| kubernetes.find(Kind::PersistentVolumeClaim, &target()).is_some());
            schedule_consumer(&world.kubernetes);
        }
        world.settle();
    }

    /// Deletes what asks for the population.
    pub(crate) fn withdraw_in(self, state: &mut State) {
        match self.asker {
            Asker::Claim => state.delete(Kind::PersistentVolumeClaim, &target()),
            Asker::DataVolume => state.delete(Kind::DataVolume, &target()),
        }
    }
}

/// Runs a population once for each of its writes, with `change` directly after that write, and then calls `check`.
pub(crate) fn with_change_after_each_write(
    scenario: Scenario,
    change: impl Fn(&mut State) + Copy + Send + 'static,
    mut check: impl FnMut(&mut RunningCluster, &str),
) {
    let mut undisturbed = scenario.world();
    scenario.run(&mut undisturbed);
    let trace = undisturbed.kubernetes.lock().trace.clone();
    for (call, text) in (1..).zip(trace) {
        if text.contains(" get ") || text.contains(" list ") {
            continue;
        }
        let mut world = scenario.world();
        world.kubernetes.after_call(call, move |state| change(state));
        scenario.run(&mut world);
        check(&mut world, &format!("interference after {text}"));
    }
}

/// The scheduler chooses the node of the first consumer.
pub(crate) fn schedule_consumer(kubernetes: &Kubernetes) {
    kubernetes.lock().change(Kind::PersistentVolumeClaim, &target(), |claim| {
        claim["metadata"]["annotations"]["volume.kubernetes.io/selected-node"] = NODE.into();
    });
}

fn annotation<'o>(object: &'o Value, name: &str) -> Option<&'o str> {
    object["metadata"]["annotations"][name].as_str()
}

pub(crate) fn is_prime(name: &str) -> bool {
    name.starts_with("tmp-pvc-") || name.starts_with("decant-prime-")
}

/// The prime of the target, if there is one.
pub(crate) fn prime(kubernetes: &Kubernetes) -> Option<Value> {
    let claims = kubernetes.all(Kind::PersistentVolumeClaim);
    claims.into_iter().find(|claim| is_prime(&key(claim).name))
}

/// The same within a change of the cluster.
pub(crate) fn prime_in(state: &State) -> Option<Value> {
    let claims = state.all(Kind::PersistentVolumeClaim);
    claims.into_iter().find(|claim| is_prime(&key(claim).name))
}

/// The PVC that is restored from the snapshot, if there is one.
pub(crate) fn restored(kubernetes: &Kubernetes) -> Option<Value> {
    let claims = kubernetes.all(Kind::PersistentVolumeClaim);
    claims.into_iter().find(|claim| key(claim).name.starts_with("decant-restored-"))
}

/// The volumes except that of the source.
pub(crate) fn volumes(kubernetes: &Kubernetes) -> Vec<Value> {
    let volumes = kubernetes.all(Kind::PersistentVolume);
    volumes.into_iter().filter(|volume| key(volume).name != "golden").collect()
}

/// What remains of a population besides its target and its volume.
fn leftovers(kubernetes: &Kubernetes) -> Vec<String> {
    let mut left = Vec::new();
    for kind in
        [Kind::Pod, Kind::Secret, Kind::VolumeCloneSource, Kind::VolumeSnapshot, Kind::VolumeSnapshotContent]
    {
        let is_of_user = |object: &&Value| !["vm", "golden", "content"].contains(&key(object).name.as_str());
        let found = kubernetes.all(kind);
        left.extend(found.iter().filter(is_of_user).map(|object| format!("{} {}", kind.name(), key(object))));
    }
    for claim in kubernetes.all(Kind::PersistentVolumeClaim) {
        let finalizers = claim["metadata"]["finalizers"].to_string();
        if finalizers.contains("cdi.kubevirt.io") || finalizers.contains("decant.dev") {
            left.push(format!("finalizers {finalizers} of {}", key(&claim)));
        }
        if key(&claim) != target() && key(&claim).name != "golden" {
            left.push(format!("PVC {}", key(&claim)));
        }
    }
    let annotated = |volume: &&Value| annotation(volume, RECLAIM_POLICY).is_some();
    left.extend(
        volumes(kubernetes).iter().filter(annotated).map(|volume| format!("annotation of {}", key(volume))),
    );
    left
}

/// The target is bound to the only volume, which has all content; nothing else is left.
pub(crate) fn assert_complete(scenario: Scenario, world: &RunningCluster, what: &str) {
    let kubernetes = &world.kubernetes;
    let what = format!("{what} in {scenario:?}: {:#?}", last(kubernetes));
    let violations = kubernetes.lock().violations.clone();
    assert_eq!(violations, [""; 0], "{what}");
    let claim = kubernetes.find(Kind::PersistentVolumeClaim, &target()).expect(&what);
    assert_eq!(claim["status"]["phase"], "Bound", "{claim:#} {what}");
    let mut volumes = volumes(kubernetes);
    // A prime that was created without a record is replaced while it is empty, and so is a claim that was restored without
    // one. If the class has the policy Retain, the volume remains: the controller deletes no volume that is not recorded.
    volumes.retain(|volume| {
        let of_claim = volume["spec"]["claimRef"]["name"].as_str().unwrap_or_default();
        let is_restored = of_claim.starts_with("decant-restored-");
        scenario.policy == "Delete"
            || volume["status"]["phase"] != "Released"
            || !(is_restored || kubernetes.lock().content.get(&key(volume).name) == Some(&Content::Empty))
    });
    assert_eq!(volumes.len(), 1, "{volumes:#?} {what}");
    let volume = &volumes[0];
    assert_eq!(claim["spec"]["volumeName"], volume["metadata"]["name"], "{what}");
    assert_eq!(volume["spec"]["claimRef"]["uid"], claim["metadata"]["uid"], "{what}");
    assert_eq!(volume["spec"]["persistentVolumeReclaimPolicy"], scenario.policy, "{what}");
    let content = kubernetes.lock().content.get(&key(volume).name).cloned();
    assert_eq!(content, Some(Content::Whole(DATA.to_owned())), "{what}");
    assert_eq!(leftovers(kubernetes), [""; 0], "{what}");
    assert_eq!(annotation(&claim, "k8s.io/CloneOf"), Some("true"), "{what}");
    assert_eq!(annotation(&claim, "decant.dev/digest"), Some("decant1:7:dataofgolden"), "{what}");
    assert!(annotation(&claim, "decant.dev/outcome").is_some(), "{what}");
    assert_eq!(annotation(&claim, "cdi.kubevirt.io/clonePhase"), Some("Succeeded"), "{what}");
    let of_snapshot = annotation(&claim, "decant.dev/snapshot-time").is_some();
    assert_eq!(of_snapshot, scenario.is_in_use, "{claim:#} {what}");
    let mode = if scenario.transfer == Transfer::Network { "network" } else { "direct" };
    assert_eq!(annotation(&claim, "decant.dev/transfer-mode"), Some(mode), "{what}");
    if scenario.asker == Asker::DataVolume {
        let dv = kubernetes.find(Kind::DataVolume, &target()).expect(&what);
        assert_eq!(dv["status"]["phase"], "Succeeded", "{dv:#} {what}");
        assert_eq!(annotation(&dv, "cdi.kubevirt.io/cloneType"), Some("copy"), "{dv:#} {what}");
        let of_snapshot = annotation(&dv, "decant.dev/snapshot-time").is_some();
        assert_eq!(of_snapshot, scenario.is_in_use, "{dv:#} {what}");
    }
}

/// Nothing of the population is left, except a volume that its own policy keeps.
pub(crate) fn assert_gone(scenario: Scenario, world: &RunningCluster, what: &str) {
    let kubernetes = &world.kubernetes;
    let what = format!("{what} in {scenario:?}: {:#?}", last(kubernetes));
    let violations = kubernetes.lock().violations.clone();
    assert_eq!(violations, [""; 0], "{what}");
    assert_eq!(kubernetes.find(Kind::PersistentVolumeClaim, &target()), None, "{what}");
    assert_eq!(leftovers(kubernetes), [""; 0], "{what}");
    for volume in volumes(kubernetes) {
        assert_eq!(volume["spec"]["persistentVolumeReclaimPolicy"], "Retain", "{volume:#} {what}");
        assert_eq!(scenario.policy, "Retain", "{volume:#} {what}");
    }
}
