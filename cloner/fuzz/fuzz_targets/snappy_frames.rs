//! Snappy frames: what we accept, the `snap` crate accepts too, and reads the same from it.
//!
//! Each input is tried as it is and once more with its checksums made right, or else no mutation would ever
//! get past them.
#![no_main]

use std::io::Read;

use decant_cloner::error::Result;
use decant_cloner::snappy::decode::{DecodedBatch, Decoder, Item};
use decant_cloner::snappy::split::{Pack, Splitter};
use decant_cloner::stream::Piece;
use libfuzzer_sys::fuzz_target;

/// The other reader refuses skippable chunks beyond this, which the format allows.
const INPUT_LIMIT_BYTES: usize = 76_000;

/// No more zeros than this are written out.
const HOLE_BYTES: u64 = 1 << 20;

fuzz_target!(|bytes: &[u8]| {
    if bytes.len() <= INPUT_LIMIT_BYTES {
        check(bytes);
        check(&with_checksums(bytes));
    }
});

fn check(stream: &[u8]) {
    let Ok(ours) = decode(stream, stream.len()) else {
        // What is refused whole is not accepted in pieces.
        assert!(decode(stream, 5).is_err());
        return;
    };
    assert!(decode(stream, 5).is_ok_and(|pieces| pieces == ours));
    if stream.windows(4).any(|bytes| bytes == b"DcNt") {
        return; // Another reader skips holes.
    }
    let mut theirs = Vec::new();
    snap::read::FrameDecoder::new(stream).read_to_end(&mut theirs).expect("we accept what snap refuses");
    assert!(ours == theirs, "{} and {} bytes", ours.len(), theirs.len());
}

fn decode(stream: &[u8], step: usize) -> Result<Vec<u8>> {
    let (mut splitter, mut decoder, mut batch) =
        (Splitter::default(), Decoder::default(), DecodedBatch::default());
    let (mut out, mut pack) = (Vec::new(), Pack::default());
    for mut part in stream.chunks(step.max(1)) {
        while !part.is_empty() {
            let taken = splitter.feed(part, &mut pack)?;
            part = &part[taken..];
            if !part.is_empty() {
                decoder.decode(std::mem::take(&mut pack), &mut batch)?;
                drain(&batch, &mut out);
            }
        }
    }
    splitter.finish()?;
    decoder.decode(pack, &mut batch)?;
    drain(&batch, &mut out);
    Ok(out)
}

fn drain(batch: &DecodedBatch, out: &mut Vec<u8>) {
    for index in 0..batch.len() {
        match batch.item(index) {
            Some(Item::Piece(Piece::Data(bytes))) => out.extend_from_slice(bytes),
            // A hole may be as long as it likes.
            Some(Item::Piece(Piece::Zeros(len))) => out.resize(out.len() + len.min(HOLE_BYTES) as usize, 0),
            Some(Item::Piece(Piece::Kept(_) | Piece::Shared(_) | Piece::Offer(_)) | Item::Mark(_)) => {}
            None => panic!("run {index} of {} is not there", batch.len()),
        }
    }
}

/// Writes the right checksum into every data frame whose content can be had.
fn with_checksums(stream: &[u8]) -> Vec<u8> {
    let mut fixed = stream.to_vec();
    let mut start = 0;
    while let Some(&[kind, a, b, c]) = stream.get(start..start + 4).and_then(<[u8]>::first_chunk) {
        let end = start + 4 + (usize::from(a) | usize::from(b) << 8 | usize::from(c) << 16);
        if let (0 | 1, Some(body)) = (kind, stream.get(start + 8..end)) {
            let data = if kind == 1 { Some(body.to_vec()) } else { decompressed(body) };
            if let Some(data) = data {
                let crc = crc32c::crc32c(&data).rotate_right(15).wrapping_add(0xa282_ead8);
                fixed[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
            }
        }
        start = end;
    }
    fixed
}

fn decompressed(body: &[u8]) -> Option<Vec<u8>> {
    let len = snap::raw::decompress_len(body).ok().filter(|&len| len <= 1 << 20)?;
    let mut out = vec![0; len];
    snap::raw::Decoder::new().decompress(body, &mut out).ok().map(|_| out)
}
