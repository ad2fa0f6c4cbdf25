use super::*;

const SEGMENT: usize = 64 << 20;

/// The marks of a content, as a source sends them.
fn marks(content: &[u8]) -> Vec<Mark> {
    let mut segments = SegmentHasher::default();
    segments.data(content);
    let content_digest = segments.finish();
    let mut marks = Vec::new();
    while let Some(run) = segments.next_complete() {
        if run.digest != *ZERO_SEGMENT {
            marks.push(Mark::Segment(run.first, run.digest));
        }
    }
    marks.push(Mark::Content(content_digest));
    marks
}

fn content() -> Vec<u8> {
    let mut content = vec![0; 3 * SEGMENT + 9];
    content[5] = 1;
    content[2 * SEGMENT] = 2;
    content
}

#[test]
fn what_agrees_is_proven_and_zeros_need_no_digest() {
    let content = content();
    let marks = marks(&content);
    assert_eq!(marks.len(), 4);
    let verifier = ResumeVerifier::default();
    verifier.mark(marks[0]).unwrap();
    verifier.content(&Piece::Data(&content[..SEGMENT])).unwrap();
    verifier.content(&Piece::Zeros(SEGMENT_BYTES)).unwrap();
    verifier.content(&Piece::Data(&content[2 * SEGMENT..])).unwrap();
    marks[1..].iter().for_each(|&mark| verifier.mark(mark).unwrap());
    let verification = verifier.finish().unwrap();
    assert!(verification.is_confirmed && Mark::Content(verification.content_digest) == marks[3]);
    assert_eq!(verifier.proven().len(), 4);
}

#[test]
fn a_segment_that_differs_is_named() {
    let mut content = content();
    let marks = marks(&content);
    content[2 * SEGMENT] = 3;
    let verifier = ResumeVerifier::default();
    verifier.content(&Piece::Data(&content)).unwrap();
    verifier.mark(marks[0]).unwrap();
    let error = verifier.mark(marks[1]).unwrap_err().to_string();
    assert!(error.contains("segment 2 (from 128 MiB on)"), "{error}");
    assert_eq!(verifier.proven().len(), 2, "the segments before it agree");
}

#[test]
fn content_without_its_digest_is_damage_where_other_content_has_one() {
    let content = content();
    let marks = marks(&content);
    let verifier = ResumeVerifier::default();
    verifier.content(&Piece::Data(&content)).unwrap();
    assert!(verifier.mark(marks[1]).is_err());
    let verifier = ResumeVerifier::default();
    verifier.content(&Piece::Data(&content)).unwrap();
    marks[..3].iter().for_each(|&mark| verifier.mark(mark).unwrap());
    assert!(verifier.finish().unwrap_err().to_string().contains("whole content is missing"));
}

#[test]
fn a_sender_that_sends_no_digests_is_neither_confirmed_nor_refused() {
    let verifier = ResumeVerifier::default();
    verifier.content(&Piece::Data(b"stock")).unwrap();
    assert!(!verifier.finish().unwrap().is_confirmed);
}

#[test]
fn only_what_is_held_can_be_kept() {
    let content = content();
    let marks = marks(&content);
    let Mark::Segment(_, first) = marks[0] else { panic!() };
    let verifier = ResumeVerifier::new(vec![first]);
    verifier.content(&Piece::Kept(SEGMENT_BYTES)).unwrap();
    verifier.content(&Piece::Data(&content[SEGMENT..])).unwrap();
    marks.iter().for_each(|&mark| verifier.mark(mark).unwrap());
    assert!(verifier.finish().unwrap().is_confirmed);

    let verifier = ResumeVerifier::new(vec![first]);
    assert!(verifier.content(&Piece::Kept(2 * SEGMENT_BYTES)).is_err());
    let verifier = ResumeVerifier::new(vec![first]);
    verifier.content(&Piece::Data(b"x")).unwrap();
    assert!(verifier.content(&Piece::Kept(SEGMENT_BYTES)).is_err());
    // The held digest is not that of the source's content now.
    let verifier = ResumeVerifier::new(vec![Digest([0; 32])]);
    verifier.content(&Piece::Kept(SEGMENT_BYTES)).unwrap();
    assert!(verifier.mark(marks[0]).is_err());
}

#[test]
fn the_number_of_segments_without_a_digest_is_limited() {
    let held = vec![Digest([1; 32]); HELD_LIMIT];
    let verifier = ResumeVerifier::new(held);
    // From now on each segment must have a digest.
    verifier.mark(Mark::Content(ContentDigest { content_bytes: 0, digest: Digest([0; 32]) })).unwrap();
    verifier.content(&Piece::Kept(HELD_LIMIT as u64 * SEGMENT_BYTES)).unwrap();
    let without = (0..2000).take_while(|_| {
        let data = verifier.content(&Piece::Data(b"x"));
        data.and_then(|()| verifier.content(&Piece::Zeros(SEGMENT_BYTES - 1))).is_ok()
    });
    assert_eq!(without.count(), BEHIND_LIMIT - HELD_LIMIT);
}

#[test]
fn zeros_in_many_pieces_are_one_run() {
    let verifier = ResumeVerifier::default();
    verifier.mark(Mark::Content(ContentDigest { content_bytes: 0, digest: Digest([0; 32]) })).unwrap();
    for _ in 0..100_000 {
        verifier.content(&Piece::Zeros(SEGMENT_BYTES)).unwrap();
    }
    assert_eq!(verifier.0.borrow().computed.len(), 1);
}
