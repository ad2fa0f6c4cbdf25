//! Loop devices and small filesystems. They are removed when the test ends, also when it fails.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::{NamedTempFile, TempDir, tempdir};

/// A loop device backed by a file; detached when dropped.
pub struct LoopDevice(
    /// Its path.
    pub PathBuf,
);

impl LoopDevice {
    /// Attaches a writable device to `file`.
    pub fn on(file: &Path) -> Self {
        Self::with(&["--find", "--show"], file)
    }

    /// Attaches a read-only device to `file`.
    pub fn read_only(file: &Path) -> Self {
        Self::with(&["--find", "--show", "--read-only"], file)
    }

    fn with(arguments: &[&str], file: &Path) -> Self {
        let output = Command::new("losetup").args(arguments).arg(file).output().unwrap();
        assert!(output.status.success(), "losetup: {}", String::from_utf8_lossy(&output.stderr));
        Self(String::from_utf8(output.stdout).unwrap().trim().into())
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        let detached = run("losetup", &["-d".as_ref(), self.0.as_os_str()]);
        assert!(std::thread::panicking() || detached.is_ok(), "{detached:?}");
    }
}

/// A mounted filesystem; unmounted when dropped. The constructors return an error that names the command that failed.
pub struct Mounted(MountPoint);

enum MountPoint {
    /// A temporary directory, removed after the filesystem is unmounted.
    Own(TempDir),
    /// A directory of the test.
    Borrowed(PathBuf),
}

impl MountPoint {
    fn path(&self) -> &Path {
        match self {
            Self::Own(directory) => directory.path(),
            Self::Borrowed(path) => path,
        }
    }
}

impl Mounted {
    /// A new tmpfs with mount options such as `size=4m`.
    pub fn tmpfs(options: &str) -> Result<Self, String> {
        Self::mount(MountPoint::Own(tempdir().unwrap()), &["-t", "tmpfs", "-o", options, "tmpfs"])
    }

    /// A new tmpfs, mounted at the existing directory `path`.
    pub fn tmpfs_at(path: &Path, options: &str) -> Result<Self, String> {
        Self::mount(MountPoint::Borrowed(path.to_owned()), &["-t", "tmpfs", "-o", options, "tmpfs"])
    }

    /// The filesystem on `device`.
    pub fn device(device: &Path) -> Result<Self, String> {
        Self::mount(MountPoint::Own(tempdir().unwrap()), &[device])
    }

    /// A new ext4 of `size_bytes` with `features` of mkfs.ext4.
    pub fn ext4(size_bytes: u64, features: &str) -> Result<Self, String> {
        // The file is unlinked at the end of this function. The mount keeps it until it is unmounted.
        let image = NamedTempFile::new().unwrap();
        image.as_file().set_len(size_bytes).unwrap();
        make_ext4(image.path(), &["-m", "0", "-O", features])?;
        Self::mount(
            MountPoint::Own(tempdir().unwrap()),
            &["-o".as_ref(), "loop".as_ref(), image.path().as_os_str()],
        )
    }

    /// A new, empty btrfs.
    pub fn btrfs() -> Result<Self, String> {
        let image = NamedTempFile::new().unwrap();
        image.as_file().set_len(512 << 20).unwrap();
        run("mkfs.btrfs", &["-q".as_ref(), image.path().as_os_str()])?;
        Self::mount(
            MountPoint::Own(tempdir().unwrap()),
            &["-t".as_ref(), "btrfs".as_ref(), "-o".as_ref(), "loop".as_ref(), image.path().as_os_str()],
        )
    }

    /// A new, empty XFS whose files can share blocks.
    pub fn xfs() -> Result<Self, String> {
        let image = NamedTempFile::new().unwrap();
        // The smallest size that mkfs.xfs accepts.
        image.as_file().set_len(300 << 20).unwrap();
        run("mkfs.xfs", &["-q".as_ref(), "-m".as_ref(), "reflink=1".as_ref(), image.path().as_os_str()])?;
        Self::mount(
            MountPoint::Own(tempdir().unwrap()),
            &["-t".as_ref(), "xfs".as_ref(), "-o".as_ref(), "loop".as_ref(), image.path().as_os_str()],
        )
    }

    /// Another mount of the directory `origin`.
    pub fn bind(origin: &Path) -> Result<Self, String> {
        Self::mount(MountPoint::Own(tempdir().unwrap()), &["--bind".as_ref(), origin.as_os_str()])
    }

    /// A read-only overlay of the directories `lower`, the first one on top, mounted at the existing directory `path`.
    pub fn overlay_at(path: &Path, lower: &[&Path], options: &str) -> Result<Self, String> {
        let lower: Vec<_> = lower.iter().map(|directory| directory.to_str().unwrap()).collect();
        let options = format!("lowerdir={},{options}", lower.join(":"));
        Self::mount(MountPoint::Borrowed(path.to_owned()), &["-t", "overlay", "-o", &options, "overlay"])
    }

    /// A view of the directory `back` through bindfs, a filesystem that uses libfuse. It renames a file that is removed while it is
    /// open, instead of unlinking it.
    pub fn passthrough(back: &Path) -> Result<Self, String> {
        let point = MountPoint::Own(tempdir().unwrap());
        run("bindfs", &[back.as_os_str(), point.path().as_os_str()])?;
        Ok(Self(point))
    }

    /// A new NTFS that ignores case: `README` and `readme` are the same file.
    pub fn case_insensitive() -> Result<Self, String> {
        let image = NamedTempFile::new().unwrap();
        image.as_file().set_len(64 << 20).unwrap();
        run("mkntfs", &["-q".as_ref(), "-F".as_ref(), image.path().as_os_str()])?;
        let point = MountPoint::Own(tempdir().unwrap());
        let arguments =
            ["-o".as_ref(), "ignore_case".as_ref(), image.path().as_os_str(), point.path().as_os_str()];
        run("lowntfs-3g", &arguments)?;
        Ok(Self(point))
    }

    /// A writable overlay of the directories `lower`, `upper` and `work` in `layers`, in which directories of the lower layer cannot
    /// be renamed. `fuse` selects fuse-overlayfs instead of the kernel's overlay.
    pub fn overlay(layers: &Path, fuse: bool) -> Result<Self, String> {
        let at = |name: &str| layers.join(name).display().to_string();
        let options = format!("lowerdir={},upperdir={},workdir={}", at("lower"), at("upper"), at("work"));
        let point = MountPoint::Own(tempdir().unwrap());
        if fuse {
            run("fuse-overlayfs", &["-o".as_ref(), options.as_ref(), point.path().as_os_str()])?;
            return Ok(Self(point));
        }
        let options = format!("{options},redirect_dir=off");
        Self::mount(point, &["-t", "overlay", "-o", &options, "overlay"])
    }

    /// The mount point.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    fn mount<A: AsRef<OsStr>>(point: MountPoint, arguments: &[A]) -> Result<Self, String> {
        let mut arguments: Vec<&OsStr> = arguments.iter().map(AsRef::as_ref).collect();
        arguments.push(point.path().as_os_str());
        run("mount", &arguments)?;
        Ok(Self(point))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let unmounted = run("umount", &[self.path().as_os_str()]);
        if unmounted.is_err() {
            // A process of a failed test may still use the filesystem, which then lasts as long as that process.
            let _ = run("umount", &["--lazy".as_ref(), self.path().as_os_str()]);
        }
        assert!(std::thread::panicking() || unmounted.is_ok(), "{unmounted:?}");
    }
}

/// Creates an empty ext4 in a file or on a device. Blocks have 4 KiB, as on large filesystems: the extended attributes of a file
/// have to fit into one block.
pub fn make_ext4(path: &Path, options: &[&str]) -> Result<(), String> {
    let mut arguments: Vec<&OsStr> =
        ["-q", "-F", "-b", "4096"].iter().chain(options).map(AsRef::as_ref).collect();
    arguments.push(path.as_os_str());
    run("mkfs.ext4", &arguments)
}

/// Runs `program` to completion. The error contains its output on standard error.
pub fn run(program: &str, arguments: &[&OsStr]) -> Result<(), String> {
    match Command::new(program).args(arguments).output() {
        Ok(done) if done.status.success() => Ok(()),
        Ok(done) => Err(format!("{program} {arguments:?}: {}", String::from_utf8_lossy(&done.stderr))),
        Err(error) => Err(format!("{program}: {error}")),
    }
}
