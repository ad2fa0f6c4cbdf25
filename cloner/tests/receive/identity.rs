//! Who a sender is: the certificate it shows, and what the target makes of it.

use std::sync::Arc;

use decant_test_support::certificates::{Ca, Identity, SENDER};
use decant_test_support::names;
use rustls::HandshakeKind;
use rustls::version::{TLS12, TLS13};
use time::Duration;

use crate::body::{IMAGE, upload};
use crate::client::{Answer, Client, Who};
use crate::process::{Plan, Target};

/// What the target answers to this client's upload; `None` when the handshake fails.
fn answer_to(target: &Target, identity: Option<Identity>) -> Option<Answer> {
    let mut who = Who::trusting(&target.plan.ca);
    if let Some(identity) = identity {
        who = who.being(identity);
    }
    let mut client = Client::connect(target.port, &who).ok()?;
    client.send_as_far_as_it_goes(&upload(IMAGE, b"image"));
    let heard = client.hear().ok()?;
    Answer::parse(&heard)
}

/// That nothing was written, and that the right sender is still welcome.
fn nothing_happened(target: Target) {
    assert!(names(&target.folder()).is_empty());
    assert_eq!(target.ask(&upload(IMAGE, b"image")).status, 200);
    target.ended().well();
}

#[test]
fn a_certificate_of_another_authority_does_not_get_through_the_handshake() {
    let target = Plan::new().ready();
    let stranger = Ca::new("authority").client(SENDER);
    assert!(answer_to(&target, Some(stranger)).is_none());
    target.line("the TLS handshake with");
    nothing_happened(target);
}

#[test]
fn an_expired_certificate_does_not_get_through_the_handshake() {
    let target = Plan::new().ready();
    let expired = target.plan.ca.client_until(SENDER, -Duration::hours(1));
    assert!(answer_to(&target, Some(expired)).is_none());
    target.line("the TLS handshake with");
    nothing_happened(target);
}

#[test]
fn a_certificate_for_servers_does_not_get_through_the_handshake() {
    let target = Plan::new().ready();
    let server = target.plan.ca.server();
    assert!(answer_to(&target, Some(server)).is_none());
    nothing_happened(target);
}

#[test]
fn without_a_certificate_nothing_is_uploaded() {
    let target = Plan::new().ready();
    assert_eq!(answer_to(&target, None).unwrap().status, 401);
    nothing_happened(target);
}

#[test]
fn another_common_name_uploads_nothing() {
    let target = Plan::new().ready();
    for name in ["", "client.upload-server.cdi.kubevirt.io", &SENDER[1..], &format!("{SENDER}x")] {
        let identity = target.plan.ca.client(name);
        assert_eq!(answer_to(&target, Some(identity)).unwrap().status, 401, "{name:?}");
    }
    nothing_happened(target);
}

#[test]
fn the_right_name_on_an_authority_above_the_sender_does_not_count() {
    let target = Plan::new().ready();
    let identity = target.plan.ca.intermediate(SENDER).client("somebody else");
    assert_eq!(answer_to(&target, Some(identity)).unwrap().status, 401);
    nothing_happened(target);
}

/// A session that is resumed skips the check of certificates: what was valid once would stay so.
#[test]
fn no_session_is_resumed_so_that_every_certificate_is_checked() {
    let target = Plan::new().ready();
    for version in [&TLS12, &TLS13] {
        let config = target.sender_identity().speaking(version).config();
        for _ in 0..2 {
            let mut client = Client::connect_by(target.port, Arc::clone(&config)).unwrap();
            client.send(b"GET /healthz HTTP/1.1\r\n\r\n").unwrap();
            // Tickets come behind the handshake.
            assert_eq!(client.answer().status, 200);
            assert_eq!(client.handshake_kind(), Some(HandshakeKind::Full), "{version:?}");
        }
    }
}

#[test]
fn a_sender_vouched_for_through_an_intermediate_authority_is_welcome() {
    let target = Plan::new().ready();
    let identity = target.plan.ca.intermediate("between").client(SENDER);
    assert_eq!(answer_to(&target, Some(identity)).unwrap().status, 200);
    target.ended().well();
}
