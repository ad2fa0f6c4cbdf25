//! Header blocks of the GNU format, byte for byte as GNU tar 1.34 writes them.
//!
//! The layout of the blocks comes from the `tar` crate. Its setters are not used: they know no negative
//! times, end the checksum differently, and allocate for every number.

use std::iter::Peekable;

use rustix::fs::FileType;
use tar::{GnuExtSparseHeader, GnuHeader, GnuSparseHeader};

use crate::attributes::meta::Meta;
use crate::tar::nanoseconds;

/// Length of a header, and what every content is padded to.
pub(crate) const BLOCK_BYTES: u64 = 512;
/// Names and link targets up to this length stand in the header; 100 bytes fit without a final zero.
pub(crate) const NAME_BYTES: usize = 100;

/// What a member is: the type flag in its header.
pub(crate) mod flag {
    pub(crate) const FILE: u8 = b'0';
    pub(crate) const HARD_LINK: u8 = b'1';
    pub(crate) const SYMLINK: u8 = b'2';
    pub(crate) const CHARACTER_DEVICE: u8 = b'3';
    pub(crate) const BLOCK_DEVICE: u8 = b'4';
    pub(crate) const DIRECTORY: u8 = b'5';
    pub(crate) const FIFO: u8 = b'6';
    pub(crate) const SPARSE: u8 = b'S';
    pub(crate) const LONG_TARGET: u8 = b'K';
    pub(crate) const LONG_NAME: u8 = b'L';
    pub(crate) const EXTENDED: u8 = b'x';
}

/// One member of an archive, up to its content.
pub(crate) struct MemberHeader<'a> {
    /// Path from the root; a directory's ends with `/`.
    pub(crate) name: &'a [u8],
    /// What a link points to, else empty.
    pub(crate) target: &'a [u8],
    pub(crate) meta: &'a Meta,
    /// One of [`flag`].
    pub(crate) flag: u8,
    /// Length of the content in the archive, padding not counted.
    pub(crate) stored_bytes: u64,
    /// Its time with nanoseconds, for a reader of ours.
    pub(crate) is_exact: bool,
}

/// The header of a member, with the first 100 bytes of its name and target. Not sealed yet.
///
/// The user's and group's names stay empty: numbers are what counts in a volume, and the images that run
/// this have no passwd to look names up in.
pub(crate) fn member(member: &MemberHeader<'_>) -> GnuHeader {
    let meta = member.meta;
    let mut header = empty(member.flag);
    copy(&mut header.name, member.name);
    copy(&mut header.linkname, member.target);
    number(&mut header.mode, meta.mode.into());
    number(&mut header.uid, meta.uid.into());
    number(&mut header.gid, meta.gid.into());
    number(&mut header.size, member.stored_bytes.into());
    number(&mut header.mtime, meta.mtime_seconds.into());
    if member.is_exact {
        nanoseconds::put(&mut header.pad, meta.mtime_nanoseconds);
    }
    if matches!(meta.file_type, FileType::CharacterDevice | FileType::BlockDevice) {
        number(&mut header.dev_major, meta.node.0.into());
        number(&mut header.dev_minor, meta.node.1.into());
    }
    header
}

/// The header in front of a long name or link target of `len` bytes, the final zero not counted.
pub(crate) fn long(flag: u8, len: usize) -> GnuHeader {
    let mut header = empty(flag);
    copy(&mut header.name, b"././@LongLink");
    number(&mut header.mode, 0o644);
    number(&mut header.uid, 0);
    number(&mut header.gid, 0);
    number(&mut header.size, len as i128 + 1);
    number(&mut header.mtime, 0);
    header
}

/// The header in front of `len` bytes of records (POSIX pax, "pax Extended Header").
pub(crate) fn extended(len: usize) -> GnuHeader {
    let mut header = empty(flag::EXTENDED);
    header.magic = *b"ustar\0";
    header.version = *b"00";
    // Always the same, so that a compressor makes nothing of it.
    copy(&mut header.name, b"././@PaxHeader");
    number(&mut header.mode, 0o644);
    number(&mut header.uid, 0);
    number(&mut header.gid, 0);
    number(&mut header.size, len as i128);
    number(&mut header.mtime, 0);
    header
}

/// Puts the beginning of a sparse map into `header`, with the file's real size. The entries that
/// do not fit go into [`map_block`]s.
pub(crate) fn set_map(header: &mut GnuHeader, size_bytes: u64, map: &mut Entries<'_>) {
    number(&mut header.realsize, size_bytes.into());
    fill(&mut header.sparse, map);
    header.isextended = [u8::from(map.peek().is_some())];
}

/// A block that continues a sparse map: the next 21 entries.
pub(crate) fn map_block(map: &mut Entries<'_>) -> GnuExtSparseHeader {
    let mut block = GnuExtSparseHeader::new();
    fill(block.sparse_mut(), map);
    block.set_is_extended(map.peek().is_some());
    block
}

/// Writes the checksum, the last thing done to a header.
pub(crate) fn seal(header: &mut GnuHeader) {
    header.cksum = [b' '; 8];
    let sum: u32 = header.as_header().as_bytes().iter().map(|&byte| u32::from(byte)).sum();
    // Six digits, zero, space: as every tar since the first one.
    number(&mut header.cksum[..7], sum.into());
}

/// The entries of a sparse map that were not written yet: offset and length in bytes. The last one may be empty.
pub(crate) type Entries<'a> = Peekable<Box<dyn Iterator<Item = (u64, u64)> + 'a>>;

fn fill(slots: &mut [GnuSparseHeader], map: &mut Entries<'_>) {
    for slot in slots {
        let Some((offset, len)) = map.next() else { return };
        number(&mut slot.offset, offset.into());
        number(&mut slot.numbytes, len.into());
    }
}

fn empty(flag: u8) -> GnuHeader {
    GnuHeader {
        name: [0; NAME_BYTES],
        mode: [0; 8],
        uid: [0; 8],
        gid: [0; 8],
        size: [0; 12],
        mtime: [0; 12],
        cksum: [0; 8],
        typeflag: [flag],
        linkname: [0; NAME_BYTES],
        magic: *b"ustar ",
        version: *b" \0",
        uname: [0; 32],
        gname: [0; 32],
        dev_major: [0; 8],
        dev_minor: [0; 8],
        atime: [0; 12],
        ctime: [0; 12],
        offset: [0; 12],
        longnames: [0; 4],
        unused: [0; 1],
        sparse: std::array::from_fn(|_| GnuSparseHeader { offset: [0; 12], numbytes: [0; 12] }),
        isextended: [0; 1],
        realsize: [0; 12],
        pad: [0; 17],
    }
}

fn copy(field: &mut [u8], bytes: &[u8]) {
    let len = field.len().min(bytes.len());
    field[..len].copy_from_slice(&bytes[..len]);
}

/// Writes `value` as octal digits with a final zero, or, when it is negative or has too many digits, as a
/// big-endian two's complement whose first bit is set (GNU's base-256).
fn number(field: &mut [u8], value: i128) {
    let digits = field.len() - 1;
    if value < 0 || value >> (3 * digits) != 0 {
        let bytes = value.to_be_bytes();
        field.copy_from_slice(&bytes[bytes.len() - field.len()..]);
        field[0] |= 0x80;
        return;
    }
    field[digits] = 0;
    let mut left = value;
    for digit in field[..digits].iter_mut().rev() {
        *digit = b'0' + u8::try_from(left & 7).unwrap_or(0);
        left >>= 3;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written<const N: usize>(value: i128) -> [u8; N] {
        let mut field = [0xee; N];
        number(&mut field, value);
        field
    }

    #[test]
    fn numbers_are_octal_as_long_as_they_fit() {
        assert_eq!(&written::<8>(0o644), b"0000644\0");
        assert_eq!(&written::<8>(0o7_777_777), b"7777777\0");
        assert_eq!(&written::<12>((8 << 30) - 1), b"77777777777\0");
    }

    #[test]
    fn greater_numbers_are_base_256() {
        assert_eq!(written::<8>(0o10_000_000), [0x80, 0, 0, 0, 0, 0x20, 0, 0]);
        assert_eq!(written::<12>(8 << 30), [0x80, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0]);
    }

    #[test]
    fn times_before_1970_are_negative_base_256() {
        assert_eq!(written::<12>(-1), [0xff; 12]);
    }

    #[test]
    fn the_tar_crate_finds_the_checksum_right() {
        let mut header = long(flag::LONG_NAME, 200);
        seal(&mut header);
        let mut again = header.as_header().clone();
        again.set_cksum();
        assert_eq!(again.cksum().unwrap(), header.as_header().cksum().unwrap());
        assert_eq!(header.as_header().entry_size().unwrap(), 201);
    }
}
