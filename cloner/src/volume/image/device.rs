//! A block device as the medium. Its node is never removed, and none of its previous content is visible in the image.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use decant_shared::process::stop::Stop;
use decant_shared::protocol::units::Bytes;
use rustix::fs::{FallocateFlags, OFlags, fallocate};

use crate::error::{Error, Kind, Result};
use crate::volume::close::flush;
use crate::volume::image::Medium;
use crate::volume::optional_calls::Call;
use crate::zeros::write_zeros;

/// The kernel zeroes whole logical blocks. No device has larger blocks than this.
const ALIGNMENT_BYTES: u64 = 4096;
/// Shorter runs of zeros are written: the page cache takes them in microseconds, while a command to the device must
/// complete first.
const ZEROED_LEAST_BYTES: u64 = 32 << 10;
/// The maximum range that the kernel zeroes in one call. It may have to write the zeros, so a stop is checked between
/// two calls.
const RANGE_AT_ONCE_BYTES: u64 = 64 << 20;

/// The ways to write zeros to the device, best first. A way that the device does not support is not tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Zeroing {
    /// Unmap the blocks. The kernel refuses this if they would not read as zeros.
    Punch,
    /// Let the device write zeros.
    Range,
    /// Write zeros from memory.
    Literal,
}

/// A block device that is exclusively open for writing.
pub struct Device {
    file: File,
    path: PathBuf,
    size_bytes: u64,
    zeroing: Zeroing,
}

impl Device {
    /// Opens `path`, which must be a block device that is not in use. With `literal` (preallocation), zeros are always
    /// written and never unmapped.
    pub fn open(path: &Path, literal: bool) -> Result<Self> {
        let meta = std::fs::metadata(path).map_err(|e| Error::target("find the block device", path, e))?;
        if !meta.file_type().is_block_device() {
            return Err(Error::new(Kind::Target, format!("{} is not a block device", path.display())));
        }
        let exclusive = i32::try_from(OFlags::EXCL.bits()).unwrap_or(0);
        let opened = OpenOptions::new().write(true).custom_flags(exclusive).open(path);
        let mut file = opened.map_err(|e| match e.kind() {
            ErrorKind::ResourceBusy => {
                Error::io(Kind::Target, format!("{} is in use (mounted, or held open)", path.display()), e)
            }
            ErrorKind::PermissionDenied => Error::no_device_permission(Kind::Target, "write", path, e),
            _ => Error::target("open the block device", path, e),
        })?;
        let size_bytes = file.seek(SeekFrom::End(0)).map_err(|e| Error::target("measure", path, e))?;
        let zeroing = if literal { Zeroing::Literal } else { Zeroing::Punch };
        Ok(Self { file, path: path.to_owned(), size_bytes, zeroing })
    }

    /// The device's size.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn too_small(&self, needed_bytes: u64) -> Error {
        let size = self.size_bytes;
        let path = self.path.display();
        Error::new(
            Kind::NoSpace,
            format!(
                "{path} has {size} bytes ({}), but the image needs at least {needed_bytes} ({})",
                Bytes(size),
                Bytes(needed_bytes)
            ),
        )
    }

    /// Zeroes whole blocks in the best way that the device supports.
    fn zero_blocks(&mut self, mut offset: u64, mut len: u64, stop: &Stop) -> Result<()> {
        while len > 0 {
            Error::check(stop)?;
            let (flags, part) = match self.zeroing {
                Zeroing::Punch => (FallocateFlags::PUNCH_HOLE, len),
                Zeroing::Range => (FallocateFlags::ZERO_RANGE, len.min(RANGE_AT_ONCE_BYTES)),
                Zeroing::Literal => return self.zero_literally(offset, len, stop),
            };
            match fallocate(&self.file, flags | FallocateFlags::KEEP_SIZE, offset, part) {
                Ok(()) => (offset, len) = (offset + part, len - part),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) if !Call::Zero.is_dispensable(error) => {
                    return Err(Error::target("zero a range of", &self.path, error.into()));
                }
                Err(error) => {
                    log::debug!("{}: {:?} does not work: {error}", self.path.display(), self.zeroing);
                    self.zeroing = match self.zeroing {
                        Zeroing::Punch => Zeroing::Range,
                        _ => Zeroing::Literal,
                    };
                }
            }
        }
        Ok(())
    }

    fn zero_literally(&mut self, offset: u64, len: u64, stop: &Stop) -> Result<()> {
        write_zeros(offset, len, stop, |offset, zeros| self.write(offset, zeros))
    }
}

impl Medium for Device {
    fn expect(&mut self, size_bytes: u64) -> Result<()> {
        if size_bytes > self.size_bytes { Err(self.too_small(size_bytes)) } else { Ok(()) }
    }

    fn reach(&mut self, end: u64) -> Result<()> {
        self.expect(end)
    }

    fn file(&self) -> std::io::Result<File> {
        self.file.try_clone()
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        if offset + bytes.len() as u64 > self.size_bytes {
            return Err(self.too_small(offset + bytes.len() as u64));
        }
        self.file.write_all_at(bytes, offset).map_err(|e| Error::target("write to", &self.path, e))
    }

    fn zero(&mut self, offset: u64, len: u64, stop: &Stop) -> Result<()> {
        let end = offset + len;
        if end > self.size_bytes {
            return Err(self.too_small(end));
        }
        if len < ZEROED_LEAST_BYTES {
            return self.zero_literally(offset, len, stop);
        }
        let first = offset.next_multiple_of(ALIGNMENT_BYTES).min(end);
        let last = (end - end % ALIGNMENT_BYTES).max(first);
        self.zero_literally(offset, first - offset, stop)?;
        if last > first {
            self.zero_blocks(first, last - first, stop)?;
        }
        self.zero_literally(last, end - last, stop)
    }

    fn seal(&mut self, _size_bytes: u64, _stop: &Stop) -> Result<()> {
        self.file.sync_all().map_err(|e| Error::target("sync", &self.path, e))?;
        flush(&self.file).map_err(|e| Error::target("close", &self.path, e))
    }

    fn readable(&self) -> std::io::Result<File> {
        File::open(&self.path)
    }

    fn publish(&mut self) -> Result<()> {
        Ok(())
    }
}
