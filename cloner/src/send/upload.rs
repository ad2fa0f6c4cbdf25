//! The upload: the third stage. One HTTP/1.1 POST, chunked, on TLS (contract 1.8).
//!
//! Our own because the answer matters more than the request: a target may answer at any time (401, 503, 409
//! with the body unsent, 400 when its disk is full), and that answer is what the user has to see, not the
//! broken pipe that follows it. docs/decisions/0002 compares this with an HTTP library.

use std::sync::atomic::{AtomicBool, Ordering};

use decant_shared::net::conn::Conn;
use decant_shared::net::http::chunked::LAST_CHUNK;
use decant_shared::process::stop::Stop;
use decant_shared::protocol::progress::{Phase, Progress};
use decant_shared::protocol::stream_id::StreamId;

use crate::error::{Error, Result};
use crate::pipeline::lanes::Collect;
use crate::send::answer::judge_early;
use crate::send::chunk_buffer::ChunkBuffer;
use crate::send::compression::CompressionMode;
use crate::send::encode::FramesMessage;
use crate::send::outgoing::{BufferPools, EncodedBlock};
use crate::send::request::Request;
use crate::send::sender::{SendOutcome, Sender};
use crate::send::throttle::Throttle;
use crate::snappy::STREAM_IDENTIFIER;
use crate::snappy::mark::Mark;

/// A request whose head was sent, and the target has not refused it.
pub struct Upload<'a> {
    sender: Sender<'a>,
    /// A target that answered already has taken what it wants.
    sent: SendOutcome,
    /// The number of the next turn, and how far it is from one to the next, where a clone has several connections.
    turns: Option<(u64, u64)>,
}

/// What an upload works with besides its connection.
#[derive(Clone, Copy)]
pub struct SendContext<'a> {
    /// Told when the socket is full.
    pub compression_mode: &'a CompressionMode,
    /// Takes buffers back.
    pub buffers: &'a BufferPools,
    /// Counts what was sent.
    pub progress: &'a Progress,
    /// Another connection of this clone broke.
    pub is_broken: &'a AtomicBool,
    /// Ends it early.
    pub stop: &'a Stop,
}

/// Sends the head of `request`. One that leads others waits until the target goes along.
///
/// Errors: as those of [`Upload::run`].
pub fn begin<'a>(conn: &'a mut Conn, request: Request<'a>) -> Result<Upload<'a>> {
    let stream = request.stream;
    let mut sender = Sender::new(conn, request);
    let head = sender.request().head();
    let mut sent = sender.send(head.as_bytes())?;
    if stream.is_some_and(StreamId::is_leader) {
        sent = sent.and(|| sender.go_ahead())?;
    }
    let mut first = ChunkBuffer::default();
    first.open().extend_from_slice(STREAM_IDENTIFIER);
    first.seal();
    sent = sent.and(|| sender.send(first.as_bytes()))?;
    if let SendOutcome::Answered(status, text) = &sent {
        judge_early(sender.request(), *status, text)?;
    }
    let turns = stream.map(|stream| (stream.index as u64, stream.count as u64));
    Ok(Upload { sender, sent, turns })
}

impl Upload<'_> {
    /// Sends everything that `frames` yields and returns when the target has answered 2xx: with its words. `throttle` is
    /// told what was sent, and how fast.
    ///
    /// Errors: [`Kind::Refused`](crate::error::Kind::Refused) with the target's words, `Kind::Stalled`, `Kind::HungUp`,
    /// `Kind::Identity` when the target rejects our certificate after the handshake.
    pub fn run(
        mut self,
        frames: &mut Collect<FramesMessage>,
        mut throttle: Option<Throttle<'_>>,
        context: SendContext<'_>,
    ) -> Result<String> {
        while self.sent == SendOutcome::All {
            match frames.receive() {
                Ok(FramesMessage::Some { wire, logical_bytes, mode, packed_bytes }) => {
                    let wire_bytes = wire.as_bytes().len();
                    if let Some(throttle) = &mut throttle {
                        throttle.wait(wire_bytes, context.stop);
                    }
                    self.sent = self.send(&wire, context.compression_mode)?;
                    if self.sent == SendOutcome::All {
                        context.progress.add_wire_bytes(wire_bytes as u64);
                        context.progress.add_sent_bytes(logical_bytes);
                        context.progress.add_packed_bytes(packed_bytes);
                    }
                    if let Some(throttle) = &mut throttle {
                        throttle.sent(mode, logical_bytes, wire_bytes as u64);
                    }
                    context.buffers.sent(wire);
                }
                Ok(FramesMessage::End) => {
                    self.sent = self.sender.send(LAST_CHUNK)?;
                    break;
                }
                Err(error) => self.sent = self.left_alone(error, context.is_broken)?,
            }
        }
        match self.sent {
            SendOutcome::All => {
                context.progress.enter(Phase::Sync);
                self.sender.answer(self.sender.request().timeouts.answer)
            }
            SendOutcome::Answered(status, text) => {
                judge_early(self.sender.request(), status, &text).map(|()| String::new())
            }
        }
    }

    /// Sends frames, and behind them whose turn it was.
    fn send(&mut self, wire: &EncodedBlock, compression_mode: &CompressionMode) -> Result<SendOutcome> {
        let waits = self.sender.waits();
        let mut sent = self.sender.send(wire.as_bytes())?;
        if let Some((turn, step)) = &mut self.turns {
            let mut end = ChunkBuffer::default();
            Mark::Turn(*turn).put(end.open());
            end.seal();
            *turn += *step;
            sent = sent.and(|| self.sender.send(end.as_bytes()))?;
        }
        if self.sender.waits() > waits {
            compression_mode.was_full();
        }
        Ok(sent)
    }

    /// No more frames come, and no end. If that is so because another connection of this clone broke, the target may
    /// know why.
    fn left_alone(&mut self, error: Error, is_broken: &AtomicBool) -> Result<SendOutcome> {
        let leads = self.sender.request().stream.is_some_and(StreamId::is_leader);
        let told = if leads && is_broken.load(Ordering::Acquire) { self.sender.last_words() } else { None };
        told.ok_or(error)
    }
}
