//! How a target ends: on a signal, and after a clone.

use decant_test_support::archive::HandMade;
use decant_test_support::{names, noise, until};
use rustix::process::Signal;

use crate::body::{IMAGE, TREE, chunk, frames, head, upload};
use crate::client::Client;
use crate::process::{Outcome, Target, TargetBuilder};

const TERMINATED: Option<i32> = Some(143);

fn assert_stopped(ended: &Outcome) {
    assert_eq!(ended.code, TERMINATED, "{ended:?}");
    assert_eq!(ended.message, "stopped by SIGTERM");
}

/// A sender in the middle of its stream, of which `partial` shows in the target's directory.
fn in_the_middle_of(target: &Target, content: &str, stream: &[u8], partial: &str) -> Client {
    let mut sender = target.sender();
    sender.send(&[head(content, ""), chunk(&frames(stream))].concat()).unwrap();
    until("something is written", || names(&target.directory()) == [partial]);
    sender
}

fn half_a_tree() -> Vec<u8> {
    let header = HandMade::header(b'0', "file", 1 << 20);
    HandMade::default().file("before", "content").block(header, &noise(1 << 19, 0)).0
}

#[test]
fn sigterm_ends_a_waiting_target() {
    let target = TargetBuilder::new().ready();
    target.signal(Signal::TERM);
    assert_stopped(&target.ended());
}

#[test]
fn sigterm_while_receiving_a_tree_leaves_nothing_partial() {
    let target = TargetBuilder::new().ready();
    let directory = target.directory();
    let _sender = in_the_middle_of(&target, TREE, &half_a_tree(), ".decant-partial");
    std::fs::write(directory.join("mine"), "stays").unwrap();
    target.signal(Signal::TERM);
    // The directory is removed with the target, so its content is checked here.
    until("the staging folder is gone", || names(&directory) == ["mine"]);
    assert_stopped(&target.ended());
}

#[test]
fn sigterm_while_receiving_an_image_leaves_nothing_partial() {
    let target = TargetBuilder::new().ready();
    let directory = target.directory();
    let _sender = in_the_middle_of(&target, IMAGE, &noise(1 << 19, 0), ".disk.img.decant-partial");
    target.signal(Signal::TERM);
    until("the partial image is gone", || names(&directory).is_empty());
    assert_stopped(&target.ended());
}

#[test]
fn sigterm_ends_a_target_whose_sender_never_pauses() {
    let target = TargetBuilder::new().ready();
    let mut sender = in_the_middle_of(&target, IMAGE, &noise(1 << 19, 0), ".disk.img.decant-partial");
    let sending = std::thread::spawn(move || {
        let more = chunk(&frames(&noise(1 << 16, 0))[10..]);
        while sender.send(&more).is_ok() {}
    });
    target.signal(Signal::TERM);
    assert_stopped(&target.ended());
    sending.join().unwrap();
}

#[test]
fn sigint_has_its_own_exit_code() {
    let target = TargetBuilder::new().ready();
    target.signal(Signal::INT);
    let ended = target.ended();
    assert_eq!((ended.code, ended.message.as_str()), (Some(130), "stopped by SIGINT"));
}

/// A pipe without a reader blocks the termination message, and with it the orderly end of the target.
#[test]
fn a_second_signal_ends_a_target_that_hangs() {
    let builder = TargetBuilder::new();
    let pipe = builder.file("pipe", "");
    std::fs::remove_file(&pipe).unwrap();
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, fifo, rustix::fs::Mode::RWXU, 0).unwrap();
    let mut target = builder.set("DECANT_TERMINATION_LOG", &pipe).ready();
    target.signal(Signal::TERM);
    target.line("send it again to exit at once");
    target.signal(Signal::TERM);
    assert_eq!(target.exit_code(), TERMINATED);
}

#[test]
fn a_finished_target_ends_despite_a_silent_connection() {
    let target = TargetBuilder::new().ready();
    let silent = target.sender();
    let unfinished = std::net::TcpStream::connect(("127.0.0.1", target.port)).unwrap();
    assert_eq!(target.request(&upload(IMAGE, b"image")).status, 200);
    // It waits for requests on them as long as for a request on any silent connection.
    target.ended().assert_success();
    drop((silent, unfinished));
}

#[test]
fn a_finished_target_does_not_wait_for_its_sender_to_close() {
    let target = TargetBuilder::new().ready();
    let mut sender = target.sender();
    sender.send(&upload(IMAGE, b"image")).unwrap();
    assert_eq!(sender.answer().status, 200);
    target.ended().assert_success();
    drop(sender);
}

#[test]
fn a_missing_termination_log_is_not_created() {
    let builder = TargetBuilder::new();
    let missing = builder.directory().join("termination-log");
    let mut target = builder.set("DECANT_TERMINATION_LOG", missing.to_str().unwrap()).ready();
    assert_eq!(target.request(&upload(IMAGE, b"image")).status, 200);
    let directory = target.directory();
    assert_eq!(target.exit_code(), Some(0));
    assert!(!directory.join("termination-log").exists());
}
