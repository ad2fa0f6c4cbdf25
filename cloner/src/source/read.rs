//! The reader: the first stage. Turns a volume into blocks of its logical stream.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use decant_shared::progress::Progress;
use decant_shared::stop::Stop;
use rustix::fs::SeekFrom;
use rustix::io::Errno;

use super::compress::Block;
use crate::error::{Error, Kind, Result};
use crate::frame::{BLOCK_BYTES, CHUNK_BYTES};
use crate::lanes::{Deal, Pool};
use crate::stream::Sink;

/// One message of zeros covers at most this much, so that its frames (3 KiB per 64 KiB) fit a
/// buffer.
const ZEROS_AT_ONCE_BYTES: u64 = 4 << 20;

/// Cuts the logical stream into blocks and hands them to the compressors.
pub struct Blocks<'a> {
    deal: Deal<Block>,
    pool: Pool<Vec<u8>>,
    buffer: Vec<u8>,
    used_bytes: usize,
    progress: &'a Progress,
    stop: &'a Stop,
}

impl<'a> Blocks<'a> {
    /// Blocks go to `deal`; buffers come from `pool`.
    pub fn new(deal: Deal<Block>, pool: Pool<Vec<u8>>, progress: &'a Progress, stop: &'a Stop) -> Self {
        Self { deal, pool, buffer: Vec::new(), used_bytes: 0, progress, stop }
    }

    /// Sends what is left and the end. Only a source that was read to its end may call it.
    pub fn finish(mut self) -> Result<()> {
        self.flush()?;
        self.deal.send(Block::End)
    }

    /// The unused part of the buffer, never empty.
    fn room(&mut self) -> Result<&mut [u8]> {
        if self.used_bytes == BLOCK_BYTES {
            self.flush()?;
        }
        if self.buffer.is_empty() {
            self.buffer = self.pool.take();
            self.buffer.resize(BLOCK_BYTES, 0);
        }
        Ok(&mut self.buffer[self.used_bytes..])
    }

    fn flush(&mut self) -> Result<()> {
        Error::check(self.stop)?;
        if self.used_bytes == 0 {
            return Ok(());
        }
        let bytes = std::mem::take(&mut self.buffer);
        let len = std::mem::take(&mut self.used_bytes);
        self.progress.add_read_bytes(len as u64);
        self.deal.send(Block::Data { bytes, len })
    }
}

impl Sink for Blocks<'_> {
    fn put(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let room = self.room()?;
            let len = room.len().min(bytes.len());
            room[..len].copy_from_slice(&bytes[..len]);
            self.used_bytes += len;
            bytes = &bytes[len..];
        }
        Ok(())
    }

    fn put_zeros(&mut self, mut len: u64) -> Result<()> {
        if len >= CHUNK_BYTES as u64 {
            self.flush()?;
            while len > 0 {
                Error::check(self.stop)?;
                let part = len.min(ZEROS_AT_ONCE_BYTES);
                self.progress.add_read_bytes(part);
                self.deal.send(Block::Zeros(part))?;
                len -= part;
            }
        }
        while len > 0 {
            let room = self.room()?;
            let part = usize::try_from(len).map_or(room.len(), |len| len.min(room.len()));
            room[..part].fill(0);
            self.used_bytes += part;
            len -= part as u64;
        }
        Ok(())
    }

    fn put_file(&mut self, file: &File, path: &Path, mut offset: u64, mut len: u64) -> Result<()> {
        while len > 0 {
            let room = self.room()?;
            let part = usize::try_from(len).map_or(room.len(), |len| len.min(room.len()));
            let got = match file.read_at(&mut room[..part], offset) {
                Ok(got) => got,
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) => return Err(Error::source("read", path, e)),
            };
            if got == 0 {
                return Err(shrank(path, offset, len));
            }
            self.used_bytes += got;
            offset += got as u64;
            len -= got as u64;
        }
        Ok(())
    }
}

fn shrank(path: &Path, offset: u64, missing_bytes: u64) -> Error {
    let path = path.display();
    Error::new(
        Kind::SourceChanged,
        format!("{path} changed while it was read: it ends at byte {offset}, {missing_bytes} bytes early"),
    )
}

/// Reads a device or a file from its first to its last byte, holes by their length alone.
///
/// A file that is not what it was (size, modification time) when it has been read is an error. A device
/// cannot be asked.
pub fn read_raw(file: &File, path: &Path, size_bytes: u64, sink: &mut dyn Sink) -> Result<()> {
    let before = file.metadata().map_err(|e| Error::source("look at", path, e))?;
    let has_holes = before.is_file();
    let mut at = 0;
    while at < size_bytes {
        let data = if has_holes { next_data(file, path, at, size_bytes)? } else { at..size_bytes };
        if has_holes && data.is_empty() && data.end < size_bytes {
            // No filesystem should say so; reading the rest as data is right in any case.
            sink.put_file(file, path, at, size_bytes - at)?;
            break;
        }
        sink.put_zeros(data.start - at)?;
        sink.put_file(file, path, data.start, data.end - data.start)?;
        at = data.end;
    }
    let after = file.metadata().map_err(|e| Error::source("look at", path, e))?;
    let stamp = |meta: &std::fs::Metadata| (meta.len(), meta.mtime(), meta.mtime_nsec());
    if before.is_file() && (stamp(&before) != stamp(&after) || after.len() != size_bytes) {
        return Err(Error::new(
            Kind::SourceChanged,
            format!("{} was written to while it was read; clone it when nothing uses it", path.display()),
        ));
    }
    Ok(())
}

/// Reads something that cannot tell its size (a character device) to its end.
pub fn read_stream(mut file: &File, path: &Path, sink: &mut dyn Sink) -> Result<()> {
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(len) => sink.put(&buffer[..len])?,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(Error::source("read", path, e)),
        }
    }
}

/// The next extent of data at or after `at`; empty at the end of the file when only a hole is left.
fn next_data(file: &File, path: &Path, at: u64, size_bytes: u64) -> Result<std::ops::Range<u64>> {
    let start = match rustix::fs::seek(file, SeekFrom::Data(at)) {
        Ok(start) => start.min(size_bytes),
        Err(Errno::NXIO) => return Ok(size_bytes..size_bytes),
        Err(Errno::INVAL) => return Ok(at..size_bytes), // this filesystem does not tell holes
        Err(e) => return Err(Error::source("look for holes in", path, e.into())),
    };
    match rustix::fs::seek(file, SeekFrom::Hole(start)) {
        Ok(end) => Ok(start..end.min(size_bytes)),
        Err(Errno::NXIO) => Ok(start..size_bytes),
        Err(e) => Err(Error::source("look for holes in", path, e.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn raw(file: &File, size_bytes: u64) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        read_raw(file, Path::new("disk.img"), size_bytes, &mut out)?;
        Ok(out)
    }

    #[test]
    fn a_file_with_holes_is_read_as_its_content() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(3 << 20).unwrap();
        file.write_all_at(b"one", 1 << 20).unwrap();
        file.write_all_at(b"two", 5).unwrap();
        let mut wanted = vec![0; 3 << 20];
        wanted[5..8].copy_from_slice(b"two");
        wanted[1 << 20..(1 << 20) + 3].copy_from_slice(b"one");
        assert!(raw(&file, 3 << 20).unwrap() == wanted);
    }

    #[test]
    fn a_file_that_is_one_hole_has_only_zeros() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(200_000).unwrap();
        assert!(raw(&file, 200_000).unwrap() == vec![0; 200_000]);
    }

    #[test]
    fn a_file_that_grew_is_a_changed_source() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"0123456789").unwrap();
        assert_eq!(raw(&file, 8).unwrap_err().kind(), Kind::SourceChanged);
    }
}
