//! Directory trees to clone, and descriptions of trees to compare them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hasher};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, makedev, mknodat, utimensat};

use crate::is_root;

mod attributes;
pub use attributes::{CAPABILITY, acl, get_xattr, give_attributes, set_xattr, xattrs_of};

/// What an archive format can store. Each variant includes the previous ones.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd)]
pub enum Format {
    /// Files, directories and links with short names.
    V7,
    /// Names that need the prefix field, pipes, devices, times from 1970 on, owners below 262,144 (bsdtar's limit).
    Ustar,
    /// Everything.
    Full,
}

/// Runs `program` with `arguments` in `directory`. Returns its standard output, and panics if it fails.
pub fn output(program: &str, arguments: &[&str], directory: &Path) -> Vec<u8> {
    let output = Command::new(program).args(arguments).current_dir(directory).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Fills the empty directory `top` with every kind of entry that `format` can store: links of all kinds, sparse files, odd names,
/// modes, times, owners and, as root, devices.
pub fn make_torture(top: &Path, format: Format) {
    let at = |name: &str| top.join(name);
    let directory = |name: &str| fs::create_dir_all(at(name)).unwrap();
    let file = |name: &str, content: &[u8]| fs::write(at(name), content).unwrap();
    let many: Vec<u8> = (0..300_001).map(|at: u32| (at % 251) as u8).collect();
    let some = b"some content".to_vec();
    for name in ["empty", "sub/deeper/deepest", "closed", "shared", "sticky", "zz"] {
        directory(name);
    }
    file("nothing", b"");
    file("some", &some);
    file("many", &many);
    file("exact", &many[..1024]);
    file(".hidden", b"h");
    file("closed/inside", &some);
    file("sub/deeper/deepest/x", &some);
    file("sub/y", &some);
    file("zz/setuid", &some);
    file("zz/unreadable", if is_root() { &some } else { b"" });
    fs::hard_link(at("some"), at("sub/deeper/again")).unwrap();
    fs::hard_link(at("some"), at("zz/again")).unwrap();
    symlink("some", at("link")).unwrap();
    symlink("/etc/passwd", at("sub/absolute")).unwrap();
    symlink("nowhere/at/all", at("dangling")).unwrap();
    symlink("sub", at("to-folder")).unwrap();
    for number in 0..60 {
        sparse(&at("islands"), 20 << 20, number * 300_000, b"island");
    }
    sparse(&at("all-hole"), 3 << 20, 0, b"");
    sparse(&at("ends-in-data"), 1 << 20, (1 << 20) - 4096, &[7; 4096]);
    sparse(&at("starts-with-data"), 1 << 20, 0, &[7; 4096]);
    if format >= Format::Ustar {
        let long = format!("sub/{}", "long/".repeat(18));
        directory(&long);
        file(&format!("{long}{}", "f".repeat(90)), &some);
        node(&at("pipe"), FileType::Fifo, 0);
        if is_root() {
            node(&at("null"), FileType::CharacterDevice, makedev(1, 3));
            node(&at("disk"), FileType::BlockDevice, makedev(259, 70_000));
            std::os::unix::fs::chown(at("many"), Some(107), Some(200_001)).unwrap();
            std::os::unix::fs::lchown(at("dangling"), Some(5), Some(6)).unwrap();
            std::os::unix::fs::chown(at("empty"), Some(107), Some(107)).unwrap();
        }
    }
    if format == Format::Full {
        file("new\nline", &some);
        file("ümläut-名", &some);
        fs::write(top.join(std::ffi::OsStr::from_bytes(b"no-utf8-\xff\xfe")), &some).unwrap();
        let deep = "deep-folder-name/".repeat(80);
        directory(&deep);
        file(&format!("{deep}{}", "n".repeat(255)), &some);
        fs::hard_link(at(&format!("{deep}{}", "n".repeat(255))), at("zz/long-link")).unwrap();
        symlink("long/".repeat(100), at("long-symlink")).unwrap();
        sparse(&at("large"), 20 << 30, (20 << 30) - 5, b"x");
        if is_root() {
            std::os::unix::fs::chown(at("exact"), Some(3_000_000_000), Some(3_000_000_001)).unwrap();
        }
    }
    let modes = [
        ("zz/setuid", 0o4755),
        ("zz/unreadable", 0),
        ("shared", 0o2775),
        ("sticky", 0o1777),
        ("many", 0o640),
    ];
    for (name, mode) in modes {
        fs::set_permissions(at(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    if !is_root() {
        fs::set_permissions(at("zz/unreadable"), fs::Permissions::from_mode(0o400)).unwrap();
    }
    age(top, format);
    fs::set_permissions(at("closed"), fs::Permissions::from_mode(0o500)).unwrap();
}

/// Gives every entry below `directory` a different time, children before their directories.
fn age(directory: &Path, format: Format) {
    for (at, path) in (1_600_000_000..).zip(paths(directory).iter().rev()) {
        let is_early = format == Format::Full && at == 1_600_000_003;
        let time = Timespec { tv_sec: if is_early { -1000 } else { at }, tv_nsec: 123_456_789 };
        let times = Timestamps { last_access: time, last_modification: time };
        utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    }
}

fn node(path: &Path, kind: FileType, device: u64) {
    mknodat(CWD, path, kind, Mode::from_raw_mode(0o660), device).unwrap();
}

/// Writes `bytes` at `offset` into a file of `size_bytes`. A new file is a hole everywhere else.
pub fn sparse(path: &Path, size_bytes: u64, offset: u64, bytes: &[u8]) {
    let file = File::options().create(true).truncate(false).write(true).open(path).unwrap();
    file.set_len(size_bytes).unwrap();
    file.write_all_at(bytes, offset).unwrap();
}

/// The paths of all entries below `directory`, parents before children.
pub fn paths(directory: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    let mut names: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    for path in names {
        let is_directory = fs::symlink_metadata(&path).unwrap().is_dir();
        all.push(path.clone());
        if is_directory {
            all.extend(paths(&path));
        }
    }
    all
}

/// A description of all entries below `directory`: one line for each name, with its content, metadata and first hard link.
/// Nanoseconds and extended attributes are included only with `everything`.
pub fn describe(directory: &Path, everything: bool) -> BTreeMap<PathBuf, String> {
    let mut first_names = BTreeMap::new();
    let mut lines = BTreeMap::new();
    for path in paths(directory) {
        let name = path.strip_prefix(directory).unwrap().to_owned();
        let found = fs::symlink_metadata(&path).unwrap();
        let first = first_names.entry(found.ino()).or_insert_with(|| name.clone()).clone();
        let content = match found.file_type() {
            kind if kind.is_symlink() => format!("{:?}", fs::read_link(&path).unwrap()),
            kind if kind.is_file() => format!("{} {:x}", found.len(), digest(&path)),
            kind if kind.is_dir() => "directory".to_owned(),
            _ => format!("device {:x}", found.rdev()),
        };
        let (mode, uid, gid) = (found.mode(), found.uid(), found.gid());
        let nanoseconds = if everything { found.mtime_nsec() } else { 0 };
        let time = format!("{}.{nanoseconds}", found.mtime());
        let xattrs = if everything { xattrs_of(&path).join(" ") } else { String::new() };
        lines.insert(name, format!("{mode:o} {uid}:{gid} {time} {content} {first:?} {xattrs}"));
    }
    lines
}

/// A digest of a file's content. Of a huge file, which is a hole except for its end, only the end is read.
fn digest(path: &Path) -> u64 {
    let mut file = File::open(path).unwrap();
    let mut hasher = DefaultHasher::new();
    if file.metadata().unwrap().len() > 1 << 30 {
        let mut end = [0; 4096];
        file.read_exact_at(&mut end, file.metadata().unwrap().len() - 4096).unwrap();
        hasher.write(&end);
        return hasher.finish();
    }
    let mut content = Vec::new();
    file.read_to_end(&mut content).unwrap();
    hasher.write(&content);
    hasher.finish()
}

/// Compares two results of [`describe`]. The panic names the first entry that differs, and shows both of its lines.
pub fn assert_same(expected: &BTreeMap<PathBuf, String>, found: &BTreeMap<PathBuf, String>, what: &str) {
    for (name, line) in expected {
        assert_eq!(found.get(name), Some(line), "{what}: {}", name.display());
    }
    for name in found.keys() {
        assert!(expected.contains_key(name), "{what}: unexpected entry {}", name.display());
    }
}

/// The disk space that a file uses.
pub fn allocated_bytes(path: &Path) -> u64 {
    fs::metadata(path).unwrap().blocks() * 512
}
