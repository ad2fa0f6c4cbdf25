//! A minimal server: one accept thread, one thread per connection that has a slot, one request per connection.
//!
//! It serves a metrics page to every client and a clone to one sender. It is deliberately simple: a maximum number of
//! connections, a time limit for every phase, no keep-alive, no pipelining, no compression. A flood of connections does not
//! keep other clients out: `admission` decides which connections get a slot.

use std::io::{self, ErrorKind, PipeReader, PipeWriter};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;

pub use super::admission::Limits;
use super::admission::{ConnPhase, Decision, PeerNetwork, PendingConnection};
use super::connection_slots::{ConnectionSlots, SlotGuard};
pub use super::exchange::Exchange;
use super::exchange::ExchangeContext;
use crate::net::conn::{Conn, ConnError, are_readable, poll_any, poll_one};
use crate::net::tls::reloading_config::ReloadingConfig;
use crate::process::stop::{STOP_TICK, Stop};

/// How long the accept thread sleeps at most while connections are pending. It notices within this time that a slot is free
/// or that a connection has kept the server waiting for too long.
const PENDING_TICK: Duration = Duration::from_millis(5);
/// How many connections are accepted before the slots are assigned again.
const ACCEPTED_AT_ONCE: usize = 16;
/// Failed handshakes are logged at most this often, so that unknown peers cannot fill the log.
const WARNING_PAUSE: Duration = Duration::from_secs(1);
/// Stack size of a connection's thread. Nothing that a connection does recurses without a bound (the deepest is a JSON
/// document of 128 levels). Unused stack costs no memory, but the C library keeps the stacks of ended threads for reuse, and
/// some containers limit the address space.
const STACK_BYTES: usize = 512 << 10;

/// Answers requests.
pub trait Service: Send + Sync + 'static {
    /// Answers one request. An error means that the connection is unusable.
    fn serve(&self, exchange: &mut Exchange) -> Result<(), ConnError>;

    /// Whether the service expects a peer with these verified certificates, leaf first. Such a connection gets a reserved
    /// slot and is never evicted.
    fn knows(&self, certificates: &[CertificateDer<'static>]) -> bool {
        let _ = certificates;
        false
    }
}

/// A running server.
pub struct Server {
    accept: Option<JoinHandle<()>>,
    slots: Arc<ConnectionSlots>,
    /// Dropped to end the accept thread, which polls the other end. Open exchanges still get their answers.
    closing: Option<PipeWriter>,
}

impl Server {
    /// Starts to serve `listener` in a thread called `name`. Without `tls` it serves plain text. It ends when `stop` is set
    /// or [`Server::shut_down`] is called.
    pub fn start(
        name: &'static str,
        listener: TcpListener,
        tls: Option<ReloadingConfig<ServerConfig>>,
        limits: Limits,
        service: Arc<dyn Service>,
        stop: Stop,
    ) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let slots = Arc::new(ConnectionSlots::default());
        let (closed, closing) = io::pipe()?;
        let mut acceptor = Acceptor {
            name,
            listener,
            tls,
            limits,
            service,
            stop,
            closed,
            slots: Arc::clone(&slots),
            pending: Vec::new(),
            handshake_failures: Arc::default(),
        };
        let accept = Builder::new().name(name.to_owned()).spawn(move || acceptor.run())?;
        Ok(Self { accept: Some(accept), slots, closing: Some(closing) })
    }

    /// Stops accepting and waits at most `limit` for open connections. Returns how many are still open: a stuck client never
    /// keeps a finished process alive (docs/migrate-from-cdi.md row 35).
    pub fn shut_down(mut self, limit: Duration) -> usize {
        drop(self.closing.take());
        if let Some(accept) = self.accept.take() {
            // An error means that the thread panicked, which aborts the process.
            let _ = accept.join();
        }
        let deadline = Instant::now() + limit;
        while self.slots.len() > 0 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        self.slots.len()
    }
}

struct Acceptor {
    name: &'static str,
    listener: TcpListener,
    tls: Option<ReloadingConfig<ServerConfig>>,
    limits: Limits,
    service: Arc<dyn Service>,
    stop: Stop,
    /// Reports a hang-up when the server closes.
    closed: PipeReader,
    slots: Arc<ConnectionSlots>,
    /// Connections without a slot, in order of arrival.
    pending: Vec<PendingSocket>,
    handshake_failures: Arc<HandshakeFailureLog>,
}

/// Logs failed handshakes, at most one line per [`WARNING_PAUSE`].
#[derive(Default)]
struct HandshakeFailureLog(Mutex<WarningState>);

#[derive(Default)]
struct WarningState {
    last_warning: Option<Instant>,
    /// Failures since the last warning that were logged at level `debug` only.
    suppressed: u64,
}

impl HandshakeFailureLog {
    fn record(&self, peer: &str, error: &ConnError) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.last_warning.is_some_and(|last| last.elapsed() < WARNING_PAUSE) {
            state.suppressed += 1;
            log::debug!("the TLS handshake with {peer} failed: {error}");
            return;
        }
        let suppressed = match state.suppressed {
            0 => String::new(),
            count => format!(" ({count} more failures since the last warning)"),
        };
        log::warn!("the TLS handshake with {peer} failed: {error}{suppressed}");
        *state = WarningState { last_warning: Some(Instant::now()), suppressed: 0 };
    }
}

/// A connection that has no slot yet.
struct PendingSocket {
    socket: TcpStream,
    peer: SocketAddr,
    connection: PendingConnection,
}

impl Acceptor {
    fn run(&mut self) {
        while !self.stop.is_set() && !self.is_closed() {
            let may_be_more = self.accept_some();
            self.assign_slots();
            if !may_be_more {
                let tick = if self.pending.is_empty() { STOP_TICK } else { PENDING_TICK };
                poll_any([self.listener.as_fd(), self.closed.as_fd()], PollFlags::IN, tick);
            }
        }
    }

    fn is_closed(&self) -> bool {
        poll_one(&self.closed, PollFlags::IN, Duration::ZERO)
    }

    /// Accepts up to [`ACCEPTED_AT_ONCE`] connections. Returns whether there may be more.
    fn accept_some(&mut self) -> bool {
        for _ in 0..ACCEPTED_AT_ONCE {
            match self.listener.accept() {
                Ok((socket, peer)) => {
                    let network = PeerNetwork::of(peer.ip());
                    let connection = PendingConnection { network, since: Instant::now(), has_input: false };
                    self.pending.push(PendingSocket { socket, peer, connection });
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return false,
                Err(e) if e.kind() == ErrorKind::Interrupted || e.kind() == ErrorKind::ConnectionAborted => {}
                Err(e) => {
                    // Out of descriptors or memory: other connections will end and free some.
                    log::warn!("{}: cannot accept a connection: {e}", self.name);
                    self.stop.sleep(STOP_TICK);
                    return false;
                }
            }
        }
        true
    }

    /// Gives slots to pending connections as long as slots are free or can be freed.
    fn assign_slots(&mut self) {
        let sockets: Vec<&TcpStream> = self.pending.iter().map(|pending| &pending.socket).collect();
        let readable = are_readable(&sockets);
        for (pending, has_input) in self.pending.iter_mut().zip(readable) {
            pending.connection.has_input = has_input;
        }
        loop {
            let connections: Vec<_> = self.pending.iter().map(|pending| pending.connection).collect();
            match self.slots.next_decision(&connections, &self.limits) {
                Decision::Admit(index) => {
                    let pending = self.pending.remove(index);
                    self.start_connection(pending);
                }
                Decision::Evict(_) => log::debug!("{}: closed a connection to free its slot", self.name),
                Decision::Reject(index) => {
                    let PendingSocket { peer, .. } = self.pending.remove(index);
                    log::debug!("{}: closed the connection of {peer}: no free slot", self.name);
                }
                Decision::Wait => return,
            }
        }
    }

    fn start_connection(&self, pending: PendingSocket) {
        let PendingSocket { socket, peer, connection } = pending;
        let name = self.name;
        let stop = self.stop.child();
        let slot = match socket.try_clone() {
            Ok(clone) => self.slots.take(connection.network, clone, stop.clone()),
            Err(e) => {
                log::warn!("{name}: cannot serve {peer}: {e}");
                return;
            }
        };
        let handler = ConnectionHandler {
            peer: peer.to_string(),
            tls: self.tls.clone(),
            limits: self.limits,
            service: Arc::clone(&self.service),
            slot,
            handshake_failures: Arc::clone(&self.handshake_failures),
        };
        let builder = Builder::new().name(format!("{name}-conn")).stack_size(STACK_BYTES);
        let spawned = builder.spawn(move || {
            if let Err(error) = handler.run(socket, stop) {
                log::debug!("{name}: {}: {error}", handler.peer);
            }
        });
        if let Err(e) = spawned {
            log::warn!("{name}: cannot start a thread: {e}");
        }
    }
}

/// Serves one connection that has a slot.
struct ConnectionHandler {
    peer: String,
    tls: Option<ReloadingConfig<ServerConfig>>,
    limits: Limits,
    service: Arc<dyn Service>,
    slot: SlotGuard,
    handshake_failures: Arc<HandshakeFailureLog>,
}

impl ConnectionHandler {
    fn run(&self, socket: TcpStream, stop: Stop) -> Result<(), ConnError> {
        let limits = self.limits;
        let head_by = Instant::now() + limits.opening;
        let config = self.tls.as_ref().map(ReloadingConfig::current);
        let mut conn = Conn::server(socket, config, stop.clone())?;
        if let Err(error) = conn.handshake(limits.opening) {
            if matches!(error, ConnError::Tls(_)) {
                self.handshake_failures.record(&self.peer, &error);
                conn.close(limits.linger); // lets the alert arrive
            }
            return Err(error);
        }
        if self.service.knows(conn.peer_certificates()) {
            self.slot.reserve(limits.reserved);
        }
        let phase = self.slot.phase_reporter();
        if conn.is_encrypted() {
            phase.enter(ConnPhase::Reading);
        }
        let context = ExchangeContext { limits, head_by, stop, phase };
        let Some(mut exchange) = Exchange::open(conn, &self.peer, context)? else { return Ok(()) };
        let outcome = self.service.serve(&mut exchange);
        exchange.close();
        outcome
    }
}

#[cfg(test)]
mod tests;
