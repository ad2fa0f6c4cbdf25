//! Volumes to read.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// Bytes that no compressor shortens, the same for the same seed.
pub(crate) fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// A folder with one file in it.
pub(crate) struct Image {
    pub(crate) folder: TempDir,
}

impl Image {
    pub(crate) fn with(content: &[u8]) -> Self {
        let image = Self { folder: tempfile::tempdir().unwrap() };
        fs::write(image.path(), content).unwrap();
        image
    }

    /// A hole of this size.
    pub(crate) fn hole(size_bytes: u64) -> Self {
        let image = Self { folder: tempfile::tempdir().unwrap() };
        File::create(image.path()).unwrap().set_len(size_bytes).unwrap();
        image
    }

    /// More than all buffers between a source and a target that does not read can hold.
    pub(crate) fn large() -> Self {
        Self::with(&noise(64 << 20, 1))
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("disk.img")
    }
}

/// A loop device on a file; detached when dropped.
pub(crate) struct LoopDevice(pub(crate) PathBuf);

impl LoopDevice {
    pub(crate) fn on(file: &Path) -> Self {
        let made = Command::new("losetup").args(["--find", "--show"]).arg(file).output().unwrap();
        assert!(made.status.success(), "losetup: {}", String::from_utf8_lossy(&made.stderr));
        Self(String::from_utf8(made.stdout).unwrap().trim().into())
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        let done = Command::new("losetup").arg("-d").arg(&self.0).status();
        assert!(std::thread::panicking() || done.is_ok_and(|status| status.success()), "losetup -d");
    }
}
