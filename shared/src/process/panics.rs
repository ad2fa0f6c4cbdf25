//! A panic aborts the process, unless it happens in work that runs in [`catch`].
//!
//! If only one thread ended, the process would still answer its probes but do only part of its work. So every program calls
//! [`abort_on_panic`] first. Work on one of many objects that other users wrote runs in [`catch`], which turns a panic into
//! an error.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook, take_hook};

/// Maximum length of a panic's message: it may repeat text of another user.
const MESSAGE_MAX_CHARS: usize = 300;

thread_local! {
    static IS_CATCHING: Cell<bool> = const { Cell::new(false) };
    static LOCATION: RefCell<String> = const { RefCell::new(String::new()) };
}

/// A panic that was caught.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Panic {
    /// The panic's message.
    pub message: String,
    /// File and line; empty if [`abort_on_panic`] was not called before.
    pub location: String,
}

impl fmt::Display for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.location.as_str() {
            "" => write!(f, "panicked: {}", self.message),
            location => write!(f, "panicked at {location}: {}", self.message),
        }
    }
}

/// From now on a panic in any thread is printed to standard error and aborts the process. A panic in [`catch`] does neither.
/// Call it once, before any thread is started.
pub fn abort_on_panic() {
    let print = take_hook();
    set_hook(Box::new(move |info| {
        if IS_CATCHING.get() {
            record_location(info);
        } else {
            print(info);
            std::process::abort();
        }
    }));
}

fn record_location(info: &PanicHookInfo<'_>) {
    let location = info.location().map(|at| format!("{}:{}", at.file(), at.line())).unwrap_or_default();
    LOCATION.set(location);
}

/// Runs `work` and returns its panic as an error. State that `work` shares with other threads must be consistent after every
/// step, as with locks that are used after a panic of their holder.
pub fn catch<T>(work: impl FnOnce() -> T) -> Result<T, Panic> {
    let was_catching = IS_CATCHING.replace(true);
    let result = catch_unwind(AssertUnwindSafe(work));
    IS_CATCHING.set(was_catching);
    result.map_err(|payload| {
        let message = payload
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        let message = message.unwrap_or("no message").chars().take(MESSAGE_MAX_CHARS).collect();
        Panic { message, location: LOCATION.take() }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn catch_returns_the_result_or_the_panic() {
        assert_eq!(catch(|| 7), Ok(7));
        let number = 3;
        assert_eq!(catch(|| panic!("number {number}")).unwrap_err().message, "number 3");
        assert_eq!(catch(|| panic!("plain")).unwrap_err().to_string(), "panicked: plain");
        assert_eq!(catch(|| std::panic::panic_any(5)).unwrap_err().message, "no message");
    }

    #[test]
    fn the_message_of_a_panic_is_truncated() {
        let long = "x".repeat(10_000);
        assert_eq!(catch(|| panic!("{long}")).unwrap_err().message.len(), MESSAGE_MAX_CHARS);
    }

    #[test]
    fn a_nested_catch_does_not_end_the_outer_one() {
        let outer = catch(|| {
            let _ = catch(|| panic!("inner"));
            IS_CATCHING.get()
        });
        assert_eq!((outer, IS_CATCHING.get()), (Ok(true), false));
    }

    /// The child process of the test below; does nothing in other runs.
    #[test]
    fn child() {
        let Ok(how) = std::env::var("PANICS_TEST_CHILD") else { return };
        abort_on_panic();
        match how.as_str() {
            "caught" => {
                let panic = catch(|| panic!("odd")).unwrap_err();
                assert!(panic.to_string().contains("panics.rs:"), "{panic}");
            }
            "after_caught" => {
                let _ = catch(|| panic!("odd"));
                panic!("not caught");
            }
            _ => {
                let _ = std::thread::spawn(|| panic!("not caught")).join();
            }
        }
        std::process::exit(7);
    }

    #[test]
    fn a_panic_in_any_thread_aborts_the_process_unless_it_is_caught() {
        let ended = |how: &str| {
            let mut child = std::process::Command::new(std::env::current_exe().unwrap());
            let child = child
                .args(["--exact", "process::panics::tests::child", "--nocapture"])
                .env("PANICS_TEST_CHILD", how);
            let output = child.env("RUST_BACKTRACE", "0").output().unwrap();
            (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
        };
        let (code, printed) = ended("caught");
        assert_eq!(code, Some(7), "{printed}");
        assert!(!printed.contains("odd"), "{printed}");
        for how in ["thread", "after_caught"] {
            let (code, printed) = ended(how);
            assert_eq!(code, None, "a signal ends it: {printed}");
            assert!(printed.contains("not caught"), "{printed}");
        }
    }
}
