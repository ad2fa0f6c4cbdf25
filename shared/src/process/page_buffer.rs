//! Memory that the kernel copies to, at a chosen position relative to the pages of memory.
//!
//! Reading a file copies from a page of the page cache, and its content mostly starts with that page. If the destination
//! lies 1 to 31 bytes after the start of a page, some processors (AMD's Zen) copy at a quarter of their speed, and an
//! allocator places large buffers 16 bytes after one. `a_read` in `cloner/benches/stages.rs` measures it.

use std::ops::{Deref, DerefMut};

/// The size of a page, or a divisor of it: a larger page starts at a multiple of this, too.
const PAGE_BYTES: usize = 4 << 10;

/// Zeroed memory of a fixed length. It is empty by default.
#[derive(Debug, Default)]
pub struct PageBuffer {
    memory: Vec<u8>,
    start: usize,
    len: usize,
}

impl PageBuffer {
    /// `len` bytes that start at the start of a page.
    pub fn aligned(len: usize) -> Self {
        Self::after_page_start(len, 0)
    }

    /// `len` bytes. The first one lies `distance` bytes (less than a page) after the start of a page.
    pub fn after_page_start(len: usize, distance: usize) -> Self {
        let memory = vec![0; len + PAGE_BYTES];
        // The addresses of a vector do not change while its capacity does not. Without a known address it is only slow.
        let to_page = memory.as_ptr().align_offset(PAGE_BYTES).min(PAGE_BYTES);
        Self { start: (to_page + distance) % PAGE_BYTES, memory, len }
    }
}

impl Deref for PageBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.len]
    }
}

impl DerefMut for PageBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_byte_has_the_requested_distance_to_a_page() {
        for (len, distance) in [(1, 0), (1, 4095), (262_144, 0), (262_144, 46), (10_000, 64)] {
            let buffer = PageBuffer::after_page_start(len, distance);
            assert_eq!(buffer.as_ptr().addr() % PAGE_BYTES, distance);
            assert_eq!(*buffer, vec![0; len]);
        }
        assert_eq!(PageBuffer::aligned(100).as_ptr().addr() % PAGE_BYTES, 0);
    }

    #[test]
    fn it_keeps_its_place_when_it_is_moved() {
        let mut buffer = PageBuffer::aligned(8192);
        buffer[8191] = 7;
        let address = buffer.as_ptr().addr();
        let moved = Box::new(buffer);
        assert_eq!((moved.as_ptr().addr(), moved[8191]), (address, 7));
    }
}
