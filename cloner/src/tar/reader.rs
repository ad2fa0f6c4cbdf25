//! Reads an archive member by member. This module opens and writes no files.
//!
//! Formats: v7, ustar, GNU (long names, old sparse format, base-256 numbers), PAX (sparse formats 0.0, 0.1 and 1.0).
//! The end mark is two zero blocks, as GNU tar, bsdtar and CDI write it. Padding follows. An archive that ends after
//! one zero block is also complete. An archive that ends without a zero block was cut, unless it is empty.

use std::rc::Rc;

use tar::{GnuExtSparseHeader, Header};

use crate::attributes::name::shown;
use crate::error::{Error, Result};
use crate::stream::{Piece, Pull};
use crate::tar::block_reader::BlockReader;
use crate::tar::content_record::Record;
use crate::tar::entry::{Entry, MAX_NAME_BYTES};
use crate::tar::field::{BLOCK_BYTES, BLOCK_LEN};
use crate::tar::member_parser::{
    Extensions, Layout, ParsedMember, block_name, member, member_name, stored_bytes,
};
use crate::tar::pax::PaxFields;
use crate::tar::sparse_map::{DecimalMap, MapSegments, SparseMap, push_old_gnu};

/// The longest PAX extended header, in bytes.
pub const MAX_PAX_BYTES: u64 = 1 << 20;
/// The maximum number of header bytes before one member, including global headers and labels: four extended headers of
/// maximum length. Archivers write one extended header and two long names.
pub const MAX_EXTENSIONS_BYTES: u64 = 4 << 20;

/// Content that the caller did not read is skipped in runs of this size.
const SKIP_BYTES: u64 = 1 << 20;

/// Follows the content of an archive while it is read: compares it with the sender's digests, and knows how much of it
/// a previous attempt wrote.
pub trait VerifyContent {
    /// The number of content bytes, from the current position on, that are already on the volume.
    fn held_bytes(&self) -> u64;

    /// The longest run of zeros that [`content`](Self::content) accepts. The reader checks for a stop between two runs.
    fn zeros_step_bytes(&self) -> u64;

    /// Takes the record of a member, which is part of the content. It is sent again even if it is held.
    fn record(&self, bytes: &[u8]) -> Result<()>;

    /// Takes the next content.
    fn content(&self, piece: &Piece<'_>) -> Result<()>;
}

/// Reads an archive. Every error of the format is `Kind::Damaged` and contains the name of the member.
pub struct ArchiveReader<'a, P: ?Sized> {
    blocks: BlockReader<'a, P>,
    globals: PaxFields,
    name: Vec<u8>,
    body: Body,
    has_ended: bool,
    verifier: Option<Rc<dyn VerifyContent>>,
}

/// The part of the current member's content that is not read yet.
#[derive(Debug, Default)]
struct Body {
    segments: MapSegments,
    /// The start of the current segment, and the number of its bytes that are left.
    next_offset: u64,
    segment_left: u64,
    /// The start of the next piece, and the size of the file with its holes.
    offset: u64,
    size_bytes: u64,
    stored_left: u64,
    padding: u64,
}

impl<'a, P: Pull + ?Sized> ArchiveReader<'a, P> {
    /// Reads from `pull`.
    pub fn new(pull: &'a mut P) -> Self {
        Self::with_verifier(pull, None)
    }

    /// Reads from `pull`, and passes the content of the archive to `verifier`.
    pub fn verified(pull: &'a mut P, verifier: Rc<dyn VerifyContent>) -> Self {
        Self::with_verifier(pull, Some(verifier))
    }

    fn with_verifier(pull: &'a mut P, verifier: Option<Rc<dyn VerifyContent>>) -> Self {
        Self {
            verifier,
            blocks: BlockReader::new(pull),
            globals: PaxFields::default(),
            name: Vec::new(),
            body: Body::default(),
            has_ended: false,
        }
    }

    /// The next member. First reads the rest of the previous member's content. `None` if the archive is complete and
    /// the stream was read to its real end.
    pub fn next_entry(&mut self) -> Result<Option<Entry>> {
        if self.has_ended {
            return Ok(None);
        }
        // Uses `next_data`, so that skipped content is verified, too.
        while self.next_data(SKIP_BYTES)?.is_some() {}
        self.skip_rest()?;
        let mut extensions = Extensions { pax: self.globals.clone(), ..Extensions::default() };
        let mut is_extended = false;
        let start = self.blocks.position();
        while let Some(block) = self.blocks.next_header(&self.name)? {
            let header = Header::from_byte_slice(&block);
            if self.blocks.position() - start > MAX_EXTENSIONS_BYTES {
                let text = format!("more than {MAX_EXTENSIONS_BYTES} bytes of headers precede one member");
                return Err(named(header)(Error::damaged(text)));
            }
            match header.as_old().linkflag[0] {
                b'x' | b'X' => {
                    extensions.pax.read(&self.extension(header, MAX_PAX_BYTES)?).map_err(named(header))?;
                }
                b'g' => {
                    let records = self.extension(header, MAX_PAX_BYTES)?;
                    self.globals.read(&records).map_err(named(header))?;
                    extensions.pax.read(&records).map_err(named(header))?;
                    if self.globals.sparse.map.is_some() {
                        // The map would be copied for each member, and cannot be correct for two of them.
                        let text = "a header for all members has a sparse map";
                        return Err(named(header)(Error::damaged(text)));
                    }
                    self.globals.attributes.forget();
                    extensions.pax.attributes.forget();
                    // This header does not belong to a member, so an archive may end after it.
                    continue;
                }
                b'L' => extensions.long_name = Some(self.long_name(header)?),
                b'K' => extensions.long_link = Some(self.long_name(header)?),
                // The label of a volume.
                b'V' => continue,
                _ => {
                    let entry = self.begin(header, extensions)?;
                    if let (Some(verifier), Some(record)) = (&self.verifier, Record::of(&entry)) {
                        verifier.record(&record.bytes())?;
                    }
                    return Ok(Some(entry));
                }
            }
            is_extended = true;
        }
        if is_extended {
            return Err(Error::damaged("the archive ends between an extended header and its member"));
        }
        self.has_ended = true;
        self.blocks.drain()?;
        Ok(None)
    }

    /// The next run of the current member's content, with its offset in the file. The runs have no gaps and end at the
    /// size of the file. Runs that take bytes of the archive have at most `max_bytes` (> 0). A hole is one
    /// `Piece::Zeros`, of any length. If its digest is computed, it is returned in steps instead, so that the caller
    /// can check for a stop. Holes in content that the target holds are `Piece::Kept`.
    pub fn next_data(&mut self, max_bytes: u64) -> Result<Option<(u64, Piece<'_>)>> {
        let body = &mut self.body;
        if body.segment_left == 0 {
            if body.offset == body.next_offset && body.offset < body.size_bytes {
                (body.next_offset, body.segment_left) =
                    body.segments.next_segment().unwrap_or((body.size_bytes, 0));
            }
            if body.offset == body.size_bytes {
                return Ok(None);
            }
        }
        let offset = body.offset;
        if offset < body.next_offset {
            let len = body.next_offset - offset;
            let piece = match (&self.verifier, held_bytes(self.verifier.as_deref())) {
                (None, _) => Piece::Zeros(len),
                (Some(verifier), 0) => Piece::Zeros(len.min(verifier.zeros_step_bytes())),
                (_, held_bytes) => Piece::Kept(len.min(held_bytes)),
            };
            body.offset += piece.len();
            self.verifier.as_ref().map_or(Ok(()), |verifier| verifier.content(&piece))?;
            return Ok(Some((offset, piece)));
        }
        let piece = self.blocks.content(max_bytes.min(body.segment_left), &self.name)?;
        body.segment_left -= piece.len();
        body.stored_left -= piece.len();
        body.offset += piece.len();
        body.next_offset = body.offset;
        self.verifier.as_ref().map_or(Ok(()), |verifier| verifier.content(&piece))?;
        Ok(Some((offset, piece)))
    }

    /// The number of content bytes, from the current position on, that the target holds from a previous attempt.
    pub fn held_bytes(&self) -> u64 {
        held_bytes(self.verifier.as_deref())
    }

    /// The number of bytes of the archive that were read.
    pub fn position_bytes(&self) -> u64 {
        self.blocks.position()
    }

    /// See [`Pull::hold_durable`].
    pub fn hold_durable(&mut self, from_bytes: Option<u64>) {
        self.blocks.hold_durable(from_bytes);
    }

    fn begin(&mut self, header: &Header, mut extensions: Extensions) -> Result<Entry> {
        self.name = member_name(header, &mut extensions);
        let named = |error: Error| error.within(&shown(&self.name));
        let ParsedMember { entry, layout, mut stored_bytes } =
            member(header, self.name.clone(), extensions).map_err(named)?;
        let padding = stored_bytes.next_multiple_of(BLOCK_BYTES) - stored_bytes;
        let map =
            self.map(layout, &mut stored_bytes, &entry).map_err(|error| error.within(&shown(&entry.name)))?;
        self.body = Body {
            segments: MapSegments::new(map),
            size_bytes: entry.size_bytes,
            stored_left: stored_bytes,
            padding,
            ..Body::default()
        };
        Ok(entry)
    }

    /// Completes the map of a member. Subtracts the length of the map's blocks from `stored_bytes`.
    fn map(&mut self, layout: Layout, stored_bytes: &mut u64, entry: &Entry) -> Result<SparseMap> {
        let map = match layout {
            Layout::Dense => return Ok(SparseMap::dense(entry.size_bytes)),
            Layout::PaxMap(map) => map,
            Layout::OldGnu { mut map, mut more } => {
                while more {
                    let mut block = GnuExtSparseHeader::new();
                    self.blocks.fill_all(block.as_mut_bytes())?;
                    push_old_gnu(&mut map, &block.sparse)?;
                    more = block.isextended[0] != 0;
                }
                map
            }
            Layout::PaxFront => {
                let mut map = DecimalMap::default();
                loop {
                    let mut block = [0; BLOCK_LEN];
                    let left = stored_bytes.checked_sub(BLOCK_BYTES);
                    *stored_bytes = left.ok_or_else(|| Error::damaged("the sparse map has no end"))?;
                    self.blocks.fill_all(&mut block)?;
                    if map.feed(&block)? {
                        break map.finish();
                    }
                }
            }
        };
        map.check(entry.size_bytes, *stored_bytes)?;
        Ok(map)
    }

    /// The content of an extended header, of at most `max_bytes`.
    fn extension(&mut self, header: &Header, max_bytes: u64) -> Result<Vec<u8>> {
        let size_bytes = stored_bytes(header).map_err(named(header))?;
        let len = usize::try_from(size_bytes).ok().filter(|_| size_bytes <= max_bytes).ok_or_else(|| {
            named(header)(Error::damaged(format!("an extended header of {size_bytes} bytes is too long")))
        })?;
        let mut content = vec![0; len.next_multiple_of(BLOCK_LEN)];
        self.blocks.fill_all(&mut content).map_err(named(header))?;
        content.truncate(len);
        Ok(content)
    }

    fn long_name(&mut self, header: &Header) -> Result<Vec<u8>> {
        let mut name = self.extension(header, MAX_NAME_BYTES)?;
        let end = name.iter().position(|&byte| byte == 0).unwrap_or(name.len());
        name.truncate(end);
        Ok(name)
    }

    fn skip_rest(&mut self) -> Result<()> {
        let body = std::mem::take(&mut self.body);
        self.blocks.skip(body.stored_left + body.padding, &self.name)
    }
}

fn held_bytes(verifier: Option<&dyn VerifyContent>) -> u64 {
    verifier.map_or(0, VerifyContent::held_bytes)
}

/// Adds the name of a member to an error. The name comes from the header block alone.
fn named(header: &Header) -> impl Fn(Error) -> Error + '_ {
    |error| error.within(&shown(&block_name(header)))
}
