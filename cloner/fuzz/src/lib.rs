//! What fuzz targets share.

/// Archives in a fuzzer's hands soon have a wrong checksum in every header, and no mutation would get past
/// the first. This makes them right in every block that looks like a header.
pub fn with_checksums(archive: &[u8]) -> Vec<u8> {
    const MAGIC: std::ops::Range<usize> = 257..262;
    const SUM: std::ops::Range<usize> = 148..156;
    let mut fixed = archive.to_vec();
    for block in fixed.chunks_exact_mut(512).filter(|block| &block[MAGIC] == b"ustar") {
        block[SUM].fill(b' ');
        let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
        block[SUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    fixed
}

/// Bytes of a fuzzer as a program: whoever reads it makes of each byte a choice or a number. Behind its end are zeros.
#[derive(Debug)]
pub struct Program<'a>(&'a [u8]);

impl<'a> Program<'a> {
    /// Starts at the first byte.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Whether all of it was read.
    pub fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    /// The next bytes, as many as the next byte says, at most `limit`.
    pub fn bytes(&mut self, limit: usize) -> &'a [u8] {
        let len = usize::from(self.byte()).min(limit).min(self.0.len());
        let (head, tail) = self.0.split_at(len);
        self.0 = tail;
        head
    }

    /// A number up to `limit`: small ones, powers of two and their neighbours, or any.
    pub fn number(&mut self, limit: u64) -> u64 {
        let (form, value) = (self.byte(), self.byte());
        let number = match form % 4 {
            0 => u64::from(value),
            1 => 1_u64 << (value % 64),
            2 => (1_u64 << (value % 64)).wrapping_sub(u64::from(form / 4 % 4)),
            _ => u64::from_le_bytes(std::array::from_fn(|_| self.byte())),
        };
        number.min(limit)
    }
}
