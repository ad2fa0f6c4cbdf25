//! Waits for conditions by polling. Tests compare no durations with limits of their own, whose result would depend on the load of
//! the machine.

use std::time::{Duration, Instant};

/// Time after which a test is considered to hang. No test comes close to it, so it makes no claim about speed.
pub const HANG: Duration = Duration::from_secs(300);

const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Waits until `happened` returns true. `what` describes the condition.
///
/// # Panics
///
/// After [`HANG`], with a message that contains `what`.
pub fn until(what: &str, mut happened: impl FnMut() -> bool) {
    found(what, || happened().then_some(()));
}

/// Waits until `find` returns something, and returns it. `what` describes the condition.
///
/// # Panics
///
/// After [`HANG`], with a message that contains `what`.
pub fn found<T>(what: &str, mut find: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = find() {
            return found;
        }
        assert!(start.elapsed() < HANG, "timed out waiting for: {what}");
        std::thread::sleep(POLL_INTERVAL);
    }
}
