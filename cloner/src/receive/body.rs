//! One connection's part of a transfer: its body, split into packs.

use std::time::{Duration, Instant};

use decant_shared::net::conn::ConnError;
use decant_shared::net::http::body::{Body, BodyError};
use decant_shared::process::stop::{STOP_TICK, Stop, StopReason};
use decant_shared::protocol::progress::Progress;

use crate::error::{Error, Kind, Result};
use crate::pipeline::lanes::{Message, Pool};
use crate::receive::REPLACED;
use crate::receive::streams::StreamSlot;
use crate::receive::transfer_state::UploadState;
use crate::snappy::split::{Pack, Splitter};

/// What is needed to receive a body.
#[derive(Clone, Copy)]
pub struct ReceiveContext<'a> {
    /// A sender that sends nothing for this long has failed.
    pub idle: Duration,
    /// Is notified when the sender sends something.
    pub state: &'a UploadState,
    /// Counts what arrives.
    pub progress: &'a Progress,
    /// Ends the transfer early.
    pub stop: &'a Stop,
}

/// Reads the body up to its proven end. Its packs go to `put`, except the last one, which is returned and may be empty.
/// Ends early when `is_over` returns `true`.
pub fn receive_body(
    body: &mut Body<'_>,
    context: ReceiveContext<'_>,
    packs: &Pool<Pack>,
    is_over: &dyn Fn() -> bool,
    put: &mut dyn FnMut(Pack) -> Result<()>,
) -> Result<Pack> {
    let mut splitter = Splitter::default();
    let mut pack = packs.take();
    loop {
        wait(body, context.idle, is_over)?;
        let Some(mut bytes) = body.next(context.idle).map_err(describe)? else { break };
        Error::check(context.stop)?;
        context.state.heard();
        context.progress.add_wire_bytes(bytes.len() as u64);
        while !bytes.is_empty() {
            let taken = splitter.feed(bytes, &mut pack)?;
            bytes = &bytes[taken..];
            if !bytes.is_empty() || splitter.ends_turn(&pack) {
                put(std::mem::replace(&mut pack, packs.take()))?;
            }
        }
    }
    splitter.finish()?;
    Ok(pack)
}

/// Like [`receive_body`], for one of several connections: the packs and the result go to `slot`. Returns whether the
/// body was complete.
pub fn receive_stream(body: &mut Body<'_>, context: ReceiveContext<'_>, slot: &StreamSlot) -> bool {
    let mut put = |pack| slot.packs_out.send(Message::Item(pack)).map_err(|_| Error::neighbour("merger"));
    let last = receive_body(body, context, &slot.packs, &|| slot.is_over(), &mut put);
    let received = last.and_then(|last| if last.is_empty() { Ok(()) } else { put(last) });
    match received {
        Ok(()) => slot.packs_out.send(Message::End).is_ok(),
        Err(error) => {
            // The channel has space for one failure of each connection. If the clone is over already, another failure
            // was the cause.
            let _ = slot.failures.try_send(error);
            false
        }
    }
}

/// Waits until more of the body has arrived.
fn wait(body: &mut Body<'_>, idle: Duration, is_over: &dyn Fn() -> bool) -> Result<()> {
    let began = Instant::now();
    while !body.ready(STOP_TICK.min(idle)).map_err(describe)? {
        if is_over() {
            return Err(Error::neighbour("merger"));
        }
        if began.elapsed() >= idle {
            return Err(describe(BodyError::Conn(ConnError::TimedOut("upload", idle))));
        }
    }
    Ok(())
}

fn describe(fault: BodyError) -> Error {
    match fault {
        BodyError::Cut => {
            Error::new(Kind::HungUp, "the body ends before its terminating chunk: the source gave up")
        }
        BodyError::Chunk(bad) => Error::damaged(format!("the chunked body is broken: {bad}")),
        BodyError::Conn(ConnError::Stopped(StopReason::Cancelled)) => Error::new(Kind::Stalled, REPLACED),
        BodyError::Conn(ConnError::Stopped(reason)) => Error::stopped(reason),
        BodyError::Conn(ConnError::TimedOut(_, limit)) => {
            Error::new(Kind::Stalled, format!("the source sent nothing for {} s", limit.as_secs()))
        }
        BodyError::Conn(fault) => {
            Error::new(Kind::HungUp, format!("the connection broke before the body was complete: {fault}"))
        }
    }
}
