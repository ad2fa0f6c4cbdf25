//! Each kind of refusal, in either namespace, with the API server's own messages.

use std::sync::Arc;

use decant_controller::api::cluster::ApiError;
use decant_controller::objects::{Key, Kind};
use decant_controller::pods::role::Role;
use decant_controller::policy::Policy;
use decant_controller::reconcile::actions::Action;
use decant_controller::reconcile::decide::decide;
use decant_controller::reconcile::observed::{Observed, Origin};
use decant_controller::summary::clone_summary::{CloneState, CloneSummary};
use decant_controller::summary::complaint::Complaint;

use super::stub::{RefusingCluster, claim_object, executor, with_identity};
use super::{after, lasting};
use crate::fixtures::{claimed, copying, now, source_pod, start, target_pod};

/// Status, reason and message as Kubernetes 1.20 to 1.36 answer.
const REFUSALS: [(&str, u16, &str, &str); 12] = [
    (
        "quota",
        403,
        "Forbidden",
        "pods \"p\" is forbidden: exceeded quota: q, requested: pods=1, used: pods=0, limited: pods=0",
    ),
    (
        "LimitRange",
        403,
        "Forbidden",
        "pods \"p\" is forbidden: maximum memory usage per Container is 1Mi, but limit is 600M",
    ),
    (
        "admission policy",
        422,
        "Invalid",
        "pods \"p\" is forbidden: ValidatingAdmissionPolicy 'v' with binding 'b' denied request: no pods",
    ),
    (
        "webhook that denies",
        403,
        "Forbidden",
        "admission webhook \"w.example.com\" denied the request: not here",
    ),
    (
        "webhook that is away",
        500,
        "InternalError",
        "Internal error occurred: failed calling webhook \"w\": connection refused",
    ),
    (
        "Pod Security",
        403,
        "Forbidden",
        "pods \"p\" is forbidden: violates PodSecurity \"restricted:latest\": seccompProfile",
    ),
    (
        "missing right",
        403,
        "Forbidden",
        "pods is forbidden: User \"u\" cannot create resource \"pods\" in API group \"\"",
    ),
    ("missing namespace", 404, "NotFound", "namespaces \"images\" not found"),
    (
        "namespace that goes",
        403,
        "Forbidden",
        "unable to create new content in namespace images because it is being terminated",
    ),
    (
        "immutable object",
        422,
        "Invalid",
        "Secret \"s\" is invalid: data: Forbidden: field is immutable when `immutable` is set",
    ),
    ("conflict without end", 409, "Conflict", "Operation cannot be fulfilled: the object has been modified"),
    ("timeout", 504, "Timeout", "Timeout: request did not complete within the allotted duration"),
];

/// A clone from another namespace, ready for `role`'s pod.
fn across(role: Role) -> Observed {
    let mut source = (**claimed().source.as_ref().unwrap()).clone();
    source.metadata.namespace = "images".to_owned();
    let seen = Observed {
        source: Some(Arc::new(source)),
        origin: Origin::Claim(Key::new("images", "golden")),
        ..claimed()
    };
    match role {
        Role::Target => seen,
        Role::Source => Observed { target_pod: copying().target_pod, ..seen },
    }
}

fn namespace(role: Role) -> &'static str {
    match role {
        Role::Source => "images",
        Role::Target => "n",
    }
}

#[test]
fn each_refused_pod_in_either_namespace_is_reported_with_message_and_advice() {
    for role in [Role::Source, Role::Target] {
        for (sort, code, reason, words) in REFUSALS {
            let what = format!("{sort} in the namespace of the {role:?}");
            let error = ApiError { code, reason: reason.to_owned(), message: words.to_owned() };
            let double = Arc::new(RefusingCluster::refusing(move |(verb, kind, at)| {
                (*verb == "create" && *kind == Kind::Pod && at == namespace(role)).then(|| error.clone())
            }));
            let mut seen = across(role);
            let decision = decide(&seen, now(), &Policy::default());
            assert!(decision.actions.contains(&Action::MakePod(role)), "{what}: {decision:?}");
            let trouble = executor(&double).carry_out(&decision.actions, &seen, now()).expect_err(&what);
            seen.last_error = Some(lasting(&trouble));
            let decision = decide(&seen, now(), &Policy::default());
            let seen = after(&seen, &decision);
            let dv = seen.data_volume.as_ref().unwrap();
            let running = dv.status.condition("Running").unwrap();
            let wanted = if sort == "quota" { "ErrExceededQuota" } else { "ErrStartingPod" };
            assert_eq!((running.status.as_str(), running.reason.as_str()), ("False", wanted), "{what}");
            assert!(running.message.starts_with("Error starting pod '"), "{what}: {}", running.message);
            assert!(running.message.contains(words), "{what}: {}", running.message);
            assert!(running.message.contains(&format!("in namespace '{}'", namespace(role))), "{what}");
            let event = &decision.events.iter().find(|event| event.reason == wanted).expect(&what);
            assert_eq!((event.kind, event.message.as_str()), ("Warning", running.message.as_str()), "{what}");
            let standing = CloneSummary::of(dv).unwrap();
            assert_eq!(standing.state, CloneState::Waiting, "{what}: it is reported as running");
            let complaint = Complaint::of(dv, &standing, now()).expect(&what);
            assert!(complaint.found.contains(words) && !complaint.helps.is_empty(), "{what}: {complaint:?}");
            let prefix = if role == Role::Source { "source." } else { "" };
            let annotated = decision.actions.iter().any(|action| match action {
                Action::Annotate(reported) => reported
                    .get(format!("cdi.kubevirt.io/storage.condition.{prefix}running.message").as_str())
                    .is_some_and(|text| text.contains(words)),
                _ => false,
            });
            assert!(annotated, "{what}: not on the claim");
        }
    }
}

#[test]
fn each_refused_claim_is_a_warning_and_is_retried() {
    for (sort, code, reason, words) in REFUSALS {
        let error = ApiError { code, reason: reason.to_owned(), message: words.to_owned() };
        let double = Arc::new(RefusingCluster::refusing(move |_| Some(error.clone())));
        let seen = start();
        let actions = decide(&seen, now(), &Policy::default()).actions;
        let trouble = lasting(&executor(&double).carry_out(&actions, &seen, now()).expect_err(sort));
        let seen = Observed { last_error: Some(trouble), ..seen };
        let decision = decide(&seen, now(), &Policy::default());
        let status = decision.status.as_ref().unwrap();
        let wanted = if sort == "quota" { "ErrExceededQuota" } else { "ErrCreatingClaim" };
        let bound = status.condition("Bound").unwrap();
        assert_eq!((status.phase.as_str(), bound.reason.as_str()), ("Pending", wanted), "{sort}");
        assert_eq!(bound.message, words, "{sort}");
        assert!(
            decision.events.iter().any(|event| event.kind == "Warning" && event.reason == wanted),
            "{sort}"
        );
        assert!(!decision.events.iter().any(|event| event.kind == "Normal"), "{sort}: {:?}", decision.events);
        assert!(!decant_controller::summary::advice::is_blocked(wanted), "{sort}");
    }
}

#[test]
fn each_refused_secret_in_either_namespace_is_reported_with_its_message() {
    for role in [Role::Source, Role::Target] {
        for (sort, code, reason, words) in REFUSALS {
            let what = format!("{sort} in the namespace of the {role:?}");
            let error = ApiError { code, reason: reason.to_owned(), message: words.to_owned() };
            let double = Arc::new(RefusingCluster::refusing(move |(_, kind, _)| {
                (*kind == Kind::Secret).then(|| error.clone())
            }));
            let mut seen = across(role);
            let mut pod = (*match role {
                Role::Source => with_identity(&source_pod("Pending", "target-uid", "1"), role),
                Role::Target => with_identity(&target_pod("Pending", false, ""), role),
            })
            .clone();
            pod.status.container_statuses.iter_mut().for_each(|status| status.state.running = None);
            match role {
                Role::Source => seen.source_pod = Some(Arc::new(pod)),
                Role::Target => seen.target_pod = Some(Arc::new(pod)),
            }
            let trouble =
                executor(&double).carry_out(&[Action::MakeSecret(role)], &seen, now()).expect_err(&what);
            seen.last_error = Some(lasting(&trouble));
            let status = decide(&seen, now(), &Policy::default()).status.unwrap();
            let running = status.condition("Running").unwrap();
            let wanted = if sort == "quota" { "ErrExceededQuota" } else { "ErrCreatingSecret" };
            assert_eq!((running.status.as_str(), running.reason.as_str()), ("False", wanted), "{what}");
            assert!(running.message.contains(words), "{what}: {}", running.message);
        }
    }
}

#[test]
fn a_secret_with_the_target_pods_name_does_not_block_a_clone() {
    let double = Arc::new(RefusingCluster { claim: claim_object(), ..RefusingCluster::default() });
    let seen = across(Role::Target);
    let actions = decide(&seen, now(), &Policy::default()).actions;
    executor(&double).carry_out(&actions, &seen, now()).unwrap();
    let done = double.done.lock().unwrap();
    assert!(done.contains(&("create", Kind::Secret, "n".to_owned())), "{done:?}");
    assert!(!done.iter().any(|(verb, kind, _)| *kind == Kind::Secret && *verb != "create"), "{done:?}");
}
