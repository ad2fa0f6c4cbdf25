//! Meeting the target: whether it is one of ours, and what it holds of this volume already.

use std::time::{Duration, Instant};

use decant_shared::process::stop::Stop;
use decant_shared::protocol::cdi::ContentType;
use decant_shared::protocol::progress::{Phase, Progress};
use decant_shared::protocol::units::Bytes;

use crate::digest::{Digest, HELD_LIMIT, SEGMENT_BYTES};
use crate::error::{Kind, Result};
use crate::send::block_sink::ComputedDigests;
use crate::send::query::{self, ANSWER, Capabilities};
use crate::send::source::Source;
use crate::volume::Volume;

/// A target that reads back what it holds of an image has so long for each segment of 64 MiB, on average: 4 MiB/s.
const SLOWEST_SEGMENT: Duration = Duration::from_secs(16);
/// Questions about a directory: a target answers with 256 digests at a time, all but the last time.
const DIRECTORY_QUESTIONS: usize = HELD_LIMIT / 256 + 2;

/// It may be an earlier attempt at this clone, another content, or a device's zeros that no clone wrote.
const COMPARING: &str = "comparing what is on the target's volume with the source";

/// What the source knows about the target before it sends.
#[derive(Debug, Default)]
pub struct Negotiated {
    /// What it can do.
    pub capabilities: Capabilities,
    /// The first segments of the content: the target holds them, and they are what the source has now.
    pub kept: Vec<Digest>,
}

/// Asks the target. What it holds is compared with what was computed when it was sent, or, by a source that was
/// itself restarted, with the volume as it is now: nothing is skipped on anybody's word.
pub fn negotiate(
    source: &Source,
    volume: &Volume,
    computed: &ComputedDigests,
    progress: &Progress,
    stop: &Stop,
) -> Result<Negotiated> {
    progress.enter(Phase::Connect);
    let capabilities = target_capabilities(source, stop)?;
    let kept = match (capabilities.is_extended, volume.certain_bytes(), source.content) {
        (true, Some(total_bytes), _) => kept_of_image(source, volume, total_bytes, computed, stop)?,
        (true, None, ContentType::Filesystem) => kept_of_directory(source, volume, computed, stop)?,
        _ => Vec::new(),
    };
    let total_bytes = volume.stream_bytes(capabilities.keeps_attributes).unwrap_or(u64::MAX);
    let kept_bytes = (kept.len() as u64 * SEGMENT_BYTES).min(total_bytes);
    if kept_bytes > 0 {
        log::info!("going on after the first {} of {}", Bytes(kept_bytes), Bytes(total_bytes));
    }
    progress.set_kept_bytes(kept_bytes);
    Ok(Negotiated { capabilities, kept })
}

/// What is left of the time that a target has for all its answers. What the source reads meanwhile does not count.
struct AnswerBudget {
    left: Duration,
}

impl AnswerBudget {
    /// Asks for digests; `None` when the time is up.
    fn ask(
        &mut self,
        most: Duration,
        ask: impl FnOnce(Duration) -> Result<Vec<Digest>>,
    ) -> Result<Option<Vec<Digest>>> {
        if self.left.is_zero() {
            log::warn!("the target takes too long to say what it holds; what it did not say is sent again");
            return Ok(None);
        }
        let began = Instant::now();
        let held = ask(most.min(self.left))?;
        self.left = self.left.saturating_sub(began.elapsed());
        Ok(Some(held))
    }
}

/// Segment after segment, so that nothing is read behind the first one that differs. There are no more questions than
/// segments, as each answer has a digest that is right.
fn kept_of_image(
    source: &Source,
    volume: &Volume,
    total_bytes: u64,
    computed: &ComputedDigests,
    stop: &Stop,
) -> Result<Vec<Digest>> {
    let count = total_bytes.div_ceil(SEGMENT_BYTES);
    let read_back = SLOWEST_SEGMENT.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX));
    let mut patience = AnswerBudget { left: ANSWER.saturating_add(read_back) };
    let mut kept: Vec<Digest> = Vec::new();
    loop {
        let ask = |limit| query::held_segments(source, kept.len(), Some(total_bytes), limit, stop);
        let held = patience.ask(ANSWER, ask)?.unwrap_or_default();
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
                differs_from(index);
                return Ok(kept);
            }
            kept.push(digest);
        }
    }
}

/// All that the target holds, and then the source's directory in one pass: a tree has no place to begin in its middle.
fn kept_of_directory(
    source: &Source,
    volume: &Volume,
    computed: &ComputedDigests,
    stop: &Stop,
) -> Result<Vec<Digest>> {
    let mut held: Vec<Digest> = Vec::new();
    // A target that was restarted reads the whole tree back before it answers for the first time.
    let limit = source.timeouts.answer;
    let mut patience = AnswerBudget { left: limit };
    for _ in 0..DIRECTORY_QUESTIONS {
        let more =
            patience.ask(limit, |limit| query::held_segments(source, held.len(), None, limit, stop))?;
        let more = more.unwrap_or_default();
        held.extend_from_slice(&more);
        if more.is_empty() || held.len() >= HELD_LIMIT {
            break;
        }
    }
    held.truncate(HELD_LIMIT);
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
        differs_from(agreeing);
    }
    (0..).zip(ours).for_each(|(index, digest)| computed.set(index, digest));
    held.truncate(agreeing);
    Ok(held)
}

/// Says from which segment on everything is sent.
fn differs_from(segment: usize) {
    match segment {
        0 => log::info!("nothing of this clone is there yet: all of the source is sent"),
        _ => log::info!("it differs from segment {segment} on, which is sent again"),
    }
}

/// A target that does not take the question for what it is gets the upload as CDI's would.
fn target_capabilities(source: &Source, stop: &Stop) -> Result<Capabilities> {
    match query::capabilities(source, stop) {
        Err(error) if matches!(error.kind(), Kind::HungUp | Kind::Stalled | Kind::Damaged) => {
            Ok(Capabilities::default())
        }
        answer => answer,
    }
}
