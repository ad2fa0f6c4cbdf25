//! Clones in 64 MiB of memory with a disk of 50 MB/s. `DECANT_BOUNDED_MIB=4096` makes them as long as a real volume.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use decant_test_support::cgroup::Cgroup;
use decant_test_support::disks::{LoopDevice, Mounted, make_ext4};
use decant_test_support::is_root;
use decant_test_support::noise;

use crate::pair::{MIB, Pair};

const MEMORY_BYTES: u64 = 64 * MIB;
const DISK_RATE: u64 = 50_000_000;

/// A volume to read, whose pages are not in memory, and a disk to write to.
struct SlowDisk {
    source: PathBuf,
    device: LoopDevice,
    _place: tempfile::TempDir,
}

impl SlowDisk {
    fn new() -> Self {
        let size_mib: u64 =
            std::env::var("DECANT_BOUNDED_MIB").map_or(192, |size| size.parse().expect("a number"));
        let place = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let volume = place.path().join("volume");
        std::fs::create_dir(&volume).unwrap();
        let source = volume.join("disk.img");
        let mut file = File::create(&source).unwrap();
        let part = noise(64 << 20, 3);
        (0..size_mib / 64).for_each(|_| file.write_all(&part).unwrap());
        file.sync_all().unwrap();
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        let backing = place.path().join("backing");
        File::create(&backing).unwrap().set_len((size_mib + size_mib / 8 + 64) * MIB).unwrap();
        Self { source, device: LoopDevice::on(&backing), _place: place }
    }

    fn cgroup(&self) -> Cgroup {
        let number = std::fs::metadata(&self.device.0).unwrap().rdev();
        let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
        Cgroup::new(MEMORY_BYTES, &format!("{major}:{minor}"), DISK_RATE)
    }

    fn mounted(&self) -> Mounted {
        make_ext4(&self.device.0, &[]).unwrap();
        Mounted::device(&self.device.0).unwrap()
    }

    fn assert_equal(&self, target: &Path) {
        let size = self.source.metadata().unwrap().len().to_string();
        let same = Command::new("cmp").args(["-n", &size]).args([&self.source, target]).status().unwrap();
        assert!(same.success());
    }

    /// Of the source less than one window of the reader (32 MiB) may stay in the page cache, and of its copy what may not
    /// be synced yet.
    fn assert_cache(&self, image: &Path) {
        for (path, at_most_bytes) in [(self.source.as_path(), 16 * MIB), (image, 64 * MIB)] {
            let cached_bytes = cached_bytes(path);
            assert!(cached_bytes <= at_most_bytes, "{cached_bytes} bytes of {} are cached", path.display());
        }
    }

    fn copy(&self, target: &Path) {
        let cgroup = self.cgroup();
        let mut command = cgroup.command(env!("CARGO_BIN_EXE_cloner"));
        let done = command.args(["copy", "-q", "--force"]).args([&self.source, target]);
        let done = done.stdout(Stdio::null()).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        println!("copy: {} MiB at most", cgroup.peak_bytes() / MIB);
        self.assert_equal(target);
    }

    fn direct(&self, pair: Pair, target: &Path) {
        let pair = pair.in_cgroups([self.cgroup(), self.cgroup()]);
        pair.direct("10GiB/s").assert_success();
        println!("direct: {} MiB at most", pair.cgroups()[1].peak_bytes() / MIB);
        self.assert_equal(target);
    }

    fn pair(&self, destination: &Path, target: &Path) {
        self.run(Pair::new(&self.source, destination), target);
    }

    /// The source is a volume with the image in it.
    fn directories(&self, target: &Path) {
        self.run(Pair::of_directory(self.source.parent().unwrap(), target), target);
    }

    fn run(&self, pair: Pair, target: &Path) {
        let pair = pair.in_cgroups([self.cgroup(), self.cgroup()]);
        let (receiver, sender) = (pair.target(), pair.source("10GiB/s"));
        sender.assert_success();
        receiver.assert_success();
        let [source, receiver] = pair.cgroups();
        println!(
            "source: {}, target: {} MiB at most",
            source.peak_bytes() / MIB,
            receiver.peak_bytes() / MIB
        );
        self.assert_equal(target);
    }
}

#[test]
fn a_copy_to_a_slow_filesystem_fits_into_64_mib() {
    if !is_root() {
        return;
    }
    let bench = SlowDisk::new();
    let mounted = bench.mounted();
    bench.copy(&mounted.path().join("copy.img"));
}

#[test]
fn a_copy_to_a_slow_device_fits_into_64_mib() {
    if !is_root() {
        return;
    }
    let bench = SlowDisk::new();
    bench.copy(&bench.device.0.clone());
}

#[test]
fn source_and_target_of_a_slow_filesystem_fit_into_64_mib_each() {
    if !is_root() {
        return;
    }
    let bench = SlowDisk::new();
    let mounted = bench.mounted();
    let image = mounted.path().join("disk.img");
    bench.pair(&image, &image);
}

#[test]
fn a_direct_clone_of_a_slow_image_volume_fits_into_64_mib() {
    if !is_root() {
        return;
    }
    let bench = SlowDisk::new();
    let mounted = bench.mounted();
    let image = mounted.path().join("disk.img");
    bench.direct(Pair::of_directory(bench.source.parent().unwrap(), &image), &image);
}

#[test]
fn a_direct_clone_to_a_slow_device_fits_into_64_mib() {
    if !is_root() {
        return;
    }
    let bench = SlowDisk::new();
    let device = bench.device.0.clone();
    bench.direct(Pair::new(&bench.source, &device), &device);
}

/// Without a limit on memory.
#[test]
fn a_large_file_of_a_direct_clone_does_not_stay_in_the_page_cache() {
    if !is_root() {
        return;
    }
    let bench = SlowDisk::new();
    let mounted = bench.mounted();
    let image = mounted.path().join("disk.img");
    Pair::of_directory(bench.source.parent().unwrap(), &image).direct("10GiB/s").assert_success();
    bench.assert_cache(&image);
}

/// The usual volume: a filesystem, and in it one huge file.
#[test]
fn source_and_target_of_a_slow_image_volume_fit_into_64_mib_each() {
    if !is_root() {
        return;
    }
    let bench = SlowDisk::new();
    let mounted = bench.mounted();
    bench.directories(&mounted.path().join("disk.img"));
}

/// Without a limit on memory, where nothing but the cloner itself keeps the cache small.
#[test]
fn a_large_file_does_not_stay_in_the_page_cache() {
    if !is_root() {
        return;
    }
    let bench = SlowDisk::new();
    assert_eq!(cached_bytes(&bench.source), 0, "the cloner keeps what was there before");
    let mounted = bench.mounted();
    let image = mounted.path().join("disk.img");
    let pair = Pair::of_directory(bench.source.parent().unwrap(), &image);
    let (receiver, sender) = (pair.target(), pair.source("10GiB/s"));
    sender.assert_success();
    receiver.assert_success();
    bench.assert_cache(&image);
}

/// How much of a file is in the page cache. `fincore` reads nothing itself. A read with `RWF_NOWAIT` would let the
/// kernel fetch a missing page, and finds that page if the disk is fast enough or the test is preempted.
fn cached_bytes(path: &Path) -> u64 {
    let done = Command::new("fincore")
        .args(["--bytes", "--noheadings", "--output", "RES"])
        .arg(path)
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap().trim().parse().unwrap()
}

#[test]
fn source_and_target_of_a_slow_device_fit_into_64_mib_each() {
    if !is_root() {
        return;
    }
    let bench = SlowDisk::new();
    let device = bench.device.0.clone();
    bench.pair(&device, &device);
}
