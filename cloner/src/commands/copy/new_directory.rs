//! The directory that a copy creates. After the copy it is either complete or removed.
//!
//! A file in the staging directory (`layout::MADE`) records that a copy created the directory. If the copy is killed,
//! the next copy can distinguish the directory from one of the user. A directory of the user keeps its owner and mode
//! and is never removed.

use std::fs::{self, File, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;

use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::attributes::{ACCESS_ACL, Attribute, Kinds, Moment, Xattr, acl, is_of_the_place};
use crate::commands::copy::plan::parent_of;
use crate::error::{Error, Result};
use crate::tar::entry::{Entry, EntryKind};
use crate::volume::layout::{MADE, STAGING_NAME};
use crate::volume::optional_calls::{Call, Verdict};
use crate::volume::tree::write::attributes::{Attributes, may_give_away};
use crate::volume::tree::write::staging::mark_made;
use crate::volume::xattrs::{XattrAccess, names, room};

/// A new directory that gets the metadata of the source directory. It is removed unless the copy is completed.
pub struct NewDirectory<'a> {
    path: &'a Path,
    like: &'a Metadata,
    /// Whether a copy created it and no other process writes to it.
    is_ours: bool,
    completed: bool,
}

impl<'a> NewDirectory<'a> {
    /// Creates the directory `path` for a copy of the directory that `like` describes. If `path` already exists, a
    /// killed copy created it.
    pub fn make(path: &'a Path, like: &'a Metadata) -> Result<Self> {
        let is_ours = !path.is_dir();
        if is_ours {
            // No access for other users until it has its final mode.
            let made = fs::DirBuilder::new().mode(0o700).create(path);
            made.map_err(|e| Error::target("create the directory", path, e))?;
        }
        Ok(Self { path, like, is_ours, completed: false })
    }

    /// Writes the mark that a copy created the directory. The caller must hold the lock of the directory.
    pub fn mark(&mut self) -> Result<()> {
        self.is_ours = true;
        let staging = self.path.join(STAGING_NAME);
        let failed = |e| Error::target("create a file in", &staging, e);
        match fs::DirBuilder::new().mode(0o700).create(&staging) {
            Err(e) if e.kind() != ErrorKind::AlreadyExists => return Err(failed(e)),
            _ => {}
        }
        let open = |path: &Path| File::open(path).map_err(|e| Error::target("open", path, e));
        mark_made(open(&staging)?, open(self.path)?).map_err(|errno| failed(errno.into()))
    }

    /// Removes the mark if nothing else is in the staging directory.
    fn unmark(&self) {
        let staging = self.path.join(STAGING_NAME);
        let is_alone = fs::read_dir(&staging)
            .is_ok_and(|mut entries| entries.all(|entry| entry.is_ok_and(|entry| entry.file_name() == MADE)));
        if is_alone {
            let _ = fs::remove_file(staging.join(MADE));
            let _ = fs::remove_dir(staging);
        }
    }

    /// Gives the new directory the attributes of the directory `source`, and no attributes inherited from its parent.
    /// Returns what could not be kept, as for every entry in it.
    pub fn complete(mut self, source: &Path) -> Result<Kinds> {
        self.completed = true;
        let path = self.path;
        let fail = |doing: &str, e: Errno| Error::target(doing, path, e.into());
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(path, flags, Mode::empty()).map_err(|e| fail("open", e))?;
        let attributes = Attributes::of_reused(&entry_of(source, self.like)?, may_give_away());
        let lost = attributes.apply_to(&directory).map_err(|e| fail("finish", e))?;
        sync_directory(&directory).map_err(|e| fail("sync", e))?;
        let parent = parent_of(path);
        match rustix::fs::open(parent, flags, Mode::empty()) {
            Ok(open) => sync_directory(open),
            // The parent may be writable but not readable.
            Err(Errno::ACCESS) => sync_filesystem(&directory),
            Err(e) => Err(e),
        }
        .map_err(|e| Error::target("sync", parent, e.into()))?;
        Ok(lost)
    }
}

/// Syncs the names in a directory. If the directory cannot be synced, syncs the whole filesystem.
fn sync_directory(directory: impl AsFd) -> Result<(), Errno> {
    match rustix::fs::fsync(&directory) {
        Err(e) if Call::SyncDirectory.is_dispensable(e) => sync_filesystem(directory),
        synced => synced,
    }
}

fn sync_filesystem(directory: impl AsFd) -> Result<(), Errno> {
    match rustix::fs::syncfs(directory) {
        Err(e) if Call::SyncFilesystem.is_dispensable(e) => Ok(()),
        synced => synced,
    }
}

/// The directory `path`, which `meta` describes, as an entry of an archive.
fn entry_of(path: &Path, meta: &Metadata) -> Result<Entry> {
    let fail = |doing: &str, e: Errno| Error::source(doing, path, e.into());
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::open(path, flags, Mode::empty()).map_err(|e| fail("open", e))?;
    let Xattrs { read, unread } =
        xattrs_of(directory.as_fd()).map_err(|e| fail("read the extended attributes of", e))?;
    let nanoseconds = u32::try_from(meta.mtime_nsec()).unwrap_or(0);
    Ok(Entry {
        name: Vec::new(),
        kind: EntryKind::Directory,
        link: Vec::new(),
        size_bytes: 0,
        mode: meta.mode() & 0o7777,
        uid: Some(meta.uid()),
        gid: Some(meta.gid()),
        modified: Moment { seconds: meta.mtime(), nanoseconds },
        xattrs: read,
        unsent: unread,
    })
}

/// The mode that the file or directory `path` may have without its access control list. If it has no list, `mode`.
pub fn mode_without_acl(path: &Path, mode: u32) -> u32 {
    let list = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty())
        .and_then(|file| XattrAccess::Open(file.as_fd()).get(ACCESS_ACL, &mut room()).map(<[u8]>::to_vec));
    match list {
        Ok(list) => acl::without(mode, Some(&list)),
        // A file that cannot be opened is not copied. A file without a list has only its mode.
        Err(_) => mode,
    }
}

/// The extended attributes of a directory.
struct Xattrs {
    read: Vec<Xattr>,
    /// Kinds of attributes that this process may not read.
    unread: Kinds,
}

fn xattrs_of(directory: BorrowedFd<'_>) -> Result<Xattrs, Errno> {
    let mut names_room = room();
    let mut value_room = room();
    let place = XattrAccess::Open(directory);
    let mut read = Vec::new();
    let mut unread = Kinds::default();
    let list = match place.list(&mut names_room) {
        Ok(list) => list,
        Err(e) => match Call::ListXattrs.verdict(e) {
            Verdict::Fail => return Err(e),
            Verdict::NotKept(kind) => {
                unread.insert(kind);
                &[]
            }
            Verdict::Continue => &[],
        },
    };
    for name in names(list).filter(|name| !is_of_the_place(name)) {
        match place.get(name, &mut value_room) {
            Ok(value) => read.push(Xattr { name: name.to_vec(), value: value.to_vec() }),
            Err(e) => match Call::GetXattr.verdict(e) {
                Verdict::Fail => return Err(e),
                Verdict::NotKept(_) => unread.insert(Attribute::of_xattr(name)),
                Verdict::Continue => {}
            },
        }
    }
    Ok(Xattrs { read, unread })
}

impl Drop for NewDirectory<'_> {
    fn drop(&mut self) {
        if self.is_ours && !self.completed {
            self.unmark();
            // This removes only an empty directory. The receiving end has already removed the content.
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
        let path = place.path().join("new");
        let like = place.path().metadata().unwrap();
        let mut new = NewDirectory::make(&path, &like).unwrap();
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
        NewDirectory::make(&path, &like).unwrap().complete(place.path()).unwrap();
        assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o750);
    }
}
