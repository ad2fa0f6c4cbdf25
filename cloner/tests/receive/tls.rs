//! Which TLS is spoken.

use std::io::{Read, Write};
use std::net::TcpStream;

use decant_test_support::HANG;
use rustls::crypto::ring::cipher_suite::{
    TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
};
use rustls::version::{TLS12, TLS13};

use crate::client::{Client, ClientIdentity};
use crate::process::{Target, TargetBuilder};

fn is_healthy(target: &Target, client_identity: &ClientIdentity) -> bool {
    let Ok(mut client) = Client::connect(target.port, client_identity) else { return false };
    client.send(b"GET /healthz HTTP/1.1\r\n\r\n").unwrap();
    client.answer().status == 200
}

fn anonymous(target: &Target) -> ClientIdentity {
    ClientIdentity::trusting(&target.builder.ca)
}

#[test]
fn tls_1_2_and_1_3_are_accepted_by_default() {
    let target = TargetBuilder::new().ready();
    for version in [&TLS12, &TLS13] {
        assert!(is_healthy(&target, &anonymous(&target).with_version(version)), "{version:?}");
    }
}

#[test]
fn a_lower_minimum_version_still_means_1_2() {
    let target = TargetBuilder::new().set("TLS_MIN_VERSION", "VersionTLS10").ready();
    assert!(is_healthy(&target, &anonymous(&target).with_version(&TLS12)));
}

#[test]
fn minimum_version_1_3_refuses_1_2() {
    let target = TargetBuilder::new().set("TLS_MIN_VERSION", "VersionTLS13").ready();
    assert!(!is_healthy(&target, &anonymous(&target).with_version(&TLS12)));
    assert!(is_healthy(&target, &anonymous(&target).with_version(&TLS13)));
}

#[test]
fn only_the_configured_suites_are_accepted_in_1_2() {
    let named = "TLS_AES_128_GCM_SHA256,ECDHE-ECDSA-AES256-GCM-SHA384,DHE-RSA-AES256-GCM-SHA384";
    let target = TargetBuilder::new().set("TLS_CIPHERS", named).ready();
    let with = |suite| anonymous(&target).with_version(&TLS12).with_suite(suite);
    assert!(is_healthy(&target, &with(TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384)));
    assert!(!is_healthy(&target, &with(TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256)));
}

/// A fatal alert (type 21, level 2) with the description "protocol version" (RFC 8446, 6.2).
const PROTOCOL_VERSION_ALERT: [u8; 3] = [21, 2, 70];
const TLS_1_1: [u8; 2] = [3, 2];

#[test]
fn tls_1_1_is_refused_with_a_version_alert() {
    assert_eq!(answer_to_hello(&TargetBuilder::new().ready(), TLS_1_1), PROTOCOL_VERSION_ALERT);
}

#[test]
fn tls_1_1_is_refused_even_if_the_minimum_version_allows_it() {
    let target = TargetBuilder::new().set("TLS_MIN_VERSION", "VersionTLS10").ready();
    assert_eq!(answer_to_hello(&target, TLS_1_1), PROTOCOL_VERSION_ALERT);
}

/// What these two tests send differs from what is accepted by its version alone.
#[test]
fn the_same_client_hello_in_1_2_is_accepted() {
    let [record_type, ..] = answer_to_hello(&TargetBuilder::new().ready(), [3, 3]);
    assert_eq!(record_type, 22);
}

/// The record type and, of an alert, level and description of what a client of this version gets. Written by
/// hand, because current libraries do not send such messages.
fn answer_to_hello(target: &Target, version: [u8; 2]) -> [u8; 3] {
    let hello = [
        version.as_slice(),
        &[7; 32],                    // random
        &[0],                        // no session
        &[0, 2, 0xc0, 0x2b],         // ECDHE-ECDSA-AES128-GCM-SHA256
        &[1, 0],                     // no compression
        &[0, 16],                    // extensions:
        &[0, 13, 0, 4, 0, 2, 4, 3],  // signatures with ECDSA, P-256 and SHA-256
        &[0, 10, 0, 4, 0, 2, 0, 23], // keys on P-256
    ]
    .concat();
    let hello_len = u8::try_from(hello.len()).unwrap();
    let record = [&[22, 3, 1, 0, hello_len + 4, 1, 0, 0, hello_len], hello.as_slice()].concat();
    let mut socket = TcpStream::connect(("127.0.0.1", target.port)).unwrap();
    socket.set_read_timeout(Some(HANG)).unwrap();
    socket.write_all(&record).unwrap();
    let mut answer = [0; 7];
    socket.read_exact(&mut answer).unwrap();
    [answer[0], answer[5], answer[6]]
}
