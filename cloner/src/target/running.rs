//! The transfer that is under way, as other connections see it.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use decant_shared::stop::Stop;

/// A sender that said nothing for this long makes room for another one that has its name. There is only one
/// source to a clone; a second one means that the first is gone, and where a pod's network went with it nothing
/// else tells.
const SILENT: Duration = Duration::from_secs(5);

/// When its sender was last heard, and how to end it.
#[derive(Debug, Default)]
pub struct Running {
    transfer: Mutex<Option<Transfer>>,
}

#[derive(Debug)]
struct Transfer {
    connection: Stop,
    heard: Instant,
}

impl Running {
    /// A transfer begins; `connection` ends the waits of its connection.
    pub fn begin(&self, connection: Stop) {
        self.set(Some(Transfer { connection, heard: Instant::now() }));
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
                true
            }
            _ => false,
        }
    }

    fn set(&self, transfer: Option<Transfer>) {
        *self.lock() = transfer;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Transfer>> {
        // A plain value: it is right even if a holder panicked.
        self.transfer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_silent_sender_gives_way() {
        let (running, connection) = (Running::default(), Stop::new());
        assert!(!running.give_way(Instant::now() + SILENT));
        running.begin(connection.clone());
        assert!(!running.give_way(Instant::now()));
        assert!(!connection.is_set());
        assert!(running.give_way(Instant::now() + SILENT));
        assert!(connection.is_set());
    }

    #[test]
    fn one_that_has_sent_everything_may_be_silent() {
        let running = Running::default();
        running.begin(Stop::new());
        running.end();
        assert!(!running.give_way(Instant::now() + SILENT * 100));
    }
}
