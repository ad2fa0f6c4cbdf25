//! Steps before the pods exist.

use decant_controller::objects::{DataSource, Key, Meta, StorageClass};
use decant_controller::reconcile::actions::Action;
use decant_controller::reconcile::observed::{Observed, ObservedSnapshot, Origin};
use decant_controller::reconcile::permission::check::Permission;
use decant_controller::reconcile::step::Slot;
use decant_controller::reconcile::step::Step;
use decant_controller::token::asker::Asker;
use serde_json::json;
use std::sync::Arc;

use crate::fixtures::*;

#[test]
fn steps_without_a_claim() {
    assert_eq!(step(&start()), Step::MakeClaim);
    assert_eq!(step(&Observed { source: None, ..start() }), Step::NoSource(Key::new("n", "golden")));
    let denied = Observed { permission: Some(Permission::Denied("no".to_owned())), ..start() };
    assert_eq!(step(&denied), Step::Denied("no".to_owned()));
    assert!(decided(&denied).actions.is_empty());
    let http = Observed { origin: Origin::NotOurs("http".to_owned()), source: None, ..start() };
    assert_eq!(step(&http), Step::NotOurs("http".to_owned()));
    assert_eq!(step(&Observed::default()), Step::Nothing);
}

#[test]
fn obstacles_are_found_before_pods_are_created() {
    let writer = vec![Key::new("n", "vm")];
    assert_eq!(
        step(&Observed { source_writers: writer.clone(), ..claimed() }),
        Step::SourceInUse(writer.clone())
    );
    assert_eq!(step(&Observed { target_users: writer.clone(), ..claimed() }), Step::TargetInUse(writer));
    assert_eq!(step(&Observed { source_is_filling: true, ..claimed() }), Step::SourceFilling);
    let slot = Slot::Queued { position: 2, of: 3, limit: "full".to_owned() };
    let queued = decided(&Observed { slot, ..claimed() });
    assert_eq!(queued.step, Step::Queued);
    assert_eq!(
        queued.status.unwrap().condition("Running").unwrap().message,
        "place 2 of 3 in the queue: full"
    );
}

#[test]
fn a_claim_that_waits_for_its_consumer_is_left_alone_by_default() {
    let class: Arc<StorageClass> = read(json!({ "volumeBindingMode": "WaitForFirstConsumer" }));
    let pending = |annotations| {
        let mut claim = (*claim("copy", annotations)).clone();
        claim.status.phase = "Pending".into();
        Observed { target: Some(Arc::new(claim)), class: Some(Arc::clone(&class)), ..start() }
    };
    let waits = decided(&pending(named()));
    assert_eq!(
        (waits.step, waits.status.unwrap().phase.as_str()),
        (Step::WaitForConsumer, "WaitForFirstConsumer")
    );
    let at_once = with_annotation(named(), "cdi.kubevirt.io/storage.bind.immediate.requested", "");
    assert_eq!(step(&pending(at_once)), Step::MakeTargetPod);
}

/// CDI calls such a claim `PendingPopulation`, and KubeVirt then starts the virtual machine; with `WaitForFirstConsumer` a
/// migration deletes its source. Neither is right before there is anything in the volume.
#[test]
fn a_clone_is_the_first_consumer_if_waiting_looks_complete_to_cdi_clients() {
    let class: Arc<StorageClass> = read(json!({ "volumeBindingMode": "WaitForFirstConsumer" }));
    let mut pending = (*claim("copy", named())).clone();
    pending.status.phase = "Pending".into();
    let seen =
        Observed { target: Some(Arc::new(pending)), class: Some(class), is_filled_unbound: true, ..start() };
    let first = decided(&seen);
    assert_eq!((first.step, first.status.unwrap().phase.as_str()), (Step::MakeTargetPod, "Pending"));
    let writer = vec![Key::new("n", "vm")];
    let waits = decided(&Observed { source_writers: writer.clone(), ..seen });
    assert_eq!((waits.step, waits.status.unwrap().phase.as_str()), (Step::SourceInUse(writer), "Pending"));
}

#[test]
fn with_immediate_binding_the_pod_follows_the_volume_without_a_warning() {
    let class: Arc<StorageClass> = read(json!({ "volumeBindingMode": "Immediate" }));
    let mut pending = (*claim("copy", named())).clone();
    pending.status.phase = "Pending".into();
    for class in [Some(class), None] {
        let seen = Observed { target: Some(Arc::new(pending.clone())), class, ..start() };
        let decision = decided(&seen);
        assert_eq!(decision.step, Step::WaitForVolume);
        assert!(!decision.actions.iter().any(|action| matches!(action, Action::MakePod(_))));
        assert_eq!(decision.status.unwrap().phase, "Pending");
        assert!(decision.events.iter().all(|event| event.kind == "Normal"), "{:?}", decision.events);
        // A claim that has its pod from an earlier version keeps it.
        let early = Observed { target_pod: Some(target_pod("Pending", false, "")), ..seen };
        assert_eq!(step(&early), Step::WaitForTarget);
    }
}

#[test]
fn a_claim_with_a_clone_request_is_cloned_and_marked_complete() {
    let bare = Observed { data_volume: None, ..copying() };
    assert_eq!(step(&bare), Step::Copying);
    assert_eq!(decided(&bare).status, None);
    assert_eq!(bare.owner_uid().unwrap().as_str(), "copy-uid", "the claim's own, where nothing else is said");
    let done = Observed { data_volume: None, source_pod: None, ..recorded() };
    let decision = decided(&done);
    assert_eq!(decision.step, Step::MarkDone);
    assert_eq!(decision.claim_events[0].message, "Clone Complete");
}

/// Metadata with an instancetype label.
fn preferring(preference: &str) -> Meta {
    let labels = [(PREFERENCE.to_owned(), preference.to_owned())].into();
    Meta { namespace: "n".to_owned(), name: "golden".to_owned(), labels, ..Meta::default() }
}

const PREFERENCE: &str = "instancetype.kubevirt.io/default-preference";

/// The preference that the DataVolume gets.
fn given_preference(seen: &Observed) -> Option<String> {
    decided(seen).actions.into_iter().find_map(|action| match action {
        Action::Label(labels) => labels.get(PREFERENCE).cloned(),
        _ => None,
    })
}

#[test]
fn instancetype_labels_are_those_of_the_data_source_else_of_the_snapshot_or_claim() {
    let mut claim = (**start().source.as_ref().unwrap()).clone();
    claim.metadata.labels = preferring("of the claim").labels;
    let of_claim = Observed { source: Some(Arc::new(claim)), ..start() };
    assert_eq!(given_preference(&of_claim).as_deref(), Some("of the claim"));

    let metadata = Some(preferring("of the snapshot"));
    let snapshot = Some(ObservedSnapshot { metadata, ..ObservedSnapshot::default() });
    let of_snapshot = Observed { snapshot, origin: Origin::Snapshot(Key::new("n", "golden")), ..start() };
    assert_eq!(given_preference(&of_snapshot).as_deref(), Some("of the snapshot"));

    for seen in [of_claim.clone(), of_snapshot] {
        let metadata = preferring("of the DataSource");
        let data_source = Some(Arc::new(DataSource { metadata, ..DataSource::default() }));
        let seen = Observed { data_source, ..seen };
        assert_eq!(given_preference(&seen).as_deref(), Some("of the DataSource"));
    }
    // A DataSource without such labels hides none.
    let unlabelled = Observed { data_source: Some(Arc::default()), ..of_claim };
    assert_eq!(given_preference(&unlabelled).as_deref(), Some("of the claim"));
}

#[test]
fn a_data_volume_with_an_instancetype_label_keeps_its_own() {
    let mut dv = (**start().data_volume.as_ref().unwrap()).clone();
    dv.metadata.labels.insert("instancetype.kubevirt.io/default-instancetype".to_owned(), "u1".to_owned());
    let metadata = preferring("of the DataSource");
    let data_source = Some(Arc::new(DataSource { metadata, ..DataSource::default() }));
    assert_eq!(given_preference(&Observed { data_volume: Some(Arc::new(dv)), data_source, ..start() }), None);
}

#[test]
fn without_permission_no_label_of_a_data_source_is_shown() {
    let metadata = preferring("secret");
    let data_source = Some(Arc::new(DataSource { metadata, ..DataSource::default() }));
    let permission = Some(Permission::Denied("no".to_owned()));
    assert_eq!(given_preference(&Observed { permission, data_source, ..start() }), None);
}

#[test]
fn a_token_is_extended_before_anything_else() {
    let token = Some(Permission::ExtendToken("long".to_owned()));
    for source in [None, start().source] {
        let decision = decided(&Observed { permission: token.clone(), source, ..start() });
        assert_eq!((decision.step, decision.actions), (Step::ExtendToken, vec![Action::KeepToken]));
    }
    let given = Observed { permission: Some(Permission::Token(Asker::default())), ..start() };
    assert_eq!(step(&given), Step::MakeClaim);
    let denied = Observed { permission: Some(Permission::Denied("no".to_owned())), ..start() };
    assert_eq!(step(&denied), Step::Denied("no".to_owned()));
    // Without permission to clone, the absence of the source is not revealed.
    assert_eq!(step(&Observed { source: None, ..denied }), Step::Denied("no".to_owned()));
}

#[test]
fn a_size_that_does_not_fit_is_checked_again() {
    let mut larger = (*claim("golden", json!({}))).clone();
    larger.spec.resources.requests.storage = Some("2Gi".to_owned());
    let before = Observed { source: Some(Arc::new(larger.clone())), ..start() };
    assert!(matches!(step(&before), Step::Unfit(_)));
    let after = Observed { source: Some(Arc::new(larger)), ..claimed() };
    assert!(matches!(step(&after), Step::Incompatible(_)));
    for seen in [before, after] {
        assert_eq!(decided(&seen).again, Some(std::time::Duration::from_secs(10)));
    }
}

#[test]
fn a_foreign_claim_is_never_changed() {
    let mut foreign = (*claim("copy", json!({}))).clone();
    foreign.metadata.owner_references.clear();
    let taken = decided(&Observed { target: Some(Arc::new(foreign.clone())), ..start() });
    assert_eq!(taken.step, Step::Taken);
    assert!(taken.actions.is_empty());
    assert_eq!(taken.status.unwrap().claim_name, "");
    // The DataVolume cannot grant this itself.
    let adoption = "cdi.kubevirt.io/allowClaimAdoption".to_owned();
    let mut dv = (**start().data_volume.as_ref().unwrap()).clone();
    dv.metadata.annotations.insert(adoption.clone(), "true".to_owned());
    let by_itself =
        Observed { data_volume: Some(Arc::new(dv)), target: Some(Arc::new(foreign.clone())), ..start() };
    assert_eq!(step(&by_itself), Step::Taken);
    foreign.metadata.annotations.insert(adoption, "true".to_owned());
    assert_eq!(step(&Observed { target: Some(Arc::new(foreign)), ..start() }), Step::Adopt);
}
