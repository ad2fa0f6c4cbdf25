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
/// The Deployment of CDI's controller.
const CDI: &str = "cdi-deployment";
const CLEAN_UP: &str = "`kubectl decant cleanup -A` shows and removes them";

/// What is read of an object of which only the name matters.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Named {
    metadata: Meta,
}

pub(super) fn check(installation: &Installation<'_>) -> Vec<Check> {
    let cdi = cdi(installation);
    let mut checks = vec![registrations(installation, cdi.is_some())];
    checks.extend(cdi);
    checks.push(classes(installation));
    checks.push(leftovers(installation));
    checks
}

/// Beside CDI, the controller serves only CloneSources.
fn registrations(installation: &Installation<'_>, has_cdi: bool) -> Check {
    let cluster = &installation.session.cluster;
    match list::<VolumePopulator>(cluster, Kind::VolumePopulator, &ListParams::default()) {
        Ok((found, _)) => judge_registrations(&found, has_cdi),
        Err(e) if e.is_not_found() => {
            Check::ok(REGISTRATIONS, "this cluster has no VolumePopulators, so none is needed")
        }
        Err(e) => Check::unreadable(REGISTRATIONS, &e),
    }
}

fn judge_registrations(found: &[VolumePopulator], has_cdi: bool) -> Check {
    let is_ours = |kind: Kind| kind == Kind::CloneSource || !has_cdi;
    let competing: Vec<String> = found
        .iter()
        .filter_map(|other| {
            let kind = other.competes_for().filter(|kind| is_ours(*kind))?;
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
    let ours = || REGISTERED.into_iter().filter(|(_, kind)| is_ours(*kind));
    let missing: Vec<&str> =
        ours().filter(|(name, _)| is_missing(name)).map(|(_, kind)| kind.name()).collect();
    if missing.is_empty() {
        let all: Vec<&str> = ours().map(|(_, kind)| kind.name()).collect();
        return Check::ok(REGISTRATIONS, all.join(", "));
    }
    Check::fail(
        REGISTRATIONS,
        format!("not registered: {}; PVCs with these data sources get warnings", missing.join(", ")),
        "see the controller's log: it registers them when it starts",
    )
}

/// CDI's controller serves the same kinds.
fn cdi(installation: &Installation<'_>) -> Option<Check> {
    let params = ListParams { fields: format!("metadata.name={CDI}"), ..ListParams::default() };
    match list::<Named>(&installation.session.cluster, Kind::Deployment, &params) {
        Ok((found, _)) => found.first().map(|deployment| {
            // A controller without --beside-cdi does not start there, which the check of the Lease reports.
            Check::note(
                format!("Deployment {}", deployment.metadata.key()),
                "CDI's controller serves DataVolumes and VolumeCloneSources: run Decant's with --beside-cdi, or remove CDI \
                 (docs/migrate-from-cdi.md)",
            )
        }),
        // The check of the controller's Deployment reports missing rights.
        Err(e) if e.is_forbidden() => None,
        Err(e) => Some(Check::unreadable(format!("Deployment {CDI}"), &e)),
    }
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
        assert_eq!(judge_registrations(&ours, false).state, State::Ok);
        assert_eq!(judge_registrations(&ours[..1], false).state, State::Fail);
        ours.push(populator("cdi", Kind::VolumeCloneSource));
        // Beside CDI, only CloneSources are served.
        assert_eq!(judge_registrations(&ours, true).state, State::Ok);
        assert_eq!(judge_registrations(&ours[1..], true).state, State::Fail);
        let check = judge_registrations(&ours, false);
        assert!(check.found.contains("VolumePopulator cdi for VolumeCloneSource"), "{check:?}");
        assert_eq!(check.state, State::Fail);
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
