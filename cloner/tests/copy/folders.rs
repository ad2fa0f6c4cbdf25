//! Folders with everything that a filesystem can hold.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use decant_test_support::trees::{Format, assert_same, describe, make_torture, output, paths};

use super::command::{Place, copy, names};

#[test]
fn a_new_folder_gets_everything_and_its_own_attributes() {
    let place = Place::new();
    let source = place.folder("a");
    make_torture(&source, Format::Full);
    fs::set_permissions(&source, Permissions::from_mode(0o2751)).unwrap();
    let target = place.at("b");
    copy(&[&source, &target]).assert_done();
    assert_same(&describe(&source, true), &describe(&target, true), "copied");
    let attributes = |path: &std::path::Path| {
        let meta = path.metadata().unwrap();
        (meta.mode(), meta.uid(), meta.gid(), meta.mtime(), meta.mtime_nsec())
    };
    assert_eq!(attributes(&source), attributes(&target));
}

#[test]
fn an_empty_folder_gets_everything_and_stays_itself() {
    let place = Place::new();
    let source = place.folder("a");
    make_torture(&source, Format::Ustar);
    let target = place.folder("b");
    fs::set_permissions(&target, Permissions::from_mode(0o700)).unwrap();
    copy(&[&source, &target]).assert_done();
    assert_same(&describe(&source, true), &describe(&target, true), "copied");
    assert_eq!(target.metadata().unwrap().mode() & 0o7777, 0o700);
}

#[test]
fn a_fresh_filesystems_lost_and_found_counts_as_nothing() {
    let place = Place::new();
    let source = place.folder("a");
    place.folder("a/lost+found");
    place.file("a/lost+found/orphan", b"lost");
    place.file("a/x", b"content");
    let target = place.folder("b");
    place.folder("b/lost+found");
    copy(&[&source, &target]).assert_done();
    assert_eq!(names(&target), ["lost+found", "x"]);
    assert_eq!(names(&place.at("b/lost+found")), [""; 0]);
}

#[test]
fn an_empty_folder_becomes_an_empty_folder() {
    let place = Place::new();
    copy(&[&place.folder("a"), &place.at("b")]).assert_done();
    assert_eq!(names(&place.at("b")), [""; 0]);
}

#[test]
fn links_that_lead_elsewhere_are_copied_and_not_followed() {
    let place = Place::new();
    let outside = place.file("outside", b"untouched");
    place.folder("a");
    std::os::unix::fs::symlink(&outside, place.at("a/link")).unwrap();
    copy(&[&place.at("a"), &place.at("b")]).assert_done();
    assert_eq!(fs::read_link(place.at("b/link")).unwrap(), outside);
    assert_eq!(fs::read(outside).unwrap(), b"untouched");
}

#[test]
fn with_force_same_names_are_replaced_and_others_stay() {
    let place = Place::new();
    place.folder("a/sub");
    place.file("a/both", b"new");
    place.file("a/sub/new", b"new");
    place.folder("b/sub");
    place.folder("b/both");
    place.file("b/both/old", b"old");
    place.file("b/other", b"old");
    let (source, target) = (place.at("a"), place.at("b"));
    copy(&[&source, &target]).assert_failed(4, &["is not empty", "--force"]);
    assert_eq!(fs::read(place.at("b/both/old")).unwrap(), b"old");
    copy(&["-f".as_ref(), source.as_os_str(), target.as_os_str()]).assert_done();
    assert_eq!(fs::read(place.at("b/both")).unwrap(), b"new");
    assert_eq!(fs::read(place.at("b/other")).unwrap(), b"old");
    assert_eq!(names(&place.at("b/sub")), ["new"]);
    assert_eq!(names(&target), ["both", "other", "sub"]);
}

#[test]
fn a_copy_of_a_copy_is_the_same() {
    let place = Place::new();
    make_torture(&place.folder("a"), Format::V7);
    for (from, to) in [("a", "b"), ("b", "c")] {
        copy(&[&place.at(from), &place.at(to)]).assert_done();
    }
    assert_same(&describe(&place.at("a"), false), &describe(&place.at("c"), false), "the second copy");
}

#[test]
fn ten_thousand_files_arrive() {
    let place = Place::new();
    let source = place.folder("a");
    for number in 0..10_000 {
        let folder = source.join((number % 50).to_string());
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(number.to_string()), number.to_string()).unwrap();
    }
    copy(&[&source, &place.at("b")]).assert_done();
    assert_eq!(paths(&place.at("b")).len(), 10_050);
    output("diff", &["-r", "a", "b"], &place.at("."));
}
