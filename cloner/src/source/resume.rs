//! Meeting the target: whether it is one of ours, and what it holds of this volume already.

use decant_shared::contract::ContentType;
use decant_shared::progress::{Phase, Progress};
use decant_shared::stop::Stop;
use decant_shared::units::Bytes;

use super::ask::Abilities;
use super::blocks::Computed;
use super::volume::Volume;
use super::{Source, ask};
use crate::digest::check::HELD_LIMIT;
use crate::digest::{Digest, SEGMENT_BYTES};
use crate::error::{Kind, Result};

const COMPARING: &str = "the target holds a part of a clone; comparing it with the source";

/// What the source knows about the target before it sends.
#[derive(Debug, Default)]
pub struct Peer {
    /// What it can do.
    pub can: Abilities,
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
    let can = abilities(source, stop)?;
    let kept = match (can.is_extended, volume.certain_bytes(), source.content) {
        (true, Some(total_bytes), _) => kept_of_image(source, volume, total_bytes, computed, stop)?,
        (true, None, ContentType::Filesystem) => kept_of_folder(source, volume, computed, stop)?,
        _ => Vec::new(),
    };
    let total_bytes = volume.stream_bytes(can.keeps_attributes).unwrap_or(u64::MAX);
    let kept_bytes = (kept.len() as u64 * SEGMENT_BYTES).min(total_bytes);
    if kept_bytes > 0 {
        log::info!("going on after the first {} of {}", Bytes(kept_bytes), Bytes(total_bytes));
    }
    Ok(Peer { can, kept })
}

/// Segment after segment, so that nothing is read behind the first one that differs.
fn kept_of_image(
    source: &Source,
    volume: &Volume,
    total_bytes: u64,
    computed: &Computed,
    stop: &Stop,
) -> Result<Vec<Digest>> {
    let count = total_bytes.div_ceil(SEGMENT_BYTES);
    let mut kept = Vec::new();
    loop {
        let held = ask::held(source, kept.len(), Some(total_bytes), stop)?;
        if held.is_empty() {
            return Ok(kept);
        }
        if kept.is_empty() {
            log::info!("{COMPARING}");
        }
        for digest in held {
            let index = kept.len();
            if index as u64 >= count {
                return Ok(kept);
            }
            let ours = match computed.get(index) {
                Some(ours) => ours,
                None => volume.segment(index as u64, total_bytes, stop)?,
            };
            if ours != digest {
                log::info!("the target holds something else from segment {index} on");
                return Ok(kept);
            }
            kept.push(digest);
        }
    }
}

/// All that the target holds, and then the source's folder in one pass: a tree has no place to begin in its middle.
fn kept_of_folder(source: &Source, volume: &Volume, computed: &Computed, stop: &Stop) -> Result<Vec<Digest>> {
    let mut held = Vec::new();
    loop {
        let more = ask::held(source, held.len(), None, stop)?;
        held.extend_from_slice(&more);
        if more.is_empty() || held.len() >= HELD_LIMIT {
            break;
        }
    }
    if held.is_empty() {
        return Ok(held);
    }
    log::info!("{COMPARING}");
    let ours = match computed.first(held.len()) {
        Some(ours) => ours,
        None => volume.first_segments(held.len(), stop, &|_| {})?,
    };
    let agreeing = held.iter().zip(&ours).take_while(|(held, ours)| held == ours).count();
    if agreeing < held.len() {
        log::info!("the target holds something else from segment {agreeing} on");
    }
    (0..).zip(ours).for_each(|(index, digest)| computed.set(index, digest));
    held.truncate(agreeing);
    Ok(held)
}

/// A target that does not take the question for what it is gets the upload as CDI's would.
fn abilities(source: &Source, stop: &Stop) -> Result<Abilities> {
    match ask::abilities(source, stop) {
        Err(error) if matches!(error.kind(), Kind::HungUp | Kind::Stalled | Kind::Damaged) => {
            Ok(Abilities::default())
        }
        answer => answer,
    }
}
