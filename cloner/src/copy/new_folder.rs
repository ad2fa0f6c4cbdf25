//! The folder that a copy makes: there while the copy runs, complete or gone afterwards.
//!
//! A file in the staging folder says so ([`crate::unpack::MADE`]), so that after a kill the next copy knows it from a folder of
//! the user's, which keeps its owner and its mode and is never removed.

use std::fs::{self, File, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;

use rustix::fs::{Gid, Mode, Timespec, Timestamps, Uid};
use rustix::io::Errno;

use super::plan::parent_of;
use crate::error::{Error, Result};
use crate::unpack::{MADE, STAGING_NAME, mark_made};

/// A folder that is being made like another one; it disappears again unless the copy is completed.
pub struct NewFolder<'a> {
    path: &'a Path,
    like: &'a Metadata,
    /// It is certain that a copy has made it, and that no other one is at work in it.
    is_ours: bool,
    completed: bool,
}

impl<'a> NewFolder<'a> {
    /// Makes the folder `path` for a copy of the folder that `like` describes; if it is there, then because a copy that was killed
    /// has made it.
    pub fn make(path: &'a Path, like: &'a Metadata) -> Result<Self> {
        let is_ours = !path.is_dir();
        if is_ours {
            // No other user looks into it before it has its final mode.
            let made = fs::DirBuilder::new().mode(0o700).create(path);
            made.map_err(|e| Error::target("create the folder", path, e))?;
        }
        Ok(Self { path, like, is_ours, completed: false })
    }

    /// Writes into the folder that a copy has made it. For a process that has claimed it.
    pub fn mark(&mut self) -> Result<()> {
        self.is_ours = true;
        let staging = self.path.join(STAGING_NAME);
        let failed = |e| Error::target("create a file in", &staging, e);
        match fs::DirBuilder::new().mode(0o700).create(&staging) {
            Err(e) if e.kind() != ErrorKind::AlreadyExists => return Err(failed(e)),
            _ => {}
        }
        let open = |path: &Path| File::open(path).map_err(|e| Error::target("open", path, e));
        match mark_made(open(&staging)?, open(self.path)?) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(errno) => Err(failed(errno.into())),
        }
    }

    /// Takes that away again, if there is nothing else in the staging folder.
    fn unmark(&self) {
        let staging = self.path.join(STAGING_NAME);
        let is_alone = fs::read_dir(&staging)
            .is_ok_and(|mut entries| entries.all(|entry| entry.is_ok_and(|entry| entry.file_name() == MADE)));
        if is_alone {
            let _ = fs::remove_file(staging.join(MADE));
            let _ = fs::remove_dir(staging);
        }
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
        if self.is_ours && !self.completed {
            self.unmark();
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
        let mut new = NewFolder::make(&path, &like).unwrap();
        assert!(path.is_dir());
        new.mark().unwrap();
        new.mark().unwrap();
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
