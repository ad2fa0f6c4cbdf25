//! Connections that break while both ends live.

use decant_test_support::relay::Break;

use crate::cell::{Cell, points, streams};
use crate::kills::{FAST, again_bytes};
use crate::modes::{Mode, Volumes, in_each_mode};

/// The same source and the same target go on.
fn cut(mode: Mode) {
    let Some(volumes) = Volumes::new(mode) else { return };
    for percent in points(&[60], mode, "cut") {
        let cell = Cell::new("connection cut", mode, &format!("{percent} %"));
        let before_bytes = volumes.break_at(percent, Break::Cut);
        let (target, source) = (volumes.pair.target(), volumes.pair.source(FAST));
        let log = source.well();
        target.well();
        assert!(volumes.relay().has_broken() && broke(&log, "hung up without an answer"), "{log:#?}");
        volumes.assert_same();
        cell.right(Some(again_bytes(&volumes, before_bytes, 1)), "went on by itself");
        volumes.clear();
    }
}

/// A source that nobody hears gives up and says so; the one that comes after it goes on.
fn silent(mode: Mode) {
    let Some(volumes) = Volumes::new(mode) else { return };
    for percent in points(&[60], mode, "silent") {
        let cell = Cell::new("connection silent", mode, &format!("{percent} %"));
        let before_bytes = volumes.break_at(percent, Break::Silent);
        let target = volumes.pair.target();
        let (code, log) = volumes.pair.source_with(FAST, &[("DECANT_STALL_SECS", "2")]).ended();
        assert!(code == Some(5) && said(&log, "made no progress for 2 s"), "{code:?} {log:#?}");
        volumes.pair.source(FAST).well();
        target.well();
        volumes.assert_same();
        cell.right(Some(again_bytes(&volumes, before_bytes, 1)), "exit 5, the next source went on");
        volumes.clear();
    }
}

/// TLS notices; the connection is as good as cut.
fn flipped(mode: Mode) {
    let Some(volumes) = Volumes::new(mode) else { return };
    for percent in points(&[60], mode, "flipped") {
        let cell = Cell::new("bit flipped", mode, &format!("{percent} %"));
        let before_bytes = volumes.break_at(percent, Break::Flip);
        let (target, source) = (volumes.pair.target(), volumes.pair.source(FAST));
        let log = source.well();
        target.well();
        assert!(volumes.relay().has_broken() && broke(&log, "damaged on its way"), "{log:#?}");
        volumes.assert_same();
        cell.right(Some(again_bytes(&volumes, before_bytes, 1)), "went on by itself");
        volumes.clear();
    }
}

/// That the source said it in these words or, where another connection is left for that, heard it from the target.
fn broke(log: &[String], words: &str) -> bool {
    said(log, words) || (streams() > 1 && said(log, "the connection broke before the body was complete"))
}

fn said(log: &[String], part: &str) -> bool {
    log.iter().any(|line| line.contains(part))
}

in_each_mode!(goes_on_after_its_connection_was_cut, cut);
in_each_mode!(goes_on_after_its_connection_fell_silent, silent);
in_each_mode!(goes_on_after_a_bit_was_flipped, flipped);
