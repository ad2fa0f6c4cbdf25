//! Direct clones in each mode: the digest of a network clone, interruptions, faults of the target, and the pod's reports.

use std::fs::{self, File};
use std::path::Path;
use std::time::Instant;

use decant_test_support::disks::{LoopDevice, Mounted};
use decant_test_support::{HANG, is_root};
use rustix::process::Signal;

use crate::kills::FAST;
use crate::matrix::{MatrixCell, points};
use crate::modes::{Mode, Volumes, in_each_mode};
use crate::pair::{CloneProcess, MIB, Pair};

/// Slow enough that a process can be killed shortly before its end.
pub(crate) const SLOW: &str = "100MiB/s";
/// How often a clone may end before it is killed.
const TRIES: u32 = 5;

/// The digest in a log.
fn digest(log: &[String]) -> String {
    let line = log.iter().find(|line| line.contains("digest decant1:")).unwrap_or_else(|| panic!("{log:#?}"));
    line.split_once("digest ").unwrap().1.to_owned()
}

fn same_digest_as_over_the_network(mode: Mode) {
    let Some(volumes) = Volumes::new(mode) else { return };
    let direct = digest(&volumes.pair.direct(FAST).assert_success());
    volumes.assert_same();
    volumes.clear();
    let (target, source) = (volumes.pair.target(), volumes.pair.source(FAST));
    let network = digest(&source.assert_success());
    target.assert_success();
    assert_eq!(direct, network);
}

in_each_mode!(has_the_digest_of_a_network_clone, same_digest_as_over_the_network);

/// The bytes that a process has written so far.
pub(crate) fn written_bytes(process: &CloneProcess) -> u64 {
    let text = fs::read_to_string(format!("/proc/{}/io", process.id())).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("wchar: "));
    line.map_or(0, |number| number.parse().unwrap())
}

/// Starts a clone and ends it by `signal` when `percent` of it is written. Returns `false` if it ended before that.
fn interrupted(volumes: &Volumes, percent: u64, signal: Signal) -> bool {
    let mut clone = volumes.pair.direct(SLOW);
    let (start, wanted_bytes) = (Instant::now(), volumes.data_bytes * percent / 100);
    while written_bytes(&clone) < wanted_bytes {
        if clone.has_ended() {
            return false;
        }
        assert!(start.elapsed() < HANG);
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    clone.signal(signal);
    let (code, log) = clone.ended();
    let expected = if signal == Signal::KILL { None } else { Some(143) };
    assert!(code == expected || code == Some(0), "{code:?} {log:#?}");
    code != Some(0) && !volumes.has_names()
}

fn resumes(mode: Mode, signal: Signal) {
    let Some(volumes) = Volumes::new(mode) else { return };
    for percent in points(&[50, 99], mode, "direct clone interrupted") {
        let cell = MatrixCell::new("direct clone interrupted", mode, &format!("{percent} %"));
        let is_interrupted = (0..TRIES).any(|_| {
            volumes.clear();
            interrupted(&volumes, percent, signal)
        });
        assert!(is_interrupted, "the clone always ends before the signal at {percent} %");
        let log = volumes.pair.direct(FAST).assert_success();
        volumes.assert_same();
        // A device does not record what else was in the directory.
        if mode != Mode::DirectoryToDevice {
            assert!(log.iter().any(|line| line.contains("resuming after the first")), "{log:#?}");
        }
        cell.passed(None, "resumed");
    }
}

in_each_mode!(goes_on_after_it_was_killed, |mode| resumes(mode, Signal::KILL));
in_each_mode!(goes_on_after_it_was_asked_to_end, |mode| resumes(mode, Signal::TERM));

fn changed(mode: Mode) {
    let Some(volumes) = Volumes::new(mode) else { return };
    interrupted(&volumes, 60, Signal::KILL);
    let path = match mode {
        Mode::Tree => volumes.source().join("small/d0/f0"),
        Mode::Disk | Mode::DirectoryToDevice => volumes.source().join("disk.img"),
        Mode::Device | Mode::DeviceToDirectory => volumes.source().to_owned(),
    };
    let file = File::options().write(true).open(&path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"changed", 5).unwrap();
    volumes.pair.direct(FAST).assert_success();
    volumes.assert_same();
}

in_each_mode!(clones_what_its_source_is_now, changed);

/// The reader is that of a source: the tests of `cloner source` have the other cases.
#[test]
fn an_image_that_is_written_to_during_the_clone_fails_it_and_gets_no_name() {
    let Some(volumes) = Volumes::new(Mode::Disk) else { return };
    let mut clone = volumes.pair.direct("60MiB/s");
    while written_bytes(&clone) < volumes.data_bytes / 4 {
        assert!(!clone.has_ended());
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    let image = volumes.source().join("disk.img");
    let file = File::options().write(true).open(&image).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"changed", 5).unwrap();
    let (code, log) = clone.ended();
    assert_eq!(code, Some(3), "{log:#?}");
    assert!(log.last().unwrap().contains("disk.img"), "{log:#?}");
    assert!(!volumes.has_names());
    volumes.pair.direct(FAST).assert_success();
    volumes.assert_same();
}

#[test]
fn a_full_volume_is_reported_and_left_empty() {
    if !is_root() {
        return;
    }
    for mode in [Mode::Disk, Mode::Tree, Mode::DeviceToDirectory] {
        let Some(volumes) = Volumes::new(mode) else { return };
        let small = Mounted::tmpfs("size=100m").unwrap();
        let (code, log) = volumes.pair_to(small.path()).direct(FAST).ended();
        assert_eq!(code, Some(4), "{log:#?}");
        assert!(fs::read_dir(small.path()).unwrap().next().is_none());
    }
}

#[test]
fn a_device_that_is_too_small_or_in_use_is_refused() {
    let Some(volumes) = Volumes::new(Mode::Device) else { return };
    let backing = volumes.place().join("small");
    File::create(&backing).unwrap().set_len(8 * MIB).unwrap();
    let device = LoopDevice::on(&backing);
    let (code, log) = Pair::new(volumes.source(), &device.0).direct(FAST).ended();
    assert_eq!(code, Some(4), "{log:#?}");
    assert!(log.last().unwrap().contains("but the image needs at least"), "{log:#?}");
    let first = volumes.pair.direct("20MiB/s");
    while written_bytes(&first) < MIB {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let (code, log) = volumes.pair.direct(FAST).ended();
    assert_eq!(code, Some(4), "{log:#?}");
    assert!(log.last().unwrap().contains("is in use"), "{log:#?}");
}

#[test]
fn a_directory_in_use_is_refused() {
    let Some(volumes) = Volumes::new(Mode::Tree) else { return };
    let first = volumes.pair.direct("20MiB/s");
    while written_bytes(&first) < MIB {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let (code, log) = volumes.pair.direct(FAST).ended();
    assert_eq!(code, Some(4), "{log:#?}");
    assert!(log.last().unwrap().contains("another process is writing to"), "{log:#?}");
}

#[test]
fn a_pod_reports_its_progress_and_its_result() {
    let Some(volumes) = Volumes::new(Mode::Disk) else { return };
    let message = volumes.place().join("termination-log");
    fs::write(&message, "").unwrap();
    let log_path = [("DECANT_TERMINATION_LOG", message.to_str().unwrap()), ("DECANT_VERIFY", "readback")];
    let clone = volumes.pair.direct_with("60MiB/s", &log_path);
    let line = clone.wait_for_line("metrics on https://");
    let port = line.rsplit_once("/metrics").unwrap().0.rsplit_once(':').unwrap().1.to_owned();
    let start = Instant::now();
    loop {
        let page = page(&port);
        let percent = page.lines().find_map(|line| line.strip_prefix("clone_progress{ownerUID=\"uid\"} "));
        if percent.is_some_and(|percent| percent.parse::<f64>().unwrap() > 5.0) {
            assert!(page.contains("decant_phase{phase=\"copy\"} 1"), "{page}");
            break;
        }
        assert!(start.elapsed() < HANG, "{page}");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let log = clone.assert_success();
    volumes.assert_same();
    assert_message(&message, &digest(&log));
}

fn assert_message(path: &Path, digest: &str) {
    let message: serde_json::Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(message["message"], "Clone Complete");
    assert_eq!(message["digest"], digest);
    assert_eq!(message["preallocationApplied"], false);
}

fn page(port: &str) -> String {
    use ureq::tls::TlsConfig;
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let tls = TlsConfig::builder().disable_verification(true).unversioned_rustls_crypto_provider(provider);
    let config = ureq::Agent::config_builder().tls_config(tls.build()).proxy(None);
    let agent: ureq::Agent = config.timeout_global(Some(HANG)).build().into();
    let mut answer = agent.get(format!("https://127.0.0.1:{port}/metrics")).call().unwrap();
    answer.body_mut().read_to_string().unwrap()
}

#[test]
fn a_configuration_without_a_source_is_a_usage_error() {
    let place = tempfile::tempdir().unwrap();
    let message = place.path().join("termination-log");
    fs::write(&message, "").unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_cloner"));
    let output = command.env_clear().arg("direct").env("DECANT_TERMINATION_LOG", &message).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(fs::read_to_string(&message).unwrap().contains("MOUNT_POINT is not set"));
}
