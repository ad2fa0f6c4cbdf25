//! Direct copies that were interrupted and are repeated.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use decant_test_support::disks::LoopDevice;
use decant_test_support::trees::{Format, make_torture};
use decant_test_support::{is_root, noise};
use rustix::process::{Pid, Signal, kill_process};

use super::command::{Outcome, Scratch, command, copy, names};

const MIB: u64 = 1 << 20;
/// How often a copy may end before it is interrupted.
const TRIES: u32 = 5;
const RESUMING: &str = "resuming: the target already has the first ";

/// Starts a slow copy, and ends it by `signal` when `is_far` is true. On a busy machine a copy may end before that; it is
/// then removed and made again.
fn interrupted(source: &Path, target: &Path, signal: Signal, is_far: impl Fn() -> bool) {
    let arguments = ["--force".as_ref(), "--limit=60MiB/s".as_ref(), source.as_os_str(), target.as_os_str()];
    for _ in 0..TRIES {
        let mut child: Child =
            command(&arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        while child.try_wait().unwrap().is_none() && !is_far() {
            std::thread::sleep(Duration::from_millis(1));
        }
        // This fails if it has ended.
        let _ = kill_process(Pid::from_child(&child), signal);
        if !child.wait().unwrap().success() && !is_complete(target) {
            return;
        }
        if target.is_dir() {
            fs::remove_dir_all(target).unwrap();
        } else if target.is_file() {
            fs::remove_file(target).unwrap();
        }
    }
    panic!("the copy always ends before the signal");
}

/// Whether a copy is complete, although its process may have been ended before it could exit.
fn is_complete(target: &Path) -> bool {
    target.is_file() || target.is_dir() && !target.join(".decant-partial").exists()
}

fn repeated(source: &Path, target: &Path) -> Outcome {
    let ended = copy(&["--force".as_ref(), source.as_os_str(), target.as_os_str()]);
    ended.assert_done();
    ended
}

/// An image of 200 MiB with a hole in it.
fn image(scratch: &Scratch) -> PathBuf {
    let path = scratch.hole("a", 200 * MIB);
    let file = File::options().write(true).open(&path).unwrap();
    for (at, seed) in [(0, 1), (100, 2), (130, 3), (170, 4)] {
        file.write_all_at(&noise(30 << 20, seed), at * MIB).unwrap();
    }
    path
}

fn len(path: &Path) -> u64 {
    path.metadata().map_or(0, |meta| meta.len())
}

fn assert_same(one: &Path, other: &Path) {
    let mut diff = std::process::Command::new("diff");
    assert!(diff.args(["-r", "--no-dereference"]).args([one, other]).status().unwrap().success());
}

fn digest(path: &Path) -> String {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_cloner"));
    let output = command.env_clear().arg("digest").arg(path).output().unwrap();
    String::from_utf8(output.stdout).unwrap().split(' ').next().unwrap().to_owned()
}

#[test]
fn an_image_resumes_after_a_kill_in_the_middle_and_shortly_before_the_end() {
    for (far, kept) in [(135 * MIB, "128.00 MiB"), (198 * MIB, "192.00 MiB")] {
        let scratch = Scratch::new();
        let (source, target) = (image(&scratch), scratch.at("b"));
        let growing = scratch.at(".b.decant-partial");
        interrupted(&source, &target, Signal::KILL, || len(&growing) >= far);
        assert!(!target.exists());
        let ended = repeated(&source, &target);
        assert!(ended.stderr.contains(&format!("{RESUMING}{kept}")), "{ended:?}");
        assert!(ended.stdout.trim_end().ends_with(&digest(&source)), "{ended:?}");
        assert_same(&source, &target);
        assert!(target.metadata().unwrap().blocks() * 512 < 160 * MIB, "its holes are holes");
        assert_eq!(names(&scratch.at(".")), ["a", "b"]);
    }
}

#[test]
fn a_copy_that_a_signal_ended_resumes_and_restart_starts_over() {
    for restart in [false, true] {
        let scratch = Scratch::new();
        let (source, target) = (image(&scratch), scratch.at("b"));
        let growing = scratch.at(".b.decant-partial");
        interrupted(&source, &target, Signal::INT, || len(&growing) >= 135 * MIB);
        let again = if restart { "--restart" } else { "--force" };
        let ended = copy(&[again.as_ref(), source.as_os_str(), target.as_os_str()]);
        ended.assert_done();
        assert_eq!(ended.stderr.contains(RESUMING), !restart, "{ended:?}");
        assert_same(&source, &target);
    }
}

#[test]
fn what_changed_at_the_source_is_copied_again() {
    let scratch = Scratch::new();
    let (source, target) = (image(&scratch), scratch.at("b"));
    let growing = scratch.at(".b.decant-partial");
    interrupted(&source, &target, Signal::KILL, || len(&growing) >= 135 * MIB);
    File::options().write(true).open(&source).unwrap().write_all_at(b"changed", 70 * MIB).unwrap();
    let ended = repeated(&source, &target);
    assert!(ended.stderr.contains(&format!("{RESUMING}64.00 MiB")), "{ended:?}");
    assert_same(&source, &target);
}

#[test]
fn what_changed_at_the_target_is_copied_again() {
    let scratch = Scratch::new();
    let (source, target) = (image(&scratch), scratch.at("b"));
    let growing = scratch.at(".b.decant-partial");
    interrupted(&source, &target, Signal::KILL, || len(&growing) >= 135 * MIB);
    File::options().write(true).open(&growing).unwrap().write_all_at(b"changed", 5 * MIB).unwrap();
    let ended = repeated(&source, &target);
    assert!(!ended.stderr.contains(RESUMING), "{ended:?}");
    assert_same(&source, &target);
}

#[test]
fn a_device_resumes() {
    if !is_root() {
        return;
    }
    for far in [100 * MIB, 195 * MIB] {
        let scratch = Scratch::new();
        let source = image(&scratch);
        let backing = scratch.hole("backing", 256 * MIB);
        let device = LoopDevice::on(&backing);
        // The end of what was written: nothing else marks it on a device.
        let written = || {
            let file = File::open(&device.0).unwrap();
            let mut block = [0; 4096];
            file.read_exact_at(&mut block, if far > 150 * MIB { far } else { 125 * MIB }).unwrap();
            block != [0; 4096]
        };
        interrupted(&source, &device.0, Signal::KILL, written);
        let ended = repeated(&source, &device.0);
        assert!(ended.stderr.contains(RESUMING), "{ended:?}");
        let size = (200 * MIB).to_string();
        let same = std::process::Command::new("cmp").args(["-n", &size]).args([&source, &device.0]).status();
        assert!(same.unwrap().success());
    }
}

/// A tree of 150 MiB in which every kind of entry occurs.
fn tree(scratch: &Scratch) -> PathBuf {
    let source = scratch.directory("a");
    make_torture(&source, Format::Full);
    for number in 0..15 {
        fs::write(source.join(format!("m{number:02}")), noise(10 << 20, number)).unwrap();
    }
    source
}

/// The names at the top of a directory, which need not be text.
fn all_names(directory: &Path) -> BTreeSet<OsString> {
    fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name()).collect()
}

#[test]
fn a_tree_resumes_after_a_kill_in_the_middle_and_shortly_before_the_end() {
    for last in ["m10", "m14"] {
        let scratch = Scratch::new();
        let (source, target) = (tree(&scratch), scratch.at("b"));
        let growing = target.join(".decant-partial/new").join(last);
        interrupted(&source, &target, Signal::KILL, || growing.exists());
        assert_eq!(names(&target), [".decant-partial"]);
        let ended = repeated(&source, &target);
        assert!(ended.stderr.contains(RESUMING), "{ended:?}");
        assert!(ended.stdout.trim_end().ends_with(&digest(&source)), "{ended:?}");
        assert_eq!(digest(&target), digest(&source));
        assert_eq!(all_names(&target), all_names(&source));
    }
}

#[test]
fn a_tree_that_changed_between_two_attempts_is_copied_as_it_is_now() {
    let scratch = Scratch::new();
    let (source, target) = (tree(&scratch), scratch.at("b"));
    let growing = target.join(".decant-partial/new/m12");
    interrupted(&source, &target, Signal::TERM, || growing.exists());
    fs::remove_file(source.join("m02")).unwrap();
    fs::write(source.join("m11"), noise(1 << 20, 77)).unwrap();
    repeated(&source, &target);
    assert_eq!(digest(&target), digest(&source));
    assert_eq!(all_names(&target), all_names(&source));
}
