//! The result of `stat` for one entry, in types that are the same on all processors.

use rustix::fs::{FileType, Stat, major, minor};

/// The part of a `stat` result that an archive, its plan or its checks need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) file_type: FileType,
    /// Permission bits with setuid, setgid and sticky.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) size_bytes: u64,
    /// Allocated space, in units of 512 bytes. Filesystems may report 0 for a file with data.
    pub(crate) allocated_blocks: u64,
    pub(crate) mtime_seconds: i64,
    pub(crate) mtime_nanoseconds: u32,
    /// The time of the last change of anything about it, including its name: seconds and nanoseconds.
    pub(crate) ctime: (i64, u32),
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) links: u64,
    /// Major and minor number of a device node.
    pub(crate) node: (u32, u32),
}

impl Meta {
    /// Reads a `stat` result. Values that no filesystem reports (a negative size) become 0.
    // The types of the fields depend on the processor, so some conversions are only needed on some.
    #[allow(clippy::useless_conversion, clippy::unnecessary_fallible_conversions)]
    pub(crate) fn of(stat: &Stat) -> Self {
        Self {
            file_type: FileType::from_raw_mode(stat.st_mode),
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            size_bytes: u64::try_from(stat.st_size).unwrap_or(0),
            allocated_blocks: u64::try_from(stat.st_blocks).unwrap_or(0),
            mtime_seconds: i64::from(stat.st_mtime),
            mtime_nanoseconds: u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
            ctime: (i64::from(stat.st_ctime), u32::try_from(stat.st_ctime_nsec).unwrap_or(0)),
            device: u64::from(stat.st_dev),
            inode: u64::from(stat.st_ino),
            links: u64::from(stat.st_nlink),
            node: (major(stat.st_rdev), minor(stat.st_rdev)),
        }
    }

    /// Device and inode, which identify a file.
    pub(crate) fn identity(&self) -> (u64, u64) {
        (self.device, self.inode)
    }

    /// Whether `later`, another result for the same name, describes the same file. Filesystems that generate inode
    /// numbers (FUSE, overlayfs) may change them between two calls. Then times, size and type decide.
    pub(crate) fn is_same_file(&self, later: &Self) -> bool {
        let without_numbers = |meta: &Self| Self { device: 0, inode: 0, allocated_blocks: 0, ..*meta };
        self.identity() == later.identity() || without_numbers(self) == without_numbers(later)
    }

    /// Whether the content may have changed between two results for the same file.
    pub(crate) fn content_differs(&self, later: &Self) -> bool {
        (self.size_bytes, self.mtime_seconds, self.mtime_nanoseconds)
            != (later.size_bytes, later.mtime_seconds, later.mtime_nanoseconds)
    }

    /// Whether the allocated space of the file is less than its size, so that it may have holes. The rule is GNU tar's:
    /// a partial block counts, but a file that is smaller than one block has no holes.
    pub(crate) fn may_have_holes(&self) -> bool {
        self.size_bytes >= 512 && self.allocated_blocks < self.size_bytes.div_ceil(512)
    }
}
