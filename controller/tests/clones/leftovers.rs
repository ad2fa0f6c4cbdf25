//! What tests with dynamically provisioned volumes may not leave behind.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::environment::{PATIENCE, TestEnv};
use crate::kubectl::{kubectl, try_kubectl};

impl TestEnv {
    /// Ends the environment, and waits until nothing of it is left: namespace, provisioned volumes, their directories and
    /// loop devices. Not for volumes that have the policy `Retain` without `remove_at_the_end`.
    pub(crate) fn end_without_leftovers(self) {
        let namespace = self.namespace.clone();
        let directory = self.volumes_directory();
        drop(self);
        wait_until_empty(|| leftovers(&namespace, &directory));
    }

    /// Waits until a provisioned volume is gone: the object, its directory and its loop devices.
    pub(crate) fn wait_for_removal(&self, volume: &str) {
        let directory = self.volumes_directory();
        wait_until_empty(|| {
            let mut left = loop_devices(&directory.join(volume));
            left.extend(directory.join(volume).exists().then(|| format!("directory of {volume}")));
            let (exists, _) = try_kubectl(&["get", "pv", volume], None);
            left.extend(exists.then(|| format!("PersistentVolume {volume}")));
            left
        });
    }
}

fn wait_until_empty(mut left: impl FnMut() -> Vec<String>) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let left = left();
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "left behind: {left:#?}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// What is left of `namespace`, one line each.
fn leftovers(namespace: &str, directory: &Path) -> Vec<String> {
    let (exists, _) = try_kubectl(&["get", "namespace", namespace], None);
    let mut left: Vec<String> = exists.then(|| format!("namespace {namespace}")).into_iter().collect();
    let volumes: Value = serde_json::from_str(&kubectl(&["get", "pv", "-o", "json"], None)).unwrap();
    let of_namespace = volumes["items"].as_array().unwrap().iter().filter(|volume| {
        let driver = &volume["metadata"]["annotations"]["pv.kubernetes.io/provisioned-by"];
        driver.is_string() && volume["spec"]["claimRef"]["namespace"] == namespace
    });
    left.extend(of_namespace.map(|volume| format!("PersistentVolume {}", volume["metadata"]["name"])));
    for volume in std::fs::read_dir(directory).unwrap().flatten() {
        // The provisioner writes for which claim it made the volume. The claim that the volume moved to may be another one.
        let claim = std::fs::read_to_string(volume.path().join("claim")).unwrap_or_default();
        if claim.split('/').next() == Some(namespace) {
            left.push(format!("{} of {claim}", volume.path().display()));
            left.extend(loop_devices(&volume.path()));
        }
    }
    let of_removed_files =
        loop_devices(directory).into_iter().filter(|device| device.ends_with(" (deleted)"));
    left.extend(of_removed_files);
    left
}

/// The loop devices on files below `directory`, each with its file.
fn loop_devices(directory: &Path) -> Vec<String> {
    let output =
        Command::new("losetup").args(["--noheadings", "--raw", "--output", "NAME,BACK-FILE"]).output();
    let text = String::from_utf8(output.expect("losetup starts").stdout).unwrap();
    let below = format!("{}/", directory.display());
    let devices =
        text.lines().filter(|line| line.split_once(' ').is_some_and(|(_, file)| file.starts_with(&below)));
    devices.map(|line| line.replace("\\x20", " ")).collect()
}
