//! Streams that no honest sender makes.

use decant_test_support::archive::HandMade;
use decant_test_support::{names, noise};

use crate::body::{IDENTIFIER, IMAGE, TREE, chunked, frame, frames, head, upload, upload_with};
use crate::process::Plan;

/// That a target refuses this request with this status and these words, has nothing of it, and takes a good one.
fn assert_refused(plan: Plan, request: &[u8], status: u16, words: &str) {
    let target = plan.ready();
    let answer = target.ask(request);
    assert_eq!(answer.status, status, "{words:?}: {answer:?}");
    assert!(answer.body.contains(words), "{words:?} is not in {answer:?}");
    assert!(names(&target.folder()).is_empty(), "{words:?} left {:?}", names(&target.folder()));
    assert_eq!(target.ask(&upload(IMAGE, b"image")).status, 200);
    target.ended().well();
}

fn of_frames(content: &str, frames: &[&[u8]]) -> Vec<u8> {
    [head(content, ""), chunked(&frames.concat())].concat()
}

#[test]
fn a_stream_without_snappys_identifier_is_refused() {
    let request = of_frames(IMAGE, &[&frame(b"image")]);
    assert_refused(Plan::new(), &request, 500, "does not begin with the snappy identifier");
}

#[test]
fn a_stream_with_another_identifier_is_refused() {
    let request = of_frames(IMAGE, &[b"\xff\x06\x00\x00sNaPpy", &frame(b"image")]);
    assert_refused(Plan::new(), &request, 500, "the snappy identifier is wrong");
}

#[test]
fn a_frame_longer_than_any_may_be_is_refused() {
    let request = of_frames(IMAGE, &[IDENTIFIER, b"\x01\xff\xff\xff", &noise(1 << 20, 0)]);
    assert_refused(Plan::new(), &request, 500, "a data frame has 16777215 bytes");
}

#[test]
fn a_frame_that_holds_more_than_64_kib_is_refused() {
    let packed = snap::raw::Encoder::new().compress_vec(&vec![0; 70_000]).unwrap();
    let len = u32::try_from(packed.len() + 4).unwrap().to_le_bytes();
    let request = of_frames(IMAGE, &[IDENTIFIER, &[0, len[0], len[1], len[2]], &[0; 4], &packed]);
    assert_refused(Plan::new(), &request, 500, "Saving stream failed: ");
}

#[test]
fn a_frame_of_a_reserved_type_is_refused() {
    let request = of_frames(IMAGE, &[IDENTIFIER, b"\x02\x01\x00\x00x"]);
    assert_refused(Plan::new(), &request, 500, "reserved type 0x02");
}

#[test]
fn frames_that_every_reader_skips_are_skipped() {
    let target = Plan::new().ready();
    let request =
        of_frames(IMAGE, &[IDENTIFIER, b"\xfe\x03\x00\x00abc", &frame(b"ima"), IDENTIFIER, &frame(b"ge")]);
    assert_eq!(target.ask(&request).status, 200);
    assert_eq!(std::fs::read(target.folder().join("disk.img")).unwrap(), b"image");
}

#[test]
fn a_member_with_a_wrong_checksum_is_refused() {
    let mut tree = HandMade::default().file("first", "content").file("second", "content").end();
    tree[1024] ^= 1;
    assert_refused(Plan::new(), &upload(TREE, &tree), 500, "damaged");
}

#[test]
fn a_member_larger_than_any_disk_is_refused() {
    let huge = |kind| HandMade::default().block(HandMade::header(kind, "disk.img", 1 << 63), b"data").end();
    assert_refused(Plan::new(), &upload(TREE, &huge(b'0')), 500, "disk.img");
    let plan = Plan::new().set("PREALLOCATION", "true");
    assert_refused(plan, &upload(TREE, &huge(b'0')), 500, "disk.img");
}

#[test]
fn a_preallocated_file_larger_than_the_disk_is_told_as_a_full_disk() {
    let tree = HandMade::default().block(HandMade::header(b'0', "disk.img", 1 << 60), b"data").end();
    let plan = Plan::new().set("PREALLOCATION", "true");
    assert_refused(plan, &upload(TREE, &tree), 400, "larger than the reported available storage");
}

#[test]
fn impossible_maps_of_sparse_files_are_refused() {
    for segments in [
        [(0, 512), (0, 512)],        // twice the same place
        [(4096, 512), (0, 512)],     // backwards
        [(0, 512), (1 << 40, 512)],  // behind the end
        [(0, 512), (8192, 1 << 30)], // more than there is
    ] {
        let tree = HandMade::default().sparse("disk.img", 1 << 20, &segments, &noise(1024, 0)).end();
        assert_refused(Plan::new(), &upload(TREE, &tree), 500, "disk.img");
    }
}

#[test]
fn a_name_that_leads_out_of_the_volume_is_refused() {
    let target = Plan::new().ready();
    let tree = HandMade::default().file("../outside", "content").end();
    assert_eq!(target.ask(&upload(TREE, &tree)).status, 500);
    assert!(!target.folder().parent().unwrap().join("outside").exists());
    assert!(names(&target.folder()).is_empty());
}

#[test]
fn a_stream_of_another_length_than_announced_is_refused() {
    let tree = HandMade::default().file("file", "content").end();
    for (content, stream) in [(IMAGE, noise(5000, 0)), (TREE, tree)] {
        for announced in [stream.len() - 1, stream.len() + 1] {
            let request = upload_with(content, &format!("x-decant-length: {announced}\r\n"), &stream);
            let words = format!("the sender announced {announced} bytes and sent {}", stream.len());
            assert_refused(Plan::new(), &request, 500, &words);
        }
    }
}

#[test]
fn an_announced_length_that_is_no_number_is_refused() {
    let request = upload_with(IMAGE, "x-decant-length: much\r\n", b"image");
    assert_refused(Plan::new(), &request, 400, "x-decant-length");
}

#[test]
fn a_body_whose_length_can_be_read_in_two_ways_is_refused() {
    let request = [head(IMAGE, "Content-Length: 5\r\n"), chunked(&frames(b"image"))].concat();
    assert_refused(Plan::new(), &request, 400, "");
}
