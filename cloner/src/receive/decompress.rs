//! The decompressors: each takes packs of frames from its lane and makes batches of logical runs.

use crate::error::{Error, Result};
use crate::pipeline::lanes::{Lane, Pool};
use crate::snappy::decode::{DecodedBatch, Decoder};
use crate::snappy::split::Pack;

/// What the session hands over.
pub enum PackMessage {
    /// Whole frames.
    Some(Pack),
    /// The body was complete.
    End,
}

/// What a decompressor hands over.
pub enum BatchMessage {
    /// Logical runs.
    Some(DecodedBatch),
    /// The end of the stream.
    End,
}

/// Runs one decompressor until its lane ends.
#[allow(clippy::needless_pass_by_value)] // the thread owns its lane, so that its end is seen
pub fn run(
    lane: Lane<PackMessage, BatchMessage>,
    packs: &Pool<Pack>,
    batches: &Pool<DecodedBatch>,
) -> Result<()> {
    let mut decoder = Decoder::default();
    for packed in &lane.input {
        let unpacked = match packed {
            PackMessage::Some(pack) => {
                let mut batch = batches.take();
                packs.give(batch.reclaim_pack());
                decoder.decode(pack, &mut batch)?;
                BatchMessage::Some(batch)
            }
            PackMessage::End => BatchMessage::End,
        };
        lane.output.send(unpacked).map_err(|_| Error::neighbour("writer"))?;
    }
    Ok(())
}
