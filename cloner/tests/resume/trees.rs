//! Folders that go on: inside one large file, and from file to file.

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::disks::LoopDevice;
use crate::noise::noise;
use crate::pair::{MIB, Pair, wire_bytes};
use crate::trees_of_files::{
    Wealth, assert_same, describe, give_attributes, is_root, make_torture, paths, set_xattr, xattrs_of,
};

const SEGMENT_BYTES: u64 = 64 * MIB;
/// Fast enough for a test, slow enough to be hit at the right moment.
const LIMIT: &str = "120MiB/s";
/// An end that has everything is gone after this.
const SETTLE: Duration = Duration::from_millis(1500);

/// A volume to be cloned into another one.
struct Volumes {
    place: TempDir,
    pair: Pair,
}

impl Volumes {
    fn new(fill: impl FnOnce(&Path)) -> Self {
        let place = tempfile::tempdir().unwrap();
        let [source, target] = ["source", "target"].map(|name| place.path().join(name));
        std::fs::create_dir(&source).unwrap();
        std::fs::create_dir(&target).unwrap();
        fill(&source);
        let pair = Pair::of_folder(&source, &target.join("disk.img"));
        Self { place, pair }
    }

    fn source(&self) -> PathBuf {
        self.place.path().join("source")
    }

    fn target(&self) -> PathBuf {
        self.place.path().join("target")
    }

    /// Waits until the tree that grows has `bytes` on disk, and says how many really.
    fn wait_for(&self, bytes: u64) -> u64 {
        let deadline = Instant::now() + Duration::from_secs(120);
        let growing = self.target().join(".decant-partial/new");
        loop {
            let written = if growing.exists() { allocated(&growing) } else { 0 };
            if written >= bytes {
                return written;
            }
            assert!(Instant::now() < deadline, "{written} of {bytes} bytes written");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn assert_same(&self) {
        assert_same(&describe(&self.source(), true), &describe(&self.target(), true), "the clone");
    }

    /// Kills, goes on, compares; says how many bytes went twice.
    fn interrupted(&self, at_bytes: u64, kills: [bool; 2], between: impl FnOnce()) -> (u64, Vec<String>) {
        let (mut target, mut source) = (self.pair.target(), self.pair.source(LIMIT));
        let written_bytes = self.wait_for(at_bytes);
        let [kill_source, kill_target] = kills;
        if kill_source {
            source.kill();
        }
        if kill_target {
            target.kill();
        }
        std::thread::sleep(SETTLE);
        assert!(!target.ended_well() && !source.ended_well(), "it was over before the kill");
        between();
        if kill_source {
            source = self.pair.source("1GiB/s");
        }
        if kill_target {
            target = self.pair.target();
        }
        let log = source.well();
        target.well();
        self.assert_same();
        assert!(!self.target().join(".decant-partial").exists());
        (written_bytes + wire_bytes(&log), log)
    }
}

/// What is on the disk; names come and go meanwhile.
fn allocated(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let of = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => allocated(&entry.path()),
        Ok(meta) if meta.is_file() => meta.blocks() * 512,
        _ => 0,
    };
    entries.map_while(Result::ok).map(of).sum()
}

fn small_files(folder: &Path) {
    for at in 0..2600_u64 {
        let parent = folder.join(format!("d{}", at % 13));
        std::fs::create_dir_all(&parent).unwrap();
        std::fs::write(parent.join(format!("f{at}")), noise(60_000 + usize::try_from(at).unwrap(), at))
            .unwrap();
    }
}

/// The usual volume: one huge file.
fn disk_image(folder: &Path) {
    std::fs::write(folder.join("disk.img"), noise(230 << 20, 7)).unwrap();
    // A hole of more than a segment, and something behind it.
    let file = File::options().write(true).open(folder.join("disk.img")).unwrap();
    file.write_all_at(b"the end", 400 * MIB).unwrap();
}

/// Some of everything, with a large file in its middle.
fn mixture(folder: &Path) {
    make_torture(folder, Wealth::Ustar);
    give_attributes(folder);
    small_files(&folder.join("small"));
    std::fs::write(folder.join("middle.img"), noise(90 << 20, 3)).unwrap();
}

fn bytes_of(folder: &Path) -> u64 {
    paths(folder)
        .iter()
        .map(|path| std::fs::symlink_metadata(path).unwrap())
        .map(|meta| meta.blocks() * 512)
        .sum()
}

fn killed(fill: fn(&Path), percents: &[u64], kills: [bool; 2]) {
    for percent in percents {
        let volumes = Volumes::new(fill);
        let total_bytes = bytes_of(&volumes.source());
        let (sent_bytes, log) = volumes.interrupted(total_bytes * percent / 100, kills, || {});
        // Headers of a tree go again, and blocks are counted whole.
        let limit_bytes = total_bytes + SEGMENT_BYTES + 8 * MIB;
        assert!(sent_bytes <= limit_bytes, "at {percent} %: {sent_bytes} of {limit_bytes}: {log:#?}");
    }
}

#[test]
fn a_disk_image_in_a_volume_goes_on_after_its_source_was_killed() {
    killed(disk_image, &[10, 50, 90], [true, false]);
}

#[test]
fn a_disk_image_in_a_volume_goes_on_after_its_target_was_killed() {
    killed(disk_image, &[10, 50, 90], [false, true]);
}

#[test]
fn a_disk_image_in_a_volume_goes_on_after_both_ends_were_killed() {
    killed(disk_image, &[50], [true, true]);
}

#[test]
fn a_tree_goes_on_after_its_source_was_killed() {
    killed(mixture, &[50, 90], [true, false]);
}

#[test]
fn a_tree_goes_on_after_its_target_was_killed() {
    killed(mixture, &[50, 90], [false, true]);
}

#[test]
fn a_tree_goes_on_after_both_ends_were_killed() {
    killed(mixture, &[70], [true, true]);
}

/// A file that goes from the source is not in the clone, though an attempt before had written it.
#[test]
fn a_tree_that_lost_a_file_in_between_is_cloned_as_it_is_now() {
    let volumes = Volumes::new(|folder| small_files(&folder.join("small")));
    let (_, log) = volumes.interrupted(140 * MIB, [true, false], || {
        std::fs::remove_file(volumes.source().join("small/d12/f2599")).unwrap();
        std::fs::remove_file(volumes.source().join("small/d10/f10")).unwrap();
    });
    assert!(log.iter().any(|line| line.contains("something else from segment")), "{log:#?}");
}

/// Attributes are no content, so what an attempt before has finished is passed over and yet gets those of now.
#[test]
fn attributes_that_changed_in_between_are_those_of_now() {
    let fill = |folder: &Path| {
        small_files(&folder.join("small"));
        set_xattr(&folder.join("small/d0/f0"), "user.old", b"old");
        set_xattr(&folder.join("small/d0"), "user.old", b"old");
        set_xattr(&folder.join("small/d0/f13"), "user.kept", b"before");
    };
    let volumes = Volumes::new(fill);
    let at = |name: &str| volumes.source().join(name);
    let (_, log) = volumes.interrupted(140 * MIB, [true, true], || {
        let removed = Command::new("setfattr")
            .args(["-x", "user.old"])
            .args([at("small/d0/f0"), at("small/d0")])
            .status();
        assert!(removed.unwrap().success());
        set_xattr(&at("small/d0/f13"), "user.kept", b"now");
        set_xattr(&at("small/d1/f1"), "user.new", b"new");
    });
    assert!(log.iter().any(|line| line.contains("going on after the first")), "{log:#?}");
    assert_eq!(xattrs_of(&volumes.target().join("small/d0/f0")), [""; 0]);
}

#[test]
fn a_file_that_changed_in_between_is_cloned_as_it_is_now() {
    let volumes = Volumes::new(disk_image);
    let (_, log) = volumes.interrupted(200 * MIB, [true, true], || {
        let image = File::options().write(true).open(volumes.source().join("disk.img")).unwrap();
        image.write_all_at(b"changed", 100 * MIB).unwrap();
    });
    assert!(log.iter().any(|line| line.contains("something else from segment 1 on")), "{log:#?}");
    let again = wire_bytes(&log);
    assert!((160 * MIB..170 * MIB).contains(&again), "one segment of 230 MiB is kept: {log:#?}");
}

/// The image of a volume that is cloned onto a device; the device cannot tell what else was in the volume.
#[test]
fn an_image_from_a_volume_goes_on_onto_a_device_after_its_source_was_killed() {
    if !is_root() {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let source = place.path().join("source");
    std::fs::create_dir(&source).unwrap();
    disk_image(&source);
    let backing = place.path().join("backing");
    File::create(&backing).unwrap().set_len(410 * MIB).unwrap();
    let device = LoopDevice::on(&backing);
    let pair = Pair::of_folder(&source, &device.0);
    let (target, mut first) = (pair.target(), pair.source(LIMIT));
    let written_bytes = Pair::wait_for(&backing, 150 * MIB);
    first.kill();
    let log = pair.source("1GiB/s").well();
    target.well();
    let sent_bytes = written_bytes + wire_bytes(&log);
    assert!(sent_bytes <= 230 * MIB + SEGMENT_BYTES + MIB, "{sent_bytes}: {log:#?}");
    let mut compare = Command::new("cmp");
    compare.arg("-n").arg((400 * MIB + 7).to_string()).args([source.join("disk.img"), device.0.clone()]);
    assert!(compare.status().unwrap().success());
}
