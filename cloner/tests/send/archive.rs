//! The body of a filesystem clone: what GNU tar makes of it.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use decant_test_support::certificates::Pki;
use decant_test_support::noise;
use decant_test_support::trees::{Format, assert_same, describe, make_torture};

use super::process::Source;
use super::request::good_target;

/// The archive that a source makes of `directory`.
fn archive_of(directory: &Path, preallocation: &str) -> Vec<u8> {
    let pki = Pki::new();
    let target = good_target(&pki);
    let source = Source::new(&pki, &target.url).filesystem(directory).env("PREALLOCATION", preallocation);
    assert_eq!(source.run().code, Some(0));
    let (head, body) = target.join();
    assert_eq!(head.get("x-cdi-content-type"), Some("filesystem-clone"));
    let archive = body.content();
    // Only the length of a device is certain; that of an archive depends on where its filesystem sees holes.
    assert_eq!(head.get("x-decant-length"), None);
    archive
}

fn gnu_tar(raw_text: &[&str], archive: &[u8], directory: &Path) -> String {
    let mut command = Command::new("tar");
    command.args(raw_text).current_dir(directory).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut tar = command.spawn().unwrap();
    let mut stdin = tar.stdin.take().unwrap();
    let bytes = archive.to_vec();
    let feeder = std::thread::spawn(move || stdin.write_all(&bytes));
    let output = tar.wait_with_output().unwrap();
    feeder.join().unwrap().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn gnu_tar_extracts_the_same_tree() {
    let (source, extracted) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    make_torture(source.path(), Format::Ustar);
    let archive = archive_of(source.path(), "false");
    gnu_tar(&["xpf", "-", "--numeric-owner"], &archive, extracted.path());
    assert_same(&describe(source.path(), false), &describe(extracted.path(), false), "extracted");
}

#[test]
fn names_have_no_leading_dot_and_lost_and_found_is_omitted() {
    let source = tempfile::tempdir().unwrap();
    fs::create_dir_all(source.path().join("sub/lost+found")).unwrap();
    fs::create_dir(source.path().join("lost+found")).unwrap();
    for name in ["disk.img", ".hidden", "sub/f", "lost+found/orphan"] {
        fs::write(source.path().join(name), name).unwrap();
    }
    let names = gnu_tar(&["tf", "-"], &archive_of(source.path(), "false"), source.path());
    assert_eq!(names, ".hidden\ndisk.img\nsub/\nsub/f\nsub/lost+found/\n");
}

#[test]
fn a_name_that_looks_like_an_option_is_stored_as_a_name() {
    let source = tempfile::tempdir().unwrap();
    let name = "--checkpoint-action=exec=touch x";
    fs::write(source.path().join(name), "content").unwrap();
    fs::write(source.path().join("--checkpoint=1"), "content").unwrap();
    let archive = archive_of(source.path(), "false");
    assert_eq!(gnu_tar(&["tf", "-"], &archive, source.path()), format!("{name}\n--checkpoint=1\n"));
    assert_eq!(fs::read_dir(source.path()).unwrap().count(), 2);
}

#[test]
fn an_empty_volume_is_an_archive_without_members() {
    let source = tempfile::tempdir().unwrap();
    assert!(archive_of(source.path(), "false") == vec![0; 10_240]);
}

#[test]
fn holes_are_sent_only_with_preallocation() {
    let source = tempfile::tempdir().unwrap();
    let file = fs::File::create(source.path().join("disk.img")).unwrap();
    file.set_len(10 << 20).unwrap();
    (&file).write_all(&noise(4096, 3)).unwrap();
    let sparse = archive_of(source.path(), "false");
    let full = archive_of(source.path(), "true");
    assert!(sparse.len() < 1 << 20, "{} bytes", sparse.len());
    assert!(full.len() > 10 << 20, "{} bytes", full.len());
    for archive in [sparse, full] {
        let extracted = tempfile::tempdir().unwrap();
        gnu_tar(&["xf", "-"], &archive, extracted.path());
        let (wanted, found) = (source.path().join("disk.img"), extracted.path().join("disk.img"));
        assert!(fs::read(wanted).unwrap() == fs::read(found).unwrap());
    }
}
