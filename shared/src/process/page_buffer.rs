//! Buffers for reads from files and sockets, at a chosen offset in a memory page.
//!
//! The kernel copies file content from the page cache, where it usually starts at a page boundary. If the destination
//! starts 1 to 31 bytes after a page boundary, some processors (AMD Zen) copy at a quarter of their speed. Allocators
//! place large buffers 16 bytes after one. `a_read` in `cloner/benches/stages.rs` measures it.

use std::ops::{Deref, DerefMut};

/// The page size, or a divisor of it: larger pages start at multiples of this, too.
const PAGE_BYTES: usize = 4 << 10;

/// Zeroed memory of a fixed length. It is empty by default.
#[derive(Debug, Default)]
pub struct PageBuffer {
    memory: Vec<u8>,
    start: usize,
    len: usize,
}

impl PageBuffer {
    /// A buffer of `len` bytes that starts at a page boundary.
    pub fn aligned(len: usize) -> Self {
        Self::at_page_offset(len, 0)
    }

    /// A buffer of `len` bytes that starts `offset` bytes (less than a page) after a page boundary.
    pub fn at_page_offset(len: usize, offset: usize) -> Self {
        let memory = vec![0; len + PAGE_BYTES];
        // The memory of a vector does not move unless its capacity changes. `align_offset` may return `usize::MAX`; then the
        // buffer is not aligned, which is only slower.
        let to_page = memory.as_ptr().align_offset(PAGE_BYTES).min(PAGE_BYTES);
        Self { start: (to_page + offset) % PAGE_BYTES, memory, len }
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
    fn a_buffer_starts_at_the_requested_page_offset() {
        for (len, offset) in [(1, 0), (1, 4095), (262_144, 0), (262_144, 46), (10_000, 64)] {
            let buffer = PageBuffer::at_page_offset(len, offset);
            assert_eq!(buffer.as_ptr().addr() % PAGE_BYTES, offset);
            assert_eq!(*buffer, vec![0; len]);
        }
        assert_eq!(PageBuffer::aligned(100).as_ptr().addr() % PAGE_BYTES, 0);
    }

    #[test]
    fn a_moved_buffer_keeps_its_address() {
        let mut buffer = PageBuffer::aligned(8192);
        buffer[8191] = 7;
        let address = buffer.as_ptr().addr();
        let moved = Box::new(buffer);
        assert_eq!((moved.as_ptr().addr(), moved[8191]), (address, 7));
    }
}
