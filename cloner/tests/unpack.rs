//! Trees as other programs pack them come out of the unpacker as they were.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod hand_made;
mod trees;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use decant_cloner::unpack::{STAGING_NAME, UnpackOptions};
use hand_made::HandMade;
use tempfile::tempdir;
use trees::{
    Wealth, allocated_bytes, assert_same, describe, is_root, make_torture, output, sparse, unpack,
    unpack_with,
};

/// Packs a torture tree and compares what comes out. `keeps_nanoseconds`: the format does.
fn round_trip(program: &str, arguments: &[&str], wealth: Wealth, keeps_nanoseconds: bool, keeps_holes: bool) {
    let (source, target) = (tempdir().unwrap(), tempdir().unwrap());
    make_torture(source.path(), wealth);
    let what = format!("{program} {arguments:?}");
    let archive = output(program, arguments, source.path());
    let done = unpack(&archive, target.path()).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(done.not_kept, Default::default(), "{what}");
    let (expected, found) =
        (describe(source.path(), keeps_nanoseconds), describe(target.path(), keeps_nanoseconds));
    assert_same(&expected, &found, &what);
    for name in ["islands", "all-hole", "ends-in-data", "starts-with-data", "large"] {
        let (from, to) = (source.path().join(name), target.path().join(name));
        if keeps_holes && from.exists() {
            let (from, to) = (allocated_bytes(&from), allocated_bytes(&to));
            assert!(to <= from + (64 << 10), "{what}: {name} has {to} bytes on disk instead of {from}");
        }
    }
}

#[test]
fn gnu_tar_in_its_own_format() {
    round_trip("tar", &["-cf", "-", "-S", "--format=gnu", "."], Wealth::Full, false, true);
}

#[test]
fn gnu_tar_with_posix_headers_and_each_sparse_version() {
    for version in ["0.0", "0.1", "1.0"] {
        let sparse = format!("--sparse-version={version}");
        round_trip("tar", &["-cf", "-", "-S", &sparse, "--format=posix", "."], Wealth::Full, true, true);
    }
}

#[test]
fn gnu_tar_in_old_formats() {
    round_trip("tar", &["-cf", "-", "--format=ustar", "."], Wealth::Ustar, false, false);
    round_trip("tar", &["-cf", "-", "--format=v7", "."], Wealth::V7, false, false);
    round_trip("tar", &["-cf", "-", "--format=oldgnu", "-S", "."], Wealth::Full, false, true);
}

#[test]
fn bsdtar_in_its_formats() {
    if std::process::Command::new("bsdtar").arg("--version").output().is_err() {
        eprintln!("no bsdtar here");
        return;
    }
    round_trip("bsdtar", &["-cf", "-", "--format=pax", "."], Wealth::Full, true, true);
    round_trip("bsdtar", &["-cf", "-", "--format=gnutar", "."], Wealth::Ustar, false, false);
    round_trip("bsdtar", &["-cf", "-", "--format=ustar", "."], Wealth::Ustar, false, false);
}

/// The body of a recording of CDI's own cloner.
fn capture(name: &str) -> Vec<u8> {
    let path = captures().join(name);
    let mut body = Vec::new();
    snap::read::FrameDecoder::new(File::open(path).unwrap()).read_to_end(&mut body).unwrap();
    body
}

fn captures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures")
}

#[test]
fn what_cdi_sends_comes_out_as_its_tree_was() {
    for name in ["filesystem-sparse.snappy", "filesystem-dense.snappy"] {
        let target = tempdir().unwrap();
        unpack(&capture(name), target.path()).unwrap();
        let mut names = Vec::new();
        for line in fs::read_to_string(captures().join("tree.tsv")).unwrap().lines() {
            let fields: Vec<&str> = line.split('\t').collect();
            let [path, kind, mode, size, links, link, digest] = fields[..] else { panic!("{line}") };
            // The line of the volume's own folder has no path, so its fields stand one to the left.
            if kind.len() > 1 {
                continue;
            }
            names.push(PathBuf::from(path));
            let at = target.path().join(path);
            let found = fs::symlink_metadata(&at).unwrap();
            assert_eq!(found.mtime(), 1_700_000_000, "{name}: {path}");
            match kind {
                "l" => assert_eq!(fs::read_link(&at).unwrap(), Path::new(link)),
                "d" => assert!(found.is_dir()),
                _ => {
                    assert!(found.is_file());
                    assert_eq!(
                        (found.len().to_string(), found.nlink().to_string()),
                        (size.into(), links.into())
                    );
                    let sum = output("sha256sum", &[at.to_str().unwrap()], target.path());
                    assert_eq!(std::str::from_utf8(&sum[..64]).unwrap(), digest, "{name}: {path}");
                }
            }
            if kind != "l" {
                assert_eq!(format!("{:o}", found.mode() & 0o7777), mode, "{name}: {path}");
            }
        }
        let mut found: Vec<_> = describe(target.path(), false).into_keys().collect();
        found.sort();
        names.sort();
        assert_eq!(names.len(), 12);
        assert_eq!(found, names, "{name}: nothing else, no lost+found");
        assert_eq!(fs::read(target.path().join("disk.img")).unwrap(), capture("block.snappy"));
    }
}

#[test]
fn an_empty_archive_leaves_the_folder_as_it_is() {
    let target = tempdir().unwrap();
    fs::write(target.path().join("there"), "x").unwrap();
    let before = describe(target.path(), true);
    for archive in [Vec::new(), vec![0; 10_240]] {
        unpack(&archive, target.path()).unwrap();
        assert_same(&before, &describe(target.path(), true), "empty");
    }
}

#[test]
fn the_folder_itself_gets_mode_and_time_when_the_archive_has_them() {
    let target = tempdir().unwrap();
    let mut header = HandMade::header(b'5', "./", 0);
    header.set_mode(0o2750);
    unpack(&HandMade::default().block(header, b"").file("./a", "x").end(), target.path()).unwrap();
    let found = fs::metadata(target.path()).unwrap();
    assert_eq!((found.mode() & 0o7777, found.mtime()), (0o2750, 1_700_000_000));
}

#[test]
fn lost_and_found_does_not_arrive() {
    let target = tempdir().unwrap();
    let archive =
        HandMade::default().folder("./lost+found/").file("./lost+found/x", "x").file("sub/lost+found", "y");
    let done = unpack(&archive.end(), target.path()).unwrap();
    assert_eq!((done.skipped, done.files), (2, 1));
    assert!(!target.path().join("lost+found").exists());
    assert!(target.path().join("sub/lost+found").exists());
}

#[test]
fn leftovers_of_every_kind_are_replaced_and_strangers_stay() {
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
        .folder("c/")
        .file("c/kept", "folder over symlink")
        .folder("d/")
        .file("d/x", "kept")
        .folder("d/")
        .folder("e/")
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
fn folders_keep_mode_and_time_when_members_come_back_to_them() {
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
    let archive = HandMade::default().file("top", "").file("sub/unnamed", "").folder("sub/folder/").end();
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
        let options = UnpackOptions { preallocate, own: false };
        unpack_with(&archive, target.path(), options).unwrap();
        let allocated = allocated_bytes(&target.path().join("holey"));
        assert!((at_least..=at_most).contains(&allocated), "{allocated}");
        assert!(
            fs::read(target.path().join("holey")).unwrap() == fs::read(source.path().join("holey")).unwrap()
        );
    }
}

#[test]
fn trees_deeper_than_there_are_descriptors() {
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
    let before: BTreeMap<_, _> = describe(target.path(), false);
    assert!(before.is_empty());
    let done = unpack(&archive, target.path()).unwrap();
    assert_eq!((done.files, done.others), (2, 1));
    assert_eq!(fs::read_to_string(target.path().join("link")).unwrap(), "less deep");
    // And once more: the old one has to be removed.
    unpack(&archive, target.path()).unwrap();
    assert!(!target.path().join(STAGING_NAME).exists());
}
