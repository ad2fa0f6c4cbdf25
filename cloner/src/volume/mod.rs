//! Everything that touches a volume. Both ends use it.
//!
//! [`Volume`] is a volume that is open for reading: it is opened once and measured before a byte is sent. [`image`] writes a
//! disk image, [`tree`] reads and writes a directory.

pub mod close;
pub mod destination;
pub(crate) mod free_space;
pub mod hashing;
pub mod holes;
pub mod image;
pub mod layout;
pub mod optional_calls;
pub mod page_cache;
pub mod raw;
pub(crate) mod remove;
pub mod tree;
pub mod writer_lock;
pub mod xattrs;

use std::fs::File;
use std::io::{ErrorKind, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use decant_shared::process::stop::Stop;
use decant_shared::protocol::cdi::{ContentType, DISK_IMAGE};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use crate::attributes::not_kept::NotKept;
use crate::digest::{Digest, SEGMENT_BYTES};
use crate::error::{Error, Kind, Result};
use crate::stream::Sink;
use crate::volume::hashing::HashingSink;
use crate::volume::layout::{STAGING_NAME, names_for, temporary_name};
use crate::volume::raw::{Stamp, read_range, read_raw, read_stream};
use crate::volume::tree::read::plan::{ArchivePlan, Options};
use crate::volume::tree::read::scan::scan;
use crate::volume::tree::read::write_archive::write_archive;

/// A volume that is open for reading.
pub struct Volume {
    path: PathBuf,
    kind: Opened,
}

enum Opened {
    /// A directory and the plan of its archive.
    Directory(OwnedFd, Options, Box<ArchivePlan>),
    /// A device or file of this size, and what shows that it was written to.
    Raw(File, u64, Stamp),
    /// A character device, which can only be read to its end.
    Stream(File),
}

impl Volume {
    /// Opens `path` and measures the stream that it will give. `options` are for a directory: whether its files keep their
    /// holes, and whether its attributes are measured, too.
    pub fn open(path: &Path, content: ContentType, options: Options, stop: &Stop) -> Result<Self> {
        let kind = match content {
            ContentType::Filesystem => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
                let root = rustix::fs::open(path, flags, Mode::empty()).map_err(|e| match e {
                    Errno::NOTDIR => Error::new(
                        Kind::Source,
                        format!("{} is not a folder; for {content} it must be one", path.display()),
                    ),
                    e => Error::source("open the folder", path, e.into()),
                })?;
                return Self::of_directory(root, path, options, stop);
            }
            ContentType::Block => open_raw(path)?,
        };
        Ok(Self { path: path.to_owned(), kind })
    }

    /// The same for a directory that is open already; `path` is for messages alone.
    pub fn of_directory(root: OwnedFd, path: &Path, options: Options, stop: &Stop) -> Result<Self> {
        let plan = scan(&root, path, options, stop)?;
        warn_of_remains(&root, path);
        Ok(Self { path: path.to_owned(), kind: Opened::Directory(root, options, Box::new(plan)) })
    }

    /// Logical bytes of the stream, for progress; `None` when only reading will tell. `attributes`: of an archive with
    /// those.
    pub fn stream_bytes(&self, attributes: bool) -> Option<u64> {
        match &self.kind {
            Opened::Directory(_, options, plan) => Some(plan.bytes_with(Options { attributes, ..*options })),
            Opened::Raw(_, size_bytes, _) => Some(*size_bytes),
            Opened::Stream(_) => None,
        }
    }

    /// What a directory has that only an archive with attributes holds; `None` if there is nothing.
    pub fn only_in_attributes(&self) -> Option<&NotKept> {
        match &self.kind {
            Opened::Directory(_, _, plan) => Some(&plan.only_in_attributes).filter(|lost| !lost.is_empty()),
            Opened::Raw(..) | Opened::Stream(_) => None,
        }
    }

    /// Logical bytes that the stream will have for certain. For a directory there are none: filesystems may tell
    /// other holes from one moment to the next, without any change of content.
    pub fn certain_bytes(&self) -> Option<u64> {
        match &self.kind {
            Opened::Raw(_, size_bytes, _) => Some(*size_bytes),
            Opened::Directory(..) | Opened::Stream(_) => None,
        }
    }

    /// Reads the stream into `sink`: a device or file from `start_bytes` on. An archive is always made from its start;
    /// `attributes` become part of it.
    pub fn read(&self, start_bytes: u64, attributes: bool, sink: &mut dyn Sink, stop: &Stop) -> Result<()> {
        match &self.kind {
            Opened::Directory(root, options, plan) => {
                let options = Options { attributes, ..*options };
                write_archive(root, &self.path, options, plan, sink, stop).map(drop)
            }
            Opened::Raw(file, size_bytes, stamp) => {
                let from = start_bytes.min(*size_bytes);
                read_raw(file, &self.path, (from, *size_bytes), *stamp, sink)
            }
            Opened::Stream(file) => read_stream(file, &self.path, sink),
        }
    }

    /// The digest of segment `index` as it is now. Only where [`Volume::certain_bytes`] knows `total_bytes`.
    pub fn segment(&self, index: u64, total_bytes: u64, stop: &Stop) -> Result<Digest> {
        let Opened::Raw(file, ..) = &self.kind else {
            return Err(Error::new(Kind::Failed, "only a device or file has segments"));
        };
        let start = index * SEGMENT_BYTES;
        let mut hashing = HashingSink::new(stop, &|_| {});
        read_range(file, &self.path, start..total_bytes.min(start + SEGMENT_BYTES), &mut hashing)?;
        hashing.segments().finish();
        let run = hashing.segments().next_complete();
        run.map(|run| run.digest).ok_or_else(|| Error::new(Kind::Failed, "an empty segment"))
    }

    /// The digests of the first `count` segments of a directory's content as it is now, or of fewer if it has no more. A
    /// segment that is not whole does not count. `seen` is told of every read, in bytes.
    pub fn first_segments(&self, count: usize, stop: &Stop, seen: &dyn Fn(u64)) -> Result<Vec<Digest>> {
        let mut hashing = HashingSink::first(count, stop, seen);
        match self.read_into(u64::MAX, &mut hashing, stop) {
            Err(error) if !hashing.is_full() => Err(error),
            _ => Ok(hashing.complete(count)),
        }
    }

    /// Puts it into `sink`, of a device or file at most the first `limit_bytes`: for its digest.
    pub fn read_into(&self, limit_bytes: u64, sink: &mut dyn Sink, stop: &Stop) -> Result<()> {
        match &self.kind {
            Opened::Directory(root, options, plan) => {
                let options = Options { attributes: false, ..*options };
                write_archive(root, &self.path, options, plan, sink, stop).map(drop)
            }
            Opened::Raw(file, size_bytes, stamp) => {
                read_raw(file, &self.path, (0, limit_bytes.min(*size_bytes)), *stamp, sink)
            }
            Opened::Stream(file) => read_stream(file, &self.path, sink),
        }
    }
}

/// What a killed clone into this directory left is no part of it, and nobody should wonder where it went.
fn warn_of_remains(root: &OwnedFd, path: &Path) {
    let image = temporary_name(DISK_IMAGE.as_ref());
    for name in names_for(STAGING_NAME.as_ref()).chain(names_for(&image)) {
        if rustix::fs::statat(root, &name, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
            let path = path.join(name);
            log::warn!("left out {}: a clone into this folder was killed and left it", path.display());
        }
    }
    if holds_something(root, "lost+found") {
        let path = path.join("lost+found");
        log::warn!("left out {}: it is kept for the filesystem; rename it to clone it", path.display());
    }
}

/// Whether `name` is anything but an empty directory. One that may not be read counts as empty: a filesystem's own is
/// closed to all but root.
fn holds_something(root: &OwnedFd, name: &str) -> bool {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(root, name, flags, Mode::empty());
    match opened.and_then(rustix::fs::Dir::new) {
        Ok(mut entries) => entries
            .any(|entry| entry.is_ok_and(|entry| !matches!(entry.file_name().to_bytes(), b"." | b".."))),
        Err(Errno::NOTDIR | Errno::LOOP) => true,
        Err(_) => false,
    }
}

fn open_raw(path: &Path) -> Result<Opened> {
    let fail = |doing: &str, e| Error::source(doing, path, e);
    let kind = path.metadata().map_err(|e| fail("find", e))?.file_type();
    if kind.is_dir() {
        return Err(Error::new(
            Kind::Source,
            format!("{} is a folder; {} needs a block device or a file", path.display(), ContentType::Block),
        ));
    }
    if kind.is_fifo() || kind.is_socket() {
        // Opening or reading one can block for ever, and its end may only mean that its writer died.
        let path = path.display();
        return Err(Error::new(Kind::Source, format!("{path} is a pipe or socket, which cannot be cloned")));
    }
    let mut file = File::open(path).map_err(|e| match e.kind() {
        ErrorKind::PermissionDenied if kind.is_block_device() => {
            Error::no_device_permission(Kind::Source, "read", path, e)
        }
        _ => fail("open", e),
    })?;
    if kind.is_file() || kind.is_block_device() {
        let size_bytes = file.seek(SeekFrom::End(0)).map_err(|e| fail("measure", e))?;
        // Only a hint; the kernel reads ahead further.
        let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::Sequential);
        let stamp = Stamp::of(&file, path)?;
        return Ok(Opened::Raw(file, size_bytes, stamp));
    }
    Ok(Opened::Stream(file))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_lost_and_found_that_is_left_out_and_holds_something_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let root = || OwnedFd::from(File::open(directory.path()).unwrap());
        let found = || holds_something(&root(), "lost+found");
        let path = directory.path().join("lost+found");
        assert!(!found());
        fs::create_dir(&path).unwrap();
        assert!(!found(), "the filesystem's own");
        fs::write(path.join("#12"), "x").unwrap();
        assert!(found());
        fs::remove_dir_all(&path).unwrap();
        fs::write(&path, "x").unwrap();
        assert!(found());
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/", &path).unwrap();
        assert!(found());
    }
}
