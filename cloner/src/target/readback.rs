//! Reads back what an earlier attempt, or an earlier process, left of an image.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use decant_shared::contract::ContentType;
use decant_shared::progress::{Phase, Progress};
use decant_shared::stop::Stop;
use rustix::fs::OFlags;

use super::Destination;
use super::image::leftover::temporary_name;
use crate::digest::check::HELD_LIMIT;
use crate::digest::hashing::Hashing;
use crate::digest::{Digest, SEGMENT_BYTES};
use crate::error::{Error, Result};
use crate::pack::plan::Options;
use crate::source::read::read_range;
use crate::source::volume::Volume;
use crate::unpack::{FRESH, STAGING_NAME};

/// The digests of the first whole segments of the tree that an attempt left; none where it left nothing.
pub fn tree(destination: &Destination, progress: &Progress, stop: &Stop) -> Result<Vec<Digest>> {
    // On a device there is only the image that was in the tree, and none of the rest.
    let Destination::Folder { path, .. } = destination else { return Ok(Vec::new()) };
    let path = path.join(STAGING_NAME).join(FRESH);
    if !path.is_dir() {
        return Ok(Vec::new());
    }
    log::info!("reading back what an attempt before left in {}", path.display());
    progress.restart();
    progress.enter(Phase::Verify);
    let volume = Volume::open(&path, ContentType::Filesystem, Options::CONTENT, stop)?;
    let held = volume.first_segments(HELD_LIMIT, stop, &|len| progress.add_read_bytes(len));
    progress.restart();
    held
}

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
