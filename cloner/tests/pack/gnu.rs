//! Every kind of entry, byte for byte as GNU tar stores it.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::process::Command;
use std::time::{Duration, SystemTime};

use decant_test_support::able;

use crate::tree::{SPARSE, Tree, listing, tar};

#[test]
fn an_empty_directory_is_one_record_of_zeros() {
    assert_eq!(Tree::new().archive(SPARSE), vec![0; 10_240]);
}

#[test]
fn files_directories_and_links_are_stored_as_by_gnu_tar() {
    let tree = Tree::new();
    tree.directory("sub/empty");
    tree.file("sub/file", "content");
    tree.file("sub/.hidden", vec![7; 512]);
    tree.file("sub.file", vec![7; 513]);
    tree.file("empty", "");
    symlink("sub/file", tree.path("link")).unwrap();
    fs::hard_link(tree.path("link"), tree.path("link again")).unwrap();
    fs::hard_link(tree.path("sub/file"), tree.path("a hard link")).unwrap();
    fs::hard_link(tree.path("sub/file"), tree.path("z hard link")).unwrap();
    fs::set_permissions(tree.path("sub/file"), Permissions::from_mode(0o4751)).unwrap();
    fs::set_permissions(tree.path("sub"), Permissions::from_mode(0o1777)).unwrap();
    let stream = tree.same_as_gnu();
    let copy = Tree::extracted(&stream);
    assert_eq!(listing(copy.0.path()), listing(tree.0.path()));
    assert_eq!(fs::read(copy.path("z hard link")).unwrap(), b"content");
}

#[test]
fn unusual_names_are_stored_unchanged() {
    let tree = Tree::new();
    tree.file("--checkpoint-action=exec=touch pwned", "1");
    tree.file("--checkpoint=1", "2");
    tree.file("-x", "3");
    tree.file("two\nlines", "4");
    tree.file(OsStr::from_bytes(b"not \xff\xfe utf-8"), "5");
    tree.file("n".repeat(255), "6");
    tree.file("\u{1f600} *?[a]", "7");
    tree.directory(" ");
    let copy = Tree::extracted(&tree.same_as_gnu());
    assert_eq!(listing(copy.0.path()), listing(tree.0.path()));
}

#[test]
fn names_and_link_targets_over_100_bytes_have_their_own_header() {
    let tree = Tree::new();
    for len in [98, 99, 100, 101, 102] {
        tree.file("f".repeat(len), "x");
        // The final slash counts.
        tree.directory("d".repeat(len));
        tree.file(format!("{}/x", "d".repeat(len)), "y");
        symlink("t".repeat(len), tree.path(format!("link to {len}"))).unwrap();
        symlink("u".repeat(len), tree.path("l".repeat(len))).unwrap();
        fs::hard_link(tree.path("f".repeat(len)), tree.path(format!("hard link to {len}"))).unwrap();
        fs::hard_link(tree.path("f".repeat(len)), tree.path("g".repeat(len))).unwrap();
    }
    for len in [510, 511, 512, 513, 1023, 1024, 4095] {
        symlink("t".repeat(len), tree.path(format!("long link {len}"))).unwrap();
    }
    let copy = Tree::extracted(&tree.same_as_gnu());
    assert_eq!(listing(copy.0.path()), listing(tree.0.path()));
}

#[test]
fn times_before_1970_and_in_the_far_future_are_kept() {
    let tree = Tree::new();
    for (name, time) in [
        ("before", SystemTime::UNIX_EPOCH - Duration::from_millis(86_400_500)),
        ("epoch", SystemTime::UNIX_EPOCH),
        ("after", SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 33)),
    ] {
        tree.file(name, "x");
        File::open(tree.path(name)).unwrap().set_modified(time).unwrap();
    }
    let copy = Tree::extracted(&tree.same_as_gnu());
    assert_eq!(listing(copy.0.path()), listing(tree.0.path()));
}

#[test]
fn lost_and_found_is_omitted_at_the_root_only() {
    let tree = Tree::new();
    tree.directory("lost+found");
    tree.file("lost+found/x", "x");
    tree.directory("sub/lost+found");
    let names = tar(&["-t"], &tree.same_as_gnu());
    assert_eq!(names, "sub/\nsub/lost+found/\n");
}

#[test]
fn leftovers_of_a_killed_clone_are_omitted_at_the_root_only() {
    let tree = Tree::new();
    tree.directory(".decant-partial");
    tree.file(".decant-partial/x", "x");
    tree.directory("sub/.decant-partial");
    let names = tar(&["-t"], &tree.archive(SPARSE));
    assert_eq!(names, "sub/\nsub/.decant-partial/\n");
}

#[test]
fn sockets_are_omitted() {
    let tree = Tree::new();
    tree.file("a", "x");
    let _socket = UnixListener::bind(tree.path("socket")).unwrap();
    assert_eq!(tar(&["-t"], &tree.archive(SPARSE)), "a\n");
}

#[test]
fn fifos_are_stored_and_never_opened() {
    let tree = Tree::new();
    run("mkfifo", &tree, &["fifo"]);
    run("ln", &tree, &["fifo", "fifo again"]);
    tree.same_as_gnu();
}

/// Needs the right to make devices and to give files away.
#[test]
fn devices_and_large_owner_numbers_are_kept() {
    let tree = Tree::new();
    let made = Command::new("mknod").current_dir(tree.0.path()).args(["c", "c", "240", "70000"]).status();
    if !able(made.is_ok_and(|status| status.success()), "cannot make devices") {
        return;
    }
    run("mknod", &tree, &["b", "b", "7", "3"]);
    tree.file("owned", "x");
    run("chown", &tree, &["2097151:2097152", "owned"]);
    tree.file("owned more", "x");
    run("chown", &tree, &["4000000000:3000000000", "owned more"]);
    let copy = Tree::extracted(&tree.same_as_gnu());
    assert_eq!(listing(copy.0.path()), listing(tree.0.path()));
}

#[test]
fn paths_longer_than_the_kernel_limit_are_archived() {
    let tree = Tree::new();
    let script = "for i in $(seq 1 60); do n=$(printf 'd%.0s' $(seq 1 100)); mkdir $n; \
         for f in 1 2 z; do echo $i > $f; done; cd $n; done";
    run("bash", &tree, &["-c", script]);
    let plan = tree.scan(SPARSE).unwrap();
    assert_eq!(plan.entries, 240);
    // The last file is beyond 6,000 bytes of path; GNU tar refuses to list nothing.
    let names = tar(&["-t"], &tree.same_as_gnu());
    assert_eq!(names.lines().map(str::len).max(), Some(60 * 101));
    run("bash", &tree, &["-c", "rm -rf d*"]);
}

#[test]
fn a_path_too_long_for_an_archive_is_named() {
    let tree = Tree::new();
    let script = "n=$(printf 'd%.0s' $(seq 1 200)); for i in $(seq 1 90); do mkdir $n; cd $n; done";
    run("bash", &tree, &["-c", script]);
    let error = tree.scan(SPARSE).unwrap_err().to_string();
    assert!(
        error.contains("cannot send \"ddd") && error.contains("has 16481 bytes, more than 16384"),
        "{error}"
    );
    run("bash", &tree, &["-c", "rm -rf d*"]);
}

fn run(program: &str, tree: &Tree, arguments: &[&str]) {
    let status = Command::new(program).current_dir(tree.0.path()).args(arguments).status().unwrap();
    assert!(status.success(), "{program} failed");
}
