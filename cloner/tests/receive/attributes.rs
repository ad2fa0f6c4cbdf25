//! How a target sets attributes and reports those that it cannot keep.

use std::os::unix::fs::MetadataExt;

use decant_test_support::archive::HandMade;
use decant_test_support::is_root;
use rustix::fs::lgetxattr;

use crate::body::{TREE, head_for, upload, upload_with};
use crate::process::{Target, TargetBuilder};

/// The headers of a source that sends all attributes.
const DECANT_HEADERS: &str = "x-decant-attributes: 1\r\nx-decant-resume: 0\r\n";

fn a_tree() -> Vec<u8> {
    HandMade::default()
        .pax(b'x', &[("mtime", "1700000000.123456789"), ("SCHILY.xattr.user.a", "kept")])
        .file("first", "content")
        .pax(b'x', &[("SCHILY.xattr.security.ima", "x"), ("SCHILY.xattr.security.selinux", "x")])
        .file("foreign", "content")
        .pax(b'x', &[("SCHILY.xattr.system.nfs4_acl", "x"), ("DECANT.unsent", "acls,capabilities")])
        .directory("folder/")
        .end()
}

fn not_kept(target: Target) -> serde_json::Value {
    let ended = target.ended();
    let json: serde_json::Value = serde_json::from_str(&ended.message).unwrap();
    assert_eq!((ended.code, json["message"].as_str()), (Some(0), Some("Clone Complete")));
    json["notKept"].clone()
}

#[test]
fn only_a_directory_target_announces_attributes() {
    let greeting = |builder: TargetBuilder| {
        let answer = builder.ready().request(&head_for("OPTIONS", "/v1beta1/upload", ""));
        assert_eq!(answer.status, 200);
        answer.body.lines().any(|line| line == "attributes")
    };
    assert!(greeting(TargetBuilder::new()));
    assert!(!greeting(TargetBuilder::new().set("DESTINATION", "/dev/cdi-block-volume")));
}

#[test]
fn kernel_attributes_are_counted_and_the_others_are_set() {
    let target = TargetBuilder::new().ready();
    let answer = target.request(&upload_with(TREE, DECANT_HEADERS, &a_tree()));
    assert_eq!(answer.status, 200);
    let first = target.directory().join("first");
    let mut value = [0; 10];
    assert_eq!(lgetxattr(&first, "user.a", &mut value[..]), Ok(4));
    assert_eq!(first.metadata().unwrap().mtime_nsec(), 123_456_789);
    let wanted = "not kept: extended attributes of 2 entries (the first is \"foreign\"), \
                  access control lists of \"folder\", file capabilities of \"folder\"";
    if is_root() {
        assert_eq!(answer.body, wanted);
        let json = not_kept(target);
        assert_eq!(json["xattrs"], serde_json::json!({ "entries": 2, "first": "\"foreign\"" }));
        assert_eq!((&json["acls"]["entries"], &json["owners"]), (&1.into(), &serde_json::Value::Null));
    }
}

#[test]
fn a_cdi_sender_gets_no_attribute_report_but_the_termination_message_has_it() {
    let target = TargetBuilder::new().ready();
    let answer = target.request(&upload(TREE, &a_tree()));
    assert_eq!((answer.status, answer.body.as_str()), (200, ""));
    assert_eq!(not_kept(target)["xattrs"]["entries"], 2);
}

#[test]
fn an_unprivileged_target_reports_lost_owners() {
    if !is_root() {
        return;
    }
    let builder = TargetBuilder::new().with_uid(65_534);
    std::os::unix::fs::chown(builder.directory(), Some(65_534), Some(65_534)).unwrap();
    let target = builder.ready();
    let tree = HandMade::default().file("a", "").directory("b/").symlink("c", "a").end();
    assert_eq!(target.request(&upload(TREE, &tree)).status, 200);
    assert_eq!(not_kept(target), serde_json::json!({ "owners": { "entries": 3, "first": "\"a\"" } }));
}

#[test]
fn a_clone_without_losses_reports_none() {
    if !is_root() {
        return;
    }
    let target = TargetBuilder::new().ready();
    let tree = HandMade::default().file("a", "").directory("b/").symlink("c", "a").end();
    let answer = target.request(&upload_with(TREE, DECANT_HEADERS, &tree));
    assert_eq!((answer.status, answer.body.as_str()), (200, ""));
    assert_eq!(not_kept(target), serde_json::Value::Null);
}

fn of_mode(kind: u8, name: &str, size_bytes: u64, mode: u32) -> tar::Header {
    let mut header = HandMade::header(kind, name, size_bytes);
    header.set_mode(mode);
    header
}

/// A tree that arrived where the target is not root, and the modes of `names` in it.
fn modes_of(builder: TargetBuilder, tree: &[u8], names: &[&str]) -> Vec<u32> {
    let builder = builder.with_uid(65_534);
    std::os::unix::fs::chown(builder.directory(), Some(65_534), Some(65_534)).unwrap();
    let target = builder.ready();
    let answer = target.request(&upload_with(TREE, DECANT_HEADERS, tree));
    assert_eq!(answer.status, 200, "{}", answer.body);
    let mode = |name: &&str| target.directory().join(name).symlink_metadata().unwrap().mode() & 0o7777;
    let modes = names.iter().map(mode).collect();
    assert_eq!(not_kept(target)["modes"], serde_json::Value::Null);
    modes
}

/// A file of mode 0000, as `/etc/shadow` of some systems, and a directory that may be gone through and not listed.
#[test]
fn an_unprivileged_target_reads_back_files_without_read_permission() {
    if !is_root() {
        return;
    }
    let tree = HandMade::default()
        .block(of_mode(b'5', "locked/", 0, 0o111), b"")
        .block(of_mode(b'0', "locked/f", 7, 0o200), b"content")
        .block(of_mode(b'0', "shadow", 7, 0), b"content")
        .end();
    let builder = TargetBuilder::new().set("DECANT_VERIFY", "readback");
    assert_eq!(modes_of(builder, &tree, &["locked", "locked/f", "shadow"]), [0o111, 0o200, 0]);
}

#[test]
fn a_late_chmod_does_not_follow_a_link_that_replaced_the_name() {
    if !is_root() {
        return;
    }
    let tree = HandMade::default()
        .block(of_mode(b'0', "open", 7, 0o644), b"content")
        .block(of_mode(b'0', "shadow", 7, 0), b"content")
        .hard_link("other", "shadow")
        .block(of_mode(b'0', "twice", 7, 0), b"content")
        .symlink("twice", "open")
        .symlink("late", "open")
        .block(of_mode(b'0', "late", 7, 0o200), b"content")
        .end();
    let found = modes_of(TargetBuilder::new(), &tree, &["open", "shadow", "other", "twice", "late"]);
    assert_eq!(found, [0o644, 0, 0, 0o777, 0o200]);
}
