//! Writes the tree of an archive into a directory.
//!
//! The tree is first written into a staging directory inside the target directory. Only when the archive is complete
//! and intact are its entries moved to their final names. So an incomplete entry never has a final name, and leftovers
//! of a previous attempt never block a clone (CDI differs: docs/migrate-from-cdi.md row 27).

pub(crate) mod attributes;
pub(crate) mod beneath;
pub(crate) mod content;
mod directories;
mod finisher;
mod folding;
mod late;
mod member_name;
mod obstacle;
mod parts;
mod put_back;
mod reveal;
mod small_content;
pub(crate) mod staging;
mod subject;
mod tree;

use std::path::Path;
use std::thread::scope;

use decant_shared::process::stop::Stop;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::syncfs;

use crate::attributes::not_kept::NotKept;
use crate::error::{Error, Kind, Result};
use crate::stream::Pull;
use crate::tar::reader::ArchiveReader;
use crate::volume::destination::KeepPartial;
use crate::volume::optional_calls::Call;
use crate::volume::tree::read::plan::Options;
use crate::volume::tree::read::scan;
use crate::volume::tree::write::attributes::Attributes;
use crate::volume::tree::write::finisher::Finisher;
use crate::volume::tree::write::folding::Folding;
use crate::volume::tree::write::reveal::Reveal;
use crate::volume::tree::write::staging::Staging;
use crate::volume::tree::write::tree::{Finished, TreeWriter};

/// How a tree is written.
#[derive(Debug, Clone, Copy, Default)]
pub struct UnpackOptions {
    /// Allocate all space of every file, also for holes.
    pub preallocate: bool,
    /// Restore owners and groups. Otherwise entries belong to the user of this process, and different owners count as
    /// lost.
    pub own: bool,
    /// The archive has all attributes of its entries, so the entries do not inherit the default access control list of
    /// the target directory.
    pub is_exact: bool,
    /// Resume a previous attempt. The stream does not contain the content that it wrote.
    pub resume: bool,
    /// When to keep what was written if the stream ends early, so that the next attempt can resume.
    pub keep_partial: KeepPartial,
    /// This copy created the target directory, and removes it if the copy fails.
    pub is_made: bool,
    /// Whether a thread of its own finishes files. For a writer that is slower than what it reads from.
    pub finishes_apart: bool,
    /// Whether the archive may offer to share blocks of the source. Large files are then also opened for reading.
    pub shares: bool,
}

/// What was written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unpacked {
    /// Regular files.
    pub files: u64,
    /// Directories, symbolic and hard links, pipes and devices.
    pub others: u64,
    /// The number of members in `lost+found`, which belongs to the filesystem and not to the volume's user.
    pub skipped: u64,
    /// Content of the files with their holes, in bytes.
    pub content_bytes: u64,
    /// What could not be kept, because permission is missing or the filesystem does not support it.
    pub not_kept: NotKept,
}

/// Unpacks an archive into the directory `target` and syncs it. `target` must be open for reading (not `O_PATH`).
/// `path` is its name in messages. Existing entries with the same names are replaced, and all others stay.
///
/// Errors: `Kind::Damaged` with the member that is damaged or leads out of the directory; `Kind::NoSpace` and
/// `Kind::Target` with the member that could not be written. After an error or a stop the directory is unchanged,
/// except for entries that could not be removed within a second after a stop. The next attempt removes those.
pub fn unpack_tree(
    pull: &mut (impl Pull + ?Sized),
    target: impl AsFd,
    path: &Path,
    options: UnpackOptions,
    stop: &Stop,
) -> Result<Unpacked> {
    unpack_tree_and(&mut ArchiveReader::new(pull), target, path, options, stop, &|_, _| Ok(()))
}

/// A check of the complete and synced tree before its entries get their final names. Takes the open directory and its
/// path for messages.
pub type BeforeNames<'a> = dyn Fn(OwnedFd, &Path) -> Result<()> + 'a;

/// Like [`unpack_tree`]. `before_names` checks the complete and synced tree before its entries get their final names.
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
        // This comes before any entry gets its final name, because it reports errors of delayed writing.
        sync(target, path)?;
        before_names(staging.fresh()?, &staging.fresh_path(path))?;
        std::mem::take(&mut finished.late).settle(staging.fresh_directory(), &mut finished.done.not_kept)?;
        // Entries of a previous attempt were not counted here.
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
    let is_kept = options.keep_partial.keeps(stop) && result.as_ref().is_err_and(leaves_something);
    if !is_kept && !has_lost_names {
        let place = staging.path(path);
        if let Err(why) = staging.remove(target, stop) {
            let place = place.display();
            // Logged as an error, so that it is visible even if only errors are logged.
            match &result {
                Ok(_) => log::error!(
                    "the clone is complete, but {place}, which contains what it replaced, cannot be removed: {why}; remove it manually"
                ),
                Err(_) => log::warn!("cannot remove {place}: {why}"),
            }
        }
    }
    let Finished { done, root, .. } = result?;
    if let Some(root) = root {
        apply_to_root(&root, target, path)?;
    }
    // The new names are only durable when they are on disk.
    sync(target, path)?;
    Ok(done)
}

/// Syncs the filesystem. If that is not supported, the files were already synced one by one.
fn sync(target: BorrowedFd<'_>, path: &Path) -> Result<()> {
    match syncfs(target) {
        Err(cause) if !Call::SyncFilesystem.is_dispensable(cause) => {
            Err(Error::target("sync", path, cause.into()))
        }
        _ => Ok(()),
    }
}

/// Refuses to resume on a folding filesystem, where names of a previous attempt may have another spelling than at the
/// source.
fn not_folding(folds: bool, path: &Path) -> Result<()> {
    if !folds {
        return Ok(());
    }
    let text = format!(
        "cannot resume in {}: this filesystem folds case or normalizes names; the next attempt starts from zero",
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
    scope(|scope| {
        let finisher = if options.finishes_apart { Some(Finisher::start(scope, stop)?) } else { None };
        let mut writer = TreeWriter::new(staging.fresh()?, folding, path, options, finisher, stop);
        while let Some(entry) = archive.next_entry()? {
            Error::check(stop)?;
            writer.write(archive, &entry)?;
        }
        writer.finish()
    })
}

/// Whether an attempt that failed with `error` can be resumed. It cannot if the content did not fit, if the volume
/// failed, or if the data of a previous attempt did not match the source.
pub fn leaves_something(error: &Error) -> bool {
    !matches!(error.kind(), Kind::NoSpace | Kind::Target | Kind::Leftover)
}

/// Turns an error of the target into `Kind::Leftover`, because the data of a previous attempt may be the cause. The
/// next attempt starts from zero. If it fails, too, the volume is the cause.
fn blamed_on_leftover(error: Error, path: &Path) -> Error {
    match error.kind() {
        Kind::Target => {
            let path = path.display();
            let text = format!("cannot resume in {path}: {error}; the next attempt starts from zero");
            Error::new(Kind::Leftover, text)
        }
        _ => error,
    }
}

/// Checks that a previous attempt left no entries that the source no longer has. All entries of the source exist by
/// now, so it is sufficient to compare the number of entries.
fn nothing_else_is_in(staging: &Staging, path: &Path, done: &Unpacked, stop: &Stop) -> Result<()> {
    let found = scan(&staging.fresh()?, path, Options { sparse: false, attributes: false }, stop)?.entries;
    if found == done.files + done.others {
        return Ok(());
    }
    let text = format!(
        "a previous attempt left entries in {} that the source no longer has; the next attempt starts from zero",
        path.display()
    );
    Err(Error::new(Kind::Leftover, text))
}

/// Sets the attributes of the target directory. If it belongs to another user, as the root of a volume may, it is not
/// changed.
fn apply_to_root(attributes: &Attributes, target: BorrowedFd<'_>, path: &Path) -> Result<()> {
    let lost = attributes.apply_to(target);
    if !lost.map_err(|cause| Error::target("finish", path, cause.into()))?.is_empty() {
        log::debug!("{} does not get its mode and time from the archive", path.display());
    }
    Ok(())
}
