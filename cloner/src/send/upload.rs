//! The upload: the third stage. One HTTP/1.1 POST, chunked, on TLS (docs/protocol.md section 1.8).
//!
//! This is hand-written because the answer matters more than the request: a target may answer at any time (401, 503, or
//! 409 while the body is unsent, 400 when its disk is full). The user must see that answer, and not the broken pipe
//! that follows it. docs/decisions/0002 compares this with an HTTP library.

use std::sync::atomic::{AtomicBool, Ordering};

use decant_shared::net::http::chunked::LAST_CHUNK;
use decant_shared::process::stop::Stop;
use decant_shared::protocol::progress::{Phase, Progress};

use crate::error::{Error, Result};
use crate::pipeline::lanes::Collect;
use crate::send::answer::{Answer, judge_early, judge_final};
use crate::send::block::{BufferPools, ChunkBuffer, EncodedBlock, WireChunk};
use crate::send::compression::CompressionMode;
use crate::send::connection::{Connection, EARLY_ANSWER};
use crate::send::request::Request;
use crate::send::source::Source;
use crate::send::throttle::{BlockSize, Throttle};
use crate::snappy::STREAM_IDENTIFIER;
use crate::snappy::mark::Mark;

/// An upload whose head was sent and that the target has not refused.
pub(super) struct Upload<'c, 's> {
    connection: &'c mut Connection<'s>,
    request: Request<'s>,
    /// The answer of a target that answered before it received everything.
    early: Option<Answer>,
    /// The turns that end on this connection, if the clone has several.
    turns: Option<Turns>,
}

/// Counts the turns of one of several connections.
struct Turns {
    next: u64,
    step: u64,
}

/// What all connections of an attempt share.
#[derive(Clone, Copy)]
pub(super) struct SendContext<'a> {
    /// What is sent, and where.
    pub(super) source: &'a Source,
    /// Is notified when the socket is full.
    pub(super) compression_mode: &'a CompressionMode,
    /// Takes buffers back.
    pub(super) buffers: &'a BufferPools,
    /// Counts what was sent.
    pub(super) progress: &'a Progress,
    /// Whether another connection of this clone broke.
    pub(super) is_broken: &'a AtomicBool,
    /// Ends the clone early.
    pub(super) stop: &'a Stop,
    /// Ends all connections of this attempt.
    pub(super) connections: &'a Stop,
}

/// Sends the head of `request`. A connection that leads others waits until the target accepts it.
///
/// Errors: as for [`Upload::run`].
pub(super) fn begin<'c, 's>(
    connection: &'c mut Connection<'s>,
    request: Request<'s>,
) -> Result<Upload<'c, 's>> {
    let mut first = ChunkBuffer::default();
    first.open().extend_from_slice(STREAM_IDENTIFIER);
    first.seal();
    let mut early = connection.send(request.head().as_bytes())?;
    if early.is_none() && request.leads() {
        early = connection.go_ahead()?;
    }
    if early.is_none() {
        early = connection.send(first.as_bytes())?;
    }
    if let Some(answer) = &early {
        judge_early(&request, answer)?;
    }
    let turns = request.stream.map(|stream| Turns { next: stream.index as u64, step: stream.count as u64 });
    Ok(Upload { connection, request, early, turns })
}

impl Upload<'_, '_> {
    /// Sends everything that `frames` yields. Returns the text of the answer when the target has answered 2xx.
    ///
    /// Errors: [`Kind::Refused`](crate::error::Kind::Refused) with the target's reason, `Kind::Stalled`,
    /// `Kind::HungUp`, and `Kind::Identity` if the target rejects the source's certificate after the handshake.
    pub(super) fn run(
        mut self,
        frames: &mut Collect<EncodedBlock>,
        mut throttle: Option<Throttle<'_>>,
        context: SendContext<'_>,
    ) -> Result<String> {
        while self.early.is_none() {
            match frames.receive() {
                Ok(Some(block)) => {
                    if let Some(throttle) = &mut throttle {
                        throttle.wait(&block, context.stop);
                    }
                    self.early = self.send(&block.wire, context.compression_mode)?;
                    if self.early.is_none() {
                        context.progress.add_wire_bytes(block.wire.as_bytes().len() as u64);
                        context.progress.add_sent_bytes(block.logical_bytes);
                        context.progress.add_packed_bytes(block.packed_bytes);
                    }
                    if let Some(throttle) = &mut throttle {
                        throttle.sent(BlockSize::of(&block));
                    }
                    context.buffers.sent(block.wire);
                }
                Ok(None) => {
                    self.early = self.connection.send(LAST_CHUNK)?;
                    break;
                }
                Err(error) => self.early = Some(self.reason_for(error, context.is_broken)?),
            }
        }
        match self.early {
            None => {
                context.progress.enter(Phase::Sync);
                judge_final(&self.connection.final_answer()?)
            }
            Some(answer) => judge_early(&self.request, &answer).map(|()| String::new()),
        }
    }

    /// Sends frames. If there are several connections, also sends the mark that ends the turn.
    fn send(&mut self, wire: &WireChunk, compression_mode: &CompressionMode) -> Result<Option<Answer>> {
        let waits = self.connection.waits();
        let mut early = self.connection.send(wire.as_bytes())?;
        if let Some(turns) = &mut self.turns {
            let mut end = ChunkBuffer::default();
            Mark::Turn(turns.next).put(end.open());
            end.seal();
            turns.next += turns.step;
            if early.is_none() {
                early = self.connection.send(end.as_bytes())?;
            }
        }
        if self.connection.waits() > waits {
            compression_mode.was_full();
        }
        Ok(early)
    }

    /// Finds the reason why the frames ended without an end. If another connection of this clone broke, the target may
    /// give the reason on this one. Otherwise the failure is `error`.
    fn reason_for(&mut self, error: Error, is_broken: &AtomicBool) -> Result<Answer> {
        if !self.request.leads() || !is_broken.load(Ordering::Acquire) {
            return Err(error);
        }
        self.connection.answer(EARLY_ANSWER).map_err(|_| error)
    }
}
