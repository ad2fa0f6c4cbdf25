//! Meeting the target: whether it is one of ours, and what it holds of this volume already.

use decant_shared::progress::{Phase, Progress};
use decant_shared::stop::Stop;
use decant_shared::units::Bytes;

use super::blocks::Computed;
use super::volume::Volume;
use super::{Source, ask};
use crate::digest::{Digest, SEGMENT_BYTES};
use crate::error::{Kind, Result};

/// What the source knows about the target before it sends.
#[derive(Debug, Default)]
pub struct Peer {
    /// It is Decant's.
    pub is_extended: bool,
    /// The first segments of the content: the target holds them, and they are what the source has now.
    pub kept: Vec<Digest>,
}

/// Asks the target. What it holds is compared with what was computed when it was sent, or, by a source that was
/// itself restarted, with the volume as it is now: nothing is skipped on anybody's word.
pub fn meet(
    source: &Source,
    volume: &Volume,
    computed: &Computed,
    progress: &Progress,
    stop: &Stop,
) -> Result<Peer> {
    progress.enter(Phase::Connect);
    let mut peer = Peer { is_extended: knows_us(source, stop)?, kept: Vec::new() };
    let Some(total_bytes) = volume.certain_bytes().filter(|_| peer.is_extended) else { return Ok(peer) };
    let count = total_bytes.div_ceil(SEGMENT_BYTES);
    loop {
        let held = ask::held(source, peer.kept.len(), total_bytes, stop)?;
        if held.is_empty() {
            break;
        }
        if peer.kept.is_empty() {
            log::info!("the target holds a part of a clone; comparing it with the source");
        }
        for digest in held {
            let index = peer.kept.len();
            if index as u64 >= count {
                return Ok(peer);
            }
            let ours = match computed.get(index) {
                Some(ours) => ours,
                None => volume.segment(index as u64, total_bytes, stop)?,
            };
            if ours != digest {
                log::info!("the target holds something else from segment {index} on");
                return Ok(told(peer, total_bytes));
            }
            peer.kept.push(digest);
        }
    }
    Ok(told(peer, total_bytes))
}

fn told(peer: Peer, total_bytes: u64) -> Peer {
    let kept_bytes = (peer.kept.len() as u64 * SEGMENT_BYTES).min(total_bytes);
    if kept_bytes > 0 {
        log::info!("going on after the first {} of {}", Bytes(kept_bytes), Bytes(total_bytes));
    }
    peer
}

/// A target that does not take the question for what it is gets the upload as CDI's would.
fn knows_us(source: &Source, stop: &Stop) -> Result<bool> {
    match ask::is_extended(source, stop) {
        Err(error) if matches!(error.kind(), Kind::HungUp | Kind::Stalled | Kind::Damaged) => Ok(false),
        answer => answer,
    }
}
