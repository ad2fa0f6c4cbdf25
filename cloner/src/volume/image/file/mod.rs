//! A file as the medium: written under a temporary name, renamed when it is complete and durable.

use std::cell::Cell;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use decant_shared::process::stop::Stop;
use rustix::fs::{AtFlags, FallocateFlags, Mode, OFlags, RenameFlags, fallocate, renameat, renameat_with};
use rustix::io::{Errno, retry_on_intr};

use crate::attributes::{ACCESS_ACL, Attribute, Kinds};
use crate::error::{Error, Kind, Result, is_no_space};
use crate::volume::close::flush;
use crate::volume::free_space::FreeSpace;
use crate::volume::image::Medium;
use crate::volume::image::leftover::{self, open_directory, temporary_name};
use crate::volume::optional_calls::Call;
use crate::volume::remove::remove_all;
use crate::volume::writer_lock::{busy, is_at};
use crate::volume::xattrs::remove;

/// One write of literal zeros.
static ZEROS: [u8; 1 << 20] = [0; 1 << 20];

/// The bit by which an owner may read.
const READABLE: u32 = 0o400;

/// An image that grows by so much at a time is shown to the filesystem before its zeros are counted: each has a largest
/// file. Below this counting takes less than a millisecond.
const ASKED_BYTES: u64 = 1 << 40;

/// So often another process may be faster with the temporary name before that is an error.
const ATTEMPTS: u32 = 16;

/// How the finished file is to be.
#[derive(Debug, Clone, Copy)]
pub struct FileOptions {
    /// Permission bits, whatever the umask says.
    pub mode: u32,
    /// Grow the file to this size if it is smaller, so that a guest can use the whole volume.
    pub grow_to_bytes: Option<u64>,
    /// Allocate every byte.
    pub preallocate: bool,
    /// Leave an unfinished file, for [`ImageFile::reopen`].
    pub keep_partial: bool,
    /// The file has the rights that its mode says, and none that the directory hands down in an access control list.
    pub is_exact: bool,
}

/// A file that does not exist under its name until it is finished; dropped before that, it leaves nothing.
pub struct ImageFile {
    directory: OwnedFd,
    file: File,
    path: PathBuf,
    name: OsString,
    temporary: OsString,
    options: FileOptions,
    expected_bytes: Option<u64>,
    /// The filesystem takes a file of this size.
    asked_bytes: u64,
    /// It has content of an attempt before: what is not written is not zero by itself.
    is_reused: bool,
    /// There was no room for it: what was written must go, or nobody else has room either.
    is_full: Cell<bool>,
    finished: bool,
    /// What it could not be given.
    lost: Kinds,
    /// Ends removals.
    stop: Stop,
}

impl ImageFile {
    /// Starts the file `name` in `directory`. What an earlier attempt left under the temporary name is removed,
    /// unless that attempt is still running. `stop` ends the removal.
    pub fn create(directory: &Path, name: &OsStr, options: FileOptions, stop: &Stop) -> Result<Self> {
        let path = directory.join(name);
        let directory = open_directory(directory)?;
        for _ in 0..ATTEMPTS {
            let temporary = leftover::free_name(&directory, &temporary_name(name), &path, stop)?;
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = match rustix::fs::openat(&directory, &temporary, flags, Mode::RUSR | Mode::WUSR) {
                // Another process was faster: the next look at the name tells which.
                Err(Errno::EXIST) => continue,
                made => made.map_err(|e| cannot_create(&directory, &path, e.into()))?,
            };
            let file = File::from(file);
            if leftover::claim(&directory, &temporary, &file, &path)? {
                let image = Self::of(directory, file, path, temporary, options, stop);
                if options.is_exact {
                    remove(image.file.as_fd(), ACCESS_ACL)
                        .map_err(|e| image.fail("change the access control list of", 0, e.into()))?;
                }
                return Ok(image);
            }
        }
        Err(busy(&path, "others begin again and again"))
    }

    /// Goes on with what an earlier attempt left. What cannot be used is removed: `Kind::Leftover`.
    pub fn reopen(directory: &Path, name: &OsStr, options: FileOptions, stop: &Stop) -> Result<Self> {
        let (path, temporary) = (directory.join(name), temporary_name(name));
        let directory = open_directory(directory)?;
        match leftover::open(&directory, &temporary, OFlags::WRONLY) {
            Ok(file) if leftover::claim(&directory, &temporary, &file, &path)? => {
                let mut image = Self::of(directory, file, path, temporary, options, stop);
                image.is_reused = true;
                Ok(image)
            }
            unusable => {
                let why = unusable.err().unwrap_or(Errno::NOENT);
                leftover::free_name(&directory, &temporary, &path, stop)?;
                let text = format!(
                    "cannot resume what an attempt before left of {}: {why}; the next attempt begins from zero",
                    path.display()
                );
                Err(Error::new(Kind::Leftover, text))
            }
        }
    }

    fn of(
        directory: OwnedFd,
        file: File,
        path: PathBuf,
        temporary: OsString,
        options: FileOptions,
        stop: &Stop,
    ) -> Self {
        let name = path.file_name().unwrap_or_default().to_owned();
        Self {
            directory,
            file,
            path,
            name,
            temporary,
            options,
            expected_bytes: None,
            asked_bytes: 0,
            is_reused: false,
            is_full: Cell::new(false),
            finished: false,
            lost: Kinds::default(),
            stop: stop.clone(),
        }
    }

    /// Whether the temporary name is that of what was written.
    fn has_its_name(&self) -> bool {
        is_at(&self.directory, self.temporary.as_bytes(), &self.file)
    }

    /// Gives the finished file its name, in place of whatever has it.
    fn rename(&self) -> Result<(), Errno> {
        let (directory, temporary, name) = (&self.directory, &self.temporary, &self.name);
        match renameat(directory, temporary, directory, name) {
            Err(Errno::ISDIR) => {}
            result => return result,
        }
        // A directory, which an archive unpacked there before left. Names in a tree are replaced the same way.
        if renameat_with(directory, temporary, directory, name, RenameFlags::EXCHANGE).is_err() {
            remove_all(directory, name.as_bytes(), &self.stop).map_err(|why| why.cause)?;
            return renameat(directory, temporary, directory, name);
        }
        if let Err(cause) = remove_all(directory, temporary.as_bytes(), &self.stop) {
            log::warn!("cannot remove the folder that was {}: {cause}", self.path.display());
        }
        Ok(())
    }

    fn fail(&self, doing: &str, offset: u64, cause: std::io::Error) -> Error {
        if !is_no_space(&cause) {
            return Error::target(doing, &self.path, cause);
        }
        self.is_full.set(true);
        let of = self.expected_bytes.map_or(String::new(), |size| format!(" of {size}"));
        let room =
            FreeSpace::of(&self.directory).map_or_else(String::new, |room| format!("; {}", room.rounded()));
        let path = self.path.display();
        Error::io(Kind::NoSpace, format!("no space for {path} after {offset}{of} bytes{room}"), cause)
    }

    /// Allocates a range; where the filesystem cannot, writes zeros. Only for ranges without data.
    fn allocate(&self, offset: u64, len: u64, stop: &Stop) -> Result<()> {
        let allocated = retry_on_intr(|| fallocate(&self.file, FallocateFlags::empty(), offset, len));
        match allocated {
            Ok(()) => Ok(()),
            Err(e) if Call::Allocate.is_dispensable(e) => self.write_zeros(offset, len, stop),
            Err(e) => Err(self.fail("allocate", offset, e.into())),
        }
    }

    /// Allocates the whole of a new image, where that is possible without writing it. Only the answer to this tells whether
    /// there is room: what `statfs` says may be nothing, or leave out what is kept for root.
    fn allocate_whole(&self, size_bytes: u64) -> Result<()> {
        // Without a size, so that what an interrupted attempt leaves is as long as what it wrote.
        let allocated = retry_on_intr(|| fallocate(&self.file, FallocateFlags::KEEP_SIZE, 0, size_bytes));
        match allocated {
            Ok(()) => return Ok(()),
            Err(e) if Call::Allocate.is_dispensable(e) => {}
            Err(e) => return Err(self.fail("allocate", 0, e.into())),
        }
        let is_known_to_be_full = rustix::fs::fstatvfs(&self.directory)
            .is_ok_and(|fs| fs.f_blocks > 0 && size_bytes > fs.f_bfree.saturating_mul(fs.f_frsize));
        if is_known_to_be_full {
            return Err(self.fail("allocate", 0, ErrorKind::StorageFull.into()));
        }
        Ok(())
    }

    /// Makes a hole where an earlier attempt may have written something else.
    fn punch(&self, offset: u64, len: u64, stop: &Stop) -> Result<()> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match retry_on_intr(|| fallocate(&self.file, flags, offset, len)) {
            Ok(()) => Ok(()),
            Err(e) if Call::Zero.is_dispensable(e) => self.write_zeros(offset, len, stop),
            Err(e) => Err(self.fail("punch a hole into", offset, e.into())),
        }
    }

    /// Lets the filesystem say whether a file can have `size_bytes`. The size itself comes when the image is sealed.
    fn ask_for(&mut self, size_bytes: u64) -> Result<()> {
        let present = self.file.metadata().map_err(|e| self.fail("measure", size_bytes, e))?.len();
        self.file
            .set_len(size_bytes.max(present))
            .map_err(|e| self.fail("set the size of", size_bytes, e))?;
        self.asked_bytes = size_bytes;
        Ok(())
    }

    /// Sets the mode and looks whether it is that. A filesystem without modes of its own gives one to all.
    fn set_mode(&mut self, mode: u32) -> Result<(), Errno> {
        let mode = Mode::from_raw_mode(mode);
        match rustix::fs::fchmod(&self.file, mode) {
            Err(e) if !Call::Chmod.is_dispensable(e) => return Err(e),
            _ => {}
        }
        if rustix::fs::fstat(&self.file)?.st_mode & 0o7777 != mode.as_raw_mode() & 0o7777 {
            self.lost.insert(Attribute::Mode);
        }
        Ok(())
    }

    fn write_zeros(&self, mut offset: u64, mut len: u64, stop: &Stop) -> Result<()> {
        while len > 0 {
            Error::check(stop)?;
            let part = usize::try_from(len).map_or(ZEROS.len(), |len| len.min(ZEROS.len()));
            self.file.write_all_at(&ZEROS[..part], offset).map_err(|e| self.fail("write", offset, e))?;
            offset += part as u64;
            len -= part as u64;
        }
        Ok(())
    }
}

impl Medium for ImageFile {
    /// Only a file that will be allocated in full can be known not to fit.
    fn expect(&mut self, size_bytes: u64) -> Result<()> {
        self.expected_bytes = Some(size_bytes);
        if i64::try_from(size_bytes).is_ok() && size_bytes > 0 && self.options.preallocate {
            self.allocate_whole(size_bytes)?;
        }
        self.reach(size_bytes)
    }

    fn reach(&mut self, end: u64) -> Result<()> {
        if i64::try_from(end).is_err() {
            return Err(self.fail("set the size of", end, ErrorKind::FileTooLarge.into()));
        }
        if end.saturating_sub(self.asked_bytes) >= ASKED_BYTES { self.ask_for(end) } else { Ok(()) }
    }

    fn file(&self) -> std::io::Result<File> {
        self.file.try_clone()
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.file.write_all_at(bytes, offset).map_err(|e| self.fail("write", offset, e))
    }

    /// In a new file, what is not written is a hole.
    fn zero(&mut self, offset: u64, len: u64, stop: &Stop) -> Result<()> {
        match (self.options.preallocate, self.is_reused) {
            (true, false) => self.allocate(offset, len, stop),
            (true, true) => self.write_zeros(offset, len, stop),
            (false, false) => Ok(()),
            (false, true) => self.punch(offset, len, stop),
        }
    }

    fn seal(&mut self, size_bytes: u64, stop: &Stop) -> Result<()> {
        // Before the final mode, which may not permit it.
        leftover::forget_writer(&self.file);
        let mut full_bytes = size_bytes.max(self.options.grow_to_bytes.unwrap_or(0));
        if self.options.preallocate && full_bytes > size_bytes {
            match self.allocate(size_bytes, full_bytes - size_bytes, stop) {
                // The image itself fits. That the volume holds less than its size promised harms nobody.
                Err(error) if error.kind() == Kind::NoSpace => {
                    log::warn!("the image keeps its own size: {error}");
                    full_bytes = size_bytes;
                }
                done => done?,
            }
        }
        if self.is_reused {
            // What an earlier attempt wrote behind the end must not come back when the file grows.
            self.file.set_len(size_bytes).map_err(|e| self.fail("set the size of", size_bytes, e))?;
        }
        self.file.set_len(full_bytes).map_err(|e| self.fail("set the size of", full_bytes, e))?;
        // Its owner reads it back, if that is asked for.
        self.set_mode(self.options.mode | READABLE)
            .map_err(|e| self.fail("set the mode of", size_bytes, e.into()))?;
        match rustix::fs::fsync(&self.file) {
            Err(e) if !Call::SyncFile.is_dispensable(e) => {
                return Err(self.fail("sync", size_bytes, e.into()));
            }
            _ => {}
        }
        // Before it has its name: the file itself stays open with its lock.
        flush(&self.file).map_err(|e| self.fail("close", size_bytes, e))
    }

    fn lost(&self) -> Kinds {
        self.lost
    }

    fn readable(&self) -> std::io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&self.directory, &self.temporary, flags, Mode::empty())?.into())
    }

    fn publish(&mut self) -> Result<()> {
        if !self.has_its_name() {
            let path = self.path.display();
            let text =
                format!("another process has taken away what was written for {path} before it got its name");
            return Err(Error::new(Kind::Target, text));
        }
        if self.options.mode & READABLE == 0 {
            self.set_mode(self.options.mode)
                .map_err(|e| Error::target("set the mode of", &self.path, e.into()))?;
        }
        let renamed = self.rename();
        if renamed == Err(Errno::INTR) {
            Error::check(&self.stop)?;
        }
        renamed.map_err(|e| Error::target("rename the finished file to", &self.path, e.into()))?;
        self.finished = true;
        match rustix::fs::fsync(&self.directory) {
            Ok(()) => Ok(()),
            Err(e) if Call::SyncDirectory.is_dispensable(e) => {
                // The filesystem as a whole, then; where that is not possible either, there is nothing more to do.
                match rustix::fs::syncfs(&self.file) {
                    Err(e) if !Call::SyncFilesystem.is_dispensable(e) => {
                        Err(Error::target("sync the folder of", &self.path, e.into()))
                    }
                    _ => Ok(()),
                }
            }
            Err(e) => Err(Error::target("sync the folder of", &self.path, e.into())),
        }
    }
}

impl Drop for ImageFile {
    fn drop(&mut self) {
        // What another process has put there is not removed.
        if self.finished || (self.options.keep_partial && !self.is_full.get()) || !self.has_its_name() {
            return;
        }
        if let Err(e) = rustix::fs::unlinkat(&self.directory, &self.temporary, AtFlags::empty()) {
            let e = std::io::Error::from(e);
            if e.kind() != ErrorKind::NotFound {
                log::warn!("cannot remove {} next to {}: {e}", self.temporary.display(), self.path.display());
            }
        }
    }
}

/// A file that cannot be made; where the reason is that there is no room, with what there is.
fn cannot_create(directory: &OwnedFd, path: &Path, cause: std::io::Error) -> Error {
    match FreeSpace::of(directory) {
        Some(room) if is_no_space(&cause) => {
            let text = format!("cannot create {}; {}", path.display(), room.rounded());
            Error::io(Kind::NoSpace, text, cause)
        }
        _ => Error::target("create", path, cause),
    }
}

#[cfg(test)]
mod tests;
