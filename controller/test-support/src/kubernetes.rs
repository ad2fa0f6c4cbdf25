//! A small model of Kubernetes: as much of the API server and of its controllers as a population depends on.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use decant_controller::api::cluster::{ApiError, Cluster, ListPage, ListParams, Part, Watch};
use decant_controller::objects::{Key, Kind, Object, Uid};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The provisioner of the test's classes.
pub const PROVISIONER: &str = "disks.example";
/// Every pod runs on this node, unless it failed.
pub const NODE: &str = "node1";
/// Where pods run if [`NODE`] failed.
pub const OTHER_NODE: &str = "node2";
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
const PROTECTION: &str = "kubernetes.io/pvc-protection";
/// Long ago, so that no pause after a creation applies.
const CREATED: &str = "2026-01-01T12:00:00Z";

/// What happens with one call of the controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It fails and has no effect.
    Fails,
    /// It takes effect, and its answer is lost.
    AnswerLost,
    /// It takes effect, and the controller ends.
    Kills,
}

/// What is on a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Nothing was written to it.
    Empty,
    /// A clone began to write.
    Partial,
    /// A clone ended, or a user wrote it.
    Whole(String),
    /// The provisioner removed it.
    Destroyed,
}

/// A change that a watch brings; no object if it was deleted.
#[derive(Debug, Clone)]
pub struct Change {
    /// The kind of the object.
    pub kind: Kind,
    /// Its name.
    pub key: Key,
    /// The object after the change.
    pub object: Option<Value>,
}

/// Something that other users do right after a call of the controller.
type Deed = Box<dyn FnOnce(&mut State) + Send>;

/// The objects, what is on the volumes, and what the tests make happen.
#[derive(Default)]
pub struct State {
    objects: BTreeMap<(Kind, Key), Value>,
    /// Every change so far.
    pub log: Vec<Change>,
    /// By volume.
    pub content: BTreeMap<String, Content>,
    /// What snapshots hold.
    pub snapshots: BTreeMap<Key, Content>,
    /// The volumes that each pod has mounted, whatever happens to its claims.
    mounts: BTreeMap<Key, Vec<String>>,
    version: u64,
    uids: u64,
    /// The calls of the controller so far, except those about events.
    pub calls: usize,
    /// The same calls as text.
    pub trace: Vec<String>,
    /// What each pod found on its volumes when it started.
    pub opened: Vec<(Key, Vec<Content>)>,
    /// Why the pods of clones fail, if they do.
    pub failure: Option<String>,
    fault: Option<(usize, Fault)>,
    deed: Option<(usize, Deed)>,
    /// Whether the controller has ended.
    pub is_cut_off: bool,
    /// What must never happen, and did.
    pub violations: Vec<String>,
    /// Namespaces whose quota allows no further claim.
    pub full: Vec<String>,
    /// Whether the kubelet of [`NODE`] does not answer.
    pub is_node_failed: bool,
    /// Whether pods only start: no clone ends.
    pub is_copying_slow: bool,
}

/// The model.
#[derive(Default)]
pub struct Kubernetes(Mutex<State>);

/// Namespace and name of an object.
pub fn key(object: &Value) -> Key {
    let text = |name: &str| object["metadata"][name].as_str().unwrap_or_default().to_owned();
    Key::new(text("namespace"), text("name"))
}

/// The UID of an object.
pub fn uid(object: &Value) -> &str {
    object["metadata"]["uid"].as_str().unwrap_or_default()
}

fn is_deleting(object: &Value) -> bool {
    !object["metadata"]["deletionTimestamp"].is_null()
}

fn finalizers(object: &Value) -> Vec<String> {
    let list = object["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
    list.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect()
}

fn text<'o>(object: &'o Value, pointer: &str) -> &'o str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn api_error(code: u16, reason: &str, message: impl Into<String>) -> ApiError {
    ApiError { code, reason: reason.to_owned(), message: message.into() }
}

fn missing(kind: Kind, name: &Key) -> ApiError {
    api_error(404, "NotFound", format!("{} {name} not found", kind.plural()))
}

/// RFC 7396.
fn merge(into: &mut Value, patch: &Value) {
    let Some(members) = patch.as_object() else {
        *into = patch.clone();
        return;
    };
    if !into.is_object() {
        *into = json!({});
    }
    for (name, value) in members {
        if value.is_null() {
            into.as_object_mut().unwrap().remove(name);
        } else {
            merge(&mut into[name], value);
        }
    }
}

/// The claims that a pod uses.
fn claims_of(pod: &Value) -> Vec<Key> {
    let volumes = pod["spec"]["volumes"].as_array().cloned().unwrap_or_default();
    let names = volumes.iter().filter_map(|volume| volume["persistentVolumeClaim"]["claimName"].as_str());
    names.map(|name| Key::new(text(pod, "/metadata/namespace"), name)).collect()
}

fn has_ended(pod: &Value) -> bool {
    matches!(text(pod, "/status/phase"), "Succeeded" | "Failed")
}

/// Whether the first container of a pod is the source's or the target's.
fn is_of_role(pod: &Value, container: &str) -> bool {
    pod["spec"]["containers"][0]["name"] == container
}

/// Whether a pod clones without another one.
fn is_direct(pod: &Value) -> bool {
    pod["metadata"]["labels"]["decant.dev/role"] == "direct"
}

/// Whether a claim is filled before it is bound.
fn is_target(claim: &Value) -> bool {
    (!claim["spec"]["dataSourceRef"].is_null() || !claim["spec"]["dataSource"].is_null())
        && snapshot_of(claim).is_none()
}

/// The snapshot that a claim is restored from.
fn snapshot_of(claim: &Value) -> Option<Key> {
    let source = &claim["spec"]["dataSource"];
    let is_snapshot = source["apiGroup"] == "snapshot.storage.k8s.io" && source["kind"] == "VolumeSnapshot";
    is_snapshot.then(|| Key::new(text(claim, "/metadata/namespace"), text(source, "/name")))
}

/// The name of the VolumeSnapshotContent of a snapshot that the model takes.
fn content_of_snapshot(snapshot: &Value) -> String {
    format!("content-{}", uid(snapshot))
}

impl State {
    /// The object of this name.
    pub fn get(&self, kind: Kind, name: &Key) -> Option<&Value> {
        self.objects.get(&(kind, name.clone()))
    }

    /// All objects of a kind.
    pub fn all(&self, kind: Kind) -> Vec<Value> {
        self.objects.iter().filter(|((of, _), _)| *of == kind).map(|(_, object)| object.clone()).collect()
    }

    fn owner_exists(&self, uid_of_owner: &str) -> bool {
        self.objects.values().any(|object| uid(object) == uid_of_owner)
    }

    /// Stores an object, or removes it if it is being deleted and nothing holds it.
    fn store(&mut self, kind: Kind, mut object: Value) -> Value {
        let name = key(&object);
        if let Some(before) = self.get(kind, &name) {
            let mut unversioned = object.clone();
            unversioned["metadata"]["resourceVersion"] = before["metadata"]["resourceVersion"].clone();
            if unversioned == *before {
                return object;
            }
        }
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        let is_gone = is_deleting(&object) && finalizers(&object).is_empty();
        if is_gone {
            self.objects.remove(&(kind, name.clone()));
            if kind == Kind::PersistentVolume {
                self.content.remove(&name.name);
            }
            if kind == Kind::VolumeSnapshot {
                self.snapshots.remove(&name);
                let content = Key::new("", content_of_snapshot(&object));
                self.objects.remove(&(Kind::VolumeSnapshotContent, content));
            }
        } else {
            self.objects.insert((kind, name.clone()), object.clone());
        }
        self.log.push(Change { kind, key: name, object: (!is_gone).then(|| object.clone()) });
        self.check();
        object
    }

    /// Changes an object, if it exists.
    pub fn change(&mut self, kind: Kind, name: &Key, change: impl FnOnce(&mut Value)) {
        if let Some(mut object) = self.get(kind, name).cloned() {
            change(&mut object);
            self.store(kind, object);
        }
    }

    /// Creates an object, unless it exists or a quota forbids it.
    pub fn add(&mut self, kind: Kind, mut object: Value) -> Result<Value, ApiError> {
        let name = key(&object);
        if self.get(kind, &name).is_some() {
            return Err(api_error(409, "AlreadyExists", format!("{} {name} already exists", kind.plural())));
        }
        if kind == Kind::PersistentVolumeClaim && self.full.contains(&name.namespace) {
            let message = format!(
                "persistentvolumeclaims {:?} is forbidden: exceeded quota: claims, requested: persistentvolumeclaims=1",
                name.name
            );
            return Err(api_error(403, "Forbidden", message));
        }
        self.uids += 1;
        object["metadata"]["uid"] = format!("u{}", self.uids).into();
        object["metadata"]["creationTimestamp"] = CREATED.into();
        if kind == Kind::PersistentVolumeClaim {
            let mut held = finalizers(&object);
            held.push(PROTECTION.to_owned());
            object["metadata"]["finalizers"] = json!(held);
            object["status"] = json!({ "phase": "Pending" });
        }
        if kind == Kind::Pod && !text(&object, "/spec/nodeName").is_empty() {
            self.mount(&object);
        }
        Ok(self.store(kind, object))
    }

    fn mount(&mut self, pod: &Value) {
        let claims = claims_of(pod);
        let claims = claims.iter().filter_map(|name| self.get(Kind::PersistentVolumeClaim, name));
        let volumes: Vec<String> = claims.map(|claim| text(claim, "/spec/volumeName").to_owned()).collect();
        let found = volumes.iter().filter_map(|name| self.content.get(name).cloned()).collect();
        if pod["metadata"]["labels"]["decant.dev/role"].is_string() {
            self.check_writers(pod, &volumes);
        }
        self.opened.push((key(pod), found));
        self.mounts.insert(key(pod), volumes);
    }

    /// Notes a pod of a clone that mounts a volume which the pod `vm` may write to.
    fn check_writers(&mut self, pod: &Value, volumes: &[String]) {
        let written = self
            .mounts
            .iter()
            .filter(|(name, _)| name.name == "vm" && self.get(Kind::Pod, name).is_some())
            .flat_map(|(_, all)| all);
        let found = written
            .filter(|name| volumes.contains(name))
            .map(|name| format!("pod {} mounts {name}, which pod vm may write to", key(pod)));
        let found: Vec<String> = found.collect();
        self.violations.extend(found);
    }

    fn patch(&mut self, kind: Kind, name: &Key, patch: &Value) -> Result<Value, ApiError> {
        let before = self.get(kind, name).cloned().ok_or_else(|| missing(kind, name))?;
        for field in ["uid", "resourceVersion"] {
            let wanted = &patch["metadata"][field];
            if !wanted.is_null() && *wanted != before["metadata"][field] {
                let message = format!("the {field} of {} {name} differs", kind.plural());
                return Err(api_error(409, "Conflict", message));
            }
        }
        let mut object = before.clone();
        merge(&mut object, patch);
        object["metadata"]["resourceVersion"] = before["metadata"]["resourceVersion"].clone();
        let held = finalizers(&before);
        if is_deleting(&before) && finalizers(&object).iter().any(|name| !held.contains(name)) {
            let message = "no new finalizers can be added if the object is being deleted";
            return Err(api_error(422, "Invalid", message));
        }
        Ok(self.store(kind, object))
    }

    /// Deletes an object: it stays as long as a finalizer holds it.
    pub fn delete(&mut self, kind: Kind, name: &Key) {
        let now = OffsetDateTime::now_utc().format(&Rfc3339).unwrap();
        // The time of a pod on a node that failed is long over.
        let at = if self.is_node_failed { CREATED.to_owned() } else { now };
        self.change(kind, name, |object| {
            object["metadata"]["deletionTimestamp"] = at.as_str().into();
            if kind == Kind::Pod {
                // The kubelet stops it first.
                object["metadata"]["finalizers"] = json!(["test/kubelet"]);
            }
        });
    }

    /// Removes a pod without its kubelet, as a deletion without a grace period, or Kubernetes once its node is gone, does.
    pub fn force(&mut self, pod: &Key) {
        self.change(Kind::Pod, pod, |pod| pod["metadata"]["finalizers"] = json!([]));
    }

    /// Notes what must never happen: a target whose content is incomplete, or whose volume another pod still uses; and a
    /// DataVolume that has Succeeded without the digest of its clone, unless its condition reports why.
    fn check(&mut self) {
        let mut found = Vec::new();
        for dv in &self.all(Kind::DataVolume) {
            let claim = self.get(Kind::PersistentVolumeClaim, &key(dv));
            let is_restored = claim.is_none_or(|claim| {
                claim["metadata"]["annotations"]["cdi.kubevirt.io/storage.populatedFor"].is_string()
            });
            if text(dv, "/status/phase") == "Succeeded"
                && !is_restored
                && text(dv, "/metadata/annotations/decant.dev~1digest").is_empty()
                && !dv["status"]["conditions"].to_string().contains("ErrChangingDataVolume")
            {
                found.push(format!("{} has Succeeded without a digest", key(dv)));
            }
        }
        for claim in self.all(Kind::PersistentVolumeClaim).iter().filter(|claim| is_target(claim)) {
            let volume = text(claim, "/spec/volumeName");
            if volume.is_empty() || text(claim, "/metadata/annotations/test~1bound-by-user") == "true" {
                continue;
            }
            let content = self.content.get(volume);
            // A volume that goes after its claim was deleted is no fault.
            let is_whole = matches!(content, Some(Content::Whole(_)));
            if !is_whole
                && !is_deleting(claim)
                && text(claim, "/metadata/annotations/test~1lost-by-user") != "true"
            {
                found.push(format!("{} is bound to {volume} with content {content:?}", key(claim)));
            }
            for pod in &self.all(Kind::Pod) {
                let has_mounted =
                    self.mounts.get(&key(pod)).is_some_and(|all| all.iter().any(|name| name == volume));
                if has_mounted && !has_ended(pod) && !claims_of(pod).contains(&key(claim)) {
                    found.push(format!(
                        "{} is bound while pod {} still uses its volume",
                        key(claim),
                        key(pod)
                    ));
                }
            }
        }
        let trace = self.trace.len();
        self.violations.extend(found.into_iter().map(|what| format!("{what}, after call {trace}")));
    }

    fn class_of(&self, claim: &Value) -> Option<&Value> {
        self.get(Kind::StorageClass, &Key::new("", text(claim, "/spec/storageClassName")))
    }

    fn waits_for_consumer(&self, claim: &Value) -> bool {
        self.class_of(claim).is_some_and(|class| text(class, "/volumeBindingMode") == "WaitForFirstConsumer")
    }

    /// The provisioner: it leaves claims with a data source of another controller alone.
    fn provision(&mut self) {
        for claim in self.all(Kind::PersistentVolumeClaim) {
            let Some(class) = self.class_of(&claim).cloned() else { continue };
            let waits =
                self.waits_for_consumer(&claim) && claim["metadata"]["annotations"][SELECTED_NODE].is_null();
            let name = format!("pvc-{}", uid(&claim));
            let is_taken = self.get(Kind::PersistentVolume, &Key::new("", &name)).is_some();
            if !text(&claim, "/spec/volumeName").is_empty() || is_deleting(&claim) || is_target(&claim) {
                continue;
            }
            if waits || is_taken || text(&class, "/provisioner") != PROVISIONER {
                continue;
            }
            let volume = json!({
                "metadata": { "name": name },
                "spec": {
                    "capacity": { "storage": claim["spec"]["resources"]["requests"]["storage"] },
                    "accessModes": claim["spec"]["accessModes"], "volumeMode": claim["spec"]["volumeMode"],
                    "storageClassName": claim["spec"]["storageClassName"],
                    "persistentVolumeReclaimPolicy": class["reclaimPolicy"],
                    "claimRef": { "namespace": claim["metadata"]["namespace"], "name": claim["metadata"]["name"],
                                  "uid": uid(&claim) },
                },
                "status": { "phase": "Available" },
            });
            let content = match snapshot_of(&claim) {
                None => Content::Empty,
                Some(snapshot) => {
                    let is_ready = self
                        .get(Kind::VolumeSnapshot, &snapshot)
                        .is_some_and(|snapshot| snapshot["status"]["readyToUse"] == true);
                    let Some(content) = self.snapshots.get(&snapshot).filter(|_| is_ready) else { continue };
                    content.clone()
                }
            };
            self.content.insert(name, content);
            self.add(Kind::PersistentVolume, volume).unwrap();
        }
    }

    /// The snapshot controller: takes snapshots, which are ready to use one step later.
    fn take_snapshots(&mut self) {
        for snapshot in self.all(Kind::VolumeSnapshot) {
            let name = key(&snapshot);
            if snapshot["status"].is_null() {
                self.take_snapshot(&snapshot, &name);
            } else if snapshot["status"]["readyToUse"] == false && snapshot["status"]["error"].is_null() {
                self.change(Kind::VolumeSnapshot, &name, |snapshot| {
                    snapshot["status"]["readyToUse"] = true.into();
                });
            }
        }
    }

    fn take_snapshot(&mut self, snapshot: &Value, name: &Key) {
        let of = Key::new(&name.namespace, text(snapshot, "/spec/source/persistentVolumeClaimName"));
        let Some(claim) = self.get(Kind::PersistentVolumeClaim, &of).cloned() else { return };
        let Some(held) = self.content.get(text(&claim, "/spec/volumeName")).cloned() else { return };
        let content = content_of_snapshot(snapshot);
        let of_content = json!({
            "metadata": { "name": content },
            "spec": { "driver": PROVISIONER, "sourceVolumeMode": claim["spec"]["volumeMode"],
                      "volumeSnapshotRef": { "uid": uid(snapshot) } },
        });
        self.snapshots.insert(name.clone(), held);
        self.add(Kind::VolumeSnapshotContent, of_content).unwrap();
        self.change(Kind::VolumeSnapshot, name, |snapshot| {
            snapshot["status"] = json!({
                "readyToUse": false, "restoreSize": claim["spec"]["resources"]["requests"]["storage"],
                "boundVolumeSnapshotContentName": content, "creationTime": CREATED,
            });
        });
    }

    /// The controller of volumes and claims.
    fn bind(&mut self) {
        for volume in self.all(Kind::PersistentVolume) {
            let name = Key::new("", text(&volume, "/metadata/name"));
            let holder =
                Key::new(text(&volume, "/spec/claimRef/namespace"), text(&volume, "/spec/claimRef/name"));
            if holder.name.is_empty() {
                continue;
            }
            let held_by = text(&volume, "/spec/claimRef/uid").to_owned();
            let claim = self.get(Kind::PersistentVolumeClaim, &holder).filter(|claim| uid(claim) == held_by);
            let bound_to = claim.map(|claim| text(claim, "/spec/volumeName").to_owned());
            match bound_to {
                Some(bound_to) if bound_to.is_empty() || bound_to == name.name => {
                    let capacity = volume["spec"]["capacity"].clone();
                    self.change(Kind::PersistentVolumeClaim, &holder, |claim| {
                        claim["spec"]["volumeName"] = name.name.as_str().into();
                        claim["status"] = json!({ "phase": "Bound", "capacity": capacity });
                    });
                    self.change(Kind::PersistentVolume, &name, |volume| {
                        volume["status"]["phase"] = "Bound".into();
                    });
                }
                _ => self.release(&volume, &name),
            }
        }
        for claim in self.all(Kind::PersistentVolumeClaim) {
            let name = text(&claim, "/spec/volumeName");
            if name.is_empty() || text(&claim, "/status/phase") != "Bound" {
                continue;
            }
            let volume = self.get(Kind::PersistentVolume, &Key::new("", name));
            let is_held = volume.is_some_and(|volume| text(volume, "/spec/claimRef/uid") == uid(&claim));
            if !is_held {
                self.change(Kind::PersistentVolumeClaim, &key(&claim), |claim| {
                    claim["status"]["phase"] = "Lost".into();
                });
            }
        }
    }

    /// A volume whose claim is gone: first its phase changes, then its storage goes, then its object.
    fn release(&mut self, volume: &Value, name: &Key) {
        if text(volume, "/status/phase") != "Released" {
            self.change(Kind::PersistentVolume, name, |volume| {
                volume["status"]["phase"] = "Released".into();
            });
        } else if self.content.get(&name.name) == Some(&Content::Destroyed) {
            self.delete(Kind::PersistentVolume, name);
        } else if text(volume, "/spec/persistentVolumeReclaimPolicy") == "Delete" {
            self.content.insert(name.name.clone(), Content::Destroyed);
        }
    }

    /// The protection of claims that pods use.
    fn protect(&mut self) {
        for claim in self.all(Kind::PersistentVolumeClaim).iter().filter(|claim| is_deleting(claim)) {
            let name = key(claim);
            let is_used = self.all(Kind::Pod).iter().any(|pod| {
                !has_ended(pod) && !text(pod, "/spec/nodeName").is_empty() && claims_of(pod).contains(&name)
            });
            if !is_used {
                self.change(Kind::PersistentVolumeClaim, &name, |claim| {
                    let held: Vec<String> =
                        finalizers(claim).into_iter().filter(|name| name != PROTECTION).collect();
                    claim["metadata"]["finalizers"] = json!(held);
                });
            }
        }
    }

    fn collect_garbage(&mut self) {
        let owned: Vec<(Kind, Key, Value)> =
            self.objects.iter().map(|((kind, name), object)| (*kind, name.clone(), object.clone())).collect();
        for (kind, name, object) in owned {
            let owners = object["metadata"]["ownerReferences"].as_array().cloned().unwrap_or_default();
            let is_orphan =
                !owners.is_empty() && !owners.iter().any(|owner| self.owner_exists(text(owner, "/uid")));
            if is_orphan && !is_deleting(&object) {
                self.delete(kind, &name);
            }
        }
    }

    /// The scheduler and the kubelet.
    fn run_pods(&mut self) {
        for pod in self.all(Kind::Pod) {
            let name = key(&pod);
            let is_lost = self.is_node_failed && text(&pod, "/spec/nodeName") == NODE;
            if is_lost {
                continue;
            }
            if is_deleting(&pod) {
                self.change(Kind::Pod, &name, |pod| pod["metadata"]["finalizers"] = json!([]));
            } else if text(&pod, "/spec/nodeName").is_empty() {
                self.start(&pod, &name);
            } else if is_of_role(&pod, "cdi-clone-source") && !has_ended(&pod) {
                self.copy(&pod);
            } else if is_direct(&pod) && !has_ended(&pod) {
                self.copy_directly(&pod);
            }
        }
    }

    fn start(&mut self, pod: &Value, name: &Key) {
        let keys = text(pod, "/metadata/annotations/decant.dev~1keys");
        let is_key = |secret: &Key| secret.namespace == name.namespace && secret.name.starts_with(keys);
        if !keys.is_empty() && !self.all(Kind::Secret).iter().any(|secret| is_key(&key(secret))) {
            return;
        }
        let written = claims_of(pod).into_iter().next();
        for claim in claims_of(pod) {
            let Some(object) = self.get(Kind::PersistentVolumeClaim, &claim).cloned() else { return };
            if is_deleting(&object) {
                return;
            }
            if text(&object, "/spec/volumeName").is_empty() {
                if self.waits_for_consumer(&object) {
                    self.change(Kind::PersistentVolumeClaim, &claim, |claim| {
                        claim["metadata"]["annotations"][SELECTED_NODE] = NODE.into();
                    });
                }
                return;
            }
            let is_clone_target = is_of_role(pod, "cdi-upload-server");
            if is_clone_target && written.as_ref() == Some(&claim) {
                self.content.insert(text(&object, "/spec/volumeName").to_owned(), Content::Partial);
            }
        }
        self.mount(pod);
        let node = if self.is_node_failed { OTHER_NODE } else { NODE };
        self.change(Kind::Pod, name, |pod| {
            pod["spec"]["nodeName"] = node.into();
            let container = pod["spec"]["containers"][0]["name"].clone();
            pod["status"] = json!({ "phase": "Running", "podIP": "10.0.0.1", "containerStatuses": [
                { "name": container, "ready": true, "state": { "running": {} } } ] });
        });
    }

    fn volume_of(&self, pod: &Value) -> Option<String> {
        let claim = self.get(Kind::PersistentVolumeClaim, claims_of(pod).first()?)?;
        Some(text(claim, "/spec/volumeName").to_owned())
    }

    /// The container ended with an error, and the kubelet waits before it starts it again.
    fn fail(&mut self, pod: &Value, message: &str) {
        self.change(Kind::Pod, &key(pod), |pod| {
            let name = pod["spec"]["containers"][0]["name"].clone();
            let ended = json!({ "exitCode": 1, "reason": "Error", "message": message, "finishedAt": CREATED });
            pod["status"]["containerStatuses"] = json!([{
                "name": name, "ready": false, "restartCount": 4,
                "state": { "waiting": { "reason": "CrashLoopBackOff" } }, "lastState": { "terminated": ended },
            }]);
        });
    }

    /// The source sends everything to its target, and both end.
    fn copy(&mut self, source: &Value) {
        if self.is_copying_slow {
            return;
        }
        let peer = text(source, "/metadata/annotations/decant.dev~1target-pod-uid");
        let target = self.all(Kind::Pod).into_iter().find(|pod| uid(pod) == peer && !is_deleting(pod));
        let Some(target) = target.filter(|pod| text(pod, "/status/phase") == "Running") else { return };
        let (Some(from), Some(to)) = (self.volume_of(source), self.volume_of(&target)) else { return };
        let Some(Content::Whole(data)) = self.content.get(&from).cloned() else { return };
        if let Some(failure) = self.failure.clone() {
            return self.fail(&target, &failure);
        }
        self.content.insert(to, Content::Whole(data.clone()));
        self.end_pods(&data, &[target, source.clone()]);
    }

    /// A pod copies from its read-only volume to its first one, and ends.
    fn copy_directly(&mut self, pod: &Value) {
        let volumes = self.mounts.get(&key(pod)).cloned().unwrap_or_default();
        let [to, from] = &volumes[..] else { panic!("two volumes: {volumes:?}") };
        let Some(Content::Whole(data)) = self.content.get(from).cloned() else { return };
        self.content.insert(to.clone(), Content::Whole(data.clone()));
        self.end_pods(&data, std::slice::from_ref(pod));
    }

    /// Ends pods that have copied this.
    fn end_pods(&mut self, data: &str, pods: &[Value]) {
        let digest = format!("decant1:7:{}", data.replace(' ', ""));
        for pod in pods {
            self.change(Kind::Pod, &key(pod), |pod| {
                let message = json!({ "digest": digest, "digestConfirmed": true }).to_string();
                let container = pod["spec"]["containers"][0]["name"].clone();
                let ended = json!({ "exitCode": 0, "reason": "Completed", "message": message, "finishedAt": CREATED });
                pod["status"] = json!({ "phase": "Succeeded", "containerStatuses": [
                    { "name": container, "state": { "terminated": ended } } ] });
            });
        }
    }
}

impl Kubernetes {
    /// Direct access to everything.
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// One step of each controller of Kubernetes. Returns whether anything changed.
    pub fn tick(&self) -> bool {
        let mut state = self.lock();
        let before = (state.version, state.content.clone());
        state.take_snapshots();
        state.provision();
        state.bind();
        state.run_pods();
        state.protect();
        state.collect_garbage();
        before != (state.version, state.content.clone())
    }

    /// An object that another user creates.
    pub fn add(&self, kind: Kind, object: Value) -> Value {
        self.lock().add(kind, object).unwrap()
    }

    /// Lets the UIDs of new objects differ from those of another cluster, whose first one is 1.
    pub fn count_uids_from(&self, first: u64) {
        self.lock().uids = first;
    }

    /// A StorageClass of the provisioner. With `waits`, its volumes are created for their first consumer.
    pub fn add_class(&self, name: &str, waits: bool, reclaim_policy: &str) {
        let mode = if waits { "WaitForFirstConsumer" } else { "Immediate" };
        let class = json!({ "metadata": { "name": name }, "provisioner": PROVISIONER, "volumeBindingMode": mode,
                            "reclaimPolicy": reclaim_policy });
        self.add(Kind::StorageClass, class);
    }

    /// Lets the provisioner be a CSI driver.
    pub fn add_driver(&self) {
        self.add(Kind::CsiDriver, json!({ "metadata": { "name": PROVISIONER } }));
    }

    /// A PVC with these metadata, bound to a volume of its name with `data`. The volume is deleted with the PVC.
    pub fn add_filled(&self, metadata: &Value, mut spec: Value, data: &str) {
        let name = text(metadata, "/name").to_owned();
        spec["volumeName"] = name.as_str().into();
        let capacity = spec["resources"]["requests"].clone();
        let claim = self.add(Kind::PersistentVolumeClaim, json!({ "metadata": metadata, "spec": spec }));
        let holder = json!({ "namespace": claim["metadata"]["namespace"], "name": name, "uid": uid(&claim) });
        let volume = json!({
            "metadata": { "name": name },
            "spec": { "capacity": capacity, "persistentVolumeReclaimPolicy": "Delete", "claimRef": holder },
            "status": { "phase": "Bound" },
        });
        self.add(Kind::PersistentVolume, volume);
        self.lock().content.insert(name, Content::Whole(data.to_owned()));
        self.tick();
    }

    /// What is on the volume of a PVC; `None` while it is not bound.
    pub fn content_of(&self, claim: &Key) -> Option<Content> {
        let claim = self.find(Kind::PersistentVolumeClaim, claim)?;
        self.lock().content.get(text(&claim, "/spec/volumeName")).cloned()
    }

    /// A deletion by another user.
    pub fn user_delete(&self, kind: Kind, name: &Key) {
        self.lock().delete(kind, name);
    }

    /// The object of this name.
    pub fn find(&self, kind: Kind, name: &Key) -> Option<Value> {
        self.lock().get(kind, name).cloned()
    }

    /// All objects of a kind.
    pub fn all(&self, kind: Kind) -> Vec<Value> {
        self.lock().all(kind)
    }

    /// Lets `fault` happen with the call of this number; the first is 1.
    pub fn fail_at(&self, call: usize, fault: Fault) {
        self.lock().fault = Some((call, fault));
    }

    /// Does this after the call of that number.
    pub fn after_call(&self, call: usize, deed: impl FnOnce(&mut State) + Send + 'static) {
        self.lock().deed = Some((call, Box::new(deed)));
    }

    fn call<T>(
        &self,
        what: &str,
        run: impl FnOnce(&mut State) -> Result<T, ApiError>,
    ) -> Result<T, ApiError> {
        let mut state = self.lock();
        if state.is_cut_off {
            return Err(api_error(0, "Killed", "the controller has ended"));
        }
        state.calls += 1;
        let number = state.calls;
        state.trace.push(format!("{number} {what}"));
        let fault = state.fault.take_if(|(at, _)| *at == number).map(|(_, fault)| fault);
        if fault == Some(Fault::Fails) {
            return Err(api_error(503, "ServiceUnavailable", "try again"));
        }
        let result = run(&mut state);
        if let Some((_, deed)) = state.deed.take_if(|(at, _)| *at == number) {
            deed(&mut state);
        }
        match fault {
            Some(Fault::AnswerLost) => Err(api_error(0, "Timeout", "the answer was lost")),
            Some(Fault::Kills) => {
                state.is_cut_off = true;
                Err(api_error(0, "Killed", "the controller has ended"))
            }
            _ => result,
        }
    }
}

impl Cluster for Kubernetes {
    fn get(&self, kind: Kind, name: &Key) -> Result<Object, ApiError> {
        self.call(&format!("get {} {name}", kind.name()), |state| {
            state.get(kind, name).cloned().map(Object::from).ok_or_else(|| missing(kind, name))
        })
    }

    fn list(&self, kind: Kind, params: &ListParams) -> Result<ListPage, ApiError> {
        self.call(&format!("list {}", kind.name()), |state| {
            let selects = |object: &Value, selector: &str| {
                let (field, value) = selector.split_once('=').unwrap();
                text(object, &format!("/{}", field.replace('.', "/"))) == value
            };
            let is_asked = |object: &Value| {
                params.namespace.as_ref().is_none_or(|name| text(object, "/metadata/namespace") == name)
                    && params
                        .fields
                        .split(',')
                        .filter(|text| !text.is_empty())
                        .all(|text| selects(object, text))
            };
            let items = state.all(kind).into_iter().filter(is_asked).map(Object::from).collect();
            Ok(ListPage { items, ..ListPage::default() })
        })
    }

    fn watch(&self, _: Kind, _: &ListParams, _: &str) -> Result<Box<dyn Watch>, ApiError> {
        Err(api_error(410, "Expired", ""))
    }

    fn create(&self, kind: Kind, object: &Value) -> Result<Object, ApiError> {
        if kind == Kind::Event {
            let mut state = self.lock();
            return if state.is_cut_off {
                Err(api_error(0, "Killed", ""))
            } else {
                state.add(kind, object.clone()).map(Object::from)
            };
        }
        self.call(&format!("create {} {}", kind.name(), key(object)), |state| {
            state.add(kind, object.clone()).map(Object::from)
        })
    }

    fn patch(&self, kind: Kind, name: &Key, part: Part, patch: &Value) -> Result<Object, ApiError> {
        let what = format!("patch {} {name} {patch}", kind.name());
        self.call(&what, |state| {
            let mut patch = patch.clone();
            match part {
                Part::Status => patch = json!({ "status": patch["status"] }),
                Part::Whole => {
                    patch.as_object_mut().unwrap().remove("status");
                }
            }
            state.patch(kind, name, &patch).map(Object::from)
        })
    }

    fn replace(&self, kind: Kind, name: &Key, object: &Value) -> Result<Object, ApiError> {
        self.call(&format!("replace {} {name}", kind.name()), |state| {
            Ok(state.store(kind, object.clone()).into())
        })
    }

    fn delete(&self, kind: Kind, name: &Key, wanted: &Uid, grace_secs: Option<u32>) -> Result<(), ApiError> {
        self.call(&format!("delete {} {name}", kind.name()), |state| {
            if state.get(kind, name).is_some_and(|object| uid(object) == wanted.as_str()) {
                state.delete(kind, name);
                if kind == Kind::Pod && grace_secs == Some(0) {
                    state.force(name);
                }
            }
            Ok(())
        })
    }

    fn pod_proxy(&self, _: &Key, _: u16, _: &str, _: Duration, _: usize) -> Result<String, ApiError> {
        Err(api_error(503, "ServiceUnavailable", ""))
    }
}
