//! Finds the data of a file with SEEK_DATA and SEEK_HOLE.

use std::io;
use std::ops::Range;
use std::os::fd::AsFd;

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

use crate::volume::optional_calls::Call;

/// The next run of data of `file` between the bytes `at` and `end`. If only a hole is left, the run is empty and at
/// `end`. If the filesystem does not support this, the whole rest is data. Changes the position of the file.
pub fn next_data(file: impl AsFd, at: u64, end: u64) -> io::Result<Range<u64>> {
    let file = file.as_fd();
    let start = match seek(file, SeekFrom::Data(at)) {
        Ok(start) => start.max(at).min(end),
        Err(Errno::NXIO) => end,
        Err(errno) if Call::SeekHole.is_dispensable(errno) => return Ok(at..end),
        Err(errno) => return Err(errno.into()),
    };
    if start == end {
        return Ok(end..end);
    }
    match seek(file, SeekFrom::Hole(start)) {
        Ok(hole) if hole > start => Ok(start..hole.min(end)),
        // No filesystem should report empty data. Reading the rest as data is correct in any case.
        Ok(_) => Ok(start..end),
        // NXIO: the file became shorter in between. Reading the file reports that.
        Err(errno) if errno == Errno::NXIO || Call::SeekHole.is_dispensable(errno) => Ok(start..end),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    #[test]
    fn runs_of_data_are_found_one_after_the_other() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(10 << 20).unwrap();
        file.write_all_at(&[1; 4096], 1 << 20).unwrap();
        file.write_all_at(&[1; 4096], 5 << 20).unwrap();
        let end = 10 << 20;
        let first = next_data(&file, 0, end).unwrap();
        assert!(first.start == 1 << 20 && first.end >= (1 << 20) + 4096 && first.end < 5 << 20);
        assert_eq!(next_data(&file, first.end, end).unwrap().start, 5 << 20);
        assert_eq!(next_data(&file, 6 << 20, end).unwrap(), end..end);
        assert_eq!(next_data(&file, 0, 1 << 20).unwrap(), 1 << 20..1 << 20);
    }

    #[test]
    fn a_file_without_seeking_is_all_data() {
        // A pipe has no positions.
        let (pipe, _other) = io::pipe().unwrap();
        assert_eq!(next_data(&pipe, 3, 100).unwrap(), 3..100);
    }
}
