//! Looking at one entry without trusting that it still is what the directory said a moment ago.

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

/// How directories are opened.
pub(super) const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// How files are opened: never through a symlink, and never waiting for the other end of a fifo that has
/// taken the file's place.
const FILE: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

/// How long a file under a lease is waited for. The kernel takes a lease away after 45 s, unless
/// `/proc/sys/fs/lease-break-time` says otherwise.
const LEASE_PATIENCE: Duration = Duration::from_secs(90);
/// Between two tries.
const LEASE_PAUSE: Duration = Duration::from_millis(50);

/// An entry of a directory, as the walk found it.
pub(super) struct Found<'a> {
    /// The open directory it is in.
    pub(super) dir: BorrowedFd<'a>,
    /// Its name there.
    pub(super) name: &'a CStr,
    /// What the directory says it is. May be `Unknown`, may be outdated.
    pub(super) file_type: FileType,
    /// Its path from the root of the walk.
    pub(super) member: &'a [u8],
    /// Its path for messages.
    pub(super) full: &'a [u8],
    /// Ends a wait for it.
    pub(super) stop: &'a Stop,
}

/// What is there: `stat`, and the opened file or directory if it had to be opened.
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

    /// Finds out what is there. Directories are opened; files only when `open_files`. What is opened is what
    /// `meta` tells about.
    pub(super) fn lstat(&self, open_files: bool) -> Result<OpenedEntry> {
        match self.file_type {
            FileType::Directory => return self.open(DIRECTORY, FileType::Directory),
            FileType::RegularFile if open_files => return self.open(FILE, FileType::RegularFile),
            _ => {}
        }
        let stat = statat(self.dir, self.name, AtFlags::SYMLINK_NOFOLLOW);
        let meta = Meta::of(&stat.map_err(|errno| self.failed("look at", errno))?);
        match meta.file_type {
            FileType::Directory => self.open(DIRECTORY, meta.file_type),
            FileType::RegularFile if open_files => self.open(FILE, meta.file_type),
            _ => Ok(OpenedEntry { meta, fd: None }),
        }
    }

    /// Opens the file that `meta` tells about.
    pub(super) fn open_same(&self, meta: &Meta) -> Result<File> {
        let looked = self.open(FILE, FileType::RegularFile)?;
        match looked.fd {
            Some(fd) if meta.is_same_file(&looked.meta) => Ok(File::from(fd)),
            _ => Err(self.changed("was replaced while it was looked at")),
        }
    }

    /// Opens the file, whatever it is by now; `None` if that does not work.
    pub(super) fn open_file(&self) -> Option<OwnedFd> {
        openat(self.dir, self.name, FILE, Mode::empty()).ok()
    }

    /// The failure that the source changed: `how` goes on after the path.
    pub(super) fn changed(&self, how: &str) -> Error {
        Error::new(Kind::SourceChanged, format!("{} {how}", self.path().display()))
    }

    /// The failure that an open file has lost its name.
    pub(super) fn gone(&self) -> Error {
        match statat(self.dir, self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(errno) => self.failed("look at", errno),
            Ok(_) => self.changed("was replaced while the folder was read"),
        }
    }

    /// What a failed system call on this entry means. It was there a moment ago: not to find it, or to find
    /// something of another type, is a change of the source.
    pub(super) fn failed(&self, doing: &str, errno: Errno) -> Error {
        match errno {
            Errno::NOENT => self.changed("vanished while the folder was read"),
            Errno::LOOP | Errno::NOTDIR | Errno::NXIO => {
                self.changed("was replaced while the folder was read")
            }
            other => Error::source(doing, self.path(), other.into()),
        }
    }

    /// Opens it. A file under a write lease (Samba's oplocks) is waited for: the first try asks its holder to give it back,
    /// which the kernel sees to. Other programs open it without O_NONBLOCK and wait in the kernel.
    fn open_patiently(&self, flags: OFlags) -> Result<OwnedFd> {
        let began = Instant::now();
        loop {
            match openat(self.dir, self.name, flags, Mode::empty()) {
                Err(Errno::AGAIN) if began.elapsed() < LEASE_PATIENCE => {
                    Error::check(self.stop)?;
                    self.stop.sleep(LEASE_PAUSE);
                }
                Err(Errno::AGAIN) => {
                    let (path, secs) = (self.path().display(), LEASE_PATIENCE.as_secs());
                    let text = format!(
                        "cannot open {path}: another program has held a lease on it for {secs} s; end what uses it"
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
            return Err(self.changed("was replaced while the folder was read"));
        }
        Ok(OpenedEntry { meta, fd: Some(fd) })
    }
}

/// Opens a regular file before its turn; `None` if that does not work.
pub(super) fn open_quietly(dir: BorrowedFd<'_>, name: &CStr) -> Option<OpenedEntry> {
    let fd = openat(dir, name, FILE, Mode::empty()).ok()?;
    let meta = Meta::of(&fstat(&fd).ok()?);
    (meta.file_type == FileType::RegularFile).then_some(OpenedEntry { meta, fd: Some(fd) })
}

/// What an open file is.
pub(super) fn meta_of(fd: impl AsFd, path: &Path) -> Result<Meta> {
    match fstat(fd) {
        Ok(stat) => Ok(Meta::of(&stat)),
        Err(errno) => Err(Error::source("look at", path, errno.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, create_dir, hard_link};
    use std::os::unix::fs::symlink;

    /// A directory with one entry of each kind, and what looking at `name` says.
    fn lstat(name: &CStr, told: FileType, open_files: bool) -> Result<OpenedEntry> {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("file"), "x").unwrap();
        create_dir(directory.path().join("folder")).unwrap();
        symlink("folder", directory.path().join("link")).unwrap();
        let dir = File::open(directory.path()).unwrap();
        let (member, full) = (name.to_bytes(), name.to_bytes());
        Found { dir: dir.as_fd(), name, file_type: told, member, full, stop: &Stop::new() }.lstat(open_files)
    }

    #[test]
    fn a_filesystem_that_tells_no_types_is_asked() {
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
    fn an_entry_that_is_not_what_the_directory_said_is_a_change() {
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
    fn only_the_file_that_was_looked_at_is_opened() {
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
