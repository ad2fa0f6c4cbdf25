//! Phase and progress.

use crate::objects::annotations::CLONE_REQUEST;
use crate::objects::data_volume::ReportedProgress;
use crate::objects::{ClaimPhase, DataVolumePhase, PodPhase};
use crate::policy::Policy;
use crate::reconcile::observed::Observed;
use crate::reconcile::rules::running::waits_for_consumer;
use crate::reconcile::step::Step;

/// The phase (docs/protocol.md section 4.7, column "Direct flow").
pub(super) fn phase(step: &Step, seen: &Observed, policy: &Policy) -> DataVolumePhase {
    let Some(claim) = seen.target.as_ref().filter(|_| seen.target_is_ours()) else {
        // A quota, a LimitRange, a policy or a webhook refused the claim; the controller retries.
        let is_refused = seen.claim_error().is_some();
        return match step {
            Step::Adopted => DataVolumePhase::Succeeded,
            Step::AwaitClaim | Step::MakeKeptClaim => DataVolumePhase::Pending,
            _ if is_refused => DataVolumePhase::Pending,
            _ => DataVolumePhase::Unset,
        };
    };
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

/// The progress: empty as long as there is no claim, `N/A` while nothing is known. It never falls, although the source
/// may restart from zero. This is the only place in the controller that ensures that.
pub(super) fn progress(step: &Step, phase: &DataVolumePhase, seen: &Observed) -> ReportedProgress {
    let has_succeeded = *phase == DataVolumePhase::Succeeded;
    let Some(dv) = seen.data_volume.as_ref().filter(|_| seen.target.is_some() && seen.target_is_ours())
    else {
        return if has_succeeded { ReportedProgress::unknown() } else { ReportedProgress::default() };
    };
    let old = &dv.status;
    if has_succeeded {
        let was_cloned = seen.target_annotation(CLONE_REQUEST).is_some() && *step != Step::Adopted;
        // The progress of a clone that CDI completed is kept as CDI left it.
        let was_complete = old.phase == DataVolumePhase::Succeeded && !old.progress.is_empty();
        return match (was_cloned, was_complete) {
            (true, _) => ReportedProgress::complete(),
            (false, true) => old.progress.clone(),
            (false, false) => ReportedProgress::unknown(),
        };
    }
    // The progress of an earlier claim of this name does not count.
    let is_same_clone =
        matches!(old.phase, DataVolumePhase::CloneInProgress | DataVolumePhase::CloneScheduled);
    let earlier = if is_same_clone { old.progress.clone() } else { ReportedProgress::default() };
    earlier.raised_to(seen.progress.as_ref().map(|progress| progress.percent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reported_progress_never_falls() {
        let halfway = ReportedProgress::from("50.00%");
        for (now, reported) in [(None, "50.00%"), (Some(1.0), "50.00%"), (Some(60.0), "60.00%")] {
            assert_eq!(halfway.raised_to(now).as_str(), reported);
        }
        assert_eq!(ReportedProgress::unknown().raised_to(Some(1.0)).as_str(), "1.00%");
        assert_eq!(ReportedProgress::default().raised_to(None), ReportedProgress::unknown());
    }
}
