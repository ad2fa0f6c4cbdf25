//! Writes the tree that an archive holds into a directory.
//!
//! A tree first grows in a staging directory inside the target directory. Only an archive that arrived complete and
//! intact is moved to its final names, so nothing half-written ever stands there and leftovers of a former
//! attempt are never in the way (what CDI does instead: contract 8, #27).

pub(crate) mod attributes;
pub(crate) mod beneath;
pub(crate) mod content;
mod directories;
mod folding;
mod hard_link;
mod late;
mod member_name;
mod obstacle;
pub mod options;
mod parts;
mod put_back;
mod reveal;
pub(crate) mod staging;
mod subject;
mod tree;

use std::path::Path;

use decant_shared::process::stop::Stop;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::syncfs;

use crate::error::{Error, Kind, Result};
use crate::stream::Pull;
use crate::tar::reader::ArchiveReader;
use crate::volume::optional_calls::Call;
use crate::volume::tree::read::plan::Options;
use crate::volume::tree::read::scan::scan;
use crate::volume::tree::write::attributes::Attributes;
use crate::volume::tree::write::folding::Folding;
use crate::volume::tree::write::options::{UnpackOptions, Unpacked};
use crate::volume::tree::write::reveal::Reveal;
use crate::volume::tree::write::staging::Staging;
use crate::volume::tree::write::tree::{Finished, TreeWriter};

/// Unpacks an archive into the directory `target` and syncs it. `target` must be open for reading (not
/// `O_PATH`); `path` is its name in messages. Names that stand in the directory already are replaced, all others
/// stay.
///
/// Errors: `Kind::Damaged` names the member that is broken or leads out of the directory; `Kind::NoSpace` and
/// `Kind::Target` name the member that could not be written. After an error or a stop the directory is as before,
/// but for what could not be removed within a second after the stop: the next attempt removes that.
pub fn unpack_tree(
    pull: &mut (impl Pull + ?Sized),
    target: impl AsFd,
    path: &Path,
    options: UnpackOptions,
    stop: &Stop,
) -> Result<Unpacked> {
    unpack_tree_and(&mut ArchiveReader::new(pull), target, path, options, stop, &|_, _| Ok(()))
}

/// What looks at a complete and synced tree before it gets its names: at the open directory, whose path is for messages.
pub type BeforeNames<'a> = dyn Fn(OwnedFd, &Path) -> Result<()> + 'a;

/// The same; `before_names` looks at the complete and synced tree before it gets its names.
pub fn unpack_tree_and(
    archive: &mut ArchiveReader<'_, impl Pull + ?Sized>,
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
            .directory()
            .try_clone_to_owned()
            .ok()
            .map_or_else(|| Folding::of(None), |staging| Folding::of(Some(staging)))
    };
    let folds = folding().folds();
    let mut has_lost_names = false;
    let result = not_folding(options.resume && folds, path)
        .and_then(|()| fill(archive, &staging, folding(), path, options, stop));
    let result = result.and_then(|mut finished| {
        if options.resume {
            nothing_else_is_in(&staging, path, &finished.done, stop)?;
        }
        // Before anything gets its final name: an error of delayed writing shows here.
        sync(target, path)?;
        before_names(staging.fresh()?, &staging.fresh_path(path))?;
        std::mem::take(&mut finished.late).settle(staging.fresh_directory(), &mut finished.done.not_kept)?;
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
    archive: &mut ArchiveReader<'_, impl Pull + ?Sized>,
    staging: &Staging,
    folding: Folding,
    path: &Path,
    options: UnpackOptions,
    stop: &Stop,
) -> Result<Finished> {
    let mut writer = TreeWriter::new(staging.fresh()?, folding, path, options, stop);
    while let Some(entry) = archive.next_entry()? {
        Error::check(stop)?;
        writer.write(archive, &entry)?;
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

/// The directory may belong to another user (a volume's root does); then it stays as it is.
fn apply_to_root(attributes: &Attributes, target: BorrowedFd<'_>, path: &Path) -> Result<()> {
    let lost = attributes.apply_to(target);
    if !lost.map_err(|cause| Error::target("finish", path, cause.into()))?.is_empty() {
        log::debug!("{} does not get the mode and time that the archive has for it", path.display());
    }
    Ok(())
}
