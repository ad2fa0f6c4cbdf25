//! Copies on a filesystem whose files can share blocks.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use decant_test_support::disks::Mounted;
use decant_test_support::trees::{self, Format, describe, make_torture};
use decant_test_support::{is_root, noise, until};
use rustix::process::{Pid, Signal, kill_process};

use super::command::{Outcome, command, copy, if_able};

const MIB: u64 = 1 << 20;
/// More than the metadata of a copy takes, and much less than its data.
const METADATA_LIMIT_BYTES: u64 = 6 * MIB;

/// Runs a test on each filesystem that can share blocks.
fn on_each_filesystem(test: impl Fn(&Mounted)) {
    if !is_root() {
        return;
    }
    for made in [Mounted::xfs(), Mounted::btrfs()] {
        let Some(mounted) = if_able(made) else { continue };
        image(&mounted.path().join("image"));
        test(&mounted);
    }
}

/// An image of 40 MiB and one byte, with a hole in it.
fn image(path: &Path) {
    let file = File::create_new(path).unwrap();
    for (at, seed) in [(0, 1), (30, 2)] {
        file.write_all_at(&noise(10 << 20, seed), at * MIB).unwrap();
    }
    file.write_all_at(b"x", 40 * MIB).unwrap();
    file.sync_all().unwrap();
}

/// A tree with every kind of entry, and with large files.
fn tree(path: &Path) {
    large_files(path);
    make_torture(path, Format::Full);
}

/// A tree of large files: dense, sparse, one that starts with a hole, and with modes that do not permit access.
fn large_files(path: &Path) {
    fs::create_dir(path).unwrap();
    for number in 0..4 {
        fs::write(path.join(format!("m{number}")), noise(8 << 20, number)).unwrap();
    }
    image(&path.join("n-sparse"));
    let file = File::create_new(path.join("o-hole-first")).unwrap();
    file.write_all_at(&noise(2 << 20, 9), 70 * MIB).unwrap();
    file.set_len(75 * MIB + 5).unwrap();
    fs::set_permissions(path.join("m1"), fs::Permissions::from_mode(0o400)).unwrap();
    fs::set_permissions(path.join("m2"), fs::Permissions::from_mode(0o200)).unwrap();
}

fn free_bytes(path: &Path) -> u64 {
    // btrfs counts space that a transaction has freed only after its commit.
    rustix::fs::syncfs(File::open(path).unwrap()).unwrap();
    let found = rustix::fs::statvfs(path).unwrap();
    found.f_bfree * found.f_frsize
}

fn digest(path: &Path) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cloner"));
    let output = command.env_clear().arg("digest").arg(path).output().unwrap();
    String::from_utf8(output.stdout).unwrap().split(' ').next().unwrap().to_owned()
}

fn assert_same(one: &Path, other: &Path) {
    let mut diff = Command::new("diff");
    assert!(diff.args(["-r", "--no-dereference"]).args([one, other]).status().unwrap().success());
}

/// Asserts that this copy reported shared blocks, and printed the digest that `target` has now.
fn assert_shared(ended: &Outcome, target: &Path) {
    ended.assert_done();
    assert!(ended.stdout.contains(" shared)"), "{ended:?}");
    assert!(ended.stdout.trim_end().ends_with(&digest(target)), "{ended:?}");
}

fn assert_copied(ended: &Outcome, target: &Path) {
    ended.assert_done();
    assert!(!ended.stdout.contains("shared"), "{ended:?}");
    assert!(ended.stdout.trim_end().ends_with(&digest(target)), "{ended:?}");
    assert_eq!(ended.stderr, "", "nothing is said about it");
}

#[test]
fn an_image_takes_no_more_space_and_has_its_digest() {
    on_each_filesystem(|mounted| {
        let at = |name: &str| mounted.path().join(name);
        let before = free_bytes(mounted.path());
        let ended = copy(&["--verify=readback".as_ref(), at("image").as_os_str(), at("b").as_os_str()]);
        assert_shared(&ended, &at("b"));
        assert_eq!(digest(&at("b")), digest(&at("image")));
        assert!(before - free_bytes(mounted.path()) < METADATA_LIMIT_BYTES);
        assert_same(&at("image"), &at("b"));
        let blocks = |name: &str| at(name).metadata().unwrap().blocks();
        assert!(blocks("b") <= blocks("image") + 64, "its holes are holes");
        File::options().write(true).open(at("image")).unwrap().write_all_at(b"changed", 5 * MIB).unwrap();
        assert!(
            ended.stdout.trim_end().ends_with(&digest(&at("b"))),
            "the copy does not change with its source"
        );
        assert_ne!(digest(&at("image")), digest(&at("b")));
    });
}

#[test]
fn a_tree_takes_no_more_space_and_has_its_digest() {
    on_each_filesystem(|mounted| {
        let at = |name: &str| mounted.path().join(name);
        tree(&at("tree"));
        let before = free_bytes(mounted.path());
        let ended = copy(&["--verify=readback".as_ref(), at("tree").as_os_str(), at("b").as_os_str()]);
        assert_shared(&ended, &at("b"));
        assert_eq!(digest(&at("b")), digest(&at("tree")));
        let tree_of = |name: &str| describe(&at(name), true);
        trees::assert_same(&tree_of("tree"), &tree_of("b"), "shared");
        let used = before - free_bytes(mounted.path());
        assert!(used < 2 * METADATA_LIMIT_BYTES, "{used} bytes of 54 MiB");
        for name in ["m1", "m2"] {
            let stat = |top: &str| at(top).join(name).metadata().unwrap();
            assert_eq!((stat("b").mode(), stat("b").mtime()), (stat("tree").mode(), stat("tree").mtime()));
        }
        fs::write(at("tree/m0"), "changed").unwrap();
        assert!(
            ended.stdout.trim_end().ends_with(&digest(&at("b"))),
            "the copy does not change with its source"
        );
    });
}

#[test]
fn two_mounts_of_one_filesystem_share_blocks() {
    on_each_filesystem(|mounted| {
        for name in ["one", "other"] {
            fs::create_dir(mounted.path().join(name)).unwrap();
        }
        fs::rename(mounted.path().join("image"), mounted.path().join("one/image")).unwrap();
        let one = Mounted::bind(&mounted.path().join("one")).unwrap();
        let other = Mounted::bind(&mounted.path().join("other")).unwrap();
        let before = free_bytes(mounted.path());
        let ended = copy(&[one.path().join("image"), other.path().join("b")]);
        assert_shared(&ended, &other.path().join("b"));
        assert!(before - free_bytes(mounted.path()) < METADATA_LIMIT_BYTES);
    });
}

#[test]
fn another_filesystem_gets_a_copy_with_the_same_digest() {
    on_each_filesystem(|mounted| {
        let Some(other) = if_able(Mounted::xfs()) else { return };
        let target = other.path().join("b");
        let ended = copy(&[mounted.path().join("image"), target.clone()]);
        assert_copied(&ended, &target);
        assert_eq!(digest(&target), digest(&mounted.path().join("image")));
        tree(&mounted.path().join("tree"));
        let target = other.path().join("c");
        let ended = copy(&[mounted.path().join("tree"), target.clone()]);
        assert_copied(&ended, &target);
        assert_eq!(digest(&target), digest(&mounted.path().join("tree")));
    });
}

#[test]
fn preallocated_space_is_not_shared() {
    on_each_filesystem(|mounted| {
        let at = |name: &str| mounted.path().join(name);
        let before = free_bytes(mounted.path());
        let ended = copy(&["--preallocate".as_ref(), at("image").as_os_str(), at("b").as_os_str()]);
        assert_copied(&ended, &at("b"));
        assert!(before - free_bytes(mounted.path()) >= 40 * MIB);
    });
}

#[test]
fn a_refused_call_is_replaced_by_copying() {
    const ERRORS: [&str; 11] = [
        "EXDEV",
        "EOPNOTSUPP",
        "ENOTTY",
        "EINVAL",
        "EPERM",
        "EACCES",
        "ENOSYS",
        "ETXTBSY",
        "ENOSPC",
        "EDQUOT",
        "EIO",
    ];
    on_each_filesystem(|mounted| {
        let at = |name: &str| mounted.path().join(name);
        large_files(&at("tree"));
        fs::write(at("tree/small"), noise(100_000, 7)).unwrap();
        for (errno, source) in ERRORS.iter().flat_map(|errno| [(errno, "image"), (errno, "tree")]) {
            let output = Command::new("strace")
                .args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=ioctl"])
                .args(["-e", &format!("inject=ioctl:error={errno}"), env!("CARGO_BIN_EXE_cloner"), "copy"])
                .args([at(source), at("b")])
                .output()
                .unwrap();
            let text = String::from_utf8(output.stdout.clone()).unwrap();
            let is_copied = output.status.success() && !text.contains("shared");
            assert!(is_copied, "{errno} {source}: {output:?}");
            assert_eq!(digest(&at("b")), digest(&at(source)), "{errno} {source}");
            if source == "tree" {
                fs::remove_dir_all(at("b")).unwrap();
            } else {
                fs::remove_file(at("b")).unwrap();
            }
        }
    });
}

/// btrfs does not share blocks between files with and without checksums.
#[test]
fn a_file_that_cannot_be_shared_is_copied_next_to_others_that_are_shared() {
    if !is_root() {
        return;
    }
    let Some(mounted) = if_able(Mounted::btrfs()) else { return };
    let at = |name: &str| mounted.path().join(name);
    fs::create_dir(at("tree")).unwrap();
    File::create_new(at("tree/a")).unwrap();
    assert!(Command::new("chattr").arg("+C").arg(at("tree/a")).status().unwrap().success());
    fs::write(at("tree/a"), noise(3 << 20, 1)).unwrap();
    fs::write(at("tree/b"), noise(4 << 20, 2)).unwrap();
    let ended = copy(&[at("tree"), at("copy")]);
    assert_shared(&ended, &at("copy"));
    assert!(ended.stdout.contains("(4.00 MiB shared)"), "{ended:?}");
    assert_same(&at("tree"), &at("copy"));
}

#[test]
fn the_limit_holds_while_shared_blocks_are_read() {
    on_each_filesystem(|mounted| {
        let at = |name: &str| mounted.path().join(name);
        let start = Instant::now();
        let ended = copy(&["--limit=20MiB/s".as_ref(), at("image").as_os_str(), at("b").as_os_str()]);
        assert_shared(&ended, &at("b"));
        assert!(start.elapsed() > Duration::from_millis(500), "20 MiB in {:?}", start.elapsed());
    });
}

/// Starts a slow copy, and kills it when `appears` has the content of `whole`.
fn killed(source: &Path, target: &Path, whole: &Path, appears: &Path) {
    let arguments = ["--limit=10MiB/s".as_ref(), source.as_os_str(), target.as_os_str()];
    let mut child = command(&arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until(&appears.display().to_string(), || has_content_of(whole, appears));
    kill_process(Pid::from_child(&child), Signal::KILL).unwrap();
    assert!(!child.wait().unwrap().success());
    assert!(appears.exists());
}

/// Whether `path` has shared blocks, and the size of `whole`, which it gets with the last of them.
fn has_content_of(whole: &Path, path: &Path) -> bool {
    let size_bytes = whole.metadata().unwrap().len();
    path.metadata().is_ok_and(|meta| meta.len() == size_bytes && meta.blocks() * 512 > MIB)
}

#[test]
fn an_image_resumes_after_a_kill() {
    on_each_filesystem(|mounted| {
        let at = |name: &str| mounted.path().join(name);
        let before = free_bytes(mounted.path());
        killed(&at("image"), &at("b"), &at("image"), &at(".b.decant-partial"));
        let ended = copy(&[at("image"), at("b")]);
        ended.assert_done();
        assert!(ended.stderr.contains("resuming: the target already has"), "{ended:?}");
        assert!(ended.stdout.trim_end().ends_with(&digest(&at("image"))), "{ended:?}");
        assert_same(&at("image"), &at("b"));
        assert!(before - free_bytes(mounted.path()) < METADATA_LIMIT_BYTES);
    });
}

#[test]
fn an_image_that_changes_after_a_kill_is_copied_as_it_is_then() {
    on_each_filesystem(|mounted| {
        let at = |name: &str| mounted.path().join(name);
        for place in [3 * MIB, 35 * MIB] {
            killed(&at("image"), &at("b"), &at("image"), &at(".b.decant-partial"));
            File::options().write(true).open(at("image")).unwrap().write_all_at(b"changed", place).unwrap();
            let ended = copy(&[at("image"), at("b")]);
            ended.assert_done();
            assert!(ended.stdout.trim_end().ends_with(&digest(&at("image"))), "{ended:?}");
            assert_same(&at("image"), &at("b"));
            fs::remove_file(at("b")).unwrap();
        }
    });
}

#[test]
fn a_tree_resumes_after_a_kill() {
    on_each_filesystem(|mounted| {
        let at = |name: &str| mounted.path().join(name);
        tree(&at("tree"));
        let before = free_bytes(mounted.path());
        for last in ["m2", "n-sparse"] {
            killed(&at("tree"), &at("b"), &at("tree").join(last), &at("b/.decant-partial/new").join(last));
            let ended = copy(&[at("tree"), at("b")]);
            ended.assert_done();
            assert!(ended.stdout.trim_end().ends_with(&digest(&at("tree"))), "{ended:?}");
            let tree_of = |name: &str| describe(&at(name), true);
            trees::assert_same(&tree_of("tree"), &tree_of("b"), "resumed");
            let used = before - free_bytes(mounted.path());
            assert!(used < 4 * METADATA_LIMIT_BYTES, "{used} bytes of 54 MiB");
            fs::remove_dir_all(at("b")).unwrap();
        }
    });
}

#[test]
fn a_source_that_changes_during_the_copy_fails_it() {
    on_each_filesystem(|mounted| {
        let at = |name: &str| mounted.path().join(name);
        let (source, target) = (at("image"), at("b"));
        let arguments = ["--limit=10MiB/s".as_ref(), source.as_os_str(), target.as_os_str()];
        let child = command(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let growing: PathBuf = at(".b.decant-partial");
        until("shared blocks", || has_content_of(&source, &growing));
        File::options().write(true).open(at("image")).unwrap().write_all_at(b"changed", 39 * MIB).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && text.contains("was written to while it was read"), "{text}");
        assert!(!at("b").exists() && !growing.exists());
    });
}
