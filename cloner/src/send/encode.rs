//! The compressors: the second stage. Each takes blocks from its lane and turns them into frames.

use crate::error::Result;
use crate::pipeline::lanes::Lane;
use crate::send::block::{
    BlockBuffer, BufferPools, ChunkBuffer, EncodedBlock, SourceBlock, StoredBlock, WireChunk,
};
use crate::send::compression::{BlockMode, CompressionMode};
use crate::snappy::encode::Encoder;
use crate::snappy::mark::Mark;

/// Runs one compressor until its lane ends.
#[allow(clippy::needless_pass_by_value)] // the thread owns its lane, so that its end is seen
pub fn run(
    lane: Lane<SourceBlock, EncodedBlock>,
    compression_mode: &CompressionMode,
    buffers: &BufferPools,
) -> Result<()> {
    let mut encoder = Encoder::default();
    let choose = || {
        let mode = compression_mode.take_mode();
        (mode, compression_mode.compresses(mode, lane.is_awaited()))
    };
    lane.run("sender", |block| {
        Ok(match block {
            SourceBlock::Data(data) => match choose() {
                (mode, true) => made(data, mode, buffers, |chunk, out| encoder.encode(chunk, out)),
                (mode, false) => match data.store() {
                    Ok(stored) => unchanged(stored, mode),
                    // Zeros are always compressed.
                    Err(data) => made(data, mode, buffers, Encoder::store),
                },
            },
            SourceBlock::Stored(stored) => match choose() {
                // The mode has changed since the reader stored the block.
                (mode, true) => {
                    made(stored.into_buffer(), mode, buffers, |chunk, out| encoder.encode(chunk, out))
                }
                (mode, false) => unchanged(stored, mode),
            },
            SourceBlock::Zeros(len) => {
                let mut chunk = buffers.chunk();
                encoder.encode_zeros(len, chunk.open());
                sealed(chunk, len, None, len)
            }
            SourceBlock::Marks(marks) => {
                let mut chunk = buffers.chunk();
                let out = chunk.open();
                marks.iter().for_each(|mark| mark.put(out));
                let len = marks.iter().map(logical_bytes).sum();
                sealed(chunk, len, None, len)
            }
        })
    })
}

/// Encodes `data`. `put` appends its frames of 64 KiB and returns how many bytes of them were compressed.
fn made(
    data: BlockBuffer,
    mode: BlockMode,
    buffers: &BufferPools,
    mut put: impl FnMut(&[u8], &mut Vec<u8>) -> u64,
) -> EncodedBlock {
    let mut chunk = buffers.chunk();
    let out = chunk.open();
    let len = data.len() as u64;
    let packed_bytes = data.chunks().map(|bytes| put(bytes, out)).sum();
    buffers.give_back(data);
    sealed(chunk, len, Some(mode), packed_bytes)
}

fn unchanged(stored: StoredBlock, mode: BlockMode) -> EncodedBlock {
    let logical_bytes = stored.logical_bytes() as u64;
    EncodedBlock { wire: WireChunk::Stored(stored), logical_bytes, mode: Some(mode), packed_bytes: 0 }
}

fn sealed(
    mut chunk: ChunkBuffer,
    logical_bytes: u64,
    mode: Option<BlockMode>,
    packed_bytes: u64,
) -> EncodedBlock {
    chunk.seal();
    EncodedBlock { wire: WireChunk::Made(chunk), logical_bytes, mode, packed_bytes }
}

fn logical_bytes(mark: &Mark) -> u64 {
    match mark {
        Mark::Hole(len) | Mark::Kept(len) => *len,
        Mark::Segment(..) | Mark::Content(_) | Mark::Turn(_) => 0,
    }
}
