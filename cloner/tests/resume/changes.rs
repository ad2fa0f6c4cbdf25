//! What was interrupted is not always what goes on.

use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::pair::{MIB, Pair, SIZE_BYTES, wire_bytes};

/// A source that was written to between two attempts is cloned as it is now: never a mix of both.
#[test]
fn a_source_that_changed_in_between_is_cloned_as_it_is_now() {
    let place = tempfile::tempdir().unwrap();
    let source = Pair::source_file(place.path());
    let destination = place.path().join("disk.img");
    let pair = Pair::new(&source, &destination);
    let (target, mut first) = (pair.target(), pair.source("120MiB/s"));
    Pair::wait_for(&place.path().join(".disk.img.decant-partial"), 200 * MIB);
    first.kill();
    File::options().write(true).open(&source).unwrap().write_all_at(b"changed", 100 * MIB).unwrap();
    let log = pair.source("1GiB/s").well();
    target.well();
    pair.assert_equal(&destination);
    let kept = SIZE_BYTES - wire_bytes(&log);
    assert!((63 * MIB..=65 * MIB).contains(&kept), "only what came before the change is kept: {log:#?}");
    assert!(log.iter().any(|line| line.contains("something else from segment 1 on")), "{log:#?}");
}

/// Zeros of the new source must be zeros where the old one had something else.
#[test]
fn holes_of_a_changed_source_are_holes_at_the_target() {
    let place = tempfile::tempdir().unwrap();
    let source = Pair::source_file(place.path());
    let destination = place.path().join("disk.img");
    let pair = Pair::new(&source, &destination);
    let (mut target, mut first) = (pair.target(), pair.source("120MiB/s"));
    Pair::wait_for(&place.path().join(".disk.img.decant-partial"), 200 * MIB);
    first.kill();
    target.kill();
    let file = File::options().write(true).open(&source).unwrap();
    file.set_len(70 * MIB).unwrap();
    file.set_len(SIZE_BYTES).unwrap();
    let target = pair.target();
    pair.source("1GiB/s").well();
    target.well();
    pair.assert_equal(&destination);
}

/// An attempt of another clone that left something of the same name.
#[test]
fn what_another_clone_left_is_not_taken_for_this_one() {
    let place = tempfile::tempdir().unwrap();
    let source = Pair::source_file(place.path());
    let destination = place.path().join("disk.img");
    std::fs::write(place.path().join(".disk.img.decant-partial"), vec![7; 80 << 20]).unwrap();
    let pair = Pair::new(&source, &destination);
    let target = pair.target();
    let log = pair.source("1GiB/s").well();
    target.well();
    pair.assert_equal(&destination);
    assert!(wire_bytes(&log) >= SIZE_BYTES, "{log:#?}");
}
