//! What `cloner copy` does not do, each with its exit code and one line, and with nothing touched.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use super::command::{Place, command, copy, names};

fn forced(source: &Path, target: &Path) -> super::command::Ended {
    copy(&["--force".as_ref(), source.as_os_str(), target.as_os_str()])
}

#[test]
fn a_file_that_exists_is_only_replaced_by_force() {
    let place = Place::new();
    let (source, target) = (place.file("a", b"new"), place.file("b", b"old"));
    copy(&[&source, &target]).assert_failed(4, &[target.to_str().unwrap(), "exists", "--force"]);
    assert_eq!(fs::read(&target).unwrap(), b"old");
    forced(&source, &target).assert_done();
    assert_eq!(fs::read(&target).unwrap(), b"new");
}

#[test]
fn a_file_of_the_same_name_in_a_folder_is_only_replaced_by_force() {
    let place = Place::new();
    let (source, target) = (place.file("a", b"new"), place.folder("b"));
    place.file("b/a", b"old");
    copy(&[&source, &target]).assert_failed(4, &["b/a exists", "--force"]);
    forced(&source, &target).assert_done();
    assert_eq!(fs::read(place.at("b/a")).unwrap(), b"new");
}

#[test]
fn nothing_is_copied_onto_itself() {
    let place = Place::new();
    let file = place.file("a", b"content");
    fs::hard_link(&file, place.at("hard")).unwrap();
    symlink(&file, place.at("soft")).unwrap();
    for other in ["a", "hard", "soft", "./a"] {
        forced(&file, &place.at(other)).assert_failed(4, &["is the source"]);
    }
    let folder = place.folder("folder");
    forced(&folder, &place.at("folder/../folder")).assert_failed(4, &["is the source"]);
    assert_eq!(fs::read(&file).unwrap(), b"content");
}

#[test]
fn a_folder_is_not_copied_into_itself_nor_over_what_holds_it() {
    let place = Place::new();
    let folder = place.folder("folder/sub");
    symlink(place.at("folder"), place.at("link")).unwrap();
    forced(&place.at("folder"), &place.at("folder/new")).assert_failed(4, &["is inside"]);
    forced(&place.at("folder"), &place.at("link/sub")).assert_failed(4, &["is inside"]);
    forced(&folder, &place.at("folder")).assert_failed(4, &["is inside"]);
    assert_eq!(names(&place.at("folder")), ["sub"]);
}

#[test]
fn a_folder_does_not_replace_a_file() {
    let place = Place::new();
    let file = place.file("a", b"content");
    forced(&place.folder("folder"), &file).assert_failed(4, &["is not a directory"]);
    assert_eq!(fs::read(&file).unwrap(), b"content");
}

#[test]
fn a_target_whose_folder_does_not_exist_is_named() {
    let place = Place::new();
    let source = place.file("a", b"content");
    copy(&[&source, &place.at("x/y/b")]).assert_failed(4, &["x/y does not exist"]);
    copy(&[&place.folder("folder"), &place.at("x/y/b")]).assert_failed(4, &["x/y"]);
    assert_eq!(names(&place.at(".")), ["a", "folder"]);
}

#[test]
fn a_source_that_is_not_there_is_named() {
    let place = Place::new();
    let source = place.at("nothing");
    let parts = [source.to_str().unwrap(), "No such file or directory"];
    copy(&[&source, &place.at("b")]).assert_failed(3, &parts);
}

#[test]
fn what_is_neither_file_nor_folder_nor_block_device_is_no_source() {
    let place = Place::new();
    let made = Command::new("mkfifo").arg(place.at("pipe")).status();
    assert!(made.unwrap().success());
    for source in [place.at("pipe").as_path(), Path::new("/dev/null")] {
        let parts = [source.to_str().unwrap(), "neither a file, a block device nor a directory"];
        copy(&[source, &place.at("b")]).assert_failed(3, &parts);
    }
    let file = place.file("a", b"content");
    forced(&file, Path::new("/dev/null")).assert_failed(4, &["/dev/null is neither"]);
    assert_eq!(names(&place.at(".")), ["a", "pipe"]);
}

#[test]
fn words_that_are_wrong_are_shown_with_the_usage() {
    for (words, shown) in [
        (&["--colour", "a", "b"][..], "--colour"),
        (&["a"], "<TARGET>"),
        (&["a", "b", "c"], "'c'"),
        (&["--compress-threads=0", "a", "b"], "--compress-threads"),
        (&["--compress-threads=many", "a", "b"], "many"),
        (&["--log-format=xml", "a", "b"], "xml"),
    ] {
        let ended = copy(words);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{words:?}");
        assert!(ended.stderr.contains(shown), "{words:?}: {}", ended.stderr);
    }
}

#[test]
fn help_and_version_are_no_errors() {
    for word in ["--help", "--version"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cloner"));
        let output = command.env_clear().arg(word).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{word}");
        assert!(!output.stdout.is_empty() && output.stderr.is_empty(), "{word}");
    }
}

#[test]
fn an_environment_that_makes_a_pod_a_source_does_not_change_a_copy() {
    let place = Place::new();
    let source = place.file("a", b"content");
    let mut command = command(&[&source, &place.at("b")]);
    let status = command.env("UPLOAD_URL", "https://127.0.0.1:9/").output().unwrap().status;
    assert_eq!(status.code(), Some(0));
    assert_eq!(fs::read(place.at("b")).unwrap(), b"content");
}
