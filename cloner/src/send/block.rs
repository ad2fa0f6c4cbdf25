//! Blocks on their way to the sender, and their buffers.
//!
//! The reader fills a [`BlockBuffer`]. Its layout is that of the frames that store it, so data that is not compressed
//! is sent without a copy. A compressor turns it into an [`EncodedBlock`]: one chunk of the chunked coding. The sender
//! returns the memory to the [`BufferPools`].

use decant_shared::process::page_buffer::PageBuffer;

use crate::pipeline::lanes::Pool;
use crate::send::compression::BlockMode;
use crate::snappy::encode::stored_head;
use crate::snappy::mark::Mark;
use crate::snappy::{BLOCK_BYTES, BLOCK_CHUNKS, CHUNK_BYTES, STORED_HEAD_BYTES};
use crate::zeros::is_zero;

/// Length of the size line: eight hexadecimal digits (leading zeros are allowed, RFC 9112, 7.1) and CRLF.
const SIZE_LINE_BYTES: usize = 10;
/// The end of a chunk.
const CHUNK_END: &[u8] = b"\r\n";
/// The size line, frames of 64 KiB, and the end of the chunk.
const LAID_OUT_BYTES: usize =
    SIZE_LINE_BYTES + BLOCK_CHUNKS * (STORED_HEAD_BYTES + CHUNK_BYTES) + CHUNK_END.len();

/// The offset of the buffer in a memory page. The content of each frame starts 64 bytes or slightly more after a page
/// boundary. Small files follow each other in units of 512 bytes, so none starts 1 to 31 bytes after a boundary (see
/// [`PageBuffer`]).
const BUFFER_PAGE_OFFSET_BYTES: usize = 64 - SIZE_LINE_BYTES - STORED_HEAD_BYTES;

/// What the reader passes to a compressor.
#[derive(Debug)]
pub enum SourceBlock {
    /// Data.
    Data(BlockBuffer),
    /// Data that the reader has already put into frames without compression.
    Stored(StoredBlock),
    /// This many zero bytes.
    Zeros(u64),
    /// Marks, which include holes and runs that the target keeps.
    Marks(Vec<Mark>),
}

/// What a compressor passes to the sender: frames, as one chunk of the chunked coding.
#[derive(Debug)]
pub struct EncodedBlock {
    /// The bytes to send.
    pub wire: WireChunk,
    /// The number of bytes of the stream in the frames.
    pub logical_bytes: u64,
    /// How data was encoded; `None` for zeros and marks, for which there is no choice.
    pub mode: Option<BlockMode>,
    /// The number of logical bytes that are compressed.
    pub packed_bytes: u64,
}

/// The memory that holds a chunk.
#[derive(Debug)]
pub enum WireChunk {
    /// Frames that were encoded from a block.
    Made(ChunkBuffer),
    /// The block itself.
    Stored(StoredBlock),
}

impl WireChunk {
    /// The bytes to send.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Made(chunk) => chunk.as_bytes(),
            Self::Stored(stored) => stored.as_bytes(),
        }
    }
}

/// The bytes of a block: pieces of 64 KiB, each after space for the head of its frame.
#[derive(Debug, Default)]
pub struct BlockBuffer {
    bytes: PageBuffer,
    used_bytes: usize,
}

/// A buffer that was turned into one chunk of the chunked coding.
#[derive(Debug)]
pub struct StoredBlock {
    buffer: BlockBuffer,
    len: usize,
}

impl BlockBuffer {
    /// How many bytes it holds.
    pub fn len(&self) -> usize {
        self.used_bytes
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.used_bytes == 0
    }

    /// Whether a block is complete.
    pub fn is_full(&self) -> bool {
        self.used_bytes == BLOCK_BYTES
    }

    /// The unused part of the current piece of 64 KiB; empty if the block is full.
    pub fn room(&mut self) -> &mut [u8] {
        if self.bytes.is_empty() {
            self.bytes = PageBuffer::at_page_offset(LAID_OUT_BYTES, BUFFER_PAGE_OFFSET_BYTES);
        }
        let len = if self.is_full() { 0 } else { CHUNK_BYTES - self.used_bytes % CHUNK_BYTES };
        let start = place(self.used_bytes / CHUNK_BYTES) + self.used_bytes % CHUNK_BYTES;
        &mut self.bytes[start..][..len]
    }

    /// Marks the first `len` bytes of [`Self::room`] as filled.
    pub fn filled(&mut self, len: usize) {
        self.used_bytes += len;
    }

    /// The data, in chunks of 64 KiB.
    pub fn chunks(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.used_bytes.div_ceil(CHUNK_BYTES))
            .map(|index| &self.bytes[place(index)..][..self.length(index)])
    }

    /// Turns the buffer into frames in place. Returns a block that contains a whole 64 KiB of zeros unchanged: zeros
    /// have a shorter frame.
    pub fn store(mut self) -> Result<StoredBlock, Self> {
        let count = self.used_bytes.div_ceil(CHUNK_BYTES);
        if count == 0 || self.chunks().any(|chunk| chunk.len() == CHUNK_BYTES && is_zero(chunk)) {
            return Err(self);
        }
        for index in 0..count {
            let start = place(index);
            let head = stored_head(&self.bytes[start..][..self.length(index)]);
            self.bytes[start - STORED_HEAD_BYTES..start].copy_from_slice(&head);
        }
        let frames_bytes = count * STORED_HEAD_BYTES + self.used_bytes;
        let end = SIZE_LINE_BYTES + frames_bytes;
        self.bytes[..SIZE_LINE_BYTES].copy_from_slice(&size_line(frames_bytes));
        self.bytes[end..][..CHUNK_END.len()].copy_from_slice(CHUNK_END);
        Ok(StoredBlock { buffer: self, len: end + CHUNK_END.len() })
    }

    /// Empties the buffer for the next block and keeps its memory.
    pub fn clear(&mut self) {
        self.used_bytes = 0;
    }

    fn length(&self, index: usize) -> usize {
        (self.used_bytes - index * CHUNK_BYTES).min(CHUNK_BYTES)
    }
}

impl StoredBlock {
    /// The bytes to send.
    pub fn as_bytes(&self) -> &[u8] {
        &self.buffer.bytes[..self.len]
    }

    /// The number of bytes of the stream in the block.
    pub fn logical_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// The buffer, for reuse.
    pub fn into_buffer(self) -> BlockBuffer {
        self.buffer
    }
}

/// The position of the data of chunk `index`.
fn place(index: usize) -> usize {
    SIZE_LINE_BYTES + index * (STORED_HEAD_BYTES + CHUNK_BYTES) + STORED_HEAD_BYTES
}

/// A buffer that is one chunk of the chunked coding: size line, content, CRLF. It is sent in one piece without a copy.
#[derive(Debug, Default)]
pub struct ChunkBuffer(Vec<u8>);

impl ChunkBuffer {
    /// Empties the buffer and returns the vector for the content, which the caller appends.
    pub fn open(&mut self) -> &mut Vec<u8> {
        self.0.clear();
        self.0.resize(SIZE_LINE_BYTES, b'0');
        &mut self.0
    }

    /// Writes the size line and the end of the chunk. Without content there is nothing to send, because an empty chunk
    /// would end the body.
    pub fn seal(&mut self) {
        let len = self.0.len() - SIZE_LINE_BYTES;
        if len == 0 {
            self.0.clear();
            return;
        }
        self.0[..SIZE_LINE_BYTES].copy_from_slice(&size_line(len));
        self.0.extend_from_slice(CHUNK_END);
    }

    /// The bytes to send.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The size line of a chunk of `len` bytes.
fn size_line(len: usize) -> [u8; SIZE_LINE_BYTES] {
    let mut line = *b"00000000\r\n";
    for (place, digit) in line[..8].iter_mut().rev().enumerate() {
        *digit = b"0123456789abcdef"[(len >> (4 * place)) & 0xf];
    }
    line
}

/// Used buffers of both kinds.
#[derive(Clone)]
pub struct BufferPools {
    blocks: Pool<BlockBuffer>,
    chunks: Pool<ChunkBuffer>,
}

impl BufferPools {
    /// Pools for `count` compressors.
    pub fn for_lanes(count: usize) -> Self {
        Self { blocks: Pool::for_lanes(count), chunks: Pool::for_lanes(count) }
    }

    /// An empty buffer for a block.
    pub fn block(&self) -> BlockBuffer {
        self.blocks.take()
    }

    /// A buffer for frames.
    pub fn chunk(&self) -> ChunkBuffer {
        self.chunks.take()
    }

    /// Takes back the buffer of an encoded block.
    pub fn give_back(&self, mut block: BlockBuffer) {
        block.clear();
        self.blocks.give(block);
    }

    /// Takes back the buffer of a chunk that was sent.
    pub fn sent(&self, wire: WireChunk) {
        match wire {
            WireChunk::Made(chunk) => self.chunks.give(chunk),
            WireChunk::Stored(stored) => self.give_back(stored.into_buffer()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snappy::encode::Encoder;
    use decant_shared::net::http::chunked::{Decoded, Decoder};
    use proptest::prelude::*;

    fn filled(data: &[u8]) -> BlockBuffer {
        let (mut buffer, mut rest) = (BlockBuffer::default(), data);
        while !rest.is_empty() {
            let room = buffer.room();
            let len = room.len().min(rest.len()).min(50_000);
            room[..len].copy_from_slice(&rest[..len]);
            buffer.filled(len);
            rest = &rest[len..];
        }
        buffer
    }

    #[test]
    fn a_chunk_of_zeros_has_a_shorter_frame() {
        let mut data = vec![1; BLOCK_BYTES];
        data[CHUNK_BYTES..2 * CHUNK_BYTES].fill(0);
        let back = filled(&data).store().unwrap_err();
        assert_eq!(back.chunks().collect::<Vec<_>>().concat(), data);
    }

    #[test]
    fn nothing_is_no_chunk() {
        assert!(BlockBuffer::default().store().is_err());
    }

    #[test]
    fn memory_is_used_again() {
        let stored = filled(&[1; BLOCK_BYTES]).store().unwrap();
        let before = stored.as_bytes().as_ptr();
        let mut buffer = stored.into_buffer();
        assert!(buffer.is_full());
        buffer.clear();
        assert!(buffer.is_empty());
        buffer.room()[..2].copy_from_slice(b"ab");
        buffer.filled(2);
        assert_eq!(buffer.chunks().collect::<Vec<_>>(), [b"ab"]);
        assert_eq!(buffer.store().unwrap().as_bytes().as_ptr(), before);
    }

    #[test]
    fn it_is_one_chunk_of_the_chunked_coding() {
        let mut wire = ChunkBuffer::default();
        wire.open().extend_from_slice(b"content");
        wire.seal();
        assert_eq!(wire.as_bytes(), b"00000007\r\ncontent\r\n");
        let decoded = Decoded { framing_len: 10, data_len: 7 };
        assert_eq!(Decoder::default().next(wire.as_bytes()), Ok(decoded));
    }

    #[test]
    fn without_content_nothing_is_sent() {
        let mut wire = ChunkBuffer::default();
        wire.open();
        wire.seal();
        assert!(wire.as_bytes().is_empty());
    }

    #[test]
    fn a_size_line_has_eight_digits() {
        assert_eq!(&size_line(0x0004_003e), b"0004003e\r\n");
        assert_eq!(&size_line(0xfedc_ba98), b"fedcba98\r\n");
    }

    proptest! {
        #[test]
        fn it_is_what_a_copy_into_frames_would_be(
            byte in 1u8.., len in prop_oneof![1..=BLOCK_BYTES, Just(BLOCK_BYTES), Just(CHUNK_BYTES), Just(CHUNK_BYTES + 1)],
        ) {
            let data: Vec<u8> = (0..len).map(|at| byte.wrapping_mul(u8::try_from(at % 251).unwrap())).collect();
            let mut wire = ChunkBuffer::default();
            Encoder::store(&data, wire.open());
            wire.seal();
            let buffer = filled(&data);
            prop_assert_eq!(&buffer.chunks().collect::<Vec<_>>().concat(), &data);
            let stored = buffer.store().unwrap();
            prop_assert_eq!(stored.as_bytes(), wire.as_bytes());
            prop_assert_eq!(stored.logical_bytes(), len);
            prop_assert_eq!(stored.into_buffer().chunks().collect::<Vec<_>>().concat(), data);
        }
    }
}
