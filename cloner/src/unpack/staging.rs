//! The folder in which a tree grows before it gets its final names.

use std::path::Path;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::mkdirat;
use rustix::io::Errno;

use crate::attribute::DEFAULT_ACL;
use crate::attribute::place::remove;
use crate::error::{Error, Kind, Result};
use crate::unpack::beneath::{WORKING_MODE, open_folder};
use crate::unpack::remove::remove_all;

/// Its name in the target folder. It is made there, and not elsewhere, because only a rename within one
/// filesystem is free, and because it so inherits the group that Kubernetes' `fsGroup` gives to the volume.
pub const STAGING_NAME: &str = ".decant-partial";

/// What arrives.
pub(crate) const FRESH: &str = "new";
/// What stood under the final names until now.
pub(crate) const REPLACED: &str = "old";

/// An open staging folder. Only this process's user can look into it.
pub(super) struct Staging {
    fresh: OwnedFd,
    replaced: OwnedFd,
}

impl Staging {
    /// Makes an empty one in `target`. What a former attempt left is removed. With `is_exact` nothing in it gets the
    /// default access control list of `target`.
    pub(super) fn create(target: BorrowedFd<'_>, path: &Path, is_exact: bool) -> Result<Self> {
        let path = path.join(STAGING_NAME);
        let failed = |doing: &'static str| {
            let path = &path;
            move |cause: Errno| Error::target(doing, path, cause.into())
        };
        remove_all(target, STAGING_NAME.as_bytes()).map_err(failed("remove the leftover"))?;
        let staging = make(target, STAGING_NAME).map_err(failed("create"))?;
        if is_exact {
            remove(staging.as_fd(), DEFAULT_ACL).map_err(failed("change the access control list of"))?;
        }
        let parts =
            make(staging.as_fd(), FRESH).and_then(|fresh| Ok((fresh, make(staging.as_fd(), REPLACED)?)));
        match parts {
            Ok((fresh, replaced)) => Ok(Self { fresh, replaced }),
            Err(cause) => {
                // The first failure is the one to tell.
                let _ = remove_all(target, STAGING_NAME.as_bytes());
                Err(failed("create folders in")(cause))
            }
        }
    }

    /// The one that an attempt before left.
    pub(super) fn reopen(target: BorrowedFd<'_>, path: &Path) -> Result<Self> {
        let open = || {
            let (staging, _) = open_folder(target, STAGING_NAME.as_bytes())?;
            let (fresh, _) = open_folder(&staging, FRESH.as_bytes())?;
            // What an attempt before replaced when it was killed between two names is of no use to anybody.
            remove_all(&staging, REPLACED.as_bytes())?;
            let replaced = make(staging.as_fd(), REPLACED)?;
            Ok(Self { fresh, replaced })
        };
        open().map_err(|cause: Errno| {
            Error::target("go on in what an attempt before left in", &path.join(STAGING_NAME), cause.into())
        })
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

    /// Removes it with everything in it.
    pub(super) fn remove(self, target: BorrowedFd<'_>) -> std::io::Result<()> {
        drop((self.fresh, self.replaced));
        Ok(remove_all(target, STAGING_NAME.as_bytes())?)
    }
}

fn make(parent: BorrowedFd<'_>, name: &str) -> Result<OwnedFd, Errno> {
    mkdirat(parent, name, WORKING_MODE)?;
    open_folder(parent, name.as_bytes()).map(|(folder, _)| folder)
}
