//! The receiver: receives one clone and makes it durable.
//!
//! ```text
//! session (a connection's thread): TLS, HTTP body -> packs -> decompressors -> batches -> writer
//! ```
//!
//! [`admission`] decides whether a request may upload. [`mod@pipeline`] runs the stages on its body. [`mod@write`] writes
//! the result, in one of the four combinations of docs/protocol.md section 2.6. [`transfer_state`] holds the state: one
//! transfer at a time, one success per process. [`server`] answers.

pub mod admission;
pub mod body;
pub mod held;
pub mod pipeline;
pub mod received_stream;
pub mod resume_verifier;
pub mod server;
pub mod session_report;
pub mod streams;
pub mod sync;
pub mod transfer_state;
pub mod verify;
pub mod write;

use decant_shared::protocol::cdi::ContentType;

use crate::attributes::not_kept::NotKept;
use crate::receive::resume_verifier::Verification;
use crate::volume::destination::Destination;

/// The stop reason of a transfer whose source was silent for so long that another one replaced it.
const REPLACED: &str = "the source fell silent and another one took its place";

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
    /// Keep what an interrupted transfer wrote, so that the next one can resume.
    pub keep_partial: bool,
    /// Read everything back from the disk and compare it, before it gets its final name.
    pub read_back: bool,
    /// The sender sends all attributes, so entries get no others.
    pub is_exact: bool,
    /// The copy that writes to the directory created it, and removes it if the copy fails.
    pub is_made: bool,
    /// Decompressor threads.
    pub decompress_threads: usize,
}

impl Writing {
    /// Whether an interrupted clone of `content` can be resumed. An image in an archive cannot if it is to be read
    /// back: its digest is computed while it is written.
    pub fn can_resume(&self, content: ContentType) -> bool {
        let is_lone_image =
            content == ContentType::Filesystem && matches!(self.destination, Destination::Device(_));
        self.keep_partial && !(is_lone_image && self.read_back)
    }
}

/// A clone that was received, written and synced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
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
