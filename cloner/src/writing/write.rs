//! Writes a stream to its destination: the four combinations of docs/protocol.md section 2.6.

use std::os::fd::OwnedFd;
use std::path::Path;

use decant_shared::process::stop::Stop;
use decant_shared::protocol::cdi::ContentType;
use decant_shared::protocol::progress::Phase;
use rustix::fs::{Mode, OFlags};

use crate::attributes::Kinds;
use crate::attributes::not_kept::NotKept;
use crate::digest::ContentDigest;
use crate::error::{Error, Result};
use crate::tar::reader::ArchiveReader;
use crate::volume::destination::Destination;
use crate::volume::image::Medium;
use crate::volume::image::device::Device;
use crate::volume::image::file::{FileOptions, ImageFile};
use crate::volume::image::in_archive::find_image;
use crate::volume::image::writer::ImageWriter;
use crate::volume::tree::write::UnpackOptions;
use crate::volume::tree::write::attributes::may_give_away;
use crate::volume::tree::write::unpack_tree_and;
use crate::writing::checked_stream::CheckedStream;
use crate::writing::sync::{Synced, paced};
use crate::writing::{Verification, Writing, verify};

/// A stream that was written and synced.
pub struct WriteResult {
    /// Its length.
    pub stream_bytes: u64,
    /// The verification of its content.
    pub verification: Verification,
    /// Attributes of entries that could not be kept.
    pub not_kept: NotKept,
}

/// Writes the whole stream and syncs it. `announced_bytes` is the length that the sender announced: a raw image that
/// cannot fit on a device (or, with preallocation, in its volume) is refused before anything is written. With
/// `resumes`, the image continues from where the previous attempt ended.
pub fn write_destination<'a>(
    writing: &Writing,
    content: ContentType,
    announced_bytes: Option<u64>,
    resumes: bool,
    stream: &mut impl CheckedStream<'a>,
    stop: &Stop,
) -> Result<WriteResult> {
    let not_kept = match (content, &writing.destination) {
        (ContentType::Filesystem, Destination::Directory { path, .. }) => {
            tree_to_directory(writing, path, resumes, stream, stop)?
        }
        _ => {
            let lost = image(writing, content, announced_bytes, resumes, stream, stop)?;
            let mut not_kept = NotKept::default();
            not_kept.add(lost, || writing.destination.image_label());
            if !not_kept.is_empty() {
                log::info!("not kept: {not_kept}");
            }
            not_kept
        }
    };
    let (stream_bytes, verification) = stream.finish()?;
    Ok(WriteResult { stream_bytes, verification, not_kept })
}

/// Writes a disk image that arrives as a raw stream or in an archive.
fn image<'a>(
    writing: &Writing,
    content: ContentType,
    announced_bytes: Option<u64>,
    resumes: bool,
    stream: &mut impl CheckedStream<'a>,
    stop: &Stop,
) -> Result<Kinds> {
    match (content, &writing.destination) {
        (ContentType::Filesystem, Destination::Device(path)) => {
            let mut device = Device::open(path, writing.preallocate)?;
            let synced = synced(&device, path)?;
            paced(stream, synced, stop, |stream| {
                let mut image = ImageWriter::new(&mut device, writing.preallocate, stop);
                if writing.read_back {
                    // The sender's digest covers all files of the archive.
                    image = image.digesting();
                }
                let verifier = stream.verifier();
                find_image(&mut ArchiveReader::verified(stream, verifier), &mut image, stop)?;
                stream.finish()?;
                let digest = image.digest();
                image.finish()?;
                read_back(&mut device, path, digest, stream, stop)?;
                Ok(Kinds::default())
            })
        }
        (ContentType::Block, Destination::Device(path)) => {
            let mut device = Device::open(path, writing.preallocate)?;
            let synced = synced(&device, path)?;
            paced(stream, synced, stop, |stream| {
                raw_to_medium(writing, &mut device, path, announced_bytes, stream, stop)
            })
        }
        (_, Destination::Directory { path, image_name }) => {
            let options = FileOptions {
                mode: writing.image_mode,
                grow_to_bytes: writing.grow_to_bytes,
                preallocate: writing.preallocate,
                keep_partial: writing.keep_partial,
                is_exact: writing.is_exact,
                shares: writing.shares,
            };
            let mut file = if resumes {
                ImageFile::reopen(path, image_name, options, stop)?
            } else {
                ImageFile::create(path, image_name, options, stop)?
            };
            let synced = synced(&file, path)?;
            paced(stream, synced, stop, |stream| {
                raw_to_medium(writing, &mut file, path, announced_bytes, stream, stop)
            })
        }
    }
}

fn synced(medium: &impl Medium, path: &Path) -> Result<Synced> {
    medium
        .file()
        .map(|file| Synced::File(file, path.to_owned()))
        .map_err(|e| Error::target("open again", path, e))
}

fn raw_to_medium<'a>(
    writing: &Writing,
    medium: &mut impl Medium,
    path: &Path,
    announced_bytes: Option<u64>,
    stream: &mut impl CheckedStream<'a>,
    stop: &Stop,
) -> Result<Kinds> {
    let mut image = ImageWriter::new(medium, writing.preallocate, stop);
    image.write_stream(stream, announced_bytes)?;
    let found = stream.finish()?;
    image.finish()?;
    read_back(medium, path, writing.read_back.then_some(found.1.content_digest), stream, stop)?;
    medium.publish()?;
    Ok(medium.lost())
}

/// Compares a sealed image with the digest of what was written, if there is one.
fn read_back<'a>(
    medium: &mut impl Medium,
    path: &Path,
    written: Option<ContentDigest>,
    stream: &impl CheckedStream<'a>,
    stop: &Stop,
) -> Result<()> {
    let Some(written) = written else { return Ok(()) };
    stream.progress().enter(Phase::Verify);
    let file = medium.readable().map_err(|e| Error::target("open again", path, e))?;
    verify::compare(written, verify::image(&file, path, written.content_bytes, stop)?, path)
}

fn tree_to_directory<'a>(
    writing: &Writing,
    path: &Path,
    resume: bool,
    stream: &mut impl CheckedStream<'a>,
    stop: &Stop,
) -> Result<NotKept> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::open(path, flags, Mode::empty())
        .map_err(|e| Error::target("open the directory", path, e.into()))?;
    let options = UnpackOptions {
        preallocate: writing.preallocate,
        own: may_give_away(),
        is_exact: writing.is_exact,
        resume,
        keep_partial: writing.keep_partial,
        is_made: writing.is_made,
        finishes_apart: writing.finishes_apart,
        shares: writing.shares,
    };
    let synced = directory.try_clone().map_err(|e| Error::target("open again", path, e))?;
    let verifier = stream.verifier();
    let progress = stream.progress();
    let before_names = |fresh: OwnedFd, fresh_path: &Path| match verifier.found() {
        Some(written) if writing.read_back => {
            progress.enter(Phase::Verify);
            verify::compare(written, verify::tree(fresh, fresh_path, stop)?, path)
        }
        _ => Ok(()),
    };
    let done = paced(stream, Synced::Tree(synced, path.to_owned()), stop, |stream| {
        let mut archive = ArchiveReader::verified(stream, verifier.clone());
        unpack_tree_and(&mut archive, &directory, path, options, stop, &before_names)
    })?;
    log::info!("{} files and {} other entries written to {}", done.files, done.others, path.display());
    if !done.not_kept.is_empty() {
        log::info!("not kept: {}", done.not_kept);
    }
    Ok(done.not_kept)
}
