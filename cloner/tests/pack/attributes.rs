//! Archives with attributes can be read by other archivers too.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use decant_cloner::attributes::Attribute;
use decant_cloner::error::Kind;
use decant_cloner::tar::reader::ArchiveReader;
use decant_cloner::volume::tree::read::plan::Options;
use decant_test_support::able;
use decant_test_support::is_root;
use decant_test_support::trees::{
    Format, assert_same, describe, get_xattr, give_attributes, make_torture, paths, set_xattr, xattrs_of,
};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
use tempfile::NamedTempFile;

use crate::tree::{SPARSE, Tree};

const WITH_ATTRIBUTES: Options = Options { sparse: true, attributes: true };

fn torture() -> Tree {
    let tree = Tree::new();
    make_torture(tree.0.path(), Format::Ustar);
    give_attributes(tree.0.path());
    tree
}

/// Other archivers know nanoseconds only of entries with a header of their own.
fn torture_for_other_archivers() -> Tree {
    let tree = torture();
    for path in paths(tree.0.path()).iter().filter(|path| xattrs_of(path).is_empty()) {
        let seconds = fs::symlink_metadata(path).unwrap().mtime();
        let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
        let times = Timestamps { last_access: time, last_modification: time };
        utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    }
    tree
}

/// `stream` as another archiver extracts it.
fn extracted_by(program: &str, arguments: &[&str], stream: &[u8]) -> Tree {
    let (archive, tree) = (NamedTempFile::new().unwrap(), Tree::new());
    fs::write(archive.path(), stream).unwrap();
    let mut command = Command::new(program);
    command.args(arguments).arg("-xpf").arg(archive.path()).arg("-C").arg(tree.0.path());
    let output = command.env("LC_ALL", "C").output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    tree
}

#[test]
fn gnu_tar_extracts_all_attributes() {
    let tree = torture_for_other_archivers();
    // With --acls it takes lists only from records of its own, which are text.
    let arguments = ["--xattrs", "--xattrs-include=*", "--numeric-owner"];
    let copy = extracted_by("tar", &arguments, &tree.archive(WITH_ATTRIBUTES));
    if is_root() {
        assert_same(&describe(tree.0.path(), true), &describe(copy.0.path(), true), "GNU tar");
    }
}

#[test]
fn bsdtar_extracts_attributes_and_times() {
    if !able(Command::new("bsdtar").arg("--version").output().is_ok(), "bsdtar is not installed") {
        return;
    }
    let tree = torture_for_other_archivers();
    let copy =
        extracted_by("bsdtar", &["--xattrs", "--acls", "--numeric-owner"], &tree.archive(WITH_ATTRIBUTES));
    for name in ["some", "nothing", "islands", "sub/deeper"] {
        let user = |path: &Path| -> Vec<_> {
            // It does not undo the escapes in names.
            xattrs_of(path)
                .into_iter()
                .filter(|xattr| xattr.starts_with("user.") && !xattr.contains('%'))
                .collect()
        };
        assert_eq!(user(&copy.path(name)), user(&tree.path(name)), "{name}");
        let time = |path: &Path| (path.metadata().unwrap().mtime(), path.metadata().unwrap().mtime_nsec());
        assert_eq!(time(&copy.path(name)), time(&tree.path(name)), "{name}");
    }
    let long = format!("sub/{}{}", "long/".repeat(18), "f".repeat(90));
    assert!(get_xattr(&copy.path(&long), "user.long").is_some(), "a long name, and attributes");
    assert_eq!(
        copy.path("islands").metadata().unwrap().len(),
        tree.path("islands").metadata().unwrap().len()
    );
}

#[test]
fn without_attributes_the_archive_equals_gnu_tars_and_losses_are_counted() {
    let tree = torture();
    // The root's files have a name that GNU tar would write; what is compared is everything else.
    fs::remove_file(tree.path("zz/unreadable")).unwrap();
    let theirs = tree.gnu_archive(&["-S"]);
    assert!(tree.archive(SPARSE) == theirs);
    let plan = tree.scan(WITH_ATTRIBUTES).unwrap();
    assert_eq!(plan.stream_bytes, theirs.len() as u64);
    let behind = &plan.only_in_attributes;
    let of = |kind| behind.count(kind);
    assert_eq!((of(Attribute::Owner), of(Attribute::Mode), of(Attribute::Time)), (0, 0, 0));
    if is_root() {
        assert_eq!((of(Attribute::Acl), of(Attribute::Capability)), (4, 1));
    }
    assert!(of(Attribute::Xattr) >= 5, "{behind}");
}

#[test]
fn attributes_of_many_directories_are_counted_and_the_first_is_named() {
    let tree = Tree::new();
    for directory in 0..40 {
        tree.directory(format!("{directory:02}/below"));
        tree.file(format!("{directory:02}/below/file"), "x");
        (0..20).for_each(|file| tree.file(format!("{directory:02}/{file:02}"), "x"));
    }
    for name in ["17/below", "17/08", "39/below/file"] {
        set_xattr(&tree.path(name), "user.a", b"a");
    }
    let plan = tree.scan(WITH_ATTRIBUTES).unwrap();
    let (_, lost) = plan.only_in_attributes.iter().find(|(kind, _)| *kind == Attribute::Xattr).unwrap();
    assert_eq!((lost.entries, lost.first.as_str()), (3, "\"17/08\""));
    // Checks that it is as long as was planned.
    tree.archive(WITH_ATTRIBUTES);
}

#[test]
fn a_hard_link_has_no_attribute_header() {
    let tree = Tree::new();
    tree.file("a", "x");
    set_xattr(&tree.path("a"), "user.a", b"a");
    let one = tree.archive(WITH_ATTRIBUTES);
    fs::hard_link(tree.path("a"), tree.path("b")).unwrap();
    let two = tree.archive(WITH_ATTRIBUTES);
    let headers = |stream: &[u8]| stream.windows(14).filter(|part| part == b"././@PaxHeader").count();
    assert_eq!((headers(&one), headers(&two)), (1, 1));
}

#[test]
fn attributes_changed_after_the_plan_are_a_source_change() {
    let tree = Tree::new();
    tree.file("a", "x");
    let plan = tree.scan(WITH_ATTRIBUTES).unwrap();
    set_xattr(&tree.path("a"), "user.new", &[7; 1000]);
    let error = tree.write(WITH_ATTRIBUTES, &plan, &mut Vec::new()).unwrap_err();
    assert_eq!(error.kind(), Kind::SourceChanged, "{error}");
    tree.write(SPARSE, &plan, &mut Vec::new()).unwrap();
}

/// Attributes that do not fit into one header are reported as omitted.
#[test]
fn attributes_beyond_one_header_are_omitted_and_reported() {
    if !is_root() {
        return;
    }
    let mounted = decant_test_support::disks::Mounted::ext4(64 << 20, "ea_inode").unwrap();
    let path = mounted.path().join("much");
    File::create(&path).unwrap();
    for number in 0..20 {
        // Names that become three times as long.
        set_xattr(&path, &format!("user.{}{number:02}", "=".repeat(100)), &[number; 65_536]);
    }
    let root = File::open(mounted.path()).unwrap().into();
    let stop = decant_shared::process::stop::Stop::new();
    let plan =
        decant_cloner::volume::tree::read::scan(&root, mounted.path(), WITH_ATTRIBUTES, &stop).unwrap();
    let mut stream = Vec::new();
    decant_cloner::volume::tree::read::write_archive(
        &root,
        mounted.path(),
        WITH_ATTRIBUTES,
        &plan,
        &mut stream,
        &stop,
    )
    .unwrap();
    assert_eq!(stream.len() as u64, plan.bytes_with(WITH_ATTRIBUTES));
    let mut bytes = stream.as_slice();
    let entry = ArchiveReader::new(&mut bytes).next_entry().unwrap().unwrap();
    assert_eq!(entry.xattrs.len(), 15);
    assert!(entry.unsent.has(Attribute::Xattr));
    assert!(
        entry
            .xattrs
            .iter()
            .all(|xattr| get_xattr(&path, std::str::from_utf8(&xattr.name).unwrap()).unwrap() == xattr.value)
    );
}
