//! Reads a device or file. Holes are zeros.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use decant_shared::process::page_buffer::PageBuffer;

use crate::error::{Error, Kind, Result};
use crate::snappy::CHUNK_BYTES;
use crate::stream::{FileRange, Purpose, Run, Sink};
use crate::volume::holes::next_data;
use crate::volume::reflink::SHARED_LEAST_BYTES;

pub(crate) fn shrank(path: &Path, offset: u64, missing_bytes: u64) -> Error {
    let path = path.display();
    Error::new(
        Kind::SourceChanged,
        format!("{path} changed while it was read: it ends at byte {offset}, {missing_bytes} bytes early"),
    )
}

/// The error that reading `path` failed at byte `offset`. The offset shows where a disk is defective.
pub(crate) fn unreadable(path: &Path, offset: u64, cause: io::Error) -> Error {
    Error::io(Kind::Source, format!("cannot read {} at byte {offset}", path.display()), cause)
}

/// Reads `range` of an open file or device into `sink`.
pub fn read_range(file: &File, path: &Path, range: Range<u64>, sink: &mut dyn Sink) -> Result<()> {
    read_shared_range(file, path, range, false, sink)
}

/// Like [`read_range`]. `is_shared` says that `file` is the target's file, which shares the blocks of `path`.
fn read_shared_range(
    file: &File,
    path: &Path,
    range: Range<u64>,
    is_shared: bool,
    sink: &mut dyn Sink,
) -> Result<()> {
    let has_holes = file.metadata().map_err(|e| Error::source("read the metadata of", path, e))?.is_file();
    let mut at = range.start;
    let end = range.end;
    while at < end {
        let data = if has_holes {
            next_data(file, at, end).map_err(|cause| Error::source("find the holes of", path, cause))?
        } else {
            at..end
        };
        sink.write(Purpose::Content, Run::Zeros(data.start - at))?;
        let len = data.end - data.start;
        let stored = FileRange { file, path, offset: data.start, len, is_shared };
        sink.write(Purpose::Content, Run::File(stored))?;
        at = data.end;
    }
    Ok(())
}

/// The size and modification time of a file, which show that it was changed. A device has no stamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp(Option<(u64, i64, i64)>);

impl Stamp {
    /// The stamp of an open file.
    pub fn of(file: &File, path: &Path) -> Result<Self> {
        let meta = file.metadata().map_err(|e| Error::source("read the metadata of", path, e))?;
        Ok(Self(meta.is_file().then(|| (meta.len(), meta.mtime(), meta.mtime_nsec()))))
    }
}

/// Reads `range` of `file` into `sink`. If the target now shares the blocks of `file`, the range is read from the target's
/// file.
///
/// Errors: `Kind::SourceChanged` if the file no longer has the stamp `stamp`.
pub fn read_raw(
    file: &File,
    path: &Path,
    range: Range<u64>,
    stamp: Stamp,
    sink: &mut dyn Sink,
) -> Result<()> {
    // Only whole files can be shared, and only regular files have blocks to share and a stamp.
    let can_be_shared = stamp.0.is_some() && range.start == 0 && range.end >= SHARED_LEAST_BYTES;
    match if can_be_shared { sink.share(file, path)? } else { None } {
        Some(shared) => read_shared_range(&shared, path, range, true, sink)?,
        None => read_range(file, path, range, sink)?,
    }
    if Stamp::of(file, path)? != stamp {
        return Err(Error::new(
            Kind::SourceChanged,
            format!(
                "{} was written to while it was read: clone it while nothing writes to it",
                path.display()
            ),
        ));
    }
    Ok(())
}

/// Reads a character device, whose size is unknown, to its end.
pub fn read_stream(mut file: &File, path: &Path, sink: &mut dyn Sink) -> Result<()> {
    let mut buffer = PageBuffer::aligned(CHUNK_BYTES);
    let mut offset = 0;
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(len) => {
                sink.write(Purpose::Content, Run::Bytes(&buffer[..len]))?;
                offset += len as u64;
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(unreadable(path, offset, e)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::fs::FileExt;

    fn raw(file: &File, size_bytes: u64) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        let path = Path::new("disk.img");
        read_raw(file, path, 0..size_bytes, Stamp::of(file, path)?, &mut out)?;
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
    fn a_file_without_data_is_all_zeros() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(200_000).unwrap();
        assert!(raw(&file, 200_000).unwrap() == vec![0; 200_000]);
    }

    #[test]
    fn a_file_that_grew_is_a_changed_source() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"01234567").unwrap();
        let path = Path::new("disk.img");
        let mut out = Vec::new();
        let stamp = Stamp::of(&file, path).unwrap();
        file.write_all(b"89").unwrap();
        let error = read_raw(&file, path, 0..8, stamp, &mut out).unwrap_err();
        assert_eq!(error.kind(), Kind::SourceChanged);
    }
}
