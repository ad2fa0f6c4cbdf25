//! The way to a pod through the API server. The pod is no more than an object whose address is this machine's, where
//! the test serves what a pod would.

use std::net::{IpAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use decant_controller::api::cluster::{Cluster, Part};
use decant_controller::objects::Kind;
use decant_shared::net::conn::ConnError;
use decant_shared::net::http::server::{Exchange, Limits, Server, Service};
use decant_shared::net::tls::authority::{Authority, Usage};
use decant_shared::net::tls::server::config_without_client_auth;
use decant_shared::process::stop::Stop;
use serde_json::json;

use crate::sandbox::Sandbox;

const LIMIT: Duration = Duration::from_secs(5);

/// Answers after a while.
struct Page(Duration);

impl Service for Page {
    fn serve(&self, exchange: &mut Exchange) -> Result<(), ConnError> {
        std::thread::sleep(self.0);
        exchange.answer(200, "text/plain", &"0123456789".repeat(10_000))
    }
}

/// An address that the API server reaches and accepts; it refuses loopback ones.
fn own_address() -> IpAddr {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect("192.0.2.1:9").expect("this machine has no address besides loopback");
    socket.local_addr().unwrap().ip()
}

fn serve(sandbox: &Sandbox, delay: Duration) -> (Server, u16) {
    let identity = Authority::new("test", 1).unwrap().issue("pod", &["pod"], Usage::Server, 1).unwrap();
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let tls = Some(config_without_client_auth(identity).unwrap().into());
    let service = Arc::new(Page(delay));
    let server = Server::start("page", listener, tls, Limits::default(), service, Stop::new()).unwrap();
    sandbox.create_pod(&sandbox.pod("p", &json!({})));
    let address = own_address().to_string();
    let status = json!({ "status": {
        "phase": "Running", "podIP": address, "podIPs": [{ "ip": address }],
    }});
    sandbox.cluster.patch(Kind::Pod, &sandbox.key("p"), Part::Status, &status).unwrap();
    (server, port)
}

#[test]
fn the_pod_proxy_returns_a_page_and_refuses_a_too_long_one() {
    let sandbox = Sandbox::new();
    let (server, port) = serve(&sandbox, Duration::ZERO);
    let whole = sandbox.cluster.pod_proxy(&sandbox.key("p"), port, "/metrics", LIMIT, 1 << 20).unwrap();
    assert_eq!(whole.len(), 100_000);
    let error = sandbox.cluster.pod_proxy(&sandbox.key("p"), port, "/metrics", LIMIT, 1_234).unwrap_err();
    assert_eq!((error.code, error.reason.as_str()), (0, "TooLong"));
    server.shut_down(LIMIT);
}

#[test]
fn a_pod_that_does_not_answer_times_out() {
    let sandbox = Sandbox::new();
    let (server, port) = serve(&sandbox, Duration::from_secs(15));
    let asked = Instant::now();
    let limit = Duration::from_millis(500);
    let error = sandbox.cluster.pod_proxy(&sandbox.key("p"), port, "/metrics", limit, 1 << 20).unwrap_err();
    assert_eq!((error.code, error.reason.as_str()), (0, "Timeout"));
    assert!(asked.elapsed() < Duration::from_secs(10));
    server.shut_down(LIMIT);
}

#[test]
fn a_missing_pod_is_not_found() {
    let sandbox = Sandbox::new();
    let error = sandbox.cluster.pod_proxy(&sandbox.key("p"), 8443, "/metrics", LIMIT, 1 << 20).unwrap_err();
    assert!(error.is_not_found(), "{error:?}");
}
