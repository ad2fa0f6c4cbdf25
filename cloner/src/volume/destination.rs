//! The destination of a clone.

use std::ffi::OsString;
use std::path::PathBuf;

use decant_shared::process::stop::{Stop, StopReason};

/// Where a clone is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// A block device.
    Device(PathBuf),
    /// The directory of a filesystem volume. A raw stream becomes the file `image_name` in it.
    Directory {
        /// The volume's root.
        path: PathBuf,
        /// The image's file name.
        image_name: OsString,
    },
}

impl Destination {
    /// The name of an image in messages: the name of the file, or the path of the device.
    pub fn image_label(&self) -> Vec<u8> {
        match self {
            Self::Device(path) => path.as_os_str().as_encoded_bytes().to_vec(),
            Self::Directory { image_name, .. } => image_name.as_encoded_bytes().to_vec(),
        }
    }
}

/// After which failures a clone keeps what it wrote, so that the next attempt can resume. What did not fit is never kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum KeepPartial {
    /// After no failure.
    #[default]
    Never,
    /// Only if a signal ended the clone.
    AfterSignal,
    /// After all failures that the next attempt may not have.
    Always,
}

impl KeepPartial {
    /// Whether a clone that `stop` can end, and that has failed, keeps what it wrote.
    pub fn keeps(self, stop: &Stop) -> bool {
        match self {
            Self::Never => false,
            Self::AfterSignal => matches!(stop.reason(), Some(StopReason::Signal(_))),
            Self::Always => true,
        }
    }
}
