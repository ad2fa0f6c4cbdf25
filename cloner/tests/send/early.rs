//! Targets that answer before they have read everything: their text is what the user reads.

use decant_test_support::certificates::Pki;

use super::image::Image;
use super::process::{Outcome, Source};
use super::target::{Body, Connection, Target};

const REFUSALS: [(u16, &str); 5] = [
    (400, "Saving stream failed: effective image size is larger than the reported available storage: 9 < 10"),
    (401, ""),
    (409, "the transfer is done"),
    (500, "Saving stream failed: \"disk.img\" exists"),
    (503, "another transfer is running"),
];

/// Sends 10 GiB to a target that answers `raw_text` when it has read the head and then ends the call.
fn answered(raw_text: String, end: fn(Connection)) -> Outcome {
    let pki = Pki::new();
    let target = Target::start(pki.server(), move |server| {
        let mut connection = server.accept();
        connection.head();
        connection.chunk().unwrap();
        connection.send(&raw_text);
        end(connection);
    });
    let image = Image::hole(10 << 30);
    let ended = Source::new(&pki, &target.url).block(&image.path()).run();
    target.join();
    ended
}

fn assert_every_refusal_is_reported(end: fn(Connection)) {
    for (status, text) in REFUSALS {
        let len = text.len();
        let ended = answered(format!("HTTP/1.1 {status} W\r\nContent-Length: {len}\r\n\r\n{text}"), end);
        ended.assert_failed(6, &[&format!("the target answered {status}"), text]);
    }
}

#[test]
fn a_refusal_followed_by_close_notify_is_reported_with_its_text() {
    assert_every_refusal_is_reported(Connection::close_notify);
}

#[test]
fn a_refusal_followed_by_a_plain_close_is_reported_with_its_text() {
    assert_every_refusal_is_reported(Connection::close);
}

#[test]
fn a_refusal_followed_by_a_reset_is_reported_with_its_text() {
    assert_every_refusal_is_reported(Connection::reset);
}

#[test]
fn a_refusal_whose_text_ends_with_the_connection_is_reported_with_its_text() {
    for end in [Connection::close_notify, Connection::close] {
        let ended = answered("HTTP/1.1 500 W\r\n\r\nno more paper".to_owned(), end);
        ended.assert_failed(6, &["the target answered 500: no more paper"]);
    }
}

#[test]
fn a_chunked_multi_line_refusal_is_reported_as_one_line() {
    let raw_text = "HTTP/1.1 500 W\r\nTransfer-Encoding: chunked\r\n\r\n4\r\none\n\r\n3\r\ntwo\r\n0\r\n\r\n";
    answered(raw_text.to_owned(), Connection::close_notify)
        .assert_failed(6, &["the target answered 500: one two"]);
}

#[test]
fn a_very_long_refusal_fits_the_termination_message() {
    let text = format!("why: {}", "x".repeat(1 << 20));
    let ended = answered(
        format!("HTTP/1.1 500 W\r\nContent-Length: {}\r\n\r\n{text}", text.len()),
        Connection::reset,
    );
    ended.assert_failed(6, &["the target answered 500: why: xxxx"]);
    assert!(ended.termination_message.len() <= 4096);
}

#[test]
fn an_early_2xx_fails_the_clone_of_a_block_device() {
    let ended = answered("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_owned(), Connection::close_notify);
    ended.assert_failed(6, &["200 before it had all the data"]);
}

#[test]
fn an_early_2xx_completes_the_clone_of_a_filesystem() {
    for end in [Connection::close_notify, Connection::close, Connection::reset] {
        let pki = Pki::new();
        let target = Target::start(pki.server(), move |server| {
            let mut connection = server.accept();
            connection.head();
            connection.answer(200, "");
            end(connection);
        });
        let image = Image::large();
        let ended = Source::new(&pki, &target.url).filesystem(image.directory.path()).run();
        target.join();
        ended.assert_done();
        assert!(ended.log.iter().any(|line| line.contains("WARN") && line.contains("disk.img")));
    }
}

#[test]
fn a_connection_cut_without_an_answer_is_a_failure_of_the_target() {
    for end in [Connection::close_notify, Connection::close, Connection::reset] {
        answered(String::new(), end).assert_failed(5, &["hung up without an answer"]);
    }
}

#[test]
fn an_incomplete_answer_is_no_answer() {
    let ended = answered("HTTP/1.1 200 OK\r\nContent-Le".to_owned(), Connection::close_notify);
    ended.assert_failed(5, &["hung up without an answer"]);
}

#[test]
fn a_non_http_answer_is_reported() {
    for raw_text in ["SSH-2.0-OpenSSH_9.6\r\n\r\n", "\0\u{1}\u{2}\u{3}\r\n\r\n"] {
        answered(raw_text.to_owned(), Connection::close_notify).assert_failed(5, &["malformed answer"]);
    }
}

#[test]
fn an_answer_with_an_endless_head_is_reported() {
    let raw_text = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(20 << 10));
    answered(raw_text, Connection::close_notify).assert_failed(5, &["malformed answer"]);
}

/// Sends a few bytes to a target that reads them all before it answers `raw_text`.
fn answered_at_the_end(raw_text: &'static str) -> Outcome {
    let pki = Pki::new();
    let target = Target::start(pki.server(), move |server| {
        let mut connection = server.accept();
        connection.head();
        assert!(connection.body().complete);
        connection.send(raw_text);
        connection.close_notify();
    });
    let image = Image::with(b"content");
    let ended = Source::new(&pki, &target.url).block(&image.path()).run();
    target.join();
    ended
}

#[test]
fn interim_responses_before_the_final_one_are_skipped() {
    let raw_text = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n\
                 HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    answered_at_the_end(raw_text).assert_done();
}

#[test]
fn interim_responses_do_not_hide_a_refusal() {
    let raw_text = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 507 Full\r\nContent-Length: 4\r\n\r\nfull";
    answered_at_the_end(raw_text).assert_failed(6, &["the target answered 507: full"]);
}

#[test]
fn an_interim_response_does_not_end_the_upload() {
    let pki = Pki::new();
    let target = Target::start(pki.server(), |server| {
        let mut connection = server.accept();
        connection.head();
        connection.chunk().unwrap();
        connection.send("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n");
        let body = connection.body();
        connection.answer(200, "");
        connection.close_notify();
        body
    });
    let image = Image::large();
    Source::new(&pki, &target.url).block(&image.path()).run().assert_done();
    // The first chunk, the stream identifier, was read before.
    let wire = [b"\xff\x06\x00\x00sNaPpY", target.join().wire.as_slice()].concat();
    assert!(Body { wire, complete: true }.content() == std::fs::read(image.path()).unwrap());
}

#[test]
fn a_refusal_after_an_interim_response_is_reported() {
    let raw_text = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 409 Done\r\nContent-Length: 4\r\n\r\ndone";
    answered(raw_text.to_owned(), Connection::reset).assert_failed(6, &["the target answered 409"]);
}

#[test]
fn a_redirect_is_a_refusal() {
    let raw_text = "HTTP/1.1 307 Elsewhere\r\nLocation: https://localhost/\r\nContent-Length: 0\r\n\r\n";
    answered_at_the_end(raw_text).assert_failed(6, &["the target answered 307"]);
}
