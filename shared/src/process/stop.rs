//! The stop token: asked at every wait, set by the first signal or the first failure.

use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a blocking wait may last before it asks the token again. Short enough that a stop feels
/// immediate to a person, long enough that waiting costs no measurable CPU.
pub const STOP_TICK: Duration = Duration::from_millis(200);

/// Nothing asked for a stop yet.
const RUNNING: i32 = 0;
/// Some part of the program failed and the others have to end.
const CANCELLED: i32 = -1;

/// Tells all threads of one clone to end. Clones share one state; it only ever goes from running to
/// stopped, and the first reason stays.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    state: Arc<AtomicI32>,
    /// Stops this one, too.
    parent: Option<Box<Stop>>,
    /// Wakes those who sleep: one for all that come from the same token.
    bell: Arc<Bell>,
}

#[derive(Debug, Default)]
struct Bell {
    lock: Mutex<()>,
    rung: Condvar,
}

/// Why a token says stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// A signal of this number arrived.
    Signal(i32),
    /// Another thread of the same work failed or finished; its own result says why.
    Cancelled,
}

impl Stop {
    /// A token that lets everything run.
    pub fn new() -> Self {
        Self::default()
    }

    /// A token for a part of the work: it stops with this one, but can be stopped alone.
    pub fn child(&self) -> Self {
        Self { state: Arc::default(), parent: Some(Box::new(self.clone())), bell: Arc::clone(&self.bell) }
    }

    /// Asks for a stop because signal `number` arrived.
    pub fn by_signal(&self, number: i32) {
        self.set(number);
    }

    /// Asks for a stop because some other part of the work ended.
    pub fn cancel(&self) {
        self.set(CANCELLED);
    }

    /// The reason to stop, if there is one.
    pub fn reason(&self) -> Option<StopReason> {
        match self.state.load(Ordering::Acquire) {
            RUNNING => self.parent.as_ref().and_then(|parent| parent.reason()),
            CANCELLED => Some(StopReason::Cancelled),
            number => Some(StopReason::Signal(number)),
        }
    }

    /// Whether to stop.
    pub fn is_set(&self) -> bool {
        self.reason().is_some()
    }

    /// Sleeps for `duration`, or until a stop is asked for: then it wakes at once. Returns whether to go on.
    pub fn sleep(&self, duration: Duration) -> bool {
        let began = Instant::now();
        let mut guard = self.bell.lock.lock().unwrap_or_else(PoisonError::into_inner);
        while !self.is_set() {
            let left = duration.saturating_sub(began.elapsed());
            if left.is_zero() {
                return true;
            }
            guard = self.bell.rung.wait_timeout(guard, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        false
    }

    fn set(&self, value: i32) {
        // Losing the race means that somebody else gave the first reason.
        let _ = self.state.compare_exchange(RUNNING, value, Ordering::AcqRel, Ordering::Acquire);
        // With the lock nobody is between asking and falling asleep.
        let _guard = self.bell.lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.bell.rung.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_reason_stays() {
        let stop = Stop::new();
        assert_eq!(stop.reason(), None);
        stop.by_signal(15);
        stop.cancel();
        assert_eq!(stop.reason(), Some(StopReason::Signal(15)));
    }

    #[test]
    fn a_part_stops_with_the_whole_but_not_the_other_way_round() {
        let whole = Stop::new();
        let (one, other) = (whole.child(), whole.child());
        one.cancel();
        assert!(one.is_set() && !other.is_set() && !whole.is_set());
        whole.by_signal(15);
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
    fn whoever_sleeps_wakes_when_the_whole_stops() {
        let whole = Stop::new();
        let part = whole.child().child();
        std::thread::scope(|scope| {
            let sleeper = scope.spawn(|| part.sleep(Duration::from_secs(3600)));
            whole.cancel();
            assert!(!sleeper.join().unwrap());
        });
    }

    #[test]
    fn a_neighbours_stop_does_not_cut_a_sleep_short() {
        let whole = Stop::new();
        let (one, other) = (whole.child(), whole.child());
        let (began, pause) = (Instant::now(), Duration::from_millis(30));
        std::thread::scope(|scope| {
            let sleeper = scope.spawn(|| one.sleep(pause));
            other.cancel();
            assert!(sleeper.join().unwrap());
        });
        assert!(began.elapsed() >= pause);
    }
}
