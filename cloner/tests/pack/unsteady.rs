//! Filesystems that make up inode numbers and times.

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use decant_cloner::volume::tree::read::scan;
use decant_cloner::volume::tree::read::write_archive;
use decant_shared::process::stop::Stop;
use decant_test_support::disks::{Mounted, run};
use decant_test_support::{able, is_root};

use crate::tree::SPARSE;

/// Scans, has `between` done, writes, and returns the number of entries.
fn archived(root: &Path, between: impl FnOnce()) -> u64 {
    let open = || OwnedFd::from(File::open(root).unwrap());
    let plan = scan(&open(), root, SPARSE, &Stop::new()).unwrap();
    between();
    let mut stream = Vec::new();
    write_archive(&open(), root, SPARSE, &plan, &mut stream, &Stop::new()).unwrap().entries
}

#[test]
fn a_snapshot_with_nested_subvolumes_is_archived() {
    let made = if is_root() { Mounted::btrfs() } else { return };
    if !able(made.is_ok(), "btrfs") {
        return;
    }
    let btrfs = made.unwrap();
    let at = |name: &str| btrfs.path().join(name);
    let subvolume = |arguments: &[&str], paths: &[&str]| {
        let paths: Vec<_> = paths.iter().map(|name| at(name)).collect();
        let arguments = ["-q", "subvolume"].iter().chain(arguments).map(AsRef::as_ref);
        run("btrfs", &arguments.chain(paths.iter().map(|path| path.as_os_str())).collect::<Vec<_>>())
            .unwrap();
    };
    subvolume(&["create"], &["root"]);
    subvolume(&["create"], &["root/portables"]);
    fs::create_dir(at("root/var")).unwrap();
    subvolume(&["create"], &["root/var/machines"]);
    fs::write(at("root/file"), "content").unwrap();
    for arguments in [["snapshot", "-r"].as_slice(), &["snapshot"]] {
        let name = format!("snapshot{}", arguments.len());
        subvolume(arguments, &["root", &name]);
        let placeholder = || fs::metadata(at(&name).join("portables")).unwrap();
        let before = placeholder();
        let entries = archived(&at(&name), || sleep(Duration::from_millis(20)));
        assert_eq!(entries, 4);
        let times = (before.mtime_nsec(), placeholder().mtime_nsec());
        assert!(before.ino() == 2 && times.0 != times.1, "this kernel shows another placeholder: {times:?}");
    }
}

#[test]
fn unstable_inode_numbers_are_not_a_source_change() {
    if !is_root() {
        return;
    }
    let (upper, lower, point) =
        (tempfile::tempdir().unwrap(), Mounted::tmpfs("size=4m"), tempfile::tempdir());
    if !able(lower.is_ok(), "tmpfs") {
        return;
    }
    let (lower, point) = (lower.unwrap(), point.unwrap());
    for (directory, name) in [(lower.path(), "below"), (upper.path(), "above")] {
        for part in ["a", "b"] {
            fs::create_dir_all(directory.join(part)).unwrap();
            fs::write(directory.join(part).join(name), "content").unwrap();
        }
    }
    let directories = [upper.path(), lower.path()];
    let mount = || Mounted::overlay_at(point.path(), &directories, "xino=off");
    let made = mount();
    if !able(made.is_ok(), "overlayfs") {
        return;
    }
    let mut overlay = Some(made.unwrap());
    let numbers = || {
        ["a", "a/below", "b/above"].map(|name| {
            let meta = fs::symlink_metadata(point.path().join(name)).unwrap();
            (meta.dev(), meta.ino())
        })
    };
    let before = numbers();
    let entries = archived(point.path(), || {
        drop(overlay.take());
        // This drops cached inodes, as memory pressure does. Numbers are assigned in the order of the lookups.
        overlay = Some(mount().unwrap());
        fs::metadata(point.path().join("b")).unwrap();
    });
    assert_eq!(entries, 6);
    assert_ne!(before, numbers(), "this kernel keeps numbers");
}
