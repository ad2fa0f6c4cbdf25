//! Compares what arrives with the digests that came along.

use std::cell::RefCell;
use std::collections::VecDeque;

use super::segments::{Run, Segments, ZERO_SEGMENT};
use super::{Digest, SEGMENT_BYTES, Whole};
use crate::error::{Error, Result};
use crate::frame::mark::Mark;
use crate::stream::Piece;

/// Digests of segments that are remembered for resuming: 4 TiB of content in 2 MiB of memory. What comes behind
/// is sent again.
pub const HELD_LIMIT: usize = 1 << 16;
/// A sender's digests come right behind the segments; one that sends more than this ahead of its data is broken.
const AHEAD_LIMIT: usize = 1024;
/// No volume is larger; it keeps lengths that a peer sent from overflowing.
const CONTENT_LIMIT_BYTES: u64 = 1 << 62;

/// What was found out about a content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// Its digest as computed here.
    pub whole: Whole,
    /// Whether the sender said the same. Other senders than Decant say nothing.
    pub is_confirmed: bool,
}

/// The content that arrives, on the writer's thread.
#[derive(Debug, Default)]
pub struct Check(RefCell<Inner>);

#[derive(Debug, Default)]
struct Inner {
    segments: Segments,
    /// Computed and not yet compared.
    computed: VecDeque<Run>,
    /// The sender's, not yet compared.
    expected: VecDeque<(u64, Digest)>,
    whole: Option<Whole>,
    /// What was computed, once the content is complete.
    found: Option<Whole>,
    has_marks: bool,
    /// What this target held before, by segment.
    held: Vec<Digest>,
    /// What was compared, from the first segment on.
    proven: Vec<Digest>,
}

impl Check {
    /// Checks a content of which the target holds `held`, from the first segment on.
    pub fn new(held: Vec<Digest>) -> Self {
        Self(RefCell::new(Inner { held, ..Inner::default() }))
    }

    /// The next content.
    pub fn content(&self, piece: &Piece<'_>) -> Result<()> {
        let inner = &mut *self.0.borrow_mut();
        if inner.segments.position_bytes() > CONTENT_LIMIT_BYTES || piece.len() > CONTENT_LIMIT_BYTES {
            return Err(Error::damaged("the stream is longer than any volume"));
        }
        match piece {
            Piece::Data(bytes) => inner.segments.data(bytes),
            Piece::Zeros(len) => inner.segments.zeros(*len),
            Piece::Kept(len) => inner.kept(*len)?,
        }
        inner.settle()
    }

    /// What the sender says about the content.
    pub fn mark(&self, mark: Mark) -> Result<()> {
        let inner = &mut *self.0.borrow_mut();
        inner.has_marks = true;
        match mark {
            Mark::Segment(index, digest) if inner.expected.len() < AHEAD_LIMIT => {
                inner.expected.push_back((index, digest));
            }
            Mark::Segment(..) => return Err(Error::damaged("digests without data")),
            Mark::Whole(whole) => inner.whole = Some(whole),
            Mark::Hole(_) | Mark::Kept(_) => {}
        }
        inner.settle()
    }

    /// The content is complete: everything that the sender said must be so.
    pub fn finish(&self) -> Result<Verdict> {
        let inner = &mut *self.0.borrow_mut();
        let whole = inner.segments.finish();
        inner.found = Some(whole);
        inner.settle()?;
        if !inner.has_marks {
            return Ok(Verdict { whole, is_confirmed: false });
        }
        while let Some(run) = inner.computed.pop_front() {
            inner.prove_zeros(run, run.count)?;
        }
        match inner.whole {
            Some(said) if said == whole && inner.expected.is_empty() => {
                Ok(Verdict { whole, is_confirmed: true })
            }
            Some(said) => Err(Error::damaged(format!("the whole is {whole} here, and {said} at the source"))),
            None => Err(Error::damaged("the digest of the whole is missing")),
        }
    }

    /// The digest as computed here; `None` before the end.
    pub fn found(&self) -> Option<Whole> {
        self.0.borrow().found
    }

    /// The digests of all segments, from the first one on, that arrived and agree.
    pub fn proven(&self) -> Vec<Digest> {
        std::mem::take(&mut self.0.borrow_mut().proven)
    }
}

impl Inner {
    fn kept(&mut self, mut len: u64) -> Result<()> {
        let position = self.segments.position_bytes();
        if !position.is_multiple_of(SEGMENT_BYTES) {
            return Err(Error::damaged("a kept run that does not begin with a segment"));
        }
        let mut index = usize::try_from(position / SEGMENT_BYTES).unwrap_or(usize::MAX);
        while len > 0 {
            let Some(&digest) = self.held.get(index) else {
                return Err(Error::damaged(format!("segment {index} is said to be here, but it is not")));
            };
            let part = len.min(SEGMENT_BYTES);
            self.segments.known(digest, part);
            len -= part;
            index += 1;
        }
        Ok(())
    }

    /// Compares as far as both sides are known.
    fn settle(&mut self) -> Result<()> {
        while let Some(run) = self.segments.next_complete() {
            self.computed.push_back(run);
        }
        if !self.has_marks && self.computed.len() > HELD_LIMIT {
            self.computed.pop_front();
        }
        while let (Some(&run), Some(&(index, digest))) = (self.computed.front(), self.expected.front()) {
            if index < run.first {
                return Err(Error::damaged(format!("the digest of segment {index} comes out of turn")));
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
                self.computed.push_front(Run { first: index + 1, count: run.count - before - 1, ..run });
            }
        }
        Ok(())
    }

    /// The first `count` segments of `run` have no digest of the sender's: only zeros may come without.
    fn prove_zeros(&mut self, run: Run, count: u64) -> Result<()> {
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
mod tests {
    use super::*;

    const SEGMENT: usize = 64 << 20;

    /// The marks of a content, as a source makes them.
    fn marks(content: &[u8]) -> Vec<Mark> {
        let mut segments = Segments::default();
        segments.data(content);
        let whole = segments.finish();
        let mut marks = Vec::new();
        while let Some(run) = segments.next_complete() {
            if run.digest != *ZERO_SEGMENT {
                marks.push(Mark::Segment(run.first, run.digest));
            }
        }
        marks.push(Mark::Whole(whole));
        marks
    }

    fn content() -> Vec<u8> {
        let mut content = vec![0; 3 * SEGMENT + 9];
        content[5] = 1;
        content[2 * SEGMENT] = 2;
        content
    }

    #[test]
    fn what_agrees_is_proven_and_zeros_need_no_word() {
        let content = content();
        let marks = marks(&content);
        assert_eq!(marks.len(), 4);
        let check = Check::default();
        check.mark(marks[0]).unwrap();
        check.content(&Piece::Data(&content[..SEGMENT])).unwrap();
        check.content(&Piece::Zeros(SEGMENT_BYTES)).unwrap();
        check.content(&Piece::Data(&content[2 * SEGMENT..])).unwrap();
        marks[1..].iter().for_each(|&mark| check.mark(mark).unwrap());
        let verdict = check.finish().unwrap();
        assert!(verdict.is_confirmed && Mark::Whole(verdict.whole) == marks[3]);
        assert_eq!(check.proven().len(), 4);
    }

    #[test]
    fn a_segment_that_differs_is_named() {
        let mut content = content();
        let marks = marks(&content);
        content[2 * SEGMENT] = 3;
        let check = Check::default();
        check.content(&Piece::Data(&content)).unwrap();
        check.mark(marks[0]).unwrap();
        let error = check.mark(marks[1]).unwrap_err().to_string();
        assert!(error.contains("segment 2 (from 128 MiB on)"), "{error}");
        assert_eq!(check.proven().len(), 2, "what came before it is good");
    }

    #[test]
    fn content_without_its_digest_is_damage_where_others_have_one() {
        let content = content();
        let marks = marks(&content);
        let check = Check::default();
        check.content(&Piece::Data(&content)).unwrap();
        assert!(check.mark(marks[1]).is_err());
        let check = Check::default();
        check.content(&Piece::Data(&content)).unwrap();
        marks[..3].iter().for_each(|&mark| check.mark(mark).unwrap());
        assert!(check.finish().unwrap_err().to_string().contains("whole is missing"));
    }

    #[test]
    fn a_sender_that_sends_no_digests_is_neither_confirmed_nor_refused() {
        let check = Check::default();
        check.content(&Piece::Data(b"stock")).unwrap();
        assert!(!check.finish().unwrap().is_confirmed);
    }

    #[test]
    fn only_what_is_held_can_be_kept() {
        let content = content();
        let marks = marks(&content);
        let Mark::Segment(_, first) = marks[0] else { panic!() };
        let check = Check::new(vec![first]);
        check.content(&Piece::Kept(SEGMENT_BYTES)).unwrap();
        check.content(&Piece::Data(&content[SEGMENT..])).unwrap();
        marks.iter().for_each(|&mark| check.mark(mark).unwrap());
        assert!(check.finish().unwrap().is_confirmed);

        let check = Check::new(vec![first]);
        assert!(check.content(&Piece::Kept(2 * SEGMENT_BYTES)).is_err());
        let check = Check::new(vec![first]);
        check.content(&Piece::Data(b"x")).unwrap();
        assert!(check.content(&Piece::Kept(SEGMENT_BYTES)).is_err());
        // Held, but not what the source has now.
        let check = Check::new(vec![Digest([0; 32])]);
        check.content(&Piece::Kept(SEGMENT_BYTES)).unwrap();
        assert!(check.mark(marks[0]).is_err());
    }
}
