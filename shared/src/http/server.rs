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
use rustls::pki_types::CertificateDer;

use super::body::Body;
use super::head::{BadHead, HEAD_LIMIT_BYTES, Request, parse_request};
use crate::conn::{Conn, Fault, poll_any, poll_one};
use crate::stop::{STOP_TICK, Stop};

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
            connections: 16,
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

/// One request and the connection it came on.
pub struct Exchange {
    /// The request.
    pub request: Request,
    /// The peer's address, for logs.
    pub peer: String,
    conn: Conn,
    early: Vec<u8>,
    limits: Limits,
}

impl Exchange {
    /// The peer's verified certificates, leaf first.
    pub fn peer_certificates(&self) -> &[CertificateDer<'static>] {
        self.conn.peer_certificates()
    }

    /// Whether TLS protects the exchange.
    pub fn is_encrypted(&self) -> bool {
        self.conn.is_encrypted()
    }

    /// The body. Tells a client that waits for it (`Expect: 100-continue`) to go ahead.
    pub fn body(&mut self) -> Result<Body<'_>, Fault> {
        if self.request.expects_continue {
            self.conn.write_all(b"HTTP/1.1 100 Continue\r\n\r\n", self.limits.write, "answer")?;
        }
        let early = std::mem::take(&mut self.early);
        Ok(Body::new(&mut self.conn, self.request.framing, &early))
    }

    /// Sends an answer and announces the end of the connection. A `HEAD` request gets no body.
    pub fn answer(&mut self, status: u16, content_type: &str, body: &str) -> Result<(), Fault> {
        let reason = reason(status);
        let len = body.len();
        let mut text =
            format!("HTTP/1.1 {status} {reason}\r\nContent-Length: {len}\r\nConnection: close\r\n");
        if !body.is_empty() {
            text += &format!("Content-Type: {content_type}\r\n");
        }
        text += "\r\n";
        if self.request.method != "HEAD" {
            text += body;
        }
        self.conn.write_all(text.as_bytes(), self.limits.write, "answer")
    }
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
        tls: Option<Arc<ServerConfig>>,
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
    tls: Option<Arc<ServerConfig>>,
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
        let place = Place::take(&self.active);
        if place.number > self.limits.connections {
            log::debug!("{}: {peer} closed at once: {} connections are open", self.name, place.number - 1);
            return;
        }
        let (tls, limits, service, stop) =
            (self.tls.clone(), self.limits, Arc::clone(&self.service), self.stop.clone());
        let name = self.name;
        let spawned = Builder::new().name(format!("{name}-conn")).spawn(move || {
            let _place = place;
            if let Err(fault) = converse(socket, &peer, tls, limits, &*service, stop) {
                log::debug!("{name}: {peer}: {fault}");
            }
        });
        if let Err(e) = spawned {
            log::warn!("{name}: cannot start a thread: {e}");
        }
    }
}

/// A connection's place under the cap; given back when dropped.
struct Place {
    active: Arc<AtomicUsize>,
    number: usize,
}

impl Place {
    fn take(active: &Arc<AtomicUsize>) -> Self {
        let number = active.fetch_add(1, Ordering::AcqRel) + 1;
        Self { active: Arc::clone(active), number }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.active.fetch_sub(1, Ordering::AcqRel);
    }
}

fn converse(
    socket: std::net::TcpStream,
    peer: &str,
    tls: Option<Arc<ServerConfig>>,
    limits: Limits,
    service: &dyn Service,
    stop: Stop,
) -> Result<(), Fault> {
    let mut conn = Conn::server(socket, tls, stop)?;
    if let Err(fault) = conn.handshake(limits.handshake) {
        if matches!(fault, Fault::Tls(_)) {
            log::warn!("{peer} was turned away in the handshake: {fault}");
            conn.close(limits.linger); // lets the alert arrive
        }
        return Err(fault);
    }
    let (request, early) = match read_head(&mut conn, limits.head)? {
        Some(Ok(found)) => found,
        Some(Err(bad)) => {
            let text = format!(
                "HTTP/1.1 {} {}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
                bad.status(),
                reason(bad.status())
            );
            conn.write_all(text.as_bytes(), limits.write, "answer")?;
            conn.close(limits.linger);
            log::debug!("{peer}: {bad}");
            return Ok(());
        }
        None => return Ok(()), // came and left without a word, as TCP probes do
    };
    let mut exchange = Exchange { request, peer: peer.to_owned(), conn, early, limits };
    let outcome = service.serve(&mut exchange);
    exchange.conn.close(limits.linger);
    outcome
}

type Head = Result<(Request, Vec<u8>), BadHead>;

/// The request's head and what came behind it; `None` when the peer closed before it said anything.
fn read_head(conn: &mut Conn, limit: Duration) -> Result<Option<Head>, Fault> {
    let deadline = Instant::now() + limit;
    let mut bytes = vec![0; HEAD_LIMIT_BYTES + 1];
    let mut len = 0;
    loop {
        match parse_request(&bytes[..len]) {
            Ok(Some((request, head_len))) => {
                return Ok(Some(Ok((request, bytes[head_len..len].to_vec()))));
            }
            Ok(None) => {}
            Err(bad) => return Ok(Some(Err(bad))),
        }
        let left = deadline.saturating_duration_since(Instant::now());
        match conn.read(&mut bytes[len..], left, "request head")? {
            0 if len == 0 => return Ok(None),
            0 => return Err(Fault::HungUp("closed inside the request head".to_owned())),
            more => len += more,
        }
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        404 => "Not Found",
        405 => "Method Not Allowed",
        409 => "Conflict",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        _ => "",
    }
}
