//! Gives a complete tree its final names.

use std::path::Path;

use rustix::fd::BorrowedFd;
use rustix::fs::{AtFlags, Dir, FileType, Mode, RenameFlags, chmodat, renameat, renameat_with, statat};
use rustix::io::Errno;

use crate::archive::entry::shown;
use crate::error::{Error, Result};
use crate::unpack::beneath::WORKING_MODE;
use crate::unpack::staging::Staging;

/// Memory for the names of one folder that are remembered at a time. Renaming changes the folder that they are read from.
const BATCH_LIMIT_BYTES: usize = 4 << 20;
/// What a name costs besides its bytes: its place in the list, and an allocation.
const NAME_OVERHEAD_BYTES: usize = size_of::<Box<[u8]>>() + 16;

/// Moves every name at the top of the staging folder into `target`. What has that name there changes places with
/// it, so that a name that stands there is never missing; on an error all names of the present batch are moved
/// back. A folder with less than [`BATCH_LIMIT_BYTES`] of names at its top is then as before.
pub(super) fn reveal(staging: &Staging, target: BorrowedFd<'_>, path: &Path) -> Result<()> {
    loop {
        let names =
            top_names(staging).map_err(|cause| Error::target("read a folder in", path, cause.into()))?;
        if names.is_empty() {
            return Ok(());
        }
        for (at, name) in names.iter().enumerate() {
            if let Err(cause) = swap_in(staging, target, name) {
                for name in names[..at].iter().rev() {
                    swap_out(staging, target, name);
                }
                let doing = format!("give {} its place in", shown(name));
                return Err(Error::target(&doing, path, cause.into()));
            }
        }
    }
}

/// A batch of the names at the top; none when all are placed.
fn top_names(staging: &Staging) -> Result<Vec<Box<[u8]>>, Errno> {
    let (mut names, mut bytes) = (Vec::new(), 0);
    for entry in Dir::read_from(staging.fresh_folder())? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if matches!(name, b"." | b"..") {
            continue;
        }
        bytes += NAME_OVERHEAD_BYTES + name.len();
        names.push(name.into());
        if bytes >= BATCH_LIMIT_BYTES {
            break;
        }
    }
    Ok(names)
}

fn swap_in(staging: &Staging, target: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
    if exchange(staging, target, name)? {
        return Ok(());
    }
    match move_to(target, staging.replaced_folder(), name) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(cause) => return Err(cause),
    }
    move_to(staging.fresh_folder(), target, name).inspect_err(|_| {
        let _ = move_to(staging.replaced_folder(), target, name);
    })
}

/// Lets the new and the old content of `name` change places in one step and puts the old one aside. `false`:
/// there is no old one, or this filesystem (or the mode of a folder) does not allow it, and nothing has changed.
fn exchange(staging: &Staging, target: BorrowedFd<'_>, name: &[u8]) -> Result<bool, Errno> {
    let fresh = staging.fresh_folder();
    let swap = || renameat_with(fresh, name, target, name, RenameFlags::EXCHANGE);
    if swap().is_err() {
        return Ok(false);
    }
    match move_to(fresh, staging.replaced_folder(), name) {
        Ok(()) => Ok(true),
        Err(cause) => {
            let _ = swap();
            Err(cause)
        }
    }
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
