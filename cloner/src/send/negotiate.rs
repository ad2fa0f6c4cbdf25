//! What the source finds out about the target before it sends: its capabilities, and what it already holds of this volume.

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

/// The time, on average, for reading back a segment of 64 MiB of an image that the target holds: 4 MiB/s.
const SLOWEST_SEGMENT: Duration = Duration::from_secs(16);
/// Questions about a directory: a target answers each of them, except the last, with 256 digests.
const DIRECTORY_QUESTIONS: usize = HELD_LIMIT / 256 + 2;

/// It may be a previous attempt at this clone, other content, or a device's zeros that no clone wrote.
const COMPARING: &str = "comparing what is on the target's volume with the source";

/// What the source knows about the target before it sends.
#[derive(Debug, Default)]
pub struct Negotiated {
    /// What it can do.
    pub capabilities: Capabilities,
    /// The first segments of the content that the target holds and that equal those of the source.
    pub kept: Vec<Digest>,
}

/// Asks the target. The digests of what it holds are compared with those computed when it was sent, or, in a source that
/// was itself restarted, with the volume as it is now: a target's claim alone never makes the source skip data.
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

/// What is left of the target's time for all its answers. The time in which the source itself reads does not count.
struct AnswerBudget {
    left: Duration,
}

impl AnswerBudget {
    /// Asks for digests, with a limit of at most `most`; `None` when the time is up.
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

/// Segment by segment, so that nothing is read after the first one that differs. There are no more questions than
/// segments, because each answer has at least one digest that is right.
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

/// All that the target holds, and then one pass over the source's directory: a tree cannot be read from its middle.
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

/// Logs from which segment on everything is sent.
fn report_difference(segment: usize) {
    match segment {
        0 => log::info!("the target holds nothing of this clone: all of the source is sent"),
        _ => log::info!("it differs from segment {segment} on: the rest is sent again"),
    }
}

/// The target's capabilities. A target that does not understand the question gets the upload as CDI's would.
fn target_capabilities(source: &Source, stop: &Stop) -> Result<Capabilities> {
    match query::capabilities(source, stop) {
        Err(error) if matches!(error.kind(), Kind::HungUp | Kind::Stalled | Kind::Damaged) => {
            Ok(Capabilities::default())
        }
        answer => answer,
    }
}
