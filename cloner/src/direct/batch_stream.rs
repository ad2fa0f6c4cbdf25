//! The writer's end: the logical stream as pieces.

use std::cell::Cell;
use std::rc::Rc;

use crossbeam_channel::Sender;
use decant_shared::process::stop::Stop;
use decant_shared::protocol::progress::{Phase, Progress};

use crate::digest::ContentDigest;
use crate::direct::batch::Batch;
use crate::error::{Error, Result};
use crate::pipeline::lanes::{Collect, Pool};
use crate::stream::{Piece, Pull, ShareAnswer, ShareOffer};
use crate::tar::reader::VerifyContent;
use crate::writing::Verification;
use crate::writing::checked_stream::{CheckedStream, ContentVerifier};
use crate::writing::sync::Pacer;

/// Takes batches from the reader and yields their pieces.
pub struct BatchStream<'a> {
    batches: Collect<Batch>,
    pool: &'a Pool<Batch>,
    progress: &'a Progress,
    batch: Batch,
    next_run: usize,
    /// Number of bytes of run `next_run` that were already yielded.
    taken_bytes: u64,
    stream_bytes: u64,
    verifier: Rc<DirectVerifier>,
    has_ended: bool,
    pacer: Option<Pacer>,
    /// See [`Pull::hold_durable`].
    held_from_bytes: Option<u64>,
    /// Number of data bytes in the last piece. They are written by the time the next piece is requested.
    last_data_bytes: u64,
    /// The last piece, if it was an offer. It is answered when the next piece is requested.
    offer: Option<ShareOffer>,
    /// The channel to the reader, which waits for the answer to each offer.
    answers: Option<Sender<ShareAnswer>>,
    stop: &'a Stop,
}

/// What the writer needs to know about the content. The reader has computed the digest of the same bytes, in the same
/// memory, so they are not hashed again.
#[derive(Debug)]
struct DirectVerifier {
    /// Content of an archive that the target holds and that was not passed over yet.
    passing_bytes: Cell<u64>,
    whole: Cell<Option<ContentDigest>>,
}

impl<'a> BatchStream<'a> {
    /// Reads from `batches` and returns used ones to `pool`. Yielded bytes count as sent in `progress`. The target holds
    /// the first `passing_bytes` of an archive's content. Ends early when `stop` is set.
    pub fn new(
        batches: Collect<Batch>,
        pool: &'a Pool<Batch>,
        progress: &'a Progress,
        passing_bytes: u64,
        stop: &'a Stop,
    ) -> Self {
        Self {
            batches,
            pool,
            progress,
            batch: Batch::default(),
            next_run: 0,
            taken_bytes: 0,
            stream_bytes: 0,
            verifier: Rc::new(DirectVerifier {
                passing_bytes: Cell::new(passing_bytes),
                whole: Cell::new(None),
            }),
            has_ended: false,
            pacer: None,
            held_from_bytes: None,
            last_data_bytes: 0,
            offer: None,
            answers: None,
            stop,
        }
    }

    /// Sends the answer to each of the reader's offers to `answers`.
    pub fn answering(mut self, answers: Option<Sender<ShareAnswer>>) -> Self {
        self.answers = answers;
        self
    }

    /// Sends the answer to the last offer, if there is one.
    fn send_answer(&mut self) -> Result<()> {
        match (self.offer.take(), &self.answers) {
            (Some(offer), Some(answers)) => {
                answers.send(offer.into_answer()).map_err(|_| Error::neighbour("reader"))
            }
            _ => Ok(()),
        }
    }

    /// Advances to the next run of bytes, or to an offer. Returns `false` if the stream is complete.
    fn advance(&mut self) -> Result<bool> {
        while !self.has_ended {
            if self.next_run < self.batch.run_count() || self.batch.offer.is_some() {
                return Ok(true);
            }
            if let Some(whole) = self.batch.whole {
                self.verifier.whole.set(Some(whole));
            }
            let received = self.batches.receive().map_err(|error| {
                // The reader ends early on a stop, too.
                Error::check(self.stop).err().unwrap_or(error)
            })?;
            match received {
                Some(batch) => {
                    let mut used = std::mem::replace(&mut self.batch, batch);
                    used.clear();
                    self.pool.give(used);
                    self.next_run = 0;
                }
                None => {
                    self.has_ended = true;
                    self.progress.enter(Phase::Sync);
                }
            }
        }
        Ok(false)
    }
}

impl Pull for BatchStream<'_> {
    fn next_piece(&mut self, max_bytes: u64) -> Result<Option<Piece<'_>>> {
        Error::check(self.stop)?;
        self.send_answer()?;
        if let Some(pacer) = &mut self.pacer {
            let written_bytes = self.held_from_bytes.unwrap_or(self.stream_bytes);
            pacer.written(written_bytes, std::mem::take(&mut self.last_data_bytes))?;
        }
        if !self.advance()? {
            // The writer writes nothing more. The rest is synced at the end.
            self.pacer = None;
            return Ok(None);
        }
        if self.next_run == self.batch.run_count() {
            self.offer = self.batch.offer.take();
            return Ok(self.offer.as_ref().map(Piece::Offer));
        }
        let Some(piece) = self.batch.piece(self.next_run) else { return Ok(None) };
        let left_bytes = piece.len() - self.taken_bytes;
        let len = left_bytes.min(max_bytes);
        let end = self.stream_bytes.checked_add(len);
        self.stream_bytes = end.ok_or_else(|| Error::damaged("the stream is longer than any volume"))?;
        self.progress.add_sent_bytes(len);
        let from = self.taken_bytes;
        if len == left_bytes {
            self.next_run += 1;
            self.taken_bytes = 0;
        } else {
            self.taken_bytes += len;
        }
        Ok(Some(match piece {
            Piece::Zeros(_) => Piece::Zeros(len),
            Piece::Kept(_) => Piece::Kept(len),
            Piece::Shared(_) => {
                self.progress.add_shared_bytes(len);
                Piece::Shared(len)
            }
            Piece::Offer(offer) => Piece::Offer(offer),
            Piece::Data(bytes) => {
                self.last_data_bytes = len;
                let start = usize::try_from(from).unwrap_or(usize::MAX);
                Piece::Data(&bytes[start..start + usize::try_from(len).unwrap_or(usize::MAX)])
            }
        }))
    }

    fn hold_durable(&mut self, from_bytes: Option<u64>) {
        self.held_from_bytes = from_bytes;
    }
}

impl<'a> CheckedStream<'a> for BatchStream<'a> {
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
        while self.next_piece(u64::MAX)?.is_some() {}
        match self.verifier.whole.get() {
            Some(content_digest) => {
                Ok((self.stream_bytes, Verification { content_digest, is_confirmed: true }))
            }
            None => Err(Error::neighbour("reader")),
        }
    }
}

impl ContentVerifier for DirectVerifier {
    fn found(&self) -> Option<ContentDigest> {
        self.whole.get()
    }
}

impl VerifyContent for DirectVerifier {
    fn held_bytes(&self) -> u64 {
        self.passing_bytes.get()
    }

    fn zeros_step_bytes(&self) -> u64 {
        u64::MAX
    }

    fn record(&self, bytes: &[u8]) -> Result<()> {
        let passing_bytes = self.passing_bytes.get();
        self.passing_bytes.set(passing_bytes.saturating_sub(bytes.len() as u64));
        Ok(())
    }

    fn content(&self, piece: &Piece<'_>) -> Result<()> {
        let passing_bytes = self.passing_bytes.get();
        if passing_bytes == 0 {
            return Ok(());
        }
        let left_bytes = match piece {
            Piece::Kept(len) => passing_bytes.checked_sub(*len),
            Piece::Offer(_) => return Ok(()),
            Piece::Data(_) | Piece::Zeros(_) | Piece::Shared(_) => None,
        };
        let wrong = || Error::damaged("the reader resumes at another position than the writer");
        self.passing_bytes.set(left_bytes.ok_or_else(wrong)?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::direct::batch::{BATCH_BYTES, batches};
    use crate::writing::sync::{Synced, paced};
    use decant_test_support::until;
    use std::thread::{scope, sleep};
    use std::time::Duration;

    /// Takes the next byte. The pause gives the syncer time, which syncs at least once a second.
    fn step(stream: &mut BatchStream<'_>) {
        sleep(Duration::from_millis(50));
        assert!(stream.next_piece(1).unwrap().is_some());
    }

    fn step_until_durable(stream: &mut BatchStream<'_>, progress: &Progress, bytes: u64) {
        until(&format!("{bytes} durable bytes"), || {
            step(stream);
            progress.durable_bytes().is_some_and(|durable_bytes| durable_bytes >= bytes)
        });
    }

    #[test]
    fn what_the_writer_holds_back_is_not_reported_as_durable() {
        let (progress, stop) = (Progress::new(0), Stop::new());
        let (mut deal, collect, pool) = batches();
        let directory = tempfile::tempdir().unwrap();
        let synced = Synced::Tree(std::fs::File::open(directory.path()).unwrap().into(), "t".into());
        scope(|scope| {
            scope.spawn(move || {
                let mut batch = Batch::default();
                batch.filled(BATCH_BYTES);
                deal.send(batch)
            });
            let mut stream = BatchStream::new(collect, &pool, &progress, 0, &stop);
            paced(&mut stream, synced, &stop, |stream| {
                stream.next_piece(5000).map(drop)?;
                stream.hold_durable(Some(3000));
                step_until_durable(stream, &progress, 3000);
                (0..40).for_each(|_| step(stream));
                assert_eq!(progress.durable_bytes(), Some(3000));
                stream.hold_durable(None);
                step_until_durable(stream, &progress, 5000);
                Ok(())
            })
            .unwrap();
        });
    }
}
