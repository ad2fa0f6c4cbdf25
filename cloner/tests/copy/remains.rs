//! What a copy leaves that was killed: the next one takes over and removes nothing but that.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use decant_test_support::is_root;
use decant_test_support::noise;
use rustix::process::Signal;

use super::command::{Place, Running, copy, names};

fn large(place: &Place) -> PathBuf {
    let source = place.folder("s");
    for number in 0..8 {
        fs::write(source.join(number.to_string()), noise(4 << 20, number)).unwrap();
    }
    fs::set_permissions(&source, Permissions::from_mode(0o751)).unwrap();
    source
}

fn killed(source: &Path, target: &Path) {
    let running = Running::until(&target.join(".decant-partial/new"), source, target);
    assert_eq!(running.end(Signal::KILL), None);
}

fn attributes(folder: &Path) -> (u32, u32, u32) {
    let meta = folder.metadata().unwrap();
    (meta.mode() & 0o7777, meta.uid(), meta.gid())
}

#[test]
fn the_users_own_folder_keeps_owner_and_mode_after_a_copy_into_it_was_killed() {
    let place = Place::new();
    let (source, own) = (large(&place), place.folder("own"));
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
fn the_users_own_folder_is_not_removed_when_the_next_copy_ends_early() {
    let place = Place::new();
    let (source, own) = (large(&place), place.folder("own"));
    killed(&source, &own);
    let running = Running::until(&own.join(".decant-partial/new/0"), &source, &own);
    assert_eq!(running.end(Signal::INT), Some(130));
    assert_eq!(names(&own), [""; 0]);
}

#[test]
fn a_folder_that_a_killed_copy_made_gets_what_the_source_has_or_goes() {
    let place = Place::new();
    let (source, new) = (large(&place), place.at("new"));
    killed(&source, &new);
    let running = Running::until(&new.join(".decant-partial/new/0"), &source, &new);
    assert_eq!(running.end(Signal::INT), Some(130));
    assert!(!new.exists());
    killed(&source, &new);
    copy(&[&source, &new]).assert_done();
    assert_eq!(attributes(&new), attributes(&source));
    assert_eq!(names(&new), names(&source));
}

#[test]
fn what_a_killed_copy_had_moved_aside_comes_back() {
    let place = Place::new();
    place.file("s/b", b"new b");
    // As after a kill between two steps of a copy that was to replace "a".
    place.file("t/.decant-partial/new/a", b"new a");
    place.file("t/.decant-partial/old/a", b"the only copy");
    place.file("t/.decant-partial/old/c", b"was replaced");
    let (source, target) = (place.at("s"), place.at("t"));
    copy(&[&source, &target]).assert_failed(4, &["is not empty"]);
    copy(&["--force".as_ref(), source.as_os_str(), target.as_os_str()]).assert_done();
    assert_eq!(names(&target), ["a", "b"]);
    assert_eq!(fs::read(target.join("a")).unwrap(), b"the only copy");
}
