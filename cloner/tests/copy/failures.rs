//! What copies leave when they fail or are interrupted.

use std::fs;
use std::path::{Path, PathBuf};

use decant_test_support::disks::Mounted;
use decant_test_support::is_root;
use decant_test_support::noise;
use rustix::process::Signal;

use super::command::{Running, Scratch, copy, names};

#[test]
fn a_full_disk_is_reported_with_sizes_and_left_empty() {
    if !is_root() {
        return;
    }
    let (scratch, small) = (Scratch::new(), Mounted::tmpfs("size=4m").unwrap());
    let source = scratch.file("a", &noise(8 << 20, 1));
    let ended = copy(&[source.as_path(), &small.path().join("b")]);
    ended.assert_failed(
        4,
        &["no space for", "/b after ", " of 8388608 bytes", "the volume has 4.00 MiB", "free"],
    );
    assert_eq!(names(small.path()), [""; 0]);
}

#[test]
fn a_disk_too_small_for_preallocation_is_left_empty() {
    if !is_root() {
        return;
    }
    let (scratch, small) = (Scratch::new(), Mounted::tmpfs("size=4m").unwrap());
    let source = scratch.hole("a", 8 << 20);
    let target = small.path().join("b");
    let ended = copy(&["--preallocate".as_ref(), source.as_os_str(), target.as_os_str()]);
    ended.assert_failed(4, &["no space for", " of 8388608 bytes"]);
    assert_eq!(names(small.path()), [""; 0]);
}

#[test]
fn a_full_disk_keeps_the_existing_file() {
    if !is_root() {
        return;
    }
    let (scratch, small) = (Scratch::new(), Mounted::tmpfs("size=4m").unwrap());
    let source = scratch.file("a", &noise(8 << 20, 1));
    let target = small.path().join("b");
    fs::write(&target, "old").unwrap();
    copy(&["--force".as_ref(), source.as_os_str(), target.as_os_str()]).assert_failed(4, &["no space for"]);
    assert_eq!(names(small.path()), ["b"]);
    assert_eq!(fs::read(&target).unwrap(), b"old");
}

#[test]
fn a_directory_that_does_not_fit_leaves_nothing() {
    if !is_root() {
        return;
    }
    let (scratch, small) = (Scratch::new(), Mounted::tmpfs("size=4m").unwrap());
    let source = scratch.directory("a");
    scratch.file("a/fits", &noise(1 << 20, 1));
    scratch.file("a/too-large", &noise(8 << 20, 2));
    let ended = copy(&[source.as_path(), &small.path().join("new")]);
    ended.assert_failed(4, &["too-large", "No space left"]);
    assert_eq!(names(small.path()), [""; 0]);
    copy(&[source.as_path(), small.path()]).assert_failed(4, &["too-large", "No space left"]);
    assert_eq!(names(small.path()), [""; 0]);
}

#[test]
fn a_source_with_a_read_error_leaves_nothing() {
    if !is_root() {
        return;
    }
    // The backing file of the loop device was truncated: the end of the device cannot be read.
    let scratch = Scratch::new();
    let backing = scratch.file("backing", &noise(8 << 20, 3));
    let device = decant_test_support::disks::LoopDevice::on(&backing);
    fs::File::options().write(true).open(&backing).unwrap().set_len(1 << 20).unwrap();
    let ended = copy(&[&device.0, &scratch.at("b")]);
    ended.assert_failed(3, &["cannot read", device.0.to_str().unwrap(), " at byte 1048576: "]);
    assert_eq!(names(&scratch.at(".")), ["backing"]);
}

/// A file that takes half a minute to copy, and where its copy grows.
fn slow_file(scratch: &Scratch) -> (PathBuf, PathBuf, PathBuf) {
    (scratch.file("a", &noise(32 << 20, 4)), scratch.at("b"), scratch.at(".b.decant-partial"))
}

/// A directory that takes seconds to copy, and where its copy grows.
fn large(scratch: &Scratch, target: &str) -> (PathBuf, PathBuf, PathBuf) {
    let source = scratch.directory("a");
    let content = noise(12 << 20, 4);
    for number in 0..8 {
        fs::write(source.join(number.to_string()), &content).unwrap();
    }
    (source, scratch.at(target), scratch.at(target).join(".decant-partial/new"))
}

/// After a signal nothing is left of a copy over the wire. A direct copy leaves what the next one resumes from.
fn assert_ended(scratch: &Scratch, source: &Path, target: &Path) {
    if crate::IS_WIRE {
        assert_eq!(names(&scratch.at(".")), ["a"]);
        return;
    }
    assert!(!target.is_file());
    if target.is_dir() {
        assert_eq!(names(target), [".decant-partial"]);
    }
    copy(&[source, target]).assert_done();
    assert_eq!(names(&scratch.at(".")), ["a", target.file_name().unwrap().to_str().unwrap()]);
    assert!(target.is_file() || names(target) == names(source));
}

#[test]
fn sigterm_while_copying_a_file_leaves_nothing_under_its_name() {
    let scratch = Scratch::new();
    let (source, target, growing) = slow_file(&scratch);
    let code = Running::start_and_wait_for(&growing, &source, &target).end(Signal::TERM);
    assert_eq!(code, Some(143));
    assert_ended(&scratch, &source, &target);
}

#[test]
fn sigint_while_copying_a_file_leaves_nothing_under_its_name() {
    let scratch = Scratch::new();
    let (source, target, growing) = slow_file(&scratch);
    let code = Running::start_and_wait_for(&growing, &source, &target).end(Signal::INT);
    assert_eq!(code, Some(130));
    assert_ended(&scratch, &source, &target);
}

#[test]
fn closing_the_terminal_while_copying_leaves_nothing_under_its_name() {
    let scratch = Scratch::new();
    let (source, target, growing) = large(&scratch, "new");
    let code = Running::start_and_wait_for(&growing, &source, &target).end(Signal::HUP);
    assert_eq!(code, Some(129));
    assert_ended(&scratch, &source, &target);
}

#[test]
fn sigterm_while_copying_a_directory_leaves_nothing_under_its_name() {
    let scratch = Scratch::new();
    let (source, target, growing) = large(&scratch, "new");
    let code = Running::start_and_wait_for(&growing, &source, &target).end(Signal::TERM);
    assert_eq!(code, Some(143));
    assert_ended(&scratch, &source, &target);
}

#[test]
fn sigterm_while_copying_keeps_an_existing_directory() {
    let scratch = Scratch::new();
    let (source, target, growing) = large(&scratch, "existing");
    scratch.directory("existing");
    let code = Running::start_and_wait_for(&growing, &source, &target).end(Signal::TERM);
    assert_eq!(code, Some(143));
    let left: &[&str] = if crate::IS_WIRE { &[] } else { &[".decant-partial"] };
    assert_eq!(names(&target), left);
}

#[test]
fn after_sigkill_no_file_is_visible_and_the_next_copy_cleans_up() {
    let scratch = Scratch::new();
    let (source, target, growing) = slow_file(&scratch);
    let code = Running::start_and_wait_for(&growing, &source, &target).end(Signal::KILL);
    assert_eq!(code, None);
    assert!(!target.exists());
    fs::write(&source, "content").unwrap();
    copy(&[&source, &target]).assert_done();
    assert_eq!(fs::read(&target).unwrap(), b"content");
    assert_eq!(names(&scratch.at(".")), ["a", "b"]);
}

#[test]
fn after_sigkill_no_entry_is_visible_and_the_next_directory_copy_cleans_up() {
    for existing in ["new", "existing"] {
        let scratch = Scratch::new();
        let (source, target, growing) = large(&scratch, existing);
        if existing == "existing" {
            scratch.directory(existing);
        }
        let code = Running::start_and_wait_for(&growing, &source, &target).end(Signal::KILL);
        assert_eq!(code, None);
        assert_eq!(names(&target), [".decant-partial"], "{existing}");
        copy(&[&source, &target]).assert_done();
        assert_eq!(names(&target), names(&source), "{existing}");
    }
}

#[test]
fn a_network_namespace_without_loopback_is_reported() {
    if !is_root() || !crate::IS_WIRE {
        return;
    }
    let scratch = Scratch::new();
    let source = scratch.file("a", b"content");
    let mut command = std::process::Command::new("unshare");
    command.args(["-n", env!("CARGO_BIN_EXE_cloner"), "copy", "--wire"]).args([&source, &scratch.at("b")]);
    let ended = command.output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(said.contains("loopback") && said.contains("ip link set lo up"), "{said}");
    assert_eq!(names(&scratch.at(".")), ["a"]);
}
