//! The destination of a clone.

use std::ffi::OsString;
use std::path::PathBuf;

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
