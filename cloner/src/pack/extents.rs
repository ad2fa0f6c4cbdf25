//! Where a file holds data: its extents, found with SEEK_DATA and SEEK_HOLE, in bounded memory.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

/// Most extents kept for one file: 1 MiB of memory. A file with more gets its smallest gaps filled.
pub const MAX_EXTENTS: usize = 65_536;

/// Extents start and end on multiples of this (except at the end of the file): tar pads each stored part
/// of a sparse file to whole blocks of 512 bytes, so parts of other lengths could not be put together again.
const ALIGN_BYTES: u64 = 512;

/// A part of a file that holds data (or zeros that are cheaper to treat as data).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Where it starts.
    pub offset_bytes: u64,
    /// How long it is, never zero.
    pub len_bytes: u64,
}

impl Extent {
    fn end_bytes(&self) -> u64 {
        self.offset_bytes + self.len_bytes
    }
}

/// The data extents of the regular file `file` up to `size_bytes`, in order, without overlap and rounded
/// out to 512 bytes. Everything outside them reads as zeros.
///
/// At most `limit` (at least 2) extents are returned: when there are more, the smallest gaps are counted as
/// data until half of `limit` is left, and so is every later gap that is smaller. On a
/// filesystem that cannot tell (EINVAL, EOPNOTSUPP) the whole file is one extent. The file's position is moved.
pub fn data_extents(file: impl AsFd, size_bytes: u64, limit: usize) -> io::Result<Vec<Extent>> {
    let file = file.as_fd();
    let mut found = Merged::new(limit);
    let mut position = 0;
    while let Some(data) = data_from(file, position)?.filter(|&data| data < size_bytes) {
        let hole = hole_from(file, data)?.map_or(size_bytes, |hole| hole.min(size_bytes));
        if hole <= data {
            return Err(io::Error::other("the filesystem reports data without a length"));
        }
        found.add(data, hole, size_bytes);
        position = hole;
    }
    Ok(found.extents)
}

/// Where the next data starts, `None` when nothing but a hole is left.
fn data_from(file: BorrowedFd<'_>, position: u64) -> io::Result<Option<u64>> {
    match seek(file, SeekFrom::Data(position)) {
        Ok(data) => Ok(Some(data)),
        Err(Errno::NXIO) => Ok(None),
        Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(Some(position)),
        Err(error) => Err(error.into()),
    }
}

/// Where the data at `position` ends, `None` when it is the end of the file.
fn hole_from(file: BorrowedFd<'_>, position: u64) -> io::Result<Option<u64>> {
    match seek(file, SeekFrom::Hole(position)) {
        Ok(hole) => Ok(Some(hole)),
        // NXIO: the file was cut in between. Reading it will say so.
        Err(Errno::NXIO | Errno::INVAL | Errno::OPNOTSUPP) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Extents that are being collected, with the gaps that are too small to be worth one filled.
struct Merged {
    extents: Vec<Extent>,
    limit: usize,
    /// Gaps shorter than this are data. Grows when the limit is hit.
    threshold_bytes: u64,
}

impl Merged {
    fn new(limit: usize) -> Self {
        Self { extents: Vec::new(), limit: limit.max(2), threshold_bytes: 0 }
    }

    fn add(&mut self, start: u64, end: u64, size_bytes: u64) {
        let start = start - start % ALIGN_BYTES;
        let end = end.checked_next_multiple_of(ALIGN_BYTES).unwrap_or(size_bytes).min(size_bytes);
        if let Some(last) = self.extents.last_mut() {
            let gap_bytes = start.saturating_sub(last.end_bytes());
            if gap_bytes == 0 || gap_bytes < self.threshold_bytes {
                last.len_bytes = end.max(last.end_bytes()) - last.offset_bytes;
                return;
            }
        }
        if self.extents.len() == self.limit {
            self.halve();
            return self.add(start, end, size_bytes);
        }
        self.extents.push(Extent { offset_bytes: start, len_bytes: end - start });
    }

    /// Fills the smallest gaps so that half of the limit remains, and raises the threshold to the largest
    /// gap that was filled. Of equally long gaps only the first ones are filled: a file with a regular
    /// pattern keeps half of its holes.
    fn halve(&mut self) {
        let fill = self.extents.len() - self.limit / 2;
        let mut gaps: Vec<u64> =
            self.extents.windows(2).map(|pair| pair[1].offset_bytes - pair[0].end_bytes()).collect();
        let (_, &mut largest, _) = gaps.select_nth_unstable(fill - 1);
        let shorter = gaps.iter().filter(|&&gap| gap < largest).count();
        let mut equal_left = fill - shorter;
        self.threshold_bytes = largest;
        self.extents.dedup_by(|next, last| {
            let gap = next.offset_bytes - last.end_bytes();
            let join = gap < largest || (gap == largest && equal_left > 0);
            if join {
                equal_left -= usize::from(gap == largest);
                last.len_bytes = next.end_bytes() - last.offset_bytes;
            }
            join
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    fn collected(limit: usize, parts: &[(u64, u64)]) -> Vec<(u64, u64)> {
        let size = parts.last().map_or(0, |&(_, end)| end);
        let mut merged = Merged::new(limit);
        for &(start, end) in parts {
            merged.add(start, end, size);
        }
        merged.extents.iter().map(|e| (e.offset_bytes, e.end_bytes())).collect()
    }

    #[test]
    fn extents_are_rounded_out_to_tar_blocks_and_joined_when_they_touch() {
        assert_eq!(collected(9, &[(100, 600), (1000, 1100), (5000, 5003)]), [(0, 1536), (4608, 5003)]);
    }

    #[test]
    fn the_smallest_gaps_go_first() {
        let parts = [(0, 512), (1024, 1536), (10_240, 10_752), (11_264, 11_776), (102_400, 102_912)];
        assert_eq!(collected(4, &parts), [(0, 1536), (10_240, 11_776), (102_400, 102_912)]);
    }

    #[test]
    fn a_regular_pattern_keeps_holes_and_stays_within_the_limit() {
        let parts: Vec<(u64, u64)> = (0..1000).map(|i| (i * 1024, i * 1024 + 512)).collect();
        let kept = collected(16, &parts);
        assert!((8..=16).contains(&kept.len()), "{} extents", kept.len());
        assert!(parts.iter().all(|p| kept.iter().any(|k| k.0 <= p.0 && p.1 <= k.1)), "data was lost");
    }

    #[test]
    fn a_real_file_has_its_data_and_its_holes() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(10 << 20).unwrap();
        file.write_all_at(&[1; 4096], 1 << 20).unwrap();
        file.write_all_at(&[1; 4096], 5 << 20).unwrap();
        let extents = data_extents(&file, 10 << 20, MAX_EXTENTS).unwrap();
        let starts: Vec<u64> = extents.iter().map(|e| e.offset_bytes).collect();
        assert_eq!(starts, [1 << 20, 5 << 20]);
        assert!(extents.iter().all(|e| e.len_bytes >= 4096));
    }

    #[test]
    fn a_hole_only_file_and_an_empty_one_have_none() {
        let file = tempfile::tempfile().unwrap();
        assert_eq!(data_extents(&file, 0, 4).unwrap(), []);
        file.set_len(1 << 20).unwrap();
        assert_eq!(data_extents(&file, 1 << 20, 4).unwrap(), []);
    }

    #[test]
    fn a_file_shorter_than_told_ends_where_it_ends() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&[1; 100], 0).unwrap();
        assert_eq!(data_extents(&file, 9999, 4).unwrap(), [Extent { offset_bytes: 0, len_bytes: 512 }]);
    }
}
