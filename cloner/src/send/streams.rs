//! One clone over several connections: frames are dealt to them in turn, so that the target can restore their order
//! without buffering frames that would arrive too early (docs/protocol.md section 6.5).

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, ScopedJoinHandle, scope};
use std::time::Instant;

use decant_shared::process::stop::STOP_TICK;
use decant_shared::protocol::stream_id::StreamId;

use crate::digest::SEGMENT_BYTES;
use crate::error::{Error, Kind, Result};
use crate::pipeline::join::{first_cause, join};
use crate::pipeline::lanes::{Collect, Deal, LANE_DEPTH, fan_out};
use crate::send::block::EncodedBlock;
use crate::send::connection::{Connection, EARLY_ANSWER};
use crate::send::negotiate::Negotiated;
use crate::send::request::Request;
use crate::send::source::Source;
use crate::send::throttle::{BlockSize, Throttle};
use crate::send::upload::{SendContext, begin};
use crate::volume::Volume;

/// The number of connections of this clone: as many as requested, if the target supports it and there is a segment for
/// each.
pub(super) fn count(source: &Source, volume: &Volume, peer: &Negotiated) -> usize {
    if source.streams > 1 && !peer.capabilities.has_streams {
        log::info!("the target takes a clone over one connection only");
        return 1;
    }
    let total_bytes = volume.stream_bytes(peer.capabilities.keeps_attributes).unwrap_or(u64::MAX);
    let worth = usize::try_from(total_bytes / SEGMENT_BYTES).unwrap_or(usize::MAX);
    source.streams.min(worth).max(1)
}

/// Sends what `frames` yields over `count` connections, of which `first` is already open. Returns the text of the
/// target's answer. The calling thread sends if there is only one connection.
pub(super) fn post<'s>(
    first: &mut Connection<'s>,
    request: Request<'s>,
    count: usize,
    frames: &mut Collect<EncodedBlock>,
    throttle: Throttle<'_>,
    context: SendContext<'_>,
) -> Result<String> {
    if count == 1 {
        return begin(first, request)?.run(frames, Some(throttle), context);
    }
    log::info!("sending over {count} connections");
    let clone = RandomState::new().hash_one(Instant::now());
    let stream = |index| Request { stream: Some(StreamId { attempt: clone, index, count }), ..request };
    // The target can assign the other connections to this clone only after it has accepted this one.
    let lead = begin(first, stream(0))?;
    let is_broken = AtomicBool::new(false);
    let context = SendContext { is_broken: &is_broken, ..context };
    scope(|scope| {
        let (deal, lanes) = fan_out(count, LANE_DEPTH, "sender");
        let mut leading = None;
        let mut others = Vec::new();
        let mut lead = Some(lead);
        // Each thread keeps its lane until it has set `is_broken`, because a closed lane makes all other threads end.
        for (index, mut lane) in lanes.into_iter().enumerate() {
            let thread = Builder::new().name(format!("sender-{index}"));
            match lead.take() {
                Some(lead) => {
                    leading = Some(thread.spawn_scoped(scope, move || {
                        let result = lead.run(&mut lane, None, context);
                        note_failure(result, context.is_broken)
                    }));
                }
                None => {
                    let request = stream(index);
                    others.push(thread.spawn_scoped(scope, move || {
                        let result = follow_lead(request, &mut lane, context);
                        note_failure(result, context.is_broken)
                    }));
                }
            }
        }
        let dealt = deal_out(frames, deal, throttle, context);
        let Some(Ok(leading)) = leading else {
            context.connections.cancel();
            let failures = join(others).into_iter().chain(dealt.err());
            return Err(Error::first_cause(Error::new(Kind::Failed, "cannot start a thread"), failures));
        };
        if dealt.is_err() {
            give_up(&leading, context);
        }
        let panicked = |_| Err(Error::new(Kind::Failed, "a sender panicked"));
        let answer = leading.join().unwrap_or_else(panicked);
        first_cause(answer, join(others).into_iter().chain(dealt.err()).collect())
    })
}

/// Deals all blocks in turn, then the end to each connection.
fn deal_out(
    frames: &mut Collect<EncodedBlock>,
    mut deal: Deal<EncodedBlock>,
    mut throttle: Throttle<'_>,
    context: SendContext<'_>,
) -> Result<()> {
    while let Some(block) = frames.receive()? {
        let size = BlockSize::of(&block);
        throttle.wait(&block, context.stop);
        deal.send(block)?;
        throttle.sent(size);
    }
    deal.end()
}

/// Sends over a follower connection.
fn follow_lead(
    request: Request<'_>,
    frames: &mut Collect<EncodedBlock>,
    context: SendContext<'_>,
) -> Result<()> {
    let mut connection = Connection::open(context.source, context.connections)?;
    begin(&mut connection, request)?.run(frames, None, context)?;
    connection.close();
    Ok(())
}

/// Notes that this connection broke, before its lane closes, so that the other connections can see it.
fn note_failure<T>(result: Result<T>, is_broken: &AtomicBool) -> Result<T> {
    if result.as_ref().is_err_and(|error| error.kind() != Kind::Neighbour) {
        is_broken.store(true, Ordering::Release);
    }
    result
}

/// Ends all connections. If one of them broke, the target gets a moment to answer the reason on the first one.
fn give_up<T>(leading: &ScopedJoinHandle<'_, T>, context: SendContext<'_>) {
    let deadline = Instant::now() + EARLY_ANSWER;
    while context.is_broken.load(Ordering::Acquire) && !leading.is_finished() && Instant::now() < deadline {
        context.connections.sleep(STOP_TICK / 10);
    }
    context.connections.cancel();
}
