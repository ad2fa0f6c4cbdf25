//! Which targets the source trusts, and what it reports if it is not trusted itself.

use std::io::{Read, Write};

use decant_test_support::certificates::Pki;
use rustls::version::{TLS12, TLS13};

use super::image::Image;
use super::process::{Outcome, Source};
use super::target::Target;

/// A source that trusts and identifies itself by `ours`, and a target with the server configuration `tls`.
fn run_against(ours: &Pki, tls: std::sync::Arc<rustls::ServerConfig>) -> Outcome {
    let target = Target::start(tls, |server| {
        let mut connection = server.accept();
        if connection.try_head().is_ok() && connection.body().complete {
            connection.answer(200, "");
            connection.close_notify();
        }
    });
    let image = Image::with(b"content");
    let ended = Source::new(ours, &target.url).block(&image.path()).run();
    target.join();
    ended
}

#[test]
fn a_target_of_another_authority_is_not_trusted() {
    let ended = run_against(&Pki::new(), Pki::new().server());
    ended.assert_failed(7, &["the certificate of the target", "not trusted", "SERVER_CA_CERT"]);
}

#[test]
fn a_target_with_another_name_is_not_trusted() {
    let pki = Pki::new();
    let tls = pki.server_as(pki.server_identity(&["elsewhere.test"], 1), rustls::DEFAULT_VERSIONS);
    run_against(&pki, tls).assert_failed(7, &["the certificate of the target", "not valid for", "127.0.0.1"]);
}

#[test]
fn a_target_whose_certificate_has_expired_is_not_trusted() {
    let pki = Pki::new();
    let tls = pki.server_as(pki.server_identity(&["127.0.0.1"], -1), rustls::DEFAULT_VERSIONS);
    run_against(&pki, tls).assert_failed(7, &["the certificate of the target", "expired"]);
}

#[test]
fn a_target_that_refuses_our_certificate_is_reported() {
    for version in [&TLS12, &TLS13] {
        let (ours, theirs) = (Pki::new(), Pki::new());
        let tls = theirs.server_as(ours.server_identity(&["127.0.0.1"], 1), &[version]);
        let parts = ["does not trust our certificate", "CLIENT_CERT"];
        run_against(&ours, tls).assert_failed(7, &parts);
    }
}

#[test]
fn a_target_that_refuses_our_certificate_is_reported_with_much_unsent() {
    let (ours, theirs) = (Pki::new(), Pki::new());
    let tls = theirs.server_as(ours.server_identity(&["127.0.0.1"], 1), rustls::DEFAULT_VERSIONS);
    let target = Target::start(tls, |server| {
        let mut connection = server.accept();
        assert!(connection.try_head().is_err());
        connection.reset();
    });
    let image = Image::large();
    let ended = Source::new(&ours, &target.url).block(&image.path()).run();
    target.join();
    ended.assert_failed(7, &["does not trust our certificate"]);
}

#[test]
fn tls_1_2_and_1_3_targets_work() {
    for version in [&TLS12, &TLS13] {
        let pki = Pki::new();
        let tls = pki.server_as(pki.server_identity(&["127.0.0.1"], 1), &[version]);
        run_against(&pki, tls).assert_done();
    }
}

#[test]
fn a_target_is_verified_by_its_dns_name() {
    let pki = Pki::new();
    let tls = pki.server_as(pki.server_identity(&["localhost"], 1), rustls::DEFAULT_VERSIONS);
    let target = Target::start(tls, |server| {
        let mut connection = server.accept();
        connection.head();
        connection.body();
        connection.answer(200, "");
        connection.close_notify();
    });
    let url = target.url.replace("127.0.0.1", "localhost");
    let image = Image::with(b"content");
    Source::new(&pki, &url).block(&image.path()).run().assert_done();
}

#[test]
fn a_plain_http_target_is_refused() {
    let pki = Pki::new();
    let target = Target::start(pki.server(), |server| {
        let mut socket = server.accept_plain();
        let mut hello = [0; 16];
        socket.read_exact(&mut hello).unwrap();
        socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
    });
    let image = Image::with(b"content");
    let ended = Source::new(&pki, &target.url).block(&image.path()).run();
    target.join();
    ended.assert_failed(7, &["TLS with the target at 127.0.0.1"]);
}
