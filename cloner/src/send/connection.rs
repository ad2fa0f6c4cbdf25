//! A connection to the target: sends one request and reads the answer, which may come at any time.
//!
//! The upload and the questions during it have the same limits and report the same faults, so that both retry the same
//! faults.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use decant_shared::net::conn::{Conn, ConnError, StallTimeout, WriteOutcome};
use decant_shared::net::dial;
use decant_shared::net::http::body::{Body, BodyError};
use decant_shared::net::http::head::{Framing, Response, parse_response};
use decant_shared::process::stop::Stop;

use crate::error::{Error, Kind, Result};
use crate::send::answer::{Answer, explain};
use crate::send::request::Timeouts;
use crate::send::source::Source;
use crate::send::url::UploadUrl;

/// The maximum number of bytes of an upload answer's text that are read: enough for a reason.
const REASON_LIMIT_BYTES: usize = 2048;
/// The longest answer to a question.
const ANSWER_LIMIT_BYTES: usize = 64 << 10;
/// The maximum number of interim answers (1xx) to one request. One to `Expect`, and a few from a proxy, are usual.
const INTERIM_LIMIT: usize = 16;
/// How long an answer may take to arrive after its first byte, and how long to wait for an answer on a broken
/// connection.
pub(super) const EARLY_ANSWER: Duration = Duration::from_secs(5);

/// How much of an answer's text is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TextNeeded {
    /// The beginning. A text that is cut is still useful in a message.
    Beginning,
    /// All of the text, within the size limit of an answer.
    Whole,
}

/// A connection to the target.
pub(super) struct Connection<'a> {
    conn: Conn,
    url: &'a UploadUrl,
    timeouts: Timeouts,
    /// Bytes that arrived and were not parsed yet.
    received: Vec<u8>,
    /// The number of interim answers so far.
    interim: usize,
}

impl<'a> Connection<'a> {
    /// Connects and completes the handshake.
    ///
    /// Errors: faults that may be temporary (nothing listens yet, the name is not known yet, a proxy hangs up) are
    /// [`Kind::Unreachable`].
    pub(super) fn open(source: &'a Source, stop: &Stop) -> Result<Self> {
        let url = &source.url;
        let timeouts = source.timeouts;
        let socket = dial::connect(&url.host, url.port, timeouts.connect, stop).map_err(|cause| {
            match (cause.kind(), stop.reason()) {
                (ErrorKind::Interrupted, Some(reason)) => Error::stopped(reason),
                _ => {
                    let text = format!("cannot reach the target at {}", url.authority());
                    Error::io(Kind::Unreachable, text, cause)
                }
            }
        })?;
        let unreachable = |fault| {
            let error = explain(fault, url);
            match error.kind() {
                Kind::HungUp | Kind::Stalled => Error::new(Kind::Unreachable, error.to_string()),
                _ => error,
            }
        };
        // Each connection uses the current keys: the clone may be older than the keys with which it started.
        let mut conn = Conn::client(socket, source.tls.current(), url.server_name()?, stop.clone())
            .map_err(unreachable)?;
        conn.handshake(timeouts.handshake).map_err(unreachable)?;
        Ok(Self { conn, url, timeouts, received: Vec::new(), interim: 0 })
    }

    /// Closes the connection cleanly.
    pub(super) fn close(self) {
        self.conn.close(self.timeouts.connect);
    }

    /// How often the socket was full so far.
    pub(super) fn waits(&self) -> u64 {
        self.conn.write_waits()
    }

    /// Sends all of `bytes`. If the target answers before that, returns its answer.
    pub(super) fn send(&mut self, mut bytes: &[u8]) -> Result<Option<Answer>> {
        let mut stall = StallTimeout::new(self.timeouts.stall);
        loop {
            match self.conn.write_watching(&mut bytes, &mut stall, "upload") {
                Ok(WriteOutcome::All) => return Ok(None),
                Ok(WriteOutcome::Interrupted) => {}
                Err(fault) => return self.answer_before(fault).map(Some),
            }
            // Unless the answer is final, the target is still reading.
            if let Some(answer) = self.early_answer().map_err(|fault| explain(fault, self.url))? {
                return Ok(Some(answer));
            }
        }
    }

    /// Waits until a target that got `Expect: 100-continue` accepts the body. Returns `Some` if it answered instead.
    pub(super) fn go_ahead(&mut self) -> Result<Option<Answer>> {
        let wait = Wait::of(self.timeouts.handshake);
        self.next_answer(wait, TextNeeded::Beginning).map_err(|fault| explain(fault, self.url))
    }

    /// The answer to an upload that was sent completely, or whose connection broke.
    pub(super) fn answer(&mut self, limit: Duration) -> Result<Answer> {
        self.read_answer(Wait::of(limit), TextNeeded::Beginning).map_err(|fault| explain(fault, self.url))
    }

    /// The answer to an upload that was sent completely.
    pub(super) fn final_answer(&mut self) -> Result<Answer> {
        self.answer(self.timeouts.answer)
    }

    /// Sends a request without a body. The answer must be complete within `limit`.
    pub(super) fn ask(&mut self, request: &[u8], limit: Duration) -> Result<Answer> {
        let wait = Wait::of(limit);
        let answer = match self.send(request)? {
            Some(answer) => Ok(answer),
            None => self.read_answer(wait, TextNeeded::Whole),
        };
        answer.map_err(|fault| explain(fault, self.url))
    }

    /// The answer of a target that answered and closed the connection: it may still be in the local socket buffer. If
    /// there is none, the error of the write.
    fn answer_before(&mut self, fault: ConnError) -> Result<Answer> {
        let answer = match &fault {
            ConnError::HungUp(_) => self.read_answer(Wait::of(EARLY_ANSWER), TextNeeded::Beginning),
            _ => return Err(explain(fault, self.url)),
        };
        answer.map_err(|other| match other {
            ConnError::Tls(_) => explain(other, self.url),
            _ => explain(fault, self.url),
        })
    }

    /// An answer that arrived before the target has everything; `None` if there were only interim answers.
    fn early_answer(&mut self) -> Result<Option<Answer>, ConnError> {
        let wait = Wait::of(EARLY_ANSWER);
        loop {
            let answer = self.next_answer(wait, TextNeeded::Beginning)?;
            if answer.is_some() || self.received.is_empty() {
                return Ok(answer);
            }
        }
    }

    /// Reads a final answer.
    fn read_answer(&mut self, wait: Wait, needed: TextNeeded) -> Result<Answer, ConnError> {
        loop {
            if let Some(answer) = self.next_answer(wait, needed)? {
                return Ok(answer);
            }
        }
    }

    /// Reads an answer; `None` if it is an interim one.
    fn next_answer(&mut self, wait: Wait, needed: TextNeeded) -> Result<Option<Answer>, ConnError> {
        let doing = match needed {
            TextNeeded::Beginning => "wait for the answer",
            TextNeeded::Whole => "ask the target",
        };
        let mut buffer = [0; 4096];
        loop {
            match parse_response(&self.received) {
                Ok(Some((Response { status: 100..=199, .. }, head_len))) => {
                    self.received.drain(..head_len);
                    self.interim += 1;
                    if self.interim > INTERIM_LIMIT {
                        let why = format!("it gave more than {INTERIM_LIMIT} interim answers");
                        return Err(ConnError::HungUp(why));
                    }
                    return Ok(None);
                }
                Ok(Some((response, head_len))) => {
                    let early = self.received.split_off(head_len);
                    let text = match needed {
                        TextNeeded::Beginning => self.read_beginning(response.framing, &early),
                        TextNeeded::Whole => self.read_whole(response.framing, &early, wait)?,
                    };
                    return Ok(Some(Answer { status: response.status, text }));
                }
                Ok(None) => {}
                Err(bad) => return Err(ConnError::HungUp(format!("malformed answer: {bad}"))),
            }
            match self.conn.read(&mut buffer, wait.left(), doing).map_err(|fault| wait.explain(fault))? {
                0 => return Err(ConnError::HungUp("closed without an answer".to_owned())),
                len => self.received.extend_from_slice(&buffer[..len]),
            }
        }
    }

    fn read_beginning(&mut self, framing: Framing, early: &[u8]) -> Vec<u8> {
        let framing = match framing {
            Framing::UntilClose => Framing::Length(u64::MAX),
            known => known,
        };
        let mut body = Body::new(&mut self.conn, framing, early);
        let mut text = Vec::new();
        let wait = Wait::of(EARLY_ANSWER);
        while text.len() < REASON_LIMIT_BYTES {
            match body.next(wait.left()) {
                Ok(Some(part)) => text.extend_from_slice(part),
                Ok(None) | Err(_) => break,
            }
        }
        text.truncate(REASON_LIMIT_BYTES);
        text
    }

    fn read_whole(&mut self, framing: Framing, early: &[u8], wait: Wait) -> Result<Vec<u8>, ConnError> {
        let mut body = Body::new(&mut self.conn, framing, early);
        let mut text = Vec::new();
        let cut = |fault| match fault {
            BodyError::Conn(fault) => wait.explain(fault),
            other => ConnError::HungUp(other.to_string()),
        };
        while let Some(part) = body.next(wait.left()).map_err(cut)? {
            text.extend_from_slice(part);
            if text.len() > ANSWER_LIMIT_BYTES {
                return Err(ConnError::HungUp(format!(
                    "its answer is longer than {ANSWER_LIMIT_BYTES} bytes"
                )));
            }
        }
        Ok(text)
    }
}

/// The limit of a whole wait. Neither interim answers nor single bytes extend it.
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

    /// Reports the limit of the whole wait instead of that of the last read.
    fn explain(self, fault: ConnError) -> ConnError {
        match fault {
            ConnError::TimedOut(doing, _) => ConnError::TimedOut(doing, self.limit),
            other => other,
        }
    }
}
