//! The configuration of a target, and the errors for invalid values.

use std::net::TcpListener;

use decant_test_support::certificates::Ca;
use decant_test_support::names;

use crate::body::{IMAGE, upload};
use crate::process::{Outcome, TargetBuilder};

const USAGE: Option<i32> = Some(2);
const IDENTITY: Option<i32> = Some(7);

/// Asserts that it ended with this code and one line with `expected_text`, in the log and in the termination message.
fn assert_refused(ended: &Outcome, code: Option<i32>, expected_text: &str) {
    assert_eq!(ended.code, code, "{ended:?}");
    assert_eq!(ended.stderr.len(), 1, "{ended:?}");
    assert!(ended.stderr[0].contains(expected_text), "{expected_text:?} is not in {ended:?}");
    assert!(ended.message.contains(expected_text), "{expected_text:?} is not in {ended:?}");
}

#[test]
fn each_missing_required_variable_is_named() {
    for name in ["CLIENT_NAME", "TLS_CERT_FILE", "TLS_KEY_FILE", "CLIENT_CERT_FILE"] {
        assert_refused(&TargetBuilder::new().unset(name).run(), USAGE, name);
        assert_refused(&TargetBuilder::new().set(name, "").run(), USAGE, name);
    }
}

#[test]
fn each_invalid_variable_is_named() {
    for (name, value) in [
        ("DEADLINE", "tomorrow"),
        ("DEADLINE", "2026-13-01T00:00:00Z"),
        ("LISTEN_ADDRESS", "localhost"),
        ("UPLOAD_IMAGE_SIZE", "big"),
        ("DECANT_IDLE_SECS", "0"),
        ("DESTINATION", "disk.img"),
    ] {
        assert_refused(&TargetBuilder::new().set(name, value).run(), USAGE, name);
    }
    let builder =
        TargetBuilder::new().set("UPLOAD_IMAGE_SIZE", "1Gi").set("FILESYSTEM_OVERHEAD", "six percent");
    assert_refused(&builder.run(), USAGE, "FILESYSTEM_OVERHEAD");
}

#[test]
fn a_missing_certificate_file_is_named() {
    for name in ["TLS_CERT_FILE", "TLS_KEY_FILE", "CLIENT_CERT_FILE"] {
        assert_refused(
            &TargetBuilder::new().set(name, "/nowhere/file.pem").run(),
            IDENTITY,
            "/nowhere/file.pem",
        );
    }
}

#[test]
fn a_file_without_pem_is_named() {
    for name in ["TLS_CERT_FILE", "TLS_KEY_FILE", "CLIENT_CERT_FILE"] {
        let builder = TargetBuilder::new();
        let rubbish = builder.file("rubbish.pem", "no certificate, no key\n");
        assert_refused(&builder.set(name, &rubbish).run(), IDENTITY, &rubbish);
    }
}

#[test]
fn an_authority_file_with_only_a_key_is_refused_without_falling_back_to_http() {
    let builder = TargetBuilder::new();
    let key = builder.get("TLS_KEY_FILE").to_owned();
    assert_refused(&builder.set("CLIENT_CERT_FILE", &key).run(), IDENTITY, "contains no PEM certificate");
}

#[test]
fn a_key_that_does_not_match_the_certificate_is_refused() {
    let builder = TargetBuilder::new();
    let key = builder.file("other.key", &builder.ca.server().key_pem());
    assert_refused(&builder.set("TLS_KEY_FILE", &key).run(), IDENTITY, "the server certificate and its key");
}

#[test]
fn damaged_pem_is_refused() {
    let builder = TargetBuilder::new();
    let damaged = builder.file("damaged.pem", &builder.ca.pem().replacen("MII", "M!I", 1));
    assert_refused(&builder.set("CLIENT_CERT_FILE", &damaged).run(), IDENTITY, &damaged);
}

#[test]
fn a_port_in_use_is_named_with_its_variable() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let ended = TargetBuilder::new().set("LISTEN_PORT", &port).run();
    assert_refused(&ended, Some(1), &format!("127.0.0.1 port {port} (LISTEN_ADDRESS, LISTEN_PORT): Address"));
}

#[test]
fn a_health_port_in_use_is_not_an_error() {
    let taken = TcpListener::bind("[::]:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let target = TargetBuilder::new().set("DECANT_PLAIN_HEALTH_PORT", &port).ready();
    assert_eq!(target.request(&upload(IMAGE, b"image")).status, 200);
    target.ended().assert_success();
}

#[test]
fn certificates_can_be_passed_in_the_environment() {
    let builder = TargetBuilder::new().unset("TLS_KEY_FILE").unset("TLS_CERT_FILE").unset("CLIENT_CERT_FILE");
    let server = builder.ca.server();
    let roots = builder.ca.pem();
    let target = builder
        .set("TLS_KEY", &server.key_pem())
        .set("TLS_CERT", &server.chain_pem())
        .set("CLIENT_CERT", &roots)
        .ready();
    assert_eq!(target.request(&upload(IMAGE, b"image")).status, 200);
    target.ended().assert_success();
}

#[test]
fn each_older_certificate_variable_is_named_if_it_is_not_pem() {
    for (older, newer) in
        [("TLS_CERT", "TLS_CERT_FILE"), ("TLS_KEY", "TLS_KEY_FILE"), ("CLIENT_CERT", "CLIENT_CERT_FILE")]
    {
        let ended = TargetBuilder::new().unset(newer).set(older, "rubbish").run();
        assert_refused(&ended, IDENTITY, &format!("{older} contains no PEM"));
    }
}

#[test]
fn all_authorities_in_one_file_are_trusted() {
    let builder = TargetBuilder::new();
    let roots = builder.file("bundle.crt", &(Ca::new("last year's").pem() + &builder.ca.pem()));
    let target = builder.set("CLIENT_CERT_FILE", &roots).ready();
    assert_eq!(target.request(&upload(IMAGE, b"image")).status, 200);
    target.ended().assert_success();
}

#[test]
fn an_invalid_listening_port_is_ignored_as_in_cdi() {
    let target = TargetBuilder::new().set("LISTEN_PORT", "https").start();
    // The default port may be taken here: either way it is the one that was tried.
    let line = target.line("8443");
    let (listens, is_taken) = (
        line.ends_with("waiting for a clone on https://127.0.0.1:8443"),
        line.contains("127.0.0.1 port 8443 ("),
    );
    assert!(listens || is_taken, "{line}");
}

#[test]
fn without_a_command_cdis_environment_and_arguments_start_a_target() {
    let target = TargetBuilder::new().arguments(&["-v=1", "-alsologtostderr"]).ready();
    assert_eq!(target.request(&upload(IMAGE, b"image")).status, 200);
    target.ended().assert_success();
}

#[test]
fn a_directory_on_the_command_line_overrides_the_environment() {
    let builder = TargetBuilder::new();
    let other = tempfile::tempdir().unwrap();
    let target = builder.arguments(&["target", "--mount", other.path().to_str().unwrap()]).ready();
    assert_eq!(target.request(&upload(IMAGE, b"image")).status, 200);
    assert_eq!(std::fs::read(other.path().join("disk.img")).unwrap(), b"image");
    assert!(names(&target.directory()).is_empty());
}
