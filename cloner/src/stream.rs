//! The two sides of a logical byte stream: what a source puts in and what a target takes out.
//!
//! The stream is the same on both sides (raw device content, or a tar archive). Neither side knows about
//! threads, compression or sockets, so each is tested on a slice and a `Vec`.

use std::fs::File;
use std::path::Path;
use std::rc::Rc;

use crate::error::{Error, Result};

/// 64 KiB of zeros, to compare with and to write from.
pub static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// Whether all of `bytes` (at most 64 KiB) is zero. Data that is not zero usually shows it in its first word.
pub fn is_zero(bytes: &[u8]) -> bool {
    match bytes.first_chunk::<8>() {
        Some(first) if *first != [0; 8] => false,
        _ => bytes == &ZEROS[..bytes.len()],
    }
}

/// Where the source puts its logical stream. Every method appends.
///
/// A volume's content (what its digest is about) and the stream differ where the stream is an archive: `put*` are
/// both, `frame*` belong to the archive alone, `note*` to the content alone. A sink that computes no digest only needs
/// to know `put*`.
pub trait Sink {
    /// Appends bytes of the archive's own.
    fn frame(&mut self, bytes: &[u8]) -> Result<()> {
        self.put(bytes)
    }

    /// Appends `len` zero bytes of the archive's own.
    fn frame_zeros(&mut self, len: u64) -> Result<()> {
        self.put_zeros(len)
    }

    /// These bytes are content that the archive tells in its own way.
    fn note(&mut self, bytes: &[u8]) -> Result<()> {
        let _ = bytes;
        Ok(())
    }

    /// So are `len` zero bytes: a hole that the archive has in a map.
    fn note_zeros(&mut self, len: u64) -> Result<()> {
        let _ = len;
        Ok(())
    }

    /// Appends `bytes`.
    fn put(&mut self, bytes: &[u8]) -> Result<()>;

    /// Appends `len` zero bytes. Cheaper than putting them: they are never read, copied or compressed.
    fn put_zeros(&mut self, len: u64) -> Result<()>;

    /// Appends exactly `len` bytes of `file` from `offset`. `path` is for messages. A file that ends
    /// earlier is `Kind::SourceChanged`.
    fn put_file(&mut self, file: &File, path: &Path, offset: u64, len: u64) -> Result<()>;
}

/// A run of the logical stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'a> {
    /// These bytes.
    Data(&'a [u8]),
    /// This many zero bytes.
    Zeros(u64),
    /// This many bytes that the target holds already: whole segments whose digests agree.
    Kept(u64),
}

impl Piece<'_> {
    /// Length in bytes.
    pub fn len(&self) -> u64 {
        match self {
            Piece::Data(bytes) => bytes.len() as u64,
            Piece::Zeros(len) | Piece::Kept(len) => *len,
        }
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Follows the content of an archive while it is read: compares it with the sender's digests, and knows which of it a
/// previous attempt has already written.
pub trait VerifyContent {
    /// How much of the archive's content, from here on, is already on the volume.
    fn held_bytes(&self) -> u64;

    /// The largest run of zeros that [`content`](Self::content) takes without asking for a stop.
    fn zeros_step_bytes(&self) -> u64;

    /// A record about a member, which is part of the content. It is sent again also where it is held.
    fn record(&self, bytes: &[u8]) -> Result<()>;

    /// The next content.
    fn content(&self, piece: &Piece<'_>) -> Result<()>;
}

/// Where the target takes the logical stream from.
pub trait Pull {
    /// The next run of at most `max_bytes` bytes (`max_bytes` > 0), never empty; `None` at the real end of
    /// the stream. A stream that was cut is an error, never `None`.
    fn next_piece(&mut self, max_bytes: u64) -> Result<Option<Piece<'_>>>;

    /// What compares the content with the sender's digests, where there is something to compare with.
    fn verifier(&self) -> Option<Rc<dyn VerifyContent>> {
        None
    }

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
                Piece::Kept(_) => {
                    return Err(Error::damaged(format!("{what} is kept from an earlier attempt")));
                }
            }
            buf = tail;
        }
        Ok(())
    }

    /// Takes `len` bytes and drops them.
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

/// A `Vec` collects a stream: for tests.
impl Sink for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.extend_from_slice(bytes);
        Ok(())
    }

    fn put_zeros(&mut self, len: u64) -> Result<()> {
        let len = usize::try_from(len).map_err(|_| Error::damaged("zeros beyond memory"))?;
        self.resize(self.len() + len, 0);
        Ok(())
    }

    fn put_file(&mut self, file: &File, path: &Path, offset: u64, len: u64) -> Result<()> {
        use std::os::unix::fs::FileExt;
        let start = self.len();
        self.put_zeros(len)?;
        file.read_exact_at(&mut self[start..], offset).map_err(|cause| Error::source("read", path, cause))
    }
}
