//! Targets that are block devices: loop devices with old content.

use std::os::unix::fs::FileTypeExt;

use decant_test_support::archive::HandMade;
use decant_test_support::{is_root, noise};
use rustix::process::Signal;

use crate::body::{IMAGE, TREE, chunk, chunked, frames, head, upload, upload_with};
use crate::dirty_device::{DIRT, Device};
use crate::process::{Target, TargetBuilder};

const MIB: usize = 1 << 20;

/// A target that is this device.
fn target_on(device: &Device) -> Target {
    TargetBuilder::new().set("DESTINATION", device.name()).ready()
}

/// Data, zeros, data, zeros, and some bytes that fill no sector: less than 3 MiB.
fn an_image() -> Vec<u8> {
    let mut image = noise(3 * MIB - 1000, 0);
    image[MIB / 2..MIB / 2 + MIB].fill(0);
    image[2 * MIB + 100..2 * MIB + 300_000].fill(0);
    image
}

/// Asserts that the device holds the image, followed by its previous content.
fn assert_holds(device: &Device, image: &[u8]) {
    let content = device.content();
    assert!(content[..image.len()] == *image, "the image is not what was sent");
    assert!(content[image.len()..].iter().all(|byte| *byte == DIRT), "the tail was touched");
}

fn assert_is_a_device(device: &Device) {
    assert!(device.path().metadata().unwrap().file_type().is_block_device());
}

#[test]
fn a_device_gets_an_image_with_its_zeros_and_keeps_its_tail() {
    if !is_root() {
        return;
    }
    for preallocation in ["false", "true"] {
        let device = Device::dirty(4 * MIB);
        let target = TargetBuilder::new()
            .set("DESTINATION", device.name())
            .set("PREALLOCATION", preallocation)
            .ready();
        assert_eq!(target.request(&upload(IMAGE, &an_image())).status, 200);
        assert_eq!(target.ended().assert_success().to_string(), preallocation);
        assert_holds(&device, &an_image());
    }
}

#[test]
fn an_image_of_the_size_of_the_device_fills_it() {
    if !is_root() {
        return;
    }
    let device = Device::dirty(2 * MIB);
    let target = target_on(&device);
    assert_eq!(
        target.request(&upload_with(IMAGE, "x-decant-length: 2097152\r\n", &noise(2 * MIB, 0))).status,
        200
    );
    target.ended().assert_success();
    assert_holds(&device, &noise(2 * MIB, 0));
}

#[test]
fn nothing_is_written_if_the_announced_image_does_not_fit() {
    if !is_root() {
        return;
    }
    let device = Device::dirty(MIB);
    let target = target_on(&device);
    let answer = target.request(&upload_with(IMAGE, "x-decant-length: 2097152\r\n", &noise(2 * MIB, 0)));
    assert_eq!(answer.status, 400, "{answer:?}");
    for expected_text in [
        "Saving stream failed: effective image size is larger than the reported available storage",
        "1048576",
        "2097152",
    ] {
        assert!(answer.body.contains(expected_text), "{expected_text:?} is not in {answer:?}");
    }
    assert_holds(&device, b"");
    assert_is_a_device(&device);
}

#[test]
fn a_device_found_too_small_is_reported_with_its_size() {
    if !is_root() {
        return;
    }
    let device = Device::dirty(MIB);
    let target = target_on(&device);
    for image in [noise(2 * MIB, 0), vec![0; 2 * MIB]] {
        let answer = target.request(&upload(IMAGE, &image));
        assert_eq!(answer.status, 400, "{answer:?}");
        assert!(answer.body.contains("larger than the reported available storage"), "{answer:?}");
        assert!(answer.body.contains("1048576"), "{answer:?}");
    }
    assert_is_a_device(&device);
    assert_eq!(target.request(&upload(IMAGE, &an_image()[..MIB])).status, 200);
    target.ended().assert_success();
}

#[test]
fn an_image_in_an_archive_that_does_not_fit_is_refused_before_writing() {
    if !is_root() {
        return;
    }
    let device = Device::dirty(MIB);
    let tree = HandMade::default().sparse("disk.img", 2 << 20, &[(0, 512)], &[1; 512]).end();
    let answer = target_on(&device).request(&upload(TREE, &tree));
    assert_eq!(answer.status, 400, "{answer:?}");
    assert!(answer.body.contains("1048576") && answer.body.contains("2097152"), "{answer:?}");
    assert_holds(&device, b"");
}

#[test]
fn a_device_accepts_a_new_transfer_after_an_aborted_one() {
    if !is_root() {
        return;
    }
    let device = Device::dirty(4 * MIB);
    let target = target_on(&device);
    let mut sender = target.sender();
    sender.send(&[head(IMAGE, ""), chunk(&frames(&noise(MIB, 0)))].concat()).unwrap();
    sender.reset();
    target.line("the transfer failed");
    assert_is_a_device(&device);
    assert_eq!(target.request(&upload(IMAGE, &an_image())).status, 200);
    target.ended().assert_success();
    assert_holds(&device, &an_image());
}

#[test]
fn a_device_accepts_a_new_transfer_after_a_damaged_one() {
    if !is_root() {
        return;
    }
    let device = Device::dirty(4 * MIB);
    let target = target_on(&device);
    let mut damaged = frames(&noise(MIB, 0));
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    assert_eq!(target.request(&[head(IMAGE, ""), chunked(&damaged)].concat()).status, 500);
    assert_is_a_device(&device);
    assert_eq!(target.request(&upload(IMAGE, &an_image())).status, 200);
    target.ended().assert_success();
    assert_holds(&device, &an_image());
}

#[test]
fn a_mounted_device_is_not_written() {
    if !is_root() {
        return;
    }
    let device = Device::dirty(4 * MIB);
    let mounted = device.mounted();
    std::fs::write(mounted.path().join("file"), "content").unwrap();
    let target = target_on(&device);
    let answer = target.request(&upload(IMAGE, &an_image()));
    assert_eq!(answer.status, 500, "{answer:?}");
    let expected_text = format!("{} is in use (mounted, or held open)", device.name());
    assert!(answer.body.contains(&expected_text), "{answer:?}");
    assert_eq!(std::fs::read_to_string(mounted.path().join("file")).unwrap(), "content");
    drop(mounted);
    assert_eq!(target.request(&upload(IMAGE, &an_image())).status, 200);
    target.ended().assert_success();
}

#[test]
fn a_missing_device_is_an_error_and_no_file_is_created() {
    let missing = "/dev/cdi-block-volume";
    assert!(!std::path::Path::new(missing).exists(), "this machine has the device that must be missing");
    let target = TargetBuilder::new().set("DESTINATION", missing).ready();
    let answer = target.request(&upload(IMAGE, b"image"));
    assert_eq!(answer.status, 500);
    assert!(answer.body.contains(missing), "{answer:?}");
    assert!(!std::path::Path::new(missing).exists());
}

#[test]
fn an_empty_image_leaves_the_device_unchanged() {
    if !is_root() {
        return;
    }
    let device = Device::dirty(MIB);
    let target = target_on(&device);
    assert_eq!(target.request(&upload(IMAGE, b"")).status, 200);
    target.ended().assert_success();
    assert_holds(&device, b"");
}

#[test]
fn a_terminated_target_releases_the_device() {
    if !is_root() {
        return;
    }
    let device = Device::dirty(4 * MIB);
    let target = target_on(&device);
    let mut sender = target.sender();
    sender.send(&[head(IMAGE, ""), chunk(&frames(&noise(MIB, 0)))].concat()).unwrap();
    target.line("receiving a blockdevice-clone");
    target.signal(Signal::TERM);
    let ended = target.ended();
    assert_eq!((ended.code, ended.message.as_str()), (Some(143), "stopped by SIGTERM"));
    assert_is_a_device(&device);
    let next = target_on(&device);
    assert_eq!(next.request(&upload(IMAGE, &an_image())).status, 200);
    assert_holds(&device, &an_image());
}
