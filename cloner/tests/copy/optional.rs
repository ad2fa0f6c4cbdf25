//! System calls that fail, one at a time: a copy behaves as the table of `optional.rs` states. strace answers in place of
//! the kernel.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use decant_cloner::attributes::Attribute;
use decant_cloner::volume::optional_calls::{Call, Verdict};
use decant_test_support::disks::{LoopDevice, Mounted, make_ext4};
use decant_test_support::is_root;
use decant_test_support::trees::{acl, set_xattr, xattrs_of};
use rustix::io::Errno;

use super::command::{Outcome, Scratch, copy};

/// Copies with each call of `name` failing with `errno`; with `path`, only those about that path.
fn copy_without(name: &str, errno: &str, path: Option<&Path>, arguments: &[&Path]) -> Outcome {
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={name}")]);
    command.args(["-e", &format!("inject={name}:error={errno}")]);
    if let Some(path) = path {
        command.arg("-P").arg(path);
    }
    command
        .args([env!("CARGO_BIN_EXE_cloner"), "copy", "--quiet"])
        .args(crate::MODE)
        .args(arguments)
        .stdin(Stdio::null());
    let output = command.output().expect("strace");
    Outcome {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A tree that needs each of the calls: an owner, modes that no umask gives, an attribute and a list, a file that gets its
/// size first, and a hard link across directories.
fn tree_that_needs_every_call(scratch: &Scratch) -> PathBuf {
    let source = scratch.directory("source");
    scratch.directory("source/sub");
    scratch.file("source/a", b"content");
    scratch.file("source/large", &[7; 3 << 20]);
    fs::hard_link(scratch.at("source/a"), scratch.at("source/sub/b")).unwrap();
    set_xattr(&scratch.at("source/a"), "user.a", b"value");
    fs::set_permissions(scratch.at("source/a"), Permissions::from_mode(0o606)).unwrap();
    fs::set_permissions(scratch.at("source/sub"), Permissions::from_mode(0o777)).unwrap();
    if is_root() {
        chown(scratch.at("source/a"), Some(1), Some(1)).unwrap();
    }
    source
}

const ERRORS: [(&str, Errno); 10] = [
    ("ENOSYS", Errno::NOSYS),
    ("EOPNOTSUPP", Errno::OPNOTSUPP),
    ("EINVAL", Errno::INVAL),
    ("ENOTTY", Errno::NOTTY),
    ("EPERM", Errno::PERM),
    ("EACCES", Errno::ACCESS),
    ("EROFS", Errno::ROFS),
    ("ESTALE", Errno::STALE),
    ("EIO", Errno::IO),
    ("EDQUOT", Errno::DQUOT),
];

/// Asserts that a copy in which this call fails ends as the table states.
fn follows_the_table(name: &str, calls: &[Call], make: &dyn Fn(&Scratch) -> Vec<PathBuf>) {
    if !is_root() {
        return;
    }
    for (shown, errno) in ERRORS {
        let scratch = Scratch::new();
        let arguments = make(&scratch);
        let arguments: Vec<&Path> = arguments.iter().map(PathBuf::as_path).collect();
        let ended = copy_without(name, shown, None, &arguments);
        let verdicts: Vec<_> = calls.iter().map(|call| call.verdict(errno)).collect();
        if verdicts.contains(&Verdict::Fail) {
            assert_eq!(ended.code, Some(4), "{name} {shown}: {ended:#?}");
            // The directory that a tree is in is synced when the tree is complete and has its names.
            let is_late = calls == [Call::SyncDirectory];
            let is_left = arguments.last().unwrap().join("sub").exists();
            assert_eq!(is_left, is_late, "{name} {shown}: what is left");
            continue;
        }
        assert_eq!(ended.code, Some(0), "{name} {shown}: {ended:#?}");
        let lost = verdicts.iter().find_map(|verdict| match verdict {
            Verdict::NotKept(kind) => Some(kind),
            _ => None,
        });
        match lost {
            Some(kind) => {
                let is_told = ended.stderr.contains("not kept") && ended.stderr.contains(&kind.to_string());
                assert!(is_told, "{name} {shown}: {ended:#?}");
            }
            None => assert!(!ended.stderr.contains("not kept"), "{name} {shown}: {ended:#?}"),
        }
    }
}

fn tree_words(scratch: &Scratch) -> Vec<PathBuf> {
    vec![tree_that_needs_every_call(scratch), scratch.at("target")]
}

fn image_words(scratch: &Scratch) -> Vec<PathBuf> {
    scratch.file("image", &[7; 2 << 20]);
    vec![scratch.at("image"), scratch.at("target")]
}

fn preallocated(scratch: &Scratch) -> Vec<PathBuf> {
    [vec![PathBuf::from("--preallocate")], image_words(scratch)].concat()
}

fn preallocated_tree(scratch: &Scratch) -> Vec<PathBuf> {
    [vec![PathBuf::from("--preallocate")], tree_words(scratch)].concat()
}

#[test]
fn a_tree_without_chmod() {
    follows_the_table("fchmod", &[Call::Chmod], &tree_words);
}

#[test]
fn a_tree_without_chown() {
    follows_the_table("fchown", &[Call::Chown], &tree_words);
}

#[test]
fn a_tree_without_times() {
    follows_the_table("utimensat", &[Call::SetTimes], &tree_words);
}

#[test]
fn a_tree_without_extended_attributes() {
    follows_the_table("fsetxattr", &[Call::SetXattr], &tree_words);
}

#[test]
fn a_tree_without_sync_of_directories() {
    follows_the_table("fsync", &[Call::SyncDirectory], &tree_words);
}

#[test]
fn a_tree_without_truncate() {
    follows_the_table("ftruncate", &[Call::Truncate], &tree_words);
}

#[test]
fn a_tree_without_openat2() {
    follows_the_table("openat2", &[Call::OpenBeneath], &tree_words);
}

#[test]
fn a_tree_without_statfs() {
    follows_the_table("fstatfs", &[Call::Statfs], &tree_words);
}

#[test]
fn a_tree_without_fallocate() {
    follows_the_table("fallocate", &[Call::Allocate], &preallocated_tree);
}

#[test]
fn a_tree_without_advice() {
    follows_the_table("fadvise64", &[Call::Advise], &tree_words);
}

#[test]
fn an_image_without_chmod() {
    follows_the_table("fchmod", &[Call::Chmod], &image_words);
}

#[test]
fn an_image_without_sync() {
    follows_the_table("fsync", &[Call::SyncFile, Call::SyncDirectory], &image_words);
}

#[test]
fn an_image_without_fallocate() {
    follows_the_table("fallocate", &[Call::Allocate], &preallocated);
}

#[test]
fn an_image_without_advice() {
    follows_the_table("fadvise64", &[Call::Advise], &image_words);
}

#[test]
fn an_image_or_a_tree_without_reflinks() {
    if crate::IS_WIRE {
        // Nothing is shared over the network, and its sockets need `ioctl`.
        return;
    }
    follows_the_table("ioctl", &[Call::Reflink], &image_words);
    follows_the_table("ioctl", &[Call::Reflink], &tree_words);
}

/// Where there is no `syncfs`, each file is synced: no other call reports a failed disk.
#[test]
fn without_syncfs_each_file_of_a_tree_is_synced() {
    for (errno, code) in [("EPERM", 0), ("ENOSYS", 0), ("EINVAL", 0), ("EIO", 4), ("ENOSPC", 4)] {
        let scratch = Scratch::new();
        let [source, target] = tree_words(&scratch).try_into().unwrap();
        let log = scratch.at("log");
        let traced = Command::new("strace")
            .args(["-f", "-qq", "-y", "-e", "trace=syncfs,fsync", "-o"])
            .arg(&log)
            .args(["-e", &format!("inject=syncfs:error={errno}")])
            .args([env!("CARGO_BIN_EXE_cloner"), "copy", "--quiet"])
            .args(crate::MODE)
            .args([&source, &target])
            .output()
            .unwrap();
        assert_eq!(traced.status.code(), Some(code), "{errno}: {traced:?}");
        let log = fs::read_to_string(&log).unwrap();
        let is_synced = log.lines().any(|line| line.contains("fsync(") && line.contains("/large>"));
        assert!(code != 0 || is_synced, "{errno}: {log}");
    }
}

#[test]
fn a_close_error_fails_a_tree_copy_and_names_the_file() {
    for (errno, arguments) in [("EDQUOT", "quota"), ("EIO", "Input/output"), ("ENOSPC", "No space")] {
        let scratch = Scratch::new();
        let source = tree_that_needs_every_call(&scratch);
        let target = fs::canonicalize(scratch.at("")).unwrap().join("target");
        let written = target.join(".decant-partial/new/large");
        copy_without("close", errno, Some(&written), &[&source, &target])
            .assert_failed(4, &["cannot close \"large\" in", arguments]);
        assert!(!target.exists(), "something is left");
    }
}

#[test]
fn a_close_error_fails_an_image_copy_and_leaves_nothing() {
    for errno in ["EDQUOT", "EIO"] {
        let scratch = Scratch::new();
        scratch.file("image", &[7; 1 << 20]);
        let target = fs::canonicalize(scratch.at("")).unwrap().join("target");
        let written = target.with_file_name(".target.decant-partial");
        copy_without("close", errno, Some(&written), &[&scratch.at("image"), &target])
            .assert_failed(4, &["/target"]);
        assert!(!target.exists() && !written.exists(), "something is left");
    }
}

fn mode_of(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o7777
}

/// The group bits of a mode with a list are the list's mask.
#[test]
fn a_lost_acl_leaves_no_more_group_rights_than_the_group_had() {
    let scratch = Scratch::new();
    let source = scratch.directory("source");
    scratch.file("source/f", b"secret");
    for path in ["source", "source/f"] {
        fs::set_permissions(scratch.at(path), Permissions::from_mode(0o700)).unwrap();
        // user::rwx user:77:rwx group::--- mask::rwx other::---
        set_xattr(&scratch.at(path), "system.posix_acl_access", &acl(7, 7, 0, 7, 0));
        assert_eq!(mode_of(&scratch.at(path)), 0o770);
    }
    let target = scratch.at("target");
    let ended = copy_without("fsetxattr", "EOPNOTSUPP", None, &[&source, &target]);
    ended.assert_done();
    assert_eq!((mode_of(&target), mode_of(&target.join("f"))), (0o700, 0o700));
    for kind in [Attribute::Acl, Attribute::Mode] {
        assert!(ended.stderr.contains(&format!("{kind} of \"f\"")), "{ended:#?}");
    }
    // A file by itself never has its list.
    copy(&["--quiet".as_ref(), source.join("f").as_os_str(), scratch.at("alone").as_os_str()]).assert_done();
    assert_eq!(mode_of(&scratch.at("alone")), 0o700);
}

#[test]
fn a_new_directory_has_the_acl_of_its_source_and_not_of_its_parent() {
    let scratch = Scratch::new();
    let (plain, listed, parent) =
        (scratch.directory("plain"), scratch.directory("listed"), scratch.directory("parent"));
    scratch.file("image", b"x");
    fs::set_permissions(&plain, Permissions::from_mode(0o770)).unwrap();
    set_xattr(&listed, "system.posix_acl_access", &acl(7, 5, 0, 5, 0));
    set_xattr(&parent, "system.posix_acl_default", &acl(7, 7, 7, 7, 7));
    for (name, source) in [("a", &plain), ("b", &listed), ("c", &scratch.at("image"))] {
        copy(&["--quiet".as_ref(), source.as_os_str(), parent.join(name).as_os_str()]).assert_done();
        assert_eq!(xattrs_of(&parent.join(name)), xattrs_of(source), "{name}");
        assert_eq!(mode_of(&parent.join(name)), mode_of(source), "{name}");
    }
}

#[test]
fn setuid_is_dropped_if_the_owner_cannot_be_kept() {
    if !is_root() {
        return;
    }
    let scratch = Scratch::new();
    let source = scratch.directory("source");
    for (name, mode) in [("setuid", 0o4755), ("setgid", 0o2755)] {
        scratch.file(&format!("source/{name}"), b"x");
        chown(scratch.at(&format!("source/{name}")), Some(1), Some(1)).unwrap();
        fs::set_permissions(scratch.at(&format!("source/{name}")), Permissions::from_mode(mode)).unwrap();
    }
    let target = scratch.at("target");
    let ended = copy_without("fchown", "EPERM", None, &[&source, &target]);
    ended.assert_done();
    assert_eq!((mode_of(&target.join("setuid")), mode_of(&target.join("setgid"))), (0o755, 0o755));
    assert!(ended.stderr.contains("permission bits of 2 entries"), "{ended:#?}");
}

/// Unmounted when dropped.
struct BindMount(PathBuf);

impl BindMount {
    fn at(scratch: &Scratch, options: &[&str]) -> Self {
        let (below, above) = (scratch.directory("below"), scratch.directory("above"));
        let done = Command::new("bindfs").args(options).args([&below, &above]).output().expect("bindfs");
        assert!(done.status.success(), "{done:?}");
        Self(above)
    }
}

impl Drop for BindMount {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(&self.0).output();
        assert!(std::thread::panicking() || unmounted.is_ok_and(|done| done.status.success()));
    }
}

/// The kernel does not forward `syncfs` to a FUSE daemon.
#[test]
fn on_fuse_each_file_of_a_tree_is_synced() {
    if !is_root() {
        return;
    }
    let scratch = Scratch::new();
    let bind_mount = BindMount::at(&scratch, &[]);
    let (source, target, log) =
        (tree_that_needs_every_call(&scratch), bind_mount.0.join("o"), scratch.at("log"));
    let traced = Command::new("strace")
        .args(["-f", "-qq", "-y", "-e", "trace=fsync", "-o"])
        .arg(&log)
        .args([env!("CARGO_BIN_EXE_cloner"), "copy", "--quiet"])
        .args(crate::MODE)
        .args([&source, &target])
        .output()
        .unwrap();
    assert!(traced.status.success(), "{traced:?}");
    let log = fs::read_to_string(&log).unwrap();
    assert!(["/a>", "/large>"].iter().all(|name| log.contains(name)), "{log}");
}

fn tree_without_special_modes(scratch: &Scratch) -> PathBuf {
    let source = scratch.directory("source");
    scratch.file("source/secret", b"x");
    fs::set_permissions(scratch.at("source/secret"), Permissions::from_mode(0o600)).unwrap();
    chown(scratch.at("source/secret"), Some(1), Some(1)).unwrap();
    Command::new("touch")
        .args(["-d", "2001-02-03 04:05:06.789"])
        .arg(scratch.at("source/secret"))
        .status()
        .unwrap();
    source
}

#[test]
fn modes_and_times_are_set_if_the_filesystem_chooses_other_initial_modes() {
    if !is_root() {
        return;
    }
    let scratch = Scratch::new();
    let bind_mount = BindMount::at(&scratch, &["--create-with-perms=u=rwD,g=rwD,o=rD"]);
    let (source, target) = (tree_without_special_modes(&scratch), bind_mount.0.join("o"));
    let ended = copy(&["--quiet".as_ref(), source.as_os_str(), target.as_os_str()]);
    ended.assert_done();
    let (wanted, found) =
        (source.join("secret").metadata().unwrap(), target.join("secret").metadata().unwrap());
    assert_eq!((found.mode(), found.mtime_nsec()), (wanted.mode(), wanted.mtime_nsec()));
    assert_eq!(ended.stderr, "");
}

#[test]
fn attributes_that_the_filesystem_silently_ignores_are_counted() {
    if !is_root() {
        return;
    }
    let scratch = Scratch::new();
    let bind_mount =
        BindMount::at(&scratch, &["--chmod-ignore", "--chown-ignore", "--create-with-perms=o+r"]);
    let (source, target) = (tree_without_special_modes(&scratch), bind_mount.0.join("o"));
    let ended = copy(&["--quiet".as_ref(), source.as_os_str(), target.as_os_str()]);
    ended.assert_done();
    for kind in [Attribute::Owner, Attribute::Mode] {
        assert!(ended.stderr.contains(&format!("{kind} of")), "{ended:#?}");
    }
}

#[test]
fn a_user_can_copy_into_a_writable_directory_without_read_permission() {
    if !is_root() {
        return;
    }
    let scratch = Scratch::new();
    fs::set_permissions(scratch.at(""), Permissions::from_mode(0o755)).unwrap();
    let (source, drop_box) = (scratch.directory("source"), scratch.directory("box"));
    scratch.file("source/f", b"x");
    scratch.file("image", b"x");
    fs::set_permissions(&drop_box, Permissions::from_mode(0o1733)).unwrap();
    for (from, to) in [(source, "new"), (scratch.at("image"), "image")] {
        let mut command =
            super::command::command(&["--quiet".as_ref(), from.as_os_str(), drop_box.join(to).as_os_str()]);
        let output = command.uid(65_534).gid(65_534).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        assert!(drop_box.join(to).exists());
    }
}

/// Reserved blocks are free space for root. `fallocate` uses them, `statfs` does not count them.
#[test]
fn an_image_that_fits_only_into_root_reserved_blocks_is_preallocated() {
    if !is_root() {
        return;
    }
    let scratch = Scratch::new();
    scratch.file("disk", b"");
    fs::File::options().write(true).open(scratch.at("disk")).unwrap().set_len(40 << 20).unwrap();
    make_ext4(&scratch.at("disk"), &["-m", "20"]).unwrap();
    let device = LoopDevice::on(&scratch.at("disk"));
    let mounted = Mounted::device(&device.0).unwrap();
    let fits = |mib: usize, name: &str| {
        scratch.file("image", &vec![7; mib << 20]);
        let target = mounted.path().join(name);
        copy(&[
            "--quiet".as_ref(),
            "--preallocate".as_ref(),
            scratch.at("image").as_os_str(),
            target.as_os_str(),
        ])
    };
    fits(26, "a").assert_done();
    fs::remove_file(mounted.path().join("a")).unwrap();
    fits(60, "b").assert_failed(4, &["no space for", "after 0 of"]);
    assert!(!mounted.path().join("b").exists());
}
