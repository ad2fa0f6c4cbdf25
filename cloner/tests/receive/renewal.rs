//! Keys of a target that are renewed while it waits: what is shown then, and who is accepted.

use std::fs;
use std::path::Path;

use decant_test_support::certificates::{Ca, SENDER};
use decant_test_support::until;
use time::Duration;

use crate::body::{IMAGE, upload};
use crate::client::{Answer, Client, Who};
use crate::process::{Plan, Target};

/// What the target tells a client about its health; `None` where either does not trust the other.
fn health(target: &Target, who: &Who) -> Option<Answer> {
    let mut client = Client::connect(target.port, who).ok()?;
    client.send(b"GET /healthz HTTP/1.1\r\n\r\n").ok()?;
    Answer::parse(&client.hear().ok()?)
}

/// Writes keys as a generation has them.
fn write_keys(folder: &Path, ca: &Ca) {
    fs::create_dir_all(folder).unwrap();
    let server = ca.server();
    fs::write(folder.join("tls.crt"), server.chain_pem()).unwrap();
    fs::write(folder.join("tls.key"), server.key_pem()).unwrap();
    fs::write(folder.join("ca.crt"), ca.pem()).unwrap();
}

#[test]
fn files_that_are_renewed_in_place_are_shown_to_the_next_connection() {
    let target = Plan::new().ready();
    let second = Ca::new("the second");
    let who = Who::trusting(&second).being(second.client(SENDER));
    assert!(health(&target, &who).is_none());
    write_keys(Path::new(target.plan.get("TLS_KEY_FILE")).parent().unwrap(), &second);
    until("the second certificate is shown", || health(&target, &who).is_some());
}

#[test]
fn an_expired_certificate_of_the_target_is_replaced_when_its_file_is() {
    let plan = Plan::new();
    let expired = plan.ca.server_until(-Duration::hours(1));
    let chain = plan.file("tls.crt", &expired.chain_pem());
    let key = plan.file("tls.key", &expired.key_pem());
    let target = plan.ready();
    target.line(&format!("our own certificate, {chain} (TLS_CERT_FILE), expired at"));
    target.line("which is re-read");
    let renewed = target.plan.ca.server();
    fs::write(chain, renewed.chain_pem()).unwrap();
    fs::write(key, renewed.key_pem()).unwrap();
    until("the renewed certificate is shown", || health(&target, &target.sender_identity()).is_some());
    assert_eq!(target.ask(&upload(IMAGE, b"image")).status, 200);
    target.ended().well();
}

#[test]
fn when_the_authority_is_renewed_senders_of_the_previous_one_are_turned_away() {
    let plan = Plan::new();
    let keys = plan.folder().with_file_name("keys");
    fs::create_dir(&keys).unwrap();
    let target = plan.set("DECANT_RENEWED_KEYS", keys.to_str().unwrap()).ready();
    let (first, second) = (&target.plan.ca, Ca::new("the second"));
    assert!(health(&target, &target.sender_identity()).is_some());
    write_keys(&keys.join("..2"), &second);
    std::os::unix::fs::symlink("..2", keys.join("2")).unwrap();
    let renewed = Who::trusting(&second).being(second.client(SENDER));
    until("the second authority counts", || health(&target, &renewed).is_some());
    // It trusts the target, so that nothing but the target itself refuses it.
    let previous = Who::trusting(&second).being(first.client(SENDER));
    assert!(health(&target, &previous).is_none());
    target.line("the TLS handshake with");
    let ask = |who: &Who| {
        let mut client = Client::connect(target.port, who).unwrap();
        client.send_as_far_as_it_goes(&upload(IMAGE, b"image"));
        client.answer().status
    };
    let other = Who::trusting(&second).being(second.client("source-ns/other-target-ns/target-pvc"));
    assert_eq!(ask(&other), 401, "the name counts as before");
    assert_eq!(ask(&Who::trusting(&second)), 401);
    assert_eq!(ask(&renewed), 200);
    target.ended().well();
}

#[test]
fn renewed_keys_without_an_authority_change_nothing() {
    let plan = Plan::new();
    let keys = plan.folder().with_file_name("keys");
    let second = Ca::new("the second");
    write_keys(&keys.join("1"), &second);
    fs::write(keys.join("1/ca.crt"), "").unwrap();
    let target = plan.set("DECANT_RENEWED_KEYS", keys.to_str().unwrap()).ready();
    target.line("1/ca.crt contains no PEM certificate");
    assert!(health(&target, &Who::trusting(&second)).is_none());
    assert_eq!(target.ask(&upload(IMAGE, b"image")).status, 200);
    target.ended().well();
}

#[test]
fn a_missing_directory_for_renewed_keys_is_accepted() {
    let target = Plan::new().set("DECANT_RENEWED_KEYS", "/nowhere/keys").ready();
    assert_eq!(target.ask(&upload(IMAGE, b"image")).status, 200);
    target.ended().well();
}
