//! A block's bytes, laid out as the frames that store them: what is sent as it is was never copied.

use crate::send::chunk_buffer::{END, SIZE_LINE_BYTES, size_line};
use crate::snappy::encode::stored_head;
use crate::snappy::{BLOCK_BYTES, BLOCK_CHUNKS, CHUNK_BYTES, STORED_HEAD_BYTES};
use crate::stream::is_zero;

/// The chunked coding's size line, frames of 64 KiB, and its end.
const LAID_OUT_BYTES: usize = SIZE_LINE_BYTES + BLOCK_CHUNKS * (STORED_HEAD_BYTES + CHUNK_BYTES) + END.len();

/// Bytes that will be a block: chunks of 64 KiB, each with room for a frame's head before it.
#[derive(Debug, Default)]
pub struct BlockBuffer {
    bytes: Vec<u8>,
    used_bytes: usize,
}

/// A buffer that became one chunk of the chunked coding.
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

    /// The unused part of the present chunk; empty if the block is full.
    pub fn room(&mut self) -> &mut [u8] {
        // Memory that is used again has its length already.
        self.bytes.resize(LAID_OUT_BYTES, 0);
        let len = if self.is_full() { 0 } else { CHUNK_BYTES - self.used_bytes % CHUNK_BYTES };
        let start = place(self.used_bytes / CHUNK_BYTES) + self.used_bytes % CHUNK_BYTES;
        &mut self.bytes[start..][..len]
    }

    /// The first `len` bytes of the room were filled.
    pub fn filled(&mut self, len: usize) {
        self.used_bytes += len;
    }

    /// What it holds, in chunks of 64 KiB.
    pub fn chunks(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.used_bytes.div_ceil(CHUNK_BYTES))
            .map(|index| &self.bytes[place(index)..][..self.length(index)])
    }

    /// Makes frames of it where it lies. Chunks of zeros have a frame that is shorter: a block with one of them comes back.
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
        self.bytes[end..][..END.len()].copy_from_slice(END);
        Ok(StoredBlock { buffer: self, len: end + END.len() })
    }

    /// Empties it for the next block; the memory stays.
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

    /// How many bytes of the stream it stands for.
    pub fn logical_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// What it was made of.
    pub fn into_buffer(self) -> BlockBuffer {
        self.buffer
    }
}

/// Where the data of chunk `index` begins.
fn place(index: usize) -> usize {
    SIZE_LINE_BYTES + index * (STORED_HEAD_BYTES + CHUNK_BYTES) + STORED_HEAD_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::send::chunk_buffer::ChunkBuffer;
    use crate::snappy::encode::Encoder;
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
