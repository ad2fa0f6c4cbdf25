//! Waiting for something that sends no signal. No test compares a duration with a limit of its own: a busy machine
//! would decide the result.

use std::time::{Duration, Instant};

/// What takes longer than this hangs. Nothing in a test comes near it, so it is no claim about speed.
pub const HANG: Duration = Duration::from_secs(300);

const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Waits until `happened` returns true.
///
/// # Panics
///
/// If it does not happen within [`HANG`]. The message contains `what`.
pub fn until(what: &str, mut happened: impl FnMut() -> bool) {
    found(what, || happened().then_some(()));
}

/// Waits until `find` returns something, and returns that.
///
/// # Panics
///
/// If it does not happen within [`HANG`]. The message contains `what`.
pub fn found<T>(what: &str, mut find: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = find() {
            return found;
        }
        assert!(start.elapsed() < HANG, "this never happened: {what}");
        std::thread::sleep(LOOK_EVERY);
    }
}
