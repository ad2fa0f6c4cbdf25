//! Volumes that are full, or may not be written.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use decant_test_support::archive::HandMade;
use decant_test_support::disks::Mounted;
use decant_test_support::{is_root, names, noise};

use crate::body::{IMAGE, TREE, upload};
use crate::process::{Plan, Target};

const MIB: usize = 1 << 20;
const NO_ROOM: &str =
    "Saving stream failed: effective image size is larger than the reported available storage: ";

/// A target whose volume has 4 MiB.
fn small() -> (Target, Mounted) {
    let volume = Mounted::tmpfs("size=4m").unwrap();
    let image = volume.path().join("disk.img");
    (Plan::new().set("DESTINATION", image.to_str().unwrap()).ready(), volume)
}

fn tree_of(content: &[u8]) -> Vec<u8> {
    let header = HandMade::header(b'0', "file", content.len() as u64);
    HandMade::default().file("before", "content").block(header, content).end()
}

#[test]
fn an_image_that_fills_the_volume_is_refused_in_cdis_words_and_leaves_nothing() {
    if !is_root() {
        return;
    }
    let (target, volume) = small();
    let answer = target.ask(&upload(IMAGE, &noise(8 * MIB, 0)));
    assert_eq!(answer.status, 400, "{answer:?}");
    assert!(answer.body.starts_with(NO_ROOM), "{answer:?}");
    assert!(answer.body.contains("disk.img after ") && answer.body.contains("4.00 MiB"), "{answer:?}");
    assert!(names(volume.path()).is_empty());
    assert_eq!(target.ask(&upload(IMAGE, &noise(2 * MIB, 0))).status, 200);
    target.ended().well();
}

#[test]
fn a_tree_that_fills_the_volume_is_refused_in_cdis_words_and_leaves_nothing() {
    if !is_root() {
        return;
    }
    let (target, volume) = small();
    let answer = target.ask(&upload(TREE, &tree_of(&noise(8 * MIB, 0))));
    assert_eq!(answer.status, 400, "{answer:?}");
    assert!(answer.body.starts_with(NO_ROOM), "{answer:?}");
    assert!(answer.body.contains("of 8388608 bytes are written"), "{answer:?}");
    assert!(answer.body.contains("of 4194304 bytes free"), "{answer:?}");
    assert!(names(volume.path()).is_empty());
    assert_eq!(target.ask(&upload(TREE, &tree_of(&noise(2 * MIB, 0)))).status, 200);
    target.ended().well();
}

#[test]
fn preallocation_that_the_volume_has_no_room_for_is_refused_and_leaves_nothing() {
    if !is_root() {
        return;
    }
    let volume = Mounted::tmpfs("size=4m").unwrap();
    let image = volume.path().join("disk.img");
    let plan = Plan::new().set("DESTINATION", image.to_str().unwrap()).set("PREALLOCATION", "true");
    let answer = plan.ready().ask(&upload(IMAGE, &vec![0; 8 * MIB]));
    assert_eq!(answer.status, 400, "{answer:?}");
    assert!(answer.body.starts_with(NO_ROOM), "{answer:?}");
    assert!(names(volume.path()).is_empty());
}

#[test]
fn growth_that_the_volume_has_no_room_for_is_a_hole_and_no_failure() {
    if !is_root() {
        return;
    }
    let volume = Mounted::tmpfs("size=4m").unwrap();
    let image = volume.path().join("disk.img");
    let plan = Plan::new().set("DESTINATION", image.to_str().unwrap()).set("UPLOAD_IMAGE_SIZE", "64Mi");
    let target = plan.ready();
    assert_eq!(target.ask(&upload(IMAGE, b"image")).status, 200);
    assert_eq!(image.metadata().unwrap().len(), 64 << 20);
}

#[test]
fn a_folder_that_may_not_be_written_is_named() {
    if !is_root() {
        return; // Only root can become somebody else.
    }
    let plan = Plan::new().run_by(65534);
    let folder = plan.folder();
    std::fs::set_permissions(&folder, Permissions::from_mode(0o755)).unwrap();
    let target = plan.ready();
    for request in [upload(IMAGE, b"image"), upload(TREE, &tree_of(b"content"))] {
        let answer = target.ask(&request);
        assert_eq!(answer.status, 500, "{answer:?}");
        assert!(answer.body.contains(folder.to_str().unwrap()), "{answer:?}");
        assert!(answer.body.contains("Permission denied"), "{answer:?}");
    }
    assert!(names(&folder).is_empty());
}

#[test]
fn a_folder_that_is_not_there_is_named() {
    let ended = Plan::new().set("DESTINATION", "/nowhere/disk.img").run();
    assert_eq!(ended.code, Some(4));
    assert!(ended.message.contains("/nowhere is not a directory"), "{}", ended.message);
}

#[test]
fn a_user_without_root_receives_into_an_own_directory() {
    if !is_root() {
        return;
    }
    for (content, stream, name) in
        [(IMAGE, b"image".to_vec(), "disk.img"), (TREE, tree_of(b"content"), "file")]
    {
        let plan = Plan::new().run_by(65534);
        let folder = plan.folder();
        std::os::unix::fs::chown(&folder, Some(65534), Some(65534)).unwrap();
        let target = plan.ready();
        assert_eq!(target.ask(&upload(content, &stream)).status, 200, "{content}");
        assert!(folder.join(name).exists(), "{content}");
        target.ended().well();
    }
}

#[test]
fn a_folder_in_the_image_s_place_gives_way_to_the_image() {
    let target = Plan::new().ready();
    let in_place = target.folder().join("disk.img");
    std::fs::create_dir(&in_place).unwrap();
    std::fs::write(in_place.join("file"), "content").unwrap();
    let answer = target.ask(&upload(IMAGE, b"image"));
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(names(&target.folder()), ["disk.img"]);
    assert_eq!(std::fs::read(in_place).unwrap(), b"image");
}
