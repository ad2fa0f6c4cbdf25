//! Snapshots of a source in use: the rows of docs/protocol.md section 7.5 about them.

use std::sync::Arc;

use decant_controller::objects::{Uid, VolumeSnapshot};
use decant_controller::policy::{Policy, SourceInUse};
use decant_controller::reconcile::actions::Action;
use decant_controller::reconcile::decide::decide;
use decant_controller::reconcile::observed::{
    Observed, ObservedSnapshot, Restore, RestorePlan, Restored, SnapshotChoice, TakenSnapshot,
};
use decant_controller::reconcile::outcome::CloneOutcome;
use decant_controller::reconcile::step::{RestoreFault, Slot, SnapshotFault, Step};
use serde_json::json;

use crate::fixtures::{
    claim, claimed, complete, copying, decided, named, now, recorded, restored_claim, step, taken_snapshot,
    with_annotation,
};
use decant_controller::objects::Key;

const TIME: &str = "2026-01-01T11:58:00Z";

/// A clone whose source is in use, and of which a snapshot is wanted.
fn in_use() -> Observed {
    Observed {
        source_writers: vec![Key::new("n", "vm")],
        named_source: claimed().source,
        wants_snapshot: true,
        snapshot_choice: SnapshotChoice::Class("snapshots".to_owned()),
        ..claimed()
    }
}

/// The same with a recorded snapshot that has the status `status` and can be restored as `restore` says.
fn taken(status: &serde_json::Value, restore: Restore) -> Observed {
    let snapshot = taken_snapshot(status);
    let is_ready = status["readyToUse"] == true;
    Observed {
        snapshot: Some(ObservedSnapshot {
            metadata: Some(snapshot.metadata.clone()),
            restore,
            taken_at: is_ready.then(|| TIME.to_owned()),
            ..ObservedSnapshot::default()
        }),
        taken: TakenSnapshot::Ours { snapshot, is_recorded: true },
        taken_of: Some(Uid::from("golden-uid")),
        // Once there is a snapshot, the pods that write to the source are not observed.
        source_writers: Vec::new(),
        snapshot_choice: SnapshotChoice::Unseen,
        ..in_use()
    }
}

fn ready() -> Observed {
    let plan = RestorePlan {
        class: "c".to_owned(),
        size: Some("1Gi".to_owned()),
        mode: None,
        access_modes: vec!["ReadWriteOnce".to_owned()],
    };
    taken(&json!({ "readyToUse": true, "creationTime": TIME }), Restore::Ready(plan))
}

fn restored() -> Observed {
    let claim = restored_claim("Bound");
    Observed { restored: Restored::Ours { claim, is_recorded: true, waits_for_consumer: false }, ..ready() }
}

fn foreign(change: impl FnOnce(&mut VolumeSnapshot)) -> Observed {
    let mut snapshot = (*taken_snapshot(&json!({}))).clone();
    change(&mut snapshot);
    Observed { taken: TakenSnapshot::Foreign(Arc::new(snapshot)), ..in_use() }
}

#[test]
fn a_source_in_use_is_waited_for_unless_a_snapshot_is_wanted_and_possible() {
    let choice = SnapshotChoice::Unseen;
    let waits = Step::SourceInUse(vec![Key::new("n", "vm")]);
    assert_eq!(step(&Observed { snapshot_choice: choice, ..in_use() }), waits);
    let impossible = SnapshotChoice::Impossible("no VolumeSnapshotClass has the driver".to_owned());
    let decision = decided(&Observed { snapshot_choice: impossible, ..in_use() });
    assert_eq!(decision.step, waits);
    let running = decision.status.unwrap().condition("Running").unwrap().clone();
    assert_eq!(running.reason, "CloneSourceInUse");
    assert_eq!(
        running.message,
        "pod n/vm using PersistentVolumeClaim golden; no snapshot of it can be taken: no VolumeSnapshotClass has the driver"
    );
    assert_eq!(step(&in_use()), Step::MakeSnapshot);
}

#[test]
fn the_claim_is_held_before_the_snapshot_is_taken() {
    let decision = decided(&in_use());
    let actions: Vec<&Action> = decision
        .actions
        .iter()
        .filter(|action| !matches!(action, Action::Annotate(_) | Action::Tell(_)))
        .collect();
    assert_eq!(actions, [&Action::Hold(true), &Action::MakeSnapshot]);
    let running = decision.status.unwrap().condition("Running").unwrap().clone();
    assert_eq!(running.reason, "TakingSnapshot");
    let event = decision.events.iter().find(|event| event.reason == "TakingSnapshot").unwrap();
    assert_eq!(event.kind, "Normal", "it is what the user wants");
}

#[test]
fn a_clone_that_waits_in_the_queue_takes_no_snapshot() {
    let slot = Slot::Queued { position: 1, of: 1, limit: "one".to_owned() };
    assert_eq!(step(&Observed { slot, ..in_use() }), Step::Queued);
    assert_eq!(step(&Observed { makes_pause: true, ..in_use() }), Step::TakingSnapshot(None));
}

#[test]
fn the_error_of_a_snapshot_is_reported_and_waited_for() {
    let not_ready = || Restore::NotReady("the VolumeSnapshot n/s is not ready to use: full".to_owned());
    assert_eq!(step(&taken(&json!({ "readyToUse": false }), not_ready())), Step::TakingSnapshot(None));
    let seen = taken(&json!({ "readyToUse": false, "error": { "message": "full" } }), not_ready());
    let decision = decided(&seen);
    let running = decision.status.unwrap().condition("Running").unwrap().clone();
    assert_eq!(running.reason, "SnapshotNotReady");
    assert!(running.message.ends_with("full"), "{running:?}");
    assert!(decision.again.is_some(), "no watch reports snapshots");
    assert!(decision.events.iter().any(|event| event.kind == "Warning" && event.message.ends_with("full")));
}

#[test]
fn a_snapshot_that_is_ready_is_restored_and_cloned() {
    assert_eq!(step(&ready()), Step::MakeRestored);
    assert_eq!(step(&restored()), step(&claimed()), "as any other source");
    let gone = Observed { taken: TakenSnapshot::Missing, ..restored() };
    assert_eq!(
        step(&gone),
        Step::ReplaceRestored(RestoreFault::SnapshotGone),
        "it may be that of another snapshot"
    );
    let pods = Observed { target_pod: copying().target_pod, source_pod: copying().source_pod, ..gone };
    assert_eq!(step(&pods), Step::Copying, "then it was checked before they were created");
}

#[test]
fn a_snapshot_without_a_record_is_never_restored() {
    assert_eq!(step(&foreign(|_| {})), Step::ReplaceSnapshot(SnapshotFault::Unproven));
    assert!(decided(&foreign(|_| {})).actions.contains(&Action::DeleteSnapshot));
    let leaving = foreign(|snapshot| snapshot.metadata.deletion_timestamp = Some(TIME.to_owned()));
    assert_eq!(step(&leaving), Step::SnapshotLeaving);
    let taken = step(&foreign(|snapshot| snapshot.metadata.annotations.clear()));
    assert!(matches!(taken, Step::SnapshotInTheWay(why) if why.contains("n/decant-snapshot-copy-uid")));
    let snapshot = taken_snapshot(&json!({}));
    let unrecorded = TakenSnapshot::Ours { snapshot, is_recorded: false };
    assert_eq!(step(&Observed { taken: unrecorded, ..in_use() }), Step::RecordSnapshot);
}

#[test]
fn a_snapshot_of_an_earlier_source_is_deleted_with_what_was_restored_from_it() {
    let seen = Observed { taken_of: Some(Uid::from("earlier")), snapshot: None, ..restored() };
    let decision = decided(&seen);
    assert_eq!(decision.step, Step::ReplaceSnapshot(SnapshotFault::OtherSource));
    let at = |action| decision.actions.iter().position(|other| *other == action);
    assert!(at(Action::DeleteRestored).is_some() && at(Action::DeleteSnapshot).is_some(), "{decision:?}");
    let unnamed = Observed { named_source: None, taken_of: Some(Uid::from("earlier")), ..restored() };
    assert_eq!(step(&unnamed), step(&claimed()), "the source is gone: its snapshot is what is left of it");
}

#[test]
fn a_snapshot_that_is_not_wanted_any_more_is_deleted_until_it_is_restored() {
    let unwanted = |seen: Observed| step(&Observed { wants_snapshot: false, ..seen });
    assert_eq!(unwanted(ready()), Step::ReplaceSnapshot(SnapshotFault::Unwanted));
    assert_eq!(unwanted(restored()), step(&claimed()));
}

#[test]
fn the_wish_of_a_data_volume_comes_before_that_of_its_claim() {
    let wish = |seen: &Observed| seen.source_in_use_wish();
    assert_eq!(wish(&claimed()), None, "the flag decides");
    let of_claim = claim("copy", with_annotation(named(), "decant.dev/source-in-use", "snapshot"));
    let mut seen = Observed { target: Some(of_claim), ..claimed() };
    assert_eq!(wish(&seen), Some(SourceInUse::Snapshot));
    let mut dv = (**seen.data_volume.as_ref().unwrap()).clone();
    dv.metadata.annotations.insert("decant.dev/source-in-use".to_owned(), "wait".to_owned());
    seen.data_volume = Some(Arc::new(dv));
    assert_eq!(wish(&seen), Some(SourceInUse::Wait));
}

#[test]
fn a_clone_of_a_snapshot_says_so_in_condition_event_and_result() {
    let pods = Observed { target_pod: copying().target_pod, source_pod: copying().source_pod, ..restored() };
    let decision = decided(&pods);
    assert_eq!(decision.step, Step::Copying);
    let running = decision.status.unwrap().condition("Running").unwrap().clone();
    assert!(running.message.contains(TIME), "{running:?}");
    let event = decision.events.iter().find(|event| event.reason == "SourceSnapshotCloned").unwrap();
    assert!(event.message.contains("n/golden") && event.message.contains(TIME), "{event:?}");
    let ended = Observed { target_pod: recorded().target_pod, ..pods };
    let outcome = ended.reported_outcome().unwrap();
    assert_eq!(outcome.snapshot_time.as_deref(), Some(TIME));
    let done = Observed { outcome: Some(outcome), snapshot: None, ..complete() };
    let decision = decided(&done);
    let status = decision.status.unwrap();
    let running = status.condition("Running").unwrap();
    assert!(running.message.starts_with("Clone Complete; from a snapshot"), "{running:?}");
    let told = decision.actions.iter().any(|action| {
        matches!(action, Action::Tell(told) if told.get("decant.dev/snapshot-time") == Some(&Some(TIME.to_owned())))
    });
    assert!(told, "{:?}", decision.actions);
    let itself = Observed { outcome: Some(CloneOutcome::default()), ..complete() };
    assert_eq!(itself.snapshot_time(), None);
}

#[test]
fn the_snapshot_is_deleted_with_the_pods() {
    let snapshot = taken_snapshot(&json!({}));
    let taken = TakenSnapshot::Ours { snapshot, is_recorded: true };
    let decision = decide(&Observed { taken: taken.clone(), ..complete() }, now(), &Policy::default());
    assert_eq!(decision.step, Step::TidyUp);
    let at = |action: &Action| decision.actions.iter().position(|other| other == action);
    assert!(at(&Action::DeleteSnapshot).is_some(), "{:?}", decision.actions);
    assert!(at(&Action::Hold(false)).is_none_or(|hold| Some(hold) > at(&Action::DeleteSnapshot)));
    let mut gone = (**claimed().target.as_ref().unwrap()).clone();
    gone.metadata.deletion_timestamp = Some(TIME.to_owned());
    let decision = decided(&Observed { target: Some(Arc::new(gone)), taken, ..in_use() });
    assert_eq!(decision.step, Step::CleanUp);
    assert!(decision.actions.contains(&Action::DeleteSnapshot), "{:?}", decision.actions);
}
