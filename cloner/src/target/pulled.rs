//! The logical stream as the writer sees it: pieces out of batches, in order.

use decant_shared::progress::Progress;

use super::decompress::Unpacked;
use crate::error::{Error, Result};
use crate::frame::decode::Batch;
use crate::lanes::{Collect, Pool};
use crate::stream::{Piece, Pull};

/// Takes batches from the decompressors and yields their pieces.
pub struct Pulled<'a> {
    batches: Collect<Unpacked>,
    pool: &'a Pool<Batch>,
    progress: &'a Progress,
    batch: Batch,
    next_run: usize,
    /// Bytes of run `next_run` that were yielded already.
    taken_bytes: u64,
    stream_bytes: u64,
    /// How long the sender said the stream is.
    announced_bytes: Option<u64>,
    ended: bool,
}

impl<'a> Pulled<'a> {
    /// Reads from `batches`; emptied ones go to `pool`. What was yielded counts as sent in `progress`. A
    /// stream of another length than `announced_bytes` is damaged: it has no end that anyone could act on.
    pub fn new(
        batches: Collect<Unpacked>,
        pool: &'a Pool<Batch>,
        progress: &'a Progress,
        announced_bytes: Option<u64>,
    ) -> Self {
        Self {
            batches,
            pool,
            progress,
            batch: Batch::default(),
            next_run: 0,
            taken_bytes: 0,
            stream_bytes: 0,
            announced_bytes,
            ended: false,
        }
    }

    /// After everything was written: what is still in the stream is dropped, and its end must come. Returns
    /// the stream's length.
    pub fn finish(&mut self) -> Result<u64> {
        while self.next_piece(u64::MAX)?.is_some() {}
        Ok(self.stream_bytes)
    }

    fn check_length(&self) -> Result<()> {
        match self.announced_bytes {
            Some(announced) if announced != self.stream_bytes => Err(Error::damaged(format!(
                "the sender announced {announced} bytes and sent {}",
                self.stream_bytes
            ))),
            _ => Ok(()),
        }
    }
}

impl Pull for Pulled<'_> {
    fn next_piece(&mut self, max_bytes: u64) -> Result<Option<Piece<'_>>> {
        while self.next_run == self.batch.len() {
            if self.ended {
                return Ok(None);
            }
            match self.batches.receive()? {
                Unpacked::Some(batch) => {
                    self.pool.give(std::mem::replace(&mut self.batch, batch));
                    self.next_run = 0;
                }
                Unpacked::End => {
                    self.check_length()?;
                    self.ended = true;
                }
            }
        }
        let Some(piece) = self.batch.piece(self.next_run) else { return Ok(None) };
        let left_bytes = piece.len() - self.taken_bytes;
        let len = left_bytes.min(max_bytes);
        let from = self.taken_bytes;
        self.stream_bytes += len;
        self.progress.add_sent_bytes(len);
        if len == left_bytes {
            self.next_run += 1;
            self.taken_bytes = 0;
        } else {
            self.taken_bytes += len;
        }
        Ok(Some(match piece {
            Piece::Zeros(_) => Piece::Zeros(len),
            Piece::Data(bytes) => {
                let start = usize::try_from(from).unwrap_or(usize::MAX);
                Piece::Data(&bytes[start..start + usize::try_from(len).unwrap_or(usize::MAX)])
            }
        }))
    }
}
