//! Encodes logical bytes as frames.

use std::sync::LazyLock;

use crate::snappy::{CHUNK_BYTES, COMPRESSED, STORED, STORED_HEAD_BYTES, masked_crc};
use crate::zeros::{ZEROS, is_zero};

/// The number of bytes of a chunk that are tried if the previous chunk could not be compressed.
const SAMPLE_BYTES: usize = 4 << 10;
/// After this many chunks whose encoding a sample decided, a chunk is tried as a whole: a sample does not show
/// repetitions over longer distances.
const SAMPLED_IN_A_ROW: u32 = 15;

/// A frame of 64 KiB of zeros, as this encoder makes it.
pub(crate) static ZERO_FRAME: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut frame = Vec::new();
    Encoder::default().compress_chunk(&ZEROS[..CHUNK_BYTES], &mut frame);
    frame
});

/// Encodes frames. Keeps the table and the buffer of the codec, and what it learned about the data, between calls.
pub struct Encoder {
    codec: snap::raw::Encoder,
    packed: Vec<u8>,
    /// The number of further chunks whose encoding a sample decides. Not zero if the last chunk that was tried as a
    /// whole saved too little.
    samples_left: u32,
}

impl Default for Encoder {
    fn default() -> Self {
        let packed = vec![0; snap::raw::max_compress_len(CHUNK_BYTES)];
        Self { codec: snap::raw::Encoder::new(), packed, samples_left: 0 }
    }
}

impl Encoder {
    /// Appends the frames of `data` to `out`, one per 64 KiB. Frames of zeros do not need the codec. Returns how many
    /// bytes of `data` were compressed.
    pub fn encode(&mut self, data: &[u8], out: &mut Vec<u8>) -> u64 {
        chunks(data, out, |chunk, out| self.compress_chunk(chunk, out))
    }

    /// Appends the frames of `data` to `out`, and compresses only zeros. Returns the number of these zeros.
    pub fn store(data: &[u8], out: &mut Vec<u8>) -> u64 {
        chunks(data, out, |chunk, out| {
            put_frame(STORED, chunk, chunk, out);
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
            self.compress_chunk(&ZEROS[..rest], out);
        }
    }

    /// Appends one frame: compressed, or stored if compression saves less than an eighth. Go's writer and that of the
    /// `snap` crate use the same rule. Returns whether the frame is compressed.
    pub(super) fn compress_chunk(&mut self, chunk: &[u8], out: &mut Vec<u8>) -> bool {
        let packed_bytes = self.packed_bytes(chunk);
        match packed_bytes {
            Some(len) => put_frame(COMPRESSED, chunk, &self.packed[..len], out),
            None => put_frame(STORED, chunk, chunk, out),
        }
        packed_bytes.is_some()
    }

    /// Compresses `chunk` into the buffer. Returns the compressed length; `None` if compression saves too little.
    fn packed_bytes(&mut self, chunk: &[u8]) -> Option<usize> {
        if self.samples_left > 0 && chunk.len() > SAMPLE_BYTES {
            self.samples_left -= 1;
            let middle = (chunk.len() - SAMPLE_BYTES) / 2;
            self.try_whole(&chunk[middle..middle + SAMPLE_BYTES])?;
        }
        let packed = self.try_whole(chunk);
        self.samples_left = match (packed, self.samples_left) {
            (Some(_), _) => 0,
            (None, 0) => SAMPLED_IN_A_ROW,
            (None, left) => left,
        };
        packed
    }

    fn try_whole(&mut self, bytes: &[u8]) -> Option<usize> {
        // The codec only fails if the buffer is too small. Storing is always correct.
        let len = self.codec.compress(bytes, &mut self.packed).ok()?;
        (len < bytes.len() - bytes.len() / 8).then_some(len)
    }
}

/// The bytes that precede `chunk` in a frame that stores it.
pub fn stored_head(chunk: &[u8]) -> [u8; STORED_HEAD_BYTES] {
    head(STORED, chunk, chunk.len())
}

/// The head and the CRC of a frame of `chunk`. The body has `body_bytes` bytes.
fn head(kind: u8, chunk: &[u8], body_bytes: usize) -> [u8; STORED_HEAD_BYTES] {
    let [a, b, c, _] = u32::try_from(body_bytes + 4).unwrap_or(u32::MAX).to_le_bytes();
    let [d, e, f, g] = masked_crc(chunk).to_le_bytes();
    [kind, a, b, c, d, e, f, g]
}

fn put_frame(kind: u8, chunk: &[u8], body: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&head(kind, chunk, body.len()));
    out.extend_from_slice(body);
}

/// Appends a frame for each chunk of `data`. For a chunk that is not zeros, `put` makes the frame and returns whether
/// it is compressed. Returns how many bytes of `data` were compressed.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snappy::STREAM_IDENTIFIER;
    use decant_test_support::noise;
    use proptest::prelude::*;
    use std::io::{Read, Write};

    /// The content of the frames, as the `snap` crate decodes it.
    fn judge(frames: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let stream = [STREAM_IDENTIFIER.as_slice(), frames].concat();
        snap::read::FrameDecoder::new(&*stream).read_to_end(&mut out).unwrap();
        out
    }

    #[test]
    fn frames_equal_those_of_the_snap_crate() {
        let mut data = b"decant ".repeat(30_000);
        data.resize(400_000, 0);
        let mut theirs = snap::write::FrameEncoder::new(Vec::new());
        theirs.write_all(&data).unwrap();
        let mut ours = STREAM_IDENTIFIER.to_vec();
        Encoder::default().encode(&data, &mut ours);
        assert_eq!(ours, theirs.into_inner().unwrap());
    }

    #[test]
    fn the_number_of_compressed_bytes_is_returned() {
        let data =
            [vec![b'a'; CHUNK_BYTES], noise(CHUNK_BYTES, 1), vec![0; CHUNK_BYTES], vec![b'b'; 100]].concat();
        let mut encoder = Encoder::default();
        let mut frames = Vec::new();
        assert_eq!(encoder.encode(&data, &mut frames), 2 * CHUNK_BYTES as u64 + 100);
        assert_eq!(Encoder::store(&data, &mut frames), CHUNK_BYTES as u64, "zeros cost nothing either way");
    }

    #[test]
    fn encoded_zeros_decode_to_zeros() {
        for len in [0, 1, 65_535, 65_536, 65_537, 200_000] {
            let mut frames = Vec::new();
            Encoder::default().encode_zeros(len, &mut frames);
            assert_eq!(judge(&frames), vec![0; usize::try_from(len).unwrap()], "{len}");
        }
    }

    #[test]
    fn stored_data_keeps_its_length_and_zeros_shrink() {
        let mut data = b"decant ".repeat(30_000);
        data.resize(20 * CHUNK_BYTES, 0);
        let mut frames = Vec::new();
        Encoder::store(&data, &mut frames);
        assert_eq!(judge(&frames), data);
        assert!((210_000..320_000).contains(&frames.len()), "{}", frames.len());
    }

    #[test]
    fn text_after_noise_is_compressed_from_its_first_chunk() {
        let mut encoder = Encoder::default();
        let mut frames = Vec::new();
        for _ in 0..10 {
            encoder.encode(&noise(4 * CHUNK_BYTES, 1), &mut frames);
            frames.clear();
            let text = b"decant ".repeat(CHUNK_BYTES / 7);
            encoder.encode(&text, &mut frames);
            assert_eq!(frames[0], COMPRESSED);
            frames.clear();
        }
    }

    #[test]
    fn repetitions_that_no_sample_shows_are_found_soon() {
        // 24 KiB of noise, repeated. A sample of 4 KiB sees only noise.
        let data = noise(24 << 10, 1).repeat(64);
        let mut encoder = Encoder::default();
        let mut frames = Vec::new();
        encoder.encode(&noise(CHUNK_BYTES, 1), &mut frames);
        frames.clear();
        encoder.encode(&data, &mut frames);
        let stored_bytes = (SAMPLED_IN_A_ROW as usize) * (CHUNK_BYTES + 8);
        assert!(frames.len() < stored_bytes + data.len() / 2, "{}", frames.len());
        assert_eq!(judge(&frames), data);
    }

    proptest! {
        #[test]
        fn another_decoder_reads_the_frames(
            seed in any::<u64>(), len in 0usize..200_000, zeros in 0usize..100_000,
        ) {
            let mut data = noise(len, seed);
            data.extend(vec![0; zeros]);
            let mut frames = Vec::new();
            Encoder::default().encode(&data, &mut frames);
            prop_assert_eq!(judge(&frames), &*data);
            frames.clear();
            Encoder::store(&data, &mut frames);
            prop_assert_eq!(judge(&frames), data);
        }
    }
}
