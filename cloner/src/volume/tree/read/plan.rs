//! What is asked of an archive, and what is known about it before and after.

use crate::attributes::not_kept::NotKept;
use crate::volume::tree::read::census::Outline;

/// How to store files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Leave holes out. `false` when preallocation was requested: then every file is stored in full.
    pub sparse: bool,
    /// Carry what only extended headers hold (docs/protocol.md, 6.4). Without it the archive is as GNU tar writes it.
    pub attributes: bool,
}

impl Options {
    /// For the content alone.
    pub const CONTENT: Self = Self { sparse: true, attributes: false };
}

/// What [`scan`](crate::volume::tree::read::scan::scan) found: what [`write`](crate::volume::tree::read::write_archive::write_archive) is going to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchivePlan {
    /// Length of the whole archive in bytes, without attributes.
    pub stream_bytes: u64,
    /// The same with attributes; only where they were asked for.
    pub stream_with_attributes_bytes: u64,
    /// What an archive without attributes does not hold: extended attributes, access control lists, capabilities.
    pub only_in_attributes: NotKept,
    /// How many files, directories, links and so on are in it.
    pub entries: u64,
    pub(super) outline: Outline,
    /// Length of all extended headers.
    pub(super) extended_bytes: u64,
}

impl ArchivePlan {
    /// Length of the archive that is written with `options`.
    pub fn bytes_with(&self, options: Options) -> u64 {
        if options.attributes { self.stream_with_attributes_bytes } else { self.stream_bytes }
    }
}

/// What [`write`](crate::volume::tree::read::write_archive::write_archive) did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Totals {
    /// Length of the archive in bytes. Differs from the plan only when the filesystem changed its mind
    /// about where holes are.
    pub stream_bytes: u64,
    /// How many files, directories, links and so on are in it.
    pub entries: u64,
}
