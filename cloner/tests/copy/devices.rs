//! Block devices on either side. They are loop devices, so these tests need root (see `able`).

use std::fs::{self, Permissions};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;

use decant_test_support::disks::{LoopDevice, Mounted, make_ext4};
use decant_test_support::is_root;
use decant_test_support::noise;

use super::command::{Place, command, copy, names};

const MIB: usize = 1 << 20;

fn forced(source: &Path, target: &Path) -> super::command::Ended {
    copy(&["--force".as_ref(), source.as_os_str(), target.as_os_str()])
}

#[test]
fn a_file_replaces_the_beginning_of_a_device() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let mut content = noise(3 * MIB + 777, 1);
    content[MIB..2 * MIB].fill(0);
    let source = place.file("a", &content);
    let former = noise(4 * MIB, 2);
    let backing = place.file("backing", &former);
    let device = LoopDevice::on(&backing);
    forced(&source, &device.0).assert_done();
    let found = fs::read(&device.0).unwrap();
    assert!(found[..content.len()] == content, "the image");
    assert!(found[content.len()..] == former[content.len()..], "what lies behind the image");
}

#[test]
fn a_device_becomes_a_file_of_its_size() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let content = noise(2 * MIB, 3);
    let device = LoopDevice::on(&place.file("backing", &content));
    copy(&[&device.0, &place.at("b")]).assert_done();
    assert!(fs::read(place.at("b")).unwrap() == content);
}

#[test]
fn a_device_becomes_another_devices_content() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let content = noise(2 * MIB, 4);
    let source = LoopDevice::on(&place.file("backing", &content));
    let target = LoopDevice::on(&place.file("other", &noise(2 * MIB, 5)));
    forced(&source.0, &target.0).assert_done();
    assert!(fs::read(&target.0).unwrap() == content);
}

/// As a pod meets it where the container runtime leaves its devices to root.
#[test]
fn a_device_that_may_not_be_opened_is_told_with_the_user_and_the_setting_of_the_runtime() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    fs::set_permissions(place.at(""), Permissions::from_mode(0o777)).unwrap();
    let device = LoopDevice::on(&place.file("backing", &noise(MIB, 8)));
    let image = place.file("image", b"x");
    for (words, code, doing) in
        [([&device.0, &place.at("copy")], 3, "read"), ([&image, &device.0], 4, "write")]
    {
        let mut command = command(&["--force".as_ref(), words[0].as_os_str(), words[1].as_os_str()]);
        let output = command.uid(65_534).gid(65_534).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        let device = device.0.display();
        let wanted = format!(
            "no permission to {doing} the block device {device} as user 65534; in a pod: set device_ownership_from_security_context = true"
        );
        assert!(said.contains(&wanted), "{said}");
        assert_eq!(output.status.code(), Some(code), "{said}");
    }
}

#[test]
fn the_disk_image_of_a_folder_replaces_a_devices_content() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let content = noise(2 * MIB, 6);
    place.folder("volume/sub");
    place.file("volume/disk.img", &content);
    place.file("volume/sub/disk.img", b"another");
    let target = LoopDevice::on(&place.file("backing", &noise(2 * MIB, 7)));
    forced(&place.at("volume"), &target.0).assert_done();
    assert!(fs::read(&target.0).unwrap() == content);
}

#[test]
fn a_folder_without_a_disk_image_does_not_go_onto_a_device() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    place.folder("volume");
    place.file("volume/old-disk.img", b"content");
    let former = noise(2 * MIB, 8);
    let target = LoopDevice::on(&place.file("backing", &former));
    forced(&place.at("volume"), &target.0).assert_failed(3, &["volume has no disk.img"]);
    assert!(fs::read(&target.0).unwrap() == former);
}

#[test]
fn a_disk_image_that_is_a_link_or_a_folder_is_refused_before_anything_starts() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let former = noise(2 * MIB, 8);
    let target = LoopDevice::on(&place.file("backing", &former));
    place.file("real", b"content");
    place.folder("folder/disk.img");
    for (volume, points_to) in [("linked", "../real"), ("dangling", "nowhere")] {
        place.folder(volume);
        std::os::unix::fs::symlink(points_to, place.at(volume).join("disk.img")).unwrap();
    }
    for volume in ["folder", "linked", "dangling"] {
        forced(&place.at(volume), &target.0).assert_failed(3, &["has no regular file disk.img at its top"]);
    }
    assert!(fs::read(&target.0).unwrap() == former);
}

#[test]
fn without_force_a_device_is_not_touched() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let former = noise(MIB, 9);
    let target = LoopDevice::on(&place.file("backing", &former));
    let source = place.file("a", b"content");
    copy(&[&source, &target.0]).assert_failed(4, &["is a block device", "--force"]);
    place.folder("volume");
    place.file("volume/disk.img", b"content");
    copy(&[&place.at("volume"), &target.0]).assert_failed(4, &["is a block device", "--force"]);
    assert!(fs::read(&target.0).unwrap() == former);
}

#[test]
fn a_device_that_is_too_small_is_refused_with_both_sizes_and_stays_as_it_was() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let former = noise(MIB, 10);
    let target = LoopDevice::on(&place.file("backing", &former));
    let source = place.file("a", &noise(MIB + 1, 11));
    let name = target.0.to_str().unwrap();
    forced(&source, &target.0).assert_failed(4, &[name, "1048576", "1048577"]);
    assert!(fs::read(&target.0).unwrap() == former);
    assert!(target.0.metadata().unwrap().file_type().is_block_device());
}

#[test]
fn a_device_that_is_mounted_is_refused() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let backing = place.hole("backing", 8 << 20);
    make_ext4(&backing, &[]).unwrap();
    let target = LoopDevice::on(&backing);
    let mounted = Mounted::device(&target.0).unwrap();
    let source = place.file("a", b"content");
    forced(&source, &target.0).assert_failed(4, &[target.0.to_str().unwrap(), "in use"]);
    assert_eq!(names(mounted.path()), ["lost+found"]);
}
