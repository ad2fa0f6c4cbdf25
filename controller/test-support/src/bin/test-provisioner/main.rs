//! A dynamic provisioner for tests. It acts as the external-provisioner of a CSI driver does, with volumes on loop devices of
//! this machine, and as its snapshot controller, whose snapshots are copies. `scripts/cluster.sh provisioner up` starts it.
//!
//! It keeps no state besides its delays: after any change of a claim, class or volume it looks at all of them and does what is
//! missing. A volume that is released is deleted if its reclaim policy is `Delete`, whatever its `claimRef` names: CSI
//! provisioners do the same.

mod disks;
mod request;
mod snapshots;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use decant_controller::api::client::KubeCluster;
use decant_controller::api::cluster::{ApiError, Cluster, ListParams, WatchEvent};
use decant_controller::objects::{Key, Kind, Uid};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::disks::Disks;
use crate::request::{Request, Verdict, is_ours_to_delete, text, verdict};

/// Everything is looked at again after this time, also without a change.
const PERIOD: Duration = Duration::from_secs(5);
/// What failed is tried again after this time.
const RETRY: Duration = Duration::from_secs(1);
/// What is watched.
const KINDS: [Kind; 4] =
    [Kind::StorageClass, Kind::PersistentVolumeClaim, Kind::PersistentVolume, Kind::VolumeSnapshot];

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(kubeconfig), Some(volumes), Some(node), None) =
        (args.next(), args.next(), args.next(), args.next())
    else {
        eprintln!("usage: test-provisioner KUBECONFIG DIRECTORY_OF_VOLUMES NODE");
        return ExitCode::from(2);
    };
    let cluster = match KubeCluster::connect(Some(&kubeconfig)) {
        Ok(cluster) => Arc::new(cluster),
        Err(e) => {
            eprintln!("test-provisioner: {e}");
            return ExitCode::FAILURE;
        }
    };
    let (changed, changes) = channel();
    for kind in KINDS {
        let (cluster, changed) = (Arc::clone(&cluster), changed.clone());
        std::thread::spawn(move || watch(&cluster, kind, &changed));
    }
    let mut provisioner = Provisioner {
        cluster,
        disks: Disks { directory: volumes },
        node: node.display().to_string(),
        objects: HashMap::new(),
        first_seen: HashMap::new(),
        said: HashSet::new(),
    };
    provisioner.run(&changes);
    ExitCode::SUCCESS
}

/// What a watch reports.
enum Change {
    /// The watch starts: the objects that exist follow.
    Started(Kind),
    Applied(Kind, Value),
    Deleted(Kind, Value),
}

/// Sends all objects of `kind`, and then their changes.
fn watch(cluster: &KubeCluster, kind: Kind, changed: &Sender<Change>) {
    loop {
        if changed.send(Change::Started(kind)).is_err() {
            return;
        }
        if let Err(e) = follow(cluster, kind, changed) {
            eprintln!("{}: {e}", kind.plural());
        }
        std::thread::sleep(RETRY);
    }
}

/// Returns when the watch ends, or the provisioner.
fn follow(cluster: &KubeCluster, kind: Kind, changed: &Sender<Change>) -> Result<(), ApiError> {
    // Without a version, the watch starts with the objects that exist.
    let mut watch = cluster.watch(kind, &ListParams::default(), "")?;
    loop {
        let change = match watch.next(PERIOD)? {
            None | Some(WatchEvent::Bookmark(_)) => continue,
            Some(WatchEvent::Applied(object)) => Change::Applied(kind, object.value()),
            Some(WatchEvent::Deleted(object)) => Change::Deleted(kind, object.value()),
            Some(WatchEvent::Failed(e)) => return Err(e),
        };
        if changed.send(change).is_err() {
            return Ok(());
        }
    }
}

struct Provisioner {
    cluster: Arc<KubeCluster>,
    disks: Disks,
    /// The node of volumes of classes that do not wait for a pod.
    node: String,
    /// The objects of each kind, by UID.
    objects: HashMap<Kind, BTreeMap<String, Value>>,
    /// When the claims that have a delay were ready to be provisioned.
    first_seen: HashMap<String, Instant>,
    /// UID and message of the events that were written: each is written once.
    said: HashSet<(String, String)>,
}

impl Provisioner {
    fn run(&mut self, changes: &Receiver<Change>) {
        let mut pause = Duration::ZERO;
        loop {
            if let Ok(change) = changes.recv_timeout(pause) {
                self.note(change);
                changes.try_iter().for_each(|change| self.note(change));
            }
            pause = self.round();
        }
    }

    fn note(&mut self, change: Change) {
        let uid = |object: &Value| text(object, "/metadata/uid").to_owned();
        match change {
            Change::Started(kind) => {
                self.objects.remove(&kind);
            }
            Change::Applied(kind, object) => {
                self.objects.entry(kind).or_default().insert(uid(&object), object);
            }
            Change::Deleted(kind, object) => {
                if kind == Kind::VolumeSnapshot {
                    self.forget_snapshot(&object);
                }
                self.objects.entry(kind).or_default().remove(&uid(&object));
            }
        }
    }

    fn all(&self, kind: Kind) -> impl Iterator<Item = &Value> {
        self.objects.get(&kind).into_iter().flat_map(BTreeMap::values)
    }

    /// Does what is missing; returns after which time to look again.
    fn round(&mut self) -> Duration {
        let verdict_on = |claim: &Value| {
            let name = text(claim, "/spec/storageClassName");
            let class = self.all(Kind::StorageClass).find(|class| text(class, "/metadata/name") == name);
            class.map_or(Verdict::NotOurs, |class| verdict(claim, class, &self.node))
        };
        let claims = self.all(Kind::PersistentVolumeClaim).map(|claim| (claim.clone(), verdict_on(claim)));
        let claims: Vec<(Value, Verdict)> =
            claims.filter(|(_, verdict)| *verdict != Verdict::NotOurs).collect();
        let mut pause = self.take_snapshots();
        for (claim, verdict) in &claims {
            pause = pause.min(self.serve(claim, verdict).unwrap_or(PERIOD));
        }
        for volume in self.all(Kind::PersistentVolume).filter(|volume| is_ours_to_delete(volume)) {
            if let Err(e) = self.remove(volume) {
                eprintln!("cannot delete volume {}: {e}", text(volume, "/metadata/name"));
                pause = pause.min(RETRY);
            }
        }
        pause
    }

    /// Does what a claim needs; returns after which time to try again, `None` if nothing is left to do.
    fn serve(&mut self, claim: &Value, verdict: &Verdict) -> Option<Duration> {
        match verdict {
            Verdict::NotOurs => None,
            Verdict::ForeignSource => {
                let message = "Assuming an external populator will provision the volume";
                self.say(claim, "Normal", "Provisioning", message);
                None
            }
            Verdict::Refused(why) => {
                self.say(claim, "Warning", "ProvisioningFailed", &failure(claim, why));
                None
            }
            Verdict::Provision(request) => self.provision(claim, request),
        }
    }

    /// Makes the volume; returns after which time to try again, `None` if it exists now.
    fn provision(&mut self, claim: &Value, request: &Request) -> Option<Duration> {
        if self.all(Kind::PersistentVolume).any(|volume| text(volume, "/metadata/name") == request.volume) {
            return None;
        }
        let uid = text(claim, "/metadata/uid").to_owned();
        let waited = self.first_seen.entry(uid).or_insert_with(Instant::now).elapsed();
        if waited < request.delay {
            return Some(request.delay - waited);
        }
        match self.make(request) {
            Ok(()) => {
                let message = format!("Successfully provisioned volume {}", request.volume);
                self.say(claim, "Normal", "ProvisioningSucceeded", &message);
                None
            }
            Err(e) => {
                self.say(claim, "Warning", "ProvisioningFailed", &failure(claim, &e));
                Some(RETRY)
            }
        }
    }

    fn make(&self, request: &Request) -> Result<(), String> {
        // The watch may not have reported it yet.
        match self.cluster.get(Kind::PersistentVolume, &Key::new("", &request.volume)) {
            Ok(_) => return Ok(()),
            Err(e) if e.is_not_found() => {}
            Err(e) => return Err(e.to_string()),
        }
        let snapshot = request.snapshot.as_ref().map(|name| self.taken(request, name)).transpose()?;
        let path = self.disks.make(request, snapshot.as_deref())?;
        let volume = request.volume_on(&path);
        self.cluster.create(Kind::PersistentVolume, &volume).map(drop).map_err(|e| e.to_string())
    }

    /// Deletes a volume with its data, if it is still released.
    fn remove(&self, volume: &Value) -> Result<(), String> {
        let name = text(volume, "/metadata/name");
        let key = Key::new("", name);
        let current = match self.cluster.get(Kind::PersistentVolume, &key) {
            Ok(current) => current.value(),
            Err(e) if e.is_not_found() => return Ok(()),
            Err(e) => return Err(e.to_string()),
        };
        if !is_ours_to_delete(&current) {
            return Ok(());
        }
        self.disks.remove(name)?;
        let uid = Uid::from(text(&current, "/metadata/uid"));
        self.cluster.delete(Kind::PersistentVolume, &key, &uid, None).map_err(|e| e.to_string())?;
        eprintln!("deleted {name}");
        Ok(())
    }

    /// Writes an event about a claim, once.
    fn say(&mut self, claim: &Value, severity: &str, reason: &str, message: &str) {
        let uid = text(claim, "/metadata/uid");
        if !self.said.insert((uid.to_owned(), message.to_owned())) {
            return;
        }
        let namespace = text(claim, "/metadata/namespace");
        let name = text(claim, "/metadata/name");
        eprintln!("{namespace}/{name}: {reason}: {message}");
        let now = OffsetDateTime::now_utc().replace_nanosecond(0).ok();
        let now = now.and_then(|now| now.format(&Rfc3339).ok());
        let event = json!({
            "apiVersion": "v1", "kind": "Event",
            "metadata": { "namespace": namespace, "generateName": format!("{uid}.") },
            "involvedObject": { "apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": namespace, "name": name,
                                "uid": uid },
            "type": severity, "reason": reason, "message": message, "count": 1,
            "source": { "component": "test-provisioner" }, "firstTimestamp": now, "lastTimestamp": now,
        });
        if let Err(e) = self.cluster.create(Kind::Event, &event) {
            eprintln!("cannot write the event: {e}");
        }
    }
}

/// The message of the external-provisioner.
fn failure(claim: &Value, why: &str) -> String {
    let class = text(claim, "/spec/storageClassName");
    format!("failed to provision volume with StorageClass \"{class}\": {why}")
}
