//! Two controllers and one Lease.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use decant_controller::api::client::KubeCluster;
use decant_controller::api::cluster::Cluster;
use decant_controller::leader::hold::Leader;
use decant_controller::objects::Kind;
use decant_shared::process::stop::Stop;
use decant_test_support::{HANG, until};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::relay::Relay;
use crate::sandbox::{Sandbox, eventually};

/// The spec of the Lease.
fn lease(sandbox: &Sandbox) -> Value {
    sandbox.cluster.get(Kind::Lease, &sandbox.key("controller")).unwrap().value()["spec"].clone()
}

fn holder(sandbox: &Sandbox) -> String {
    lease(sandbox)["holderIdentity"].as_str().unwrap_or_default().to_owned()
}

fn renewed_at(sandbox: &Sandbox) -> OffsetDateTime {
    OffsetDateTime::parse(lease(sandbox)["renewTime"].as_str().unwrap(), &Rfc3339).unwrap()
}

fn leader(sandbox: &Sandbox, cluster: Arc<dyn Cluster>, me: &str) -> Leader {
    Leader::new(cluster, sandbox.key("controller"), me)
}

#[allow(clippy::needless_pass_by_value, reason = "what `keep` calls")]
fn never_lost(why: String) {
    panic!("{why}");
}

#[test]
fn a_second_replica_waits_while_the_first_renews() {
    let sandbox = Sandbox::new();
    let first = leader(&sandbox, sandbox.cluster.clone(), "first");
    let kept = first.acquire(&Stop::new()).unwrap().keep(never_lost).unwrap();
    let second = leader(&sandbox, sandbox.cluster.clone(), "second");
    let stop = Stop::new();
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| second.acquire(&stop).is_some());
        let lasts = Duration::from_secs(lease(&sandbox)["leaseDurationSeconds"].as_u64().unwrap());
        let first_end = renewed_at(&sandbox) + lasts;
        until("a renewal after the end of the first one", || renewed_at(&sandbox) > first_end);
        assert!(first.is_leader() && !second.is_leader());
        assert_eq!(holder(&sandbox), "first");
        stop.cancel();
        assert!(!waits.join().unwrap());
    });
    kept.release();
}

#[test]
fn a_released_lease_is_taken_immediately() {
    let sandbox = Sandbox::new();
    let first = leader(&sandbox, sandbox.cluster.clone(), "first");
    let kept = first.acquire(&Stop::new()).unwrap().keep(never_lost).unwrap();
    let second = leader(&sandbox, sandbox.cluster.clone(), "second");
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| second.acquire(&Stop::new()));
        std::thread::sleep(Duration::from_secs(1));
        kept.release();
        assert!(!first.is_leader());
        let released = Instant::now();
        assert!(waits.join().unwrap().is_some());
        // A Lease that expires takes 12 s.
        assert!(released.elapsed() < Duration::from_secs(10), "{:?}", released.elapsed());
    });
    let lease = sandbox.cluster.get(Kind::Lease, &sandbox.key("controller")).unwrap().value();
    assert_eq!(lease["spec"]["holderIdentity"], "second");
    assert_eq!(lease["spec"]["leaseTransitions"], 1);
}

#[test]
fn a_disconnected_leader_stops_before_the_next_one_acts() {
    let (sandbox, relay) = (Sandbox::new(), Relay::start());
    let cut_off = Arc::new(KubeCluster::connect(Some(&relay.kubeconfig)).unwrap());
    let first = leader(&sandbox, cut_off, "first");
    let (lost, losses) = mpsc::channel();
    let at_loss = move |why| lost.send((Instant::now(), why)).unwrap();
    let _kept = first.acquire(&Stop::new()).unwrap().keep(at_loss).unwrap();
    let second = leader(&sandbox, sandbox.cluster.clone(), "second");
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| second.acquire(&Stop::new()).map(|_| Instant::now()));
        let first_renewal = renewed_at(&sandbox);
        until("a renewal", || renewed_at(&sandbox) > first_renewal);
        relay.fall_silent();
        let cut = Instant::now();
        let taken = waits.join().unwrap().unwrap();
        let (stopped, why) = losses.recv_timeout(Duration::from_secs(1)).unwrap();
        assert!(stopped < taken, "two acted for {:?}: {why}", stopped - taken);
        assert!(taken - cut < Duration::from_secs(20), "taken over after {:?}", taken - cut);
    });
    assert!(!first.is_leader());
}

#[test]
fn a_leader_that_lost_its_lease_stops() {
    let sandbox = Sandbox::new();
    let first = leader(&sandbox, sandbox.cluster.clone(), "first");
    let lost = Arc::new(AtomicBool::new(false));
    let told = lost.clone();
    let _kept =
        first.acquire(&Stop::new()).unwrap().keep(move |_| told.store(true, Ordering::SeqCst)).unwrap();
    let key = sandbox.key("controller");
    let mut lease = sandbox.cluster.get(Kind::Lease, &key).unwrap().value();
    lease["spec"]["holderIdentity"] = "another-holder".into();
    sandbox.cluster.replace(Kind::Lease, &key, &lease).unwrap();
    eventually("the loss is told", HANG, || lost.load(Ordering::SeqCst));
    assert_eq!(holder(&sandbox), "another-holder");
}

#[test]
fn a_deleted_lease_is_created_again_by_its_holder() {
    let sandbox = Sandbox::new();
    let first = leader(&sandbox, sandbox.cluster.clone(), "first");
    let kept = first.acquire(&Stop::new()).unwrap().keep(never_lost).unwrap();
    let key = sandbox.key("controller");
    let lease = sandbox.cluster.get(Kind::Lease, &key).unwrap().value();
    sandbox.cluster.delete(Kind::Lease, &key, &crate::sandbox::uid(&lease), None).unwrap();
    eventually("it is there again", HANG, || sandbox.cluster.get(Kind::Lease, &key).is_ok());
    assert_eq!(holder(&sandbox), "first");
    kept.release();
}
