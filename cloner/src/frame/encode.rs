//! Logical bytes in, frames out.

use super::{CHUNK_BYTES, CHUNK_HEAD_BYTES, COMPRESSED, STORED, ZERO_FRAME, is_zero, masked_crc};

/// Makes frames. Keeps the codec's table between calls.
pub struct Encoder {
    codec: snap::raw::Encoder,
}

impl Default for Encoder {
    fn default() -> Self {
        Self { codec: snap::raw::Encoder::new() }
    }
}

impl Encoder {
    /// Appends the frames of `data` to `out`: one per 64 KiB, all-zero ones without the codec. Returns how many bytes of
    /// `data` got smaller.
    pub fn encode(&mut self, data: &[u8], out: &mut Vec<u8>) -> u64 {
        chunks(data, out, |chunk, out| self.compress_chunk(chunk, out))
    }

    /// The same without compressing anything but zeros.
    pub fn store(&mut self, data: &[u8], out: &mut Vec<u8>) -> u64 {
        chunks(data, out, |chunk, out| {
            let start = out.len();
            out.resize(start + CHUNK_HEAD_BYTES + 4, 0);
            out.extend_from_slice(chunk);
            seal(STORED, start, chunk, out);
            false
        })
    }

    /// Appends the frames of `len` zero bytes to `out`, about 3 KiB per 64 KiB.
    pub fn encode_zeros(&mut self, mut len: u64, out: &mut Vec<u8>) {
        while len >= CHUNK_BYTES as u64 {
            out.extend_from_slice(&ZERO_FRAME);
            len -= CHUNK_BYTES as u64;
        }
        if let Ok(rest @ 1..) = usize::try_from(len) {
            self.compress_chunk(&super::ZERO_CHUNK[..rest], out);
        }
    }

    /// Appends one frame: compressed, or stored where compression saves less than an eighth, like the writers
    /// of Go and of the `snap` crate. Returns whether it is compressed.
    pub(super) fn compress_chunk(&mut self, chunk: &[u8], out: &mut Vec<u8>) -> bool {
        let start = out.len();
        let body = start + CHUNK_HEAD_BYTES + 4;
        out.resize(body + snap::raw::max_compress_len(chunk.len()), 0);
        let kind = match self.codec.compress(chunk, &mut out[body..]) {
            Ok(len) if len < chunk.len() - chunk.len() / 8 => {
                out.truncate(body + len);
                COMPRESSED
            }
            // The codec only fails on a buffer that is too small; storing is always right.
            _ => {
                out.truncate(body);
                out.extend_from_slice(chunk);
                STORED
            }
        };
        seal(kind, start, chunk, out);
        kind == COMPRESSED
    }
}

/// Appends a frame for each chunk of `data`, made by `put` unless the chunk is zeros. Returns how many bytes got smaller.
fn chunks(data: &[u8], out: &mut Vec<u8>, mut put: impl FnMut(&[u8], &mut Vec<u8>) -> bool) -> u64 {
    let mut packed_bytes = 0;
    for chunk in data.chunks(CHUNK_BYTES) {
        let is_packed = if chunk.len() == CHUNK_BYTES && is_zero(chunk) {
            out.extend_from_slice(&ZERO_FRAME);
            true
        } else {
            put(chunk, out)
        };
        packed_bytes += if is_packed { chunk.len() as u64 } else { 0 };
    }
    packed_bytes
}

/// Writes the head of the frame that begins at `start` of `out` and stands for `chunk`.
fn seal(kind: u8, start: usize, chunk: &[u8], out: &mut [u8]) {
    let body = start + CHUNK_HEAD_BYTES + 4;
    let len = u32::try_from(out.len() - start - CHUNK_HEAD_BYTES).unwrap_or(u32::MAX).to_le_bytes();
    out[start..start + 4].copy_from_slice(&[kind, len[0], len[1], len[2]]);
    out[start + 4..body].copy_from_slice(&masked_crc(chunk).to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::STREAM_IDENTIFIER;
    use proptest::prelude::*;
    use std::io::{Read, Write};

    /// What the `snap` crate reads from our frames.
    fn judge(frames: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let stream = [STREAM_IDENTIFIER.as_slice(), frames].concat();
        snap::read::FrameDecoder::new(&*stream).read_to_end(&mut out).unwrap();
        out
    }

    #[test]
    fn frames_are_the_same_bytes_as_those_of_the_snap_crate() {
        let mut data = b"decant ".repeat(30_000);
        data.resize(400_000, 0);
        let mut theirs = snap::write::FrameEncoder::new(Vec::new());
        theirs.write_all(&data).unwrap();
        let mut ours = STREAM_IDENTIFIER.to_vec();
        Encoder::default().encode(&data, &mut ours);
        assert_eq!(ours, theirs.into_inner().unwrap());
    }

    #[test]
    fn it_says_how_much_got_smaller() {
        let noise: Vec<u8> = {
            let mut state = 1_u64;
            let mut byte = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                state.to_le_bytes()[7]
            };
            (0..CHUNK_BYTES).map(|_| byte()).collect()
        };
        let data = [vec![b'a'; CHUNK_BYTES], noise, vec![0; CHUNK_BYTES], vec![b'b'; 100]].concat();
        let (mut encoder, mut frames) = (Encoder::default(), Vec::new());
        assert_eq!(encoder.encode(&data, &mut frames), 2 * CHUNK_BYTES as u64 + 100);
        assert_eq!(encoder.store(&data, &mut frames), CHUNK_BYTES as u64, "zeros cost nothing either way");
    }

    #[test]
    fn zeros_by_length_are_zeros() {
        for len in [0, 1, 65_535, 65_536, 65_537, 200_000] {
            let mut frames = Vec::new();
            Encoder::default().encode_zeros(len, &mut frames);
            assert_eq!(judge(&frames), vec![0; usize::try_from(len).unwrap()], "{len}");
        }
    }

    proptest! {
        #[test]
        fn another_reader_gets_back_what_went_in(
            seed in any::<u64>(), len in 0usize..200_000, zeros in 0usize..100_000,
        ) {
            let mut state = seed | 1;
            let mut data: Vec<u8> = (0..len)
                .map(|_| { state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1); state.to_le_bytes()[7] })
                .collect();
            data.extend(vec![0; zeros]);
            let mut frames = Vec::new();
            Encoder::default().encode(&data, &mut frames);
            prop_assert_eq!(judge(&frames), &*data);
            frames.clear();
            Encoder::default().store(&data, &mut frames);
            prop_assert_eq!(judge(&frames), data);
        }
    }
}
