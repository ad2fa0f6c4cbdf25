//! The staging directory, where a tree is written before its entries get their final names.
//!
//! It belongs to the process that holds the lock of the file [`WRITER`] in it. A process that finds a staging directory
//! with a free lock may remove it, but takes the lock first. So only one of two processes removes it, even on two
//! nodes.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use decant_shared::process::stop::Stop;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, fstat, mkdirat, openat, renameat, statat};
use rustix::io::Errno;
use rustix::process::geteuid;

use crate::attributes::DEFAULT_ACL;
use crate::error::{Error, Kind, Result};
use crate::volume::layout::{FRESH, MADE, REPLACED, STAGING_NAME, WRITER, names_for};
use crate::volume::remove::{NotRemoved, empty, remove_all, remove_one};
use crate::volume::tree::read::links_out::has_links_elsewhere;
use crate::volume::tree::write::beneath::{WORKING_MODE, open_directory};
use crate::volume::tree::write::put_back::put_back;
use crate::volume::writer_lock::{Lock, busy, description_in, is_at, locker, own_description, try_lock};
use crate::volume::xattrs::remove;

/// How long a filesystem may take to remove a file that was open until now.
const CLOSED: Duration = Duration::from_secs(2);
/// How many times another process may be faster, before that is an error.
const ATTEMPTS: u32 = 16;

/// An open staging directory. Only the user of this process can access it.
pub(super) struct Staging {
    /// The name in the target directory.
    name: OsString,
    directory: OwnedFd,
    fresh: OwnedFd,
    replaced: OwnedFd,
    /// The file whose lock keeps other writers out.
    writer: Option<File>,
}

impl Staging {
    /// Creates an empty staging directory in `target`. Removes leftovers of previous attempts. A leftover that cannot
    /// be removed stays, and another name is used. With `is_exact`, entries do not inherit the default access control
    /// list of `target`. With `is_made`, this copy created `target`.
    ///
    /// Errors: `Kind::Target` if another process writes there.
    pub(super) fn create(
        target: BorrowedFd<'_>,
        path: &Path,
        is_exact: bool,
        is_made: bool,
        stop: &Stop,
    ) -> Result<Self> {
        if is_made && let Some(staging) = Self::emptied(target, path, is_exact, stop)? {
            return Ok(staging);
        }
        let mut last = busy(path, "it creates the staging directory repeatedly");
        for _ in 0..ATTEMPTS {
            let name = free_name(target, path, stop)?;
            let path = path.join(&name);
            let failed = |doing: &'static str| {
                let path = &path;
                move |cause: Errno| Error::target(doing, path, cause.into())
            };
            let directory = match make(target, name.as_bytes()) {
                // Another process was faster: it created the directory, or removed it as a leftover.
                Err(cause @ (Errno::EXIST | Errno::NOENT)) => {
                    last = failed("create")(cause);
                    continue;
                }
                made => made.map_err(failed("create"))?,
            };
            let writer = match claim(directory.as_fd(), true) {
                Ok(Claimed::Held(writer)) => writer,
                Ok(Claimed::Busy(holder)) => return Err(busy(&path, &holder)),
                Ok(Claimed::Gone) => continue,
                Err(cause) => {
                    // The first error is reported.
                    let _ = remove_one(target, name.as_bytes());
                    return Err(failed("create a file in")(cause));
                }
            };
            if !is_at(target, name.as_bytes(), &directory) {
                continue;
            }
            if is_made && let Err(cause) = mark_made(directory.as_fd(), target) {
                let _ = remove_all(target, name.as_bytes(), stop);
                return Err(failed("create a file in")(cause));
            }
            return match parts_of(&directory, &path, is_exact) {
                Ok((fresh, replaced)) => Ok(Self { name, directory, fresh, replaced, writer }),
                Err(error) => {
                    let _ = remove_all(target, name.as_bytes(), stop);
                    Err(error)
                }
            };
        }
        Err(last)
    }

    /// Empties and takes over the staging directory of a target that a copy created. Its mark stays in place, so a copy that is
    /// killed meanwhile leaves a marked target. `None` if the staging directory cannot be used: it is then replaced.
    fn emptied(target: BorrowedFd<'_>, path: &Path, is_exact: bool, stop: &Stop) -> Result<Option<Self>> {
        let Ok((directory, _)) = open_directory(target, STAGING_NAME.as_bytes()) else { return Ok(None) };
        let writer = match claim(directory.as_fd(), true) {
            Ok(Claimed::Held(writer)) => writer,
            Ok(Claimed::Busy(holder)) => return Err(busy(&path.join(STAGING_NAME), &holder)),
            Ok(Claimed::Gone) | Err(_) => return Ok(None),
        };
        // An entry that cannot be put back may be the only copy, so it is not removed below.
        let is_usable = is_private(&directory)
            && is_at(target, STAGING_NAME.as_bytes(), &directory)
            && put_back(directory.as_fd(), target).is_ok();
        if !is_usable {
            return Ok(None);
        }
        let emptied = || {
            let is_emptied = mark_made(directory.as_fd(), target).is_ok()
                && empty(&directory, &is_removed_last, stop).is_ok();
            Error::check(stop)?;
            if !is_emptied {
                return Ok(None);
            }
            for name in names_for(STAGING_NAME.as_ref()).filter(|name| name != STAGING_NAME) {
                let _ = remove_or_warn(target, path, &name, stop)?;
            }
            parts_of(&directory, &path.join(STAGING_NAME), is_exact).map(Some)
        };
        match emptied() {
            Ok(Some((fresh, replaced))) => {
                Ok(Some(Self { name: STAGING_NAME.into(), directory, fresh, replaced, writer }))
            }
            Ok(None) => Ok(None),
            Err(error) => {
                // The first error is reported. Without the removal, the created target directory would stay, too.
                let _ = remove_claimed(target, STAGING_NAME.as_ref(), &directory, writer, stop);
                Err(error)
            }
        }
    }

    /// Opens the staging directory of a previous attempt.
    ///
    /// Errors: `Kind::Leftover` if it cannot be used, and is removed; `Kind::Target` if another process writes there.
    pub(super) fn reopen(target: BorrowedFd<'_>, path: &Path, stop: &Stop) -> Result<Self> {
        let open = || -> Result<Result<Self, String>, Errno> {
            let (directory, _) = open_directory(target, STAGING_NAME.as_bytes())?;
            let writer = match claim(directory.as_fd(), true)? {
                Claimed::Held(writer) => writer,
                Claimed::Busy(holder) => return Ok(Err(holder)),
                Claimed::Gone => return Err(Errno::NOENT),
            };
            let (fresh, _) = open_directory(&directory, FRESH.as_bytes())?;
            // A previous attempt may have been killed between two names. An entry that is not moved back was replaced.
            put_back(directory.as_fd(), target)?;
            remove_all(&directory, REPLACED.as_bytes(), stop).map_err(|why| why.cause)?;
            let replaced = make(directory.as_fd(), REPLACED.as_bytes())?;
            Ok(Ok(Self { name: STAGING_NAME.into(), directory, fresh, replaced, writer }))
        };
        let why = match open() {
            Ok(Err(holder)) => return Err(busy(&path.join(STAGING_NAME), &holder)),
            Ok(Ok(staging)) => match has_links_elsewhere(&staging.fresh, &staging.fresh_path(path), stop) {
                Ok(false) => return Ok(staging),
                // Writing to the file, or setting its mode, would change the file under its other name.
                Ok(true) => "files in it have other names outside of it".to_owned(),
                Err(error) if matches!(error.kind(), Kind::Signal(_) | Kind::Neighbour) => return Err(error),
                Err(error) => error.to_string(),
            },
            Err(cause) => {
                Error::check(stop)?;
                cause.to_string()
            }
        };
        if let Err(why) = remove_leftover(target, path, STAGING_NAME.as_ref(), stop)? {
            Error::check(stop)?;
            log::warn!("cannot remove {}: {why}", path.join(STAGING_NAME).display());
        }
        let text = format!(
            "cannot resume in {}, which a previous attempt left: {why}; the next attempt starts from zero",
            path.join(STAGING_NAME).display()
        );
        Err(Error::new(Kind::Leftover, text))
    }

    /// The path for messages. `path` is that of the target directory.
    pub(super) fn path(&self, path: &Path) -> PathBuf {
        path.join(&self.name)
    }

    /// The path of the directory for new entries, for messages.
    pub(super) fn fresh_path(&self, path: &Path) -> PathBuf {
        self.path(path).join(FRESH)
    }

    /// The directory for new entries, as a new descriptor.
    pub(super) fn fresh(&self) -> Result<OwnedFd> {
        self.fresh.try_clone().map_err(|cause| Error::io(Kind::Target, "cannot open a directory", cause))
    }

    /// The directory for new entries.
    pub(super) fn fresh_directory(&self) -> BorrowedFd<'_> {
        self.fresh.as_fd()
    }

    /// The directory for replaced entries.
    pub(super) fn replaced_directory(&self) -> BorrowedFd<'_> {
        self.replaced.as_fd()
    }

    /// The staging directory itself.
    pub(super) fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// Whether the staging directory and the directories in it are still in place: no process moved or removed them.
    pub(super) fn is_in_place(&self, target: BorrowedFd<'_>) -> bool {
        let directory = self.directory();
        is_at(target, self.name.as_bytes(), directory)
            && is_at(directory, FRESH.as_bytes(), &self.fresh)
            && is_at(directory, REPLACED.as_bytes(), &self.replaced)
    }

    /// Removes the staging directory with its content. After a stop, removes what can be removed within a second.
    pub(super) fn remove(self, target: BorrowedFd<'_>, stop: &Stop) -> Result<(), NotRemoved> {
        let Self { name, directory, fresh, replaced, writer } = self;
        drop((fresh, replaced));
        remove_claimed(target, &name, &directory, writer, stop)
    }
}

/// The directory of new entries from a previous attempt in `target`, if it can be opened. No symlink is followed.
pub(crate) fn left_over(target: impl AsFd) -> Option<OwnedFd> {
    let (staging, _) = open_directory(target, STAGING_NAME.as_bytes()).ok()?;
    open_directory(staging, FRESH.as_bytes()).ok().map(|(fresh, _)| fresh)
}

/// Creates the directories in the empty staging directory `directory`, which is at `path`: for new and for replaced entries.
fn parts_of(directory: &OwnedFd, path: &Path, is_exact: bool) -> Result<(OwnedFd, OwnedFd)> {
    let failed = |doing: &'static str| move |cause: Errno| Error::target(doing, path, cause.into());
    if is_exact {
        remove(directory.as_fd(), DEFAULT_ACL).map_err(failed("change the access control list of"))?;
    }
    let make = |name: &str| make(directory.as_fd(), name.as_bytes()).map_err(failed("create directories in"));
    Ok((make(FRESH)?, make(REPLACED)?))
}

/// Whether the directory belongs to this process's user, and no other user can change it.
fn is_private(directory: &OwnedFd) -> bool {
    let others = (Mode::RWXG | Mode::RWXO).bits();
    fstat(directory).is_ok_and(|found| found.st_uid == geteuid().as_raw() && found.st_mode & others == 0)
}

/// Marks the directory `target`, whose staging directory is `staging`, as created by a copy. A mark is complete or missing.
pub(crate) fn mark_made(staging: impl AsFd, target: impl AsFd) -> Result<(), Errno> {
    let (staging, new) = (staging.as_fd(), format!("{MADE}.new"));
    // A leftover may be a link to another file, which must not be written to.
    remove_one(staging, new.as_bytes())?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(staging, &new, flags, Mode::RUSR | Mode::WUSR)?;
    let words = identity_text(&fstat(target)?);
    File::from(file)
        .write_all(words.as_bytes())
        .map_err(|cause| Errno::from_io_error(&cause).unwrap_or(Errno::IO))?;
    renameat(staging, &new, staging, MADE)
}

/// A text that identifies a directory. The text for a copy of the directory is different.
pub(crate) fn identity_text(directory: &Stat) -> String {
    format!("{} {}\n", directory.st_dev, directory.st_ino)
}

/// The first free name. Leftovers with any of the names are removed.
fn free_name(target: BorrowedFd<'_>, path: &Path, stop: &Stop) -> Result<OsString> {
    let mut free = None;
    let mut first = None;
    for name in names_for(STAGING_NAME.as_ref()) {
        match remove_or_warn(target, path, &name, stop)? {
            Ok(()) => free = free.or(Some(name)),
            Err(why) => first = first.or(Some(why)),
        }
    }
    free.ok_or_else(|| {
        let cause = first.map_or(Errno::EXIST, |why| why.cause);
        Error::target("remove the leftover", &path.join(STAGING_NAME), cause.into())
    })
}

/// Removes the leftover `name` in `target`. One that stays is reported in the log.
fn remove_or_warn(
    target: BorrowedFd<'_>,
    path: &Path,
    name: &OsStr,
    stop: &Stop,
) -> Result<Result<(), NotRemoved>> {
    let removed = remove_leftover(target, path, name, stop)?;
    if let Err(why) = &removed {
        Error::check(stop)?;
        log::warn!(
            "cannot remove the leftover {}: {why}; it stays in the volume, but does not belong to the clone",
            path.join(name).display()
        );
    }
    Ok(removed)
}

/// Removes `name` in `target`. A name that does not exist counts as removed.
///
/// Errors: `Kind::Target` if a process writes there.
fn remove_leftover(
    target: BorrowedFd<'_>,
    path: &Path,
    name: &OsStr,
    stop: &Stop,
) -> Result<Result<(), NotRemoved>> {
    let name_bytes = name.as_bytes();
    let Ok(found) = statat(target, name_bytes, AtFlags::SYMLINK_NOFOLLOW) else { return Ok(Ok(())) };
    if FileType::from_raw_mode(found.st_mode) != FileType::Directory {
        return Ok(remove_all(target, name_bytes, stop));
    }
    let Ok((directory, _)) = open_directory(target, name_bytes) else {
        return Ok(remove_all(target, name_bytes, stop));
    };
    let writer = match claim(directory.as_fd(), false) {
        Ok(Claimed::Held(writer)) => writer,
        Ok(Claimed::Busy(holder)) => return Err(busy(&path.join(name), &holder)),
        // It is being removed, or cannot be locked. The removal reports other problems.
        Ok(Claimed::Gone) | Err(_) => None,
    };
    if !is_at(target, name_bytes, &directory) {
        return Ok(Ok(()));
    }
    if let Err(cause) = put_back(directory.as_fd(), target) {
        // The entry may be the only copy.
        return Ok(Err(NotRemoved::new(cause, REPLACED.as_bytes())));
    }
    Ok(remove_claimed(target, name, &directory, writer, stop))
}

/// Whether the entry `name` of a staging directory is removed after the others.
fn is_removed_last(name: &[u8]) -> bool {
    [WRITER, MADE].iter().any(|last| last.as_bytes() == name)
}

/// Removes a staging directory that this process has locked. The lock file is removed last, so that no other process
/// can take over the directory earlier.
fn remove_claimed(
    target: BorrowedFd<'_>,
    name: &OsStr,
    directory: &OwnedFd,
    writer: Option<File>,
    stop: &Stop,
) -> Result<(), NotRemoved> {
    empty(directory, &is_removed_last, stop)?;
    for last in [MADE, WRITER] {
        remove_all(directory, last.as_bytes(), stop)?;
    }
    drop(writer);
    let began = Instant::now();
    loop {
        match remove_one(target, name.as_bytes()) {
            // Another process has locked the directory in between.
            Err(Errno::NOTEMPTY) if statat(directory, WRITER, AtFlags::SYMLINK_NOFOLLOW).is_ok() => {
                return Ok(());
            }
            // NFS and filesystems based on libfuse keep an open file until they are notified that it is closed.
            Err(Errno::NOTEMPTY) if began.elapsed() < CLOSED => std::thread::sleep(CLOSED / 100),
            removed => return removed.map_err(|cause| NotRemoved::new(cause, name.as_bytes())),
        }
    }
}

/// The result of an attempt to lock a staging directory.
enum Claimed {
    /// This process holds the lock; `None` if the filesystem has no locks.
    Held(Option<File>),
    /// The process with this description holds the lock.
    Busy(String),
    /// It is being removed.
    Gone,
}

/// Locks the open staging directory `directory`. With `tells`, also stores the description of this process in it.
fn claim(directory: BorrowedFd<'_>, tells: bool) -> Result<Claimed, Errno> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    for _ in 0..ATTEMPTS {
        let opened = openat(directory, WRITER, flags, Mode::RUSR | Mode::WUSR);
        let is_ours = |found: &Stat| {
            FileType::from_raw_mode(found.st_mode) == FileType::RegularFile && found.st_nlink <= 1
        };
        let file = match opened {
            Ok(file) if is_ours(&fstat(&file)?) => file,
            Err(Errno::NOENT) => return Ok(Claimed::Gone),
            Err(cause @ (Errno::NOSPC | Errno::DQUOT | Errno::ROFS | Errno::ACCESS | Errno::IO)) => {
                return Err(cause);
            }
            // Another entry has the name. No writer created it.
            Ok(_) | Err(_) => {
                remove_all(directory, WRITER.as_bytes(), &Stop::new()).map_err(|why| why.cause)?;
                continue;
            }
        };
        match try_lock(&file, true)? {
            Lock::Busy => {
                let stored = openat(
                    directory,
                    WRITER,
                    OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                    Mode::empty(),
                );
                let stored = stored.ok().and_then(|stored| description_in(stored.into()));
                return Ok(Claimed::Busy(locker(&file, stored)));
            }
            Lock::Held => {}
            Lock::Unsupported => {
                log::info!(
                    "cannot lock the staging directory: its filesystem has no locks, so another writer would not be noticed"
                );
            }
        }
        // Other processes look for the lock at this name, so the locked file must still have it.
        if !is_at(directory, WRITER.as_bytes(), &file) {
            continue;
        }
        let mut file = File::from(file);
        if tells {
            // Only for messages. If the volume is full, writing entries will report it.
            let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", own_description()));
        }
        return Ok(Claimed::Held(Some(file)));
    }
    Ok(Claimed::Gone)
}

fn make(parent: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    mkdirat(parent, name, WORKING_MODE)?;
    open_directory(parent, name).map(|(directory, _)| directory)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn create(directory: &Path) -> Result<Staging> {
        Staging::create(File::open(directory).unwrap().as_fd(), directory, true, false, &Stop::new())
    }

    #[test]
    fn only_the_staging_directory_of_a_dead_writer_is_removed() {
        let scratch = tempfile::tempdir().unwrap();
        let first = create(scratch.path()).unwrap();
        let target = File::open(scratch.path()).unwrap();
        let own = format!("process {}", std::process::id());
        for error in [
            create(scratch.path()).err(),
            Staging::reopen(target.as_fd(), scratch.path(), &Stop::new()).err(),
        ] {
            let error = error.unwrap();
            assert_eq!(error.kind(), Kind::Target);
            assert!(error.to_string().contains(&own), "{error}");
        }
        assert!(first.is_in_place(target.as_fd()));
        // The result is the same as after a kill.
        drop(first);
        create(scratch.path()).unwrap().remove(target.as_fd(), &Stop::new()).unwrap();
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
    }

    #[test]
    fn the_mark_of_a_created_directory_stays_while_its_staging_directory_is_emptied() {
        let scratch = tempfile::tempdir().unwrap();
        let target = File::open(scratch.path()).unwrap();
        let create = || Staging::create(target.as_fd(), scratch.path(), true, true, &Stop::new()).unwrap();
        drop(create());
        let path = scratch.path().join(STAGING_NAME);
        std::fs::write(path.join(FRESH).join("old"), "").unwrap();
        let before = File::open(&path).unwrap();
        let staging = create();
        assert!(statat(&before, MADE, AtFlags::empty()).is_ok(), "it was not removed meanwhile");
        assert!(statat(&staging.fresh, "old", AtFlags::empty()).is_err());
        let words = std::fs::read_to_string(path.join(MADE)).unwrap();
        assert_eq!(words, identity_text(&fstat(&target).unwrap()));
    }

    #[test]
    fn a_stop_before_the_first_entry_leaves_no_staging_directory_in_a_created_target() {
        let scratch = tempfile::tempdir().unwrap();
        let target = File::open(scratch.path()).unwrap();
        let create = |stop: &Stop| Staging::create(target.as_fd(), scratch.path(), true, true, stop);
        drop(create(&Stop::new()).unwrap());
        let stop = Stop::new();
        stop.by_signal(15);
        assert!(matches!(create(&stop).err().unwrap().kind(), Kind::Signal(15)));
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
    }

    #[test]
    fn the_mark_is_never_written_through_a_link_to_another_file() {
        let scratch = tempfile::tempdir().unwrap();
        let (staging, other) = (scratch.path().join("staging"), scratch.path().join("other"));
        std::fs::create_dir(&staging).unwrap();
        std::fs::write(&other, "kept").unwrap();
        std::fs::hard_link(&other, staging.join(format!("{MADE}.new"))).unwrap();
        mark_made(File::open(&staging).unwrap(), File::open(scratch.path()).unwrap()).unwrap();
        assert_eq!(std::fs::read_to_string(&other).unwrap(), "kept");
    }

    #[test]
    fn a_removed_staging_directory_is_noticed() {
        let scratch = tempfile::tempdir().unwrap();
        let target = File::open(scratch.path()).unwrap();
        let staging = create(scratch.path()).unwrap();
        let fresh = scratch.path().join(STAGING_NAME).join(FRESH);
        fs::remove_dir(&fresh).unwrap();
        assert!(!staging.is_in_place(target.as_fd()));
        fs::create_dir(&fresh).unwrap();
        assert!(!staging.is_in_place(target.as_fd()));
    }

    #[test]
    fn another_entry_with_the_name_of_the_lock_is_replaced() {
        for at in 0..3 {
            let scratch = tempfile::tempdir().unwrap();
            let staging = scratch.path().join(STAGING_NAME);
            let outside = scratch.path().join("outside");
            fs::create_dir(&staging).unwrap();
            fs::write(&outside, "untouched").unwrap();
            let lock = staging.join(WRITER);
            match at {
                0 => std::os::unix::fs::symlink(&outside, lock).unwrap(),
                1 => fs::hard_link(&outside, lock).unwrap(),
                _ => fs::create_dir_all(lock.join("with/content")).unwrap(),
            }
            let target = File::open(scratch.path()).unwrap();
            create(scratch.path()).unwrap().remove(target.as_fd(), &Stop::new()).unwrap();
            assert_eq!(fs::read(outside).unwrap(), b"untouched");
            assert!(!staging.exists());
        }
    }
}
