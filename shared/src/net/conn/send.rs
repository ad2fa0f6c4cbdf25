//! Sending: plain bytes go into TLS, and what TLS makes of them goes to the socket.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;

use super::{Conn, Fault};

/// Whether a watched write was finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Written {
    /// All of it is with the operating system.
    All,
    /// The peer said something (or closed) first; the rest was not sent.
    Interrupted,
}

/// How long no byte of something that is sent may move. Only bytes that move renew it, not what the peer says meanwhile.
#[derive(Debug, Clone, Copy)]
pub struct Stall {
    limit: Duration,
    deadline: Instant,
}

impl Stall {
    /// From now on at most `limit` without a byte that moves.
    pub fn of(limit: Duration) -> Self {
        Self { limit, deadline: Instant::now() + limit }
    }

    fn renew(&mut self) {
        self.deadline = Instant::now() + self.limit;
    }
}

impl Conn {
    /// Sends all of `data`. `stall` limits how long no byte may move.
    pub fn write_all(&mut self, mut data: &[u8], stall: Duration, doing: &'static str) -> Result<(), Fault> {
        self.write(&mut data, &mut Stall::of(stall), doing, false).map(|_| ())
    }

    /// Sends all of `data`, unless the peer answers or closes first; then `data` is what to go on with, and `stall` stays
    /// that of the whole.
    pub fn write_watching(
        &mut self,
        data: &mut &[u8],
        stall: &mut Stall,
        doing: &'static str,
    ) -> Result<Written, Fault> {
        self.write(data, stall, doing, true)
    }

    /// How often a write waited because the operating system had no room for more.
    pub fn write_waits(&self) -> u64 {
        self.write_waits
    }

    pub(super) fn wants_write(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.wants_write())
    }

    /// Sends what TLS wants to send, as far as the socket takes it. Returns whether anything moved.
    pub(super) fn push_out(&mut self) -> Result<bool, Fault> {
        let Some(tls) = &mut self.tls else { return Ok(false) };
        let mut moved = false;
        while tls.wants_write() {
            match tls.write_tls(&mut self.socket) {
                Ok(0) => return Err(Fault::HungUp("the socket takes no more".to_owned())),
                Ok(_) => moved = true,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(Fault::HungUp(e.to_string())),
            }
        }
        Ok(moved)
    }

    fn write(
        &mut self,
        data: &mut &[u8],
        stall: &mut Stall,
        doing: &'static str,
        watch: bool,
    ) -> Result<Written, Fault> {
        if watch && self.has_input()? {
            return Ok(Written::Interrupted);
        }
        loop {
            let mut moved = self.accept_plain(data)?;
            moved |= self.push_out()?;
            if moved {
                stall.renew();
            }
            if data.is_empty() && !self.wants_write() {
                return Ok(Written::All);
            }
            if moved {
                continue;
            }
            let flags = if watch { PollFlags::IN | PollFlags::OUT } else { PollFlags::OUT };
            self.write_waits += 1;
            self.wait(flags, stall.deadline, doing, stall.limit)?;
            if watch && self.has_input()? {
                return Ok(Written::Interrupted);
            }
        }
    }

    /// Moves plain bytes into TLS (or the socket, when there is no TLS). Returns whether any moved.
    fn accept_plain(&mut self, data: &mut &[u8]) -> Result<bool, Fault> {
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
            Err(e) => Err(Fault::HungUp(e.to_string())),
        }
    }
}

fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
