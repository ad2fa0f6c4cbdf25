//! A control group with little memory and a slow disk, for versions 1 and 2 of the interface.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A control group; removed when dropped. The processes in it must have ended by then.
pub struct Cgroup {
    /// One directory for each controller in version 1, one in all in version 2.
    directories: Vec<PathBuf>,
    /// The directory of the memory controller.
    memory: PathBuf,
    is_v2: bool,
}

impl Cgroup {
    /// A group that gets at most `memory_bytes` of memory, page cache included, and writes at most `bytes_per_sec` to `device`, which
    /// is its major and minor number, like `7:0`.
    pub fn new(memory_bytes: u64, device: &str, bytes_per_sec: u64) -> Self {
        let root = Path::new("/sys/fs/cgroup");
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("decant-test-{}-{number}", std::process::id());
        let is_v2 = root.join("cgroup.controllers").exists();
        let (directories, limits) = if is_v2 {
            let directory = root.join(name);
            let limits = vec![
                ("memory.max", memory_bytes.to_string()),
                ("io.max", format!("{device} wbps={bytes_per_sec}")),
            ];
            // An error is no failure: the controllers may be enabled already.
            let _ = fs::write(root.join("cgroup.subtree_control"), "+memory +io");
            (vec![directory], limits)
        } else {
            let limits = vec![
                ("memory.limit_in_bytes", memory_bytes.to_string()),
                ("blkio.throttle.write_bps_device", format!("{device} {bytes_per_sec}")),
            ];
            (vec![root.join("memory").join(&name), root.join("blkio").join(&name)], limits)
        };
        directories.iter().for_each(|directory| fs::create_dir(directory).unwrap());
        let group = Self { memory: directories[0].clone(), directories, is_v2 };
        for (file, limit) in limits {
            let directory = group.directories.iter().find(|directory| directory.join(file).exists()).unwrap();
            fs::write(directory.join(file), limit).unwrap();
        }
        group
    }

    /// A command that runs `program` in the group.
    pub fn command(&self, program: &str) -> Command {
        let enter: String = self
            .directories
            .iter()
            .map(|directory| format!("echo $$ > {}/cgroup.procs; ", directory.display()))
            .collect();
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &format!("{enter}exec \"$0\" \"$@\""), program]);
        command
    }

    /// Peak memory use of the group, page cache included.
    pub fn peak_bytes(&self) -> u64 {
        let file = if self.is_v2 { "memory.peak" } else { "memory.max_usage_in_bytes" };
        fs::read_to_string(self.memory.join(file)).unwrap().trim().parse().unwrap()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        for directory in &self.directories {
            // A process that was just killed may still be exiting.
            for _ in 0..100 {
                if fs::remove_dir(directory).is_ok() {
                    break;
                }
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
        }
    }
}
