//! What the tests of the target share.

#[path = "../../able/mod.rs"]
mod able;
pub(crate) mod body;
pub(crate) mod client;
pub(crate) mod disks;
pub(crate) mod pki;
pub(crate) mod process;

pub(crate) use able::is_root;

use std::path::Path;
use std::time::{Duration, Instant};

/// Longer than anything here takes, however busy the machine is.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// Waits for something that nobody announces.
pub(crate) fn until(what: &str, mut happened: impl FnMut() -> bool) {
    let deadline = Instant::now() + LONG;
    while !happened() {
        assert!(Instant::now() < deadline, "this never happened: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The names in a folder, hidden ones included, sorted.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Bytes that do not compress, the same every time.
pub(crate) fn noise(len: usize) -> Vec<u8> {
    crate::noise::noise(len, 0)
}
