//! What the reader passes to the writer: buffers with runs of data, zeros and kept content.

use std::ops::Range;

use decant_shared::process::page_buffer::PageBuffer;

use crate::digest::ContentDigest;
use crate::pipeline::lanes::{Collect, Deal, Pool, fan_out};
use crate::stream::{Piece, ShareOffer};

/// The size of a buffer. The reader reads into it and hashes it while it is in the processor's cache, and one call writes
/// it.
pub const BATCH_BYTES: usize = 256 << 10;
/// The number of batches between reader and writer. They absorb the time of a sync, and of a slow read.
const DEPTH: usize = 8;
/// The maximum number of runs in one batch.
const RUNS_LIMIT: usize = 1024;

/// A run of the logical stream.
#[derive(Debug, Clone)]
pub enum BatchRun {
    /// In the buffer.
    Data(Range<usize>),
    /// This many zeros.
    Zeros(u64),
    /// This many bytes that the target holds.
    Kept(u64),
    /// This many bytes in blocks that the target shares.
    Shared(u64),
}

/// A part of the logical stream.
#[derive(Debug)]
pub struct Batch {
    buffer: PageBuffer,
    used_bytes: usize,
    /// Number of bytes that were read into the buffer only for the digest, because the target shares their blocks.
    shared_bytes: usize,
    runs: Vec<BatchRun>,
    /// An offer that follows the runs. The reader waits for its answer.
    pub offer: Option<ShareOffer>,
    /// The digest of the whole content, in the last batch.
    pub whole: Option<ContentDigest>,
}

impl Default for Batch {
    fn default() -> Self {
        Self {
            buffer: PageBuffer::aligned(BATCH_BYTES),
            used_bytes: 0,
            shared_bytes: 0,
            runs: Vec::new(),
            offer: None,
            whole: None,
        }
    }
}

/// Makes the channel from the reader to the writer, and the pool of its batches.
pub fn batches() -> (Deal<Batch>, Collect<Batch>, Pool<Batch>) {
    let (deal, mut collect) = fan_out(1, DEPTH, "writer");
    // One lane was requested.
    let collect = collect.remove(0);
    (deal, collect, Pool::for_lanes(DEPTH / 2))
}

impl Batch {
    /// Whether no more data fits.
    pub fn is_full(&self) -> bool {
        self.read_bytes() >= BATCH_BYTES || self.runs.len() >= RUNS_LIMIT
    }

    /// The number of runs.
    pub fn run_count(&self) -> usize {
        self.runs.len()
    }

    /// The number of bytes that were read or generated for this batch.
    pub fn read_bytes(&self) -> usize {
        self.used_bytes + self.shared_bytes
    }

    /// The free part of the buffer.
    pub fn room(&mut self) -> &mut [u8] {
        &mut self.buffer[self.used_bytes..]
    }

    /// Adds the first `len` bytes of [`Self::room`] to the stream. Returns them.
    pub fn filled(&mut self, len: usize) -> &[u8] {
        let start = self.used_bytes;
        self.used_bytes += len;
        match self.runs.last_mut() {
            Some(BatchRun::Data(last)) => last.end += len,
            _ => self.runs.push(BatchRun::Data(start..start + len)),
        }
        &self.buffer[start..start + len]
    }

    /// Adds zeros.
    pub fn zeros(&mut self, len: u64) {
        match self.runs.last_mut() {
            Some(BatchRun::Zeros(last)) if last.checked_add(len).is_some() => *last += len,
            _ => self.runs.push(BatchRun::Zeros(len)),
        }
    }

    /// Adds content that the target holds.
    pub fn kept(&mut self, len: u64) {
        self.runs.push(BatchRun::Kept(len));
    }

    /// Adds the first `len` bytes of [`Self::room`] to the stream as bytes that the target shares, and returns them. The
    /// next read overwrites them.
    pub fn shared(&mut self, len: usize) -> &[u8] {
        self.shared_bytes += len;
        match self.runs.last_mut() {
            Some(BatchRun::Shared(last)) => *last += len as u64,
            _ => self.runs.push(BatchRun::Shared(len as u64)),
        }
        &self.buffer[self.used_bytes..self.used_bytes + len]
    }

    /// The run `index`.
    pub fn piece(&self, index: usize) -> Option<Piece<'_>> {
        self.runs.get(index).map(|run| match run {
            BatchRun::Data(range) => Piece::Data(&self.buffer[range.clone()]),
            BatchRun::Zeros(len) => Piece::Zeros(*len),
            BatchRun::Kept(len) => Piece::Kept(*len),
            BatchRun::Shared(len) => Piece::Shared(*len),
        })
    }

    /// Empties it.
    pub fn clear(&mut self) {
        self.used_bytes = 0;
        self.shared_bytes = 0;
        self.runs.clear();
        self.offer = None;
        self.whole = None;
    }
}
