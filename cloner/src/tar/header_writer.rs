//! Writes the headers of members in the GNU format, byte for byte as GNU tar 1.34 does.
//!
//! The layout of the blocks comes from the `tar` crate. Its setters are not used: they do not support negative times,
//! they end the checksum in another way, and they allocate for every number.

use std::iter::Peekable;

use rustix::fs::FileType;
use tar::{GnuExtSparseHeader, GnuHeader, GnuSparseHeader};

use crate::attributes::meta::Meta;
use crate::error::Result;
use crate::tar::counting_sink::CountingSink;
use crate::tar::field::{BLOCK_BYTES, put_number};
use crate::tar::nanoseconds;

/// The longest name or link target in a header: 100 bytes fit without a final zero byte.
const NAME_BYTES: usize = 100;

/// The type flags of members.
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

/// The headers of a member.
pub(crate) struct MemberHeader<'a> {
    /// Path from the root; that of a directory ends with `/`.
    pub(crate) name: &'a [u8],
    /// The target of a link, else empty.
    pub(crate) target: &'a [u8],
    pub(crate) meta: &'a Meta,
    /// A constant of [`flag`].
    pub(crate) flag: u8,
    /// Length of the content in the archive, without padding.
    pub(crate) stored_bytes: u64,
    /// Whether to write the nanoseconds of the time, which only Decant reads.
    pub(crate) is_exact: bool,
}

/// Writes the header of `member`, after the members for its long names if it has any.
pub(crate) fn put_member(out: &mut CountingSink<'_>, member: &MemberHeader<'_>) -> Result<()> {
    put_long_names(out, member)?;
    let mut header = member_header(member);
    seal(&mut header);
    out.header(header.as_header().as_bytes())
}

/// Writes the header of a sparse file, and the additional blocks of its map.
pub(crate) fn put_sparse_member(
    out: &mut CountingSink<'_>,
    member: &MemberHeader<'_>,
    mut map: Entries<'_>,
) -> Result<()> {
    put_long_names(out, member)?;
    let mut header = member_header(member);
    set_map(&mut header, member.meta.size_bytes, &mut map);
    seal(&mut header);
    out.header(header.as_header().as_bytes())?;
    while map.peek().is_some() {
        out.header(map_block(&mut map).as_bytes())?;
    }
    Ok(())
}

/// Writes an extended header with these records. It must come before the other headers of its member.
pub(crate) fn put_extended(out: &mut CountingSink<'_>, records: &[u8]) -> Result<()> {
    let mut header = extended_header(records.len());
    seal(&mut header);
    out.header(header.as_header().as_bytes())?;
    out.header(records)?;
    out.pad(BLOCK_BYTES)
}

/// Writes each name that does not fit into the header as a separate member: first the target, then the name.
fn put_long_names(out: &mut CountingSink<'_>, member: &MemberHeader<'_>) -> Result<()> {
    for (flag, text) in [(flag::LONG_TARGET, member.target), (flag::LONG_NAME, member.name)] {
        if text.len() > NAME_BYTES {
            let mut header = long_header(flag, text.len());
            seal(&mut header);
            out.header(header.as_header().as_bytes())?;
            out.header(text)?;
            out.header(&[0])?;
            out.pad(BLOCK_BYTES)?;
        }
    }
    Ok(())
}

/// The header of a member, with the first 100 bytes of its name and target, and without a checksum.
///
/// The names of the user and the group stay empty: a volume has only their numbers, and the container images have no
/// passwd file.
fn member_header(member: &MemberHeader<'_>) -> GnuHeader {
    let meta = member.meta;
    let mut header = empty(member.flag);
    copy(&mut header.name, member.name);
    copy(&mut header.linkname, member.target);
    put_number(&mut header.mode, meta.mode.into());
    put_number(&mut header.uid, meta.uid.into());
    put_number(&mut header.gid, meta.gid.into());
    put_number(&mut header.size, member.stored_bytes.into());
    put_number(&mut header.mtime, meta.mtime_seconds.into());
    if member.is_exact {
        nanoseconds::put(&mut header.pad, meta.mtime_nanoseconds);
    }
    if matches!(meta.file_type, FileType::CharacterDevice | FileType::BlockDevice) {
        put_number(&mut header.dev_major, meta.node.0.into());
        put_number(&mut header.dev_minor, meta.node.1.into());
    }
    header
}

/// The header of a long name or link target of `len` bytes, without the final zero byte.
fn long_header(flag: u8, len: usize) -> GnuHeader {
    let mut header = empty(flag);
    copy(&mut header.name, b"././@LongLink");
    put_number(&mut header.mode, 0o644);
    put_number(&mut header.uid, 0);
    put_number(&mut header.gid, 0);
    put_number(&mut header.size, len as i128 + 1);
    put_number(&mut header.mtime, 0);
    header
}

/// The header of `len` bytes of records (POSIX pax, "pax Extended Header").
fn extended_header(len: usize) -> GnuHeader {
    let mut header = empty(flag::EXTENDED);
    header.magic = *b"ustar\0";
    header.version = *b"00";
    // The same name for every member: it compresses to almost nothing.
    copy(&mut header.name, b"././@PaxHeader");
    put_number(&mut header.mode, 0o644);
    put_number(&mut header.uid, 0);
    put_number(&mut header.gid, 0);
    put_number(&mut header.size, len as i128);
    put_number(&mut header.mtime, 0);
    header
}

/// Writes the first entries of a sparse map and the real size of the file into `header`. The remaining entries go into
/// [`map_block`]s.
fn set_map(header: &mut GnuHeader, size_bytes: u64, map: &mut Entries<'_>) {
    put_number(&mut header.realsize, size_bytes.into());
    fill(&mut header.sparse, map);
    header.isextended = [u8::from(map.peek().is_some())];
}

/// A block that continues a sparse map: the next 21 entries.
fn map_block(map: &mut Entries<'_>) -> GnuExtSparseHeader {
    let mut block = GnuExtSparseHeader::new();
    fill(block.sparse_mut(), map);
    block.set_is_extended(map.peek().is_some());
    block
}

/// Writes the checksum. The header must not change after that.
fn seal(header: &mut GnuHeader) {
    header.cksum = [b' '; 8];
    let sum: u32 = header.as_header().as_bytes().iter().map(|&byte| u32::from(byte)).sum();
    // Six digits, a zero byte and a space, as in every tar since the first one.
    put_number(&mut header.cksum[..7], sum.into());
}

/// The entries of a sparse map that are not written yet: offset and length in bytes. The last one may be empty.
pub(crate) type Entries<'a> = Peekable<Box<dyn Iterator<Item = (u64, u64)> + 'a>>;

fn fill(slots: &mut [GnuSparseHeader], map: &mut Entries<'_>) {
    for slot in slots {
        let Some((offset, len)) = map.next() else { return };
        put_number(&mut slot.offset, offset.into());
        put_number(&mut slot.numbytes, len.into());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tar_crate_computes_the_same_checksum() {
        let mut header = long_header(flag::LONG_NAME, 200);
        seal(&mut header);
        let mut again = header.as_header().clone();
        again.set_cksum();
        assert_eq!(again.cksum().unwrap(), header.as_header().cksum().unwrap());
        assert_eq!(header.as_header().entry_size().unwrap(), 201);
    }
}
