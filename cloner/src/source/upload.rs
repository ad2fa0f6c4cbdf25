//! The sender: the third stage. One HTTP/1.1 POST, chunked, on TLS (contract 1.8).
//!
//! Our own because the answer matters more than the request: a target may answer at any time (401, 503, 409
//! with the body unsent, 400 when its disk is full), and that answer is what the user has to see, not the
//! broken pipe that follows it. docs/decisions/0002 compares this with an HTTP library.

use std::time::{Duration, Instant};

use decant_shared::conn::{Conn, Fault, Written};
use decant_shared::http::body::Body;
use decant_shared::http::chunked::LAST_CHUNK;
use decant_shared::http::head::{Framing, Response, parse_response};
use decant_shared::progress::{Phase, Progress};
use decant_shared::stop::Stop;

use super::answer::{explain, judge_early, refused};
use super::choose::Judge;
use super::compress::Frames;
use super::outgoing::Buffers;
use super::pace::Pace;
use super::request::Request;
use super::wire::Wire;
use crate::error::Result;
use crate::frame::STREAM_IDENTIFIER;
use crate::lanes::Collect;

/// How much of an answer's text is kept: enough for a reason, short enough for a termination message.
const ANSWER_LIMIT_BYTES: usize = 2048;
/// How long an answer that has begun may take to arrive, and how long to look for one on a broken connection.
const EARLY_ANSWER: Duration = Duration::from_secs(5);

/// Sends everything that `frames` yields and returns when the target has answered 2xx: with its words. The judge, if there
/// is one, is told how long each took.
///
/// Errors: [`Kind::Refused`](crate::error::Kind::Refused) with the target's words, `Kind::Stalled`, `Kind::HungUp`,
/// `Kind::Identity` when the target rejects our certificate after the handshake.
pub fn post(
    conn: &mut Conn,
    request: &Request<'_>,
    (mut frames, mut judge): (Collect<Frames>, Option<Judge<'_>>),
    buffers: &Buffers,
    progress: &Progress,
    stop: &Stop,
) -> Result<String> {
    let mut pace = Pace::new(request.limit);
    let mut sender = Sender { conn, request, heard: Vec::new() };
    let mut first = Wire::default();
    first.open().extend_from_slice(STREAM_IDENTIFIER);
    first.seal();
    progress.enter(Phase::Copy);
    let mut sent = sender.send(request.head().as_bytes())?;
    sent = sent.and(|| sender.send(first.as_bytes()))?;
    let mut before = Instant::now();
    while sent == Sent::All {
        match frames.receive()? {
            Frames::Some { wire, logical_bytes, way, packed_bytes } => {
                pace.wait(wire.as_bytes().len(), stop);
                let waits = sender.conn.write_waits();
                sent = sender.send(wire.as_bytes())?;
                let was_full = sender.conn.write_waits() > waits;
                if sent == Sent::All {
                    progress.add_wire_bytes(wire.as_bytes().len() as u64);
                    progress.add_sent_bytes(logical_bytes);
                    progress.add_packed_bytes(packed_bytes);
                }
                let took = before.elapsed();
                before += took;
                if let (Some(judge), Some(way)) = (&mut judge, way) {
                    if was_full {
                        judge.was_full();
                    }
                    judge.sent(way, logical_bytes, wire.as_bytes().len() as u64, took);
                }
                buffers.sent(wire);
            }
            Frames::End => {
                sent = sender.send(LAST_CHUNK)?;
                break;
            }
        }
    }
    match sent {
        Sent::All => {
            progress.enter(Phase::Sync);
            sender.answer(request.timeouts.answer)
        }
        Sent::Answered(status, text) => judge_early(request.content, status, &text).map(|()| String::new()),
    }
}

/// Whether the request went on, or the target spoke first: its status and its words.
#[derive(Debug, PartialEq, Eq)]
enum Sent {
    All,
    Answered(u16, String),
}

impl Sent {
    fn and(self, next: impl FnOnce() -> Result<Sent>) -> Result<Sent> {
        if self == Sent::All { next() } else { Ok(self) }
    }
}

/// What is going on, for messages.
const WAIT: &str = "wait for the answer";

/// A wait as a whole: interim answers, or single bytes, do not make it longer.
#[derive(Debug, Clone, Copy)]
struct Wait {
    limit: Duration,
    deadline: Instant,
}

impl Wait {
    fn of(limit: Duration) -> Self {
        Self { limit, deadline: Instant::now() + limit }
    }

    fn left(self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// What was waited for in all, in place of what the last read was given.
    fn explain(self, fault: Fault) -> Fault {
        match fault {
            Fault::TimedOut(doing, _) => Fault::TimedOut(doing, self.limit),
            other => other,
        }
    }
}

struct Sender<'a> {
    conn: &'a mut Conn,
    request: &'a Request<'a>,
    /// What the target said and nobody has looked at yet.
    heard: Vec<u8>,
}

impl Sender<'_> {
    fn send(&mut self, mut bytes: &[u8]) -> Result<Sent> {
        loop {
            match self.conn.write_watching(&mut bytes, self.request.timeouts.stall, "upload") {
                Ok(Written::All) => return Ok(Sent::All),
                Ok(Written::Interrupted) => {}
                Err(fault) => return self.broken(fault),
            }
            match self.early_answer() {
                Ok(Some((status, text))) => return Ok(Sent::Answered(status, text)),
                Ok(None) => {} // an interim answer: the target still reads
                Err(fault) => return Err(explain(fault, self.request.url)),
            }
        }
    }

    /// A write that failed. A target that answered and closed: what it said may still be in our socket.
    fn broken(&mut self, fault: Fault) -> Result<Sent> {
        match fault {
            Fault::HungUp(_) => match self.read_answer(EARLY_ANSWER) {
                Ok((status, text)) => Ok(Sent::Answered(status, text)),
                Err(Fault::Tls(error)) => Err(explain(Fault::Tls(error), self.request.url)),
                Err(_) => Err(explain(fault, self.request.url)),
            },
            fault => Err(explain(fault, self.request.url)),
        }
    }

    /// What the target says before it has everything; `None` when it was an interim answer and nothing else.
    fn early_answer(&mut self) -> Result<Option<(u16, String)>, Fault> {
        let wait = Wait::of(EARLY_ANSWER);
        loop {
            let answer = self.next_answer(wait)?;
            if answer.is_some() || self.heard.is_empty() {
                return Ok(answer);
            }
        }
    }

    /// The answer to a request that was sent completely.
    fn answer(&mut self, limit: Duration) -> Result<String> {
        match self.read_answer(limit) {
            Ok((200..=299, text)) => Ok(text),
            Ok((status, text)) => Err(refused(status, &text)),
            Err(fault) => Err(explain(fault, self.request.url)),
        }
    }

    /// Reads a final answer: its status and the beginning of its text.
    fn read_answer(&mut self, limit: Duration) -> Result<(u16, String), Fault> {
        let wait = Wait::of(limit);
        loop {
            if let Some(answer) = self.next_answer(wait)? {
                return Ok(answer);
            }
        }
    }

    /// Reads an answer; `None` when it is an interim one.
    fn next_answer(&mut self, wait: Wait) -> Result<Option<(u16, String)>, Fault> {
        let mut buffer = [0; 4096];
        loop {
            match parse_response(&self.heard) {
                Ok(Some((Response { status: 100..=199, .. }, head_len))) => {
                    self.heard.drain(..head_len);
                    return Ok(None);
                }
                Ok(Some((response, head_len))) => {
                    let early = self.heard.split_off(head_len);
                    return Ok(Some((response.status, self.read_text(response.framing, &early))));
                }
                Ok(None) => {}
                Err(bad) => return Err(Fault::HungUp(format!("its answer makes no sense: {bad}"))),
            }
            match self.conn.read(&mut buffer, wait.left(), WAIT).map_err(|fault| wait.explain(fault))? {
                0 => return Err(Fault::HungUp("closed without an answer".to_owned())),
                len => self.heard.extend_from_slice(&buffer[..len]),
            }
        }
    }

    /// The beginning of an answer's text. A text that is cut is still worth showing.
    fn read_text(&mut self, framing: Framing, early: &[u8]) -> String {
        let framing = match framing {
            Framing::UntilClose => Framing::Length(u64::MAX),
            known => known,
        };
        let mut body = Body::new(self.conn, framing, early);
        let mut text = Vec::new();
        let wait = Wait::of(EARLY_ANSWER);
        while text.len() < ANSWER_LIMIT_BYTES {
            match body.next(wait.left()) {
                Ok(Some(part)) => text.extend_from_slice(part),
                Ok(None) | Err(_) => break,
            }
        }
        text.truncate(ANSWER_LIMIT_BYTES);
        String::from_utf8_lossy(&text).trim().replace(['\r', '\n'], " ")
    }
}
