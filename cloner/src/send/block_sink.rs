//! The first stage: splits the stream into blocks, and computes the digests of the content.

use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, PoisonError};

use decant_shared::process::stop::Stop;
use decant_shared::protocol::progress::Progress;

use crate::digest::segments::{SegmentHasher, ZERO_SEGMENT};
use crate::digest::{Digest, HELD_LIMIT, SEGMENT_BYTES};
use crate::error::{Error, Result};
use crate::pipeline::lanes::Deal;
use crate::send::block::{BlockBuffer, BufferPools, SourceBlock};
use crate::send::compression::{BlockMode, CompressionMode};
use crate::snappy::CHUNK_BYTES;
use crate::snappy::mark::Mark;
use crate::stream::{FileRange, Purpose, Run, Sink};
use crate::volume::page_cache::DropAfterRead;
use crate::volume::raw::{shrank, unreadable};

/// The maximum number of zeros in one message, so that its frames (3 KiB per 64 KiB) fit into a buffer.
const ZEROS_AT_ONCE_BYTES: u64 = 4 << 20;

/// The minimum length of a hole that is sent as a hole, to a target that understands holes. It is one block of most
/// filesystems, so that a file keeps all of its holes.
const HOLE_LEAST_BYTES: u64 = 4 << 10;

/// A longer hole is sent in parts, so that the target receives parts while the digest of the rest is computed. The
/// digest of one part takes 20 ms.
const HOLE_AT_ONCE_BYTES: u64 = 64 << 40;

/// The digests of the first segments, computed while they were sent. They are kept for later attempts.
#[derive(Debug, Default)]
pub struct ComputedDigests(Mutex<Vec<Digest>>);

impl ComputedDigests {
    /// The digest of segment `index`, if a previous attempt sent it.
    pub fn get(&self, index: usize) -> Option<Digest> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(index).copied()
    }

    /// The digests of the first `count` segments, if previous attempts sent that many.
    pub fn first(&self, count: usize) -> Option<Vec<Digest>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(..count).map(<[Digest]>::to_vec)
    }

    /// Stores the digest of segment `index`, if it is the next one.
    pub(super) fn set(&self, index: u64, digest: Digest) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if index == all.len() as u64 && all.len() < HELD_LIMIT {
            all.push(digest);
        }
    }
}

/// What a [`BlockSink`] needs.
#[derive(Clone, Copy)]
pub struct BlockContext<'a> {
    /// Decides which blocks are stored without compression. The sink turns those into frames.
    pub compression_mode: &'a CompressionMode,
    /// Where buffers come from.
    pub buffers: &'a BufferPools,
    /// Keeps the digests for later attempts.
    pub computed: &'a ComputedDigests,
    /// Whether the target understands holes.
    pub has_holes: bool,
    /// Counts what was read.
    pub progress: &'a Progress,
    /// Ends reading early.
    pub stop: &'a Stop,
}

/// Splits the logical stream into blocks and passes them to the compressors.
pub struct BlockSink<'a> {
    deal: Deal<SourceBlock>,
    context: BlockContext<'a>,
    buffer: BlockBuffer,
    segments: SegmentHasher,
    page_cache: DropAfterRead,
    /// Content of a directory that the target holds and that was not passed over yet.
    passing_bytes: u64,
}

impl<'a> BlockSink<'a> {
    /// Makes a sink whose blocks go to `deal`.
    pub fn new(deal: Deal<SourceBlock>, context: BlockContext<'a>) -> Self {
        Self {
            deal,
            context,
            buffer: BlockBuffer::default(),
            segments: SegmentHasher::default(),
            page_cache: DropAfterRead::default(),
            passing_bytes: 0,
        }
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
            self.context.progress.add_read_bytes(kept_bytes);
            self.deal.send(SourceBlock::Marks(vec![Mark::Kept(kept_bytes)]))?;
        }
        self.send_marks(None)
    }

    /// Skips content of a directory in the same way. The archive is made from the beginning, but without the content in
    /// these segments.
    pub fn pass_over(&mut self, held: &[Digest]) -> Result<()> {
        held.iter().for_each(|&digest| self.segments.known(digest, SEGMENT_BYTES));
        self.passing_bytes = self.segments.position_bytes();
        self.send_marks(None)
    }

    /// Returns how many of the next `len` bytes of content the target holds, and counts them as passed over.
    fn passed(&mut self, len: u64) -> u64 {
        let passed = len.min(self.passing_bytes);
        self.passing_bytes -= passed;
        passed
    }

    /// Sends the rest, the digest of the whole content, and the end. Must only be called when the source was read to
    /// its end.
    pub fn finish(mut self) -> Result<()> {
        self.flush()?;
        let whole = self.segments.finish();
        self.send_marks(Some(Mark::Content(whole)))?;
        self.context.progress.set_digest(whole.to_string());
        self.deal.end()
    }

    /// Ensures that the buffer has space.
    fn make_room(&mut self) -> Result<()> {
        if self.buffer.is_full() { self.flush() } else { Ok(()) }
    }

    /// Sends the content of the buffer, and the digests of the segments that end in it.
    fn flush(&mut self) -> Result<()> {
        Error::check(self.context.stop)?;
        if !self.buffer.is_empty() {
            let data = std::mem::replace(&mut self.buffer, self.context.buffers.block());
            let len = data.len();
            self.context.progress.add_read_bytes(len as u64);
            self.deal.send(match self.context.compression_mode.mode() {
                BlockMode::Adaptive => SourceBlock::Data(data),
                // Here the data is still in the processor's cache.
                BlockMode::Stored => data.store().map_or_else(SourceBlock::Data, SourceBlock::Stored),
            })?;
        }
        self.send_marks(None)
    }

    fn send_marks(&mut self, last: Option<Mark>) -> Result<()> {
        let mut marks = Vec::new();
        while let Some(run) = self.segments.next_complete() {
            let end = (run.first + run.count).min(HELD_LIMIT as u64);
            (run.first..end).for_each(|index| self.context.computed.set(index, run.digest));
            if run.digest != *ZERO_SEGMENT {
                marks.push(Mark::Segment(run.first, run.digest));
            }
        }
        marks.extend(last);
        if marks.is_empty() { Ok(()) } else { self.deal.send(SourceBlock::Marks(marks)) }
    }

    fn append(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            self.make_room()?;
            let room = self.buffer.room();
            let len = room.len().min(bytes.len());
            room[..len].copy_from_slice(&bytes[..len]);
            self.buffer.filled(len);
            bytes = &bytes[len..];
        }
        Ok(())
    }

    /// Appends a hole of the source.
    fn append_hole(&mut self, len: u64) -> Result<()> {
        if !self.context.has_holes || len < HOLE_LEAST_BYTES {
            return self.append_zeros(len);
        }
        self.flush()?;
        self.context.progress.add_read_bytes(len);
        self.deal.send(SourceBlock::Marks(vec![Mark::Hole(len)]))
    }

    fn append_zeros(&mut self, mut len: u64) -> Result<()> {
        if len >= CHUNK_BYTES as u64 {
            self.flush()?;
            if self.context.has_holes {
                return self.append_hole(len);
            }
        }
        while len >= CHUNK_BYTES as u64 {
            Error::check(self.context.stop)?;
            let part = len.min(ZEROS_AT_ONCE_BYTES);
            self.context.progress.add_read_bytes(part);
            self.deal.send(SourceBlock::Zeros(part))?;
            len -= part;
        }
        while len > 0 {
            self.make_room()?;
            let room = self.buffer.room();
            let part = usize::try_from(len).map_or(room.len(), |len| len.min(room.len()));
            room[..part].fill(0);
            self.buffer.filled(part);
            len -= part as u64;
        }
        Ok(())
    }

    /// Adds content to the digest that the archive represents in another way.
    fn digest_bytes(&mut self, bytes: &[u8]) {
        let passed = usize::try_from(self.passed(bytes.len() as u64)).unwrap_or(usize::MAX);
        self.segments.data(&bytes[passed..]);
    }

    fn digest_zeros(&mut self, len: u64) -> Result<()> {
        let passed = self.passed(len);
        self.segments.long_zeros(len - passed, self.context.stop)
    }

    fn content_zeros(&mut self, mut len: u64) -> Result<()> {
        loop {
            let part = len.min(HOLE_AT_ONCE_BYTES);
            self.segments.long_zeros(part, self.context.stop)?;
            self.append_hole(part)?;
            len -= part;
            if len == 0 {
                return Ok(());
            }
        }
    }

    fn content_file(&mut self, range: FileRange<'_>) -> Result<()> {
        let FileRange { file, path, mut offset, mut len, is_shared } = range;
        let passed = self.passed(len);
        if passed > 0 {
            self.flush()?;
            self.context.progress.add_read_bytes(passed);
            self.deal.send(SourceBlock::Marks(vec![Mark::Kept(passed)]))?;
            offset += passed;
            len -= passed;
        }
        let mut rest = FileRange { file, path, offset, len, is_shared };
        let done = self.read_rest(&mut rest);
        // Also after an error: the next attempt would take these pages for those of another program.
        self.page_cache.end(file, rest.offset);
        done
    }

    /// Reads a range to its end. After an error, `range` is what was not read.
    fn read_rest(&mut self, range: &mut FileRange<'_>) -> Result<()> {
        let until = range.offset + range.len;
        while range.len > 0 {
            self.page_cache.read(range.file, range.offset, until);
            self.make_room()?;
            let room = self.buffer.room();
            let part = usize::try_from(range.len).map_or(room.len(), |len| len.min(room.len()));
            let got = match range.file.read_at(&mut room[..part], range.offset) {
                Ok(got) => got,
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) => return Err(unreadable(range.path, range.offset, e)),
            };
            if got == 0 {
                return Err(shrank(range.path, range.offset, range.len));
            }
            self.segments.data(&room[..got]);
            self.buffer.filled(got);
            range.offset += got as u64;
            range.len -= got as u64;
        }
        Ok(())
    }
}

impl Sink for BlockSink<'_> {
    fn write(&mut self, purpose: Purpose, run: Run<'_>) -> Result<()> {
        match (purpose, run) {
            (Purpose::Archive, Run::Bytes(bytes)) => {
                // The next file starts.
                self.page_cache = DropAfterRead::default();
                self.append(bytes)
            }
            (Purpose::Archive, Run::Zeros(len)) => self.append_zeros(len),
            (Purpose::Digest, Run::Bytes(bytes)) => {
                self.digest_bytes(bytes);
                Ok(())
            }
            (Purpose::Digest, Run::Zeros(len)) => self.digest_zeros(len),
            (Purpose::Content, Run::Bytes(bytes)) => {
                self.segments.data(bytes);
                self.append(bytes)
            }
            (Purpose::Content, Run::Zeros(len)) => self.content_zeros(len),
            (_, Run::File(range)) => self.content_file(range),
        }
    }
}
