//! Disks that fail, are full, or are read-only: what is reported, and that the next attempt succeeds.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use decant_test_support::disks::{LoopDevice, Mounted, make_ext4};
use decant_test_support::is_root;
use decant_test_support::relay::Break;

use crate::direct::{SLOW, written_bytes};
use crate::kills::FAST;
use crate::matrix::{MatrixCell, is_long};
use crate::modes::{Mode, Volumes, in_each_mode};
use crate::pair::{CloneProcess, MIB, Pair};

/// Where a disk fails, in per cent.
const POINT: u64 = 60;

/// A filesystem that can fail as one whose disk was unplugged: everything is an input/output error from then on.
struct FailingFilesystem {
    mounted: Mounted,
    _device: LoopDevice,
}

impl FailingFilesystem {
    fn on(backing: &Path) -> Self {
        let device = LoopDevice::on(backing);
        let mounted = Mounted::device(&device.0).unwrap();
        // Not in the orphan list, and in no other file's way.
        let _ = std::fs::remove_dir(mounted.path().join("lost+found"));
        Self { mounted, _device: device }
    }

    fn new(backing: &Path, size_bytes: u64) -> Self {
        File::create(backing).unwrap().set_len(size_bytes).unwrap();
        make_ext4(backing, &["-m", "0"]).unwrap();
        Self::on(backing)
    }

    fn path(&self) -> &Path {
        self.mounted.path()
    }

    /// `EXT4_IOC_SHUTDOWN` without a flush of the journal: the kernel's own way to try this.
    fn fail(&self) {
        let ask = "import fcntl, os, struct, sys; \
                   fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587d, struct.pack('I', 2))";
        let done = Command::new("python3").args(["-c", ask]).arg(self.path()).status().unwrap();
        assert!(done.success());
    }
}

/// Modes between devices and directories test nothing new here: only the long form runs them.
fn volumes(mode: Mode) -> Option<Volumes> {
    let has_time = is_long() || !matches!(mode, Mode::DeviceToDirectory | Mode::DirectoryToDevice);
    if is_root() && has_time { Volumes::new(mode) } else { None }
}

fn assert_has_line(log: &[String], parts: &[&str]) {
    let last = log.last().unwrap();
    assert!(parts.iter().all(|part| last.contains(part)), "{parts:?}: {log:#?}");
}

/// A device on a file of `directory`, or the directory itself: where a clone of this mode can go.
fn target_in(volumes: &Volumes, directory: &Path) -> (PathBuf, Option<LoopDevice>) {
    if !volumes.mode.is_onto_device() {
        return (directory.to_owned(), None);
    }
    let backing = directory.join("device");
    let file = File::options().create(true).truncate(false).write(true).open(&backing).unwrap();
    file.set_len(volumes.needed_bytes()).unwrap();
    let device = LoopDevice::on(&backing);
    (device.0.clone(), Some(device))
}

fn assert_fails(pair: &Pair, code: i32, parts: &[&str]) {
    let (found, log) = pair.source(FAST).ended();
    assert_eq!(found, Some(code), "{log:#?}");
    assert_has_line(&log, parts);
}

/// The target's disk is gone in the middle; when it is back the clone succeeds.
fn target_fails(mode: Mode) {
    let Some(volumes) = volumes(mode) else { return };
    let cell = MatrixCell::new("target's disk fails", mode, &format!("{POINT} %"));
    let backing = volumes.place().join("disk");
    {
        let disk = FailingFilesystem::new(&backing, volumes.needed_bytes() + 200 * MIB);
        let (target, _device) = target_in(&volumes, disk.path());
        let pair = volumes.pair_to(&target);
        let relay = pair.relay();
        relay.break_at(volumes.data_bytes * POINT / 100, Break::Hold);
        let (_receiver, source) = (pair.target(), pair.source(FAST));
        relay.wait_until_held();
        disk.fail();
        relay.release();
        let (code, log) = source.ended();
        assert_eq!(code, Some(6), "{log:#?}");
        assert_has_line(&log, &["the target answered 500", target.to_str().unwrap(), "Input/output error"]);
    }
    let disk = FailingFilesystem::on(&backing);
    let (target, _device) = target_in(&volumes, disk.path());
    if !mode.is_onto_device() {
        let names = std::fs::read_dir(&target).unwrap().map(|entry| entry.unwrap().file_name());
        let names: Vec<_> = names.filter(|name| !name.to_string_lossy().contains("decant-partial")).collect();
        assert!(names.is_empty(), "{names:?} have their names");
    }
    let pair = volumes.pair_to(&target);
    let (receiver, source) = (pair.target(), pair.source(FAST));
    source.assert_success();
    receiver.assert_success();
    volumes.assert_same_in(&target);
    cell.passed(None, "exit 6, 500, Input/output error; the next clone is right");
}

/// There is too little space; with enough space the clone succeeds.
fn target_is_full(mode: Mode) {
    let Some(volumes) = volumes(mode) else { return };
    let cell = MatrixCell::new("target full", mode, "100 MiB");
    let small = Mounted::tmpfs("size=100m").unwrap();
    let backing = volumes.place().join("small");
    File::create(&backing).unwrap().set_len(100 * MIB).unwrap();
    let device = mode.is_onto_device().then(|| LoopDevice::on(&backing));
    let target = device.as_ref().map_or_else(|| small.path().to_owned(), |device| device.0.clone());
    let pair = volumes.pair_to(&target);
    let receiver = pair.target();
    assert_fails(&pair, 6, &["the target answered 400", "larger than the reported available storage"]);
    drop(receiver);
    if !mode.is_onto_device() {
        assert_eq!(std::fs::read_dir(&target).unwrap().count(), 0);
    }
    let receiver = volumes.pair.target();
    volumes.pair.source(FAST).assert_success();
    receiver.assert_success();
    volumes.assert_same();
    cell.passed(None, "exit 6, 400; nothing is left");
}

/// Nothing may be written.
fn target_is_read_only(mode: Mode) {
    let Some(volumes) = volumes(mode) else { return };
    let cell = MatrixCell::new("target read-only", mode, "0 %");
    let backing = volumes.place().join("closed");
    File::create(&backing).unwrap().set_len(volumes.needed_bytes()).unwrap();
    make_ext4(&backing, &[]).unwrap();
    let device = LoopDevice::read_only(&backing);
    let mounted = (!mode.is_onto_device()).then(|| Mounted::device(&device.0).unwrap());
    let target = mounted.as_ref().map_or_else(|| device.0.clone(), |mounted| mounted.path().to_owned());
    let pair = volumes.pair_to(&target);
    let _receiver = pair.target();
    let why = if mode.is_onto_device() { "Operation not permitted" } else { "Read-only file system" };
    assert_fails(&pair, 6, &["the target answered 500", target.to_str().unwrap(), why]);
    cell.passed(None, "exit 6, 500; nothing is written");
}

/// The source's disk is gone in the middle; when it is back the clone resumes.
fn source_fails(mode: Mode) {
    let Some(volumes) = volumes(mode) else { return };
    let cell = MatrixCell::new("source's disk fails", mode, &format!("{POINT} %"));
    let backing = volumes.place().join("disk");
    let mut disk = FailingFilesystem::new(&backing, volumes.needed_bytes() + 200 * MIB);
    let copied =
        Command::new("cp").args(["-a", "--sparse=always"]).arg(volumes.source()).arg(disk.path()).status();
    assert!(copied.unwrap().success());
    rustix::fs::syncfs(File::open(disk.path()).unwrap()).unwrap();
    let pair = volumes.pair_from(&disk.path().join("source"));
    let relay = pair.relay();
    relay.break_at(volumes.data_bytes * POINT / 100, Break::Hold);
    let (target, source) = (pair.target(), pair.source(FAST));
    relay.wait_until_held();
    disk.fail();
    relay.release();
    let (code, log) = source.ended();
    assert_eq!(code, Some(3), "{log:#?}");
    assert_has_line(&log, &["cannot ", disk.path().to_str().unwrap(), "Input/output error"]);
    assert!(!volumes.has_names());
    // Another kubelet mounts it somewhere else.
    drop(disk);
    disk = FailingFilesystem::on(&backing);
    let pair = pair.from(&disk.path().join("source"));
    let log = pair.source(FAST).assert_success();
    target.assert_success();
    volumes.assert_same();
    assert!(log.iter().any(|line| line.contains("resuming after the first")), "{log:#?}");
    cell.passed(None, "exit 3, Input/output error; the next source resumed");
}

/// Waits until a direct clone has written [`POINT`] per cent, and fails `disk` while the clone is stopped.
fn fail_under(disk: &FailingFilesystem, volumes: &Volumes, clone: &mut CloneProcess) {
    while written_bytes(clone) < volumes.data_bytes * POINT / 100 {
        assert!(!clone.has_ended());
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    clone.stop();
    disk.fail();
    clone.signal(rustix::process::Signal::CONT);
}

/// The target's disk of a direct clone is gone in the middle; when it is back the clone succeeds.
fn target_of_direct_fails(mode: Mode) {
    let Some(volumes) = volumes(mode) else { return };
    let cell = MatrixCell::new("direct: target's disk fails", mode, &format!("{POINT} %"));
    let backing = volumes.place().join("disk");
    {
        let disk = FailingFilesystem::new(&backing, volumes.needed_bytes() + 200 * MIB);
        let (target, _device) = target_in(&volumes, disk.path());
        let pair = volumes.pair_to(&target);
        let mut clone = pair.direct(SLOW);
        fail_under(&disk, &volumes, &mut clone);
        let (code, log) = clone.ended();
        assert_eq!(code, Some(4), "{log:#?}");
        assert_has_line(&log, &[target.to_str().unwrap(), "Input/output error"]);
    }
    let disk = FailingFilesystem::on(&backing);
    let (target, _device) = target_in(&volumes, disk.path());
    if !mode.is_onto_device() {
        let names = std::fs::read_dir(&target).unwrap().map(|entry| entry.unwrap().file_name());
        let names: Vec<_> = names.filter(|name| !name.to_string_lossy().contains("decant-partial")).collect();
        assert!(names.is_empty(), "{names:?} have their names");
    }
    volumes.pair_to(&target).direct(FAST).assert_success();
    volumes.assert_same_in(&target);
    cell.passed(None, "exit 4, Input/output error; the next clone is right");
}

/// The source's disk of a direct clone is gone in the middle; when it is back the clone resumes.
fn source_of_direct_fails(mode: Mode) {
    let Some(volumes) = volumes(mode) else { return };
    let cell = MatrixCell::new("direct: source's disk fails", mode, &format!("{POINT} %"));
    let backing = volumes.place().join("disk");
    let mut disk = FailingFilesystem::new(&backing, volumes.needed_bytes() + 200 * MIB);
    let copied =
        Command::new("cp").args(["-a", "--sparse=always"]).arg(volumes.source()).arg(disk.path()).status();
    assert!(copied.unwrap().success());
    rustix::fs::syncfs(File::open(disk.path()).unwrap()).unwrap();
    std::fs::write("/proc/sys/vm/drop_caches", "1").unwrap();
    let pair = volumes.pair_from(&disk.path().join("source"));
    let mut clone = pair.direct(SLOW);
    fail_under(&disk, &volumes, &mut clone);
    let (code, log) = clone.ended();
    assert_eq!(code, Some(3), "{log:#?}");
    assert_has_line(&log, &["cannot ", disk.path().to_str().unwrap(), "Input/output error"]);
    assert!(!volumes.has_names());
    drop(disk);
    disk = FailingFilesystem::on(&backing);
    let log = pair.from(&disk.path().join("source")).direct(FAST).assert_success();
    volumes.assert_same();
    // A device does not record what else was in the directory.
    if mode != Mode::DirectoryToDevice {
        assert!(log.iter().any(|line| line.contains("resuming after the first")), "{log:#?}");
    }
    cell.passed(None, "exit 3, Input/output error; the next process resumed");
}

/// What a direct clone wrote cannot be synced; once it can, the clone succeeds.
fn sync_of_direct_fails(mode: Mode) {
    let Some(volumes) = volumes(mode) else { return };
    let cell = MatrixCell::new("direct: sync fails", mode, "each sync");
    let (code, log) = volumes.pair.direct_without("fsync,fdatasync,syncfs,sync_file_range").ended();
    assert_eq!(code, Some(4), "{log:#?}");
    assert_has_line(&log, &["Input/output error"]);
    assert!(!log.iter().any(|line| line.contains("clone complete")), "{log:#?}");
    assert!(!volumes.has_names());
    volumes.pair.direct(FAST).assert_success();
    volumes.assert_same();
    cell.passed(None, "exit 4, Input/output error; the next clone is right");
}

/// A direct clone may not write to its target.
fn target_of_direct_is_read_only(mode: Mode) {
    let Some(volumes) = volumes(mode) else { return };
    let backing = volumes.place().join("closed");
    File::create(&backing).unwrap().set_len(volumes.needed_bytes()).unwrap();
    make_ext4(&backing, &[]).unwrap();
    let device = LoopDevice::read_only(&backing);
    let mounted = (!mode.is_onto_device()).then(|| Mounted::device(&device.0).unwrap());
    let target = mounted.as_ref().map_or_else(|| device.0.clone(), |mounted| mounted.path().to_owned());
    let (code, log) = volumes.pair_to(&target).direct(FAST).ended();
    assert_eq!(code, Some(4), "{log:#?}");
    let why = if mode.is_onto_device() { "Operation not permitted" } else { "Read-only file system" };
    assert_has_line(&log, &[target.to_str().unwrap(), why]);
}

in_each_mode!(fails_directly_and_is_right_the_next_time_where_the_targets_disk_fails, target_of_direct_fails);
in_each_mode!(fails_directly_and_resumes_where_the_sources_disk_fails, source_of_direct_fails);
in_each_mode!(fails_directly_where_nothing_can_be_synced, sync_of_direct_fails);
in_each_mode!(is_refused_directly_by_a_target_that_may_not_be_written, target_of_direct_is_read_only);
in_each_mode!(fails_and_is_right_the_next_time_where_the_targets_disk_fails, target_fails);
in_each_mode!(does_not_fit_and_leaves_nothing, target_is_full);
in_each_mode!(is_refused_by_a_target_that_may_not_be_written, target_is_read_only);
in_each_mode!(fails_and_goes_on_where_the_sources_disk_fails, source_fails);
