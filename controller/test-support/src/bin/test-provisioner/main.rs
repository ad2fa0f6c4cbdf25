//! A dynamic provisioner for tests. It acts as the external-provisioner of a CSI driver does, with volumes on loop devices of
//! this machine. `scripts/cluster.sh provisioner up` starts it.
//!
//! It keeps no state besides its delays: after any change of a claim, class or volume it lists everything and does what is
//! missing. A volume that is released is deleted if its reclaim policy is `Delete`, whatever its `claimRef` names: CSI
//! provisioners do the same.

mod disks;
mod request;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use decant_controller::api::client::KubeCluster;
use decant_controller::api::cluster::{ApiError, Cluster, ListParams};
use decant_controller::api::listing::list;
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
/// Changes that come together are handled together.
const SETTLING: Duration = Duration::from_millis(20);

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
    for kind in [Kind::PersistentVolumeClaim, Kind::PersistentVolume, Kind::StorageClass] {
        let (cluster, changed) = (Arc::clone(&cluster), changed.clone());
        std::thread::spawn(move || watch(&cluster, kind, &changed));
    }
    let mut provisioner = Provisioner {
        cluster,
        disks: Disks { directory: volumes },
        node: node.display().to_string(),
        first_seen: HashMap::new(),
        said: HashSet::new(),
    };
    provisioner.run(&changes);
    ExitCode::SUCCESS
}

/// Sends a message after each change of an object of `kind`.
fn watch(cluster: &KubeCluster, kind: Kind, changed: &Sender<()>) {
    loop {
        // Without a version, the watch starts with the objects that exist.
        let ended = cluster.watch(kind, &ListParams::default(), "").and_then(|mut watch| {
            loop {
                if watch.next(PERIOD)?.is_some() && changed.send(()).is_err() {
                    return Ok(());
                }
            }
        });
        match ended {
            Ok(()) => return,
            Err(e) => eprintln!("{}: {e}", kind.plural()),
        }
        std::thread::sleep(RETRY);
    }
}

struct Provisioner {
    cluster: Arc<KubeCluster>,
    disks: Disks,
    /// The node of volumes of classes that do not wait for a pod.
    node: String,
    /// When the claims that have a delay were ready to be provisioned.
    first_seen: HashMap<String, Instant>,
    /// UID and message of the events that were written: each is written once.
    said: HashSet<(String, String)>,
}

impl Provisioner {
    fn run(&mut self, changes: &Receiver<()>) {
        let mut pause = Duration::ZERO;
        loop {
            if changes.recv_timeout(pause).is_ok() {
                std::thread::sleep(SETTLING);
                while changes.try_recv().is_ok() {}
            }
            pause = self.round().unwrap_or_else(|e| {
                eprintln!("{e}");
                RETRY
            });
        }
    }

    /// Does what is missing; returns after which time to look again.
    fn round(&mut self) -> Result<Duration, ApiError> {
        let classes = self.all(Kind::StorageClass)?;
        let claims = self.all(Kind::PersistentVolumeClaim)?;
        let volumes = self.all(Kind::PersistentVolume)?;
        let mut pause = PERIOD;
        for claim in &claims {
            let name = text(claim, "/spec/storageClassName");
            let class = classes.iter().find(|class| text(class, "/metadata/name") == name);
            let next = match class.map_or(Verdict::NotOurs, |class| verdict(claim, class, &self.node)) {
                Verdict::NotOurs => None,
                Verdict::ForeignSource => {
                    let message = "Assuming an external populator will provision the volume";
                    self.say(Kind::PersistentVolumeClaim, claim, "Normal", "Provisioning", message);
                    None
                }
                Verdict::Refused(why) => {
                    let message = format!("failed to provision volume with StorageClass \"{name}\": {why}");
                    self.say(Kind::PersistentVolumeClaim, claim, "Warning", "ProvisioningFailed", &message);
                    None
                }
                Verdict::Provision(request) => {
                    let exists =
                        volumes.iter().any(|volume| text(volume, "/metadata/name") == request.volume);
                    if exists { None } else { self.provision(claim, &request) }
                }
            };
            pause = pause.min(next.unwrap_or(PERIOD));
        }
        for volume in volumes.iter().filter(|volume| is_ours_to_delete(volume)) {
            if let Err(e) = self.remove(volume) {
                eprintln!("cannot delete volume {}: {e}", text(volume, "/metadata/name"));
                pause = pause.min(RETRY);
            }
        }
        Ok(pause)
    }

    fn all(&self, kind: Kind) -> Result<Vec<Value>, ApiError> {
        let mut found = Vec::new();
        list(self.cluster.as_ref(), kind, &ListParams::default(), |object| found.push(object.value()))?;
        Ok(found)
    }

    /// Makes the volume; returns after which time to try again, `None` if it exists now.
    fn provision(&mut self, claim: &Value, request: &Request) -> Option<Duration> {
        let uid = text(claim, "/metadata/uid").to_owned();
        let waited = self.first_seen.entry(uid).or_insert_with(Instant::now).elapsed();
        if waited < request.delay {
            return Some(request.delay - waited);
        }
        let made = self.disks.make(request).and_then(|path| {
            let volume = request.volume_on(&path);
            match self.cluster.create(Kind::PersistentVolume, &volume) {
                Err(e) if !e.already_exists() => Err(e.to_string()),
                _ => Ok(()),
            }
        });
        match made {
            Ok(()) => {
                let message = format!("Successfully provisioned volume {}", request.volume);
                self.say(Kind::PersistentVolumeClaim, claim, "Normal", "ProvisioningSucceeded", &message);
                None
            }
            Err(e) => {
                let message = format!("failed to provision volume: {e}");
                self.say(Kind::PersistentVolumeClaim, claim, "Warning", "ProvisioningFailed", &message);
                Some(RETRY)
            }
        }
    }

    /// Deletes a volume with its data, if the list that shows it as released is still right.
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

    /// Writes an event about `object`, once.
    fn say(&mut self, kind: Kind, object: &Value, severity: &str, reason: &str, message: &str) {
        let uid = text(object, "/metadata/uid");
        if !self.said.insert((uid.to_owned(), message.to_owned())) {
            return;
        }
        let namespace = text(object, "/metadata/namespace");
        let name = text(object, "/metadata/name");
        eprintln!("{namespace}/{name}: {reason}: {message}");
        let now = OffsetDateTime::now_utc().replace_nanosecond(0).ok();
        let now = now.and_then(|now| now.format(&Rfc3339).ok());
        let event = json!({
            "apiVersion": "v1", "kind": "Event",
            "metadata": { "namespace": namespace, "generateName": format!("{}.", uid) },
            "involvedObject": { "apiVersion": "v1", "kind": kind.name(), "namespace": namespace, "name": name,
                                "uid": uid },
            "type": severity, "reason": reason, "message": message, "count": 1,
            "source": { "component": "test-provisioner" }, "firstTimestamp": now, "lastTimestamp": now,
        });
        if let Err(e) = self.cluster.create(Kind::Event, &event) {
            eprintln!("cannot write the event: {e}");
        }
    }
}
