//! Claims that are filled before they are bound: the rows of docs/protocol.md section 7.6.

use std::sync::Arc;

use decant_controller::objects::clone_request::Invalid;
use decant_controller::objects::{Claim, Key, Uid, Volume};
use decant_controller::policy::Policy;
use decant_controller::reconcile::actions::Action;
use decant_controller::reconcile::decide::{Decision, decide};
use decant_controller::reconcile::observed::{Observed, Origin, Population, Prime, Provisioner};
use decant_controller::reconcile::outcome::CloneOutcome;
use decant_controller::reconcile::permission::check::Permission;
use decant_controller::reconcile::population::record::PopulatedVolume;
use decant_controller::reconcile::step::{PrimeFault, Step};
use decant_controller::summary::clone_summary::CloneSummary;
use serde_json::json;

use crate::fixtures::{
    copying, decided, filling, handing_over, now, populated_volume, prime, read, recorded, start, step,
    unbound,
};

const NODE: &str = "volume.kubernetes.io/selected-node";

fn with_target(seen: Observed, change: impl FnOnce(&mut Claim)) -> Observed {
    let mut claim = (**seen.target.as_ref().unwrap()).clone();
    change(&mut claim);
    Observed { target: Some(Arc::new(claim)), ..seen }
}

fn with_prime(mut seen: Observed, change: impl Fn(&mut Claim)) -> Observed {
    let population = seen.population.as_mut().unwrap();
    if let Prime::Ours { claim, .. } = &mut population.prime {
        change(Arc::make_mut(claim));
    }
    seen
}

fn with_volume(mut seen: Observed, change: impl FnOnce(&mut Volume)) -> Observed {
    change(Arc::make_mut(seen.population.as_mut().unwrap().volume.as_mut().unwrap()));
    seen
}

fn with_population(mut seen: Observed, change: impl FnOnce(&mut Population)) -> Observed {
    change(seen.population.as_mut().unwrap());
    seen
}

fn annotated(seen: Observed, name: &str, value: &str) -> Observed {
    with_target(seen, |claim| {
        claim.metadata.annotations.insert(name.to_owned(), value.to_owned());
    })
}

fn deleting(claim: &mut Claim) {
    claim.metadata.deletion_timestamp = Some(crate::fixtures::NOW.to_owned());
}

/// A population that has not begun, on a class that waits for the first consumer.
fn waiting() -> Observed {
    let class = json!({ "metadata": { "name": "c" }, "provisioner": "p", "volumeBindingMode": "WaitForFirstConsumer" });
    Observed { class: Some(read(class)), ..unbound(Population::default()) }
}

/// The target is bound to the volume, which has its own policy again; the outcome is recorded.
fn bound(seen: Observed) -> Observed {
    with_target(seen, |claim| {
        claim.spec.volume_name = "pv".to_owned();
        claim.status.phase = "Bound".into();
    })
}

fn phases(decision: &Decision) -> (String, String) {
    let told = decision.actions.iter().find_map(|action| match action {
        Action::Annotate(told) => told.get("cdi.kubevirt.io/clonePhase").cloned(),
        _ => None,
    });
    let phase = decision.status.as_ref().map(|status| status.phase.to_string()).unwrap_or_default();
    (phase, told.unwrap_or_else(|| "HostClone".to_owned()))
}

fn warns(decision: &Decision, reason: &str) -> bool {
    decision.claim_events.iter().any(|event| event.kind == "Warning" && event.reason == reason)
}

#[test]
fn the_claim_is_held_before_the_clone_source_and_the_prime_are_created() {
    let decision = decided(&unbound(Population::default()));
    assert_eq!(decision.step, Step::MakePrime);
    let made: Vec<&Action> = decision
        .actions
        .iter()
        .filter(|action| !matches!(action, Action::Annotate(_) | Action::Tell(_)))
        .collect();
    assert_eq!(made, [&Action::HoldPopulation(true), &Action::MakeCloneSource, &Action::MakePrime]);
    assert_eq!(phases(&decision), ("CloneScheduled".to_owned(), "HostClone".to_owned()));
}

#[test]
fn what_is_wrong_with_the_data_source_is_reported_on_the_claim() {
    let invalid = Invalid { field: "spec.verify", message: "spec.verify: twice".to_owned() };
    for (origin, reason) in [
        (Origin::Invalid(invalid), "ErrClaimNotValid"),
        (Origin::Unresolved("CloneSource n/c doesn't exist".to_owned()), "CloneWithoutSource"),
        (Origin::Withheld("Nothing allows that".to_owned()), "CloneNotAllowed"),
        (Origin::NotOurs("VolumeSnapshot".to_owned()), "SourceNotSupported"),
    ] {
        let mut seen = Observed { origin, source: None, permission: None, ..unbound(Population::default()) };
        // The controller that created the claim of a DataVolume with such a source reports it.
        let is_of_another = matches!(seen.origin, Origin::NotOurs(_));
        seen.data_volume = seen.data_volume.filter(|_| !is_of_another);
        let phase = if is_of_another { "" } else { "Pending" };
        let decision = decided(&seen);
        assert!(warns(&decision, reason), "{reason}: {:?}", decision.claim_events);
        assert_eq!(phases(&decision), (phase.to_owned(), "Error".to_owned()), "{reason}");
        assert!(!decision.actions.contains(&Action::MakePrime), "{reason}");
    }
}

#[test]
fn without_a_source_or_a_permission_there_is_no_prime() {
    let seen = Observed { source: None, ..unbound(Population::default()) };
    assert_eq!(step(&seen), Step::NoSource(Key::new("n", "golden")));
    assert!(warns(&decided(&seen), "CloneWithoutSource"));
    let denied = Permission::Denied("Nothing allows that".to_owned());
    let seen = Observed { permission: Some(denied), ..seen };
    assert!(warns(&decided(&seen), "CloneNotAllowed"), "a denial tells nothing about the source");
}

#[test]
fn a_target_that_is_smaller_than_its_source_gets_no_prime() {
    let seen = with_target(unbound(Population::default()), |claim| {
        claim.spec.resources.requests.storage = Some("1Mi".to_owned());
    });
    let decision = decided(&seen);
    assert!(
        matches!(&decision.step, Step::Incompatible(why) if why.contains("smaller")),
        "{:?}",
        decision.step
    );
    assert!(warns(&decision, "ErrIncompatiblePVC"));
}

#[test]
fn a_class_that_creates_no_volumes_is_reported() {
    let why = "there is no StorageClass \"c\"".to_owned();
    let seen = with_population(unbound(Population::default()), |population| {
        population.provisioner = Provisioner::Unusable(why.clone());
    });
    let decision = decided(&seen);
    assert_eq!(decision.step, Step::NoProvisioner(why.clone()));
    assert!(warns(&decision, "NoProvisioner"));
    assert!(decision.status.unwrap().condition("Running").unwrap().message.contains(&why));
    assert!(decision.again.is_some(), "no watch reports classes");
}

#[test]
fn a_claim_waits_for_the_node_of_its_first_consumer() {
    assert_eq!(step(&waiting()), Step::WaitForConsumer);
    assert_eq!(phases(&decided(&waiting())).0, "PendingPopulation");
    for name in [NODE, "cdi.kubevirt.io/storage.bind.immediate.requested"] {
        assert_eq!(step(&annotated(waiting(), name, "node1")), Step::MakePrime, "{name}");
    }
}

#[test]
fn a_prime_of_unknown_origin_is_replaced_and_a_foreign_claim_is_in_the_way() {
    let foreign =
        |claim: Arc<Claim>| unbound(Population { prime: Prime::Foreign(claim), ..Population::default() });
    let decision = decided(&foreign(prime("Bound")));
    assert_eq!(decision.step, Step::ReplacePrime(PrimeFault::Unproven));
    assert!(decision.actions.contains(&Action::DeletePrime));
    assert!(warns(&decision, "PrimeReplaced"));
    let mut own = (*prime("Bound")).clone();
    own.metadata.annotations.clear();
    let decision = decided(&foreign(Arc::new(own.clone())));
    assert!(matches!(decision.step, Step::PrimeInTheWay(_)), "{:?}", decision.step);
    assert!(!decision.actions.contains(&Action::DeletePrime), "users keep what is theirs");
    assert!(warns(&decision, "PrimeInTheWay"));
    deleting(&mut own);
    assert_eq!(step(&foreign(Arc::new(own))), Step::PrimeLeaving);
}

#[test]
fn a_prime_is_recorded_before_it_is_filled() {
    let seen = with_population(filling("Bound", None), |population| {
        population.prime = Prime::Ours { claim: prime("Bound"), is_recorded: false };
    });
    let decision = decided(&seen);
    assert_eq!(decision.step, Step::RecordPrime);
    assert!(decision.actions.contains(&Action::RecordPrime));
}

#[test]
fn a_prime_that_lost_its_volume_is_replaced_and_one_that_goes_is_waited_for() {
    let decision = decided(&filling("Lost", None));
    assert_eq!(decision.step, Step::ReplacePrime(PrimeFault::Lost));
    assert!(decision.actions.contains(&Action::DeletePrime) && warns(&decision, "PrimeReplaced"));
    let decision = decided(&with_prime(filling("Bound", None), deleting));
    assert_eq!(decision.step, Step::PrimeLeaving);
    assert!(!decision.actions.contains(&Action::DeletePrime));
}

#[test]
fn an_unbound_prime_follows_the_consumer_to_another_node() {
    let with_nodes = |target: Option<&str>, own: Option<&str>, phase: &str| {
        let put = |claim: &mut Claim, node: Option<&str>| {
            claim.metadata.annotations.extend(node.map(|node| (NODE.to_owned(), node.to_owned())));
        };
        with_prime(with_target(filling(phase, None), |claim| put(claim, target)), |claim| put(claim, own))
    };
    let other = with_nodes(Some("a"), Some("b"), "Pending");
    assert_eq!(step(&other), Step::ReplacePrime(PrimeFault::OtherNode));
    let refused = decided(&with_nodes(Some("a"), None, "Pending"));
    assert_eq!(refused.step, Step::ReplacePrime(PrimeFault::NodeRefused));
    let forget = refused.actions.iter().position(|action| *action == Action::ForgetNode);
    let delete = refused.actions.iter().position(|action| *action == Action::DeletePrime);
    assert!(forget < delete && forget.is_some(), "{:?}", refused.actions);
    assert_eq!(step(&with_nodes(Some("a"), Some("a"), "Pending")), Step::Populating);
    assert_eq!(
        step(&with_nodes(Some("a"), Some("b"), "Bound")),
        Step::Populating,
        "its volume stays where it is"
    );
}

#[test]
fn a_source_in_another_namespace_needs_another_prime() {
    let seen = Observed { origin: Origin::Claim(Key::new("m", "golden")), ..filling("Bound", None) };
    assert_eq!(step(&seen), Step::ReplacePrime(PrimeFault::OtherNamespace));
}

#[test]
fn a_running_clone_continues_without_its_data_source() {
    let seen = with_population(filling("Bound", None), |population| {
        population.clone = Some(Box::new(Observed { data_volume: None, ..copying() }));
    });
    for origin in [Origin::Unresolved("gone".to_owned()), Origin::NotOurs("VolumeSnapshot".to_owned())] {
        let seen = Observed { origin, source: None, permission: None, ..seen.clone() };
        let decision = decided(&seen);
        assert_eq!(decision.step, Step::Populating);
        assert_eq!(phases(&decision), ("CloneInProgress".to_owned(), "HostClone".to_owned()));
        let running = decision.status.unwrap().condition("Running").unwrap().clone();
        assert_eq!(running.status, "True", "the pods of the prime are reported");
    }
}

#[test]
fn a_permission_that_is_withdrawn_is_reported_until_the_outcome_is_recorded() {
    let denied = || Some(Permission::Denied("Nothing allows that any more".to_owned()));
    let seen = Observed { permission: denied(), ..filling("Bound", None) };
    assert!(warns(&decided(&seen), "CloneNotAllowed"));
    let complete = Observed { permission: denied(), ..filling("Bound", Some(CloneOutcome::default())) };
    assert_eq!(step(&complete), Step::PrimeDone);
}

#[test]
fn a_complete_prime_is_recorded_once_its_pods_are_gone_and_it_is_bound() {
    let done = filling(
        "Bound",
        Some(CloneOutcome { digest: Some("decant1:7:ab".to_owned()), ..CloneOutcome::default() }),
    );
    // The pods are gone, and the finalizer of the source pod with them.
    let without_finalizers = |population: &mut Population| {
        let clone = population.clone.as_mut().unwrap();
        Arc::make_mut(clone.target.as_mut().unwrap()).metadata.finalizers.clear();
    };
    let decision = decided(&with_population(done.clone(), without_finalizers));
    assert_eq!(decision.step, Step::PrimeDone);
    let outcome = CloneOutcome { digest: Some("decant1:7:ab".to_owned()), ..CloneOutcome::default() };
    assert!(decision.actions.contains(&Action::RecordPopulation(outcome)));
    assert_eq!(phases(&decision), ("RebindInProgress".to_owned(), "Rebind".to_owned()));
    let with_pods = with_population(done, |population| {
        population.clone.as_mut().unwrap().target_pod = recorded().target_pod;
    });
    assert_eq!(step(&with_pods), Step::Populating);
    let unbound = filling("Pending", Some(CloneOutcome::default()));
    assert_eq!(step(&unbound), Step::Populating);
}

#[test]
fn a_volume_is_retained_before_its_prime_is_deleted_and_handed_over_when_it_is_gone() {
    let with_own_prime = |policy: &str| {
        with_population(handing_over("tmp-pvc-copy-uid", "prime-uid", policy), |population| {
            population.prime = Prime::Ours { claim: prime("Bound"), is_recorded: true };
        })
    };
    let decision = decided(&with_own_prime("Delete"));
    assert_eq!(decision.step, Step::RetainVolume);
    let order = |wanted: &Action| decision.actions.iter().position(|action| action == wanted).unwrap();
    assert!(order(&Action::RetainVolume) < order(&Action::DeletePrime));
    assert_eq!(step(&with_own_prime("Retain")), Step::ReleasePrime);
    assert_eq!(step(&with_prime(with_own_prime("Retain"), deleting)), Step::PrimeLeaving);
    let leaving = with_population(handing_over("tmp-pvc-copy-uid", "prime-uid", "Retain"), |population| {
        population.waits_for_own_pods = true;
    });
    assert_eq!(step(&leaving), Step::PrimeLeaving, "the clone's own pods leave");
    assert!(decided(&leaving).claim_events.iter().all(|event| event.kind == "Normal"), "no warning");
    let free = handing_over("tmp-pvc-copy-uid", "prime-uid", "Retain");
    let decision = decided(&free);
    assert_eq!(decision.step, Step::HandOver);
    assert!(decision.actions.contains(&Action::HandOverVolume));
    assert_eq!(phases(&decision), ("RebindInProgress".to_owned(), "Rebind".to_owned()));
    let used = with_population(free, |population| population.users = vec![Key::new("s", "stranger")]);
    let decision = decided(&used);
    assert_eq!(decision.step, Step::TargetInUse(vec![Key::new("s", "stranger")]));
    assert!(!decision.actions.contains(&Action::HandOverVolume));
    assert!(warns(&decision, "UploadTargetInUse"), "{:?}", decision.claim_events);
}

#[test]
fn a_prime_with_the_name_of_a_recorded_one_does_not_delay_the_hand_over() {
    let mut other = (*prime("Pending")).clone();
    other.metadata.uid = Uid::from("other-uid");
    let seen = with_population(handing_over("tmp-pvc-copy-uid", "prime-uid", "Retain"), |population| {
        population.prime = Prime::Foreign(Arc::new(other));
    });
    assert_eq!(step(&seen), Step::HandOver);
}

#[test]
fn the_policy_of_a_volume_is_restored_once_the_claim_is_bound() {
    let handed = handing_over("copy", "copy-uid", "Retain");
    assert_eq!(step(&handed), Step::AwaitBinding);
    let decision = decided(&bound(handed.clone()));
    assert_eq!(decision.step, Step::RestorePolicy);
    let last = &decision.actions[decision.actions.len() - 2..];
    assert_eq!(last, [Action::RestorePolicy, Action::MarkPopulated]);
    assert_eq!(phases(&decision), ("RebindInProgress".to_owned(), "Succeeded".to_owned()));
    let restored = with_volume(bound(handed), |volume| volume.metadata.annotations.clear());
    let decision = decided(&restored);
    assert_eq!(decision.step, Step::MarkDone);
    assert!(decision.actions.contains(&Action::MarkPopulated));
    assert!(decision.claim_events.iter().any(|event| event.reason == "CloneVerified"));
}

#[test]
fn a_volume_whose_own_policy_is_retain_is_handed_over_as_well() {
    let seen = with_volume(handing_over("tmp-pvc-copy-uid", "prime-uid", "Delete"), |volume| {
        volume.spec.persistent_volume_reclaim_policy = "Retain".to_owned();
    });
    assert_eq!(step(&seen), Step::RetainVolume, "the annotation shows that the controller may continue");
}

#[test]
fn a_volume_that_may_be_being_deleted_is_not_used() {
    for phase in ["Released", "Failed"] {
        let seen = with_volume(handing_over("tmp-pvc-copy-uid", "prime-uid", "Delete"), |volume| {
            volume.status.phase = phase.to_owned();
        });
        assert_eq!(step(&seen), Step::VolumeGone, "{phase}");
    }
    let seen = with_volume(handing_over("tmp-pvc-copy-uid", "prime-uid", "Retain"), |volume| {
        volume.status.phase = "Released".to_owned();
    });
    assert_eq!(step(&seen), Step::HandOver);
}

#[test]
fn a_volume_that_is_gone_or_taken_starts_the_clone_over() {
    let gone =
        with_population(handing_over("copy", "copy-uid", "Retain"), |population| population.volume = None);
    let taken = handing_over("other", "other-uid", "Retain");
    let leaving = with_volume(handing_over("tmp-pvc-copy-uid", "prime-uid", "Retain"), |volume| {
        volume.metadata.deletion_timestamp = Some(crate::fixtures::NOW.to_owned());
    });
    for seen in [gone, taken, leaving] {
        let decision = decided(&seen);
        assert_eq!(decision.step, Step::VolumeGone);
        assert!(decision.actions.contains(&Action::ForgetPopulation));
        assert!(warns(&decision, "VolumeGone"));
    }
}

#[test]
fn a_claim_that_is_bound_elsewhere_keeps_its_volume_and_leaves_no_prime() {
    let elsewhere = |seen: Observed| {
        with_target(seen, |claim| {
            claim.spec.volume_name = "other".to_owned();
            claim.status.phase = "Bound".into();
        })
    };
    let before = decided(&elsewhere(filling("Bound", None)));
    assert!(matches!(before.step, Step::VolumeInTheWay(_)), "{:?}", before.step);
    assert!(before.actions.contains(&Action::DeletePrime));
    assert!(warns(&before, "VolumeInTheWay"));
    let after = with_population(handing_over("tmp-pvc-copy-uid", "prime-uid", "Retain"), |population| {
        population.prime = Prime::Ours { claim: prime("Bound"), is_recorded: true };
    });
    let after = decided(&elsewhere(after));
    assert!(matches!(after.step, Step::VolumeInTheWay(_)), "{:?}", after.step);
    let order = |wanted: &Action| after.actions.iter().position(|action| action == wanted).unwrap();
    assert!(order(&Action::RestorePolicy) < order(&Action::DeletePrime), "its volume follows its own policy");
}

#[test]
fn a_population_is_complete_only_with_its_sealed_record() {
    let handed = bound(annotated(handing_over("copy", "copy-uid", "Retain"), "k8s.io/CloneOf", "true"));
    assert_eq!(step(&handed), Step::RestorePolicy, "CDI's mark alone does not count");
    let record =
        PopulatedVolume { name: "pv".to_owned(), prime: Uid::from("prime-uid"), is_handed_over: true };
    let complete = with_population(handed, |population| {
        population.record = Some(record);
        population.volume = None;
    });
    assert_eq!(step(&complete), Step::TidyUp);
    assert!(decided(&complete).actions.contains(&Action::HoldPopulation(false)));
    let tidy = with_target(complete, |claim| claim.metadata.finalizers.clear());
    assert_eq!(step(&tidy), Step::Done);
    let digest = |action: &Action| matches!(action, Action::Tell(_));
    assert!(decided(&tidy).actions.iter().all(digest), "{:?}", decided(&tidy).actions);
}

#[test]
fn a_record_that_was_removed_after_the_hand_over_is_written_again() {
    let without = |policy: &str| {
        let seen = bound(handing_over("copy", "copy-uid", policy));
        with_population(seen, |population| population.record = None)
    };
    assert_eq!(step(&without("Retain")), Step::RestorePolicy);
    assert_eq!(step(&without("Delete")), Step::MarkDone);
}

#[test]
fn a_claim_that_lost_its_volume_has_failed() {
    let seen = with_target(handing_over("copy", "copy-uid", "Retain"), |claim| {
        claim.status.phase = "Lost".into();
    });
    let decision = decided(&seen);
    assert_eq!((decision.step.clone(), phases(&decision).0.as_str()), (Step::Lost, "Failed"));
}

#[test]
fn a_deletion_in_any_state_removes_prime_and_clone_source_and_restores_the_policy_first() {
    let own = read(json!({ "metadata": { "namespace": "n", "name": "own", "uid": "own-uid" } }));
    let states = [
        unbound(Population::default()),
        filling("Pending", None),
        filling("Bound", Some(CloneOutcome::default())),
        with_population(handing_over("tmp-pvc-copy-uid", "prime-uid", "Retain"), |population| {
            population.prime = Prime::Ours { claim: prime("Bound"), is_recorded: true };
        }),
        handing_over("copy", "copy-uid", "Retain"),
        unbound(Population { prime: Prime::Foreign(prime("Bound")), ..Population::default() }),
    ];
    for seen in states {
        let seen = with_population(with_target(seen, deleting), |population| {
            population.own_source = Some(Arc::clone(&own));
        });
        let decision = decided(&seen);
        assert_eq!(decision.step, Step::CleanUp);
        let population = seen.population.as_ref().unwrap();
        let done = |wanted: &Action| decision.actions.contains(wanted);
        assert_eq!(done(&Action::DeletePrime), population.prime != Prime::Missing, "{:?}", decision.actions);
        assert_eq!(done(&Action::RestorePolicy), population.volume.is_some(), "{:?}", decision.actions);
        assert!(done(&Action::DeleteCloneSource));
        assert_eq!(decision.actions.last(), Some(&Action::HoldPopulation(false)));
    }
    let without_finalizer = with_target(filling("Bound", None), |claim| {
        deleting(claim);
        claim.metadata.finalizers.clear();
    });
    assert!(
        decided(&without_finalizer).actions.contains(&Action::DeletePrime),
        "users may remove the finalizer"
    );
}

#[test]
fn a_target_that_goes_does_not_wait_for_a_prime_that_others_hold() {
    let seen = with_prime(with_target(filling("Bound", None), deleting), deleting);
    let decision = decided(&seen);
    assert!(!decision.actions.contains(&Action::DeletePrime));
    assert!(decision.actions.contains(&Action::HoldPopulation(false)));
}

#[test]
fn without_a_data_volume_the_claim_reports_phase_and_error() {
    let why = "there is no StorageClass \"c\"".to_owned();
    let seen = with_population(unbound(Population::default()), |population| {
        population.provisioner = Provisioner::Unusable(why.clone());
    });
    let seen = Observed { data_volume: None, ..seen };
    let decision = decide(&seen, now(), &Policy::default());
    assert!(decision.status.is_none());
    let told = decision.actions.iter().find_map(|action| match action {
        Action::Annotate(told) => Some(told.clone()),
        _ => None,
    });
    let told = told.unwrap();
    assert_eq!(told.get("cdi.kubevirt.io/cloneError"), Some(&why));
    assert_eq!(told.get("cdi.kubevirt.io/clonePhase").map(String::as_str), Some("Error"));
    assert!(warns(&decision, "NoProvisioner"));
    let again = with_target(seen, |claim| {
        claim.metadata.annotations.extend(told.into_iter().map(|(name, value)| (name.to_owned(), value)));
    });
    assert!(decided(&again).claim_events.is_empty(), "it is reported once");
}

#[test]
fn a_data_volume_that_uses_a_populator_is_summarized_like_any_other() {
    let seen = filling("Bound", None);
    let mut dv = (**seen.data_volume.as_ref().unwrap()).clone();
    dv.status = decided(&seen).status.unwrap();
    let summary = CloneSummary::of(&dv).unwrap();
    assert_eq!(summary.phase, "CloneScheduled");
    assert!(start().population.is_none());
    assert_eq!(populated_volume("a", "b", "Delete").metadata.name, "pv");
}
