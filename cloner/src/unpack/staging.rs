//! The folder in which a tree grows before it gets its final names.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use decant_shared::stop::Stop;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::mkdirat;
use rustix::io::Errno;

use crate::attribute::DEFAULT_ACL;
use crate::attribute::place::remove;
use crate::error::{Error, Kind, Result};
use crate::pack::links_out::has_links_elsewhere;
use crate::unpack::beneath::{WORKING_MODE, open_folder};
use crate::unpack::remove::remove_all;
use crate::unpack::reserved::names_for;

/// Its name in the target folder. It is made there, and not elsewhere, because only a rename within one
/// filesystem is free, and because it so inherits the group that Kubernetes' `fsGroup` gives to the volume.
pub const STAGING_NAME: &str = ".decant-partial";

/// What arrives.
const FRESH: &str = "new";
/// What stood under the final names until now.
pub(crate) const REPLACED: &str = "old";

/// An open staging folder. Only this process's user can look into it.
pub(super) struct Staging {
    /// Its name in the target folder.
    name: OsString,
    fresh: OwnedFd,
    replaced: OwnedFd,
}

impl Staging {
    /// Makes an empty one in `target`. What a former attempt left is removed; what cannot be removed stays, and another name
    /// is taken. With `is_exact` nothing in it gets the default access control list of `target`.
    pub(super) fn create(target: BorrowedFd<'_>, path: &Path, is_exact: bool, stop: &Stop) -> Result<Self> {
        let name = free_name(target, path, stop)?;
        let path = path.join(&name);
        let failed = |doing: &'static str| {
            let path = &path;
            move |cause: Errno| Error::target(doing, path, cause.into())
        };
        let staging = make(target, name.as_bytes()).map_err(failed("create"))?;
        if is_exact {
            remove(staging.as_fd(), DEFAULT_ACL).map_err(failed("change the access control list of"))?;
        }
        let parts = make(staging.as_fd(), FRESH.as_bytes())
            .and_then(|fresh| Ok((fresh, make(staging.as_fd(), REPLACED.as_bytes())?)));
        match parts {
            Ok((fresh, replaced)) => Ok(Self { name, fresh, replaced }),
            Err(cause) => {
                // The first failure is the one to tell.
                let _ = remove_all(target, name.as_bytes(), stop);
                Err(failed("create folders in")(cause))
            }
        }
    }

    /// The one that an attempt before left. One that cannot be used is removed: `Kind::Leftover`.
    pub(super) fn reopen(target: BorrowedFd<'_>, path: &Path, stop: &Stop) -> Result<Self> {
        let open = || -> Result<Self, Errno> {
            let (staging, _) = open_folder(target, STAGING_NAME.as_bytes())?;
            let (fresh, _) = open_folder(&staging, FRESH.as_bytes())?;
            // What an attempt before replaced when it was killed between two names is of no use to anybody.
            remove_all(&staging, REPLACED.as_bytes(), stop)?;
            let replaced = make(staging.as_fd(), REPLACED.as_bytes())?;
            Ok(Self { name: STAGING_NAME.into(), fresh, replaced })
        };
        let why = match open() {
            Ok(staging) => match has_links_elsewhere(&staging.fresh, &staging.fresh_path(path), stop) {
                Ok(false) => return Ok(staging),
                // Writing into such a file, or giving it a mode, would change what has the other name.
                Ok(true) => "files in it have other names outside of it".to_owned(),
                Err(error) if matches!(error.kind(), Kind::Signal(_) | Kind::Neighbour) => return Err(error),
                Err(error) => error.to_string(),
            },
            Err(cause) => {
                Error::check(stop)?;
                cause.to_string()
            }
        };
        if let Err(cause) = remove_all(target, STAGING_NAME.as_bytes(), stop) {
            Error::check(stop)?;
            log::warn!("cannot remove {}: {cause}", path.join(STAGING_NAME).display());
        }
        let text = format!(
            "cannot resume in {}, which an attempt before left: {why}; the next attempt begins from zero",
            path.join(STAGING_NAME).display()
        );
        Err(Error::new(Kind::Leftover, text))
    }

    /// The path for messages of the folder in which members are written. `path` is that of the target folder.
    pub(super) fn fresh_path(&self, path: &Path) -> PathBuf {
        path.join(&self.name).join(FRESH)
    }

    /// Where members are written, as a descriptor of its own.
    pub(super) fn fresh(&self) -> Result<OwnedFd> {
        self.fresh.try_clone().map_err(|cause| Error::io(Kind::Target, "cannot open a folder", cause))
    }

    /// Where members are written.
    pub(super) fn fresh_folder(&self) -> BorrowedFd<'_> {
        self.fresh.as_fd()
    }

    /// Where what they replace is put.
    pub(super) fn replaced_folder(&self) -> BorrowedFd<'_> {
        self.replaced.as_fd()
    }

    /// Removes it with everything in it, or what can be removed of it within a second after a stop. `path` is that of the
    /// target folder.
    pub(super) fn remove(self, target: BorrowedFd<'_>, path: &Path, stop: &Stop) {
        drop((self.fresh, self.replaced));
        if let Err(cause) = remove_all(target, self.name.as_bytes(), stop) {
            log::warn!("cannot remove {}: {cause}", path.join(&self.name).display());
        }
    }
}

/// The folder of members that an attempt before left in `target`, if it can be opened; no symlink is followed.
pub(crate) fn left_over(target: impl AsFd) -> Option<OwnedFd> {
    let (staging, _) = open_folder(target, STAGING_NAME.as_bytes()).ok()?;
    open_folder(staging, FRESH.as_bytes()).ok().map(|(fresh, _)| fresh)
}

/// The first name under which nothing is left; everything else that has one of the names is removed, too.
fn free_name(target: BorrowedFd<'_>, path: &Path, stop: &Stop) -> Result<OsString> {
    let (mut free, mut why) = (None, None);
    for name in names_for(STAGING_NAME.as_ref()) {
        match remove_all(target, name.as_bytes(), stop) {
            Ok(()) => free = free.or(Some(name)),
            Err(cause) => {
                Error::check(stop)?;
                log::warn!(
                    "cannot remove the leftover {}: {cause}; it stays in the volume and is no part of the clone",
                    path.join(&name).display()
                );
                why = why.or(Some(cause));
            }
        }
    }
    free.ok_or_else(|| {
        let cause = why.unwrap_or(Errno::EXIST);
        Error::target("remove the leftover", &path.join(STAGING_NAME), cause.into())
    })
}

fn make(parent: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    mkdirat(parent, name, WORKING_MODE)?;
    open_folder(parent, name).map(|(folder, _)| folder)
}
