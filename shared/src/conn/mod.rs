//! One connection: a non-blocking socket, TLS on it, and waits that end when they should.
//!
//! Everything here blocks the calling thread, but never for longer than the limit it was given and never past
//! a stop: each wait is a `poll` that asks the [`Stop`] token every [`STOP_TICK`].

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, Connection, ServerConfig, ServerConnection};

use crate::stop::{STOP_TICK, Stop};

mod close;
mod fault;
mod ready;

pub use fault::Fault;
use ready::prepare;
pub(crate) use ready::{poll_any, poll_one};

/// rustls takes at most 4 KiB a time from its reader; one large read from the socket feeds many of those
/// steps (measured: 1.2 to 1.5 times the rate of reading through).
const INBOX_BYTES: usize = 256 << 10;
/// What rustls may hold of encrypted, unsent data: some records of 16 KiB, so that one system call sends many.
const OUTBOX_BYTES: usize = 256 << 10;
/// Whether a watched write was finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Written {
    /// All of it is with the operating system.
    All,
    /// The peer said something (or closed) first; the rest was not sent.
    Interrupted,
}

/// A connection, either end.
pub struct Conn {
    socket: TcpStream,
    /// `None` is plain text, for the health port alone.
    tls: Option<Connection>,
    inbox: Vec<u8>,
    inbox_start: usize,
    inbox_end: usize,
    socket_ended: bool,
    stop: Stop,
}

impl Conn {
    /// The client's end, for a server that proves to be `name`.
    pub fn client(
        socket: TcpStream,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
        stop: Stop,
    ) -> Result<Self, Fault> {
        let tls = ClientConnection::new(config, name).map_err(Fault::Tls)?;
        Self::new(socket, Some(tls.into()), stop)
    }

    /// The server's end. Without a configuration the connection is plain text.
    pub fn server(socket: TcpStream, config: Option<Arc<ServerConfig>>, stop: Stop) -> Result<Self, Fault> {
        let tls = config.map(ServerConnection::new).transpose().map_err(Fault::Tls)?;
        Self::new(socket, tls.map(Into::into), stop)
    }

    fn new(socket: TcpStream, mut tls: Option<Connection>, stop: Stop) -> Result<Self, Fault> {
        prepare(&socket).map_err(|e| Fault::HungUp(e.to_string()))?;
        if let Some(tls) = &mut tls {
            tls.set_buffer_limit(Some(OUTBOX_BYTES));
        }
        Ok(Self { socket, tls, inbox: Vec::new(), inbox_start: 0, inbox_end: 0, socket_ended: false, stop })
    }

    /// Whether TLS protects it.
    pub fn is_encrypted(&self) -> bool {
        self.tls.is_some()
    }

    /// The peer's verified certificates, leaf first; empty when it gave none.
    pub fn peer_certificates(&self) -> &[CertificateDer<'static>] {
        self.tls.as_ref().and_then(|tls| tls.peer_certificates()).unwrap_or_default()
    }

    /// Completes the TLS handshake within `limit`.
    pub fn handshake(&mut self, limit: Duration) -> Result<(), Fault> {
        let deadline = Instant::now() + limit;
        loop {
            self.push_out()?;
            let Some(tls) = &self.tls else { return Ok(()) };
            if !tls.is_handshaking() && !tls.wants_write() {
                return Ok(());
            }
            if !self.pull_in()? {
                if self.socket_ended {
                    return Err(Fault::HungUp("closed during the handshake".to_owned()));
                }
                self.wait(PollFlags::IN, deadline, "TLS handshake", limit)?;
            }
        }
    }

    /// Reads some plain bytes; 0 is the peer's orderly end. A connection that is cut is a fault, never 0.
    /// `idle` limits how long nothing may arrive, `doing` names the phase for messages.
    pub fn read(&mut self, buf: &mut [u8], idle: Duration, doing: &'static str) -> Result<usize, Fault> {
        let deadline = Instant::now() + idle;
        loop {
            if let Some(len) = self.read_ready(buf)? {
                return Ok(len);
            }
            self.push_out()?;
            self.wait(PollFlags::IN, deadline, doing, idle)?;
        }
    }

    /// Sends all of `data`. `stall` limits how long no byte may move.
    pub fn write_all(&mut self, mut data: &[u8], stall: Duration, doing: &'static str) -> Result<(), Fault> {
        self.write(&mut data, stall, doing, false).map(|_| ())
    }

    /// Sends all of `data`, unless the peer answers or closes first; then `data` is what to go on with.
    pub fn write_watching(
        &mut self,
        data: &mut &[u8],
        stall: Duration,
        doing: &'static str,
    ) -> Result<Written, Fault> {
        self.write(data, stall, doing, true)
    }

    /// Whether the peer has said something that [`Conn::read`] would return at once (its end included).
    pub fn has_input(&mut self) -> Result<bool, Fault> {
        while self.pull_in()? {}
        Ok(self.socket_ended || self.plain_waiting())
    }

    fn write(
        &mut self,
        data: &mut &[u8],
        stall: Duration,
        doing: &'static str,
        watch: bool,
    ) -> Result<Written, Fault> {
        if watch && self.has_input()? {
            return Ok(Written::Interrupted);
        }
        let mut deadline = Instant::now() + stall;
        loop {
            let mut moved = self.accept_plain(data)?;
            moved |= self.push_out()?;
            if moved {
                deadline = Instant::now() + stall;
            }
            if data.is_empty() && !self.wants_write() {
                return Ok(Written::All);
            }
            if moved {
                continue;
            }
            let flags = if watch { PollFlags::IN | PollFlags::OUT } else { PollFlags::OUT };
            self.wait(flags, deadline, doing, stall)?;
            if watch && self.has_input()? {
                return Ok(Written::Interrupted);
            }
        }
    }

    fn wants_write(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.wants_write())
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

    /// Sends what TLS wants to send, as far as the socket takes it. Returns whether anything moved.
    fn push_out(&mut self) -> Result<bool, Fault> {
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

    /// Plain bytes that are there without waiting; `None` when there are none yet.
    fn read_ready(&mut self, buf: &mut [u8]) -> Result<Option<usize>, Fault> {
        loop {
            if let Some(tls) = &mut self.tls {
                match tls.reader().read(buf) {
                    Ok(len) => return Ok(Some(len)),
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                    Err(_) => return Err(Fault::HungUp("closed without a goodbye".to_owned())),
                }
            } else if self.inbox_start < self.inbox_end {
                let len = buf.len().min(self.inbox_end - self.inbox_start);
                buf[..len].copy_from_slice(&self.inbox[self.inbox_start..self.inbox_start + len]);
                self.inbox_start += len;
                return Ok(Some(len));
            } else if self.socket_ended {
                return Ok(Some(0));
            }
            if !self.pull_in()? {
                return Ok(None);
            }
        }
    }

    fn plain_waiting(&mut self) -> bool {
        match &mut self.tls {
            Some(tls) => tls.process_new_packets().is_ok_and(|state| state.plaintext_bytes_to_read() > 0),
            None => self.inbox_start < self.inbox_end,
        }
    }

    /// Takes one step of input towards plain bytes without waiting. Returns whether there was any.
    fn pull_in(&mut self) -> Result<bool, Fault> {
        let refilled = self.inbox_start == self.inbox_end && self.refill()?;
        let Some(tls) = &mut self.tls else { return Ok(refilled) };
        if self.inbox_start == self.inbox_end && !refilled {
            return Ok(false);
        }
        if self.socket_ended {
            // Tells rustls about the end, so that its reader can tell a goodbye from a cut.
            let _ = tls.read_tls(&mut io::empty());
        } else if tls.wants_read() {
            let mut waiting = &self.inbox[self.inbox_start..self.inbox_end];
            let len = tls.read_tls(&mut waiting).map_err(|e| Fault::HungUp(e.to_string()))?;
            self.inbox_start += len;
        } else {
            return Ok(false);
        }
        if let Err(error) = tls.process_new_packets() {
            // The alert that tells the peer why; if it cannot be sent the local error still stands.
            let _ = self.push_out();
            return Err(Fault::Tls(error));
        }
        Ok(true)
    }

    /// Reads from the socket into the empty inbox. Returns whether something new is known: bytes, or the end.
    fn refill(&mut self) -> Result<bool, Fault> {
        if self.socket_ended {
            return Ok(false);
        }
        if self.inbox.is_empty() {
            self.inbox.resize(INBOX_BYTES, 0);
        }
        loop {
            match self.socket.read(&mut self.inbox) {
                Ok(0) => {
                    self.socket_ended = true;
                    return Ok(true);
                }
                Ok(len) => {
                    (self.inbox_start, self.inbox_end) = (0, len);
                    return Ok(true);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(Fault::HungUp(e.to_string())),
            }
        }
    }

    /// Waits until the socket is ready for one of `flags`, or for writing if TLS has something to send.
    fn wait(
        &mut self,
        mut flags: PollFlags,
        deadline: Instant,
        doing: &'static str,
        limit: Duration,
    ) -> Result<(), Fault> {
        if self.wants_write() {
            flags |= PollFlags::OUT;
        }
        if self.socket_ended {
            flags.remove(PollFlags::IN);
        }
        loop {
            if let Some(reason) = self.stop.reason() {
                return Err(Fault::Stopped(reason));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Fault::TimedOut(doing, limit));
            }
            if poll_one(&self.socket, flags, left.min(STOP_TICK)) {
                return Ok(());
            }
        }
    }
}

fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
