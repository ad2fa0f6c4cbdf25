//! The content of a directory as its digest covers it, independent of the archive format.
//!
//! It consists of the entries in the order of the archive (docs/protocol.md section 1.10): a record for each entry, and
//! after the record of a regular file its bytes, with holes as zeros. A record contains the type of the entry, its name
//! below the directory, the target of a link and the size of a file. It does not contain owners, modes, times and
//! attributes: a target may not be permitted to keep them, and reports that separately.

use crate::tar::entry::{Entry, EntryKind};

/// The record of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// The type of the entry.
    pub kind: EntryKind,
    /// Its name without slashes at either end.
    pub name: &'a [u8],
    /// The target of a symbolic link, byte for byte; the first name of a hard link; else empty.
    pub link: &'a [u8],
    /// Size of a file with its holes.
    pub size_bytes: u64,
}

impl<'a> Record<'a> {
    /// The record of a member of an archive; `None` for the directory itself.
    pub fn of(entry: &'a Entry) -> Option<Self> {
        let name = plain(&entry.name);
        let link = if entry.kind == EntryKind::HardLink { plain(&entry.link) } else { &entry.link };
        (!name.is_empty()).then_some(Self { kind: entry.kind, name, link, size_bytes: entry.size_bytes })
    }

    /// The record's bytes: kind, device numbers, name, link, size; numbers little-endian, texts after their length.
    pub fn bytes(&self) -> Vec<u8> {
        let (kind, major, minor) = match self.kind {
            EntryKind::File => (b'f', 0, 0),
            EntryKind::Directory => (b'd', 0, 0),
            EntryKind::Symlink => (b'l', 0, 0),
            EntryKind::HardLink => (b'h', 0, 0),
            EntryKind::Fifo => (b'p', 0, 0),
            EntryKind::CharDevice(major, minor) => (b'c', major, minor),
            EntryKind::BlockDevice(major, minor) => (b'b', major, minor),
        };
        let mut bytes = vec![kind];
        bytes.extend_from_slice(&major.to_le_bytes());
        bytes.extend_from_slice(&minor.to_le_bytes());
        for text in [self.name, self.link] {
            bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
            bytes.extend_from_slice(text);
        }
        bytes.extend_from_slice(&self.size_bytes.to_le_bytes());
        bytes
    }
}

/// The name of a member without `./` and slashes around it.
fn plain(mut name: &[u8]) -> &[u8] {
    while let Some(rest) = name.strip_prefix(b"./").or_else(|| name.strip_prefix(b"/")) {
        name = rest;
    }
    while let Some(rest) = name.strip_suffix(b"/") {
        name = rest;
    }
    if name == b"." { b"" } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slashes_and_dots_around_a_name_do_not_count() {
        for name in [&b"a/b"[..], b"./a/b", b"/a/b/", b"././a/b//"] {
            assert_eq!(plain(name), b"a/b");
        }
        assert_eq!((plain(b"./"), plain(b"."), plain(b".hidden")), (&b""[..], &b""[..], &b".hidden"[..]));
    }

    #[test]
    fn two_different_entries_never_have_the_same_record() {
        let record = |kind, name, link| Record { kind, name, link, size_bytes: 0 }.bytes();
        let all = [
            record(EntryKind::File, b"ab", b""),
            record(EntryKind::File, b"a", b"b"),
            record(EntryKind::Symlink, b"a", b"b"),
            record(EntryKind::CharDevice(1, 2), b"a", b""),
            record(EntryKind::CharDevice(2, 1), b"a", b""),
        ];
        for (at, one) in all.iter().enumerate() {
            assert!(all[at + 1..].iter().all(|other| other != one));
        }
    }
}
