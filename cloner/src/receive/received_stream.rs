//! The logical stream as the writer sees it: the pieces of all batches, in order and verified.

use std::rc::Rc;

use decant_shared::process::stop::Stop;
use decant_shared::protocol::cdi::ContentType;
use decant_shared::protocol::progress::Progress;

use crate::digest::segments::zeros_step_bytes;
use crate::error::{Error, Result};
use crate::pipeline::lanes::{Collect, Pool};
use crate::receive::resume_verifier::ResumeVerifier;
use crate::snappy::decode::{DecodedBatch, Item};
use crate::stream::{Piece, Pull};
use crate::tar::reader::VerifyContent;
use crate::writing::Verification;
use crate::writing::checked_stream::{CheckedStream, ContentVerifier};
use crate::writing::sync::Pacer;

/// Takes batches from the decompressors and yields their pieces.
pub struct ReceivedStream<'a> {
    batches: Collect<DecodedBatch>,
    pool: &'a Pool<DecodedBatch>,
    progress: &'a Progress,
    batch: DecodedBatch,
    next_run: usize,
    /// Number of bytes of run `next_run` that were already yielded.
    taken_bytes: u64,
    stream_bytes: u64,
    /// The length that the sender announced.
    announced_bytes: Option<u64>,
    content: ContentType,
    verifier: Rc<ResumeVerifier>,
    verification: Option<Verification>,
    pacer: Option<Pacer>,
    /// Number of data bytes in the last piece. They are written by the time the next piece is requested.
    last_data_bytes: u64,
    stop: &'a Stop,
}

impl<'a> ReceivedStream<'a> {
    /// Reads from `batches` and returns used ones to `pool`. Yielded bytes count as sent in `progress`. A stream whose
    /// length is not `announced_bytes`, or whose content differs from its digests, is damaged: its end is an error.
    /// Ends early when `stop` is set.
    pub fn new(
        batches: Collect<DecodedBatch>,
        pool: &'a Pool<DecodedBatch>,
        progress: &'a Progress,
        content: ContentType,
        announced_bytes: Option<u64>,
        verifier: Rc<ResumeVerifier>,
        stop: &'a Stop,
    ) -> Self {
        Self {
            batches,
            pool,
            progress,
            batch: DecodedBatch::default(),
            next_run: 0,
            taken_bytes: 0,
            stream_bytes: 0,
            announced_bytes,
            content,
            verifier,
            verification: None,
            pacer: None,
            last_data_bytes: 0,
            stop,
        }
    }

    /// Advances to the next run of bytes. Returns `false` if the stream is complete.
    fn advance(&mut self) -> Result<bool> {
        while self.verification.is_none() {
            match self.batch.item(self.next_run) {
                Some(Item::Piece(_)) => return Ok(true),
                Some(Item::Mark(mark)) => {
                    self.verifier.mark(mark)?;
                    self.next_run += 1;
                }
                None => match self.batches.receive()? {
                    Some(batch) => {
                        self.pool.give(std::mem::replace(&mut self.batch, batch));
                        self.next_run = 0;
                    }
                    None => {
                        self.check_length()?;
                        self.verification = Some(self.verifier.finish()?);
                    }
                },
            }
        }
        Ok(false)
    }

    fn check_length(&self) -> Result<()> {
        match self.announced_bytes {
            Some(announced_bytes) if announced_bytes != self.stream_bytes => {
                Err(other_length(announced_bytes, self.stream_bytes))
            }
            _ => Ok(()),
        }
    }
}

fn other_length(announced_bytes: u64, sent_bytes: u64) -> Error {
    Error::damaged(format!("the sender announced {announced_bytes} bytes and sent {sent_bytes}"))
}

impl<'a> CheckedStream<'a> for ReceivedStream<'a> {
    fn progress(&self) -> &'a Progress {
        self.progress
    }

    fn verifier(&self) -> Rc<dyn ContentVerifier> {
        Rc::clone(&self.verifier) as Rc<dyn ContentVerifier>
    }

    fn set_pacer(&mut self, pacer: Option<Pacer>) {
        self.pacer = pacer;
    }

    fn finish(&mut self) -> Result<(u64, Verification)> {
        loop {
            if let Some(verification) = self.verification {
                return Ok((self.stream_bytes, verification));
            }
            self.next_piece(u64::MAX)?;
        }
    }
}

impl Pull for ReceivedStream<'_> {
    /// Returns zeros in steps, because writing them and computing their digest take time. A run beyond the announced
    /// length is an error before any of it is returned.
    fn next_piece(&mut self, max_bytes: u64) -> Result<Option<Piece<'_>>> {
        Error::check(self.stop)?;
        if let Some(pacer) = &mut self.pacer {
            pacer.written(self.stream_bytes, std::mem::take(&mut self.last_data_bytes))?;
        }
        if !self.advance()? {
            // The writer writes nothing more. The rest is synced at the end.
            self.pacer = None;
            return Ok(None);
        }
        let Some(Item::Piece(piece)) = self.batch.item(self.next_run) else { return Ok(None) };
        let left_bytes = piece.len() - self.taken_bytes;
        let end = self.stream_bytes.checked_add(left_bytes);
        let end = end.ok_or_else(|| Error::damaged("the stream is longer than any volume"))?;
        if let Some(announced_bytes) = self.announced_bytes.filter(|&announced_bytes| announced_bytes < end) {
            return Err(other_length(announced_bytes, end));
        }
        let len = match piece {
            Piece::Zeros(_) => left_bytes.min(max_bytes).min(zeros_step_bytes(self.stream_bytes)),
            Piece::Data(_) | Piece::Kept(_) | Piece::Shared(_) | Piece::Offer(_) => left_bytes.min(max_bytes),
        };
        let from = self.taken_bytes;
        self.stream_bytes += len;
        self.progress.add_sent_bytes(len);
        if len == left_bytes {
            self.next_run += 1;
            self.taken_bytes = 0;
        } else {
            self.taken_bytes += len;
        }
        let piece = match piece {
            Piece::Zeros(_) => Piece::Zeros(len),
            Piece::Kept(_) => Piece::Kept(len),
            // Only a direct clone shares blocks.
            Piece::Shared(_) | Piece::Offer(_) => {
                return Err(Error::damaged("a block is shared over the network"));
            }
            Piece::Data(bytes) => {
                self.last_data_bytes = len;
                let start = usize::try_from(from).unwrap_or(usize::MAX);
                Piece::Data(&bytes[start..start + usize::try_from(len).unwrap_or(usize::MAX)])
            }
        };
        if self.content == ContentType::Block {
            self.verifier.content(&piece)?;
        }
        Ok(Some(piece))
    }
}
