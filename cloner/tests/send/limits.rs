//! Orders of the controller about the bandwidth limit, sent to the real metrics port of a running source.

use decant_shared::protocol::limit_order::{
    KEY_VARIABLE, LIMIT_METRIC, LimitOrder, LimitSigner, POD_UID_VARIABLE, SEQUENCE_METRIC,
};
use decant_shared::protocol::units::Rate;
use decant_test_support::certificates::Pki;

use super::image::Image;
use super::process::{Running, Source};
use super::scrape::{agent, samples};
use super::target::Closed;

const POD_UID: &str = "8d3f0c52-1f4f-4f53-9a3e-0c3ff1f1e0aa";

fn signer(seed: u8) -> LimitSigner {
    LimitSigner::from_seed(&[seed; 32]).unwrap()
}

/// A source with a limit of 5000 B/s that waits for its target, and its metrics port.
fn waiting() -> (Running, u16, Closed) {
    let (closed, image) = (Closed::new(), Image::with(b"content"));
    let source = Source::new(&Pki::new(), &closed.url()).block(&image.path()).env("DECANT_LIMIT", "5000");
    let source = source.env(KEY_VARIABLE, signer(1).public_key()).env(POD_UID_VARIABLE, POD_UID);
    let mut running = source.env("DECANT_RETRY_SECS", "600").start();
    let port = running.metrics_port();
    running.wait_for_line("trying again");
    (running, port, closed)
}

/// Limit and number on the page that answers `query`.
fn polled(port: u16, query: &str) -> (u64, u64) {
    let mut answer = agent().get(format!("https://127.0.0.1:{port}/metrics?{query}")).call().unwrap();
    assert_eq!(answer.status(), 200, "{query}");
    let page = answer.body_mut().read_to_string().unwrap();
    let number = |name: &str| samples(&page)[name].parse().unwrap();
    (number(LIMIT_METRIC), number(SEQUENCE_METRIC))
}

#[test]
fn the_answer_to_an_order_shows_that_it_was_followed() {
    let (_running, port, _closed) = waiting();
    assert_eq!(polled(port, ""), (5000, 0));
    let order = |sequence: u64, limit: Option<Rate>| {
        polled(port, &LimitOrder { sequence, limit }.query(POD_UID, &signer(1)))
    };
    assert_eq!(order(7, Some(Rate(70_000))), (70_000, 7));
    assert_eq!(order(7, Some(Rate(9_000))), (70_000, 7), "a number that was used");
    assert_eq!(order(6, None), (70_000, 7), "a replay");
    assert_eq!(order(8, None), (0, 8));
    assert_eq!(polled(port, ""), (0, 8));
}

#[test]
fn an_order_that_the_controller_did_not_sign_for_this_pod_changes_nothing() {
    let (_running, port, _closed) = waiting();
    let order = LimitOrder { sequence: u64::MAX, limit: Some(Rate(1)) };
    for query in [
        order.query(POD_UID, &signer(2)),
        order.query("another pod", &signer(1)),
        order.query(POD_UID, &signer(1)).replace(".1.", ".2."),
        "limit=1.1.00".to_owned(),
        format!("limit={}", "9".repeat(8000)),
    ] {
        assert_eq!(polled(port, &query), (5000, 0), "{query}");
    }
}

#[test]
fn a_key_that_is_no_key_is_an_error_at_the_start() {
    let image = Image::with(b"content");
    let source = || Source::new(&Pki::new(), "https://127.0.0.1:9/").block(&image.path());
    let ended = source().env(KEY_VARIABLE, "key").env(POD_UID_VARIABLE, POD_UID).run();
    ended.assert_failed(2, &["DECANT_LIMIT_KEY is not a public key"]);
    let ended = source().env(KEY_VARIABLE, signer(1).public_key()).run();
    ended.assert_failed(2, &["DECANT_POD_UID is not set"]);
}
