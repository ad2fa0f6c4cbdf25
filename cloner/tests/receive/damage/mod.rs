//! A clone that is damaged on its way, in every way and at every layer: it is never accepted, leaves nothing
//! behind, and keeps nobody from sending it again.

mod parcel;

use std::fs;
use std::time::Duration;

use decant_test_support::names;
use parcel::{Parcel, Place};

use crate::body::{IMAGE, frames};
use crate::client::{Answer, Client};
use crate::process::{Plan, Target};

/// A target that waits one second for a sender that says nothing.
fn impatient() -> Target {
    Plan::new().set("DECANT_IDLE_SECS", "1").ready()
}

/// That the target refuses what this sender sent, and has nothing of it.
fn assert_refused(target: &Target, sender: &mut Client, place: Place) {
    match (place, Answer::parse(&sender.hear().unwrap())) {
        // Cut there, it is no request; flipped, another one.
        (Place::HttpHead, answer) => assert!(answer.is_none_or(|answer| answer.status == 501), "{place:?}"),
        (_, answer) => {
            let answer = answer.unwrap_or_else(|| panic!("{place:?} is not answered"));
            assert_eq!(answer.status, 500, "{place:?}: {answer:?}");
            assert!(answer.body.starts_with("Saving stream failed: "), "{place:?}: {answer:?}");
        }
    }
    assert_clean(target, place);
}

fn assert_clean(target: &Target, place: Place) {
    assert!(names(&target.folder()).is_empty(), "{place:?} left {:?}", names(&target.folder()));
}

/// That the target takes the clone when it comes undamaged.
fn assert_recovers(target: Target, parcel: &Parcel) {
    assert_eq!(target.ask(&parcel.whole()).status, 200);
    assert!(fs::read(target.folder().join(parcel.name())).unwrap() == parcel.file_content());
    target.ended().well();
}

fn is_refused_when_truncated(parcel: &Parcel) {
    let target = impatient();
    for &place in parcel.places() {
        let mut sender = target.sender();
        sender.send_as_far_as_it_goes(&parcel.truncated(place));
        sender.finish_sending();
        assert_refused(&target, &mut sender, place);
    }
    assert_recovers(target, parcel);
}

fn is_refused_when_flipped(parcel: &Parcel) {
    let target = impatient();
    for &place in parcel.places() {
        let mut sender = target.sender();
        sender.send_as_far_as_it_goes(&parcel.flipped(place));
        sender.finish_sending();
        assert_refused(&target, &mut sender, place);
    }
    assert_recovers(target, parcel);
}

fn is_refused_when_stalled(parcel: &Parcel) {
    let target = impatient();
    for &place in parcel.places() {
        if place == Place::HttpHead {
            continue; // Nobody waits for it: see the test of a sender that stalls in its head.
        }
        let mut sender = target.sender();
        sender.send(&parcel.cut(place)).unwrap();
        assert_refused(&target, &mut sender, place);
    }
    assert_recovers(target, parcel);
}

fn is_refused_when_reset(parcel: &Parcel) {
    let target = Plan::new().ready();
    let mut transfers = 0;
    for &place in parcel.places() {
        let mut sender = target.sender();
        sender.send(&parcel.cut(place)).unwrap();
        if place != Place::HttpHead {
            transfers += 1;
            target.nth_line("receiving a ", transfers);
        }
        sender.reset();
        if place != Place::HttpHead {
            target.nth_line("the transfer failed", transfers);
        }
        assert_clean(&target, place);
    }
    assert_recovers(target, parcel);
}

#[test]
fn a_truncated_tree_is_refused_wherever_it_is_cut() {
    is_refused_when_truncated(&Parcel::tree());
}

#[test]
fn a_truncated_image_is_refused_wherever_it_is_cut() {
    is_refused_when_truncated(&Parcel::image());
}

#[test]
fn a_tree_with_a_flipped_bit_is_refused_wherever_the_bit_is() {
    is_refused_when_flipped(&Parcel::tree());
}

#[test]
fn an_image_with_a_flipped_bit_is_refused_wherever_the_bit_is() {
    is_refused_when_flipped(&Parcel::image());
}

#[test]
fn a_tree_that_stalls_is_given_up_wherever_it_does() {
    is_refused_when_stalled(&Parcel::tree());
}

#[test]
fn an_image_that_stalls_is_given_up_wherever_it_does() {
    is_refused_when_stalled(&Parcel::image());
}

#[test]
fn a_tree_whose_sender_is_reset_leaves_nothing_wherever_it_was() {
    is_refused_when_reset(&Parcel::tree());
}

#[test]
fn an_image_whose_sender_is_reset_leaves_nothing_wherever_it_was() {
    is_refused_when_reset(&Parcel::image());
}

#[test]
fn other_senders_get_in_while_one_stalls_in_its_head() {
    let target = Plan::new().ready();
    let parcel = Parcel::tree();
    let mut staller = target.sender();
    staller.send(&parcel.cut(Place::HttpHead)).unwrap();
    assert_recovers(target, &parcel);
}

#[test]
fn a_body_of_a_known_length_is_refused_when_it_is_cut() {
    let target = impatient();
    let body = frames(b"image");
    let head = format!(
        "POST /v1beta1/upload HTTP/1.1\r\nContent-Length: {}\r\nx-cdi-content-type: {IMAGE}\r\n\r\n",
        body.len() + 1
    );
    let mut sender = target.sender();
    sender.send(&[head.into_bytes(), body].concat()).unwrap();
    sender.finish_sending();
    assert_refused(&target, &mut sender, Place::LastChunk);
    assert_recovers(target, &Parcel::image());
}

/// Slower in all than the silence that is allowed, but never silent for that long.
#[test]
fn a_slow_sender_is_not_a_silent_one() {
    let target = Plan::new().set("DECANT_IDLE_SECS", "2").ready();
    let parcel = Parcel::image();
    let whole = parcel.whole();
    let mut sender = target.sender();
    for part in whole.chunks(whole.len().div_ceil(6)) {
        sender.send(part).unwrap();
        std::thread::sleep(Duration::from_millis(500));
    }
    assert_eq!(sender.answer().status, 200);
    drop(sender);
    target.ended().well();
}

#[test]
fn a_sender_that_stalls_is_told_after_how_long() {
    let target = impatient();
    let mut sender = target.sender();
    sender.send(&Parcel::image().cut(Place::FrameBody)).unwrap();
    assert_eq!(sender.answer().body, "Saving stream failed: the source sent nothing for 1 s");
}
