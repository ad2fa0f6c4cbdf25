//! The two sides of a logical byte stream: a source writes to a [`Sink`], a target reads from a [`Pull`].
//!
//! The stream is the same on both sides: raw device content, or a tar archive. Neither side knows about threads,
//! compression or sockets, so tests can use a slice and a `Vec`.

use std::cell::OnceCell;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::io::Errno;

use crate::error::{Error, Result};

/// The destination of a source's logical stream.
pub trait Sink {
    /// Appends `run` to the stream, to the content, or to both, as `purpose` says.
    ///
    /// Errors: those of reading a file, and those of the sink itself. A file that ends before the end of its range is
    /// `Kind::SourceChanged`.
    fn write(&mut self, purpose: Purpose, run: Run<'_>) -> Result<()>;

    /// Offers the blocks of `file` to the target, which then need not be copied. Must be called directly before the
    /// content of the file. Returns the target's file if it now shares all blocks: the caller must then read the content
    /// from that file, in ranges with [`FileRange::is_shared`]. `path` is for messages.
    fn share(&mut self, file: &File, path: &Path) -> Result<Option<File>> {
        let _ = (file, path);
        Ok(None)
    }
}

/// What a run of bytes belongs to. The digest covers the content, which differs from the stream if the stream is an
/// archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Only the stream: headers and padding of the archive.
    Archive,
    /// Only the content: bytes that the archive represents in another way, such as a hole that its map lists.
    Digest,
    /// The stream and the content. A [`Run::File`] always has this purpose.
    Content,
}

/// Bytes that a source writes.
#[derive(Debug, Clone, Copy)]
pub enum Run<'a> {
    /// Bytes in memory.
    Bytes(&'a [u8]),
    /// This many zero bytes. They are never read, copied or compressed.
    Zeros(u64),
    /// A part of a file, which the sink reads.
    File(FileRange<'a>),
}

/// A part of an open file.
#[derive(Debug, Clone, Copy)]
pub struct FileRange<'a> {
    /// The file.
    pub file: &'a File,
    /// Its name for messages.
    pub path: &'a Path,
    /// Where the part begins.
    pub offset: u64,
    /// Its length.
    pub len: u64,
    /// Whether `file` is the target's file (see [`Sink::share`]), so that the range is only read for the digest.
    pub is_shared: bool,
}

impl Run<'_> {
    /// Length in bytes.
    pub fn len(&self) -> u64 {
        match self {
            Run::Bytes(bytes) => bytes.len() as u64,
            Run::Zeros(len) => *len,
            Run::File(range) => range.len,
        }
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A part of the logical stream that a target takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Bytes.
    Data(&'a [u8]),
    /// This many zero bytes.
    Zeros(u64),
    /// This many bytes that the target already holds: whole segments whose digests agree.
    Kept(u64),
    /// No bytes, but an offer to share the blocks of the file whose content follows. Requesting the next piece without an
    /// answer refuses it.
    Offer(&'a ShareOffer),
    /// This many bytes of a file whose offer was accepted: the target has them.
    Shared(u64),
}

/// A file whose blocks the target can share, and the target's answer.
#[derive(Debug)]
pub struct ShareOffer {
    source: File,
    answer: OnceCell<ShareAnswer>,
}

/// The answer to a [`ShareOffer`]: the target's file, which shares all blocks, or why there is none.
pub type ShareAnswer = std::result::Result<File, Errno>;

impl ShareOffer {
    /// Offers the blocks of `source`.
    pub fn new(source: File) -> Self {
        Self { source, answer: OnceCell::new() }
    }

    /// The file that is offered.
    pub fn source(&self) -> &File {
        &self.source
    }

    /// Answers the offer. Only the first answer counts.
    pub fn answer(&self, answer: ShareAnswer) {
        let _ = self.answer.set(answer);
    }

    /// The answer. An offer without an answer is refused.
    pub fn into_answer(self) -> ShareAnswer {
        self.answer.into_inner().unwrap_or(Err(Errno::CANCELED))
    }
}

impl PartialEq for ShareOffer {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for ShareOffer {}

impl Piece<'_> {
    /// Length in bytes.
    pub fn len(&self) -> u64 {
        match self {
            Piece::Data(bytes) => bytes.len() as u64,
            Piece::Zeros(len) | Piece::Kept(len) | Piece::Shared(len) => *len,
            Piece::Offer(_) => 0,
        }
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The origin of a target's logical stream.
pub trait Pull {
    /// The next piece, of at most `max_bytes` bytes (> 0) and never empty, except for an offer; `None` at the real end of
    /// the stream. A stream that was cut is an error, never `None`.
    fn next_piece(&mut self, max_bytes: u64) -> Result<Option<Piece<'_>>>;

    /// Limits what may be reported as durable. A piece counts as written when the next one is requested; a writer that
    /// writes some pieces later sets `from_bytes`, the position of the first of them, until they are written. The default
    /// is for streams that do not report what is durable.
    fn hold_durable(&mut self, _from_bytes: Option<u64>) {}

    /// Fills `buf` completely. The end of the stream before that is `Kind::Damaged`: "the stream ends inside `what`".
    fn fill(&mut self, mut buf: &mut [u8], what: &str) -> Result<()> {
        while !buf.is_empty() {
            let Some(piece) = self.next_piece(buf.len() as u64)? else {
                return Err(Error::damaged(format!("the stream ends inside {what}")));
            };
            let len = usize::try_from(piece.len()).unwrap_or(usize::MAX).min(buf.len());
            let (head, tail) = buf.split_at_mut(len);
            match piece {
                Piece::Data(bytes) => head.copy_from_slice(bytes),
                Piece::Zeros(_) => head.fill(0),
                Piece::Offer(_) => {}
                Piece::Kept(_) | Piece::Shared(_) => {
                    return Err(Error::damaged(format!("{what} is said to be on the target already")));
                }
            }
            buf = tail;
        }
        Ok(())
    }

    /// Takes `len` bytes and drops them. Errors: as for [`fill`](Self::fill).
    fn skip(&mut self, mut len: u64, what: &str) -> Result<()> {
        while len > 0 {
            let Some(piece) = self.next_piece(len)? else {
                return Err(Error::damaged(format!("the stream ends inside {what}")));
            };
            len -= piece.len();
        }
        Ok(())
    }
}

/// A slice is a stream: for tests and fuzz targets.
impl Pull for &[u8] {
    fn next_piece(&mut self, max_bytes: u64) -> Result<Option<Piece<'_>>> {
        let len = usize::try_from(max_bytes).unwrap_or(usize::MAX).min(self.len());
        let (head, tail) = self.split_at(len);
        *self = tail;
        Ok(if head.is_empty() { None } else { Some(Piece::Data(head)) })
    }
}

/// A `Vec` collects the stream: for tests.
impl Sink for Vec<u8> {
    fn write(&mut self, purpose: Purpose, run: Run<'_>) -> Result<()> {
        if purpose == Purpose::Digest {
            return Ok(());
        }
        let len = usize::try_from(run.len()).map_err(|_| Error::damaged("a run longer than memory"))?;
        match run {
            Run::Bytes(bytes) => self.extend_from_slice(bytes),
            Run::Zeros(_) => self.append(&mut vec![0; len]),
            Run::File(range) => {
                let mut content = vec![0; len];
                range
                    .file
                    .read_exact_at(&mut content, range.offset)
                    .map_err(|cause| Error::source("read", range.path, cause))?;
                self.append(&mut content);
            }
        }
        Ok(())
    }
}
