//! Streams that only a hostile sender produces.

use decant_test_support::archive::HandMade;
use decant_test_support::{names, noise};

use crate::body::{IDENTIFIER, IMAGE, TREE, chunked, frame, frames, head, upload, upload_with};
use crate::process::TargetBuilder;

/// Asserts that a target refuses this request with this status and text, keeps nothing, and accepts a valid one.
fn assert_refused(builder: TargetBuilder, request: &[u8], status: u16, expected_text: &str) {
    let target = builder.ready();
    let answer = target.request(request);
    assert_eq!(answer.status, status, "{expected_text:?}: {answer:?}");
    assert!(answer.body.contains(expected_text), "{expected_text:?} is not in {answer:?}");
    assert!(names(&target.directory()).is_empty(), "{expected_text:?} left {:?}", names(&target.directory()));
    assert_eq!(target.request(&upload(IMAGE, b"image")).status, 200);
    target.ended().assert_success();
}

fn of_frames(content: &str, frames: &[&[u8]]) -> Vec<u8> {
    [head(content, ""), chunked(&frames.concat())].concat()
}

#[test]
fn a_stream_without_the_snappy_identifier_is_refused() {
    let request = of_frames(IMAGE, &[&frame(b"image")]);
    assert_refused(TargetBuilder::new(), &request, 500, "does not begin with the snappy identifier");
}

#[test]
fn a_stream_with_a_wrong_identifier_is_refused() {
    let request = of_frames(IMAGE, &[b"\xff\x06\x00\x00sNaPpy", &frame(b"image")]);
    assert_refused(TargetBuilder::new(), &request, 500, "the snappy identifier is wrong");
}

#[test]
fn a_frame_longer_than_the_format_allows_is_refused() {
    let request = of_frames(IMAGE, &[IDENTIFIER, b"\x01\xff\xff\xff", &noise(1 << 20, 0)]);
    assert_refused(TargetBuilder::new(), &request, 500, "a data frame has 16777215 bytes");
}

#[test]
fn a_frame_with_more_than_64_kib_of_data_is_refused() {
    let packed = snap::raw::Encoder::new().compress_vec(&vec![0; 70_000]).unwrap();
    let len = u32::try_from(packed.len() + 4).unwrap().to_le_bytes();
    let request = of_frames(IMAGE, &[IDENTIFIER, &[0, len[0], len[1], len[2]], &[0; 4], &packed]);
    assert_refused(TargetBuilder::new(), &request, 500, "Saving stream failed: ");
}

#[test]
fn a_frame_of_a_reserved_type_is_refused() {
    let request = of_frames(IMAGE, &[IDENTIFIER, b"\x02\x01\x00\x00x"]);
    assert_refused(TargetBuilder::new(), &request, 500, "reserved type 0x02");
}

#[test]
fn skippable_frames_are_skipped() {
    let target = TargetBuilder::new().ready();
    let request =
        of_frames(IMAGE, &[IDENTIFIER, b"\xfe\x03\x00\x00abc", &frame(b"ima"), IDENTIFIER, &frame(b"ge")]);
    assert_eq!(target.request(&request).status, 200);
    assert_eq!(std::fs::read(target.directory().join("disk.img")).unwrap(), b"image");
}

#[test]
fn a_member_with_a_wrong_checksum_is_refused() {
    let mut tree = HandMade::default().file("first", "content").file("second", "content").end();
    tree[1024] ^= 1;
    assert_refused(TargetBuilder::new(), &upload(TREE, &tree), 500, "damaged");
}

#[test]
fn a_member_larger_than_any_disk_is_refused() {
    let huge = |kind| HandMade::default().block(HandMade::header(kind, "disk.img", 1 << 63), b"data").end();
    assert_refused(TargetBuilder::new(), &upload(TREE, &huge(b'0')), 500, "disk.img");
    let builder = TargetBuilder::new().set("PREALLOCATION", "true");
    assert_refused(builder, &upload(TREE, &huge(b'0')), 500, "disk.img");
}

#[test]
fn a_preallocated_file_larger_than_the_disk_is_reported_as_a_full_disk() {
    let tree = HandMade::default().block(HandMade::header(b'0', "disk.img", 1 << 60), b"data").end();
    let builder = TargetBuilder::new().set("PREALLOCATION", "true");
    assert_refused(builder, &upload(TREE, &tree), 400, "larger than the reported available storage");
}

#[test]
fn impossible_sparse_maps_are_refused() {
    for segments in [
        [(0, 512), (0, 512)],        // the same range twice
        [(4096, 512), (0, 512)],     // backwards
        [(0, 512), (1 << 40, 512)],  // beyond the end
        [(0, 512), (8192, 1 << 30)], // more than there is
    ] {
        let tree = HandMade::default().sparse("disk.img", 1 << 20, &segments, &noise(1024, 0)).end();
        assert_refused(TargetBuilder::new(), &upload(TREE, &tree), 500, "disk.img");
    }
}

#[test]
fn a_path_out_of_the_volume_is_refused() {
    let target = TargetBuilder::new().ready();
    let tree = HandMade::default().file("../outside", "content").end();
    assert_eq!(target.request(&upload(TREE, &tree)).status, 500);
    assert!(!target.directory().parent().unwrap().join("outside").exists());
    assert!(names(&target.directory()).is_empty());
}

#[test]
fn a_stream_that_differs_from_its_announced_length_is_refused() {
    let tree = HandMade::default().file("file", "content").end();
    for (content, stream) in [(IMAGE, noise(5000, 0)), (TREE, tree)] {
        for announced in [stream.len() - 1, stream.len() + 1] {
            let request = upload_with(content, &format!("x-decant-length: {announced}\r\n"), &stream);
            let expected_text = format!("the sender announced {announced} bytes and sent {}", stream.len());
            assert_refused(TargetBuilder::new(), &request, 500, &expected_text);
        }
    }
}

#[test]
fn an_invalid_announced_length_is_refused() {
    let request = upload_with(IMAGE, "x-decant-length: much\r\n", b"image");
    assert_refused(TargetBuilder::new(), &request, 400, "x-decant-length");
}

#[test]
fn a_body_with_an_ambiguous_length_is_refused() {
    let request = [head(IMAGE, "Content-Length: 5\r\n"), chunked(&frames(b"image"))].concat();
    assert_refused(TargetBuilder::new(), &request, 400, "");
}
