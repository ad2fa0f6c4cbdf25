//! A buffer that is one chunk of the chunked coding, so that it goes out in one piece without being copied.

/// Length of the size line: eight hexadecimal digits (leading zeros are allowed, RFC 9112, 7.1) and CRLF.
pub const SIZE_LINE_BYTES: usize = 10;
/// What ends a chunk.
pub const END: &[u8] = b"\r\n";

/// One chunk: size line, content, CRLF.
#[derive(Debug, Default)]
pub struct ChunkBuffer(Vec<u8>);

impl ChunkBuffer {
    /// Empties it and returns the place for its content. Content may only be appended.
    pub fn open(&mut self) -> &mut Vec<u8> {
        self.0.clear();
        self.0.resize(SIZE_LINE_BYTES, b'0');
        &mut self.0
    }

    /// Writes the size line and the end. Without content there is nothing to send: an empty chunk would be
    /// the end of the body.
    pub fn seal(&mut self) {
        let len = self.0.len() - SIZE_LINE_BYTES;
        if len == 0 {
            self.0.clear();
            return;
        }
        self.0[..SIZE_LINE_BYTES].copy_from_slice(&size_line(len));
        self.0.extend_from_slice(END);
    }

    /// The bytes to send.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The size line of a chunk of `len` bytes.
pub fn size_line(len: usize) -> [u8; SIZE_LINE_BYTES] {
    let mut line = *b"00000000\r\n";
    for (place, digit) in line[..8].iter_mut().rev().enumerate() {
        *digit = b"0123456789abcdef"[(len >> (4 * place)) & 0xf];
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use decant_shared::net::http::chunked::{Decoded, Decoder};

    #[test]
    fn it_is_one_chunk_of_the_chunked_coding() {
        let mut wire = ChunkBuffer::default();
        wire.open().extend_from_slice(b"content");
        wire.seal();
        assert_eq!(wire.as_bytes(), b"00000007\r\ncontent\r\n");
        let decoded = Decoded { framing_len: 10, data_len: 7 };
        assert_eq!(Decoder::default().next(wire.as_bytes()), Ok(decoded));
    }

    #[test]
    fn without_content_nothing_is_sent() {
        let mut wire = ChunkBuffer::default();
        wire.open();
        wire.seal();
        assert!(wire.as_bytes().is_empty());
    }

    #[test]
    fn a_size_line_has_eight_digits() {
        assert_eq!(&size_line(0x0004_003e), b"0004003e\r\n");
        assert_eq!(&size_line(0xfedc_ba98), b"fedcba98\r\n");
    }
}
