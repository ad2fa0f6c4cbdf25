//! Keeps a second writer away from a directory that one writes to.
//!
//! What keeps it away is a lock of the kernel on the directory itself (`flock`), which ends with its process, whatever becomes of
//! it. It works between processes and pods of one node on any filesystem, and between nodes where the filesystem has locks for
//! directories. What a writer says about itself is stored beside what it writes, for messages only.

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

/// What is read of what another writer says about itself, in bytes: more than any says.
const WORDS_BYTES: u64 = 256;

/// So often the directory may have been replaced before that is an error.
const ATTEMPTS: u32 = 16;

/// How much of a directory is claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// All of it: a tree is unpacked there.
    Whole,
    /// One image in it, which has a lock of its own. Other images can be written beside it.
    Image,
}

/// A directory that is claimed while this exists.
#[derive(Debug)]
pub struct WriterLock {
    _locked: Option<OwnedFd>,
}

impl WriterLock {
    /// Claims the directory `path`. `Kind::Target`, at once: another process writes there; the message says which one.
    pub fn take(path: &Path, share: Share) -> Result<Self> {
        // A description of its own: the lock belongs to it.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        for _ in 0..ATTEMPTS {
            let directory = match rustix::fs::open(path, flags, Mode::empty()) {
                // A directory may take files without showing its names. The image has a lock of its own.
                Err(Errno::ACCESS) if share == Share::Image => return Ok(Self { _locked: None }),
                opened => opened.map_err(|cause| Error::target("open the folder", path, cause.into()))?,
            };
            match try_lock(&directory, share == Share::Whole) {
                Ok(Lock::Held) => {}
                Ok(Lock::Busy) => return Err(busy(path, &holder(&directory))),
                Ok(Lock::Unsupported) => {
                    log::warn!("{} cannot be locked: another writer would not be noticed", path.display());
                }
                Err(cause) => return Err(Error::target("lock", path, cause.into())),
            }
            // The copy that made it may have failed, and have removed it, in between.
            let named = rustix::fs::stat(path).map(|named| (named.st_dev, named.st_ino));
            if fstat(&directory).map(|found| (found.st_dev, found.st_ino)) == named {
                return Ok(Self { _locked: Some(directory) });
            }
        }
        Err(busy(path, "it is removed and made again and again"))
    }
}

/// What became of an attempt to lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lock {
    /// It is ours until the descriptor is closed.
    Held,
    /// Another process has it.
    Busy,
    /// This filesystem, or this system, has no locks.
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
            // EACCES is what CIFS says.
            Err(Errno::WOULDBLOCK | Errno::ACCESS) => return Ok(Lock::Busy),
            // EBADF is what NFS says about a file that is open for reading only; EPERM a seccomp profile.
            Err(
                Errno::NOLCK | Errno::NOSYS | Errno::OPNOTSUPP | Errno::INVAL | Errno::BADF | Errno::PERM,
            ) => return Ok(Lock::Unsupported),
            Err(cause) => return Err(cause),
        }
    }
}

/// Whether `name` in `directory` is what is open as `fd`. After a lock is taken: the file that is locked must be the one that
/// others will find.
pub(crate) fn is_at(directory: impl AsFd, name: &[u8], fd: impl AsFd) -> bool {
    let identity = |found: &Stat| (found.st_dev, found.st_ino);
    match (statat(directory, name, AtFlags::SYMLINK_NOFOLLOW), fstat(fd)) {
        (Ok(named), Ok(open)) => identity(&named) == identity(&open),
        _ => false,
    }
}

/// The failure of a writer that finds another one at work.
pub(crate) fn busy(path: &Path, holder: &str) -> Error {
    let path = path.display();
    let text = format!(
        "another process is writing to {path} right now ({holder}): wait until it has ended, or end it"
    );
    Error::new(Kind::Target, text)
}

/// What this process says about itself, in one line.
pub(crate) fn own_words() -> String {
    let mut words = format!("process {}", std::process::id());
    if let Ok(host) = read_to_string("/proc/sys/kernel/hostname") {
        // Writing to a string cannot fail.
        let _ = write!(words, " on host {}", host.trim());
    }
    if let Ok(now) =
        OffsetDateTime::now_utc().replace_nanosecond(0).unwrap_or(OffsetDateTime::UNIX_EPOCH).format(&Rfc3339)
    {
        let _ = write!(words, " since {now}");
    }
    words
}

/// What was stored of a writer's [`own_words`], made fit for a message; `None` where nothing was. Anybody may have written it.
pub(crate) fn shown_words(stored: &[u8]) -> Option<String> {
    let stored = String::from_utf8_lossy(stored);
    let line = stored.lines().next()?.trim();
    (!line.is_empty()).then(|| Escaped::of_peer(line).to_string())
}

/// Who has the lock of `fd`, as far as that can be known: the kernel tells of processes that this one can see, and others have
/// left a word.
pub(crate) fn locker(fd: impl AsFd, stored: Option<String>) -> String {
    seen(fd).or(stored).unwrap_or_else(|| "which one cannot be seen from here".to_owned())
}

/// Who writes to this directory.
fn holder(directory: &OwnedFd) -> String {
    locker(
        directory,
        names_for(STAGING_NAME.as_ref()).find_map(|name| {
            let staging =
                openat(directory, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
                    .ok()?;
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            words_in(openat(staging, WRITER, flags, Mode::empty()).ok()?.into())
        }),
    )
}

/// The words in an open file.
pub(crate) fn words_in(file: File) -> Option<String> {
    let mut stored = Vec::new();
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    file.take(WORDS_BYTES).read_to_end(&mut stored).ok()?;
    shown_words(&stored)
}

/// The process that has a lock on `fd`, if the kernel shows it.
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
    fn a_writers_words_are_one_short_line_whatever_is_stored() {
        assert!(own_words().starts_with(&format!("process {} on host ", std::process::id())));
        assert_eq!(shown_words(b"\n"), None);
        let shown = shown_words(&[b"a\x1b[2J".as_slice(), &[b'x'; 4000]].concat()).unwrap();
        assert!(shown.len() < 300 && !shown.contains('\x1b'), "{shown}");
    }
}
