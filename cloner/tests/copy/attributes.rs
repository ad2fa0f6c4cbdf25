//! Metadata and attributes of entries.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;

use decant_test_support::disks::Mounted;
use decant_test_support::is_root;
use decant_test_support::trees::{
    Format, acl, assert_same, describe, give_attributes, make_torture, set_xattr, xattrs_of,
};

use super::command::{Scratch, command, copy};

#[test]
fn all_attributes_of_a_tree_are_copied() {
    let scratch = Scratch::new();
    let source = scratch.directory("a");
    make_torture(&source, Format::Full);
    give_attributes(&source);
    let target = scratch.at("b");
    let ended = copy(&["--log-format=json".as_ref(), source.as_os_str(), target.as_os_str()]);
    ended.assert_done();
    let found = describe(&target, true);
    assert_same(&describe(&source, true), &found, "copied");
    assert!(found[Path::new("some")].contains("user.odd=name%25=Some([])"), "{found:#?}");
    assert!(!ended.stderr.contains("not kept"), "{}", ended.stderr);
}

#[test]
fn the_default_acl_of_the_target_directory_is_not_inherited() {
    let scratch = Scratch::new();
    let (source, target) = (scratch.directory("a"), scratch.directory("b"));
    make_torture(&source, Format::Ustar);
    let list = acl(7, 7, 7, 7, 0);
    set_xattr(&target, "system.posix_acl_default", &list);
    copy(&[&source, &target]).assert_done();
    assert_same(&describe(&source, true), &describe(&target, true), "copied");
    assert_eq!(xattrs_of(&target), [format!("system.posix_acl_default=Some({list:?})")]);
}

#[test]
fn attributes_that_need_privileges_are_counted_and_named() {
    if !is_root() {
        return;
    }
    let scratch = Scratch::new();
    let (source, target) = (scratch.directory("a"), scratch.directory("b"));
    fs::set_permissions(scratch.at(""), Permissions::from_mode(0o755)).unwrap();
    std::os::unix::fs::chown(&target, Some(65_534), Some(65_534)).unwrap();
    scratch.directory("a/sub");
    scratch.file("a/capable", b"x");
    scratch.file("a/sub/read-only", b"x");
    scratch.file("a/sub/shared", b"x");
    set_xattr(&scratch.at("a/capable"), "security.capability", &decant_test_support::trees::CAPABILITY);
    set_xattr(&scratch.at("a/sub/read-only"), "user.a", b"kept");
    fs::set_permissions(scratch.at("a/sub/read-only"), Permissions::from_mode(0o444)).unwrap();
    fs::set_permissions(scratch.at("a/sub/shared"), Permissions::from_mode(0o2755)).unwrap();
    let mut copied = command(&["--quiet".as_ref(), source.as_os_str(), target.as_os_str()]);
    let output = copied.uid(65_534).gid(65_534).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{stderr}");
    let wanted = "warning: not kept: owners of 4 entries (the first is \"capable\"), permission bits of \"sub/shared\", \
                  file capabilities of \"capable\"\n";
    assert_eq!(stderr, wanted);
    assert_eq!(xattrs_of(&scratch.at("b/sub/read-only")), ["user.a=Some([107, 101, 112, 116])"]);
    // The group is that of the process: setgid would lend the rights of another group than at the source.
    assert_eq!(scratch.at("b/sub/shared").metadata().unwrap().permissions().mode() & 0o7777, 0o755);
}

#[test]
fn an_attribute_too_large_for_the_target_filesystem_is_counted_and_named() {
    if !is_root() {
        return;
    }
    let (from, to) =
        (Mounted::ext4(32 << 20, "ea_inode").unwrap(), Mounted::ext4(32 << 20, "^ea_inode").unwrap());
    let large = from.path().join("large");
    fs::write(&large, "content").unwrap();
    set_xattr(&large, "user.small", b"kept");
    set_xattr(&large, "user.large", &[7; 60_000]);
    let ended = copy(&["--quiet".as_ref(), from.path().as_os_str(), to.path().as_os_str()]);
    ended.assert_done();
    assert_eq!(ended.stderr, "warning: not kept: extended attributes of \"large\"\n");
    assert_eq!(xattrs_of(&to.path().join("large")), ["user.small=Some([107, 101, 112, 116])"]);
}

#[test]
fn the_largest_possible_attribute_is_copied() {
    if !is_root() {
        return;
    }
    let (from, to) =
        (Mounted::ext4(32 << 20, "ea_inode").unwrap(), Mounted::ext4(32 << 20, "ea_inode").unwrap());
    for name in ["file", "folder"] {
        let path = from.path().join(name);
        if name == "file" {
            fs::write(&path, "x").unwrap();
        } else {
            fs::create_dir(&path).unwrap();
        }
        for number in 0..12 {
            set_xattr(&path, &format!("user.{number}"), &[number; 65_536]);
        }
    }
    let ended = copy(&["--quiet".as_ref(), from.path().as_os_str(), to.path().as_os_str()]);
    ended.assert_done();
    assert_eq!(ended.stderr, "");
    for name in ["file", "folder"] {
        assert!(xattrs_of(&from.path().join(name)) == xattrs_of(&to.path().join(name)), "{name}");
        assert_eq!(xattrs_of(&to.path().join(name)).len(), 12);
    }
}

#[test]
fn hard_links_beyond_the_memory_limit_count_as_not_kept() {
    const FILES: usize = 2800;
    let scratch = Scratch::new();
    let source = scratch.directory("a");
    // Names of nearly 4 KiB, the longest that one call takes, use the memory up early.
    let mut directory = std::path::PathBuf::new();
    (0..15).for_each(|_| directory.push("f".repeat(250)));
    let deep = source.join(&directory);
    fs::create_dir_all(&deep).unwrap();
    for index in 0..FILES {
        let first = deep.join(format!("{index:0>100}"));
        fs::write(&first, index.to_string()).unwrap();
        fs::hard_link(&first, source.join(format!("z{index}"))).unwrap();
    }
    let ended = copy(&[&source, &scratch.at("b")]);
    ended.assert_done();
    let lost = (0..FILES).filter(|index| {
        let copied = scratch.at("b").join(format!("z{index}"));
        assert_eq!(fs::read_to_string(&copied).unwrap(), index.to_string());
        std::os::unix::fs::MetadataExt::nlink(&fs::metadata(copied).unwrap()) == 1
    });
    let lost = lost.count();
    assert!(lost > 0 && lost < FILES / 2, "{lost}");
    assert!(ended.stderr.contains(&format!("not kept: hard links of {lost} entries")), "{}", ended.stderr);
}
