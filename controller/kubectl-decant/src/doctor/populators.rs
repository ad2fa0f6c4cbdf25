//! PVCs that are filled before they are bound: which classes can create their volumes, who else would fill them, and
//! what was left behind.

use serde::Deserialize;

use crate::doctor::{Check, Installation};
use crate::populations;
use crate::session::list;
use decant_controller::api::cluster::ListParams;
use decant_controller::objects::volume_populator::{REGISTERED, VolumePopulator};
use decant_controller::objects::{Kind, Meta, StorageClass};
use decant_controller::summary::complaint::is_old;
use time::OffsetDateTime;

const REGISTRATIONS: &str = "registered data sources";
const CLASSES: &str = "storage classes for PVCs with a data source";
const LEFTOVERS: &str = "leftovers of PVCs with a data source";
const CLEAN_UP: &str = "`kubectl decant cleanup -A` shows and removes them";

/// What is read of an object of which only the name matters.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Named {
    metadata: Meta,
}

pub(super) fn check(installation: &Installation<'_>) -> Vec<Check> {
    vec![registrations(installation), classes(installation), leftovers(installation)]
}

fn registrations(installation: &Installation<'_>) -> Check {
    let cluster = &installation.session.cluster;
    match list::<VolumePopulator>(cluster, Kind::VolumePopulator, &ListParams::default()) {
        Ok((found, _)) => {
            let is_served = |kind: Kind| kind == Kind::CloneSource || !installation.is_beside_cdi;
            judge_registrations(&found, &is_served)
        }
        Err(e) if e.is_not_found() => {
            Check::ok(REGISTRATIONS, "this cluster has no VolumePopulators, so none is needed")
        }
        Err(e) => Check::unreadable(REGISTRATIONS, &e),
    }
}

fn judge_registrations(found: &[VolumePopulator], is_served: &dyn Fn(Kind) -> bool) -> Check {
    let competing: Vec<String> = found
        .iter()
        .filter_map(|other| {
            let kind = other.competes_for().filter(|kind| is_served(*kind))?;
            Some(format!("VolumePopulator {} for {}", other.metadata.name, kind.name()))
        })
        .collect();
    if !competing.is_empty() {
        return Check::fail(
            REGISTRATIONS,
            format!("a second populator for the same kind: {}", competing.join(", ")),
            "remove the other populator, or have it ignore this kind: PVCs may be filled twice",
        );
    }
    let is_missing = |name: &str| !found.iter().any(|populator| populator.metadata.name == name);
    let wanted = REGISTERED.into_iter().filter(|(_, kind)| is_served(*kind));
    let missing: Vec<&str> =
        wanted.clone().filter(|(name, _)| is_missing(name)).map(|(_, kind)| kind.name()).collect();
    if missing.is_empty() {
        let all: Vec<&str> = wanted.map(|(_, kind)| kind.name()).collect();
        return Check::ok(REGISTRATIONS, all.join(", "));
    }
    Check::fail(
        REGISTRATIONS,
        format!("not registered: {}; PVCs with these data sources get warnings", missing.join(", ")),
        "see the controller's log: it registers them when it starts",
    )
}

fn classes(installation: &Installation<'_>) -> Check {
    let cluster = &installation.session.cluster;
    let all = ListParams::default();
    let drivers = match list::<Named>(cluster, Kind::CsiDriver, &all) {
        Ok((drivers, _)) => drivers,
        Err(e) => return Check::unreadable(CLASSES, &e),
    };
    match list::<StorageClass>(cluster, Kind::StorageClass, &all) {
        Ok((classes, _)) => judge_classes(&classes, &drivers),
        Err(e) => Check::unreadable(CLASSES, &e),
    }
}

fn judge_classes(classes: &[StorageClass], drivers: &[Named]) -> Check {
    let is_csi =
        |class: &&StorageClass| drivers.iter().any(|driver| driver.metadata.name == class.provisioner);
    let (usable, other): (Vec<&StorageClass>, Vec<&StorageClass>) = classes.iter().partition(is_csi);
    let usable: Vec<&str> = usable.iter().map(|class| class.metadata.name.as_str()).collect();
    let other: Vec<String> = other
        .iter()
        .map(|class| format!("{} (provisioner {})", class.metadata.name, class.provisioner))
        .collect();
    let others =
        if other.is_empty() { String::new() } else { format!("; not of a CSI driver: {}", other.join(", ")) };
    if usable.is_empty() {
        let found = format!("none: only DataVolumes can be cloned{others}");
        return Check::note(CLASSES, found);
    }
    Check::ok(CLASSES, format!("{}{others}", usable.join(", ")))
}

/// Temporary PVCs and volumes that no clone needs any more. What a clone needed a moment ago is not reported.
fn leftovers(installation: &Installation<'_>) -> Check {
    let session = installation.session;
    let now = OffsetDateTime::now_utc();
    let mut skipped = Vec::new();
    let primes = match populations::primes(session, &session.scope(true), &mut skipped) {
        Ok(primes) => primes,
        Err(e) => return Check::unreadable(LEFTOVERS, &e),
    };
    let volumes = match populations::volumes(session) {
        Ok(volumes) => volumes,
        Err(e) => return Check::unreadable(LEFTOVERS, &e),
    };
    let primes = primes.iter().filter(|left| is_old(&left.claim.metadata.creation_timestamp, now));
    let primes = primes.map(|left| format!("PVC {}: {}", left.claim.metadata.key(), left.why));
    let volumes = volumes.iter().filter(|left| is_old(&left.volume.metadata.creation_timestamp, now));
    let volumes = volumes.map(|left| format!("PersistentVolume {}: {}", left.volume.metadata.name, left.why));
    let all: Vec<String> = primes.chain(volumes).collect();
    match all.as_slice() {
        [] => Check::ok(LEFTOVERS, "none"),
        [one] => Check::fail(LEFTOVERS, one.clone(), CLEAN_UP),
        [first, rest @ ..] => Check::fail(LEFTOVERS, format!("{first}; and {} more", rest.len()), CLEAN_UP),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::State;
    use decant_controller::objects::volume_populator;
    use serde_json::json;

    fn populator(name: &str, kind: Kind) -> VolumePopulator {
        serde_json::from_value(volume_populator::object(name, kind)).unwrap()
    }

    #[test]
    fn a_second_populator_for_the_same_kind_and_a_missing_registration_are_failures() {
        let mut ours: Vec<VolumePopulator> =
            REGISTERED.iter().map(|(name, kind)| populator(name, *kind)).collect();
        let all = |_: Kind| true;
        assert_eq!(judge_registrations(&ours, &all).state, State::Ok);
        assert_eq!(judge_registrations(&ours[..1], &all).state, State::Fail);
        ours.push(populator("cdi", Kind::VolumeCloneSource));
        let check = judge_registrations(&ours, &all);
        assert!(check.found.contains("VolumePopulator cdi for VolumeCloneSource"), "{check:?}");
        assert_eq!(check.state, State::Fail);
        // Beside CDI, VolumeCloneSources are CDI's.
        let own = |kind: Kind| kind == Kind::CloneSource;
        assert_eq!(judge_registrations(&ours, &own).state, State::Ok);
        assert_eq!(judge_registrations(&ours[..1], &own).state, State::Ok);
    }

    #[test]
    fn classes_without_a_csi_driver_are_named() {
        let class = |name: &str, provisioner: &str| -> StorageClass {
            serde_json::from_value(json!({ "metadata": { "name": name }, "provisioner": provisioner }))
                .unwrap()
        };
        let drivers: [Named; 1] = [serde_json::from_value(json!({ "metadata": { "name": "csi" } })).unwrap()];
        let classes = [class("fast", "csi"), class("local", "kubernetes.io/no-provisioner")];
        let check = judge_classes(&classes, &drivers);
        assert_eq!(check.state, State::Ok);
        assert_eq!(
            check.found,
            "fast; not of a CSI driver: local (provisioner kubernetes.io/no-provisioner)"
        );
        assert_eq!(judge_classes(&classes, &[]).state, State::Note);
    }
}
