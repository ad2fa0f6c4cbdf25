//! The options of an archive, its plan, and its totals after it was written.

use crate::attributes::not_kept::NotKept;
use crate::volume::tree::read::census::Outline;

/// How to store files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Whether to leave out holes. `false` if preallocation is requested: every file is then stored in full.
    pub sparse: bool,
    /// Whether to add extended headers with attributes (docs/protocol.md section 6.4). Without them the archive is the
    /// same as GNU tar's.
    pub attributes: bool,
}

impl Options {
    /// The options for the content alone.
    pub const CONTENT: Self = Self { sparse: true, attributes: false };
}

/// The result of [`scan`](crate::volume::tree::read::scan): what will be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchivePlan {
    /// Length of the whole archive in bytes, without attributes.
    pub stream_bytes: u64,
    /// The length with attributes. Only set if attributes were requested.
    pub stream_with_attributes_bytes: u64,
    /// What an archive without attributes lacks: extended attributes, access control lists, capabilities.
    pub only_in_attributes: NotKept,
    /// The number of files, directories, links and other entries.
    pub entries: u64,
    pub(super) outline: Outline,
    /// Length of all extended headers; `None` if they were not measured.
    pub(super) extended_bytes: Option<u64>,
}

impl ArchivePlan {
    /// Length of the archive that is written with `options`.
    pub fn bytes_with(&self, options: Options) -> u64 {
        if options.attributes { self.stream_with_attributes_bytes } else { self.stream_bytes }
    }
}

/// What [`write_archive`](crate::volume::tree::read::write_archive) has written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Totals {
    /// Length of the archive in bytes. It differs from the plan only if the filesystem now reports other holes.
    pub stream_bytes: u64,
    /// The number of files, directories, links and other entries.
    pub entries: u64,
}
