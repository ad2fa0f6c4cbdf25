//! The digest of a copy: on its last line, by hand, and read back from the disk.

use std::path::Path;
use std::process::Command;

use decant_test_support::disks::{LoopDevice, Mounted};
use decant_test_support::is_root;
use decant_test_support::noise;
use decant_test_support::trees::{Format, make_torture};

use super::command::{Place, copy};

const MIB: usize = 1 << 20;

/// What `cloner digest` prints: exit code, the digest, and its error.
fn digest(words: &[&str], path: &Path) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cloner"));
    let output = command.env_clear().arg("digest").args(words).arg(path).output().unwrap();
    let line = String::from_utf8(output.stdout).unwrap();
    let digest = line.split_once("  ").map_or(String::new(), |(digest, name)| {
        assert_eq!(name, format!("{}\n", path.display()));
        digest.to_owned()
    });
    (output.status.code(), digest, String::from_utf8(output.stderr).unwrap())
}

/// Copies with a look at the disk, and compares the digests of the last line, the source and the target.
fn all_agree(source: &Path, target: &Path) {
    let words = ["--force".as_ref(), "--verify=readback".as_ref(), source.as_os_str(), target.as_os_str()];
    let ended = copy(&words);
    ended.assert_done();
    let said = ended.stdout.trim_end().rsplit(' ').next().unwrap();
    assert_eq!(digest(&[], source).1, said);
    assert_eq!(digest(&["--expect", said], target).0, Some(0), "{}", target.display());
}

#[test]
fn a_file_has_the_same_digest_wherever_it_is_computed() {
    let place = Place::new();
    let mut content = noise(70 * MIB, 1);
    content[MIB..3 * MIB].fill(0);
    all_agree(&place.file("a", &content), &place.at("b"));
    all_agree(&place.hole("hole", 200 * MIB as u64), &place.at("c"));
    all_agree(&place.file("empty", b""), &place.at("d"));
}

#[test]
fn a_folder_has_the_same_digest_wherever_it_is_computed() {
    let place = Place::new();
    let source = place.folder("tree");
    make_torture(&source, Format::Full);
    all_agree(&source, &place.at("copy"));
}

#[test]
fn a_folder_on_another_filesystem_has_the_same_digest() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let source = place.folder("tree");
    make_torture(&source, Format::Full);
    let other = Mounted::ext4(64 * MIB as u64, "^has_journal").unwrap();
    std::fs::remove_dir(other.path().join("lost+found")).unwrap();
    all_agree(&source, other.path());
}

#[test]
fn a_device_larger_than_its_image_is_compared_as_far_as_the_image_goes() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let backing = place.file("backing", &noise(8 * MIB, 2));
    let device = LoopDevice::on(&backing);
    all_agree(&place.file("a", &noise(5 * MIB + 1, 3)), &device.0);
}

#[test]
fn a_disk_image_in_a_folder_is_read_back_from_its_device() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let source = place.folder("volume");
    let mut content = noise(5 * MIB, 4);
    content[MIB..2 * MIB].fill(0);
    std::fs::write(source.join("disk.img"), &content).unwrap();
    let backing = place.file("backing", &noise(8 * MIB, 2));
    let device = LoopDevice::on(&backing);
    let words = ["-f".as_ref(), "--verify=readback".as_ref(), source.as_os_str(), device.0.as_os_str()];
    copy(&words).assert_done();
    assert!(std::fs::read(&device.0).unwrap()[..content.len()] == content);
}

#[test]
fn what_differs_is_said_and_has_its_exit_code() {
    let place = Place::new();
    let (one, other) = (place.file("a", b"one"), place.file("b", b"two"));
    let (_, said, _) = digest(&[], &one);
    let (code, _, error) = digest(&["--expect", &said], &other);
    assert_eq!(code, Some(8));
    assert!(error.starts_with("cloner: ") && error.contains("has the digest decant1:3:"), "{error}");
    let (code, _, error) = digest(&["--expect", "sha256:00"], &other);
    assert_eq!(code, Some(2), "{error}");
    let (code, _, error) = digest(&[], &place.at("missing"));
    assert_eq!(code, Some(3), "{error}");
}

#[test]
fn one_byte_or_one_name_makes_another_digest() {
    let place = Place::new();
    let folder = place.folder("tree");
    std::fs::write(folder.join("a"), "content").unwrap();
    let first = digest(&[], &folder).1;
    std::fs::write(folder.join("a"), "contents").unwrap();
    let second = digest(&[], &folder).1;
    std::fs::rename(folder.join("a"), folder.join("b")).unwrap();
    let third = digest(&[], &folder).1;
    assert!(first != second && second != third && first != third);
}
