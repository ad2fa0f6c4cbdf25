//! The volumes on this machine: each is a directory with a sparse file, as `scripts/cluster/volumes.sh` makes them, so that
//! `scripts/cluster.sh down` removes them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::request::Request;

/// How long a device or a mount of a deleted claim may still be in use.
const PATIENCE: Duration = Duration::from_secs(5);

/// Makes and removes volumes.
pub(crate) struct Disks {
    /// A directory for each volume is in it.
    pub(crate) directory: PathBuf,
}

impl Disks {
    /// Makes a volume, with the content of `snapshot` if there is one; returns the path of its device or of its file system.
    pub(crate) fn make(&self, request: &Request, snapshot: Option<&str>) -> Result<PathBuf, String> {
        // A previous attempt may have failed.
        self.remove(&request.volume)?;
        let directory = self.directory.join(&request.volume);
        let (file, mount) = (directory.join("file"), directory.join("mount"));
        let failed = |e: std::io::Error| format!("{}: {e}", directory.display());
        fs::create_dir_all(&directory).map_err(failed)?;
        // Tests look here for what a claim has left.
        fs::write(directory.join("claim"), &request.claim).map_err(failed)?;
        if let Some(snapshot) = snapshot {
            copy(&self.directory.join(snapshot).join("file"), &file)?;
        }
        let opened = fs::File::options().create(true).truncate(false).write(true).open(&file);
        opened.and_then(|file| file.set_len(request.size_bytes)).map_err(failed)?;
        if request.mode == "Block" {
            let device = run(Command::new("losetup").args(["--find", "--show"]).arg(&file))?;
            fs::write(directory.join("device"), &device).map_err(failed)?;
            Ok(device.trim().into())
        } else {
            if snapshot.is_none() {
                run(Command::new("mkfs.ext4").args(["-q", "-m", "0", "-E", "nodiscard"]).arg(&file))?;
            }
            fs::create_dir(&mount).map_err(failed)?;
            run(Command::new("mount").args(["-o", "loop"]).arg(&file).arg(&mount))?;
            Ok(mount)
        }
    }

    /// Copies what `volume` holds now to the directory of the snapshot `snapshot`; returns its size.
    pub(crate) fn take_snapshot(&self, volume: &str, snapshot: &str) -> Result<u64, String> {
        let (from, to) = (self.directory.join(volume), self.directory.join(snapshot));
        let failed = |e: std::io::Error| format!("{}: {e}", to.display());
        fs::create_dir_all(&to).map_err(failed)?;
        // The file of a device holds all that was written once the device is synced.
        run(&mut Command::new("sync"))?;
        let mount = from.join("mount");
        let is_frozen = is_mounted(&mount)? && run(Command::new("fsfreeze").arg("-f").arg(&mount)).is_ok();
        let copied = copy(&from.join("file"), &to.join("file"));
        if is_frozen {
            run(Command::new("fsfreeze").arg("-u").arg(&mount))?;
        }
        copied?;
        fs::metadata(to.join("file")).map(|file| file.len()).map_err(failed)
    }

    /// Removes a volume with its devices. A missing volume is not an error.
    pub(crate) fn remove(&self, volume: &str) -> Result<(), String> {
        let directory = self.directory.join(volume);
        if !directory.exists() {
            return Ok(());
        }
        let mount = directory.join("mount");
        let file = directory.join("file");
        let deadline = Instant::now() + PATIENCE;
        loop {
            // Fails if it is not mounted.
            let _ = run(Command::new("umount").arg(&mount));
            let devices = loop_devices(&file)?;
            if devices.is_empty() && !is_mounted(&mount)? {
                break;
            }
            for device in &devices {
                let _ = run(Command::new("losetup").args(["--detach", device]));
            }
            if Instant::now() > deadline {
                return Err(format!("{} is still in use", file.display()));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        fs::remove_dir_all(&directory).map_err(|e| format!("{}: {e}", directory.display()))
    }
}

fn copy(from: &Path, to: &Path) -> Result<(), String> {
    run(Command::new("cp").arg("--sparse=always").arg(from).arg(to)).map(drop)
}

/// The loop devices on `file`, and before them those that the kubelet attached to these devices.
fn loop_devices(file: &Path) -> Result<Vec<String>, String> {
    let on = |path: &Path| -> Result<Vec<String>, String> {
        let list = ["--noheadings", "--output", "NAME", "--associated"];
        let found = run(Command::new("losetup").args(list).arg(path))?;
        Ok(found.lines().map(|line| line.trim().to_owned()).collect())
    };
    let mut devices = Vec::new();
    for device in on(file)? {
        devices.extend(on(Path::new(&device))?);
        devices.push(device);
    }
    Ok(devices)
}

fn is_mounted(path: &Path) -> Result<bool, String> {
    let mounts =
        fs::read_to_string("/proc/self/mountinfo").map_err(|e| format!("/proc/self/mountinfo: {e}"))?;
    let path = path.to_string_lossy();
    Ok(mounts.lines().any(|line| line.split(' ').nth(4) == Some(&path)))
}

/// The output of a command, or its error output as an error.
fn run(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|e| format!("{command:?}: {e}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim()))
    }
}
