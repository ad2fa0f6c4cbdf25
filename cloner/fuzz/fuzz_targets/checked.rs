//! Frames and marks, as a sender could order them, through splitter, decoder and the comparison of digests: a sum that wraps,
//! or a list that grows with the stream, is a finding. The input is a program that makes the stream, with repetitions, so
//! that a few bytes are a long stream.
#![no_main]

use decant_cloner::digest::{ContentDigest, Digest, SEGMENT_BYTES};
use decant_cloner::error::{Error, Result};
use decant_cloner::receive::resume_verifier::ResumeVerifier;
use decant_cloner::snappy::STREAM_IDENTIFIER;
use decant_cloner::snappy::decode::{DecodedBatch, Decoder, Item};
use decant_cloner::snappy::encode::Encoder;
use decant_cloner::snappy::mark::Mark;
use decant_cloner::snappy::split::{Pack, Splitter};
use decant_cloner::stream::Piece;
use decant_cloner::tar::reader::VerifyContent;
use decant_cloner_fuzz::Program;
use libfuzzer_sys::fuzz_target;

/// A longer hole is refused as a medium would do it: to count it would take the fuzzer too long.
const MEDIUM_BYTES: u64 = 1 << 42;
/// All streams of one input together, in bytes on the wire.
const WIRE_LIMIT_BYTES: usize = 2 << 20;

fuzz_target!(|bytes: &[u8]| {
    let mut program = Program::new(bytes);
    let held: Vec<Digest> = (0..program.byte() % 4).map(|number| Digest([number; 32])).collect();
    let check =
        if program.byte() % 2 == 0 { ResumeVerifier::new(held) } else { ResumeVerifier::passing_over(held) };
    // Content of an archive that is held counts from the beginning.
    let mut sum = u128::from(check.held_bytes());
    let stream = stream(&mut program);
    if receive(&stream, &check, &mut sum).is_ok()
        && let Ok(verification) = check.finish()
    {
        assert_eq!(u128::from(verification.content_digest.content_bytes), sum);
    }
    assert!(check.proven().len() <= decant_cloner::digest::HELD_LIMIT);
});

fn stream(program: &mut Program<'_>) -> Vec<u8> {
    let mut wire = STREAM_IDENTIFIER.to_vec();
    let mut encoder = Encoder::default();
    while !program.is_over() && wire.len() < WIRE_LIMIT_BYTES {
        let mut step = Vec::new();
        match program.byte() % 8 {
            0 => {
                encoder.encode(&vec![program.byte(); program.number(1 << 17) as usize], &mut step);
            }
            1 => Mark::Hole(program.number(u64::MAX).max(1)).put(&mut step),
            2 => Mark::Hole(SEGMENT_BYTES.saturating_mul(program.number(9).max(1))).put(&mut step),
            3 => Mark::Kept(program.number(u64::MAX).max(1)).put(&mut step),
            4 => Mark::Segment(program.number(u64::MAX), Digest([program.byte(); 32])).put(&mut step),
            5 => {
                let (content_bytes, digest) = (program.number(u64::MAX), Digest([program.byte(); 32]));
                Mark::Content(ContentDigest { content_bytes, digest }).put(&mut step);
            }
            6 => Mark::Turn(program.number(u64::MAX)).put(&mut step),
            _ => step.extend(program.bytes(64)),
        }
        let times = 1 + program.number(1 << 14) as usize;
        let times = times.min((WIRE_LIMIT_BYTES - wire.len().min(WIRE_LIMIT_BYTES)) / step.len().max(1));
        (0..times).for_each(|_| wire.extend_from_slice(&step));
    }
    wire
}

fn receive(stream: &[u8], check: &ResumeVerifier, sum: &mut u128) -> Result<()> {
    let (mut splitter, mut decoder, mut batch) =
        (Splitter::default(), Decoder::default(), DecodedBatch::default());
    let (mut rest, mut pack) = (stream, Pack::default());
    while !rest.is_empty() {
        let taken = splitter.feed(rest, &mut pack)?;
        rest = &rest[taken..];
        decoder.decode(std::mem::take(&mut pack), &mut batch)?;
        for index in 0..batch.len() {
            match batch.item(index) {
                Some(Item::Piece(Piece::Zeros(len))) if len > MEDIUM_BYTES => {
                    return Err(Error::damaged("no medium is so large"));
                }
                Some(Item::Piece(piece)) => {
                    let passed_bytes = check.held_bytes();
                    check.content(&piece)?;
                    *sum += u128::from(piece.len()) - u128::from(passed_bytes - check.held_bytes());
                }
                Some(Item::Mark(mark)) => check.mark(mark)?,
                None => panic!("run {index} of {} is not there", batch.len()),
            }
        }
    }
    splitter.finish()
}
