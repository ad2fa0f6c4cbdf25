//! The source changes between an interrupted attempt and the next one.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use decant_test_support::relay::Break;
use decant_test_support::trees::set_xattr;
use decant_test_support::{is_root, noise};

use crate::kills::FAST;
use crate::matrix::MatrixCell;
use crate::modes::{Mode, Volumes};
use crate::pair::{MIB, Pair, SIZE_BYTES, assert_both_succeed, wire_bytes};

/// Kills the source, and with `both` the target, when `percent` are sent; changes the source and resumes. Returns the
/// log of the source that finished.
fn changed(mode: Mode, when: (u64, bool), what: &str, change: impl FnOnce(&Path)) -> Option<Vec<String>> {
    interrupted("source changed in between", mode, when, what, |volumes| change(volumes.source()))
}

fn interrupted(
    fault: &str,
    mode: Mode,
    (percent, both): (u64, bool),
    what: &str,
    change: impl FnOnce(&Volumes),
) -> Option<Vec<String>> {
    let volumes = Volumes::new(mode)?;
    let cell = MatrixCell::new(fault, mode, &format!("{percent} %"));
    volumes.break_at(percent, Break::Hold);
    let (mut target, mut first) = (volumes.pair.target(), volumes.pair.source(FAST));
    volumes.relay().wait_until_held();
    first.kill();
    if both {
        target.kill();
        target = volumes.pair.target();
    }
    volumes.relay().release();
    change(&volumes);
    let log = assert_both_succeed(volumes.pair.source(FAST), target);
    volumes.assert_same();
    assert!(!volumes.target().join(".decant-partial").exists());
    cell.passed(None, what);
    Some(log)
}

fn write_into(path: &Path, at_bytes: u64) {
    File::options().write(true).open(path).unwrap().write_all_at(b"changed", at_bytes).unwrap();
}

fn assert_differs_from(log: &[String], segment: u64) {
    let line = match segment {
        0 => "the target holds nothing of this clone".to_owned(),
        _ => format!("it differs from segment {segment} on"),
    };
    assert!(log.iter().any(|found| found.contains(&line)), "{log:#?}");
}

/// Segments before the change are kept, later ones are sent: never a mix of both.
#[test]
fn a_device_changed_between_attempts_is_cloned_in_its_current_state() {
    let is_new = |source: &Path| write_into(source, 100 * MIB);
    let Some(log) = changed(Mode::Device, (80, true), "as it is now", is_new) else { return };
    assert_differs_from(&log, 1);
    let kept = SIZE_BYTES - wire_bytes(&log);
    assert!((63 * MIB..=65 * MIB).contains(&kept), "only what came before the change is kept: {log:#?}");
}

#[test]
fn a_device_changed_between_attempts_becomes_a_current_image() {
    let is_new = |source: &Path| write_into(source, 100 * MIB);
    let log = changed(Mode::DeviceToDirectory, (80, false), "as it is now", is_new).unwrap();
    assert_differs_from(&log, 1);
}

#[test]
fn a_disk_image_changed_between_attempts_is_cloned_in_its_current_state() {
    let is_new = |source: &Path| write_into(&source.join("disk.img"), 100 * MIB);
    let log = changed(Mode::Disk, (80, true), "as it is now", is_new).unwrap();
    assert_differs_from(&log, 1);
    let resent = wire_bytes(&log);
    assert!((160 * MIB..170 * MIB).contains(&resent), "one segment of 230 MiB is kept: {log:#?}");
}

#[test]
fn a_disk_image_changed_between_attempts_is_current_on_a_device() {
    let is_new = |source: &Path| write_into(&source.join("disk.img"), 100 * MIB);
    let Some(log) = changed(Mode::DirectoryToDevice, (80, false), "as it is now", is_new) else { return };
    assert_differs_from(&log, 1);
}

#[test]
fn a_disk_image_grown_between_attempts_is_cloned_in_its_current_state() {
    let grown = |source: &Path| {
        let file = File::options().write(true).open(source.join("disk.img")).unwrap();
        file.set_len(file.metadata().unwrap().len() + 80 * MIB).unwrap();
    };
    let log = changed(Mode::Disk, (80, true), "as it is now", grown).unwrap();
    // The first segment contains the size.
    assert_differs_from(&log, 0);
}

/// A directory that was written, all of it, and is in no segment that the target holds.
const LEFT: &str = "small/d6";

/// A change in that directory. The target has its old state and must not keep any of it.
fn tree_changed(change: impl FnOnce(&Path)) {
    changed(Mode::Tree, (90, false), "as it is now", |source| change(&source.join(LEFT)));
}

#[test]
fn a_file_changed_in_a_tree_is_cloned_in_its_current_state() {
    tree_changed(|directory| write_into(&directory.join("f19"), 1000));
}

#[test]
fn a_file_truncated_in_a_tree_is_cloned_in_its_current_state() {
    tree_changed(|directory| fs::write(directory.join("f19"), "short").unwrap());
}

#[test]
fn a_file_added_to_a_tree_is_in_its_clone() {
    tree_changed(|directory| fs::write(directory.join("f20"), "new").unwrap());
}

/// The target notices the extra file only at the end and restarts, for the same source.
#[test]
fn a_file_removed_from_a_tree_is_not_in_its_clone() {
    tree_changed(|directory| fs::remove_file(directory.join("f19")).unwrap());
}

#[test]
fn a_removed_and_an_added_file_are_distinguished() {
    tree_changed(|directory| {
        fs::remove_file(directory.join("f19")).unwrap();
        fs::write(directory.join("f20"), "new").unwrap();
    });
}

#[test]
fn a_directory_replaced_by_a_file_is_a_file_in_the_clone() {
    tree_changed(|directory| {
        fs::remove_dir_all(directory).unwrap();
        fs::write(directory, "a file").unwrap();
    });
}

#[test]
fn a_file_replaced_by_a_directory_is_a_directory_in_the_clone() {
    tree_changed(|directory| {
        fs::remove_file(directory.join("f19")).unwrap();
        fs::create_dir(directory.join("f19")).unwrap();
        fs::write(directory.join("f19/inside"), "content").unwrap();
    });
}

#[test]
fn files_replaced_by_links_are_links_in_the_clone() {
    tree_changed(|directory| {
        for name in ["f19", "f32"] {
            fs::remove_file(directory.join(name)).unwrap();
        }
        std::os::unix::fs::symlink("f45", directory.join("f19")).unwrap();
        fs::hard_link(directory.join("f45"), directory.join("f32")).unwrap();
    });
}

/// The state of a filesystem that lost power between name, size and content: one file of zeros, one without length,
/// in a segment that was there.
#[test]
fn content_lost_by_the_disk_is_sent_again() {
    let zeros = |volumes: &Volumes| {
        let directory = volumes.target().join(".decant-partial/new/small/d11");
        let [zeros, empty] =
            ["f24", "f37"].map(|name| File::options().write(true).open(directory.join(name)).unwrap());
        let size_bytes = zeros.metadata().unwrap().len();
        zeros.set_len(0).unwrap();
        zeros.set_len(size_bytes).unwrap();
        empty.set_len(0).unwrap();
    };
    let log = interrupted("content lost with the power", Mode::Tree, (90, true), "resumed before it", zeros)
        .unwrap();
    assert_differs_from(&log, 2);
}

/// Early in the tree: the held segments end before the change.
#[test]
fn a_tree_changed_in_a_held_segment_resumes_before_the_change() {
    let log = changed(Mode::Tree, (90, true), "as it is now", |source| {
        fs::remove_file(source.join("small/d10/f10")).unwrap();
    })
    .unwrap();
    assert_differs_from(&log, 2);
}

/// Zeros of the new source must be zeros where the old one had something else.
#[test]
fn holes_of_a_changed_source_are_holes_at_the_target() {
    let is_new = |source: &Path| {
        let file = File::options().write(true).open(source).unwrap();
        file.set_len(70 * MIB).unwrap();
        file.set_len(SIZE_BYTES).unwrap();
    };
    changed(Mode::DeviceToDirectory, (80, true), "as it is now", is_new);
}

/// An attempt of another clone that left something of the same name.
#[test]
fn leftovers_of_another_clone_are_not_reused() {
    let place = tempfile::tempdir().unwrap();
    let source = Pair::source_file(place.path());
    let destination = place.path().join("disk.img");
    std::fs::write(place.path().join(".disk.img.decant-partial"), vec![7; 80 << 20]).unwrap();
    let pair = Pair::new(&source, &destination);
    let target = pair.target();
    let log = pair.source("1GiB/s").assert_success();
    target.assert_success();
    pair.assert_equal(&destination);
    assert!(wire_bytes(&log) >= SIZE_BYTES, "{log:#?}");
}

/// Attributes are not content: a file that a previous attempt completed is skipped but gets its current attributes.
#[test]
fn attributes_changed_between_attempts_are_current() {
    let change = |source: &Path| {
        let at = |name: &str| source.join("small").join(name);
        let mut remove = Command::new("setfattr");
        assert!(remove.args(["-x", "user.old"]).args([at("d0/f0"), at("d0")]).status().unwrap().success());
        set_xattr(&at("d0/f13"), "user.kept", b"now");
        set_xattr(&at("d1/f1"), "user.new", b"new");
    };
    let log = changed(Mode::Tree, (95, true), "as they are now", change).unwrap();
    assert!(log.iter().any(|line| line.contains("resuming after the first")), "{log:#?}");
}

/// Files that the target's user cannot read could not be read back, and the clone would restart from zero.
#[test]
fn a_tree_with_unreadable_files_resumes_on_an_unprivileged_target() {
    if !is_root() {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let open = |mode| <fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(mode);
    fs::set_permissions(place.path(), open(0o755)).unwrap();
    let (source, target) = (place.path().join("source"), place.path().join("target"));
    fs::create_dir_all(source.join("etc/locked")).unwrap();
    fs::create_dir(&target).unwrap();
    for (name, mode) in [("etc/shadow", 0), ("etc/locked/f", 0o200)] {
        fs::write(source.join(name), "content").unwrap();
        fs::set_permissions(source.join(name), open(mode)).unwrap();
    }
    fs::set_permissions(source.join("etc/locked"), open(0o111)).unwrap();
    fs::write(source.join("large"), noise(usize::try_from(3 * 64 * MIB).unwrap(), 7)).unwrap();
    let pair = Pair::of_directory(&source, &target.join("disk.img")).with_target_uid(65_534);
    let relay = pair.relay();
    relay.break_at(150 * MIB, Break::Hold);
    let (mut first, mut sender) = (pair.target(), pair.source(FAST));
    relay.wait_until_held();
    sender.kill();
    first.kill();
    relay.release();
    let log = assert_both_succeed(pair.source(FAST), pair.target());
    assert!(wire_bytes(&log) < 150 * MIB, "it began from zero: {log:#?}");
    let mode =
        |name: &str| std::os::unix::fs::MetadataExt::mode(&target.join(name).metadata().unwrap()) & 0o7777;
    assert_eq!(["etc/shadow", "etc/locked", "etc/locked/f"].map(mode), [0, 0o111, 0o200]);
    assert_eq!(fs::read(target.join("etc/locked/f")).unwrap(), b"content");
}
