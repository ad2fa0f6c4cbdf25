//! Content for volumes and streams.

/// Bytes that no compressor shortens, the same for the same seed.
pub fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut numbers = Numbers::new(seed);
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        bytes.extend_from_slice(&numbers.next().to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// Words of two to twelve letters that come back, as in sources and logs: snappy halves it.
pub fn text(len: usize) -> Vec<u8> {
    let mut numbers = Numbers::new(2);
    let words: Vec<Vec<u8>> = (0..300)
        .map(|_| {
            let letters = 2 + numbers.below(11);
            (0..letters).map(|_| b'a' + numbers.below(26) as u8).collect()
        })
        .collect();
    let mut bytes = Vec::with_capacity(len + 16);
    while bytes.len() < len {
        bytes.extend_from_slice(&words[numbers.below(words.len() as u64) as usize]);
        bytes.push(b' ');
    }
    bytes.truncate(len);
    bytes
}

/// Numbers that look random, the same for the same seed (xorshift).
#[derive(Debug, Clone)]
pub struct Numbers(u64);

impl Numbers {
    /// The numbers of this seed.
    pub fn new(seed: u64) -> Self {
        // Never 0, the only state that xorshift does not leave: the constant is odd.
        Self(seed.wrapping_mul(2).wrapping_add(0x9e37_79b9_7f4a_7c15))
    }

    /// The next number.
    #[expect(clippy::should_implement_trait, reason = "it never ends, so there is no `Option`")]
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// The next number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 33) % limit
    }
}
