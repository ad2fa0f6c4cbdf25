//! Reads a body from its connection.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use super::admission::ConnPhase;
use super::chunked::{ChunkError, Decoded, Decoder};
use super::connection_slots::PhaseReporter;
use super::head::Framing;
use crate::net::conn::{Conn, ConnError};

/// Why a body could not be read completely.
#[derive(Debug)]
pub enum BodyError {
    /// The connection failed.
    Conn(ConnError),
    /// The peer closed in good order before the body was complete.
    Cut,
    /// The chunked coding is broken.
    Chunk(ChunkError),
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BodyError::Conn(error) => error.fmt(f),
            BodyError::Cut => f.write_str("the body ends before its terminating chunk"),
            BodyError::Chunk(error) => error.fmt(f),
        }
    }
}

/// What is left of the body, by its framing.
enum Remaining {
    Length(u64),
    Chunked(Decoder),
}

/// Yields the bytes of a body. It ends only where the framing proves that the body is complete.
pub struct Body<'c> {
    conn: &'c mut Conn,
    remaining: Remaining,
    /// Bytes that arrived together with the head, and how many of them were taken.
    early: Vec<u8>,
    early_taken: usize,
    /// The next bytes, if they have arrived.
    next: Option<NextBytes>,
    /// Yielded by the last call and not yet consumed from the connection.
    lent_bytes: usize,
    /// Informed when all of the body has been read.
    phase: Option<PhaseReporter>,
}

/// Where the next bytes are.
enum NextBytes {
    /// In this part of the bytes that arrived together with the head.
    Early(Range<usize>),
    /// At the front of the connection's plain bytes, this many.
    InConn(usize),
}

impl<'c> Body<'c> {
    /// A body with this `framing` whose first bytes, `early`, arrived together with the head.
    pub fn new(conn: &'c mut Conn, framing: Framing, early: &[u8]) -> Self {
        let remaining = match framing {
            Framing::Chunked => Remaining::Chunked(Decoder::default()),
            Framing::Length(len) => Remaining::Length(len),
            Framing::UntilClose => Remaining::Length(0),
        };
        Self {
            conn,
            remaining,
            early: early.to_vec(),
            early_taken: 0,
            next: None,
            lent_bytes: 0,
            phase: None,
        }
    }

    /// Reports [`ConnPhase::Receiving`] now and [`ConnPhase::Serving`] when all of the body has been read.
    pub(super) fn reporting(mut self, phase: PhaseReporter) -> Self {
        phase.enter(ConnPhase::Receiving);
        self.phase = Some(phase);
        self
    }

    /// Waits at most `limit` until [`Body::next`] would return without waiting. Returns whether it would.
    pub fn ready(&mut self, limit: Duration) -> Result<bool, BodyError> {
        match self.find(limit) {
            Ok(()) => Ok(true),
            Err(BodyError::Conn(ConnError::TimedOut(..))) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The next bytes, never empty; `None` at the proven end. `idle` limits how long nothing may arrive.
    pub fn next(&mut self, idle: Duration) -> Result<Option<&[u8]>, BodyError> {
        self.find(idle)?;
        Ok(match self.next.take() {
            None => {
                if let Some(phase) = self.phase.take() {
                    phase.enter(ConnPhase::Serving);
                }
                None
            }
            Some(NextBytes::Early(range)) => Some(&self.early[range]),
            Some(NextBytes::InConn(len)) => {
                self.lent_bytes = len;
                Some(&self.conn.plain()[..len])
            }
        })
    }

    /// Skips the framing up to the next bytes of the body, or to its proven end.
    fn find(&mut self, idle: Duration) -> Result<(), BodyError> {
        self.conn.consume(std::mem::take(&mut self.lent_bytes));
        while self.next.is_none() && !self.remaining.is_done() {
            let early = &self.early[self.early_taken..];
            let is_early = !early.is_empty();
            let bytes =
                if is_early { early } else { self.conn.fill(idle, "upload").map_err(BodyError::Conn)? };
            if bytes.is_empty() {
                return Err(BodyError::Cut);
            }
            let Decoded { framing_len, data_len } = self.remaining.take(bytes).map_err(BodyError::Chunk)?;
            if is_early {
                let from = self.early_taken + framing_len;
                self.early_taken = from + data_len;
                self.next = (data_len > 0).then_some(NextBytes::Early(from..self.early_taken));
            } else {
                self.conn.consume(framing_len);
                self.next = (data_len > 0).then_some(NextBytes::InConn(data_len));
            }
        }
        Ok(())
    }
}

impl Remaining {
    fn is_done(&self) -> bool {
        match self {
            Remaining::Length(left) => *left == 0,
            Remaining::Chunked(decoder) => decoder.is_done(),
        }
    }

    /// Decodes the front of `bytes`.
    fn take(&mut self, bytes: &[u8]) -> Result<Decoded, ChunkError> {
        match self {
            Remaining::Length(left) => {
                let len = usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
                *left -= len as u64;
                Ok(Decoded { framing_len: 0, data_len: len })
            }
            Remaining::Chunked(decoder) => decoder.next(bytes),
        }
    }
}
