//! Connections that break while both ends live.

use decant_test_support::relay::Break;

use crate::kills::{FAST, resent_bytes};
use crate::matrix::{MatrixCell, points, streams};
use crate::modes::{Mode, Volumes, in_each_mode};

/// The same source and the same target resume.
fn cut(mode: Mode) {
    let Some(volumes) = Volumes::new(mode) else { return };
    for percent in points(&[60], mode, "cut") {
        let cell = MatrixCell::new("connection cut", mode, &format!("{percent} %"));
        let before_bytes = volumes.break_at(percent, Break::Cut);
        let (target, source) = (volumes.pair.target(), volumes.pair.source(FAST));
        let log = source.assert_success();
        target.assert_success();
        assert!(
            volumes.relay().has_broken() && broken_connection_is_reported(&log, "hung up without an answer"),
            "{log:#?}"
        );
        volumes.assert_same();
        cell.passed(Some(resent_bytes(&volumes, before_bytes, 1)), "resumed by itself");
        volumes.clear();
    }
}

/// A source whose data does not arrive gives up with a message; the next source resumes.
fn silent(mode: Mode) {
    let Some(volumes) = Volumes::new(mode) else { return };
    for percent in points(&[60], mode, "silent") {
        let cell = MatrixCell::new("connection silent", mode, &format!("{percent} %"));
        let before_bytes = volumes.break_at(percent, Break::Silent);
        let target = volumes.pair.target();
        let (code, log) = volumes.pair.source_with(FAST, &[("DECANT_STALL_SECS", "2")]).ended();
        assert!(code == Some(5) && has_line(&log, "made no progress for 2 s"), "{code:?} {log:#?}");
        volumes.pair.source(FAST).assert_success();
        target.assert_success();
        volumes.assert_same();
        cell.passed(Some(resent_bytes(&volumes, before_bytes, 1)), "exit 5, the next source resumed");
        volumes.clear();
    }
}

/// TLS notices; the connection is as good as cut.
fn flipped(mode: Mode) {
    let Some(volumes) = Volumes::new(mode) else { return };
    for percent in points(&[60], mode, "flipped") {
        let cell = MatrixCell::new("bit flipped", mode, &format!("{percent} %"));
        let before_bytes = volumes.break_at(percent, Break::Flip);
        let (target, source) = (volumes.pair.target(), volumes.pair.source(FAST));
        let log = source.assert_success();
        target.assert_success();
        assert!(
            volumes.relay().has_broken() && broken_connection_is_reported(&log, "damaged on its way"),
            "{log:#?}"
        );
        volumes.assert_same();
        cell.passed(Some(resent_bytes(&volumes, before_bytes, 1)), "resumed by itself");
        volumes.clear();
    }
}

/// Whether the source reported it with this text or, if another connection was left, got it from the target.
fn broken_connection_is_reported(log: &[String], text: &str) -> bool {
    has_line(log, text)
        || (streams() > 1 && has_line(log, "the connection broke before the body was complete"))
}

fn has_line(log: &[String], part: &str) -> bool {
    log.iter().any(|line| line.contains(part))
}

in_each_mode!(goes_on_after_its_connection_was_cut, cut);
in_each_mode!(goes_on_after_its_connection_fell_silent, silent);
in_each_mode!(goes_on_after_a_bit_was_flipped, flipped);
