//! Trees as other programs pack them come out as they were.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::unpacking::unpack;
use decant_test_support::able;
use decant_test_support::trees::{Format, allocated_bytes, assert_same, describe, make_torture, output};
use tempfile::tempdir;

/// Packs a torture tree and compares what comes out. `keeps_nanoseconds`: the format does.
fn round_trip(program: &str, arguments: &[&str], format: Format, keeps_nanoseconds: bool, keeps_holes: bool) {
    let (source, target) = (tempdir().unwrap(), tempdir().unwrap());
    make_torture(source.path(), format);
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
fn archives_in_gnu_format_are_unpacked() {
    round_trip("tar", &["-cf", "-", "-S", "--format=gnu", "."], Format::Full, false, true);
}

#[test]
fn archives_with_posix_headers_and_each_sparse_version_are_unpacked() {
    for version in ["0.0", "0.1", "1.0"] {
        let sparse = format!("--sparse-version={version}");
        round_trip("tar", &["-cf", "-", "-S", &sparse, "--format=posix", "."], Format::Full, true, true);
    }
}

#[test]
fn archives_in_old_formats_are_unpacked() {
    round_trip("tar", &["-cf", "-", "--format=ustar", "."], Format::Ustar, false, false);
    round_trip("tar", &["-cf", "-", "--format=v7", "."], Format::V7, false, false);
    round_trip("tar", &["-cf", "-", "--format=oldgnu", "-S", "."], Format::Full, false, true);
}

#[test]
fn archives_of_bsdtar_are_unpacked() {
    let there = std::process::Command::new("bsdtar").arg("--version").output().is_ok();
    if !able(there, "bsdtar is not installed") {
        return;
    }
    round_trip("bsdtar", &["-cf", "-", "--format=pax", "."], Format::Full, true, true);
    round_trip("bsdtar", &["-cf", "-", "--format=gnutar", "."], Format::Ustar, false, false);
    round_trip("bsdtar", &["-cf", "-", "--format=ustar", "."], Format::Ustar, false, false);
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
fn recorded_cdi_archives_are_unpacked_exactly() {
    for name in ["filesystem-sparse.snappy", "filesystem-dense.snappy"] {
        let target = tempdir().unwrap();
        unpack(&capture(name), target.path()).unwrap();
        let mut names = Vec::new();
        for line in fs::read_to_string(captures().join("tree.tsv")).unwrap().lines() {
            let fields: Vec<&str> = line.split('\t').collect();
            let [path, kind, mode, size, links, link, digest] = fields[..] else { panic!("{line}") };
            // The line of the volume's own directory has no path, so its fields are shifted one to the left.
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
