//! Reads back what a previous attempt or a previous process left. Previous users of the volume may have left anything
//! there: no symlink is followed, and only Decant's own files and directories are read. Leftovers that are of no use
//! count as nothing: the clone then restarts from zero and removes them.

use std::fs::File;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use decant_shared::process::stop::Stop;
use decant_shared::protocol::progress::{Phase, Progress};
use rustix::fs::OFlags;

use crate::digest::{Digest, HELD_LIMIT, SEGMENT_BYTES};
use crate::error::{Error, Kind, Result};
use crate::volume::Volume;
use crate::volume::destination::Destination;
use crate::volume::hashing::HashingSink;
use crate::volume::image::leftover;
use crate::volume::layout::STAGING_NAME;
use crate::volume::raw::read_range;
use crate::volume::tree::read::plan::Options;
use crate::volume::tree::write::staging::left_over;

/// The digests of the first whole segments of the tree that a previous attempt left; empty if it left none.
pub fn tree(destination: &Destination, progress: &Progress, stop: &Stop) -> Result<Vec<Digest>> {
    // A device receives only the image of the tree, so nothing of the tree can be resumed there.
    let Destination::Directory { path, .. } = destination else { return Ok(Vec::new()) };
    let Some(fresh) = left_over(leftover::open_directory(path)?) else { return Ok(Vec::new()) };
    let path = path.join(STAGING_NAME);
    log::info!("reading back what a previous attempt left in {}", path.display());
    progress.restart();
    progress.enter(Phase::Verify);
    let volume = Volume::of_directory(fresh, &path, Options::CONTENT, stop);
    let held = volume
        .and_then(|volume| volume.first_segments(HELD_LIMIT, stop, &|len| progress.add_read_bytes(len)));
    progress.restart();
    unless_useless(held, Vec::new())
}

/// What was read, or `nothing` if it cannot be read. A stop is still an error.
fn unless_useless<T>(read: Result<T>, nothing: T) -> Result<T> {
    match read {
        Err(error) if !matches!(error.kind(), Kind::Signal(_) | Kind::Neighbour) => {
            log::warn!("what a previous attempt left cannot be used: {error}");
            Ok(nothing)
        }
        read => read,
    }
}

/// The digest of the `len` bytes of segment `index` as they are on the destination now; `None` if some of them are
/// missing. Writes nothing.
pub fn segment(destination: &Destination, index: u64, len: u64, stop: &Stop) -> Result<Option<Digest>> {
    let (file, path) = match destination {
        Destination::Device(path) => {
            let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0);
            let Ok(file) = File::options().read(true).custom_flags(flags).open(path) else { return Ok(None) };
            if !file.metadata().is_ok_and(|meta| meta.file_type().is_block_device()) {
                return Ok(None);
            }
            (file, path.clone())
        }
        Destination::Directory { path, image_name } => {
            let Some(file) = leftover::readable(path, image_name)? else { return Ok(None) };
            (file, path.join(image_name))
        }
    };
    unless_useless(segment_of(&file, &path, index, len, stop), None)
}

fn segment_of(file: &File, path: &Path, index: u64, len: u64, stop: &Stop) -> Result<Option<Digest>> {
    let size_bytes = rustix::fs::seek(file, rustix::fs::SeekFrom::End(0))
        .map_err(|e| Error::target("measure", path, e.into()))?;
    let (Some(start), 1..=SEGMENT_BYTES) = (index.checked_mul(SEGMENT_BYTES), len) else { return Ok(None) };
    let Some(end) = start.checked_add(len).filter(|&end| end <= size_bytes) else { return Ok(None) };
    let mut hashing = HashingSink::new(stop, &|_| {});
    read_range(file, path, start..end, &mut hashing)?;
    hashing.segments().finish();
    Ok(hashing.segments().next_complete().map(|run| run.digest))
}
