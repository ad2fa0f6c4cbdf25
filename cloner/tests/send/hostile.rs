//! Targets that try to hold their source: with interim responses, with one digest per answer, with single bytes, with
//! impossible progress.

use std::time::Duration;

use decant_test_support::certificates::Pki;

use super::image::Image;
use super::process::Source;
use super::target::{Connection, Target, TestServer};

const GREETING: &str = "decant 1\nholes\ndigest\nresume\nprogress\nattributes\n";

#[test]
fn interim_responses_do_not_extend_the_write_timeout() {
    let pki = Pki::new();
    let target = Target::start(pki.server(), |server| {
        let mut connection = server.accept();
        connection.head();
        // It reads nothing. Ends when the source has hung up.
        while connection.try_send("HTTP/1.1 100 Continue\r\n\r\n").is_ok() {
            std::thread::sleep(Duration::from_millis(400));
        }
    });
    let image = Image::large();
    let source = Source::new(&pki, &target.url).block(&image.path()).env("DECANT_STALL_SECS", "2");
    let ended = source.run();
    target.join();
    ended.assert_failed(5, &["no progress for 2 s (upload)"]);
}

#[test]
fn too_many_interim_responses_end_an_upload() {
    for reads in [true, false] {
        let pki = Pki::new();
        let target = Target::start(pki.server(), move |server| {
            let mut connection = server.accept();
            connection.head();
            if reads {
                assert!(connection.body().complete);
            }
            while connection.try_send(&"HTTP/1.1 102 Processing\r\n\r\n".repeat(100)).is_ok() {}
        });
        let image = Image::large();
        let ended = Source::new(&pki, &target.url).block(&image.path()).run();
        target.join();
        ended.assert_failed(5, &["more than 16 interim answers"]);
    }
}

/// Answers questions with this text until an upload comes, which is taken. Returns how many questions there were.
fn answer_queries(server: &TestServer, answer: &str) -> usize {
    let mut questions = 0;
    loop {
        let mut connection = server.accept_any();
        let head = connection.head();
        if head.request_line.starts_with("OPTIONS ") {
            connection.answer(200, GREETING);
        } else if head.get("x-decant-from").is_some() {
            questions += 1;
            connection.answer(200, answer);
        } else if head.request_line.starts_with("GET ") {
            connection.answer(200, "phase copy\ndurable-bytes 0\n");
        } else {
            assert!(connection.body().complete);
            connection.answer(200, "");
            connection.close_notify();
            return questions;
        }
        connection.close_notify();
    }
}

#[test]
fn the_number_of_digest_queries_is_bounded() {
    let (pki, directory) = (Pki::new(), tempfile::tempdir().unwrap());
    std::fs::write(directory.path().join("file"), vec![7; 3 << 20]).unwrap();
    let image = Image::large();
    let answer = format!("phase starting\ndurable-bytes 5\n\n{}\n", "0".repeat(64));
    // The digests of a directory are compared when all are known; those of an image one by one, and this one is wrong.
    for (is_image, most) in [(false, 300), (true, 1)] {
        let answer = answer.clone();
        let target = Target::start(pki.server(), move |server| answer_queries(server, &answer));
        let source = Source::new(&pki, &target.url);
        let source = if is_image { source.block(&image.path()) } else { source.filesystem(directory.path()) };
        source.run().assert_done();
        let questions = target.join();
        assert!((1..=most).contains(&questions), "{questions} questions");
    }
}

#[test]
fn an_early_2xx_of_a_decant_target_fails_the_clone() {
    let (pki, image) = (Pki::new(), Image::large());
    for end in [Connection::close_notify, Connection::close, Connection::reset] {
        let target = Target::start(pki.server(), move |server| {
            loop {
                let mut connection = server.accept_any();
                let head = connection.head();
                if head.request_line.starts_with("POST ") {
                    connection.answer(200, "");
                    return end(connection);
                }
                let is_first = head.request_line.starts_with("OPTIONS ");
                connection
                    .answer(200, if is_first { GREETING } else { "phase starting\ndurable-bytes 0\n\n" });
                connection.close_notify();
            }
        });
        let ended = Source::new(&pki, &target.url).filesystem(image.directory.path()).run();
        target.join();
        ended.assert_failed(6, &["200 before it had all the data"]);
    }
}

#[test]
fn a_query_response_must_complete_within_its_timeout() {
    let (pki, directory) = (Pki::new(), tempfile::tempdir().unwrap());
    let target = Target::start(pki.server(), |server| {
        let mut connection = server.accept_any();
        connection.head();
        connection.answer(200, GREETING);
        connection.close_notify();
        let mut connection = server.accept_any();
        connection.head();
        // A header that grows by one byte at a time, without end.
        connection.send("HTTP/1.1 200 OK\r\nX: ");
        while connection.try_send("x").is_ok() {
            std::thread::sleep(Duration::from_millis(300));
        }
    });
    let source = Source::new(&pki, &target.url).filesystem(directory.path()).env("DECANT_ANSWER_SECS", "2");
    let ended = source.run();
    target.join();
    ended.assert_failed(5, &["no progress for 2 s (ask the target)"]);
}

#[test]
fn texts_of_a_target_are_shown_escaped_and_truncated() {
    let pki = Pki::new();
    let target = Target::start(pki.server(), |server| {
        let mut connection = server.accept();
        connection.head();
        connection.body();
        connection.answer(500, &format!("\u{1b}[2J\u{9b}31m\u{202e}\r\nERROR forged {}", "B".repeat(60_000)));
        connection.close_notify();
    });
    let image = Image::with(b"content");
    let ended = Source::new(&pki, &target.url).block(&image.path()).run();
    target.join();
    ended.assert_failed(6, &["the target answered 500: ", "ERROR forged BBB"]);
    let error = ended.error();
    assert!(!error.contains(decant_shared::process::printable::is_unsafe), "{error:?}");
    assert!(error.len() < 700, "{} bytes", error.len());
}

#[test]
fn a_clone_succeeds_if_its_termination_message_cannot_be_written() {
    let pki = Pki::new();
    let target = Target::start(pki.server(), |server| {
        let mut connection = server.accept();
        connection.head();
        assert!(connection.body().complete);
        connection.answer(200, "");
        connection.close_notify();
    });
    let image = Image::with(b"content");
    let source =
        Source::new(&pki, &target.url).block(&image.path()).env("DECANT_TERMINATION_LOG", "/dev/full");
    let ended = source.run();
    target.join();
    assert_eq!(ended.code, Some(0), "{ended:?}");
}
