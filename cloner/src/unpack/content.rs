//! The content of one regular file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use decant_shared::stop::Stop;
use rustix::fs::{FallocateFlags, fallocate, ftruncate};
use rustix::io::Errno;

use crate::archive::read::ArchiveReader;
use crate::error::Error;
use crate::stream::{Piece, Pull};

/// Between two of these the stop token is asked, in bytes.
pub(super) const STEP_BYTES: u64 = 1 << 20;
/// Zeros are written from here where they cannot be had cheaper.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

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

/// Writes the content of the member that `archive` is at. Zero runs become holes, or are allocated when asked.
pub(super) fn write_content<P: Pull + ?Sized>(
    archive: &mut ArchiveReader<'_, P>,
    file: &File,
    size_bytes: u64,
    preallocate: bool,
    stop: &Stop,
) -> Result<(), Incomplete> {
    if size_bytes == 0 {
        return Ok(());
    }
    let zeros_are_there = !preallocate || allocate(file, size_bytes).map_err(failed_at(0))?;
    // With preallocation the file has its size already, or gets it by writing zeros.
    let mut end = if preallocate { size_bytes } else { 0 };
    while let Some((offset, piece)) = archive.next_data(STEP_BYTES)? {
        Error::check(stop)?;
        match piece {
            Piece::Data(bytes) => {
                file.write_all_at(bytes, offset).map_err(failed_at(offset))?;
                end = end.max(offset + piece.len());
            }
            Piece::Kept(_) => {
                return Err(Error::damaged("content that is said to be here, and is not").into());
            }
            Piece::Zeros(_) if zeros_are_there => {}
            Piece::Zeros(len) => write_zeros(file, offset, len, stop)?,
        }
    }
    if end < size_bytes {
        ftruncate(file, size_bytes).map_err(io::Error::from).map_err(failed_at(end))?;
    }
    Ok(())
}

/// Drops the content of the member that `archive` is at. `next_entry` would do it too, but not hear a stop.
pub(super) fn skip_content<P: Pull + ?Sized>(
    archive: &mut ArchiveReader<'_, P>,
    stop: &Stop,
) -> Result<(), Error> {
    while archive.next_data(STEP_BYTES)?.is_some() {
        Error::check(stop)?;
    }
    Ok(())
}

/// Whether the filesystem can allocate without writing.
fn allocate(file: &File, size_bytes: u64) -> io::Result<bool> {
    match fallocate(file, FallocateFlags::empty(), 0, size_bytes) {
        Ok(()) => Ok(true),
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(false),
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
