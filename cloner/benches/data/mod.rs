//! What is measured on: the same bytes on every machine.

/// Bytes that no codec makes shorter.
pub(crate) fn noise(len: usize) -> Vec<u8> {
    let mut numbers = Numbers(1);
    let mut bytes: Vec<u8> = (0..len.div_ceil(8)).flat_map(|_| numbers.next().to_le_bytes()).collect();
    bytes.truncate(len);
    bytes
}

/// Words of two to twelve letters that come back, as in sources and logs: snappy makes half of it.
pub(crate) fn text(len: usize) -> Vec<u8> {
    let mut numbers = Numbers(2);
    let words: Vec<Vec<u8>> = (0..300)
        .map(|_| {
            let letters = 2 + numbers.below(11);
            (0..letters).map(|_| b'a' + u8::try_from(numbers.below(26)).unwrap_or(0)).collect()
        })
        .collect();
    let mut bytes = Vec::with_capacity(len + 16);
    while bytes.len() < len {
        bytes.extend_from_slice(&words[numbers.below(words.len())]);
        bytes.push(b' ');
    }
    bytes.truncate(len);
    bytes
}

/// Xorshift, star.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() >> 33).unwrap_or(0) % limit
    }
}
