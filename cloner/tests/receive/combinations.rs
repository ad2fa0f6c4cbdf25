//! The combinations of docs/protocol.md section 2.6 whose target is a directory, without faults.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use decant_test_support::archive::HandMade;
use decant_test_support::{names, noise};

use crate::body::{IMAGE, TREE, upload, upload_with};
use crate::process::TargetBuilder;

const MIB: usize = 1 << 20;

/// Data, a hole of 2 MiB, data: 3 MiB.
fn image_with_a_hole() -> Vec<u8> {
    let mut image = noise(3 * MIB, 0);
    image[MIB / 2..MIB / 2 + 2 * MIB].fill(0);
    image
}

fn a_tree() -> Vec<u8> {
    let mut image = HandMade::header(b'0', "disk.img", 100_000);
    image.set_mode(0o660);
    HandMade::default()
        .directory("sub/")
        .file("sub/file", "content")
        .hard_link("sub/again", "sub/file")
        .symlink("link", "sub/file")
        .file("sub/empty", "")
        .block(image, &noise(100_000, 0))
        .end()
}

#[test]
fn a_device_becomes_an_identical_image_that_qemu_can_open() {
    let target = TargetBuilder::new().ready();
    let image = image_with_a_hole();
    assert_eq!(target.request(&upload(IMAGE, &image)).status, 200);
    let path = target.directory().join("disk.img");
    assert!(fs::read(&path).unwrap() == image);
    let meta = path.metadata().unwrap();
    assert_eq!(meta.permissions().mode() & 0o7777, 0o660);
    assert!(meta.blocks() * 512 <= 2 << 20, "the hole is gone: {} blocks", meta.blocks());
    assert_eq!(names(&target.directory()), ["disk.img"]);
    assert!(!target.ended().assert_success());
}

#[test]
fn a_tree_is_cloned_unchanged() {
    let target = TargetBuilder::new().ready();
    assert_eq!(target.request(&upload(TREE, &a_tree())).status, 200);
    let directory = target.directory();
    assert_eq!(names(&directory), ["disk.img", "link", "sub"]);
    assert_eq!(names(&directory.join("sub")), ["again", "empty", "file"]);
    assert_eq!(fs::read_to_string(directory.join("sub/again")).unwrap(), "content");
    assert_eq!(directory.join("sub/again").metadata().unwrap().nlink(), 2);
    assert_eq!(
        fs::read_link(directory.join("link")).unwrap(),
        directory.join("sub/file").strip_prefix(&directory).unwrap()
    );
    assert!(fs::read(directory.join("disk.img")).unwrap() == noise(100_000, 0));
    assert!(!target.ended().assert_success());
}

#[test]
fn the_image_in_a_tree_keeps_its_mode() {
    let target = TargetBuilder::new().ready();
    assert_eq!(target.request(&upload(TREE, &a_tree())).status, 200);
    let mode = target.directory().join("disk.img").metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o660);
}

#[test]
fn an_image_grows_to_the_usable_size_of_the_volume() {
    // 106 MiB / 1.06 = 100 MiB.
    let builder = TargetBuilder::new().set("UPLOAD_IMAGE_SIZE", "106Mi").set("FILESYSTEM_OVERHEAD", "0.06");
    let target = builder.ready();
    assert_eq!(target.request(&upload(IMAGE, b"image")).status, 200);
    let image = fs::read(target.directory().join("disk.img")).unwrap();
    assert_eq!(image.len(), 100 * MIB);
    assert!(image.starts_with(b"image\0") && image[5..].iter().all(|byte| *byte == 0));
    let blocks = target.directory().join("disk.img").metadata().unwrap().blocks();
    assert!(blocks * 512 < 1 << 20, "what it grew by is allocated: {blocks} blocks");
}

#[test]
fn an_image_larger_than_the_usable_size_is_not_truncated() {
    let target = TargetBuilder::new().set("UPLOAD_IMAGE_SIZE", "1Mi").ready();
    let image = noise(MIB + 4096, 0);
    assert_eq!(target.request(&upload(IMAGE, &image)).status, 200);
    assert!(fs::read(target.directory().join("disk.img")).unwrap() == image);
}

#[test]
fn preallocation_allocates_the_holes_of_an_image_and_is_reported() {
    let builder = TargetBuilder::new().set("PREALLOCATION", "true").set("UPLOAD_IMAGE_SIZE", "8Mi");
    let target = builder.ready();
    let image = image_with_a_hole();
    assert_eq!(target.request(&upload(IMAGE, &image)).status, 200);
    let path = target.directory().join("disk.img");
    let meta = path.metadata().unwrap();
    assert_eq!(meta.len(), 8 << 20);
    assert!(meta.blocks() * 512 >= 8 << 20, "{} blocks", meta.blocks());
    assert!(fs::read(&path).unwrap().starts_with(&image));
    assert!(target.ended().assert_success());
}

#[test]
fn preallocation_allocates_sparse_files_of_a_tree_and_is_reported() {
    let target = TargetBuilder::new().set("PREALLOCATION", "true").ready();
    let tree = HandMade::default().sparse("sparse", 4 << 20, &[(1 << 20, 4096)], &noise(4096, 0)).end();
    assert_eq!(target.request(&upload(TREE, &tree)).status, 200);
    let path = target.directory().join("sparse");
    let meta = path.metadata().unwrap();
    assert_eq!(meta.len(), 4 << 20);
    assert!(meta.blocks() * 512 >= 4 << 20, "{} blocks", meta.blocks());
    assert!(fs::read(&path).unwrap()[MIB..MIB + 4096] == noise(4096, 0));
    assert!(target.ended().assert_success());
}

#[test]
fn a_sparse_file_of_a_tree_stays_sparse() {
    let target = TargetBuilder::new().ready();
    let tree = HandMade::default().sparse("sparse", 4 << 20, &[(1 << 20, 4096)], &noise(4096, 0)).end();
    assert_eq!(target.request(&upload(TREE, &tree)).status, 200);
    let meta = target.directory().join("sparse").metadata().unwrap();
    assert_eq!(meta.len(), 4 << 20);
    assert!(meta.blocks() * 512 < 1 << 20, "{} blocks", meta.blocks());
}

#[test]
fn an_empty_stream_is_an_empty_volume() {
    let target = TargetBuilder::new().ready();
    assert_eq!(target.request(&upload(TREE, b"")).status, 200);
    assert!(names(&target.directory()).is_empty());
    assert!(!target.ended().assert_success());
}

#[test]
fn an_archive_without_members_is_an_empty_volume() {
    let target = TargetBuilder::new().ready();
    assert_eq!(target.request(&upload(TREE, &[0; 10240])).status, 200);
    assert!(names(&target.directory()).is_empty());
    assert!(!target.ended().assert_success());
}

#[test]
fn an_empty_device_is_an_empty_image() {
    let target = TargetBuilder::new().ready();
    assert_eq!(target.request(&upload(IMAGE, b"")).status, 200);
    assert_eq!(target.directory().join("disk.img").metadata().unwrap().len(), 0);
    assert!(!target.ended().assert_success());
}

#[test]
fn a_correct_announced_length_changes_nothing() {
    for (content, stream) in [(IMAGE, image_with_a_hole()), (TREE, a_tree())] {
        let target = TargetBuilder::new().ready();
        let length = format!("x-decant-length: {}\r\n", stream.len());
        assert_eq!(target.request(&upload_with(content, &length, &stream)).status, 200, "{content}");
        target.ended().assert_success();
    }
}

#[test]
fn leftovers_of_a_killed_attempt_are_removed() {
    let target = TargetBuilder::new().ready();
    let directory = target.directory();
    fs::write(directory.join(".disk.img.decant-partial"), "half an image").unwrap();
    fs::create_dir_all(directory.join(".decant-partial/new/half")).unwrap();
    fs::write(directory.join(".decant-partial/new/half/file"), "half a file").unwrap();
    fs::write(directory.join("disk.img"), "an old image").unwrap();
    assert_eq!(target.request(&upload(TREE, &a_tree())).status, 200);
    assert!(fs::read(directory.join("disk.img")).unwrap() == noise(100_000, 0));
    assert!(!names(&directory).contains(&".decant-partial".to_owned()));
}

#[test]
fn an_image_replaces_an_existing_file_and_a_partial_one() {
    let target = TargetBuilder::new().ready();
    let directory = target.directory();
    fs::write(directory.join(".disk.img.decant-partial"), "half an image").unwrap();
    fs::write(directory.join("disk.img"), "an old image").unwrap();
    assert_eq!(target.request(&upload(IMAGE, b"new")).status, 200);
    assert_eq!(fs::read_to_string(directory.join("disk.img")).unwrap(), "new");
    assert_eq!(names(&directory), ["disk.img"]);
}
