//! The data extents of a file, in bounded memory.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use decant_shared::process::stop::Stop;

use crate::error::{Error, Result};
use crate::tar::sparse_map::{MAX_SEGMENTS, SparseMap};
use crate::volume::holes::next_data;

/// The maximum number of extents of a file. They take less than 8 MiB of memory. It is the number that Decant's
/// receiver accepts, without the entry that ends a map. If a file has more, its smallest gaps count as data.
pub const MAX_EXTENTS: u32 = MAX_SEGMENTS - 1;

/// Extents start and end at multiples of this, except at the end of the file. tar pads each stored part of a sparse
/// file to whole blocks of 512 bytes, so parts of other lengths could not be put together again.
const ALIGN_BYTES: u64 = 512;

/// A part of a file that holds data, or zeros that are cheaper to treat as data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Extent {
    offset: u64,
    end: u64,
}

/// The data extents of the regular file `file` up to `size_bytes`, in order, without overlap and rounded
/// out to 512 bytes. Everything outside them reads as zeros. `path` is for messages.
///
/// At most `limit` (at least 2) extents are returned. If there are more, the smallest gaps count as data until half of
/// `limit` is left. From then on all smaller gaps count as data, too. On a filesystem without support the whole file is
/// one extent. Changes the position of the file.
pub(crate) fn data_extents(
    file: impl AsFd,
    path: &Path,
    size_bytes: u64,
    limit: u32,
    stop: &Stop,
) -> Result<SparseMap> {
    let file = file.as_fd();
    let fail = |cause: io::Error| Error::source("find the holes of", path, cause);
    let mut found = Merged::new(limit, size_bytes);
    let mut position = 0;
    while position < size_bytes {
        Error::check(stop)?;
        let data = next_data(file, position, size_bytes).map_err(fail)?;
        if !data.is_empty() {
            found.add(data.start, data.end)?;
        }
        position = data.end;
    }
    found.finish()
}

/// Collects extents. Gaps that are too small are filled.
struct Merged {
    /// All extents but the last one, which may grow.
    map: SparseMap,
    last: Option<Extent>,
    limit: u32,
    size_bytes: u64,
    /// Gaps shorter than this count as data. Grows when the limit is reached.
    threshold_bytes: u64,
}

impl Merged {
    fn new(limit: u32, size_bytes: u64) -> Self {
        let map = SparseMap::default();
        Self { map, last: None, limit: limit.clamp(2, MAX_EXTENTS), size_bytes, threshold_bytes: 0 }
    }

    fn add(&mut self, start: u64, end: u64) -> Result<()> {
        let offset = start - start % ALIGN_BYTES;
        let end = end.checked_next_multiple_of(ALIGN_BYTES).unwrap_or(self.size_bytes).min(self.size_bytes);
        if self.map.count() + 1 == self.limit && self.last.is_some() {
            self.halve()?;
        }
        if let Some(last) = &mut self.last {
            let gap_bytes = offset.saturating_sub(last.end);
            if gap_bytes == 0 || gap_bytes < self.threshold_bytes {
                last.end = end.max(last.end);
                return Ok(());
            }
        }
        if let Some(last) = self.last.replace(Extent { offset, end }) {
            self.map.push(last.offset, last.end - last.offset)?;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<SparseMap> {
        if let Some(last) = self.last {
            self.map.push(last.offset, last.end - last.offset)?;
        }
        Ok(self.map)
    }

    /// Fills the smallest gaps so that half of the limit remains, and raises the threshold to the largest gap that was
    /// filled. Of equally long gaps only the first ones are filled, so that a file with a regular pattern keeps half of
    /// its holes.
    fn halve(&mut self) -> Result<()> {
        let before = std::mem::take(&mut self.map);
        let all = || before.iter().map(|(offset, len)| Extent { offset, end: offset + len }).chain(self.last);
        let mut gaps: Vec<u32> = all().zip(all().skip(1)).map(|(a, b)| gap_blocks(&a, &b)).collect();
        let Some(fill) = (gaps.len() + 1).checked_sub(self.limit as usize / 2).filter(|&fill| fill > 0)
        else {
            self.map = before;
            return Ok(());
        };
        let (_, &mut largest, _) = gaps.select_nth_unstable(fill - 1);
        let mut equal_left = fill - gaps.iter().filter(|&&gap| gap < largest).count();
        drop(gaps);
        let mut map = SparseMap::default();
        let mut last = None::<Extent>;
        for next in all() {
            let Some(open) = &mut last else {
                last = Some(next);
                continue;
            };
            let gap = gap_blocks(open, &next);
            if gap < largest || (gap == largest && equal_left > 0) {
                equal_left -= usize::from(gap == largest);
                open.end = next.end;
            } else {
                map.push(open.offset, open.end - open.offset)?;
                *open = next;
            }
        }
        self.threshold_bytes = u64::from(largest) * ALIGN_BYTES;
        (self.map, self.last) = (map, last);
        Ok(())
    }
}

/// The gap between two extents in units of [`ALIGN_BYTES`], which fits into 32 bits. Gaps beyond 2 TiB count as equal.
fn gap_blocks(before: &Extent, after: &Extent) -> u32 {
    u32::try_from((after.offset - before.end) / ALIGN_BYTES).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::unix::fs::FileExt;

    fn collected(limit: u32, parts: &[(u64, u64)]) -> Vec<(u64, u64)> {
        let size = parts.last().map_or(0, |&(_, end)| end);
        let mut merged = Merged::new(limit, size);
        for &(start, end) in parts {
            merged.add(start, end).unwrap();
        }
        merged.finish().unwrap().iter().map(|(offset, len)| (offset, offset + len)).collect()
    }

    fn extents(file: &File, size_bytes: u64) -> Vec<(u64, u64)> {
        let found = data_extents(file, Path::new("file"), size_bytes, 4, &Stop::new());
        found.unwrap().iter().collect()
    }

    #[test]
    fn extents_are_rounded_out_to_tar_blocks_and_joined_when_they_touch() {
        assert_eq!(collected(9, &[(100, 600), (1000, 1100), (5000, 5003)]), [(0, 1536), (4608, 5003)]);
    }

    #[test]
    fn the_smallest_gaps_are_filled_first() {
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
    fn a_hundred_thousand_extents_are_all_kept_in_little_memory() {
        let parts: Vec<(u64, u64)> = (0..100_000).map(|i| (i << 16, (i << 16) + 4096)).collect();
        assert_eq!(collected(MAX_EXTENTS, &parts), parts);
    }

    #[test]
    fn a_real_file_has_its_data_and_its_holes() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(10 << 20).unwrap();
        file.write_all_at(&[1; 4096], 1 << 20).unwrap();
        file.write_all_at(&[1; 4096], 5 << 20).unwrap();
        let extents = extents(&file, 10 << 20);
        let starts: Vec<u64> = extents.iter().map(|extent| extent.0).collect();
        assert_eq!(starts, [1 << 20, 5 << 20]);
        assert!(extents.iter().all(|extent| extent.1 >= 4096));
    }

    #[test]
    fn a_hole_only_file_and_an_empty_one_have_none() {
        let file = tempfile::tempfile().unwrap();
        assert_eq!(extents(&file, 0), []);
        file.set_len(1 << 20).unwrap();
        assert_eq!(extents(&file, 1 << 20), []);
    }

    #[test]
    fn a_file_shorter_than_its_size_has_extents_up_to_its_end() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&[1; 100], 0).unwrap();
        assert_eq!(extents(&file, 9999), [(0, 512)]);
    }

    #[test]
    fn a_stop_ends_the_search() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(1 << 20).unwrap();
        let stop = Stop::new();
        stop.by_signal(15);
        assert!(data_extents(&file, Path::new("file"), 1 << 20, 4, &stop).is_err());
    }
}
