//! The ticker: a thread that computes progress at intervals and shows it.

use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};
use decant_shared::protocol::progress::Progress;

use crate::error::{Error, Kind, Result};

/// How often progress is computed (docs/protocol.md section 1.13).
pub const TICK: Duration = Duration::from_secs(1);

/// A running ticker. It owns its thread; [`Ticker::finish`] ends it.
pub struct Ticker {
    /// Dropped to end the thread, which waits on the receiver.
    end: Sender<()>,
    thread: JoinHandle<()>,
}

impl Ticker {
    /// Computes `progress` at the interval `every`, and calls `show` after each computation.
    pub fn start(
        progress: Arc<Progress>,
        every: Duration,
        mut show: impl FnMut(&Progress) + Send + 'static,
    ) -> Result<Self> {
        let (end, ended) = bounded::<()>(0);
        let thread = Builder::new()
            .name("ticker".to_owned())
            .spawn(move || {
                while ended.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                    progress.tick();
                    show(&progress);
                }
                progress.tick();
            })
            .map_err(|e| Error::io(Kind::Failed, "cannot start a thread", e))?;
        Ok(Self { end, thread })
    }

    /// Ends the thread after a final computation.
    pub fn finish(self) {
        drop(self.end);
        // A panic of the thread would have ended the process.
        let _ = self.thread.join();
    }
}
