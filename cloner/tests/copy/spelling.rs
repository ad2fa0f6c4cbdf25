//! Filesystems that fold names: no entries are merged.

use super::command::{Scratch, copy, names};
use std::fs;
use std::os::unix::fs::symlink;

use decant_test_support::disks::Mounted;
use decant_test_support::{able, is_root};

fn folding() -> Option<Mounted> {
    if !is_root() {
        return None;
    }
    match Mounted::case_insensitive() {
        Ok(mounted) => Some(mounted),
        Err(why) => {
            able(false, &why);
            None
        }
    }
}

/// Makes two entries whose names differ in case only.
type MakeEntries = fn(&Scratch);

const PAIRS: [(&str, MakeEntries); 6] = [
    ("files", |scratch| {
        scratch.file("s/README", b"1");
        scratch.file("s/readme", b"2");
    }),
    ("folders", |scratch| {
        scratch.file("s/README/a", b"1");
        scratch.file("s/readme/b", b"2");
    }),
    ("a file and a folder", |scratch| {
        scratch.file("s/README", b"1");
        scratch.directory("s/readme");
    }),
    ("a folder and a link", |scratch| {
        scratch.directory("s/README");
        symlink("nowhere", scratch.at("s/readme")).unwrap();
    }),
    ("names of one file", |scratch| {
        scratch.file("s/README", b"1");
        fs::hard_link(scratch.at("s/README"), scratch.at("s/readme")).unwrap();
    }),
    ("letters beyond ASCII, further down", |scratch| {
        scratch.file("s/README", b"1");
        scratch.file("s/sub/between", b"1");
        scratch.file("s/sub/readme", b"1");
        scratch.file("s/sub/\u{c4}", b"1");
        scratch.file("s/sub/\u{e4}", b"2");
    }),
];

#[test]
fn names_that_differ_only_in_case_are_reported_and_nothing_is_left() {
    let Some(mounted) = folding() else { return };
    for (what, make_pair) in PAIRS {
        let scratch = Scratch::new();
        scratch.directory("s");
        make_pair(&scratch);
        let (one, other) = if what.contains("beyond") { ("\u{c4}", "\u{e4}") } else { ("README", "readme") };
        let ended = copy(&[scratch.at("s"), mounted.path().join("new")]);
        ended.assert_failed(4, &[&format!("{one:?}"), &format!("{other:?}"), "folds case"]);
        assert_eq!(names(mounted.path()), [""; 0], "{what}");
    }
}

#[test]
fn a_tree_without_case_conflicts_replaces_entries_spelled_differently() {
    let Some(mounted) = folding() else { return };
    let scratch = Scratch::new();
    scratch.file("s/Dir/Sub/README", b"1");
    scratch.file("s/Dir/a", b"2");
    scratch.file("s/B", b"3");
    fs::hard_link(scratch.at("s/B"), scratch.at("s/C")).unwrap();
    let (source, target) = (scratch.at("s"), mounted.path().join("t"));
    copy(&[&source, &target]).assert_done();
    fs::write(target.join("dir/old"), "old").unwrap();
    copy(&["--force".as_ref(), source.as_os_str(), target.as_os_str()]).assert_done();
    assert_eq!(fs::read(target.join("Dir/Sub/README")).unwrap(), b"1");
    assert!(!target.join("Dir/old").exists());
    assert_eq!(names(&target).len(), 3);
}
