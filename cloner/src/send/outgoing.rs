//! What goes out, and the way of its buffers back from the sender.

use crate::pipeline::lanes::Pool;
use crate::send::block_buffer::{BlockBuffer, StoredBlock};
use crate::send::chunk_buffer::ChunkBuffer;

/// What the sender sends: one chunk of the chunked coding.
#[derive(Debug)]
pub enum EncodedBlock {
    /// Frames that were made of a block.
    Made(ChunkBuffer),
    /// The block itself.
    Stored(StoredBlock),
}

impl EncodedBlock {
    /// The bytes to send.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Made(wire) => wire.as_bytes(),
            Self::Stored(stored) => stored.as_bytes(),
        }
    }
}

/// Used buffers of both kinds.
#[derive(Clone)]
pub struct BufferPools {
    blocks: Pool<BlockBuffer>,
    wires: Pool<ChunkBuffer>,
}

impl BufferPools {
    /// For `count` compressors.
    pub fn for_lanes(count: usize) -> Self {
        Self { blocks: Pool::for_lanes(count), wires: Pool::for_lanes(count) }
    }

    /// An empty buffer for a block.
    pub fn block(&self) -> BlockBuffer {
        self.blocks.take()
    }

    /// A buffer for frames.
    pub fn wire(&self) -> ChunkBuffer {
        self.wires.take()
    }

    /// A block of which frames were made.
    pub fn give_back(&self, mut block: BlockBuffer) {
        block.clear();
        self.blocks.give(block);
    }

    /// What was sent.
    pub fn sent(&self, outgoing: EncodedBlock) {
        match outgoing {
            EncodedBlock::Made(wire) => self.wires.give(wire),
            EncodedBlock::Stored(stored) => self.give_back(stored.into_buffer()),
        }
    }
}
