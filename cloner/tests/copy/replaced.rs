//! What is replaced: what stands in the way is told before anything is moved, and afterwards nothing is left.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use decant_test_support::disks::Mounted;
use decant_test_support::trees::{assert_same, describe, output};
use decant_test_support::{able, is_root};

use super::command::{Ended, Place, copy, names};

fn if_able(made: Result<Mounted, String>) -> Option<Mounted> {
    made.map_err(|why| able(false, &why)).ok()
}

fn forced(source: &Path, target: &Path) -> Ended {
    copy(&["-q".as_ref(), "--force".as_ref(), source.as_os_str(), target.as_os_str()])
}

/// A source that replaces `a`.
fn source(place: &Place) -> PathBuf {
    place.folder("s/a");
    place.file("s/a/n", b"new");
    place.file("s/z", b"new");
    place.at("s")
}

fn run(program: &str, words: &[&str], path: &Path) {
    assert!(Command::new(program).args(words).arg(path).status().unwrap().success(), "{program}");
}

fn refused_and_nothing_moved(source: &Path, target: &Path, parts: &[&str]) {
    let before = describe(target, true);
    for _ in 0..2 {
        forced(source, target).assert_failed(4, parts);
        assert_same(&before, &describe(target, true), "nothing is moved");
    }
}

#[test]
fn a_mount_below_what_would_be_replaced_is_told_and_not_moved() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let (source, data) = (source(&place), place.folder("t/a/sub/data"));
    let Some(mounted) = if_able(Mounted::tmpfs_at(&data, "size=1m")) else { return };
    place.file("t/a/sub/data/p", b"precious");
    refused_and_nothing_moved(&source, &place.at("t"), &["\"a/sub/data\" is a mount point"]);
    drop(mounted);
    // One of the same filesystem, which has no device number of its own.
    place.folder("elsewhere");
    let words = ["--bind", place.at("elsewhere").to_str().unwrap()].map(str::to_owned);
    run("mount", &[&words[0], &words[1]], &data);
    refused_and_nothing_moved(&source, &place.at("t"), &["\"a/sub/data\" is a mount point"]);
    run("umount", &[], &data);
    forced(&source, &place.at("t")).assert_done();
    assert_eq!(
        (names(&place.at("t")), names(&place.at("t/a"))),
        (vec!["a".into(), "z".into()], vec!["n".into()])
    );
}

#[test]
fn immutable_and_append_only_entries_are_told_before_anything_is_moved() {
    if !is_root() {
        return;
    }
    let Some(mounted) = if_able(Mounted::ext4(16 << 20, "extent")) else { return };
    let place = Place::new();
    let (source, target) = (source(&place), mounted.path().join("t"));
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
        refused_and_nothing_moved(&source, &target, &[part]);
        run("chattr", &[&format!("-{flag}")], &target.join(entry));
    }
    forced(&source, &target).assert_done();
    assert_eq!(names(&target), ["a", "z"]);
}

#[test]
fn a_subvolume_below_what_would_be_replaced_is_told_before_anything_is_moved() {
    if !is_root() {
        return;
    }
    let Some(mounted) = if_able(Mounted::btrfs()) else { return };
    let place = Place::new();
    let (source, target) = (source(&place), mounted.path().join("t"));
    fs::create_dir_all(target.join("a")).unwrap();
    run("btrfs", &["-q", "subvolume", "create"], &target.join("a/sv"));
    fs::create_dir_all(target.join("a/sv/x/y")).unwrap();
    refused_and_nothing_moved(&source, &target, &["\"a/sv\" is on another filesystem or is a subvolume"]);
    run("btrfs", &["-q", "subvolume", "delete"], &target.join("a/sv"));
    forced(&source, &target).assert_done();
    assert_eq!(names(&target), ["a", "z"]);
}

#[test]
fn a_file_that_is_held_open_in_what_is_replaced_ends_the_removal_and_is_told() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let Some(mounted) = if_able(Mounted::passthrough(&place.folder("back"))) else { return };
    let (source, target) = (source(&place), mounted.path().join("t"));
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
fn folders_of_a_lower_layer_of_an_overlay_are_replaced() {
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
        let place = Place::new();
        let (source, target) = (source(&place), mounted.path().join("t"));
        forced(&source, &target).assert_done();
        assert_eq!(names(&target), ["a", "kept", "z"], "{fuse}");
        output("diff", &["-r", source.join("a").to_str().unwrap(), "a"], &target);
    }
}

#[test]
fn what_was_moved_in_parts_is_put_back_when_another_name_cannot_be_placed() {
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
    let place = Place::new();
    let (source, target) = (source(&place), mounted.path().join("t"));
    place.folder("s/b");
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
fn a_filesystem_that_may_not_be_written_says_so() {
    if !is_root() {
        return;
    }
    let Some(mounted) = if_able(Mounted::tmpfs("size=1m")) else { return };
    let place = Place::new();
    fs::create_dir(mounted.path().join("t")).unwrap();
    run("mount", &["-o", "remount,ro"], mounted.path());
    let ended = copy(&[source(&place), mounted.path().join("t")]);
    ended.assert_failed(4, &["cannot create", "Read-only file system"]);
    assert!(!ended.stderr.contains("leftover"), "{ended:#?}");
}

#[test]
fn a_filesystem_without_inodes_says_so() {
    if !is_root() {
        return;
    }
    let Some(mounted) = if_able(Mounted::tmpfs("size=4m,nr_inodes=20")) else { return };
    let place = Place::new();
    for number in 0..50 {
        place.folder("s");
        place.file(&format!("s/{number}"), b"x");
    }
    copy(&[place.at("s"), mounted.path().join("t")])
        .assert_failed(4, &["no inodes left (of 20", "bytes free"]);
    for number in 0..19 {
        fs::write(mounted.path().join(number.to_string()), "").unwrap();
    }
    copy(&[place.file("image", b"x"), mounted.path().join("i")]).assert_failed(4, &["no inodes left (of 20"]);
}
