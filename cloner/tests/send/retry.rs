//! Targets that are not there yet, busy, or stuck.

use std::io::Read;
use std::time::{Duration, Instant};

use decant_test_support::certificates::Pki;

use super::image::Image;
use super::process::Source;
use super::target::{Call, Closed, Door, Target};

fn accept_all(door: &Door) {
    let mut call = door.accept();
    call.head();
    assert!(call.body().complete);
    call.answer(200, "");
    call.goodbye();
}

#[test]
fn a_target_that_listens_late_is_found_by_the_same_process() {
    let (pki, closed) = (Pki::new(), Closed::new());
    let image = Image::with(b"content");
    let source = Source::new(&pki, &closed.url()).block(&image.path()).env("DECANT_RETRY_SECS", "60");
    let mut running = source.start();
    // After pauses of 0.5, 1 and 2 seconds the next attempt finds it.
    for pause in ["0.5 s", "1.0 s"] {
        let line = running.hear("trying again in ");
        assert!(line.contains("refused") && line.ends_with(pause), "{line}");
    }
    let target = closed.open(pki.server(), accept_all);
    running.wait().assert_done();
    target.join();
}

#[test]
fn a_busy_target_is_asked_again() {
    let pki = Pki::new();
    let target = Target::start(pki.server(), |door| {
        for end in [Call::goodbye, Call::reset] {
            let mut call = door.accept();
            call.head();
            call.answer(503, "another transfer is running");
            end(call);
        }
        accept_all(door);
    });
    let image = Image::large();
    Source::new(&pki, &target.url).block(&image.path()).env("DECANT_RETRY_SECS", "60").run().assert_done();
    target.join();
}

#[test]
fn a_target_that_hangs_up_in_the_handshake_is_asked_again() {
    let pki = Pki::new();
    let target = Target::start(pki.server(), |door| {
        drop(door.accept_plain());
        accept_all(door);
    });
    let image = Image::with(b"content");
    Source::new(&pki, &target.url).block(&image.path()).env("DECANT_RETRY_SECS", "60").run().assert_done();
    target.join();
}

#[test]
fn an_absent_target_ends_the_retries_with_the_last_error() {
    let (pki, closed, image) = (Pki::new(), Closed::new(), Image::with(b"content"));
    let ended = Source::new(&pki, &closed.url()).block(&image.path()).env("DECANT_RETRY_SECS", "1").run();
    ended.assert_failed(5, &["cannot reach the target at 127.0.0.1", "refused"]);
    assert_eq!(ended.log.iter().filter(|line| line.contains("trying again")).count(), 1);
}

#[test]
fn a_busy_target_ends_the_retries_with_its_answer() {
    let pki = Pki::new();
    let target = Target::start(pki.server(), |door| {
        for _ in 0..2 {
            let mut call = door.accept();
            call.head();
            call.answer(503, "another transfer is running");
            call.goodbye();
        }
    });
    let image = Image::with(b"content");
    let ended = Source::new(&pki, &target.url).block(&image.path()).env("DECANT_RETRY_SECS", "1").run();
    target.join();
    ended.assert_failed(6, &["503", "another transfer is running"]);
}

#[test]
fn a_host_that_has_no_address_is_named() {
    let image = Image::with(b"content");
    let ended =
        Source::new(&Pki::new(), "https://nowhere.invalid:8443/v1beta1/upload").block(&image.path()).run();
    ended.assert_failed(5, &["cannot reach the target at nowhere.invalid:8443"]);
}

#[test]
fn what_was_refused_for_good_is_not_tried_again() {
    let pki = Pki::new();
    let target = Target::start(pki.server(), |door| {
        let mut call = door.accept();
        call.head();
        call.answer(409, "the transfer is done");
        call.goodbye();
    });
    let image = Image::with(b"content");
    let ended = Source::new(&pki, &target.url).block(&image.path()).env("DECANT_RETRY_SECS", "60").run();
    target.join();
    ended.assert_failed(6, &["409"]);
    assert!(!ended.log.iter().any(|line| line.contains("trying again")));
}

#[test]
fn a_target_that_stops_reading_is_given_up() {
    let pki = Pki::new();
    let target = Target::start(pki.server(), |door| {
        let mut call = door.accept();
        call.head();
        call.chunk().unwrap();
        call
    });
    let image = Image::large();
    let ended = Source::new(&pki, &target.url).block(&image.path()).env("DECANT_STALL_SECS", "1").run();
    target.join();
    ended.assert_failed(5, &["no progress for 1 s (upload)"]);
}

#[test]
fn a_target_that_never_answers_is_given_up() {
    let pki = Pki::new();
    let target = Target::start(pki.server(), |door| {
        let mut call = door.accept();
        call.head();
        assert!(call.body().complete);
        call
    });
    let image = Image::with(b"content");
    let ended = Source::new(&pki, &target.url).block(&image.path()).env("DECANT_ANSWER_SECS", "1").run();
    target.join();
    ended.assert_failed(5, &["no progress for 1 s (wait for the answer)"]);
}

#[test]
fn interim_answers_without_end_are_not_waited_for_without_end() {
    let pki = Pki::new();
    let target = Target::start(pki.server(), |door| {
        let mut call = door.accept();
        call.head();
        assert!(call.body().complete);
        // Ends when the source has hung up.
        while call.try_say("HTTP/1.1 102 Processing\r\n\r\n").is_ok() {
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    let image = Image::with(b"content");
    let ended = Source::new(&pki, &target.url).block(&image.path()).env("DECANT_ANSWER_SECS", "1").run();
    target.join();
    ended.assert_failed(5, &["no progress for 1 s (wait for the answer)"]);
}

#[test]
fn a_target_that_is_slow_but_reads_is_not_given_up() {
    let pki = Pki::new();
    let target = Target::start(pki.server(), |door| {
        let mut call = door.accept();
        call.head();
        let start = Instant::now();
        // Slower than the limit for a write that moves nothing, with something moving all the time.
        while let Some(chunk) = call.chunk().unwrap() {
            let due = Duration::from_micros(chunk.len() as u64 / 27);
            std::thread::sleep(due);
        }
        let elapsed = start.elapsed();
        call.answer(200, "");
        call.goodbye();
        elapsed
    });
    let image = Image::large();
    let ended = Source::new(&pki, &target.url).block(&image.path()).env("DECANT_STALL_SECS", "1").run();
    ended.assert_done();
    assert!(target.join() > Duration::from_secs(2));
}

#[test]
fn a_signal_ends_a_source_whose_target_accepts_and_says_nothing() {
    let pki = Pki::new();
    let target = Target::start(pki.server(), |door| {
        let mut socket = door.accept_plain();
        socket.read_to_end(&mut Vec::new()).unwrap();
    });
    let image = Image::with(b"content");
    let mut running = Source::new(&pki, &target.url).block(&image.path()).start();
    running.hear("sending ");
    let ended = running.terminate();
    target.join();
    ended.assert_failed(143, &["stopped by SIGTERM"]);
}
