//! Filesystems that take different names for one: nothing is merged.

use super::command::{Place, copy, names};
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
type Put = fn(&Place);

const PAIRS: [(&str, Put); 6] = [
    ("files", |place| {
        place.file("s/README", b"1");
        place.file("s/readme", b"2");
    }),
    ("folders", |place| {
        place.file("s/README/a", b"1");
        place.file("s/readme/b", b"2");
    }),
    ("a file and a folder", |place| {
        place.file("s/README", b"1");
        place.folder("s/readme");
    }),
    ("a folder and a link", |place| {
        place.folder("s/README");
        symlink("nowhere", place.at("s/readme")).unwrap();
    }),
    ("names of one file", |place| {
        place.file("s/README", b"1");
        fs::hard_link(place.at("s/README"), place.at("s/readme")).unwrap();
    }),
    ("letters beyond ASCII, further down", |place| {
        place.file("s/README", b"1");
        place.file("s/sub/between", b"1");
        place.file("s/sub/readme", b"1");
        place.file("s/sub/\u{c4}", b"1");
        place.file("s/sub/\u{e4}", b"2");
    }),
];

#[test]
fn two_names_that_the_filesystem_takes_for_one_are_told_and_nothing_is_left() {
    let Some(mounted) = folding() else { return };
    for (what, put) in PAIRS {
        let place = Place::new();
        place.folder("s");
        put(&place);
        let (one, other) = if what.contains("beyond") { ("\u{c4}", "\u{e4}") } else { ("README", "readme") };
        let ended = copy(&[place.at("s"), mounted.path().join("new")]);
        ended.assert_failed(4, &[&format!("{one:?}"), &format!("{other:?}"), "folds case"]);
        assert_eq!(names(mounted.path()), [""; 0], "{what}");
    }
}

#[test]
fn a_tree_without_such_names_arrives_and_replaces_what_is_spelled_in_another_way() {
    let Some(mounted) = folding() else { return };
    let place = Place::new();
    place.file("s/Dir/Sub/README", b"1");
    place.file("s/Dir/a", b"2");
    place.file("s/B", b"3");
    fs::hard_link(place.at("s/B"), place.at("s/C")).unwrap();
    let (source, target) = (place.at("s"), mounted.path().join("t"));
    copy(&[&source, &target]).assert_done();
    fs::write(target.join("dir/old"), "old").unwrap();
    copy(&["--force".as_ref(), source.as_os_str(), target.as_os_str()]).assert_done();
    assert_eq!(fs::read(target.join("Dir/Sub/README")).unwrap(), b"1");
    assert!(!target.join("Dir/old").exists());
    assert_eq!(names(&target).len(), 3);
}
