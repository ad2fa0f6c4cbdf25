//! Encodes and decodes the chunked transfer coding (RFC 9112, 7.1).
//!
//! The decoder is a state machine over bytes: it does not buffer data and does not read from a connection.

use std::fmt;

/// The end of a complete chunked body. A sender that gave up never writes it.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";
/// Maximum length of a chunk's size line, including extensions.
const SIZE_LINE_LIMIT_BYTES: usize = 256;
/// Maximum length of all trailer lines together.
const TRAILER_LIMIT_BYTES: usize = 8 << 10;

/// The size line in front of a chunk of `len` bytes. `\r\n` follows the chunk.
pub fn size_line(len: usize) -> String {
    format!("{len:x}\r\n")
}

/// Why a body is not valid chunked coding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkError(pub &'static str);

impl fmt::Display for ChunkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DecoderState {
    /// In a size line: the value so far, whether it has digits, whether an extension has started.
    Size { value: u64, digits: bool, extension: bool },
    /// After the CR of a size line.
    SizeEnd { value: u64 },
    /// Inside a chunk with this many bytes left.
    Data(u64),
    /// At the CR after a chunk.
    DataCr,
    /// At the LF after a chunk.
    DataLf,
    /// In a trailer line; whether the line is empty so far.
    Trailer { empty: bool },
    /// After the CR of a trailer line.
    TrailerEnd { empty: bool },
    /// After the terminating chunk.
    Done,
}

/// The front of an input that was decoded: framing, then data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decoded {
    /// Length of the framing.
    pub framing_len: usize,
    /// Length of the data that follows the framing.
    pub data_len: usize,
}

/// Decodes a chunked body incrementally.
#[derive(Debug, Clone)]
pub struct Decoder {
    state: DecoderState,
    line_bytes: usize,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { state: DecoderState::Size { value: 0, digits: false, extension: false }, line_bytes: 0 }
    }
}

impl Decoder {
    /// Whether the terminating chunk was decoded: the only proof that a body is complete.
    pub fn is_done(&self) -> bool {
        self.state == DecoderState::Done
    }

    /// Decodes the front of `input`; call it again with the rest. Without data, `input` is exhausted or the body
    /// [is done](Self::is_done).
    pub fn next(&mut self, input: &[u8]) -> Result<Decoded, ChunkError> {
        for (index, &byte) in input.iter().enumerate() {
            match self.state {
                DecoderState::Done => return Ok(Decoded { framing_len: index, data_len: 0 }),
                DecoderState::Data(left) => {
                    let rest = input.len() - index;
                    let len = usize::try_from(left).map_or(rest, |left| left.min(rest));
                    let left = left - len as u64;
                    self.state = if left == 0 { DecoderState::DataCr } else { DecoderState::Data(left) };
                    return Ok(Decoded { framing_len: index, data_len: len });
                }
                state => self.state = self.step(state, byte)?,
            }
        }
        Ok(Decoded { framing_len: input.len(), data_len: 0 })
    }

    fn step(&mut self, state: DecoderState, byte: u8) -> Result<DecoderState, ChunkError> {
        match state {
            DecoderState::Size { value, digits, extension } => self.in_size(value, digits, extension, byte),
            DecoderState::SizeEnd { value } => {
                expect(byte, b'\n', "a chunk's size line does not end in CRLF")?;
                self.line_bytes = 0;
                Ok(if value == 0 { DecoderState::Trailer { empty: true } } else { DecoderState::Data(value) })
            }
            DecoderState::DataCr => {
                expect(byte, b'\r', "a chunk is longer than its size")?;
                Ok(DecoderState::DataLf)
            }
            DecoderState::DataLf => {
                expect(byte, b'\n', "a chunk is longer than its size")?;
                Ok(DecoderState::Size { value: 0, digits: false, extension: false })
            }
            DecoderState::Trailer { empty } => {
                self.count(TRAILER_LIMIT_BYTES, "the trailer is too long")?;
                Ok(if byte == b'\r' {
                    DecoderState::TrailerEnd { empty }
                } else {
                    DecoderState::Trailer { empty: false }
                })
            }
            DecoderState::TrailerEnd { empty } => {
                expect(byte, b'\n', "a trailer line does not end in CRLF")?;
                Ok(if empty { DecoderState::Done } else { DecoderState::Trailer { empty: true } })
            }
            DecoderState::Data(_) | DecoderState::Done => Ok(state),
        }
    }

    fn in_size(
        &mut self,
        value: u64,
        digits: bool,
        extension: bool,
        byte: u8,
    ) -> Result<DecoderState, ChunkError> {
        self.count(SIZE_LINE_LIMIT_BYTES, "a chunk's size line is too long")?;
        if byte == b'\r' && digits {
            return Ok(DecoderState::SizeEnd { value });
        }
        if extension || (digits && matches!(byte, b';' | b' ' | b'\t')) {
            return match byte {
                b'\n' | b'\r' => Err(ChunkError("a chunk's size line does not end in CRLF")),
                _ => Ok(DecoderState::Size { value, digits, extension: true }),
            };
        }
        let digit = char::from(byte).to_digit(16).ok_or(ChunkError("a chunk's size is not hexadecimal"))?;
        let value = value.checked_mul(16).ok_or(ChunkError("a chunk's size is too large"))?;
        Ok(DecoderState::Size { value: value | u64::from(digit), digits: true, extension: false })
    }

    fn count(&mut self, limit: usize, what: &'static str) -> Result<(), ChunkError> {
        self.line_bytes += 1;
        if self.line_bytes > limit { Err(ChunkError(what)) } else { Ok(()) }
    }
}

fn expect(byte: u8, wanted: u8, what: &'static str) -> Result<(), ChunkError> {
    if byte == wanted { Ok(()) } else { Err(ChunkError(what)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Feeds `input` in pieces of `step` bytes.
    fn decode(input: &[u8], step: usize) -> Result<(Vec<u8>, bool), ChunkError> {
        let (mut decoder, mut out) = (Decoder::default(), Vec::new());
        for mut part in input.chunks(step.max(1)) {
            while !part.is_empty() && !decoder.is_done() {
                let Decoded { framing_len, data_len } = decoder.next(part)?;
                let (data, rest) = part[framing_len..].split_at(data_len);
                out.extend_from_slice(data);
                part = rest;
            }
        }
        Ok((out, decoder.is_done()))
    }

    #[test]
    fn extensions_and_trailers_are_skipped() {
        let body = b"3;name=\"v\"\r\nabc\r\n0\r\nDigest: x\r\nMore: y\r\n\r\n";
        assert_eq!(decode(body, 1), Ok((b"abc".to_vec(), true)));
    }

    #[test]
    fn a_body_without_its_last_chunk_is_never_done() {
        let whole = b"3\r\nabc\r\n0\r\n\r\n";
        for len in 0..whole.len() {
            assert!(!decode(&whole[..len], 4).unwrap().1, "{len}");
        }
    }

    #[test]
    fn invalid_chunk_sizes_are_refused() {
        for bad in ["\r\n", "g\r\n", "-1\r\n", "+1\r\n", "11111111111111111\r\n", " 1\r\n", "1\n", "1;a\n"] {
            assert!(decode(bad.as_bytes(), 64).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_chunk_longer_than_its_size_is_refused() {
        assert!(decode(b"2\r\nabc\r\n0\r\n\r\n", 64).is_err());
    }

    proptest! {
        #[test]
        fn an_encoded_body_decodes_to_the_same_bytes(
            parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..300), 0..8),
            step in 1usize..64,
        ) {
            let mut body = Vec::new();
            for part in &parts {
                body.extend(size_line(part.len()).bytes());
                body.extend(part);
                body.extend(b"\r\n");
            }
            body.extend(LAST_CHUNK);
            prop_assert_eq!(decode(&body, step), Ok((parts.concat(), true)));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode(&bytes, 7);
        }
    }
}
