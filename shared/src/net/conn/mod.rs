//! One connection: a non-blocking socket, TLS on it, and waits that end when they should.
//!
//! Everything here blocks the calling thread, but never for longer than the limit it was given and never past
//! a stop: each wait is a `poll` that asks the [`Stop`] token every [`STOP_TICK`].

use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, Connection, ServerConfig, ServerConnection};

use crate::process::stop::{STOP_TICK, Stop};

mod close;
mod fault;
mod ready;
mod receive;
mod send;

pub use fault::Fault;
use ready::prepare;
pub(crate) use ready::{are_readable, poll_any, poll_one};
pub use send::{Stall, Written};

/// What rustls may hold of encrypted, unsent data: some records of 16 KiB, so that one system call sends many.
const OUTBOX_BYTES: usize = 256 << 10;

/// A connection, either end.
pub struct Conn {
    socket: TcpStream,
    /// `None` is plain text, for the health port alone.
    tls: Option<Connection>,
    inbox: Vec<u8>,
    inbox_start: usize,
    inbox_end: usize,
    socket_ended: bool,
    write_waits: u64,
    /// Small pieces that came one after the other.
    drips: u8,
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
        let (inbox, inbox_start, inbox_end) = (Vec::new(), 0, 0);
        Ok(Self {
            socket,
            tls,
            inbox,
            inbox_start,
            inbox_end,
            socket_ended: false,
            write_waits: 0,
            drips: 0,
            stop,
        })
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
