//! Regular files. They are stored in full, or with a map of their data.

use std::fs::File;
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use crate::attributes::meta::Meta;
use crate::error::{Error, Result};
use crate::stream::{FileRange, Purpose, Run, Sink};
use crate::tar::entry::EntryKind;
use crate::tar::field::BLOCK_BYTES;
use crate::tar::header_writer::{Entries, MemberHeader, flag, put_member, put_sparse_member};
use crate::tar::sparse_map::SparseMap;
use crate::volume::holes::next_data;
use crate::volume::raw::unreadable;
use crate::volume::reflink::SHARED_LEAST_BYTES;
use crate::volume::tree::read::extents::{MAX_EXTENTS, data_extents};
use crate::volume::tree::read::links::Name;
use crate::volume::tree::read::lstat::{Found, meta_of};
use crate::volume::tree::read::pass::{Pass, lost_link};

/// The file that contains the disk of a virtual machine.
const DISK_IMAGE: &[u8] = b"disk.img";

/// The size of a read of data where the map of a shared file has a hole.
const HOLE_READ_BYTES: u64 = 256 << 10;

/// The map of a file that is stored as sparse.
struct Map {
    data: SparseMap,
    /// The empty entry at the end of the file. GNU tar ends every map with holes this way.
    end: Option<u64>,
}

impl Map {
    fn entries(&self) -> Entries<'_> {
        let entries = self.data.iter().chain(self.end.map(|end| (end, 0)));
        (Box::new(entries) as Box<dyn Iterator<Item = _>>).peekable()
    }
}

impl Pass<'_> {
    pub(super) fn file(&mut self, found: &Found<'_>, meta: &Meta, file: Option<&File>) -> Result<()> {
        // CDI's receivers before v1.59 write only members of type `S` named disk.img (docs/protocol.md section 1.10),
        // so this file is never stored as a link.
        let disk_image = found.member == DISK_IMAGE;
        let name = if disk_image { self.links.meet(meta, &mut self.target) } else { self.meet(meta)? };
        if name == Name::Further && !disk_image {
            return Ok(());
        }
        let map = self.map(found, meta, file, disk_image)?;
        self.note(EntryKind::File, &[], meta.size_bytes)?;
        self.extend(found, meta, file.map(AsFd::as_fd), lost_link(name))?;
        let name = self.name.as_slice();
        let target = [].as_slice();
        let is_exact = self.options.attributes;
        match &map {
            Some(map) => {
                let stored_bytes = map.data.stored_bytes();
                let member = MemberHeader { name, target, meta, flag: flag::SPARSE, stored_bytes, is_exact };
                put_sparse_member(&mut self.out, &member, map.entries())?;
            }
            None => {
                let member = MemberHeader {
                    name,
                    target,
                    meta,
                    flag: flag::FILE,
                    stored_bytes: meta.size_bytes,
                    is_exact,
                };
                put_member(&mut self.out, &member)?;
            }
        }
        let data = map.map_or_else(|| SparseMap::dense(meta.size_bytes), |map| map.data);
        self.content(found, meta, file, &data)?;
        self.links.add(meta, &self.name);
        Ok(())
    }

    /// The map of a file that is stored as sparse; `None` if the file is stored in full.
    fn map(
        &self,
        found: &Found<'_>,
        meta: &Meta,
        file: Option<&File>,
        disk_image: bool,
    ) -> Result<Option<Map>> {
        let size_bytes = meta.size_bytes;
        let whole = || {
            let end = (size_bytes == 0).then_some(0);
            disk_image.then(|| Map { data: SparseMap::dense(size_bytes), end })
        };
        // Space that is allocated but not written is also a hole, which the number of blocks does not show. Looking for
        // holes is always worthwhile in a disk image.
        if !self.options.sparse || !(disk_image || meta.may_have_holes()) {
            return Ok(whole());
        }
        let opened;
        let file = match file {
            Some(file) => file,
            None => {
                opened = found.open_same(meta)?;
                &opened
            }
        };
        let data = data_extents(file, found.path(), size_bytes, MAX_EXTENTS, &self.stop)?;
        if data.stored_bytes() == size_bytes {
            return Ok(whole());
        }
        Ok(Some(Map { data, end: Some(size_bytes) }))
    }

    /// Writes the stored parts of a file, and pads each part to whole blocks.
    ///
    /// Errors: `Kind::SourceChanged` if the file changed while it was read.
    fn content(
        &mut self,
        found: &Found<'_>,
        meta: &Meta,
        file: Option<&File>,
        data: &SparseMap,
    ) -> Result<()> {
        let shared = match file {
            Some(file) if data.stored_bytes() > 0 && meta.size_bytes >= SHARED_LEAST_BYTES => {
                self.out.share(file, found.path())?
            }
            _ => None,
        };
        if let Some(shared) = &shared
            && meta_of(shared, found.path())?.size_bytes != meta.size_bytes
        {
            return Err(found.changed("changed while it was read"));
        }
        let is_shared = shared.is_some();
        let mut at = 0;
        for (offset, len) in data.iter() {
            self.hole(found, shared.as_ref(), at..offset)?;
            at = offset + len;
            let run = match shared.as_ref().or(file) {
                Some(file) => Run::File(FileRange { file, path: found.path(), offset, len, is_shared }),
                None => Run::Zeros(len),
            };
            self.out.write(Purpose::Content, run)?;
            self.out.pad(BLOCK_BYTES)?;
        }
        self.hole(found, shared.as_ref(), at..meta.size_bytes)?;
        match file {
            Some(file) => {
                let later = meta_of(file, found.path())?;
                // The file may have been opened long before its turn, and removed since then.
                if later.links == 0 && meta.links > 0 {
                    return Err(found.gone());
                }
                if meta.content_differs(&later) {
                    return Err(found.changed("changed while it was read"));
                }
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Adds a hole to the digest; a hole has no bytes in the stream. The map of a shared file was made before its blocks
    /// were shared. If the target's file has data in the hole, because the source was changed in between or the
    /// filesystem reports other holes, that data is hashed.
    fn hole(&mut self, found: &Found<'_>, shared: Option<&File>, hole: Range<u64>) -> Result<()> {
        let Some(shared) = shared else {
            return self.out.write(Purpose::Digest, Run::Zeros(hole.end - hole.start));
        };
        let mut buffer = Vec::new();
        let mut at = hole.start;
        while at < hole.end {
            let data = next_data(shared, at, hole.end)
                .map_err(|cause| Error::source("find the holes of", found.path(), cause))?;
            self.out.write(Purpose::Digest, Run::Zeros(data.start - at))?;
            at = data.start;
            while at < data.end {
                Error::check(&self.stop)?;
                let len = (data.end - at).min(HOLE_READ_BYTES);
                buffer.resize(usize::try_from(len).unwrap_or(0), 0);
                shared.read_exact_at(&mut buffer, at).map_err(|cause| unreadable(found.path(), at, cause))?;
                self.out.write(Purpose::Digest, Run::Bytes(&buffer))?;
                at += len;
            }
        }
        Ok(())
    }
}
