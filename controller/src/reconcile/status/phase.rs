//! Phase and progress.

use crate::policy::Policy;
use crate::progress::amounts;
use crate::reconcile::observed::Observed;
use crate::reconcile::rules::running::waits_for_consumer;
use crate::reconcile::step::Step;

/// The phase (contract 4.7, column "Direct flow").
pub(super) fn phase(step: &Step, seen: &Observed, policy: &Policy) -> String {
    let Some(claim) = seen.target.as_ref().filter(|_| seen.target_is_ours()) else {
        // Refused by a quota, a LimitRange, a policy or a webhook: it is tried again.
        let is_refused = seen.claim_error().is_some();
        return match step {
            Step::Adopted => "Succeeded",
            Step::AwaitClaim | Step::MakeKeptClaim => "Pending",
            _ if is_refused => "Pending",
            _ => "",
        }
        .to_owned();
    };
    let target_phase = seen.target_pod.as_ref().map_or("", |pod| pod.status.phase.as_str());
    let is_complete = matches!(
        step,
        Step::TargetDone | Step::WaitForSource | Step::MarkDone | Step::TidyUp | Step::Done | Step::Adopted
    );
    let keeps_volume =
        matches!(step, Step::AwaitVolume | Step::KeepVolume | Step::ExpectVolume | Step::VolumeInTheWay(_));
    let has_ended = seen.outcome.is_some() || is_complete;
    match claim.status.phase.as_str() {
        _ if has_ended => "Succeeded",
        _ if keeps_volume => "Pending",
        "Lost" => "Failed",
        "Bound" if target_phase == "Running" => "CloneInProgress",
        "Bound" => "CloneScheduled",
        "Pending" | "" if waits_for_consumer(seen, claim, policy) => "WaitForFirstConsumer",
        "Pending" | "" => "Pending",
        _ => "Unknown",
    }
    .to_owned()
}

/// The progress: empty before there is a claim, `N/A` while nothing is known, never lower than before.
pub(super) fn progress(step: &Step, phase: &str, seen: &Observed) -> String {
    let Some(dv) = seen.data_volume.as_ref().filter(|_| seen.target.is_some() && seen.target_is_ours())
    else {
        return if phase == "Succeeded" { "N/A".to_owned() } else { String::new() };
    };
    let was_cloned = seen.target_annotation(crate::objects::annotations::CLONE_REQUEST).is_some()
        && *step != Step::Adopted;
    let said = &dv.status.progress;
    if phase == "Succeeded" {
        // What CDI completed without this flow stays as CDI left it.
        let was_complete = dv.status.phase == "Succeeded" && !said.is_empty();
        return if was_cloned {
            "100.0%"
        } else if was_complete {
            said
        } else {
            "N/A"
        }
        .to_owned();
    }
    // What was said about an earlier claim of this name does not count.
    let is_same_clone = dv.status.phase == "CloneInProgress" || dv.status.phase == "CloneScheduled";
    let before = amounts::percent(said).filter(|_| is_same_clone);
    let now = seen.progress.as_ref().map(|progress| progress.percent);
    match (before, now) {
        (None, None) => "N/A".to_owned(),
        (before, now) => format!("{:.2}%", before.unwrap_or(0.0).max(now.unwrap_or(0.0))),
    }
}
