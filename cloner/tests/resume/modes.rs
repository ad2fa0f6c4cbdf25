//! The columns of the fault matrix: what is cloned into what.

use std::fmt;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use decant_test_support::disks::LoopDevice;
use decant_test_support::is_root;
use decant_test_support::noise;
use decant_test_support::relay::{Break, Relay};
use decant_test_support::trees::{
    Format, assert_same, describe, give_attributes, make_torture, paths, set_xattr,
};
use tempfile::TempDir;

use crate::matrix::scale;
use crate::pair::{MIB, Pair};

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Mode {
    /// A device onto a device.
    Device,
    /// A volume with one huge file, the usual one.
    Disk,
    /// A volume with some of everything.
    Tree,
    /// A device into a directory.
    DeviceToDirectory,
    /// A volume with one huge file onto a device.
    DirectoryToDevice,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Device => "device",
            Self::Disk => "disk.img",
            Self::Tree => "tree",
            Self::DeviceToDirectory => "device->folder",
            Self::DirectoryToDevice => "folder->device",
        })
    }
}

impl Mode {
    pub(crate) fn is_from_directory(self) -> bool {
        matches!(self, Self::Disk | Self::Tree | Self::DirectoryToDevice)
    }

    pub(crate) fn is_onto_device(self) -> bool {
        matches!(self, Self::Device | Self::DirectoryToDevice)
    }

    /// Makes what is cloned, as `path`.
    fn fill(self, path: &Path) {
        if self.is_from_directory() {
            std::fs::create_dir(path).unwrap();
        }
        match self {
            Self::Device | Self::DeviceToDirectory => noise_file(path, 4 * 64 * scale() as u64 + 10),
            Self::Disk | Self::DirectoryToDevice => disk_image(path),
            Self::Tree => mixture(path),
        }
    }
}

/// Makes a test for each mode. `$run` gets it.
macro_rules! in_each_mode {
    ($name:ident, $run:expr) => {
        mod $name {
            use super::*;

            #[test]
            fn a_device() {
                $run(Mode::Device);
            }
            #[test]
            fn a_disk_image() {
                $run(Mode::Disk);
            }
            #[test]
            fn a_tree() {
                $run(Mode::Tree);
            }
            #[test]
            fn a_device_into_a_directory() {
                $run(Mode::DeviceToDirectory);
            }
            #[test]
            fn a_disk_image_onto_a_device() {
                $run(Mode::DirectoryToDevice);
            }
        }
    };
}
pub(crate) use in_each_mode;

/// A volume, another one that it is cloned into, and both ends with a relay between them.
pub(crate) struct Volumes {
    pub(crate) mode: Mode,
    pub(crate) pair: Pair,
    source: PathBuf,
    /// The device or directory.
    target: PathBuf,
    /// What is sent at least, in bytes.
    pub(crate) data_bytes: u64,
    _device: Option<LoopDevice>,
    place: TempDir,
}

impl Volumes {
    /// `None` where this user cannot have such volumes.
    pub(crate) fn new(mode: Mode) -> Option<Self> {
        if mode.is_onto_device() && !is_root() {
            return None;
        }
        let place = tempfile::tempdir().unwrap();
        let (source, directory) = (place.path().join("source"), place.path().join("target"));
        mode.fill(&source);
        let (target, device) = if mode.is_onto_device() {
            let backing = place.path().join("backing");
            let size_bytes = image_of(mode, &source).metadata().unwrap().len().next_multiple_of(MIB);
            File::create(&backing).unwrap().set_len(size_bytes).unwrap();
            let device = LoopDevice::on(&backing);
            (device.0.clone(), Some(device))
        } else {
            std::fs::create_dir(&directory).unwrap();
            (directory, None)
        };
        let data_bytes = noise_bytes(&source);
        let pair = pair_for(mode, &source, &target);
        Some(Self { mode, pair, source, target, data_bytes, _device: device, place })
    }

    /// The same clone into another device or directory, by another pair of ends.
    pub(crate) fn pair_to(&self, target: &Path) -> Pair {
        pair_for(self.mode, &self.source, target)
    }

    /// The same clone of another volume with the same content.
    pub(crate) fn pair_from(&self, source: &Path) -> Pair {
        pair_for(self.mode, source, &self.target)
    }

    /// What a device for it must have.
    pub(crate) fn needed_bytes(&self) -> u64 {
        let image = image_of(self.mode, &self.source);
        let image_bytes = image.metadata().map_or(0, |meta| meta.len());
        image_bytes.max(self.data_bytes).next_multiple_of(MIB)
    }

    pub(crate) fn source(&self) -> &Path {
        &self.source
    }

    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    pub(crate) fn place(&self) -> &Path {
        self.place.path()
    }

    /// That the target holds what the source holds.
    pub(crate) fn assert_same(&self) {
        self.assert_same_in(&self.target);
    }

    pub(crate) fn assert_same_in(&self, target: &Path) {
        if matches!(self.mode, Mode::Disk | Mode::Tree) {
            assert_same(&describe(&self.source, true), &describe(target, true), "the clone");
            return;
        }
        let image = image_of(self.mode, &self.source);
        let target = if self.mode.is_onto_device() { target.to_owned() } else { target.join("disk.img") };
        let size = image.metadata().unwrap().len().to_string();
        let same = Command::new("cmp").args(["-n", &size]).args([&image, &target]).status().unwrap();
        assert!(same.success(), "the clone differs");
    }

    /// Whether a directory has what it will have: nothing is under way.
    pub(crate) fn has_names(&self) -> bool {
        match self.mode {
            Mode::Device | Mode::DirectoryToDevice => false,
            Mode::DeviceToDirectory => self.target.join("disk.img").exists(),
            Mode::Disk | Mode::Tree => {
                let is_staged = self.target.join(".decant-partial").exists();
                let entries = std::fs::read_dir(&self.target).unwrap();
                !is_staged && entries.into_iter().any(|entry| entry.unwrap().file_name() != "lost+found")
            }
        }
    }

    /// The next attempt finds nothing.
    pub(crate) fn clear(&self) {
        if self.mode.is_onto_device() {
            let file = File::options().write(true).open(&self.target).unwrap();
            let flags = rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
            let size_bytes = rustix::fs::seek(&file, rustix::fs::SeekFrom::End(0)).unwrap();
            rustix::fs::fallocate(&file, flags, 0, size_bytes).unwrap();
        } else {
            std::fs::remove_dir_all(&self.target).unwrap();
            std::fs::create_dir(&self.target).unwrap();
        }
    }

    /// From now on, the upload breaks when `percent` of the clone were sent. Returns what was sent before.
    pub(crate) fn break_at(&self, percent: u64, how: Break) -> u64 {
        let before_bytes = self.relay().sent_bytes();
        self.relay().break_at(before_bytes + self.data_bytes * percent / 100, how);
        before_bytes
    }

    pub(crate) fn relay(&self) -> &Relay {
        self.pair.relay()
    }
}

fn pair_for(mode: Mode, source: &Path, target: &Path) -> Pair {
    let target = if mode.is_onto_device() { target.to_owned() } else { target.join("disk.img") };
    if mode.is_from_directory() { Pair::of_directory(source, &target) } else { Pair::new(source, &target) }
}

fn image_of(mode: Mode, source: &Path) -> PathBuf {
    if mode.is_from_directory() { source.join("disk.img") } else { source.to_owned() }
}

fn noise_file(path: &Path, mib: u64) {
    let mut file = File::create(path).unwrap();
    for at in 0..mib.div_ceil(64) {
        let len = usize::try_from((mib - at * 64).min(64) * MIB).unwrap();
        file.write_all(&noise(len, at + 7)).unwrap();
    }
}

/// The usual volume: one huge file, with a hole of more than a segment, and data after it.
pub(crate) fn disk_image(directory: &Path) {
    let (path, scale) = (directory.join("disk.img"), scale() as u64);
    noise_file(&path, 230 * scale);
    let file = File::options().write(true).open(path).unwrap();
    file.write_all_at(b"the end", (230 * scale + 170) * MIB).unwrap();
}

pub(crate) fn small_files(directory: &Path) {
    for at in 0..2600 * scale() as u64 {
        let parent = directory.join(format!("d{}", at % 13));
        std::fs::create_dir_all(&parent).unwrap();
        let len = 60_000 + usize::try_from(at % 2600).unwrap();
        std::fs::write(parent.join(format!("f{at}")), noise(len, at)).unwrap();
    }
}

/// Some of everything, with a large file in its middle.
fn mixture(directory: &Path) {
    make_torture(directory, Format::Ustar);
    give_attributes(directory);
    small_files(&directory.join("small"));
    noise_file(&directory.join("middle.img"), 90 * scale() as u64);
    for (name, attribute) in [("d0/f0", "user.old"), ("d0", "user.old"), ("d0/f13", "user.kept")] {
        set_xattr(&directory.join("small").join(name), attribute, b"before");
    }
}

/// The content that no compressor shortens: the data after the holes of a tree, and its headers, are small.
fn noise_bytes(path: &Path) -> u64 {
    let all = if path.is_dir() { paths(path) } else { vec![path.to_owned()] };
    let metas = all.iter().map(|path| std::fs::symlink_metadata(path).unwrap());
    let sizes = metas.filter(std::fs::Metadata::is_file).map(|meta| meta.len().min(meta.blocks() * 512));
    // Shorter ones are not noise.
    sizes.filter(|&bytes| bytes > 50_000 && bytes != 300_001).sum::<u64>() * 995 / 1000
}
