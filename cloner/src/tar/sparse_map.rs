//! The map of a sparse member: the positions of its data. It is checked while it is built, and needs little memory.

use crate::error::{Error, Result};
use crate::tar::field;

/// The maximum number of segments of a map. A map with this many takes less than 8 MiB, see [`SparseMap`].
pub(crate) const MAX_SEGMENTS: u32 = 1 << 20;

/// Segments of data in ascending order. Each is stored as two variable-length numbers, the gap that precedes it and its
/// length. That takes 6 bytes for a typical disk image, instead of 16.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SparseMap {
    encoded: Vec<u8>,
    count: u32,
    end: u64,
    stored_bytes: u64,
}

impl SparseMap {
    /// The map of a member without holes.
    pub(crate) fn dense(size_bytes: u64) -> Self {
        let mut map = Self::default();
        if size_bytes > 0 {
            map.append(0, size_bytes);
        }
        (map.end, map.stored_bytes) = (size_bytes, size_bytes);
        map
    }

    /// The number of segments that were added, including empty ones.
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// The sum of the lengths of all segments.
    pub(crate) fn stored_bytes(&self) -> u64 {
        self.stored_bytes
    }

    /// Offset and length of each segment, without empty ones.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let mut at = 0;
        let mut end = 0;
        std::iter::from_fn(move || next_segment(&self.encoded, &mut at, &mut end))
    }

    /// Adds a segment after all others.
    ///
    /// Errors: `Kind::Damaged` if the segment overlaps a previous one or ends beyond 63 bits, or if there are too many
    /// segments.
    pub(crate) fn push(&mut self, offset: u64, len: u64) -> Result<()> {
        let end = offset.checked_add(len).filter(|&end| i64::try_from(end).is_ok());
        let end = end.ok_or_else(|| Error::damaged("a sparse segment is beyond the size of any file"))?;
        if offset < self.end {
            return Err(Error::damaged(format!(
                "the sparse segment at {offset} overlaps the previous one, which ends at {}",
                self.end
            )));
        }
        if self.count == MAX_SEGMENTS {
            return Err(Error::damaged(format!("the member has more than {MAX_SEGMENTS} sparse segments")));
        }
        self.count += 1;
        // An empty segment only marks where a trailing hole ends.
        if len > 0 {
            self.append(offset - self.end, len);
            self.stored_bytes += len;
            self.end = end;
        }
        Ok(())
    }

    /// Checks the map against the size of the file and the length of its content in the archive.
    pub(crate) fn check(&self, size_bytes: u64, stored_bytes: u64) -> Result<()> {
        if self.end > size_bytes {
            let end = self.end;
            return Err(Error::damaged(format!(
                "a sparse segment ends at {end}, beyond the size of {size_bytes} bytes"
            )));
        }
        if self.stored_bytes != stored_bytes {
            return Err(Error::damaged(format!(
                "the sparse segments have {} bytes, the member {stored_bytes}",
                self.stored_bytes
            )));
        }
        Ok(())
    }

    fn append(&mut self, gap: u64, len: u64) {
        for mut number in [gap, len] {
            while number >= 0x80 {
                self.encoded.push(0x80 | low_bits(number));
                number >>= 7;
            }
            self.encoded.push(low_bits(number));
        }
    }
}

fn low_bits(number: u64) -> u8 {
    number.to_le_bytes()[0] & 0x7f
}

/// Iterates over the segments of a map.
#[derive(Debug, Default)]
pub(crate) struct MapSegments {
    map: SparseMap,
    at: usize,
    end: u64,
}

impl MapSegments {
    /// Starts at the first segment.
    pub(crate) fn new(map: SparseMap) -> Self {
        Self { map, at: 0, end: 0 }
    }

    /// Offset and length of the next segment, in bytes.
    pub(crate) fn next_segment(&mut self) -> Option<(u64, u64)> {
        next_segment(&self.map.encoded, &mut self.at, &mut self.end)
    }
}

/// Decodes the segment at `at`. `end` is the end of the previous segment. Advances both to the end of this segment.
fn next_segment(encoded: &[u8], at: &mut usize, end: &mut u64) -> Option<(u64, u64)> {
    let offset = *end + number(encoded, at)?;
    let len = number(encoded, at)?;
    *end = offset + len;
    Some((offset, len))
}

fn number(encoded: &[u8], at: &mut usize) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = *encoded.get(*at)?;
        *at += 1;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    Some(number)
}

/// Adds the segments of an old GNU header, or of an additional block. They end at the first unused slot.
pub(crate) fn push_old_gnu(map: &mut SparseMap, slots: &[tar::GnuSparseHeader]) -> Result<()> {
    for slot in slots.iter().take_while(|slot| slot.numbytes[0] != 0) {
        let parsed = |bytes| field::number(bytes).and_then(|number| u64::try_from(number).ok());
        let (Some(offset), Some(len)) = (parsed(&slot.offset), parsed(&slot.numbytes)) else {
            return Err(Error::damaged("a sparse segment has no offset or length"));
        };
        map.push(offset, len)?;
    }
    Ok(())
}

/// Parses the map of the PAX format 1.0: decimal lines that precede the content. The first line is the number of
/// segments. The offset and length of each segment follow. The map is padded to a block.
#[derive(Debug, Default)]
pub(crate) struct DecimalMap {
    map: SparseMap,
    left: Option<u64>,
    offset: Option<u64>,
    number: Option<u64>,
}

impl DecimalMap {
    /// Parses the next block. Returns `true` if the map is complete. The content then follows the block.
    pub(crate) fn feed(&mut self, block: &[u8]) -> Result<bool> {
        for byte in block {
            match byte {
                b'0'..=b'9' => {
                    let grown = self.number.unwrap_or(0).checked_mul(10);
                    let grown = grown.and_then(|number| number.checked_add(u64::from(byte - b'0')));
                    self.number = Some(grown.ok_or_else(broken_map)?);
                }
                b'\n' => {
                    let number = self.number.take().ok_or_else(broken_map)?;
                    if self.line(number)? {
                        return Ok(true);
                    }
                }
                _ => return Err(broken_map()),
            }
        }
        Ok(false)
    }

    /// The complete map.
    pub(crate) fn finish(self) -> SparseMap {
        self.map
    }

    fn line(&mut self, number: u64) -> Result<bool> {
        match (self.left, self.offset.take()) {
            (None, _) => self.left = Some(number),
            (Some(_), None) => self.offset = Some(number),
            (Some(left), Some(offset)) => {
                self.map.push(offset, number)?;
                self.left = Some(left - 1);
            }
        }
        Ok(self.left == Some(0))
    }
}

fn broken_map() -> Error {
    Error::damaged("the sparse map is not a list of numbers")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_read_as_they_were_added() {
        let all = [(0, 512), (4096, 1), (1 << 40, 1 << 41), ((1 << 62) + 5, 7)];
        let mut map = SparseMap::default();
        for (offset, len) in all {
            map.push(offset, len).unwrap();
        }
        assert_eq!((map.iter().collect::<Vec<_>>(), map.count()), (all.to_vec(), 4));
        map.push(1 << 62 | 12, 0).unwrap();
        map.check((1 << 62) + 12, 512 + 1 + (1 << 41) + 7).unwrap();
        let mut segments = MapSegments::new(map);
        let read: Vec<_> = std::iter::from_fn(|| segments.next_segment()).collect();
        assert_eq!(read, all);
    }

    #[test]
    fn impossible_segments_are_refused() {
        let mut map = SparseMap::default();
        map.push(1000, 24).unwrap();
        assert!(map.push(1023, 1).is_err(), "overlap");
        assert!(map.push(0, 1).is_err(), "out of order");
        assert!(map.push(u64::MAX, 1).is_err(), "overflow");
        assert!(map.push(i64::MAX as u64, 1).is_err(), "2^63");
        assert!(map.check(1023, 24).is_err(), "beyond the size");
        assert!(map.check(1024, 25).is_err(), "another sum");
        map.check(1024, 24).unwrap();
    }

    #[test]
    fn the_length_of_a_map_is_limited() {
        let mut map = SparseMap::default();
        for at in 0..u64::from(MAX_SEGMENTS) {
            map.push(at * 1_000_000, 500_000).unwrap();
        }
        assert!(map.encoded.len() < 8 << 20);
        assert!(map.push(u64::MAX >> 1, 0).is_err());
    }

    #[test]
    fn a_decimal_map_may_be_cut_anywhere() {
        let text = b"2\n0\n512\n4096\n10\n";
        for cut in 0..text.len() {
            let mut map = DecimalMap::default();
            assert!(!map.feed(&text[..cut]).unwrap());
            assert!(map.feed(&text[cut..]).unwrap());
            map.finish().check(4106, 522).unwrap();
        }
        for bad in [&b"x\n"[..], b"\n", b"1\n5\n\n", b"99999999999999999999\n", b"1\n-1\n2\n"] {
            assert!(DecimalMap::default().feed(bad).is_err());
        }
        assert!(DecimalMap::default().feed(b"0\n").unwrap(), "all hole");
    }
}
