//! The controller as a process of its own, and what it costs.

use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::Duration;

use crate::sandbox::{Sandbox, kubeconfig};

/// Clock ticks in a second, as Linux reports CPU time to user space (`USER_HZ`, man 5 proc).
const TICKS_PER_SEC: u64 = 100;

/// Killed when dropped.
pub(crate) struct Process(Child);

/// The optimized program, where there is one: DECANT_CONTROLLER names it.
fn program() -> PathBuf {
    std::env::var_os("DECANT_CONTROLLER")
        .map_or_else(|| env!("CARGO_BIN_EXE_controller").into(), PathBuf::from)
}

impl Process {
    pub(crate) fn start(sandbox: &Sandbox) -> Self {
        let child = Command::new(program())
            .args(["run", "--namespace", &sandbox.namespace, "--watch-namespace", &sandbox.namespace])
            .args(["--listen", "127.0.0.1:0", "--max-clones", "20000", "--max-clones-per-class", "20000"])
            .args(["--transfer", "network", "--log-level", "warn", "--kubeconfig"])
            .arg(kubeconfig())
            .spawn()
            .expect("the controller starts");
        Self(child)
    }

    /// CPU time of all its threads.
    pub(crate) fn cpu(&self) -> Duration {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id())).unwrap();
        // After the name, which may contain spaces: state is field 3, utime 14, stime 15.
        let fields: Vec<&str> = text.rsplit_once(')').unwrap().1.split_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        Duration::from_millis(ticks * 1000 / TICKS_PER_SEC)
    }

    /// The most memory it ever had.
    pub(crate) fn peak_mib(&self) -> f64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
