//! Parses a header block and the extended headers that precede it into an [`Entry`].

use tar::Header;

use crate::attributes::Moment;
use crate::error::{Error, Result};
use crate::tar::entry::{Entry, EntryKind};
use crate::tar::pax::PaxFields;
use crate::tar::sparse_map::{SparseMap, push_old_gnu};
use crate::tar::{field, nanoseconds};

/// The extended headers and long names that precede a member.
#[derive(Debug, Default)]
pub(crate) struct Extensions {
    pub(crate) pax: PaxFields,
    pub(crate) long_name: Option<Vec<u8>>,
    pub(crate) long_link: Option<Vec<u8>>,
}

/// How the archive stores the content of a member.
#[derive(Debug)]
pub(crate) enum Layout {
    /// In one run, or no content at all.
    Dense,
    /// As the segments of this map. With `more`, additional blocks of the map follow the header.
    OldGnu { map: SparseMap, more: bool },
    /// As the segments of this map, from an extended header.
    PaxMap(SparseMap),
    /// As the segments of a map that precedes them in the content.
    PaxFront,
}

/// A member without its content.
#[derive(Debug)]
pub(crate) struct ParsedMember {
    pub(crate) entry: Entry,
    pub(crate) layout: Layout,
    /// Length of its content in the archive, without padding.
    pub(crate) stored_bytes: u64,
}

/// The size field of a header.
pub(crate) fn stored_bytes(header: &Header) -> Result<u64> {
    let size_bytes = field::number(&header.as_old().size).and_then(|size| u64::try_from(size).ok());
    size_bytes.ok_or_else(|| Error::damaged("the size is not a number of 0 to 63 bits"))
}

/// The name in the header block.
pub(crate) fn block_name(header: &Header) -> Vec<u8> {
    let name = field::text(&header.as_old().name);
    match header.as_ustar().map(|ustar| field::text(&ustar.prefix)) {
        Some(prefix) if !prefix.is_empty() => [prefix, b"/", name].concat(),
        _ => name.to_vec(),
    }
}

/// Parses a member. Errors do not contain its name: the caller adds it ([`member_name`]).
pub(crate) fn member(header: &Header, name: Vec<u8>, extensions: Extensions) -> Result<ParsedMember> {
    let Extensions { pax, long_link, .. } = extensions;
    let kind = kind(header, &name)?;
    let stored_bytes = match header.as_old().linkflag[0] {
        // Links, devices, directories and pipes have no content, whatever their size field says (POSIX pax).
        b'1'..=b'6' => 0,
        _ => pax.size_bytes.map_or_else(|| stored_bytes(header), Ok)?,
    };
    let layout = if kind == EntryKind::File { layout(header, &pax)? } else { Layout::Dense };
    let size_bytes = match (kind, &layout) {
        (EntryKind::File, Layout::Dense) => stored_bytes,
        (EntryKind::File, Layout::OldGnu { .. }) => old_gnu_size(header)?,
        (EntryKind::File, _) => {
            let parsed = pax.sparse.size_bytes;
            parsed.ok_or_else(|| Error::damaged("the sparse member has no real size"))?
        }
        _ => 0,
    };
    let link = match kind {
        EntryKind::Symlink | EntryKind::HardLink => {
            pax.link_path.or(long_link).unwrap_or_else(|| field::text(&header.as_old().linkname).to_vec())
        }
        _ => Vec::new(),
    };
    let entry = Entry {
        kind,
        link,
        size_bytes,
        mode: mode(header)?,
        uid: id(pax.uid, &header.as_old().uid),
        gid: id(pax.gid, &header.as_old().gid),
        modified: pax.modified.map_or_else(|| modified(header), Ok)?,
        unsent: pax.attributes.unsent(),
        xattrs: pax.attributes.xattrs,
        name,
    };
    Ok(ParsedMember { entry, layout, stored_bytes })
}

/// The name of a member, from the first of these sources that has one: GNU's sparse name, the PAX path, GNU's long
/// name, the header block.
pub(crate) fn member_name(header: &Header, extensions: &mut Extensions) -> Vec<u8> {
    let pax = &mut extensions.pax;
    let named = pax.sparse.name.take().or_else(|| pax.path.take());
    named.or_else(|| extensions.long_name.take()).unwrap_or_else(|| block_name(header))
}

fn kind(header: &Header, name: &[u8]) -> Result<EntryKind> {
    Ok(match header.as_old().linkflag[0] {
        // Old archivers had no type for directories and ended their names with a slash instead.
        0 | b'0' | b'7' if name.ends_with(b"/") => EntryKind::Directory,
        0 | b'0' | b'7' | b'S' => EntryKind::File,
        b'1' => EntryKind::HardLink,
        b'2' => EntryKind::Symlink,
        b'3' => device(header, EntryKind::CharDevice)?,
        b'4' => device(header, EntryKind::BlockDevice)?,
        b'5' | b'D' => EntryKind::Directory,
        b'6' => EntryKind::Fifo,
        // GNU tar guesses here, which could produce a wrong copy that looks correct.
        other => return Err(Error::damaged(format!("the member type {:?} is unknown", char::from(other)))),
    })
}

fn layout(header: &Header, pax: &PaxFields) -> Result<Layout> {
    let is_front = pax.sparse.is_version_1()?;
    if header.as_old().linkflag[0] == b'S' {
        let Some(gnu) = header.as_gnu().filter(|_| !is_front && pax.sparse.map.is_none()) else {
            return Err(Error::damaged("the format of the sparse member is unknown"));
        };
        let mut map = SparseMap::default();
        push_old_gnu(&mut map, &gnu.sparse)?;
        return Ok(Layout::OldGnu { map, more: gnu.isextended[0] != 0 });
    }
    Ok(match &pax.sparse.map {
        _ if is_front => Layout::PaxFront,
        Some(map) => Layout::PaxMap(map.clone()),
        None => Layout::Dense,
    })
}

fn old_gnu_size(header: &Header) -> Result<u64> {
    let parsed = header.as_gnu().and_then(|gnu| field::number(&gnu.realsize));
    parsed
        .and_then(|size| u64::try_from(size).ok())
        .ok_or_else(|| Error::damaged("the real size is not a number of 0 to 63 bits"))
}

fn device(header: &Header, kind: fn(u32, u32) -> EntryKind) -> Result<EntryKind> {
    // ustar and GNU headers have these fields in the same place.
    let fields = match (header.as_ustar(), header.as_gnu()) {
        (Some(ustar), _) => Some((&ustar.dev_major, &ustar.dev_minor)),
        (_, Some(gnu)) => Some((&gnu.dev_major, &gnu.dev_minor)),
        _ => None,
    };
    let number = |field: &[u8]| field::number(field).and_then(|number| u32::try_from(number).ok());
    fields
        .and_then(|(major, minor)| Some(kind(number(major)?, number(minor)?)))
        .ok_or_else(|| Error::damaged("the device has no device number"))
}

fn mode(header: &Header) -> Result<u32> {
    // Some archivers store the file type in the upper bits.
    let bits = field::number(&header.as_old().mode).and_then(|mode| u32::try_from(mode & 0o7777).ok());
    bits.ok_or_else(|| Error::damaged("the mode is not a number"))
}

fn modified(header: &Header) -> Result<Moment> {
    let seconds = field::number(&header.as_old().mtime);
    let seconds = seconds.ok_or_else(|| Error::damaged("the time is not a number"))?;
    let moment = Moment { seconds, nanoseconds: 0 };
    Ok(header.as_gnu().map_or(moment, |gnu| nanoseconds::exact(moment, &gnu.pad)))
}

fn id(pax: Option<u64>, block: &[u8]) -> Option<u32> {
    let parsed = pax.or_else(|| field::number(block).and_then(|number| u64::try_from(number).ok()));
    // For chown(2) the highest id means "leave it unchanged".
    parsed.and_then(|id| u32::try_from(id).ok()).filter(|&id| id != u32::MAX)
}
