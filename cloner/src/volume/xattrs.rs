//! Reads and sets the extended attributes of an entry without resolving a path.

use rustix::fd::{AsRawFd, BorrowedFd};
use rustix::fs::{
    XattrFlags, fgetxattr, flistxattr, fremovexattr, fsetxattr, lgetxattr, llistxattr, lsetxattr,
};
use rustix::io::{Errno, Result};

use crate::attributes::XATTR_BYTES;
use crate::volume::optional_calls::{Call, Class};

/// The size of the first, small buffer. For every entry the kernel allocates as much memory as the buffer has.
const FEW_NAMES_BYTES: usize = 256;

/// A buffer for a list of names or for a value.
pub type XattrBuffer = Box<[u8]>;

/// A buffer that is large enough for any list of names and for any value.
pub fn room() -> XattrBuffer {
    vec![0; XATTR_BYTES].into()
}

/// How an entry is accessed.
#[derive(Debug)]
pub enum XattrAccess<'a> {
    /// By its open descriptor.
    Open(BorrowedFd<'a>),
    /// By its name in an open directory, through `/proc`. For links, pipes and devices, which are not opened.
    Named(Vec<u8>),
}

impl<'a> XattrAccess<'a> {
    /// The entry `name` of the open directory `dir`. A symbolic link is not followed.
    pub fn named(dir: BorrowedFd<'_>, name: &[u8]) -> Self {
        let mut path = format!("/proc/self/fd/{}/", dir.as_raw_fd()).into_bytes();
        path.extend_from_slice(name);
        Self::Named(path)
    }

    /// The names of all attributes, each followed by a zero byte.
    pub fn list<'r>(&self, room: &'r mut XattrBuffer) -> Result<&'r [u8]> {
        let list = |room: &mut [u8]| match self {
            Self::Open(fd) => flistxattr(fd, room),
            Self::Named(path) => llistxattr(path.as_slice(), room),
        };
        let len = match list(&mut room[..FEW_NAMES_BYTES]) {
            Err(Errno::RANGE) => list(room)?,
            result => result?,
        };
        Ok(&room[..len])
    }

    /// The value of the attribute `name`.
    pub fn get<'r>(&self, name: &[u8], room: &'r mut XattrBuffer) -> Result<&'r [u8]> {
        let get = |room: &mut [u8]| match self {
            Self::Open(fd) => fgetxattr(fd, name, room),
            Self::Named(path) => lgetxattr(path.as_slice(), name, room),
        };
        let len = match get(&mut room[..FEW_NAMES_BYTES]) {
            Err(Errno::RANGE) => get(room)?,
            result => result?,
        };
        Ok(&room[..len])
    }

    /// Sets the attribute `name`, whether or not it exists.
    pub fn set(&self, name: &[u8], value: &[u8]) -> Result<()> {
        match self {
            Self::Open(fd) => fsetxattr(fd, name, value, XattrFlags::empty()),
            Self::Named(path) => lsetxattr(path.as_slice(), name, value, XattrFlags::empty()),
        }
    }

    /// Whether the attribute `name` has this value.
    pub fn has(&self, name: &[u8], value: &[u8]) -> Result<bool> {
        // One byte more than the value: then a longer value differs. An empty buffer would only return the length.
        let mut found = vec![0; value.len() + 1];
        let len = match self {
            Self::Open(fd) => fgetxattr(fd, name, found.as_mut_slice()),
            Self::Named(path) => lgetxattr(path.as_slice(), name, found.as_mut_slice()),
        };
        match len {
            Ok(len) => Ok(found[..len] == *value),
            Err(Errno::NODATA | Errno::RANGE) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    /// Whether entries can be accessed by name: `/proc` is available.
    pub fn can_be_named() -> bool {
        rustix::fs::stat("/proc/self/fd").is_ok()
    }
}

/// Removes the attribute `name`, if it exists. If it does not exist, errors are ignored, except those of a failing
/// disk.
pub fn remove(fd: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
    match fremovexattr(fd, name) {
        Err(Errno::NODATA | Errno::NOTSUP) => Ok(()),
        Err(errno) if Class::of(errno) != Class::Failing => {
            // A sandbox may refuse the call even if the attribute does not exist.
            match fgetxattr(fd, name, &mut [0; 0]) {
                Ok(_) => Err(errno),
                Err(absent) if Call::RemoveAcl.is_dispensable(absent) => Ok(()),
                Err(Errno::PERM | Errno::ACCESS) => Ok(()),
                Err(other) => Err(other),
            }
        }
        result => result,
    }
}

/// The names in a list.
pub fn names(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|&byte| byte == 0).filter(|name| !name.is_empty())
}

/// Attributes for tests: `user.*` on a file in the directory for temporary files.
#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn both_kinds_of_access_see_the_same_attributes() {
        let directory = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let file = std::fs::File::create(directory.path().join("a")).unwrap();
        let dir = std::fs::File::open(directory.path()).unwrap();
        let open = XattrAccess::Open(file.as_fd());
        let named = XattrAccess::named(dir.as_fd(), b"a");
        let mut one = room();
        let mut other = room();
        open.set(b"user.large", &[7; 900]).unwrap();
        named.set(b"user.empty", b"").unwrap();
        for number in 0..40 {
            named.set(format!("user.{number}").as_bytes(), b"x").unwrap();
        }
        assert_eq!(open.list(&mut one).unwrap(), named.list(&mut other).unwrap());
        assert_eq!(names(&one).filter(|name| name.starts_with(b"user.")).count(), 42);
        assert_eq!(named.get(b"user.large", &mut one).unwrap(), [7; 900]);
        assert_eq!(open.get(b"user.empty", &mut one).unwrap(), b"");
        remove(file.as_fd(), b"user.empty").unwrap();
        remove(file.as_fd(), b"user.empty").unwrap();
        assert_eq!(open.get(b"user.empty", &mut one), Err(Errno::NODATA));
    }
}
