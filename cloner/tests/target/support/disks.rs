//! Loop devices and small filesystems that go away with the test, however that ends.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::{NamedTempFile, TempDir};

/// What a device holds before a clone.
pub(crate) const DIRT: u8 = 0xa5;

/// A block device.
pub(crate) struct Device {
    path: PathBuf,
    _backing: NamedTempFile,
}

impl Device {
    /// A device of this size, full of dirt.
    pub(crate) fn dirty(size_bytes: usize) -> Self {
        let backing = NamedTempFile::new().unwrap();
        backing.as_file().write_all_at(&vec![DIRT; size_bytes], 0).unwrap();
        let output = run(Command::new("losetup").args(["--find", "--show"]).arg(backing.path()));
        let path = PathBuf::from(String::from_utf8(output.stdout).unwrap().trim());
        Self { path, _backing: backing }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn name(&self) -> &str {
        self.path.to_str().unwrap()
    }

    /// What it holds now.
    pub(crate) fn content(&self) -> Vec<u8> {
        let mut file = File::open(&self.path).unwrap();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut file, &mut bytes).unwrap();
        bytes
    }

    /// Makes a filesystem on it and mounts it.
    pub(crate) fn mounted(&self) -> Mounted {
        run(Command::new("mkfs.ext4").arg("-qF").arg(&self.path));
        let folder = tempfile::tempdir().unwrap();
        run(Command::new("mount").arg(&self.path).arg(folder.path()));
        Mounted(folder)
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // Nothing can be done about a device that stays: the test has its result.
        let _ = Command::new("losetup").arg("--detach").arg(&self.path).status();
    }
}

/// A mounted filesystem.
pub(crate) struct Mounted(TempDir);

impl Mounted {
    /// A filesystem in memory of this size.
    pub(crate) fn tmpfs(size_bytes: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let size = format!("size={size_bytes}");
        run(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder.path()));
        Self(folder)
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}
