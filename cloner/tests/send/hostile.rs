//! Targets that hold their source: with interim answers, with answers that bring one digest at a time, with single bytes,
//! with progress that cannot be.

use std::time::Duration;

use decant_test_support::certificates::Pki;

use super::image::Image;
use super::process::Source;
use super::target::{Call, Door, Target};

const GREETING: &str = "decant 1\nholes\ndigest\nresume\nprogress\nattributes\n";

#[test]
fn interim_answers_do_not_renew_the_limit_for_a_write_that_moves_nothing() {
    let pki = Pki::new();
    let target = Target::start(pki.server(), |door| {
        let mut call = door.accept();
        call.head();
        // It reads nothing. Ends when the source has hung up.
        while call.try_say("HTTP/1.1 100 Continue\r\n\r\n").is_ok() {
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
fn more_interim_answers_than_a_handful_end_an_upload() {
    for reads in [true, false] {
        let pki = Pki::new();
        let target = Target::start(pki.server(), move |door| {
            let mut call = door.accept();
            call.head();
            if reads {
                assert!(call.body().complete);
            }
            while call.try_say(&"HTTP/1.1 102 Processing\r\n\r\n".repeat(100)).is_ok() {}
        });
        let image = Image::large();
        let ended = Source::new(&pki, &target.url).block(&image.path()).run();
        target.join();
        ended.assert_failed(5, &["more than 16 interim answers"]);
    }
}

/// Answers questions with this text until an upload comes, which is taken. Returns how many questions there were.
fn questioned(door: &Door, answer: &str) -> usize {
    let mut questions = 0;
    loop {
        let mut call = door.accept_any();
        let head = call.head();
        if head.request_line.starts_with("OPTIONS ") {
            call.answer(200, GREETING);
        } else if head.get("x-decant-from").is_some() {
            questions += 1;
            call.answer(200, answer);
        } else if head.request_line.starts_with("GET ") {
            call.answer(200, "phase copy\ndurable-bytes 0\n");
        } else {
            assert!(call.body().complete);
            call.answer(200, "");
            call.goodbye();
            return questions;
        }
        call.goodbye();
    }
}

#[test]
fn a_target_that_tells_one_digest_at_a_time_is_not_asked_without_end() {
    let (pki, folder) = (Pki::new(), tempfile::tempdir().unwrap());
    std::fs::write(folder.path().join("file"), vec![7; 3 << 20]).unwrap();
    let image = Image::large();
    let answer = format!("phase starting\ndurable-bytes 5\n\n{}\n", "0".repeat(64));
    // A folder's digests are compared when all are told; an image's one by one, and this one is wrong.
    for (is_image, most) in [(false, 300), (true, 1)] {
        let answer = answer.clone();
        let target = Target::start(pki.server(), move |door| questioned(door, &answer));
        let source = Source::new(&pki, &target.url);
        let source = if is_image { source.block(&image.path()) } else { source.filesystem(folder.path()) };
        source.run().assert_done();
        let questions = target.join();
        assert!((1..=most).contains(&questions), "{questions} questions");
    }
}

#[test]
fn a_target_of_ours_that_says_2xx_before_it_has_everything_is_no_success() {
    let (pki, image) = (Pki::new(), Image::large());
    for end in [Call::goodbye, Call::close, Call::reset] {
        let target = Target::start(pki.server(), move |door| {
            loop {
                let mut call = door.accept_any();
                let head = call.head();
                if head.request_line.starts_with("POST ") {
                    call.answer(200, "");
                    return end(call);
                }
                let is_first = head.request_line.starts_with("OPTIONS ");
                call.answer(200, if is_first { GREETING } else { "phase starting\ndurable-bytes 0\n\n" });
                call.goodbye();
            }
        });
        let ended = Source::new(&pki, &target.url).filesystem(image.folder.path()).run();
        target.join();
        ended.assert_failed(6, &["200 before it had all the data"]);
    }
}

#[test]
fn an_answer_to_a_question_must_be_complete_in_time() {
    let (pki, folder) = (Pki::new(), tempfile::tempdir().unwrap());
    let target = Target::start(pki.server(), |door| {
        let mut call = door.accept_any();
        call.head();
        call.answer(200, GREETING);
        call.goodbye();
        let mut call = door.accept_any();
        call.head();
        // A header that grows by one byte at a time, without end.
        call.say("HTTP/1.1 200 OK\r\nX: ");
        while call.try_say("x").is_ok() {
            std::thread::sleep(Duration::from_millis(300));
        }
    });
    let source = Source::new(&pki, &target.url).filesystem(folder.path()).env("DECANT_ANSWER_SECS", "2");
    let ended = source.run();
    target.join();
    ended.assert_failed(5, &["no progress for 2 s (ask the target)"]);
}

#[test]
fn what_a_target_says_is_shown_without_what_a_terminal_obeys_and_not_at_length() {
    let pki = Pki::new();
    let target = Target::start(pki.server(), |door| {
        let mut call = door.accept();
        call.head();
        call.body();
        call.answer(500, &format!("\u{1b}[2J\u{9b}31m\u{202e}\r\nERROR forged {}", "B".repeat(60_000)));
        call.goodbye();
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
fn a_clone_succeeds_without_room_for_its_termination_message() {
    let pki = Pki::new();
    let target = Target::start(pki.server(), |door| {
        let mut call = door.accept();
        call.head();
        assert!(call.body().complete);
        call.answer(200, "");
        call.goodbye();
    });
    let image = Image::with(b"content");
    let source =
        Source::new(&pki, &target.url).block(&image.path()).env("DECANT_TERMINATION_LOG", "/dev/full");
    let ended = source.run();
    target.join();
    assert_eq!(ended.code, Some(0), "{ended:?}");
}
