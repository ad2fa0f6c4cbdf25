//! A control group with little memory and a slow disk, of either version.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A control group; removed when dropped. The processes in it must have ended by then.
pub struct Cgroup {
    directories: Vec<PathBuf>,
    memory: PathBuf,
    is_v2: bool,
}

impl Cgroup {
    /// One with `memory_bytes` of memory, page cache included, that writes to `device` (its major and minor
    /// number) at `rate` bytes a second.
    pub fn new(memory_bytes: u64, device: &str, rate: u64) -> Self {
        let root = Path::new("/sys/fs/cgroup");
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("decant-test-{}-{number}", std::process::id());
        let is_v2 = root.join("cgroup.controllers").exists();
        let (directories, limits) = if is_v2 {
            let directory = root.join(name);
            let limits =
                vec![("memory.max", memory_bytes.to_string()), ("io.max", format!("{device} wbps={rate}"))];
            // Where the controllers are on already this changes nothing.
            let _ = fs::write(root.join("cgroup.subtree_control"), "+memory +io");
            (vec![directory], limits)
        } else {
            let limits = vec![
                ("memory.limit_in_bytes", memory_bytes.to_string()),
                ("blkio.throttle.write_bps_device", format!("{device} {rate}")),
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

    /// `program`, started inside.
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

    /// The most memory that was in use at once, page cache included.
    pub fn peak_bytes(&self) -> u64 {
        let file = if self.is_v2 { "memory.peak" } else { "memory.max_usage_in_bytes" };
        fs::read_to_string(self.memory.join(file)).unwrap().trim().parse().unwrap()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        for directory in &self.directories {
            // A process that was killed a moment ago may still be leaving.
            for _ in 0..100 {
                if fs::remove_dir(directory).is_ok() {
                    break;
                }
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
        }
    }
}
