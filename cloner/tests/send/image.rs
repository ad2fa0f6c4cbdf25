//! A disk image to read.

use std::fs::{self, File};
use std::path::PathBuf;

use decant_test_support::noise;
use tempfile::TempDir;

/// A directory with one file in it.
pub(crate) struct Image {
    pub(crate) directory: TempDir,
}

impl Image {
    pub(crate) fn with(content: &[u8]) -> Self {
        let image = Self { directory: tempfile::tempdir().unwrap() };
        fs::write(image.path(), content).unwrap();
        image
    }

    /// A hole of this size.
    pub(crate) fn hole(size_bytes: u64) -> Self {
        let image = Self { directory: tempfile::tempdir().unwrap() };
        File::create(image.path()).unwrap().set_len(size_bytes).unwrap();
        image
    }

    /// More than all buffers between a source and a target that does not read can hold.
    pub(crate) fn large() -> Self {
        Self::with(&noise(64 << 20, 1))
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("disk.img")
    }
}
