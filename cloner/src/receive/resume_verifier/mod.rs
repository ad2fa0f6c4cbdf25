//! Compares the content that arrives with the sender's digests.

use std::cell::RefCell;
use std::collections::VecDeque;

use crate::digest::segments::{SegmentHasher, SegmentRun, ZERO_SEGMENT, push_run, zeros_step_bytes};
use crate::digest::{ContentDigest, Digest, HELD_LIMIT, SEGMENT_BYTES};
use crate::error::{Error, Result};
use crate::snappy::mark::Mark;
use crate::stream::Piece;
use crate::tar::reader::VerifyContent;
use crate::writing::Verification;
use crate::writing::checked_stream::ContentVerifier;

/// A sender sends each digest right after its segment. A sender that sends more digests than this ahead of its data is
/// faulty.
const AHEAD_LIMIT: usize = 1024;
/// A sender that sends digests sends one right after each segment that is not zeros. The digests of kept segments may
/// be missing. A sender that leaves out more than this is faulty.
const BEHIND_LIMIT: usize = HELD_LIMIT + 1024;

/// Verifies the content that arrives, on the writer's thread.
#[derive(Debug, Default)]
pub struct ResumeVerifier(RefCell<Inner>);

#[derive(Debug, Default)]
struct Inner {
    segments: SegmentHasher,
    /// Computed digests that were not compared yet.
    computed: VecDeque<SegmentRun>,
    /// Digests of the sender that were not compared yet.
    expected: VecDeque<(u64, Digest)>,
    content_digest: Option<ContentDigest>,
    /// The computed digest of the complete content.
    found: Option<ContentDigest>,
    has_marks: bool,
    /// The segments that this target holds from a previous attempt.
    held: Vec<Digest>,
    /// The segments that were compared, starting with the first one.
    proven: Vec<Digest>,
    /// Content of an archive that is in held segments and that was not passed over yet.
    passing_bytes: u64,
}

impl ResumeVerifier {
    /// Verifies content whose first segments, `held`, are already on the target.
    pub fn new(held: Vec<Digest>) -> Self {
        Self(RefCell::new(Inner { held, ..Inner::default() }))
    }

    /// Like [`Self::new`], for the content of an archive: the reader of the archive passes over held content, record by
    /// record and run by run.
    pub fn passing_over(held: Vec<Digest>) -> Self {
        let mut inner = Inner::default();
        held.into_iter().for_each(|digest| inner.segments.known(digest, SEGMENT_BYTES));
        inner.passing_bytes = inner.segments.position_bytes();
        Self(RefCell::new(inner))
    }

    /// Takes a mark of the sender.
    pub fn mark(&self, mark: Mark) -> Result<()> {
        let inner = &mut *self.0.borrow_mut();
        inner.has_marks = true;
        match mark {
            Mark::Segment(index, digest) if inner.expected.len() < AHEAD_LIMIT => {
                inner.expected.push_back((index, digest));
            }
            Mark::Segment(..) => return Err(Error::damaged("digests without data")),
            Mark::Content(content_digest) => inner.content_digest = Some(content_digest),
            Mark::Hole(_) | Mark::Kept(_) | Mark::Turn(_) => {}
        }
        inner.settle()
    }

    /// Ends the content: it must agree with all of the sender's digests.
    pub fn finish(&self) -> Result<Verification> {
        let inner = &mut *self.0.borrow_mut();
        let content_digest = inner.segments.finish();
        inner.found = Some(content_digest);
        inner.settle()?;
        if !inner.has_marks {
            return Ok(Verification { content_digest, is_confirmed: false });
        }
        while let Some(run) = inner.computed.pop_front() {
            inner.prove_zeros(run, run.count)?;
        }
        match inner.content_digest {
            Some(sent) if sent == content_digest && inner.expected.is_empty() => {
                Ok(Verification { content_digest, is_confirmed: true })
            }
            Some(sent) => {
                let text = format!("the whole content is {content_digest} here and {sent} at the source");
                Err(Error::damaged(text))
            }
            None => Err(Error::damaged("the digest of the whole content is missing")),
        }
    }

    /// Takes the digests of all segments that arrived and agree, starting with the first one.
    pub fn proven(&self) -> Vec<Digest> {
        std::mem::take(&mut self.0.borrow_mut().proven)
    }
}

impl ContentVerifier for ResumeVerifier {
    fn found(&self) -> Option<ContentDigest> {
        self.0.borrow().found
    }
}

impl VerifyContent for ResumeVerifier {
    fn held_bytes(&self) -> u64 {
        self.0.borrow().passing_bytes
    }

    fn zeros_step_bytes(&self) -> u64 {
        zeros_step_bytes(self.0.borrow().segments.position_bytes())
    }

    fn record(&self, bytes: &[u8]) -> Result<()> {
        let passing_bytes = self.held_bytes();
        let passed = usize::try_from(passing_bytes).unwrap_or(usize::MAX).min(bytes.len());
        self.0.borrow_mut().passing_bytes -= passed as u64;
        let rest = &bytes[passed..];
        if rest.is_empty() { Ok(()) } else { self.content(&Piece::Data(rest)) }
    }

    fn content(&self, piece: &Piece<'_>) -> Result<()> {
        let inner = &mut *self.0.borrow_mut();
        if inner.passing_bytes > 0 {
            return inner.pass_over(piece);
        }
        inner.segments.check_room(piece.len())?;
        match piece {
            Piece::Data(bytes) => inner.segments.data(bytes),
            Piece::Zeros(len) => inner.segments.zeros(*len),
            Piece::Kept(len) => inner.kept(*len)?,
            // Only a direct clone shares blocks, and it does not use this verifier.
            Piece::Offer(_) | Piece::Shared(_) => {
                return Err(Error::damaged("a block is shared over the network"));
            }
        }
        inner.settle()
    }
}

impl Inner {
    /// Passes over content of an archive that is held: the sender does not send it again.
    fn pass_over(&mut self, piece: &Piece<'_>) -> Result<()> {
        let left_bytes = match piece {
            Piece::Kept(len) => self.passing_bytes.checked_sub(*len),
            Piece::Data(_) | Piece::Zeros(_) | Piece::Offer(_) | Piece::Shared(_) => None,
        };
        let wrong = || Error::damaged("the sender resumes at another position than this target");
        self.passing_bytes = left_bytes.ok_or_else(wrong)?;
        Ok(())
    }

    fn kept(&mut self, mut len: u64) -> Result<()> {
        let position = self.segments.position_bytes();
        if !position.is_multiple_of(SEGMENT_BYTES) {
            return Err(Error::damaged("a kept run does not begin at a segment"));
        }
        let mut index = usize::try_from(position / SEGMENT_BYTES).unwrap_or(usize::MAX);
        while len > 0 {
            let Some(&digest) = self.held.get(index) else {
                return Err(Error::damaged(format!("the sender keeps segment {index}, which is not here")));
            };
            let part = len.min(SEGMENT_BYTES);
            self.segments.known(digest, part);
            len -= part;
            index += 1;
        }
        Ok(())
    }

    /// Compares the digests of all segments for which both digests are known.
    fn settle(&mut self) -> Result<()> {
        while let Some(run) = self.segments.next_complete() {
            push_run(&mut self.computed, run);
        }
        if !self.has_marks && self.computed.len() > HELD_LIMIT {
            self.computed.pop_front();
        }
        while let (Some(&run), Some(&(index, digest))) = (self.computed.front(), self.expected.front()) {
            if index < run.first {
                return Err(Error::damaged(format!("the digest of segment {index} is out of order")));
            }
            let before = (index - run.first).min(run.count);
            self.prove_zeros(run, before)?;
            self.computed.pop_front();
            if before == run.count {
                continue;
            }
            if run.digest != digest {
                return Err(mismatch(index));
            }
            self.prove(digest, 1);
            self.expected.pop_front();
            if run.count - before > 1 {
                self.computed.push_front(SegmentRun {
                    first: index + 1,
                    count: run.count - before - 1,
                    ..run
                });
            }
        }
        if self.computed.len() > BEHIND_LIMIT {
            let first = self.computed.front().map_or(0, |run| run.first);
            return Err(Error::damaged(format!("the digests of the segments from {first} on are missing")));
        }
        Ok(())
    }

    /// Accepts the first `count` segments of `run` without a digest of the sender. Only zeros may have none.
    fn prove_zeros(&mut self, run: SegmentRun, count: u64) -> Result<()> {
        if count > 0 && run.digest != *ZERO_SEGMENT {
            return Err(mismatch(run.first));
        }
        self.prove(run.digest, count);
        Ok(())
    }

    fn prove(&mut self, digest: Digest, count: u64) {
        let room = HELD_LIMIT - self.proven.len().min(HELD_LIMIT);
        let count = usize::try_from(count).unwrap_or(room).min(room);
        self.proven.extend(std::iter::repeat_n(digest, count));
    }
}

fn mismatch(index: u64) -> Error {
    let from = index * (SEGMENT_BYTES >> 20);
    Error::damaged(format!(
        "segment {index} (from {from} MiB on) is not what the source read: the digests differ"
    ))
}

#[cfg(test)]
mod tests;
