//! Power lost on the target's node: only what was written back is there.

use std::path::Path;
use std::process::Command;

use crate::disks::{LoopDevice, Mounted, make_ext4};
use crate::pair::{MIB, Pair, SIZE_BYTES, wire_bytes};
use crate::trees_of_files::is_root;

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("--sparse=always").args([from, to]).status().unwrap().success());
}

/// What is on the disk at the instant of the kill is on the node that comes up again, and nothing else.
#[test]
fn an_image_goes_on_from_what_was_synced_when_the_power_went() {
    if !is_root() {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let source = Pair::source_file(place.path());
    let (backing, saved) = (place.path().join("backing"), place.path().join("saved"));
    std::fs::File::create(&backing).unwrap().set_len(400 * MIB).unwrap();
    make_ext4(&backing, &[]).unwrap();
    let device = LoopDevice::on(&backing);
    let log = {
        let before = Mounted::device(&device.0).unwrap();
        let pair = Pair::new(&source, &before.path().join("disk.img"));
        let (mut target, mut first) = (pair.target(), pair.source("60MiB/s"));
        Pair::wait_for(&before.path().join(".disk.img.decant-partial"), 150 * MIB);
        copy(&backing, &saved);
        target.kill();
        first.kill();

        let device = LoopDevice::on(&saved);
        let after = Mounted::device(&device.0).unwrap();
        let target = pair.target_to(&after.path().join("disk.img"));
        let log = pair.source("1GiB/s").well();
        target.well();
        pair.assert_equal(&after.path().join("disk.img"));
        log
    };
    let kept = SIZE_BYTES.saturating_sub(wire_bytes(&log));
    assert!(kept >= 63 * MIB, "what was synced is not sent again: {log:#?}");
}
