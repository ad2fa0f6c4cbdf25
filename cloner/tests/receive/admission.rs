//! Which requests are admitted, in the order of docs/protocol.md section 2.4, over real connections.

use std::time::{Duration, Instant};

use decant_test_support::net::Closed;
use decant_test_support::{names, until};

use crate::body::{IMAGE, TREE, chunk, chunked, frame, frames, head, head_for, upload};
use crate::client::{Answer, Client, ClientIdentity, plain};
use crate::process::TargetBuilder;

/// A sender that is silent for this long is replaced by another one.
const SILENT: Duration = Duration::from_secs(5);

#[test]
fn a_probe_needs_no_certificate() {
    let target = TargetBuilder::new().ready();
    let anonymous = ClientIdentity::trusting(&target.builder.ca);
    let mut probe = Client::connect(target.port, &anonymous).unwrap();
    probe.send(b"GET /healthz HTTP/1.1\r\nHost: target\r\n\r\n").unwrap();
    let answer = probe.answer();
    assert_eq!((answer.status, answer.body.as_str()), (200, "OK"));
}

/// Starts with the plain-text port.
fn with_health_port() -> (crate::process::Target, Closed) {
    let port = Closed::new();
    (TargetBuilder::new().set("DECANT_PLAIN_HEALTH_PORT", &port.port().to_string()).ready(), port)
}

#[test]
fn the_plain_text_health_port_answers_probes() {
    let (_target, port) = with_health_port();
    let answer = Answer::parse(&plain(port.port(), b"GET /healthz HTTP/1.1\r\n\r\n")).unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (200, "OK"));
}

#[test]
fn an_upload_in_plain_text_is_refused() {
    let (target, port) = with_health_port();
    let answer = Answer::parse(&plain(port.port(), &upload(IMAGE, b"image"))).unwrap();
    assert_eq!(answer.status, 401, "{answer:?}");
    assert!(names(&target.directory()).is_empty());
}

#[test]
fn the_tls_port_does_not_speak_plain_text() {
    let target = TargetBuilder::new().ready();
    let received = plain(target.port, b"GET /healthz HTTP/1.1\r\n\r\n");
    assert!(Answer::parse(&received).is_none(), "{received:?}");
}

#[test]
fn each_request_other_than_a_clone_has_its_own_answer() {
    let target = TargetBuilder::new().ready();
    let tree = format!("x-cdi-content-type: {TREE}\r\n");
    for (method, path, headers, wanted) in [
        ("GET", "/v1beta1/upload", tree.as_str(), 404),
        ("PUT", "/v1alpha1/upload", &tree, 404),
        ("HEAD", "/v1beta1/upload", &tree, 404),
        ("POST", "/", &tree, 404),
        ("POST", "/v1beta1/uploads", &tree, 404),
        ("POST", "/v1beta1/upload", "", 501),
        ("POST", "/v1beta1/upload", "x-cdi-content-type: kubevirt\r\n", 501),
        ("POST", "/v1alpha1/upload-form", "", 501),
        ("POST", "/v1beta1/upload-async", "", 501),
        ("POST", "/v1beta1/upload-async", &tree, 500),
        ("POST", "/v1alpha1/upload-form-async", &tree, 500),
        ("DELETE", "/healthz", "", 200),
    ] {
        let answer = target.request(&head_for(method, path, headers));
        assert_eq!(answer.status, wanted, "{method} {path} {headers:?}: {answer:?}");
    }
}

#[test]
fn an_asynchronous_clone_is_refused_with_cdis_text() {
    let target = TargetBuilder::new().ready();
    let headers = format!("x-cdi-content-type: {TREE}\r\n");
    let answer = target.request(&head_for("POST", "/v1beta1/upload-async", &headers));
    assert_eq!(answer.body, "Saving stream failed: async clone not supported");
}

#[test]
fn head_on_an_asynchronous_path_needs_no_certificate() {
    let target = TargetBuilder::new().ready();
    let mut anonymous = Client::connect(target.port, &ClientIdentity::trusting(&target.builder.ca)).unwrap();
    anonymous.send(&head_for("HEAD", "/v1beta1/upload-async", "")).unwrap();
    let answer = anonymous.answer();
    assert_eq!((answer.status, answer.body.as_str()), (200, ""));
}

#[test]
fn every_clone_path_accepts_a_clone() {
    for path in ["/v1beta1/upload", "/v1alpha1/upload", "/v1beta1/upload-archive", "/v1alpha1/upload-archive"]
    {
        let target = TargetBuilder::new().ready();
        let headers = format!("x-cdi-content-type: {IMAGE}\r\n");
        let answer = target.request(&[head_for("POST", path, &headers), chunked(&frames(b"image"))].concat());
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        assert_eq!(std::fs::read(target.directory().join("disk.img")).unwrap(), b"image", "{path}");
    }
}

#[test]
fn a_second_sender_gets_503_and_the_first_one_completes() {
    let target = TargetBuilder::new().ready();
    let mut first = target.sender();
    first.send(&[head(IMAGE, ""), chunk(&frames(b"first"))].concat()).unwrap();
    target.line("receiving a blockdevice-clone");
    assert_eq!(target.request(&upload(IMAGE, b"second")).status, 503);
    first.send(b"0\r\n\r\n").unwrap();
    assert_eq!(first.answer().status, 200);
    assert_eq!(std::fs::read(target.directory().join("disk.img")).unwrap(), b"first");
}

#[test]
fn a_silent_sender_is_replaced_by_the_next_one() {
    let target = TargetBuilder::new().ready();
    let mut dead = target.sender();
    let fell_silent = Instant::now();
    dead.send(&[head(IMAGE, ""), chunk(&frames(b"dead"))].concat()).unwrap();
    target.line("receiving a blockdevice-clone");
    until("the silent sender makes room", || target.request(&upload(IMAGE, b"alive")).status != 503);
    assert!(fell_silent.elapsed() >= SILENT, "a sender that is only slow must not lose its place");
    assert_eq!(std::fs::read(target.directory().join("disk.img")).unwrap(), b"alive");
}

/// Decant's source queries the held segments before it sends.
#[test]
fn a_silent_sender_is_replaced_by_a_query_for_held_segments() {
    let target = TargetBuilder::new().ready();
    let mut dead = target.sender();
    let fell_silent = Instant::now();
    dead.send(&[head(IMAGE, ""), chunk(&frames(b"dead"))].concat()).unwrap();
    target.line("receiving a blockdevice-clone");
    let question = b"GET /v1/session HTTP/1.1\r\nHost: x\r\nx-decant-from: 0\r\nx-decant-length: 5\r\n\r\n";
    until("the silent sender makes room", || target.request(question).status != 503);
    assert!(fell_silent.elapsed() >= SILENT, "a sender that is only slow must not lose its place");
}

#[test]
fn an_unknown_client_learns_nothing_about_a_running_transfer() {
    let target = TargetBuilder::new().ready();
    let mut first = target.sender();
    first.send(&head(IMAGE, "")).unwrap();
    target.line("receiving a blockdevice-clone");
    let other = ClientIdentity::trusting(&target.builder.ca)
        .with_identity(target.builder.ca.client("another client"));
    let mut other = Client::connect(target.port, &other).unwrap();
    other.send(&upload(IMAGE, b"other")).unwrap();
    assert_eq!(other.answer().status, 401);
}

#[test]
fn a_sender_after_the_clone_learns_that_it_is_complete() {
    let target = TargetBuilder::new().ready();
    let mut late = target.sender();
    assert_eq!(target.request(&upload(IMAGE, b"image")).status, 200);
    late.send_as_far_as_it_goes(&upload(IMAGE, b"late"));
    assert_eq!(late.answer().status, 409);
    assert_eq!(std::fs::read(target.directory().join("disk.img")).unwrap(), b"image");
}

#[test]
fn expect_100_continue_is_answered() {
    let target = TargetBuilder::new().ready();
    let mut sender = target.sender();
    sender.send(&head(IMAGE, "Expect: 100-continue\r\n")).unwrap();
    sender.expect("HTTP/1.1 100 Continue\r\n\r\n");
    sender.send(&chunked(&frames(b"image"))).unwrap();
    assert_eq!(sender.answer().status, 200);
}

#[test]
fn a_refused_sender_gets_no_100_continue() {
    let target = TargetBuilder::new().ready();
    let mut sender = target.sender();
    sender.send(&head("kubevirt", "Expect: 100-continue\r\n")).unwrap();
    assert_eq!(sender.answer().status, 501);
}

#[test]
fn a_refusal_reaches_a_sender_that_never_stops_sending() {
    let target = TargetBuilder::new().ready();
    let other = ClientIdentity::trusting(&target.builder.ca)
        .with_identity(target.builder.ca.client("another client"));
    let mut other = Client::connect(target.port, &other).unwrap();
    other.send(&head(IMAGE, "")).unwrap();
    let megabyte = chunk(&vec![7; 1 << 20]);
    for _ in 0..32 {
        other.send(&megabyte).unwrap();
    }
    assert_eq!(other.answer().status, 401);
}

#[test]
fn a_body_with_a_content_length_is_accepted() {
    let target = TargetBuilder::new().ready();
    let body = [frames(b"ima"), frame(b"ge")].concat();
    let head = format!(
        "POST /v1beta1/upload HTTP/1.1\r\nContent-Length: {}\r\nx-cdi-content-type: {IMAGE}\r\n\r\n",
        body.len()
    );
    assert_eq!(target.request(&[head.into_bytes(), body].concat()).status, 200);
    assert_eq!(std::fs::read(target.directory().join("disk.img")).unwrap(), b"image");
}

#[test]
fn a_head_probe_gets_no_body() {
    let target = TargetBuilder::new().ready();
    let answer = target.request(b"HEAD /healthz HTTP/1.1\r\nHost: target\r\n\r\n");
    assert_eq!((answer.status, answer.body.as_str()), (200, ""));
}

#[test]
fn an_invalid_request_is_answered_with_400_or_431() {
    let target = TargetBuilder::new().ready();
    let long = format!("GET /healthz HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(20_000));
    assert_eq!(target.request(b"\0\0\0\0\r\n\r\n").status, 400);
    assert_eq!(target.request(long.as_bytes()).status, 431);
}
