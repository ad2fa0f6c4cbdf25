//! Snappy framing (google/snappy, `framing_format.txt`; docs/protocol.md section 1.9). Each chunk is encoded and
//! decoded alone, so that chunks can be compressed and decompressed in parallel, and zeros need no codec.
//!
//! The format has no length and no end mark. The last chunk of the HTTP body shows that a stream is complete.

pub mod decode;
pub mod encode;
pub mod mark;
pub mod split;

/// The first chunk of every stream.
pub const STREAM_IDENTIFIER: &[u8; 10] = b"\xff\x06\x00\x00sNaPpY";

/// The maximum number of logical bytes in a chunk.
pub const CHUNK_BYTES: usize = 64 << 10;
/// The number of chunks in a block, the unit that is passed between threads. Blocks of 256 KiB need no more CPU per
/// byte than blocks of 1 MiB (docs/decisions/0001), and a quarter of the memory. A few dozen blocks are in flight.
pub const BLOCK_CHUNKS: usize = 4;
/// The maximum number of logical bytes in a block.
pub const BLOCK_BYTES: usize = BLOCK_CHUNKS * CHUNK_BYTES;

/// The maximum length of the body of a data chunk: the CRC, and 64 KiB in the worst case of compression.
pub const DATA_CHUNK_LIMIT_BYTES: usize = 4 + 76_490;
/// Bytes before a chunk's body: type and length.
pub const CHUNK_HEAD_BYTES: usize = 4;
/// Bytes before the content of a stored chunk: its head and the CRC.
pub const STORED_HEAD_BYTES: usize = CHUNK_HEAD_BYTES + 4;

pub(crate) const COMPRESSED: u8 = 0x00;
pub(crate) const STORED: u8 = 0x01;
pub(crate) const IDENTIFIER: u8 = 0xff;

/// CRC-32C, masked as the format requires.
pub(crate) fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}
