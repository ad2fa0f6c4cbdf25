//! One clone over several connections: frames are dealt to them in turn, so that the target can put them back into order
//! without keeping what would come too early (docs/protocol.md, 6.5).

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, ScopedJoinHandle, scope};
use std::time::Instant;

use decant_shared::net::conn::Conn;
use decant_shared::process::stop::{STOP_TICK, Stop};
use decant_shared::protocol::stream_id::StreamId;

use crate::digest::SEGMENT_BYTES;
use crate::error::{Error, Kind, Result};
use crate::pipeline::join::{first_cause, join};
use crate::pipeline::lanes::{Collect, Deal, LANE_DEPTH, fan_out};
use crate::send::connect::connect;
use crate::send::encode::FramesMessage;
use crate::send::negotiate::Negotiated;
use crate::send::request::Request;
use crate::send::sender::EARLY_ANSWER;
use crate::send::source::Source;
use crate::send::throttle::Throttle;
use crate::send::upload::{SendContext, begin};
use crate::volume::Volume;

/// How many connections this clone gets: as many as are wanted, if the target knows how and each has a segment to carry.
pub fn count(source: &Source, volume: &Volume, peer: &Negotiated) -> usize {
    if source.streams > 1 && !peer.capabilities.has_streams {
        log::info!("the target takes a clone over one connection only");
        return 1;
    }
    let total_bytes = volume.stream_bytes(peer.capabilities.keeps_attributes).unwrap_or(u64::MAX);
    let worth = usize::try_from(total_bytes / SEGMENT_BYTES).unwrap_or(usize::MAX);
    source.streams.min(worth).max(1)
}

/// Sends what `frames` yields over `count` connections, of which `first` is there already, and returns what the target says
/// in the end. All connections must end when `together` is cancelled. Over a single one the calling thread sends.
pub fn post(
    source: &Source,
    (first, request, count): (&mut Conn, Request<'_>, usize),
    (frames, throttle): (&mut Collect<FramesMessage>, Throttle<'_>),
    context: SendContext<'_>,
    together: &Stop,
) -> Result<String> {
    if count == 1 {
        return begin(first, request)?.run(frames, Some(throttle), context);
    }
    log::info!("sending over {count} connections");
    let clone = RandomState::new().hash_one(Instant::now());
    let stream = |index| Request { stream: Some(StreamId { attempt: clone, index, count }), ..request };
    // Only when the target has taken this one it knows what the others are about.
    let lead = begin(first, stream(0))?;
    let is_broken = AtomicBool::new(false);
    let context = SendContext { is_broken: &is_broken, ..context };
    scope(|scope| {
        let (deal, lanes) = fan_out(count, LANE_DEPTH, "sender");
        let (mut leading, mut others) = (None, Vec::new());
        let mut lead = Some(lead);
        // Each thread keeps its lane until it has said what happened: a lane that closes makes all others end.
        for (index, mut lane) in lanes.into_iter().enumerate() {
            let thread = Builder::new().name(format!("sender-{index}"));
            match lead.take() {
                Some(lead) => {
                    leading = Some(thread.spawn_scoped(scope, move || {
                        let said = lead.run(&mut lane, None, context);
                        noted(said, context.is_broken)
                    }));
                }
                None => {
                    let request = stream(index);
                    others.push(thread.spawn_scoped(scope, move || {
                        let said = carry(source, request, &mut lane, context, together);
                        noted(said, context.is_broken)
                    }));
                }
            }
        }
        let dealt = deal_out(frames, deal, throttle, context.stop);
        let Some(Ok(leading)) = leading else {
            together.cancel();
            let failures = join(others).into_iter().chain(dealt.err());
            return Err(Error::first_cause(Error::new(Kind::Failed, "cannot start a thread"), failures));
        };
        if dealt.is_err() {
            give_up(&leading, &is_broken, together);
        }
        let panicked = |_| Err(Error::new(Kind::Failed, "a sender panicked"));
        let said = leading.join().unwrap_or_else(panicked);
        first_cause(said, join(others).into_iter().chain(dealt.err()).collect())
    })
}

/// Everything in turn, and the end to each connection.
fn deal_out(
    frames: &mut Collect<FramesMessage>,
    mut deal: Deal<FramesMessage>,
    mut throttle: Throttle<'_>,
    stop: &Stop,
) -> Result<()> {
    loop {
        match frames.receive()? {
            FramesMessage::Some { wire, logical_bytes, mode, packed_bytes } => {
                let wire_bytes = wire.as_bytes().len();
                throttle.wait(wire_bytes, stop);
                deal.send(FramesMessage::Some { wire, logical_bytes, mode, packed_bytes })?;
                throttle.sent(mode, logical_bytes, wire_bytes as u64);
            }
            FramesMessage::End => return deal.send_each(|| FramesMessage::End),
        }
    }
}

/// A connection that follows the first one.
fn carry(
    source: &Source,
    request: Request<'_>,
    frames: &mut Collect<FramesMessage>,
    context: SendContext<'_>,
    together: &Stop,
) -> Result<()> {
    let mut conn = connect(source, together)?;
    begin(&mut conn, request)?.run(frames, None, context)?;
    conn.close(source.timeouts.connect);
    Ok(())
}

/// Tells the others of what broke here, before they see its lane closed.
fn noted<T>(said: Result<T>, is_broken: &AtomicBool) -> Result<T> {
    if said.as_ref().is_err_and(|error| error.kind() != Kind::Neighbour) {
        is_broken.store(true, Ordering::Release);
    }
    said
}

/// Ends all connections. If one of them broke, the target has a moment to say on the first one why.
fn give_up<T>(leading: &ScopedJoinHandle<'_, T>, is_broken: &AtomicBool, together: &Stop) {
    let deadline = Instant::now() + EARLY_ANSWER;
    while is_broken.load(Ordering::Acquire) && !leading.is_finished() && Instant::now() < deadline {
        together.sleep(STOP_TICK / 10);
    }
    together.cancel();
}
