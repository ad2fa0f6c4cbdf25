//! Observes the snapshot that is taken of a source in use, and how it can be taken (docs/protocol.md section 7.5). Snapshots are not
//! watched: the target says whether there may be one.

use std::sync::Arc;

use crate::api::cluster::{ApiError, ListParams};
use crate::api::listing;
use crate::objects;
use crate::objects::annotations::SOURCE_SNAPSHOT;
use crate::objects::snapshot::VolumeSnapshotClass;
use crate::objects::{Claim, Key, Kind, StorageProfile, VolumeSnapshot, names};
use crate::policy::SourceInUse;
use crate::reconcile::observe::Observer;
use crate::reconcile::observe::snapshot::{is_restored_from, source, unreadable};
use crate::reconcile::observed::{
    Observed, ObservedSnapshot, Origin, Restored, SnapshotChoice, TakenSnapshot,
};
use crate::reconcile::population::record::SnapshotRecord;

impl Observer {
    /// Observes the snapshot that was taken of a source claim. If the source is a claim, lets the clone in `seen` read what
    /// is restored from that snapshot.
    pub(super) fn observe_taken(&self, seen: &mut Observed) -> Result<(), ApiError> {
        let wish = seen.source_in_use_wish().unwrap_or(self.policy.now().source_in_use);
        seen.wants_snapshot = wish == SourceInUse::Snapshot;
        let Some(target) = seen.target.clone().filter(|claim| claim.populator().is_none()) else {
            return Ok(());
        };
        let is_complete = seen.is_marked_done() && seen.outcome.is_some();
        if is_complete && !target.is_held() {
            return Ok(());
        }
        let name = names::source_snapshot(&target.metadata.uid);
        let is_claim = matches!(seen.origin, Origin::Claim(_));
        let is_restored = is_claim && seen.restored != Restored::Missing;
        if target.metadata.annotation(SOURCE_SNAPSHOT).is_some() || is_restored {
            self.taken(&target, &name, seen)?;
        }
        if is_complete || !is_claim {
            return Ok(());
        }
        let ours = match &seen.taken {
            TakenSnapshot::Ours { snapshot, is_recorded: true } => Some(Arc::clone(snapshot)),
            _ => None,
        };
        let has_restored =
            matches!(&seen.restored, Restored::Ours { claim, .. } if is_restored_from(claim, &name));
        if seen.is_taken_of_other() || ours.is_none() && !has_restored {
            return Ok(());
        }
        // Something else was restored for an earlier request of this target.
        if let Restored::Ours { claim, .. } = &seen.restored
            && !has_restored
        {
            seen.restored = Restored::Foreign(Arc::clone(claim));
        }
        let mut snapshot = ObservedSnapshot::default();
        if let Some(ours) = &ours {
            snapshot.metadata = Some(ours.metadata.clone());
            snapshot.taken_at = taken_at(ours);
            if !has_restored {
                snapshot.restore = self.restore(ours, seen)?;
            }
        }
        if let Restored::Ours { claim, .. } = &seen.restored {
            snapshot.error = self.provisioning_error(claim)?;
        }
        if let Some(restored) = source(seen, &snapshot) {
            seen.source = Some(Arc::new(restored));
        }
        seen.snapshot = Some(snapshot);
        Ok(())
    }

    /// Observes the VolumeSnapshot `name` in the namespace of the record; without a record in that of the source, or of the
    /// target if the source is not known.
    fn taken(&self, target: &Claim, name: &str, seen: &mut Observed) -> Result<(), ApiError> {
        let record = SnapshotRecord::of(&target.metadata, &self.keys);
        let of_source = seen.source_key().map_or(&target.metadata.namespace, |source| &source.namespace);
        let key = Key::new(record.as_ref().map_or(of_source, |record| &record.namespace), name);
        seen.taken_of = record.as_ref().map(|record| record.source.clone());
        let found = match self.cluster.get(Kind::VolumeSnapshot, &key) {
            Ok(object) => {
                Arc::new(objects::decode::<VolumeSnapshot>(object).map_err(|e| unreadable(&key, &e))?)
            }
            Err(e) if e.is_not_found() => return Ok(()),
            Err(e) => return Err(e),
        };
        let uid = &found.metadata.uid;
        let is_recorded = record.as_ref().is_some_and(|record| record.uid == *uid);
        let is_remembered = || self.made.uids_of(&target.metadata.key()).contains(uid);
        seen.taken = if is_recorded || is_remembered() {
            TakenSnapshot::Ours { snapshot: found, is_recorded }
        } else {
            TakenSnapshot::Foreign(found)
        };
        Ok(())
    }

    /// How a snapshot of `source` can be taken: with the class that the StorageProfile of its class names, else with the
    /// default class of the driver, else with the first one by name.
    pub(super) fn snapshot_choice(&self, source: &Claim) -> Result<SnapshotChoice, ApiError> {
        let impossible = |why: String| Ok(SnapshotChoice::Impossible(why));
        let key = source.metadata.key();
        let class = source.spec.storage_class_name.as_deref().unwrap_or_default();
        let Some(class) = self.class_named(class)? else {
            return impossible(format!("the StorageClass {class:?} of PVC {key} does not exist"));
        };
        let mut classes: Vec<VolumeSnapshotClass> = Vec::new();
        let listed =
            listing::list(&*self.cluster, Kind::VolumeSnapshotClass, &ListParams::default(), |item| {
                let found = objects::decode::<VolumeSnapshotClass>(&item).ok();
                classes.extend(found.filter(|found| found.driver == class.provisioner));
            });
        match listed {
            Err(e) if e.is_not_found() => {
                return impossible(
                    "the cluster serves no VolumeSnapshotClasses (snapshot.storage.k8s.io/v1)".to_owned(),
                );
            }
            Err(e) if e.is_forbidden() => {
                return impossible(format!("the controller may not list VolumeSnapshotClasses: {e}"));
            }
            listed => drop(listed?),
        }
        classes.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
        let profile = self.storage_profile(&class.metadata.name)?;
        let named = profile.as_deref().and_then(StorageProfile::snapshot_class);
        let chosen = classes
            .iter()
            .find(|found| named == Some(found.metadata.name.as_str()))
            .or_else(|| classes.iter().find(|found| found.is_default()))
            .or(classes.first());
        match chosen {
            Some(chosen) => Ok(SnapshotChoice::Class(chosen.metadata.name.clone())),
            None => impossible(format!(
                "no VolumeSnapshotClass has the driver {:?} of the StorageClass {:?}",
                class.provisioner, class.metadata.name
            )),
        }
    }
}

/// When `snapshot` was taken, once it is ready to use.
fn taken_at(snapshot: &VolumeSnapshot) -> Option<String> {
    let status = snapshot.status.as_ref().filter(|status| status.ready_to_use == Some(true))?;
    // Not all drivers tell it.
    Some(status.creation_time.clone().unwrap_or_else(|| snapshot.metadata.creation_timestamp.clone()))
}
