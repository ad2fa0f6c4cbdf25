//! The content of a small file. The writer collects it and creates the file, and the finisher writes it. This divides the
//! work evenly: creating a small file takes about as long as writing and finishing it. A larger file goes to the thread that has
//! time.

use std::fs::File;
use std::os::unix::fs::FileExt;

use decant_shared::process::stop::Stop;

use crate::error::{Error, Result};
use crate::stream::{Piece, Pull};
use crate::tar::reader::ArchiveReader;
use crate::volume::tree::write::content::{Incomplete, STEP_BYTES, failed_at, lengthen};

/// The finisher writes every file of up to this size.
pub(super) const SMALL_FILE_BYTES: u64 = 8 << 10;
/// The finisher writes a file of up to this size if nothing waits for it. Then the writer is the slower of the two, and its
/// time is worth more than the additional copy of the content (docs/performance.md).
pub(super) const MEDIUM_FILE_BYTES: u64 = 32 << 10;

/// The content of one file.
pub(super) struct SmallContent {
    bytes: Vec<u8>,
    /// The runs of data, in the order of `bytes`. Everything else is zero.
    runs: Vec<DataRun>,
    /// The size of the file.
    pub(super) size_bytes: u64,
}

struct DataRun {
    offset: u64,
    len: usize,
}

impl SmallContent {
    /// Takes the content of the current member of `archive`: a file of `size_bytes` of which no previous attempt wrote a
    /// part.
    pub(super) fn take<P: Pull + ?Sized>(
        archive: &mut ArchiveReader<'_, P>,
        size_bytes: u64,
    ) -> Result<Self> {
        let room_bytes = usize::try_from(size_bytes.min(MEDIUM_FILE_BYTES)).unwrap_or(0);
        let mut content = Self { bytes: Vec::with_capacity(room_bytes), runs: Vec::new(), size_bytes };
        while let Some((offset, piece)) = archive.next_data(STEP_BYTES)? {
            match piece {
                Piece::Data(bytes) => content.add(offset, bytes),
                // A new file reads as zeros.
                Piece::Zeros(_) => {}
                // The blocks of a small file are not shared.
                Piece::Offer(_) => {}
                Piece::Kept(_) | Piece::Shared(_) => return Err(not_held()),
            }
        }
        Ok(content)
    }

    fn add(&mut self, offset: u64, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        match self.runs.last_mut() {
            Some(last) if last.offset + last.len as u64 == offset => last.len += bytes.len(),
            _ => self.runs.push(DataRun { offset, len: bytes.len() }),
        }
    }

    /// Writes the content into the new file `file`.
    pub(super) fn write(&self, file: &File, stop: &Stop) -> Result<(), Incomplete> {
        let mut rest = self.bytes.as_slice();
        let mut end = 0;
        for run in &self.runs {
            let (data, after) = rest.split_at(run.len);
            file.write_all_at(data, run.offset).map_err(failed_at(run.offset))?;
            end = run.offset + run.len as u64;
            rest = after;
        }
        if end < self.size_bytes { lengthen(file, end, self.size_bytes, stop) } else { Ok(()) }
    }
}

/// The error of a stream that leaves out content that the target does not hold.
pub(super) fn not_held() -> Error {
    Error::damaged("the stream leaves out content that the target does not hold")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn runs_and_holes_are_written_at_their_offsets() {
        let mut content = SmallContent { bytes: Vec::new(), runs: Vec::new(), size_bytes: 20_000 };
        content.add(4096, b"ab");
        content.add(4098, b"c");
        content.add(8192, b"d");
        assert_eq!((content.runs.len(), content.bytes.len()), (2, 4));
        let mut file = tempfile::tempfile().unwrap();
        assert!(content.write(&file, &Stop::new()).is_ok());
        let mut expected = vec![0; 20_000];
        expected[4096..4099].copy_from_slice(b"abc");
        expected[8192] = b'd';
        let mut found = Vec::new();
        file.read_to_end(&mut found).unwrap();
        assert!(found == expected);
    }

    #[test]
    fn a_failed_write_has_its_cause_and_offset() {
        let mut content = SmallContent { bytes: Vec::new(), runs: Vec::new(), size_bytes: 4097 };
        content.add(4096, b"a");
        let full = File::options().write(true).open("/dev/full").unwrap();
        let Err(Incomplete::Write { cause, written_bytes }) = content.write(&full, &Stop::new()) else {
            panic!("/dev/full accepts a byte");
        };
        assert_eq!((cause.raw_os_error(), written_bytes), (Some(28), 4096));
    }
}
