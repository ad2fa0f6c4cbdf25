use super::*;
use crate::pipeline::lanes::fan_out;
use crate::snappy::STREAM_IDENTIFIER;
use crate::snappy::mark::Mark;
use crate::snappy::split::Splitter;
use proptest::prelude::*;

const LEAD: StreamId = StreamId { attempt: 7, index: 0, count: 3 };

/// A pack with one frame of `byte`. If `turn` is given, the pack ends that turn.
fn pack(byte: u8, turn: Option<u64>) -> Pack {
    let mut stream = STREAM_IDENTIFIER.to_vec();
    crate::snappy::encode::Encoder::default().encode(&[byte], &mut stream);
    turn.into_iter().for_each(|turn| Mark::Turn(turn).put(&mut stream));
    let mut pack = Pack::default();
    assert_eq!(Splitter::default().feed(&stream, &mut pack).unwrap(), stream.len());
    pack
}

/// The merged output for these packs.
fn merged(parts: [Vec<Message<Pack>>; 3]) -> Result<Vec<u8>> {
    let (mut streams, mut open) = open(LEAD, Stop::new());
    let first = streams.first.take();
    let others = [1, 2].map(|index| open.join(StreamId { index, ..LEAD }));
    let (mut deal, mut lanes) = fan_out(1, 1000, "test");
    std::thread::scope(|scope| {
        for (slot, messages) in std::iter::once(first).chain(others).zip(parts) {
            let slot = slot.unwrap();
            scope.spawn(move || messages.into_iter().all(|message| slot.packs_out.send(message).is_ok()));
        }
        let merged = streams.merge(&mut deal, &Stop::new());
        streams.end();
        merged
    })?;
    drop(deal);
    let mut bytes = Vec::new();
    while let Ok(Some(pack)) = lanes[0].receive() {
        // The byte after the frame's head and CRC.
        bytes.push(pack.bytes[8]);
    }
    Ok(bytes)
}

fn text(result: Result<Vec<u8>>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn packs_without_the_end_of_a_turn_belong_to_one_turn() {
    let first = vec![
        Message::Item(pack(1, None)),
        Message::Item(pack(2, Some(0))),
        Message::Item(pack(4, Some(3))),
        Message::End,
    ];
    let second = vec![Message::Item(pack(3, Some(1))), Message::End];
    let third = vec![Message::Item(pack(9, Some(2))), Message::End];
    assert_eq!(merged([first, second, third]).unwrap(), [1, 2, 3, 9, 4]);
}

#[test]
fn a_connection_that_broke_is_the_cause_in_any_turn() {
    let (streams, mut open) = open(LEAD, Stop::new());
    let broken = open.join(StreamId { index: 2, ..LEAD }).unwrap();
    broken.failures.send(Error::new(Kind::HungUp, "it broke")).unwrap();
    let (mut deal, _lanes) = fan_out(1, 1, "test");
    let error = streams.merge(&mut deal, &Stop::new()).unwrap_err();
    assert_eq!(error.to_string(), "it broke");
}

#[test]
fn an_order_that_no_source_uses_is_damage() {
    let end = || vec![Message::End];
    let wrong = merged([vec![Message::Item(pack(1, Some(3)))], end(), end()]);
    assert_eq!(text(wrong), "stream 0 sent turn 3 instead of turn 0");
    let within = merged([vec![Message::Item(pack(1, None)), Message::End], end(), end()]);
    assert_eq!(text(within), "stream 0 ends within a turn");
    let longer = merged([end(), vec![Message::Item(pack(1, Some(1))), Message::End], end()]);
    assert_eq!(text(longer), "stream 1 continues after the end of stream 0");
}

#[test]
fn joining_twice_or_joining_what_is_unknown_is_refused() {
    let (mut streams, mut open) = open(LEAD, Stop::new());
    let follower = StreamId { index: 1, ..LEAD };
    assert!(open.join(LEAD).is_none());
    assert!(open.join(StreamId { attempt: 8, ..follower }).is_none());
    assert!(open.join(StreamId { count: 2, ..follower }).is_none());
    assert!(open.join(StreamId { index: 3, ..follower }).is_none());
    assert!(open.join(follower).is_some());
    assert!(open.join(follower).is_none());
    streams.end();
    assert!(open.join(StreamId { index: 2, ..LEAD }).is_none());
}

#[test]
fn a_source_that_lost_its_place_ends_the_wait() {
    let connection = Stop::new();
    let (streams, _open) = open(LEAD, connection.clone());
    connection.cancel();
    let (mut deal, _lanes) = fan_out(1, 1, "test");
    let error = streams.merge(&mut deal, &Stop::new()).unwrap_err();
    assert_eq!(error.kind(), Kind::Stalled);
}

#[test]
fn the_wait_for_a_connection_that_does_not_come_is_limited() {
    let (mut streams, _open) = open(LEAD, Stop::new());
    streams.opened -= JOIN;
    let first = streams.first.take().unwrap();
    first.packs_out.send(Message::Item(pack(1, Some(0)))).unwrap();
    let (mut deal, _lanes) = fan_out(1, 10, "test");
    let error = streams.merge(&mut deal, &Stop::new()).unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string()),
        (Kind::HungUp, "stream 1 did not connect within 30 s".to_owned())
    );
}

#[test]
fn all_waiters_get_the_same_result_at_the_end() {
    let (streams, mut open) = open(LEAD, Stop::new());
    let places = [1, 2].map(|index| open.join(StreamId { index, ..LEAD }).unwrap());
    assert!(!places[0].is_over() && !places[0].has_answer());
    streams.answer(true);
    for slot in places {
        assert!(slot.is_over() && slot.has_answer());
        assert_eq!(slot.wait_for_answer(&Stop::new()).0, 200);
    }
}

#[test]
fn a_follower_whose_clone_is_dropped_gets_an_answer() {
    let (streams, mut open) = open(LEAD, Stop::new());
    let slot = open.join(StreamId { index: 1, ..LEAD }).unwrap();
    drop((streams, open));
    assert_eq!(slot.wait_for_answer(&Stop::new()), (503, "the clone was given up".to_owned()));
}

proptest! {
    #[test]
    fn packs_come_in_the_order_in_which_they_were_dealt(count in 0_u64..100) {
        let part = |index: u64| {
            let turns = (index..count).step_by(3);
            let packs = turns.map(|turn| Message::Item(pack(u8::try_from(turn).unwrap(), Some(turn))));
            packs.chain([Message::End]).collect()
        };
        let wanted: Vec<u8> = (0..count).map(|turn| u8::try_from(turn).unwrap()).collect();
        prop_assert_eq!(merged([part(0), part(1), part(2)]).unwrap(), wanted);
    }
}
