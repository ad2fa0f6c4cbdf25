//! Devices to clone onto.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use decant_test_support::disks::{LoopDevice, Mounted, make_ext4};
use tempfile::NamedTempFile;

/// What a device holds before a clone.
pub(crate) const DIRT: u8 = 0xa5;

/// A block device.
pub(crate) struct Device {
    // Dropped before its backing file.
    device: LoopDevice,
    _backing: NamedTempFile,
}

impl Device {
    /// A device of this size, full of dirt.
    pub(crate) fn dirty(size_bytes: usize) -> Self {
        let backing = NamedTempFile::new().unwrap();
        backing.as_file().write_all_at(&vec![DIRT; size_bytes], 0).unwrap();
        Self { device: LoopDevice::on(backing.path()), _backing: backing }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.device.0
    }

    pub(crate) fn name(&self) -> &str {
        self.path().to_str().unwrap()
    }

    /// What it holds now.
    pub(crate) fn content(&self) -> Vec<u8> {
        let mut file = File::open(self.path()).unwrap();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut file, &mut bytes).unwrap();
        bytes
    }

    /// Makes a filesystem on it and mounts it.
    pub(crate) fn mounted(&self) -> Mounted {
        make_ext4(self.path(), &[]).unwrap();
        Mounted::device(self.path()).unwrap()
    }
}
