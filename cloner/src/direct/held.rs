//! Decides what is kept of a previous attempt: the first segments at the target whose digests are those of the source
//! now. Nothing is kept without reading it at both ends.

use decant_shared::process::stop::Stop;
use decant_shared::protocol::cdi::ContentType;
use decant_shared::protocol::progress::Progress;

use crate::digest::{Digest, HELD_LIMIT, SEGMENT_BYTES};
use crate::error::Result;
use crate::volume::Volume;
use crate::volume::destination::Destination;
use crate::writing::held;

/// The digests of the segments that the target holds and that are equal at the source, starting with the first one.
pub(super) fn kept(
    volume: &Volume,
    content: ContentType,
    destination: &Destination,
    stop: &Stop,
) -> Result<Vec<Digest>> {
    match (volume.certain_bytes(), content) {
        (Some(total_bytes), _) => image(volume, destination, total_bytes, stop),
        (None, ContentType::Filesystem) => directory(volume, destination, stop),
        // A character device can be read only once.
        (None, ContentType::Block) => Ok(Vec::new()),
    }
}

/// Compares one segment after the other, so that nothing is read after the first difference.
fn image(volume: &Volume, destination: &Destination, total_bytes: u64, stop: &Stop) -> Result<Vec<Digest>> {
    let mut kept: Vec<Digest> = Vec::new();
    while kept.len() < HELD_LIMIT {
        let index = kept.len() as u64;
        let len = total_bytes.saturating_sub(index * SEGMENT_BYTES).min(SEGMENT_BYTES);
        let Some(held) = held::segment(destination, index, len, stop)? else { break };
        if volume.segment(index, total_bytes, stop)? != held {
            break;
        }
        kept.push(held);
    }
    Ok(kept)
}

/// Reads the target's tree first, then as much of the source's directory.
fn directory(volume: &Volume, destination: &Destination, stop: &Stop) -> Result<Vec<Digest>> {
    // Reading back is not progress of the clone.
    let mut held = held::tree(destination, &Progress::new(0), stop)?;
    if held.is_empty() {
        return Ok(held);
    }
    let ours = volume.first_segments(held.len(), stop, &|_| {})?;
    let agreeing = held.iter().zip(&ours).take_while(|(held, ours)| held == ours).count();
    held.truncate(agreeing);
    Ok(held)
}
