//! The sender's end of a connection: sends, and hears what the target says in between.

use std::time::Duration;

use decant_shared::net::conn::{Conn, ConnError, StallTimeout, WriteOutcome};
use decant_shared::net::http::body::Body;
use decant_shared::net::http::head::{Framing, Response, parse_response};
use decant_shared::process::printable::escaped;

use crate::error::Result;
use crate::send::answer::{explain, refused};
use crate::send::request::Request;
use crate::send::wait::Wait;

/// How much of an answer's text is kept: enough for a reason, short enough for a termination message.
const ANSWER_LIMIT_BYTES: usize = 2048;
/// Interim answers (1xx) to one request. One to `Expect`, and a few of a proxy, are usual.
const INTERIM_LIMIT: usize = 16;
/// How long an answer that has begun may take to arrive, and how long to look for one on a broken connection.
pub(super) const EARLY_ANSWER: Duration = Duration::from_secs(5);

/// Whether the request went on, or the target spoke first: its status and its words.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum SendOutcome {
    All,
    Answered(u16, String),
}

impl SendOutcome {
    /// What comes next, if it went on so far.
    pub(super) fn and(self, next: impl FnOnce() -> Result<SendOutcome>) -> Result<SendOutcome> {
        if self == SendOutcome::All { next() } else { Ok(self) }
    }
}

/// What is going on, for messages.
const WAIT: &str = "wait for the answer";

/// The connection, on which the target may speak at any time.
pub(super) struct Sender<'a> {
    conn: &'a mut Conn,
    request: Request<'a>,
    /// What the target said and nobody has looked at yet.
    heard: Vec<u8>,
    /// Interim answers so far.
    interim: usize,
}

impl<'a> Sender<'a> {
    pub(super) fn new(conn: &'a mut Conn, request: Request<'a>) -> Self {
        Self { conn, request, heard: Vec::new(), interim: 0 }
    }

    /// What is sent.
    pub(super) fn request(&self) -> &Request<'a> {
        &self.request
    }

    /// How often the socket was full so far.
    pub(super) fn waits(&self) -> u64 {
        self.conn.write_waits()
    }

    /// Sends `bytes` to the last one, unless the target answers meanwhile.
    pub(super) fn send(&mut self, mut bytes: &[u8]) -> Result<SendOutcome> {
        let mut stall = StallTimeout::new(self.request.timeouts.stall);
        loop {
            match self.conn.write_watching(&mut bytes, &mut stall, "upload") {
                Ok(WriteOutcome::All) => return Ok(SendOutcome::All),
                Ok(WriteOutcome::Interrupted) => {}
                Err(fault) => return self.broken(fault),
            }
            match self.early_answer() {
                Ok(Some((status, text))) => return Ok(SendOutcome::Answered(status, text)),
                Ok(None) => {} // an interim answer: the target still reads
                Err(fault) => return Err(explain(fault, self.request.url)),
            }
        }
    }

    /// Waits until a target that was asked whether to go on says so.
    pub(super) fn go_ahead(&mut self) -> Result<SendOutcome> {
        let wait = Wait::of(self.request.timeouts.handshake);
        match self.next_answer(wait) {
            Ok(None) => Ok(SendOutcome::All),
            Ok(Some((status, text))) => Ok(SendOutcome::Answered(status, text)),
            Err(fault) => Err(explain(fault, self.request.url)),
        }
    }

    /// What the target has to say about a clone that broke on another connection, if it says it soon.
    pub(super) fn last_words(&mut self) -> Option<SendOutcome> {
        self.read_answer(EARLY_ANSWER).ok().map(|(status, text)| SendOutcome::Answered(status, text))
    }

    /// A write that failed. A target that answered and closed: what it said may still be in our socket.
    fn broken(&mut self, fault: ConnError) -> Result<SendOutcome> {
        match fault {
            ConnError::HungUp(_) => match self.read_answer(EARLY_ANSWER) {
                Ok((status, text)) => Ok(SendOutcome::Answered(status, text)),
                Err(ConnError::Tls(error)) => Err(explain(ConnError::Tls(error), self.request.url)),
                Err(_) => Err(explain(fault, self.request.url)),
            },
            fault => Err(explain(fault, self.request.url)),
        }
    }

    /// What the target says before it has everything; `None` when it was an interim answer and nothing else.
    fn early_answer(&mut self) -> Result<Option<(u16, String)>, ConnError> {
        let wait = Wait::of(EARLY_ANSWER);
        loop {
            let answer = self.next_answer(wait)?;
            if answer.is_some() || self.heard.is_empty() {
                return Ok(answer);
            }
        }
    }

    /// The answer to a request that was sent completely.
    pub(super) fn answer(&mut self, limit: Duration) -> Result<String> {
        match self.read_answer(limit) {
            Ok((200..=299, text)) => Ok(text),
            Ok((status, text)) => Err(refused(status, &text)),
            Err(fault) => Err(explain(fault, self.request.url)),
        }
    }

    /// Reads a final answer: its status and the beginning of its text.
    fn read_answer(&mut self, limit: Duration) -> Result<(u16, String), ConnError> {
        let wait = Wait::of(limit);
        loop {
            if let Some(answer) = self.next_answer(wait)? {
                return Ok(answer);
            }
        }
    }

    /// Reads an answer; `None` when it is an interim one.
    fn next_answer(&mut self, wait: Wait) -> Result<Option<(u16, String)>, ConnError> {
        let mut buffer = [0; 4096];
        loop {
            match parse_response(&self.heard) {
                Ok(Some((Response { status: 100..=199, .. }, head_len))) => {
                    self.heard.drain(..head_len);
                    self.interim += 1;
                    if self.interim > INTERIM_LIMIT {
                        let why = format!("it gave more than {INTERIM_LIMIT} interim answers");
                        return Err(ConnError::HungUp(why));
                    }
                    return Ok(None);
                }
                Ok(Some((response, head_len))) => {
                    let early = self.heard.split_off(head_len);
                    return Ok(Some((response.status, self.read_text(response.framing, &early))));
                }
                Ok(None) => {}
                Err(bad) => return Err(ConnError::HungUp(format!("its answer makes no sense: {bad}"))),
            }
            match self.conn.read(&mut buffer, wait.left(), WAIT).map_err(|fault| wait.explain(fault))? {
                0 => return Err(ConnError::HungUp("closed without an answer".to_owned())),
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
        escaped(&String::from_utf8_lossy(&text).trim().replace(['\r', '\n'], " "))
    }
}
