//! The transfer that is under way, as other connections see it.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use decant_shared::process::stop::Stop;

/// A sender that said nothing for this long makes room for another one that has its name. There is only one
/// source to a clone; a second one means that the first is gone, and where a pod's network went with it nothing
/// else tells.
const SILENT: Duration = Duration::from_secs(5);

/// What is said of a source that was silent for so long that another one took its place.
pub const OUSTED: &str = "the source fell silent and another one took its place";

/// When its sender was last heard, and how to end it.
#[derive(Debug, Default)]
pub struct CurrentTransfer {
    transfer: Mutex<Option<LiveTransfer>>,
}

#[derive(Debug)]
struct LiveTransfer {
    connection: Stop,
    /// Of all its stages: the writer may be at work for long on what a silent sender said in a few bytes.
    stages: Stop,
    heard: Instant,
}

impl CurrentTransfer {
    /// A transfer begins; `connection` ends the waits of its connection, `stages` all that works for it.
    pub fn begin(&self, connection: Stop, stages: Stop) {
        self.set(Some(LiveTransfer { connection, stages, heard: Instant::now() }));
    }

    /// What ends all that works for the transfer that began; `None` if none is under way.
    pub fn stages(&self) -> Option<Stop> {
        self.lock().as_ref().map(|transfer| transfer.stages.clone())
    }

    /// Its sender said something.
    pub fn heard(&self) {
        if let Some(transfer) = &mut *self.lock() {
            transfer.heard = Instant::now();
        }
    }

    /// Its sender has nothing more to say, so its silence means nothing; or it ended.
    pub fn end(&self) {
        self.set(None);
    }

    /// Another sender wants its place. Ends it if its own sender fell silent before `now`; returns whether it did.
    pub fn give_way(&self, now: Instant) -> bool {
        match &*self.lock() {
            Some(transfer) if now.saturating_duration_since(transfer.heard) >= SILENT => {
                transfer.connection.cancel();
                transfer.stages.cancel();
                true
            }
            _ => false,
        }
    }

    fn set(&self, transfer: Option<LiveTransfer>) {
        *self.lock() = transfer;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<LiveTransfer>> {
        // A plain value: it is right even if a holder panicked.
        self.transfer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_silent_sender_gives_way() {
        let (running, connection, stages) = (CurrentTransfer::default(), Stop::new(), Stop::new());
        assert!(!running.give_way(Instant::now() + SILENT));
        running.begin(connection.clone(), stages.clone());
        assert!(!running.give_way(Instant::now()));
        assert!(!connection.is_set() && !stages.is_set());
        assert!(running.give_way(Instant::now() + SILENT));
        assert!(connection.is_set() && stages.is_set());
    }

    #[test]
    fn one_that_has_sent_everything_may_be_silent() {
        let running = CurrentTransfer::default();
        running.begin(Stop::new(), Stop::new());
        running.end();
        assert!(!running.give_way(Instant::now() + SILENT * 100));
    }
}
