//! A member of an archive, independent of the format of its headers.

use crate::attributes::{Kinds, Moment, Xattr};

/// Longest path of an entry below the root of a volume, in bytes: four times the longest path in a system call
/// (`PATH_MAX`). Programs that descend step by step create trees that are deeper than `PATH_MAX`. There is a limit
/// because each level costs a reader of the archive as much as a file.
pub const PATH_LIMIT_BYTES: usize = 16 << 10;

/// Longest name in a GNU long-name member, in bytes. Linux accepts 4,096 bytes.
pub const MAX_NAME_BYTES: u64 = 64 << 10;

/// The type of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file, sparse or not.
    File,
    /// A directory.
    Directory,
    /// A symbolic link to [`Entry::link`].
    Symlink,
    /// Another name of the previous member [`Entry::link`].
    HardLink,
    /// A named pipe.
    Fifo,
    /// A character device of this major and minor number.
    CharDevice(u32, u32),
    /// A block device of this major and minor number.
    BlockDevice(u32, u32),
}

/// A member as the archive describes it. Nothing is checked: the name may lead out of the target directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name, byte for byte.
    pub name: Vec<u8>,
    /// The type.
    pub kind: EntryKind,
    /// The target of a link; else empty.
    pub link: Vec<u8>,
    /// Length of the content with all holes, in bytes; 0 for everything but files.
    pub size_bytes: u64,
    /// Permission bits with setuid, setgid and sticky: 12 bits.
    pub mode: u32,
    /// Owner; `None` if the archive has no valid user id.
    pub uid: Option<u32>,
    /// Group; `None` if the archive has no valid group id.
    pub gid: Option<u32>,
    /// When the content was last modified.
    pub modified: Moment,
    /// Extended attributes, access control lists and capabilities, in the order of the archive.
    pub xattrs: Vec<Xattr>,
    /// Attributes that the entry has at the source but not here: they were not sent, or have an unsupported format.
    pub unsent: Kinds,
}

#[cfg(test)]
impl Entry {
    /// A directory entry without an owner.
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
