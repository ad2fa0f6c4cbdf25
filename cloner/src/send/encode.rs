//! The compressors: the second stage. Each takes blocks from its lane and makes frames of them.

use crate::error::{Error, Result};
use crate::pipeline::lanes::Lane;
use crate::send::block_buffer::{Buffer, Stored};
use crate::send::chunk_buffer::Wire;
use crate::send::compression::Choice;
use crate::send::compression::mode::Way;
use crate::send::outgoing::{Buffers, Outgoing};
use crate::snappy::encode::Encoder;
use crate::snappy::mark::Mark;

/// What the reader hands over.
#[derive(Debug)]
pub enum Block {
    /// Data.
    Data(Buffer),
    /// Data that the reader stored in frames itself.
    Stored(Stored),
    /// This many zero bytes.
    Zeros(u64),
    /// Marks, among them holes and what the target keeps.
    Marks(Vec<Mark>),
    /// The source was read to its end.
    End,
}

/// What a compressor hands over.
pub enum Frames {
    /// Frames, ready to send.
    Some {
        /// The bytes to send.
        wire: Outgoing,
        /// How many logical bytes they stand for.
        logical_bytes: u64,
        /// Data went this way; nothing was to be chosen for zeros and marks.
        way: Option<Way>,
        /// How many of the logical bytes are compressed.
        packed_bytes: u64,
    },
    /// The end of the stream.
    End,
}

/// Runs one compressor until its lane ends.
#[allow(clippy::needless_pass_by_value)] // the thread owns its lane, so that its end is seen
pub fn run(lane: Lane<Block, Frames>, choice: &Choice, buffers: &Buffers) -> Result<()> {
    let mut encoder = Encoder::default();
    for block in &lane.input {
        let chosen = || {
            let way = choice.take_way();
            (way, choice.compresses(way, lane.output.is_empty()))
        };
        let frames = match block {
            Block::Data(data) => match chosen() {
                (way, true) => made(data, way, buffers, |chunk, out| encoder.encode(chunk, out)),
                (way, false) => match data.store() {
                    Ok(stored) => as_it_is(stored, way),
                    // Zeros are compressed in any case.
                    Err(data) => made(data, way, buffers, Encoder::store),
                },
            },
            Block::Stored(stored) => match chosen() {
                // The way has changed since.
                (way, true) => {
                    made(stored.into_buffer(), way, buffers, |chunk, out| encoder.encode(chunk, out))
                }
                (way, false) => as_it_is(stored, way),
            },
            Block::Zeros(len) => {
                let mut wire = buffers.wire();
                encoder.encode_zeros(len, wire.open());
                sealed(wire, len, None, len)
            }
            Block::Marks(marks) => {
                let mut wire = buffers.wire();
                let out = wire.open();
                marks.iter().for_each(|mark| mark.put(out));
                let len = marks.iter().map(logical_bytes).sum();
                sealed(wire, len, None, len)
            }
            Block::End => Frames::End,
        };
        lane.output.send(frames).map_err(|_| Error::neighbour("sender"))?;
    }
    Ok(())
}

/// Frames of `data`: `put` appends those of a chunk and returns how many bytes of it got smaller.
fn made(
    data: Buffer,
    way: Way,
    buffers: &Buffers,
    mut put: impl FnMut(&[u8], &mut Vec<u8>) -> u64,
) -> Frames {
    let mut wire = buffers.wire();
    let out = wire.open();
    let (len, packed_bytes) = (data.len() as u64, data.chunks().map(|chunk| put(chunk, out)).sum());
    buffers.give_back(data);
    sealed(wire, len, Some(way), packed_bytes)
}

fn as_it_is(stored: Stored, way: Way) -> Frames {
    let logical_bytes = stored.logical_bytes() as u64;
    Frames::Some { wire: Outgoing::Stored(stored), logical_bytes, way: Some(way), packed_bytes: 0 }
}

fn sealed(mut wire: Wire, logical_bytes: u64, way: Option<Way>, packed_bytes: u64) -> Frames {
    wire.seal();
    Frames::Some { wire: Outgoing::Made(wire), logical_bytes, way, packed_bytes }
}

fn logical_bytes(mark: &Mark) -> u64 {
    match mark {
        Mark::Hole(len) | Mark::Kept(len) => *len,
        Mark::Segment(..) | Mark::Whole(_) | Mark::Turn(_) => 0,
    }
}
