//! Clones as they are seen at different times.

use std::collections::BTreeMap;
use std::sync::Arc;

use decant_controller::objects::{Claim, DataVolume, Key, Pod, Uid, Volume, VolumeSnapshot};
use decant_controller::policy::Policy;
use decant_controller::reconcile::actions::Action;
use decant_controller::reconcile::decide::{Decision, decide};
use decant_controller::reconcile::observed::{Observed, Origin, Population, Prime, Provisioner};
use decant_controller::reconcile::outcome::CloneOutcome;
use decant_controller::reconcile::permission::check::Permission;
use decant_controller::reconcile::population::record::PopulatedVolume;
use decant_controller::reconcile::step::Step;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

pub(crate) const NOW: &str = "2026-01-01T12:00:00Z";

pub(crate) fn now() -> OffsetDateTime {
    OffsetDateTime::parse(NOW, &Rfc3339).unwrap()
}

pub(crate) fn size() -> Value {
    json!({ "accessModes": ["ReadWriteOnce"], "volumeMode": "Block", "storageClassName": "c",
            "resources": { "requests": { "storage": "1Gi" } } })
}

pub(crate) fn read<T: serde::de::DeserializeOwned>(object: Value) -> Arc<T> {
    Arc::new(serde_json::from_value(object).unwrap())
}

#[allow(clippy::needless_pass_by_value)] // Called with json!.
pub(crate) fn claim(name: &str, annotations: Value) -> Arc<Claim> {
    read(json!({
        "metadata": {
            "namespace": "n", "name": name, "uid": format!("{name}-uid"), "annotations": annotations,
            "finalizers": ["cdi.kubevirt.io/cloneSource"],
            "ownerReferences": [{ "kind": "DataVolume", "name": name, "uid": "dv-uid", "controller": true }],
        },
        "spec": size(),
        "status": { "phase": "Bound" },
    }))
}

pub(crate) fn named() -> Value {
    json!({
        "k8s.io/CloneRequest": "n/golden",
        "cdi.kubevirt.io/storage.uploadPodName": "cdi-upload-copy",
        "cdi.kubevirt.io/storage.sourceClonePodName": "copy-uid-source-pod",
        "cdi.kubevirt.io/uploadClientName": "decant:golden-uid:copy-uid",
        "cdi.kubevirt.io/createdForDataVolume": "dv-uid",
    })
}

pub(crate) fn with_annotation(mut annotations: Value, name: &str, value: &str) -> Value {
    annotations[name] = value.into();
    annotations
}

pub(crate) fn target_pod(phase: &str, ready: bool, message: &str) -> Arc<Pod> {
    let ended = json!({ "exitCode": 0, "message": message, "finishedAt": "2026-01-01T11:59:50Z" });
    let state = match phase {
        "Running" => json!({ "running": {} }),
        "Pending" => json!({ "waiting": { "reason": "ContainerCreating" } }),
        _ => json!({ "terminated": ended }),
    };
    read(json!({
        "metadata": { "namespace": "n", "name": "cdi-upload-copy", "uid": "target-uid",
                      "creationTimestamp": "2026-01-01T11:59:50Z", "annotations": {
            "decant.dev/authority": "1", "decant.dev/source-claim-uid": "golden-uid" } },
        "status": { "phase": phase, "podIP": "10.0.0.1", "containerStatuses": [
            { "name": "cdi-upload-server", "ready": ready, "state": state } ] },
    }))
}

pub(crate) fn source_pod(phase: &str, target_uid: &str, authority: &str) -> Arc<Pod> {
    let state =
        if phase == "Running" { json!({ "running": {} }) } else { json!({ "waiting": { "reason": "x" } }) };
    read(json!({
        "metadata": { "namespace": "n", "name": "copy-uid-source-pod", "uid": "source-uid",
                      "creationTimestamp": "2026-01-01T11:59:50Z", "annotations": {
            "decant.dev/target-pod-uid": target_uid, "decant.dev/authority": authority,
            "decant.dev/source-claim-uid": "golden-uid" } },
        "status": { "phase": phase, "containerStatuses": [{ "name": "cdi-clone-source", "state": state }] },
    }))
}

/// A DataVolume whose source is there and may be cloned.
pub(crate) fn start() -> Observed {
    let dv: Arc<DataVolume> = read(json!({
        "metadata": { "namespace": "n", "name": "copy", "uid": "dv-uid" },
        "spec": { "source": { "pvc": { "namespace": "n", "name": "golden" } }, "pvc": size() },
    }));
    Observed {
        data_volume: Some(dv),
        origin: Origin::Claim(Key::new("n", "golden")),
        source: Some(claim("golden", json!({}))),
        permission: Some(Permission::SameNamespace),
        authority: "1".to_owned(),
        ..Observed::default()
    }
}

/// The same with its claim, and the pods' names on it.
pub(crate) fn claimed() -> Observed {
    Observed { target: Some(claim("copy", named())), ..start() }
}

/// The same with both pods running.
pub(crate) fn copying() -> Observed {
    Observed {
        target_pod: Some(target_pod("Running", true, "")),
        source_pod: Some(source_pod("Running", "target-uid", "1")),
        ..claimed()
    }
}

/// The same after the target succeeded and the controller wrote that down.
pub(crate) fn recorded() -> Observed {
    Observed {
        target: Some(claim(
            "copy",
            with_annotation(named(), "cdi.kubevirt.io/storage.pod.phase", "Succeeded"),
        )),
        outcome: Some(CloneOutcome { digest: Some("decant1:7:ab".to_owned()), ..CloneOutcome::default() }),
        target_pod: Some(target_pod("Succeeded", false, "{}")),
        ..copying()
    }
}

/// The same, marked as complete.
pub(crate) fn complete() -> Observed {
    Observed { target: Some(claim("copy", with_annotation(named(), "k8s.io/CloneOf", "true"))), ..recorded() }
}

pub(crate) fn decided(seen: &Observed) -> Decision {
    decide(seen, now(), &Policy::default())
}

pub(crate) fn step(seen: &Observed) -> Step {
    decided(seen).step
}

/// The annotations of a claim that a population holds.
pub(crate) fn populating() -> Value {
    json!({
        "cdi.kubevirt.io/createdForDataVolume": "dv-uid",
        "cdi.kubevirt.io/clonePhase": "HostClone",
    })
}

/// A claim that is filled before it is bound.
#[allow(clippy::needless_pass_by_value)] // Called with json!.
pub(crate) fn unbound_claim(annotations: Value) -> Arc<Claim> {
    let mut spec = size();
    spec["dataSourceRef"] = json!({ "apiGroup": "cdi.kubevirt.io", "kind": "VolumeCloneSource", "name": "volume-clone-source-dv-uid" });
    read(json!({
        "metadata": {
            "namespace": "n", "name": "copy", "uid": "copy-uid", "annotations": annotations,
            "finalizers": ["cdi.kubevirt.io/clonePopulator"],
            "ownerReferences": [{ "kind": "DataVolume", "name": "copy", "uid": "dv-uid", "controller": true }],
        },
        "spec": spec,
        "status": { "phase": "Pending" },
    }))
}

/// A clone into a claim that is filled before it is bound.
pub(crate) fn unbound(population: Population) -> Observed {
    let provisioner = match population.prime {
        Prime::Missing if population.record.is_none() => Provisioner::Csi,
        _ => Provisioner::Unseen,
    };
    Observed {
        target: Some(unbound_claim(populating())),
        population: Some(Population { provisioner, ..population }),
        ..start()
    }
}

/// The prime of that claim.
pub(crate) fn prime(phase: &str) -> Arc<Claim> {
    let mut spec = size();
    if phase != "Pending" {
        spec["volumeName"] = "pv".into();
    }
    read(json!({
        "metadata": { "namespace": "n", "name": "tmp-pvc-copy-uid", "uid": "prime-uid",
                      "annotations": { "decant.dev/populates": "n/copy" } },
        "spec": spec,
        "status": { "phase": phase },
    }))
}

/// The same while its prime, which has this phase, is filled, or is complete with this outcome.
pub(crate) fn filling(phase: &str, outcome: Option<CloneOutcome>) -> Observed {
    let mut seen = (*prime(phase)).clone();
    let text = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    seen.metadata.annotations.extend([text("k8s.io/CloneRequest", "n/golden")]);
    if outcome.is_some() {
        seen.metadata.annotations.extend([text("k8s.io/CloneOf", "true")]);
    }
    let clone = Observed { data_volume: None, target: Some(Arc::new(seen)), outcome, ..start() };
    unbound(Population {
        prime: Prime::Ours { claim: prime(phase), is_recorded: true },
        clone: Some(Box::new(clone)),
        ..Population::default()
    })
}

/// The volume of the prime, whose holder and policy are these. The controller changed its policy unless it is `Delete`.
pub(crate) fn populated_volume(holder: &str, uid: &str, policy: &str) -> Arc<Volume> {
    let changed =
        if policy == "Delete" { json!({}) } else { json!({ "decant.dev/reclaim-policy": "Delete" }) };
    read(json!({
        "metadata": { "name": "pv", "resourceVersion": "7", "annotations": changed },
        "spec": { "persistentVolumeReclaimPolicy": policy,
                  "claimRef": { "namespace": "n", "name": holder, "uid": uid } },
        "status": { "phase": "Bound" },
    }))
}

/// The same after the prime is complete and recorded; its volume belongs to this claim.
pub(crate) fn handing_over(holder: &str, uid: &str, policy: &str) -> Observed {
    let seen = unbound(Population {
        record: Some(PopulatedVolume {
            name: "pv".to_owned(),
            prime: Uid::from("prime-uid"),
            is_handed_over: false,
        }),
        volume: Some(populated_volume(holder, uid, policy)),
        ..Population::default()
    });
    Observed {
        outcome: Some(CloneOutcome { digest: Some("decant1:7:ab".to_owned()), ..CloneOutcome::default() }),
        ..seen
    }
}

/// The VolumeSnapshot of a source in use that this controller took, with this status.
pub(crate) fn taken_snapshot(status: &Value) -> Arc<VolumeSnapshot> {
    read(json!({
        "metadata": { "namespace": "n", "name": "decant-snapshot-copy-uid", "uid": "snapshot-uid",
                      "annotations": { "decant.dev/snapshot-for": "n/copy" } },
        "spec": { "source": { "persistentVolumeClaimName": "golden" } },
        "status": status,
    }))
}

/// The temporary PVC that is restored from the snapshot `n/golden` for the claim `n/copy`.
pub(crate) fn restored_claim(phase: &str) -> Arc<Claim> {
    read(json!({
        "metadata": { "namespace": "n", "name": "decant-restored-copy-uid", "uid": "restored-uid",
                      "annotations": { "decant.dev/restored-for": "n/copy" } },
        "spec": size(),
        "status": { "phase": phase },
    }))
}

/// The annotations of the DataVolume that the controller changes.
pub(crate) fn reported(seen: &Observed) -> Option<BTreeMap<&'static str, Option<String>>> {
    let told = decided(seen).actions.into_iter().filter_map(|action| match action {
        Action::Tell(annotations) => Some(annotations),
        _ => None,
    });
    told.reduce(|mut all, more| {
        all.extend(more);
        all
    })
}
