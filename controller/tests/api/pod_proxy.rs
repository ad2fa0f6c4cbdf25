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

use crate::ground::Ground;

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

fn serve(ground: &Ground, delay: Duration) -> (Server, u16) {
    let identity = Authority::new("test", 1).unwrap().issue("pod", &["pod"], Usage::Server, 1).unwrap();
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let tls = Some(config_without_client_auth(identity).unwrap().into());
    let service = Arc::new(Page(delay));
    let server = Server::start("page", listener, tls, Limits::default(), service, Stop::new()).unwrap();
    ground.create_pod(&ground.pod("p", &json!({})));
    let address = own_address().to_string();
    let status = json!({ "status": {
        "phase": "Running", "podIP": address, "podIPs": [{ "ip": address }],
    }});
    ground.cluster.patch(Kind::Pod, &ground.key("p"), Part::Status, &status).unwrap();
    (server, port)
}

#[test]
fn a_page_comes_through_the_proxy_and_one_that_is_too_long_does_not() {
    let ground = Ground::new();
    let (server, port) = serve(&ground, Duration::ZERO);
    let whole = ground.cluster.pod_proxy(&ground.key("p"), port, "/metrics", LIMIT, 1 << 20).unwrap();
    assert_eq!(whole.len(), 100_000);
    let error = ground.cluster.pod_proxy(&ground.key("p"), port, "/metrics", LIMIT, 1_234).unwrap_err();
    assert_eq!((error.code, error.reason.as_str()), (0, "TooLong"));
    server.shut_down(LIMIT);
}

#[test]
fn a_pod_that_does_not_answer_has_the_time_it_was_given() {
    let ground = Ground::new();
    let (server, port) = serve(&ground, Duration::from_secs(4));
    let asked = Instant::now();
    let limit = Duration::from_millis(500);
    let error = ground.cluster.pod_proxy(&ground.key("p"), port, "/metrics", limit, 1 << 20).unwrap_err();
    assert_eq!((error.code, error.reason.as_str()), (0, "Timeout"));
    assert!(asked.elapsed() < Duration::from_secs(2));
    server.shut_down(LIMIT);
}

#[test]
fn a_pod_that_is_not_there_is_not_found() {
    let ground = Ground::new();
    let error = ground.cluster.pod_proxy(&ground.key("p"), 8443, "/metrics", LIMIT, 1 << 20).unwrap_err();
    assert!(error.is_not_found(), "{error:?}");
}
