//! The layout of an archive: what each entry puts into the stream. Used by the scan, which only counts,
//! and by the writer.

use std::fs::File;
use std::mem::take;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use decant_shared::stop::Stop;
use rustix::fs::{FileType, readlinkat};
use rustix::io::Errno;

use super::extended::Extended;
use super::extents::{MAX_EXTENTS, data_extents};
use super::header::{BLOCK_BYTES, MapEntry, Member, flag, map_entry};
use super::links::Links;
use super::look::{Found, Looked, meta_of};
use super::member::{put_extended, put_member, put_sparse_member};
use super::meta::Meta;
use super::plan::Options;
use super::tally::{Census, Counted};
use super::walk::{Folder, NAMES_BUDGET_BYTES, walk};
use crate::archive::entry::EntryKind;
use crate::attribute::not_kept::NotKept;
use crate::digest::record::Record;
use crate::error::{Error, Result};
use crate::stream::Sink;

/// The length of every archive is a multiple of this: 20 blocks, GNU tar's default.
const RECORD_BYTES: u64 = 20 * BLOCK_BYTES;
/// The one file of a volume that holds a virtual machine's disk.
const DISK_IMAGE: &[u8] = b"disk.img";

/// What an archive of `stream_bytes` without its end becomes: see [`Pass::end`].
pub(super) fn ended(stream_bytes: u64) -> u64 {
    (stream_bytes + 2 * BLOCK_BYTES).next_multiple_of(RECORD_BYTES)
}

/// One pass over a tree: what went into the stream, and what the tree was.
pub(super) struct Pass<'a> {
    options: Options,
    /// Whether contents are read. A scan does not: it counts them.
    reading: bool,
    out: Counted<'a>,
    census: Census,
    links: Links,
    name: Vec<u8>,
    target: Vec<u8>,
    /// The extended header of the present entry.
    extended: Extended,
    /// Length of all extended headers.
    extended_bytes: u64,
    only_in_attributes: NotKept,
}

impl<'a> Pass<'a> {
    /// A pass that puts the archive into `sink`, or without one, that finds out how long it is.
    pub(super) fn new(options: Options, sink: Option<&'a mut dyn Sink>) -> Self {
        Self {
            options,
            reading: sink.is_some(),
            out: Counted::new(sink),
            census: Census::default(),
            links: Links::new(),
            name: Vec::new(),
            target: Vec::new(),
            extended: Extended::new(),
            extended_bytes: 0,
            only_in_attributes: NotKept::default(),
        }
    }

    /// Stores everything below `root`, without the end of the archive.
    pub(super) fn tree(&mut self, root: &OwnedFd, root_path: &Path, stop: &Stop) -> Result<()> {
        walk(root, root_path, NAMES_BUDGET_BYTES, stop, &mut |found| self.entry(found))?;
        if self.reading && self.links.refused() > 0 {
            log::warn!("{} files with several names are stored once per name", self.links.refused());
        }
        Ok(())
    }

    /// Ends the archive: two zero blocks, then zeros up to a whole record. An empty one is zeros only.
    pub(super) fn end(&mut self) -> Result<()> {
        self.out.frame_zeros(2 * BLOCK_BYTES)?;
        self.out.pad(RECORD_BYTES)
    }

    /// Length of all extended headers. A scan counts them here alone, a writer puts them into the stream, too.
    pub(super) fn extended_bytes(&self) -> u64 {
        self.extended_bytes
    }

    /// What an archive without extended headers does not hold.
    pub(super) fn into_only_in_attributes(self) -> NotKept {
        self.only_in_attributes
    }

    /// Length of the stream so far.
    pub(super) fn stream_bytes(&self) -> u64 {
        self.out.bytes()
    }

    /// How many entries there were, and the fingerprint of them all.
    pub(super) fn census(&self) -> (u64, u64) {
        self.census.result()
    }

    fn entry(&mut self, found: &Found<'_>) -> Result<Option<Folder>> {
        let Looked { meta, fd } = found.look(self.reading)?;
        if meta.file_type == FileType::Socket {
            if self.reading {
                log::warn!("left out the socket {:?}", found.path());
            }
            return Ok(None);
        }
        self.census.add(found.member, &meta);
        self.name.clear();
        self.name.extend_from_slice(found.member);
        match meta.file_type {
            FileType::Directory => {
                self.note(EntryKind::Folder, &[], 0)?;
                self.extend(found, &meta, fd.as_ref().map(AsFd::as_fd))?;
                self.name.push(b'/');
                self.member(&meta, flag::FOLDER)?;
                return Ok(fd.map(|fd| Folder { fd, meta }));
            }
            FileType::RegularFile => self.file(found, &meta, fd.map(File::from).as_ref())?,
            FileType::Symlink => self.symlink(found, &meta)?,
            // As in GNU tar, a second name of one of these is one more of them.
            FileType::CharacterDevice => {
                self.note(EntryKind::CharDevice(meta.node.0, meta.node.1), &[], 0)?;
                self.extend(found, &meta, None)?;
                self.member(&meta, flag::CHARACTER_DEVICE)?;
            }
            FileType::BlockDevice => {
                self.note(EntryKind::BlockDevice(meta.node.0, meta.node.1), &[], 0)?;
                self.extend(found, &meta, None)?;
                self.member(&meta, flag::BLOCK_DEVICE)?;
            }
            FileType::Fifo => {
                self.note(EntryKind::Fifo, &[], 0)?;
                self.extend(found, &meta, None)?;
                self.member(&meta, flag::FIFO)?;
            }
            _ => return Err(Error::source("store", found.path(), Errno::NOTSUP.into())),
        }
        Ok(None)
    }

    fn symlink(&mut self, found: &Found<'_>, meta: &Meta) -> Result<()> {
        if self.hard_link(meta)? {
            return Ok(());
        }
        let target = readlinkat(found.dir, found.name, take(&mut self.target));
        self.target = target
            .map_err(|errno| match errno {
                Errno::INVAL => found.changed("was replaced while the folder was read"),
                other => found.failed("read the link", other),
            })?
            .into_bytes();
        let target = take(&mut self.target);
        self.note(EntryKind::Symlink, &target, 0)?;
        self.target = target;
        self.extend(found, meta, None)?;
        self.member(meta, flag::SYMLINK)?;
        self.links.add(meta.identity(), &self.name, meta.links);
        Ok(())
    }

    /// If this is a further name of something stored before, stores that fact.
    fn hard_link(&mut self, meta: &Meta) -> Result<bool> {
        let known = meta.links > 1 && self.links.meet(meta.identity(), &mut self.target);
        if known {
            let target = take(&mut self.target);
            self.note(EntryKind::HardLink, &target, 0)?;
            self.target = target;
            self.member(meta, flag::HARD_LINK)?;
        }
        Ok(known)
    }

    fn file(&mut self, found: &Found<'_>, meta: &Meta, file: Option<&File>) -> Result<()> {
        // Receivers before v1.59 write only members of type `S` named disk.img (contract 1.10), so that
        // one is never a link to another name.
        let disk_image = found.member == DISK_IMAGE;
        if !disk_image && self.hard_link(meta)? {
            return Ok(());
        }
        let map = self.map(found, meta, file, disk_image)?;
        self.note(EntryKind::File, &[], meta.size_bytes)?;
        self.extend(found, meta, file.map(AsFd::as_fd))?;
        let (name, target, is_exact) = (self.name.as_slice(), [].as_slice(), self.options.attributes);
        match &map {
            Some(map) => {
                let stored_bytes = map.iter().map(|entry| entry.1).sum();
                let member = Member { name, target, meta, flag: flag::SPARSE, stored_bytes, is_exact };
                put_sparse_member(&mut self.out, &member, map)?;
            }
            None => {
                let member =
                    Member { name, target, meta, flag: flag::FILE, stored_bytes: meta.size_bytes, is_exact };
                put_member(&mut self.out, &member)?;
            }
        }
        self.content(found, meta, file, map.as_deref().unwrap_or(&[(0, meta.size_bytes)]))?;
        self.links.add(meta.identity(), &self.name, meta.links);
        Ok(())
    }

    /// The map of a file that is stored as a sparse one, `None` if it is stored in full.
    fn map(
        &self,
        found: &Found<'_>,
        meta: &Meta,
        file: Option<&File>,
        disk_image: bool,
    ) -> Result<Option<Vec<MapEntry>>> {
        let whole = (0, meta.size_bytes);
        // Space set aside but never written is a hole too, which the allocated blocks do not show. For a
        // disk image it always pays to ask.
        if !self.options.sparse || !(disk_image || meta.may_have_holes()) {
            return Ok(disk_image.then(|| vec![whole]));
        }
        let opened;
        let file = match file {
            Some(file) => file,
            None => {
                opened = found.open_same(meta)?;
                &opened
            }
        };
        let extents = data_extents(file, meta.size_bytes, MAX_EXTENTS)
            .map_err(|cause| Error::source("find the holes of", found.path(), cause))?;
        let mut map: Vec<MapEntry> = extents.iter().map(map_entry).collect();
        if map == [whole] {
            return Ok(disk_image.then_some(map));
        }
        // GNU tar ends every map that has holes with an empty entry at the end of the file.
        map.push((meta.size_bytes, 0));
        Ok(Some(map))
    }

    /// The stored parts of a file, each padded to whole blocks. Fails if it changed meanwhile.
    fn content(
        &mut self,
        found: &Found<'_>,
        meta: &Meta,
        file: Option<&File>,
        map: &[MapEntry],
    ) -> Result<()> {
        let mut at = 0;
        for &(offset, len) in map.iter().filter(|entry| entry.1 > 0) {
            self.out.note_zeros(offset - at)?;
            at = offset + len;
            match file {
                Some(file) => self.out.put_file(file, found.path(), offset, len)?,
                None => self.out.put_zeros(len)?,
            }
            self.out.pad(BLOCK_BYTES)?;
        }
        self.out.note_zeros(meta.size_bytes - at)?;
        match file {
            Some(file) if meta.size_bytes > 0 => {
                if meta.content_differs(&meta_of(file, found.path())?) {
                    return Err(found.changed("changed while it was read"));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// The extended header of the entry, if it has to have one. Further names of a file need none.
    fn extend(&mut self, found: &Found<'_>, meta: &Meta, fd: Option<BorrowedFd<'_>>) -> Result<()> {
        if !self.options.attributes {
            return Ok(());
        }
        let kinds = self.extended.collect(found, meta, fd)?;
        let records = self.extended.records();
        if records.is_empty() {
            return Ok(());
        }
        self.extended_bytes += BLOCK_BYTES + (records.len() as u64).next_multiple_of(BLOCK_BYTES);
        if self.reading {
            return put_extended(&mut self.out, records);
        }
        self.only_in_attributes.add(kinds, || found.member.to_vec());
        Ok(())
    }

    /// The entry's record, for the digest of the folder's content.
    fn note(&mut self, kind: EntryKind, link: &[u8], size_bytes: u64) -> Result<()> {
        if !self.reading {
            return Ok(());
        }
        self.out.note(&Record { kind, name: &self.name, link, size_bytes }.bytes())
    }

    /// A member without content. The target is that of a link, else nothing.
    fn member(&mut self, meta: &Meta, flag: u8) -> Result<()> {
        let linked = matches!(flag, flag::SYMLINK | flag::HARD_LINK);
        let target = if linked { self.target.as_slice() } else { &[] };
        let is_exact = self.options.attributes;
        put_member(&mut self.out, &Member { name: &self.name, target, meta, flag, stored_bytes: 0, is_exact })
    }
}
