//! Writes a stream to its destination and makes it durable. Both a clone that arrives over the network and a direct clone
//! use this module.
//!
//! [`mod@write`] writes the stream, in one of the four combinations of docs/protocol.md section 2.6, while [`sync`] syncs
//! what was written. [`held`] reads what a previous attempt left, and [`verify`] reads back what was written.

pub mod checked_stream;
pub mod held;
pub mod sync;
pub mod verify;
pub mod write;

use decant_shared::protocol::cdi::ContentType;

use crate::attributes::not_kept::NotKept;
use crate::digest::ContentDigest;
use crate::volume::destination::{Destination, KeepPartial};

/// The result of a verification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verification {
    /// The digest of the content.
    pub content_digest: ContentDigest,
    /// Whether the source computed the same digest. CDI's sources compute none.
    pub is_confirmed: bool,
}

/// How to write a clone.
#[derive(Debug, Clone)]
pub struct Writing {
    /// The destination.
    pub destination: Destination,
    /// Write or allocate every byte, holes included (docs/protocol.md section 2.7).
    pub preallocate: bool,
    /// Permission bits of an image file.
    pub image_mode: u32,
    /// Grow an image file to at least this size.
    pub grow_to_bytes: Option<u64>,
    /// When to keep what an interrupted transfer wrote, so that the next one can resume.
    pub keep_partial: KeepPartial,
    /// Read everything back from the disk and compare it, before it gets its final name.
    pub read_back: bool,
    /// The sender sends all attributes, so entries get no others.
    pub is_exact: bool,
    /// The copy that writes to the directory created it, and removes it if the copy fails.
    pub is_made: bool,
    /// Whether a thread of its own finishes the files of a tree. A direct clone has no other use for the processor.
    pub finishes_apart: bool,
    /// Whether the stream may offer to share blocks of the source. Files are then also opened for reading.
    pub shares: bool,
    /// Decompressor threads.
    pub decompress_threads: usize,
}

impl Writing {
    /// Whether an interrupted clone of `content` can be resumed. An image in an archive cannot if it is to be read
    /// back: its digest is computed while it is written.
    pub fn can_resume(&self, content: ContentType) -> bool {
        let is_lone_image =
            content == ContentType::Filesystem && matches!(self.destination, Destination::Device(_));
        self.keep_partial != KeepPartial::Never && !(is_lone_image && self.read_back)
    }
}

/// A clone that was written and synced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenClone {
    /// The kind of clone.
    pub content: ContentType,
    /// Logical bytes of the stream.
    pub stream_bytes: u64,
    /// The digest of its content, and whether the source sent the same digest.
    pub verification: Verification,
    /// Whether preallocation was requested, and therefore done.
    pub preallocated: bool,
    /// Attributes that could not be kept.
    pub not_kept: NotKept,
}
