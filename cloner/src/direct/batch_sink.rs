//! The reader's end: fills batches with the logical stream, and computes the digests of the content.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crossbeam_channel::Receiver;
use decant_shared::process::stop::Stop;
use decant_shared::protocol::progress::Progress;

use crate::digest::segments::SegmentHasher;
use crate::digest::{Digest, SEGMENT_BYTES};
use crate::direct::batch::Batch;
use crate::error::{Error, Result};
use crate::pipeline::lanes::{Deal, Pool};
use crate::pipeline::rate_limiter::RateLimiter;
use crate::stream::{FileRange, Purpose, Run, ShareAnswer, ShareOffer, Sink};
use crate::volume::page_cache::DropAfterRead;
use crate::volume::raw::{shrank, unreadable};
use crate::volume::reflink;

/// The minimum length of zeros that are passed on as zeros. It is one block of most filesystems, so that a file keeps all
/// of its holes.
const HOLE_LEAST_BYTES: u64 = 4 << 10;
/// A longer hole is passed on in parts, so that the writer gets parts while the digest of the rest is computed. The
/// digest of one part takes 20 ms.
const HOLE_AT_ONCE_BYTES: u64 = 64 << 40;

/// What a [`BatchSink`] needs.
#[derive(Clone, Copy)]
pub struct SinkContext<'a> {
    /// Where batches come from.
    pub pool: &'a Pool<Batch>,
    /// Counts what was read.
    pub progress: &'a Progress,
    /// Ends reading early.
    pub stop: &'a Stop,
}

/// Splits the logical stream into batches.
pub struct BatchSink<'a> {
    deal: Deal<Batch>,
    context: SinkContext<'a>,
    limiter: &'a RateLimiter,
    batch: Batch,
    segments: SegmentHasher,
    page_cache: DropAfterRead,
    /// Content of a directory that the target holds and that was not passed over yet.
    passing_bytes: u64,
    /// The writer's answers to offers; `None` if nothing is offered, because the target cannot share blocks.
    answers: Option<Receiver<ShareAnswer>>,
}

impl<'a> BatchSink<'a> {
    /// Makes a sink whose batches go to `deal`, at the rate that `limiter` permits.
    pub fn new(deal: Deal<Batch>, context: SinkContext<'a>, limiter: &'a RateLimiter) -> Self {
        Self {
            deal,
            context,
            limiter,
            batch: Batch::default(),
            segments: SegmentHasher::default(),
            page_cache: DropAfterRead::default(),
            passing_bytes: 0,
            answers: None,
        }
    }

    /// Offers files to the writer, so that the target shares their blocks. `answers` has one answer for each offer.
    pub fn sharing(mut self, answers: Option<Receiver<ShareAnswer>>) -> Self {
        self.answers = answers;
        self
    }

    /// Skips the first segments of an image, which the target holds and which have these digests. Must be the first
    /// call.
    pub fn keep(&mut self, held: &[Digest], content_bytes: u64) -> Result<()> {
        for &digest in held {
            let left_bytes = content_bytes - self.segments.position_bytes();
            self.segments.known(digest, left_bytes.min(SEGMENT_BYTES));
        }
        let kept_bytes = self.segments.position_bytes();
        if kept_bytes > 0 {
            self.kept(kept_bytes)?;
        }
        self.drop_digests();
        Ok(())
    }

    /// Skips content of a directory in the same way. The archive is made from the beginning, but without the content in
    /// these segments.
    pub fn pass_over(&mut self, held: &[Digest]) {
        held.iter().for_each(|&digest| self.segments.known(digest, SEGMENT_BYTES));
        self.passing_bytes = self.segments.position_bytes();
        self.drop_digests();
    }

    /// Sends the rest, the digest of the whole content, and the end. Must only be called when the source was read to
    /// its end.
    pub fn finish(mut self) -> Result<()> {
        let whole = self.segments.finish();
        self.batch.whole = Some(whole);
        self.context.progress.set_digest(whole.to_string());
        self.send()?;
        self.deal.end()
    }

    /// Sends the batch if it is full.
    fn make_room(&mut self) -> Result<()> {
        if self.batch.is_full() { self.send() } else { Ok(()) }
    }

    fn send(&mut self) -> Result<()> {
        Error::check(self.context.stop)?;
        let len = self.batch.read_bytes();
        self.limiter.wait(len, self.context.stop);
        self.context.progress.add_read_bytes(len as u64);
        let batch = std::mem::replace(&mut self.batch, self.context.pool.take());
        self.drop_digests();
        self.deal.send(batch)
    }

    /// The digests of single segments are not needed: the next attempt compares what is on the disk.
    fn drop_digests(&mut self) {
        while self.segments.next_complete().is_some() {}
    }

    /// Returns how many of the next `len` bytes of content the target holds, and counts them as passed over.
    fn passed(&mut self, len: u64) -> u64 {
        let passed = len.min(self.passing_bytes);
        self.passing_bytes -= passed;
        passed
    }

    fn kept(&mut self, len: u64) -> Result<()> {
        self.make_room()?;
        self.context.progress.add_read_bytes(len);
        self.batch.kept(len);
        Ok(())
    }

    fn append(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            self.make_room()?;
            let room = self.batch.room();
            let len = room.len().min(bytes.len());
            room[..len].copy_from_slice(&bytes[..len]);
            self.batch.filled(len);
            bytes = &bytes[len..];
        }
        Ok(())
    }

    fn append_zeros(&mut self, mut len: u64) -> Result<()> {
        if len >= HOLE_LEAST_BYTES {
            self.make_room()?;
            self.context.progress.add_read_bytes(len);
            self.batch.zeros(len);
            return Ok(());
        }
        while len > 0 {
            self.make_room()?;
            let room = self.batch.room();
            let part = usize::try_from(len).map_or(room.len(), |len| len.min(room.len()));
            room[..part].fill(0);
            self.batch.filled(part);
            len -= part as u64;
        }
        Ok(())
    }

    fn content_zeros(&mut self, mut len: u64) -> Result<()> {
        loop {
            let part = len.min(HOLE_AT_ONCE_BYTES);
            self.segments.long_zeros(part, self.context.stop)?;
            self.append_zeros(part)?;
            len -= part;
            if len == 0 {
                return Ok(());
            }
            self.send()?;
        }
    }

    fn content_file(&mut self, range: FileRange<'_>) -> Result<()> {
        let FileRange { file, path, mut offset, mut len, is_shared } = range;
        let passed = self.passed(len);
        if passed > 0 {
            self.kept(passed)?;
            offset += passed;
            len -= passed;
        }
        let until = offset + len;
        while len > 0 {
            self.page_cache.read(file, offset, until);
            self.make_room()?;
            let room = self.batch.room();
            let part = usize::try_from(len).map_or(room.len(), |len| len.min(room.len()));
            let got = match file.read_at(&mut room[..part], offset) {
                Ok(0) => return Err(shrank(path, offset, len)),
                Ok(got) => got,
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) => return Err(unreadable(path, offset, e)),
            };
            let bytes = if is_shared { self.batch.shared(got) } else { self.batch.filled(got) };
            self.segments.data(bytes);
            offset += got as u64;
            len -= got as u64;
        }
        self.page_cache.end(file, until);
        Ok(())
    }
}

impl Sink for BatchSink<'_> {
    fn write(&mut self, purpose: Purpose, run: Run<'_>) -> Result<()> {
        match (purpose, run) {
            (Purpose::Archive, Run::Bytes(bytes)) => {
                // The next file starts.
                self.page_cache = DropAfterRead::default();
                self.append(bytes)
            }
            (Purpose::Archive, Run::Zeros(len)) => self.append_zeros(len),
            (Purpose::Digest, Run::Bytes(bytes)) => {
                let passed = usize::try_from(self.passed(bytes.len() as u64)).unwrap_or(usize::MAX);
                self.segments.data(&bytes[passed..]);
                Ok(())
            }
            (Purpose::Digest, Run::Zeros(len)) => {
                let passed = self.passed(len);
                self.segments.long_zeros(len - passed, self.context.stop)
            }
            (Purpose::Content, Run::Bytes(bytes)) => {
                self.segments.data(bytes);
                self.append(bytes)
            }
            (Purpose::Content, Run::Zeros(0)) => Ok(()),
            (Purpose::Content, Run::Zeros(len)) => self.content_zeros(len),
            (_, Run::File(range)) => self.content_file(range),
        }
    }

    fn share(&mut self, file: &File, path: &Path) -> Result<Option<File>> {
        let Some(answers) = self.answers.clone().filter(|_| self.passing_bytes == 0) else { return Ok(None) };
        // If the descriptor cannot be duplicated, the content is copied.
        let Ok(source) = file.try_clone() else { return Ok(None) };
        self.batch.offer = Some(ShareOffer::new(source));
        self.send()?;
        match answers.recv().map_err(|_| Error::neighbour("writer"))? {
            Ok(shared) => Ok(Some(shared)),
            Err(errno) => {
                reflink::note_refusal(path, errno);
                if reflink::is_final(errno) {
                    self.answers = None;
                }
                Ok(None)
            }
        }
    }
}
