//! Block devices on either side. They are loop devices, so these tests need root (see `able`).

use std::fs::{self, Permissions};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;

use decant_test_support::disks::{LoopDevice, Mounted, make_ext4};
use decant_test_support::is_root;
use decant_test_support::noise;

use super::command::{Scratch, command, copy, names};

const MIB: usize = 1 << 20;

fn forced(source: &Path, target: &Path) -> super::command::Outcome {
    copy(&["--force".as_ref(), source.as_os_str(), target.as_os_str()])
}

#[test]
fn a_file_replaces_the_start_of_a_device() {
    if !is_root() {
        return;
    }
    let scratch = Scratch::new();
    let mut content = noise(3 * MIB + 777, 1);
    content[MIB..2 * MIB].fill(0);
    let source = scratch.file("a", &content);
    let former = noise(4 * MIB, 2);
    let backing = scratch.file("backing", &former);
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
    let scratch = Scratch::new();
    let content = noise(2 * MIB, 3);
    let device = LoopDevice::on(&scratch.file("backing", &content));
    copy(&[&device.0, &scratch.at("b")]).assert_done();
    assert!(fs::read(scratch.at("b")).unwrap() == content);
}

#[test]
fn a_device_is_copied_onto_another_device() {
    if !is_root() {
        return;
    }
    let scratch = Scratch::new();
    let content = noise(2 * MIB, 4);
    let source = LoopDevice::on(&scratch.file("backing", &content));
    let target = LoopDevice::on(&scratch.file("other", &noise(2 * MIB, 5)));
    forced(&source.0, &target.0).assert_done();
    assert!(fs::read(&target.0).unwrap() == content);
}

/// As a pod meets it where the container runtime leaves its devices to root.
#[test]
fn a_denied_device_is_reported_with_the_user_and_the_runtime_setting() {
    if !is_root() {
        return;
    }
    let scratch = Scratch::new();
    fs::set_permissions(scratch.at(""), Permissions::from_mode(0o777)).unwrap();
    let device = LoopDevice::on(&scratch.file("backing", &noise(MIB, 8)));
    let image = scratch.file("image", b"x");
    for (arguments, code, doing) in
        [([&device.0, &scratch.at("copy")], 3, "read"), ([&image, &device.0], 4, "write")]
    {
        let mut command = command(&["--force".as_ref(), arguments[0].as_os_str(), arguments[1].as_os_str()]);
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
fn the_disk_image_in_a_directory_replaces_a_devices_content() {
    if !is_root() {
        return;
    }
    let scratch = Scratch::new();
    let content = noise(2 * MIB, 6);
    scratch.directory("volume/sub");
    scratch.file("volume/disk.img", &content);
    scratch.file("volume/sub/disk.img", b"another");
    let target = LoopDevice::on(&scratch.file("backing", &noise(2 * MIB, 7)));
    forced(&scratch.at("volume"), &target.0).assert_done();
    assert!(fs::read(&target.0).unwrap() == content);
}

#[test]
fn a_directory_without_a_disk_image_is_not_copied_onto_a_device() {
    if !is_root() {
        return;
    }
    let scratch = Scratch::new();
    scratch.directory("volume");
    scratch.file("volume/old-disk.img", b"content");
    let former = noise(2 * MIB, 8);
    let target = LoopDevice::on(&scratch.file("backing", &former));
    forced(&scratch.at("volume"), &target.0).assert_failed(3, &["volume has no disk.img"]);
    assert!(fs::read(&target.0).unwrap() == former);
}

#[test]
fn a_disk_image_that_is_a_link_or_a_directory_is_refused_before_the_copy() {
    if !is_root() {
        return;
    }
    let scratch = Scratch::new();
    let former = noise(2 * MIB, 8);
    let target = LoopDevice::on(&scratch.file("backing", &former));
    scratch.file("real", b"content");
    scratch.directory("folder/disk.img");
    for (volume, points_to) in [("linked", "../real"), ("dangling", "nowhere")] {
        scratch.directory(volume);
        std::os::unix::fs::symlink(points_to, scratch.at(volume).join("disk.img")).unwrap();
    }
    for volume in ["folder", "linked", "dangling"] {
        forced(&scratch.at(volume), &target.0).assert_failed(3, &["has no regular file disk.img at its top"]);
    }
    assert!(fs::read(&target.0).unwrap() == former);
}

#[test]
fn a_device_is_overwritten_only_with_force() {
    if !is_root() {
        return;
    }
    let scratch = Scratch::new();
    let former = noise(MIB, 9);
    let target = LoopDevice::on(&scratch.file("backing", &former));
    let source = scratch.file("a", b"content");
    copy(&[&source, &target.0]).assert_failed(4, &["is a block device", "--force"]);
    scratch.directory("volume");
    scratch.file("volume/disk.img", b"content");
    copy(&[&scratch.at("volume"), &target.0]).assert_failed(4, &["is a block device", "--force"]);
    assert!(fs::read(&target.0).unwrap() == former);
}

#[test]
fn a_too_small_device_is_refused_with_both_sizes_and_unchanged() {
    if !is_root() {
        return;
    }
    let scratch = Scratch::new();
    let former = noise(MIB, 10);
    let target = LoopDevice::on(&scratch.file("backing", &former));
    let source = scratch.file("a", &noise(MIB + 1, 11));
    let name = target.0.to_str().unwrap();
    forced(&source, &target.0).assert_failed(4, &[name, "1048576", "1048577"]);
    assert!(fs::read(&target.0).unwrap() == former);
    assert!(target.0.metadata().unwrap().file_type().is_block_device());
}

#[test]
fn a_mounted_device_is_refused() {
    if !is_root() {
        return;
    }
    let scratch = Scratch::new();
    let backing = scratch.hole("backing", 8 << 20);
    make_ext4(&backing, &[]).unwrap();
    let target = LoopDevice::on(&backing);
    let mounted = Mounted::device(&target.0).unwrap();
    let source = scratch.file("a", b"content");
    forced(&source, &target.0).assert_failed(4, &[target.0.to_str().unwrap(), "in use"]);
    assert_eq!(names(mounted.path()), ["lost+found"]);
}
