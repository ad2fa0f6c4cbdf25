//! The time at which a target gives up waiting.

use decant_test_support::{names, until};
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use crate::body::{IMAGE, chunk, frames, head, upload};
use crate::process::TargetBuilder;

/// A target that gives up in `limit`.
fn waiting_for(limit: Duration) -> (TargetBuilder, OffsetDateTime) {
    // Its keys take time.
    let builder = TargetBuilder::new();
    let deadline = OffsetDateTime::now_utc() + limit;
    (builder.set("DEADLINE", &deadline.format(&Rfc3339).unwrap()), deadline)
}

/// Until the deadline the target must be ready and have its sender, also on a busy machine.
const START: Duration = Duration::seconds(3);
const PASSED: &str = r#"{"deadlinePassed":true,"message":"Deadline Passed"}"#;

fn assert_passed(message: &str) {
    let json: serde_json::Value = serde_json::from_str(message).unwrap();
    assert_eq!(json, serde_json::from_str::<serde_json::Value>(PASSED).unwrap());
}

#[test]
fn a_target_without_a_sender_reports_the_deadline_and_exits_0() {
    let (builder, deadline) = waiting_for(Duration::seconds(2));
    let ended = builder.ready().ended();
    assert!(OffsetDateTime::now_utc() >= deadline, "it left early: {ended:?}");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_passed(&ended.message);
}

#[test]
fn a_deadline_in_the_past_ends_the_target_immediately() {
    let ended = waiting_for(-Duration::hours(1)).0.ready().ended();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_passed(&ended.message);
}

#[test]
fn a_transfer_running_at_the_deadline_is_completed() {
    let (builder, deadline) = waiting_for(START);
    let target = builder.ready();
    let mut sender = target.sender();
    sender.send(&[head(IMAGE, ""), chunk(&frames(b"image"))].concat()).unwrap();
    target.line("receiving");
    let later = deadline + Duration::milliseconds(500);
    until("the deadline", || OffsetDateTime::now_utc() > later);
    sender.send(b"0\r\n\r\n").unwrap();
    assert_eq!(sender.answer().status, 200);
    drop(sender);
    assert!(!target.ended().assert_success());
}

#[test]
fn after_the_deadline_a_failed_transfer_is_not_retried() {
    let (builder, deadline) = waiting_for(START);
    let target = builder.ready();
    let mut sender = target.sender();
    sender.send(&[head(IMAGE, ""), chunk(&frames(b"image"))].concat()).unwrap();
    target.line("receiving");
    until("the deadline", || OffsetDateTime::now_utc() > deadline);
    sender.reset();
    let ended = target.ended();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_passed(&ended.message);
}

/// A sender admitted then would be cut off, or get 200 from a target that reports "no sender".
#[test]
fn a_sender_during_the_shutdown_is_refused() {
    let (builder, deadline) = waiting_for(START);
    let target = builder.ready();
    let mut late = target.sender();
    let _still_open = target.sender();
    let later = deadline + Duration::milliseconds(700);
    until("the deadline", || OffsetDateTime::now_utc() > later);
    late.send_as_far_as_it_goes(&upload(IMAGE, b"late"));
    assert_eq!(late.answer().status, 503);
    assert!(names(&target.directory()).is_empty());
    assert_passed(&target.ended().message);
}
