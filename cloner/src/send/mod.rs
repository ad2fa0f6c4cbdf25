//! The sender: reads a volume and sends it.
//!
//! ```text
//! reader -> blocks -> compressors -> frames -> sender (the calling thread)
//! ```
//!
//! [`send`] is the entry point. It opens and measures the volume once. [`negotiate`] asks the target for its
//! capabilities and for the segments that it already holds. [`mod@pipeline`] runs the three stages over one or more
//! connections. [`retry`] decides whether another attempt follows a failed one.

pub mod answer;
pub mod block;
pub mod block_sink;
pub mod compression;
mod connection;
pub mod encode;
pub mod negotiate;
pub mod pipeline;
pub mod query;
pub mod request;
pub mod retry;
pub mod source;
mod streams;
pub mod throttle;
mod upload;
pub mod url;

use std::time::Instant;

use decant_shared::process::stop::Stop;
use decant_shared::protocol::progress::{Phase, Progress};
use decant_shared::protocol::session::NOT_KEPT_PREFIX;

use crate::digest::SEGMENT_BYTES;
use crate::error::{Error, Kind, Result};
use crate::send::block_sink::ComputedDigests;
use crate::send::retry::{Hope, Pause};
use crate::send::source::Source;
use crate::volume::Volume;
use crate::volume::tree::read::plan::Options;

/// Sends the volume. Returns when the target has confirmed it, with a description of what the target could not keep, or
/// `None`. Blocks the calling thread, reports to `progress`, and ends early when `stop` is set.
pub fn send(source: &Source, progress: &Progress, stop: &Stop) -> Result<Option<String>> {
    progress.enter(Phase::Scan);
    let options = Options { sparse: !source.preallocation, attributes: true };
    let volume = Volume::open(&source.path, source.content, options, stop)?;
    if let Some(total_bytes) = volume.stream_bytes(false).or(source.expected_bytes) {
        progress.set_total_bytes(total_bytes);
    }
    let computed = ComputedDigests::default();
    let mut pause = Pause::new(Instant::now(), source.patience);
    let mut furthest_bytes = 0;
    let mut has_met = false;
    loop {
        let failure = match attempt(source, &volume, &computed, progress, &mut has_met, stop) {
            Ok(not_kept) => {
                progress.finish_ok();
                return Ok(not_kept);
            }
            Err(failure) => failure,
        };
        let error = with_own_expiry(failure.error, source);
        let hope = Hope { resume: failure.can_resume, renewal: has_met && source.tls.can_renew() };
        let now = Instant::now();
        if let Some(bytes) = further(progress, furthest_bytes) {
            // This attempt got further than any previous one: the time limit for retries restarts.
            furthest_bytes = bytes;
            pause = Pause::new(now, source.patience);
        }
        let Some(delay) = pause.before_next(&error, hope, now) else {
            progress.enter(Phase::Failed);
            return Err(error);
        };
        log::info!("{error}; trying again in {:.1} s", delay.as_secs_f64());
        progress.restart();
        stop.sleep(delay);
        Error::check(stop)?;
    }
}

/// The target's position, if it is at least one segment beyond `furthest_bytes`: less than a segment is not kept for
/// the next attempt. The position is never beyond what was sent, whatever the target reports.
fn further(progress: &Progress, furthest_bytes: u64) -> Option<u64> {
    let bytes = progress.durable_bytes()?.min(progress.sent_bytes());
    (bytes >= furthest_bytes.saturating_add(SEGMENT_BYTES)).then_some(bytes)
}

struct AttemptFailure {
    error: Error,
    /// Whether another attempt is useful after a broken connection: nothing was sent, or the target can resume.
    can_resume: bool,
}

/// Makes one attempt. Returns a description of what the target does not keep.
fn attempt(
    source: &Source,
    volume: &Volume,
    computed: &ComputedDigests,
    progress: &Progress,
    has_met: &mut bool,
    stop: &Stop,
) -> Result<Option<String>, AttemptFailure> {
    let peer = negotiate::negotiate(source, volume, computed, progress, stop)
        .map_err(|error| AttemptFailure { error, can_resume: true })?;
    // From here on, each end has accepted the other's certificate.
    *has_met = true;
    if let Some(total_bytes) = volume.stream_bytes(peer.capabilities.keeps_attributes) {
        progress.set_total_bytes(total_bytes);
    }
    let answer = pipeline::run(source, volume, &peer, computed, progress, stop)
        .map_err(|error| AttemptFailure { error, can_resume: peer.capabilities.is_extended })?;
    Ok(match peer.capabilities.keeps_attributes {
        true => answer.strip_prefix(NOT_KEPT_PREFIX).map(ToOwned::to_owned),
        // The stream had no attributes at all.
        false => volume.only_in_attributes().map(ToString::to_string),
    })
}

/// Adds to the error that the source's own certificate has expired, if that may be the cause: the target only reports
/// that it does not accept the certificate.
fn with_own_expiry(error: Error, source: &Source) -> Error {
    match source.tls.expiry_message() {
        Some(expired) if error.kind() == Kind::Identity => {
            Error::new(Kind::Identity, format!("{error}; {expired}"))
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_that_claims_more_than_it_was_sent_does_not_make_a_source_more_patient() {
        let progress = Progress::new(0);
        assert_eq!(further(&progress, 0), None, "the target reported nothing");
        progress.set_durable_bytes(u64::MAX - 1);
        progress.add_sent_bytes(SEGMENT_BYTES);
        assert_eq!(further(&progress, 0), Some(SEGMENT_BYTES));
        progress.add_sent_bytes(SEGMENT_BYTES - 1);
        assert_eq!(further(&progress, SEGMENT_BYTES), None, "not a whole segment more");
        progress.add_sent_bytes(1);
        assert_eq!(further(&progress, SEGMENT_BYTES), Some(2 * SEGMENT_BYTES));
    }
}
