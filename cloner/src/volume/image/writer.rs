//! Splits an image into data and zeros.

use decant_shared::process::stop::Stop;

use crate::digest::ContentDigest;
use crate::digest::segments::SegmentHasher;
use crate::error::{Error, Result};
use crate::stream::{Piece, Pull};
use crate::volume::image::Medium;
use crate::volume::image::in_archive::ImageSink;
use crate::zeros::is_zero;

/// Data is searched for zeros in aligned pieces of this size, as in CDI's receiver. Smaller holes would save little and
/// fragment files.
const GRANULE_BYTES: usize = 32 << 10;
/// The maximum number of zeros in one call to the medium. A stop is checked between two calls.
const ZEROS_AT_ONCE_BYTES: u64 = 1 << 30;

/// Writes an image to a medium.
pub struct ImageWriter<'a, M> {
    medium: &'a mut M,
    /// Whether zeros in data are written as data, for preallocation (docs/protocol.md section 2.7).
    literal: bool,
    /// The number of zeros before `end` that were not passed to the medium yet.
    zeros_bytes: u64,
    end: u64,
    stop: &'a Stop,
    segments: Option<SegmentHasher>,
}

impl<'a, M: Medium> ImageWriter<'a, M> {
    /// Writes to `medium`. With `literal`, data is not searched for zeros.
    pub fn new(medium: &'a mut M, literal: bool, stop: &'a Stop) -> Self {
        Self { medium, literal, zeros_bytes: 0, end: 0, stop, segments: None }
    }

    /// Computes the digest of the image while it is written, for [`ImageWriter::digest`].
    pub fn digesting(mut self) -> Self {
        self.segments = Some(SegmentHasher::default());
        self
    }

    /// The digest of the image, if it is computed.
    pub fn digest(&mut self) -> Option<ContentDigest> {
        self.segments.as_mut().map(SegmentHasher::finish)
    }

    /// Writes a raw stream. `expected_bytes` is its length if that is known. Returns the length.
    pub fn write_stream(&mut self, pull: &mut impl Pull, expected_bytes: Option<u64>) -> Result<u64> {
        if let Some(expected_bytes) = expected_bytes {
            self.medium.expect(expected_bytes)?;
        }
        while let Some(piece) = pull.next_piece(u64::MAX)? {
            match piece {
                Piece::Data(bytes) => self.data(self.end, bytes)?,
                Piece::Zeros(len) => self.zeros(self.end, len)?,
                // The medium already has both.
                Piece::Kept(len) | Piece::Shared(len) => self.kept(self.end, len)?,
                Piece::Offer(offer) => self.medium.share(offer)?,
            }
        }
        Ok(self.end)
    }

    /// Writes the remaining zeros and makes the image durable. Returns its size.
    pub fn finish(mut self) -> Result<u64> {
        self.flush_zeros()?;
        self.medium.seal(self.end, self.stop)?;
        Ok(self.end)
    }

    /// Adds zeros, which are passed to the medium together with the zeros that follow.
    fn add_zeros(&mut self, len: u64) {
        self.zeros_bytes += len;
        self.end += len;
    }

    fn write_data(&mut self, bytes: &[u8]) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        Error::check(self.stop)?;
        self.flush_zeros()?;
        self.medium.write(self.end, bytes)?;
        self.end += bytes.len() as u64;
        Ok(())
    }

    fn flush_zeros(&mut self) -> Result<()> {
        let mut at = self.end - self.zeros_bytes;
        while self.zeros_bytes > 0 {
            Error::check(self.stop)?;
            let len = self.zeros_bytes.min(ZEROS_AT_ONCE_BYTES);
            self.medium.zero(at, len, self.stop)?;
            at += len;
            self.zeros_bytes -= len;
        }
        Ok(())
    }
}

impl<M: Medium> ImageSink for ImageWriter<'_, M> {
    fn begin(&mut self, size_bytes: u64) -> Result<()> {
        self.medium.expect(size_bytes)
    }

    fn data(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        debug_assert_eq!(offset, self.end);
        if let Some(segments) = &mut self.segments {
            segments.data(bytes);
        }
        if self.literal {
            return self.write_data(bytes);
        }
        let mut data_start = 0;
        for piece in granules(offset, bytes.len()) {
            if piece.len() == GRANULE_BYTES && is_zero(&bytes[piece.clone()]) {
                self.write_data(&bytes[data_start..piece.start])?;
                data_start = piece.end;
                self.add_zeros(GRANULE_BYTES as u64);
            }
        }
        self.write_data(&bytes[data_start..])
    }

    fn zeros(&mut self, offset: u64, len: u64) -> Result<()> {
        debug_assert_eq!(offset, self.end);
        let end = self.end.checked_add(len);
        self.medium.reach(end.ok_or_else(|| Error::damaged("the image is longer than any volume"))?)?;
        if let Some(segments) = &mut self.segments {
            segments.long_zeros(len, self.stop)?;
        }
        self.add_zeros(len);
        Ok(())
    }

    fn kept(&mut self, offset: u64, len: u64) -> Result<()> {
        debug_assert_eq!(offset, self.end);
        self.flush_zeros()?;
        self.end += len;
        Ok(())
    }
}

/// Splits `len` bytes at `offset` of the image at multiples of the granule.
fn granules(offset: u64, len: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
    let granule = GRANULE_BYTES as u64;
    let first = usize::try_from((granule - offset % granule) % granule).unwrap_or(0).min(len);
    let head = (first > 0).then_some(0..first);
    let rest = (first..len).step_by(GRANULE_BYTES).map(move |at| at..len.min(at + GRANULE_BYTES));
    head.into_iter().chain(rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A medium in memory that starts with arbitrary content.
    struct Paper {
        content: Vec<u8>,
        zeroed_bytes: u64,
        size_bytes: u64,
    }

    impl Medium for Paper {
        fn expect(&mut self, _: u64) -> Result<()> {
            Ok(())
        }
        fn reach(&mut self, end: u64) -> Result<()> {
            assert!(end <= self.content.len() as u64);
            Ok(())
        }
        fn file(&self) -> std::io::Result<std::fs::File> {
            tempfile::tempfile()
        }
        fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
            let at = usize::try_from(offset).unwrap();
            self.content[at..at + bytes.len()].copy_from_slice(bytes);
            Ok(())
        }
        fn zero(&mut self, offset: u64, len: u64, _: &Stop) -> Result<()> {
            let at = usize::try_from(offset).unwrap();
            self.content[at..at + usize::try_from(len).unwrap()].fill(0);
            self.zeroed_bytes += len;
            Ok(())
        }
        fn seal(&mut self, size_bytes: u64, _: &Stop) -> Result<()> {
            self.size_bytes = size_bytes;
            Ok(())
        }
        fn readable(&self) -> std::io::Result<std::fs::File> {
            tempfile::tempfile()
        }
        fn publish(&mut self) -> Result<()> {
            Ok(())
        }
    }

    fn write(pieces: &[Piece<'_>], literal: bool) -> (Vec<u8>, u64) {
        let mut paper = Paper { content: vec![0xee; 1 << 20], zeroed_bytes: 0, size_bytes: 0 };
        let stop = Stop::new();
        let mut writer = ImageWriter::new(&mut paper, literal, &stop);
        for piece in pieces {
            match piece {
                Piece::Data(bytes) => writer.data(writer.end, bytes).unwrap(),
                Piece::Zeros(len) => writer.zeros(writer.end, *len).unwrap(),
                Piece::Kept(len) | Piece::Shared(len) => writer.kept(writer.end, *len).unwrap(),
                Piece::Offer(_) => {}
            }
        }
        writer.finish().unwrap();
        paper.content.truncate(usize::try_from(paper.size_bytes).unwrap());
        (paper.content, paper.zeroed_bytes)
    }

    #[test]
    fn whole_granules_of_zeros_inside_data_are_zeroed_and_not_written() {
        let mut bytes = vec![1; 5 * GRANULE_BYTES];
        bytes[GRANULE_BYTES..3 * GRANULE_BYTES].fill(0);
        let (content, zeroed) = write(&[Piece::Data(&bytes)], false);
        assert!(content == bytes);
        assert_eq!(zeroed, 2 * GRANULE_BYTES as u64);
        assert_eq!(write(&[Piece::Data(&bytes)], true).1, 0);
    }

    #[test]
    fn zeros_at_the_end_are_written_too() {
        let (content, zeroed) = write(&[Piece::Data(b"x"), Piece::Zeros(99)], false);
        assert_eq!((content.len(), zeroed), (100, 99));
    }

    proptest! {
        #[test]
        fn what_is_read_back_is_what_was_given(
            runs in prop::collection::vec((any::<bool>(), 1usize..100_000), 1..8), literal in any::<bool>(),
        ) {
            let mut wanted = Vec::new();
            let blocks: Vec<Vec<u8>> = runs.iter().map(|(zero, len)| vec![u8::from(!*zero) * 7; *len]).collect();
            for block in &blocks {
                wanted.extend_from_slice(block);
            }
            let pieces: Vec<Piece<'_>> = blocks.iter().map(|block| Piece::Data(block)).collect();
            prop_assert!(write(&pieces, literal).0 == wanted);
        }
    }
}
