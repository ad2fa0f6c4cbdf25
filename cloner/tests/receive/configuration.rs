//! What a target is told, and what it says when that is not right.

use std::net::TcpListener;

use decant_test_support::certificates::Ca;
use decant_test_support::names;

use crate::body::{IMAGE, upload};
use crate::process::{Ended, Plan};

const USAGE: Option<i32> = Some(2);
const IDENTITY: Option<i32> = Some(7);

/// That it ended with this code, and with one line that holds `words`, in the log and for the kubelet.
fn assert_refused(ended: &Ended, code: Option<i32>, words: &str) {
    assert_eq!(ended.code, code, "{ended:?}");
    assert_eq!(ended.stderr.len(), 1, "{ended:?}");
    assert!(ended.stderr[0].contains(words), "{words:?} is not in {ended:?}");
    assert!(ended.message.contains(words), "{words:?} is not in {ended:?}");
}

#[test]
fn each_variable_that_is_needed_is_named_when_it_is_missing() {
    for name in ["CLIENT_NAME", "TLS_CERT_FILE", "TLS_KEY_FILE", "CLIENT_CERT_FILE"] {
        assert_refused(&Plan::new().unset(name).run(), USAGE, name);
        assert_refused(&Plan::new().set(name, "").run(), USAGE, name);
    }
}

#[test]
fn each_variable_that_cannot_be_read_is_named() {
    for (name, value) in [
        ("DEADLINE", "tomorrow"),
        ("DEADLINE", "2026-13-01T00:00:00Z"),
        ("LISTEN_ADDRESS", "localhost"),
        ("UPLOAD_IMAGE_SIZE", "big"),
        ("DECANT_IDLE_SECS", "0"),
        ("DESTINATION", "disk.img"),
    ] {
        assert_refused(&Plan::new().set(name, value).run(), USAGE, name);
    }
    let plan = Plan::new().set("UPLOAD_IMAGE_SIZE", "1Gi").set("FILESYSTEM_OVERHEAD", "six percent");
    assert_refused(&plan.run(), USAGE, "FILESYSTEM_OVERHEAD");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    for name in ["TLS_CERT_FILE", "TLS_KEY_FILE", "CLIENT_CERT_FILE"] {
        assert_refused(&Plan::new().set(name, "/nowhere/file.pem").run(), IDENTITY, "/nowhere/file.pem");
    }
}

#[test]
fn a_file_without_pem_is_named() {
    for name in ["TLS_CERT_FILE", "TLS_KEY_FILE", "CLIENT_CERT_FILE"] {
        let plan = Plan::new();
        let rubbish = plan.file("rubbish.pem", "no certificate, no key\n");
        assert_refused(&plan.set(name, &rubbish).run(), IDENTITY, &rubbish);
    }
}

#[test]
fn authorities_that_are_only_a_key_are_refused_and_plain_http_is_never_spoken() {
    let plan = Plan::new();
    let key = plan.get("TLS_KEY_FILE").to_owned();
    assert_refused(&plan.set("CLIENT_CERT_FILE", &key).run(), IDENTITY, "contains no PEM certificate");
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let plan = Plan::new();
    let key = plan.file("other.key", &plan.ca.server().key_pem());
    assert_refused(&plan.set("TLS_KEY_FILE", &key).run(), IDENTITY, "the server certificate and its key");
}

#[test]
fn damaged_pem_is_refused() {
    let plan = Plan::new();
    let damaged = plan.file("damaged.pem", &plan.ca.pem().replacen("MII", "M!I", 1));
    assert_refused(&plan.set("CLIENT_CERT_FILE", &damaged).run(), IDENTITY, &damaged);
}

#[test]
fn a_port_that_is_taken_is_named_with_its_variable() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let ended = Plan::new().set("LISTEN_PORT", &port).run();
    assert_refused(&ended, Some(1), &format!("127.0.0.1 port {port} (LISTEN_ADDRESS, LISTEN_PORT): Address"));
}

#[test]
fn a_health_port_that_is_taken_is_no_reason_to_fail() {
    let taken = TcpListener::bind("[::]:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let target = Plan::new().set("DECANT_PLAIN_HEALTH_PORT", &port).ready();
    assert_eq!(target.ask(&upload(IMAGE, b"image")).status, 200);
    target.ended().well();
}

#[test]
fn certificates_in_the_environment_itself_serve_as_well() {
    let plan = Plan::new().unset("TLS_KEY_FILE").unset("TLS_CERT_FILE").unset("CLIENT_CERT_FILE");
    let server = plan.ca.server();
    let roots = plan.ca.pem();
    let target = plan
        .set("TLS_KEY", &server.key_pem())
        .set("TLS_CERT", &server.chain_pem())
        .set("CLIENT_CERT", &roots)
        .ready();
    assert_eq!(target.ask(&upload(IMAGE, b"image")).status, 200);
    target.ended().well();
}

#[test]
fn each_variable_of_the_older_generation_is_named_when_it_is_no_pem() {
    for (older, newer) in
        [("TLS_CERT", "TLS_CERT_FILE"), ("TLS_KEY", "TLS_KEY_FILE"), ("CLIENT_CERT", "CLIENT_CERT_FILE")]
    {
        let ended = Plan::new().unset(newer).set(older, "rubbish").run();
        assert_refused(&ended, IDENTITY, &format!("{older} contains no PEM"));
    }
}

#[test]
fn several_authorities_in_one_file_are_all_trusted() {
    let plan = Plan::new();
    let roots = plan.file("bundle.crt", &(Ca::new("last year's").pem() + &plan.ca.pem()));
    let target = plan.set("CLIENT_CERT_FILE", &roots).ready();
    assert_eq!(target.ask(&upload(IMAGE, b"image")).status, 200);
    target.ended().well();
}

#[test]
fn a_listening_port_that_is_no_number_is_ignored_as_in_cdi() {
    let target = Plan::new().set("LISTEN_PORT", "https").start();
    // The default port may be taken here: either way it is the one that was tried.
    let line = target.line("8443");
    let (listens, is_taken) = (
        line.ends_with("waiting for a clone on https://127.0.0.1:8443"),
        line.contains("127.0.0.1 port 8443 ("),
    );
    assert!(listens || is_taken, "{line}");
}

#[test]
fn without_a_command_the_environment_and_the_words_of_cdis_pod_make_a_target() {
    let target = Plan::new().words(&["-v=1", "-alsologtostderr"]).ready();
    assert_eq!(target.ask(&upload(IMAGE, b"image")).status, 200);
    target.ended().well();
}

#[test]
fn a_folder_that_is_named_on_the_command_line_goes_before_the_environments() {
    let plan = Plan::new();
    let other = tempfile::tempdir().unwrap();
    let target = plan.words(&["target", "--mount", other.path().to_str().unwrap()]).ready();
    assert_eq!(target.ask(&upload(IMAGE, b"image")).status, 200);
    assert_eq!(std::fs::read(other.path().join("disk.img")).unwrap(), b"image");
    assert!(names(&target.folder()).is_empty());
}
