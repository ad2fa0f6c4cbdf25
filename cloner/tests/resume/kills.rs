//! Either end killed at some point, in each mode.

use std::time::{Duration, Instant};

use decant_test_support::relay::Break;
use decant_test_support::{HANG, until};

use crate::matrix::{MatrixCell, is_long, points, streams};
use crate::modes::{Mode, Volumes, in_each_mode};
use crate::pair::{CloneProcess, MIB, assert_both_succeed};

/// Fast enough for a test, slow enough to be hit several times.
const SLOW: &str = "120MiB/s";
pub(crate) const FAST: &str = "4GiB/s";
/// At most one segment is sent again after each interruption, and what was on its way: in sockets, in the relay, in
/// pipelines.
pub(crate) const RESENT_MAX_BYTES: u64 = (64 + 16) * MIB;

#[derive(Clone, Copy, PartialEq)]
enum Kill {
    Source,
    Target,
    Both,
}

impl Kill {
    fn label(self) -> &'static str {
        match self {
            Kill::Source => "source killed",
            Kill::Target => "target killed",
            Kill::Both => "both killed",
        }
    }
}

/// The bytes that went over the wire more than once, after the clone. TLS and headers are not counted.
pub(crate) fn resent_bytes(volumes: &Volumes, before_bytes: u64, interruptions: u64) -> u64 {
    resent_bytes_over(streams(), volumes, before_bytes, interruptions)
}

/// The same over so many connections: each has its own sockets.
pub(crate) fn resent_bytes_over(
    connections: u64,
    volumes: &Volumes,
    before_bytes: u64,
    interruptions: u64,
) -> u64 {
    let sent_bytes = volumes.relay().sent_bytes() - before_bytes;
    let framed_bytes = volumes.data_bytes + volumes.data_bytes / 500;
    let resent_bytes = sent_bytes.saturating_sub(framed_bytes);
    // Records of a tree go again, too.
    let limit_bytes = interruptions * (RESENT_MAX_BYTES + 4 * MIB * connections);
    assert!(resent_bytes <= limit_bytes, "{resent_bytes} of {limit_bytes} bytes went again");
    resent_bytes
}

/// A device with the image of a directory does not record what else was in the directory: a restarted target cannot resume.
fn restarts_from_zero(mode: Mode) -> bool {
    mode == Mode::DirectoryToDevice
}

fn assert_resumed(log: &[String]) {
    assert!(log.iter().any(|line| line.contains("resuming after the first")), "{log:#?}");
}

/// Kills at each point in turn.
fn killed(mode: Mode, kill: Kill, short: &[u64]) {
    let Some(volumes) = Volumes::new(mode) else { return };
    for percent in points(short, mode, kill.label()) {
        let cell = MatrixCell::new(kill.label(), mode, &format!("{percent} %"));
        let before_bytes = volumes.break_at(percent, Break::Hold);
        let (mut target, mut source) = (volumes.pair.target(), volumes.pair.source(FAST));
        volumes.relay().wait_until_held();
        if kill != Kill::Target {
            source.kill();
        }
        if kill != Kill::Source {
            target.kill();
        }
        // What the relay holds never arrives, also at 99 %: the clone was not complete, and now it cannot be.
        volumes.relay().cut_held();
        let is_complete = target.ended_well() || source.ended_well() || volumes.has_names();
        assert!(!is_complete, "it was complete before the kill");
        if kill != Kill::Target {
            source = volumes.pair.source(FAST);
        }
        if kill != Kill::Source {
            target = volumes.pair.target();
        }
        let log = assert_both_succeed(source, target);
        volumes.assert_same();
        if restarts_from_zero(mode) && kill != Kill::Source {
            cell.passed(None, "restarted");
        } else {
            // Before that no connection has sent a whole segment, and there is nothing to resume from.
            if volumes.data_bytes * percent / 100 > RESENT_MAX_BYTES * streams() {
                assert_resumed(&log);
            }
            cell.passed(Some(resent_bytes(&volumes, before_bytes, 1)), "resumed");
        }
        volumes.clear();
    }
}

in_each_mode!(goes_on_after_its_source_was_killed, |mode| killed(mode, Kill::Source, &[10, 50, 90, 99]));
in_each_mode!(goes_on_after_its_target_was_killed, |mode| killed(mode, Kill::Target, &[10, 50, 90, 99]));
in_each_mode!(goes_on_after_both_ends_were_killed, |mode| killed(mode, Kill::Both, &[50, 99]));

/// What is sent between two kills in the short form: more than what may be sent again after a kill, so that each attempt
/// gets further, and less than a third of any volume.
const BETWEEN_KILLS_BYTES: u64 = 72 * MIB;

/// Source and target by turns, each once. The relay holds the upload for each kill.
fn killed_by_turns(mode: Mode) {
    if is_long() {
        return killed_again_and_again(mode);
    }
    let Some(volumes) = Volumes::new(mode) else { return };
    let cell = MatrixCell::new("killed by turns", mode, "twice");
    let relay = volumes.relay();
    let hold_again = || relay.break_at(relay.sent_bytes() + BETWEEN_KILLS_BYTES, Break::Hold);
    hold_again();
    let (mut target, mut source) = (volumes.pair.target(), volumes.pair.source(FAST));
    relay.wait_until_held();
    source.kill();
    hold_again();
    relay.cut_held();
    source = volumes.pair.source(FAST);
    relay.wait_until_held();
    if restarts_from_zero(mode) {
        source.kill();
        relay.cut_held();
        source = volumes.pair.source(FAST);
    } else {
        target.kill();
        relay.cut_held();
        target = volumes.pair.target();
    }
    let log = assert_both_succeed(source, target);
    assert_resumed(&log);
    volumes.assert_same();
    cell.passed(Some(resent_bytes(&volumes, 0, 2)), "done after 2 kills");
}

/// Source and target by turns, every second.
fn killed_again_and_again(mode: Mode) {
    let Some(volumes) = Volumes::new(mode) else { return };
    let cell = MatrixCell::new("killed by turns", mode, "every second");
    let (mut target, mut source) = (volumes.pair.target(), volumes.pair.source(SLOW));
    let mut kills = 0;
    while progresses(&volumes, &mut target, &mut source) {
        kills += 1;
        assert!(kills < 1000, "it does not get to its end");
        if kills % 2 == 1 || restarts_from_zero(mode) {
            source.kill();
            source = volumes.pair.source(SLOW);
        } else {
            target.kill();
            target = volumes.pair.target();
        }
    }
    // Either may have been killed when the other one had all that it needed.
    until("either end is done", || target.ended_well() || source.ended_well());
    volumes.assert_same();
    assert!(kills > 1, "it was over after {kills} kills");
    cell.passed(Some(resent_bytes(&volumes, 0, kills)), &format!("done after {kills} kills"));
}

/// Waits for a second in which more than a segment went, longer on a busy machine: a process that is killed more
/// often makes no progress. `false`: either end has ended.
fn progresses(volumes: &Volumes, target: &mut CloneProcess, source: &mut CloneProcess) -> bool {
    let (start_bytes, start) = (volumes.relay().sent_bytes(), Instant::now());
    loop {
        let went_bytes = volumes.relay().sent_bytes() - start_bytes;
        if start.elapsed() > Duration::from_secs(1) && went_bytes > RESENT_MAX_BYTES + 16 * MIB {
            return true;
        }
        if target.has_ended() || source.has_ended() {
            return false;
        }
        assert!(start.elapsed() < HANG, "{went_bytes} bytes and nothing more");
        std::thread::sleep(Duration::from_millis(5));
    }
}

in_each_mode!(is_done_though_both_ends_are_killed_by_turns, killed_by_turns);
