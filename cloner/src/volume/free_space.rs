//! The free space of a filesystem, for messages about a full filesystem.

use decant_shared::protocol::units::Bytes;
use rustix::fd::AsFd;
use rustix::fs::{StatVfs, fstatvfs};

/// The size of a filesystem and its free space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FreeSpace {
    pub(crate) total_bytes: u64,
    /// Bytes that this process may use.
    pub(crate) free_bytes: u64,
    /// The number of files that it can hold; 0 if this number is not fixed.
    files: u64,
    /// The number of files that this process may still create.
    free_files: u64,
}

impl FreeSpace {
    /// The free space of the filesystem of `fd`; `None` if it is unknown.
    pub(crate) fn of(fd: impl AsFd) -> Option<Self> {
        fstatvfs(fd).ok().as_ref().map(Self::from)
    }

    /// The number of files that the filesystem can hold, if no inodes are left: then freeing bytes does not help.
    fn used_up_files(self) -> Option<u64> {
        (self.files > 0 && self.free_files == 0).then_some(self.files)
    }

    /// The free space in bytes, and whether no inodes are left.
    pub(crate) fn in_bytes(self) -> String {
        let Self { total_bytes, free_bytes, .. } = self;
        let inodes = self.inodes();
        format!("the filesystem has {inodes}{free_bytes} of {total_bytes} bytes free")
    }

    /// The same text with rounded sizes.
    pub(crate) fn rounded(self) -> String {
        let inodes = self.inodes();
        format!("the volume has {inodes}{}, {} free", Bytes(self.total_bytes), Bytes(self.free_bytes))
    }

    fn inodes(self) -> String {
        self.used_up_files().map_or_else(String::new, |files| {
            format!("no inodes left (of {files}: it can hold no more files), and ")
        })
    }
}

impl From<&StatVfs> for FreeSpace {
    fn from(found: &StatVfs) -> Self {
        Self {
            total_bytes: found.f_blocks.saturating_mul(found.f_frsize),
            free_bytes: found.f_bavail.saturating_mul(found.f_frsize),
            files: found.f_files,
            free_files: found.f_favail.min(found.f_ffree),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lack_of_inodes_is_shown() {
        let room = FreeSpace { total_bytes: 4096, free_bytes: 1024, files: 64, free_files: 1 };
        assert_eq!(room.in_bytes(), "the filesystem has 1024 of 4096 bytes free");
        let none = FreeSpace { free_files: 0, ..room };
        let text = "the filesystem has no inodes left (of 64: it can hold no more files), and 1024 of 4096 bytes free";
        assert_eq!(none.in_bytes(), text);
        assert!(none.rounded().starts_with("the volume has no inodes left (of 64"));
        // Filesystems that create inodes on demand have no fixed number of them.
        assert!(!FreeSpace { files: 0, ..none }.in_bytes().contains("inodes"));
    }
}
