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

#[test]
fn segments_whose_digests_never_come_are_not_remembered_for_ever() {
    let held = vec![Digest([1; 32]); HELD_LIMIT];
    let check = Check::new(held);
    // From here on a digest is expected for each segment.
    check.mark(Mark::Whole(Whole { content_bytes: 0, digest: Digest([0; 32]) })).unwrap();
    check.content(&Piece::Kept(HELD_LIMIT as u64 * SEGMENT_BYTES)).unwrap();
    let without = (0..2000).take_while(|_| {
        let data = check.content(&Piece::Data(b"x"));
        data.and_then(|()| check.content(&Piece::Zeros(SEGMENT_BYTES - 1))).is_ok()
    });
    assert_eq!(without.count(), BEHIND_LIMIT - HELD_LIMIT);
}

#[test]
fn a_hole_is_one_run_however_often_zeros_come() {
    let check = Check::default();
    check.mark(Mark::Whole(Whole { content_bytes: 0, digest: Digest([0; 32]) })).unwrap();
    for _ in 0..100_000 {
        check.content(&Piece::Zeros(SEGMENT_BYTES)).unwrap();
    }
    assert_eq!(check.0.borrow().computed.len(), 1);
}
