//! SIGTERM and SIGINT in each phase of a clone.

use std::net::TcpStream;
use std::process::{Command, Stdio};

use crossbeam_channel::bounded;
use decant_test_support::HANG;
use decant_test_support::certificates::Pki;
use rustix::process::Signal;

use super::image::Image;
use super::process::Source;
use super::target::{Closed, Target};

#[test]
fn sigterm_between_attempts_ends_the_source() {
    let (pki, closed, image) = (Pki::new(), Closed::new(), Image::with(b"content"));
    let source = Source::new(&pki, &closed.url()).block(&image.path()).env("DECANT_RETRY_SECS", "600");
    let mut running = source.start();
    running.wait_for_line("trying again in 2.0 s");
    let ended = running.terminate();
    ended.assert_failed(143, &["stopped by SIGTERM"]);
}

#[test]
fn sigterm_during_the_first_scan_ends_the_source() {
    let pki = Pki::new();
    let closed = Closed::new();
    // So many names that the first scan most likely still runs.
    let directory = tempfile::tempdir().unwrap();
    for number in 0..5000 {
        std::fs::hard_link(directory.path().join("0"), directory.path().join(number.to_string()))
            .or_else(|_| std::fs::write(directory.path().join(number.to_string()), ""))
            .unwrap();
    }
    let source =
        Source::new(&pki, &closed.url()).filesystem(directory.path()).env("DECANT_RETRY_SECS", "600");
    let mut running = source.start();
    running.wait_for_line("sending ");
    let ended = running.terminate();
    ended.assert_failed(143, &["stopped by SIGTERM"]);
}

#[test]
fn sigterm_during_the_upload_leaves_the_body_unterminated() {
    for image in [Image::large(), Image::hole(10 << 30)] {
        let pki = Pki::new();
        let (began, beginning) = bounded(1);
        let (ended, end) = bounded(1);
        let target = Target::start(pki.server(), move |server| {
            let mut connection = server.accept();
            connection.head();
            connection.chunk().unwrap();
            began.send(()).unwrap();
            // Continues to read only after the source has ended.
            end.recv().unwrap();
            connection.body().complete
        });
        let running = Source::new(&pki, &target.url).block(&image.path()).start();
        beginning.recv_timeout(HANG).unwrap();
        let outcome = running.terminate();
        ended.send(()).unwrap();
        outcome.assert_failed(143, &["stopped by SIGTERM"]);
        assert!(!target.join(), "the terminating chunk was sent");
    }
}

#[test]
fn sigint_during_the_upload_has_its_own_exit_code() {
    let pki = Pki::new();
    let (began, beginning) = bounded(1);
    let target = Target::start(pki.server(), move |server| {
        let mut connection = server.accept();
        connection.head();
        connection.chunk().unwrap();
        began.send(()).unwrap();
        connection
    });
    let image = Image::large();
    let running = Source::new(&pki, &target.url).block(&image.path()).start();
    beginning.recv_timeout(HANG).unwrap();
    running.signal(Signal::INT);
    running.wait().assert_failed(130, &["stopped by SIGINT"]);
    target.join();
}

#[test]
fn sigterm_before_the_final_answer_ends_the_source() {
    let pki = Pki::new();
    let (read, everything) = bounded(1);
    let target = Target::start(pki.server(), move |server| {
        let mut connection = server.accept();
        connection.head();
        assert!(connection.body().complete);
        read.send(()).unwrap();
        connection
    });
    let image = Image::with(b"content");
    let running = Source::new(&pki, &target.url).block(&image.path()).start();
    everything.recv_timeout(HANG).unwrap();
    let ended = running.terminate();
    target.join();
    ended.assert_failed(143, &["stopped by SIGTERM"]);
}

#[test]
fn a_second_sigterm_ends_the_source_immediately() {
    let (pki, closed, image) = (Pki::new(), Closed::new(), Image::with(b"content"));
    let source = Source::new(&pki, &closed.url()).block(&image.path()).env("DECANT_RETRY_SECS", "600");
    let mut running = source.start();
    // A silent scraper makes an orderly end take its full two seconds.
    let port = running.metrics_port();
    let _scraper = TcpStream::connect(("127.0.0.1", port)).unwrap();
    running.wait_for_line("trying again in 2.0 s");
    running.signal(Signal::TERM);
    running.wait_for_line("send it again to exit at once");
    running.signal(Signal::TERM);
    let ended = running.wait();
    // An orderly end leaves a termination message.
    assert_eq!((ended.code, ended.termination_message.as_str()), (Some(143), ""));
}

#[test]
fn sighup_ends_the_source_cleanly_unless_it_is_ignored() {
    let (pki, closed, image) = (Pki::new(), Closed::new(), Image::with(b"content"));
    for (is_ignored, code, raw_text) in [(false, 129, "stopped by SIGHUP"), (true, 143, "stopped by SIGTERM")]
    {
        let mut source =
            Source::new(&pki, &closed.url()).block(&image.path()).env("DECANT_RETRY_SECS", "600");
        if is_ignored {
            // As nohup does it.
            let mut command = Command::new("/bin/sh");
            command.args(["-c", "trap '' HUP; exec \"$0\""]).arg(source.command.get_program()).env_clear();
            let variables = source.command.get_envs().filter_map(|(name, value)| Some((name, value?)));
            command.envs(variables).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
            source.command = command;
        }
        let mut running = source.start();
        running.wait_for_line("trying again in 2.0 s");
        running.signal(Signal::HUP);
        if is_ignored {
            running.signal(Signal::TERM);
        }
        running.wait().assert_failed(code, &[raw_text]);
    }
}
