//! The folder that a copy makes: there while the copy runs, complete or gone afterwards.

use std::fs::{self, File, Metadata};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;

use rustix::fs::{Gid, Mode, Timespec, Timestamps, Uid};

use super::plan::parent_of;
use crate::error::{Error, Result};

/// A folder that is being made like another one; it disappears again unless the copy is completed.
pub struct NewFolder<'a> {
    path: &'a Path,
    like: &'a Metadata,
    completed: bool,
}

impl<'a> NewFolder<'a> {
    /// Makes the folder `path`, if it is not there, for a copy of the folder that `like` describes.
    pub fn make(path: &'a Path, like: &'a Metadata) -> Result<Self> {
        if !path.is_dir() {
            // Nobody else looks into it before it has its final mode.
            let made = fs::DirBuilder::new().mode(0o700).create(path);
            made.map_err(|e| Error::target("create the folder", path, e))?;
        }
        Ok(Self { path, like, completed: false })
    }

    /// Gives the new folder what the source folder has: owner (if we may), mode, time.
    pub fn complete(mut self) -> Result<()> {
        self.completed = true;
        let (path, like) = (self.path, self.like);
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

impl Drop for NewFolder<'_> {
    fn drop(&mut self) {
        if !self.completed {
            // Only succeeds while it is empty, which the target's clean-up takes care of.
            let _ = fs::remove_dir(self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn it_is_gone_again_when_the_copy_fails() {
        let place = tempfile::tempdir().unwrap();
        let (path, like) = (place.path().join("new"), place.path().metadata().unwrap());
        let new = NewFolder::make(&path, &like).unwrap();
        assert!(path.is_dir());
        drop(new);
        assert!(!path.exists());
    }

    #[test]
    fn one_that_a_killed_copy_made_still_gets_what_the_source_has() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("killed");
        fs::DirBuilder::new().mode(0o700).create(&path).unwrap();
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o750)).unwrap();
        let like = place.path().metadata().unwrap();
        NewFolder::make(&path, &like).unwrap().complete().unwrap();
        assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o750);
    }
}
