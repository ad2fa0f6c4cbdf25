//! Copies that fail or are ended in the middle: what they leave behind.

use std::fs;
use std::path::PathBuf;

use decant_test_support::disks::Mounted;
use decant_test_support::is_root;
use decant_test_support::noise;
use rustix::process::Signal;

use super::command::{Place, Running, copy, names};

#[test]
fn a_full_disk_is_told_in_numbers_and_left_empty() {
    if !is_root() {
        return;
    }
    let (place, small) = (Place::new(), Mounted::tmpfs("size=4m").unwrap());
    let source = place.file("a", &noise(8 << 20, 1));
    let ended = copy(&[source.as_path(), &small.path().join("b")]);
    ended.assert_failed(
        4,
        &["no space for", "/b after ", " of 8388608 bytes", "the volume has 4.00 MiB", "free"],
    );
    assert_eq!(names(small.path()), [""; 0]);
}

#[test]
fn a_disk_that_is_too_small_for_preallocation_is_left_empty() {
    if !is_root() {
        return;
    }
    let (place, small) = (Place::new(), Mounted::tmpfs("size=4m").unwrap());
    let source = place.hole("a", 8 << 20);
    let target = small.path().join("b");
    let ended = copy(&["--preallocate".as_ref(), source.as_os_str(), target.as_os_str()]);
    ended.assert_failed(4, &["no space for", " of 8388608 bytes"]);
    assert_eq!(names(small.path()), [""; 0]);
}

#[test]
fn a_full_disk_keeps_the_file_that_was_to_be_replaced() {
    if !is_root() {
        return;
    }
    let (place, small) = (Place::new(), Mounted::tmpfs("size=4m").unwrap());
    let source = place.file("a", &noise(8 << 20, 1));
    let target = small.path().join("b");
    fs::write(&target, "old").unwrap();
    copy(&["--force".as_ref(), source.as_os_str(), target.as_os_str()]).assert_failed(4, &["no space for"]);
    assert_eq!(names(small.path()), ["b"]);
    assert_eq!(fs::read(&target).unwrap(), b"old");
}

#[test]
fn a_folder_that_does_not_fit_leaves_neither_files_nor_the_new_folder() {
    if !is_root() {
        return;
    }
    let (place, small) = (Place::new(), Mounted::tmpfs("size=4m").unwrap());
    let source = place.folder("a");
    place.file("a/fits", &noise(1 << 20, 1));
    place.file("a/too-large", &noise(8 << 20, 2));
    let ended = copy(&[source.as_path(), &small.path().join("new")]);
    ended.assert_failed(4, &["too-large", "No space left"]);
    assert_eq!(names(small.path()), [""; 0]);
    copy(&[source.as_path(), small.path()]).assert_failed(4, &["too-large", "No space left"]);
    assert_eq!(names(small.path()), [""; 0]);
}

#[test]
fn a_source_that_cannot_be_read_to_its_end_leaves_nothing() {
    if !is_root() {
        return;
    }
    // A loop device that is larger than the file behind it has become: its end cannot be read.
    let place = Place::new();
    let backing = place.file("backing", &noise(8 << 20, 3));
    let device = decant_test_support::disks::LoopDevice::on(&backing);
    fs::File::options().write(true).open(&backing).unwrap().set_len(1 << 20).unwrap();
    let ended = copy(&[&device.0, &place.at("b")]);
    ended.assert_failed(3, &["cannot read", device.0.to_str().unwrap(), " at byte 1048576: "]);
    assert_eq!(names(&place.at(".")), ["backing"]);
}

/// A file that takes half a minute to copy, and where its copy grows.
fn endless(place: &Place) -> (PathBuf, PathBuf, PathBuf) {
    (place.file("a", &noise(32 << 20, 4)), place.at("b"), place.at(".b.decant-partial"))
}

/// A folder that takes seconds to copy, and where its copy grows.
fn large(place: &Place, target: &str) -> (PathBuf, PathBuf, PathBuf) {
    let source = place.folder("a");
    let content = noise(12 << 20, 4);
    for number in 0..8 {
        fs::write(source.join(number.to_string()), &content).unwrap();
    }
    (source, place.at(target), place.at(target).join(".decant-partial"))
}

#[test]
fn sigterm_in_the_middle_of_a_file_leaves_nothing() {
    let place = Place::new();
    let (source, target, growing) = endless(&place);
    let code = Running::until(&growing, &source, &target).end(Signal::TERM);
    assert_eq!(code, Some(143));
    assert_eq!(names(&place.at(".")), ["a"]);
}

#[test]
fn sigint_in_the_middle_of_a_file_leaves_nothing_either() {
    let place = Place::new();
    let (source, target, growing) = endless(&place);
    let code = Running::until(&growing, &source, &target).end(Signal::INT);
    assert_eq!(code, Some(130));
    assert_eq!(names(&place.at(".")), ["a"]);
}

#[test]
fn a_terminal_that_is_closed_leaves_nothing_either() {
    let place = Place::new();
    let (source, target, growing) = large(&place, "new");
    let code = Running::until(&growing, &source, &target).end(Signal::HUP);
    assert_eq!(code, Some(129));
    assert_eq!(names(&place.at(".")), ["a"]);
}

#[test]
fn sigterm_in_the_middle_of_a_folder_leaves_nothing() {
    let place = Place::new();
    let (source, target, growing) = large(&place, "new");
    let code = Running::until(&growing, &source, &target).end(Signal::TERM);
    assert_eq!(code, Some(143));
    assert_eq!(names(&place.at(".")), ["a"]);
}

#[test]
fn sigterm_in_the_middle_leaves_a_folder_that_existed() {
    let place = Place::new();
    let (source, target, growing) = large(&place, "existing");
    place.folder("existing");
    let code = Running::until(&growing, &source, &target).end(Signal::TERM);
    assert_eq!(code, Some(143));
    assert_eq!(names(&target), [""; 0]);
}

#[test]
fn after_sigkill_there_is_no_file_and_the_next_copy_cleans_up() {
    let place = Place::new();
    let (source, target, growing) = endless(&place);
    let code = Running::until(&growing, &source, &target).end(Signal::KILL);
    assert_eq!(code, None);
    assert!(!target.exists());
    fs::write(&source, "content").unwrap();
    copy(&[&source, &target]).assert_done();
    assert_eq!(fs::read(&target).unwrap(), b"content");
    assert_eq!(names(&place.at(".")), ["a", "b"]);
}

#[test]
fn after_sigkill_nothing_has_its_name_and_the_next_copy_of_a_folder_cleans_up() {
    for existing in ["new", "existing"] {
        let place = Place::new();
        let (source, target, growing) = large(&place, existing);
        if existing == "existing" {
            place.folder(existing);
        }
        let code = Running::until(&growing, &source, &target).end(Signal::KILL);
        assert_eq!(code, None);
        assert_eq!(names(&target), [".decant-partial"], "{existing}");
        copy(&[&source, &target]).assert_done();
        assert_eq!(names(&target), names(&source), "{existing}");
    }
}

#[test]
fn a_network_namespace_without_loopback_is_told_as_such() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let source = place.file("a", b"content");
    let mut command = std::process::Command::new("unshare");
    command.args(["-n", env!("CARGO_BIN_EXE_cloner"), "copy"]).args([&source, &place.at("b")]);
    let ended = command.output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(said.contains("loopback") && said.contains("ip link set lo up"), "{said}");
    assert_eq!(names(&place.at(".")), ["a"]);
}
