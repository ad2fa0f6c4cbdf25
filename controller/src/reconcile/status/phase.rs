//! The phase of a DataVolume.

use crate::objects::{ClaimPhase, DataVolumePhase, PodPhase};
use crate::policy::Policy;
use crate::reconcile::observed::Observed;
use crate::reconcile::rules::running::waits_for_consumer;
use crate::reconcile::status::population;
use crate::reconcile::step::Step;

/// The phase (docs/protocol.md section 4.7, column "Direct flow").
pub(super) fn phase(step: &Step, seen: &Observed, policy: &Policy) -> DataVolumePhase {
    let Some(claim) = seen.target.as_ref().filter(|_| seen.target_is_ours()) else {
        // A quota, a LimitRange, a policy or a webhook refused the claim; the controller retries.
        let is_refused = seen.claim_error().is_some();
        return match step {
            Step::Adopted => DataVolumePhase::Succeeded,
            // forklift takes a DataVolume without a phase for one that is complete.
            Step::AwaitClaim | Step::MakeKeptClaim | Step::NotOurs(_) => DataVolumePhase::Pending,
            _ if is_refused => DataVolumePhase::Pending,
            _ => DataVolumePhase::Unset,
        };
    };
    if let Some(population) = &seen.population {
        return population::phase(step, &claim.status.phase, population);
    }
    let target_runs = seen.target_pod.as_ref().is_some_and(|pod| pod.status.phase == PodPhase::Running);
    let is_complete = matches!(
        step,
        Step::TargetDone | Step::WaitForSource | Step::MarkDone | Step::TidyUp | Step::Done | Step::Adopted
    );
    let keeps_volume =
        matches!(step, Step::AwaitVolume | Step::KeepVolume | Step::ExpectVolume | Step::VolumeInTheWay(_));
    let has_ended = seen.outcome.is_some() || is_complete;
    match claim.status.phase {
        _ if has_ended => DataVolumePhase::Succeeded,
        _ if keeps_volume => DataVolumePhase::Pending,
        ClaimPhase::Lost => DataVolumePhase::Failed,
        ClaimPhase::Bound if target_runs => DataVolumePhase::CloneInProgress,
        ClaimPhase::Bound => DataVolumePhase::CloneScheduled,
        ClaimPhase::Pending | ClaimPhase::Unset if waits_for_consumer(seen, claim, policy) => {
            DataVolumePhase::WaitForFirstConsumer
        }
        ClaimPhase::Pending | ClaimPhase::Unset => DataVolumePhase::Pending,
        ClaimPhase::Other(_) => DataVolumePhase::Unknown,
    }
}
