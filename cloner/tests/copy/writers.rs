//! Two writers at one place: the second one is refused and told who is at work.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use decant_test_support::is_root;
use decant_test_support::noise;

use super::command::{Place, Running, command, copy, names};

/// A folder that takes some seconds to copy, and what grows while that is under way.
fn slow(place: &Place, target: &str) -> (PathBuf, PathBuf, PathBuf) {
    let source = place.folder("slow");
    for number in 0..3 {
        fs::write(source.join(number.to_string()), noise(1 << 20, number)).unwrap();
    }
    (source, place.at(target), place.at(target).join(".decant-partial/new/0"))
}

fn refused(source: &Path, target: &Path, first: &Running) {
    let own = format!("(process {}", first.id());
    let words = ["--force".as_ref(), source.as_os_str(), target.as_os_str()];
    copy(&words).assert_failed(4, &["another process is writing to", &own, "wait until it has ended"]);
}

#[test]
fn a_second_copy_into_a_folder_is_refused_and_the_first_one_keeps_everything() {
    let place = Place::new();
    let (source, target, growing) = slow(&place, "target");
    place.folder("target");
    place.file("other/a", b"other");
    let first = Running::until(&growing, &source, &target);
    refused(&place.at("other"), &target, &first);
    let image = place.file("image", b"image");
    refused(&image, &target.join("image"), &first);
    first.well();
    assert_eq!(names(&target), ["0", "1", "2"]);
    copy(&[image.as_path(), &target.join("image")]).assert_done();
}

#[test]
fn a_second_copy_into_a_folder_that_is_being_made_is_refused_and_removes_nothing() {
    let place = Place::new();
    let (source, target, growing) = slow(&place, "new");
    place.file("other/a", b"other");
    let first = Running::until(&growing, &source, &target);
    refused(&place.at("other"), &target, &first);
    first.well();
    assert_eq!(names(&target), ["0", "1", "2"]);
}

#[test]
fn a_tree_is_not_copied_to_where_an_image_is_written() {
    let place = Place::new();
    let image = place.file("image", &noise(3 << 20, 9));
    let folder = place.folder("target");
    place.file("other/a", b"other");
    let first = Running::until(&folder.join(".image.decant-partial"), &image, &folder);
    refused(&place.at("other"), &folder, &first);
    // Another image has its own name.
    copy(&[place.file("second", b"second"), folder.clone()]).assert_done();
    refused(&image, &folder.join("image"), &first);
    first.well();
    assert_eq!(names(&folder), ["image", "second"]);
}

#[test]
fn images_whose_long_names_begin_alike_are_written_at_the_same_time() {
    let place = Place::new();
    let long = "n".repeat(210);
    let slow = place.file("slow", &noise(3 << 20, 9));
    let growing = || names(&place.at(".")).into_iter().find(|name| name.ends_with(".decant-partial"));
    let first = Running::until(&place.at("slow"), &slow, &place.at(&format!("{long}A")));
    while growing().is_none() {
        std::thread::yield_now();
    }
    copy(&[place.file("quick", b"quick"), place.at(&format!("{long}B"))]).assert_done();
    first.well();
    assert_eq!(fs::metadata(place.at(&format!("{long}A"))).unwrap().len(), 3 << 20);
    assert_eq!(fs::read(place.at(&format!("{long}B"))).unwrap(), b"quick");
}

#[test]
fn a_writer_that_cannot_be_seen_from_here_is_known_by_what_it_has_stored() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let (source, target, growing) = slow(&place, "target");
    place.folder("target");
    place.file("other/a", b"other");
    let words = place.at("target/.decant-partial/writer");
    let first = Running::until(&growing, &source, &target);
    let stored = fs::read_to_string(words).unwrap();
    // As in another pod: with processes of its own.
    let inner = command(&[place.at("other"), target.clone()]);
    let mut apart = Command::new("unshare");
    apart.args(["--pid", "--fork", "--mount-proc"]).arg(inner.get_program()).args(inner.get_args());
    let ended = apart.output().unwrap();
    let told = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(4), "{told}");
    assert!(stored.contains(&format!("process {} on host ", first.id())), "{stored}");
    assert!(told.contains(stored.trim()), "{told}");
    first.well();
    assert_eq!(names(&target), ["0", "1", "2"]);
}
