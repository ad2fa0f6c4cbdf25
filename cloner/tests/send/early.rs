//! Targets that answer before they have read everything: what they said must be what the user reads.

use decant_test_support::certificates::Pki;

use super::image::Image;
use super::process::{Ended, Source};
use super::target::{Body, Call, Target};

const REFUSALS: [(u16, &str); 5] = [
    (400, "Saving stream failed: effective image size is larger than the reported available storage: 9 < 10"),
    (401, ""),
    (409, "the transfer is done"),
    (500, "Saving stream failed: \"disk.img\" exists"),
    (503, "another transfer is running"),
];

/// Sends 10 GiB to a target that answers `words` when it has read the head and then ends the call.
fn answered(words: String, end: fn(Call)) -> Ended {
    let pki = Pki::new();
    let target = Target::start(pki.server(), move |door| {
        let mut call = door.accept();
        call.head();
        call.chunk().unwrap();
        call.say(&words);
        end(call);
    });
    let image = Image::hole(10 << 30);
    let ended = Source::new(&pki, &target.url).block(&image.path()).run();
    target.join();
    ended
}

fn assert_every_refusal_is_reported(end: fn(Call)) {
    for (status, text) in REFUSALS {
        let len = text.len();
        let ended = answered(format!("HTTP/1.1 {status} W\r\nContent-Length: {len}\r\n\r\n{text}"), end);
        ended.assert_failed(6, &[&format!("the target answered {status}"), text]);
    }
}

#[test]
fn a_refusal_followed_by_a_goodbye_is_reported_with_its_text() {
    assert_every_refusal_is_reported(Call::goodbye);
}

#[test]
fn a_refusal_followed_by_a_plain_close_is_reported_with_its_text() {
    assert_every_refusal_is_reported(Call::close);
}

#[test]
fn a_refusal_followed_by_a_reset_is_reported_with_its_text() {
    assert_every_refusal_is_reported(Call::reset);
}

#[test]
fn a_refusal_whose_text_ends_with_the_connection_is_reported_with_its_text() {
    for end in [Call::goodbye, Call::close] {
        let ended = answered("HTTP/1.1 500 W\r\n\r\nno more paper".to_owned(), end);
        ended.assert_failed(6, &["the target answered 500: no more paper"]);
    }
}

#[test]
fn a_refusal_in_chunks_and_lines_is_reported_as_one_line() {
    let words = "HTTP/1.1 500 W\r\nTransfer-Encoding: chunked\r\n\r\n4\r\none\n\r\n3\r\ntwo\r\n0\r\n\r\n";
    answered(words.to_owned(), Call::goodbye).assert_failed(6, &["the target answered 500: one two"]);
}

#[test]
fn a_very_long_refusal_still_fits_a_termination_message() {
    let text = format!("why: {}", "x".repeat(1 << 20));
    let ended =
        answered(format!("HTTP/1.1 500 W\r\nContent-Length: {}\r\n\r\n{text}", text.len()), Call::reset);
    ended.assert_failed(6, &["the target answered 500: why: xxxx"]);
    assert!(ended.word.len() <= 4096);
}

#[test]
fn a_2xx_before_the_end_is_no_success_for_a_block_device() {
    let ended = answered("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_owned(), Call::goodbye);
    ended.assert_failed(6, &["200 before it had all the data"]);
}

#[test]
fn a_2xx_before_the_end_is_a_success_for_a_filesystem() {
    for end in [Call::goodbye, Call::close, Call::reset] {
        let pki = Pki::new();
        let target = Target::start(pki.server(), move |door| {
            let mut call = door.accept();
            call.head();
            call.answer(200, "");
            end(call);
        });
        let image = Image::large();
        let ended = Source::new(&pki, &target.url).filesystem(image.folder.path()).run();
        target.join();
        ended.assert_done();
        assert!(ended.log.iter().any(|line| line.contains("WARN") && line.contains("disk.img")));
    }
}

#[test]
fn a_connection_that_is_cut_without_an_answer_is_the_other_ends_failure() {
    for end in [Call::goodbye, Call::close, Call::reset] {
        answered(String::new(), end).assert_failed(5, &["hung up without an answer"]);
    }
}

#[test]
fn half_an_answer_is_none() {
    let ended = answered("HTTP/1.1 200 OK\r\nContent-Le".to_owned(), Call::goodbye);
    ended.assert_failed(5, &["hung up without an answer"]);
}

#[test]
fn an_answer_that_is_no_http_is_reported_as_such() {
    for words in ["SSH-2.0-OpenSSH_9.6\r\n\r\n", "\0\u{1}\u{2}\u{3}\r\n\r\n"] {
        answered(words.to_owned(), Call::goodbye).assert_failed(5, &["malformed answer"]);
    }
}

#[test]
fn an_answer_with_an_endless_head_is_reported_as_such() {
    let words = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(20 << 10));
    answered(words, Call::goodbye).assert_failed(5, &["malformed answer"]);
}

/// Sends a little to a target that has read it all when it says `words`.
fn answered_at_the_end(words: &'static str) -> Ended {
    let pki = Pki::new();
    let target = Target::start(pki.server(), move |door| {
        let mut call = door.accept();
        call.head();
        assert!(call.body().complete);
        call.say(words);
        call.goodbye();
    });
    let image = Image::with(b"content");
    let ended = Source::new(&pki, &target.url).block(&image.path()).run();
    target.join();
    ended
}

#[test]
fn interim_answers_before_the_final_one_are_passed_over() {
    let words = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n\
                 HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    answered_at_the_end(words).assert_done();
}

#[test]
fn interim_answers_do_not_hide_a_refusal() {
    let words = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 507 Full\r\nContent-Length: 4\r\n\r\nfull";
    answered_at_the_end(words).assert_failed(6, &["the target answered 507: full"]);
}

#[test]
fn an_interim_answer_in_the_middle_does_not_end_the_upload() {
    let pki = Pki::new();
    let target = Target::start(pki.server(), |door| {
        let mut call = door.accept();
        call.head();
        call.chunk().unwrap();
        call.say("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n");
        let body = call.body();
        call.answer(200, "");
        call.goodbye();
        body
    });
    let image = Image::large();
    Source::new(&pki, &target.url).block(&image.path()).run().assert_done();
    // The first chunk, the stream identifier, was read before.
    let wire = [b"\xff\x06\x00\x00sNaPpY", target.join().wire.as_slice()].concat();
    assert!(Body { wire, complete: true }.content() == std::fs::read(image.path()).unwrap());
}

#[test]
fn a_refusal_after_an_interim_answer_is_seen() {
    let words = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 409 Done\r\nContent-Length: 4\r\n\r\ndone";
    answered(words.to_owned(), Call::reset).assert_failed(6, &["the target answered 409"]);
}

#[test]
fn a_redirect_is_a_refusal() {
    let words = "HTTP/1.1 307 Elsewhere\r\nLocation: https://localhost/\r\nContent-Length: 0\r\n\r\n";
    answered_at_the_end(words).assert_failed(6, &["the target answered 307"]);
}
