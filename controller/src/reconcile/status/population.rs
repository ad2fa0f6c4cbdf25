//! What a claim that is filled before it is bound reports: the phase of its clone in CDI's terms, and the phase of its
//! DataVolume (docs/protocol.md section 4.7, column "Populator flow").

use crate::objects::{ClaimPhase, DataVolumePhase, PodPhase};
use crate::reconcile::observed::{Observed, Population};
use crate::reconcile::step::Step;

/// What a population does now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Waiting,
    AwaitsConsumer,
    Failing,
    Cloning,
    Rebinding,
    Complete,
}

fn stage(step: &Step, population: &Population) -> Stage {
    match step {
        Step::Done | Step::TidyUp | Step::MarkDone | Step::RestorePolicy => Stage::Complete,
        Step::PrimeDone | Step::RetainVolume | Step::ReleasePrime | Step::HandOver | Step::AwaitBinding => {
            Stage::Rebinding
        }
        Step::PrimeLeaving | Step::TargetInUse(_) if population.record.is_some() => Stage::Rebinding,
        Step::MakePrime
        | Step::RecordPrime
        | Step::Populating
        | Step::ReplacePrime(_)
        | Step::PrimeLeaving => Stage::Cloning,
        Step::WaitForConsumer => Stage::AwaitsConsumer,
        Step::NoProvisioner(_)
        | Step::PrimeInTheWay(_)
        | Step::VolumeInTheWay(_)
        | Step::VolumeGone
        | Step::Lost
        | Step::CannotRestore(_)
        | Step::Invalid(_)
        | Step::Unresolved(_)
        | Step::NotOurs(_)
        | Step::NoSource(_)
        | Step::Denied(_)
        | Step::Incompatible(_) => Stage::Failing,
        _ => Stage::Waiting,
    }
}

/// The value of the annotation `clonePhase`.
pub(crate) fn clone_phase(step: &Step, seen: &Observed) -> &'static str {
    let Some(population) = &seen.population else { return "" };
    match stage(step, population) {
        Stage::Waiting | Stage::AwaitsConsumer => "Pending",
        Stage::Failing => "Error",
        Stage::Cloning => "HostClone",
        Stage::Rebinding => "Rebind",
        Stage::Complete => "Succeeded",
    }
}

/// The phase of the DataVolume.
pub(super) fn phase(step: &Step, claim: &ClaimPhase, population: &Population) -> DataVolumePhase {
    match stage(step, population) {
        _ if *claim == ClaimPhase::Lost => DataVolumePhase::Failed,
        Stage::Waiting | Stage::Failing => DataVolumePhase::Pending,
        Stage::AwaitsConsumer => DataVolumePhase::PendingPopulation,
        Stage::Cloning if runs(population) => DataVolumePhase::CloneInProgress,
        Stage::Cloning => DataVolumePhase::CloneScheduled,
        Stage::Rebinding => DataVolumePhase::RebindInProgress,
        // The next round writes the digest to the DataVolume before it has Succeeded.
        Stage::Complete if *step == Step::RestorePolicy => DataVolumePhase::RebindInProgress,
        Stage::Complete => DataVolumePhase::Succeeded,
    }
}

/// Whether bytes are on their way, or were until the outcome was recorded.
fn runs(population: &Population) -> bool {
    population.clone.as_ref().is_some_and(|clone| {
        clone.outcome.is_some()
            || clone
                .target_pod
                .as_ref()
                .is_some_and(|pod| matches!(pod.status.phase, PodPhase::Running | PodPhase::Succeeded))
    })
}
