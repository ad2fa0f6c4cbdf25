//! Targets that are not there yet, busy, or stuck.

use std::io::Read;
use std::time::{Duration, Instant};

use decant_test_support::certificates::Pki;

use super::image::Image;
use super::process::Source;
use super::target::{Closed, Connection, Target, TestServer};

fn accept_all(server: &TestServer) {
    let mut connection = server.accept();
    connection.head();
    assert!(connection.body().complete);
    connection.answer(200, "");
    connection.close_notify();
}

#[test]
fn a_late_target_is_found_by_the_same_process() {
    let (pki, closed) = (Pki::new(), Closed::new());
    let image = Image::with(b"content");
    let source = Source::new(&pki, &closed.url()).block(&image.path()).env("DECANT_RETRY_SECS", "60");
    let mut running = source.start();
    // After pauses of 0.5, 1 and 2 seconds the next attempt finds it.
    for pause in ["0.5 s", "1.0 s"] {
        let line = running.wait_for_line("trying again in ");
        assert!(line.contains("refused") && line.ends_with(pause), "{line}");
    }
    let target = closed.open(pki.server(), accept_all);
    running.wait().assert_done();
    target.join();
}

#[test]
fn a_busy_target_is_retried() {
    let pki = Pki::new();
    let target = Target::start(pki.server(), |server| {
        for end in [Connection::close_notify, Connection::reset] {
            let mut connection = server.accept();
            connection.head();
            connection.answer(503, "another transfer is running");
            end(connection);
        }
        accept_all(server);
    });
    let image = Image::large();
    Source::new(&pki, &target.url).block(&image.path()).env("DECANT_RETRY_SECS", "60").run().assert_done();
    target.join();
}

#[test]
fn a_target_that_closes_during_the_handshake_is_retried() {
    let pki = Pki::new();
    let target = Target::start(pki.server(), |server| {
        drop(server.accept_plain());
        accept_all(server);
    });
    let image = Image::with(b"content");
    Source::new(&pki, &target.url).block(&image.path()).env("DECANT_RETRY_SECS", "60").run().assert_done();
    target.join();
}

#[test]
fn after_the_last_retry_the_connection_error_is_reported() {
    let (pki, closed, image) = (Pki::new(), Closed::new(), Image::with(b"content"));
    let ended = Source::new(&pki, &closed.url()).block(&image.path()).env("DECANT_RETRY_SECS", "1").run();
    ended.assert_failed(5, &["cannot reach the target at 127.0.0.1", "refused"]);
    assert!(ended.log.iter().any(|line| line.contains("trying again")), "{ended:?}");
}

#[test]
fn after_the_last_retry_the_answer_of_a_busy_target_is_reported() {
    let pki = Pki::new();
    let target = Target::start(pki.server(), |server| {
        // For as long as the test runs.
        loop {
            let mut connection = server.accept();
            connection.head();
            connection.answer(503, "another transfer is running");
            connection.close_notify();
        }
    });
    let image = Image::with(b"content");
    let ended = Source::new(&pki, &target.url).block(&image.path()).env("DECANT_RETRY_SECS", "3").run();
    ended.assert_failed(6, &["503", "another transfer is running"]);
    assert!(ended.log.iter().any(|line| line.contains("trying again")), "{ended:?}");
}

#[test]
fn a_host_without_an_address_is_named() {
    let image = Image::with(b"content");
    let ended =
        Source::new(&Pki::new(), "https://nowhere.invalid:8443/v1beta1/upload").block(&image.path()).run();
    ended.assert_failed(5, &["cannot reach the target at nowhere.invalid:8443"]);
}

#[test]
fn a_permanent_refusal_is_not_retried() {
    let pki = Pki::new();
    let target = Target::start(pki.server(), |server| {
        let mut connection = server.accept();
        connection.head();
        connection.answer(409, "the transfer is done");
        connection.close_notify();
    });
    let image = Image::with(b"content");
    let ended = Source::new(&pki, &target.url).block(&image.path()).env("DECANT_RETRY_SECS", "60").run();
    target.join();
    ended.assert_failed(6, &["409"]);
    assert!(!ended.log.iter().any(|line| line.contains("trying again")));
}

#[test]
fn a_target_that_stops_reading_times_out() {
    let pki = Pki::new();
    let target = Target::start(pki.server(), |server| {
        let mut connection = server.accept();
        connection.head();
        connection.chunk().unwrap();
        connection
    });
    let image = Image::large();
    let ended = Source::new(&pki, &target.url).block(&image.path()).env("DECANT_STALL_SECS", "1").run();
    target.join();
    ended.assert_failed(5, &["no progress for 1 s (upload)"]);
}

#[test]
fn a_target_that_never_answers_times_out() {
    let pki = Pki::new();
    let target = Target::start(pki.server(), |server| {
        let mut connection = server.accept();
        connection.head();
        assert!(connection.body().complete);
        connection
    });
    let image = Image::with(b"content");
    let ended = Source::new(&pki, &target.url).block(&image.path()).env("DECANT_ANSWER_SECS", "3").run();
    target.join();
    ended.assert_failed(5, &["no progress for 3 s (wait for the answer)"]);
}

#[test]
fn endless_interim_responses_time_out() {
    let pki = Pki::new();
    let target = Target::start(pki.server(), |server| {
        let mut connection = server.accept();
        connection.head();
        assert!(connection.body().complete);
        // Ends when the source has hung up.
        while connection.try_send("HTTP/1.1 102 Processing\r\n\r\n").is_ok() {
            std::thread::sleep(Duration::from_millis(300));
        }
    });
    let image = Image::with(b"content");
    let ended = Source::new(&pki, &target.url).block(&image.path()).env("DECANT_ANSWER_SECS", "3").run();
    target.join();
    ended.assert_failed(5, &["no progress for 3 s (wait for the answer)"]);
}

#[test]
fn a_slow_target_does_not_time_out() {
    let pki = Pki::new();
    let target = Target::start(pki.server(), |server| {
        let mut connection = server.accept();
        connection.head();
        let start = Instant::now();
        // Slower than the limit for a write that moves nothing, with something moving all the time.
        while let Some(chunk) = connection.chunk().unwrap() {
            let due = Duration::from_micros(chunk.len() as u64 / 13);
            std::thread::sleep(due);
        }
        let elapsed = start.elapsed();
        connection.answer(200, "");
        connection.close_notify();
        elapsed
    });
    let image = Image::large();
    let ended = Source::new(&pki, &target.url).block(&image.path()).env("DECANT_STALL_SECS", "4").run();
    ended.assert_done();
    assert!(target.join() > Duration::from_secs(4));
}

#[test]
fn a_signal_ends_a_source_with_a_silent_target() {
    let pki = Pki::new();
    let target = Target::start(pki.server(), |server| {
        let mut socket = server.accept_plain();
        socket.read_to_end(&mut Vec::new()).unwrap();
    });
    let image = Image::with(b"content");
    let mut running = Source::new(&pki, &target.url).block(&image.path()).start();
    running.wait_for_line("sending ");
    let ended = running.terminate();
    target.join();
    ended.assert_failed(143, &["stopped by SIGTERM"]);
}
