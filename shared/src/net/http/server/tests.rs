//! A server under a flood of connections, with real sockets.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustls::pki_types::CertificateDer;

use super::{Exchange, Limits, Server, Service};
use crate::net::conn::{Conn, Fault};
use crate::net::dial;
use crate::net::tls::authority::{Authority, Usage};
use crate::net::tls::name::common_name;
use crate::net::tls::suites::{Suites, Versions};
use crate::net::tls::{client, server};
use crate::process::descriptor_limit;
use crate::process::stop::Stop;

#[path = "../../../../tests/flood/mod.rs"]
mod flood;

use flood::{Flood, Sources};

/// As many as the specification of the server names.
const HELD: usize = 500;
/// For one question and its answer. Without the rules that are tested here it fails at once or after ten seconds.
const SOON: Duration = Duration::from_secs(5);
/// The beginning of a handshake that does not come to its end.
const HALF_A_HELLO: &[u8] = b"\x16\x03\x01\x02\x00";
const GET: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";

/// Answers `/healthz` at once, and everything else when it is let go.
#[derive(Default)]
struct Simple {
    is_let_go: AtomicBool,
    served: AtomicUsize,
}

impl Service for Simple {
    fn serve(&self, exchange: &mut Exchange) -> Result<(), Fault> {
        self.served.fetch_add(1, Ordering::AcqRel);
        if exchange.request.method == "POST" {
            let mut body = exchange.body()?;
            while body.next(SOON).map_err(|e| Fault::HungUp(e.to_string()))?.is_some() {}
        }
        while exchange.request.path != "/healthz" && !self.is_let_go.load(Ordering::Acquire) {
            std::thread::sleep(Duration::from_millis(5));
        }
        exchange.answer(200, "text/plain", "well")
    }

    fn knows(&self, certificates: &[CertificateDer<'static>]) -> bool {
        certificates.first().is_some_and(|leaf| common_name(leaf).is_ok_and(|name| name == "expected"))
    }
}

struct Bed {
    server: Option<Server>,
    service: Arc<Simple>,
    port: u16,
}

impl Bed {
    fn new(tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        descriptor_limit::raise_limit();
        let listener = dial::listen(Some(Ipv4Addr::LOCALHOST.into()), 0).unwrap();
        let port = listener.local_addr().unwrap().port();
        let service = Arc::new(Simple::default());
        let served: Arc<dyn Service> = Arc::clone(&service) as _;
        let server =
            Server::start("test", listener, tls.map(Into::into), Limits::default(), served, Stop::new())
                .unwrap();
        Self { server: Some(server), service, port }
    }

    /// How many connections have a thread.
    fn threads(&self) -> usize {
        self.server.as_ref().unwrap().room.len()
    }

    /// How long it takes until the server has answered; panics when it does not.
    fn ask(&self, request: &[u8]) -> Duration {
        let began = Instant::now();
        let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        socket.write_all(request).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer:?}");
        began.elapsed()
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.service.is_let_go.store(true, Ordering::Release);
        self.server.take().unwrap().shut_down(Duration::ZERO);
    }
}

/// Every one of twenty questions is answered while the flood lasts.
fn all_are_answered(from: Sources, words: &'static [u8]) {
    let bed = Bed::new(None);
    let flood = Flood::begin(bed.port, HELD, from, words);
    let mut slowest = Duration::ZERO;
    let mut threads = 0;
    for _ in 0..20 {
        slowest = slowest.max(bed.ask(GET));
        threads = threads.max(bed.threads());
    }
    assert!(slowest < SOON, "{from:?}: {slowest:?} with {} connections", flood.opened());
    let limits = Limits::default();
    assert!(threads <= limits.connections + limits.reserved + 32, "{threads} threads");
}

#[test]
fn idle_connections_of_one_address_keep_nobody_out() {
    all_are_answered(Sources::OneAddress, b"");
}

#[test]
fn idle_connections_of_many_addresses_keep_nobody_out() {
    all_are_answered(Sources::ManyAddresses, b"");
}

#[test]
fn idle_connections_of_the_same_address_keep_nobody_out() {
    all_are_answered(Sources::TheTestsAddress, b"");
}

#[test]
fn heads_that_do_not_end_keep_nobody_out() {
    all_are_answered(Sources::ManyAddresses, b"GET /healthz HTTP/1.1\r\n");
}

#[test]
fn bodies_that_do_not_come_keep_nobody_out() {
    all_are_answered(
        Sources::ManyAddresses,
        b"POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 3000000\r\n\r\n{",
    );
}

#[test]
fn answered_connections_that_do_not_close_keep_nobody_out() {
    all_are_answered(Sources::ManyAddresses, GET);
}

#[test]
fn a_request_that_is_being_served_outlasts_a_flood() {
    let bed = Bed::new(None);
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| bed.ask(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n"));
        while bed.service.served.load(Ordering::Acquire) == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        let flood = Flood::begin(bed.port, HELD, Sources::ManyAddresses, b"GET /");
        // Every other place has changed its owner.
        while flood.opened() < 2 * HELD {
            std::thread::sleep(Duration::from_millis(5));
        }
        bed.service.is_let_go.store(true, Ordering::Release);
        slow.join().unwrap();
    });
}

/// A server that asks for certificates, and connections to it with the name `name`.
fn encrypted() -> (Bed, impl Fn(&str) -> Conn) {
    let authority = Authority::new("test", 1).unwrap();
    let identity = authority.issue("server", &["localhost"], Usage::Server, 1).unwrap();
    let roots = authority.roots().unwrap();
    let config =
        server::config_asking_clients(identity, roots, Versions::default(), Suites::default()).unwrap();
    let bed = Bed::new(Some(config));
    let port = bed.port;
    let connect = move |name: &str| {
        let identity = authority.issue(name, &[], Usage::Client, 1).unwrap();
        let config = client::config(authority.roots().unwrap(), identity).unwrap();
        let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        let mut conn = Conn::client(socket, config, "localhost".try_into().unwrap(), Stop::new()).unwrap();
        conn.handshake(SOON).unwrap();
        conn
    };
    (bed, connect)
}

/// Whether the server answers on this connection.
fn is_answered(mut conn: Conn) -> bool {
    let mut answer = [0; 15];
    conn.write_all(GET, SOON, "test").is_ok()
        && matches!(conn.read(&mut answer, SOON, "test"), Ok(15) if &answer == b"HTTP/1.1 200 OK")
}

#[test]
fn the_peer_with_the_right_certificate_gets_in_and_keeps_its_place_without_a_word() {
    let (bed, connect) = encrypted();
    let _flood = Flood::begin(bed.port, HELD, Sources::ManyAddresses, HALF_A_HELLO);
    for _ in 0..20 {
        assert!(is_answered(connect("expected")));
    }
    let (expected, mut stranger) = (connect("expected"), connect("another"));
    // Both are silent, and only one of them is ended.
    assert!(stranger.read(&mut [0; 1], SOON, "test").is_err());
    assert!(is_answered(expected));
}

#[test]
fn reserved_places_do_not_become_more_than_there_are() {
    let (bed, connect) = encrypted();
    let all: Vec<Conn> = (0..Limits::default().reserved + 4).map(|_| connect("expected")).collect();
    assert!(is_answered(connect("expected")));
    let flood = Flood::begin(bed.port, HELD, Sources::ManyAddresses, HALF_A_HELLO);
    while flood.opened() < 2 * HELD {
        std::thread::sleep(Duration::from_millis(5));
    }
    let kept = all.into_iter().map(is_answered).filter(|answered| *answered).count();
    assert_eq!(kept, Limits::default().reserved);
}

#[test]
fn a_listener_of_the_standard_library_is_served_alike() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let service = Arc::new(Simple::default());
    let server =
        Server::start("test", listener, None, Limits::default(), service.clone(), Stop::new()).unwrap();
    let bed = Bed { server: Some(server), service, port };
    assert!(bed.ask(GET) < SOON);
}

#[test]
fn a_flood_of_bad_handshakes_does_not_fill_the_log() {
    use super::{TurnedAway, WARNING_PAUSE};
    let (turned_away, fault) = (TurnedAway::default(), Fault::HungUp(String::new()));
    let unsaid = || turned_away.0.lock().unwrap().count;
    (0..100).for_each(|_| turned_away.note("peer", &fault));
    assert_eq!(unsaid(), 99);
    // A second later one line tells about all of them.
    turned_away.0.lock().unwrap().said = Some(Instant::now().checked_sub(WARNING_PAUSE).unwrap());
    turned_away.note("peer", &fault);
    assert_eq!(unsaid(), 0);
}
