//! The content of one regular file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use decant_shared::process::stop::Stop;
use rustix::fs::{FallocateFlags, fallocate, ftruncate};
use rustix::io::retry_on_intr;

use crate::attributes::name::shown;
use crate::error::Error;
use crate::stream::{Piece, Pull, ZEROS};
use crate::tar::entry::Entry;
use crate::tar::reader::ArchiveReader;
use crate::volume::optional_calls::Call;
use crate::volume::page_cache::DropAfterWrite;

/// Between two of these the stop token is asked, in bytes.
pub(crate) const STEP_BYTES: u64 = 1 << 20;
/// Files of this size have it from the beginning. For smaller ones the call costs more than writing them again.
pub(super) const SIZED_BYTES: u64 = 1 << 20;
/// Content of all members of a stream that are not written, with its holes: 64 TiB. No filesystem says that such a member is
/// too large, and the digest of its holes takes time: that of this many about 20 ms, that of 2^63 bytes an hour.
const MAX_SKIPPED_BYTES: u64 = 64 << 40;

/// Why the content of a file is not complete.
pub(super) enum Incomplete {
    /// The stream or the stop token says so.
    Stream(Error),
    /// The file does, after this many bytes.
    Write { cause: io::Error, written_bytes: u64 },
}

impl From<Error> for Incomplete {
    fn from(error: Error) -> Self {
        Self::Stream(error)
    }
}

/// How content is written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Manner {
    /// Allocate every byte.
    pub(super) preallocate: bool,
    /// Some of it is there already, of an attempt before: what is kept is not written.
    pub(super) is_reused: bool,
}

/// Writes the content of the member that `archive` is at. Zero runs become holes, or are allocated when asked.
pub(super) fn write_content<P: Pull + ?Sized>(
    archive: &mut ArchiveReader<'_, P>,
    file: &File,
    size_bytes: u64,
    manner: Manner,
    stop: &Stop,
) -> Result<(), Incomplete> {
    if size_bytes == 0 {
        return Ok(());
    }
    let mut room =
        FileAllocation { file, size_bytes, preallocate: manner.preallocate, zeros_are_there: true, end: 0 };
    if !manner.is_reused {
        room.prepare()?;
    }
    let (mut is_held, mut page_cache) = (manner.is_reused, DropAfterWrite::default());
    while let Some((offset, piece)) = archive.next_data(STEP_BYTES)? {
        Error::check(stop)?;
        if is_held && !matches!(piece, Piece::Kept(_)) {
            is_held = false;
            room.cut(offset)?;
        }
        match piece {
            Piece::Data(bytes) => {
                file.write_all_at(bytes, offset).map_err(failed_at(offset))?;
                room.end = room.end.max(offset + piece.len());
                page_cache.written(file, offset + piece.len());
            }
            Piece::Kept(_) if is_held => {}
            Piece::Kept(_) => {
                return Err(Error::damaged("content that is said to be here, and is not").into());
            }
            Piece::Zeros(_) if room.zeros_are_there => {}
            Piece::Zeros(len) => {
                write_zeros(file, offset, len, stop)?;
                room.end = room.end.max(offset + len);
            }
        }
    }
    if is_held { Ok(()) } else { room.finish(stop) }
}

/// The space of a file.
struct FileAllocation<'a> {
    file: &'a File,
    size_bytes: u64,
    preallocate: bool,
    /// What is not written reads as zeros, and is allocated if it has to be.
    zeros_are_there: bool,
    /// As far as the file goes.
    end: u64,
}

impl FileAllocation<'_> {
    /// Before the first byte.
    fn prepare(&mut self) -> Result<(), Incomplete> {
        if self.preallocate {
            // The file has its size then, or gets it by writing zeros.
            self.zeros_are_there = allocate(self.file, self.size_bytes).map_err(failed_at(self.end))?;
            self.end = self.size_bytes;
        } else if self.size_bytes >= SIZED_BYTES {
            // What a killed target leaves has the size that belongs to its digest (docs/protocol.md, 5). Some filesystems
            // take files only from their beginning to their end: then the size grows, and zeros are written.
            match ftruncate(self.file, self.size_bytes) {
                Ok(()) => self.end = self.size_bytes,
                Err(errno) if Call::Truncate.is_dispensable(errno) => self.zeros_are_there = false,
                Err(errno) => return Err(failed_at(self.end)(errno.into())),
            }
        }
        Ok(())
    }

    /// Drops what an attempt before wrote from `offset` on.
    fn cut(&mut self, offset: u64) -> Result<(), Incomplete> {
        self.end = offset;
        self.resize(offset)?;
        self.prepare()
    }

    fn finish(&self, stop: &Stop) -> Result<(), Incomplete> {
        if self.end >= self.size_bytes {
            return Ok(());
        }
        match ftruncate(self.file, self.size_bytes) {
            Err(errno) if Call::Truncate.is_dispensable(errno) => {
                write_zeros(self.file, self.end, self.size_bytes - self.end, stop)
            }
            resized => resized.map_err(io::Error::from).map_err(failed_at(self.end)),
        }
    }

    fn resize(&self, bytes: u64) -> Result<(), Incomplete> {
        ftruncate(self.file, bytes).map_err(io::Error::from).map_err(failed_at(self.end))
    }
}

/// What is dropped of one stream.
#[derive(Debug, Default)]
pub(crate) struct Skipped {
    content_bytes: u64,
}

impl Skipped {
    /// Drops the content of the member `entry`, which `archive` is at. `next_entry` would do it too, but not hear a stop.
    ///
    /// Errors: `Kind::Damaged` before any of it is read where it is more than [`MAX_SKIPPED_BYTES`] with what was dropped
    /// before.
    pub(crate) fn skip<P: Pull + ?Sized>(
        &mut self,
        archive: &mut ArchiveReader<'_, P>,
        entry: &Entry,
        stop: &Stop,
    ) -> Result<(), Error> {
        self.content_bytes = self.content_bytes.saturating_add(entry.size_bytes);
        if self.content_bytes > MAX_SKIPPED_BYTES {
            let name = shown(&entry.name);
            let text = format!("{name}: more than {MAX_SKIPPED_BYTES} bytes in members that are not written");
            return Err(Error::damaged(text));
        }
        while archive.next_data(STEP_BYTES)?.is_some() {
            Error::check(stop)?;
        }
        Ok(())
    }
}

/// Whether the filesystem can allocate without writing.
fn allocate(file: &File, size_bytes: u64) -> io::Result<bool> {
    match retry_on_intr(|| fallocate(file, FallocateFlags::empty(), 0, size_bytes)) {
        Ok(()) => Ok(true),
        Err(errno) if Call::Allocate.is_dispensable(errno) => Ok(false),
        Err(cause) => Err(cause.into()),
    }
}

fn write_zeros(file: &File, mut offset: u64, mut len: u64, stop: &Stop) -> Result<(), Incomplete> {
    while len > 0 {
        Error::check(stop)?;
        let part = usize::try_from(len).unwrap_or(usize::MAX).min(ZEROS.len());
        file.write_all_at(&ZEROS[..part], offset).map_err(failed_at(offset))?;
        offset += part as u64;
        len -= part as u64;
    }
    Ok(())
}

fn failed_at(written_bytes: u64) -> impl Fn(io::Error) -> Incomplete {
    move |cause| Incomplete::Write { cause, written_bytes }
}
