//! `kubectl decant cleanup`: finds what clones left over, and deletes it after a question.

use std::collections::HashMap;
use std::io::{self, BufRead, Write};

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::args::CleanupArgs;
use crate::beside_cdi;
use crate::ending::{Ending, Failure};
use crate::output::{plain, print, print_error, print_line, table};
use crate::populations::{self, LeftPrime, LeftSnapshot};
use crate::session::{Session, list};
use decant_controller::api::cluster::{ApiError, Cluster, ListParams, Part};
use decant_controller::objects;
use decant_controller::objects::annotations::{
    APP, APP_VALUE, CLONE_OF, CLONE_REQUEST, CREATED_BY_CONTROLLER, CREATED_BY_UPLOAD_CONTROLLER, DIGEST,
    OWNER_REF, RECLAIM_POLICY, TOTAL_BYTES,
};
use decant_controller::objects::{Claim, DataVolume, Key, Kind, Meta, Pod, Uid, names};
use decant_controller::pods::role::{Role, is_ours};
use decant_controller::pods::secret;
use decant_controller::summary::clone_summary::{CloneState, CloneSummary};
use decant_controller::watch::unreadable::ObjectIdentity;

pub(super) fn run(session: &Session, args: &CleanupArgs) -> Result<Ending, Failure> {
    let found = find(session, args.all_namespaces, args.finished)?;
    for what in &found.not_looked_at {
        print_error(&format!("not checked: {}", plain(what)));
    }
    if let Some(output) = args.output {
        print(output, &found)?;
    } else if found.leftovers.is_empty() {
        print_error("Nothing is left over.");
    } else {
        show(&found.leftovers);
    }
    if found.leftovers.is_empty() || args.dry_run || args.output.is_some() && !args.yes {
        return Ok(Ending::Done);
    }
    if !args.yes && !is_wanted(&found.leftovers)? {
        print_error("Nothing was deleted.");
        return Ok(Ending::Done);
    }
    delete(session, &found.leftovers, args.output.is_none())
}

fn show(leftovers: &[Leftover]) {
    let heading = ["KIND", "NAMESPACE", "NAME", "WHY"].map(str::to_owned).to_vec();
    let rows = leftovers
        .iter()
        .map(|left| [left.kind.name(), &left.namespace, &left.name, &left.why].map(plain).to_vec());
    for line in table(&[vec![heading], rows.collect()].concat()) {
        print_line(&line);
    }
}

/// Asks for confirmation on standard error; only `y` and `yes` mean yes.
fn is_wanted(leftovers: &[Leftover]) -> Result<bool, Failure> {
    let objects = if leftovers.len() == 1 { "this object" } else { "these objects" };
    let volumes = leftovers.iter().filter(|left| left.reclaim_policy.is_some()).count();
    let question = match volumes {
        0 => format!("Delete {objects}?"),
        _ if volumes == leftovers.len() => "Restore the reclaim policy of these volumes?".to_owned(),
        _ => "Delete these objects, and restore the reclaim policy of the volumes?".to_owned(),
    };
    let _ = write!(io::stderr(), "{question} [y/N] ").and_then(|()| io::stderr().flush());
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    if !matches!(read, Ok(1..)) {
        print_error("");
        return Err(Failure::usage(
            "the question was not answered; use --yes to delete without a question, or --dry-run to only list the objects",
        ));
    }
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

/// Deletes all leftovers. Reports an object that cannot be deleted and continues with the others.
fn delete(session: &Session, leftovers: &[Leftover], prints: bool) -> Result<Ending, Failure> {
    let mut failures = 0;
    for left in leftovers {
        let name = match left.namespace.as_str() {
            "" => format!("{} {}", left.kind.name(), left.name),
            _ => format!("{} {}", left.kind.name(), left.key()),
        };
        match delete_one(session, left) {
            Ok(()) if prints => match &left.reclaim_policy {
                Some(policy) => print_line(&format!("{name}: reclaim policy {policy} restored")),
                None => print_line(&format!("{name} deleted")),
            },
            Ok(()) => {}
            Err(e) => {
                failures += 1;
                print_error(&format!("{name}: {}", Failure::from(e)));
            }
        }
    }
    match failures {
        0 => Ok(Ending::Done),
        _ => Err(Failure::new(
            Ending::Failed,
            format!("{failures} of {} objects could not be cleaned up", leftovers.len()),
        )),
    }
}

/// Deleting a DataVolume would also delete its PVC with all data, so the PVC is orphaned first.
fn delete_one(session: &Session, left: &Leftover) -> Result<(), ApiError> {
    if let Some(policy) = &left.reclaim_policy {
        // With another UID it fails. Kubernetes then deletes a released volume whose policy is Delete.
        let mut patch = json!({ "metadata": { "uid": left.uid, "annotations": { RECLAIM_POLICY: null } } });
        if matches!(policy.as_str(), "Delete" | "Retain" | "Recycle") {
            patch["spec"] = json!({ "persistentVolumeReclaimPolicy": policy });
        }
        let key = Key::new("", &left.name);
        session.cluster.patch(left.kind, &key, Part::Whole, &patch).map(drop)
    } else if left.kind == Kind::DataVolume {
        session.cluster.delete_alone(left.kind, &left.key(), &left.uid)
    } else {
        session.cluster.delete(left.kind, &left.key(), &left.uid, None)
    }
}

/// An object that is no longer needed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Leftover {
    #[serde(serialize_with = "kind_name")]
    pub(super) kind: Kind,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: Uid,
    pub(super) why: String,
    /// Of a volume: the reclaim policy that is restored. The volume itself is not deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reclaim_policy: Option<String>,
}

fn kind_name<S: serde::Serializer>(kind: &Kind, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(kind.name())
}

impl Leftover {
    fn new(kind: Kind, meta: &Meta, why: impl Into<String>) -> Self {
        let Key { namespace, name } = meta.key();
        Self { kind, namespace, name, uid: meta.uid.clone(), why: why.into(), reclaim_policy: None }
    }

    pub(super) fn key(&self) -> Key {
        Key::new(&self.namespace, &self.name)
    }
}

/// The leftovers, and the kinds that the user may not read.
#[derive(Debug, Default, Serialize)]
pub(super) struct Found {
    pub(super) leftovers: Vec<Leftover>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) not_looked_at: Vec<String>,
}

/// Finds all leftovers in the session's namespace or in all namespaces; with `finished`, also DataVolumes that
/// succeeded.
pub(super) fn find(session: &Session, all_namespaces: bool, finished: bool) -> Result<Found, Failure> {
    let scope = session.scope(all_namespaces);
    let ours = ListParams { labels: format!("{APP}={APP_VALUE}"), ..scope.clone() };
    let mut claims = Claims { session, known: HashMap::new() };
    let mut found = Found::default();
    let pods: Vec<Pod> = session.list(Kind::Pod, &ours)?;
    // CDI's pods have the same label.
    for pod in pods.iter().filter(|pod| is_ours(&pod.metadata)) {
        match claims.why_left(pod) {
            Ok(why) => found.leftovers.extend(why.map(|why| Leftover::new(Kind::Pod, &pod.metadata, why))),
            Err(e) if e.code == 403 => found.not_looked_at.push(format!("pod {}: {e}", pod.metadata.key())),
            Err(e) => return Err(e.into()),
        }
    }
    match secrets(session, &ours, &pods) {
        Ok(secrets) => found.leftovers.extend(secrets),
        Err(e) if e.code == 403 => found.not_looked_at.push(format!("secrets: {e}")),
        Err(e) => return Err(e.into()),
    }
    find_populations(session, all_namespaces, &mut found)?;
    if finished {
        find_finished(session, &scope, &mut claims, &mut found)?;
    }
    Ok(found)
}

/// Finds the DataVolumes that succeeded. Where CDI serves them, none is a leftover; where that is not known, only those
/// that Decant has written to are.
fn find_finished(
    session: &Session,
    scope: &ListParams,
    claims: &mut Claims<'_>,
    found: &mut Found,
) -> Result<(), Failure> {
    let is_beside_cdi = beside_cdi::known(session);
    if is_beside_cdi == Some(true) {
        found.not_looked_at.push("DataVolumes: they are CDI's".to_owned());
        return Ok(());
    }
    for dv in session.list::<DataVolume>(Kind::DataVolume, scope)? {
        let is_known = is_beside_cdi == Some(false) || is_written_by_decant(&dv);
        if is_known && is_finished(&dv) && claims.is_marked(&dv)? {
            let why = "it succeeded; its PVC is kept";
            found.leftovers.push(Leftover::new(Kind::DataVolume, &dv.metadata, why));
        }
    }
    Ok(())
}

/// Whether the controller wrote the amounts of a clone to `dv`, as it does for every clone that it completes.
fn is_written_by_decant(dv: &DataVolume) -> bool {
    [TOTAL_BYTES, DIGEST].iter().any(|name| dv.metadata.annotation(name).is_some())
}

/// Finds what clones into PVCs left that are filled before they are bound. A volume belongs to the namespace of the PVC
/// that it was bound to.
fn find_populations(session: &Session, all_namespaces: bool, found: &mut Found) -> Result<(), Failure> {
    match populations::primes(session, &session.scope(all_namespaces), &mut found.not_looked_at) {
        Ok(primes) => {
            let left = |left: &LeftPrime| {
                Leftover::new(Kind::PersistentVolumeClaim, &left.claim.metadata, left.why.as_str())
            };
            found.leftovers.extend(primes.iter().map(left));
        }
        Err(e) if e.is_forbidden() => found.not_looked_at.push(format!("PVCs: {e}")),
        Err(e) => return Err(e.into()),
    }
    match populations::snapshots(session, &session.scope(all_namespaces), &mut found.not_looked_at) {
        Ok(snapshots) => {
            let left = |left: &LeftSnapshot| {
                Leftover::new(Kind::VolumeSnapshot, &left.snapshot.metadata, left.why.as_str())
            };
            found.leftovers.extend(snapshots.iter().map(left));
        }
        // Most users of clones have no right to snapshots.
        Err(e) if e.is_forbidden() && !all_namespaces => {}
        Err(e) if e.is_forbidden() => found.not_looked_at.push(format!("VolumeSnapshots: {e}")),
        Err(e) => return Err(e.into()),
    }
    match populations::volumes(session) {
        Ok(volumes) => {
            let volumes =
                volumes.into_iter().filter(|left| all_namespaces || left.namespace() == session.namespace);
            found.leftovers.extend(volumes.map(|left| Leftover {
                reclaim_policy: Some(left.policy),
                ..Leftover::new(Kind::PersistentVolume, &left.volume.metadata, left.why)
            }));
        }
        // Most users of one namespace may not list volumes.
        Err(e) if e.is_forbidden() && !all_namespaces => {}
        Err(e) if e.is_forbidden() => found.not_looked_at.push(format!("volumes: {e}")),
        Err(e) => return Err(e.into()),
    }
    Ok(())
}

/// Whether `dv` is a clone that succeeded and has no owner: a virtual machine would create its DataVolume again.
fn is_finished(dv: &DataVolume) -> bool {
    let has_no_owner = dv.metadata.owner_references.is_empty() && !dv.metadata.is_deleting();
    has_no_owner && CloneState::of(dv) == CloneState::Succeeded && CloneSummary::of(dv).is_some()
}

/// PVCs, read once each.
struct Claims<'s> {
    session: &'s Session,
    known: HashMap<Key, Option<Claim>>,
}

impl Claims<'_> {
    fn get(&mut self, key: &Key) -> Result<Option<&Claim>, ApiError> {
        if !self.known.contains_key(key) {
            let claim = match self.session.cluster.get(Kind::PersistentVolumeClaim, key) {
                Ok(object) => objects::decode(object).ok(),
                Err(e) if e.is_not_found() => None,
                Err(e) => return Err(e),
            };
            self.known.insert(key.clone(), claim);
        }
        Ok(self.known.get(key).and_then(Option::as_ref))
    }

    /// Why `pod` is no longer needed; `None` if it may be.
    fn why_left(&mut self, pod: &Pod) -> Result<Option<String>, ApiError> {
        match claim_of(&pod.metadata) {
            Some(key) => Ok(why_left(pod, &key, self.get(&key)?)),
            None => Ok(None),
        }
    }

    /// Whether the controller no longer needs `dv`: its PVC is marked as done, or is not a clone of Decant.
    fn is_marked(&mut self, dv: &DataVolume) -> Result<bool, ApiError> {
        let claim = self.get(&dv.metadata.key())?;
        let has = |claim: &Claim, name| claim.metadata.annotation(name).is_some();
        Ok(claim.is_none_or(|claim| !has(claim, CLONE_REQUEST) || has(claim, CLONE_OF)))
    }
}

/// The PVC that the pod's metadata names. The plugin cannot verify seals, but its users see the list first and delete
/// only what they have the right to delete.
fn claim_of(pod: &Meta) -> Option<Key> {
    if let Some(claim) = pod.annotation(OWNER_REF) {
        return claim.parse().ok();
    }
    let owner = pod.controller().filter(|owner| owner.kind == "PersistentVolumeClaim")?;
    Some(Key::new(&pod.namespace, &owner.name))
}

/// Why `pod`, which was created for the PVC `key`, is no longer needed.
fn why_left(pod: &Pod, key: &Key, claim: Option<&Claim>) -> Option<String> {
    let role = Role::of(&pod.metadata.labels).filter(|_| !pod.metadata.is_deleting())?;
    let Some(claim) = claim else { return Some(format!("its PVC {key} is gone")) };
    if role == Role::Source && pod.metadata.name != names::source_pod(&claim.metadata.uid) {
        return Some(format!("it was created for a previous PVC {key}"));
    }
    let is_done = claim.metadata.annotation(CLONE_OF).is_some() && pod.has_ended();
    is_done.then(|| format!("it was kept after the clone into {key} ended"))
}

/// What is read of a Secret.
#[derive(Deserialize)]
struct Bare {
    metadata: Meta,
    #[serde(rename = "type", default)]
    kind: String,
}

impl Bare {
    /// CDI's Secrets have the same annotations, but another type.
    fn is_ours(&self) -> bool {
        let has = |name| self.metadata.annotation(name).is_some();
        self.kind == secret::TYPE && (has(CREATED_BY_CONTROLLER) || has(CREATED_BY_UPLOAD_CONTROLLER))
    }
}

/// Secrets of pods that are gone. Kubernetes deletes those of other pods together with the pod.
fn secrets(session: &Session, ours: &ListParams, pods: &[Pod]) -> Result<Vec<Leftover>, ApiError> {
    let (secrets, _) = list::<Bare>(&session.cluster, Kind::Secret, ours)?;
    let mut left = Vec::new();
    for Bare { metadata: meta, .. } in secrets.iter().filter(|secret| secret.is_ours()) {
        let Some(owner) = meta.controller().filter(|owner| owner.kind == "Pod") else { continue };
        if meta.is_deleting() || pods.iter().any(|pod| pod.metadata.uid == owner.uid) {
            continue;
        }
        // The pod may have been created since the pods were listed.
        let is_gone = match session.cluster.get(Kind::Pod, &Key::new(&meta.namespace, &owner.name)) {
            // A pod without readable metadata may be the owner.
            Ok(pod) => ObjectIdentity::of(&pod).is_some_and(|found| found.metadata.uid != owner.uid),
            Err(e) if e.is_not_found() => true,
            Err(e) => return Err(e),
        };
        if is_gone {
            left.push(Leftover::new(Kind::Secret, meta, format!("its pod {} is gone", owner.name)));
        }
    }
    Ok(left)
}

#[cfg(test)]
mod tests {
    use super::*;
    use decant_controller::objects::annotations::{COMPONENT, COMPONENT_SOURCE, ROLE};
    use serde_json::Value;

    fn pod(role: &str, name: &str, phase: &str) -> Pod {
        let labels = json!({ ROLE: role });
        serde_json::from_value(
            json!({ "metadata": { "name": name, "labels": labels }, "status": { "phase": phase } }),
        )
        .unwrap()
    }

    fn claim(annotations: &Value) -> Claim {
        serde_json::from_value(json!({ "metadata": { "uid": "u", "annotations": annotations } })).unwrap()
    }

    fn left(pod: &Pod, claim: Option<&Claim>) -> bool {
        why_left(pod, &Key::new("n", "copy"), claim).is_some()
    }

    #[test]
    fn pods_of_a_running_clone_are_not_leftovers() {
        let running = claim(&json!({}));
        assert!(!left(&pod("source", "u-source-pod", "Running"), Some(&running)));
        assert!(!left(&pod("target", "cdi-upload-copy", "Failed"), Some(&running)));
        // The clone is complete, but the source is still writing its termination message.
        let done = claim(&json!({ CLONE_OF: "true" }));
        assert!(!left(&pod("source", "u-source-pod", "Running"), Some(&done)));
        assert!(!left(&pod("virt-launcher", "vm", "Succeeded"), None));
    }

    #[test]
    fn kept_pods_and_pods_of_deleted_claims_are_leftovers() {
        let done = claim(&json!({ CLONE_OF: "true" }));
        assert!(left(&pod("target", "cdi-upload-copy", "Succeeded"), Some(&done)));
        assert!(left(&pod("source", "u-source-pod", "Running"), None));
        assert!(left(&pod("source", "other-source-pod", "Running"), Some(&claim(&json!({})))));
    }

    #[test]
    fn pods_and_secrets_of_cdi_are_not_ours() {
        let meta = |labels: Value| -> Meta { serde_json::from_value(json!({ "labels": labels })).unwrap() };
        assert!(!is_ours(&meta(json!({ APP: APP_VALUE, COMPONENT: COMPONENT_SOURCE }))));
        assert!(is_ours(&meta(json!({ APP: APP_VALUE, ROLE: "source" }))));
        let is_our_secret = |kind: &str| {
            let metadata = json!({ "annotations": { CREATED_BY_CONTROLLER: "yes" } });
            serde_json::from_value::<Bare>(json!({ "metadata": metadata, "type": kind })).unwrap().is_ours()
        };
        assert!(is_our_secret("decant.dev/keys") && !is_our_secret("Opaque"));
    }

    #[test]
    fn a_data_volume_with_an_owner_is_not_deleted() {
        let dv = |owners: Value, phase: &str| -> DataVolume {
            serde_json::from_value(json!({
                "metadata": { "name": "d", "ownerReferences": owners },
                "spec": { "source": { "pvc": { "namespace": "n", "name": "golden" } } },
                "status": { "phase": phase },
            }))
            .unwrap()
        };
        assert!(is_finished(&dv(json!([]), "Succeeded")));
        assert!(!is_finished(&dv(json!([]), "CloneInProgress")));
        assert!(!is_finished(&dv(json!([{ "kind": "VirtualMachine", "name": "vm" }]), "Succeeded")));
    }
}
