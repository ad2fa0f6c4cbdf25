//! Helpers that the tests of several crates share: certificates, processes, a relay that breaks connections, loop devices and
//! mounts, trees of files, and content.
//!
//! This crate is only a dev-dependency and so is part of no binary. It depends on no other crate of the workspace, so that the
//! unit tests of each of them can use it.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot continue has failed")]

pub mod able;
pub mod archive;
pub mod certificates;
pub mod cgroup;
pub mod disks;
pub mod flood;
pub mod generated;
pub mod net;
pub mod noise;
pub mod process;
pub mod relay;
pub mod trees;
pub mod wait;

use std::path::Path;

pub use able::{able, is_root};
pub use noise::noise;
pub use wait::{HANG, until};

/// The names in a directory, hidden ones included, sorted.
pub fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
