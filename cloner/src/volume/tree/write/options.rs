//! How a tree is written, and what was.

use crate::attributes::not_kept::NotKept;

/// What to do besides writing names and content.
#[derive(Debug, Clone, Copy, Default)]
pub struct UnpackOptions {
    /// Allocate every byte of every file; no holes.
    pub preallocate: bool,
    /// Restore owners and groups. Otherwise they stay those of this process, and are counted where they differ.
    pub own: bool,
    /// The archive says everything about its entries, so that they do not get what the target directory hands down: its
    /// default access control list.
    pub is_exact: bool,
    /// Go on with what an attempt before left, which the stream passes over.
    pub resume: bool,
    /// Leave what was written when the stream ends early, for an attempt that goes on.
    pub keep_partial: bool,
    /// The directory that is unpacked into was made by this copy, and goes again with it.
    pub is_made: bool,
}

/// What was written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unpacked {
    /// Regular files.
    pub files: u64,
    /// Directories, symbolic and hard links, pipes and devices.
    pub others: u64,
    /// Members in `lost+found`, which belongs to the filesystem and not to the volume's user.
    pub skipped: u64,
    /// Content of the files with their holes, in bytes.
    pub content_bytes: u64,
    /// What could not be kept, for want of permission or because the filesystem cannot hold it.
    pub not_kept: NotKept,
}
