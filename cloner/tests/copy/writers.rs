//! Two writers at one place: the second one is refused with the name of the first.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use decant_test_support::{is_root, noise, until};

use super::command::{Running, Scratch, command, copy, names};

/// A directory that takes some seconds to copy, and what grows while that is under way.
fn slow(scratch: &Scratch, target: &str) -> (PathBuf, PathBuf, PathBuf) {
    let source = scratch.directory("slow");
    for number in 0..3 {
        fs::write(source.join(number.to_string()), noise(1 << 20, number)).unwrap();
    }
    (source, scratch.at(target), scratch.at(target).join(".decant-partial/new/0"))
}

fn assert_refused(source: &Path, target: &Path, first: &Running) {
    let own = format!("(process {}", first.id());
    let arguments = ["--force".as_ref(), source.as_os_str(), target.as_os_str()];
    copy(&arguments).assert_failed(4, &["another process is writing to", &own, "wait until it has ended"]);
}

#[test]
fn a_second_copy_into_a_directory_is_refused_and_the_first_one_completes() {
    let scratch = Scratch::new();
    let (source, target, growing) = slow(&scratch, "target");
    scratch.directory("target");
    scratch.file("other/a", b"other");
    let first = Running::start_and_wait_for(&growing, &source, &target).paused();
    assert_refused(&scratch.at("other"), &target, &first);
    let image = scratch.file("image", b"image");
    assert_refused(&image, &target.join("image"), &first);
    first.assert_success();
    assert_eq!(names(&target), ["0", "1", "2"]);
    copy(&[image.as_path(), &target.join("image")]).assert_done();
}

#[test]
fn a_second_copy_into_a_directory_being_created_is_refused_and_removes_nothing() {
    let scratch = Scratch::new();
    let (source, target, growing) = slow(&scratch, "new");
    scratch.file("other/a", b"other");
    let first = Running::start_and_wait_for(&growing, &source, &target).paused();
    assert_refused(&scratch.at("other"), &target, &first);
    first.assert_success();
    assert_eq!(names(&target), ["0", "1", "2"]);
}

#[test]
fn a_tree_copy_to_the_path_of_a_running_image_copy_is_refused() {
    let scratch = Scratch::new();
    let image = scratch.file("image", &noise(3 << 20, 9));
    let directory = scratch.directory("target");
    scratch.file("other/a", b"other");
    let first =
        Running::start_and_wait_for(&directory.join(".image.decant-partial"), &image, &directory).paused();
    assert_refused(&scratch.at("other"), &directory, &first);
    // Another image has its own name.
    copy(&[scratch.file("second", b"second"), directory.clone()]).assert_done();
    assert_refused(&image, &directory.join("image"), &first);
    first.assert_success();
    assert_eq!(names(&directory), ["image", "second"]);
}

#[test]
fn images_with_a_common_long_prefix_are_copied_concurrently() {
    let scratch = Scratch::new();
    let long = "n".repeat(210);
    let slow = scratch.file("slow", &noise(3 << 20, 9));
    let growing = || names(&scratch.at(".")).into_iter().find(|name| name.ends_with(".decant-partial"));
    let first = Running::start_and_wait_for(&scratch.at("slow"), &slow, &scratch.at(&format!("{long}A")));
    until("the first copy writes", || growing().is_some());
    let first = first.paused();
    copy(&[scratch.file("quick", b"quick"), scratch.at(&format!("{long}B"))]).assert_done();
    first.assert_success();
    assert_eq!(fs::metadata(scratch.at(&format!("{long}A"))).unwrap().len(), 3 << 20);
    assert_eq!(fs::read(scratch.at(&format!("{long}B"))).unwrap(), b"quick");
}

#[test]
fn a_writer_in_another_pid_namespace_is_identified_by_its_record() {
    if !is_root() {
        return;
    }
    let scratch = Scratch::new();
    let (source, target, growing) = slow(&scratch, "target");
    scratch.directory("target");
    scratch.file("other/a", b"other");
    let arguments = scratch.at("target/.decant-partial/writer");
    let first = Running::start_and_wait_for(&growing, &source, &target).paused();
    let stored = fs::read_to_string(arguments).unwrap();
    // As in another pod: in its own PID namespace.
    let inner = command(&[scratch.at("other"), target.clone()]);
    let mut apart = Command::new("unshare");
    apart.args(["--pid", "--fork", "--mount-proc"]).arg(inner.get_program()).args(inner.get_args());
    let ended = apart.output().unwrap();
    let reported = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(4), "{reported}");
    assert!(stored.contains(&format!("process {} on host ", first.id())), "{stored}");
    assert!(reported.contains(stored.trim()), "{reported}");
    first.assert_success();
    assert_eq!(names(&target), ["0", "1", "2"]);
}
