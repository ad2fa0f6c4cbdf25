//! Reads back what an earlier attempt, or an earlier process, left of an image.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use decant_shared::stop::Stop;
use rustix::fs::OFlags;

use super::Destination;
use super::image::leftover::temporary_name;
use crate::digest::hashing::Hashing;
use crate::digest::{Digest, SEGMENT_BYTES};
use crate::error::{Error, Result};
use crate::source::read::read_range;

/// The digest of the `len` bytes of segment `index` as they are on the destination now; `None` when they are not
/// all there. Nothing is written.
pub fn segment(destination: &Destination, index: u64, len: u64, stop: &Stop) -> Result<Option<Digest>> {
    let path: PathBuf = match destination {
        Destination::Device(path) => path.clone(),
        Destination::Folder { path, image_name } => path.join(temporary_name(image_name)),
    };
    let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).unwrap_or(0);
    let Ok(file) = File::options().read(true).custom_flags(flags).open(&path) else { return Ok(None) };
    let size_bytes = rustix::fs::seek(&file, rustix::fs::SeekFrom::End(0))
        .map_err(|e| Error::target("measure", &path, e.into()))?;
    let (Some(start), 1..=SEGMENT_BYTES) = (index.checked_mul(SEGMENT_BYTES), len) else { return Ok(None) };
    let Some(end) = start.checked_add(len).filter(|&end| end <= size_bytes) else { return Ok(None) };
    let mut hashing = Hashing::new(stop, &|_| {});
    read_range(&file, &path, start..end, &mut hashing)?;
    hashing.segments().finish();
    Ok(hashing.segments().next_complete().map(|run| run.digest))
}
