//! Opens directories without ever leaving the target directory.

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat, chmodat, fchmod, fstat, openat, openat2, statat,
};
use rustix::io::{Errno, Result};

use crate::volume::optional_calls::Call;
use crate::volume::tree::write::member_name::MemberName;

/// The mode of a directory while entries are written into it. It gets its final mode when it is complete.
pub(super) const WORKING_MODE: Mode = Mode::RWXU;

/// Opens the directory `name` in `parent` for reading, and gives its owner the permission to write into it. Also
/// returns its metadata before this change.
///
/// Errors: ENOTDIR for a symlink, which is never followed.
pub(crate) fn open_directory(parent: impl AsFd, name: &[u8]) -> Result<(OwnedFd, Stat)> {
    let open = || openat(&parent, name, directory_flags() | OFlags::RDONLY, Mode::empty());
    match open() {
        Err(Errno::ACCESS) => {
            let found = statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
            if FileType::from_raw_mode(found.st_mode) != FileType::Directory {
                return Err(Errno::NOTDIR);
            }
            // The mode is changed by name, because the directory cannot be opened.
            chmodat(&parent, name, Mode::from_raw_mode(found.st_mode) | WORKING_MODE, AtFlags::empty())?;
            Ok((open()?, found))
        }
        // The error of O_NOFOLLOW for a symlink depends on the kernel.
        Err(Errno::LOOP) => Err(Errno::NOTDIR),
        result => {
            let directory = result?;
            let found = fstat(&directory)?;
            let mode = Mode::from_raw_mode(found.st_mode);
            if !mode.contains(WORKING_MODE) {
                // If the modes of a filesystem come from the mount, the owner may already have the permissions.
                match fchmod(&directory, mode | WORKING_MODE) {
                    Err(errno) if !Call::Chmod.is_dispensable(errno) => return Err(errno),
                    _ => {}
                }
            }
            Ok((directory, found))
        }
    }
}

/// Opens the directory `name` at any depth below `root`, only to access entries by name. Fails if a component is a
/// symlink.
pub(super) fn open_below(root: impl AsFd, name: MemberName<'_>) -> Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match openat2(&root, name.relative(), directory_flags() | OFlags::PATH, Mode::empty(), resolve) {
        // The kernel is old, a seccomp profile refuses this call, the name is very long, or another process renamed an
        // entry.
        Err(errno) if Call::OpenBeneath.is_dispensable(errno) => step_by_step(root, name),
        result => result,
    }
}

fn step_by_step(root: impl AsFd, name: MemberName<'_>) -> Result<OwnedFd> {
    let step = |directory: &OwnedFd, name: &[u8]| {
        openat(directory, name, directory_flags() | OFlags::PATH, Mode::empty())
    };
    let mut directory = openat(root, ".", directory_flags() | OFlags::PATH, Mode::empty())?;
    for component in name.components() {
        directory = step(&directory, component)?;
    }
    Ok(directory)
}

fn directory_flags() -> OFlags {
    OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn both_ways_to_open_a_directory_refuse_symlinks() {
        let scratch = tempfile::tempdir().unwrap();
        fs::create_dir_all(scratch.path().join("a/b")).unwrap();
        symlink("a", scratch.path().join("link")).unwrap();
        symlink("/", scratch.path().join("a/out")).unwrap();
        let root = fs::File::open(scratch.path()).unwrap();
        for (name, is_ok) in
            [("a/b", true), ("", true), ("link/b", false), ("a/out", false), ("a/out/tmp", false)]
        {
            let name = MemberName::new(name.as_bytes()).unwrap();
            assert_eq!(open_below(&root, name).is_ok(), is_ok, "{name:?}");
            assert_eq!(step_by_step(&root, name).is_ok(), is_ok, "{name:?}");
        }
        assert_eq!(open_directory(&root, b"link").err(), Some(Errno::NOTDIR));
    }
}
