//! The compressors: the second stage. Each takes blocks from its lane and makes frames of them.

use super::choose::{Choice, Way};
use super::wire::Wire;
use crate::error::{Error, Result};
use crate::frame::encode::Encoder;
use crate::frame::mark::Mark;
use crate::lanes::{Lane, Pool};

/// What the reader hands over.
#[derive(Debug)]
pub enum Block {
    /// The first `len` bytes of `bytes`.
    Data {
        /// A buffer from the pool.
        bytes: Vec<u8>,
        /// How much of it counts.
        len: usize,
    },
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
        wire: Wire,
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
pub fn run(
    lane: Lane<Block, Frames>,
    choice: &Choice,
    blocks: &Pool<Vec<u8>>,
    wires: &Pool<Wire>,
) -> Result<()> {
    let mut encoder = Encoder::default();
    for block in &lane.input {
        let frames = match block {
            Block::Data { bytes, len } => {
                let mut wire = wires.take();
                let (way, data) = (choice.way(), &bytes[..len]);
                let packed_bytes = if choice.compresses(way, lane.output.is_empty()) {
                    encoder.encode(data, wire.open())
                } else {
                    encoder.store(data, wire.open())
                };
                blocks.give(bytes);
                sealed(wire, len as u64, Some(way), packed_bytes)
            }
            Block::Zeros(len) => {
                let mut wire = wires.take();
                encoder.encode_zeros(len, wire.open());
                sealed(wire, len, None, len)
            }
            Block::Marks(marks) => {
                let mut wire = wires.take();
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

fn sealed(mut wire: Wire, logical_bytes: u64, way: Option<Way>, packed_bytes: u64) -> Frames {
    wire.seal();
    Frames::Some { wire, logical_bytes, way, packed_bytes }
}

fn logical_bytes(mark: &Mark) -> u64 {
    match mark {
        Mark::Hole(len) | Mark::Kept(len) => *len,
        Mark::Segment(..) | Mark::Whole(_) => 0,
    }
}
