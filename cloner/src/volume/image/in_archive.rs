//! Finds the disk image in an archive, for a target that is a device.

use decant_shared::process::stop::Stop;

use crate::error::{Error, Result};
use crate::stream::{Piece, Pull};
use crate::tar::entry::EntryKind;
use crate::tar::reader::ArchiveReader;
use crate::volume::tree::write::content::{STEP_BYTES, Skipped};

/// A destination for a disk image. The calls have ascending offsets without gaps, up to the size of the image.
pub trait ImageSink {
    /// Called when the image was found. `size_bytes` is its size with holes.
    fn begin(&mut self, size_bytes: u64) -> Result<()>;

    /// Takes the bytes at `offset`.
    fn data(&mut self, offset: u64, bytes: &[u8]) -> Result<()>;

    /// Takes `len` zero bytes at `offset`. A hole is one call, so `len` may be as large as the image.
    fn zeros(&mut self, offset: u64, len: u64) -> Result<()>;

    /// Called for `len` bytes at `offset` that the target already holds.
    fn kept(&mut self, offset: u64, len: u64) -> Result<()>;
}

/// What an archive contained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FoundImage {
    /// Size of the image with its holes.
    pub size_bytes: u64,
    /// The number of members that are not the image, without the top directory of the archive.
    pub skipped: u64,
}

/// Writes the regular file `disk.img` at the top of the archive to `sink`, skips all other members, and reads the
/// stream to its end. Only a regular file with exactly that name counts: not `old-disk.img.bak`, and not a directory
/// (docs/migrate-from-cdi.md row 28).
///
/// Errors: `Kind::Damaged` if there is no such file ("no disk image found in tar"), or if the other members have more
/// than 64 TiB.
pub fn find_image(
    archive: &mut ArchiveReader<'_, impl Pull + ?Sized>,
    sink: &mut impl ImageSink,
    stop: &Stop,
) -> Result<FoundImage> {
    let mut image = None;
    let mut skipped = 0_u64;
    let mut dropped = Skipped::default();
    let mut almost = "";
    while let Some(entry) = archive.next_entry()? {
        Error::check(stop)?;
        let has_name = matches!(entry.name.as_slice(), b"disk.img" | b"./disk.img");
        match entry.kind {
            EntryKind::File if has_name => {
                if image.replace(entry.size_bytes).is_some() {
                    return Err(Error::damaged("the archive contains disk.img twice"));
                }
                sink.begin(entry.size_bytes)?;
                deliver(archive, sink, stop)?;
            }
            EntryKind::Directory if matches!(entry.name.as_slice(), b"./" | b".") => {}
            _ => {
                skipped += 1;
                dropped.skip(archive, &entry, stop)?;
                if has_name {
                    almost = ": disk.img is not a regular file";
                }
            }
        }
    }
    let Some(size_bytes) = image else {
        return Err(Error::damaged(format!("no disk image found in tar{almost}")));
    };
    if skipped > 0 {
        log::warn!("{skipped} members of the archive are not written: the target only takes disk.img");
    }
    Ok(FoundImage { size_bytes, skipped })
}

fn deliver<P: Pull + ?Sized>(
    archive: &mut ArchiveReader<'_, P>,
    sink: &mut impl ImageSink,
    stop: &Stop,
) -> Result<()> {
    while let Some((offset, piece)) = archive.next_data(STEP_BYTES)? {
        Error::check(stop)?;
        match piece {
            Piece::Data(bytes) => sink.data(offset, bytes)?,
            Piece::Zeros(len) => sink.zeros(offset, len)?,
            Piece::Kept(len) => sink.kept(offset, len)?,
            Piece::Offer(_) => {}
            Piece::Shared(_) => return Err(Error::damaged("a device cannot share blocks")),
        }
    }
    Ok(())
}
