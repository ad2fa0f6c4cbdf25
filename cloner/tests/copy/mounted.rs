//! Small filesystems that are mounted for one test.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

/// Unmounted when dropped.
pub(crate) struct Mounted(TempDir);

impl Mounted {
    /// One in memory, of this size.
    pub(crate) fn tmpfs(size: &str) -> Self {
        let options = format!("size={size}");
        Self::mount(&["-t".as_ref(), "tmpfs".as_ref(), "-o".as_ref(), options.as_ref(), "tmpfs".as_ref()])
    }

    pub(crate) fn device(device: &Path) -> Self {
        Self::mount(&[device.as_os_str()])
    }

    fn mount(words: &[&OsStr]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let done = Command::new("mount").args(words).arg(folder.path()).status();
        assert!(done.unwrap().success(), "mount {words:?}");
        Self(folder)
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let done = Command::new("umount").arg(self.0.path()).status();
        assert!(std::thread::panicking() || done.is_ok_and(|status| status.success()), "umount");
    }
}
