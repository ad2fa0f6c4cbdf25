//! The end of a clone and its cleanup.

use decant_controller::objects::{ClaimPhase, DataVolumePhase};
use decant_controller::pods::role::Role;
use decant_controller::policy::Policy;
use decant_controller::reconcile::actions::Action;
use decant_controller::reconcile::decide::decide;
use decant_controller::reconcile::observed::Observed;
use decant_controller::reconcile::outcome::CloneOutcome;
use decant_controller::reconcile::step::{ReplaceReason, Step};
use std::sync::Arc;

use crate::fixtures::*;

#[test]
fn a_target_that_succeeded_is_final() {
    let done = Observed { target_pod: Some(target_pod("Succeeded", false, "{}")), ..copying() };
    let decision = decided(&done);
    assert_eq!(decision.step, Step::TargetDone);
    let status = decision.status.unwrap();
    assert_eq!((status.phase.as_str(), status.progress.as_str()), ("Succeeded", "100.0%"));

    assert!(decision.actions.contains(&Action::Record(CloneOutcome::default())), "{:?}", decision.actions);

    let done = recorded();
    assert_eq!(step(&done), Step::WaitForSource, "the source gets a moment");
    assert_eq!(
        step(&Observed { source: None, ..done.clone() }),
        Step::WaitForSource,
        "whatever became of the source"
    );
    let late = decide(&done, now() + time::Duration::minutes(5), &Policy::default());
    assert_eq!(late.step, Step::MarkDone, "a source that never ends does not hold it up");
    assert_eq!(step(&Observed { source_pod: None, ..done }), Step::MarkDone);
}

#[test]
fn a_data_volume_has_its_digest_before_it_has_succeeded() {
    let message = r#"{"message":"Clone Complete","digest":"decant1:7:ab","digestConfirmed":true}"#;
    let ended = Observed { target_pod: Some(target_pod("Succeeded", false, message)), ..copying() };
    let mut handed = handing_over("copy", "copy-uid", "Delete");
    handed.population.as_mut().unwrap().volume = Some(populated_volume("copy", "copy-uid", "Delete"));
    let mut target = (**handed.target.as_ref().unwrap()).clone();
    target.spec.volume_name = "pv".to_owned();
    target.status.phase = ClaimPhase::Bound;
    handed.target = Some(Arc::new(target));
    let without_source = Observed { source_pod: None, ..recorded() };
    for (seen, expected) in [
        (ended, Step::TargetDone),
        (recorded(), Step::WaitForSource),
        (without_source, Step::MarkDone),
        (handed, Step::MarkDone),
    ] {
        let decision = decided(&seen);
        assert_eq!(decision.step, expected);
        assert_eq!(decision.status.unwrap().phase, DataVolumePhase::Succeeded, "{expected:?}");
        let told = reported(&seen).unwrap_or_default();
        let digest = told.get("decant.dev/digest").cloned().flatten();
        assert_eq!(digest, seen.digest(), "{expected:?}");
        assert!(digest.is_some(), "{expected:?}");
    }
}

#[test]
fn a_passed_deadline_is_not_a_success() {
    let passed = target_pod("Succeeded", false, r#"{"deadlinePassed":true}"#);
    let decision = decided(&Observed { target_pod: Some(passed), ..claimed() });
    assert_eq!(decision.step, Step::Replace(Role::Target, ReplaceReason::Deadline));
    assert_ne!(decision.status.unwrap().phase, "Succeeded");
}

#[test]
fn pods_to_be_retained_are_kept_after_completion() {
    const RETAIN: &str = "cdi.kubevirt.io/storage.pod.retainAfterCompletion";
    let over = with_annotation(with_annotation(named(), "k8s.io/CloneOf", "true"), RETAIN, "true");
    let ended = Some(source_pod("Succeeded", "target-uid", "1"));
    let seen = Observed { target: Some(claim("copy", over.clone())), source_pod: ended, ..complete() };
    let decision = decided(&seen);
    assert_eq!(decision.step, Step::Done);
    assert!(
        !decision.actions.iter().any(|action| matches!(action, Action::DeletePod(_))),
        "{:?}",
        decision.actions
    );
    let mut elsewhere = (**seen.source_pod.as_ref().unwrap()).clone();
    elsewhere.metadata.namespace = "far".to_owned();
    let elsewhere = Observed { source_pod: Some(Arc::new(elsewhere)), ..seen.clone() };
    assert_eq!(step(&elsewhere), Step::TidyUp, "a pod in a namespace of others goes");
    let runs = Observed { source_pod: copying().source_pod, ..seen };
    assert_eq!(step(&runs), Step::TidyUp, "a pod that runs goes");
    let mut leaving = (*claim("copy", over)).clone();
    leaving.metadata.deletion_timestamp = Some(NOW.to_owned());
    let leaving = Observed { target: Some(Arc::new(leaving)), ..complete() };
    assert_eq!(step(&leaving), Step::CleanUp, "but not longer than the claim");
}

#[test]
fn the_finalizer_is_removed_once_the_source_pods_deletion_is_accepted() {
    let mut leaving = (*source_pod("Running", "target-uid", "1")).clone();
    leaving.metadata.deletion_timestamp = Some(NOW.to_owned());
    let decision = decided(&Observed { source_pod: Some(Arc::new(leaving)), target_pod: None, ..complete() });
    assert!(decision.actions.contains(&Action::Hold(false)), "{:?}", decision.actions);
}

#[test]
fn the_finalizer_is_removed_after_the_source_pod() {
    let both = decided(&complete());
    assert_eq!(both.step, Step::TidyUp);
    assert!(both.actions.contains(&Action::DeletePod(Role::Source)));
    assert!(!both.actions.contains(&Action::Hold(false)));
    let alone = decided(&Observed { source_pod: None, target_pod: None, ..complete() });
    assert!(alone.actions.contains(&Action::Hold(false)));
}
