//! How a target ends: when it is told to, and when it is done.

use decant_test_support::archive::HandMade;
use decant_test_support::{names, noise, until};
use rustix::process::Signal;

use crate::body::{IMAGE, TREE, chunk, frames, head, upload};
use crate::client::Client;
use crate::process::{Ended, Plan, Target};

const TERMINATED: Option<i32> = Some(143);

fn assert_stopped(ended: &Ended) {
    assert_eq!(ended.code, TERMINATED, "{ended:?}");
    assert_eq!(ended.message, "stopped by SIGTERM");
}

/// A sender in the middle of its stream, of which `partial` shows in the target's folder.
fn in_the_middle_of(target: &Target, content: &str, stream: &[u8], partial: &str) -> Client {
    let mut sender = target.sender();
    sender.send(&[head(content, ""), chunk(&frames(stream))].concat()).unwrap();
    until("something is written", || names(&target.folder()) == [partial]);
    sender
}

fn half_a_tree() -> Vec<u8> {
    let header = HandMade::header(b'0', "file", 1 << 20);
    HandMade::default().file("before", "content").block(header, &noise(1 << 19, 0)).0
}

#[test]
fn a_target_that_waits_ends_when_it_is_told_to() {
    let target = Plan::new().ready();
    target.signal(Signal::TERM);
    assert_stopped(&target.ended());
}

#[test]
fn a_target_that_receives_a_tree_ends_and_leaves_nothing_half_written() {
    let target = Plan::new().ready();
    let folder = target.folder();
    let _sender = in_the_middle_of(&target, TREE, &half_a_tree(), ".decant-partial");
    std::fs::write(folder.join("mine"), "stays").unwrap();
    target.signal(Signal::TERM);
    // Its folder goes away with the target, so what is in it is looked at before.
    until("the staging folder is gone", || names(&folder) == ["mine"]);
    assert_stopped(&target.ended());
}

#[test]
fn a_target_that_receives_an_image_ends_and_leaves_nothing_half_written() {
    let target = Plan::new().ready();
    let folder = target.folder();
    let _sender = in_the_middle_of(&target, IMAGE, &noise(1 << 19, 0), ".disk.img.decant-partial");
    target.signal(Signal::TERM);
    until("the partial image is gone", || names(&folder).is_empty());
    assert_stopped(&target.ended());
}

#[test]
fn a_target_ends_beside_a_sender_that_never_pauses() {
    let target = Plan::new().ready();
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
fn sigint_has_its_own_code() {
    let target = Plan::new().ready();
    target.signal(Signal::INT);
    let ended = target.ended();
    assert_eq!((ended.code, ended.message.as_str()), (Some(130), "stopped by SIGINT"));
}

/// A pipe that nobody reads keeps the target from leaving its message, and so from ending in good order.
#[test]
fn a_second_signal_ends_a_target_that_hangs() {
    let plan = Plan::new();
    let pipe = plan.file("pipe", "");
    std::fs::remove_file(&pipe).unwrap();
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, fifo, rustix::fs::Mode::RWXU, 0).unwrap();
    let mut target = plan.set("DECANT_TERMINATION_LOG", &pipe).ready();
    target.signal(Signal::TERM);
    target.line("send it again to exit at once");
    target.signal(Signal::TERM);
    assert_eq!(target.exit_code(), TERMINATED);
}

#[test]
fn a_finished_target_ends_beside_a_silent_connection() {
    let target = Plan::new().ready();
    let silent = target.sender();
    let unfinished = std::net::TcpStream::connect(("127.0.0.1", target.port)).unwrap();
    assert_eq!(target.ask(&upload(IMAGE, b"image")).status, 200);
    // It waits for a while, in case that they have something to say: as long as it lets any connection say nothing.
    target.ended().well();
    drop((silent, unfinished));
}

#[test]
fn a_finished_target_does_not_wait_for_its_sender_to_hang_up() {
    let target = Plan::new().ready();
    let mut sender = target.sender();
    sender.send(&upload(IMAGE, b"image")).unwrap();
    assert_eq!(sender.answer().status, 200);
    target.ended().well();
    drop(sender);
}

#[test]
fn a_missing_termination_log_is_accepted_and_not_created() {
    let plan = Plan::new();
    let missing = plan.folder().join("termination-log");
    let mut target = plan.set("DECANT_TERMINATION_LOG", missing.to_str().unwrap()).ready();
    assert_eq!(target.ask(&upload(IMAGE, b"image")).status, 200);
    let folder = target.folder();
    assert_eq!(target.exit_code(), Some(0));
    assert!(!folder.join("termination-log").exists());
}
