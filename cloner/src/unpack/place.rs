//! Gives a complete tree its final names.

use std::path::Path;

use rustix::fd::BorrowedFd;
use rustix::fs::{AtFlags, Dir, FileType, Mode, chmodat, renameat, statat};
use rustix::io::Errno;

use crate::archive::entry::shown;
use crate::error::{Error, Result};
use crate::unpack::beneath::WORKING_MODE;
use crate::unpack::staging::Staging;

/// Moves every name at the top of the staging folder into `target`. What has that name there is put aside
/// first, so that on an error all is moved back: `target` is then as before.
pub(super) fn place(staging: &Staging, target: BorrowedFd<'_>, path: &Path) -> Result<()> {
    let names = top_names(staging).map_err(|cause| Error::target("read a folder in", path, cause.into()))?;
    for (at, name) in names.iter().enumerate() {
        if let Err(cause) = swap_in(staging, target, name) {
            for name in names[..at].iter().rev() {
                swap_out(staging, target, name);
            }
            let doing = format!("give {} its place in", shown(name));
            return Err(Error::target(&doing, path, cause.into()));
        }
    }
    Ok(())
}

/// These have to be remembered, because renaming changes the folder that they would be read from. They are the
/// names of one folder and not of the tree.
fn top_names(staging: &Staging) -> Result<Vec<Vec<u8>>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(staging.fresh_folder())? {
        let name = entry?.file_name().to_bytes().to_vec();
        if !matches!(name.as_slice(), b"." | b"..") {
            names.push(name);
        }
    }
    Ok(names)
}

fn swap_in(staging: &Staging, target: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
    match move_to(target, staging.replaced_folder(), name) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(cause) => return Err(cause),
    }
    move_to(staging.fresh_folder(), target, name).inspect_err(|_| {
        let _ = move_to(staging.replaced_folder(), target, name);
    })
}

fn swap_out(staging: &Staging, target: BorrowedFd<'_>, name: &[u8]) {
    // Nothing more can be done than to try: the error that led here is the one to tell.
    let _ = move_to(target, staging.fresh_folder(), name);
    let _ = move_to(staging.replaced_folder(), target, name);
}

/// Renames `name` from one folder into another. A folder must be writable for that, because its `..` changes.
fn move_to(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
    match renameat(from, name, to, name) {
        Err(Errno::ACCESS) => {}
        result => return result,
    }
    let found = statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(found.st_mode) != FileType::Directory {
        return Err(Errno::ACCESS);
    }
    let mode = Mode::from_raw_mode(found.st_mode);
    chmodat(from, name, mode | WORKING_MODE, AtFlags::empty())?;
    let moved = renameat(from, name, to, name);
    let place = if moved.is_ok() { to } else { from };
    chmodat(place, name, mode, AtFlags::empty())?;
    moved
}
