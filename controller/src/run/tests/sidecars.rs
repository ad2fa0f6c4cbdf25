//! Tests of containers that other programs add to the pods of a clone.

use super::*;
use crate::objects::DataVolume;

fn ended(code: i64, message: &str) -> Value {
    json!({"terminated": {"exitCode": code, "reason": "x", "message": message, "finishedAt": "2026-01-01T00:00:00Z"}})
}

fn runs() -> Value {
    json!({"running": {"startedAt": "2026-01-01T00:00:00Z"}})
}

/// A clone within namespace b whose pods have a sidecar in the state `sidecar`.
struct Meshed {
    bench: Bench,
    sidecar: Value,
}

impl Meshed {
    /// A clone whose pods both run.
    fn new(sidecar: Value) -> Self {
        let bench = Bench::new();
        bench.source("s-1");
        let consent = json!({"metadata": {"annotations": {"decant.dev/allow-clone-to": "b"}}});
        bench.set(Kind::PersistentVolumeClaim, &golden(), &consent);
        bench.data_volume(&from_golden(), &json!({}));
        let meshed = Self { bench, sidecar };
        meshed.bench.rounds(2);
        meshed.bench.kubelet();
        meshed.bench.rounds(3);
        meshed.bench.kubelet();
        meshed.bench.rounds(3);
        assert_eq!(meshed.bench.cluster.names_of(Kind::Pod).len(), 2);
        meshed
    }

    /// Gives the pod in `namespace` this phase, and its own container this state.
    fn pod(&self, namespace: &str, phase: &str, own: &Value) {
        let name = if namespace == "a" { "cdi-clone-source" } else { "cdi-upload-server" };
        let pods = self.bench.cluster.of(Kind::Pod);
        let metas = pods.into_iter().map(|pod| decode::<crate::objects::Pod>(pod).unwrap().metadata);
        let pod = metas.into_iter().find(|meta| meta.namespace == namespace).unwrap();
        let status = json!({"phase": phase, "podIP": "10.0.0.1", "containerStatuses": [
            {"name": "mesh", "ready": true, "state": self.sidecar}, {"name": name, "ready": true, "state": own}]});
        self.bench.set(Kind::Pod, &pod.key(), &json!({"status": status}));
    }

    fn phase(&self) -> String {
        let dv: DataVolume = decode(self.bench.cluster.get(Kind::DataVolume, &copy()).unwrap()).unwrap();
        dv.status.phase.to_string()
    }

    fn is_complete_and_tidy(&self) -> bool {
        self.phase() == "Succeeded" && self.bench.cluster.names_of(Kind::Pod).is_empty()
    }
}

#[test]
fn a_finished_clone_ends_beside_a_running_sidecar() {
    let meshed = Meshed::new(runs());
    meshed.pod("b", "Running", &ended(0, r#"{"message":"Clone Complete"}"#));
    meshed.pod("a", "Running", &ended(0, "Clone Complete"));
    meshed.bench.rounds(6);
    assert!(
        meshed.is_complete_and_tidy(),
        "{:?} {}",
        meshed.bench.cluster.names_of(Kind::Pod),
        meshed.phase()
    );
}

#[test]
fn what_a_sidecar_ends_with_does_not_decide() {
    for (phase, sidecar) in [
        ("Running", ended(1, "")),
        ("Failed", ended(137, "")),
        ("Running", json!({"waiting": {"reason": "CrashLoopBackOff"}})),
    ] {
        let meshed = Meshed::new(sidecar);
        meshed.pod("b", phase, &ended(0, r#"{"message":"Clone Complete"}"#));
        meshed.pod("a", phase, &ended(0, "Clone Complete"));
        meshed.bench.rounds(6);
        assert!(meshed.is_complete_and_tidy(), "{phase} {}", meshed.sidecar);
    }
}

#[test]
fn a_sidecar_that_ended_well_makes_no_clone_complete() {
    let meshed = Meshed::new(ended(0, r#"{"message":"Clone Complete"}"#));
    for own in
        [runs(), ended(4, "no space left on device"), json!({"waiting": {"reason": "CrashLoopBackOff"}})]
    {
        meshed.pod("b", "Running", &own);
        meshed.bench.rounds(3);
        assert_ne!(meshed.phase(), "Succeeded", "{own}");
    }
}

#[test]
fn a_container_that_never_ran_makes_no_clone_complete() {
    let meshed = Meshed::new(runs());
    // An old kubelet may report this about a pod that was evicted before it started.
    meshed.pod("b", "Failed", &json!({"terminated": {"exitCode": 0, "reason": "x"}}));
    meshed.bench.rounds(3);
    assert_ne!(meshed.phase(), "Succeeded");
}

#[test]
fn a_target_that_saw_no_source_is_replaced_although_its_sidecar_runs() {
    let meshed = Meshed::new(runs());
    meshed.pod("b", "Running", &ended(0, r#"{"deadlinePassed":true,"message":"Deadline Passed"}"#));
    let before = meshed.bench.cluster.of(Kind::Pod).len();
    meshed.bench.round();
    assert_eq!((before, meshed.bench.cluster.names_of(Kind::Pod).len()), (2, 1));
    assert_ne!(meshed.phase(), "Succeeded");
}
