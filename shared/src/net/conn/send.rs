//! Sending: plain bytes go into TLS, and its records go to the socket.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;

use super::{Conn, ConnError};

/// How a watched write ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum WriteOutcome {
    /// The operating system accepted all data.
    All,
    /// The peer sent something or closed first; the rest was not sent.
    Interrupted,
}

/// The time limit of a write that makes no progress. Only sent bytes renew it; received bytes do not.
#[derive(Debug, Clone, Copy)]
pub struct StallTimeout {
    limit: Duration,
    deadline: Instant,
}

impl StallTimeout {
    /// Starts now: at most `limit` may pass until the next byte moves.
    pub fn new(limit: Duration) -> Self {
        Self { limit, deadline: Instant::now() + limit }
    }

    fn renew(&mut self) {
        self.deadline = Instant::now() + self.limit;
    }
}

impl Conn {
    /// Sends all of `data`. `stall` limits how long no byte may move, `doing` names the phase for messages.
    pub fn write_all(
        &mut self,
        mut data: &[u8],
        stall: Duration,
        doing: &'static str,
    ) -> Result<(), ConnError> {
        self.write(&mut data, &mut StallTimeout::new(stall), doing, false).map(|_| ())
    }

    /// Sends all of `data`, unless the peer answers or closes first. Then `data` is the unsent rest; pass it again with the
    /// same `stall` to continue.
    pub fn write_watching(
        &mut self,
        data: &mut &[u8],
        stall: &mut StallTimeout,
        doing: &'static str,
    ) -> Result<WriteOutcome, ConnError> {
        self.write(data, stall, doing, true)
    }

    /// How many times a write had to wait because the socket's send buffer was full.
    pub fn write_waits(&self) -> u64 {
        self.write_waits
    }

    pub(super) fn wants_write(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.wants_write())
    }

    /// Sends pending TLS records until the socket would block. Returns whether anything moved.
    pub(super) fn push_out(&mut self) -> Result<bool, ConnError> {
        let Some(tls) = &mut self.tls else { return Ok(false) };
        let mut moved = false;
        while tls.wants_write() {
            match tls.write_tls(&mut self.socket) {
                Ok(0) => return Err(ConnError::HungUp("the socket accepts no more data".to_owned())),
                Ok(_) => moved = true,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(ConnError::HungUp(e.to_string())),
            }
        }
        Ok(moved)
    }

    fn write(
        &mut self,
        data: &mut &[u8],
        stall: &mut StallTimeout,
        doing: &'static str,
        watch: bool,
    ) -> Result<WriteOutcome, ConnError> {
        if watch && self.has_input()? {
            return Ok(WriteOutcome::Interrupted);
        }
        loop {
            let mut moved = self.accept_plain(data)?;
            moved |= self.push_out()?;
            if moved {
                stall.renew();
            }
            if data.is_empty() && !self.wants_write() {
                return Ok(WriteOutcome::All);
            }
            if moved {
                continue;
            }
            let flags = if watch { PollFlags::IN | PollFlags::OUT } else { PollFlags::OUT };
            self.write_waits += 1;
            self.wait(flags, stall.deadline, doing, stall.limit)?;
            if watch && self.has_input()? {
                return Ok(WriteOutcome::Interrupted);
            }
        }
    }

    /// Moves plain bytes into TLS, or into the socket if there is no TLS. Returns whether any moved.
    fn accept_plain(&mut self, data: &mut &[u8]) -> Result<bool, ConnError> {
        if data.is_empty() {
            return Ok(false);
        }
        let taken = match &mut self.tls {
            Some(tls) => tls.writer().write(data),
            None => self.socket.write(data),
        };
        match taken {
            Ok(len) => {
                *data = &data[len..];
                Ok(len > 0)
            }
            Err(e) if is_transient(&e) => Ok(false),
            Err(e) => Err(ConnError::HungUp(e.to_string())),
        }
    }
}

fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
