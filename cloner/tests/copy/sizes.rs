//! Files of every size, and files that are mostly holes.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::time::Instant;

use decant_test_support::noise;
use decant_test_support::trees::allocated_bytes;

use super::command::{Scratch, copy, names};

const MIB: usize = 1 << 20;

#[test]
fn files_of_any_size_are_copied_unchanged() {
    for len in [0, 1, 65_535, 65_536, 65_537, MIB - 1, MIB, MIB + 1, 16 * MIB + 3] {
        let scratch = Scratch::new();
        let content = noise(len, len as u64);
        let source = scratch.file("a", &content);
        copy(&[&source, &scratch.at("b")]).assert_done();
        assert!(fs::read(scratch.at("b")).unwrap() == content, "{len} bytes");
        assert_eq!(names(&scratch.at(".")), ["a", "b"], "{len} bytes");
    }
}

/// No machine makes a copy faster than its limit. That it is not slower either is shown with a clock of its own, where
/// the limit is computed (`a_limit_is_held_within_five_percent_over_ten_seconds`).
#[test]
fn a_copy_is_not_faster_than_its_limit() {
    let scratch = Scratch::new();
    let source = scratch.file("a", &noise(6 * MIB, 1));
    let start = Instant::now();
    let target = scratch.at("b");
    copy(&[source.as_os_str(), target.as_os_str(), "--limit".as_ref(), "2MiB/s".as_ref()]).assert_done();
    let secs = start.elapsed().as_secs_f64();
    // The last blocks may leave at once: no wait follows them.
    assert!(secs > 2.5, "6 MiB at 2 MiB/s took {secs} s");
}

#[test]
fn a_file_keeps_its_name_in_a_directory() {
    let scratch = Scratch::new();
    let source = scratch.file("a", b"content");
    let target = scratch.directory("folder");
    copy(&[&source, &target]).assert_done();
    assert_eq!(names(&target), ["a"]);
    assert_eq!(fs::read(target.join("a")).unwrap(), b"content");
}

#[test]
fn a_copy_has_the_permissions_of_its_source_despite_the_umask() {
    let scratch = Scratch::new();
    let source = scratch.file("a", b"content");
    for mode in [0o400, 0o644, 0o666, 0o777] {
        fs::set_permissions(&source, fs::Permissions::from_mode(mode)).unwrap();
        let target = scratch.at(&format!("{mode:o}"));
        copy(&[&source, &target]).assert_done();
        assert_eq!(target.metadata().unwrap().mode() & 0o7777, mode);
    }
}

#[test]
fn a_sparse_file_of_five_gib_is_copied_fast_and_stays_sparse() {
    let scratch = Scratch::new();
    let source = scratch.hole("a", 5 << 30);
    let file = fs::File::options().write(true).open(&source).unwrap();
    let islands = [0, (1 << 30) + 12_345, (5 << 30) - 5000];
    for island in islands {
        file.write_all_at(&noise(5000, island), island).unwrap();
    }
    let ended = copy(&[&source, &scratch.at("b")]);
    ended.assert_done();
    // Holes are neither read nor sent.
    assert!(!crate::IS_WIRE || ended.stdout.contains(" KiB on the wire"), "{ended:?}");
    let target = fs::File::open(scratch.at("b")).unwrap();
    assert_eq!(target.metadata().unwrap().len(), 5 << 30);
    assert!(allocated_bytes(&scratch.at("b")) < 1 << 20, "{} bytes", allocated_bytes(&scratch.at("b")));
    for island in islands {
        let mut found = vec![0; 5000];
        target.read_exact_at(&mut found, island).unwrap();
        assert!(found == noise(5000, island), "at {island}");
    }
}

#[test]
fn blocks_of_zeros_become_holes() {
    let scratch = Scratch::new();
    let mut content = vec![0; 8 * MIB];
    content[3 * MIB..4 * MIB].copy_from_slice(&noise(MIB, 5));
    let source = scratch.file("a", &content);
    copy(&[&source, &scratch.at("b")]).assert_done();
    assert!(fs::read(scratch.at("b")).unwrap() == content);
    assert!(allocated_bytes(&scratch.at("b")) < 2 << 20);
}

#[test]
fn preallocate_leaves_no_holes_in_a_file() {
    let scratch = Scratch::new();
    let source = scratch.hole("a", 8 << 20);
    copy(&[source.as_os_str(), scratch.at("b").as_os_str(), "--preallocate".as_ref()]).assert_done();
    assert_eq!(scratch.at("b").metadata().unwrap().len(), 8 << 20);
    assert!(allocated_bytes(&scratch.at("b")) >= 8 << 20);
}

#[test]
fn preallocate_leaves_no_holes_in_a_directory() {
    let scratch = Scratch::new();
    scratch.directory("tree");
    scratch.hole("tree/disk.img", 8 << 20);
    copy(&[scratch.at("tree").as_os_str(), scratch.at("b").as_os_str(), "--preallocate".as_ref()])
        .assert_done();
    let image = scratch.at("b/disk.img");
    assert_eq!(image.metadata().unwrap().len(), 8 << 20);
    assert!(allocated_bytes(&image) >= 8 << 20);
}

#[test]
fn one_thread_and_many_threads_copy_the_same() {
    for threads in ["1", "7"] {
        let scratch = Scratch::new();
        let content = noise(5 * MIB + 1, 6);
        let source = scratch.file("a", &content);
        let arguments = ["--compress-threads".as_ref(), threads.as_ref(), source.as_os_str()];
        let target = scratch.at("b");
        copy(&[arguments[0], arguments[1], arguments[2], target.as_os_str()]).assert_done();
        assert!(fs::read(target).unwrap() == content, "{threads} threads");
    }
}

/// Each hole costs a dozen bytes, whatever its length: 3 KiB for each 64 KiB would be 48 GiB here.
#[test]
fn a_terabyte_of_holes_sends_few_bytes() {
    let scratch = Scratch::new();
    let source = scratch.hole("a", 1 << 40);
    let file = fs::File::options().write(true).open(&source).unwrap();
    for at in [0, 500 << 30, (1 << 40) - 7] {
        file.write_all_at(b"content", at).unwrap();
    }
    let target = scratch.at("b");
    let ended = copy(&[&source, &target]);
    ended.assert_done();
    assert!(ended.stdout.contains("1.00 TiB in "), "{ended:?}");
    assert!(!crate::IS_WIRE || ended.stdout.contains(" B on the wire"), "{ended:?}");
    let (file, mut found) = (fs::File::open(&target).unwrap(), [0; 7]);
    for at in [0, 500 << 30, (1 << 40) - 7] {
        file.read_exact_at(&mut found, at).unwrap();
        assert_eq!(&found, b"content");
    }
    assert!(file.metadata().unwrap().blocks() * 512 < 1 << 20);
}

#[test]
fn a_file_with_more_than_65536_extents_keeps_its_holes() {
    const EXTENTS: u64 = 66_000;
    const STRIDE_BYTES: u64 = 12 << 10;
    let scratch = Scratch::in_memory();
    let directory = scratch.directory("folder");
    let source = directory.join("many");
    let file = fs::File::create(&source).unwrap();
    for index in 0..EXTENTS {
        let mut page = [7; 4096];
        page[..8].copy_from_slice(&index.to_le_bytes());
        file.write_all_at(&page, index * STRIDE_BYTES).unwrap();
    }
    file.set_len(EXTENTS * STRIDE_BYTES).unwrap();
    // Blocks of metadata differ; blocks of data do not.
    let most_bytes = allocated_bytes(&source) + (4 << 20);
    for (from, to, found) in [(&source, "image", "image"), (&directory, "tree", "tree/many")] {
        copy(&[from, &scratch.at(to)]).assert_done();
        let copied = scratch.at(found);
        assert!(allocated_bytes(&copied) < most_bytes, "{found}: {} bytes", allocated_bytes(&copied));
        let same = std::process::Command::new("cmp").arg(&source).arg(&copied).status().unwrap();
        assert!(same.success(), "{found}");
    }
}
