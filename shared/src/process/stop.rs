//! The stop token: every wait checks it; the first signal or the first failure sets it.

use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a blocking wait may last before it checks the token again. Short enough that a stop feels immediate, long enough
/// that waiting costs no measurable CPU.
pub const STOP_TICK: Duration = Duration::from_millis(200);

/// State: no stop was requested.
const RUNNING: i32 = 0;
/// State: a part of the program failed or finished, and the others have to end. Other values are signal numbers.
const CANCELLED: i32 = -1;

/// Tells all threads of a clone to end. Copies of a token share their state, which changes only once, from running to
/// stopped. The first reason is kept.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    state: Arc<AtomicI32>,
    /// When it is set, this token is set, too.
    parent: Option<Box<Stop>>,
    /// Wakes sleeping threads; shared by a token and all its descendants.
    wakeup: Arc<Wakeup>,
}

#[derive(Debug, Default)]
struct Wakeup {
    lock: Mutex<()>,
    condvar: Condvar,
}

/// Why a token was set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// The signal with this number arrived.
    Signal(i32),
    /// Another thread of the same work failed or finished; its own result has the reason.
    Cancelled,
}

impl Stop {
    /// A token that is not set.
    pub fn new() -> Self {
        Self::default()
    }

    /// A token for a part of the work: it stops with this one, but can also be stopped alone.
    pub fn child(&self) -> Self {
        Self { state: Arc::default(), parent: Some(Box::new(self.clone())), wakeup: Arc::clone(&self.wakeup) }
    }

    /// Requests a stop because the signal `number` arrived.
    pub fn by_signal(&self, number: i32) {
        self.set(number);
    }

    /// Requests a stop because another part of the work ended.
    pub fn cancel(&self) {
        self.set(CANCELLED);
    }

    /// The reason to stop, if a stop was requested.
    pub fn reason(&self) -> Option<StopReason> {
        match self.state.load(Ordering::Acquire) {
            RUNNING => self.parent.as_ref().and_then(|parent| parent.reason()),
            CANCELLED => Some(StopReason::Cancelled),
            number => Some(StopReason::Signal(number)),
        }
    }

    /// Whether a stop was requested.
    pub fn is_set(&self) -> bool {
        self.reason().is_some()
    }

    /// Sleeps for `duration`, or until a stop is requested. Returns whether to continue.
    pub fn sleep(&self, duration: Duration) -> bool {
        let began = Instant::now();
        let mut guard = self.wakeup.lock.lock().unwrap_or_else(PoisonError::into_inner);
        while !self.is_set() {
            let left = duration.saturating_sub(began.elapsed());
            if left.is_zero() {
                return true;
            }
            guard = self.wakeup.condvar.wait_timeout(guard, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        false
    }

    fn set(&self, value: i32) {
        // Losing the race means that another thread set the first reason.
        let _ = self.state.compare_exchange(RUNNING, value, Ordering::AcqRel, Ordering::Acquire);
        // While this holds the lock, no thread is between its check and its sleep.
        let _guard = self.wakeup.lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.wakeup.condvar.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_reason_is_kept() {
        let stop = Stop::new();
        assert_eq!(stop.reason(), None);
        stop.by_signal(15);
        stop.cancel();
        assert_eq!(stop.reason(), Some(StopReason::Signal(15)));
    }

    #[test]
    fn a_child_stops_with_its_parent_and_a_parent_not_with_its_child() {
        let parent = Stop::new();
        let (one, other) = (parent.child(), parent.child());
        one.cancel();
        assert!(one.is_set() && !other.is_set() && !parent.is_set());
        parent.by_signal(15);
        assert_eq!(other.reason(), Some(StopReason::Signal(15)));
        assert_eq!(one.reason(), Some(StopReason::Cancelled));
    }

    #[test]
    fn a_set_token_ends_a_sleep_at_once() {
        let stop = Stop::new();
        stop.cancel();
        assert!(!stop.sleep(Duration::from_secs(3600)));
    }

    #[test]
    fn a_sleeping_thread_wakes_when_the_parent_token_is_set() {
        let parent = Stop::new();
        let child = parent.child().child();
        std::thread::scope(|scope| {
            let sleeper = scope.spawn(|| child.sleep(Duration::from_secs(3600)));
            parent.cancel();
            assert!(!sleeper.join().unwrap());
        });
    }

    #[test]
    fn the_stop_of_a_sibling_does_not_end_a_sleep() {
        let parent = Stop::new();
        let (one, other) = (parent.child(), parent.child());
        let (began, pause) = (Instant::now(), Duration::from_millis(30));
        std::thread::scope(|scope| {
            let sleeper = scope.spawn(|| one.sleep(pause));
            other.cancel();
            assert!(sleeper.join().unwrap());
        });
        assert!(began.elapsed() >= pause);
    }
}
