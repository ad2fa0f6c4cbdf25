//! Volumes that are full, or may not be written.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use decant_test_support::archive::HandMade;
use decant_test_support::disks::Mounted;
use decant_test_support::{is_root, names, noise};

use crate::body::{IMAGE, TREE, upload};
use crate::process::{Target, TargetBuilder};

const MIB: usize = 1 << 20;
const NO_ROOM: &str =
    "Saving stream failed: effective image size is larger than the reported available storage: ";

/// A target whose volume has 4 MiB.
fn small() -> (Target, Mounted) {
    let volume = Mounted::tmpfs("size=4m").unwrap();
    let image = volume.path().join("disk.img");
    (TargetBuilder::new().set("DESTINATION", image.to_str().unwrap()).ready(), volume)
}

fn tree_of(content: &[u8]) -> Vec<u8> {
    let header = HandMade::header(b'0', "file", content.len() as u64);
    HandMade::default().file("before", "content").block(header, content).end()
}

#[test]
fn an_image_that_fills_the_volume_is_refused_with_cdis_text_and_leaves_nothing() {
    if !is_root() {
        return;
    }
    let (target, volume) = small();
    let answer = target.request(&upload(IMAGE, &noise(8 * MIB, 0)));
    assert_eq!(answer.status, 400, "{answer:?}");
    assert!(answer.body.starts_with(NO_ROOM), "{answer:?}");
    assert!(answer.body.contains("disk.img after ") && answer.body.contains("4.00 MiB"), "{answer:?}");
    assert!(names(volume.path()).is_empty());
    assert_eq!(target.request(&upload(IMAGE, &noise(2 * MIB, 0))).status, 200);
    target.ended().assert_success();
}

#[test]
fn a_tree_that_fills_the_volume_is_refused_with_cdis_text_and_leaves_nothing() {
    if !is_root() {
        return;
    }
    let (target, volume) = small();
    let answer = target.request(&upload(TREE, &tree_of(&noise(8 * MIB, 0))));
    assert_eq!(answer.status, 400, "{answer:?}");
    assert!(answer.body.starts_with(NO_ROOM), "{answer:?}");
    assert!(answer.body.contains("of 8388608 bytes are written"), "{answer:?}");
    assert!(answer.body.contains("of 4194304 bytes free"), "{answer:?}");
    assert!(names(volume.path()).is_empty());
    assert_eq!(target.request(&upload(TREE, &tree_of(&noise(2 * MIB, 0)))).status, 200);
    target.ended().assert_success();
}

#[test]
fn preallocation_that_does_not_fit_is_refused_and_leaves_nothing() {
    if !is_root() {
        return;
    }
    let volume = Mounted::tmpfs("size=4m").unwrap();
    let image = volume.path().join("disk.img");
    let builder =
        TargetBuilder::new().set("DESTINATION", image.to_str().unwrap()).set("PREALLOCATION", "true");
    let answer = builder.ready().request(&upload(IMAGE, &vec![0; 8 * MIB]));
    assert_eq!(answer.status, 400, "{answer:?}");
    assert!(answer.body.starts_with(NO_ROOM), "{answer:?}");
    assert!(names(volume.path()).is_empty());
}

#[test]
fn growth_beyond_the_free_space_becomes_a_hole() {
    if !is_root() {
        return;
    }
    let volume = Mounted::tmpfs("size=4m").unwrap();
    let image = volume.path().join("disk.img");
    let builder =
        TargetBuilder::new().set("DESTINATION", image.to_str().unwrap()).set("UPLOAD_IMAGE_SIZE", "64Mi");
    let target = builder.ready();
    assert_eq!(target.request(&upload(IMAGE, b"image")).status, 200);
    assert_eq!(image.metadata().unwrap().len(), 64 << 20);
}

#[test]
fn a_read_only_directory_is_named() {
    if !is_root() {
        return; // Only root can change its user.
    }
    let builder = TargetBuilder::new().with_uid(65534);
    let directory = builder.directory();
    std::fs::set_permissions(&directory, Permissions::from_mode(0o755)).unwrap();
    let target = builder.ready();
    for request in [upload(IMAGE, b"image"), upload(TREE, &tree_of(b"content"))] {
        let answer = target.request(&request);
        assert_eq!(answer.status, 500, "{answer:?}");
        assert!(answer.body.contains(directory.to_str().unwrap()), "{answer:?}");
        assert!(answer.body.contains("Permission denied"), "{answer:?}");
    }
    assert!(names(&directory).is_empty());
}

#[test]
fn a_missing_directory_is_named() {
    let ended = TargetBuilder::new().set("DESTINATION", "/nowhere/disk.img").run();
    assert_eq!(ended.code, Some(4));
    assert!(ended.message.contains("/nowhere is not a directory"), "{}", ended.message);
}

#[test]
fn an_unprivileged_target_receives_into_its_own_directory() {
    if !is_root() {
        return;
    }
    for (content, stream, name) in
        [(IMAGE, b"image".to_vec(), "disk.img"), (TREE, tree_of(b"content"), "file")]
    {
        let builder = TargetBuilder::new().with_uid(65534);
        let directory = builder.directory();
        std::os::unix::fs::chown(&directory, Some(65534), Some(65534)).unwrap();
        let target = builder.ready();
        assert_eq!(target.request(&upload(content, &stream)).status, 200, "{content}");
        assert!(directory.join(name).exists(), "{content}");
        target.ended().assert_success();
    }
}

#[test]
fn a_directory_named_disk_img_is_replaced_by_the_image() {
    let target = TargetBuilder::new().ready();
    let in_place = target.directory().join("disk.img");
    std::fs::create_dir(&in_place).unwrap();
    std::fs::write(in_place.join("file"), "content").unwrap();
    let answer = target.request(&upload(IMAGE, b"image"));
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(names(&target.directory()), ["disk.img"]);
    assert_eq!(std::fs::read(in_place).unwrap(), b"image");
}
