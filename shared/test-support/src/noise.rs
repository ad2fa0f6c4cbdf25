//! Reproducible content for volumes and streams.

/// Incompressible bytes; the same seed gives the same bytes.
pub fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut numbers = Numbers::new(seed);
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        bytes.extend_from_slice(&numbers.next().to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// Repeated words of two to twelve letters, as in source code and logs: snappy compresses them to half. The baseline of
/// `scripts/guard.sh` was measured with these bytes.
pub fn text(len: usize) -> Vec<u8> {
    let mut numbers = Numbers(2);
    let words: Vec<Vec<u8>> = (0..300)
        .map(|_| {
            let letters = 2 + numbers.below(11);
            (0..letters).map(|_| b'a' + u8::try_from(numbers.below(26)).unwrap()).collect()
        })
        .collect();
    let mut bytes = Vec::with_capacity(len + 16);
    while bytes.len() < len {
        bytes.extend_from_slice(&words[usize::try_from(numbers.below(words.len() as u64)).unwrap()]);
        bytes.push(b' ');
    }
    bytes.truncate(len);
    bytes
}

/// A pseudo-random number generator (xorshift*).
#[derive(Debug, Clone)]
pub struct Numbers(u64);

impl Numbers {
    /// A generator with this seed.
    pub fn new(seed: u64) -> Self {
        // An odd state is never 0, the one state that xorshift cannot leave.
        Self(seed.wrapping_mul(2).wrapping_add(0x9e37_79b9_7f4a_7c15))
    }

    /// The next number.
    #[expect(clippy::should_implement_trait, reason = "it never ends, so there is no `Option`")]
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// The next number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 33) % limit
    }
}
