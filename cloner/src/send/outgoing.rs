//! What goes out, and the way of its buffers back from the sender.

use crate::pipeline::lanes::Pool;
use crate::send::block_buffer::{Buffer, Stored};
use crate::send::chunk_buffer::Wire;

/// What the sender sends: one chunk of the chunked coding.
#[derive(Debug)]
pub enum Outgoing {
    /// Frames that were made of a block.
    Made(Wire),
    /// The block itself.
    Stored(Stored),
}

impl Outgoing {
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
pub struct Buffers {
    blocks: Pool<Buffer>,
    wires: Pool<Wire>,
}

impl Buffers {
    /// For `count` compressors.
    pub fn for_lanes(count: usize) -> Self {
        Self { blocks: Pool::for_lanes(count), wires: Pool::for_lanes(count) }
    }

    /// An empty buffer for a block.
    pub fn block(&self) -> Buffer {
        self.blocks.take()
    }

    /// A buffer for frames.
    pub fn wire(&self) -> Wire {
        self.wires.take()
    }

    /// A block of which frames were made.
    pub fn give_back(&self, mut block: Buffer) {
        block.clear();
        self.blocks.give(block);
    }

    /// What was sent.
    pub fn sent(&self, outgoing: Outgoing) {
        match outgoing {
            Outgoing::Made(wire) => self.wires.give(wire),
            Outgoing::Stored(stored) => self.give_back(stored.into_buffer()),
        }
    }
}
