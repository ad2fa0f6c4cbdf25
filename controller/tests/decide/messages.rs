//! The messages of a clone's status.

use decant_controller::api::cluster::ApiError;
use decant_controller::objects::Key;
use decant_controller::reconcile::actions::Action;
use decant_controller::reconcile::last_error::{FailedAction, LastError};
use decant_controller::reconcile::observed::Observed;
use decant_controller::reconcile::step::Step;
use std::sync::Arc;

use crate::fixtures::*;

#[test]
fn the_reason_for_waiting_is_reported_once_on_the_claim() {
    let writer = vec![Key::new("n", "writer")];
    let waits = Observed { source_writers: writer.clone(), ..claimed() };
    let decision = decided(&waits);
    assert_eq!(decision.claim_events.len(), 1);
    let event = &decision.claim_events[0];
    assert_eq!((event.kind, event.reason.as_str()), ("Warning", "CloneSourceInUse"));
    assert_eq!(event.message, "pod n/writer using PersistentVolumeClaim golden");
    let said = with_annotation(named(), "cdi.kubevirt.io/storage.condition.running.message", &event.message);
    let again = Observed { target: Some(claim("copy", said)), ..waits };
    assert_eq!(decided(&again).claim_events, []);
}

#[test]
fn a_clone_without_known_progress_is_in_progress() {
    let status = decided(&copying()).status.unwrap();
    assert_eq!((status.phase.as_str(), status.progress.as_str()), ("CloneInProgress", "N/A"));
    assert_eq!(status.condition("Running").unwrap().status, "True");
}

#[test]
fn each_pod_has_its_own_annotations() {
    let crashed = Observed { source_pod: Some(source_pod("Pending", "target-uid", "1")), ..copying() };
    let Some(Action::Annotate(reported)) = decided(&crashed).actions.into_iter().next() else { panic!() };
    assert_eq!(reported["cdi.kubevirt.io/storage.condition.running"], "true");
    assert_eq!(reported["cdi.kubevirt.io/storage.condition.source.running"], "false");
}

#[test]
fn a_missing_storage_class_is_named() {
    let mut pending = (*claim("copy", named())).clone();
    pending.status.phase = "Pending".into();
    let status = decided(&Observed { target: Some(Arc::new(pending)), ..start() }).status.unwrap();
    let bound = status.condition("Bound").unwrap();
    assert_eq!(
        (bound.reason.as_str(), bound.message.as_str()),
        ("Pending", "PVC copy Pending: there is no StorageClass \"c\"")
    );
}

#[test]
fn a_quota_is_not_a_failure() {
    let error =
        ApiError { code: 403, reason: "Forbidden".to_owned(), message: "exceeded quota: q".to_owned() };
    let trouble = LastError { failed_action: FailedAction::MakeClaim, error };
    let decision = decided(&Observed { last_error: Some(trouble), ..start() });
    let status = decision.status.unwrap();
    assert_eq!((decision.step, status.phase.as_str()), (Step::MakeClaim, "Pending"));
    assert_eq!(status.condition("Bound").unwrap().reason, "ErrExceededQuota");
}
