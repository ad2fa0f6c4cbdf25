//! Writes the content of a regular file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use decant_shared::process::stop::Stop;
use rustix::fs::{FallocateFlags, fallocate, ftruncate};
use rustix::io::retry_on_intr;

use crate::attributes::name::shown;
use crate::error::Error;
use crate::stream::{Piece, Pull};
use crate::tar::entry::Entry;
use crate::tar::reader::ArchiveReader;
use crate::volume::optional_calls::Call;
use crate::volume::page_cache::DropAfterWrite;
use crate::volume::reflink;
use crate::volume::tree::write::small_content::not_held;
use crate::zeros::write_zeros;

/// The number of bytes that are written between two checks for a stop.
pub(crate) const STEP_BYTES: u64 = 1 << 20;
/// Files of at least this size get their final size at the beginning. For a smaller file the call takes longer than
/// writing the file again.
pub(super) const SIZED_BYTES: u64 = 1 << 20;
/// The maximum content, with holes, of the members that are not written: 64 TiB. No filesystem limits the size of such
/// members, and the digest of their holes takes time: 20 ms for this size, an hour for 2^63 bytes.
const MAX_SKIPPED_BYTES: u64 = 64 << 40;

/// Why the content of a file is not complete.
pub(super) enum Incomplete {
    /// The stream failed, or was stopped.
    Stream(Error),
    /// Writing failed after this many bytes.
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
    /// Whether to allocate all space, also for holes.
    pub(super) preallocate: bool,
    /// Whether a part of the content exists from a previous attempt and is not written again.
    pub(super) is_reused: bool,
    /// Whether the file may share blocks of the source. It is then also open for reading.
    pub(super) shares: bool,
}

/// Writes the content of the current member of `archive`. Runs of zeros become holes, or are allocated.
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
    let mut is_held = manner.is_reused;
    let mut is_shared = false;
    let mut page_cache = DropAfterWrite::default();
    while let Some((offset, piece)) = archive.next_data(STEP_BYTES)? {
        Error::check(stop)?;
        if is_held && !matches!(piece, Piece::Kept(_) | Piece::Offer(_)) {
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
                return Err(not_held().into());
            }
            Piece::Offer(offer) if manner.shares && !manner.preallocate => {
                is_shared = reflink::accept(offer, file).map_err(failed_at(room.end))?;
                if is_shared {
                    // The file now has the holes and the size of the source.
                    room.zeros_are_there = true;
                    room.end = size_bytes;
                }
            }
            Piece::Offer(_) => {}
            Piece::Shared(_) if is_shared => {}
            Piece::Shared(_) => {
                return Err(Error::damaged("the stream leaves out content that is not shared").into());
            }
            Piece::Zeros(_) if room.zeros_are_there => {}
            Piece::Zeros(len) => {
                fill_with_zeros(file, offset, len, stop)?;
                room.end = room.end.max(offset + len);
            }
        }
    }
    if is_held { Ok(()) } else { room.finish(stop) }
}

/// The size and allocation of a file.
struct FileAllocation<'a> {
    file: &'a File,
    size_bytes: u64,
    preallocate: bool,
    /// Whether unwritten ranges read as zeros, and are allocated if `preallocate` is set.
    zeros_are_there: bool,
    /// The current end of the file.
    end: u64,
}

impl FileAllocation<'_> {
    /// Prepares the file before the first byte is written.
    fn prepare(&mut self) -> Result<(), Incomplete> {
        if self.preallocate {
            // This sets the size of the file. If it does not, zeros are written up to that size.
            self.zeros_are_there = allocate(self.file, self.size_bytes).map_err(failed_at(self.end))?;
            self.end = self.size_bytes;
        } else if self.size_bytes >= SIZED_BYTES {
            // If the target is killed, it leaves a file of the size that its digest covers (docs/protocol.md section
            // 5). Some filesystems only support writing from the beginning to the end: there the size grows, and zeros
            // are written.
            match ftruncate(self.file, self.size_bytes) {
                Ok(()) => self.end = self.size_bytes,
                Err(errno) if Call::Truncate.is_dispensable(errno) => self.zeros_are_there = false,
                Err(errno) => return Err(failed_at(self.end)(errno.into())),
            }
        }
        Ok(())
    }

    /// Removes the content of a previous attempt, starting at `offset`.
    fn cut(&mut self, offset: u64) -> Result<(), Incomplete> {
        self.end = offset;
        self.resize(offset)?;
        self.prepare()
    }

    fn finish(&self, stop: &Stop) -> Result<(), Incomplete> {
        if self.end >= self.size_bytes {
            Ok(())
        } else {
            lengthen(self.file, self.end, self.size_bytes, stop)
        }
    }

    fn resize(&self, bytes: u64) -> Result<(), Incomplete> {
        ftruncate(self.file, bytes).map_err(io::Error::from).map_err(failed_at(self.end))
    }
}

/// Counts the content of a stream that is skipped.
#[derive(Debug, Default)]
pub(crate) struct Skipped {
    content_bytes: u64,
}

impl Skipped {
    /// Skips the content of `entry`, the current member of `archive`. Unlike `next_entry`, this checks for a stop.
    ///
    /// Errors: `Kind::Damaged`, before anything is read, if the total of skipped content exceeds [`MAX_SKIPPED_BYTES`].
    pub(crate) fn skip<P: Pull + ?Sized>(
        &mut self,
        archive: &mut ArchiveReader<'_, P>,
        entry: &Entry,
        stop: &Stop,
    ) -> Result<(), Error> {
        self.content_bytes = self.content_bytes.saturating_add(entry.size_bytes);
        if self.content_bytes > MAX_SKIPPED_BYTES {
            let name = shown(&entry.name);
            let text =
                format!("{name}: the members that are not written have more than {MAX_SKIPPED_BYTES} bytes");
            return Err(Error::damaged(text));
        }
        while archive.next_data(STEP_BYTES)?.is_some() {
            Error::check(stop)?;
        }
        Ok(())
    }
}

/// Allocates the file. Returns `false` if the filesystem cannot allocate without writing.
fn allocate(file: &File, size_bytes: u64) -> io::Result<bool> {
    match retry_on_intr(|| fallocate(file, FallocateFlags::empty(), 0, size_bytes)) {
        Ok(()) => Ok(true),
        Err(errno) if Call::Allocate.is_dispensable(errno) => Ok(false),
        Err(cause) => Err(cause.into()),
    }
}

/// Extends a file that ends at `end` to `size_bytes`. The added range reads as zeros.
pub(super) fn lengthen(file: &File, end: u64, size_bytes: u64, stop: &Stop) -> Result<(), Incomplete> {
    match ftruncate(file, size_bytes) {
        Err(errno) if Call::Truncate.is_dispensable(errno) => {
            fill_with_zeros(file, end, size_bytes - end, stop)
        }
        resized => resized.map_err(io::Error::from).map_err(failed_at(end)),
    }
}

fn fill_with_zeros(file: &File, offset: u64, len: u64, stop: &Stop) -> Result<(), Incomplete> {
    write_zeros(offset, len, stop, |offset, zeros| {
        file.write_all_at(zeros, offset).map_err(failed_at(offset))
    })
}

/// The error of a write at this offset.
pub(super) fn failed_at(written_bytes: u64) -> impl Fn(io::Error) -> Incomplete {
    move |cause| Incomplete::Write { cause, written_bytes }
}
