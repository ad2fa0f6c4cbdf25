//! Keys of a target that are renewed while it waits: what is shown then, and who is accepted.

use std::fs;
use std::path::Path;

use decant_test_support::certificates::{Ca, SENDER};
use decant_test_support::until;
use time::Duration;

use crate::body::{IMAGE, upload};
use crate::client::{Answer, Client, ClientIdentity};
use crate::process::{Target, TargetBuilder};

/// The target's answer to a health probe; `None` if either does not trust the other.
fn health(target: &Target, client_identity: &ClientIdentity) -> Option<Answer> {
    let mut client = Client::connect(target.port, client_identity).ok()?;
    client.send(b"GET /healthz HTTP/1.1\r\n\r\n").ok()?;
    Answer::parse(&client.read_to_close().ok()?)
}

/// Writes keys as a generation has them.
fn write_keys(directory: &Path, ca: &Ca) {
    fs::create_dir_all(directory).unwrap();
    let server = ca.server();
    fs::write(directory.join("tls.crt"), server.chain_pem()).unwrap();
    fs::write(directory.join("tls.key"), server.key_pem()).unwrap();
    fs::write(directory.join("ca.crt"), ca.pem()).unwrap();
}

#[test]
fn certificate_files_renewed_in_place_are_used_for_the_next_connection() {
    let target = TargetBuilder::new().ready();
    let second = Ca::new("the second");
    let client_identity = ClientIdentity::trusting(&second).with_identity(second.client(SENDER));
    assert!(health(&target, &client_identity).is_none());
    write_keys(Path::new(target.builder.get("TLS_KEY_FILE")).parent().unwrap(), &second);
    until("the second certificate is shown", || health(&target, &client_identity).is_some());
}

#[test]
fn an_expired_target_certificate_is_replaced_from_its_file() {
    let builder = TargetBuilder::new();
    let expired = builder.ca.server_until(-Duration::hours(1));
    let chain = builder.file("tls.crt", &expired.chain_pem());
    let key = builder.file("tls.key", &expired.key_pem());
    let target = builder.ready();
    target.line(&format!("our own certificate, {chain} (TLS_CERT_FILE), expired at"));
    target.line("which is re-read");
    let renewed = target.builder.ca.server();
    fs::write(chain, renewed.chain_pem()).unwrap();
    fs::write(key, renewed.key_pem()).unwrap();
    until("the renewed certificate is shown", || health(&target, &target.sender_identity()).is_some());
    assert_eq!(target.request(&upload(IMAGE, b"image")).status, 200);
    target.ended().assert_success();
}

#[test]
fn after_the_authority_is_renewed_the_previous_one_is_refused() {
    let builder = TargetBuilder::new();
    let keys = builder.directory().with_file_name("keys");
    fs::create_dir(&keys).unwrap();
    let target = builder.set("DECANT_RENEWED_KEYS", keys.to_str().unwrap()).ready();
    let (first, second) = (&target.builder.ca, Ca::new("the second"));
    assert!(health(&target, &target.sender_identity()).is_some());
    write_keys(&keys.join("..2"), &second);
    std::os::unix::fs::symlink("..2", keys.join("2")).unwrap();
    let renewed = ClientIdentity::trusting(&second).with_identity(second.client(SENDER));
    until("the second authority counts", || health(&target, &renewed).is_some());
    // It trusts the target, so that nothing but the target itself refuses it.
    let previous = ClientIdentity::trusting(&second).with_identity(first.client(SENDER));
    assert!(health(&target, &previous).is_none());
    target.line("the TLS handshake with");
    let ask = |client_identity: &ClientIdentity| {
        let mut client = Client::connect(target.port, client_identity).unwrap();
        client.send_as_far_as_it_goes(&upload(IMAGE, b"image"));
        client.answer().status
    };
    let other = ClientIdentity::trusting(&second)
        .with_identity(second.client("source-ns/other-target-ns/target-pvc"));
    assert_eq!(ask(&other), 401, "the name counts as before");
    assert_eq!(ask(&ClientIdentity::trusting(&second)), 401);
    assert_eq!(ask(&renewed), 200);
    target.ended().assert_success();
}

#[test]
fn renewed_keys_without_an_authority_change_nothing() {
    let builder = TargetBuilder::new();
    let keys = builder.directory().with_file_name("keys");
    let second = Ca::new("the second");
    write_keys(&keys.join("1"), &second);
    fs::write(keys.join("1/ca.crt"), "").unwrap();
    let target = builder.set("DECANT_RENEWED_KEYS", keys.to_str().unwrap()).ready();
    target.line("1/ca.crt contains no PEM certificate");
    assert!(health(&target, &ClientIdentity::trusting(&second)).is_none());
    assert_eq!(target.request(&upload(IMAGE, b"image")).status, 200);
    target.ended().assert_success();
}

#[test]
fn a_missing_directory_for_renewed_keys_is_accepted() {
    let target = TargetBuilder::new().set("DECANT_RENEWED_KEYS", "/nowhere/keys").ready();
    assert_eq!(target.request(&upload(IMAGE, b"image")).status, 200);
    target.ended().assert_success();
}
