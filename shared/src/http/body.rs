//! A request's body, read from its connection.

use std::fmt;
use std::time::Duration;

use super::chunked::{BadChunk, Decoder};
use super::head::Framing;
use crate::conn::{Conn, Fault};

/// One read from TLS; a multiple of its 16 KiB records.
const READ_BYTES: usize = 128 << 10;

/// Why a body could not be read to its end.
#[derive(Debug)]
pub enum BodyFault {
    /// The connection failed.
    Conn(Fault),
    /// The peer closed in good order, but before the body was complete.
    Cut,
    /// The chunked coding is broken.
    Bad(BadChunk),
}

impl fmt::Display for BodyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BodyFault::Conn(fault) => fault.fmt(f),
            BodyFault::Cut => f.write_str("the body ends before its terminating chunk"),
            BodyFault::Bad(bad) => bad.fmt(f),
        }
    }
}

enum Rest {
    Length(u64),
    Chunked(Decoder),
}

/// Yields the body's bytes. Its end is only ever the end that the framing proves.
pub struct Body<'c> {
    conn: &'c mut Conn,
    rest: Rest,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl<'c> Body<'c> {
    /// A body framed like `framing` whose first bytes, `early`, came along with the head.
    pub fn new(conn: &'c mut Conn, framing: Framing, early: &[u8]) -> Self {
        let rest = match framing {
            Framing::Chunked => Rest::Chunked(Decoder::default()),
            Framing::Length(len) => Rest::Length(len),
            Framing::UntilClose => Rest::Length(0),
        };
        let mut buffer = vec![0; READ_BYTES.max(early.len())];
        buffer[..early.len()].copy_from_slice(early);
        Self { conn, rest, buffer, start: 0, end: early.len() }
    }

    /// The next bytes, never empty; `None` at the proven end. `idle` limits how long none may come.
    pub fn next(&mut self, idle: Duration) -> Result<Option<&[u8]>, BodyFault> {
        loop {
            let (skip, len) = match &mut self.rest {
                Rest::Length(0) => return Ok(None),
                Rest::Length(left) => {
                    let have = self.end - self.start;
                    let len = usize::try_from(*left).map_or(have, |left| left.min(have));
                    *left -= len as u64;
                    (0, len)
                }
                Rest::Chunked(decoder) if decoder.is_done() => return Ok(None),
                Rest::Chunked(decoder) => {
                    decoder.next(&self.buffer[self.start..self.end]).map_err(BodyFault::Bad)?
                }
            };
            let from = self.start + skip;
            self.start = from + len;
            if len > 0 {
                return Ok(Some(&self.buffer[from..from + len]));
            }
            if self.start == self.end && !self.is_done() {
                self.refill(idle)?;
            }
        }
    }

    fn is_done(&self) -> bool {
        match &self.rest {
            Rest::Length(left) => *left == 0,
            Rest::Chunked(decoder) => decoder.is_done(),
        }
    }

    fn refill(&mut self, idle: Duration) -> Result<(), BodyFault> {
        (self.start, self.end) = (0, 0);
        match self.conn.read(&mut self.buffer, idle, "upload") {
            Ok(0) => Err(BodyFault::Cut),
            Ok(len) => {
                self.end = len;
                Ok(())
            }
            Err(fault) => Err(BodyFault::Conn(fault)),
        }
    }
}
