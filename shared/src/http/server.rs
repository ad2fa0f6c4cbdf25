//! A minimal server: one accept thread, one thread per connection, one request per connection.
//!
//! It serves a metrics page to anyone and a clone to one sender, so it is built to be boring: a cap on
//! connections, a limit for every phase, no keep-alive, no pipelining, no compression.

use std::io::{self, ErrorKind, PipeReader, PipeWriter};
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustls::ServerConfig;

pub use super::exchange::Exchange;
use crate::conn::{Conn, Fault, poll_any, poll_one};
use crate::stop::{STOP_TICK, Stop};
use crate::tls::current::Current;

/// What a server allows a connection.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at the same time; one more is closed at once.
    pub connections: usize,
    /// For the TLS handshake.
    pub handshake: Duration,
    /// From the end of the handshake to the end of the request's head.
    pub head: Duration,
    /// For an answer that makes no progress.
    pub write: Duration,
    /// For the peer to take note that we closed.
    pub linger: Duration,
}

impl Default for Limits {
    /// Right for probes and scrapers, which take milliseconds.
    fn default() -> Self {
        Self {
            // Silent connections can hold a place for some seconds; probes and the sender still have to get in.
            connections: 64,
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(10),
            write: Duration::from_secs(10),
            linger: Duration::from_secs(5),
        }
    }
}

/// Answers requests.
pub trait Service: Send + Sync + 'static {
    /// Answers one request. A fault means that the connection is of no use any more.
    fn serve(&self, exchange: &mut Exchange) -> Result<(), Fault>;
}

/// A running server.
pub struct Server {
    accept: Option<JoinHandle<()>>,
    active: Arc<AtomicUsize>,
    /// Dropped to end the accept thread, which polls the other end. Open exchanges still get their answers.
    closing: Option<PipeWriter>,
}

impl Server {
    /// Starts to serve `listener` in a thread called `name`. Without `tls` it speaks plain text. It ends when
    /// `stop` is set or [`Server::shut_down`] is called.
    pub fn start(
        name: &'static str,
        listener: TcpListener,
        tls: Option<Current<ServerConfig>>,
        limits: Limits,
        service: Arc<dyn Service>,
        stop: Stop,
    ) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let active = Arc::new(AtomicUsize::new(0));
        let (closed, closing) = io::pipe()?;
        let acceptor =
            Acceptor { name, listener, tls, limits, service, stop, closed, active: Arc::clone(&active) };
        let accept = Builder::new().name(name.to_owned()).spawn(move || acceptor.run())?;
        Ok(Self { accept: Some(accept), active, closing: Some(closing) })
    }

    /// Stops accepting, and waits at most `limit` for open connections. Returns how many are still open: a
    /// stuck client never keeps a finished process alive (contract 8, #35).
    pub fn shut_down(mut self, limit: Duration) -> usize {
        drop(self.closing.take());
        if let Some(accept) = self.accept.take() {
            // It only ends early by a panic, which aborts the process.
            let _ = accept.join();
        }
        let deadline = Instant::now() + limit;
        while self.active.load(Ordering::Acquire) > 0 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        self.active.load(Ordering::Acquire)
    }
}

struct Acceptor {
    name: &'static str,
    listener: TcpListener,
    tls: Option<Current<ServerConfig>>,
    limits: Limits,
    service: Arc<dyn Service>,
    stop: Stop,
    /// Hangs up when the server closes.
    closed: PipeReader,
    active: Arc<AtomicUsize>,
}

impl Acceptor {
    fn run(&self) {
        while !self.stop.is_set() && !self.is_closed() {
            match self.listener.accept() {
                Ok((socket, peer)) => self.open(socket, peer.to_string()),
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    poll_any([self.listener.as_fd(), self.closed.as_fd()], PollFlags::IN, STOP_TICK);
                }
                Err(e) if e.kind() == ErrorKind::Interrupted || e.kind() == ErrorKind::ConnectionAborted => {}
                Err(e) => {
                    // Out of descriptors or memory: other connections will end and free some.
                    log::warn!("{}: cannot accept a connection: {e}", self.name);
                    self.stop.sleep(STOP_TICK);
                }
            }
        }
    }

    fn is_closed(&self) -> bool {
        poll_one(&self.closed, PollFlags::IN, Duration::ZERO)
    }

    fn open(&self, socket: std::net::TcpStream, peer: String) {
        let slot = Slot::take(&self.active);
        if slot.number > self.limits.connections {
            log::debug!("{}: {peer} closed at once: {} connections are open", self.name, slot.number - 1);
            return;
        }
        let (tls, limits, service, stop) =
            (self.tls.clone(), self.limits, Arc::clone(&self.service), self.stop.child());
        let name = self.name;
        let spawned = Builder::new().name(format!("{name}-conn")).spawn(move || {
            let _slot = slot;
            if let Err(fault) = converse(socket, &peer, tls, limits, &*service, stop) {
                log::debug!("{name}: {peer}: {fault}");
            }
        });
        if let Err(e) = spawned {
            log::warn!("{name}: cannot start a thread: {e}");
        }
    }
}

/// A connection's slot under the cap; given back when dropped.
struct Slot {
    active: Arc<AtomicUsize>,
    number: usize,
}

impl Slot {
    fn take(active: &Arc<AtomicUsize>) -> Self {
        let number = active.fetch_add(1, Ordering::AcqRel) + 1;
        Self { active: Arc::clone(active), number }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.active.fetch_sub(1, Ordering::AcqRel);
    }
}

fn converse(
    socket: std::net::TcpStream,
    peer: &str,
    tls: Option<Current<ServerConfig>>,
    limits: Limits,
    service: &dyn Service,
    stop: Stop,
) -> Result<(), Fault> {
    let mut conn = Conn::server(socket, tls.map(|tls| tls.now()), stop.clone())?;
    if let Err(fault) = conn.handshake(limits.handshake) {
        if matches!(fault, Fault::Tls(_)) {
            log::warn!("{peer} was turned away in the handshake: {fault}");
            conn.close(limits.linger); // lets the alert arrive
        }
        return Err(fault);
    }
    let Some(mut exchange) = Exchange::open(conn, peer, limits, stop)? else { return Ok(()) };
    let outcome = service.serve(&mut exchange);
    exchange.close();
    outcome
}
