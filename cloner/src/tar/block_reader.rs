//! Reads an archive block by block, counts its bytes, and recognizes the end mark.

use crate::attributes::name::shown;
use crate::error::{Error, Result};
use crate::stream::{Piece, Pull};
use crate::tar::field::{BLOCK_LEN, checksum_is_right};
use crate::zeros::is_zero;

/// The maximum number of bytes of padding that are skipped in one step.
const DRAIN_BYTES: u64 = u64::MAX;

pub(crate) type TarBlock = [u8; BLOCK_LEN];

/// Reads blocks from a stream.
pub(crate) struct BlockReader<'a, P: ?Sized> {
    pull: &'a mut P,
    /// Bytes read so far, for messages.
    position: u64,
}

impl<'a, P: Pull + ?Sized> BlockReader<'a, P> {
    pub(crate) fn new(pull: &'a mut P) -> Self {
        Self { pull, position: 0 }
    }

    /// Bytes read so far.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// See [`Pull::hold_durable`].
    pub(crate) fn hold_durable(&mut self, from_bytes: Option<u64>) {
        self.pull.hold_durable(from_bytes);
    }

    /// The next header, with a correct checksum; `None` at the end of the archive. `last_name` is the name of the
    /// previous member, for messages.
    pub(crate) fn next_header(&mut self, last_name: &[u8]) -> Result<Option<TarBlock>> {
        let start = self.position;
        let bad = |what: &str| match start {
            0 => Error::damaged(format!("{what} at the start of the archive")),
            _ => Error::damaged(format!("{what} at byte {start} of the archive, after {}", shown(last_name))),
        };
        let mut block = [0; BLOCK_LEN];
        match self.fill(&mut block)? {
            BLOCK_LEN => {}
            0 if start == 0 => return Ok(None),
            0 => return Err(bad("the stream ends without the end mark of an archive")),
            _ => return Err(bad("the stream ends inside the header")),
        }
        if is_zero(&block) {
            let len = self.fill(&mut block)?;
            return if is_zero(&block[..len]) {
                Ok(None)
            } else {
                Err(bad("a single zero block is no end mark"))
            };
        }
        if !checksum_is_right(tar::Header::from_byte_slice(&block)) {
            return Err(bad("the tar header is missing or damaged"));
        }
        Ok(Some(block))
    }

    /// Fills `buf` with a part of the headers of a member.
    pub(crate) fn fill_all(&mut self, buf: &mut [u8]) -> Result<()> {
        if self.fill(buf)? == buf.len() {
            return Ok(());
        }
        Err(Error::damaged("the stream ends inside its headers"))
    }

    /// The next run of the content of the member `name`, at most `max_bytes` long.
    pub(crate) fn content(&mut self, max_bytes: u64, name: &[u8]) -> Result<Piece<'_>> {
        match self.pull.next_piece(max_bytes)? {
            Some(piece) => {
                self.position += piece.len();
                Ok(piece)
            }
            None => Err(Error::damaged(format!("the stream ends inside {}", shown(name)))),
        }
    }

    /// Skips `len` bytes of the member `name`.
    pub(crate) fn skip(&mut self, mut len: u64, name: &[u8]) -> Result<()> {
        while len > 0 {
            len -= self.content(len, name)?.len();
        }
        Ok(())
    }

    /// Skips the rest of the stream.
    pub(crate) fn drain(&mut self) -> Result<()> {
        while self.pull.next_piece(DRAIN_BYTES)?.is_some() {}
        Ok(())
    }

    /// Fills `buf` until the stream ends, and returns how many bytes it filled.
    fn fill(&mut self, buf: &mut [u8]) -> Result<usize> {
        let mut filled = 0;
        while filled < buf.len() {
            let room = &mut buf[filled..];
            let Some(piece) = self.pull.next_piece(room.len() as u64)? else { break };
            let len = usize::try_from(piece.len()).unwrap_or(usize::MAX).min(room.len());
            match piece {
                Piece::Data(bytes) => room[..len].copy_from_slice(bytes),
                Piece::Zeros(_) => room[..len].fill(0),
                Piece::Offer(_) => {}
                Piece::Kept(_) | Piece::Shared(_) => {
                    return Err(Error::damaged("a header of the archive is marked as kept"));
                }
            }
            filled += len;
        }
        self.position += filled as u64;
        Ok(filled)
    }
}
