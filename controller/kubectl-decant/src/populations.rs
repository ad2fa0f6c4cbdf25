//! What clones into PVCs that are filled before they are bound may leave behind: temporary PVCs whose target is gone,
//! and volumes whose reclaim policy was not restored. The controller cleans both up itself, unless it was removed or a
//! finalizer was.

use std::collections::BTreeMap;

use crate::session::{Session, list};
use decant_controller::api::cluster::{ApiError, Cluster, ListParams};
use decant_controller::objects;
use decant_controller::objects::annotations::{CLONE_OF, OWNED_BY_UID, RECLAIM_POLICY};
use decant_controller::objects::{Claim, Key, Kind, Uid, Volume, VolumeSnapshot, names};

/// A temporary PVC that is no longer needed.
pub(super) struct LeftPrime {
    pub(super) claim: Claim,
    pub(super) why: String,
}

/// A volume whose reclaim policy has to be restored.
pub(super) struct LeftVolume {
    pub(super) volume: Volume,
    /// The policy to restore.
    pub(super) policy: String,
    pub(super) why: String,
}

impl LeftVolume {
    /// The namespace of the PVC that it was bound to; empty for none.
    pub(super) fn namespace(&self) -> &str {
        self.volume.spec.claim_ref.as_ref().map_or("", |holder| &holder.namespace)
    }
}

/// The temporary PVCs in `scope` whose target is gone: primes, and those that were restored from snapshots. `skipped` gets those whose target the user may not read.
pub(super) fn primes(
    session: &Session,
    scope: &ListParams,
    skipped: &mut Vec<String>,
) -> Result<Vec<LeftPrime>, ApiError> {
    let params = ListParams { labels: OWNED_BY_UID.to_owned(), ..scope.clone() };
    let (claims, _) = list::<Claim>(&session.cluster, Kind::PersistentVolumeClaim, &params)?;
    let mut left = Vec::new();
    for claim in claims {
        let Some(target) = target_of(&claim) else { continue };
        match session.cluster.get(Kind::PersistentVolumeClaim, &target.key) {
            // A PVC that cannot be read may be the target.
            Ok(object) => {
                let found = objects::decode::<Claim>(object).ok();
                if found.is_some_and(|found| found.metadata.uid != target.uid) {
                    left.push(LeftPrime {
                        why: format!("it was for a clone into a previous PVC {}", target.key),
                        claim,
                    });
                }
            }
            Err(e) if e.is_not_found() => {
                left.push(LeftPrime {
                    why: format!("the PVC {} whose clone it was for is gone", target.key),
                    claim,
                });
            }
            Err(e) if e.is_forbidden() => skipped.push(format!("PVC {}: {e}", claim.metadata.key())),
            Err(e) => return Err(e),
        }
    }
    Ok(left)
}

/// A snapshot of a source in use that is no longer needed.
pub(super) struct LeftSnapshot {
    pub(super) snapshot: VolumeSnapshot,
    pub(super) why: String,
}

/// The snapshots of sources in use in `scope` whose target is gone. `skipped` gets those whose target the user may not read.
pub(super) fn snapshots(
    session: &Session,
    scope: &ListParams,
    skipped: &mut Vec<String>,
) -> Result<Vec<LeftSnapshot>, ApiError> {
    let params = ListParams { labels: OWNED_BY_UID.to_owned(), ..scope.clone() };
    let snapshots = match list::<VolumeSnapshot>(&session.cluster, Kind::VolumeSnapshot, &params) {
        Ok((snapshots, _)) => snapshots,
        // The kind is not defined.
        Err(e) if e.is_not_found() => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let mut left = Vec::new();
    for snapshot in snapshots {
        let Some(target) = target_of_snapshot(&snapshot) else { continue };
        match session.cluster.get(Kind::PersistentVolumeClaim, &target.key) {
            // A PVC that cannot be read may be the target.
            Ok(object) => {
                let found = objects::decode::<Claim>(object).ok();
                if found.is_some_and(|found| found.metadata.uid != target.uid) {
                    let why = format!("it was taken for a clone into a previous PVC {}", target.key);
                    left.push(LeftSnapshot { why, snapshot });
                }
            }
            Err(e) if e.is_not_found() => {
                let why = format!("the PVC {} for whose clone it was taken is gone", target.key);
                left.push(LeftSnapshot { why, snapshot });
            }
            Err(e) if e.is_forbidden() => {
                skipped.push(format!("VolumeSnapshot {}: {e}", snapshot.metadata.key()));
            }
            Err(e) => return Err(e),
        }
    }
    Ok(left)
}

/// The target that the metadata of `snapshot` names. Name, label and annotation have to agree.
fn target_of_snapshot(snapshot: &VolumeSnapshot) -> Option<PrimeTarget> {
    let meta = &snapshot.metadata;
    let uid = meta.labels.get(OWNED_BY_UID).map(|text| Uid::from(text.as_str()))?;
    let key = snapshot.taken_for().filter(|_| meta.name == names::source_snapshot(&uid))?;
    (!meta.is_deleting()).then_some(PrimeTarget { key, uid })
}

/// The target of a temporary PVC.
#[derive(Debug, PartialEq, Eq)]
struct PrimeTarget {
    key: Key,
    uid: Uid,
}

/// The target that the metadata of `claim` names. Name, label and annotation have to agree.
fn target_of(claim: &Claim) -> Option<PrimeTarget> {
    let uid = claim.metadata.labels.get(OWNED_BY_UID).map(|text| Uid::from(text.as_str()))?;
    let name = &claim.metadata.name;
    let key = match claim.restored_for() {
        Some(key) if *name == names::restored(&uid) => key,
        _ => claim.populates().filter(|_| names::is_prime(name, &uid))?,
    };
    (!claim.metadata.is_deleting()).then_some(PrimeTarget { key, uid })
}

/// The volumes of the cluster whose reclaim policy a clone changed and did not restore.
pub(super) fn volumes(session: &Session) -> Result<Vec<LeftVolume>, ApiError> {
    let all = ListParams { namespace: None, ..session.scope(true) };
    let (mut volumes, _) = list::<Volume>(&session.cluster, Kind::PersistentVolume, &all)?;
    volumes.retain(|volume| volume.metadata.annotation(RECLAIM_POLICY).is_some());
    if volumes.is_empty() {
        return Ok(Vec::new());
    }
    // Listed after the volumes: a PVC that exists then may still need its volume.
    let (claims, _) = list::<Claim>(&session.cluster, Kind::PersistentVolumeClaim, &all)?;
    Ok(left_volumes(volumes, &claims))
}

fn left_volumes(volumes: Vec<Volume>, claims: &[Claim]) -> Vec<LeftVolume> {
    let by_uid: BTreeMap<&Uid, &Claim> = claims.iter().map(|claim| (&claim.metadata.uid, claim)).collect();
    let left = |volume: Volume| {
        let policy = volume.metadata.annotation(RECLAIM_POLICY).unwrap_or_default().to_owned();
        let why = why_left(&volume, &by_uid)?;
        Some(LeftVolume { why: format!("{why}; its reclaim policy was {policy}"), policy, volume })
    };
    volumes.into_iter().filter(|volume| !volume.metadata.is_deleting()).filter_map(left).collect()
}

/// Why `volume` is not part of a clone any more.
fn why_left(volume: &Volume, claims: &BTreeMap<&Uid, &Claim>) -> Option<String> {
    let Some(holder) = &volume.spec.claim_ref else { return Some("no PVC uses it".to_owned()) };
    let key = Key::new(&holder.namespace, &holder.name);
    if let Some(claim) = claims.get(&holder.uid) {
        let is_complete = claim.is_bound()
            && claim.metadata.annotation(CLONE_OF).is_some()
            && !claim.is_held_for_population();
        return is_complete.then(|| format!("the clone into PVC {key} is complete"));
    }
    // The target of the temporary PVC may be about to get the volume.
    let is_for_target = claims.keys().any(|uid| names::is_prime(&holder.name, uid));
    (!is_for_target).then(|| format!("PVC {key} is gone"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use decant_controller::objects::annotations::{POPULATES, RESTORED_FOR, SNAPSHOT_FOR};
    use serde_json::{Value, json};

    fn claim(value: Value) -> Claim {
        serde_json::from_value(value).unwrap()
    }

    fn prime(name: &str, label: &str, populates: &str) -> Claim {
        claim(json!({ "metadata": {
            "namespace": "s", "name": name, "uid": "p", "labels": { OWNED_BY_UID: label },
            "annotations": { POPULATES: populates },
        } }))
    }

    #[test]
    fn a_prime_is_known_by_name_label_and_annotation_together() {
        let target = PrimeTarget { key: Key::new("t", "copy"), uid: Uid::from("u") };
        assert_eq!(target_of(&prime("tmp-pvc-u", "u", "t/copy")), Some(target));
        let restored = |name: &str, annotation: &str| {
            claim(json!({ "metadata": { "namespace": "s", "name": name, "labels": { OWNED_BY_UID: "u" },
                                        "annotations": { RESTORED_FOR: annotation } } }))
        };
        let target = PrimeTarget { key: Key::new("s", "tmp-pvc-v"), uid: Uid::from("u") };
        assert_eq!(target_of(&restored("decant-restored-u", "s/tmp-pvc-v")), Some(target));
        assert_eq!(target_of(&restored("decant-restored-v", "s/tmp-pvc-v")), None);
        for other in [
            prime("golden", "u", "t/copy"),
            prime("tmp-pvc-u", "v", "t/copy"),
            prime("tmp-pvc-u", "u", "copy"),
        ] {
            assert_eq!(target_of(&other), None);
        }
    }

    #[test]
    fn a_snapshot_of_a_source_is_known_by_name_label_and_annotation_together() {
        let snapshot = |name: &str, annotation: &str| -> VolumeSnapshot {
            let metadata = json!({ "namespace": "s", "name": name, "labels": { OWNED_BY_UID: "u" },
                                   "annotations": { SNAPSHOT_FOR: annotation } });
            serde_json::from_value(json!({ "metadata": metadata })).unwrap()
        };
        let target = PrimeTarget { key: Key::new("s", "tmp-pvc-v"), uid: Uid::from("u") };
        assert_eq!(target_of_snapshot(&snapshot("decant-snapshot-u", "s/tmp-pvc-v")), Some(target));
        assert_eq!(target_of_snapshot(&snapshot("decant-snapshot-v", "s/tmp-pvc-v")), None);
        assert_eq!(target_of_snapshot(&snapshot("nightly", "s/tmp-pvc-v")), None);
        assert_eq!(target_of_snapshot(&snapshot("decant-snapshot-u", "tmp-pvc-v")), None);
    }

    fn left(holder: &Value, claims: &[Claim]) -> bool {
        let volume = json!({
            "metadata": { "name": "pv", "annotations": { RECLAIM_POLICY: "Delete" } }, "spec": { "claimRef": holder },
        });
        !left_volumes(vec![serde_json::from_value(volume).unwrap()], claims).is_empty()
    }

    #[test]
    fn a_volume_is_left_once_neither_its_claim_nor_the_target_of_its_prime_exists() {
        let target = claim(json!({ "metadata": { "namespace": "t", "name": "copy", "uid": "u" } }));
        let by_prime = json!({ "namespace": "s", "name": "tmp-pvc-u", "uid": "p" });
        let by_target = json!({ "namespace": "t", "name": "copy", "uid": "u" });
        for holder in [&by_prime, &by_target] {
            assert!(!left(holder, std::slice::from_ref(&target)), "{holder}");
            assert!(left(holder, &[]), "{holder}");
        }
        assert!(!left(&by_prime, &[prime("tmp-pvc-u", "u", "t/copy")]));
        assert!(left(&json!(null), &[target]));
    }

    #[test]
    fn a_volume_of_a_complete_clone_is_left_if_its_policy_was_not_restored() {
        let complete = |finalizers: Value| {
            claim(json!({
                "metadata": { "namespace": "t", "name": "copy", "uid": "u", "annotations": { CLONE_OF: "true" },
                              "finalizers": finalizers },
                "status": { "phase": "Bound" },
            }))
        };
        let holder = json!({ "namespace": "t", "name": "copy", "uid": "u" });
        assert!(left(&holder, &[complete(json!([]))]));
        assert!(!left(&holder, &[complete(json!(["cdi.kubevirt.io/clonePopulator"]))]));
    }
}
