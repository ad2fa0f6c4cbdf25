//! One connection: a non-blocking socket, TLS on top, and waits with limits.
//!
//! Every function blocks the calling thread, but not longer than its limit and not after a stop: each wait is a `poll` that
//! checks the [`Stop`] token every [`STOP_TICK`].

use std::fmt;
use std::io::{ErrorKind, Read};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, Connection, ServerConfig, ServerConnection};

use crate::process::page_buffer::PageBuffer;
use crate::process::stop::{STOP_TICK, Stop, StopReason};

mod poll;
mod receive;
mod send;

use poll::prepare;
pub(crate) use poll::{are_readable, poll_any, poll_one};
pub use send::{StallTimeout, WriteOutcome};

/// How much encrypted, unsent data rustls may hold: several records of 16 KiB, so that one system call sends many.
const OUTBOX_BYTES: usize = 256 << 10;
/// How much of a peer's data [`Conn::close`] reads and discards.
const DRAIN_LIMIT_BYTES: u64 = 64 << 20;

/// Why a connection ended.
#[derive(Debug)]
pub enum ConnError {
    /// During this phase no byte moved for this long.
    TimedOut(&'static str, Duration),
    /// The peer closed or reset the connection, or vanished.
    HungUp(String),
    /// TLS failed: trust, alerts, damaged records.
    Tls(rustls::Error),
    /// The stop token was set.
    Stopped(StopReason),
}

impl fmt::Display for ConnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConnError::TimedOut(doing, limit) => {
                write!(f, "no progress for {} s during the {doing}", limit.as_secs())
            }
            ConnError::HungUp(why) => write!(f, "the peer hung up: {why}"),
            ConnError::Tls(error) => write!(f, "TLS: {error}"),
            ConnError::Stopped(_) => f.write_str("stopped"),
        }
    }
}

impl std::error::Error for ConnError {}

/// One end of a connection.
pub struct Conn {
    socket: TcpStream,
    /// `None` means plain text.
    tls: Option<Connection>,
    inbox: PageBuffer,
    inbox_start: usize,
    inbox_end: usize,
    socket_ended: bool,
    write_waits: u64,
    /// How many of the latest reads in a row were small.
    small_reads: u8,
    stop: Stop,
}

impl Conn {
    /// The client's end. The server has to prove that it is `name`.
    pub fn client(
        socket: TcpStream,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
        stop: Stop,
    ) -> Result<Self, ConnError> {
        let tls = ClientConnection::new(config, name).map_err(ConnError::Tls)?;
        Self::new(socket, Some(tls.into()), stop)
    }

    /// The server's end. Without a configuration the connection is plain text.
    pub fn server(
        socket: TcpStream,
        config: Option<Arc<ServerConfig>>,
        stop: Stop,
    ) -> Result<Self, ConnError> {
        let tls = config.map(ServerConnection::new).transpose().map_err(ConnError::Tls)?;
        Self::new(socket, tls.map(Into::into), stop)
    }

    fn new(socket: TcpStream, mut tls: Option<Connection>, stop: Stop) -> Result<Self, ConnError> {
        prepare(&socket).map_err(|e| ConnError::HungUp(e.to_string()))?;
        if let Some(tls) = &mut tls {
            tls.set_buffer_limit(Some(OUTBOX_BYTES));
        }
        Ok(Self {
            socket,
            tls,
            inbox: PageBuffer::default(),
            inbox_start: 0,
            inbox_end: 0,
            socket_ended: false,
            write_waits: 0,
            small_reads: 0,
            stop,
        })
    }

    /// Whether the connection uses TLS.
    pub fn is_encrypted(&self) -> bool {
        self.tls.is_some()
    }

    /// The peer's verified certificates, leaf first; empty if it sent none.
    pub fn peer_certificates(&self) -> &[CertificateDer<'static>] {
        self.tls.as_ref().and_then(|tls| tls.peer_certificates()).unwrap_or_default()
    }

    /// Completes the TLS handshake within `limit`.
    pub fn handshake(&mut self, limit: Duration) -> Result<(), ConnError> {
        let deadline = Instant::now() + limit;
        loop {
            self.push_out()?;
            let Some(tls) = &self.tls else { return Ok(()) };
            if !tls.is_handshaking() && !tls.wants_write() {
                return Ok(());
            }
            if !self.pull_in()? {
                if self.socket_ended {
                    return Err(ConnError::HungUp("closed during the handshake".to_owned()));
                }
                self.wait(PollFlags::IN, deadline, "TLS handshake", limit)?;
            }
        }
    }

    /// Closes the connection such that the peer receives everything that was written: sends the TLS close_notify and the
    /// end of the stream, then reads and discards input for at most `limit`. Closing a socket with unread input would send
    /// a reset, which can overtake the answer.
    pub fn close(mut self, limit: Duration) {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
        }
        let deadline = Instant::now() + limit;
        while self.push_out().is_ok() && self.wants_write() {
            if self.wait(PollFlags::OUT, deadline, "close", limit).is_err() {
                return;
            }
        }
        if self.socket.shutdown(Shutdown::Write).is_err() {
            return;
        }
        let mut dropped_bytes = 0;
        let mut buf = vec![0; 64 << 10];
        while dropped_bytes < DRAIN_LIMIT_BYTES {
            match self.socket.read(&mut buf) {
                Ok(0) => return,
                Ok(len) => dropped_bytes += len as u64,
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    if self.wait(PollFlags::IN, deadline, "close", limit).is_err() {
                        return;
                    }
                }
                Err(_) => return,
            }
        }
    }

    /// Waits until the socket is ready for one of `flags`, or for writing if TLS has data to send.
    fn wait(
        &mut self,
        mut flags: PollFlags,
        deadline: Instant,
        doing: &'static str,
        limit: Duration,
    ) -> Result<(), ConnError> {
        if self.wants_write() {
            flags |= PollFlags::OUT;
        }
        if self.socket_ended {
            flags.remove(PollFlags::IN);
        }
        loop {
            if let Some(reason) = self.stop.reason() {
                return Err(ConnError::Stopped(reason));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ConnError::TimedOut(doing, limit));
            }
            if poll_one(&self.socket, flags, left.min(STOP_TICK)) {
                return Ok(());
            }
        }
    }
}
