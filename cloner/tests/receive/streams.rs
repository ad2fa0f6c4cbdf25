//! Senders over several connections, made by hand: what a target takes, and what it says to those that do it wrong.

use decant_test_support::names;

use crate::body::{IMAGE, chunk, chunked, frame, frames, head};
use crate::client::{Client, Who};
use crate::process::{Plan, Target};

const END: &[u8] = b"0\r\n\r\n";
const GO_AHEAD: &str = "HTTP/1.1 100 Continue\r\n\r\n";

/// The mark that ends a turn.
fn end_of(turn: u8) -> Vec<u8> {
    [b"\xd4\x0c\x00\x00DcNt", [turn, 0, 0, 0, 0, 0, 0, 0].as_slice()].concat()
}

/// The head of connection `index` of a clone.
fn stream(clone: u8, index: u8, count: u8) -> Vec<u8> {
    head(IMAGE, &format!("x-decant-stream: {clone:x} {index}/{count}\r\nExpect: 100-continue\r\n"))
}

/// A first connection of two that the target has admitted.
fn lead(target: &Target) -> Client {
    let mut lead = target.sender();
    lead.send(&stream(7, 0, 2)).unwrap();
    lead.expect(GO_AHEAD);
    lead
}

/// The second one, with its first turn.
fn second(target: &Target, turn: u8) -> Client {
    let mut second = target.sender();
    let body = [frames(b"second "), end_of(turn)].concat();
    second.send(&stream(7, 1, 2)).unwrap();
    second.expect(GO_AHEAD);
    second.send(&chunk(&body)).unwrap();
    second
}

#[test]
fn what_comes_over_two_connections_is_put_together() {
    let target = Plan::new().ready();
    let (mut lead, mut second) = (lead(&target), second(&target, 1));
    second.send(END).unwrap();
    let turns = [frames(b"first "), end_of(0), frame(b"third"), end_of(2)].concat();
    lead.send(&chunked(&turns)).unwrap();
    assert_eq!((lead.answer().status, second.answer().status), (200, 200));
    assert_eq!(std::fs::read(target.folder().join("disk.img")).unwrap(), b"first second third");
}

#[test]
fn a_connection_for_no_running_clone_is_asked_to_retry() {
    let target = Plan::new().ready();
    let answer = target.ask(&[stream(7, 1, 2), chunked(&frames(b"second"))].concat());
    assert_eq!((answer.status, answer.body.as_str()), (503, "no clone waits for this connection"));
    let _lead = lead(&target);
    // Of another clone, of another number of connections, a second time.
    assert_eq!(target.ask(&stream(8, 1, 2)).status, 503);
    assert_eq!(target.ask(&stream(7, 1, 3)).status, 503);
    let _second = second(&target, 1);
    assert_eq!(target.ask(&stream(7, 1, 2)).status, 503);
    assert_eq!(target.ask(&stream(9, 0, 2)).body, "another transfer is running");
}

#[test]
fn a_connection_of_another_sender_cannot_join() {
    let target = Plan::new().ready();
    let _lead = lead(&target);
    let named = |name| Who::trusting(&target.plan.ca).being(target.plan.ca.client(name));
    for who in [named("somebody else"), Who::trusting(&target.plan.ca)] {
        let mut other = Client::connect(target.port, &who).unwrap();
        other.send_as_far_as_it_goes(&stream(7, 1, 2));
        assert_eq!(other.answer().status, 401);
    }
    // The place was not taken.
    let _second = second(&target, 1);
}

#[test]
fn places_that_cannot_be_are_refused() {
    let target = Plan::new().ready();
    for (index, count) in [(0, 1), (2, 2), (0, 9)] {
        let answer = target.ask(&stream(7, index, count));
        assert_eq!((answer.status, answer.body.as_str()), (400, "x-decant-stream is not valid"));
    }
}

#[test]
fn a_turn_out_of_place_is_damage_and_leaves_nothing() {
    let target = Plan::new().ready();
    let (mut lead, mut second) = (lead(&target), second(&target, 3));
    lead.send(&chunk(&[frames(b"first "), end_of(0)].concat())).unwrap();
    let answer = lead.answer();
    assert_eq!(answer.status, 500);
    assert!(answer.body.contains("stream 1 sent turn 3 instead of turn 1"), "{answer:?}");
    assert_eq!(second.answer().status, 503);
    assert!(names(&target.folder()).is_empty());
}

#[test]
fn bodies_that_do_not_end_together_are_damage() {
    let target = Plan::new().ready();
    let (mut lead, mut second) = (lead(&target), second(&target, 1));
    lead.send(&chunked(&[frames(b"first "), end_of(0)].concat())).unwrap();
    second.send(&[chunk(&[frame(b"more"), end_of(3)].concat()), END.to_vec()].concat()).unwrap();
    let answer = lead.answer();
    assert!(
        answer.status == 500 && answer.body.contains("continues after the end of stream 0"),
        "{answer:?}"
    );
    assert_eq!(second.answer().status, 503);
}

#[test]
fn one_that_breaks_ends_the_clone_and_the_first_one_is_told_to_come_back() {
    let target = Plan::new().ready();
    let (mut lead, second) = (lead(&target), second(&target, 1));
    lead.send(&chunk(&[frames(b"first "), end_of(0)].concat())).unwrap();
    second.reset();
    let answer = lead.answer();
    assert_eq!(answer.status, 503);
    assert!(answer.body.contains("the connection broke before the body was complete"), "{answer:?}");
    // And the place is free.
    let _next = self::lead(&target);
}

#[test]
fn a_first_one_that_breaks_ends_the_others() {
    let target = Plan::new().ready();
    let (lead, mut second) = (lead(&target), second(&target, 1));
    lead.reset();
    assert_eq!(second.answer().status, 503);
}
