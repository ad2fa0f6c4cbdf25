//! Unknown clients hold connections to the target: probes are answered and the sender is served.

use decant_test_support::flood::{Flood, Sources};
use decant_test_support::until;
use decant_test_support::wait::found;

use crate::body::{IMAGE, upload};
use crate::client::{Client, ClientIdentity};
use crate::process::{Target, TargetBuilder};

/// Connections that are held, as the specification of the server has it.
const HELD_CONNECTIONS: usize = 500;
/// The start of a handshake that is never completed.
const HALF_A_HELLO: &[u8] = b"\x16\x03\x01\x02\x00";
/// The memory that a target under a flood may use.
const MEMORY_MAX_KIB: u64 = 48 << 10;

fn probe(target: &Target) -> bool {
    let anonymous = ClientIdentity::trusting(&target.builder.ca);
    let Ok(mut probe) = Client::connect(target.port, &anonymous) else { return false };
    probe.send(b"GET /healthz HTTP/1.1\r\nHost: target\r\n\r\n").is_ok() && probe.answer().status == 200
}

fn assert_all_are_served(from: Sources, bytes: &'static [u8]) {
    let target = TargetBuilder::new().ready();
    let _flood = Flood::start(target.port, HELD_CONNECTIONS, from, bytes);
    // Connections of the flood may take the place of one whose handshake takes long. Probes and senders connect again.
    for _ in 0..10 {
        until("a probe is answered", || probe(&target));
    }
    let mut sender =
        found("a sender is admitted", || Client::connect(target.port, &target.sender_identity()).ok());
    sender.send_as_far_as_it_goes(&upload(IMAGE, b"image"));
    let answer = sender.answer();
    drop(sender);
    assert_eq!(answer.status, 200, "{answer:?}");
    target.ended().assert_success();
}

#[test]
fn probes_and_the_sender_are_served_despite_idle_connections_of_one_address() {
    assert_all_are_served(Sources::OneAddress, b"");
}

#[test]
fn probes_and_the_sender_are_served_despite_idle_connections_of_many_addresses() {
    assert_all_are_served(Sources::ManyAddresses, b"");
}

#[test]
fn probes_and_the_sender_are_served_despite_unfinished_handshakes() {
    assert_all_are_served(Sources::ManyAddresses, HALF_A_HELLO);
}

#[test]
fn a_flood_of_connections_takes_little_memory() {
    let target = TargetBuilder::new().ready();
    let flood = Flood::start(target.port, 2 * HELD_CONNECTIONS, Sources::ManyAddresses, HALF_A_HELLO);
    until("each connection is opened again and again", || flood.opened() >= 10 * HELD_CONNECTIONS);
    let peak = target.peak_kib();
    assert!(peak < MEMORY_MAX_KIB, "{peak} KiB");
}
