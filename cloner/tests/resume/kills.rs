//! Either end killed at some point, for images and for devices.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::disks::LoopDevice;
use crate::pair::{MIB, Pair, SIZE_BYTES, wire_bytes};
use crate::trees_of_files::is_root;

/// Fast enough for a test, slow enough to be hit at the right moment.
const LIMIT: &str = "120MiB/s";
const SEGMENT_BYTES: u64 = 64 * MIB;
/// An end that has everything is gone after this.
const SETTLE: Duration = Duration::from_millis(1500);

#[derive(Clone, Copy, PartialEq)]
enum Kill {
    Source,
    Target,
    Both,
}

/// Kills at each point in turn. At most one segment is sent again after each.
fn killed(kill: Kill, pair: &Pair, grows: &Path, destination: &Path) {
    for percent in [10, 50, 90, 99] {
        let (mut target, mut source) = (pair.target(), pair.source(LIMIT));
        let written_bytes = Pair::wait_for(grows, SIZE_BYTES * percent / 100);
        // Late points may be too late: what is complete is complete, whoever is killed then.
        if kill != Kill::Target {
            source.kill();
        }
        if kill != Kill::Source {
            target.kill();
        }
        std::thread::sleep(SETTLE);
        let is_complete = target.ended_well() || source.ended_well();
        assert!(percent > 50 || !is_complete, "it was over before the kill");
        if !is_complete {
            if kill != Kill::Target {
                source = pair.source("1GiB/s");
            }
            if kill != Kill::Source {
                target = pair.target();
            }
            let log = source.well();
            target.well();
            let sent_again = wire_bytes(&log) + written_bytes.min(SIZE_BYTES);
            let limit_bytes = SIZE_BYTES + SEGMENT_BYTES + MIB;
            assert!(sent_again <= limit_bytes, "at {percent} %: {sent_again} of {limit_bytes}: {log:#?}");
        }
        pair.assert_equal(destination);
        // The next point begins with nothing.
        if grows.exists() {
            punch(destination).unwrap();
        } else {
            std::fs::remove_file(destination).unwrap();
        }
    }
}

fn punch(device: &Path) -> std::io::Result<()> {
    let file = std::fs::File::options().write(true).open(device)?;
    let flags = rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
    Ok(rustix::fs::fallocate(&file, flags, 0, SIZE_BYTES)?)
}

fn image(kill: Kill) {
    let place = tempfile::tempdir().unwrap();
    let source = Pair::source_file(place.path());
    let destination = place.path().join("volume/disk.img");
    std::fs::create_dir(place.path().join("volume")).unwrap();
    let pair = Pair::new(&source, &destination);
    killed(kill, &pair, &place.path().join("volume/.disk.img.decant-partial"), &destination);
}

fn device(kill: Kill) {
    if !is_root() {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let source = Pair::source_file(place.path());
    let backing: PathBuf = place.path().join("backing");
    std::fs::File::create(&backing).unwrap().set_len(SIZE_BYTES).unwrap();
    let device = LoopDevice::on(&backing);
    let pair = Pair::new(&source, &device.0);
    killed(kill, &pair, &backing, &device.0);
}

#[test]
fn an_image_goes_on_after_its_source_was_killed() {
    image(Kill::Source);
}

#[test]
fn an_image_goes_on_after_its_target_was_killed() {
    image(Kill::Target);
}

#[test]
fn an_image_goes_on_after_both_ends_were_killed() {
    image(Kill::Both);
}

#[test]
fn a_device_goes_on_after_its_source_was_killed() {
    device(Kill::Source);
}

#[test]
fn a_device_goes_on_after_its_target_was_killed() {
    device(Kill::Target);
}

#[test]
fn a_device_goes_on_after_both_ends_were_killed() {
    device(Kill::Both);
}
