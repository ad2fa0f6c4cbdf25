//! What a panic ends: the process, unless it happened in work that was set apart for it.
//!
//! A thread that is gone while the others stay would leave a process that answers its probes and does half of its
//! work. So [`end_the_process`] is called first in every program. Work on something that others wrote, one object of
//! many, runs in [`guarded`]: its panic is an error like any other.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook, take_hook};

/// The most characters that are kept of what a panic says: it may repeat what another user wrote.
const SAID_CHARS: usize = 300;

thread_local! {
    static IS_GUARDED: Cell<bool> = const { Cell::new(false) };
    static PLACE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// A panic that was caught.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Panic {
    /// What it said.
    pub said: String,
    /// File and line; empty when [`end_the_process`] was not called before.
    pub place: String,
}

impl fmt::Display for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place.as_str() {
            "" => write!(f, "panicked: {}", self.said),
            place => write!(f, "panicked at {place}: {}", self.said),
        }
    }
}

/// From now on a panic of any thread aborts the process, after it was printed to standard error; one in [`guarded`]
/// work does not, and is not printed. To be called once, before any thread is started.
pub fn end_the_process() {
    let print = take_hook();
    set_hook(Box::new(move |info| {
        if IS_GUARDED.get() {
            note(info);
        } else {
            print(info);
            std::process::abort();
        }
    }));
}

fn note(info: &PanicHookInfo<'_>) {
    let place = info.location().map(|at| format!("{}:{}", at.file(), at.line())).unwrap_or_default();
    PLACE.set(place);
}

/// Does `work`; a panic in it is the error. What `work` shares with others must be right after every step of it, as
/// with locks that are used after a panic of their holder.
pub fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, Panic> {
    let before = IS_GUARDED.replace(true);
    let result = catch_unwind(AssertUnwindSafe(work));
    IS_GUARDED.set(before);
    result.map_err(|payload| {
        let said = payload
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        let said = said.unwrap_or("without words").chars().take(SAID_CHARS).collect();
        Panic { said, place: PLACE.take() }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guarded_work_gives_its_result_or_its_panic() {
        assert_eq!(guarded(|| 7), Ok(7));
        let number = 3;
        assert_eq!(guarded(|| panic!("number {number}")).unwrap_err().said, "number 3");
        assert_eq!(guarded(|| panic!("plain")).unwrap_err().to_string(), "panicked: plain");
        assert_eq!(guarded(|| std::panic::panic_any(5)).unwrap_err().said, "without words");
    }

    #[test]
    fn a_panic_repeats_little_of_what_it_was_about() {
        let long = "x".repeat(10_000);
        assert_eq!(guarded(|| panic!("{long}")).unwrap_err().said.len(), SAID_CHARS);
    }

    #[test]
    fn guarded_work_within_guarded_work_leaves_the_outer_guarded() {
        let outer = guarded(|| {
            let _ = guarded(|| panic!("inner"));
            IS_GUARDED.get()
        });
        assert_eq!((outer, IS_GUARDED.get()), (Ok(true), false));
    }

    /// What the child of the test below does; nothing in other runs.
    #[test]
    fn child() {
        let Ok(how) = std::env::var("PANICS_TEST_CHILD") else { return };
        end_the_process();
        match how.as_str() {
            "guarded" => {
                let panic = guarded(|| panic!("odd")).unwrap_err();
                assert!(panic.to_string().contains("panics.rs:"), "{panic}");
            }
            "after_guarded" => {
                let _ = guarded(|| panic!("odd"));
                panic!("not guarded");
            }
            _ => {
                let _ = std::thread::spawn(|| panic!("not guarded")).join();
            }
        }
        std::process::exit(7);
    }

    #[test]
    fn a_panic_of_any_thread_ends_the_process_unless_it_is_guarded() {
        let ended = |how: &str| {
            let mut child = std::process::Command::new(std::env::current_exe().unwrap());
            let child =
                child.args(["--exact", "panics::tests::child", "--nocapture"]).env("PANICS_TEST_CHILD", how);
            let output = child.env("RUST_BACKTRACE", "0").output().unwrap();
            (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
        };
        let (code, printed) = ended("guarded");
        assert_eq!(code, Some(7), "{printed}");
        assert!(!printed.contains("odd"), "{printed}");
        for how in ["thread", "after_guarded"] {
            let (code, printed) = ended(how);
            assert_eq!(code, None, "a signal ends it: {printed}");
            assert!(printed.contains("not guarded"), "{printed}");
        }
    }
}
