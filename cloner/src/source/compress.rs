//! The compressors: the second stage. Each takes blocks from its lane and makes frames of them.

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
    /// Frames, ready to send, and how many logical bytes they stand for.
    Some(Wire, u64),
    /// The end of the stream.
    End,
}

/// Runs one compressor until its lane ends.
#[allow(clippy::needless_pass_by_value)] // the thread owns its lane, so that its end is seen
pub fn run(lane: Lane<Block, Frames>, blocks: &Pool<Vec<u8>>, wires: &Pool<Wire>) -> Result<()> {
    let mut encoder = Encoder::default();
    for block in &lane.input {
        let frames = match block {
            Block::Data { bytes, len } => {
                let mut wire = wires.take();
                encoder.encode(&bytes[..len], wire.open());
                blocks.give(bytes);
                wire.seal();
                Frames::Some(wire, len as u64)
            }
            Block::Zeros(len) => {
                let mut wire = wires.take();
                encoder.encode_zeros(len, wire.open());
                wire.seal();
                Frames::Some(wire, len)
            }
            Block::Marks(marks) => {
                let mut wire = wires.take();
                let out = wire.open();
                marks.iter().for_each(|mark| mark.put(out));
                wire.seal();
                Frames::Some(wire, marks.iter().map(logical_bytes).sum())
            }
            Block::End => Frames::End,
        };
        lane.output.send(frames).map_err(|_| Error::neighbour("sender"))?;
    }
    Ok(())
}

fn logical_bytes(mark: &Mark) -> u64 {
    match mark {
        Mark::Hole(len) | Mark::Kept(len) => *len,
        Mark::Segment(..) | Mark::Whole(_) => 0,
    }
}
