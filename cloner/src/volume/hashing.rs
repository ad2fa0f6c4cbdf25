//! A sink that only computes digests.

use std::io::ErrorKind;
use std::os::unix::fs::FileExt;

use decant_shared::process::page_buffer::PageBuffer;
use decant_shared::process::stop::Stop;

use crate::digest::segments::SegmentHasher;
use crate::digest::{Digest, SEGMENT_BYTES};
use crate::error::{Error, Result};
use crate::stream::{FileRange, Purpose, Run, Sink};
use crate::volume::page_cache::drop_pages;
use crate::volume::raw::{shrank, unreadable};

/// The size of a read.
const READ_BYTES: usize = 256 << 10;

/// Computes the digests of what is written to it.
pub struct HashingSink<'a> {
    segments: SegmentHasher,
    buffer: PageBuffer,
    stop: &'a Stop,
    /// Called with the length of every run that is read or skipped.
    seen: &'a dyn Fn(u64),
    /// Whether to drop pages before they are read, so that the data comes from the disk.
    past_cache: bool,
    /// The end of the content that is needed.
    limit_bytes: u64,
}

impl<'a> HashingSink<'a> {
    /// Starts with no content. `seen` is called with the length of every run.
    pub fn new(stop: &'a Stop, seen: &'a dyn Fn(u64)) -> Self {
        let segments = SegmentHasher::default();
        let buffer = PageBuffer::aligned(READ_BYTES);
        let limit_bytes = u64::MAX;
        Self { segments, buffer, stop, seen, past_cache: false, limit_bytes }
    }

    /// Computes the digests of the first `count` segments. Writing more is an error: see [`HashingSink::is_full`].
    pub fn first(count: usize, stop: &'a Stop, seen: &'a dyn Fn(u64)) -> Self {
        Self { limit_bytes: count as u64 * SEGMENT_BYTES, ..Self::new(stop, seen) }
    }

    /// Whether all requested digests are computed.
    pub fn is_full(&self) -> bool {
        self.segments.position_bytes() >= self.limit_bytes
    }

    /// The digests of the complete segments, at most `limit`.
    pub fn complete(&mut self, limit: usize) -> Vec<Digest> {
        let mut digests = Vec::new();
        while let Some(run) = self.segments.next_complete() {
            let room = limit - digests.len();
            let count = usize::try_from(run.count).unwrap_or(room).min(room);
            digests.extend(std::iter::repeat_n(run.digest, count));
        }
        digests
    }

    /// Reads past the page cache. For files that were synced.
    pub fn past_cache(stop: &'a Stop) -> Self {
        Self { past_cache: true, ..Self::new(stop, &|_| {}) }
    }

    /// The digests.
    pub fn segments(&mut self) -> &mut SegmentHasher {
        &mut self.segments
    }

    /// Checks that more content is needed. Called before each member's content, because a small member gets no other
    /// check.
    fn check_limit(&self) -> Result<()> {
        if self.is_full() { Err(Error::neighbour("reader")) } else { Ok(()) }
    }

    fn zeros(&mut self, len: u64) -> Result<()> {
        let wanted = self.limit_bytes.saturating_sub(self.segments.position_bytes());
        self.segments.long_zeros(len.min(wanted), self.stop)?;
        if len > wanted { self.check_limit() } else { Ok(()) }
    }

    fn read(&mut self, range: FileRange<'_>) -> Result<()> {
        let FileRange { file, path, mut offset, mut len, .. } = range;
        if self.past_cache {
            drop_pages(file, offset, len);
        }
        while len > 0 {
            Error::check(self.stop)?;
            self.check_limit()?;
            let part = usize::try_from(len).map_or(READ_BYTES, |len| len.min(READ_BYTES));
            let got = match file.read_at(&mut self.buffer[..part], offset) {
                Ok(0) => return Err(shrank(path, offset, len)),
                Ok(got) => got,
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) => return Err(unreadable(path, offset, e)),
            };
            self.segments.data(&self.buffer[..got]);
            (self.seen)(got as u64);
            offset += got as u64;
            len -= got as u64;
        }
        Ok(())
    }
}

impl Sink for HashingSink<'_> {
    fn write(&mut self, purpose: Purpose, run: Run<'_>) -> Result<()> {
        if purpose == Purpose::Archive {
            return if matches!(run, Run::Bytes(_)) { self.check_limit() } else { Ok(()) };
        }
        let is_moved = purpose == Purpose::Content;
        match run {
            Run::File(range) => return self.read(range),
            Run::Bytes(bytes) => self.segments.data(bytes),
            Run::Zeros(len) => self.zeros(len)?,
        }
        if is_moved {
            (self.seen)(run.len());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_wanted_part_of_a_huge_hole_is_hashed() {
        let stop = Stop::new();
        let mut hashing = HashingSink::first(3, &stop, &|_| {});
        hashing.write(Purpose::Content, Run::Bytes(b"x")).unwrap();
        assert!(hashing.write(Purpose::Digest, Run::Zeros(1 << 62)).is_err(), "the reader can stop");
        assert!(hashing.is_full());
        assert_eq!(hashing.complete(3).len(), 3);
    }

    #[test]
    fn a_stop_ends_a_huge_hole() {
        let stop = Stop::new();
        stop.by_signal(15);
        let error =
            HashingSink::new(&stop, &|_| {}).write(Purpose::Content, Run::Zeros(1 << 62)).unwrap_err();
        assert!(matches!(error.kind(), crate::error::Kind::Signal(15)), "{error}");
    }
}
