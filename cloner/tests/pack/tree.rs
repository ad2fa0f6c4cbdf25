//! A directory to archive, the archive of it, and what GNU tar makes of both.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use decant_cloner::error::Result;
use decant_cloner::stream::Sink;
use decant_cloner::volume::tree::read::plan::{ArchivePlan, Options, Totals};
use decant_cloner::volume::tree::read::scan;
use decant_cloner::volume::tree::read::write_archive;
use decant_shared::process::stop::Stop;
use tempfile::TempDir;

pub(crate) const SPARSE: Options = Options { sparse: true, attributes: false };
pub(crate) const DENSE: Options = Options { sparse: false, attributes: false };

/// A directory for a test. Times of its entries are whatever they are.
pub(crate) struct Tree(pub(crate) TempDir);

impl Tree {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// In memory, for files whose sync to a disk takes a minute.
    pub(crate) fn in_memory() -> Self {
        Self(tempfile::tempdir_in("/dev/shm").unwrap())
    }

    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn file(&self, name: impl AsRef<Path>, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).unwrap();
    }

    pub(crate) fn directory(&self, name: impl AsRef<Path>) {
        fs::create_dir_all(self.path(name)).unwrap();
    }

    /// A file of `size_bytes` that holds `parts`, each 4 KiB of a letter, and holes between.
    pub(crate) fn sparse(&self, name: &str, size_bytes: u64, parts: impl IntoIterator<Item = u64>) {
        let file = File::create(self.path(name)).unwrap();
        file.set_len(size_bytes).unwrap();
        for (letter, offset) in (b'a'..=b'z').cycle().zip(parts) {
            file.write_all_at(&[letter; 4096], offset).unwrap();
        }
        file.sync_all().unwrap();
    }

    pub(crate) fn root(&self) -> OwnedFd {
        File::open(self.0.path()).unwrap().into()
    }

    pub(crate) fn scan(&self, options: Options) -> Result<ArchivePlan> {
        scan(&self.root(), self.0.path(), options, &Stop::new())
    }

    pub(crate) fn write(&self, options: Options, plan: &ArchivePlan, sink: &mut dyn Sink) -> Result<Totals> {
        write_archive(&self.root(), self.0.path(), options, plan, sink, &Stop::new())
    }

    /// The archive. Checks that it is as long as was planned.
    pub(crate) fn archive(&self, options: Options) -> Vec<u8> {
        let plan = self.scan(options).unwrap();
        let mut stream = Vec::new();
        let totals = self.write(options, &plan, &mut stream).unwrap();
        assert_eq!(totals.stream_bytes, stream.len() as u64);
        assert_eq!((totals.stream_bytes, totals.entries), (plan.bytes_with(options), plan.entries));
        assert_eq!(stream.len() % 10_240, 0);
        stream
    }

    /// What GNU tar makes of the directory, with the names and options that CDI's cloner gives it.
    pub(crate) fn gnu_archive(&self, flags: &[&str]) -> Vec<u8> {
        let mut names: Vec<OsString> =
            fs::read_dir(self.0.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.retain(|name| name != "lost+found");
        names.sort_by(|a, b| a.as_bytes().cmp(b.as_bytes()));
        let output = Command::new("tar")
            .current_dir(self.0.path())
            .env("LC_ALL", "C")
            .args(["-c", "--format=gnu", "--sort=name", "--numeric-owner", "-b20"])
            .args(flags)
            .arg("--")
            .args(names)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    /// The archive, after it was found to be the same as GNU tar's.
    pub(crate) fn same_as_gnu(&self) -> Vec<u8> {
        let ours = self.archive(SPARSE);
        let theirs = self.gnu_archive(&["-S"]);
        if let Some(at) = ours.iter().zip(&theirs).position(|(a, b)| a != b) {
            let block = at / 512 * 512;
            let show = |stream: &[u8]| stream[block..block + 512].escape_ascii().to_string();
            panic!("byte {at}: ours\n{}\ntheirs\n{}", show(&ours), show(&theirs));
        }
        assert_eq!(ours.len(), theirs.len());
        ours
    }

    /// `stream` extracted by GNU tar.
    pub(crate) fn extracted(stream: &[u8]) -> Tree {
        let tree = Tree::new();
        tar(&["-x", "-p", "-S", "--numeric-owner", "-C", tree.0.path().to_str().unwrap()], stream);
        tree
    }
}

/// Runs GNU tar with `stream` as the archive and returns its output.
pub(crate) fn tar(arguments: &[&str], stream: &[u8]) -> String {
    let archive = tempfile::NamedTempFile::new().unwrap();
    fs::write(archive.path(), stream).unwrap();
    let output = Command::new("tar")
        .env("LC_ALL", "C")
        .args(arguments)
        .arg("-f")
        .arg(archive.path())
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// One line per entry: everything that must be the same after a copy.
pub(crate) fn listing(root: &Path) -> String {
    let output = Command::new("find")
        .current_dir(root)
        .env("LC_ALL", "C")
        .args([".", "-mindepth", "1", "-path", "./lost+found", "-prune", "-o", "!", "-type", "s"])
        .args(["-mindepth", "1", "-printf", "%p %y %#m %U:%G %l %n "])
        .args(["(", "-type", "d", "-printf", "%Ts\\n", "-o", "-printf", "%s %Ts\\n", ")"])
        .output()
        .unwrap();
    assert!(output.status.success());
    let mut lines: Vec<String> = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
    lines.sort();
    lines.join("\n")
}

/// Waits until the clock of the file systems has advanced: what is written after it has another time.
pub(crate) fn tick() {
    std::thread::sleep(std::time::Duration::from_millis(20));
}
