//! Every refusal reaches the user: in the condition, as a Warning event, in `kubectl decant status` and `doctor`, and on the status page.

mod kinds;
mod stub;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use decant_controller::api::cluster::ApiError;
use decant_controller::objects::{Claim, DataVolume, Key, Volume};
use decant_controller::pages::status::{Overview, render};
use decant_controller::pods::role::Role;
use decant_controller::policy::Policy;
use decant_controller::reconcile::actions::Action;
use decant_controller::reconcile::decide::{Decision, decide};
use decant_controller::reconcile::last_error::{LastError, LastErrors};
use decant_controller::reconcile::observed::{
    Observed, Origin, Population, Prime, Restored, SnapshotChoice, TakenSnapshot,
};
use decant_controller::reconcile::outcome::CloneOutcome;
use decant_controller::reconcile::permission::check::Permission;
use decant_controller::reconcile::reserved_volumes::Volumes;
use decant_controller::summary::clone_summary::{CloneState, CloneSummary};
use decant_controller::summary::complaint::Complaint;
use decant_controller::summary::pick::pick;
use proptest::prelude::*;

use crate::fixtures::{
    claimed, complete, copying, filling, handing_over, now, populated_volume, prime, read, recorded,
    restored_claim, source_pod, start, taken_snapshot, target_pod, unbound,
};
use serde_json::json;
use stub::{RefusingCluster, claim_object, executor, with_identity};

/// What every message has, so that it is found wherever it is told.
const MARKER: &str = "refused-by-test";

/// One action of each kind. A variant that is missing here does not compile in [`kind`].
fn actions() -> Vec<Action> {
    let text = || BTreeMap::from([("name", "value".to_owned())]);
    let mut actions = vec![
        Action::MakeClaim,
        Action::MakeKeptClaim,
        Action::ExpectVolume,
        Action::KeepVolume,
        Action::AdoptClaim,
        Action::KeepToken,
        Action::Label(BTreeMap::from([("name".to_owned(), "value".to_owned())])),
        Action::SayPrePopulated,
        Action::Tell(BTreeMap::from([("name", None)])),
        Action::Record(CloneOutcome::default()),
        Action::Annotate(text()),
        Action::Hold(true),
        Action::DeleteOrphans,
        Action::MakeCloneSource,
        Action::DeleteCloneSource,
        Action::HoldPopulation(true),
        Action::MakePrime,
        Action::RecordPrime,
        Action::DeletePrime,
        Action::RecordPopulation(CloneOutcome::default()),
        Action::ForgetPopulation,
        Action::ForgetNode,
        Action::RetainVolume,
        Action::HandOverVolume,
        Action::RestorePolicy,
        Action::MarkPopulated,
        Action::MakeRestored,
        Action::RecordRestored,
        Action::DeleteRestored,
        Action::MakeSnapshot,
        Action::RecordSnapshot,
        Action::DeleteSnapshot,
    ];
    actions.extend(population_actions());
    for role in [Role::Source, Role::Target] {
        actions.extend([
            Action::RecordPod(role),
            Action::MakePod(role),
            Action::MakeSecret(role),
            Action::DeletePod(role),
            Action::AbandonPod(role),
        ]);
    }
    let kinds: std::collections::BTreeSet<u8> = actions.iter().map(kind).collect();
    assert_eq!(kinds.len(), 36, "an action is missing in this list");
    actions
}

/// The actions that fill a claim before it is bound.
fn population_actions() -> [Action; 12] {
    [
        Action::MakeCloneSource,
        Action::DeleteCloneSource,
        Action::HoldPopulation(true),
        Action::MakePrime,
        Action::RecordPrime,
        Action::DeletePrime,
        Action::RecordPopulation(CloneOutcome::default()),
        Action::ForgetPopulation,
        Action::ForgetNode,
        Action::RetainVolume,
        Action::HandOverVolume,
        Action::RestorePolicy,
    ]
}

/// A number for each variant. A new variant also belongs into [`actions`].
fn kind(action: &Action) -> u8 {
    match action {
        Action::MakeClaim => 0,
        Action::AdoptClaim => 1,
        Action::KeepToken => 2,
        Action::Label(_) => 3,
        Action::SayPrePopulated => 4,
        Action::Tell(_) => 5,
        Action::Record(_) => 6,
        Action::RecordPod(_) => 7,
        Action::Annotate(_) => 8,
        Action::Hold(_) => 9,
        Action::MakePod(_) => 10,
        Action::MakeSecret(_) => 11,
        Action::DeletePod(_) => 12,
        Action::AbandonPod(_) => 30,
        Action::DeleteOrphans => 13,
        Action::MakeKeptClaim => 14,
        Action::ExpectVolume => 15,
        Action::KeepVolume => 16,
        Action::MakeCloneSource => 17,
        Action::DeleteCloneSource => 18,
        Action::HoldPopulation(_) => 19,
        Action::MakePrime => 20,
        Action::RecordPrime => 21,
        Action::DeletePrime => 22,
        Action::RecordPopulation(_) => 23,
        Action::ForgetPopulation => 24,
        Action::ForgetNode => 25,
        Action::RetainVolume => 26,
        Action::HandOverVolume => 27,
        Action::RestorePolicy => 28,
        Action::MarkPopulated => 29,
        Action::MakeRestored => 30,
        Action::RecordRestored => 31,
        Action::DeleteRestored => 32,
        Action::MakeSnapshot => 33,
        Action::RecordSnapshot => 34,
        Action::DeleteSnapshot => 35,
    }
}

/// A clone with every object of an action: starting pods, a useless pod, a token to extend, a population.
fn everything() -> Observed {
    Observed {
        population: Some(Population {
            prime: Prime::Ours { claim: prime("Bound"), is_recorded: true },
            volume: Some(populated_volume("tmp-pvc-copy-uid", "prime-uid", "Delete")),
            own_source: Some(read(
                json!({ "metadata": { "namespace": "n", "name": "own", "uid": "own-uid" } }),
            )),
            ..Population::default()
        }),
        target_pod: Some(with_identity(&target_pod("Pending", false, ""), Role::Target)),
        source_pod: Some(with_identity(&source_pod("Pending", "target-uid", "1"), Role::Source)),
        orphans: vec![source_pod("Running", "old-uid", "1")],
        volumes: Volumes::Reserved(vec![volume()]),
        restored: Restored::Ours {
            claim: restored_claim("Pending"),
            is_recorded: true,
            waits_for_consumer: false,
        },
        named_source: claimed().source,
        taken: TakenSnapshot::Ours { snapshot: taken_snapshot(&json!({})), is_recorded: true },
        snapshot_choice: SnapshotChoice::Class("snapshots".to_owned()),
        ..claimed()
    }
}

/// A population with every object of an action: prime, volume, VolumeCloneSource.
fn population() -> Population {
    let prime: Arc<Claim> = read(json!({
        "metadata": { "namespace": "n", "name": "tmp-pvc-copy-uid", "uid": "prime-uid" },
        "spec": { "volumeName": "v" }, "status": { "phase": "Bound" },
    }));
    Population {
        prime: Prime::Ours { claim: prime, is_recorded: true },
        volume: Some(volume()),
        own_source: Some(read(
            json!({ "metadata": { "namespace": "n", "name": "volume-clone-source-dv-uid" } }),
        )),
        ..Population::default()
    }
}

/// A volume that is reserved for the clone's claim.
fn volume() -> Arc<Volume> {
    read(json!({
        "metadata": { "name": "v", "creationTimestamp": "2026-01-01T11:00:00Z" },
        "spec": { "capacity": { "storage": "1Gi" }, "accessModes": ["ReadWriteOnce"], "volumeMode": "Block",
                  "storageClassName": "c", "claimRef": { "namespace": "n", "name": "copy" } },
    }))
}

fn changes_claim(action: &Action) -> bool {
    matches!(
        action,
        Action::AdoptClaim
            | Action::ExpectVolume
            | Action::KeepVolume
            | Action::Record(_)
            | Action::RecordPod(_)
            | Action::Annotate(_)
            | Action::Hold(_)
            | Action::HoldPopulation(_)
            | Action::RecordPrime
            | Action::MakeRestored
            | Action::RecordRestored
            | Action::MakeSnapshot
            | Action::RecordSnapshot
            | Action::RecordPopulation(_)
            | Action::ForgetPopulation
            | Action::ForgetNode
            | Action::MarkPopulated
    )
}

/// The error of `action` where everything is refused with `error`.
fn trouble_of(action: &Action, error: &ApiError) -> LastError {
    let refusal = error.clone();
    let mut claim = claim_object();
    if matches!(action, Action::MakeRestored | Action::MakeSnapshot) {
        // Otherwise the PVC or VolumeSnapshot is not created.
        claim["metadata"]["finalizers"] = json!(["cdi.kubevirt.io/cloneSource"]);
    }
    let double =
        Arc::new(RefusingCluster { claim, ..RefusingCluster::refusing(move |_| Some(refusal.clone())) });
    let mut seen = everything();
    if *action == Action::KeepToken {
        seen.permission = Some(Permission::ExtendToken("token".to_owned()));
    }
    if *action == Action::MakeRestored {
        seen.origin = Origin::Snapshot(Key::new("n", "golden"));
    }
    if population_actions().contains(action) {
        seen.population = Some(population());
    }
    let trouble = executor(&double)
        .carry_out(std::slice::from_ref(action), &seen, now())
        .expect_err("the failure was swallowed");
    assert_eq!(trouble.error, *error, "{action:?}");
    trouble
}

/// What is reported of `last_error` after it has lasted.
fn lasting(last_error: &LastError) -> LastError {
    let (mut troubles, key, begin) = (LastErrors::default(), Key::new("n", "copy"), Instant::now());
    let range = (Duration::from_secs(1), Duration::from_secs(60));
    assert_eq!(troubles.failed(&key, last_error.clone(), begin, range).told, None);
    troubles
        .failed(&key, last_error.clone(), begin + Duration::from_secs(10), range)
        .told
        .expect("it is not told")
}

/// The clone as it is after the controller wrote what it decided.
fn after(seen: &Observed, decision: &Decision) -> Observed {
    let mut dv = (**seen.data_volume.as_ref().unwrap()).clone();
    dv.status = decision.status.clone().expect("there is a status");
    Observed { data_volume: Some(Arc::new(dv)), ..seen.clone() }
}

/// Every place that users read, with its text.
fn reported(seen: &Observed) -> BTreeMap<&'static str, String> {
    let dv: &DataVolume = seen.data_volume.as_ref().unwrap();
    let standing = CloneSummary::of(dv).unwrap();
    let conditions: Vec<&str> =
        dv.status.conditions.iter().map(|condition| condition.message.as_str()).collect();
    let complaint = Complaint::of(dv, &standing, now());
    if let Some(complaint) = &complaint {
        assert!(!complaint.helps.is_empty());
    }
    let page = Overview { clones: Some(pick(std::slice::from_ref(dv), 10, 10)), now: String::new() };
    BTreeMap::from([
        ("condition", conditions.join("\n")),
        ("status", standing.why()),
        ("doctor", complaint.map(|complaint| complaint.found).unwrap_or_default()),
        ("page", render(&page)),
    ])
}

/// Clones in every phase.
fn states() -> Vec<(&'static str, Observed)> {
    let leaving = |mut seen: Observed| {
        let mut dv = (**seen.data_volume.as_ref().unwrap()).clone();
        dv.metadata.deletion_timestamp = Some(crate::fixtures::NOW.to_owned());
        seen.data_volume = Some(Arc::new(dv));
        seen
    };
    let mut bound = (**claimed().target.as_ref().unwrap()).clone();
    bound.metadata.creation_timestamp = crate::fixtures::NOW.to_owned();
    let bound_to_reserved =
        Observed { target: Some(Arc::new(bound)), volumes: Volumes::Bound(volume()), ..claimed() };
    vec![
        ("without a claim", start()),
        ("with a claim", claimed()),
        (
            "with a target that starts",
            Observed { target_pod: Some(target_pod("Pending", false, "")), ..claimed() },
        ),
        ("with a target that is ready", Observed { source_pod: None, ..copying() }),
        ("with pods that start", Observed { population: None, ..everything() }),
        ("whose prime is missing", unbound(Population::default())),
        ("whose prime is filled", filling("Pending", None)),
        ("whose prime is complete", filling("Bound", Some(CloneOutcome::default()))),
        ("whose volume is handed over", handing_over("tmp-pvc-copy-uid", "prime-uid", "Retain")),
        ("whose volume was handed over", handing_over("copy", "copy-uid", "Retain")),
        ("with both pods running", copying()),
        (
            "with a target that ended",
            Observed { target_pod: Some(target_pod("Succeeded", false, "{}")), ..copying() },
        ),
        ("with its outcome recorded", recorded()),
        ("marked as complete", complete()),
        ("being deleted", leaving(copying())),
        (
            "with a volume that is reserved",
            Observed { volumes: Volumes::Reserved(vec![volume()]), ..start() },
        ),
        ("with a claim that has a reserved volume", bound_to_reserved),
        (
            "with a claim that a restore filled",
            Observed {
                target: Some(crate::fixtures::claim(
                    "copy",
                    json!({ "cdi.kubevirt.io/storage.populatedFor": "copy" }),
                )),
                ..start()
            },
        ),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_failed_action_is_reported_everywhere_until_it_succeeds(
        code in prop::sample::select(vec![0_u16, 400, 403, 404, 409, 410, 413, 415, 422, 429, 500, 503, 504]),
        reason in "[A-Z][a-z]{2,9}",
        text in ".{0,60}",
    ) {
        let error = ApiError { code, reason, message: format!("{MARKER} {text}") };
        for action in actions() {
            // A claim that is gone needs no change.
            if code == 404 && changes_claim(&action) {
                continue;
            }
            let trouble = lasting(&trouble_of(&action, &error));
            for (when, seen) in states() {
                let what = format!("{action:?} of a clone {when}");
                let failing = Observed { last_error: Some(trouble.clone()), ..seen.clone() };
                let decision = decide(&failing, now(), &Policy::default());
                let events = [&decision.events, &decision.claim_events].map(|events| {
                    events.iter().any(|event| event.kind == "Warning" && event.message.contains(MARKER))
                });
                prop_assert!(events[0], "{}: no event: {:?}", what, decision.events);
                prop_assert!(events[1] || seen.target.is_none(), "{}: no event about the claim", what);
                let failing = after(&failing, &decision);
                for (place, text) in reported(&failing) {
                    prop_assert!(text.contains(MARKER), "{}: not in {}: {}", what, place, text);
                }
                let again = decide(&failing, now(), &Policy::default());
                prop_assert!(again.events.is_empty(), "{}: told twice: {:?}", what, again.events);
                let over = Observed { last_error: None, ..failing };
                let decision = decide(&over, now(), &Policy::default());
                if decision.status.is_some() {
                    for (place, text) in reported(&after(&over, &decision)) {
                        prop_assert!(!text.contains(MARKER), "{}: still in {}: {}", what, place, text);
                    }
                }
            }
        }
    }
}

#[test]
fn a_copying_clone_continues_despite_other_failures() {
    let error = ApiError { code: 403, reason: "Forbidden".to_owned(), message: MARKER.to_owned() };
    for action in [Action::MakeSecret(Role::Source), Action::DeleteOrphans, Action::Tell(BTreeMap::new())] {
        let seen = Observed { last_error: Some(lasting(&trouble_of(&action, &error))), ..copying() };
        let status = decide(&seen, now(), &Policy::default()).status.unwrap();
        let running = status.condition("Running").unwrap();
        assert_eq!(
            (running.status.as_str(), status.phase.as_str()),
            ("True", "CloneInProgress"),
            "{action:?}"
        );
        assert!(running.message.contains(MARKER));
    }
}

#[test]
fn a_complete_clone_stays_complete_if_cleanup_fails() {
    let error = ApiError { code: 403, reason: "Forbidden".to_owned(), message: MARKER.to_owned() };
    let seen = Observed { last_error: Some(lasting(&trouble_of(&Action::Hold(true), &error))), ..complete() };
    let seen = after(&seen, &decide(&seen, now(), &Policy::default()));
    let dv = seen.data_volume.as_ref().unwrap();
    let standing = CloneSummary::of(dv).unwrap();
    assert_eq!((standing.state, standing.reason.as_str()), (CloneState::Succeeded, "ErrChangingClaim"));
    assert_eq!(dv.status.condition("Ready").unwrap().status, "True");
}

#[test]
fn a_refusal_in_one_namespace_does_not_stop_actions_in_the_other() {
    let error = ApiError { code: 403, reason: "Forbidden".to_owned(), message: MARKER.to_owned() };
    let mut seen = everything();
    let mut elsewhere = (**seen.source_pod.as_ref().unwrap()).clone();
    elsewhere.metadata.namespace = "images".to_owned();
    seen.source_pod = Some(Arc::new(elsewhere));
    let double = Arc::new(RefusingCluster::refusing(move |(_, _, namespace)| {
        (namespace == "images").then(|| error.clone())
    }));
    let actions = [Action::DeletePod(Role::Source), Action::DeletePod(Role::Target)];
    let trouble = executor(&double).carry_out(&actions, &seen, now()).unwrap_err();
    assert_eq!(trouble.reason().as_str(), "ErrDeletingPod");
    assert!(trouble.message().starts_with("pod images/copy-uid-source-pod cannot be deleted"), "{trouble}");
    assert_eq!(double.done.lock().unwrap().len(), 1, "the target pod is deleted");
}
