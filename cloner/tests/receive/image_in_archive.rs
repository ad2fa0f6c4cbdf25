//! A filesystem's clone onto a device: the archive's disk image is what goes there.

use decant_test_support::archive::HandMade;
use decant_test_support::{is_root, noise};

use crate::body::{TREE, upload};
use crate::dirty_device::{DIRT, Device};
use crate::process::TargetBuilder;

const MIB: usize = 1 << 20;

/// What a dirty device of 4 MiB holds after this archive; the answer's text if it was refused.
fn written_from(tree: &[u8]) -> Result<Vec<u8>, (u16, String)> {
    let device = Device::dirty(4 * MIB);
    let target = TargetBuilder::new().set("DESTINATION", device.name()).ready();
    let answer = target.request(&upload(TREE, tree));
    if answer.status != 200 {
        return Err((answer.status, answer.body));
    }
    assert!(!target.ended().assert_success());
    Ok(device.content())
}

/// The image, followed by the old content.
fn on_dirt(image: &[u8]) -> Vec<u8> {
    let mut content = image.to_vec();
    content.resize(4 * MIB, DIRT);
    content
}

fn dense(name: &str) -> HandMade {
    HandMade::default().block(HandMade::header(b'0', name, 2 << 20), &noise(2 * MIB, 0))
}

#[test]
fn a_dense_image_is_found_with_and_without_a_leading_dot() {
    if !is_root() {
        return;
    }
    for name in ["disk.img", "./disk.img"] {
        assert!(written_from(&dense(name).end()).unwrap() == on_dirt(&noise(2 * MIB, 0)), "{name}");
    }
}

#[test]
fn the_holes_of_a_sparse_image_become_zeros() {
    if !is_root() {
        return;
    }
    let data = noise(8192, 0);
    let segments = [(4096, 4096), (2 << 20, 4096)];
    let tree = HandMade::default().sparse("./disk.img", 3 << 20, &segments, &data).end();
    let mut image = vec![0; 3 * MIB];
    image[4096..8192].copy_from_slice(&data[..4096]);
    image[2 * MIB..2 * MIB + 4096].copy_from_slice(&data[4096..]);
    assert!(written_from(&tree).unwrap() == on_dirt(&image));
}

#[test]
fn an_image_that_is_all_hole_becomes_zeros() {
    if !is_root() {
        return;
    }
    let tree = HandMade::default().sparse("disk.img", 1 << 20, &[(1 << 20, 0)], b"").end();
    assert!(written_from(&tree).unwrap() == on_dirt(&vec![0; MIB]));
}

#[test]
fn members_before_and_after_the_image_are_ignored() {
    if !is_root() {
        return;
    }
    let before =
        HandMade::default().directory("./").directory("./lost+found/").file("./old-disk.img.bak", "no");
    let image = dense("./disk.img");
    let after = HandMade::default().file("./zz", "after").symlink("./link", "disk.img");
    let tree = [before.0, image.0, after.end()].concat();
    assert!(written_from(&tree).unwrap() == on_dirt(&noise(2 * MIB, 0)));
}

#[test]
fn an_archive_without_an_image_is_refused_with_cdis_text() {
    if !is_root() {
        return;
    }
    for tree in [
        HandMade::default().end(),
        HandMade::default().file("old-disk.img.bak", "no").file("sub/disk.img", "no").end(),
        HandMade::default().directory("disk.img/").end(),
        HandMade::default().symlink("disk.img", "elsewhere").end(),
    ] {
        let (status, text) = written_from(&tree).unwrap_err();
        assert_eq!(status, 500);
        assert!(text.starts_with("Saving stream failed: no disk image found in tar"), "{text}");
    }
}

#[test]
fn an_archive_truncated_after_the_image_is_refused() {
    if !is_root() {
        return;
    }
    let (status, text) = written_from(&dense("disk.img").0).unwrap_err();
    assert_eq!(status, 500, "{text}");
}
