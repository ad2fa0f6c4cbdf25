//! Marks: Decant's additions to a snappy stream, in chunks that every other reader skips (types 0x80 to 0xfd).
//!
//! A receiver may skip digests. Holes and kept runs replace logical bytes, so they are sent only to a receiver that
//! announced support for them (docs/protocol.md section 6).

use crate::digest::{ContentDigest, Digest};
use crate::error::{Error, Result};
use crate::snappy::CHUNK_HEAD_BYTES;

/// The first chunk type of a mark. The other types follow in sequence.
const FIRST_TYPE: u8 = 0xd0;
const LAST_TYPE: u8 = 0xd4;
/// The chunk type of [`Mark::Turn`], by which the splitter recognizes the end of a turn.
pub const TURN_TYPE: u8 = 0xd4;
/// The first bytes of a mark's body. A chunk of the same type without them comes from another program and is skipped.
const MAGIC: &[u8; 4] = b"DcNt";
/// The longest body of a mark.
pub const MARK_LIMIT_BYTES: usize = 64;

/// An item that Decant adds to a snappy stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// The digest of the segment with this index. It comes after the last byte of the segment. Segments of zeros have
    /// none.
    Segment(u64, Digest),
    /// The digest of the whole content. It comes at the end of the stream.
    Content(ContentDigest),
    /// This many zeros.
    Hole(u64),
    /// This many bytes, in whole segments, that the receiver already holds.
    Kept(u64),
    /// The end of the turn with this number: the next connection carries the bytes that follow in the logical stream.
    /// Only used if a clone has several connections.
    Turn(u64),
}

/// Whether a chunk of `kind` with `len` bytes may be a mark.
pub fn may_be_mark(kind: u8, len: usize) -> bool {
    (FIRST_TYPE..=LAST_TYPE).contains(&kind) && (MAGIC.len()..=MARK_LIMIT_BYTES).contains(&len)
}

impl Mark {
    /// Appends the mark as a chunk.
    pub fn put(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; CHUNK_HEAD_BYTES]);
        out.extend_from_slice(MAGIC);
        let kind = match self {
            Mark::Segment(index, digest) => {
                out.extend_from_slice(&index.to_le_bytes());
                out.extend_from_slice(&digest.0);
                0
            }
            Mark::Content(whole) => {
                out.extend_from_slice(&whole.content_bytes.to_le_bytes());
                out.extend_from_slice(&whole.digest.0);
                1
            }
            Mark::Hole(number) | Mark::Kept(number) | Mark::Turn(number) => {
                out.extend_from_slice(&number.to_le_bytes());
                match self {
                    Mark::Hole(_) => 2,
                    Mark::Kept(_) => 3,
                    _ => TURN_TYPE - FIRST_TYPE,
                }
            }
        };
        let len = u8::try_from(out.len() - start - CHUNK_HEAD_BYTES).unwrap_or(u8::MAX);
        out[start..start + 2].copy_from_slice(&[FIRST_TYPE + kind, len]);
    }

    /// Parses a chunk with its head. `None` for a chunk of another program, which is to be skipped.
    pub fn parse(chunk: &[u8]) -> Result<Option<Self>> {
        let (head, body) = chunk.split_at_checked(CHUNK_HEAD_BYTES).unwrap_or((chunk, &[]));
        let (Some(&kind), Some(body)) = (head.first(), body.strip_prefix(MAGIC)) else { return Ok(None) };
        let wrong = || Error::damaged(format!("a mark of type {kind:#04x} has {} bytes", body.len()));
        let (number, digest) = body.split_first_chunk::<8>().ok_or_else(wrong)?;
        let number = u64::from_le_bytes(*number);
        let digest = || digest.try_into().map(Digest).map_err(|_| wrong());
        Ok(Some(match kind - FIRST_TYPE {
            0 => Mark::Segment(number, digest()?),
            1 => Mark::Content(ContentDigest { content_bytes: number, digest: digest()? }),
            2.. if body.len() > 8 => return Err(wrong()),
            4 => Mark::Turn(number),
            _ if number == 0 => return Err(wrong()),
            2 => Mark::Hole(number),
            _ => Mark::Kept(number),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_mark_is_read_as_it_is_written() {
        let digest = Digest([9; 32]);
        for mark in [
            Mark::Segment(3, digest),
            Mark::Content(ContentDigest { content_bytes: u64::MAX, digest }),
            Mark::Hole(1 << 40),
            Mark::Kept(64 << 20),
            Mark::Turn(0),
        ] {
            let mut chunk = Vec::new();
            mark.put(&mut chunk);
            assert!(may_be_mark(chunk[0], chunk.len() - CHUNK_HEAD_BYTES));
            assert_eq!(Mark::parse(&chunk).unwrap(), Some(mark));
            assert!(Mark::parse(&chunk[..chunk.len() - 1]).is_err());
        }
    }

    #[test]
    fn other_readers_skip_marks() {
        use std::io::Read;
        let mut stream = crate::snappy::STREAM_IDENTIFIER.to_vec();
        Mark::Segment(0, Digest([1; 32])).put(&mut stream);
        crate::snappy::encode::Encoder::default().encode(b"content", &mut stream);
        let mut out = Vec::new();
        snap::read::FrameDecoder::new(&*stream).read_to_end(&mut out).unwrap();
        assert_eq!(out, b"content");
    }

    #[test]
    fn chunks_of_other_programs_are_skipped() {
        assert_eq!(Mark::parse(b"\xd0\x04\x00\x00abcd").unwrap(), None);
        assert_eq!(Mark::parse(b"\xd0").unwrap(), None);
        assert!(!may_be_mark(0xfe, 4) && !may_be_mark(0xd5, 4) && !may_be_mark(0xd0, 65));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(kind in 0xd0u8..=0xd4, bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = Mark::parse(&[&[kind, 0, 0, 0][..], MAGIC, &bytes].concat());
            let _ = Mark::parse(&bytes);
        }
    }
}
