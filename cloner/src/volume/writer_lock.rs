//! Keeps other writers out of a directory.
//!
//! A writer locks the directory itself (`flock`). The kernel releases the lock when the process ends for any reason.
//! The lock works between processes and pods of one node on any filesystem, and between nodes if the filesystem
//! supports locks of directories. A writer also stores a description of itself next to what it writes. The description
//! is only used in messages.

use std::fmt::Write;
use std::fs::{File, read_to_string};
use std::io::Read;
use std::path::Path;

use decant_shared::process::printable::Escaped;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, Stat, flock, fstat, major, minor, openat, statat};
use rustix::io::Errno;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::error::{Error, Kind, Result};
use crate::volume::layout::{STAGING_NAME, WRITER, names_for};

/// The maximum number of bytes that are read from another writer's description. Descriptions are shorter.
const DESCRIPTION_BYTES: u64 = 256;

/// How many times the directory may be replaced while it is locked, before that is an error.
const ATTEMPTS: u32 = 16;

/// Which part of a directory is locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// The whole directory: a tree is written there.
    Whole,
    /// One image in it, which has its own lock. Other images can be written at the same time.
    Image,
}

/// The lock of a directory. Dropping it releases the lock.
#[derive(Debug)]
pub struct WriterLock {
    _locked: Option<OwnedFd>,
}

impl WriterLock {
    /// Locks the directory `path` without waiting.
    ///
    /// Errors: `Kind::Target` if another process writes there. The message names the process.
    pub fn take(path: &Path, share: Share) -> Result<Self> {
        // The lock belongs to this open file description.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        for _ in 0..ATTEMPTS {
            let directory = match rustix::fs::open(path, flags, Mode::empty()) {
                // A directory may be writable but not readable. The image has its own lock.
                Err(Errno::ACCESS) if share == Share::Image => return Ok(Self { _locked: None }),
                opened => opened.map_err(|cause| Error::target("open the directory", path, cause.into()))?,
            };
            match try_lock(&directory, share == Share::Whole) {
                Ok(Lock::Held) => {}
                Ok(Lock::Busy) => return Err(busy(path, &holder(&directory))),
                Ok(Lock::Unsupported) => {
                    log::warn!(
                        "cannot lock {}: its filesystem has no locks, so another writer would not be noticed",
                        path.display()
                    );
                }
                Err(cause) => return Err(Error::target("lock", path, cause.into())),
            }
            // The copy that created the directory may have failed in between, and removed it.
            let named = rustix::fs::stat(path).map(|named| (named.st_dev, named.st_ino));
            if fstat(&directory).map(|found| (found.st_dev, found.st_ino)) == named {
                return Ok(Self { _locked: Some(directory) });
            }
        }
        Err(busy(path, "the directory is removed and created repeatedly"))
    }
}

/// The result of an attempt to lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lock {
    /// This process holds the lock until the descriptor is closed.
    Held,
    /// Another process holds the lock.
    Busy,
    /// The filesystem or the system has no locks.
    Unsupported,
}

/// Locks an open file or directory, without waiting.
pub(crate) fn try_lock(fd: impl AsFd, is_exclusive: bool) -> rustix::io::Result<Lock> {
    let operation = match is_exclusive {
        true => FlockOperation::NonBlockingLockExclusive,
        false => FlockOperation::NonBlockingLockShared,
    };
    loop {
        match flock(&fd, operation) {
            Ok(()) => return Ok(Lock::Held),
            Err(Errno::INTR) => {}
            // CIFS returns EACCES.
            Err(Errno::WOULDBLOCK | Errno::ACCESS) => return Ok(Lock::Busy),
            // NFS returns EBADF for a file that is open only for reading. A seccomp profile returns EPERM.
            Err(
                Errno::NOLCK | Errno::NOSYS | Errno::OPNOTSUPP | Errno::INVAL | Errno::BADF | Errno::PERM,
            ) => return Ok(Lock::Unsupported),
            Err(cause) => return Err(cause),
        }
    }
}

/// Whether `name` in `directory` is the file that is open as `fd`. To be checked after a lock was taken, because other
/// processes look for the lock at that name.
pub(crate) fn is_at(directory: impl AsFd, name: &[u8], fd: impl AsFd) -> bool {
    let identity = |found: &Stat| (found.st_dev, found.st_ino);
    match (statat(directory, name, AtFlags::SYMLINK_NOFOLLOW), fstat(fd)) {
        (Ok(named), Ok(open)) => identity(&named) == identity(&open),
        _ => false,
    }
}

/// The error of a writer that finds another writer.
pub(crate) fn busy(path: &Path, holder: &str) -> Error {
    let path = path.display();
    let text = format!("another process is writing to {path} ({holder}): wait until it has ended, or end it");
    Error::new(Kind::Target, text)
}

/// The description of this process, on one line.
pub(crate) fn own_description() -> String {
    let mut text = format!("process {}", std::process::id());
    if let Ok(host) = read_to_string("/proc/sys/kernel/hostname") {
        // Writing to a string cannot fail.
        let _ = write!(text, " on host {}", host.trim());
    }
    if let Ok(now) =
        OffsetDateTime::now_utc().replace_nanosecond(0).unwrap_or(OffsetDateTime::UNIX_EPOCH).format(&Rfc3339)
    {
        let _ = write!(text, " since {now}");
    }
    text
}

/// A stored [`own_description`], for a message; `None` if it is empty. It may come from any process.
pub(crate) fn shown_description(stored: &[u8]) -> Option<String> {
    let stored = String::from_utf8_lossy(stored);
    let line = stored.lines().next()?.trim();
    (!line.is_empty()).then(|| Escaped::of_peer(line).to_string())
}

/// The process that holds the lock of `fd`, as far as it is known. The kernel identifies it if this process can see the
/// other one. Otherwise its stored description is used.
pub(crate) fn locker(fd: impl AsFd, stored: Option<String>) -> String {
    seen(fd).or(stored).unwrap_or_else(|| "it is not visible from here".to_owned())
}

/// The process that writes to this directory.
fn holder(directory: &OwnedFd) -> String {
    locker(
        directory,
        names_for(STAGING_NAME.as_ref()).find_map(|name| {
            let staging =
                openat(directory, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
                    .ok()?;
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            description_in(openat(staging, WRITER, flags, Mode::empty()).ok()?.into())
        }),
    )
}

/// The description that an open file contains.
pub(crate) fn description_in(file: File) -> Option<String> {
    let mut stored = Vec::new();
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    file.take(DESCRIPTION_BYTES).read_to_end(&mut stored).ok()?;
    shown_description(&stored)
}

/// The process that holds a lock of `fd`, if the kernel identifies it.
fn seen(fd: impl AsFd) -> Option<String> {
    let found = fstat(fd).ok()?;
    let place = format!(" {:02x}:{:02x}:{} ", major(found.st_dev), minor(found.st_dev), found.st_ino);
    let locks = read_to_string("/proc/locks").ok()?;
    let line = locks
        .lines()
        .find(|line| line.contains(" FLOCK ") && !line.contains(" -> ") && line.contains(&place))?;
    let number: u32 = line.split_whitespace().nth(4)?.parse().ok().filter(|&number| number > 0)?;
    let name = read_to_string(format!("/proc/{number}/comm")).unwrap_or_default();
    Some(format!("process {number} {}", Escaped::of_peer(name.trim())).trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_one_writer_of_a_tree_or_several_of_images() {
        let scratch = tempfile::tempdir().unwrap();
        let take = |share| WriterLock::take(scratch.path(), share);
        let tree = take(Share::Whole).unwrap();
        for share in [Share::Whole, Share::Image] {
            let error = take(share).unwrap_err();
            assert_eq!(error.kind(), Kind::Target);
            let own = format!("process {}", std::process::id());
            assert!(error.to_string().contains(&own), "{error}");
        }
        drop(tree);
        let images = [take(Share::Image).unwrap(), take(Share::Image).unwrap()];
        assert!(take(Share::Whole).is_err());
        drop(images);
        assert!(take(Share::Whole).is_ok());
    }

    #[test]
    fn the_description_of_a_writer_is_one_short_line() {
        assert!(own_description().starts_with(&format!("process {} on host ", std::process::id())));
        assert_eq!(shown_description(b"\n"), None);
        let shown = shown_description(&[b"a\x1b[2J".as_slice(), &[b'x'; 4000]].concat()).unwrap();
        assert!(shown.len() < 300 && !shown.contains('\x1b'), "{shown}");
    }
}
