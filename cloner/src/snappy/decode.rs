//! Decodes packs of frames into logical runs.

use std::ops::Range;

use crate::error::{Error, Result};
use crate::snappy::encode::ZERO_FRAME;
use crate::snappy::mark::{Mark, may_be_mark};
use crate::snappy::split::Pack;
use crate::snappy::{BLOCK_BYTES, CHUNK_BYTES, CHUNK_HEAD_BYTES, STORED, masked_crc};
use crate::stream::Piece;
use crate::zeros::is_zero;

/// A run of logical bytes, and where its bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
enum DecodedRun {
    /// In the pack, because the frame stores them uncompressed.
    Stored(Range<usize>),
    /// In the buffer of decompressed bytes.
    Decompressed(Range<usize>),
    /// This many zeros.
    Zeros(u64),
    /// A mark.
    Mark(Mark),
}

/// An item of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item<'a> {
    /// Logical bytes.
    Piece(Piece<'a>),
    /// A mark without logical bytes.
    Mark(Mark),
}

/// The logical content of one pack. Keeps its buffers for the next one.
#[derive(Debug, Default)]
pub struct DecodedBatch {
    pack: Pack,
    decompressed: Vec<u8>,
    used_bytes: usize,
    runs: Vec<DecodedRun>,
}

impl DecodedBatch {
    /// The number of runs.
    pub fn len(&self) -> usize {
        self.runs.len()
    }

    /// Whether there are no runs.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// The run `index`.
    pub fn item(&self, index: usize) -> Option<Item<'_>> {
        self.runs.get(index).map(|run| match run {
            DecodedRun::Stored(range) => Item::Piece(Piece::Data(&self.pack.bytes[range.clone()])),
            DecodedRun::Decompressed(range) => Item::Piece(Piece::Data(&self.decompressed[range.clone()])),
            DecodedRun::Zeros(len) => Item::Piece(Piece::Zeros(*len)),
            DecodedRun::Mark(Mark::Kept(len)) => Item::Piece(Piece::Kept(*len)),
            DecodedRun::Mark(mark) => Item::Mark(*mark),
        })
    }

    /// The buffer of the pack, emptied, for the next pack.
    pub fn reclaim_pack(&mut self) -> Pack {
        let mut pack = std::mem::take(&mut self.pack);
        pack.clear();
        pack
    }

    fn push_decompressed(&mut self, len: usize) {
        let start = self.used_bytes;
        self.used_bytes += len;
        if let Some(DecodedRun::Decompressed(last)) = self.runs.last_mut()
            && last.end == start
        {
            last.end += len;
            return;
        }
        self.runs.push(DecodedRun::Decompressed(start..start + len));
    }

    fn push_zeros(&mut self, len: u64) -> Result<()> {
        match self.runs.last_mut() {
            Some(DecodedRun::Zeros(last)) => {
                let sum = last.checked_add(len);
                *last = sum.ok_or_else(|| Error::damaged("the holes are longer than any volume"))?;
            }
            _ => self.runs.push(DecodedRun::Zeros(len)),
        }
        Ok(())
    }
}

/// Decompresses packs and checks every CRC.
pub struct Decoder {
    codec: snap::raw::Decoder,
    /// The frame in which this peer sends 64 KiB of zeros, once the first one was seen. Encoders differ.
    learned_zero_frame: Vec<u8>,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { codec: snap::raw::Decoder::new(), learned_zero_frame: Vec::new() }
    }
}

impl Decoder {
    /// Decodes `pack` into `batch`. Replaces the previous content of `batch`.
    pub fn decode(&mut self, pack: Pack, batch: &mut DecodedBatch) -> Result<()> {
        batch.pack = pack;
        batch.runs.clear();
        batch.used_bytes = 0;
        batch.decompressed.resize(BLOCK_BYTES, 0);
        let mut start = 0;
        while start < batch.pack.bytes.len() {
            let end = frame_end(&batch.pack.bytes, start)?;
            self.decode_frame(start..end, batch)?;
            start = end;
        }
        Ok(())
    }

    fn decode_frame(&mut self, range: Range<usize>, batch: &mut DecodedBatch) -> Result<()> {
        let frame = &batch.pack.bytes[range.clone()];
        if frame == ZERO_FRAME.as_slice() || frame == self.learned_zero_frame {
            return batch.push_zeros(CHUNK_BYTES as u64);
        }
        if may_be_mark(frame[0], frame.len() - CHUNK_HEAD_BYTES) {
            match Mark::parse(frame)? {
                Some(Mark::Hole(len)) => batch.push_zeros(len)?,
                // An earlier stage handled it when it put the packs of several connections into order.
                Some(Mark::Turn(_)) | None => {}
                Some(mark) => batch.runs.push(DecodedRun::Mark(mark)),
            }
            return Ok(());
        }
        let body = CHUNK_HEAD_BYTES + 4;
        let wanted_crc = &frame[CHUNK_HEAD_BYTES..body];
        if frame[0] == STORED {
            let data = &frame[body..];
            check(data.len(), masked_crc(data), wanted_crc)?;
            if data.len() == CHUNK_BYTES && is_zero(data) {
                batch.push_zeros(CHUNK_BYTES as u64)?;
            } else if !data.is_empty() {
                batch.runs.push(DecodedRun::Stored(range.start + body..range.end));
            }
            return Ok(());
        }
        let packed = &frame[body..];
        let len = snap::raw::decompress_len(packed).map_err(broken)?;
        let end = batch.used_bytes.saturating_add(len);
        let Some(out) = batch.decompressed.get_mut(batch.used_bytes..end) else {
            return Err(Error::damaged(format!("a frame has {len} logical bytes")));
        };
        self.codec.decompress(packed, out).map_err(broken)?;
        check(len, masked_crc(out), wanted_crc)?;
        if len == CHUNK_BYTES && is_zero(out) {
            self.learned_zero_frame = frame.to_vec();
            batch.push_zeros(CHUNK_BYTES as u64)?;
        } else if len > 0 {
            batch.push_decompressed(len);
        }
        Ok(())
    }
}

fn frame_end(bytes: &[u8], start: usize) -> Result<usize> {
    let head = bytes.get(start..start + CHUNK_HEAD_BYTES + 4);
    let len = head.map(|h| usize::from(h[1]) | usize::from(h[2]) << 8 | usize::from(h[3]) << 16);
    let end = len.map(|len| start + CHUNK_HEAD_BYTES + len);
    // The body of a data frame starts with a CRC of 4 bytes, the body of a mark with 4 magic bytes.
    end.filter(|&end| end <= bytes.len() && end >= start + CHUNK_HEAD_BYTES + 4)
        .ok_or_else(|| Error::damaged("a frame does not fit its pack"))
}

fn check(len: usize, crc: u32, wanted: &[u8]) -> Result<()> {
    if len > CHUNK_BYTES {
        return Err(Error::damaged(format!("a frame has {len} logical bytes; the limit is {CHUNK_BYTES}")));
    }
    if crc.to_le_bytes() != wanted {
        return Err(Error::damaged("a frame's CRC-32C does not match its content"));
    }
    Ok(())
}

#[allow(clippy::needless_pass_by_value)] // `map_err` passes it by value.
fn broken(error: snap::Error) -> Error {
    Error::damaged(format!("a frame cannot be decompressed: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snappy::STREAM_IDENTIFIER;
    use crate::snappy::encode::Encoder;
    use crate::snappy::split::Splitter;
    use proptest::prelude::*;

    fn decode(frames: &[u8]) -> Result<Vec<u8>> {
        let stream = [STREAM_IDENTIFIER.as_slice(), frames].concat();
        let mut splitter = Splitter::default();
        let mut decoder = Decoder::default();
        let mut batch = DecodedBatch::default();
        let mut out = Vec::new();
        let mut rest = stream.as_slice();
        while !rest.is_empty() {
            let mut pack = Pack::default();
            let taken = splitter.feed(rest, &mut pack)?;
            rest = &rest[taken..];
            decoder.decode(pack, &mut batch)?;
            for index in 0..batch.len() {
                match batch.item(index).unwrap() {
                    Item::Piece(Piece::Data(bytes)) => out.extend_from_slice(bytes),
                    Item::Piece(Piece::Zeros(len)) => {
                        out.resize(out.len() + usize::try_from(len).unwrap(), 0);
                    }
                    Item::Piece(Piece::Kept(_) | Piece::Shared(_) | Piece::Offer(_)) | Item::Mark(_) => {}
                }
            }
        }
        splitter.finish()?;
        Ok(out)
    }

    #[test]
    fn one_flipped_bit_anywhere_in_a_frame_is_damage() {
        let mut frames = Vec::new();
        Encoder::default().encode(&b"all work and no play ".repeat(100), &mut frames);
        decode(&frames).unwrap();
        for at in 0..frames.len() {
            let mut bad = frames.clone();
            bad[at] ^= 0x10;
            assert!(decode(&bad).is_err(), "byte {at}");
        }
    }

    #[test]
    fn the_zero_frame_of_another_encoder_is_learned() {
        // A zero frame unlike Decant's own: the zeros are stored uncompressed.
        let mut stored = vec![STORED, 4, 0, 1];
        stored.extend(masked_crc(&[0; CHUNK_BYTES]).to_le_bytes());
        stored.extend([0; CHUNK_BYTES]);
        let mut decoder = Decoder::default();
        let mut batch = DecodedBatch::default();
        decoder.decode(Pack { bytes: stored.repeat(3), frames: 3, ..Pack::default() }, &mut batch).unwrap();
        assert_eq!(batch.len(), 1);
        assert_eq!(batch.item(0), Some(Item::Piece(Piece::Zeros(3 * CHUNK_BYTES as u64))));
    }

    #[test]
    fn holes_whose_sum_overflows_are_damage() {
        for holes in [[1 << 63, 1 << 63], [u64::MAX, 1001], [u64::MAX, u64::MAX]] {
            let mut bytes = Vec::new();
            holes.iter().for_each(|&len| Mark::Hole(len).put(&mut bytes));
            let pack = Pack { bytes, frames: 0, ..Pack::default() };
            assert!(Decoder::default().decode(pack, &mut DecodedBatch::default()).is_err(), "{holes:?}");
        }
    }

    #[test]
    fn a_frame_that_decompresses_to_more_than_64_kib_is_damage() {
        let data = vec![7; CHUNK_BYTES + 1];
        let packed = snap::raw::Encoder::new().compress_vec(&data).unwrap();
        let mut frame = vec![0, 0, 0, 0];
        frame.extend(masked_crc(&data).to_le_bytes());
        frame.extend(packed);
        let len = u32::try_from(frame.len() - 4).unwrap().to_le_bytes();
        frame[1..4].copy_from_slice(&len[..3]);
        assert!(decode(&frame).is_err());
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(
            data in prop::collection::vec(prop_oneof![Just(0u8), any::<u8>()], 0..5000), repeat in 1usize..60,
        ) {
            let data = data.repeat(repeat);
            let mut frames = Vec::new();
            Encoder::default().encode(&data, &mut frames);
            prop_assert_eq!(decode(&frames).unwrap(), data);
        }

        #[test]
        fn arbitrary_packs_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..500)) {
            let _ = Decoder::default().decode(Pack { bytes, frames: 1, ..Pack::default() }, &mut DecodedBatch::default());
        }
    }
}
