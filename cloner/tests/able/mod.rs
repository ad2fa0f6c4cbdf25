//! Whether a test can run here. On a developer's machine one that cannot is left out and says so; in CI that
//! is a failure.

#![allow(dead_code, reason = "each test file uses another part")]

/// `can`, but in CI it must be true. `what` says what is missing otherwise.
pub(crate) fn able(can: bool, what: &str) -> bool {
    assert!(can || std::env::var_os("CI").is_none(), "{what}: in CI no test may be left out");
    if !can {
        eprintln!("left out: {what}");
    }
    can
}

/// Whether this is root, who may mount, attach loop devices and give files away.
pub(crate) fn is_root() -> bool {
    able(rustix::process::geteuid().is_root(), "not root")
}
