//! The ticker: the thread that computes progress, and shows it.

use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};
use decant_shared::progress::{Phase, Progress, RateMeter};
use decant_shared::units::Bytes;

use crate::error::{Error, Kind, Result};

/// How often progress is computed (contract 1.13).
pub const TICK: Duration = Duration::from_secs(1);
/// A log line about progress at most this often.
pub const LOG_EVERY: Duration = Duration::from_secs(5);

/// A running ticker. It owns its thread; [`Ticker::finish`] ends it.
pub struct Ticker {
    /// Dropped to end the thread, which is waiting on the other end.
    end: Sender<()>,
    thread: JoinHandle<()>,
}

impl Ticker {
    /// Computes `progress` every `every` and then calls `show`.
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

    /// Ends the thread after a last computation.
    pub fn finish(self) {
        drop(self.end);
        // It does nothing that could panic, and a panic would have aborted the process.
        let _ = self.thread.join();
    }
}

/// Tells progress in sentences, now and then, while data moves.
pub struct Narrator {
    meter: RateMeter,
    told: Option<Instant>,
}

impl Default for Narrator {
    fn default() -> Self {
        Self { meter: RateMeter::new(), told: None }
    }
}

impl Narrator {
    /// A sentence about `progress`, if it is time for one.
    pub fn sentence(&mut self, progress: &Progress, now: Instant) -> Option<String> {
        self.watch(progress, now);
        let moving = matches!(progress.phase(), Phase::Copy | Phase::Finish);
        if !moving || self.told.is_some_and(|told| now - told < LOG_EVERY) {
            return None;
        }
        self.told = Some(now);
        Some(describe(progress, &self.meter))
    }

    /// Takes note of how far `progress` is, for the rate.
    pub fn watch(&mut self, progress: &Progress, now: Instant) {
        self.meter.mark(now, progress.sent_bytes());
    }

    /// The rate of the last seconds.
    pub fn meter(&self) -> &RateMeter {
        &self.meter
    }
}

/// `12.34 %, 1.20 GiB of 9.70 GiB, 312.0 MiB/s, 28s left`, with less where less is known.
pub fn describe(progress: &Progress, meter: &RateMeter) -> String {
    let sent_bytes = progress.sent_bytes();
    if progress.phase() == Phase::Finish {
        return format!("all {} sent; the target is writing it to disk", Bytes(sent_bytes));
    }
    let rate = meter.rate();
    match progress.total_bytes() {
        Some(total_bytes) => {
            let left = meter.left(total_bytes.saturating_sub(sent_bytes));
            let left = left.map_or(String::new(), |left| format!(", {left} left"));
            format!("{} %, {} of {}, {rate}{left}", progress.percent(), Bytes(sent_bytes), Bytes(total_bytes))
        }
        None => format!("{}, {rate}", Bytes(sent_bytes)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_comes_every_five_seconds_while_data_moves() {
        let (progress, mut narrator, start) = (Progress::new(0), Narrator::default(), Instant::now());
        progress.set_total_bytes(1000);
        assert_eq!(narrator.sentence(&progress, start), None);
        progress.enter(Phase::Copy);
        progress.add_sent_bytes(500);
        progress.tick();
        let first = narrator.sentence(&progress, start + TICK).unwrap();
        assert!(first.starts_with("50.00 %, 500 B of 1000 B, "), "{first}");
        assert_eq!(narrator.sentence(&progress, start + 2 * TICK), None);
        assert!(narrator.sentence(&progress, start + TICK + LOG_EVERY).is_some());
    }
}
