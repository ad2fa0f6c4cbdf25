//! Leftovers of a killed copy: the next copy takes them over and removes nothing else.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use decant_test_support::is_root;
use decant_test_support::noise;
use rustix::process::Signal;

use super::command::{Running, Scratch, copy, names};

fn large(scratch: &Scratch) -> PathBuf {
    let source = scratch.directory("s");
    for number in 0..8 {
        fs::write(source.join(number.to_string()), noise(4 << 20, number)).unwrap();
    }
    fs::set_permissions(&source, Permissions::from_mode(0o751)).unwrap();
    source
}

fn killed(source: &Path, target: &Path) {
    let running = Running::start_and_wait_for(&target.join(".decant-partial/new"), source, target);
    assert_eq!(running.end(Signal::KILL), None);
}

fn attributes(directory: &Path) -> (u32, u32, u32) {
    let meta = directory.metadata().unwrap();
    (meta.mode() & 0o7777, meta.uid(), meta.gid())
}

#[test]
fn an_existing_directory_keeps_owner_and_mode_after_a_killed_copy() {
    let scratch = Scratch::new();
    let (source, own) = (large(&scratch), scratch.directory("own"));
    fs::set_permissions(&own, Permissions::from_mode(0o1777)).unwrap();
    if is_root() {
        chown(&own, Some(107), Some(107)).unwrap();
    }
    let before = attributes(&own);
    killed(&source, &own);
    copy(&[&source, &own]).assert_done();
    assert_eq!(attributes(&own), before);
    assert_eq!(names(&own), names(&source));
}

#[test]
fn an_existing_directory_is_not_removed_if_the_next_copy_ends_early() {
    let scratch = Scratch::new();
    let (source, own) = (large(&scratch), scratch.directory("own"));
    killed(&source, &own);
    let running = Running::start_and_wait_for(&own.join(".decant-partial/new/0"), &source, &own);
    assert_eq!(running.end(Signal::INT), Some(130));
    let left: &[&str] = if crate::IS_WIRE { &[] } else { &[".decant-partial"] };
    assert_eq!(names(&own), left);
}

#[test]
fn a_directory_made_by_a_killed_copy_is_completed_or_removed() {
    let scratch = Scratch::new();
    let (source, new) = (large(&scratch), scratch.at("new"));
    killed(&source, &new);
    let running = Running::start_and_wait_for(&new.join(".decant-partial/new/0"), &source, &new);
    assert_eq!(running.end(Signal::INT), Some(130));
    assert!(!crate::IS_WIRE || !new.exists());
    killed(&source, &new);
    copy(&[&source, &new]).assert_done();
    assert_eq!(attributes(&new), attributes(&source));
    assert_eq!(names(&new), names(&source));
}

#[test]
fn entries_moved_aside_by_a_killed_copy_are_restored() {
    let scratch = Scratch::new();
    scratch.file("s/b", b"new b");
    // As after a kill between two steps of a copy that was to replace "a".
    scratch.file("t/.decant-partial/new/a", b"new a");
    scratch.file("t/.decant-partial/old/a", b"the only copy");
    scratch.file("t/.decant-partial/old/c", b"was replaced");
    let (source, target) = (scratch.at("s"), scratch.at("t"));
    copy(&[&source, &target]).assert_failed(4, &["is not empty"]);
    copy(&["--force".as_ref(), source.as_os_str(), target.as_os_str()]).assert_done();
    assert_eq!(names(&target), ["a", "b"]);
    assert_eq!(fs::read(target.join("a")).unwrap(), b"the only copy");
}
