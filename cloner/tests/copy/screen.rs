//! The output of a copy, for people and for programs.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use decant_test_support::noise;
use rustix::process::{Pid, Signal, kill_process};

use super::command::{Scratch, command, copy};

/// With [`LIMIT`] it takes two seconds: the bar is drawn, and a line is printed.
const LONG_BYTES: usize = 24 << 20;
const LIMIT: &str = "--limit=12MiB/s";

#[test]
fn quiet_prints_nothing() {
    for word in ["--quiet", "-q"] {
        let scratch = Scratch::new();
        let (source, target) = (scratch.file("a", b"content"), scratch.at("b"));
        let ended = copy(&[word.as_ref(), source.as_os_str(), target.as_os_str()]);
        ended.assert_done();
        assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), ("", ""), "{word}");
    }
}

#[test]
fn quiet_still_prints_the_error() {
    let scratch = Scratch::new();
    let (source, target) = (scratch.file("a", b"content"), scratch.file("b", b"old"));
    copy(&["-q".as_ref(), source.as_os_str(), target.as_os_str()]).assert_failed(4, &["exists"]);
}

/// Whether `text` is a number (perhaps with decimals), a space and one of `units`.
fn is_amount(text: &str, units: &[&str]) -> bool {
    let Some((number, unit)) = text.split_once(' ') else { return false };
    number.parse::<f64>().is_ok() && units.contains(&unit)
}

fn assert_last_line(line: &str, source: &Path, target: &Path, size: &str) {
    let names = format!("{} -> {}: {size} in ", source.display(), target.display());
    let rest = line.strip_prefix(&names).unwrap_or_else(|| panic!("{line}"));
    let (rest, digest) = rest.rsplit_once(", ").unwrap();
    let (rest, wire) = if crate::IS_WIRE { rest.split_once(" (").unwrap() } else { (rest, "") };
    let (time, rate) = rest.split_once(", ").unwrap();
    assert!(is_amount(time, &["s"]), "{line}");
    assert!(is_amount(rate, &["B/s", "KiB/s", "MiB/s", "GiB/s", "TiB/s"]), "{line}");
    if crate::IS_WIRE {
        let (wire, rest) = wire.split_once(" on the wire, ").unwrap();
        let packed = rest.strip_suffix(" % compressed)").unwrap();
        assert!(packed.parse::<u8>().unwrap() <= 100, "{packed}");
        assert!(is_amount(wire, &["B", "KiB", "MiB"]), "{line}");
    }
    assert!(digest.starts_with("decant1:") && digest.len() > 73, "{line}");
}

#[test]
fn the_last_line_has_size_time_rate_and_digest() {
    let scratch = Scratch::new();
    let (source, target) = (scratch.file("a", &noise(3 << 20, 1)), scratch.at("b"));
    let ended = copy(&[&source, &target]);
    ended.assert_done();
    assert_eq!(ended.stderr, "");
    assert_last_line(ended.stdout.strip_suffix('\n').unwrap(), &source, &target, "3.00 MiB");
}

#[test]
fn the_last_line_names_the_new_file_in_a_directory() {
    let scratch = Scratch::new();
    let (source, target) = (scratch.file("a", b"content"), scratch.directory("b"));
    let ended = copy(&[&source, &target]);
    assert_last_line(ended.stdout.strip_suffix('\n').unwrap(), &source, &target.join("a"), "7 B");
}

#[test]
fn without_a_terminal_progress_is_printed_as_plain_lines() {
    let scratch = Scratch::new();
    let source = scratch.file("a", &noise(LONG_BYTES, 1));
    let limit = Path::new("--limit=2MiB/s");
    let mut command = command(&[limit, &source, &scratch.at("b")]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    stderr.read_line(&mut line).unwrap();
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(143));
    assert!(line.contains(" %, ") && line.contains(" of 24.00 MiB, ") && line.contains("/s"), "{line:?}");
    assert!(!line.contains('\x1b') && !line.contains('\r'), "{line:?}");
}

/// What a terminal gets of a long copy.
fn copy_on_a_terminal(variables: &[(&str, &str)]) -> String {
    let scratch = Scratch::new();
    scratch.file("a", &noise(LONG_BYTES, 1));
    let mut script = Command::new("script");
    script.env_clear().env("PATH", "/usr/bin:/bin").env("SHELL", "/bin/sh").env("TERM", "xterm-256color");
    let line = format!("{} copy {} {LIMIT} a b", env!("CARGO_BIN_EXE_cloner"), crate::MODE.concat());
    script.envs(variables.iter().copied()).args(["-qec", &line, "/dev/null"]);
    let output = script.current_dir(scratch.at(".")).stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}");
    text
}

/// Whether there is a code for colour or brightness (ESC [ numbers m).
fn is_coloured(text: &str) -> bool {
    text.split("\x1b[")
        .skip(1)
        .any(|code| code.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';').starts_with('m'))
}

#[test]
fn a_terminal_gets_a_bar_in_colour() {
    let text = copy_on_a_terminal(&[]);
    assert!(text.contains(" %, ") && text.contains("MiB of 24.00 MiB"), "{text:?}");
    assert!(is_coloured(&text), "{text:?}");
    assert!(text.contains("a -> b: 24.00 MiB in "), "{text:?}");
}

#[test]
fn no_color_is_respected() {
    let text = copy_on_a_terminal(&[("NO_COLOR", "1")]);
    assert!(text.contains(" %, ") && text.contains("MiB of 24.00 MiB"), "{text:?}");
    assert!(!is_coloured(&text), "{text:?}");
}

fn assert_json_only(stderr: &str) -> Vec<serde_json::Value> {
    let lines: Vec<serde_json::Value> =
        stderr.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    for line in &lines {
        for key in ["time", "level", "target", "message"] {
            assert!(line[key].is_string(), "{key} in {line}");
        }
    }
    lines
}

#[test]
fn json_mode_writes_only_json_to_stderr() {
    let scratch = Scratch::new();
    let (source, target) = (scratch.file("a", b"content"), scratch.at("b"));
    let arguments = ["--log-format".as_ref(), "json".as_ref(), source.as_os_str(), target.as_os_str()];
    let ended = copy(&arguments);
    ended.assert_done();
    assert_json_only(&ended.stderr);
    assert_last_line(ended.stdout.strip_suffix('\n').unwrap(), &source, &target, "7 B");
    let failed = copy(&arguments);
    assert_eq!((failed.code, failed.stdout.as_str()), (Some(4), ""));
    let lines = assert_json_only(&failed.stderr);
    assert_eq!((lines.len(), &lines[0]["level"]), (1, &"error".into()));
}

#[test]
fn quiet_json_prints_only_errors() {
    let scratch = Scratch::new();
    let (source, target) = (scratch.file("a", b"content"), scratch.at("b"));
    let arguments = ["-q".as_ref(), "--log-format=json".as_ref(), source.as_os_str(), target.as_os_str()];
    let ended = copy(&arguments);
    ended.assert_done();
    assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), ("", ""));
}
