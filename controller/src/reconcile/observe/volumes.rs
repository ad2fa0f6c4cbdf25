//! Finds the volumes that are reserved for a claim.

use std::sync::Arc;

use crate::api::cluster::{ApiError, Cluster, ListParams};
use crate::api::listing;
use crate::objects;
use crate::objects::annotations::{CHECK_STATIC, CLONE_REQUEST, PRE_POPULATED};
use crate::objects::{Key, Kind, Volume};
use crate::reconcile::observed::Observed;
use crate::reconcile::reserved_volumes::Volumes;

/// Lists the reserved volumes, if the DataVolume asks for it. Once a source pod exists, this was already checked.
pub(super) fn volumes(cluster: &dyn Cluster, key: &Key, seen: &Observed) -> Result<Volumes, ApiError> {
    let Some(dv) = seen.data_volume.as_ref().filter(|dv| !dv.metadata.is_deleting()) else {
        return Ok(Volumes::NotAsked);
    };
    if dv.metadata.annotation(CHECK_STATIC).is_none() {
        return Ok(Volumes::NotAsked);
    }
    let is_over = seen.is_marked_done() || seen.outcome.is_some() || seen.source_pod.is_some();
    match &seen.target {
        None if dv.metadata.annotation(PRE_POPULATED).is_some() => Ok(Volumes::NotAsked),
        None => reserved(cluster, key),
        Some(claim) if is_over || !seen.target_is_ours() || claim.metadata.is_deleting() => {
            Ok(Volumes::NotAsked)
        }
        Some(claim) if claim.metadata.annotation(CLONE_REQUEST).is_none() => Ok(Volumes::NotAsked),
        Some(claim) if claim.is_bound() => bound(cluster, &claim.spec.volume_name),
        Some(_) => reserved(cluster, key),
    }
}

fn reserved(cluster: &dyn Cluster, key: &Key) -> Result<Volumes, ApiError> {
    let (mut found, mut unreadable) = (Vec::new(), Vec::new());
    let listed = listing::list(cluster, Kind::PersistentVolume, &ListParams::default(), |object| {
        match objects::decode::<Volume>(&object) {
            Ok(volume) if volume.is_reserved_for(key) => found.push(Arc::new(volume)),
            Ok(_) => {}
            // A volume that cannot be read may be the reserved one.
            Err(why) => unreadable.push(why.to_string()),
        }
    });
    match (listed, unreadable.first()) {
        (Err(e), _) if e.is_forbidden() => Ok(Volumes::Unseen(e.message)),
        (Err(e), _) => Err(e),
        (Ok(_), Some(why)) if found.is_empty() => Ok(Volumes::Unseen(why.clone())),
        (Ok(_), _) => Ok(Volumes::Reserved(found)),
    }
}

fn bound(cluster: &dyn Cluster, name: &str) -> Result<Volumes, ApiError> {
    match cluster.get(Kind::PersistentVolume, &Key::new("", name)) {
        Ok(object) => Ok(match objects::decode(object) {
            Ok(volume) => Volumes::Bound(Arc::new(volume)),
            Err(why) => Volumes::Unseen(why.to_string()),
        }),
        Err(e) if e.is_forbidden() || e.is_not_found() => Ok(Volumes::Unseen(e.message)),
        Err(e) => Err(e),
    }
}
