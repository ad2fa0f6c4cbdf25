//! What `cloner copy SRC DST` means, decided before anything is touched.

use std::fs::{self, File, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use decant_shared::contract::{ContentType, DISK_IMAGE, DISK_IMAGE_MODE};
use rustix::fs::{Gid, Mode, Timespec, Timestamps, Uid};

use crate::error::{Error, Kind, Result};
use crate::target::Destination;
use crate::target::Destination::{Device, Folder};
use crate::unpack::STAGING_NAME;

/// A copy that makes sense.
#[derive(Debug)]
pub struct Plan {
    /// How the source travels.
    pub content: ContentType,
    /// Where it goes.
    pub destination: Destination,
    /// What the user will find.
    pub final_path: PathBuf,
    /// Permission bits of a file that is made.
    pub file_mode: u32,
    /// A folder to be made first, like this one.
    new_folder: Option<Metadata>,
}

impl Plan {
    /// Decides, or says why not. With `force` what exists may be replaced.
    pub fn make(source: &Path, target: &Path, force: bool) -> Result<Self> {
        let meta = fs::metadata(source).map_err(|e| Error::source("find", source, e))?;
        let kind = meta.file_type();
        if meta.is_dir() {
            folder(source, &meta, target, force)
        } else if kind.is_file() || kind.is_block_device() {
            image(source, &meta, target, force)
        } else {
            let path = source.display();
            Err(Error::new(Kind::Source, format!("{path} is neither a file, a block device nor a folder")))
        }
    }

    /// Makes the folder that has to be there before the copy, if any.
    pub fn prepare(&self) -> Result<Preparation<'_>> {
        if self.new_folder.is_some() {
            // Nobody else looks into it before it has its final mode.
            fs::DirBuilder::new()
                .mode(0o700)
                .create(&self.final_path)
                .map_err(|e| Error::target("create the folder", &self.final_path, e))?;
        }
        Ok(Preparation { plan: self, completed: false })
    }
}

/// A new folder that disappears again unless the copy is completed.
pub struct Preparation<'a> {
    plan: &'a Plan,
    completed: bool,
}

impl Preparation<'_> {
    /// Gives the new folder what the source folder has: owner (if we may), mode, time.
    pub fn complete(mut self) -> Result<()> {
        self.completed = true;
        let Some(like) = &self.plan.new_folder else { return Ok(()) };
        let path = &self.plan.final_path;
        let fail = |doing: &str, e: std::io::Error| Error::target(doing, path, e);
        let folder = File::open(path).map_err(|e| fail("open", e))?;
        if rustix::process::geteuid().is_root() {
            let (uid, gid) = (Uid::from_raw(like.uid()), Gid::from_raw(like.gid()));
            rustix::fs::fchown(&folder, Some(uid), Some(gid))
                .map_err(|e| fail("set the owner of", e.into()))?;
        }
        rustix::fs::fchmod(&folder, Mode::from_raw_mode(like.mode()))
            .map_err(|e| fail("set the mode of", e.into()))?;
        let last_modification = Timespec { tv_sec: like.mtime(), tv_nsec: like.mtime_nsec() };
        let times = Timestamps { last_access: last_modification, last_modification };
        rustix::fs::futimens(&folder, &times).map_err(|e| fail("set the time of", e.into()))?;
        folder.sync_all().map_err(|e| fail("sync", e))?;
        let parent = parent_of(path);
        File::open(parent).and_then(|parent| parent.sync_all()).map_err(|e| Error::target("sync", parent, e))
    }
}

impl Drop for Preparation<'_> {
    fn drop(&mut self) {
        if !self.completed && self.plan.new_folder.is_some() {
            // Only succeeds while it is empty, which the target's clean-up takes care of.
            let _ = fs::remove_dir(&self.plan.final_path);
        }
    }
}

fn folder(source: &Path, meta: &Metadata, target: &Path, force: bool) -> Result<Plan> {
    let plan = |destination, new_folder| Plan {
        content: ContentType::Filesystem,
        destination,
        final_path: target.to_owned(),
        file_mode: DISK_IMAGE_MODE,
        new_folder,
    };
    let into = || Folder { path: target.to_owned(), image_name: DISK_IMAGE.to_owned() };
    let Some(found) = look(target)? else {
        refuse_inside(source, target)?;
        return Ok(plan(into(), Some(meta.clone())));
    };
    if found.file_type().is_block_device() {
        need_force(
            force,
            target,
            "is a block device, whose content would be replaced by disk.img of the folder",
        )?;
        return Ok(plan(Device(target.to_owned()), None));
    }
    if !found.is_dir() {
        return Err(refusal(target, "is not a folder, and a folder can only be copied into one"));
    }
    if same(meta, &found) {
        return Err(refusal(target, "is the source"));
    }
    refuse_inside(source, target)?;
    refuse_inside(target, source)?;
    if !is_empty(target)? {
        need_force(force, target, "is not empty; entries of the same names would be replaced")?;
    }
    Ok(plan(into(), None))
}

fn image(source: &Path, meta: &Metadata, target: &Path, force: bool) -> Result<Plan> {
    let plan = |destination, final_path| Plan {
        content: ContentType::Block,
        destination,
        final_path,
        file_mode: if meta.is_file() { meta.mode() & 0o777 } else { DISK_IMAGE_MODE },
        new_folder: None,
    };
    let found = look(target)?;
    if let Some(found) = &found {
        if same(meta, found) {
            return Err(refusal(target, "is the source"));
        }
        if found.file_type().is_block_device() {
            need_force(force, target, "is a block device, whose content would be replaced")?;
            return Ok(plan(Device(target.to_owned()), target.to_owned()));
        }
        if found.is_dir() {
            let name =
                source.file_name().ok_or_else(|| refusal(source, "has no name to give to the copy"))?;
            let inside = target.join(name);
            if look(&inside)?.is_some_and(|found| found.is_dir()) {
                return Err(refusal(&inside, "is a folder"));
            }
            return image(source, meta, &inside, force);
        }
        if !found.is_file() {
            return Err(refusal(target, "is neither a file, a folder nor a block device"));
        }
        need_force(force, target, "exists")?;
    }
    let name = target.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| refusal(target, "is no name for a file (or not UTF-8)"))?;
    let folder = parent_of(target);
    if !folder.is_dir() {
        return Err(refusal(folder, "is not a folder"));
    }
    let destination = Folder { path: folder.to_owned(), image_name: name.to_owned() };
    Ok(plan(destination, target.to_owned()))
}

fn look(path: &Path) -> Result<Option<Metadata>> {
    match fs::metadata(path) {
        Ok(meta) => Ok(Some(meta)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::target("look at", path, e)),
    }
}

fn same(a: &Metadata, b: &Metadata) -> bool {
    if a.file_type().is_block_device() && b.file_type().is_block_device() {
        return a.rdev() == b.rdev();
    }
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

/// Whether nothing would be replaced: the target's end removes what a copy that was killed has left.
fn is_empty(folder: &Path) -> Result<bool> {
    let fail = |e| Error::target("list", folder, e);
    for entry in fs::read_dir(folder).map_err(fail)? {
        let name = entry.map_err(fail)?.file_name();
        if name != "lost+found" && name != STAGING_NAME {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A copy into itself would never end.
fn refuse_inside(outer: &Path, inner: &Path) -> Result<()> {
    let existing = if inner.exists() { inner } else { parent_of(inner) };
    match (outer.canonicalize(), existing.canonicalize()) {
        (Ok(outer_path), Ok(inner_path)) if inner_path.starts_with(&outer_path) => {
            Err(refusal(inner, &format!("is inside {}", outer.display())))
        }
        (_, Err(e)) => Err(Error::target("find", existing, e)),
        _ => Ok(()),
    }
}

fn parent_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."))
}

fn need_force(force: bool, path: &Path, why: &str) -> Result<()> {
    if force { Ok(()) } else { Err(refusal(path, &format!("{why}; --force allows that"))) }
}

fn refusal(path: &Path, why: &str) -> Error {
    Error::new(Kind::Target, format!("{} {why}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Place(tempfile::TempDir);

    impl Place {
        fn new() -> Self {
            let place = Self(tempfile::tempdir().unwrap());
            fs::write(place.at("file"), "content").unwrap();
            fs::create_dir_all(place.at("folder/sub")).unwrap();
            fs::create_dir(place.at("empty")).unwrap();
            place
        }
        fn at(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }
        fn plan(&self, source: &str, target: &str, force: bool) -> Result<Plan> {
            Plan::make(&self.at(source), &self.at(target), force)
        }
        fn refused(&self, source: &str, target: &str, force: bool) -> String {
            self.plan(source, target, force).unwrap_err().to_string()
        }
    }

    #[test]
    fn what_exists_is_only_replaced_by_force() {
        let place = Place::new();
        fs::write(place.at("other"), "x").unwrap();
        assert!(place.refused("file", "other", false).ends_with("exists; --force allows that"));
        assert!(place.plan("file", "other", true).is_ok());
        assert!(place.refused("empty", "folder", false).contains("is not empty"));
        assert!(place.plan("empty", "folder", true).is_ok());
        assert!(place.plan("folder", "empty", false).is_ok());
    }

    #[test]
    fn a_file_goes_into_a_folder_under_its_own_name() {
        let place = Place::new();
        let plan = place.plan("file", "empty", false).unwrap();
        assert_eq!(plan.final_path, place.at("empty/file"));
    }

    #[test]
    fn copies_onto_and_into_themselves_are_refused() {
        let place = Place::new();
        assert!(place.refused("file", "file", true).ends_with("is the source"));
        assert!(place.refused("folder", "folder", true).ends_with("is the source"));
        assert!(place.refused("folder", "folder/sub/new", true).contains("is inside"));
        assert!(place.refused("folder/sub", "folder", true).contains("is inside"));
    }

    #[test]
    fn a_folder_onto_a_file_and_a_missing_parent_are_refused() {
        let place = Place::new();
        assert!(place.refused("folder", "file", true).contains("is not a folder"));
        assert!(place.refused("file", "nowhere/file", true).contains("nowhere is not a folder"));
        assert!(place.plan("nothing", "new", false).unwrap_err().kind() == Kind::Source);
    }

    #[test]
    fn a_new_folder_is_gone_again_when_the_copy_fails() {
        let place = Place::new();
        let plan = place.plan("folder", "new", false).unwrap();
        let preparation = plan.prepare().unwrap();
        assert!(place.at("new").is_dir());
        drop(preparation);
        assert!(!place.at("new").exists());
    }
}
