//! How much room a filesystem has left, in the words of messages about one that is full.

use decant_shared::protocol::units::Bytes;
use rustix::fd::AsFd;
use rustix::fs::{StatVfs, fstatvfs};

/// What a filesystem says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FreeSpace {
    /// Size in bytes.
    pub(crate) total_bytes: u64,
    /// Bytes that this process may use.
    pub(crate) free_bytes: u64,
    /// Files that it can hold; 0 where that is no fixed number.
    files: u64,
    /// Files that can still be made by this process.
    free_files: u64,
}

impl FreeSpace {
    /// That of the filesystem on which `fd` is; `None` where it does not tell.
    pub(crate) fn of(fd: impl AsFd) -> Option<Self> {
        fstatvfs(fd).ok().as_ref().map(Self::from)
    }

    /// The number of files that it can hold, where that is what it has run out of: then there are bytes left, and freeing some
    /// does not help.
    fn used_up_files(self) -> Option<u64> {
        (self.files > 0 && self.free_files == 0).then_some(self.files)
    }

    /// What is left, in bytes; or that there are no inodes.
    pub(crate) fn in_bytes(self) -> String {
        let Self { total_bytes, free_bytes, .. } = self;
        let inodes = self.inodes();
        format!("the filesystem has {inodes}{free_bytes} of {total_bytes} bytes free")
    }

    /// The same with rounded sizes.
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
    fn inodes_are_told_where_they_are_what_is_missing() {
        let room = FreeSpace { total_bytes: 4096, free_bytes: 1024, files: 64, free_files: 1 };
        assert_eq!(room.in_bytes(), "the filesystem has 1024 of 4096 bytes free");
        let none = FreeSpace { free_files: 0, ..room };
        let text = "the filesystem has no inodes left (of 64: it can hold no more files), and 1024 of 4096 bytes free";
        assert_eq!(none.in_bytes(), text);
        assert!(none.rounded().starts_with("the volume has no inodes left (of 64"));
        // Where files are made as they are needed there is no number of them.
        assert!(!FreeSpace { files: 0, ..none }.in_bytes().contains("inodes"));
    }
}
