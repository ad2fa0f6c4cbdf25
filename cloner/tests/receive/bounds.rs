//! Streams that are cheap for the sender and expensive for the receiver: endless holes, numbers that overflow, attributes
//! without content, uploads without an end, log lines caused by unknown clients.

use std::time::Duration;

use decant_cloner::snappy::mark::Mark;
use decant_shared::process::printable::is_unsafe;
use decant_test_support::archive::HandMade;
use decant_test_support::{is_root, names, until};
use rustix::process::Signal;

use crate::body::{IDENTIFIER, IMAGE, TREE, chunk, chunked, frame, frames, head, upload, upload_with};
use crate::client::{Answer, Client, ClientIdentity};
use crate::dirty_device::{DIRT, Device};
use crate::process::{Target, TargetBuilder};

fn hole(len: u64) -> Vec<u8> {
    let mut mark = Vec::new();
    Mark::Hole(len).put(&mut mark);
    mark
}

fn image_of(more: &str, parts: &[&[u8]]) -> Vec<u8> {
    [head(IMAGE, more), chunked(&[&[IDENTIFIER], parts].concat().concat())].concat()
}

/// Asserts that the target refuses this immediately, leaves nothing, and then accepts a valid image.
fn assert_refused(request: &[u8], status: u16, expected_text: &str) {
    let target = TargetBuilder::new().ready();
    let answer = target.request(request);
    assert_eq!(answer.status, status, "{expected_text:?}: {answer:?}");
    assert!(answer.body.contains(expected_text), "{expected_text:?} is not in {answer:?}");
    assert!(names(&target.directory()).is_empty(), "{expected_text:?} left {:?}", names(&target.directory()));
    assert_eq!(target.request(&upload(IMAGE, b"image")).status, 200);
    target.ended().assert_success();
}

#[test]
fn a_hole_beyond_the_announced_length_is_refused_immediately() {
    let request = image_of("x-decant-length: 100\r\n", &[&frame(&[b'a'; 100]), &hole(1 << 62)]);
    assert_refused(&request, 500, "the sender announced 100 bytes and sent 4611686018427388004");
}

#[test]
fn holes_whose_sum_overflows_are_damage() {
    for holes in [[1 << 63, 1 << 63], [u64::MAX, 1001]] {
        let request = image_of("", &[&hole(holes[0]), &hole(holes[1])]);
        assert_refused(&request, 500, "longer than any volume");
        // Not in one batch: data is between them.
        let request = image_of("", &[&hole(holes[0]), &frame(b"data"), &hole(holes[1])]);
        let status = TargetBuilder::new().ready().request(&request).status;
        assert!(matches!(status, 400 | 500), "{status}");
    }
}

#[test]
fn an_image_larger_than_any_file_is_refused_immediately() {
    let too_large = "effective image size is larger than the reported available storage";
    assert_refused(&image_of("", &[&hole(1 << 63)]), 400, too_large);
    let announced = format!("x-decant-length: {}\r\n", u64::MAX);
    assert_refused(&image_of(&announced, &[&frame(b"image")]), 400, too_large);
}

#[test]
fn a_hole_larger_than_the_device_is_refused_immediately() {
    if !is_root() {
        return;
    }
    let device = Device::dirty(1 << 20);
    let target = TargetBuilder::new().set("DESTINATION", device.name()).ready();
    let answer = target.request(&image_of("", &[&hole(1 << 62)]));
    assert_eq!(answer.status, 400, "{answer:?}");
    assert!(device.content() == vec![DIRT; 1 << 20]);
}

/// A tree with a file that is one hole: nothing is written, only the digest of the hole is computed.
fn endless_hole() -> Vec<u8> {
    let size = (1_u64 << 62).to_string();
    HandMade::default()
        .pax(b'x', &[("GNU.sparse.size", &size), ("GNU.sparse.map", "")])
        .block(HandMade::header(b'0', "lost+found/x", 0), b"")
        .0
}

/// The now silent sender of a hole of 2^62 bytes, which the target processes.
fn at_work_on_a_hole(target: &Target) -> Client {
    let mut sender = target.sender();
    sender.send(&[head(TREE, ""), chunk(&frames(&endless_hole()))].concat()).unwrap();
    target.line("receiving a filesystem-clone");
    sender
}

#[test]
fn sigterm_ends_a_target_that_processes_a_huge_hole() {
    let target = TargetBuilder::new().ready();
    let _sender = at_work_on_a_hole(&target);
    std::thread::sleep(Duration::from_millis(500));
    target.signal(Signal::TERM);
    let ended = target.ended();
    assert_eq!(ended.code, Some(143), "{ended:?}");
}

#[test]
fn a_silent_sender_is_replaced_while_its_huge_hole_is_processed() {
    let target = TargetBuilder::new().ready();
    let _sender = at_work_on_a_hole(&target);
    until("the silent sender makes room", || {
        let answer = target.request(&upload(IMAGE, b"image"));
        assert!(matches!(answer.status, 200 | 503), "{answer:?}");
        answer.status == 200
    });
    target.line("the source fell silent and another one took its place");
    target.ended().assert_success();
}

#[test]
fn empty_attribute_names_and_too_many_attributes_are_refused() {
    let many = [("SCHILY.xattr.a", ""); 30_000];
    let nameless = [("SCHILY.xattr.", ""); 2];
    for (records, expected_text) in [
        (&nameless[..], "an extended attribute has no name"),
        (&many[..], "the extended attributes are larger than those of any entry"),
    ] {
        let tree = HandMade::default().pax(b'x', records).file("file", "content").end();
        assert_refused(&upload(TREE, &tree), 500, expected_text);
    }
}

#[test]
fn an_upload_without_body_framing_is_refused() {
    let target = TargetBuilder::new().ready();
    for content in [IMAGE, TREE] {
        let request =
            format!("POST /v1beta1/upload HTTP/1.1\r\nHost: target\r\nx-cdi-content-type: {content}\r\n\r\n");
        let answer = target.request(request.as_bytes());
        assert_eq!(answer.status, 411, "{answer:?}");
        let request = [request.as_bytes(), &frames(b"image")].concat();
        assert_eq!(target.request(&request).status, 411);
    }
    assert!(names(&target.directory()).is_empty());
    assert_eq!(target.request(&upload(IMAGE, b"image")).status, 200);
    target.ended().assert_success();
}

#[test]
fn an_empty_stream_with_body_framing_is_a_clone() {
    for framing in ["Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "Content-Length: 0\r\n\r\n"] {
        let target = TargetBuilder::new().ready();
        let request = format!(
            "POST /v1beta1/upload HTTP/1.1\r\nHost: target\r\nx-cdi-content-type: {IMAGE}\r\n{framing}"
        );
        assert_eq!(target.request(request.as_bytes()).status, 200, "{framing:?}");
        target.ended().assert_success();
    }
}

#[test]
fn temporary_names_of_a_clone_are_refused_by_name() {
    for name in
        [".decant-partial", ".disk.img.decant-partial", "./.decant-partial.3", ".disk.img.decant-partial.9"]
    {
        let tree = HandMade::default().file(name, "content").end();
        assert_refused(&upload(TREE, &tree), 500, name);
    }
    let target = TargetBuilder::new().ready();
    let tree = HandMade::default().file(".decant-partial-notes", "content").end();
    assert_eq!(target.request(&upload(TREE, &tree)).status, 200);
    assert_eq!(names(&target.directory()), [".decant-partial-notes"]);
}

#[test]
fn a_too_deep_path_is_refused_quickly_and_named() {
    let deep = format!("{}file", "d/".repeat(10_000));
    let tree = HandMade::default().pax(b'x', &[("path", &deep)]).file("x", "content").end();
    assert_refused(&upload(TREE, &tree), 500, "is too long: it has 20004 bytes, more than 16384");
}

#[test]
fn unknown_clients_cannot_flood_the_log_or_inject_control_characters() {
    let target = TargetBuilder::new().ready();
    let path = format!("/\u{9b}31m\u{202e}{}", "A".repeat(12_000));
    let request = format!("GET {path} HTTP/1.1\r\nHost: target\r\n\r\n");
    let anonymous = ClientIdentity::trusting(&target.builder.ca);
    for _ in 0..50 {
        let mut client = Client::connect(target.port, &anonymous).unwrap();
        client.send_as_far_as_it_goes(request.as_bytes());
        let received = client.read_to_close().unwrap_or_default();
        assert!(Answer::parse(&received).is_none_or(|answer| answer.status >= 400), "{received:?}");
    }
    target.line("10 requests of others than the sender so far");
    target.signal(Signal::TERM);
    let log = target.ended().stderr;
    assert!(log.iter().map(String::len).sum::<usize>() < 5000, "{log:#?}");
    assert!(!log.iter().any(|line| line.contains(is_unsafe)), "{log:#?}");
}

#[test]
fn a_clone_succeeds_if_its_termination_message_cannot_be_written() {
    let target = TargetBuilder::new().set("DECANT_TERMINATION_LOG", "/dev/full").ready();
    assert_eq!(target.request(&upload_with(IMAGE, "", b"image")).status, 200);
    target.line("cannot write the termination message to /dev/full");
    let mut target = target;
    assert_eq!(target.exit_code(), Some(0));
}
