//! Whether a test can run on this machine. A test that cannot run is skipped with a message on a developer's machine, and fails in
//! CI.

/// Returns `can`, which must be true in CI. If it is false, prints `what`: what is missing.
///
/// # Panics
///
/// In CI, if `can` is false.
pub fn able(can: bool, what: &str) -> bool {
    assert!(can || std::env::var_os("CI").is_none(), "{what}: in CI no test may be skipped");
    if !can {
        eprintln!("skipped: {what}");
    }
    can
}

/// Whether the test runs as root, which may mount, attach loop devices and change owners.
pub fn is_root() -> bool {
    able(rustix::process::geteuid().is_root(), "not root")
}
