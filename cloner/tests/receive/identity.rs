//! The identity of a sender: its certificate, and how the target checks it.

use std::sync::Arc;

use decant_test_support::certificates::{Ca, Identity, SENDER};
use decant_test_support::names;
use rustls::HandshakeKind;
use rustls::version::{TLS12, TLS13};
use time::Duration;

use crate::body::{IMAGE, upload};
use crate::client::{Answer, Client, ClientIdentity};
use crate::process::{Target, TargetBuilder};

/// What the target answers to this client's upload; `None` when the handshake fails.
fn answer_to(target: &Target, identity: Option<Identity>) -> Option<Answer> {
    let mut client_identity = ClientIdentity::trusting(&target.builder.ca);
    if let Some(identity) = identity {
        client_identity = client_identity.with_identity(identity);
    }
    let mut client = Client::connect(target.port, &client_identity).ok()?;
    client.send_as_far_as_it_goes(&upload(IMAGE, b"image"));
    let received = client.read_to_close().ok()?;
    Answer::parse(&received)
}

/// Asserts that nothing was written, and that the expected sender is still accepted.
fn assert_nothing_happened(target: Target) {
    assert!(names(&target.directory()).is_empty());
    assert_eq!(target.request(&upload(IMAGE, b"image")).status, 200);
    target.ended().assert_success();
}

#[test]
fn a_certificate_of_another_authority_fails_the_handshake() {
    let target = TargetBuilder::new().ready();
    let stranger = Ca::new("authority").client(SENDER);
    assert!(answer_to(&target, Some(stranger)).is_none());
    target.line("the TLS handshake with");
    assert_nothing_happened(target);
}

#[test]
fn an_expired_certificate_fails_the_handshake() {
    let target = TargetBuilder::new().ready();
    let expired = target.builder.ca.client_until(SENDER, -Duration::hours(1));
    assert!(answer_to(&target, Some(expired)).is_none());
    target.line("the TLS handshake with");
    assert_nothing_happened(target);
}

#[test]
fn a_server_certificate_fails_the_handshake_of_a_client() {
    let target = TargetBuilder::new().ready();
    let server = target.builder.ca.server();
    assert!(answer_to(&target, Some(server)).is_none());
    assert_nothing_happened(target);
}

#[test]
fn an_upload_without_a_certificate_is_refused() {
    let target = TargetBuilder::new().ready();
    assert_eq!(answer_to(&target, None).unwrap().status, 401);
    assert_nothing_happened(target);
}

#[test]
fn an_upload_with_another_common_name_is_refused() {
    let target = TargetBuilder::new().ready();
    for name in ["", "client.upload-server.cdi.kubevirt.io", &SENDER[1..], &format!("{SENDER}x")] {
        let identity = target.builder.ca.client(name);
        assert_eq!(answer_to(&target, Some(identity)).unwrap().status, 401, "{name:?}");
    }
    assert_nothing_happened(target);
}

#[test]
fn the_expected_name_in_an_issuer_is_not_accepted() {
    let target = TargetBuilder::new().ready();
    let identity = target.builder.ca.intermediate(SENDER).client("another client");
    assert_eq!(answer_to(&target, Some(identity)).unwrap().status, 401);
    assert_nothing_happened(target);
}

/// A session that is resumed skips the check of certificates: an expired certificate would stay valid.
#[test]
fn tls_sessions_are_not_resumed() {
    let target = TargetBuilder::new().ready();
    for version in [&TLS12, &TLS13] {
        let config = target.sender_identity().with_version(version).config();
        for _ in 0..2 {
            let mut client = Client::connect_by(target.port, Arc::clone(&config)).unwrap();
            client.send(b"GET /healthz HTTP/1.1\r\n\r\n").unwrap();
            // Tickets follow the handshake.
            assert_eq!(client.answer().status, 200);
            assert_eq!(client.handshake_kind(), Some(HandshakeKind::Full), "{version:?}");
        }
    }
}

#[test]
fn a_sender_with_an_intermediate_authority_is_accepted() {
    let target = TargetBuilder::new().ready();
    let identity = target.builder.ca.intermediate("between").client(SENDER);
    assert_eq!(answer_to(&target, Some(identity)).unwrap().status, 200);
    target.ended().assert_success();
}
