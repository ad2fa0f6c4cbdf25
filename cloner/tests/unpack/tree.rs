//! How the unpacker handles members, directories and existing entries.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};

use crate::unpacking::{unpack, unpack_with};
use decant_cloner::attributes::Attribute;
use decant_cloner::volume::layout::STAGING_NAME;
use decant_cloner::volume::tree::write::UnpackOptions;
use decant_test_support::archive::HandMade;
use decant_test_support::is_root;
use decant_test_support::trees::{allocated_bytes, assert_same, describe, output, sparse};
use tempfile::tempdir;

#[test]
fn an_empty_archive_leaves_the_directory_unchanged() {
    let target = tempdir().unwrap();
    fs::write(target.path().join("there"), "x").unwrap();
    let before = describe(target.path(), true);
    for archive in [Vec::new(), vec![0; 10_240]] {
        unpack(&archive, target.path()).unwrap();
        assert_same(&before, &describe(target.path(), true), "empty");
    }
}

#[test]
fn the_target_directory_gets_mode_and_time_of_the_archive() {
    let target = tempdir().unwrap();
    let mut header = HandMade::header(b'5', "./", 0);
    header.set_mode(0o2750);
    unpack(&HandMade::default().block(header, b"").file("./a", "x").end(), target.path()).unwrap();
    let found = fs::metadata(target.path()).unwrap();
    assert_eq!((found.mode() & 0o7777, found.mtime()), (0o2750, 1_700_000_000));
}

#[test]
fn lost_and_found_is_not_unpacked() {
    let target = tempdir().unwrap();
    let archive = HandMade::default()
        .directory("./lost+found/")
        .file("./lost+found/x", "x")
        .file("sub/lost+found", "y");
    let done = unpack(&archive.end(), target.path()).unwrap();
    assert_eq!((done.skipped, done.files), (2, 1));
    assert!(!target.path().join("lost+found").exists());
    assert!(target.path().join("sub/lost+found").exists());
}

#[test]
fn leftovers_of_every_kind_are_replaced_and_other_entries_stay() {
    let target = tempdir().unwrap();
    let at = |name: &str| target.path().join(name);
    fs::create_dir_all(at(".decant-partial/new/deep/er")).unwrap();
    fs::set_permissions(at(".decant-partial/new/deep"), fs::Permissions::from_mode(0o500)).unwrap();
    symlink("/", at(".decant-partial/new/root")).unwrap();
    fs::create_dir_all(at("file/was/a/folder")).unwrap();
    fs::write(at("folder"), "was a file").unwrap();
    symlink("stranger", at("link")).unwrap();
    symlink("stranger", at("over-link")).unwrap();
    fs::create_dir_all(at("same/old")).unwrap();
    fs::set_permissions(at("same"), fs::Permissions::from_mode(0o500)).unwrap();
    fs::write(at("stranger"), "stays").unwrap();
    let archive = HandMade::default()
        .file("file", "new")
        .file("folder/x", "new")
        .symlink("link", "file")
        .file("over-link", "new")
        .file("same/new", "new")
        .end();
    unpack(&archive, target.path()).unwrap();
    let names: Vec<_> =
        describe(target.path(), false).into_keys().map(|path| path.display().to_string()).collect();
    assert_eq!(names, ["file", "folder", "folder/x", "link", "over-link", "same", "same/new", "stranger"]);
    assert_eq!(fs::read_to_string(at("stranger")).unwrap(), "stays");
    assert_eq!(fs::read_to_string(at("over-link")).unwrap(), "new");
}

#[test]
fn the_last_member_of_a_name_wins() {
    let target = tempdir().unwrap();
    let outside = tempdir().unwrap();
    fs::write(outside.path().join("kept"), "kept").unwrap();
    let archive = HandMade::default()
        .file("a", "first")
        .file("a", "second")
        .symlink("b", outside.path().join("kept").to_str().unwrap())
        .file("b", "file over symlink")
        .symlink("c", outside.path().to_str().unwrap())
        .directory("c/")
        .file("c/kept", "folder over symlink")
        .directory("d/")
        .file("d/x", "kept")
        .directory("d/")
        .directory("e/")
        .file("e", "file over empty folder")
        .file("f", "x")
        .hard_link("f", "f")
        .hard_link("f", "./f")
        .end();
    unpack(&archive, target.path()).unwrap();
    let content = |name: &str| fs::read_to_string(target.path().join(name)).unwrap();
    assert_eq!((content("a").as_str(), content("b").as_str()), ("second", "file over symlink"));
    assert_eq!((content("d/x").as_str(), content("e").as_str()), ("kept", "file over empty folder"));
    assert_eq!((content("c/kept").as_str(), content("f").as_str()), ("folder over symlink", "x"));
    assert_eq!(fs::read_to_string(outside.path().join("kept")).unwrap(), "kept");
}

#[test]
fn directories_keep_mode_and_time_if_later_members_add_to_them() {
    let target = tempdir().unwrap();
    let closed = |name: &str| {
        let mut header = HandMade::header(b'5', name, 0);
        header.set_mode(0o500);
        header.set_mtime(1_500_000_000);
        header
    };
    let archive = HandMade::default()
        .block(closed("a/"), b"")
        .block(closed("a/b/"), b"")
        .file("a/b/1", "1")
        .file("z", "")
        .file("a/b/2", "2")
        .file("y", "")
        .file("a/3", "3")
        .file("late/x", "")
        .block(closed("late/"), b"")
        .end();
    unpack(&archive, target.path()).unwrap();
    for name in ["a", "a/b", "late"] {
        let found = fs::metadata(target.path().join(name)).unwrap();
        assert_eq!((found.mode() & 0o7777, found.mtime()), (0o500, 1_500_000_000), "{name}");
    }
    for name in ["a", "a/b", "late"] {
        fs::set_permissions(target.path().join(name), fs::Permissions::from_mode(0o700)).unwrap();
    }
}

#[test]
fn the_group_of_a_shared_volume_is_inherited() {
    if !is_root() {
        return;
    }
    let target = tempdir().unwrap();
    std::os::unix::fs::chown(target.path(), None, Some(4242)).unwrap();
    fs::set_permissions(target.path(), fs::Permissions::from_mode(0o2775)).unwrap();
    let archive = HandMade::default().file("top", "").file("sub/unnamed", "").directory("sub/folder/").end();
    unpack_with(&archive, target.path(), UnpackOptions::default()).unwrap();
    for name in ["top", "sub", "sub/unnamed", "sub/folder"] {
        assert_eq!(fs::metadata(target.path().join(name)).unwrap().gid(), 4242, "{name}");
    }
}

#[test]
fn preallocation_leaves_no_holes() {
    let (source, target) = (tempdir().unwrap(), tempdir().unwrap());
    sparse(&source.path().join("holey"), 8 << 20, 1 << 20, b"x");
    let archive = output("tar", &["-cSf", "-", "holey"], source.path());
    for (preallocate, at_least, at_most) in [(true, 8 << 20, 9 << 20), (false, 0, 1 << 20)] {
        let options = UnpackOptions { preallocate, ..UnpackOptions::default() };
        unpack_with(&archive, target.path(), options).unwrap();
        let allocated = allocated_bytes(&target.path().join("holey"));
        assert!((at_least..=at_most).contains(&allocated), "{allocated}");
        assert!(
            fs::read(target.path().join("holey")).unwrap() == fs::read(source.path().join("holey")).unwrap()
        );
    }
}

#[test]
fn trees_deeper_than_the_descriptor_limit_are_unpacked() {
    let target = tempdir().unwrap();
    let deep = "d/".repeat(1500);
    let archive = HandMade::default()
        .pax(b'x', &[("path", &format!("{deep}file"))])
        .file("x", "deep")
        .pax(b'x', &[("path", &format!("{}other", "d/".repeat(700)))])
        .file("x", "less deep")
        .pax(b'x', &[("path", "link"), ("linkpath", &format!("{}other", "d/".repeat(700)))])
        .hard_link("x", "x")
        .end();
    let done = unpack(&archive, target.path()).unwrap();
    assert_eq!((done.files, done.others), (2, 1));
    assert_eq!(fs::read_to_string(target.path().join("link")).unwrap(), "less deep");
    // Once more: the existing tree has to be removed.
    unpack(&archive, target.path()).unwrap();
    assert!(!target.path().join(STAGING_NAME).exists());
}

#[test]
fn lost_owners_and_attributes_are_counted() {
    let target = tempdir().unwrap();
    let mut foreign = HandMade::header(b'0', "foreign", 0);
    foreign.set_uid(12_345);
    foreign.set_gid(12_345);
    let mut nobody = HandMade::header(b'0', "nobody", 0);
    nobody.set_uid(u64::from(u32::MAX));
    let archive = HandMade::default()
        .block(foreign, b"")
        .block(nobody, b"")
        .pax(b'x', &[("SCHILY.xattr.nowhere.a", "b")])
        .file("attributes", "")
        .end();
    let options = UnpackOptions { own: true, ..UnpackOptions::default() };
    let done = unpack_with(&archive, target.path(), options).unwrap();
    let lost = |kind| done.not_kept.count(kind);
    assert_eq!(lost(Attribute::Xattr), 1);
    if is_root() {
        assert_eq!(lost(Attribute::Owner), 1);
    } else {
        assert!(lost(Attribute::Owner) >= 2);
    }
    assert!(target.path().join("foreign").exists());
}

#[test]
fn a_device_node_is_created_or_reported_as_an_error() {
    let target = tempdir().unwrap();
    let mut device = HandMade::header(b'3', "null", 0);
    device.set_device_major(1).unwrap();
    device.set_device_minor(3).unwrap();
    let archive = HandMade::default().block(device, b"").end();
    let done = unpack(&archive, target.path());
    if is_root() {
        done.unwrap();
        assert!(fs::metadata(target.path().join("null")).unwrap().file_type().is_char_device());
    } else {
        assert!(done.unwrap_err().to_string().starts_with("cannot create the device node \"null\""));
        assert_eq!(fs::read_dir(target.path()).unwrap().count(), 0);
    }
}
