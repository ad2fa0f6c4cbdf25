//! The metrics server: what is served and refused, and that its clients cannot harm the clone.

use std::net::{Ipv6Addr, TcpListener, TcpStream};

use crossbeam_channel::bounded;
use decant_test_support::certificates::Pki;
use decant_test_support::flood::{Flood, Sources};
use decant_test_support::wait::found;
use decant_test_support::{HANG, until};
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use super::image::Image;
use super::process::{Running, Source};
use super::scrape::{agent, agent_with, ask, page, page_when, slow_scraper, try_page};
use super::target::{Closed, Target};

/// A source that waits for its target, and its metrics port.
fn waiting(configure: impl FnOnce(Source) -> Source) -> (Running, u16, Closed) {
    let (closed, image) = (Closed::new(), Image::with(b"content"));
    let source = Source::new(&Pki::new(), &closed.url()).block(&image.path());
    let mut running = configure(source.env("DECANT_RETRY_SECS", "600")).start();
    let port = running.metrics_port();
    // The volume is open: the image can be removed.
    running.wait_for_line("trying again");
    (running, port, closed)
}

#[test]
fn ipv4_and_ipv6_are_served() {
    let (_running, port, _closed) = waiting(|source| source);
    for host in ["127.0.0.1", "[::1]"] {
        let answer = agent().get(format!("https://{host}:{port}/metrics")).call().unwrap();
        assert_eq!(answer.status(), 200, "{host}");
        let content_type = answer.headers()["content-type"].to_str().unwrap();
        assert!(content_type.starts_with("text/plain; version=0.0.4"), "{content_type}");
    }
}

#[test]
fn known_paths_get_200_and_other_paths_and_methods_404_and_405() {
    let (_running, port, _closed) = waiting(|source| source);
    let url = |path: &str| format!("https://127.0.0.1:{port}{path}");
    let agent = agent();
    for (path, status) in [("/healthz", 200), ("/metrics?x=1", 200), ("/", 404), ("/metrics/x", 404)] {
        assert_eq!(agent.get(url(path)).call().unwrap().status(), status, "GET {path}");
    }
    assert_eq!(agent.head(url("/metrics")).call().unwrap().status(), 200);
    for path in ["/metrics", "/healthz"] {
        assert_eq!(agent.post(url(path)).send_empty().unwrap().status(), 405, "POST {path}");
        assert_eq!(agent.delete(url(path)).call().unwrap().status(), 405, "DELETE {path}");
    }
}

#[test]
fn a_head_beyond_16_kib_is_431() {
    let (_running, port, _closed) = waiting(|source| source);
    let request = format!("GET /metrics HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(16 << 10));
    let answer = ask(&mut slow_scraper(port), &request);
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

#[test]
fn a_non_http_request_is_400() {
    let (_running, port, _closed) = waiting(|source| source);
    let answer = ask(&mut slow_scraper(port), "HELO metrics\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
}

#[test]
fn a_certificate_from_files_is_used() {
    let pki = Pki::new();
    let identity = pki.server_identity(&["localhost"], 1);
    let directory = tempfile::tempdir().unwrap();
    let (certificate, key) = (directory.path().join("tls.crt"), directory.path().join("tls.key"));
    std::fs::write(&certificate, identity.chain_pem()).unwrap();
    std::fs::write(&key, identity.key_pem()).unwrap();
    let (_running, port, _closed) =
        waiting(|source| source.env("METRICS_TLS_CERT_FILE", &certificate).env("METRICS_TLS_KEY_FILE", &key));
    let root = Certificate::from_pem(pki.authority_pem.as_bytes()).unwrap();
    let trusting = TlsConfig::builder().root_certs(RootCerts::new_with_certs(&[root]));
    let answer = agent_with(trusting).get(format!("https://localhost:{port}/healthz")).call().unwrap();
    assert_eq!(answer.status(), 200);
}

#[test]
fn a_certificate_with_replaced_files_is_used_for_the_next_scrape() {
    let (first, second) = (Pki::new(), Pki::new());
    let directory = tempfile::tempdir().unwrap();
    let (certificate, key) = (directory.path().join("tls.crt"), directory.path().join("tls.key"));
    let write = |pki: &Pki| {
        let identity = pki.server_identity(&["localhost"], 1);
        std::fs::write(&certificate, identity.chain_pem()).unwrap();
        std::fs::write(&key, identity.key_pem()).unwrap();
    };
    write(&first);
    let (_running, port, _closed) =
        waiting(|source| source.env("METRICS_TLS_CERT_FILE", &certificate).env("METRICS_TLS_KEY_FILE", &key));
    let is_shown = |pki: &Pki| {
        let root = Certificate::from_pem(pki.authority_pem.as_bytes()).unwrap();
        let trusting = TlsConfig::builder().root_certs(RootCerts::new_with_certs(&[root]));
        agent_with(trusting).get(format!("https://localhost:{port}/healthz")).call().is_ok()
    };
    assert!(is_shown(&first) && !is_shown(&second));
    write(&second);
    until("the second certificate is shown", || is_shown(&second));
    assert!(!is_shown(&first));
}

#[test]
fn a_certificate_file_without_its_key_file_is_an_error() {
    let image = Image::with(b"content");
    let source = || Source::new(&Pki::new(), "https://127.0.0.1:9/").block(&image.path());
    let ended = source().env("METRICS_TLS_CERT_FILE", "/nowhere/tls.crt").run();
    ended.assert_failed(2, &["METRICS_TLS_KEY_FILE is not set"]);
    let ended = source().env("METRICS_TLS_KEY_FILE", "/nowhere/tls.key").run();
    ended.assert_failed(2, &["METRICS_TLS_CERT_FILE is not set"]);
}

#[test]
fn a_missing_metrics_certificate_file_is_named() {
    let image = Image::with(b"content");
    let source = Source::new(&Pki::new(), "https://127.0.0.1:9/").block(&image.path());
    let both = source
        .env("METRICS_TLS_CERT_FILE", "/nowhere/tls.crt")
        .env("METRICS_TLS_KEY_FILE", "/nowhere/tls.key");
    both.run().assert_failed(7, &["METRICS_TLS_CERT_FILE: cannot read /nowhere/tls.crt"]);
}

#[test]
fn a_port_in_use_is_named() {
    let taken = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let image = Image::with(b"content");
    let source = Source::new(&Pki::new(), "https://127.0.0.1:9/").block(&image.path());
    let ended = source.env("DECANT_METRICS_PORT", port.to_string()).run();
    ended.assert_failed(1, &[&format!("port {port} for metrics"), "DECANT_METRICS_PORT", "in use"]);
}

#[test]
fn a_hundred_silent_connections_do_not_harm_the_clone() {
    let (pki, closed) = (Pki::new(), Closed::new());
    let image = Image::with(b"content");
    let source = Source::new(&pki, &closed.url()).block(&image.path()).env("DECANT_RETRY_SECS", "600");
    let mut running = source.start();
    let port = running.metrics_port();
    let _silent: Vec<TcpStream> =
        (0..100).map(|_| TcpStream::connect(("127.0.0.1", port)).unwrap()).collect();
    running.wait_for_line("trying again");
    let target = closed.open(pki.server(), |server| {
        let mut connection = server.accept();
        connection.head();
        assert!(connection.body().complete);
        connection.answer(200, "");
        connection.close_notify();
    });
    running.wait().assert_done();
    target.join();
}

#[test]
fn scrapes_are_answered_despite_idle_connections() {
    let (_running, port, _closed) = waiting(|source| source);
    for (sources, raw_text) in [
        (Sources::OneAddress, b"".as_slice()),
        (Sources::ManyAddresses, b""),
        // The beginning of a handshake.
        (Sources::ManyAddresses, b"\x16\x03\x01\x02\x00"),
    ] {
        let _flood = Flood::start(port, 500, sources, raw_text);
        // Connections of the flood may take the place of one whose handshake takes long. Scrapers connect again.
        for _ in 0..10 {
            let page = found("a page", || try_page(port).ok());
            assert!(page.contains("clone_progress"));
        }
    }
}

#[test]
fn a_slow_scraper_does_not_block_others() {
    use std::io::Write;
    let (_running, port, _closed) = waiting(|source| source);
    let mut slow = slow_scraper(port);
    for byte in b"GET /metrics HTTP/1.1\r\n" {
        slow.write_all(&[*byte]).unwrap();
        slow.flush().unwrap();
    }
    assert!(page(port).contains("clone_progress"));
    assert!(ask(&mut slow, "\r\n").starts_with("HTTP/1.1 200 "));
}

#[test]
fn the_page_is_served_while_the_clone_runs() {
    let pki = Pki::new();
    let (speak, permission) = bounded(1);
    let target = Target::start(pki.server(), move |server| {
        let mut connection = server.accept();
        connection.head();
        assert!(connection.read_part_of_body(8 << 20));
        // The source cannot end before its page was read: it waits for this target.
        permission.recv_timeout(HANG).unwrap();
        assert!(connection.body().complete);
        connection.answer(200, "");
        connection.close_notify();
    });
    let image = Image::large();
    let mut running = Source::new(&pki, &target.url).block(&image.path()).start();
    let port = running.metrics_port();
    // It has no percentage before the first scan of the volume.
    page_when(port, |page| page.contains("clone_progress"));
    speak.send(()).unwrap();
    running.wait().assert_done();
    target.join();
}
