//! Reads the metadata of an entry, and opens it. Does not assume that it is still the entry that the directory listed.

use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use decant_shared::process::stop::Stop;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, fstat, openat, statat};
use rustix::io::Errno;

use crate::attributes::meta::Meta;
use crate::error::{Error, Kind, Result};

/// Flags for opening directories.
pub(super) const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// Flags for opening files: never follow a symlink, and never block on a fifo that has replaced the file.
const FILE: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

/// How long to wait for a file with a lease. The kernel breaks a lease after 45 s, or after the time in
/// `/proc/sys/fs/lease-break-time`.
const LEASE_PATIENCE: Duration = Duration::from_secs(90);
/// The pause between two attempts to open the file.
const LEASE_PAUSE: Duration = Duration::from_millis(50);

/// A directory entry that the walk found.
pub(super) struct Found<'a> {
    /// The open directory that contains the entry.
    pub(super) dir: BorrowedFd<'a>,
    /// The name of the entry there.
    pub(super) name: &'a CStr,
    /// The type of the entry according to the directory. It may be `Unknown` or outdated.
    pub(super) file_type: FileType,
    /// The path of the entry from the root of the walk.
    pub(super) member: &'a [u8],
    /// The path of the entry, for messages.
    pub(super) full: &'a [u8],
    /// Ends a wait for the entry.
    pub(super) stop: &'a Stop,
}

/// The metadata of an entry, and its descriptor if it was opened.
pub(super) struct OpenedEntry {
    pub(super) meta: Meta,
    pub(super) fd: Option<OwnedFd>,
}

impl Found<'_> {
    /// The path for messages.
    pub(super) fn path(&self) -> &Path {
        Path::new(OsStr::from_bytes(self.full))
    }

    /// The path of the walk's root, for messages.
    pub(super) fn root(&self) -> &Path {
        let len = self.full.len().saturating_sub(self.member.len() + 1);
        Path::new(OsStr::from_bytes(if len == 0 { b"/" } else { &self.full[..len] }))
    }

    /// Reads the metadata of the entry. Opens it if it is a directory, or if it is a file and `open_files` is set. The
    /// metadata is then that of the descriptor.
    pub(super) fn lstat(&self, open_files: bool) -> Result<OpenedEntry> {
        match self.file_type {
            FileType::Directory => return self.open(DIRECTORY, FileType::Directory),
            FileType::RegularFile if open_files => return self.open(FILE, FileType::RegularFile),
            _ => {}
        }
        let stat = statat(self.dir, self.name, AtFlags::SYMLINK_NOFOLLOW);
        let meta = Meta::of(&stat.map_err(|errno| self.failed("read the metadata of", errno))?);
        match meta.file_type {
            FileType::Directory => self.open(DIRECTORY, meta.file_type),
            FileType::RegularFile if open_files => self.open(FILE, meta.file_type),
            _ => Ok(OpenedEntry { meta, fd: None }),
        }
    }

    /// Opens the file that `meta` describes.
    pub(super) fn open_same(&self, meta: &Meta) -> Result<File> {
        let looked = self.open(FILE, FileType::RegularFile)?;
        match looked.fd {
            Some(fd) if meta.is_same_file(&looked.meta) => Ok(File::from(fd)),
            _ => Err(self.changed("was replaced while it was read")),
        }
    }

    /// Opens the file, or the entry that has replaced it; `None` if that fails.
    pub(super) fn open_file(&self) -> Option<OwnedFd> {
        openat(self.dir, self.name, FILE, Mode::empty()).ok()
    }

    /// The error that the source changed. `how` follows the path in the message.
    pub(super) fn changed(&self, how: &str) -> Error {
        Error::new(Kind::SourceChanged, format!("{} {how}", self.path().display()))
    }

    /// The error that an open file no longer has its name.
    pub(super) fn gone(&self) -> Error {
        match statat(self.dir, self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(errno) => self.failed("read the metadata of", errno),
            Ok(_) => self.changed("was replaced while its directory was read"),
        }
    }

    /// The error of a system call on this entry. The entry existed a moment before: if it is missing or has another
    /// type now, the source changed.
    pub(super) fn failed(&self, doing: &str, errno: Errno) -> Error {
        match errno {
            Errno::NOENT => self.changed("vanished while its directory was read"),
            Errno::LOOP | Errno::NOTDIR | Errno::NXIO => {
                self.changed("was replaced while its directory was read")
            }
            other => Error::source(doing, self.path(), other.into()),
        }
    }

    /// Opens the entry. Waits for a file with a write lease (Samba's oplocks): the first attempt makes the kernel break
    /// the lease. Programs that open such a file without O_NONBLOCK wait in the kernel.
    fn open_patiently(&self, flags: OFlags) -> Result<OwnedFd> {
        let began = Instant::now();
        loop {
            match openat(self.dir, self.name, flags, Mode::empty()) {
                Err(Errno::AGAIN) if began.elapsed() < LEASE_PATIENCE => {
                    Error::check(self.stop)?;
                    self.stop.sleep(LEASE_PAUSE);
                }
                Err(Errno::AGAIN) => {
                    let path = self.path().display();
                    let secs = LEASE_PATIENCE.as_secs();
                    let text = format!(
                        "cannot open {path}: another program has held a lease on it for {secs} s; close the file there"
                    );
                    return Err(Error::new(Kind::Source, text));
                }
                opened => return opened.map_err(|errno| self.failed("open", errno)),
            }
        }
    }

    fn open(&self, flags: OFlags, expected: FileType) -> Result<OpenedEntry> {
        let fd = self.open_patiently(flags)?;
        let meta = meta_of(&fd, self.path())?;
        if meta.file_type != expected {
            return Err(self.changed("was replaced while its directory was read"));
        }
        Ok(OpenedEntry { meta, fd: Some(fd) })
    }
}

/// Opens a regular file before its turn; `None` if that fails.
pub(super) fn open_quietly(dir: BorrowedFd<'_>, name: &CStr) -> Option<OpenedEntry> {
    let fd = openat(dir, name, FILE, Mode::empty()).ok()?;
    let meta = Meta::of(&fstat(&fd).ok()?);
    (meta.file_type == FileType::RegularFile).then_some(OpenedEntry { meta, fd: Some(fd) })
}

/// The metadata of an open file.
pub(super) fn meta_of(fd: impl AsFd, path: &Path) -> Result<Meta> {
    match fstat(fd) {
        Ok(stat) => Ok(Meta::of(&stat)),
        Err(errno) => Err(Error::source("read the metadata of", path, errno.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, create_dir, hard_link};
    use std::os::unix::fs::symlink;

    /// The result for `name` in a directory with one entry of each kind.
    fn lstat(name: &CStr, told: FileType, open_files: bool) -> Result<OpenedEntry> {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("file"), "x").unwrap();
        create_dir(directory.path().join("folder")).unwrap();
        symlink("folder", directory.path().join("link")).unwrap();
        let dir = File::open(directory.path()).unwrap();
        let member = name.to_bytes();
        let full = name.to_bytes();
        Found { dir: dir.as_fd(), name, file_type: told, member, full, stop: &Stop::new() }.lstat(open_files)
    }

    #[test]
    fn an_unknown_type_is_looked_up() {
        for (name, is, opened) in [
            (c"file", FileType::RegularFile, true),
            (c"folder", FileType::Directory, true),
            (c"link", FileType::Symlink, false),
        ] {
            let looked = lstat(name, FileType::Unknown, true).unwrap();
            assert_eq!((looked.meta.file_type, looked.fd.is_some()), (is, opened));
        }
        assert!(lstat(c"file", FileType::RegularFile, false).unwrap().fd.is_none());
    }

    #[test]
    fn an_entry_of_another_type_than_listed_is_a_change() {
        for (name, told) in [
            (c"folder", FileType::RegularFile),
            (c"link", FileType::RegularFile),
            (c"file", FileType::Directory),
            (c"link", FileType::Directory),
            (c"gone", FileType::RegularFile),
            (c"gone", FileType::Symlink),
        ] {
            let error = lstat(name, told, true).err().unwrap();
            assert_eq!(error.kind(), Kind::SourceChanged, "{name:?}: {error}");
        }
    }

    #[test]
    fn only_the_same_file_is_opened() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["a", "b"] {
            fs::write(directory.path().join(name), "x").unwrap();
        }
        hard_link(directory.path().join("a"), directory.path().join("same")).unwrap();
        let dir = File::open(directory.path()).unwrap();
        let stop = Stop::new();
        let found = |name| Found {
            dir: dir.as_fd(),
            name,
            file_type: FileType::RegularFile,
            member: b"x",
            full: b"x",
            stop: &stop,
        };
        let meta = found(c"a").lstat(false).unwrap().meta;
        assert!(found(c"same").open_same(&meta).is_ok());
        assert_eq!(found(c"b").open_same(&meta).unwrap_err().kind(), Kind::SourceChanged);
    }
}
