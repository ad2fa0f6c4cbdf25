//! A clone that is damaged on its way, in every way and at every layer: it is never accepted, leaves nothing,
//! and can be sent again.

mod request;

use std::fs;
use std::time::Duration;

use decant_test_support::names;
use request::{CloneRequest, Layer};

use crate::body::{IMAGE, frames};
use crate::client::{Answer, Client};
use crate::process::{Target, TargetBuilder};

/// A target that waits one second for a silent sender.
fn target_with_short_timeout() -> Target {
    TargetBuilder::new().set("DECANT_IDLE_SECS", "1").ready()
}

/// Asserts that the target refuses what this sender sent and keeps nothing of it.
fn assert_refused(target: &Target, sender: &mut Client, layer: Layer) {
    match (layer, Answer::parse(&sender.read_to_close().unwrap())) {
        // Cut there, it is no request; flipped, another one.
        (Layer::HttpHead, answer) => assert!(answer.is_none_or(|answer| answer.status == 501), "{layer:?}"),
        (_, answer) => {
            let answer = answer.unwrap_or_else(|| panic!("{layer:?} is not answered"));
            assert_eq!(answer.status, 500, "{layer:?}: {answer:?}");
            assert!(answer.body.starts_with("Saving stream failed: "), "{layer:?}: {answer:?}");
        }
    }
    assert_clean(target, layer);
}

fn assert_clean(target: &Target, layer: Layer) {
    assert!(names(&target.directory()).is_empty(), "{layer:?} left {:?}", names(&target.directory()));
}

/// Asserts that the target accepts the undamaged clone.
fn assert_recovers(target: Target, request: &CloneRequest) {
    assert_eq!(target.request(&request.whole()).status, 200);
    assert!(fs::read(target.directory().join(request.name())).unwrap() == request.file_content());
    target.ended().assert_success();
}

fn assert_refused_when_truncated(request: &CloneRequest) {
    let target = target_with_short_timeout();
    for &layer in request.layers() {
        let mut sender = target.sender();
        sender.send_as_far_as_it_goes(&request.truncated(layer));
        sender.finish_sending();
        assert_refused(&target, &mut sender, layer);
    }
    assert_recovers(target, request);
}

fn assert_refused_when_flipped(request: &CloneRequest) {
    let target = target_with_short_timeout();
    for &layer in request.layers() {
        let mut sender = target.sender();
        sender.send_as_far_as_it_goes(&request.flipped(layer));
        sender.finish_sending();
        assert_refused(&target, &mut sender, layer);
    }
    assert_recovers(target, request);
}

fn assert_refused_when_stalled(request: &CloneRequest) {
    let target = target_with_short_timeout();
    for &layer in request.layers() {
        if layer == Layer::HttpHead {
            continue; // The target does not wait for it: see the test of a sender that stalls in its head.
        }
        let mut sender = target.sender();
        sender.send(&request.cut(layer)).unwrap();
        assert_refused(&target, &mut sender, layer);
    }
    assert_recovers(target, request);
}

fn assert_refused_when_reset(request: &CloneRequest) {
    let target = TargetBuilder::new().ready();
    let mut transfers = 0;
    for &layer in request.layers() {
        let mut sender = target.sender();
        sender.send(&request.cut(layer)).unwrap();
        if layer != Layer::HttpHead {
            transfers += 1;
            target.nth_line("receiving a ", transfers);
        }
        sender.reset();
        if layer != Layer::HttpHead {
            target.nth_line("the transfer failed", transfers);
        }
        assert_clean(&target, layer);
    }
    assert_recovers(target, request);
}

#[test]
fn a_truncated_tree_is_refused_at_every_layer() {
    assert_refused_when_truncated(&CloneRequest::tree());
}

#[test]
fn a_truncated_image_is_refused_at_every_layer() {
    assert_refused_when_truncated(&CloneRequest::image());
}

#[test]
fn a_tree_with_a_flipped_bit_is_refused_at_every_layer() {
    assert_refused_when_flipped(&CloneRequest::tree());
}

#[test]
fn an_image_with_a_flipped_bit_is_refused_at_every_layer() {
    assert_refused_when_flipped(&CloneRequest::image());
}

#[test]
fn a_stalled_tree_times_out_at_every_layer() {
    assert_refused_when_stalled(&CloneRequest::tree());
}

#[test]
fn a_stalled_image_times_out_at_every_layer() {
    assert_refused_when_stalled(&CloneRequest::image());
}

#[test]
fn a_reset_connection_leaves_nothing_of_a_tree_at_every_layer() {
    assert_refused_when_reset(&CloneRequest::tree());
}

#[test]
fn a_reset_connection_leaves_nothing_of_an_image_at_every_layer() {
    assert_refused_when_reset(&CloneRequest::image());
}

#[test]
fn another_sender_is_served_while_one_stalls_in_its_head() {
    let target = TargetBuilder::new().ready();
    let request = CloneRequest::tree();
    let mut staller = target.sender();
    staller.send(&request.cut(Layer::HttpHead)).unwrap();
    assert_recovers(target, &request);
}

#[test]
fn a_truncated_body_with_a_content_length_is_refused() {
    let target = target_with_short_timeout();
    let body = frames(b"image");
    let head = format!(
        "POST /v1beta1/upload HTTP/1.1\r\nContent-Length: {}\r\nx-cdi-content-type: {IMAGE}\r\n\r\n",
        body.len() + 1
    );
    let mut sender = target.sender();
    sender.send(&[head.into_bytes(), body].concat()).unwrap();
    sender.finish_sending();
    assert_refused(&target, &mut sender, Layer::LastChunk);
    assert_recovers(target, &CloneRequest::image());
}

/// Slower in total than the silence that is allowed, but never silent for that long.
#[test]
fn a_slow_sender_does_not_time_out() {
    let target = TargetBuilder::new().set("DECANT_IDLE_SECS", "5").ready();
    let request = CloneRequest::image();
    let whole = request.whole();
    let mut sender = target.sender();
    for part in whole.chunks(whole.len().div_ceil(12)) {
        sender.send(part).unwrap();
        std::thread::sleep(Duration::from_millis(500));
    }
    assert_eq!(sender.answer().status, 200);
    drop(sender);
    target.ended().assert_success();
}

#[test]
fn the_answer_to_a_stalled_sender_names_the_time_limit() {
    let target = target_with_short_timeout();
    let mut sender = target.sender();
    sender.send(&CloneRequest::image().cut(Layer::FrameBody)).unwrap();
    assert_eq!(sender.answer().body, "Saving stream failed: the source sent nothing for 1 s");
}
