//! Whether a test can run here. A developer's machine skips a test that cannot run and says so; in CI that is a failure.

/// Returns `can`, which must be true in CI. `what` says what is missing otherwise.
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

/// Whether this is root, which may mount, attach loop devices and change owners.
pub fn is_root() -> bool {
    able(rustix::process::geteuid().is_root(), "not root")
}
