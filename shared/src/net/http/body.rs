//! A request's body, read from its connection.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use super::chunked::{BadChunk, Decoder};
use super::head::Framing;
use super::places::Phase;
use super::room::Marker;
use crate::net::conn::{Conn, Fault};

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
    /// Bytes that came along with the head, and how many of them were taken.
    early: Vec<u8>,
    early_taken: usize,
    /// What comes next, if it is there.
    found: Option<Found>,
    /// What was yielded last and still lies in the connection.
    lent_bytes: usize,
    /// Told when all of it has been read.
    marker: Option<Marker>,
}

/// Where the next bytes lie.
enum Found {
    /// With those that came along with the head.
    Early(Range<usize>),
    /// This many at the front of the connection's plain bytes.
    InConn(usize),
}

impl<'c> Body<'c> {
    /// A body framed like `framing` whose first bytes, `early`, came along with the head.
    pub fn new(conn: &'c mut Conn, framing: Framing, early: &[u8]) -> Self {
        let rest = match framing {
            Framing::Chunked => Rest::Chunked(Decoder::default()),
            Framing::Length(len) => Rest::Length(len),
            Framing::UntilClose => Rest::Length(0),
        };
        Self { conn, rest, early: early.to_vec(), early_taken: 0, found: None, lent_bytes: 0, marker: None }
    }

    /// From now on the peer is waited for, until all of the body has been read.
    pub(super) fn marking(mut self, marker: Marker) -> Self {
        marker.enter(Phase::Receiving);
        self.marker = Some(marker);
        self
    }

    /// Waits at most `limit` until [`Body::next`] would not have to wait. `false`: not yet.
    pub fn ready(&mut self, limit: Duration) -> Result<bool, BodyFault> {
        match self.find(limit) {
            Ok(()) => Ok(true),
            Err(BodyFault::Conn(Fault::TimedOut(..))) => Ok(false),
            Err(fault) => Err(fault),
        }
    }

    /// The next bytes, never empty; `None` at the proven end. `idle` limits how long none may come.
    pub fn next(&mut self, idle: Duration) -> Result<Option<&[u8]>, BodyFault> {
        self.find(idle)?;
        Ok(match self.found.take() {
            None => {
                if let Some(marker) = self.marker.take() {
                    marker.enter(Phase::Serving);
                }
                None
            }
            Some(Found::Early(range)) => Some(&self.early[range]),
            Some(Found::InConn(len)) => {
                self.lent_bytes = len;
                Some(&self.conn.plain()[..len])
            }
        })
    }

    /// Goes on to the next bytes, or to the proven end, past what belongs to the framing alone.
    fn find(&mut self, idle: Duration) -> Result<(), BodyFault> {
        self.conn.consume(std::mem::take(&mut self.lent_bytes));
        while self.found.is_none() && !self.rest.is_done() {
            let early = &self.early[self.early_taken..];
            let is_early = !early.is_empty();
            let bytes =
                if is_early { early } else { self.conn.fill(idle, "upload").map_err(BodyFault::Conn)? };
            if bytes.is_empty() {
                return Err(BodyFault::Cut);
            }
            let (skip, len) = self.rest.take(bytes).map_err(BodyFault::Bad)?;
            if is_early {
                let from = self.early_taken + skip;
                self.early_taken = from + len;
                self.found = (len > 0).then_some(Found::Early(from..from + len));
            } else {
                self.conn.consume(skip);
                self.found = (len > 0).then_some(Found::InConn(len));
            }
        }
        Ok(())
    }
}

impl Rest {
    fn is_done(&self) -> bool {
        match self {
            Rest::Length(left) => *left == 0,
            Rest::Chunked(decoder) => decoder.is_done(),
        }
    }

    /// Of `bytes`, how many belong to the framing, and how many of the body follow them.
    fn take(&mut self, bytes: &[u8]) -> Result<(usize, usize), BadChunk> {
        match self {
            Rest::Length(left) => {
                let len = usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
                *left -= len as u64;
                Ok((0, len))
            }
            Rest::Chunked(decoder) => decoder.next(bytes),
        }
    }
}
