//! What the source asks the target before it sends: the target's capabilities, and the segments of this volume that it
//! already holds.

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

/// The average time for reading back a segment of 64 MiB of an image on the target: 4 MiB/s.
const SLOWEST_SEGMENT: Duration = Duration::from_secs(16);
/// The maximum number of questions about a directory. A target answers each of them, except the last, with 256 digests.
const DIRECTORY_QUESTIONS: usize = HELD_LIMIT / 256 + 2;

/// The content may be from a previous attempt at this clone, other content, or zeros of a device that no clone wrote.
const COMPARING: &str = "comparing what is on the target's volume with the source";

/// What the source knows about the target before it sends.
#[derive(Debug, Default)]
pub struct Negotiated {
    /// What the target can do.
    pub capabilities: Capabilities,
    /// The first segments of the content that the target holds and that are equal at the source.
    pub kept: Vec<Digest>,
}

/// Asks the target. The digests of its segments are compared with those computed when the segments were sent. A source
/// that was restarted itself compares them with the volume as it is now. The source never skips data only because the
/// target claims to have it.
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
        log::info!("resuming after the first {} of {}", Bytes(kept_bytes), Bytes(total_bytes));
    }
    progress.set_kept_bytes(kept_bytes);
    Ok(Negotiated { capabilities, kept })
}

/// The remaining time of the target for all its answers. The time in which the source itself reads does not count.
struct AnswerBudget {
    left: Duration,
}

impl AnswerBudget {
    /// Asks for digests with a time limit of at most `most`; `None` if the time is used up.
    fn ask(
        &mut self,
        most: Duration,
        ask: impl FnOnce(Duration) -> Result<Vec<Digest>>,
    ) -> Result<Option<Vec<Digest>>> {
        if self.left.is_zero() {
            log::warn!("the target takes too long to report what it holds; the rest is sent again");
            return Ok(None);
        }
        let began = Instant::now();
        let held = ask(most.min(self.left))?;
        self.left = self.left.saturating_sub(began.elapsed());
        Ok(Some(held))
    }
}

/// Compares one segment after the other, so that nothing is read after the first difference. There are at most as many
/// questions as segments, because each answer has at least one matching digest.
fn kept_of_image(
    source: &Source,
    volume: &Volume,
    total_bytes: u64,
    computed: &ComputedDigests,
    stop: &Stop,
) -> Result<Vec<Digest>> {
    let count = total_bytes.div_ceil(SEGMENT_BYTES);
    let read_back = SLOWEST_SEGMENT.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX));
    let mut budget = AnswerBudget { left: ANSWER.saturating_add(read_back) };
    let mut kept: Vec<Digest> = Vec::new();
    loop {
        let ask = |limit| query::held_segments(source, kept.len(), Some(total_bytes), limit, stop);
        let held = budget.ask(ANSWER, ask)?.unwrap_or_default();
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
                report_difference(index);
                return Ok(kept);
            }
            kept.push(digest);
        }
    }
}

/// Gets all digests of the target first, then reads the source's directory once: a tree cannot be read from its middle.
fn kept_of_directory(
    source: &Source,
    volume: &Volume,
    computed: &ComputedDigests,
    stop: &Stop,
) -> Result<Vec<Digest>> {
    let mut held: Vec<Digest> = Vec::new();
    // A target that was restarted reads the whole tree back before its first answer.
    let limit = source.timeouts.answer;
    let mut budget = AnswerBudget { left: limit };
    for _ in 0..DIRECTORY_QUESTIONS {
        let ask = |limit| query::held_segments(source, held.len(), None, limit, stop);
        let more = budget.ask(limit, ask)?.unwrap_or_default();
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
        report_difference(agreeing);
    }
    (0..).zip(ours).for_each(|(index, digest)| computed.set(index, digest));
    held.truncate(agreeing);
    Ok(held)
}

/// Logs the segment from which on everything is sent.
fn report_difference(segment: usize) {
    match segment {
        0 => log::info!("the target holds nothing of this clone: all of the source is sent"),
        _ => log::info!("it differs from segment {segment} on: the rest is sent again"),
    }
}

/// The target's capabilities. A target that does not understand the question is treated like CDI's.
fn target_capabilities(source: &Source, stop: &Stop) -> Result<Capabilities> {
    match query::capabilities(source, stop) {
        Err(error) if matches!(error.kind(), Kind::HungUp | Kind::Stalled | Kind::Damaged) => {
            Ok(Capabilities::default())
        }
        answer => answer,
    }
}
