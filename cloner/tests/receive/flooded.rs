//! Strangers hold connections to the target: probes are answered and the sender gets in.

use decant_test_support::flood::{Flood, Sources};
use decant_test_support::until;

use crate::body::{IMAGE, upload};
use crate::client::{Client, Who};
use crate::process::{Plan, Target};

/// Connections that are held, as the specification of the server has it.
const HELD: usize = 500;
/// The beginning of a handshake that does not come to its end.
const HALF_A_HELLO: &[u8] = b"\x16\x03\x01\x02\x00";
/// What a target under a flood may use.
const MEMORY_MAX_KIB: u64 = 48 << 10;

fn probe(target: &Target) -> bool {
    let nobody = Who::trusting(&target.plan.ca);
    let Ok(mut probe) = Client::connect(target.port, &nobody) else { return false };
    probe.send(b"GET /healthz HTTP/1.1\r\nHost: target\r\n\r\n").is_ok() && probe.answer().status == 200
}

fn everybody_gets_in(from: Sources, words: &'static [u8]) {
    let target = Plan::new().ready();
    let _flood = Flood::start(target.port, HELD, from, words);
    for _ in 0..10 {
        assert!(probe(&target));
    }
    let answer = target.ask(&upload(IMAGE, b"image"));
    assert_eq!(answer.status, 200, "{answer:?}");
    target.ended().well();
}

#[test]
fn probes_and_the_sender_get_in_beside_idle_connections_of_one_address() {
    everybody_gets_in(Sources::OneAddress, b"");
}

#[test]
fn probes_and_the_sender_get_in_beside_idle_connections_of_many_addresses() {
    everybody_gets_in(Sources::ManyAddresses, b"");
}

#[test]
fn probes_and_the_sender_get_in_beside_unfinished_handshakes() {
    everybody_gets_in(Sources::ManyAddresses, HALF_A_HELLO);
}

#[test]
fn a_flood_of_connections_costs_the_target_little_memory() {
    let target = Plan::new().ready();
    let flood = Flood::start(target.port, 2 * HELD, Sources::ManyAddresses, HALF_A_HELLO);
    until("each connection is opened again and again", || flood.opened() >= 10 * HELD);
    let peak = target.peak_kib();
    assert!(peak < MEMORY_MAX_KIB, "{peak} KiB");
}
