//! The progress of a DataVolume, as its status reports it.

use crate::objects::DataVolumePhase;
use crate::objects::annotations::CLONE_REQUEST;
use crate::objects::data_volume::ReportedProgress;
use crate::reconcile::observed::Observed;
use crate::reconcile::step::Step;

/// The progress: empty while there is no PVC, `N/A` while nothing is known. It does not decrease while the clone is scheduled or
/// in progress, even if the source restarts from zero. No other place in the controller enforces this.
pub(super) fn progress(step: &Step, phase: &DataVolumePhase, seen: &Observed) -> ReportedProgress {
    let has_succeeded = *phase == DataVolumePhase::Succeeded;
    let Some(dv) = seen.data_volume.as_ref().filter(|_| seen.target.is_some() && seen.target_is_ours())
    else {
        return if has_succeeded { ReportedProgress::unknown() } else { ReportedProgress::default() };
    };
    let old = &dv.status;
    if has_succeeded {
        let was_cloned = (seen.target_annotation(CLONE_REQUEST).is_some() || seen.population.is_some())
            && *step != Step::Adopted;
        // What CDI completed without this flow stays as CDI left it.
        let was_complete = old.phase == DataVolumePhase::Succeeded && !old.progress.is_empty();
        return match (was_cloned, was_complete) {
            (true, _) => ReportedProgress::complete(),
            (false, true) => old.progress.clone(),
            (false, false) => ReportedProgress::unknown(),
        };
    }
    // The progress of an earlier claim of this name does not count.
    let is_same_clone = matches!(
        old.phase,
        DataVolumePhase::CloneInProgress
            | DataVolumePhase::CloneScheduled
            | DataVolumePhase::RebindInProgress
    );
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
