//! The digest of a copy: on its last line, by hand, and read back from the disk.

use std::path::Path;
use std::process::Command;

use decant_test_support::disks::{LoopDevice, Mounted};
use decant_test_support::is_root;
use decant_test_support::noise;
use decant_test_support::trees::{Format, make_torture};

use super::command::{Scratch, copy};

const MIB: usize = 1 << 20;

/// What `cloner digest` prints: exit code, the digest, and its error.
fn digest(arguments: &[&str], path: &Path) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cloner"));
    let output = command.env_clear().arg("digest").args(arguments).arg(path).output().unwrap();
    let line = String::from_utf8(output.stdout).unwrap();
    let digest = line.split_once("  ").map_or(String::new(), |(digest, name)| {
        assert_eq!(name, format!("{}\n", path.display()));
        digest.to_owned()
    });
    (output.status.code(), digest, String::from_utf8(output.stderr).unwrap())
}

/// Copies with read-back verification, and compares the digests of the last line, the source and the target.
fn assert_all_digests_agree(source: &Path, target: &Path) {
    let arguments =
        ["--force".as_ref(), "--verify=readback".as_ref(), source.as_os_str(), target.as_os_str()];
    let ended = copy(&arguments);
    ended.assert_done();
    let said = ended.stdout.trim_end().rsplit(' ').next().unwrap();
    assert_eq!(digest(&[], source).1, said);
    assert_eq!(digest(&["--expect", said], target).0, Some(0), "{}", target.display());
}

#[test]
fn a_files_digest_is_the_same_wherever_it_is_computed() {
    let scratch = Scratch::new();
    let mut content = noise(70 * MIB, 1);
    content[MIB..3 * MIB].fill(0);
    assert_all_digests_agree(&scratch.file("a", &content), &scratch.at("b"));
    assert_all_digests_agree(&scratch.hole("hole", 200 * MIB as u64), &scratch.at("c"));
    assert_all_digests_agree(&scratch.file("empty", b""), &scratch.at("d"));
}

#[test]
fn a_directorys_digest_is_the_same_wherever_it_is_computed() {
    let scratch = Scratch::new();
    let source = scratch.directory("tree");
    make_torture(&source, Format::Full);
    assert_all_digests_agree(&source, &scratch.at("copy"));
}

#[test]
fn a_directorys_digest_does_not_depend_on_the_filesystem() {
    if !is_root() {
        return;
    }
    let scratch = Scratch::new();
    let source = scratch.directory("tree");
    make_torture(&source, Format::Full);
    let other = Mounted::ext4(64 * MIB as u64, "^has_journal").unwrap();
    std::fs::remove_dir(other.path().join("lost+found")).unwrap();
    assert_all_digests_agree(&source, other.path());
}

#[test]
fn only_the_image_part_of_a_larger_device_is_compared() {
    if !is_root() {
        return;
    }
    let scratch = Scratch::new();
    let backing = scratch.file("backing", &noise(8 * MIB, 2));
    let device = LoopDevice::on(&backing);
    assert_all_digests_agree(&scratch.file("a", &noise(5 * MIB + 1, 3)), &device.0);
}

#[test]
fn a_disk_image_from_a_directory_is_read_back_from_its_device() {
    if !is_root() {
        return;
    }
    let scratch = Scratch::new();
    let source = scratch.directory("volume");
    let mut content = noise(5 * MIB, 4);
    content[MIB..2 * MIB].fill(0);
    std::fs::write(source.join("disk.img"), &content).unwrap();
    let backing = scratch.file("backing", &noise(8 * MIB, 2));
    let device = LoopDevice::on(&backing);
    let arguments = ["-f".as_ref(), "--verify=readback".as_ref(), source.as_os_str(), device.0.as_os_str()];
    copy(&arguments).assert_done();
    assert!(std::fs::read(&device.0).unwrap()[..content.len()] == content);
}

#[test]
fn a_difference_is_reported_with_its_own_exit_code() {
    let scratch = Scratch::new();
    let (one, other) = (scratch.file("a", b"one"), scratch.file("b", b"two"));
    let (_, said, _) = digest(&[], &one);
    let (code, _, error) = digest(&["--expect", &said], &other);
    assert_eq!(code, Some(8));
    assert!(error.starts_with("cloner: ") && error.contains("has the digest decant1:3:"), "{error}");
    let (code, _, error) = digest(&["--expect", "sha256:00"], &other);
    assert_eq!(code, Some(2), "{error}");
    let (code, _, error) = digest(&[], &scratch.at("missing"));
    assert_eq!(code, Some(3), "{error}");
}

#[test]
fn changing_one_byte_or_one_name_changes_the_digest() {
    let scratch = Scratch::new();
    let directory = scratch.directory("tree");
    std::fs::write(directory.join("a"), "content").unwrap();
    let first = digest(&[], &directory).1;
    std::fs::write(directory.join("a"), "contents").unwrap();
    let second = digest(&[], &directory).1;
    std::fs::rename(directory.join("a"), directory.join("b")).unwrap();
    let third = digest(&[], &directory).1;
    assert!(first != second && second != third && first != third);
}
