//! Loop devices and small filesystems that go away with the test, however that ends.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::{NamedTempFile, TempDir, tempdir};

/// A loop device on a file; detached when dropped.
pub struct LoopDevice(
    /// Its path.
    pub PathBuf,
);

impl LoopDevice {
    /// One on this file.
    pub fn on(file: &Path) -> Self {
        Self::with(&["--find", "--show"], file)
    }

    /// One that cannot be written.
    pub fn read_only(file: &Path) -> Self {
        Self::with(&["--find", "--show", "--read-only"], file)
    }

    fn with(words: &[&str], file: &Path) -> Self {
        let made = Command::new("losetup").args(words).arg(file).output().unwrap();
        assert!(made.status.success(), "losetup: {}", String::from_utf8_lossy(&made.stderr));
        Self(String::from_utf8(made.stdout).unwrap().trim().into())
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        let detached = run("losetup", &["-d".as_ref(), self.0.as_os_str()]);
        assert!(std::thread::panicking() || detached.is_ok(), "{detached:?}");
    }
}

/// A mounted filesystem; unmounted when dropped. Where one cannot be made, the error says which command failed.
pub struct Mounted(Point);

/// Where it is mounted: a directory of its own, or one in a test's.
enum Point {
    Own(TempDir),
    Borrowed(PathBuf),
}

impl Point {
    fn path(&self) -> &Path {
        match self {
            Self::Own(directory) => directory.path(),
            Self::Borrowed(path) => path,
        }
    }
}

impl Mounted {
    /// One in memory, with options such as `size=4m`.
    pub fn tmpfs(options: &str) -> Result<Self, String> {
        Self::mount(Point::Own(tempdir().unwrap()), &["-t", "tmpfs", "-o", options, "tmpfs"])
    }

    /// One in memory at a directory that the test has made.
    pub fn tmpfs_at(path: &Path, options: &str) -> Result<Self, String> {
        Self::mount(Point::Borrowed(path.to_owned()), &["-t", "tmpfs", "-o", options, "tmpfs"])
    }

    /// What is on a device.
    pub fn device(device: &Path) -> Result<Self, String> {
        Self::mount(Point::Own(tempdir().unwrap()), &[device])
    }

    /// A new ext4 of this size with these features.
    pub fn ext4(size_bytes: u64, features: &str) -> Result<Self, String> {
        // The mount keeps the file when its name is gone.
        let image = NamedTempFile::new().unwrap();
        image.as_file().set_len(size_bytes).unwrap();
        make_ext4(image.path(), &["-m", "0", "-O", features])?;
        Self::mount(
            Point::Own(tempdir().unwrap()),
            &["-o".as_ref(), "loop".as_ref(), image.path().as_os_str()],
        )
    }

    /// A new, empty btrfs.
    pub fn btrfs() -> Result<Self, String> {
        let image = NamedTempFile::new().unwrap();
        image.as_file().set_len(200 << 20).unwrap();
        run("mkfs.btrfs", &["-q".as_ref(), image.path().as_os_str()])?;
        Self::mount(
            Point::Own(tempdir().unwrap()),
            &["-t".as_ref(), "btrfs".as_ref(), "-o".as_ref(), "loop".as_ref(), image.path().as_os_str()],
        )
    }

    /// These directories laid over each other, the first one on top, at a directory that the test has made.
    pub fn overlay_at(path: &Path, directories: &[&Path], options: &str) -> Result<Self, String> {
        let directories: Vec<_> = directories.iter().map(|directory| directory.to_str().unwrap()).collect();
        let options = format!("lowerdir={},{options}", directories.join(":"));
        Self::mount(Point::Borrowed(path.to_owned()), &["-t", "overlay", "-o", &options, "overlay"])
    }

    /// The directory `back` at a directory of its own, by a filesystem made with libfuse: a file that is removed while it is open gets
    /// another name.
    pub fn passthrough(back: &Path) -> Result<Self, String> {
        let point = Point::Own(tempdir().unwrap());
        run("bindfs", &[back.as_os_str(), point.path().as_os_str()])?;
        Ok(Self(point))
    }

    /// A new NTFS that takes README and readme for the same.
    pub fn folding() -> Result<Self, String> {
        let image = NamedTempFile::new().unwrap();
        image.as_file().set_len(64 << 20).unwrap();
        run("mkntfs", &["-q".as_ref(), "-F".as_ref(), image.path().as_os_str()])?;
        let point = Point::Own(tempdir().unwrap());
        let words =
            ["-o".as_ref(), "ignore_case".as_ref(), image.path().as_os_str(), point.path().as_os_str()];
        run("lowntfs-3g", &words)?;
        Ok(Self(point))
    }

    /// An overlay of `layers`, which has `lower`, `upper` and `work`, at a directory of its own. Directories of the lower layer cannot be
    /// renamed. With `fuse` by fuse-overlayfs.
    pub fn overlay(layers: &Path, fuse: bool) -> Result<Self, String> {
        let at = |name: &str| layers.join(name).display().to_string();
        let options = format!("lowerdir={},upperdir={},workdir={}", at("lower"), at("upper"), at("work"));
        let point = Point::Own(tempdir().unwrap());
        if fuse {
            run("fuse-overlayfs", &["-o".as_ref(), options.as_ref(), point.path().as_os_str()])?;
            return Ok(Self(point));
        }
        let options = format!("{options},redirect_dir=off");
        Self::mount(point, &["-t", "overlay", "-o", &options, "overlay"])
    }

    /// The directory that it is mounted at.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    fn mount<W: AsRef<OsStr>>(point: Point, words: &[W]) -> Result<Self, String> {
        let mut words: Vec<&OsStr> = words.iter().map(AsRef::as_ref).collect();
        words.push(point.path().as_os_str());
        run("mount", &words)?;
        Ok(Self(point))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let unmounted = run("umount", &[self.path().as_os_str()]);
        if unmounted.is_err() {
            // A process of a test that has failed may still use it. It goes with that process.
            let _ = run("umount", &["--lazy".as_ref(), self.path().as_os_str()]);
        }
        assert!(std::thread::panicking() || unmounted.is_ok(), "{unmounted:?}");
    }
}

/// Makes an empty ext4 in a file or on a device, with blocks as on large ones: extended attributes have to fit into one.
pub fn make_ext4(path: &Path, options: &[&str]) -> Result<(), String> {
    let mut words: Vec<&OsStr> =
        ["-q", "-F", "-b", "4096"].iter().chain(options).map(AsRef::as_ref).collect();
    words.push(path.as_os_str());
    run("mkfs.ext4", &words)
}

/// Runs a program to its end; the error holds what it wrote to its standard error.
pub fn run(program: &str, words: &[&OsStr]) -> Result<(), String> {
    match Command::new(program).args(words).output() {
        Ok(done) if done.status.success() => Ok(()),
        Ok(done) => Err(format!("{program} {words:?}: {}", String::from_utf8_lossy(&done.stderr))),
        Err(error) => Err(format!("{program}: {error}")),
    }
}
