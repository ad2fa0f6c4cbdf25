//! The time at which a target gives up waiting.

use decant_test_support::{names, until};
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use crate::body::{IMAGE, chunk, frames, head, upload};
use crate::process::Plan;

/// A target that gives up in `limit`.
fn waiting_for(limit: Duration) -> (Plan, OffsetDateTime) {
    let deadline = OffsetDateTime::now_utc() + limit;
    (Plan::new().set("DEADLINE", &deadline.format(&Rfc3339).unwrap()), deadline)
}

const PASSED: &str = r#"{"deadlinePassed":true,"message":"Deadline Passed"}"#;

fn assert_passed(message: &str) {
    let json: serde_json::Value = serde_json::from_str(message).unwrap();
    assert_eq!(json, serde_json::from_str::<serde_json::Value>(PASSED).unwrap());
}

#[test]
fn a_target_without_a_sender_reports_the_deadline_and_exits_0() {
    let (plan, deadline) = waiting_for(Duration::seconds(2));
    let ended = plan.ready().ended();
    assert!(OffsetDateTime::now_utc() >= deadline, "it left early: {ended:?}");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_passed(&ended.message);
}

#[test]
fn a_deadline_in_the_past_ends_the_target_at_once() {
    let ended = waiting_for(-Duration::hours(1)).0.ready().ended();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_passed(&ended.message);
}

#[test]
fn a_transfer_that_runs_when_the_deadline_comes_is_finished() {
    let (plan, deadline) = waiting_for(Duration::seconds(1));
    let target = plan.ready();
    let mut sender = target.sender();
    sender.send(&[head(IMAGE, ""), chunk(&frames(b"image"))].concat()).unwrap();
    target.line("receiving");
    let later = deadline + Duration::milliseconds(500);
    until("the deadline", || OffsetDateTime::now_utc() > later);
    sender.send(b"0\r\n\r\n").unwrap();
    assert_eq!(sender.answer().status, 200);
    drop(sender);
    assert!(!target.ended().well());
}

#[test]
fn a_transfer_that_fails_after_the_deadline_is_the_last_one() {
    let (plan, deadline) = waiting_for(Duration::seconds(1));
    let target = plan.ready();
    let mut sender = target.sender();
    sender.send(&[head(IMAGE, ""), chunk(&frames(b"image"))].concat()).unwrap();
    target.line("receiving");
    until("the deadline", || OffsetDateTime::now_utc() > deadline);
    sender.reset();
    let ended = target.ended();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_passed(&ended.message);
}

/// A sender that were let in then would be cut off, or told 200 by a target that reports that nobody came.
#[test]
fn a_sender_that_comes_while_the_target_leaves_is_sent_away() {
    let (plan, deadline) = waiting_for(Duration::seconds(1));
    let target = plan.ready();
    let mut late = target.sender();
    let _still_open = target.sender();
    let later = deadline + Duration::milliseconds(700);
    until("the deadline", || OffsetDateTime::now_utc() > later);
    late.send_as_far_as_it_goes(&upload(IMAGE, b"late"));
    assert_eq!(late.answer().status, 503);
    assert!(names(&target.folder()).is_empty());
    assert_passed(&target.ended().message);
}
