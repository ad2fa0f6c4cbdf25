//! The target: receives one clone and makes it durable.
//!
//! ```text
//! session (a connection's thread): TLS, HTTP body -> packs -> decompressors -> batches -> writer
//! ```
//!
//! [`admit`] decides whether a request may upload; [`session`] runs the stages over its body; [`place`] writes
//! what they yield, to one of the four combinations of contract 2.6; [`server`] owns the state (one transfer
//! at a time, one success per process) and the answers.

use std::ffi::OsString;
use std::path::PathBuf;

use decant_shared::protocol::cdi::ContentType;

use crate::attribute::not_kept::NotKept;
use crate::digest::check::Verdict;

pub mod admit;
pub mod carry;
pub mod config;
pub mod decompress;
pub mod image;
pub mod place;
pub mod pulled;
pub mod readback;
pub mod refusals;
pub mod report;
pub mod rights;
pub mod running;
pub mod server;
pub mod session;
pub mod streams;
pub mod verify;
pub mod writeback;

/// Where a clone goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// A block device.
    Device(PathBuf),
    /// The folder of a filesystem volume; a raw stream becomes `image_name` in it.
    Folder {
        /// The volume's root.
        path: PathBuf,
        /// The image's file name.
        image_name: OsString,
    },
}

impl Destination {
    /// What messages call an image on it: a file's own name, the device's path.
    pub fn image_label(&self) -> Vec<u8> {
        match self {
            Self::Device(path) => path.as_os_str().as_encoded_bytes().to_vec(),
            Self::Folder { image_name, .. } => image_name.as_encoded_bytes().to_vec(),
        }
    }
}

/// How to write.
#[derive(Debug, Clone)]
pub struct Writing {
    /// Where to.
    pub destination: Destination,
    /// Write or allocate every byte, holes included (contract 2.7).
    pub preallocate: bool,
    /// Permission bits of an image file.
    pub image_mode: u32,
    /// Grow an image file to at least this size.
    pub grow_to_bytes: Option<u64>,
    /// Leave what an interrupted transfer wrote, so that the next one can go on from there.
    pub keep_partial: bool,
    /// Read everything back from the disk and compare, before it gets its name.
    pub read_back: bool,
    /// The sender says all attributes: entries get no others.
    pub is_exact: bool,
    /// The folder was made by the copy that writes to it, and goes again with it.
    pub is_made: bool,
    /// Decompressor threads.
    pub decompress_threads: usize,
}

impl Writing {
    /// Whether a clone of `content` that was interrupted can go on. Not that of an image in an archive which is read
    /// back: its digest is computed while it is written.
    pub fn can_go_on(&self, content: ContentType) -> bool {
        let is_lone_image =
            content == ContentType::Filesystem && matches!(self.destination, Destination::Device(_));
        self.keep_partial && !(is_lone_image && self.read_back)
    }
}

/// A clone that was received, written and synced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// What it was.
    pub content: ContentType,
    /// Logical bytes of the stream.
    pub stream_bytes: u64,
    /// The digest of its content, and whether the source has the same.
    pub verdict: Verdict,
    /// Whether preallocation was asked for, and so done.
    pub preallocated: bool,
    /// Attributes that could not be kept.
    pub not_kept: NotKept,
}
