//! Computes the digests of the segments of a content.

use std::collections::VecDeque;
use std::sync::LazyLock;

use decant_shared::process::stop::Stop;

use crate::digest::{ContentDigest, Digest, GROUP_BYTES, SEGMENT_BYTES};
use crate::error::{Error, Result};
use crate::zeros::{ZEROS, is_zero};

/// A long run of zeros is hashed in steps that end at multiples of this. A stop is checked between the steps. A step
/// takes less than a millisecond.
pub const ZEROS_STEP_BYTES: u64 = 1 << 40;
/// How many equal digests are hashed in one call. 1 KiB is one chunk of BLAKE3, and 16 chunks fill the vector registers
/// of any processor.
const DIGESTS_AT_ONCE: usize = 512;
/// The longest content: its length fits into 64 bits even if it is rounded up to whole segments. A file has at most
/// 2^63 - 1 bytes, but a directory may contain several such files that are only holes.
pub const CONTENT_LIMIT_BYTES: u64 = u64::MAX - SEGMENT_BYTES;

static ZERO_GROUP: LazyLock<blake3::Hash> = LazyLock::new(|| blake3::hash(&ZEROS[..GROUP_BYTES]));

/// The digest of a whole segment of zeros.
pub static ZERO_SEGMENT: LazyLock<Digest> = LazyLock::new(|| {
    let mut segment = blake3::Hasher::new();
    for _ in 0..SEGMENT_BYTES / GROUP_BYTES as u64 {
        segment.update(ZERO_GROUP.as_bytes());
    }
    Digest(*segment.finalize().as_bytes())
});

/// Consecutive segments with the same digest: a single segment, or a run of zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentRun {
    /// Index of the first segment.
    pub first: u64,
    /// The number of segments.
    pub count: u64,
    /// The digest of each segment.
    pub digest: Digest,
}

/// Computes the digests of a content that is given in order.
#[derive(Debug, Default)]
pub struct SegmentHasher {
    /// The group that is not full yet. Small pieces are collected here: hashing a whole group uses all vector lanes of
    /// the processor, and hashing its pieces one by one takes several times as long.
    group: Vec<u8>,
    segment: blake3::Hasher,
    whole: blake3::Hasher,
    position_bytes: u64,
    complete: VecDeque<SegmentRun>,
}

impl SegmentHasher {
    /// The length of the content so far.
    pub fn position_bytes(&self) -> u64 {
        self.position_bytes
    }

    /// Adds `bytes`.
    pub fn data(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = GROUP_BYTES - self.in_group();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            if now.len() == GROUP_BYTES {
                let digest = group_digest(now);
                self.position_bytes += now.len() as u64;
                self.push_group(digest);
            } else {
                self.part(now);
            }
            bytes = later;
        }
    }

    /// Adds `len` zero bytes.
    pub fn zeros(&mut self, mut len: u64) {
        while len > 0 {
            let whole_segments = len / SEGMENT_BYTES;
            if self.position_bytes.is_multiple_of(SEGMENT_BYTES) && whole_segments > 0 {
                self.push_segments(*ZERO_SEGMENT, whole_segments);
                self.position_bytes += whole_segments * SEGMENT_BYTES;
                len -= whole_segments * SEGMENT_BYTES;
                continue;
            }
            let room = (GROUP_BYTES - self.in_group()) as u64;
            let now = room.min(len);
            if now == GROUP_BYTES as u64 {
                self.position_bytes += now;
                self.push_group(*ZERO_GROUP);
            } else {
                self.part(&ZEROS[..usize::try_from(now).unwrap_or(GROUP_BYTES)]);
            }
            len -= now;
        }
    }

    /// Adds `len` zero bytes, in steps between which `stop` is checked.
    ///
    /// Errors: `Kind::Damaged` if the content becomes too long, and the error of a stop.
    pub fn long_zeros(&mut self, mut len: u64, stop: &Stop) -> Result<()> {
        self.check_room(len)?;
        while len > 0 {
            let step = len.min(zeros_step_bytes(self.position_bytes));
            self.zeros(step);
            len -= step;
            if len > 0 {
                Error::check(stop)?;
            }
        }
        Ok(())
    }

    /// Checks that the content can become `len` bytes longer.
    pub fn check_room(&self, len: u64) -> Result<()> {
        if len > CONTENT_LIMIT_BYTES.saturating_sub(self.position_bytes) {
            return Err(Error::damaged("the stream is longer than any volume"));
        }
        Ok(())
    }

    /// Adds a segment of `len` bytes by its digest. The current position must be the start of a segment. Only the last
    /// segment of the content may be shorter than the others.
    pub fn known(&mut self, digest: Digest, len: u64) {
        debug_assert!(self.position_bytes.is_multiple_of(SEGMENT_BYTES) && len <= SEGMENT_BYTES);
        let first = self.position_bytes / SEGMENT_BYTES;
        self.whole.update(&digest.0);
        self.complete.push_back(SegmentRun { first, count: 1, digest });
        self.position_bytes += len;
    }

    /// The next complete segments that were not returned yet.
    pub fn next_complete(&mut self) -> Option<SegmentRun> {
        self.complete.pop_front()
    }

    /// Ends the content, which completes its last segment.
    pub fn finish(&mut self) -> ContentDigest {
        // The position tells nothing after `known`: a known segment may end inside a group, and leaves nothing to hash.
        if !self.group.is_empty() {
            self.segment.update(blake3::hash(&self.group).as_bytes());
            self.group.clear();
        }
        let content_bytes = self.position_bytes;
        if self.segment.count() > 0 {
            let digest = Digest(*self.segment.finalize().as_bytes());
            self.segment.reset();
            self.whole.update(&digest.0);
            self.complete.push_back(SegmentRun { first: content_bytes / SEGMENT_BYTES, count: 1, digest });
        }
        self.whole.update(&content_bytes.to_le_bytes());
        ContentDigest { content_bytes, digest: Digest(*self.whole.finalize().as_bytes()) }
    }

    fn in_group(&self) -> usize {
        usize::try_from(self.position_bytes % GROUP_BYTES as u64).unwrap_or(0)
    }

    fn part(&mut self, bytes: &[u8]) {
        self.group.extend_from_slice(bytes);
        self.position_bytes += bytes.len() as u64;
        if self.in_group() == 0 {
            let digest = group_digest(&self.group);
            self.group.clear();
            self.push_group(digest);
        }
    }

    /// Adds the digest of a group that ends at the current position.
    fn push_group(&mut self, digest: blake3::Hash) {
        self.segment.update(digest.as_bytes());
        if self.position_bytes.is_multiple_of(SEGMENT_BYTES) {
            let digest = Digest(*self.segment.finalize().as_bytes());
            self.segment.reset();
            self.position_bytes -= SEGMENT_BYTES;
            self.push_segments(digest, 1);
            self.position_bytes += SEGMENT_BYTES;
        }
    }

    /// Adds `count` segments that start at the current position.
    fn push_segments(&mut self, digest: Digest, count: u64) {
        if count == 1 {
            self.whole.update(&digest.0);
        } else {
            let repeated = [digest.0; DIGESTS_AT_ONCE];
            let mut left = usize::try_from(count).unwrap_or(usize::MAX);
            while left > 0 {
                let now = left.min(DIGESTS_AT_ONCE);
                self.whole.update(repeated[..now].as_flattened());
                left -= now;
            }
        }
        push_run(
            &mut self.complete,
            SegmentRun { first: self.position_bytes / SEGMENT_BYTES, count, digest },
        );
    }
}

/// Appends a run. Consecutive runs of zeros are merged, so that a hole takes constant memory.
pub(crate) fn push_run(runs: &mut VecDeque<SegmentRun>, run: SegmentRun) {
    match runs.back_mut() {
        Some(last)
            if last.first + last.count == run.first
                && last.digest == run.digest
                && run.digest == *ZERO_SEGMENT =>
        {
            last.count += run.count;
        }
        _ => runs.push_back(run),
    }
}

/// The length of the next step in a run of zeros that starts at `position_bytes` of the content.
pub fn zeros_step_bytes(position_bytes: u64) -> u64 {
    ZEROS_STEP_BYTES - position_bytes % ZEROS_STEP_BYTES
}

fn group_digest(group: &[u8]) -> blake3::Hash {
    if is_zero(group) { *ZERO_GROUP } else { blake3::hash(group) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SEGMENT: usize = 64 << 20;

    /// The definition of the digest, as directly as possible.
    fn defined(content: &[u8]) -> ContentDigest {
        let mut whole = blake3::Hasher::new();
        for segment in content.chunks(SEGMENT) {
            let mut groups = blake3::Hasher::new();
            segment.chunks(GROUP_BYTES).for_each(|group| {
                groups.update(blake3::hash(group).as_bytes());
            });
            whole.update(groups.finalize().as_bytes());
        }
        let content_bytes = content.len() as u64;
        whole.update(&content_bytes.to_le_bytes());
        ContentDigest { content_bytes, digest: Digest(*whole.finalize().as_bytes()) }
    }

    #[test]
    fn a_known_last_segment_of_any_length_gives_the_digest_of_the_content() {
        for len in [1, GROUP_BYTES - 1, GROUP_BYTES, GROUP_BYTES + 1, 1 << 20] {
            let mut hashed = SegmentHasher::default();
            hashed.data(&vec![7; len]);
            let whole = hashed.finish();
            let mut known = SegmentHasher::default();
            known.known(hashed.next_complete().unwrap().digest, len as u64);
            assert_eq!(known.finish(), whole, "{len} bytes");
        }
    }

    #[test]
    fn an_empty_content_has_no_segment() {
        let mut segments = SegmentHasher::default();
        assert_eq!(segments.finish(), defined(b""));
        assert_eq!(segments.next_complete(), None);
    }

    #[test]
    fn a_terabyte_of_zeros_is_one_run() {
        let mut segments = SegmentHasher::default();
        segments.zeros(1 << 40);
        let run = segments.next_complete().unwrap();
        assert_eq!((run.first, run.count, run.digest), (0, 1 << 14, *ZERO_SEGMENT));
    }

    #[test]
    fn zeros_in_steps_give_the_same_digest_and_one_run() {
        let mut whole = SegmentHasher::default();
        let mut steps = SegmentHasher::default();
        let stop = Stop::new();
        for segments in [&mut whole, &mut steps] {
            segments.data(b"not where a segment begins");
        }
        whole.zeros(5 << 30);
        steps.long_zeros(5 << 30, &stop).unwrap();
        assert_eq!(whole.finish(), steps.finish());
        assert_eq!(steps.next_complete().map(|run| run.count), Some(1));
        assert_eq!(steps.next_complete().map(|run| run.count), Some(79));
    }

    #[test]
    fn a_stop_ends_the_hashing_of_a_huge_hole() {
        let stop = Stop::new();
        std::thread::scope(|scope| {
            let hashing = scope.spawn(|| SegmentHasher::default().long_zeros(1 << 62, &stop));
            stop.by_signal(15);
            assert!(hashing.join().unwrap().is_err());
        });
    }

    #[test]
    fn a_content_that_is_too_long_is_refused() {
        let mut segments = SegmentHasher::default();
        let stop = Stop::new();
        segments.known(*ZERO_SEGMENT, SEGMENT_BYTES);
        assert!(segments.long_zeros(u64::MAX, &stop).is_err());
        assert!(segments.long_zeros(CONTENT_LIMIT_BYTES, &stop).is_err());
        assert!(segments.check_room(CONTENT_LIMIT_BYTES - SEGMENT_BYTES).is_ok());
    }

    #[test]
    fn segments_end_where_they_should() {
        let mut content = vec![7; SEGMENT + 5];
        content[100..10_000_000].fill(0);
        let mut segments = SegmentHasher::default();
        segments.data(&content[..100]);
        segments.zeros(9_999_900);
        segments.data(&content[10_000_000..]);
        let first = segments.next_complete().unwrap();
        assert_eq!((first.first, first.count, segments.next_complete()), (0, 1, None));
        assert_eq!(segments.finish(), defined(&content));
        assert_eq!(segments.next_complete().unwrap().first, 1);
        let mut again = SegmentHasher::default();
        again.known(first.digest, SEGMENT_BYTES);
        again.data(&content[SEGMENT..]);
        assert_eq!(again.finish(), defined(&content));
    }

    proptest! {
        #[test]
        fn how_the_content_comes_does_not_matter(
            runs in prop::collection::vec((any::<bool>(), 0usize..200_000), 0..8),
        ) {
            let mut segments = SegmentHasher::default();
            let mut content = Vec::new();
            for (is_zero, len) in runs {
                if is_zero {
                    segments.zeros(len as u64);
                    content.resize(content.len() + len, 0);
                } else {
                    let part: Vec<u8> = (0..len).map(|at| u8::from(at % 70_000 < 3) * 9).collect();
                    segments.data(&part);
                    content.extend(part);
                }
            }
            prop_assert_eq!(segments.finish(), defined(&content));
        }
    }
}
