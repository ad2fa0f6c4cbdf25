//! Directories with everything that a filesystem can hold.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use decant_test_support::trees::{Format, assert_same, describe, make_torture, output, paths};

use super::command::{Scratch, copy, names};

#[test]
fn a_new_directory_gets_the_content_and_attributes_of_its_source() {
    let scratch = Scratch::new();
    let source = scratch.directory("a");
    make_torture(&source, Format::Full);
    fs::set_permissions(&source, Permissions::from_mode(0o2751)).unwrap();
    let target = scratch.at("b");
    copy(&[&source, &target]).assert_done();
    assert_same(&describe(&source, true), &describe(&target, true), "copied");
    let attributes = |path: &std::path::Path| {
        let meta = path.metadata().unwrap();
        (meta.mode(), meta.uid(), meta.gid(), meta.mtime(), meta.mtime_nsec())
    };
    assert_eq!(attributes(&source), attributes(&target));
}

#[test]
fn an_existing_empty_directory_is_filled_in_place() {
    let scratch = Scratch::new();
    let source = scratch.directory("a");
    make_torture(&source, Format::Ustar);
    let target = scratch.directory("b");
    fs::set_permissions(&target, Permissions::from_mode(0o700)).unwrap();
    copy(&[&source, &target]).assert_done();
    assert_same(&describe(&source, true), &describe(&target, true), "copied");
    assert_eq!(target.metadata().unwrap().mode() & 0o7777, 0o700);
}

#[test]
fn a_directory_with_only_lost_and_found_counts_as_empty() {
    let scratch = Scratch::new();
    let source = scratch.directory("a");
    scratch.directory("a/lost+found");
    scratch.file("a/lost+found/orphan", b"lost");
    scratch.file("a/x", b"content");
    let target = scratch.directory("b");
    scratch.directory("b/lost+found");
    copy(&[&source, &target]).assert_done();
    assert_eq!(names(&target), ["lost+found", "x"]);
    assert_eq!(names(&scratch.at("b/lost+found")), [""; 0]);
}

#[test]
fn an_empty_directory_is_copied() {
    let scratch = Scratch::new();
    copy(&[&scratch.directory("a"), &scratch.at("b")]).assert_done();
    assert_eq!(names(&scratch.at("b")), [""; 0]);
}

#[test]
fn symlinks_are_copied_and_not_followed() {
    let scratch = Scratch::new();
    let outside = scratch.file("outside", b"untouched");
    scratch.directory("a");
    std::os::unix::fs::symlink(&outside, scratch.at("a/link")).unwrap();
    copy(&[&scratch.at("a"), &scratch.at("b")]).assert_done();
    assert_eq!(fs::read_link(scratch.at("b/link")).unwrap(), outside);
    assert_eq!(fs::read(outside).unwrap(), b"untouched");
}

#[test]
fn force_replaces_equal_names_and_keeps_others() {
    let scratch = Scratch::new();
    scratch.directory("a/sub");
    scratch.file("a/both", b"new");
    scratch.file("a/sub/new", b"new");
    scratch.directory("b/sub");
    scratch.directory("b/both");
    scratch.file("b/both/old", b"old");
    scratch.file("b/other", b"old");
    let (source, target) = (scratch.at("a"), scratch.at("b"));
    copy(&[&source, &target]).assert_failed(4, &["is not empty", "--force"]);
    assert_eq!(fs::read(scratch.at("b/both/old")).unwrap(), b"old");
    copy(&["-f".as_ref(), source.as_os_str(), target.as_os_str()]).assert_done();
    assert_eq!(fs::read(scratch.at("b/both")).unwrap(), b"new");
    assert_eq!(fs::read(scratch.at("b/other")).unwrap(), b"old");
    assert_eq!(names(&scratch.at("b/sub")), ["new"]);
    assert_eq!(names(&target), ["both", "other", "sub"]);
}

#[test]
fn a_copy_of_a_copy_is_identical() {
    let scratch = Scratch::new();
    make_torture(&scratch.directory("a"), Format::V7);
    for (from, to) in [("a", "b"), ("b", "c")] {
        copy(&[&scratch.at(from), &scratch.at(to)]).assert_done();
    }
    assert_same(&describe(&scratch.at("a"), false), &describe(&scratch.at("c"), false), "the second copy");
}

#[test]
fn ten_thousand_files_are_copied() {
    let scratch = Scratch::new();
    let source = scratch.directory("a");
    for number in 0..10_000 {
        let directory = source.join((number % 50).to_string());
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join(number.to_string()), number.to_string()).unwrap();
    }
    copy(&[&source, &scratch.at("b")]).assert_done();
    assert_eq!(paths(&scratch.at("b")).len(), 10_050);
    output("diff", &["-r", "a", "b"], &scratch.at("."));
}
