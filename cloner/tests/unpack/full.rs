//! Filesystems that are full, or cannot do what others can. They are small, real and mounted, so these tests
//! need root (see `able`).

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::unpacking::{unpack, unpack_with};
use decant_cloner::error::Kind;
use decant_cloner::volume::tree::write::UnpackOptions;
use decant_test_support::archive::HandMade;
use decant_test_support::disks::Mounted;
use decant_test_support::trees::{allocated_bytes, assert_same, describe};
use decant_test_support::{able, is_root};
use tempfile::tempdir;

/// Outside of CI a test may do without a filesystem that cannot be made here.
fn if_able(made: Result<Mounted, String>) -> Option<Mounted> {
    match made {
        Ok(mounted) => Some(mounted),
        Err(error) => {
            able(false, &error);
            None
        }
    }
}

/// A process that a concurrent test starts has our files open between its fork and its exec: until then the space of
/// removed files is not free.
fn assert_room_comes_back(path: &Path, free_blocks: u64) {
    let until = Instant::now() + Duration::from_secs(10);
    while free_blocks_of(path) < free_blocks {
        assert!(Instant::now() < until, "what was removed still takes its room");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn free_blocks_of(path: &Path) -> u64 {
    rustix::fs::statvfs(path).unwrap().f_bfree
}

#[test]
fn a_full_filesystem_is_reported_with_member_and_sizes_and_left_unchanged() {
    if !is_root() {
        return;
    }
    let small = [Mounted::tmpfs("size=4m"), Mounted::ext4(8 << 20, "extent")];
    for mounted in small.into_iter().filter_map(if_able) {
        let target = mounted.path();
        fs::write(target.join("there"), "x").unwrap();
        let before = describe(target, true);
        let free_blocks = free_blocks_of(target);
        let large = HandMade::default().file("fits", "x").file("sub/too-large", &"x".repeat(20 << 20)).end();
        for preallocate in [false, true] {
            let options = UnpackOptions { preallocate, ..UnpackOptions::default() };
            let error = unpack_with(&large, target, options).unwrap_err();
            assert_eq!(error.kind(), Kind::NoSpace, "{error}");
            let text = error.to_string();
            for part in ["\"sub/too-large\"", " of 20971520 bytes", "bytes free"] {
                assert!(text.contains(part), "{text}");
            }
            assert_same(&before, &describe(target, true), "full");
            assert_room_comes_back(target, free_blocks);
        }
        unpack(&HandMade::default().file("fits", "x").end(), target).unwrap();
    }
}

#[test]
fn a_filesystem_without_free_inodes_counts_as_full() {
    if !is_root() {
        return;
    }
    let Some(mounted) = if_able(Mounted::tmpfs("size=4m,nr_inodes=20")) else { return };
    let many = (0..50).fold(HandMade::default(), |archive, at| archive.file(&format!("f{at}"), ""));
    let error = unpack(&many.end(), mounted.path()).unwrap_err();
    assert_eq!(error.kind(), Kind::NoSpace, "{error}");
    assert!(error.to_string().contains("\"f1"), "{error}");
    assert_eq!(fs::read_dir(mounted.path()).unwrap().count(), 0);
}

#[test]
fn preallocation_without_fallocate_writes_zeros() {
    if !is_root() {
        return;
    }
    // Without extents ext4 is ext3, and fallocate says "not supported".
    let Some(mounted) = if_able(Mounted::ext4(16 << 20, "^extent,^64bit,^metadata_csum")) else { return };
    let archive = HandMade::default().sparse("holey", 5 << 20, &[(1 << 20, 3)], b"abc").end();
    for (preallocate, expected) in [(false, 0..=1 << 20), (true, 5 << 20..=6 << 20)] {
        let options = UnpackOptions { preallocate, ..UnpackOptions::default() };
        unpack_with(&archive, mounted.path(), options).unwrap();
        let allocated = allocated_bytes(&mounted.path().join("holey"));
        assert!(expected.contains(&allocated), "{allocated}");
    }
}

#[test]
fn if_one_name_cannot_be_placed_all_others_are_restored() {
    if !is_root() {
        return;
    }
    let target = tempdir().unwrap();
    // A mount point cannot be renamed.
    fs::create_dir(target.path().join("m")).unwrap();
    let Some(_mounted) = if_able(Mounted::tmpfs_at(&target.path().join("m"), "size=1m")) else { return };
    fs::create_dir(target.path().join("folder")).unwrap();
    for at in 0..20 {
        fs::write(target.path().join(format!("f{at}")), "old").unwrap();
    }
    let before = describe(target.path(), true);
    let archive = (0..20).fold(HandMade::default().file("m", "m").file("folder/new", "x"), |archive, at| {
        archive.file(&format!("f{at}"), "new").file(&format!("only-new{at}"), "new")
    });
    let error = unpack(&archive.end(), target.path()).unwrap_err();
    assert_eq!(error.kind(), Kind::Target);
    assert!(error.to_string().contains("\"m\""), "{error}");
    assert_same(&before, &describe(target.path(), true), "put back");
}
