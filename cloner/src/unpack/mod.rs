//! Writes what an archive holds: a tree into a folder, or the disk image in it to wherever an image goes.
//!
//! A tree first grows in a staging folder inside the target folder. Only an archive that arrived complete and
//! intact is moved to its final names, so nothing half-written ever stands there and leftovers of a former
//! attempt are never in the way (what CDI does instead: contract 8, #27).

pub(crate) mod attributes;
mod behind;
pub(crate) mod beneath;
mod content;
mod folders;
mod folding;
mod hard_link;
pub mod image;
mod late;
mod member_name;
mod obstacle;
mod parts;
mod put_back;
pub(crate) mod remove;
pub(crate) mod reserved;
mod reveal;
mod staging;
mod subject;
mod tree;

use std::path::Path;

use decant_shared::process::stop::Stop;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::syncfs;

use crate::archive::read::ArchiveReader;
use crate::attribute::not_kept::NotKept;
use crate::error::{Error, Kind, Result};
use crate::optional::Call;
use crate::pack::plan::Options;
use crate::pack::scan::scan;
use crate::stream::Pull;
use crate::unpack::attributes::Attributes;
use crate::unpack::folding::Folding;
use crate::unpack::reveal::Reveal;
use crate::unpack::staging::Staging;
use crate::unpack::tree::{Finished, TreeWriter};

pub use crate::unpack::staging::STAGING_NAME;
pub(crate) use crate::unpack::staging::{MADE, REPLACED, WRITER, identity_words, left_over, mark_made};

/// What to do besides writing names and content.
#[derive(Debug, Clone, Copy, Default)]
pub struct UnpackOptions {
    /// Allocate every byte of every file; no holes.
    pub preallocate: bool,
    /// Restore owners and groups. Otherwise they stay those of this process, and are counted where they differ.
    pub own: bool,
    /// The archive says everything about its entries, so that they do not get what the target folder hands down: its
    /// default access control list.
    pub is_exact: bool,
    /// Go on with what an attempt before left, which the stream passes over.
    pub resume: bool,
    /// Leave what was written when the stream ends early, for an attempt that goes on.
    pub keep_partial: bool,
    /// The folder that is unpacked into was made by this copy, and goes again with it.
    pub is_made: bool,
}

/// What was written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unpacked {
    /// Regular files.
    pub files: u64,
    /// Folders, symbolic and hard links, pipes and devices.
    pub others: u64,
    /// Members in `lost+found`, which belongs to the filesystem and not to the volume's user.
    pub skipped: u64,
    /// Content of the files with their holes, in bytes.
    pub content_bytes: u64,
    /// What could not be kept, for want of permission or because the filesystem cannot hold it.
    pub not_kept: NotKept,
}

/// Unpacks an archive into the folder `target` and syncs it. `target` must be open for reading (not
/// `O_PATH`); `path` is its name in messages. Names that stand in the folder already are replaced, all others
/// stay.
///
/// Errors: `Kind::Damaged` names the member that is broken or leads out of the folder; `Kind::NoSpace` and
/// `Kind::Target` name the member that could not be written. After an error or a stop the folder is as before,
/// but for what could not be removed within a second after the stop: the next attempt removes that.
pub fn unpack_tree(
    pull: &mut (impl Pull + ?Sized),
    target: impl AsFd,
    path: &Path,
    options: UnpackOptions,
    stop: &Stop,
) -> Result<Unpacked> {
    unpack_tree_and(pull, target, path, options, stop, &|_, _| Ok(()))
}

/// What looks at a complete and synced tree before it gets its names: at the open folder, whose path is for messages.
pub type BeforeNames<'a> = dyn Fn(OwnedFd, &Path) -> Result<()> + 'a;

/// The same; `before_names` looks at the complete and synced tree before it gets its names.
pub fn unpack_tree_and(
    pull: &mut (impl Pull + ?Sized),
    target: impl AsFd,
    path: &Path,
    options: UnpackOptions,
    stop: &Stop,
    before_names: &BeforeNames<'_>,
) -> Result<Unpacked> {
    let target = target.as_fd();
    if let Some(obstacle) = obstacle::of_target(target) {
        let path = path.display();
        return Err(Error::new(Kind::Target, format!("cannot write to {path}: {obstacle}")));
    }
    let staging = match options.resume {
        true => Staging::reopen(target, path, stop)?,
        false => Staging::create(target, path, options.is_exact, options.is_made, stop)?,
    };
    let folding = || {
        staging
            .folder()
            .try_clone_to_owned()
            .ok()
            .map_or_else(|| Folding::of(None), |staging| Folding::of(Some(staging)))
    };
    let folds = folding().folds();
    let mut has_lost_names = false;
    let result = not_folding(options.resume && folds, path)
        .and_then(|()| fill(pull, &staging, folding(), path, options, stop));
    let result = result.and_then(|mut finished| {
        if options.resume {
            nothing_else_is_in(&staging, path, &finished.done, stop)?;
        }
        // Before anything gets its final name: an error of delayed writing shows here.
        sync(target, path)?;
        before_names(staging.fresh()?, &staging.fresh_path(path))?;
        std::mem::take(&mut finished.late).settle(staging.fresh_folder(), &mut finished.done.not_kept)?;
        // What an attempt before left was counted as a whole.
        let names = (!options.resume).then_some(finished.top_names);
        let reveal = Reveal { staging: &staging, target, path, names, folds };
        reveal.run(stop).map_err(|error| {
            has_lost_names = reveal.has_lost_names();
            if has_lost_names { error.followed_by(&reveal.lost_names()) } else { error }
        })?;
        Ok(finished)
    });
    let result =
        if options.resume { result.map_err(|error| blamed_on_leftover(error, path)) } else { result };
    let is_kept = options.keep_partial && result.as_ref().is_err_and(leaves_something);
    if !is_kept && !has_lost_names {
        let place = staging.path(path);
        if let Err(why) = staging.remove(target, stop) {
            let place = place.display();
            // A success with remains is told also where only errors are.
            match &result {
                Ok(_) => log::error!(
                    "the clone is complete, but {place}, which holds what it replaced, cannot be removed: {why}; remove it by hand"
                ),
                Err(_) => log::warn!("cannot remove {place}: {why}"),
            }
        }
    }
    let Finished { done, root, .. } = result?;
    if let Some(root) = root {
        apply_to_root(&root, target, path)?;
    }
    // The new names, too, are only safe once they are on disk.
    sync(target, path)?;
    Ok(done)
}

/// Syncs the filesystem. One that cannot be synced as a whole had its files synced one by one.
fn sync(target: BorrowedFd<'_>, path: &Path) -> Result<()> {
    match syncfs(target) {
        Err(cause) if !Call::SyncFilesystem.is_dispensable(cause) => {
            Err(Error::target("sync", path, cause.into()))
        }
        _ => Ok(()),
    }
}

/// What an attempt before left may have names in another spelling than the source, where it cannot be told.
fn not_folding(folds: bool, path: &Path) -> Result<()> {
    if !folds {
        return Ok(());
    }
    let text = format!(
        "cannot resume in {}: this filesystem folds case or normalizes names; the next attempt begins from zero",
        path.display()
    );
    Err(Error::new(Kind::Leftover, text))
}

/// Writes all members.
fn fill(
    pull: &mut (impl Pull + ?Sized),
    staging: &Staging,
    folding: Folding,
    path: &Path,
    options: UnpackOptions,
    stop: &Stop,
) -> Result<Finished> {
    let mut archive = ArchiveReader::new(pull);
    let mut writer = TreeWriter::new(staging.fresh()?, folding, path, options, stop);
    while let Some(entry) = archive.next_entry()? {
        Error::check(stop)?;
        writer.write(&mut archive, &entry)?;
    }
    writer.finish()
}

/// Whether an unpacking that failed like this can be gone on with: not where it did not fit, where the volume is at
/// fault, or where it was not what the source has.
pub fn leaves_something(error: &Error) -> bool {
    !matches!(error.kind(), Kind::NoSpace | Kind::Target | Kind::Leftover)
}

/// What an attempt before left may be such that nothing can be written into it. Whether it is that, or the volume itself,
/// the next attempt shows, which begins from zero.
fn blamed_on_leftover(error: Error, path: &Path) -> Error {
    match error.kind() {
        Kind::Target => {
            let path = path.display();
            let text = format!("cannot resume in {path}: {error}; the next attempt begins from zero");
            Error::new(Kind::Leftover, text)
        }
        _ => error,
    }
}

/// An attempt before may have written what the source does not have any more. All that it has was written or found by
/// now, so the number tells.
fn nothing_else_is_in(staging: &Staging, path: &Path, done: &Unpacked, stop: &Stop) -> Result<()> {
    let found = scan(&staging.fresh()?, path, Options { sparse: false, attributes: false }, stop)?.entries;
    if found == done.files + done.others {
        return Ok(());
    }
    let text = format!(
        "an attempt before left entries in {} that the source does not have any more; the next one begins anew",
        path.display()
    );
    Err(Error::new(Kind::Leftover, text))
}

/// The folder may belong to another user (a volume's root does); then it stays as it is.
fn apply_to_root(attributes: &Attributes, target: BorrowedFd<'_>, path: &Path) -> Result<()> {
    let lost = attributes.apply_to(target);
    if !lost.map_err(|cause| Error::target("finish", path, cause.into()))?.is_empty() {
        log::debug!("{} does not get the mode and time that the archive has for it", path.display());
    }
    Ok(())
}
