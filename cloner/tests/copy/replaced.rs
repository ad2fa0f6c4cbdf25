//! Replaced entries: obstacles are reported before anything is moved, and no leftovers remain.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use decant_test_support::disks::Mounted;
use decant_test_support::is_root;
use decant_test_support::trees::{assert_same, describe, output};

use super::command::{Outcome, Scratch, copy, if_able, names};

fn forced(source: &Path, target: &Path) -> Outcome {
    copy(&["-q".as_ref(), "--force".as_ref(), source.as_os_str(), target.as_os_str()])
}

/// A source that replaces `a`.
fn source(scratch: &Scratch) -> PathBuf {
    scratch.directory("s/a");
    scratch.file("s/a/n", b"new");
    scratch.file("s/z", b"new");
    scratch.at("s")
}

fn run(program: &str, arguments: &[&str], path: &Path) {
    assert!(Command::new(program).args(arguments).arg(path).status().unwrap().success(), "{program}");
}

fn assert_refused_and_nothing_moved(source: &Path, target: &Path, parts: &[&str]) {
    let before = describe(target, true);
    for _ in 0..2 {
        forced(source, target).assert_failed(4, parts);
        assert_same(&before, &describe(target, true), "nothing is moved");
    }
}

#[test]
fn a_mount_below_a_replaced_entry_is_reported_and_not_moved() {
    if !is_root() {
        return;
    }
    let scratch = Scratch::new();
    let (source, data) = (source(&scratch), scratch.directory("t/a/sub/data"));
    let Some(mounted) = if_able(Mounted::tmpfs_at(&data, "size=1m")) else { return };
    scratch.file("t/a/sub/data/p", b"precious");
    assert_refused_and_nothing_moved(&source, &scratch.at("t"), &["\"a/sub/data\" is a mount point"]);
    drop(mounted);
    // One of the same filesystem, which has no device number of its own.
    scratch.directory("elsewhere");
    let arguments = ["--bind", scratch.at("elsewhere").to_str().unwrap()].map(str::to_owned);
    run("mount", &[&arguments[0], &arguments[1]], &data);
    assert_refused_and_nothing_moved(&source, &scratch.at("t"), &["\"a/sub/data\" is a mount point"]);
    run("umount", &[], &data);
    forced(&source, &scratch.at("t")).assert_done();
    assert_eq!(
        (names(&scratch.at("t")), names(&scratch.at("t/a"))),
        (vec!["a".into(), "z".into()], vec!["n".into()])
    );
}

#[test]
fn immutable_and_append_only_entries_are_reported_before_any_move() {
    if !is_root() {
        return;
    }
    let Some(mounted) = if_able(Mounted::ext4(16 << 20, "extent")) else { return };
    let scratch = Scratch::new();
    let (source, target) = (source(&scratch), mounted.path().join("t"));
    fs::create_dir_all(target.join("a/sub")).unwrap();
    fs::write(target.join("a/sub/o"), "old").unwrap();
    for (flag, entry, part) in [
        ("i", "a/sub/o", "\"a/sub/o\" is immutable"),
        ("a", "a/sub", "\"a/sub\" is append-only"),
        ("i", "a", "\"a\" is immutable"),
        ("a", "", "is append-only"),
        ("i", "", "is immutable"),
    ] {
        run("chattr", &[&format!("+{flag}")], &target.join(entry));
        assert_refused_and_nothing_moved(&source, &target, &[part]);
        run("chattr", &[&format!("-{flag}")], &target.join(entry));
    }
    forced(&source, &target).assert_done();
    assert_eq!(names(&target), ["a", "z"]);
}

#[test]
fn a_subvolume_below_a_replaced_entry_is_reported_before_any_move() {
    if !is_root() {
        return;
    }
    let Some(mounted) = if_able(Mounted::btrfs()) else { return };
    let scratch = Scratch::new();
    let (source, target) = (source(&scratch), mounted.path().join("t"));
    fs::create_dir_all(target.join("a")).unwrap();
    run("btrfs", &["-q", "subvolume", "create"], &target.join("a/sv"));
    fs::create_dir_all(target.join("a/sv/x/y")).unwrap();
    assert_refused_and_nothing_moved(
        &source,
        &target,
        &["\"a/sv\" is on another filesystem or is a subvolume"],
    );
    run("btrfs", &["-q", "subvolume", "delete"], &target.join("a/sv"));
    forced(&source, &target).assert_done();
    assert_eq!(names(&target), ["a", "z"]);
}

#[test]
fn an_open_file_below_a_replaced_entry_stops_the_removal_and_is_reported() {
    if !is_root() {
        return;
    }
    let scratch = Scratch::new();
    let Some(mounted) = if_able(Mounted::passthrough(&scratch.directory("back"))) else { return };
    let (source, target) = (source(&scratch), mounted.path().join("t"));
    fs::create_dir_all(target.join("a")).unwrap();
    fs::write(target.join("a/held"), "old").unwrap();
    fs::write(target.join("a/other"), "old").unwrap();
    let held = fs::File::open(target.join("a/held")).unwrap();
    let ended = forced(&source, &target);
    ended.assert_done();
    assert!(ended.stderr.contains(".decant-partial") && ended.stderr.contains("holds it open"), "{ended:#?}");
    assert_eq!(fs::read(target.join("a/n")).unwrap(), b"new");
    drop(held);
    forced(&source, &target).assert_done();
    assert_eq!(names(&target), ["a", "z"]);
}

#[test]
fn directories_of_an_overlays_lower_layer_are_replaced() {
    if !is_root() {
        return;
    }
    for fuse in [false, true] {
        // Where temporary files go there may be an overlay, which cannot be a layer of another one.
        let Some(layers) = if_able(Mounted::tmpfs("size=16m")) else { return };
        let at = |name: &str| layers.path().join(name);
        for name in ["lower/t/a/sub/deep", "lower/t/kept", "upper", "work"] {
            fs::create_dir_all(at(name)).unwrap();
        }
        for name in ["lower/t/a/o", "lower/t/a/sub/deep/o", "lower/t/z"] {
            fs::write(at(name), "old").unwrap();
        }
        let Some(mounted) = if_able(Mounted::overlay(layers.path(), fuse)) else { return };
        let scratch = Scratch::new();
        let (source, target) = (source(&scratch), mounted.path().join("t"));
        forced(&source, &target).assert_done();
        assert_eq!(names(&target), ["a", "kept", "z"], "{fuse}");
        output("diff", &["-r", source.join("a").to_str().unwrap(), "a"], &target);
    }
}

#[test]
fn entries_moved_in_parts_are_restored_if_another_name_cannot_be_placed() {
    if !is_root() {
        return;
    }
    let Some(layers) = if_able(Mounted::tmpfs("size=16m")) else { return };
    let at = |name: &str| layers.path().join(name);
    for name in ["lower/t/a/sub", "lower/t/b/sub", "upper", "work"] {
        fs::create_dir_all(at(name)).unwrap();
    }
    fs::write(at("lower/t/a/sub/o"), "old").unwrap();
    let Some(mounted) = if_able(Mounted::overlay(layers.path(), false)) else { return };
    let scratch = Scratch::new();
    let (source, target) = (source(&scratch), mounted.path().join("t"));
    scratch.directory("s/b");
    // What is deeper than can be moved in parts.
    let mut deep = at("lower/t/b/sub");
    for _ in 0..200 {
        deep.push("d");
        fs::create_dir(&deep).unwrap();
    }
    let before = describe(&target, false);
    forced(&source, &target).assert_failed(4, &["\"b\"", "File name too long"]);
    assert_same(&before, &describe(&target, false), "put back");
}

#[test]
fn a_read_only_filesystem_is_reported() {
    if !is_root() {
        return;
    }
    let Some(mounted) = if_able(Mounted::tmpfs("size=1m")) else { return };
    let scratch = Scratch::new();
    fs::create_dir(mounted.path().join("t")).unwrap();
    run("mount", &["-o", "remount,ro"], mounted.path());
    let ended = copy(&[source(&scratch), mounted.path().join("t")]);
    ended.assert_failed(4, &["cannot create", "Read-only file system"]);
    assert!(!ended.stderr.contains("leftover"), "{ended:#?}");
}

#[test]
fn a_filesystem_without_free_inodes_is_reported() {
    if !is_root() {
        return;
    }
    let Some(mounted) = if_able(Mounted::tmpfs("size=4m,nr_inodes=20")) else { return };
    let scratch = Scratch::new();
    for number in 0..50 {
        scratch.directory("s");
        scratch.file(&format!("s/{number}"), b"x");
    }
    copy(&[scratch.at("s"), mounted.path().join("t")])
        .assert_failed(4, &["no inodes left (of 20", "bytes free"]);
    for number in 0..19 {
        fs::write(mounted.path().join(number.to_string()), "").unwrap();
    }
    copy(&[scratch.file("image", b"x"), mounted.path().join("i")])
        .assert_failed(4, &["no inodes left (of 20"]);
}
