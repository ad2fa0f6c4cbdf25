//! One attempt: connects, runs the three stages over that connection, and collects their results.

use std::sync::atomic::AtomicBool;
use std::thread::{Builder, scope};
use std::time::Duration;

use decant_shared::process::stop::Stop;
use decant_shared::protocol::cdi::ContentType;
use decant_shared::protocol::progress::{Phase, Progress};
use decant_shared::protocol::session::SessionStatus;

use crate::digest::SEGMENT_BYTES;
use crate::error::Result;
use crate::pipeline::join::{first_cause, join};
use crate::pipeline::lanes::lanes;
use crate::send::block::BufferPools;
use crate::send::block_sink::{BlockContext, BlockSink, ComputedDigests};
use crate::send::compression::CompressionMode;
use crate::send::connection::Connection;
use crate::send::negotiate::Negotiated;
use crate::send::request::Request;
use crate::send::source::Source;
use crate::send::throttle::Throttle;
use crate::send::upload::SendContext;
use crate::send::{encode, query, streams};
use crate::volume::Volume;

/// The interval at which a target is asked for its progress: that of the ticker.
const FOLLOW_PAUSE: Duration = Duration::from_secs(1);
/// The interval for a target in this process: that of the progress bar.
const FOLLOW_PAUSE_IN_PROCESS: Duration = Duration::from_millis(100);

/// Sends all of `volume` once. Returns the text of the target's answer.
pub fn run(
    source: &Source,
    volume: &Volume,
    peer: &Negotiated,
    computed: &ComputedDigests,
    progress: &Progress,
    stop: &Stop,
) -> Result<String> {
    progress.enter(Phase::Connect);
    let connections = stop.child();
    let mut connection = Connection::open(source, &connections)?;
    let streams = streams::count(source, volume, peer);
    let count = source.compress_threads.max(1);
    let (deal, workers, mut collect) = lanes(count, "compressor");
    let buffers = &BufferPools::for_lanes(count + streams);
    let compression_mode = &CompressionMode::new(source.compression);
    let has_holes = peer.capabilities.is_extended;
    let follower_stop = &stop.child();
    let outcome = scope(|scope| {
        let mut threads = Vec::new();
        // The reader owns `deal`: when the reader ends, the compressors notice it.
        threads.push(Builder::new().name("reader".to_owned()).spawn_scoped(scope, move || {
            let context = BlockContext { compression_mode, buffers, computed, has_holes, progress, stop };
            read(volume, BlockSink::new(deal, context), peer, stop)
        }));
        if peer.capabilities.is_extended {
            progress.set_durable_bytes(0);
            threads.push(Builder::new().name("follower".to_owned()).spawn_scoped(scope, move || {
                follow(source, progress, follower_stop);
                Ok(())
            }));
        }
        for (index, lane) in workers.into_iter().enumerate() {
            threads.push(
                Builder::new()
                    .name(format!("compressor-{index}"))
                    .spawn_scoped(scope, move || encode::run(lane, compression_mode, buffers)),
            );
        }
        progress.enter(Phase::Copy);
        let throttle = Throttle::new(&source.limiter, compression_mode, streams);
        let is_broken = &AtomicBool::new(false);
        let context = SendContext {
            source,
            compression_mode,
            buffers,
            progress,
            is_broken,
            stop,
            connections: &connections,
        };
        let request = request(source, volume, peer);
        let answer = streams::post(&mut connection, request, streams, &mut collect, throttle, context);
        follower_stop.cancel();
        // This makes the other stages end, too.
        drop(collect);
        first_cause(answer, join(threads))
    });
    if outcome.is_ok() {
        connection.close();
    }
    outcome
}

/// Reads the volume into `blocks`, except the content of the first segments that the target already holds.
fn read(volume: &Volume, mut blocks: BlockSink<'_>, peer: &Negotiated, stop: &Stop) -> Result<()> {
    match volume.certain_bytes() {
        Some(size_bytes) => blocks.keep(&peer.kept, size_bytes)?,
        None => blocks.pass_over(&peer.kept)?,
    }
    let start_bytes = peer.kept.len() as u64 * SEGMENT_BYTES;
    volume.read(start_bytes, peer.capabilities.keeps_attributes, &mut blocks, stop)?;
    blocks.finish()
}

/// The request of this upload.
fn request<'a>(source: &'a Source, volume: &Volume, peer: &Negotiated) -> Request<'a> {
    Request {
        url: &source.url,
        content: source.content,
        length_bytes: volume.certain_bytes(),
        has_attributes: peer.capabilities.keeps_attributes && source.content == ContentType::Filesystem,
        resume: peer.capabilities.is_extended.then_some(peer.kept.len()),
        stream: None,
    }
}

/// Asks the target for its progress until `stop` is set, so that progress counts the bytes that an interruption would
/// not lose, and not the bytes that were sent. Ignores a missing answer: the upload itself detects what is wrong.
fn follow(source: &Source, progress: &Progress, stop: &Stop) {
    let pause = if source.near.is_some() { FOLLOW_PAUSE_IN_PROCESS } else { FOLLOW_PAUSE };
    while stop.sleep(pause) {
        let session = match &source.near {
            Some(target) => Ok(Some(SessionStatus::of(target))),
            None => query::session(source, stop),
        };
        match session {
            Ok(Some(session)) => note(session, progress),
            Ok(None) => {}
            Err(error) => log::debug!("the target does not report its progress: {error}"),
        }
    }
}

fn note(session: SessionStatus, progress: &Progress) {
    // The target cannot have more bytes than exist.
    let most_bytes = progress.total_bytes().unwrap_or_else(|| progress.read_bytes());
    if session.durable_bytes > most_bytes {
        log::debug!("the target reports {} of {most_bytes} bytes", session.durable_bytes);
        return;
    }
    if matches!(session.phase, Phase::Copy | Phase::Sync | Phase::Verify) {
        progress.set_durable_bytes(session.durable_bytes);
    }
    if session.phase == Phase::Verify && progress.phase() == Phase::Sync {
        progress.enter(Phase::Verify);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_that_reports_more_than_there_is_is_not_believed() {
        let progress = Progress::new(0);
        progress.set_total_bytes(100);
        for (durable_bytes, wanted) in [(50, 50), (101, 50), (u64::MAX, 50), (100, 100)] {
            note(SessionStatus { phase: Phase::Copy, durable_bytes }, &progress);
            assert_eq!(progress.durable_bytes(), Some(wanted), "{durable_bytes}");
        }
    }

    #[test]
    fn where_the_length_is_unknown_what_was_read_is_the_limit() {
        let progress = Progress::new(0);
        progress.add_read_bytes(10);
        note(SessionStatus { phase: Phase::Copy, durable_bytes: 11 }, &progress);
        assert_eq!(progress.durable_bytes(), None);
    }
}
