//! Files of every size, and files that are mostly holes.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::time::Instant;

use decant_test_support::noise;
use decant_test_support::trees::allocated_bytes;

use super::command::{Place, copy, names};

const MIB: usize = 1 << 20;

#[test]
fn files_of_every_size_arrive_unchanged() {
    for len in [0, 1, 65_535, 65_536, 65_537, MIB - 1, MIB, MIB + 1, 16 * MIB + 3] {
        let place = Place::new();
        let content = noise(len, len as u64);
        let source = place.file("a", &content);
        copy(&[&source, &place.at("b")]).assert_done();
        assert!(fs::read(place.at("b")).unwrap() == content, "{len} bytes");
        assert_eq!(names(&place.at(".")), ["a", "b"], "{len} bytes");
    }
}

/// No machine makes a copy faster than its limit. That it is not slower either is shown with a clock of its own, where
/// the limit is computed (`a_limit_is_held_within_five_percent_over_ten_seconds`).
#[test]
fn no_copy_is_faster_than_its_limit() {
    let place = Place::new();
    let source = place.file("a", &noise(6 * MIB, 1));
    let start = Instant::now();
    let target = place.at("b");
    copy(&[source.as_os_str(), target.as_os_str(), "--limit".as_ref(), "2MiB/s".as_ref()]).assert_done();
    let secs = start.elapsed().as_secs_f64();
    // The last blocks may leave at once: no wait follows them.
    assert!(secs > 2.5, "6 MiB at 2 MiB/s took {secs} s");
}

#[test]
fn a_file_goes_into_a_folder_under_its_name() {
    let place = Place::new();
    let source = place.file("a", b"content");
    let target = place.folder("folder");
    copy(&[&source, &target]).assert_done();
    assert_eq!(names(&target), ["a"]);
    assert_eq!(fs::read(target.join("a")).unwrap(), b"content");
}

#[test]
fn a_copy_has_its_sources_permissions_whatever_the_umask_says() {
    let place = Place::new();
    let source = place.file("a", b"content");
    for mode in [0o400, 0o644, 0o666, 0o777] {
        fs::set_permissions(&source, fs::Permissions::from_mode(mode)).unwrap();
        let target = place.at(&format!("{mode:o}"));
        copy(&[&source, &target]).assert_done();
        assert_eq!(target.metadata().unwrap().mode() & 0o7777, mode);
    }
}

#[test]
fn five_gib_with_little_data_are_copied_fast_and_stay_sparse() {
    let place = Place::new();
    let source = place.hole("a", 5 << 30);
    let file = fs::File::options().write(true).open(&source).unwrap();
    let islands = [0, (1 << 30) + 12_345, (5 << 30) - 5000];
    for island in islands {
        file.write_all_at(&noise(5000, island), island).unwrap();
    }
    let ended = copy(&[&source, &place.at("b")]);
    ended.assert_done();
    // Holes are neither read nor sent.
    assert!(ended.stdout.contains(" KiB on the wire"), "{ended:?}");
    let target = fs::File::open(place.at("b")).unwrap();
    assert_eq!(target.metadata().unwrap().len(), 5 << 30);
    assert!(allocated_bytes(&place.at("b")) < 1 << 20, "{} bytes", allocated_bytes(&place.at("b")));
    for island in islands {
        let mut found = vec![0; 5000];
        target.read_exact_at(&mut found, island).unwrap();
        assert!(found == noise(5000, island), "at {island}");
    }
}

#[test]
fn zeros_that_are_written_out_become_holes() {
    let place = Place::new();
    let mut content = vec![0; 8 * MIB];
    content[3 * MIB..4 * MIB].copy_from_slice(&noise(MIB, 5));
    let source = place.file("a", &content);
    copy(&[&source, &place.at("b")]).assert_done();
    assert!(fs::read(place.at("b")).unwrap() == content);
    assert!(allocated_bytes(&place.at("b")) < 2 << 20);
}

#[test]
fn preallocate_leaves_no_hole() {
    let place = Place::new();
    let source = place.hole("a", 8 << 20);
    copy(&[source.as_os_str(), place.at("b").as_os_str(), "--preallocate".as_ref()]).assert_done();
    assert_eq!(place.at("b").metadata().unwrap().len(), 8 << 20);
    assert!(allocated_bytes(&place.at("b")) >= 8 << 20);
}

#[test]
fn preallocate_leaves_no_hole_in_a_folder_either() {
    let place = Place::new();
    place.folder("tree");
    place.hole("tree/disk.img", 8 << 20);
    copy(&[place.at("tree").as_os_str(), place.at("b").as_os_str(), "--preallocate".as_ref()]).assert_done();
    let image = place.at("b/disk.img");
    assert_eq!(image.metadata().unwrap().len(), 8 << 20);
    assert!(allocated_bytes(&image) >= 8 << 20);
}

#[test]
fn one_thread_copies_what_many_copy() {
    for threads in ["1", "7"] {
        let place = Place::new();
        let content = noise(5 * MIB + 1, 6);
        let source = place.file("a", &content);
        let words = ["--compress-threads".as_ref(), threads.as_ref(), source.as_os_str()];
        let target = place.at("b");
        copy(&[words[0], words[1], words[2], target.as_os_str()]).assert_done();
        assert!(fs::read(target).unwrap() == content, "{threads} threads");
    }
}

/// Each hole costs a dozen bytes, whatever its length: 3 KiB for each 64 KiB would be 48 GiB here.
#[test]
fn a_terabyte_of_holes_costs_next_to_nothing() {
    let place = Place::new();
    let source = place.hole("a", 1 << 40);
    let file = fs::File::options().write(true).open(&source).unwrap();
    for at in [0, 500 << 30, (1 << 40) - 7] {
        file.write_all_at(b"content", at).unwrap();
    }
    let target = place.at("b");
    let ended = copy(&[&source, &target]);
    ended.assert_done();
    assert!(ended.stdout.contains("1.00 TiB in ") && ended.stdout.contains(" B on the wire"), "{ended:?}");
    let (file, mut found) = (fs::File::open(&target).unwrap(), [0; 7]);
    for at in [0, 500 << 30, (1 << 40) - 7] {
        file.read_exact_at(&mut found, at).unwrap();
        assert_eq!(&found, b"content");
    }
    assert!(file.metadata().unwrap().blocks() * 512 < 1 << 20);
}

#[test]
fn a_file_with_more_than_65536_extents_keeps_all_its_holes_as_an_image_and_in_a_folder() {
    const EXTENTS: u64 = 66_000;
    const STRIDE_BYTES: u64 = 12 << 10;
    let place = Place::new();
    let folder = place.folder("folder");
    let source = folder.join("many");
    let file = fs::File::create(&source).unwrap();
    for index in 0..EXTENTS {
        let mut page = [7; 4096];
        page[..8].copy_from_slice(&index.to_le_bytes());
        file.write_all_at(&page, index * STRIDE_BYTES).unwrap();
    }
    file.set_len(EXTENTS * STRIDE_BYTES).unwrap();
    file.sync_all().unwrap();
    // Blocks of metadata differ; blocks of data do not.
    let most_bytes = allocated_bytes(&source) + (4 << 20);
    for (from, to, found) in [(&source, "image", "image"), (&folder, "tree", "tree/many")] {
        copy(&[from, &place.at(to)]).assert_done();
        let copied = place.at(found);
        assert!(allocated_bytes(&copied) < most_bytes, "{found}: {} bytes", allocated_bytes(&copied));
        let same = std::process::Command::new("cmp").arg(&source).arg(&copied).status().unwrap();
        assert!(same.success(), "{found}");
    }
}
