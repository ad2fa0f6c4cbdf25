//! Clones over several connections: what arrives is the same, and what breaks on one of them is told and gone on from.

use std::time::Instant;

use decant_test_support::disks::Mounted;
use decant_test_support::is_root;
use decant_test_support::relay::Break;

use crate::cell::Cell;
use crate::kills::{FAST, again_over};
use crate::modes::{Mode, Volumes};
use crate::pair::{Pair, SIZE_BYTES, both_well};

/// Every volume here has so many segments at least.
const THREE: [(&str, &str); 1] = [("DECANT_STREAMS", "3")];

fn said(log: &[String], part: &str) -> bool {
    log.iter().any(|line| line.contains(part))
}

fn arrives(mode: Mode) {
    let Some(volumes) = Volumes::new(mode) else { return };
    let target = volumes.pair.target();
    let log = both_well(volumes.pair.source_with(FAST, &THREE), target);
    assert!(said(&log, "sending over 3 connections"), "{log:#?}");
    assert_eq!(volumes.relay().uploads(), 3);
    volumes.assert_same();
}

#[test]
fn a_device_arrives_over_several_connections() {
    arrives(Mode::Device);
}

#[test]
fn a_tree_arrives_over_several_connections() {
    arrives(Mode::Tree);
}

/// One of three breaks when so much was sent over all of them.
fn breaks(mode: Mode, how: Break, words: &str) {
    let Some(volumes) = Volumes::new(mode) else { return };
    let cell = Cell::new("one connection of three broken", mode, "60 %");
    let before_bytes = volumes.break_at(60, how);
    let (target, source) = (volumes.pair.target(), volumes.pair.source_with(FAST, &THREE));
    let log = both_well(source, target);
    assert!(volumes.relay().has_broken() && said(&log, words), "{log:#?}");
    assert!(said(&log, "resuming after the first"), "{log:#?}");
    volumes.assert_same();
    cell.right(Some(again_over(3, &volumes, before_bytes, 1)), "went on by itself");
}

#[test]
fn a_device_goes_on_after_one_connection_was_cut() {
    breaks(Mode::Device, Break::Cut, "trying again");
}

#[test]
fn a_tree_goes_on_after_one_connection_was_cut() {
    breaks(Mode::Tree, Break::Cut, "trying again");
}

#[test]
fn a_device_goes_on_after_a_bit_was_flipped_on_one_connection() {
    breaks(Mode::Device, Break::Flip, "trying again");
}

#[test]
fn a_source_gives_up_when_one_connection_falls_silent_and_the_next_one_goes_on() {
    let Some(volumes) = Volumes::new(Mode::DeviceToFolder) else { return };
    volumes.break_at(60, Break::Silent);
    let target = volumes.pair.target();
    let variables = [THREE[0], ("DECANT_STALL_SECS", "2")];
    let (code, log) = volumes.pair.source_with(FAST, &variables).ended();
    assert!(code == Some(5) && said(&log, "made no progress for 2 s"), "{code:?} {log:#?}");
    let log = both_well(volumes.pair.source_with(FAST, &THREE), target);
    assert!(said(&log, "resuming after the first"), "{log:#?}");
    volumes.assert_same();
}

#[test]
fn a_source_that_was_killed_is_followed_by_one_with_another_number_of_connections() {
    let Some(volumes) = Volumes::new(Mode::DeviceToFolder) else { return };
    let before_bytes = volumes.break_at(50, Break::Hold);
    let (target, mut source) = (volumes.pair.target(), volumes.pair.source_with(FAST, &THREE));
    volumes.relay().wait_until_held();
    source.kill();
    volumes.relay().release();
    let log = both_well(volumes.pair.source_with(FAST, &[("DECANT_STREAMS", "1")]), target);
    assert!(said(&log, "resuming after the first"), "{log:#?}");
    volumes.assert_same();
    again_over(3, &volumes, before_bytes, 1);
}

#[test]
fn a_target_that_was_killed_is_followed_by_one_that_goes_on() {
    let Some(volumes) = Volumes::new(Mode::DeviceToFolder) else { return };
    let before_bytes = volumes.break_at(50, Break::Hold);
    let (mut target, source) = (volumes.pair.target(), volumes.pair.source_with(FAST, &THREE));
    volumes.relay().wait_until_held();
    target.kill();
    volumes.relay().release();
    both_well(source, volumes.pair.target());
    volumes.assert_same();
    again_over(3, &volumes, before_bytes, 1);
}

#[test]
fn a_limit_is_that_of_all_connections_together() {
    let place = tempfile::tempdir().unwrap();
    let (source, image) = (Pair::source_file(place.path()), place.path().join("disk.img"));
    let pair = Pair::new(&source, &image);
    let target = pair.target();
    let began = Instant::now();
    both_well(pair.source_with("64MiB/s", &THREE), target);
    let took = began.elapsed().as_secs_f64();
    let least = SIZE_BYTES as f64 / f64::from(64 << 20);
    // Nothing but noise is in it, so all of it is on the wire.
    assert!(took > least * 0.95, "{took} s and not {least} s");
    pair.assert_equal(&image);
}

#[test]
fn what_the_target_says_on_the_first_connection_is_what_the_user_reads() {
    if !is_root() {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let source = Pair::source_file(place.path());
    let small = Mounted::tmpfs("size=150m").unwrap();
    let pair = Pair::new(&source, &small.path().join("disk.img"));
    let _target = pair.target();
    let (code, log) = pair.source_with(FAST, &THREE).ended();
    assert_eq!(code, Some(6), "{log:#?}");
    assert!(said(&log, "the target answered 400") && said(&log, "No space left"), "{log:#?}");
}
