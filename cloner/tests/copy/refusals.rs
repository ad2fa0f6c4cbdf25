//! Copies that are refused, each with its exit code and one line, and without any change.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use super::command::{Scratch, command, copy, names};

fn forced(source: &Path, target: &Path) -> super::command::Outcome {
    copy(&["--force".as_ref(), source.as_os_str(), target.as_os_str()])
}

#[test]
fn an_existing_file_is_replaced_only_with_force() {
    let scratch = Scratch::new();
    let (source, target) = (scratch.file("a", b"new"), scratch.file("b", b"old"));
    copy(&[&source, &target]).assert_failed(4, &[target.to_str().unwrap(), "exists", "--force"]);
    assert_eq!(fs::read(&target).unwrap(), b"old");
    forced(&source, &target).assert_done();
    assert_eq!(fs::read(&target).unwrap(), b"new");
}

#[test]
fn an_equal_name_in_a_directory_is_replaced_only_with_force() {
    let scratch = Scratch::new();
    let (source, target) = (scratch.file("a", b"new"), scratch.directory("b"));
    scratch.file("b/a", b"old");
    copy(&[&source, &target]).assert_failed(4, &["b/a exists", "--force"]);
    forced(&source, &target).assert_done();
    assert_eq!(fs::read(scratch.at("b/a")).unwrap(), b"new");
}

#[test]
fn copying_onto_itself_is_refused() {
    let scratch = Scratch::new();
    let file = scratch.file("a", b"content");
    fs::hard_link(&file, scratch.at("hard")).unwrap();
    symlink(&file, scratch.at("soft")).unwrap();
    for other in ["a", "hard", "soft", "./a"] {
        forced(&file, &scratch.at(other)).assert_failed(4, &["is the source"]);
    }
    let directory = scratch.directory("folder");
    forced(&directory, &scratch.at("folder/../folder")).assert_failed(4, &["is the source"]);
    assert_eq!(fs::read(&file).unwrap(), b"content");
}

#[test]
fn copying_a_directory_into_itself_or_over_its_parent_is_refused() {
    let scratch = Scratch::new();
    let directory = scratch.directory("folder/sub");
    symlink(scratch.at("folder"), scratch.at("link")).unwrap();
    forced(&scratch.at("folder"), &scratch.at("folder/new")).assert_failed(4, &["is inside"]);
    forced(&scratch.at("folder"), &scratch.at("link/sub")).assert_failed(4, &["is inside"]);
    forced(&directory, &scratch.at("folder")).assert_failed(4, &["is inside"]);
    assert_eq!(names(&scratch.at("folder")), ["sub"]);
}

#[test]
fn a_directory_does_not_replace_a_file() {
    let scratch = Scratch::new();
    let file = scratch.file("a", b"content");
    forced(&scratch.directory("folder"), &file).assert_failed(4, &["is not a directory"]);
    assert_eq!(fs::read(&file).unwrap(), b"content");
}

#[test]
fn a_target_without_a_parent_directory_is_named() {
    let scratch = Scratch::new();
    let source = scratch.file("a", b"content");
    copy(&[&source, &scratch.at("x/y/b")]).assert_failed(4, &["x/y does not exist"]);
    copy(&[&scratch.directory("folder"), &scratch.at("x/y/b")]).assert_failed(4, &["x/y"]);
    assert_eq!(names(&scratch.at(".")), ["a", "folder"]);
}

#[test]
fn a_missing_source_is_named() {
    let scratch = Scratch::new();
    let source = scratch.at("nothing");
    let parts = [source.to_str().unwrap(), "No such file or directory"];
    copy(&[&source, &scratch.at("b")]).assert_failed(3, &parts);
}

#[test]
fn a_source_of_an_unsupported_file_type_is_refused() {
    let scratch = Scratch::new();
    let made = Command::new("mkfifo").arg(scratch.at("pipe")).status();
    assert!(made.unwrap().success());
    for source in [scratch.at("pipe").as_path(), Path::new("/dev/null")] {
        let parts = [source.to_str().unwrap(), "neither a file, a block device nor a directory"];
        copy(&[source, &scratch.at("b")]).assert_failed(3, &parts);
    }
    let file = scratch.file("a", b"content");
    forced(&file, Path::new("/dev/null")).assert_failed(4, &["/dev/null is neither"]);
    assert_eq!(names(&scratch.at(".")), ["a", "pipe"]);
}

#[test]
fn wrong_arguments_are_shown_with_the_usage() {
    for (arguments, shown) in [
        (&["--colour", "a", "b"][..], "--colour"),
        (&["a"], "<TARGET>"),
        (&["a", "b", "c"], "'c'"),
        (&["--compress-threads=0", "a", "b"], "--compress-threads"),
        (&["--compress-threads=many", "a", "b"], "many"),
        (&["--log-format=xml", "a", "b"], "xml"),
    ] {
        let ended = copy(arguments);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{arguments:?}");
        assert!(ended.stderr.contains(shown), "{arguments:?}: {}", ended.stderr);
    }
}

#[test]
fn help_and_version_exit_with_0() {
    for word in ["--help", "--version"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cloner"));
        let output = command.env_clear().arg(word).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{word}");
        assert!(!output.stdout.is_empty() && output.stderr.is_empty(), "{word}");
    }
}

#[test]
fn the_environment_of_a_source_pod_does_not_change_a_copy() {
    let scratch = Scratch::new();
    let source = scratch.file("a", b"content");
    let mut command = command(&[&source, &scratch.at("b")]);
    let status = command.env("UPLOAD_URL", "https://127.0.0.1:9/").output().unwrap().status;
    assert_eq!(status.code(), Some(0));
    assert_eq!(fs::read(scratch.at("b")).unwrap(), b"content");
}
