//! Processes in pods, seen from the machine that is the node.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// A process in a pod.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Process(u32);

impl Process {
    /// The process whose environment has `variable` with this value.
    pub(crate) fn with(variable: &str, value: &str) -> Self {
        let wanted = format!("{variable}={value}");
        let is_it = |pid: &u32| {
            let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes())
        };
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        let mut pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        Self(pids.find(is_it).expect("the pod has a process on this machine"))
    }

    pub(crate) fn signal(self, signal: &str) {
        let status = Command::new("kill").args([signal, &self.0.to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Waits until the process sees a file at this absolute path.
    pub(crate) fn sees(self, path: &str, limit: Duration) {
        let inside =
            PathBuf::from(format!("/proc/{}/root", self.0)).join(Path::new(path).strip_prefix("/").unwrap());
        let deadline = Instant::now() + limit;
        while !inside.exists() {
            assert!(Instant::now() < deadline, "{path} does not appear");
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}
