//! What is asked of an archive, and what is known about it before and after.

/// How to store files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Leave holes out. `false` when preallocation was requested: then every file is stored in full.
    pub sparse: bool,
}

/// What [`scan`](super::scan::scan) found: what [`write`](super::write::write) is going to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Length of the whole archive in bytes.
    pub stream_bytes: u64,
    /// How many files, folders, links and so on are in it.
    pub entries: u64,
    pub(super) fingerprint: u64,
}

/// What [`write`](super::write::write) did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Totals {
    /// Length of the archive in bytes. Differs from the plan only when the filesystem changed its mind
    /// about where holes are.
    pub stream_bytes: u64,
    /// How many files, folders, links and so on are in it.
    pub entries: u64,
}
