//! A server under a flood of connections, with real sockets.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use decant_test_support::flood::{Flood, Sources};
use decant_test_support::{HANG, until};
use rustls::pki_types::CertificateDer;

use super::{Exchange, Limits, Server, Service};
use crate::net::conn::{Conn, ConnError};
use crate::net::dial;
use crate::net::tls::authority::{Authority, Usage};
use crate::net::tls::common_name::common_name;
use crate::net::tls::suites::{CipherSuites, TlsVersions};
use crate::net::tls::{client, server};
use crate::process::descriptor_limit;
use crate::process::stop::Stop;

/// The number of connections in the specification of the server.
const HELD: usize = 500;
/// The start of a handshake that is never completed.
const PARTIAL_HELLO: &[u8] = b"\x16\x03\x01\x02\x00";
const GET: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";

/// Limits with which a silent connection keeps its slot for longer than any test, unless the rules under test evict it.
fn patient_limits() -> Limits {
    Limits { opening: 2 * HANG, ..Limits::default() }
}

/// Answers `/healthz` at once, and other paths after `is_released` is set.
#[derive(Default)]
struct TestService {
    is_released: AtomicBool,
    served: AtomicUsize,
}

impl Service for TestService {
    fn serve(&self, exchange: &mut Exchange) -> Result<(), ConnError> {
        self.served.fetch_add(1, Ordering::AcqRel);
        if exchange.request.method == "POST" {
            let mut body = exchange.body()?;
            while body.next(HANG).map_err(|e| ConnError::HungUp(e.to_string()))?.is_some() {}
        }
        while exchange.request.path != "/healthz" && !self.is_released.load(Ordering::Acquire) {
            std::thread::sleep(Duration::from_millis(5));
        }
        exchange.answer(200, "text/plain", "ok")
    }

    fn knows(&self, certificates: &[CertificateDer<'static>]) -> bool {
        certificates.first().is_some_and(|leaf| common_name(leaf).is_ok_and(|name| name == "expected"))
    }
}

struct TestServer {
    server: Option<Server>,
    service: Arc<TestService>,
    port: u16,
}

impl TestServer {
    fn new(tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        descriptor_limit::raise_limit();
        let listener = dial::listen(Some(Ipv4Addr::LOCALHOST.into()), 0).unwrap();
        let port = listener.local_addr().unwrap().port();
        let service = Arc::new(TestService::default());
        let served: Arc<dyn Service> = Arc::clone(&service) as _;
        let server =
            Server::start("test", listener, tls.map(Into::into), patient_limits(), served, Stop::new())
                .unwrap();
        Self { server: Some(server), service, port }
    }

    /// How many connections have a thread.
    fn threads(&self) -> usize {
        self.server.as_ref().unwrap().slots.len()
    }

    /// Sends a request; panics without an answer.
    fn get_answer(&self, request: &[u8]) {
        let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap();
        socket.set_read_timeout(Some(HANG)).unwrap();
        socket.write_all(request).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer:?}");
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.service.is_released.store(true, Ordering::Release);
        self.server.take().unwrap().shut_down(Duration::ZERO);
    }
}

/// Asserts that twenty requests are answered during a flood of connections that send `data`.
fn assert_all_are_answered(from: Sources, data: &'static [u8]) {
    let server = TestServer::new(None);
    let _flood = Flood::start(server.port, HELD, from, data);
    let mut threads = 0;
    for _ in 0..20 {
        server.get_answer(GET);
        threads = threads.max(server.threads());
    }
    let limits = Limits::default();
    assert!(threads <= limits.connections + limits.reserved + 32, "{from:?}: {threads} threads");
}

#[test]
fn requests_are_answered_during_a_flood_of_idle_connections_of_one_address() {
    assert_all_are_answered(Sources::OneAddress, b"");
}

#[test]
fn requests_are_answered_during_a_flood_of_idle_connections_of_many_addresses() {
    assert_all_are_answered(Sources::ManyAddresses, b"");
}

#[test]
fn requests_are_answered_during_a_flood_of_idle_connections_of_the_same_address() {
    assert_all_are_answered(Sources::TestAddress, b"");
}

#[test]
fn requests_are_answered_during_a_flood_of_incomplete_heads() {
    assert_all_are_answered(Sources::ManyAddresses, b"GET /healthz HTTP/1.1\r\n");
}

#[test]
fn requests_are_answered_during_a_flood_of_missing_bodies() {
    assert_all_are_answered(
        Sources::ManyAddresses,
        b"POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 3000000\r\n\r\n{",
    );
}

#[test]
fn requests_are_answered_during_a_flood_of_answered_connections_that_stay_open() {
    assert_all_are_answered(Sources::ManyAddresses, GET);
}

#[test]
fn a_request_that_is_being_served_survives_a_flood() {
    let server = TestServer::new(None);
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| server.get_answer(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n"));
        until("the slow request is served", || server.service.served.load(Ordering::Acquire) > 0);
        let flood = Flood::start(server.port, HELD, Sources::ManyAddresses, b"GET /");
        until("all other slots have been reassigned", || flood.opened() >= 2 * HELD);
        server.service.is_released.store(true, Ordering::Release);
        slow.join().unwrap();
    });
}

/// A server that requests client certificates, and a function that connects to it as `name`.
fn encrypted() -> (TestServer, impl Fn(&str) -> Result<Conn, ConnError>) {
    let authority = Authority::new("test", 1).unwrap();
    let identity = authority.issue("server", &["localhost"], Usage::Server, 1).unwrap();
    let roots = authority.roots().unwrap();
    let config = server::config_with_optional_client_auth(
        identity,
        roots,
        TlsVersions::default(),
        CipherSuites::default(),
    )
    .unwrap();
    let server = TestServer::new(Some(config));
    let port = server.port;
    let connect = move |name: &str| {
        let identity = authority.issue(name, &[], Usage::Client, 1).unwrap();
        let config = client::config(authority.roots().unwrap(), identity).unwrap();
        let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        let mut conn = Conn::client(socket, config, "localhost".try_into().unwrap(), Stop::new())?;
        conn.handshake(HANG)?;
        Ok(conn)
    };
    (server, connect)
}

/// Whether the server answers on this connection.
fn is_answered(mut conn: Conn) -> bool {
    let mut answer = [0; 15];
    conn.write_all(GET, HANG, "test").is_ok()
        && matches!(conn.read(&mut answer, HANG, "test"), Ok(15) if &answer == b"HTTP/1.1 200 OK")
}

#[test]
fn a_peer_with_the_expected_certificate_gets_a_slot_and_keeps_it_while_silent() {
    let (server, connect) = encrypted();
    let _flood = Flood::start(server.port, HELD, Sources::ManyAddresses, PARTIAL_HELLO);
    // Connections of the flood may take its place before the server sees its certificate. Senders connect again.
    for _ in 0..20 {
        until("the expected peer is answered", || connect("expected").is_ok_and(is_answered));
    }
    // Both are silent; only the stranger is evicted.
    until("the expected peer keeps its slot", || {
        let (Ok(expected), Ok(mut stranger)) = (connect("expected"), connect("another")) else {
            return false;
        };
        assert!(stranger.read(&mut [0; 1], HANG, "test").is_err());
        is_answered(expected)
    });
}

#[test]
fn the_number_of_reserved_slots_is_limited() {
    let (server, connect) = encrypted();
    let all: Vec<Conn> = (0..Limits::default().reserved + 4).map(|_| connect("expected").unwrap()).collect();
    assert!(is_answered(connect("expected").unwrap()));
    let flood = Flood::start(server.port, HELD, Sources::ManyAddresses, PARTIAL_HELLO);
    until("all other slots have been reassigned", || flood.opened() >= 2 * HELD);
    let kept = all.into_iter().map(is_answered).filter(|answered| *answered).count();
    assert_eq!(kept, Limits::default().reserved);
}

#[test]
fn a_listener_of_the_standard_library_is_served() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let service = Arc::new(TestService::default());
    let server =
        Server::start("test", listener, None, Limits::default(), service.clone(), Stop::new()).unwrap();
    let server = TestServer { server: Some(server), service, port };
    server.get_answer(GET);
}

#[test]
fn a_flood_of_bad_handshakes_does_not_fill_the_log() {
    use super::{HandshakeFailureLog, WARNING_PAUSE};
    let failures = HandshakeFailureLog::default();
    let error = ConnError::HungUp(String::new());
    let suppressed = || failures.0.lock().unwrap().suppressed;
    (0..100).for_each(|_| failures.record("peer", &error));
    assert_eq!(suppressed(), 99);
    // A second later one line reports all of them.
    failures.0.lock().unwrap().last_warning = Some(Instant::now().checked_sub(WARNING_PAUSE).unwrap());
    failures.record("peer", &error);
    assert_eq!(suppressed(), 0);
}
