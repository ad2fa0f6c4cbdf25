//! A file as the medium. It is written under a temporary name and renamed when it is complete and durable.

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
use crate::stream::ShareOffer;
use crate::volume::close::flush;
use crate::volume::destination::KeepPartial;
use crate::volume::free_space::FreeSpace;
use crate::volume::image::Medium;
use crate::volume::image::leftover::{self, open_directory, temporary_name};
use crate::volume::optional_calls::Call;
use crate::volume::reflink;
use crate::volume::remove::remove_all;
use crate::volume::writer_lock::{busy, is_at};
use crate::volume::xattrs::remove;
use crate::zeros::write_zeros;

/// The owner's permission to read.
const READABLE: u32 = 0o400;

/// If an image grows by this much in one step, its size is set before its zeros are hashed, because every filesystem
/// limits the size of files. Hashing fewer zeros takes less than a millisecond.
const ASKED_BYTES: u64 = 1 << 40;

/// How many times another process may take the temporary name first, before that is an error.
const ATTEMPTS: u32 = 16;

/// Properties of the finished file.
#[derive(Debug, Clone, Copy)]
pub struct FileOptions {
    /// Permission bits, independent of the umask.
    pub mode: u32,
    /// Grow a smaller file to this size, so that a guest can use the whole volume.
    pub grow_to_bytes: Option<u64>,
    /// Allocate every byte.
    pub preallocate: bool,
    /// When an unfinished file is kept, for [`ImageFile::reopen`].
    pub keep_partial: KeepPartial,
    /// Whether the file gets only the rights of its mode, and none from the default access control list of the
    /// directory.
    pub is_exact: bool,
    /// Whether it may share blocks of the source. Then it is also opened for reading.
    pub shares: bool,
}

/// A file that gets its final name when it is finished. If it is dropped before that, it is removed.
pub struct ImageFile {
    directory: OwnedFd,
    file: File,
    path: PathBuf,
    name: OsString,
    temporary: OsString,
    options: FileOptions,
    expected_bytes: Option<u64>,
    /// A size that the filesystem has accepted.
    asked_bytes: u64,
    /// Whether it has content of a previous attempt, so that unwritten ranges may not be zero.
    is_reused: bool,
    /// Whether the filesystem was full. Then the file must be removed to free its space.
    is_full: Cell<bool>,
    finished: bool,
    /// Attributes that the file could not get.
    lost: Kinds,
    /// Ends the removal of leftovers.
    stop: Stop,
}

impl ImageFile {
    /// Creates the file `name` in `directory`. Removes a leftover of a previous attempt that has the temporary name,
    /// unless that attempt is still running. `stop` ends the removal.
    pub fn create(directory: &Path, name: &OsStr, options: FileOptions, stop: &Stop) -> Result<Self> {
        let path = directory.join(name);
        let directory = open_directory(directory)?;
        for _ in 0..ATTEMPTS {
            let temporary = leftover::free_name(&directory, &temporary_name(name), &path, stop)?;
            let access = if options.shares { OFlags::RDWR } else { OFlags::WRONLY };
            let flags = access | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = match rustix::fs::openat(&directory, &temporary, flags, Mode::RUSR | Mode::WUSR) {
                // Another process was faster. The next `free_name` will find its lock.
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
        Err(busy(&path, "it creates the temporary file repeatedly"))
    }

    /// Resumes the unfinished file of a previous attempt.
    ///
    /// Errors: `Kind::Leftover` if the file cannot be used. It is then removed.
    pub fn reopen(directory: &Path, name: &OsStr, options: FileOptions, stop: &Stop) -> Result<Self> {
        let path = directory.join(name);
        let temporary = temporary_name(name);
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
                    "cannot resume what a previous attempt left of {}: {why}; the next attempt starts from zero",
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

    /// Whether the temporary name still belongs to this file.
    fn has_its_name(&self) -> bool {
        is_at(&self.directory, self.temporary.as_bytes(), &self.file)
    }

    /// Renames the finished file. Replaces any entry with the final name.
    fn rename(&self) -> Result<(), Errno> {
        let directory = &self.directory;
        let temporary = &self.temporary;
        let name = &self.name;
        match renameat(directory, temporary, directory, name) {
            Err(Errno::ISDIR) => {}
            result => return result,
        }
        // The entry is a directory from an archive that was unpacked there. Names in a tree are replaced in the same
        // way.
        if renameat_with(directory, temporary, directory, name, RenameFlags::EXCHANGE).is_err() {
            remove_all(directory, name.as_bytes(), &self.stop).map_err(|why| why.cause)?;
            return renameat(directory, temporary, directory, name);
        }
        if let Err(cause) = remove_all(directory, temporary.as_bytes(), &self.stop) {
            log::warn!("cannot remove the directory that {} has replaced: {cause}", self.path.display());
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

    /// Allocates a range without data. If the filesystem does not support that, zeros are written.
    fn allocate(&self, offset: u64, len: u64, stop: &Stop) -> Result<()> {
        let allocated = retry_on_intr(|| fallocate(&self.file, FallocateFlags::empty(), offset, len));
        match allocated {
            Ok(()) => Ok(()),
            Err(e) if Call::Allocate.is_dispensable(e) => self.write_zeros(offset, len, stop),
            Err(e) => Err(self.fail("allocate", offset, e.into())),
        }
    }

    /// Allocates a new image, if the filesystem supports that. Only allocation shows whether there is enough space:
    /// `statfs` may not know, or may not count what is reserved for root.
    fn allocate_whole(&self, size_bytes: u64) -> Result<()> {
        // The size does not change, so that the file of an interrupted attempt is as long as the data that was written.
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

    /// Makes a hole where a previous attempt may have written data.
    fn punch(&self, offset: u64, len: u64, stop: &Stop) -> Result<()> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match retry_on_intr(|| fallocate(&self.file, flags, offset, len)) {
            Ok(()) => Ok(()),
            Err(e) if Call::Zero.is_dispensable(e) => self.write_zeros(offset, len, stop),
            Err(e) => Err(self.fail("punch a hole into", offset, e.into())),
        }
    }

    /// Sets the size of the file to check that the filesystem accepts `size_bytes`. The final size is set when the
    /// image is sealed.
    fn ask_for(&mut self, size_bytes: u64) -> Result<()> {
        let present = self.file.metadata().map_err(|e| self.fail("measure", size_bytes, e))?.len();
        self.file
            .set_len(size_bytes.max(present))
            .map_err(|e| self.fail("set the size of", size_bytes, e))?;
        self.asked_bytes = size_bytes;
        Ok(())
    }

    /// Sets the mode and checks it: a filesystem without modes gives the same mode to all files.
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

    fn write_zeros(&self, offset: u64, len: u64, stop: &Stop) -> Result<()> {
        write_zeros(offset, len, stop, |offset, zeros| {
            self.file.write_all_at(zeros, offset).map_err(|e| self.fail("write", offset, e))
        })
    }
}

impl Medium for ImageFile {
    /// Only a preallocated image is checked for space in advance: a sparse one may need less than its size.
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

    /// In a new file, unwritten ranges are holes.
    fn zero(&mut self, offset: u64, len: u64, stop: &Stop) -> Result<()> {
        match (self.options.preallocate, self.is_reused) {
            (true, false) => self.allocate(offset, len, stop),
            (true, true) => self.write_zeros(offset, len, stop),
            (false, false) => Ok(()),
            (false, true) => self.punch(offset, len, stop),
        }
    }

    fn share(&mut self, offer: &ShareOffer) -> Result<()> {
        if !self.options.shares || self.options.preallocate || self.is_reused {
            return Ok(());
        }
        reflink::accept(offer, &self.file).map(drop).map_err(|e| self.fail("write", 0, e))
    }

    fn seal(&mut self, size_bytes: u64, stop: &Stop) -> Result<()> {
        // This is done before the final mode is set, which may not permit it.
        leftover::forget_writer(&self.file);
        let mut full_bytes = size_bytes.max(self.options.grow_to_bytes.unwrap_or(0));
        if self.options.preallocate && full_bytes > size_bytes {
            match self.allocate(size_bytes, full_bytes - size_bytes, stop) {
                // The image itself fits. It is only not grown.
                Err(error) if error.kind() == Kind::NoSpace => {
                    log::warn!("the image is not grown to the size of the volume: {error}");
                    full_bytes = size_bytes;
                }
                done => done?,
            }
        }
        if self.is_reused {
            // Content of a previous attempt beyond the end must not reappear when the file grows.
            self.file.set_len(size_bytes).map_err(|e| self.fail("set the size of", size_bytes, e))?;
        }
        self.file.set_len(full_bytes).map_err(|e| self.fail("set the size of", full_bytes, e))?;
        // The owner can read it, in case it is read back.
        self.set_mode(self.options.mode | READABLE)
            .map_err(|e| self.fail("set the mode of", size_bytes, e.into()))?;
        match rustix::fs::fsync(&self.file) {
            Err(e) if !Call::SyncFile.is_dispensable(e) => {
                return Err(self.fail("sync", size_bytes, e.into()));
            }
            _ => {}
        }
        // Checked before the file is renamed. The file stays open with its lock.
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
                format!("cannot finish {path}: another process has removed or replaced its temporary file");
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
                // Sync the whole filesystem instead. If that is not possible either, no other way exists.
                match rustix::fs::syncfs(&self.file) {
                    Err(e) if !Call::SyncFilesystem.is_dispensable(e) => {
                        Err(Error::target("sync the directory of", &self.path, e.into()))
                    }
                    _ => Ok(()),
                }
            }
            Err(e) => Err(Error::target("sync the directory of", &self.path, e.into())),
        }
    }
}

impl Drop for ImageFile {
    fn drop(&mut self) {
        // A file of another process is not removed.
        if self.finished
            || (self.options.keep_partial.keeps(&self.stop) && !self.is_full.get())
            || !self.has_its_name()
        {
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

/// The error that `path` cannot be created. It contains the free space if the filesystem is full.
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
