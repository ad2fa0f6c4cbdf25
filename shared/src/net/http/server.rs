//! A minimal server: one accept thread, one thread per connection that has a place, one request per connection.
//!
//! It serves a metrics page to anyone and a clone to one sender, so it is built to be boring: a cap on
//! connections, a limit for every phase, no keep-alive, no pipelining, no compression. Whoever floods it with
//! connections does not keep others out: `places` says who gets a place.

use std::io::{self, ErrorKind, PipeReader, PipeWriter};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;

pub use super::exchange::Exchange;
use super::exchange::Terms;
pub use super::places::Limits;
use super::places::{Origin, Phase, Step, Waiter};
use super::room::{Room, Ticket};
use crate::net::conn::{Conn, Fault, are_readable, poll_any, poll_one};
use crate::net::tls::current::Current;
use crate::process::stop::{STOP_TICK, Stop};

/// How long the accept thread sleeps at most while connections wait for a place: a place that becomes free, or a
/// connection that has kept the server waiting for long enough, is noticed by then.
const CROWDED_TICK: Duration = Duration::from_millis(5);
/// Connections that are accepted before the places are looked at again.
const ACCEPTED_AT_ONCE: usize = 16;
/// Peers that were turned away are told about at most this often, so that strangers do not write the log.
const WARNING_PAUSE: Duration = Duration::from_secs(1);
/// The stack of a connection's thread. Nothing that a connection does recurses without a bound (a JSON document of 128
/// levels is the deepest); memory is only used as far as the stack was, but threads that ended leave theirs to the next
/// ones, and address space is limited in some containers.
const STACK_BYTES: usize = 512 << 10;

/// Answers requests.
pub trait Service: Send + Sync + 'static {
    /// Answers one request. A fault means that the connection is of no use any more.
    fn serve(&self, exchange: &mut Exchange) -> Result<(), Fault>;

    /// Whether a peer with these verified certificates, leaf first, is one that the service expects. Such a connection
    /// gets one of the reserved places, and keeps it.
    fn knows(&self, certificates: &[CertificateDer<'static>]) -> bool {
        let _ = certificates;
        false
    }
}

/// A running server.
pub struct Server {
    accept: Option<JoinHandle<()>>,
    room: Arc<Room>,
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
        let room = Arc::new(Room::default());
        let (closed, closing) = io::pipe()?;
        let (accepting, waiting) = (Arc::clone(&room), Vec::new());
        let turned_away = Arc::default();
        let mut acceptor = Acceptor {
            name,
            listener,
            tls,
            limits,
            service,
            stop,
            closed,
            room: accepting,
            waiting,
            turned_away,
        };
        let accept = Builder::new().name(name.to_owned()).spawn(move || acceptor.run())?;
        Ok(Self { accept: Some(accept), room, closing: Some(closing) })
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
        while self.room.len() > 0 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        self.room.len()
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
    room: Arc<Room>,
    /// Connections that have no place yet, in the order in which they came.
    waiting: Vec<Waiting>,
    turned_away: Arc<TurnedAway>,
}

/// Who was turned away in the handshake since the last line about it.
#[derive(Default)]
struct TurnedAway(Mutex<Unsaid>);

#[derive(Default)]
struct Unsaid {
    said: Option<Instant>,
    count: u64,
}

impl TurnedAway {
    fn note(&self, peer: &str, fault: &Fault) {
        let mut unsaid = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if unsaid.said.is_some_and(|said| said.elapsed() < WARNING_PAUSE) {
            unsaid.count += 1;
            log::debug!("{peer} was turned away in the handshake: {fault}");
            return;
        }
        let others = if unsaid.count > 0 { format!(" ({} before it)", unsaid.count) } else { String::new() };
        log::warn!("{peer} was turned away in the handshake{others}: {fault}");
        *unsaid = Unsaid { said: Some(Instant::now()), count: 0 };
    }
}

/// A connection that has no place yet.
struct Waiting {
    socket: TcpStream,
    peer: SocketAddr,
    waiter: Waiter,
}

impl Acceptor {
    fn run(&mut self) {
        while !self.stop.is_set() && !self.is_closed() {
            let is_more = self.accept_some();
            self.settle();
            if !is_more {
                let tick = if self.waiting.is_empty() { STOP_TICK } else { CROWDED_TICK };
                poll_any([self.listener.as_fd(), self.closed.as_fd()], PollFlags::IN, tick);
            }
        }
    }

    fn is_closed(&self) -> bool {
        poll_one(&self.closed, PollFlags::IN, Duration::ZERO)
    }

    /// Takes what the listener has, up to a bound. Returns whether there may be more.
    fn accept_some(&mut self) -> bool {
        for _ in 0..ACCEPTED_AT_ONCE {
            match self.listener.accept() {
                Ok((socket, peer)) => {
                    let origin = Origin::of(peer.ip());
                    let waiter = Waiter { origin, since: Instant::now(), has_spoken: false };
                    self.waiting.push(Waiting { socket, peer, waiter });
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

    /// Gives places to those that wait, as far as there are some or room can be made.
    fn settle(&mut self) {
        let sockets: Vec<&TcpStream> = self.waiting.iter().map(|waiting| &waiting.socket).collect();
        let spoken = are_readable(&sockets);
        for (waiting, has_spoken) in self.waiting.iter_mut().zip(spoken) {
            waiting.waiter.has_spoken = has_spoken;
        }
        loop {
            let waiters: Vec<Waiter> = self.waiting.iter().map(|waiting| waiting.waiter).collect();
            match self.room.step(&waiters, &self.limits) {
                Step::Start(index) => {
                    let waiting = self.waiting.remove(index);
                    self.open(waiting);
                }
                Step::End(_) => log::debug!("{}: a connection ended to make room", self.name),
                Step::Close(index) => {
                    let Waiting { peer, .. } = self.waiting.remove(index);
                    log::debug!("{}: {peer} closed: no place for it", self.name);
                }
                Step::Wait => return,
            }
        }
    }

    fn open(&self, waiting: Waiting) {
        let Waiting { socket, peer, waiter } = waiting;
        let (name, stop) = (self.name, self.stop.child());
        let ticket = match socket.try_clone() {
            Ok(copy) => self.room.enter(waiter.origin, copy, stop.clone()),
            Err(e) => {
                log::warn!("{name}: cannot serve {peer}: {e}");
                return;
            }
        };
        let (tls, limits, service) = (self.tls.clone(), self.limits, Arc::clone(&self.service));
        let turned_away = Arc::clone(&self.turned_away);
        let builder = Builder::new().name(format!("{name}-conn")).stack_size(STACK_BYTES);
        let spawned = builder.spawn(move || {
            let peer = peer.to_string();
            let talk =
                Talk { peer: &peer, limits, service: &*service, ticket: &ticket, turned_away: &turned_away };
            if let Err(fault) = talk.converse(socket, tls, stop) {
                log::debug!("{name}: {peer}: {fault}");
            }
        });
        if let Err(e) = spawned {
            log::warn!("{name}: cannot start a thread: {e}");
        }
    }
}

/// One connection that has a place, and what it is about.
struct Talk<'a> {
    peer: &'a str,
    limits: Limits,
    service: &'a dyn Service,
    ticket: &'a Ticket,
    turned_away: &'a TurnedAway,
}

impl Talk<'_> {
    fn converse(
        &self,
        socket: TcpStream,
        tls: Option<Current<ServerConfig>>,
        stop: Stop,
    ) -> Result<(), Fault> {
        let limits = self.limits;
        let head_by = Instant::now() + limits.opening;
        let mut conn = Conn::server(socket, tls.map(|tls| tls.now()), stop.clone())?;
        if let Err(fault) = conn.handshake(limits.opening) {
            if matches!(fault, Fault::Tls(_)) {
                self.turned_away.note(self.peer, &fault);
                conn.close(limits.linger); // lets the alert arrive
            }
            return Err(fault);
        }
        if self.service.knows(conn.peer_certificates()) {
            self.ticket.reserve(limits.reserved);
        }
        let marker = self.ticket.marker();
        if conn.is_encrypted() {
            marker.enter(Phase::Reading);
        }
        let terms = Terms { limits, head_by, stop, marker };
        let Some(mut exchange) = Exchange::open(conn, self.peer, terms)? else { return Ok(()) };
        let outcome = self.service.serve(&mut exchange);
        exchange.close();
        outcome
    }
}

#[cfg(test)]
mod tests;
