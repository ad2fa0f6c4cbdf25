//! The sender: reads a volume and sends it.
//!
//! ```text
//! reader -> blocks -> compressors -> frames -> sender (the calling thread)
//! ```
//!
//! [`send`] is the entry point. It opens and measures the volume once; [`negotiate`] asks the target what it can do and what
//! it already has; [`mod@pipeline`] runs the three stages over one or more connections; [`retry`] decides whether another
//! attempt follows a failed one.

pub mod answer;
pub mod block_buffer;
pub mod block_sink;
pub mod chunk_buffer;
pub mod compression;
mod connect;
pub mod encode;
pub mod follow;
pub mod negotiate;
pub mod outgoing;
pub mod pipeline;
pub mod query;
pub mod rate_limiter;
pub mod request;
pub mod retry;
mod sender;
pub mod source;
pub mod streams;
pub mod throttle;
pub mod upload;
pub mod url;
mod wait;

use std::time::Instant;

use decant_shared::process::stop::Stop;
use decant_shared::protocol::progress::{Phase, Progress};
use decant_shared::protocol::session::NOT_KEPT_PREFIX;

use crate::digest::SEGMENT_BYTES;
use crate::error::{Error, Kind, Result};
use crate::send::block_sink::ComputedDigests;
use crate::send::retry::Hope;
use crate::send::source::Source;
use crate::volume::Volume;
use crate::volume::tree::read::plan::Options;

/// Sends the volume and returns when the target has said that it has it: with what the target could not keep, in words,
/// or nothing. Blocks; reports through `progress`; ends early when `stop` is set.
pub fn send(source: &Source, progress: &Progress, stop: &Stop) -> Result<Option<String>> {
    progress.enter(Phase::Scan);
    let options = Options { sparse: !source.preallocation, attributes: true };
    let volume = Volume::open(&source.path, source.content, options, stop)?;
    if let Some(total_bytes) = volume.stream_bytes(false).or(source.expected_bytes) {
        progress.set_total_bytes(total_bytes);
    }
    let computed = ComputedDigests::default();
    let mut pause = retry::Pause::new(Instant::now(), source.patience);
    let mut furthest_bytes = 0;
    let mut has_met = false;
    loop {
        let (error, resume) = match once(source, &volume, &computed, progress, &mut has_met, stop) {
            Ok(not_kept) => {
                progress.finish_ok();
                return Ok(not_kept);
            }
            Err((error, resume)) => (with_own_end(error, source), resume),
        };
        let hope = Hope { resume, renewal: has_met && source.tls.can_renew() };
        let now = Instant::now();
        if let Some(bytes) = further(progress, furthest_bytes) {
            // It got further than ever: what comes is another failure, and not a longer one.
            furthest_bytes = bytes;
            pause = retry::Pause::new(now, source.patience);
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

/// How far the target is, if that is a segment more than `furthest_bytes`: less is not kept for the next attempt. It is
/// never further than what was sent, whatever it says.
fn further(progress: &Progress, furthest_bytes: u64) -> Option<u64> {
    let bytes = progress.durable_bytes()?.min(progress.sent_bytes());
    (bytes >= furthest_bytes.saturating_add(SEGMENT_BYTES)).then_some(bytes)
}

/// One attempt: what the target does not keep, or the error and whether a connection that broke is worth another one: nothing was sent, or the target can go on
/// from where it was.
fn once(
    source: &Source,
    volume: &Volume,
    computed: &ComputedDigests,
    progress: &Progress,
    has_met: &mut bool,
    stop: &Stop,
) -> Result<Option<String>, (Error, bool)> {
    let peer =
        negotiate::negotiate(source, volume, computed, progress, stop).map_err(|error| (error, true))?;
    // Each trusts the other.
    *has_met = true;
    if let Some(total_bytes) = volume.stream_bytes(peer.capabilities.keeps_attributes) {
        progress.set_total_bytes(total_bytes);
    }
    let said = pipeline::run(source, volume, &peer, computed, progress, stop);
    let said = said.map_err(|error| (error, peer.capabilities.is_extended))?;
    Ok(match peer.capabilities.keeps_attributes {
        true => said.strip_prefix(NOT_KEPT_PREFIX).map(ToOwned::to_owned),
        // It was not sent at all.
        false => volume.only_in_attributes().map(ToString::to_string),
    })
}

/// The same error, and behind it that our own certificate has ended, where that may be the cause: the target only says that
/// it does not like it.
fn with_own_end(error: Error, source: &Source) -> Error {
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
        assert_eq!(further(&progress, 0), None, "it says nothing");
        progress.set_durable_bytes(u64::MAX - 1);
        progress.add_sent_bytes(SEGMENT_BYTES);
        assert_eq!(further(&progress, 0), Some(SEGMENT_BYTES));
        progress.add_sent_bytes(SEGMENT_BYTES - 1);
        assert_eq!(further(&progress, SEGMENT_BYTES), None, "not a whole segment more");
        progress.add_sent_bytes(1);
        assert_eq!(further(&progress, SEGMENT_BYTES), Some(2 * SEGMENT_BYTES));
    }
}
