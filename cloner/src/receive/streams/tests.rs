use super::*;
use crate::pipeline::lanes::fan_out;
use crate::snappy::STREAM_IDENTIFIER;
use crate::snappy::mark::Mark;
use crate::snappy::split::Splitter;
use proptest::prelude::*;

const LEAD: StreamId = StreamId { attempt: 7, index: 0, count: 3 };

/// A pack with one frame of `byte`, which ends `turn`, if it is one.
fn pack(byte: u8, turn: Option<u64>) -> Pack {
    let mut stream = STREAM_IDENTIFIER.to_vec();
    crate::snappy::encode::Encoder::default().encode(&[byte], &mut stream);
    turn.into_iter().for_each(|turn| Mark::Turn(turn).put(&mut stream));
    let mut pack = Pack::default();
    assert_eq!(Splitter::default().feed(&stream, &mut pack).unwrap(), stream.len());
    pack
}

/// What comes out where these parcels come in.
fn merged(parts: [Vec<StreamMessage>; 3]) -> Result<Vec<u8>> {
    let (multi_connection, stop) = (MultiConnection::default(), Stop::new());
    let mut streams = multi_connection.open(LEAD, Stop::new());
    let first = streams.first.take();
    let others = [1, 2].map(|index| multi_connection.join(StreamId { index, ..LEAD }));
    let (mut deal, mut lanes) = fan_out(1, 1000, "test");
    std::thread::scope(|scope| {
        for (slot, parcels) in std::iter::once(first).chain(others).zip(parts) {
            let slot = slot.unwrap();
            scope.spawn(move || parcels.into_iter().all(|parcel| slot.parcels.send(parcel).is_ok()));
        }
        let merged = streams.merge(&multi_connection, &mut deal, &stop);
        streams.end();
        merged
    })?;
    drop(deal);
    let mut bytes = Vec::new();
    while let Ok(PackMessage::Some(pack)) = lanes[0].receive() {
        // Behind the frame's head, its CRC, and nothing else.
        bytes.push(pack.bytes[8]);
    }
    Ok(bytes)
}

fn text(result: Result<Vec<u8>>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn packs_without_the_end_of_a_turn_belong_to_the_same_one() {
    let first = vec![
        StreamMessage::Pack(pack(1, None)),
        StreamMessage::Pack(pack(2, Some(0))),
        StreamMessage::Pack(pack(4, Some(3))),
        StreamMessage::End,
    ];
    let second = vec![StreamMessage::Pack(pack(3, Some(1))), StreamMessage::End];
    let third = vec![StreamMessage::Pack(pack(9, Some(2))), StreamMessage::End];
    assert_eq!(merged([first, second, third]).unwrap(), [1, 2, 3, 9, 4]);
}

#[test]
fn a_connection_that_broke_is_the_cause_whose_turn_ever_it_is() {
    let multi_connection = MultiConnection::default();
    let streams = multi_connection.open(LEAD, Stop::new());
    let broken = multi_connection.join(StreamId { index: 2, ..LEAD }).unwrap();
    broken.failures.send(Error::new(Kind::HungUp, "it broke")).unwrap();
    let (mut deal, _lanes) = fan_out(1, 1, "test");
    let error = streams.merge(&multi_connection, &mut deal, &Stop::new()).unwrap_err();
    assert_eq!(error.to_string(), "it broke");
}

#[test]
fn what_cannot_be_the_sources_order_is_damage() {
    let end = || vec![StreamMessage::End];
    let wrong = merged([vec![StreamMessage::Pack(pack(1, Some(3)))], end(), end()]);
    assert_eq!(text(wrong), "stream 0 brings turn 3 in place of turn 0");
    let within = merged([vec![StreamMessage::Pack(pack(1, None)), StreamMessage::End], end(), end()]);
    assert_eq!(text(within), "stream 0 ends within a turn");
    let longer = merged([end(), vec![StreamMessage::Pack(pack(1, Some(1))), StreamMessage::End], end()]);
    assert_eq!(text(longer), "stream 1 goes on behind the end of stream 0");
}

#[test]
fn joining_twice_or_joining_what_is_unknown_is_refused() {
    let multi_connection = MultiConnection::default();
    let follower = StreamId { index: 1, ..LEAD };
    assert!(multi_connection.join(follower).is_none());
    let _streams = multi_connection.open(LEAD, Stop::new());
    assert!(multi_connection.join(StreamId { attempt: 8, ..follower }).is_none());
    assert!(multi_connection.join(StreamId { count: 2, ..follower }).is_none());
    assert!(multi_connection.join(StreamId { index: 3, ..follower }).is_none());
    assert!(multi_connection.join(follower).is_some());
    assert!(multi_connection.join(follower).is_none());
    multi_connection.close();
    assert!(multi_connection.join(StreamId { index: 2, ..LEAD }).is_none());
}

#[test]
fn a_source_that_lost_its_place_is_not_waited_for() {
    let (multi_connection, connection) = (MultiConnection::default(), Stop::new());
    let streams = multi_connection.open(LEAD, connection.clone());
    connection.cancel();
    let (mut deal, _lanes) = fan_out(1, 1, "test");
    let error = streams.merge(&multi_connection, &mut deal, &Stop::new()).unwrap_err();
    assert_eq!(error.kind(), Kind::Stalled);
}

#[test]
fn a_connection_that_does_not_come_is_waited_for_only_so_long() {
    let multi_connection = MultiConnection::default();
    let mut streams = multi_connection.open(LEAD, Stop::new());
    streams.opened -= JOIN;
    let first = streams.first.take().unwrap();
    first.parcels.send(StreamMessage::Pack(pack(1, Some(0)))).unwrap();
    let (mut deal, _lanes) = fan_out(1, 10, "test");
    let error = streams.merge(&multi_connection, &mut deal, &Stop::new()).unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string()),
        (Kind::HungUp, "stream 1 did not come within 30 s".to_owned())
    );
}

#[test]
fn all_waiters_get_the_same_result_at_the_end() {
    let multi_connection = MultiConnection::default();
    let streams = multi_connection.open(LEAD, Stop::new());
    let places = [1, 2].map(|index| multi_connection.join(StreamId { index, ..LEAD }).unwrap());
    assert!(!places[0].is_over() && !places[0].has_answer());
    streams.answer(true);
    for slot in places {
        assert!(slot.is_over() && slot.has_answer());
        assert_eq!(slot.wait_for_answer().0, 200);
    }
}

proptest! {
    #[test]
    fn the_order_is_that_in_which_they_were_dealt(count in 0_u64..100) {
        let part = |index: u64| {
            let turns = (index..count).step_by(3);
            let packs = turns.map(|turn| StreamMessage::Pack(pack(u8::try_from(turn).unwrap(), Some(turn))));
            packs.chain([StreamMessage::End]).collect()
        };
        let wanted: Vec<u8> = (0..count).map(|turn| u8::try_from(turn).unwrap()).collect();
        prop_assert_eq!(merged([part(0), part(1), part(2)]).unwrap(), wanted);
    }
}
