//! Power lost on the target's node: only what was written back is there.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use decant_test_support::disks::{LoopDevice, Mounted, make_ext4};
use decant_test_support::is_root;

use crate::kills::{FAST, RESENT_MAX_BYTES};
use crate::matrix::{MatrixCell, points};
use crate::modes::{Mode, Volumes, in_each_mode};
use crate::pair::MIB;

/// Slow enough to be hit at the right moment.
const LIMIT: &str = "90MiB/s";
/// What a tree may have in memory (docs/protocol.md section 2.6), and what was on its way.
const UNSYNCED_BYTES: u64 = 2 * 48 * MIB;

/// A disk that can be lost and come up again as it was at one moment.
struct Disk {
    backing: PathBuf,
    mounted: Option<Mounted>,
    device: LoopDevice,
}

impl Disk {
    /// On this file, with a filesystem unless the device itself is the target.
    fn on(backing: &Path, mode: Mode) -> Self {
        let device = LoopDevice::on(backing);
        let mounted = (!mode.is_onto_device()).then(|| Mounted::device(&device.0).unwrap());
        Self { backing: backing.to_owned(), mounted, device }
    }

    fn new(backing: &Path, mode: Mode, size_bytes: u64) -> Self {
        std::fs::File::create(backing).unwrap().set_len(size_bytes).unwrap();
        if !mode.is_onto_device() {
            make_ext4(backing, &["-m", "0"]).unwrap();
        }
        let disk = Self::on(backing, mode);
        if let Some(mounted) = &disk.mounted {
            std::fs::remove_dir(mounted.path().join("lost+found")).unwrap();
        }
        disk
    }

    fn target(&self) -> PathBuf {
        self.mounted.as_ref().map_or_else(|| self.device.0.clone(), |mounted| mounted.path().to_owned())
    }

    /// What of it is on the disk now, as another file.
    fn copy_to(&self, saved: &Path) {
        let copied = Command::new("cp").arg("--sparse=always").args([&self.backing, saved]).status().unwrap();
        assert!(copied.success());
    }
}

/// The rebooted node has exactly what was on the disk at the instant of the kill. Both ends restart from there.
fn power_lost(mode: Mode) {
    if !is_root() {
        return;
    }
    let volumes = Volumes::new(mode).unwrap();
    let size_bytes = volumes.needed_bytes() + 200 * MIB;
    // A tree has the most to lose.
    let short: &[u64] = if mode == Mode::Tree { &[30, 60, 95] } else { &[60] };
    for percent in points(short, mode, "power") {
        let cell = MatrixCell::new("power lost", mode, &format!("{percent} %"));
        let (backing, saved) = (volumes.place().join("disk"), volumes.place().join("saved"));
        let before = Disk::new(&backing, mode, size_bytes);
        let pair = volumes.pair_to(&before.target());
        let relay = pair.relay();
        let (mut target, mut first) = (pair.target(), pair.source(LIMIT));
        while relay.sent_bytes() < volumes.data_bytes * percent / 100 {
            std::thread::sleep(Duration::from_millis(2));
        }
        // It is stopped: what it has not synced stays in memory.
        target.stop();
        std::thread::sleep(Duration::from_millis(300));
        before.copy_to(&saved);
        target.kill();
        first.kill();
        let sent_bytes = volumes.data_bytes * percent / 100;

        let after = Disk::on(&saved, mode);
        let pair = volumes.pair_to(&after.target());
        let (target, source) = (pair.target(), pair.source(FAST));
        source.assert_success();
        target.assert_success();
        volumes.assert_same_in(&after.target());
        if mode == Mode::DirectoryToDevice {
            cell.passed(None, "restarted from zero");
            continue;
        }
        let rest_bytes = volumes.data_bytes - sent_bytes;
        let resent_bytes = pair.relay().sent_bytes().saturating_sub(rest_bytes);
        assert!(resent_bytes <= RESENT_MAX_BYTES + UNSYNCED_BYTES, "{resent_bytes} bytes went again");
        cell.passed(Some(resent_bytes), "resumed");
    }
}

in_each_mode!(goes_on_from_what_was_synced_when_the_power_went, power_lost);
