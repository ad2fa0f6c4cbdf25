//! The compressors: the second stage. Each takes blocks from its lane and makes frames of them.

use crate::error::{Error, Result};
use crate::pipeline::lanes::Lane;
use crate::send::block_buffer::{BlockBuffer, StoredBlock};
use crate::send::chunk_buffer::ChunkBuffer;
use crate::send::compression::CompressionMode;
use crate::send::compression::mode::BlockMode;
use crate::send::outgoing::{BufferPools, EncodedBlock};
use crate::snappy::encode::Encoder;
use crate::snappy::mark::Mark;

/// What the reader hands over.
#[derive(Debug)]
pub enum SourceBlock {
    /// Data.
    Data(BlockBuffer),
    /// Data that the reader stored in frames itself.
    Stored(StoredBlock),
    /// This many zero bytes.
    Zeros(u64),
    /// Marks, among them holes and what the target keeps.
    Marks(Vec<Mark>),
    /// The source was read to its end.
    End,
}

/// What a compressor hands over.
pub enum FramesMessage {
    /// Frames, ready to send.
    Some {
        /// The bytes to send.
        wire: EncodedBlock,
        /// How many logical bytes they stand for.
        logical_bytes: u64,
        /// Data went this way; nothing was to be chosen for zeros and marks.
        mode: Option<BlockMode>,
        /// How many of the logical bytes are compressed.
        packed_bytes: u64,
    },
    /// The end of the stream.
    End,
}

/// Runs one compressor until its lane ends.
#[allow(clippy::needless_pass_by_value)] // the thread owns its lane, so that its end is seen
pub fn run(
    lane: Lane<SourceBlock, FramesMessage>,
    compression_mode: &CompressionMode,
    buffers: &BufferPools,
) -> Result<()> {
    let mut encoder = Encoder::default();
    for block in &lane.input {
        let chosen = || {
            let mode = compression_mode.take_mode();
            (mode, compression_mode.compresses(mode, lane.output.is_empty()))
        };
        let frames = match block {
            SourceBlock::Data(data) => match chosen() {
                (mode, true) => made(data, mode, buffers, |chunk, out| encoder.encode(chunk, out)),
                (mode, false) => match data.store() {
                    Ok(stored) => as_it_is(stored, mode),
                    // Zeros are compressed in any case.
                    Err(data) => made(data, mode, buffers, Encoder::store),
                },
            },
            SourceBlock::Stored(stored) => match chosen() {
                // The way has changed since.
                (mode, true) => {
                    made(stored.into_buffer(), mode, buffers, |chunk, out| encoder.encode(chunk, out))
                }
                (mode, false) => as_it_is(stored, mode),
            },
            SourceBlock::Zeros(len) => {
                let mut wire = buffers.wire();
                encoder.encode_zeros(len, wire.open());
                sealed(wire, len, None, len)
            }
            SourceBlock::Marks(marks) => {
                let mut wire = buffers.wire();
                let out = wire.open();
                marks.iter().for_each(|mark| mark.put(out));
                let len = marks.iter().map(logical_bytes).sum();
                sealed(wire, len, None, len)
            }
            SourceBlock::End => FramesMessage::End,
        };
        lane.output.send(frames).map_err(|_| Error::neighbour("sender"))?;
    }
    Ok(())
}

/// Frames of `data`: `put` appends those of a chunk and returns how many bytes of it got smaller.
fn made(
    data: BlockBuffer,
    mode: BlockMode,
    buffers: &BufferPools,
    mut put: impl FnMut(&[u8], &mut Vec<u8>) -> u64,
) -> FramesMessage {
    let mut wire = buffers.wire();
    let out = wire.open();
    let (len, packed_bytes) = (data.len() as u64, data.chunks().map(|chunk| put(chunk, out)).sum());
    buffers.give_back(data);
    sealed(wire, len, Some(mode), packed_bytes)
}

fn as_it_is(stored: StoredBlock, mode: BlockMode) -> FramesMessage {
    let logical_bytes = stored.logical_bytes() as u64;
    FramesMessage::Some {
        wire: EncodedBlock::Stored(stored),
        logical_bytes,
        mode: Some(mode),
        packed_bytes: 0,
    }
}

fn sealed(
    mut wire: ChunkBuffer,
    logical_bytes: u64,
    mode: Option<BlockMode>,
    packed_bytes: u64,
) -> FramesMessage {
    wire.seal();
    FramesMessage::Some { wire: EncodedBlock::Made(wire), logical_bytes, mode, packed_bytes }
}

fn logical_bytes(mark: &Mark) -> u64 {
    match mark {
        Mark::Hole(len) | Mark::Kept(len) => *len,
        Mark::Segment(..) | Mark::Content(_) | Mark::Turn(_) => 0,
    }
}
