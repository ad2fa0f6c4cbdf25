//! Clones over several connections: what arrives is the same, and a failure of one of them is reported and the clone resumes.

use std::time::Instant;

use decant_test_support::disks::Mounted;
use decant_test_support::is_root;
use decant_test_support::relay::Break;

use crate::kills::{FAST, resent_bytes_over};
use crate::matrix::MatrixCell;
use crate::modes::{Mode, Volumes};
use crate::pair::{Pair, SIZE_BYTES, assert_both_succeed};

/// Every volume here has so many segments at least.
const THREE: [(&str, &str); 1] = [("DECANT_STREAMS", "3")];

fn has_line(log: &[String], part: &str) -> bool {
    log.iter().any(|line| line.contains(part))
}

fn assert_cloned(mode: Mode) {
    let Some(volumes) = Volumes::new(mode) else { return };
    let target = volumes.pair.target();
    let log = assert_both_succeed(volumes.pair.source_with(FAST, &THREE), target);
    assert!(has_line(&log, "sending over 3 connections"), "{log:#?}");
    assert_eq!(volumes.relay().uploads(), 3);
    volumes.assert_same();
}

#[test]
fn a_device_is_cloned_over_several_connections() {
    assert_cloned(Mode::Device);
}

#[test]
fn a_tree_is_cloned_over_several_connections() {
    assert_cloned(Mode::Tree);
}

/// One of three connections breaks after this many bytes over all of them.
fn assert_resumes_after(mode: Mode, how: Break, text: &str) {
    let Some(volumes) = Volumes::new(mode) else { return };
    let cell = MatrixCell::new("one connection of three broken", mode, "60 %");
    let before_bytes = volumes.break_at(60, how);
    let (target, source) = (volumes.pair.target(), volumes.pair.source_with(FAST, &THREE));
    let log = assert_both_succeed(source, target);
    assert!(volumes.relay().has_broken() && has_line(&log, text), "{log:#?}");
    assert!(has_line(&log, "resuming after the first"), "{log:#?}");
    volumes.assert_same();
    cell.passed(Some(resent_bytes_over(3, &volumes, before_bytes, 1)), "resumed by itself");
}

#[test]
fn a_device_clone_resumes_after_one_connection_is_cut() {
    assert_resumes_after(Mode::Device, Break::Cut, "trying again");
}

#[test]
fn a_tree_clone_resumes_after_one_connection_is_cut() {
    assert_resumes_after(Mode::Tree, Break::Cut, "trying again");
}

#[test]
fn a_device_clone_resumes_after_a_flipped_bit_on_one_connection() {
    assert_resumes_after(Mode::Device, Break::Flip, "trying again");
}

#[test]
fn a_source_ends_after_one_connection_stalls_and_the_next_source_resumes() {
    let Some(volumes) = Volumes::new(Mode::DeviceToDirectory) else { return };
    volumes.break_at(60, Break::Silent);
    let target = volumes.pair.target();
    let variables = [THREE[0], ("DECANT_STALL_SECS", "2")];
    let (code, log) = volumes.pair.source_with(FAST, &variables).ended();
    assert!(code == Some(5) && has_line(&log, "made no progress for 2 s"), "{code:?} {log:#?}");
    let log = assert_both_succeed(volumes.pair.source_with(FAST, &THREE), target);
    assert!(has_line(&log, "resuming after the first"), "{log:#?}");
    volumes.assert_same();
}

#[test]
fn a_new_source_with_another_number_of_connections_resumes() {
    let Some(volumes) = Volumes::new(Mode::DeviceToDirectory) else { return };
    let before_bytes = volumes.break_at(50, Break::Hold);
    let (target, mut source) = (volumes.pair.target(), volumes.pair.source_with(FAST, &THREE));
    volumes.relay().wait_until_held();
    source.kill();
    volumes.relay().release();
    let log = assert_both_succeed(volumes.pair.source_with(FAST, &[("DECANT_STREAMS", "1")]), target);
    assert!(has_line(&log, "resuming after the first"), "{log:#?}");
    volumes.assert_same();
    resent_bytes_over(3, &volumes, before_bytes, 1);
}

#[test]
fn a_new_target_resumes_after_a_killed_one() {
    let Some(volumes) = Volumes::new(Mode::DeviceToDirectory) else { return };
    let before_bytes = volumes.break_at(50, Break::Hold);
    let (mut target, source) = (volumes.pair.target(), volumes.pair.source_with(FAST, &THREE));
    volumes.relay().wait_until_held();
    target.kill();
    volumes.relay().release();
    assert_both_succeed(source, volumes.pair.target());
    volumes.assert_same();
    resent_bytes_over(3, &volumes, before_bytes, 1);
}

#[test]
fn the_rate_limit_applies_to_all_connections_together() {
    let place = tempfile::tempdir().unwrap();
    let (source, image) = (Pair::source_file(place.path()), place.path().join("disk.img"));
    let pair = Pair::new(&source, &image);
    let target = pair.target();
    let began = Instant::now();
    assert_both_succeed(pair.source_with("64MiB/s", &THREE), target);
    let took = began.elapsed().as_secs_f64();
    let least = SIZE_BYTES as f64 / f64::from(64 << 20);
    // It contains only noise, so all of it is on the wire.
    assert!(took > least * 0.95, "{took} s and not {least} s");
    pair.assert_equal(&image);
}

#[test]
fn the_answer_on_the_first_connection_is_reported() {
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
    assert!(has_line(&log, "the target answered 400") && has_line(&log, "No space left"), "{log:#?}");
}
