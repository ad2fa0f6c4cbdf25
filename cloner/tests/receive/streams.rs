//! Hand-made senders over several connections: what a target accepts, and how it refuses invalid ones.

use decant_test_support::names;

use crate::body::{IMAGE, chunk, chunked, frame, frames, head};
use crate::client::{Client, ClientIdentity};
use crate::process::{Target, TargetBuilder};

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
fn first_connection(target: &Target) -> Client {
    let mut first_connection = target.sender();
    first_connection.send(&stream(7, 0, 2)).unwrap();
    first_connection.expect(GO_AHEAD);
    first_connection
}

/// The second one, with its first turn.
fn second_connection(target: &Target, turn: u8) -> Client {
    let mut second_connection = target.sender();
    let body = [frames(b"second "), end_of(turn)].concat();
    second_connection.send(&stream(7, 1, 2)).unwrap();
    second_connection.expect(GO_AHEAD);
    second_connection.send(&chunk(&body)).unwrap();
    second_connection
}

#[test]
fn data_of_two_connections_is_merged() {
    let target = TargetBuilder::new().ready();
    let (mut first_connection, mut second_connection) =
        (first_connection(&target), second_connection(&target, 1));
    second_connection.send(END).unwrap();
    let turns = [frames(b"first "), end_of(0), frame(b"third"), end_of(2)].concat();
    first_connection.send(&chunked(&turns)).unwrap();
    assert_eq!((first_connection.answer().status, second_connection.answer().status), (200, 200));
    assert_eq!(std::fs::read(target.directory().join("disk.img")).unwrap(), b"first second third");
}

#[test]
fn a_connection_for_no_running_clone_is_asked_to_retry() {
    let target = TargetBuilder::new().ready();
    let answer = target.request(&[stream(7, 1, 2), chunked(&frames(b"second"))].concat());
    assert_eq!((answer.status, answer.body.as_str()), (503, "no clone waits for this connection"));
    let _lead = first_connection(&target);
    // Of another clone, of another number of connections, a second time.
    assert_eq!(target.request(&stream(8, 1, 2)).status, 503);
    assert_eq!(target.request(&stream(7, 1, 3)).status, 503);
    let _second = second_connection(&target, 1);
    assert_eq!(target.request(&stream(7, 1, 2)).status, 503);
    assert_eq!(target.request(&stream(9, 0, 2)).body, "another transfer is running");
}

#[test]
fn a_connection_of_another_sender_cannot_join() {
    let target = TargetBuilder::new().ready();
    let _lead = first_connection(&target);
    let named =
        |name| ClientIdentity::trusting(&target.builder.ca).with_identity(target.builder.ca.client(name));
    for client_identity in [named("another client"), ClientIdentity::trusting(&target.builder.ca)] {
        let mut other = Client::connect(target.port, &client_identity).unwrap();
        other.send_as_far_as_it_goes(&stream(7, 1, 2));
        assert_eq!(other.answer().status, 401);
    }
    // The place was not taken.
    let _second = second_connection(&target, 1);
}

#[test]
fn invalid_stream_positions_are_refused() {
    let target = TargetBuilder::new().ready();
    for (index, count) in [(0, 1), (2, 2), (0, 9)] {
        let answer = target.request(&stream(7, index, count));
        assert_eq!((answer.status, answer.body.as_str()), (400, "x-decant-stream is not valid"));
    }
}

#[test]
fn a_turn_out_of_order_is_damage_and_leaves_nothing() {
    let target = TargetBuilder::new().ready();
    let (mut first_connection, mut second_connection) =
        (first_connection(&target), second_connection(&target, 3));
    first_connection.send(&chunk(&[frames(b"first "), end_of(0)].concat())).unwrap();
    let answer = first_connection.answer();
    assert_eq!(answer.status, 500);
    assert!(answer.body.contains("stream 1 sent turn 3 instead of turn 1"), "{answer:?}");
    assert_eq!(second_connection.answer().status, 503);
    assert!(names(&target.directory()).is_empty());
}

#[test]
fn bodies_that_end_at_different_turns_are_damage() {
    let target = TargetBuilder::new().ready();
    let (mut first_connection, mut second_connection) =
        (first_connection(&target), second_connection(&target, 1));
    first_connection.send(&chunked(&[frames(b"first "), end_of(0)].concat())).unwrap();
    second_connection.send(&[chunk(&[frame(b"more"), end_of(3)].concat()), END.to_vec()].concat()).unwrap();
    let answer = first_connection.answer();
    assert!(
        answer.status == 500 && answer.body.contains("continues after the end of stream 0"),
        "{answer:?}"
    );
    assert_eq!(second_connection.answer().status, 503);
}

#[test]
fn a_broken_second_connection_ends_the_clone_and_the_first_gets_503() {
    let target = TargetBuilder::new().ready();
    let (mut first_connection, second_connection) =
        (first_connection(&target), second_connection(&target, 1));
    first_connection.send(&chunk(&[frames(b"first "), end_of(0)].concat())).unwrap();
    second_connection.reset();
    let answer = first_connection.answer();
    assert_eq!(answer.status, 503);
    assert!(answer.body.contains("the connection broke before the body was complete"), "{answer:?}");
    // And the place is free.
    let _next = self::first_connection(&target);
}

#[test]
fn a_broken_first_connection_ends_the_others() {
    let target = TargetBuilder::new().ready();
    let (first_connection, mut second_connection) =
        (first_connection(&target), second_connection(&target, 1));
    first_connection.reset();
    assert_eq!(second_connection.answer().status, 503);
}
