//! Reads and writes volumes. Both ends use this module.
//!
//! [`Volume`] is a volume that is open for reading. It is opened once and measured before the first byte is sent.
//! [`image`] writes a disk image. [`tree`] reads and writes a directory.

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
pub mod reflink;
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
use crate::volume::tree::read::scan;
use crate::volume::tree::read::write_archive;

/// A volume that is open for reading.
pub struct Volume {
    path: PathBuf,
    kind: Opened,
}

enum Opened {
    /// A directory and the plan of its archive.
    Directory { root: OwnedFd, options: Options, plan: Box<ArchivePlan> },
    /// A device or file with its size, and a stamp that changes when its content is changed.
    Raw { file: File, size_bytes: u64, stamp: Stamp },
    /// A character device, whose size is unknown.
    Stream(File),
}

impl Volume {
    /// Opens `path` and measures its stream. `options` apply to a directory: whether its files keep their holes, and
    /// whether its attributes are measured.
    pub fn open(path: &Path, content: ContentType, options: Options, stop: &Stop) -> Result<Self> {
        let kind = match content {
            ContentType::Filesystem => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
                let root = rustix::fs::open(path, flags, Mode::empty()).map_err(|e| match e {
                    Errno::NOTDIR => Error::new(
                        Kind::Source,
                        format!("{} is not a directory, which {content} needs", path.display()),
                    ),
                    e => Error::source("open the directory", path, e.into()),
                })?;
                return Self::of_directory(root, path, options, stop);
            }
            ContentType::Block => open_raw(path)?,
        };
        Ok(Self { path: path.to_owned(), kind })
    }

    /// Like [`Self::open`], for an open directory. `path` is only for messages.
    pub fn of_directory(root: OwnedFd, path: &Path, options: Options, stop: &Stop) -> Result<Self> {
        let plan = scan(&root, path, options, stop)?;
        warn_of_remains(&root, path);
        Ok(Self { path: path.to_owned(), kind: Opened::Directory { root, options, plan: Box::new(plan) } })
    }

    /// The number of logical bytes of the stream, for progress; `None` if it is unknown before the end. With
    /// `attributes`, the number is that of an archive with attributes.
    pub fn stream_bytes(&self, attributes: bool) -> Option<u64> {
        match &self.kind {
            Opened::Directory { options, plan, .. } => {
                Some(plan.bytes_with(Options { attributes, ..*options }))
            }
            Opened::Raw { size_bytes, .. } => Some(*size_bytes),
            Opened::Stream(_) => None,
        }
    }

    /// Attributes of a directory that only an archive with attributes contains; `None` if there are none.
    pub fn only_in_attributes(&self) -> Option<&NotKept> {
        match &self.kind {
            Opened::Directory { plan, .. } => Some(&plan.only_in_attributes).filter(|lost| !lost.is_empty()),
            Opened::Raw { .. } | Opened::Stream(_) => None,
        }
    }

    /// The exact length of the stream, if it is certain. It never is for a directory: a filesystem may report other
    /// holes at any time, without a change of the content.
    pub fn certain_bytes(&self) -> Option<u64> {
        match &self.kind {
            Opened::Raw { size_bytes, .. } => Some(*size_bytes),
            Opened::Directory { .. } | Opened::Stream(_) => None,
        }
    }

    /// Reads the stream into `sink`. A device or file is read from `start_bytes` on. An archive always starts at its
    /// beginning, and contains attributes if `attributes` is set.
    pub fn read(&self, start_bytes: u64, attributes: bool, sink: &mut dyn Sink, stop: &Stop) -> Result<()> {
        match &self.kind {
            Opened::Directory { root, options, plan } => {
                let options = Options { attributes, ..*options };
                write_archive(root, &self.path, options, plan, sink, stop).map(drop)
            }
            Opened::Raw { file, size_bytes, stamp } => {
                let from = start_bytes.min(*size_bytes);
                read_raw(file, &self.path, from..*size_bytes, *stamp, sink)
            }
            Opened::Stream(file) => read_stream(file, &self.path, sink),
        }
    }

    /// The current digest of segment `index` of a device or file of `total_bytes`, see [`Volume::certain_bytes`].
    pub fn segment(&self, index: u64, total_bytes: u64, stop: &Stop) -> Result<Digest> {
        let Opened::Raw { file, .. } = &self.kind else {
            return Err(Error::new(
                Kind::Failed,
                "only a device or file has segments that can be read alone",
            ));
        };
        let start = index * SEGMENT_BYTES;
        let mut hashing = HashingSink::new(stop, &|_| {});
        read_range(file, &self.path, start..total_bytes.min(start + SEGMENT_BYTES), &mut hashing)?;
        hashing.segments().finish();
        let run = hashing.segments().next_complete();
        run.map(|run| run.digest).ok_or_else(|| Error::new(Kind::Failed, "the segment is empty"))
    }

    /// The current digests of the first `count` whole segments of a directory's content, or of all segments if there
    /// are fewer. `seen` is called with the length of every read.
    pub fn first_segments(&self, count: usize, stop: &Stop, seen: &dyn Fn(u64)) -> Result<Vec<Digest>> {
        let mut hashing = HashingSink::first(count, stop, seen);
        match self.read_into(u64::MAX, &mut hashing, stop) {
            Err(error) if !hashing.is_full() => Err(error),
            _ => Ok(hashing.complete(count)),
        }
    }

    /// Reads the content into `sink`, for its digest. Reads only the first `limit_bytes` of a device or file.
    pub fn read_into(&self, limit_bytes: u64, sink: &mut dyn Sink, stop: &Stop) -> Result<()> {
        match &self.kind {
            Opened::Directory { root, options, plan } => {
                let options = Options { attributes: false, ..*options };
                write_archive(root, &self.path, options, plan, sink, stop).map(drop)
            }
            Opened::Raw { file, size_bytes, stamp } => {
                read_raw(file, &self.path, 0..limit_bytes.min(*size_bytes), *stamp, sink)
            }
            Opened::Stream(file) => read_stream(file, &self.path, sink),
        }
    }
}

/// Warns about entries that are left out: the remains of a killed clone into this directory, and a `lost+found` that is
/// not empty.
fn warn_of_remains(root: &OwnedFd, path: &Path) {
    let image = temporary_name(DISK_IMAGE.as_ref());
    for name in names_for(STAGING_NAME.as_ref()).chain(names_for(&image)) {
        if rustix::fs::statat(root, &name, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
            let path = path.join(name);
            log::warn!("left out {}: a clone into this directory was killed and left it", path.display());
        }
    }
    if holds_something(root, "lost+found") {
        let path = path.join("lost+found");
        log::warn!("left out {}: this name belongs to the filesystem; rename it to clone it", path.display());
    }
}

/// Whether `name` exists and is not an empty directory. A directory that this process may not read counts as empty:
/// only root can read the filesystem's `lost+found`.
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
            format!(
                "{} is a directory, but {} needs a block device or a file",
                path.display(),
                ContentType::Block
            ),
        ));
    }
    if kind.is_fifo() || kind.is_socket() {
        // Opening or reading a pipe can block forever, and its end may only mean that its writer was killed.
        let path = path.display();
        return Err(Error::new(Kind::Source, format!("{path} is a pipe or socket: those cannot be cloned")));
    }
    let mut file = File::open(path).map_err(|e| match e.kind() {
        ErrorKind::PermissionDenied if kind.is_block_device() => {
            Error::no_device_permission(Kind::Source, "read", path, e)
        }
        _ => fail("open", e),
    })?;
    if kind.is_file() || kind.is_block_device() {
        let size_bytes = file.seek(SeekFrom::End(0)).map_err(|e| fail("measure", e))?;
        // Advice only: it makes the kernel read further ahead.
        let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::Sequential);
        let stamp = Stamp::of(&file, path)?;
        return Ok(Opened::Raw { file, size_bytes, stamp });
    }
    Ok(Opened::Stream(file))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_lost_and_found_with_content_is_noticed() {
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
