//! A claim that is filled before it is bound: docs/protocol.md section 7.6.
//!
//! The clone itself has its own rules ([`super::running`]), which apply to the prime.

use time::OffsetDateTime;

use crate::objects::annotations::{
    BIND_IMMEDIATE, CLONE_OF, CLONE_PHASE, POPULATES, RECLAIM_POLICY, SELECTED_NODE,
};
use crate::objects::{Claim, ClaimPhase, DataVolumePhase, Uid, Volume};
use crate::policy::Policy;
use crate::reconcile::compatibility;
use crate::reconcile::observed::{Observed, Origin, Population, Prime, Provisioner};
use crate::reconcile::population::record::PopulatedVolume;
use crate::reconcile::rules::before_claim::permission;
use crate::reconcile::rules::snapshot;
use crate::reconcile::step::{PrimeFault, Step};

/// The reclaim policy under which a volume survives its claim.
pub(crate) const RETAIN: &str = "Retain";

/// The step for a claim that asks to be filled before it is bound.
pub(super) fn step(
    seen: &Observed,
    claim: &Claim,
    population: &Population,
    now: OffsetDateTime,
    policy: &Policy,
) -> Step {
    if is_complete(seen, claim, population) {
        return finished(claim, population);
    }
    if claim.status.phase == ClaimPhase::Lost {
        return Step::Lost;
    }
    if let Some(record) = &population.record {
        return hand_over(claim, population, record);
    }
    if let Some(volume) = population.volume.as_ref().filter(|volume| is_held_by(volume, &claim.metadata.uid))
    {
        // The outcome is recorded, so only the record of the volume was removed.
        return after_hand_over(claim, volume);
    }
    if claim.is_bound() || !claim.spec.volume_name.is_empty() {
        return bound_elsewhere(seen, claim, population);
    }
    match &population.prime {
        Prime::Missing => before_prime(seen, claim, population, policy),
        Prime::Foreign(prime) => foreign(prime, claim),
        Prime::Ours { claim: prime, is_recorded } => {
            filling(seen, claim, prime, *is_recorded, population, now, policy)
        }
    }
}

/// Whether the claim was filled and bound earlier, and the volume has its own policy again. CDI's mark alone does not
/// count: the outcome and the record are sealed.
pub(crate) fn is_complete(seen: &Observed, claim: &Claim, population: &Population) -> bool {
    let is_recorded = population
        .record
        .as_ref()
        .is_some_and(|record| record.is_handed_over && record.name == claim.spec.volume_name);
    claim.is_bound() && seen.outcome.is_some() && is_recorded && claim.metadata.annotation(CLONE_OF).is_some()
}

/// The step if nothing is left to do but to remove what the population needed.
fn finished(claim: &Claim, population: &Population) -> Step {
    let is_left = claim.is_held_for_population()
        || population.own_source.is_some()
        || population.prime.ours().is_some_and(|prime| !prime.metadata.is_deleting());
    if is_left { Step::TidyUp } else { Step::Done }
}

/// The step for a claim that has a volume which this controller did not fill.
fn bound_elsewhere(seen: &Observed, claim: &Claim, population: &Population) -> Step {
    let name = &claim.spec.volume_name;
    // CDI or an earlier installation filled it; users cannot write the status of a DataVolume.
    let by_data_volume = seen.data_volume.as_ref().map(|dv| dv.status.phase == DataVolumePhase::Succeeded);
    let is_marked = claim.metadata.annotation(CLONE_OF).is_some()
        || claim.metadata.annotation(CLONE_PHASE) == Some(DataVolumePhase::Succeeded.as_str());
    if by_data_volume.unwrap_or(is_marked) {
        return finished(claim, population);
    }
    Step::VolumeInTheWay(format!(
        "the PVC is bound to the volume {name}, which no clone filled: its provisioner ignored the data source of the PVC, or the \
         volume was reserved for it. Nothing is cloned into it. Delete the PVC and create it with a class of a CSI driver; or \
         clone with a DataVolume and the annotation cdi.kubevirt.io/storage.usePopulator=false"
    ))
}

/// The step before there is a prime.
fn before_prime(seen: &Observed, claim: &Claim, population: &Population, policy: &Policy) -> Step {
    match &seen.origin {
        Origin::Invalid(invalid) => return Step::Invalid(invalid.to_string()),
        Origin::Unresolved(why) => return Step::Unresolved(why.clone()),
        Origin::Withheld(why) => return Step::Denied(why.clone()),
        Origin::NotOurs(kind) => return Step::NotOurs(kind.clone()),
        Origin::None => return Step::Nothing,
        Origin::Claim(_) | Origin::Snapshot(_) => {}
    }
    if let Some(step) = permission(seen) {
        return step;
    }
    if let Some(step) = snapshot::unready(seen) {
        return step;
    }
    let Some(source) = &seen.source else {
        return seen.source_key().cloned().map_or(Step::Nothing, Step::NoSource);
    };
    if let Err(why) = compatibility::claims(source, claim, policy) {
        return Step::Incompatible(why);
    }
    if let Provisioner::Unusable(why) = &population.provisioner {
        return Step::NoProvisioner(why.clone());
    }
    if waits_for_consumer(seen, claim) {
        return Step::WaitForConsumer;
    }
    if seen.makes_pause { Step::Populating } else { Step::MakePrime }
}

/// Whether the scheduler has yet to choose the node of the claim's first consumer.
fn waits_for_consumer(seen: &Observed, claim: &Claim) -> bool {
    let class_waits = seen.class.as_ref().is_some_and(|class| class.waits_for_consumer());
    class_waits
        && claim.metadata.annotation(SELECTED_NODE).is_none()
        && claim.metadata.annotation(BIND_IMMEDIATE).is_none()
}

/// The step if the claim with the prime's name is not known to be this controller's.
fn foreign(prime: &Claim, claim: &Claim) -> Step {
    if prime.metadata.is_deleting() {
        return Step::PrimeLeaving;
    }
    // It was created by this controller, which ended before it could record it, or by a user who copied it.
    if prime.metadata.annotation(POPULATES) == Some(&claim.metadata.key().to_string()) {
        return Step::ReplacePrime(PrimeFault::Unproven);
    }
    Step::PrimeInTheWay(format!(
        "PVC {} has the name of the temporary PVC of this clone, and this controller did not create it: another populator serves \
         this PVC too, or a user created it. Remove the other populator, or delete that PVC",
        prime.metadata.key()
    ))
}

/// The step while the prime is being filled.
fn filling(
    seen: &Observed,
    claim: &Claim,
    prime: &Claim,
    is_recorded: bool,
    population: &Population,
    now: OffsetDateTime,
    policy: &Policy,
) -> Step {
    if prime.metadata.is_deleting() {
        return Step::PrimeLeaving;
    }
    if prime.status.phase == ClaimPhase::Lost {
        return Step::ReplacePrime(PrimeFault::Lost);
    }
    if !is_recorded {
        return Step::RecordPrime;
    }
    let Some(clone) = population.clone.as_deref() else { return Step::Populating };
    if clone.outcome.is_some() {
        // The pods are gone, and with them everything that could still change the volume.
        let is_over = super::step(clone, now, policy) == Step::Done;
        return if is_over && prime.is_bound() { Step::PrimeDone } else { Step::Populating };
    }
    if seen.source_key().is_some_and(|source| source.namespace != prime.metadata.namespace) {
        return Step::ReplacePrime(PrimeFault::OtherNamespace);
    }
    if let Some(step) = permission(seen) {
        return step;
    }
    let node_of = |claim: &Claim| claim.metadata.annotation(SELECTED_NODE).map(str::to_owned);
    match (node_of(claim), node_of(prime)) {
        _ if prime.is_bound() || !prime.spec.volume_name.is_empty() => Step::Populating,
        (Some(wanted), Some(has)) if wanted != has => Step::ReplacePrime(PrimeFault::OtherNode),
        // A provisioner removes the annotation when the node has no room for the volume.
        (Some(_), None) if clone.target_pod.is_none() => Step::ReplacePrime(PrimeFault::NodeRefused),
        _ => Step::Populating,
    }
}

/// The step after the prime is complete: from the recorded volume to the bound claim.
fn hand_over(claim: &Claim, population: &Population, record: &PopulatedVolume) -> Step {
    let bound_to = &claim.spec.volume_name;
    if !bound_to.is_empty() && *bound_to != record.name {
        return Step::VolumeInTheWay(format!(
            "the PVC is bound to the volume {bound_to} and not to {}, which the clone filled. Delete the PVC to try again",
            record.name
        ));
    }
    let Some(volume) = &population.volume else { return Step::VolumeGone };
    if is_held_by(volume, &claim.metadata.uid) {
        return after_hand_over(claim, volume);
    }
    if !is_held_by(volume, &record.prime) || volume.metadata.is_deleting() {
        return Step::VolumeGone;
    }
    if volume.spec.persistent_volume_reclaim_policy != RETAIN || !has_changed_policy(volume) {
        // Once its claim is gone, the provisioner may be deleting it.
        let is_lost = volume.spec.persistent_volume_reclaim_policy != RETAIN
            && matches!(volume.status.phase.as_str(), "Released" | "Failed");
        return if is_lost { Step::VolumeGone } else { Step::RetainVolume };
    }
    match population.prime.claim().filter(|prime| prime.metadata.uid == record.prime) {
        Some(prime) if prime.metadata.is_deleting() => Step::PrimeLeaving,
        Some(_) => Step::ReleasePrime,
        None if !population.users.is_empty() => Step::TargetInUse(population.users.clone()),
        None if population.waits_for_own_pods => Step::PrimeLeaving,
        None => Step::HandOver,
    }
}

/// The step after the volume belongs to the claim.
fn after_hand_over(claim: &Claim, volume: &Volume) -> Step {
    match (claim.is_bound(), has_changed_policy(volume)) {
        (false, _) => Step::AwaitBinding,
        (true, true) => Step::RestorePolicy,
        (true, false) => Step::MarkDone,
    }
}

fn is_held_by(volume: &Volume, claim: &Uid) -> bool {
    volume.spec.claim_ref.as_ref().is_some_and(|holder| holder.uid == *claim)
}

/// Whether the controller changed the reclaim policy of the volume. Only administrators can write volumes.
pub(crate) fn has_changed_policy(volume: &Volume) -> bool {
    volume.metadata.annotation(RECLAIM_POLICY).is_some()
}

/// The prime that is removed with its target: one that this controller created, or may have created.
pub(crate) fn removable_prime<'p>(population: &'p Population, target: &Claim) -> Option<&'p Claim> {
    let prime = match &population.prime {
        Prime::Ours { claim, .. } => Some(claim),
        Prime::Foreign(claim) if claim.populates() == Some(target.metadata.key()) => Some(claim),
        Prime::Foreign(_) | Prime::Missing => None,
    };
    prime.map(AsRef::as_ref).filter(|prime| !prime.metadata.is_deleting())
}

/// Whether a claim that goes leaves something that the controller has to remove.
pub(crate) fn is_left(population: &Population) -> bool {
    population.prime.ours().is_some_and(|prime| !prime.metadata.is_deleting())
        || population.volume.as_deref().is_some_and(has_changed_policy)
        || population.own_source.is_some()
}
