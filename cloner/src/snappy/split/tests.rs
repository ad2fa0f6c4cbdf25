use super::*;
use proptest::prelude::*;

fn split(stream: &[u8], step: usize) -> Result<Vec<Pack>> {
    let mut splitter = Splitter::default();
    let mut packs = Vec::new();
    let mut pack = Pack::default();
    for mut part in stream.chunks(step) {
        while !part.is_empty() {
            let taken = splitter.feed(part, &mut pack)?;
            part = &part[taken..];
            if !part.is_empty() {
                packs.push(std::mem::take(&mut pack));
            }
        }
    }
    splitter.finish()?;
    packs.push(pack);
    Ok(packs)
}

fn frames(len: usize) -> Vec<u8> {
    let mut stream = STREAM_IDENTIFIER.to_vec();
    crate::snappy::encode::Encoder::default().encode(&b"0123456789".repeat(len / 10), &mut stream);
    stream
}

#[test]
fn a_pack_holds_at_most_the_frames_of_a_block() {
    let packs = split(&frames(10 << 16), 1000).unwrap();
    assert_eq!(packs.iter().map(|pack| pack.frames).collect::<Vec<_>>(), [4, 4, 2]);
}

/// Two blocks and the ends of their turns, the second one of a single frame.
fn turns() -> Vec<u8> {
    let mut stream = frames(4 << 16);
    Mark::Turn(0).put(&mut stream);
    crate::snappy::encode::Encoder::default().encode(b"more", &mut stream);
    Mark::Turn(3).put(&mut stream);
    stream
}

#[test]
fn a_turn_ends_its_pack_and_is_never_alone_in_the_next_one() {
    for step in [1, 7, 1 << 20] {
        let packs = split(&turns(), step).unwrap();
        let found: Vec<_> = packs.iter().map(|pack| (pack.frames, pack.turn().unwrap())).collect();
        assert_eq!(found, [(4, Some(0)), (1, Some(3))]);
    }
}

#[test]
fn an_empty_stream_is_complete_and_one_without_identifier_is_damaged() {
    assert!(split(b"", 1).unwrap()[0].is_empty());
    assert!(split(b"\x01\x05\x00\x00abcde", 3).is_err());
}

#[test]
fn a_stream_cut_inside_a_frame_is_damaged() {
    let whole = frames(100_000);
    assert!(split(&whole[..whole.len() - 1], 4096).is_err());
    assert!(split(&whole[..12], 4096).is_err());
}

#[test]
fn chunks_that_every_reader_skips_are_skipped() {
    let mut stream = STREAM_IDENTIFIER.to_vec();
    stream.extend_from_slice(b"\x80\x03\x00\x00abc\xfe\x00\x00\x00");
    stream.extend_from_slice(STREAM_IDENTIFIER);
    assert!(split(&stream, 1).unwrap()[0].is_empty());
}

#[test]
fn reserved_types_wrong_identifiers_and_huge_frames_are_damage() {
    for bad in [
        &b"\x02\x00\x00\x00"[..],
        b"\x7f\x00\x00\x00",
        b"\xff\x06\x00\x00sNaPpy",
        b"\xff\x05\x00\x00sNaPp",
        b"\x00\x03\x00\x00",
        b"\x00\xcf\x2a\x01",
    ] {
        let stream = [STREAM_IDENTIFIER.as_slice(), bad].concat();
        assert!(split(&stream, 64).is_err(), "{bad:x?}");
    }
}

proptest! {
    #[test]
    fn the_size_of_reads_does_not_matter(step in 1usize..5000) {
        let stream = frames(200_000);
        let packs = split(&stream, step).unwrap();
        let all: Vec<u8> = packs.into_iter().flat_map(|pack| pack.bytes).collect();
        prop_assert_eq!(&all, &stream[10..]);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..500)) {
        let _ = split(&[STREAM_IDENTIFIER.as_slice(), &bytes].concat(), 7);
    }
}
