//! What a target does with attributes, and what it says about those that it cannot keep.

use std::os::unix::fs::MetadataExt;

use decant_test_support::archive::HandMade;
use decant_test_support::is_root;
use rustix::fs::lgetxattr;

use crate::body::{TREE, head_for, upload, upload_with};
use crate::process::{Plan, Target};

/// The header of a source that says all attributes.
const OURS: &str = "x-decant-attributes: 1\r\nx-decant-resume: 0\r\n";

fn a_tree() -> Vec<u8> {
    HandMade::default()
        .pax(b'x', &[("mtime", "1700000000.123456789"), ("SCHILY.xattr.user.a", "kept")])
        .file("first", "content")
        .pax(b'x', &[("SCHILY.xattr.security.ima", "x"), ("SCHILY.xattr.security.selinux", "x")])
        .file("foreign", "content")
        .pax(b'x', &[("SCHILY.xattr.system.nfs4_acl", "x"), ("DECANT.unsent", "acls,capabilities")])
        .folder("folder/")
        .end()
}

fn not_kept(target: Target) -> serde_json::Value {
    let ended = target.ended();
    let json: serde_json::Value = serde_json::from_str(&ended.message).unwrap();
    assert_eq!((ended.code, json["message"].as_str()), (Some(0), Some("Clone Complete")));
    json["notKept"].clone()
}

#[test]
fn only_a_target_with_a_folder_says_that_it_keeps_attributes() {
    let greeting = |plan: Plan| {
        let answer = plan.ready().ask(&head_for("OPTIONS", "/v1beta1/upload", ""));
        assert_eq!(answer.status, 200);
        answer.body.lines().any(|line| line == "attributes")
    };
    assert!(greeting(Plan::new()));
    assert!(!greeting(Plan::new().set("DESTINATION", "/dev/cdi-block-volume")));
}

#[test]
fn attributes_of_the_kernel_are_not_set_but_counted_and_the_rest_is_kept() {
    let target = Plan::new().ready();
    let answer = target.ask(&upload_with(TREE, OURS, &a_tree()));
    assert_eq!(answer.status, 200);
    let first = target.folder().join("first");
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
fn a_sender_of_cdis_hears_nothing_and_the_message_tells_all_the_same() {
    let target = Plan::new().ready();
    let answer = target.ask(&upload(TREE, &a_tree()));
    assert_eq!((answer.status, answer.body.as_str()), (200, ""));
    assert_eq!(not_kept(target)["xattrs"]["entries"], 2);
}

#[test]
fn a_target_that_is_not_root_says_that_it_could_not_keep_owners() {
    if !is_root() {
        return;
    }
    let plan = Plan::new().run_by(65_534);
    std::os::unix::fs::chown(plan.folder(), Some(65_534), Some(65_534)).unwrap();
    let target = plan.ready();
    let tree = HandMade::default().file("a", "").folder("b/").symlink("c", "a").end();
    assert_eq!(target.ask(&upload(TREE, &tree)).status, 200);
    assert_eq!(not_kept(target), serde_json::json!({ "owners": { "entries": 3, "first": "\"a\"" } }));
}

#[test]
fn a_clone_that_kept_everything_has_nothing_to_tell() {
    if !is_root() {
        return;
    }
    let target = Plan::new().ready();
    let tree = HandMade::default().file("a", "").folder("b/").symlink("c", "a").end();
    let answer = target.ask(&upload_with(TREE, OURS, &tree));
    assert_eq!((answer.status, answer.body.as_str()), (200, ""));
    assert_eq!(not_kept(target), serde_json::Value::Null);
}

fn of_mode(kind: u8, name: &str, size_bytes: u64, mode: u32) -> tar::Header {
    let mut header = HandMade::header(kind, name, size_bytes);
    header.set_mode(mode);
    header
}

/// A tree that arrived where the target is not root, and the modes of `names` in it.
fn modes_of(plan: Plan, tree: &[u8], names: &[&str]) -> Vec<u32> {
    let plan = plan.run_by(65_534);
    std::os::unix::fs::chown(plan.folder(), Some(65_534), Some(65_534)).unwrap();
    let target = plan.ready();
    let answer = target.ask(&upload_with(TREE, OURS, tree));
    assert_eq!(answer.status, 200, "{}", answer.body);
    let mode = |name: &&str| target.folder().join(name).symlink_metadata().unwrap().mode() & 0o7777;
    let modes = names.iter().map(mode).collect();
    assert_eq!(not_kept(target)["modes"], serde_json::Value::Null);
    modes
}

/// A file of mode 0000, as `/etc/shadow` of some systems, and a folder that may be gone through and not listed.
#[test]
fn a_target_that_is_not_root_reads_back_what_its_user_may_not_read() {
    if !is_root() {
        return;
    }
    let tree = HandMade::default()
        .block(of_mode(b'5', "locked/", 0, 0o111), b"")
        .block(of_mode(b'0', "locked/f", 7, 0o200), b"content")
        .block(of_mode(b'0', "shadow", 7, 0), b"content")
        .end();
    let plan = Plan::new().set("DECANT_VERIFY", "readback");
    assert_eq!(modes_of(plan, &tree, &["locked", "locked/f", "shadow"]), [0o111, 0o200, 0]);
}

#[test]
fn a_mode_that_comes_last_is_not_set_through_a_link_that_took_the_name() {
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
    let found = modes_of(Plan::new(), &tree, &["open", "shadow", "other", "twice", "late"]);
    assert_eq!(found, [0o644, 0, 0, 0o777, 0o200]);
}
