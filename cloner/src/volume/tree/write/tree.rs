//! Writes the members of an archive below a directory.

use std::fs::File;
use std::path::Path;

use decant_shared::process::stop::Stop;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, Stat, chmodat, fstat, fstatfs, fsync, linkat, makedev, mknodat, openat,
    statat, symlinkat, syncfs,
};
use rustix::io::Errno;

use crate::attributes::name::shown;
use crate::attributes::{Attribute, DEFAULT_ACL, Kinds};
use crate::error::{Error, Kind, Result, is_no_space};
use crate::stream::Pull;
use crate::tar::entry::{Entry, EntryKind};
use crate::tar::reader::ArchiveReader;
use crate::volume::close::close;
use crate::volume::free_space::FreeSpace;
use crate::volume::layout::is_reserved;
use crate::volume::optional_calls::Call;
use crate::volume::reflink::SHARED_LEAST_BYTES;
use crate::volume::remove::{remove_all, remove_one};
use crate::volume::tree::write::attributes::Attributes;
use crate::volume::tree::write::beneath::open_below;
use crate::volume::tree::write::content::{Incomplete, Manner, SIZED_BYTES, Skipped, write_content};
use crate::volume::tree::write::directories::{Directories, Taken};
use crate::volume::tree::write::finisher::{Finish, Finisher, Unfinished};
use crate::volume::tree::write::folding::Folding;
use crate::volume::tree::write::late::{FILE_BITS, Late};
use crate::volume::tree::write::member_name::MemberName;
use crate::volume::tree::write::small_content::SmallContent;
use crate::volume::tree::write::{UnpackOptions, Unpacked};
use crate::volume::xattrs::remove;

/// A complete tree whose entries do not have their final names yet.
pub(super) struct Finished {
    /// What was written.
    pub(super) done: Unpacked,
    /// The attributes of the target directory, if the archive has them.
    pub(super) root: Option<Attributes>,
    /// The number of names that were created at the top.
    pub(super) top_names: u64,
    /// Modes that are set at the end.
    pub(super) late: Late,
}

/// Writes a tree.
pub(super) struct TreeWriter<'a> {
    directories: Directories,
    path: &'a Path,
    options: UnpackOptions,
    stop: &'a Stop,
    done: Unpacked,
    dropped: Skipped,
    root: Option<Attributes>,
    /// Whether each file is synced, because the filesystem cannot be synced as a whole.
    syncs_each: bool,
    finisher: Option<Finisher>,
}

impl<'a> TreeWriter<'a> {
    /// Makes a writer for entries below `root`. `folding` describes its filesystem, and `path` is the target directory
    /// for messages. `finisher` finishes files, if there is one.
    pub(super) fn new(
        root: OwnedFd,
        folding: Folding,
        path: &'a Path,
        options: UnpackOptions,
        finisher: Option<Finisher>,
        stop: &'a Stop,
    ) -> Self {
        let done = Unpacked::default();
        let dropped = Skipped::default();
        let syncs_each = !is_synced_as_a_whole(&root);
        let directories = Directories::new(root, folding);
        Self { directories, path, options, stop, done, dropped, root: None, syncs_each, finisher }
    }

    /// Writes `entry`, the current member of `archive`.
    pub(super) fn write<P: Pull + ?Sized>(
        &mut self,
        archive: &mut ArchiveReader<'_, P>,
        entry: &Entry,
    ) -> Result<()> {
        let name = MemberName::new(&entry.name)?;
        let Some((parent, own_name)) = name.split() else { return self.keep_root(entry) };
        match name.components().next() {
            Some(b"lost+found") => {
                self.done.skipped += 1;
                return self.dropped.skip(archive, entry, self.stop);
            }
            Some(first) if is_reserved(first) => {
                let what = "the archive contains a name that Decant uses for incomplete clones, \
                            left by a clone into the source volume: remove it from the source";
                return Err(Error::damaged(format!("{}: {what}", shown(&entry.name))));
            }
            _ => {}
        }
        if entry.kind == EntryKind::Directory {
            self.done.others += 1;
            return self.directory(entry, name);
        }
        self.enter(entry, parent)?;
        if entry.kind == EntryKind::File {
            self.done.files += 1;
            self.done.content_bytes = self.done.content_bytes.saturating_add(entry.size_bytes);
            return self.file(archive, entry, own_name);
        }
        self.done.others += 1;
        match entry.kind {
            EntryKind::HardLink => self.hard_link(entry, own_name),
            EntryKind::Symlink => self.symlink(entry, own_name),
            EntryKind::Fifo => self.node(entry, own_name, FileType::Fifo, 0),
            EntryKind::CharDevice(major, minor) => {
                self.node(entry, own_name, FileType::CharacterDevice, makedev(major, minor))
            }
            EntryKind::BlockDevice(major, minor) => {
                self.node(entry, own_name, FileType::BlockDevice, makedev(major, minor))
            }
            EntryKind::File | EntryKind::Directory => Ok(()),
        }
    }

    /// Finishes all directories.
    pub(super) fn finish(mut self) -> Result<Finished> {
        if let Some(finisher) = self.finisher.take() {
            finisher.end()?.into_iter().try_for_each(|result| self.finished(result))?;
        }
        let left = self.directories.leave(0, &mut self.done.not_kept);
        left.map_err(|cause| Error::target("finish the directories in", self.path, cause.into()))?;
        let top_names = self.directories.top_names();
        Ok(Finished { done: self.done, root: self.root, top_names, late: self.directories.late })
    }

    fn keep_root(&mut self, entry: &Entry) -> Result<()> {
        if entry.kind != EntryKind::Directory {
            let name = shown(&entry.name);
            return Err(Error::damaged(format!(
                "{name}: the target directory itself is not a directory in the archive"
            )));
        }
        self.root = Some(Attributes::of_root(entry));
        Ok(())
    }

    fn enter(&mut self, entry: &Entry, directory: MemberName<'_>) -> Result<()> {
        let entered = self.directories.enter(directory, &mut self.done.not_kept);
        entered.map_err(|cause| match (cause, self.directories.taken()) {
            (Errno::NOTDIR, _) => Error::damaged(format!(
                "the path of {} leads through an entry that is not a directory",
                shown(&entry.name)
            )),
            (_, Some(taken)) => self.taken(entry, &taken),
            (cause, None) => self.failed("reach", entry, cause),
        })
    }

    fn directory(&mut self, entry: &Entry, name: MemberName<'_>) -> Result<()> {
        if let Some((parent, own_name)) = name.split() {
            self.enter(entry, parent)?;
            let found = statat(self.directories.current(), own_name, AtFlags::SYMLINK_NOFOLLOW);
            if found.is_ok_and(|found| FileType::from_raw_mode(found.st_mode) != FileType::Directory) {
                self.make_room(entry, own_name)?;
            }
        }
        self.enter(entry, name)?;
        let attributes = if self.options.resume {
            // The directory may already be finished. New entries must not inherit its default access control list.
            let removed = remove(self.directories.current(), DEFAULT_ACL);
            removed.map_err(|cause| self.failed("resume in", entry, cause))?;
            Attributes::of_reused(entry, self.options.own)
        } else {
            Attributes::of(entry, self.options.own)
        };
        self.directories.set_pending(attributes);
        Ok(())
    }

    fn file<P: Pull + ?Sized>(
        &mut self,
        archive: &mut ArchiveReader<'_, P>,
        entry: &Entry,
        name: &[u8],
    ) -> Result<()> {
        let is_reused = entry.size_bytes > 0 && archive.held_bytes() > 0;
        let shares = self.options.shares && !is_reused && entry.size_bytes >= SHARED_LEAST_BYTES;
        let mut attributes = match is_reused {
            true => Attributes::of_reused(entry, self.options.own),
            false => Attributes::of(entry, self.options.own),
        };
        let (file, attributes) = if is_reused {
            let file = self.reopen(entry, name, archive.held_bytes())?;
            self.hold_readable(&mut attributes, name);
            (file, attributes)
        } else {
            let birth = self.directories.birth();
            let mode = attributes.mode_at(birth).unwrap_or(Mode::RUSR | Mode::WUSR);
            let file = self.create(entry, name, |directories| {
                let access = if shares { OFlags::RDWR } else { OFlags::WRONLY };
                let flags = access | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                openat(directories.current(), name, flags, mode)
            })?;
            let mut attributes = attributes.after(birth);
            self.hold_readable(&mut attributes, name);
            (File::from(file), attributes)
        };
        let manner = Manner { preallocate: self.options.preallocate, is_reused, shares };
        // A mode that is set at the end depends on what is lost now.
        let is_finished_apart = !self.syncs_each && attributes.unreadable(FILE_BITS).is_none();
        let is_written_apart = is_finished_apart
            && !is_reused
            && !manner.preallocate
            && self.finisher.as_ref().is_some_and(|finisher| finisher.should_write(entry.size_bytes));
        let start_bytes = archive.position_bytes();
        if is_written_apart {
            self.take_results(archive, Some(start_bytes))?;
            let content = Some(SmallContent::take(archive, entry.size_bytes)?);
            let unfinished = Unfinished { file, content, attributes, name: entry.name.clone() };
            return self.finisher.as_mut().map_or(Ok(()), |finisher| finisher.take(unfinished, start_bytes));
        }
        if let (Some(finisher), true) = (&mut self.finisher, entry.size_bytes >= SIZED_BYTES) {
            // Otherwise nothing of this file would be reported as durable while it is written.
            finisher.write_all()?;
            self.take_results(archive, None)?;
        }
        let written = write_content(archive, &file, entry.size_bytes, manner, self.stop);
        written.map_err(|why| self.incomplete(&entry.name, entry.size_bytes, why))?;
        if let (Some(finisher), true) = (&mut self.finisher, is_finished_apart) {
            let unfinished = Unfinished { file, content: None, attributes, name: entry.name.clone() };
            finisher.take(unfinished, start_bytes)?;
            return self.take_results(archive, None);
        }
        let lost = attributes.apply_to(&file).map_err(|cause| self.failed("finish", entry, cause))?;
        if lost.has(Attribute::Mode) {
            self.directories.forget_late(name);
        }
        self.done.not_kept.add(lost, || entry.name.clone());
        let closed = if self.syncs_each { sync_file(&file) } else { Ok(()) }.and_then(|()| close(file));
        closed.map_err(|cause| self.not_closed(&entry.name, cause))
    }

    /// Handles what the finisher has done so far. If it has written everything, only the content from `next_bytes` on is
    /// still unwritten. The position and the results are taken together: content that could not be written must not be
    /// reported as durable.
    fn take_results<P: Pull + ?Sized>(
        &mut self,
        archive: &mut ArchiveReader<'_, P>,
        next_bytes: Option<u64>,
    ) -> Result<()> {
        let Some(finisher) = &mut self.finisher else { return Ok(()) };
        archive.hold_durable(finisher.first_unwritten().or(next_bytes));
        let results: Vec<_> = finisher.results().collect();
        results.into_iter().try_for_each(|result| self.finished(result))
    }

    /// Handles the result of a file that the finisher has finished.
    fn finished(&mut self, result: Finish) -> Result<()> {
        match result {
            Finish::WriteFailed { name, size_bytes, why } => Err(self.incomplete(&name, size_bytes, why)),
            Finish::Lost(name, lost) => {
                self.done.not_kept.add(lost, || name);
                Ok(())
            }
            Finish::AttributesFailed(name, cause) => {
                let what = format!("cannot finish {} in {}", shown(&name), self.path.display());
                let kind = if is_no_space(&cause.into()) { Kind::NoSpace } else { Kind::Target };
                Err(Error::io(kind, what, cause.into()))
            }
            Finish::CloseFailed(name, cause) => Err(self.not_closed(&name, cause)),
        }
    }

    fn not_closed(&self, name: &[u8], cause: std::io::Error) -> Error {
        let kind = if is_no_space(&cause) { Kind::NoSpace } else { Kind::Target };
        let name = shown(name);
        let path = self.path.display();
        let text = format!("cannot close {name} in {path}, so what was written to it may be lost");
        Error::io(kind, text, cause)
    }

    fn hold_readable(&mut self, attributes: &mut Attributes, name: &[u8]) {
        if attributes.unreadable(FILE_BITS).is_some() {
            let path = self.directories.path_of(name);
            self.directories.late.hold(attributes, FILE_BITS, || path);
        }
    }

    /// Counts the attributes that a finished entry lost.
    fn count(&mut self, entry: &Entry, applied: rustix::io::Result<Kinds>) -> Result<()> {
        let lost = applied.map_err(|cause| self.failed("finish", entry, cause))?;
        self.done.not_kept.add(lost, || entry.name.clone());
        Ok(())
    }

    /// Opens a file of which a previous attempt wrote at least the first `held_bytes`.
    fn reopen(&self, entry: &Entry, name: &[u8], held_bytes: u64) -> Result<File> {
        let directory = self.directories.current();
        let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let open = || openat(directory, name, flags, Mode::empty());
        let opened = match open() {
            // The file already has its final mode.
            Err(Errno::ACCESS) if is_file(statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)) => {
                chmodat(directory, name, Mode::RUSR | Mode::WUSR, AtFlags::empty()).and_then(|()| open())
            }
            opened => opened,
        };
        let file = opened.map_err(|cause| self.failed("resume", entry, cause))?;
        let found = fstat(&file).map_err(|cause| self.failed("read the metadata of", entry, cause))?;
        // A small file has its final size only when it is complete.
        let has_size = held_bytes >= entry.size_bytes || entry.size_bytes >= SIZED_BYTES;
        let is_other = has_size && u64::try_from(found.st_size).ok() != Some(entry.size_bytes);
        if is_other || !is_file(Ok(found)) {
            let name = shown(&entry.name);
            let text = format!(
                "cannot resume {name}: it changed after a previous attempt; the next attempt starts from zero"
            );
            return Err(Error::new(Kind::Leftover, text));
        }
        Ok(file.into())
    }

    /// Creates the hard link `entry` as `name` in the current directory. A hard link has no attributes of its own.
    fn hard_link(&mut self, entry: &Entry, name: &[u8]) -> Result<()> {
        let shown_name = shown(&entry.name);
        let shown_link = shown(&entry.link);
        let bad = |why: &str| Error::damaged(format!("{shown_name} is a hard link to {shown_link}, {why}"));
        let (parent, link_name) = MemberName::new(&entry.link)
            .map_err(|error| error.within(&shown_name))?
            .split()
            .ok_or_else(|| bad("the target directory itself"))?;
        let far = if self.directories.is_current(parent) {
            None
        } else {
            Some(open_below(self.directories.root(), parent).map_err(|cause| match cause {
                Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV => {
                    bad("which is not in the archive")
                }
                cause => self.failed("find the link target of", entry, cause),
            })?)
        };
        let link_parent = far.as_ref().map_or_else(|| self.directories.current(), AsFd::as_fd);
        let target = statat(link_parent, link_name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|_| bad("which is not in the archive"))?;
        if FileType::from_raw_mode(target.st_mode) == FileType::Directory {
            return Err(bad("a directory"));
        }
        let is_same = statat(self.directories.current(), name, AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|own| (own.st_dev, own.st_ino) == (target.st_dev, target.st_ino));
        if is_same {
            return self.refuse_other_name(entry, name);
        }
        self.create(entry, name, |directories| {
            let link_parent = far.as_ref().map_or_else(|| directories.current(), AsFd::as_fd);
            linkat(link_parent, link_name, directories.current(), name, AtFlags::empty())
        })
    }

    fn symlink(&mut self, entry: &Entry, name: &[u8]) -> Result<()> {
        if entry.link.is_empty() || entry.link.contains(&0) {
            return Err(Error::damaged(format!("the symlink {} has an invalid target", shown(&entry.name))));
        }
        self.create(entry, name, |directories| {
            symlinkat(entry.link.as_slice(), directories.current(), name)
        })?;
        self.finish_name(entry, name, true)
    }

    fn node(&mut self, entry: &Entry, name: &[u8], kind: FileType, device: u64) -> Result<()> {
        let make = |directories: &Directories| {
            mknodat(directories.current(), name, kind, Mode::RUSR | Mode::WUSR, device)
        };
        match make(&self.directories) {
            Err(Errno::PERM) if kind != FileType::Fifo => {
                // This is an error and not a loss: a volume without its devices would be another volume.
                let name = shown(&entry.name);
                let text = format!("cannot create the device node {name}: only root may do that");
                return Err(Error::new(Kind::Target, text));
            }
            Err(Errno::EXIST) => self.create(entry, name, make)?,
            result => {
                result.map_err(|cause| self.failed("create", entry, cause))?;
                self.directories.made(name);
            }
        }
        self.finish_name(entry, name, false)
    }

    fn finish_name(&mut self, entry: &Entry, name: &[u8], is_symlink: bool) -> Result<()> {
        let attributes = Attributes::of(entry, self.options.own);
        let applied = attributes.apply_to_name(self.directories.current(), name, is_symlink);
        self.count(entry, applied)
    }

    /// Creates an entry. Replaces a previous member with the same name.
    fn create<T>(
        &mut self,
        entry: &Entry,
        name: &[u8],
        make: impl Fn(&Directories) -> rustix::io::Result<T>,
    ) -> Result<T> {
        let made = match make(&self.directories) {
            Err(Errno::EXIST) => {
                self.make_room(entry, name)?;
                make(&self.directories)
            }
            result => result,
        };
        let made = made.map_err(|cause| self.failed("create", entry, cause))?;
        self.directories.made(name);
        Ok(made)
    }

    /// Checks that the entry `name` in the current directory has exactly that name.
    fn refuse_other_name(&self, entry: &Entry, name: &[u8]) -> Result<()> {
        let other = self.directories.other_name(name);
        match other.map_err(|cause| self.failed("check the name of", entry, cause))? {
            None => Ok(()),
            Some(by) => Err(self.taken(entry, &Taken { name: name.to_vec(), by })),
        }
    }

    fn taken(&self, entry: &Entry, taken: &Taken) -> Error {
        let name = shown(&entry.name);
        let path = self.path.display();
        let wanted = shown(&taken.name);
        let by = shown(&taken.by);
        let text = format!(
            "cannot create {name} in {path}: this filesystem folds case or normalizes names, and treats {wanted} and {by} as \
             the same name: rename one of them in the source, or use another filesystem"
        );
        Error::new(Kind::Target, text)
    }

    fn make_room(&mut self, entry: &Entry, name: &[u8]) -> Result<()> {
        self.directories.settle_late(name);
        self.refuse_other_name(entry, name)?;
        let directory = self.directories.current();
        // The existing entry may be a directory of a previous attempt, if the source had a directory of this name.
        let removed = if self.options.resume {
            remove_all(directory, name, self.stop).map_err(|why| why.cause)
        } else {
            remove_one(directory, name)
        };
        if removed == Err(Errno::INTR) {
            Error::check(self.stop)?;
        }
        if removed.is_ok() {
            self.directories.removed();
        }
        removed.map_err(|cause| match cause {
            Errno::NOTEMPTY => Error::damaged(format!(
                "{} was already a directory with content in this archive",
                shown(&entry.name)
            )),
            cause => self.failed("replace", entry, cause),
        })
    }

    fn failed(&self, doing: &str, entry: &Entry, cause: Errno) -> Error {
        let what = format!("cannot {doing} {} in {}", shown(&entry.name), self.path.display());
        self.failed_after(&what, entry.size_bytes, cause.into(), 0)
    }

    /// The error of a file whose content is not complete.
    fn incomplete(&self, name: &[u8], size_bytes: u64, why: Incomplete) -> Error {
        match why {
            Incomplete::Stream(error) => error,
            Incomplete::Write { cause, written_bytes } => {
                let what = format!("cannot write {} in {}", shown(name), self.path.display());
                self.failed_after(&what, size_bytes, cause, written_bytes)
            }
        }
    }

    /// The error `what` of writing a member, with the free space if the filesystem is full.
    fn failed_after(&self, what: &str, size_bytes: u64, cause: std::io::Error, written_bytes: u64) -> Error {
        if !is_no_space(&cause) {
            return Error::io(Kind::Target, what, cause);
        }
        let room = FreeSpace::of(self.directories.root())
            .map_or_else(String::new, |room| format!(", and {}", room.in_bytes()));
        let text = format!("{what}: {written_bytes} of {size_bytes} bytes are written{room}");
        Error::io(Kind::NoSpace, text, cause)
    }
}

/// Whether `syncfs` writes everything to disk. Daemons and servers of FUSE, SMB, 9p and VirtualBox's shared directories
/// are not notified of it, and a sandbox may refuse it. There, each file is synced before it is closed.
fn is_synced_as_a_whole(directory: &OwnedFd) -> bool {
    /// FUSE, CIFS, SMB2, 9p, vboxsf (`linux/magic.h`, and the sources of the filesystems).
    const WITHOUT_SYNCFS: [u32; 5] = [0x6573_5546, 0xff53_4d42, 0xfe53_4d42, 0x0102_1997, 0x786f_4256];
    let is_supported = fstatfs(directory)
        .is_ok_and(|fs| u32::try_from(fs.f_type).is_ok_and(|kind| !WITHOUT_SYNCFS.contains(&kind)));
    // An O_PATH descriptor syncs nothing, but shows whether the call is supported.
    let only_named =
        openat(directory, ".", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    is_supported && only_named.is_ok_and(|fd| syncfs(fd) == Err(Errno::BADF))
}

/// Syncs a file, if the filesystem supports that.
fn sync_file(file: &File) -> std::io::Result<()> {
    match fsync(file) {
        Err(errno) if !Call::SyncFile.is_dispensable(errno) => Err(errno.into()),
        _ => Ok(()),
    }
}

fn is_file(stat: rustix::io::Result<Stat>) -> bool {
    stat.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile)
}
