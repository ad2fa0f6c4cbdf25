//! Whole rounds in which one of two namespaces refuses something, until it no longer does.

use super::*;
use crate::objects::DataVolume;
use crate::summary::clone_summary::{CloneState, CloneSummary};
use crate::summary::complaint::Complaint;

/// The time limit of a test. A refusal is reported after a second.
const PATIENCE: Duration = Duration::from_secs(20);

const WORDS: &str = "admission webhook \"policy.example.com\" denied the request: not by robots";

fn refusal(verb: &'static str, kind: Kind, namespace: &'static str) -> Refusal {
    let error = ApiError { code: 403, reason: "Forbidden".to_owned(), message: WORDS.to_owned() };
    Refusal { verb, kind, part: Part::Whole, namespace, error }
}

/// A clone from namespace a into namespace b, with the owner's consent.
fn bench() -> Bench {
    let bench = Bench::new();
    bench.source("s-1");
    let consent = json!({"metadata": {"annotations": {"decant.dev/allow-clone-to": "b"}}});
    bench.set(Kind::PersistentVolumeClaim, &golden(), &consent);
    bench.data_volume(&from_golden(), &json!({}));
    bench
}

impl Bench {
    fn refuse(&self, refusals: &[Refusal]) {
        *self.cluster.refuses.lock().unwrap() = refusals.to_vec();
    }

    fn dv(&self) -> DataVolume {
        decode(self.cluster.get(Kind::DataVolume, &copy()).unwrap()).unwrap()
    }

    fn standing(&self) -> CloneSummary {
        CloneSummary::of(&self.dv()).unwrap()
    }

    fn complaint(&self) -> Option<Complaint> {
        Complaint::of(&self.dv(), &self.standing(), OffsetDateTime::now_utc())
    }

    /// Performs rounds until `holds` is true.
    fn until(&self, what: &str, holds: impl Fn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds() {
            assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}: {:?}", self.dv().status);
            self.round();
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn warnings(&self) -> Vec<String> {
        let is_warning = |(kind, reason, _): (String, String, String)| (kind == "Warning").then_some(reason);
        self.events().into_iter().filter_map(is_warning).collect()
    }
}

/// Refuses the calls, waits until that is reported with `reason`, allows them, and waits until that is no longer
/// reported.
fn told_until_over(bench: &Bench, refusals: &[Refusal], reason: &str, state: CloneState) {
    bench.refuse(refusals);
    bench.until("it is told", || bench.standing().reason == reason);
    assert!(bench.standing().message.contains(WORDS), "{:?}", bench.standing());
    assert_eq!(bench.standing().state, state, "{:?}", bench.dv().status);
    assert!(bench.complaint().unwrap().found.contains(WORDS));
    assert!(bench.warnings().contains(&reason.to_owned()), "{:?}", bench.events());
    bench.refuse(&[]);
    bench.until("it is over", || !bench.standing().why().contains(WORDS));
    assert_eq!(bench.complaint(), None);
}

#[test]
fn a_source_pod_that_its_namespace_refuses_is_told_until_it_is_made() {
    let bench = bench();
    bench.rounds(2);
    bench.kubelet();
    bench.rounds(3);
    bench.kubelet();
    let pods = refusal("create", Kind::Pod, "a");
    told_until_over(&bench, &[pods], "ErrStartingPod", CloneState::Waiting);
    assert_eq!(bench.cluster.names_of(Kind::Pod).len(), 2);
}

#[test]
fn a_target_pod_that_its_namespace_refuses_is_told_until_it_is_made() {
    let bench = bench();
    bench.rounds(2);
    bench.bind();
    told_until_over(&bench, &[refusal("create", Kind::Pod, "b")], "ErrStartingPod", CloneState::Waiting);
    assert_eq!(bench.cluster.names_of(Kind::Pod), ["b/cdi-upload-copy"]);
}

#[test]
fn a_refused_claim_is_told_until_it_is_made() {
    let bench = bench();
    let claims = refusal("create", Kind::PersistentVolumeClaim, "b");
    bench.refuse(std::slice::from_ref(&claims));
    bench.until("the phase is told", || bench.dv().status.phase == "Pending");
    told_until_over(&bench, &[claims], "ErrCreatingClaim", CloneState::Waiting);
}

#[test]
fn refused_changes_of_the_claim_and_of_the_data_volume_are_told_until_they_are_allowed() {
    let bench = bench();
    bench.rounds(1);
    bench.bind();
    let claims = refusal("patch", Kind::PersistentVolumeClaim, "b");
    told_until_over(&bench, &[claims], "ErrChangingClaim", CloneState::Waiting);
    bench.set(
        Kind::DataVolume,
        &copy(),
        &json!({"metadata": {"annotations": {"decant.dev/digest": "decant1:5:ff"}}}),
    );
    let dvs = refusal("patch", Kind::DataVolume, "b");
    told_until_over(&bench, &[dvs], "ErrChangingDataVolume", CloneState::Waiting);
}

#[test]
fn refused_secrets_of_either_namespace_are_told_until_they_are_made() {
    let bench = bench();
    bench.rounds(2);
    bench.bind();
    told_until_over(
        &bench,
        &[refusal("create", Kind::Secret, "b")],
        "ErrCreatingSecret",
        CloneState::Waiting,
    );
    bench.kubelet();
    told_until_over(
        &bench,
        &[refusal("create", Kind::Secret, "a")],
        "ErrCreatingSecret",
        CloneState::Waiting,
    );
    assert_eq!(
        bench.cluster.of(Kind::Secret).iter().filter(|secret| secret.to_string().contains("\"a\"")).count(),
        1
    );
}

#[test]
fn a_pod_that_cannot_be_deleted_after_the_end_is_told_and_the_clone_is_complete_all_the_same() {
    let bench = bench();
    bench.rounds(2);
    bench.kubelet();
    bench.rounds(3);
    bench.kubelet();
    bench.rounds(3);
    for object in bench.cluster.of(Kind::Pod) {
        let pod: crate::objects::Pod = decode(object).unwrap();
        let name = if pod.metadata.namespace == "a" { "cdi-clone-source" } else { "cdi-upload-server" };
        let ended = json!({"exitCode": 0, "message": "{}", "finishedAt": "2026-01-01T00:00:00Z"});
        let status = json!({"phase": "Succeeded", "containerStatuses": [{"name": name, "state": {"terminated": ended}}]});
        bench.set(Kind::Pod, &pod.metadata.key(), &json!({"status": status}));
    }
    told_until_over(&bench, &[refusal("delete", Kind::Pod, "a")], "ErrDeletingPod", CloneState::Succeeded);
    assert!(bench.cluster.names_of(Kind::Pod).is_empty());
}

#[test]
fn a_right_to_read_that_is_missing_is_told_until_it_is_there() {
    let bench = bench();
    bench.rounds(2);
    told_until_over(
        &bench,
        &[refusal("get", Kind::StorageClass, "")],
        "ErrReadingObjects",
        CloneState::Waiting,
    );
}

#[test]
fn a_status_that_cannot_be_written_is_told_by_an_event() {
    let bench = bench();
    let mut status = refusal("patch", Kind::DataVolume, "b");
    status.part = Part::Status;
    bench.refuse(&[status]);
    bench.until("it is told", || bench.warnings().contains(&"ErrWritingStatus".to_owned()));
    let told = bench.events().into_iter().find(|(_, reason, _)| reason == "ErrWritingStatus").unwrap();
    assert!(told.2.contains(WORDS), "{told:?}");
    bench.refuse(&[]);
    bench.until("it is written", || bench.dv().status.condition("Running").is_some());
}

#[test]
fn what_fails_once_is_not_told() {
    let bench = bench();
    bench.rounds(2);
    bench.bind();
    bench.refuse(&[refusal("create", Kind::Pod, "b")]);
    bench.rounds(1);
    bench.refuse(&[]);
    bench.rounds(3);
    assert_eq!(bench.warnings(), Vec::<String>::new(), "{:?}", bench.events());
}
