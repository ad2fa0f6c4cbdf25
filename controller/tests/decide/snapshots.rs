//! Clones of snapshots: the rows of docs/protocol.md sections 7.2, 7.5 and 7.6 about the temporary PVC.

use std::sync::Arc;

use decant_controller::objects::{Claim, Key, Meta};
use decant_controller::policy::Policy;
use decant_controller::reconcile::actions::Action;
use decant_controller::reconcile::decide::decide;
use decant_controller::reconcile::observed::{
    Observed, ObservedSnapshot, Origin, Population, ProvisioningError, Restore, Restored,
};
use decant_controller::reconcile::step::{RestoreFault, Slot, Step};

use crate::fixtures::{claimed, complete, copying, decided, now, restored_claim, start, step, unbound};

/// The same clone of the snapshot `n/golden`.
fn of_snapshot(seen: Observed, restore: Restore, restored: Restored) -> Observed {
    let metadata = Some(Meta { namespace: "n".to_owned(), name: "golden".to_owned(), ..Meta::default() });
    let has_source = !matches!(restore, Restore::NotReady(_) | Restore::Impossible(_));
    Observed {
        origin: Origin::Snapshot(Key::new("n", "golden")),
        snapshot: Some(ObservedSnapshot { metadata, restore, ..ObservedSnapshot::default() }),
        source: seen.source.filter(|_| has_source),
        restored,
        ..seen
    }
}

fn with(restored: Restored) -> Observed {
    of_snapshot(claimed(), Restore::Unseen, restored)
}

fn ours(phase: &str) -> Restored {
    Restored::Ours { claim: restored_claim(phase), is_recorded: true, waits_for_consumer: false }
}

fn changed(phase: &str, change: impl FnOnce(&mut Claim)) -> Arc<Claim> {
    let mut claim = restored_claim(phase);
    change(Arc::make_mut(&mut claim));
    claim
}

fn leaving(claim: &mut Claim) {
    claim.metadata.deletion_timestamp = Some(crate::fixtures::NOW.to_owned());
}

#[test]
fn a_snapshot_that_cannot_be_restored_is_reported_wherever_the_clone_is() {
    for (restore, reason) in [
        (Restore::Impossible("no CRDs".to_owned()), "CannotRestore"),
        (Restore::NotReady("not ready to use: disk on fire".to_owned()), "SnapshotNotReady"),
    ] {
        for seen in [start(), claimed(), unbound(Population::default())] {
            let decision = decided(&of_snapshot(seen, restore.clone(), Restored::Missing));
            let status = decision.status.unwrap();
            let conditions = ["Bound", "Running"].map(|kind| status.condition(kind).unwrap().clone());
            assert!(conditions.iter().any(|condition| condition.reason == reason), "{conditions:?}");
            assert!(decision.again.is_some(), "no watch reports snapshots");
            let made = [Action::MakeClaim, Action::MakePrime, Action::MakeRestored];
            assert!(!decision.actions.iter().any(|action| made.contains(action)), "{:?}", decision.actions);
        }
    }
}

#[test]
fn a_missing_snapshot_is_called_a_snapshot() {
    for seen in [start(), claimed()] {
        let mut seen = of_snapshot(seen, Restore::Unseen, Restored::Missing);
        (seen.source, seen.snapshot) = (None, Some(ObservedSnapshot::default()));
        assert_eq!(step(&seen), Step::NoSource(Key::new("n", "golden")));
        let decision = decided(&seen);
        let events = [decision.events, decision.claim_events].concat();
        assert!(events.iter().any(|event| event.message == "The source snapshot golden doesn't exist"));
        assert!(decision.again.is_some());
    }
}

#[test]
fn the_claim_is_held_before_the_snapshot_is_restored() {
    let decision = decided(&with(Restored::Missing));
    assert_eq!(decision.step, Step::MakeRestored);
    let actions: Vec<&Action> = decision
        .actions
        .iter()
        .filter(|action| !matches!(action, Action::Annotate(_) | Action::Tell(_)))
        .collect();
    assert_eq!(actions, [&Action::Hold(true), &Action::MakeRestored]);
}

#[test]
fn a_clone_that_waits_in_the_queue_restores_nothing() {
    let slot = Slot::Queued { position: 1, of: 1, limit: "one".to_owned() };
    assert_eq!(step(&Observed { slot, ..with(Restored::Missing) }), Step::Queued);
    let paused = Observed { makes_pause: true, ..with(Restored::Missing) };
    assert_eq!(step(&paused), Step::Restoring, "many were created recently");
}

#[test]
fn no_pod_is_created_before_the_restored_claim_has_its_volume() {
    assert_eq!(step(&with(ours("Pending"))), Step::Restoring);
    assert_eq!(step(&with(ours("Bound"))), step(&claimed()));
    let waits =
        Restored::Ours { claim: restored_claim("Pending"), is_recorded: true, waits_for_consumer: true };
    assert_eq!(step(&with(waits)), step(&claimed()), "the source pod is its consumer");
}

#[test]
fn the_error_of_the_provisioner_is_reported() {
    let mut seen = with(ours("Pending"));
    let error = ProvisioningError { reason: "ProvisioningFailed".to_owned(), message: "no room".to_owned() };
    seen.snapshot.as_mut().unwrap().error = Some(error);
    let decision = decided(&seen);
    assert_eq!(decision.step, Step::Restoring);
    let running = decision.status.unwrap().condition("Running").unwrap().clone();
    assert_eq!((running.reason.as_str(), running.message.as_str()), ("ProvisioningFailed", "no room"));
}

#[test]
fn a_claim_without_a_record_is_never_read() {
    let foreign = |change: fn(&mut Claim)| step(&with(Restored::Foreign(changed("Bound", change))));
    assert_eq!(foreign(|_| {}), Step::ReplaceRestored(RestoreFault::Unproven));
    assert_eq!(foreign(leaving), Step::RestoredLeaving);
    let taken = foreign(|claim| claim.metadata.annotations.clear());
    assert!(matches!(taken, Step::RestoredInTheWay(why) if why.contains("n/decant-restored-copy-uid")));
    let actions = decided(&with(Restored::Foreign(restored_claim("Bound")))).actions;
    assert!(actions.contains(&Action::DeleteRestored), "{actions:?}");
    let unrecorded =
        Restored::Ours { claim: restored_claim("Bound"), is_recorded: false, waits_for_consumer: false };
    assert_eq!(step(&with(unrecorded)), Step::RecordRestored);
}

#[test]
fn a_restored_claim_that_goes_or_lost_its_volume_is_restored_again_unless_both_pods_have_it() {
    let of = |claim| Restored::Ours { claim, is_recorded: true, waits_for_consumer: false };
    assert_eq!(step(&with(of(changed("Bound", leaving)))), Step::RestoredLeaving);
    assert_eq!(step(&with(ours("Lost"))), Step::ReplaceRestored(RestoreFault::Lost));
    let both = of_snapshot(copying(), Restore::Unseen, of(changed("Bound", leaving)));
    assert_eq!(step(&both), Step::Copying, "Kubernetes keeps it as long as a pod uses it");
}

#[test]
fn the_restored_claim_is_deleted_with_the_pods() {
    let seen = Observed { snapshot: None, ..of_snapshot(complete(), Restore::Unseen, ours("Bound")) };
    let decision = decide(&seen, now(), &Policy::default());
    assert_eq!(decision.step, Step::TidyUp);
    assert!(decision.actions.contains(&Action::DeleteRestored), "{:?}", decision.actions);
    let mut gone = (**claimed().target.as_ref().unwrap()).clone();
    leaving(&mut gone);
    let decision = decided(&Observed { target: Some(Arc::new(gone)), ..with(ours("Bound")) });
    assert_eq!(decision.step, Step::CleanUp);
    let at = |action: &Action| decision.actions.iter().position(|other| other == action);
    assert!(at(&Action::DeleteRestored).is_some(), "{:?}", decision.actions);
    assert!(at(&Action::Hold(false)).is_none_or(|hold| Some(hold) > at(&Action::DeleteRestored)));
}
