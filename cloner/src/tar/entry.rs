//! A member of an archive, apart from the format that told about it.

use crate::attributes::{Kinds, Moment, Xattr};

/// Longest path of an entry below the root of a volume, in bytes: four times what Linux takes at once (`PATH_MAX`). Programs
/// that go step by step make deeper trees than `PATH_MAX`, but each step costs a reader of the archive as much as a whole
/// file, so there is an end.
pub const PATH_LIMIT_BYTES: usize = 16 << 10;

/// Longest name in a GNU long-name member, in bytes. Linux takes 4,096.
pub const MAX_NAME_BYTES: u64 = 64 << 10;

/// What a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file, sparse or not.
    File,
    /// A directory.
    Directory,
    /// A symbolic link to [`Entry::link`].
    Symlink,
    /// Another name of the earlier member [`Entry::link`].
    HardLink,
    /// A named pipe.
    Fifo,
    /// A character device of this major and minor number.
    CharDevice(u32, u32),
    /// A block device of this major and minor number.
    BlockDevice(u32, u32),
}

/// A member as the archive describes it. Nothing in it has been judged: names may lead anywhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name, byte for byte.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: EntryKind,
    /// Where a link leads; empty for everything else.
    pub link: Vec<u8>,
    /// Length of the content with all holes, in bytes; 0 for everything but files.
    pub size_bytes: u64,
    /// Permission bits with setuid, setgid and sticky: 12 bits.
    pub mode: u32,
    /// Owner; `None` when the archive says something that is no user id.
    pub uid: Option<u32>,
    /// Group; `None` when the archive says something that is no group id.
    pub gid: Option<u32>,
    /// When the content was last modified.
    pub modified: Moment,
    /// Its extended attributes, access control lists and capabilities, in the archive's order.
    pub xattrs: Vec<Xattr>,
    /// What it had at the source and does not have here: not sent, or in a form that is not read.
    pub unsent: Kinds,
}

#[cfg(test)]
impl Entry {
    /// A directory of nobody's.
    pub(crate) fn directory(name: &[u8]) -> Self {
        Self {
            name: name.to_vec(),
            kind: EntryKind::Directory,
            link: Vec::new(),
            size_bytes: 0,
            mode: 0o755,
            uid: None,
            gid: None,
            modified: Moment { seconds: 0, nanoseconds: 0 },
            xattrs: Vec::new(),
            unsent: Kinds::default(),
        }
    }
}
