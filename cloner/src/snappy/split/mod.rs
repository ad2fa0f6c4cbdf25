//! Splits the received stream into packs of whole frames, which several threads can decompress.
//!
//! Checks everything that is visible without decompression: the identifier, types and lengths.

use crate::error::{Error, Result};
use crate::snappy::mark::{Mark, TURN_TYPE, may_be_mark};
use crate::snappy::{
    BLOCK_CHUNKS, CHUNK_HEAD_BYTES, COMPRESSED, DATA_CHUNK_LIMIT_BYTES, IDENTIFIER, STORED, STREAM_IDENTIFIER,
};

/// The maximum number of marks in a pack, so that a stream that consists only of marks is split, too.
const MARKS_LIMIT: usize = 256;

/// Whole data frames with their heads.
#[derive(Debug, Default)]
pub struct Pack {
    /// The frames, one after the other.
    pub bytes: Vec<u8>,
    /// The number of frames.
    pub frames: usize,
    /// The number of marks.
    pub marks: usize,
    /// The offset of the last mark, if it ends a turn.
    pub(super) turn_at: Option<usize>,
}

impl Pack {
    /// Removes the content but keeps the memory.
    pub fn clear(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        *self = Self { bytes, ..Self::default() };
    }

    /// The number of the turn that ends with this pack.
    pub fn turn(&self) -> Result<Option<u64>> {
        let Some(start) = self.turn_at else { return Ok(None) };
        Ok(match Mark::parse(&self.bytes[start..])? {
            Some(Mark::Turn(number)) => Some(number),
            _ => None,
        })
    }

    /// Whether a chunk of type `kind` belongs in the next pack. The mark at the end of a turn always belongs in this
    /// one.
    fn is_full(&self, kind: u8) -> bool {
        let is_block = self.frames == BLOCK_CHUNKS || self.marks >= MARKS_LIMIT;
        self.turn_at.is_some() || (is_block && kind != TURN_TYPE)
    }

    /// Whether the pack has no frames and no marks.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Inside {
    /// A chunk's head.
    Head,
    /// A data frame or a mark, which goes into the pack.
    Data,
    /// The body of a stream identifier.
    Identifier,
    /// A chunk that every reader skips.
    Skipped,
}

/// Splits a stream into packs.
#[derive(Debug)]
pub struct Splitter {
    inside: Inside,
    /// The part of the head, or of an identifier's body, that has arrived.
    head: [u8; 6],
    have_bytes: usize,
    /// Bytes of the current chunk's body that have not arrived.
    left_bytes: usize,
    identified: bool,
    offset_bytes: u64,
}

impl Default for Splitter {
    fn default() -> Self {
        let head = [0; 6];
        Self { inside: Inside::Head, head, have_bytes: 0, left_bytes: 0, identified: false, offset_bytes: 0 }
    }
}

impl Splitter {
    /// Moves bytes from the front of `input` into `pack` and returns their number. If the pack is full, this stops at
    /// the end of a frame: the caller then continues with an empty pack.
    pub fn feed(&mut self, input: &[u8], pack: &mut Pack) -> Result<usize> {
        let mut rest = input;
        while !rest.is_empty() {
            if self.inside == Inside::Head && self.have_bytes == 0 && pack.is_full(rest[0]) {
                break;
            }
            let taken = match self.inside {
                Inside::Head => self.take_head(rest, pack)?,
                Inside::Identifier => self.take_identifier(rest)?,
                Inside::Data | Inside::Skipped => self.take_body(rest, pack),
            };
            rest = &rest[taken..];
            self.offset_bytes += taken as u64;
        }
        Ok(input.len() - rest.len())
    }

    /// Whether `pack` is complete because it ends a turn: the other connections wait for it.
    pub fn ends_turn(&self, pack: &Pack) -> bool {
        pack.turn_at.is_some() && self.is_between_chunks()
    }

    /// Checks that the stream may end here.
    pub fn finish(&self) -> Result<()> {
        if self.is_between_chunks() {
            return Ok(());
        }
        Err(self.damaged("the stream ends inside a frame"))
    }

    fn is_between_chunks(&self) -> bool {
        self.inside == Inside::Head && self.have_bytes == 0
    }

    fn take_head(&mut self, input: &[u8], pack: &mut Pack) -> Result<usize> {
        let taken = input.len().min(CHUNK_HEAD_BYTES - self.have_bytes);
        self.head[self.have_bytes..self.have_bytes + taken].copy_from_slice(&input[..taken]);
        self.have_bytes += taken;
        if self.have_bytes < CHUNK_HEAD_BYTES {
            return Ok(taken);
        }
        self.have_bytes = 0;
        let [kind, a, b, c, ..] = self.head;
        self.left_bytes = usize::from(a) | usize::from(b) << 8 | usize::from(c) << 16;
        if !self.identified && kind != IDENTIFIER {
            return Err(self.damaged("the stream does not begin with the snappy identifier"));
        }
        match kind {
            COMPRESSED | STORED => {
                if !(4..=DATA_CHUNK_LIMIT_BYTES).contains(&self.left_bytes) {
                    return Err(self.damaged(&format!("a data frame has {} bytes", self.left_bytes)));
                }
                pack.bytes.extend_from_slice(&self.head[..CHUNK_HEAD_BYTES]);
                pack.frames += 1;
                self.inside = Inside::Data;
            }
            IDENTIFIER if self.left_bytes == 6 => self.inside = Inside::Identifier,
            IDENTIFIER => return Err(self.damaged("the snappy identifier has a wrong length")),
            _ if may_be_mark(kind, self.left_bytes) => {
                pack.turn_at = (kind == TURN_TYPE).then_some(pack.bytes.len());
                pack.bytes.extend_from_slice(&self.head[..CHUNK_HEAD_BYTES]);
                pack.marks += 1;
                self.inside = Inside::Data;
            }
            0x80.. => self.inside = if self.left_bytes == 0 { Inside::Head } else { Inside::Skipped },
            _ => return Err(self.damaged(&format!("a frame has the reserved type {kind:#04x}"))),
        }
        Ok(taken)
    }

    fn take_identifier(&mut self, input: &[u8]) -> Result<usize> {
        let taken = input.len().min(self.left_bytes);
        self.head[self.have_bytes..self.have_bytes + taken].copy_from_slice(&input[..taken]);
        self.have_bytes += taken;
        self.left_bytes -= taken;
        if self.left_bytes == 0 {
            if self.head != STREAM_IDENTIFIER[CHUNK_HEAD_BYTES..] {
                return Err(self.damaged("the snappy identifier is wrong"));
            }
            self.identified = true;
            self.have_bytes = 0;
            self.inside = Inside::Head;
        }
        Ok(taken)
    }

    fn take_body(&mut self, input: &[u8], pack: &mut Pack) -> usize {
        let taken = input.len().min(self.left_bytes);
        if self.inside == Inside::Data {
            pack.bytes.extend_from_slice(&input[..taken]);
        }
        self.left_bytes -= taken;
        if self.left_bytes == 0 {
            self.inside = Inside::Head;
        }
        taken
    }

    fn damaged(&self, what: &str) -> Error {
        Error::damaged(format!("{what} (at byte {} of the compressed stream)", self.offset_bytes))
    }
}

#[cfg(test)]
mod tests;
